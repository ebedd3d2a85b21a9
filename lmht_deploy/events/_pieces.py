"""Reading files of events in pieces of constant size."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from lmht_deploy.errors import DataError

from .arrays import Sensor

Opened = tuple[Sensor | None, Iterator[np.ndarray]]
"""An opened recording: the size of the sensor if the file states it, and packets of events."""

PIECE = 2**17
"""Events, or records of a file, that are read at once."""

MAX_EXPANSION = 2000
"""Largest ratio of events to compressed bytes that is believed; real events reach about 10."""
EXPANSION_FLOOR = 2**24
"""Bytes of events that are always believed, however small they are compressed."""


class Choice(NamedTuple):
    """What the caller chooses where a file leaves it open.

    Attributes:
        sensor: Size of the sensor.
        track: Name or number of the track to read.
    """

    sensor: Sensor | None = None
    track: str | None = None


def check_expansion(declared: int, stored: int) -> None:
    """Require that `stored` compressed bytes can hold `declared` bytes of events.

    Raises:
        DataError: They cannot, so that reading them would fill the memory with nothing.
    """
    if declared > EXPANSION_FLOOR and declared > MAX_EXPANSION * stored:
        raise DataError(f"declares {declared:,} bytes of events and stores {stored:,} bytes")


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
