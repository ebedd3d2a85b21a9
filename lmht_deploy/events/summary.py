"""Summary of a recording in one pass and constant memory: what it holds and what is wrong."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np

from lmht_deploy._arguments import check_types
from lmht_deploy.errors import DataError

from .arrays import EventValidator, Sensor
from .filters import check_pixels, find_hot_pixels
from .recordings import EventStream
from .windows import count_events

RATE_BINS = 60
"""Bins of the rate over time: between half of it and all of it."""
LONGEST_GAPS = 5
MAX_HOT = 20
"""Hot pixels that are listed, those with the most events."""


@dataclass(frozen=True)
class Gap:
    """A time without an event.

    Attributes:
        start: Time of the event before it, in us.
        duration: Its length in us.
    """

    start: int
    duration: int


@dataclass(frozen=True)
class HotPixel:
    """A pixel with far more events than its neighbors.

    Attributes:
        x: Column.
        y: Row.
        events: Number of its events.
    """

    x: int
    y: int
    events: int


@dataclass(frozen=True)
class EventSummary:
    """What a recording holds.

    Attributes:
        sensor: Size of the sensor.
        seen: Number of events in the file, invalid ones included.
        events: Number of valid events.
        dropped: Number of invalid events by fault, as in `EventValidator`.
        start: Time of the first event in us.
        end: Time of the last event in us.
        on: Number of ON events.
        bin_us: Length in us of a bin of `rate`.
        rate: Number of events per bin from `start` on.
        gaps: The longest times without an event, the longest first.
        hot_pixels: The pixels with the most events among the hot ones (`filters.find_hot_pixels`).
        hot_count: Number of all hot pixels.
        hot_events: Number of their events.
        active: Number of pixels with an event.
        counts: Number of events per pixel, int64 `[2, H, W]`: OFF and ON.
    """

    sensor: Sensor
    seen: int
    events: int
    dropped: dict[str, int]
    start: int
    end: int
    on: int
    bin_us: int
    rate: tuple[int, ...]
    gaps: tuple[Gap, ...]
    hot_pixels: tuple[HotPixel, ...]
    hot_count: int
    hot_events: int
    active: int
    counts: np.ndarray

    @property
    def duration(self) -> int:
        """Time from the first to the last event in us."""
        return self.end - self.start

    @property
    def mean_rate(self) -> float:
        """Events per second."""
        return self.events / max(self.duration, 1) * 1e6


class Rate:
    """Events per bin, in constant memory: when the bins are used up, pairs of them are joined.

    Attributes:
        bin_us: Length of a bin in us.
        counts: Number of events per bin from the first event on, int64 `[n]`, n <= 60.
    """

    def __init__(self) -> None:
        self.bin_us = 1
        self.counts = np.zeros(0, np.int64)
        self._start: int | None = None

    def add(self, t: np.ndarray) -> None:
        """Count events at the times `t` (us), int64 `[n]` in order."""
        if len(t) == 0:
            return
        self._start = int(t[0]) if self._start is None else self._start
        while (int(t[-1]) - self._start) // self.bin_us >= RATE_BINS:
            self.bin_us *= 2
            padded = np.pad(self.counts, (0, len(self.counts) % 2))
            self.counts = padded.reshape(-1, 2).sum(1)
        found = np.bincount((t - self._start) // self.bin_us)
        length = max(len(found), len(self.counts))
        self.counts = np.pad(self.counts, (0, length - len(self.counts)))
        self.counts[: len(found)] += found


class Gaps:
    """The longest times without an event.

    Attributes:
        longest: The longest ones, the longest first.
    """

    def __init__(self) -> None:
        self.longest: list[Gap] = []
        self._latest: int | None = None

    def add(self, t: np.ndarray) -> None:
        """Note the gaps between events at the times `t` (us), int64 `[n]` in order."""
        if len(t) == 0:
            return
        starts = np.concatenate([[t[0] if self._latest is None else self._latest], t[:-1]])
        lengths = t - starts
        largest = np.argpartition(lengths, -min(LONGEST_GAPS, len(lengths)))[-LONGEST_GAPS:]
        found = [Gap(int(starts[i]), int(lengths[i])) for i in largest if lengths[i] > 0]
        self.longest = sorted([*self.longest, *found], key=lambda gap: (-gap.duration, gap.start))
        del self.longest[LONGEST_GAPS:]
        self._latest = int(t[-1])


@check_types(DataError, recording=EventStream)
def summarize(recording: EventStream, *, max_gap: int | None = None) -> EventSummary:
    """Summarize a recording; invalid events are counted and left out.

    Args:
        recording: The recording.
        max_gap: As in `EventValidator`, in us.

    Raises:
        DataError: The file is damaged, its sensor is too large, or it holds no valid event.

    Example:
        >>> summarize(open_recording("recording.aedat4")).duration
    """
    sensor = check_pixels(recording.sensor)
    validator = EventValidator(sensor, drop=True, max_gap=max_gap)
    rate, gaps, counts = Rate(), Gaps(), np.zeros((2, *sensor), np.int64)
    start = end = None
    for events in _valid_packets(recording.packets, validator):
        start = int(events["t"][0]) if start is None else start
        end = int(events["t"][-1])
        rate.add(events["t"])
        gaps.add(events["t"])
        count_events(events, 0, len(events), sensor, counts)
    if start is None or end is None:
        raise DataError(
            f"holds no valid event; {validator.seen:,} are invalid"
            if validator.seen
            else "holds no event"
        )
    hot = find_hot_pixels(counts)
    total = counts.sum(0)
    return EventSummary(
        sensor=sensor,
        seen=validator.seen,
        events=int(total.sum()),
        dropped=dict(validator.dropped),
        start=start,
        end=end,
        on=int(counts[1].sum()),
        bin_us=rate.bin_us,
        rate=tuple(rate.counts.tolist()),
        gaps=tuple(gaps.longest),
        hot_pixels=_list_hot(total, hot),
        hot_count=int(hot.sum()),
        hot_events=int(total[hot].sum()),
        active=int(np.count_nonzero(total)),
        counts=counts,
    )


def _valid_packets(
    packets: Iterable[np.ndarray], validator: EventValidator
) -> Iterator[np.ndarray]:
    """Valid events of each packet, where there are any."""
    for packet in packets:
        if len(valid := validator.validate(packet)):
            yield valid
    if len(valid := validator.finish()):
        yield valid


def _list_hot(total: np.ndarray, hot: np.ndarray) -> tuple[HotPixel, ...]:
    rows, columns = np.nonzero(hot)
    found = [
        HotPixel(x, y, int(total[y, x]))
        for y, x in zip(rows.tolist(), columns.tolist(), strict=True)
    ]
    return tuple(sorted(found, key=lambda pixel: -pixel.events)[:MAX_HOT])
