"""The window rule: events become integer count frames, for training, inference and streams alike.

A window is `[T_in, 2, H, W]`: T_in time bins, channel 0 the OFF and channel 1 the ON events, each
cell the number of events. Every event falls into exactly one bin, so the counts of all windows add
up to the number of events. docs/reference/events.md has a drawing.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np

from lmht_deploy.errors import DataError

from ._extension import core
from .arrays import MAX_TIME, Sensor, as_bytes, as_sensor

MAX_CELLS = 2**28
"""Largest number of cells (2 GiB) of `count_windows`: a damaged time could ask for any number."""


@dataclass(frozen=True)
class WindowRule:
    """How a recording is cut into windows of T_in bins.

    The bin of event n at time t, with t0 and t1 the times of the first and the last event:

        "recording"   min(floor((t - t0) T_in / (t1 - t0)), T_in - 1)
        "time"        floor((t - t0) / length)
        "events"      floor(n / length)

    "recording" makes one window, the others make one for every T_in bins.
    Bins are half-open, [start, end). The last bin of "recording" is closed, as in a histogram. Bin
    edges are rational and never rounded. The last window of "time" and "events" may be incomplete:
    its missing bins are empty.

    Attributes:
        steps: T_in, number of bins of a window.
        by: "recording", "time" or "events".
        length: Length of a bin in us (by time) or events (by events).

    Raises:
        DataError: The fields do not fit each other.
    """

    steps: int
    by: Literal["recording", "time", "events"] = "recording"
    length: int = 0

    def __post_init__(self) -> None:
        if not isinstance(self.steps, int | np.integer) or self.steps < 1:
            raise DataError(f"a window needs at least one bin, not {self.steps!r}")
        if self.by not in ("recording", "time", "events"):
            raise DataError(
                f"windows are cut by 'recording', 'time' or 'events', not by {self.by!r}"
            )
        if self.by == "recording" and self.length:
            raise DataError(
                "windows by recording have no bin length; use by='time' or by='events' with it"
            )
        length_fits = isinstance(self.length, int | np.integer) and self.length >= 1
        if self.by != "recording" and not length_fits:
            unit = "microseconds" if self.by == "time" else "events"
            raise DataError(
                f"windows by {self.by} need a bin length >= 1 ({unit}), not {self.length!r}"
            )

    def bin(self, t: int, index: int, start: int, end: int = 0) -> int:
        """Compute the bin of an event, counted from the first bin of the recording.

        Args:
            t: Time of the event in us.
            index: Index of the event.
            start: t0.
            end: t1; only "recording" needs it.
        """
        if self.by == "events":
            return index // self.length
        if self.by == "time":
            return (t - start) // self.length
        return min((t - start) * self.steps // max(end - start, 1), self.steps - 1)

    def count_before(
        self, bin: int, events: np.ndarray, start: int, end: int = 0, seen: int = 0
    ) -> int:
        """Count the events that fall into bins before `bin`.

        Args:
            bin: Bin as in `bin`.
            events: EVENT `[n]`.
            start: t0.
            end: t1; only "recording" needs it.
            seen: Number of events of the recording before `events`.
        """
        if self.by == "events":
            return min(bin * self.length - seen, len(events))
        if self.by == "time":
            return _count_earlier(events, start + bin * self.length)
        if bin == self.steps:  # the last bin is closed
            return len(events)
        edge = -(-bin * max(end - start, 1) // self.steps)  # rounded up
        return _count_earlier(events, start + edge)

    def number_of_windows(self, events: np.ndarray) -> int:
        """Compute the number of windows of a recording EVENT `[n]`; DataError for n = 0."""
        if len(events) == 0:
            raise DataError("a recording without events has no windows")
        start, end = int(events["t"][0]), int(events["t"][-1])
        return self.bin(end, len(events) - 1, start, end) // self.steps + 1


def _count_earlier(events: np.ndarray, time: int) -> int:
    """Number of events that are earlier than `time` (us)."""
    return int(core().first_at(as_bytes(events), min(time, MAX_TIME + 1)))


def count_windows(
    events: np.ndarray, sensor: Sensor, rule: WindowRule, size: Sensor | None = None
) -> np.ndarray:
    """Count the events of a recording into all its windows.

    Args:
        events: EVENT `[n]` as `validate_events` returns it, n >= 1.
        sensor: Size of the sensor.
        rule: The window rule.
        size: Size H' x W' of the windows: pixel x falls into cell floor(x W' / W), and a cell sums
            its pixels. Default: that of the sensor.

    Returns:
        int64 `[N, T_in, 2, H', W']`.

    Raises:
        DataError: There is no event, `size` is larger than the sensor, or the windows would not
            fit into memory.
    """
    sensor = as_sensor(sensor)
    size = check_size(None if size is None else as_sensor(size), sensor)
    number = rule.number_of_windows(events)
    if number * rule.steps * 2 * size.height * size.width > MAX_CELLS:
        raise DataError(
            f"the recording makes {number} windows of"
            f" {rule.steps} x 2 x {size.height} x {size.width}; choose a longer bin or a smaller"
            " size"
        )
    return np.stack(list(iterate_windows(events, sensor, rule, size)))


def iterate_windows(
    events: np.ndarray, sensor: Sensor, rule: WindowRule, size: Sensor | None = None
) -> Iterator[np.ndarray]:
    """Yield the windows of `count_windows` one after another, each int64 `[T_in, 2, H', W']`."""
    size = check_size(size, sensor)
    number = rule.number_of_windows(events)
    events = np.ascontiguousarray(events)
    start, end = int(events["t"][0]), int(events["t"][-1])
    done = 0
    for window in range(number):
        counts = np.zeros((rule.steps, 2, *size), np.int64)
        for step in range(rule.steps):
            edge = rule.count_before(window * rule.steps + step + 1, events, start, end)
            count_events(events, done, edge, sensor, counts[step])
            done = edge
        yield counts


def check_size(size: Sensor | None, sensor: Sensor) -> Sensor:
    """Return the size of windows, by default that of the sensor; DataError if it is larger."""
    if size is None:
        return sensor
    if not (1 <= size.height <= sensor.height and 1 <= size.width <= sensor.width):
        raise DataError(
            f"windows of {size.width} x {size.height} pixels cannot be made from a sensor of"
            f" {sensor.width} x {sensor.height}; they must not be larger"
        )
    return size


def count_events(
    events: np.ndarray, first: int, last: int, sensor: Sensor, frame: np.ndarray
) -> None:
    """Add `events[first:last]` to the counts of one bin, `frame` int64 `[2, H, W]`."""
    core().count(as_bytes(events), first, last, sensor, frame)


def clip_counts(counts: np.ndarray, max_count: int = 255) -> tuple[np.ndarray, int]:
    """Clip counts to the input range of a network.

    Args:
        counts: Integers of any shape, >= 0.
        max_count: Largest count, 1 to 65535.

    Returns:
        The clipped counts (uint8 for `max_count` <= 255, otherwise uint16), and the number of
        events that are lost.

    Raises:
        DataError: `max_count` is out of range.
    """
    if not 1 <= max_count <= np.iinfo(np.uint16).max:
        raise DataError(
            f"the largest count of an input must lie within 1..{np.iinfo(np.uint16).max},"
            f" not {max_count}"
        )
    lost = int(np.maximum(counts - max_count, 0).sum())
    return np.minimum(counts, max_count).astype(np.uint8 if max_count <= 255 else np.uint16), lost
