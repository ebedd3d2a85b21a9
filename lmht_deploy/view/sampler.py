"""Counts what a page shows, and samples it."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import NamedTuple, Protocol

import numpy as np

from lmht_deploy.events.arrays import Sensor
from lmht_deploy.events.stream import Counts, Decision, Outcome
from lmht_deploy.events.windows import count_events
from lmht_deploy.result import Result

LARGEST_SIDE = 240
"""Pixels of the longer side of a picture; a larger sensor is reduced."""
ANSWERS = 32
"""Answers that a picture holds, at most: the last ones."""
LATENCIES = 256
"""Windows whose latencies make a percentile."""
RATE_SECONDS = 1.0
"""Seconds over which rates are averaged."""


class Layer(NamedTuple):
    """A layer of a network, as the page shows it.

    Attributes:
        name: Its name.
        neuron_steps: Number of neurons times time-steps per window; 0 for the read-out.
    """

    name: str
    neuron_steps: int


@dataclass(frozen=True)
class Shown:
    """A decision with its counts by layer.

    Attributes:
        decision: The decision.
        spikes: Number of spikes by layer of neurons.
        sops: Number of synaptic operations by layer with synapses.
    """

    decision: Decision
    spikes: tuple[int, ...]
    sops: tuple[int, ...]


class Rates(NamedTuple):
    """Rates per second of wall time."""

    events: float
    windows: float
    sops: float


class Totals(NamedTuple):
    """Counts since the start."""

    events: int = 0
    windows: int = 0
    sops: int = 0


@dataclass(frozen=True, eq=False)
class Picture:
    """What a page shows at one moment.

    Attributes:
        number: Number of the picture.
        counts: Events since the last picture, uint8 `[2, H, W]` (OFF and ON), at most 255.
        time: Time of the last event in us from the first event.
        answer: The last decision.
        answers: The decisions since the last picture; the last ones if there are many.
        totals: Counts since the start.
        rates: Rates of the last second.
        latency: Percentiles 50 and 99 of the latencies of the last windows, in seconds.
    """

    number: int
    counts: np.ndarray
    time: int
    answer: Shown | None
    answers: tuple[Shown, ...]
    totals: Totals
    rates: Rates
    latency: tuple[float, float]

    def following(self, dropped: Picture) -> Picture:
        """Return this picture with the events and answers of an older one that is not shown."""
        counts = np.minimum(self.counts.astype(np.uint16) + dropped.counts, 255).astype(np.uint8)
        answers = (*dropped.answers, *self.answers)[-ANSWERS:]
        return replace(self, counts=counts, answers=answers)


def picture_size(sensor: Sensor) -> Sensor:
    """Return the size of the pictures of a sensor."""
    factor = max(1, max(sensor) / LARGEST_SIDE)
    return Sensor(*(max(1, round(side / factor)) for side in sensor))


class Sampler:
    """Counts events and decisions between two pictures.

    The thread of the stream counts; another thread takes pictures. Neither waits for the other
    longer than a few copies take.

    Args:
        sensor: Size of the sensor.
        clock: Time in seconds.

    Attributes:
        watching: Whether a page is open. Without one, events are not drawn.
    """

    def __init__(self, sensor: Sensor, clock: Callable[[], float] = time.perf_counter) -> None:
        self.watching = False
        self.sensor, self.size = sensor, picture_size(sensor)
        self._clock = clock
        self._lock = threading.Lock()
        self._counts = np.zeros((2, *self.size), np.int64)
        self._totals = Totals()
        self._time = 0
        self._answer: Shown | None = None
        self._answers: deque[Shown] = deque(maxlen=ANSWERS)
        self._latencies: deque[float] = deque(maxlen=LATENCIES)
        self._history: deque[tuple[float, Totals]] = deque()
        self._number, self._changed = 0, True

    # --------------------------------------------------------------------- the thread of the stream

    def count(self, events: np.ndarray, first: int, last: int, time: int) -> None:
        """Count `events[first:last]`, EVENT `[n]`, valid; the last one is from `time` (us)."""
        with self._lock:
            if self.watching:
                count_events(events, first, last, self.sensor, self._counts)
            self._totals = self._totals._replace(events=self._totals.events + last - first)
            self._time, self._changed = time, True

    def add(self, decision: Decision, result: Result) -> None:
        """Add a decision and the result it was made of."""
        shown = Shown(decision, _first_window(result.spikes), _first_window(result.sops))
        with self._lock:
            self._answer = shown
            self._answers.append(shown)
            self._latencies.append(decision.latency)
            windows, sops = self._totals.windows + 1, self._totals.sops + decision.sops
            self._totals = self._totals._replace(windows=windows, sops=sops)
            self._changed = True

    # ---------------------------------------------------------------------- the thread of the pages

    def touch(self) -> None:
        """Ask for a picture although nothing was counted."""
        with self._lock:
            self._changed = True

    def take(self) -> Picture | None:
        """Return a picture of what was counted since the last one; None if that is nothing."""
        empty = np.zeros((2, *self.size), np.int64)
        with self._lock:
            totals, rates = self._totals, self._rates()
            if not self._changed:
                return None
            counts, self._counts = self._counts, empty
            time, answer, latencies = self._time, self._answer, sorted(self._latencies)
            answers = tuple(self._answers)
            self._answers.clear()
            self._changed = rates.events > 0  # the rates fall until they are 0
        self._number += 1
        return Picture(
            number=self._number,
            counts=np.minimum(counts, 255).astype(np.uint8),
            time=time,
            answer=answer,
            answers=answers,
            totals=totals,
            rates=rates,
            latency=(_percentile(latencies, 50), _percentile(latencies, 99)),
        )

    def _rates(self) -> Rates:
        """Rates since the oldest sample of the last second."""
        now = self._clock()
        self._history.append((now, self._totals))
        while len(self._history) > 2 and self._history[1][0] <= now - RATE_SECONDS:
            self._history.popleft()
        since, before = self._history[0]
        seconds = max(now - since, 1e-3)
        return Rates(*((n - m) / seconds for n, m in zip(self._totals, before, strict=True)))


def _first_window(counts: Mapping[str, np.ndarray]) -> tuple[int, ...]:
    """The counts of all layers for a run of one window."""
    return tuple(int(layer[0]) for layer in counts.values())


def _percentile(ordered: list[float], percent: int) -> float:
    return ordered[(len(ordered) - 1) * percent // 100] if ordered else 0.0


class Watcher(Protocol):
    """Is shown the events that are counted."""

    def count(self, events: np.ndarray, first: int, last: int, time: int) -> None:
        """Count `events[first:last]`, EVENT `[n]`, valid; the last one is from `time` (us)."""


class WatchedBins:
    """Bins that show a sampler what they count, and leave out windows before a time.

    Args:
        bins: The bins of the network.
        sampler: Counts for the page, or writes.
        first: Start of the earliest window that runs, in us from the first event. Earlier events
            are not shown.
        start: Returns the start of the window in progress, in us from the first event.

    Attributes:
        result: Result of the last window that ran.
        counts: Its events, int64 `[T_in, 2, H, W]`.
    """

    def __init__(
        self, bins: Counts, sampler: Watcher, first: int, start: Callable[[], int]
    ) -> None:
        self._bins, self._sampler, self._first, self._start = bins, sampler, first, start
        self._origin: int | None = None
        self.result: Result | None = None
        self.counts: np.ndarray | None = None

    def add(self, slot: int, events: np.ndarray, first: int, last: int) -> None:
        """Count `events[first:last]`, EVENT `[n]`, into the bin in `slot`."""
        self._bins.add(slot, events, first, last)
        if self._origin is None:
            self._origin = int(events["t"][first])
        time = int(events["t"][last - 1]) - self._origin
        if time >= self._first:
            self._sampler.count(events, first, last, time)

    def complete(self, slot: int) -> None:
        """Mark the bin in `slot` as complete: no event will be added."""
        self._bins.complete(slot)

    def clear(self, slot: int) -> None:
        """Start a new bin in `slot`."""
        self._bins.clear(slot)

    def window(self, oldest: int) -> Outcome | None:
        """Run the window whose oldest bin is in slot `oldest`; None if it starts too early."""
        if self._start() < self._first:
            return None
        outcome: Outcome = self._bins.window(oldest)
        self.result, self.counts = outcome.result, self._bins.counts(oldest)
        return outcome
