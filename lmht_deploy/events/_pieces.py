"""Reading files of events in pieces of constant size."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from lmht_deploy.errors import DataError

from .arrays import Sensor

Opened = tuple[Sensor | None, Iterator[np.ndarray]]
"""An opened recording: the size of the sensor if the file states it, and packets of events."""

PIECE = 2**17
"""Events, or records of a file, that are read at once."""


def read_pieces(
    path: Path, start: int, record: np.dtype[Any], number: int = PIECE
) -> Iterator[np.ndarray]:
    """Return the records of the file behind byte `start`, at most `number` at once.

    Raises:
        DataError: The file ends within a record. This is checked before anything is read.
    """
    if rest := (path.stat().st_size - start) % record.itemsize:
        raise DataError(f"is truncated, {rest} bytes are left over after the last event")
    return _read(path, start, record, number)


def _read(path: Path, start: int, record: np.dtype[Any], number: int) -> Iterator[np.ndarray]:
    with path.open("rb") as file:
        file.seek(start)
        while piece := file.read(number * record.itemsize):
            yield np.frombuffer(piece, record)
