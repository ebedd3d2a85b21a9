"""The window rule: events -> integer count frames, the same for training, running and streaming.

A window is `[T_in, 2, H, W]`: T_in time bins, channel 0 the OFF and 1 the ON events, each cell the number of events. Every
event falls into exactly one bin (docs/events.md draws it), so the counts of all windows add up to the number of events.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np

from lmht_deploy.errors import DataError

from .arrays import MAX_TIME, Sensor, packed
from .extension import core

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
            raise DataError(
                f"windows are cut by 'recording', 'time' or 'events', not by {self.by!r}"
            )
        if self.by == "recording" and self.length:
            raise DataError(
                "a window of the whole recording has no bin length; give it with by='time' or by='events'"
            )
        if self.by != "recording" and self.length < 1:
            raise DataError(
                f"windows by {self.by} need a bin length >= 1 ({'microseconds' if self.by == 'time' else 'events'}), not {self.length}"
            )

    def bin(self, t: int, index: int, start: int, end: int = 0) -> int:
        """The bin, counted from the start, of event `index` at time `t`; `start` and `end` are t0 and t1 (only "recording" asks for this)."""
        if self.by == "events":
            return index // self.length
        if self.by == "time":
            return (t - start) // self.length
        return min((t - start) * self.steps // max(end - start, 1), self.steps - 1)

    def before(self, bin: int, events: np.ndarray, start: int, end: int = 0, seen: int = 0) -> int:
        """How many of EVENT [n], which follow after `seen` others, lie before `bin`; `start` and `end` as in `bin`."""
        if self.by == "events":
            return min(bin * self.length - seen, len(events))
        if self.by == "time":
            return _earlier(events, start + bin * self.length)
        if bin == self.steps:  # the last bin is closed
            return len(events)
        return _earlier(events, start - (-bin * max(end - start, 1) // self.steps))  # rounded up

    def number(self, events: np.ndarray) -> int:
        """How many windows EVENT [n] makes; DataError where n = 0."""
        if len(events) == 0:
            raise DataError("a recording without events has no windows")
        start, end = int(events["t"][0]), int(events["t"][-1])
        return self.bin(end, len(events) - 1, start, end) // self.steps + 1


def _earlier(events: np.ndarray, time: int) -> int:
    """How many of EVENT [n] are earlier than `time` (us)."""
    return core().first_at(packed(events), min(time, MAX_TIME + 1))


def windows(
    events: np.ndarray, sensor: Sensor, rule: Rule, size: Sensor | None = None
) -> np.ndarray:
    """All windows of a recording, as counts int64 [N, T_in, 2, H, W].

    `events` is EVENT [n] as `checked` returns it, n >= 1. Where `size` is given, addresses are mapped to it (x·W' // W),
    so that a cell sums the counts of the pixels that fall into it. Raises DataError for an empty recording, a `size` beyond
    the sensor and a time so far off that the windows would not fit the memory.
    """
    size = fitting(size, sensor)
    number = rule.number(events)
    if number * rule.steps * 2 * size.height * size.width > MAX_CELLS:
        raise DataError(
            f"the recording makes {number} windows of {rule.steps} x 2 x {size.height} x {size.width}; choose a longer bin or a smaller size"
        )
    return np.stack(list(iterate(events, sensor, rule, size)))


def iterate(
    events: np.ndarray, sensor: Sensor, rule: Rule, size: Sensor | None = None
) -> Iterator[np.ndarray]:
    """The windows of `windows` one after another, each int64 [T_in, 2, H, W]."""
    size = fitting(size, sensor)
    number = rule.number(events)
    events = np.ascontiguousarray(events)
    start, end = int(events["t"][0]), int(events["t"][-1])
    done = 0
    for window in range(number):
        counts = np.zeros((rule.steps, 2, *size), np.int64)
        for step in range(rule.steps):
            edge = rule.before(window * rule.steps + step + 1, events, start, end)
            count(events, done, edge, sensor, counts[step])
            done = edge
        yield counts


def fitting(size: Sensor | None, sensor: Sensor) -> Sensor:
    """`size`, by default that of the sensor; DataError where it is larger than this."""
    if size is not None and not (
        1 <= size.height <= sensor.height and 1 <= size.width <= sensor.width
    ):
        raise DataError(
            f"windows of {size.width} x {size.height} cannot be made from a sensor of {sensor.width} x {sensor.height}; they must not be larger"
        )
    return size or sensor


def count(events: np.ndarray, first: int, last: int, sensor: Sensor, frame: np.ndarray) -> None:
    """Add EVENT [n], from index `first` until `last`, to the counts `frame` int64 [2, H, W] of one bin."""
    core().count(packed(events), first, last, sensor, frame)


def saturated(counts: np.ndarray, max_count: int = 255) -> tuple[np.ndarray, int]:
    """`counts` clipped to the input range 0..`max_count` of a network (uint8 up to 255, else uint16), and the events lost by it."""
    if not 1 <= max_count <= np.iinfo(np.uint16).max:
        raise DataError(
            f"the largest count of an input must lie within 1..{np.iinfo(np.uint16).max}, not {max_count}"
        )
    lost = int(np.maximum(counts - max_count, 0).sum())
    return np.minimum(counts, max_count).astype(np.uint8 if max_count <= 255 else np.uint16), lost
