"""Decisions of a stream as lines of JSON."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from ._console import open_lines
from ._predictions import Classes

if TYPE_CHECKING:
    from lmht_deploy.events.stream import Decision


@contextmanager
def open_json(path: Path, classes: Classes) -> Iterator[Callable[[Decision], None]]:
    """Yield the function that writes one decision to `path`; "-" is standard output."""
    with open_lines(path) as write:
        yield lambda decision: write(_as_json(decision, classes))


def _as_json(decision: Decision, classes: Classes) -> str:
    name = {"class": classes.name(decision.label)} if classes.names else {}
    return json.dumps(asdict(decision) | name)
