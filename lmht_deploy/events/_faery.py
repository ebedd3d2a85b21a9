"""Recordings and cameras through faery."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from lmht_deploy._packages import require_package

from .arrays import Sensor, make_events

Opened = tuple[Sensor | None, Iterator[np.ndarray]]
"""An opened recording: the size of the sensor if the file names it, and packets of events."""

UNKNOWN_SIZE = (65535, 65535)
"""Size that faery returns if a file names none; no sensor is as large."""


def open_faery(path: Path) -> Opened:
    """Open a recording in any format that faery reads."""
    require_package("faery", "events")
    import faery

    stream = faery.file_decoder.Decoder(path, dimensions_fallback=UNKNOWN_SIZE)
    width, height = stream.dimensions()
    sensor = None if (width, height) == UNKNOWN_SIZE else Sensor(height, width)
    return sensor, (from_faery(packet) for packet in stream)


def from_faery(packet: np.ndarray) -> np.ndarray:
    """Convert a packet of faery, whose polarity is called "on", to EVENT `[n]`."""
    return make_events(packet["t"], packet["x"], packet["y"], packet["on"])
