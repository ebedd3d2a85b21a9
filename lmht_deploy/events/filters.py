"""Filters of noise: background activity, refractory time and hot pixels.

A filter takes the valid events of a recording packet by packet and keeps some of them.

    background activity   keeps an event if one of the eight neighbors of its pixel had an event
                          within the last `time` us (Delbruck 2008, "Frame-free dynamic digital
                          vision"); the pixel itself does not count
    refractory            keeps an event if its pixel had no event that was kept less than `time`
                          us before
    hot pixels            removes the events of pixels with n > 10 (1 + m) events, where m is the
                          second largest number of events among the eight neighbors; a pair of hot
                          pixels is found, and an edge of the scene has neighbors of its own
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Protocol

import numpy as np

from lmht_deploy._arguments import check_types
from lmht_deploy.errors import DataError, show

from ._extension import core
from .arrays import EVENT, MAX_TIME, Sensor, as_bytes, as_sensor, is_integer, require_events
from .windows import count_events

HOT_RATIO = 10
"""Ratio of a hot pixel's events to those of its neighbors."""
MAX_PIXELS = 2**26
"""Pixels of the largest sensor whose pixels are looked at one by one."""


class EventFilter(Protocol):
    """Keeps some of the events of a recording.

    Attributes:
        name: What it removes.
    """

    @property
    def name(self) -> str: ...

    def apply(self, events: np.ndarray, /) -> np.ndarray:
        """Return the events of the next packet that are kept, EVENT `[m]`."""
        ...


class _CoreFilter:
    """A filter of the C++ core, which keeps the last events of every pixel."""

    _filter: Any

    def apply(self, events: np.ndarray) -> np.ndarray:
        """Return the events of the next packet that are kept, EVENT `[m]`."""
        packed = as_bytes(events)
        kept = np.empty(len(events), EVENT)
        try:
            number: int = self._filter.apply(packed, as_bytes(kept))
        except ValueError as error:
            raise DataError(str(error)) from None
        return kept[:number]


class BackgroundActivityFilter(_CoreFilter):
    """Removes events without support: no neighboring pixel had an event within `time` us.

    Args:
        sensor: Size of the sensor.
        time: Microseconds, 0 to 2^62.

    Raises:
        DataError: `time` is out of range, or the sensor is too large.
    """

    name = "background activity"

    def __init__(self, sensor: Sensor | tuple[int, int], time: int) -> None:
        sensor = check_pixels(sensor)
        self._filter = core().background_activity_filter(sensor, _check_time(time))


class RefractoryFilter(_CoreFilter):
    """Removes events less than `time` us after a kept event of their pixel.

    Args:
        sensor: Size of the sensor.
        time: Microseconds, 0 to 2^62.

    Raises:
        DataError: `time` is out of range, or the sensor is too large.
    """

    name = "refractory"

    def __init__(self, sensor: Sensor | tuple[int, int], time: int) -> None:
        self._filter = core().refractory_filter(check_pixels(sensor), _check_time(time))


class PixelFilter:
    """Removes the events of some pixels.

    Args:
        pixels: Pixels to remove, bool `[H, W]`, as `find_hot_pixels` returns them.
    """

    name = "hot pixels"

    def __init__(self, pixels: np.ndarray) -> None:
        self._pixels = _check_map("pixels", pixels, "b")

    def apply(self, events: np.ndarray) -> np.ndarray:
        """Return the events of the next packet that are kept, EVENT `[m]`."""
        rows, columns = require_events(events)["y"], events["x"]
        height, width = self._pixels.shape
        if not ((rows < height) & (columns < width)).all():
            raise DataError(f"events must lie on the {width} x {height} pixels of the filter")
        kept: np.ndarray = events[~self._pixels[rows, columns]]
        return kept


@check_types(DataError, packets=Iterable, filters=Sequence, removed=dict)
def filter_events(
    packets: Iterable[np.ndarray], filters: Sequence[EventFilter], removed: dict[str, int]
) -> Iterator[np.ndarray]:
    """Apply filters one after another.

    Args:
        packets: Valid events of a recording.
        filters: The filters, in this order.
        removed: Number of events that each filter removed, by its name; counted here.

    Yields:
        The events of each packet that are kept, EVENT `[m]`.
    """
    for each in filters:
        if not callable(getattr(each, "apply", None)):
            raise DataError(f"a filter of events is needed, not {show(each)}")
    removed.update({each.name: 0 for each in filters})
    for packet in packets:
        events = packet
        for each in filters:
            kept = each.apply(events)
            removed[each.name] += len(events) - len(kept)
            events = kept
        yield events


@check_types(DataError, packets=Iterable)
def count_pixels(packets: Iterable[np.ndarray], sensor: Sensor | tuple[int, int]) -> np.ndarray:
    """Count the valid events of a recording per pixel and polarity.

    Returns:
        int64 `[2, H, W]`, OFF and ON.
    """
    sensor = check_pixels(sensor)
    counts = np.zeros((2, *sensor), np.int64)
    for events in packets:
        count_events(events, 0, len(require_events(events)), sensor, counts)
    return counts


def find_hot_pixels(counts: np.ndarray) -> np.ndarray:
    """Find the hot pixels of a recording.

    Args:
        counts: Number of events per pixel, int `[H, W]` or `[2, H, W]`.

    Returns:
        bool `[H, W]`.
    """
    counts = _check_map("counts", counts, "iu")
    total = counts.astype(np.int64).reshape(-1, *counts.shape[-2:]).sum(0)
    height, width = total.shape
    padded = np.pad(total, 1)
    first = np.zeros_like(total)
    second = np.zeros_like(total)
    for row, column in ((r, c) for r in range(3) for c in range(3) if (r, c) != (1, 1)):
        neighbor = padded[row : row + height, column : column + width]
        second = np.maximum(second, np.minimum(first, neighbor))
        first = np.maximum(first, neighbor)
    hot: np.ndarray = total > HOT_RATIO * (1 + second)
    return hot


def _check_map(name: str, values: np.ndarray, kinds: str) -> np.ndarray:
    """Return an array [H, W], of integers also [2, H, W]; DataError if it is none."""
    ranks = (2,) if kinds == "b" else (2, 3)
    if (
        not isinstance(values, np.ndarray)
        or values.dtype.kind not in kinds
        or values.ndim not in ranks
    ):
        what = "booleans [H, W]" if kinds == "b" else "integers [H, W] or [2, H, W]"
        raise DataError(f"{name} must be {what}, not {show(values)}")
    return values


def check_pixels(sensor: Sensor | tuple[int, int]) -> Sensor:
    """Return the size of a sensor whose pixels fit into memory; DataError otherwise."""
    sensor = as_sensor(sensor)
    if sensor.height * sensor.width > MAX_PIXELS or max(sensor) > 2**16:
        raise DataError(
            f"a sensor of {sensor.width} x {sensor.height} pixels is too large;"
            f" up to {MAX_PIXELS:,} pixels are possible here"
        )
    return sensor


def _check_time(time: int) -> int:
    if not is_integer(time):
        raise DataError(f"the time of a filter must be an integer (us), not {show(time)}")
    if not 0 <= time <= MAX_TIME:
        raise DataError(f"the time of a filter lies within 0 and 2^62 us, not {time}")
    return time
