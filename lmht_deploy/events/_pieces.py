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


def read_pieces(path: Path, start: int, record: np.dtype[Any]) -> Iterator[np.ndarray]:
    """Yield the records of the file behind byte `start`, at most PIECE at once.

    Raises:
        DataError: The file ends within a record.
    """
    with path.open("rb") as file:
        file.seek(start)
        while piece := file.read(PIECE * record.itemsize):
            if rest := len(piece) % record.itemsize:
                raise DataError(f"is truncated, {rest} bytes are left over after the last event")
            yield np.frombuffer(piece, record)
