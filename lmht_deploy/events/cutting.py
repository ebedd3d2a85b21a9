"""Parts of a recording, in time and in space."""

from __future__ import annotations

from collections.abc import Iterator
from types import NoneType

import numpy as np

from lmht_deploy._arguments import INTEGER, check_types
from lmht_deploy.errors import DataError

from .arrays import MAX_TIME, Sensor, require_events
from .recordings import EventStream


@check_types(DataError, stream=EventStream, start=INTEGER, end=(*INTEGER, NoneType))
def cut_events(stream: EventStream, start: int = 0, end: int | None = None) -> EventStream:
    """Keep the events from `start` to before `end`; their times stay as they are.

    Args:
        stream: A recording of valid events.
        start: us after the first event, >= 0.
        end: us after the first event. Default: the whole rest.

    Raises:
        DataError: The times are out of range or out of order.
    """
    last = MAX_TIME if end is None else end
    if not 0 <= start < last <= MAX_TIME:
        raise DataError(f"a part lies within 0 <= start < end, not {start} to {end} us")
    return EventStream(stream.sensor, _cut(stream.packets, start, last))


def _cut(packets: Iterator[np.ndarray], start: int, end: int) -> Iterator[np.ndarray]:
    first: int | None = None
    for events in packets:
        if len(events) == 0:
            continue
        first = int(events["t"][0]) if first is None else first
        t = events["t"] - first
        yield events[np.searchsorted(t, start) : np.searchsorted(t, end)]
        if int(t[-1]) >= end:
            return


@check_types(DataError, stream=EventStream, x=INTEGER, y=INTEGER, width=INTEGER, height=INTEGER)
def crop_events(stream: EventStream, x: int, y: int, width: int, height: int) -> EventStream:
    """Keep a rectangle of pixels, which becomes the sensor.

    Args:
        stream: A recording of valid events.
        x: First column.
        y: First row.
        width: Columns.
        height: Rows.

    Raises:
        DataError: The rectangle is empty or does not lie on the sensor.
    """
    rows, columns = stream.sensor
    inside = 0 <= x < x + width <= columns and 0 <= y < y + height <= rows
    if not inside:
        raise DataError(
            f"the part of {width} x {height} pixels at ({x}, {y}) does not lie on the sensor of"
            f" {columns} x {rows} pixels"
        )
    return EventStream(Sensor(height, width), _crop(stream.packets, x, y, width, height))


def _crop(
    packets: Iterator[np.ndarray], x: int, y: int, width: int, height: int
) -> Iterator[np.ndarray]:
    for packet in packets:
        events = require_events(packet)
        columns, rows = events["x"] - np.uint16(x), events["y"] - np.uint16(y)  # wrap below zero
        kept = (columns < width) & (rows < height)
        part = events[kept]
        part["x"], part["y"] = columns[kept], rows[kept]
        yield part
