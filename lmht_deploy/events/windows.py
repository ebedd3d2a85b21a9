"""The window rule: events -> integer count frames, the same for training, running and streaming.

A window is `[T_in, 2, H, W]`: T_in time bins, channel 0 the OFF and 1 the ON events, each cell the number of events. Every
event falls into exactly one bin (docs/events.md draws it), so the counts of all windows add up to the number of events.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np

from ..errors import DataError
from .arrays import Sensor

MAX_CELLS = 2**28
"""Cells (2 GiB of them) that `windows` may fill: beyond it, a damaged time or size would fill the memory."""


@dataclass(frozen=True)
class Rule:
    """How a recording is cut into windows of `steps` (T_in) bins; with t0 and t1 its first and last time:

        by "recording"  one window:  bin = min(floor((t - t0)·T_in / (t1 - t0)), T_in - 1)
        by "time"       windows of T_in bins of `length` microseconds each:  bin = floor((t - t0) / length)
        by "events"     windows of T_in bins of `length` events each:  bin = floor(index / length)

    Bins are half-open, [start, end); the last bin of "recording" is closed, as in a histogram. Bin edges are rational, never
    rounded. The last window of "time" and "events" may be incomplete: the bins that it lacks are empty.
    """

    steps: int
    by: Literal["recording", "time", "events"] = "recording"
    length: int = 0

    def __post_init__(self) -> None:
        if self.steps < 1:
            raise DataError(f"a window needs at least one bin, not {self.steps}")
        if self.by not in ("recording", "time", "events"):
            raise DataError(f"windows are cut by 'recording', 'time' or 'events', not by {self.by!r}")
        if self.by == "recording" and self.length:
            raise DataError("a window of the whole recording has no bin length; give it with by='time' or by='events'")
        if self.by != "recording" and self.length < 1:
            raise DataError(f"windows by {self.by} need a bin length >= 1 ({'microseconds' if self.by == 'time' else 'events'}), not {self.length}")

    def bins(self, events: np.ndarray) -> np.ndarray:
        """int64 [n]: the bin of every event of a whole recording, counted from its start and never decreasing."""
        if len(events) == 0:
            raise DataError("a recording without events has no windows")
        if self.by == "events":
            return np.arange(len(events)) // self.length
        t = events["t"] - events["t"][0]
        if self.by == "time":
            return t // self.length
        duration = max(int(t[-1]), 1)
        if duration > np.iinfo(np.int64).max // self.steps:
            raise DataError(f"the recording lasts {duration} us, too long to be cut into {self.steps} bins")
        return np.minimum(t * self.steps // duration, self.steps - 1)


def windows(events: np.ndarray, sensor: Sensor, rule: Rule, size: Sensor | None = None) -> np.ndarray:
    """All windows of a recording, as counts int64 [N, T_in, 2, H, W].

    `events` is EVENT [n] as `checked` returns it, n >= 1. Where `size` is given, addresses are mapped to it (x·W' // W),
    so that a cell sums the counts of the pixels that fall into it. Raises DataError for an empty recording, a `size` beyond
    the sensor and a time so far off that the windows would not fit the memory.
    """
    size = fitting(size, sensor)
    number = int(rule.bins(events)[-1]) // rule.steps + 1
    if number * rule.steps * 2 * size.height * size.width > MAX_CELLS:
        raise DataError(f"the recording makes {number} windows of {rule.steps} x 2 x {size.height} x {size.width}; choose a longer bin or a smaller size")
    return np.stack(list(iterate(events, sensor, rule, size)))


def iterate(events: np.ndarray, sensor: Sensor, rule: Rule, size: Sensor | None = None) -> Iterator[np.ndarray]:
    """The windows of `windows` one after another, each int64 [T_in, 2, H, W]."""
    size = fitting(size, sensor)
    bins = rule.bins(events)
    for number in range(int(bins[-1]) // rule.steps + 1):
        first, last = np.searchsorted(bins, [number * rule.steps, (number + 1) * rule.steps])
        yield count(events[first:last], bins[first:last] - number * rule.steps, rule.steps, sensor, size)


def fitting(size: Sensor | None, sensor: Sensor) -> Sensor:
    """`size`, by default that of the sensor; DataError where it is larger than this."""
    if size is not None and not (1 <= size.height <= sensor.height and 1 <= size.width <= sensor.width):
        raise DataError(f"windows of {size.width} x {size.height} cannot be made from a sensor of {sensor.width} x {sensor.height}; they must not be larger")
    return size or sensor


def count(events: np.ndarray, bins: np.ndarray, steps: int, sensor: Sensor, size: Sensor) -> np.ndarray:
    """Counts int64 [T_in, 2, H, W] of EVENT [n] that lie in `bins` [n] (0..T_in - 1) of one window."""
    shape = (steps, 2, size.height, size.width)
    rows = events["y"].astype(np.int64) * size.height // sensor.height
    columns = events["x"].astype(np.int64) * size.width // sensor.width
    cells = ((bins * 2 + events["p"]) * size.height + rows) * size.width + columns
    return np.bincount(cells, minlength=int(np.prod(shape))).reshape(shape)


def saturated(counts: np.ndarray, high: int = 255) -> tuple[np.ndarray, int]:
    """`counts` clipped to the input range 0..`high` of a network (uint8 up to 255, else uint16), and the events lost by it."""
    if not 1 <= high <= np.iinfo(np.uint16).max:
        raise DataError(f"the largest count of an input must lie within 1..{np.iinfo(np.uint16).max}, not {high}")
    lost = int(np.maximum(counts - high, 0).sum())
    return np.minimum(counts, high).astype(np.uint8 if high <= 255 else np.uint16), lost
