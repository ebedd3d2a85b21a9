"""The window rule: events become integer count frames, for training, inference and streams alike.

A window is `[T_in, 2, H, W]`: T_in time bins, channel 0 the OFF and channel 1 the ON events, each
cell the number of events. Every event falls into exactly one bin, so the counts of all windows that
do not overlap add up to the number of events. docs/reference/events.md has a drawing.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass, fields
from typing import Literal, get_args

import numpy as np

from lmht_deploy._arguments import check_types
from lmht_deploy.errors import DataError, counted

from ._extension import core
from .arrays import MAX_TIME, Sensor, as_bytes, as_sensor, is_integer, require_events

MAX_CELLS = 2**28
"""Largest number of cells (2 GiB) of `count_windows`: a damaged time could ask for any number."""


By = Literal["recording", "time", "events"]
"""What the bins of a window have in common: their share of the recording, time or events."""


@dataclass(frozen=True)
class WindowRule:
    """How a recording is cut into windows of T_in bins.

    The bin of event n at time t, with t0 and t1 the times of the first and the last event:

        "recording"   min(floor((t - t0) T_in / (t1 - t0)), T_in - 1)
        "time"        floor((t - t0) / bin_length)      bin_length = length / T_in
        "events"      floor(n / bin_length)

    "recording" makes one window. For the others, window k consists of the T_in bins from bin
    k · hop on, and the last window is the first that contains the last event. Bins are half-open,
    [start, end). The last bin of "recording" is closed, as in a histogram. Bin edges are rational
    and never rounded. The last window of "time" and "events" may be incomplete: the recording
    ends before the window does.

    Attributes:
        steps: T_in, number of bins per window.
        by: "recording", "time" or "events".
        length: Length of a window in us (by time) or events (by events), a multiple of `steps`;
            0 by recording.
        hop: Bins between the starts of two windows, 1 to T_in. Windows with `hop` < T_in overlap.
            Default: T_in.

    Raises:
        DataError: The fields do not fit each other.
    """

    steps: int
    by: By = "recording"
    length: int = 0
    hop: int = 0

    def __post_init__(self) -> None:
        if not is_integer(self.steps) or self.steps < 1:
            raise DataError(f"a window needs at least one bin, not {self.steps!r}")
        if not isinstance(self.by, str) or self.by not in get_args(By):
            raise DataError(
                f"windows are cut by 'recording', 'time' or 'events', not by {self.by!r}"
            )
        self._check_length()
        if not is_integer(self.hop) or not 0 <= self.hop <= self.steps:
            raise DataError(
                f"the hop of windows of {self.steps} bins must be 1 to {self.steps} bins,"
                f" not {self.hop!r}"
            )
        if self.by == "recording" and self.hop not in (0, self.steps):
            raise DataError("there is one window by recording, and no hop; cut by time or events")
        for name in ("steps", "length", "hop"):
            object.__setattr__(self, name, int(getattr(self, name)))
        object.__setattr__(self, "hop", self.hop or self.steps)

    def _check_length(self) -> None:
        if self.by == "recording":
            if self.length:
                raise DataError("windows by recording have no length; cut by time or events")
            return
        unit = "microseconds" if self.by == "time" else "events"
        if not is_integer(self.length) or self.length < 1:
            raise DataError(
                f"windows by {self.by} need a length >= 1 ({unit}), not {self.length!r}"
            )
        if rest := self.length % self.steps:
            below, above = self.length - rest, self.length - rest + self.steps
            raise DataError(
                f"the length of a window of {self.steps} bins must be a multiple of {self.steps}"
                f" {unit}, not {self.length}; the nearest are"
                f" {f'{below} and ' if below else ''}{above}"
            )

    @property
    def bin_length(self) -> int:
        """Length of a bin in us (by time) or events (by events); 0 by recording."""
        return self.length // self.steps

    def __str__(self) -> str:
        bins = counted(self.steps, "bin")
        if self.by == "recording":
            return f"one window per recording ({bins})"
        length = counted(self.length, "event") if self.by == "events" else f"{self.length:,} us"
        hop = "" if self.hop == self.steps else f", a new one every {self.hop}"
        return f"windows of {length} ({bins}{hop})"

    def to_text(self) -> str:
        """Format the rule as the JSON that `Network.metadata["window"]` and exported files hold."""
        return json.dumps(asdict(self))

    @classmethod
    def from_text(cls, text: str) -> WindowRule:
        """Read a rule that `to_text` wrote.

        Raises:
            DataError: It is not such a text.
        """
        try:
            values = json.loads(text)
        except (TypeError, ValueError, RecursionError):
            values = None
        if not isinstance(values, dict) or set(values) != {item.name for item in fields(cls)}:
            raise DataError(f"a window rule is a JSON object as to_text writes it, not {text!r}")
        return cls(**values)

    def bin(self, t: int, index: int, start: int, end: int = 0) -> int:
        """Compute the bin of an event, counted from the first bin of the recording.

        Args:
            t: Time of the event in us.
            index: Index of the event.
            start: t0.
            end: t1; only "recording" needs it.
        """
        if self.by == "events":
            return index // self.bin_length
        if self.by == "time":
            return (t - start) // self.bin_length
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
            return min(bin * self.bin_length - seen, len(events))
        if self.by == "time":
            return _count_earlier(events, start + bin * self.bin_length)
        if bin == self.steps:  # the last bin is closed
            return len(events)
        edge = -(-bin * max(end - start, 1) // self.steps)  # rounded up
        return _count_earlier(events, start + edge)

    def number_of_windows(self, events: np.ndarray) -> int:
        """Compute the number of windows of a recording EVENT `[n]`; DataError for n = 0."""
        start, end = _first_and_last(require_events(events))
        bins = self.bin(end, len(events) - 1, start, end) + 1
        return 1 + max(0, -(-(bins - self.steps) // self.hop))

    def number_of_complete_windows(self, events: np.ndarray) -> int:
        """Compute the number of windows that end before the recording EVENT `[n]` does.

        It is `number_of_windows`, or one less. A window by time is complete if the last event is
        not earlier than its end. A window by events is complete if it has all its events.
        """
        start, end = _first_and_last(require_events(events))
        if self.by == "recording":
            return 1
        extent = len(events) if self.by == "events" else end - start
        return max(0, (extent // self.bin_length - self.steps) // self.hop + 1)

    def starts(self, events: np.ndarray) -> np.ndarray:
        """Compute where every window of a recording starts.

        Args:
            events: EVENT `[n]`, n >= 1.

        Returns:
            int64 `[N]`, us from the first event; by events, the time of the window's first event.
        """
        edges = self.hop * self.bin_length * np.arange(self.number_of_windows(events))
        if self.by != "events":
            return edges
        times: np.ndarray = events["t"][edges] - events["t"][0]
        return times


def _first_and_last(events: np.ndarray) -> tuple[int, int]:
    """Times of the first and the last event in us."""
    if len(events) == 0:
        raise DataError("a recording without events has no windows")
    return int(events["t"][0]), int(events["t"][-1])


def _count_earlier(events: np.ndarray, time: int) -> int:
    """Number of events that are earlier than `time` (us)."""
    return int(core().first_at(as_bytes(events), min(time, MAX_TIME + 1)))


@check_types(DataError, events=np.ndarray, rule=WindowRule)
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
            f" {rule.steps} x 2 x {size.height} x {size.width}; choose longer windows or a"
            " smaller size"
        )
    return np.stack(list(iterate_windows(events, sensor, rule, size)))


@check_types(DataError, events=np.ndarray, rule=WindowRule)
def iterate_windows(
    events: np.ndarray, sensor: Sensor, rule: WindowRule, size: Sensor | None = None
) -> Iterator[np.ndarray]:
    """Yield the windows of `count_windows` one after another, each int64 `[T_in, 2, H', W']`."""
    sensor = as_sensor(sensor)
    size = check_size(None if size is None else as_sensor(size), sensor)
    events = np.ascontiguousarray(require_events(events))
    number = rule.number_of_windows(events)
    start, end = _first_and_last(events)
    frames, kept, done = np.zeros((rule.steps, 2, *size), np.int64), 0, 0
    for first in range(0, number * rule.hop, rule.hop):
        for step in range(kept, rule.steps):
            edge = rule.count_before(first + step + 1, events, start, end)
            count_events(events, done, edge, sensor, frames[step])
            done = edge
        yield frames
        kept = rule.steps - rule.hop  # bins that the next window shares with this one
        frames = np.concatenate([frames[rule.hop :], np.zeros((rule.hop, 2, *size), np.int64)])


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


def down_sampling(size: Sensor, sensor: Sensor) -> str:
    """Say how the pixels of a sensor become those of a window; nothing if they are the same."""
    if size == sensor:
        return ""
    return (
        f"{sensor.width} x {sensor.height} pixels are down-sampled to {size.width} x {size.height}"
    )


def count_events(
    events: np.ndarray, first: int, last: int, sensor: Sensor, frame: np.ndarray
) -> None:
    """Add `events[first:last]` to the counts of one bin, `frame` int64 `[2, H, W]`."""
    try:
        core().count(as_bytes(events), first, last, sensor, frame)
    except ValueError as error:
        raise DataError(
            f"events must be valid, as validate_events returns them ({error})"
        ) from None


def clip_bin(frame: np.ndarray, max_count: int, clipped: np.ndarray) -> int:
    """Write the counts of one bin, at most `max_count` each, to `clipped`, int32 `[2, H, W]`.

    Args:
        frame: int64 `[2, H, W]`.
        max_count: Largest count.
        clipped: Is overwritten.

    Returns:
        The number of events that are lost.
    """
    lost: int = core().clip(frame, max_count, clipped)
    return lost


@check_types(DataError, counts=np.ndarray, max_count=(int, np.integer))
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
    if counts.dtype.kind not in "iu":
        raise DataError(f"counts must be integers, not {counts.dtype}")
    dtype = smallest_dtype(max_count)
    lost = int(np.maximum(counts - max_count, 0).sum())
    return np.minimum(counts, max_count).astype(dtype), lost


def smallest_dtype(max_count: int) -> type[np.uint8] | type[np.uint16]:
    """Return the dtype of clipped counts; DataError if `max_count` is not within 1..65535."""
    if not 1 <= max_count <= np.iinfo(np.uint16).max:
        raise DataError(
            f"the largest count of an input must lie within 1..{np.iinfo(np.uint16).max},"
            f" not {max_count}"
        )
    return np.uint8 if max_count <= 255 else np.uint16
