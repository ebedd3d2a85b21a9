"""Recordings before they become windows."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from lmht_deploy.events.arrays import Sensor


@dataclass(frozen=True)
class Recordings:
    """The recordings of one split.

    Attributes:
        events: Structured arrays with t, x, y, p, one for each recording, not validated. They are
            read when they are iterated, once.
        names: Name of each recording, different from all others of the data set: its path below
            the root if it is a file.
        labels: int64 `[N]`, indices into `classes`; None if they are not known.
        classes: Class names.
        sensor: Size of the sensor.
        origin: Where the recordings come from, as plain values for the provenance.
        files: All files that the recordings depend on; empty if they are generated.
    """

    events: Iterable[np.ndarray]
    names: Sequence[str]
    labels: np.ndarray | None
    classes: tuple[str, ...]
    sensor: Sensor
    origin: Mapping[str, Any]
    files: Sequence[Path] = ()
