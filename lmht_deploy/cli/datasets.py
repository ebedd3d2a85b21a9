"""`lmht datasets`: the data sets that can be read by name."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

from lmht_deploy._packages import install_command

from . import _options as options
from ._console import say, show, table, write_json

if TYPE_CHECKING:
    from lmht_deploy.data import DataSet


def datasets(json: options.Json = None) -> None:
    """List the data sets that `--data` and recipes know by name. Nothing is read or downloaded."""
    from lmht_deploy import data

    found = data.available()
    text = ("name", "kind", "origin", "packages")
    rows = table("data sets", ("name", "kind", "size", "classes", *text[2:]), left=text)
    for known in found:
        size = "" if known.size is None else f"{known.size.width}x{known.size.height}"
        rows.add_row(
            known.name, known.kind, size, str(known.classes or ""), known.origin, _state(known)
        )
    show(rows)
    say(
        "--data also takes a folder with one folder of recordings per class, a recording, an .npz "
        "file of windows, and tonic:CLASS for other classes of tonic.datasets."
    )
    write_json(json, {"datasets": [_plain(known) for known in found]})


def _state(known: DataSet) -> str:
    return install_command(known.extra) if known.missing else "installed"


def _plain(known: DataSet) -> dict[str, object]:
    return {**dataclasses.asdict(known), "missing": known.missing}
