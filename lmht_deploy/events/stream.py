"""Live classification in constant memory: packets of events -> windows -> decisions.

    recording, or (standard input, UDP, camera -> Buffered) -> Windower -> backend -> Decision

A source is an iterable of `Packet`. `Buffered` reads a source that has its own pace in a thread
with a bounded queue. Every loss is counted: in a full queue, the socket, the validator or the input
range of the network. Work is done as early as possible: events are counted when they arrive. If the
engine allows it, the first layer is computed when a bin is complete, once for all windows that
contain it, or a bin runs through all layers when it is complete.
"""

from __future__ import annotations

import queue
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import numpy as np

from lmht_deploy.answers import Judge
from lmht_deploy.errors import DataError
from lmht_deploy.result import Result, total

from .arrays import EVENT, MAX_GAP, MAX_TIME, EventValidator, Sensor
from .windows import WindowRule, check_size, clip_bin, count_events

MAX_EMPTY_BINS = 1_000_000
"""Empty bins that the clock of a live source completes at once, at most."""


JOIN_TIME = 1.0
"""Seconds to wait for a source at the end; a driver may not return while its camera is silent."""


@dataclass(frozen=True)
class Packet:
    """Events of a source.

    Attributes:
        events: Structured array with t, x, y, p, not validated; may be empty.
        arrived: Time of arrival (`time.perf_counter`); None if the source has no pace of its own.
    """

    events: np.ndarray
    arrived: float | None


# ------------------------------------------------------------------------------------- the windows


class Bins(Protocol):
    """The bins that a `Windower` counts into; see `Counts`."""

    def add(self, slot: int, events: np.ndarray, first: int, last: int) -> None:
        """Count `events[first:last]`, EVENT `[n]`, into the bin in `slot`."""
        ...

    def complete(self, slot: int) -> None:
        """Mark the bin in `slot` as complete: no event will be added."""
        ...

    def clear(self, slot: int) -> None:
        """Start a new bin in `slot`."""
        ...

    def window(self, oldest: int) -> Any:
        """Return what a `Windower` yields for the window whose oldest bin is in slot `oldest`."""
        ...


class Counts:
    """The bins of a window in progress: a ring of T_in slots, each counts int64 `[2, H, W]`.

    Args:
        steps: T_in.
        sensor: Size of the sensor.
        size: Size of the windows. Default: that of the sensor.
    """

    def __init__(self, steps: int, sensor: Sensor, size: Sensor | None = None) -> None:
        self.steps, self.sensor, self.size = steps, sensor, check_size(size, sensor)
        self._frames = np.zeros((steps, 2, *self.size), np.int64)

    def add(self, slot: int, events: np.ndarray, first: int, last: int) -> None:
        """Count `events[first:last]`, EVENT `[n]`, into the bin in `slot`."""
        count_events(events, first, last, self.sensor, self._frames[slot])

    def complete(self, slot: int) -> None:
        """Mark the bin in `slot` as complete: no event will be added."""

    def clear(self, slot: int) -> None:
        """Start a new bin in `slot`."""
        self._frames[slot] = 0

    def window(self, oldest: int) -> Any:
        """Return the window whose oldest bin is in slot `oldest`; all its bins are complete.

        Returns:
            A copy, int64 `[T_in, 2, H, W]`. Subclasses return something else.
        """
        return self.counts(oldest)

    def counts(self, oldest: int) -> np.ndarray:
        """Return a copy of the counts, int64 `[T_in, 2, H, W]`, the bin in slot `oldest` first."""
        return np.roll(self._frames, -oldest, axis=0)


class Windower:
    """Incremental form of `windows.iterate_windows`, which holds only one window in memory.

    Args:
        rule: The window rule, by "time" or "events".
        into: Holds the bins, and makes the object that is yielded for each window.
        max_gap: Longest gap between two events, in us. In a longer gap, windows by time that hold
            no event are skipped. Otherwise one damaged time could make almost any number of empty
            windows.

    Attributes:
        late: Number of events that came after the end of their bin and were not counted. Only
            `elapse` ends a bin before a later event is there.
        skipped: Number of windows without any event that were skipped.
        start: Start of the last window, in us from the first event.
        incomplete: Whether the source ended before the last window did.

    Raises:
        DataError: The rule is by "recording", or `max_gap` is out of range.
    """

    def __init__(self, rule: WindowRule, into: Bins, max_gap: int = MAX_GAP) -> None:
        if rule.by == "recording":
            raise DataError(
                "a stream has no known end: its windows are cut by 'time' or by 'events'"
            )
        self.rule, self.into = rule, into
        if not 0 <= max_gap <= MAX_TIME:
            raise DataError(f"the longest gap lies within 0 and 2^62 us, not {max_gap}")
        self.late = self.skipped = self.start = 0
        self.incomplete = False
        self._max_gap = max_gap
        self._bin = 0
        self._seen = 0
        self._start = self._last = 0
        self._begins = [0] * rule.steps
        self._pending = False

    def push(self, events: np.ndarray) -> Iterator[tuple[int, Any]]:
        """Count the next packet.

        A window by time ends when a later event arrives, a window by events with its last event.

        Args:
            events: EVENT `[n]`, valid.

        Yields:
            For each window that the packet completes: the time of its end in us, and
            `into.window(...)`.
        """
        if len(events) == 0:
            return
        events = np.ascontiguousarray(events)
        if self._seen == 0:
            self._start = int(events["t"][0])
        seen, done = self._seen, self._skip_late(events)
        while done < len(events):
            index = self.rule.bin(int(events["t"][done]), self._seen, self._start)
            if self.rule.by == "time" and int(events["t"][done]) - self._last > self._max_gap:
                # After these bins no window, and no step of the engine, has an event.
                yield from self._advance(min(index, self._bin + self.rule.steps + 1))
                self._skip(index)
            yield from self._advance(index)
            edge = self.rule.count_before(index + 1, events, self._start, seen=seen)
            self._add(index % self.rule.steps, events, done, edge)
            self._last, self._pending = int(events["t"][edge - 1]), True
            self._seen, done = seen + edge, edge
        if self.rule.by == "events" and self._seen % self.rule.bin_length == 0:
            yield from self._advance(self._bin + 1)

    def elapse(self, t: int) -> Iterator[tuple[int, Any]]:
        """Yield the windows by time that end at time `t` (us) or before, without a later event."""
        if self.rule.by == "time" and self._seen:
            index = self.rule.bin(t, 0, self._start)
            yield from self._advance(min(index, self._bin + MAX_EMPTY_BINS))

    def finish(self) -> Iterator[tuple[int, Any]]:
        """Yield the last window, completed by empty bins, if its events were in no window yet."""
        self.incomplete = True
        while self._pending:
            yield from self._advance(self._bin + 1)

    def _add(self, slot: int, events: np.ndarray, first: int, last: int) -> None:
        """Count `events[first:last]` into the bin in `slot`."""
        if self.rule.by == "events" and self._seen % self.rule.bin_length == 0:
            self._begins[slot] = int(events["t"][first])
        self.into.add(slot, events, first, last)

    def _skip_late(self, events: np.ndarray) -> int:
        """Count the events of `events` that are too late for their bin."""
        if self.rule.by != "time":
            return 0
        late = self.rule.count_before(self._bin, events, self._start)
        self.late += late
        self._seen += late
        return late

    def _skip(self, index: int) -> None:
        """Leave out the bins before `index`, which are empty like all bins in progress."""
        if index > self._bin:
            self.skipped += self._windows_before(index) - self._windows_before(self._bin)
            self._bin = index

    def _windows_before(self, bin: int) -> int:
        """Number of windows that end before `bin`, or with its start."""
        return max((bin - self.rule.steps) // self.rule.hop + 1, 0)

    def _advance(self, index: int) -> Iterator[tuple[int, Any]]:
        """Complete every bin before `index`."""
        steps = self.rule.steps
        while self._bin < index:
            self.into.complete(self._bin % steps)
            self._bin += 1
            slot = self._bin % steps  # of the oldest bin, and then of the next
            if self._bin >= steps and (self._bin - steps) % self.rule.hop == 0:
                self._pending = False
                self.start = self._start_of_window(slot)
                yield self._end_of_window(), self.into.window(slot)
            self.into.clear(slot)

    def _start_of_window(self, oldest: int) -> int:
        """Start of the window whose oldest bin is in slot `oldest`, in us from the first event."""
        if self.rule.by == "time":
            return (self._bin - self.rule.steps) * self.rule.bin_length
        return self._begins[oldest] - self._start

    def _end_of_window(self) -> int:
        """End of the last complete bin in us."""
        if self.rule.by == "time":
            return self._start + self._bin * self.rule.bin_length
        return self._last


# ----------------------------------------------------------------------------------- the decisions


class Outcome(NamedTuple):
    """Result of one window.

    Attributes:
        result: Result of the network, for one window.
        events: Number of events in the window.
        lost: Number of them above the input range.
        since: Time at which the last bin was complete (`time.perf_counter`).
        seconds: Time that the backend took from then on.
    """

    result: Result
    events: int
    lost: int
    since: float
    seconds: float


class Runner(Protocol):
    """Runs windows: a backend."""

    def run(self, windows: np.ndarray) -> Result:
        """Run integers `[N, T_in, 2, H, W]`."""
        ...


class Clipped(Counts, ABC):
    """Bins that are clipped to the input range of a network when they are complete.

    Args:
        max_count: Largest count of the network's input.
        steps: T_in.
        sensor: Size of the sensor.
        size: Size of the windows. Default: that of the sensor.
    """

    def __init__(
        self, max_count: int, steps: int, sensor: Sensor, size: Sensor | None = None
    ) -> None:
        super().__init__(steps, sensor, size)
        self._max_count = max_count
        self._clipped = np.zeros(self._frames.shape, np.int32)
        self._events, self._lost = [0] * steps, [0] * steps
        self._since = self._start = 0.0

    def add(self, slot: int, events: np.ndarray, first: int, last: int) -> None:
        """Count `events[first:last]`, EVENT `[n]`, into the bin in `slot`."""
        super().add(slot, events, first, last)
        self._events[slot] += last - first

    def complete(self, slot: int) -> None:
        """Clip the bin in `slot`. Remember when it was complete, and when it was clipped."""
        self._since = time.perf_counter()
        self._lost[slot] = clip_bin(self._frames[slot], self._max_count, self._clipped[slot])
        self._start = time.perf_counter()

    def clear(self, slot: int) -> None:
        """Start a new bin in `slot`."""
        super().clear(slot)
        self._events[slot] = 0

    def window(self, oldest: int) -> Outcome:
        """Run the window whose oldest bin is in slot `oldest`."""
        result = self.run(oldest)
        seconds = time.perf_counter() - self._start
        return Outcome(result, sum(self._events), sum(self._lost), self._since, seconds)

    @abstractmethod
    def run(self, oldest: int) -> Result:
        """Return the network's result for the window whose oldest bin is in slot `oldest`."""


class WholeWindows(Clipped):
    """Bins whose windows run on any backend, when they are complete.

    Args:
        runner: The backend.
        max_count: Largest count of the network's input.
        steps: T_in.
        sensor: Size of the sensor.
        size: Size of the windows. Default: that of the sensor.
    """

    def __init__(
        self, runner: Runner, max_count: int, steps: int, sensor: Sensor, size: Sensor | None = None
    ) -> None:
        super().__init__(max_count, steps, sensor, size)
        self._runner = runner

    def run(self, oldest: int) -> Result:
        """Run the window whose oldest bin is in slot `oldest`."""
        return self._runner.run(np.roll(self._clipped, -oldest, axis=0)[None])


class StepRunner(Protocol):
    """Runs windows whose bins are given one by one; see `lmht_deploy.backends.StepRunner`."""

    def put(self, slot: int, counts: np.ndarray, /) -> None:
        """Set the input of one slot, int32 `[2, H, W]`, and compute what it allows."""
        ...

    def run(self, oldest: int, /) -> Result:
        """Run the window whose oldest bin is in slot `oldest`."""
        ...


class SharedSteps(Clipped):
    """Bins that go to the network when they are complete, once for all windows that contain them.

    Args:
        runner: The engine that takes them.
        max_count: Largest count of the network's input.
        steps: T_in.
        sensor: Size of the sensor.
        size: Size of the windows. Default: that of the sensor.
    """

    def __init__(
        self,
        runner: StepRunner,
        max_count: int,
        steps: int,
        sensor: Sensor,
        size: Sensor | None = None,
    ) -> None:
        super().__init__(max_count, steps, sensor, size)
        self._runner = runner

    def complete(self, slot: int) -> None:
        """Give the bin to the network, which computes what it allows."""
        super().complete(slot)
        self._runner.put(slot, self._clipped[slot])

    def run(self, oldest: int) -> Result:
        """Run the window whose oldest bin is in slot `oldest`."""
        return self._runner.run(oldest)


@dataclass(frozen=True)
class Decision:
    """Classification of one window.

    Attributes:
        window: Index of the window, from 0.
        start: Start of the window in us from the first event of the source.
        time: End of the window in us of the source.
        label: Class of the largest logit; `answers.UNKNOWN` if the margin is too small.
        margin: Difference of the two largest logits (real values). Where the window ended early, it
            is multiplied by T/t, so that the margins of all windows compare.
        logits: Logits of the time-steps that were run, in units of the network's scale. With
            smoothing, `label` and `margin` are those of the mean of the last windows.
        incomplete: Whether the source ended before the window did.
        events: Number of events in the window.
        lost: Number of events above the input range of the network.
        spikes: Number of spikes of all neurons.
        sops: Number of synaptic operations (SOPs) of all layers.
        latency: Seconds from the arrival of the packet that completed the window to the decision.
            If the source has no pace of its own, or the clock completed the window, from its
            completion.
        seconds: Seconds of `latency` that the backend took, with the currents of the last bin.
        steps: t, number of time-steps that were run: T_in, or fewer if the window ended early.
    """

    window: int
    start: int
    time: int
    label: int
    margin: float
    logits: list[int]
    incomplete: bool
    events: int
    lost: int
    spikes: int
    sops: int
    latency: float
    seconds: float
    steps: int


def decide(
    packets: Iterable[Packet],
    windower: Windower,
    validator: EventValidator,
    clock: Clock | None = None,
    judge: Judge | None = None,
) -> Iterator[Decision]:
    """Classify the windows of a source.

    Args:
        packets: The source.
        windower: Cuts windows; it counts into `WholeWindows` or `SharedSteps`. A window for which
            its bins return None instead of an `Outcome` is numbered, but not classified.
        validator: Validates the events.
        clock: Clock of a source in real time: its windows by time end on time, without a later
            event.
        judge: Turns logits into answers. Default: without smoothing and a smallest margin.

    Yields:
        A decision for each window, also for the incomplete last one.

    Raises:
        DataError: An event is not valid, and the validator does not drop it.
    """
    number, judge = 0, judge or Judge()
    for completed, arrived in _complete_windows(packets, windower, validator, clock):
        for end, outcome in completed:
            if outcome is not None:
                since = outcome.since if arrived is None else arrived
                yield _decision(number, end, outcome, judge, windower, since)
            number += 1


def _decision(
    number: int, end: int, outcome: Outcome, judge: Judge, windower: Windower, since: float
) -> Decision:
    result, steps = outcome.result, windower.rule.steps
    run = steps if result.steps is None else int(result.steps[0])
    logits = result.logits[0]
    answer = judge.answer(logits, result.scale, run / steps)
    return Decision(
        window=number,
        start=windower.start,
        time=end,
        label=answer.label,
        margin=answer.margin,
        logits=logits.tolist(),
        incomplete=windower.incomplete,
        events=outcome.events,
        lost=outcome.lost,
        spikes=total(result.spikes),
        sops=total(result.sops),
        latency=time.perf_counter() - since,
        seconds=outcome.seconds,
        steps=run,
    )


_Completed = tuple[Iterator[tuple[int, Outcome | None]], float | None]
"""Windows that were completed at once, and the arrival of the packet that completed them."""


def _complete_windows(
    packets: Iterable[Packet], windower: Windower, validator: EventValidator, clock: Clock | None
) -> Iterator[_Completed]:
    heard = 0.0
    for packet in packets:
        events = _validate(packet, validator, clock, heard)
        if len(packet.events):
            heard = time.perf_counter() if packet.arrived is None else packet.arrived
        if clock and len(events) and packet.arrived is not None:
            clock.observe(int(events["t"][-1]), heard)
        yield windower.push(events), packet.arrived
        if clock and len(packet.events) == 0:  # nothing waits in the queue
            now = clock.now(time.perf_counter())
            if now is not None:
                yield windower.elapse(now), None
    yield windower.push(validator.finish()), None
    yield windower.finish(), None


def _validate(
    packet: Packet, validator: EventValidator, clock: Clock | None, heard: float
) -> np.ndarray:
    """Valid events of a packet; after a silence since `heard` also those that were held."""
    if clock is None:
        return validator.validate(packet.events)
    if len(packet.events) == 0 and time.perf_counter() - heard > clock.MAX_EARLY:
        return validator.finish()
    return validator.validate(clock.drop_early(packet), clock.latest(packet.arrived))


class Clock:
    """Time of a source in real time, inferred from the events with the smallest delay.

    An event may arrive `GRACE` seconds later than these and still be in time. The clocks of the
    source and of this machine may differ by the share `DRIFT`. An event whose time is more than
    `MAX_EARLY` seconds ahead is dropped: every event after it would be too late. If the next packet
    confirms its time, the clock of the source was set, and later events are in time again.

    Attributes:
        early: Number of events that were dropped because their time was too far ahead.
    """

    GRACE = 0.02
    DRIFT = 1e-3
    MAX_EARLY = 1.0

    def __init__(self) -> None:
        self.early = 0
        self._ahead: float | None = None  # time of this machine minus that of the source, seconds
        self._heard = 0.0
        self._doubted: tuple[int, float] | None = None  # time and arrival of an early packet

    def observe(self, t: int, arrived: float) -> None:
        """Note that an event of time `t` (us) arrived."""
        ahead = arrived - t * 1e-6
        if self._ahead is not None:
            ahead = min(ahead, self._ahead + self.DRIFT * max(arrived - self._heard, 0))
        self._ahead, self._heard = ahead, arrived

    def latest(self, arrived: float | None) -> int | None:
        """Latest time (us) that an event which arrived then can have; None if it is unknown."""
        if self._ahead is None or arrived is None:
            return None
        return int((arrived - self._ahead + self.MAX_EARLY) * 1e6)

    def drop_early(self, packet: Packet) -> np.ndarray:
        """Return the events of `packet` without those whose time is too far ahead."""
        limit = self.latest(packet.arrived)
        if limit is None or len(packet.events) == 0:
            return packet.events
        plausible = packet.events["t"] <= limit
        if self._was_set(packet, bool(plausible.any())):
            return packet.events
        self.early += len(plausible) - int(np.count_nonzero(plausible))
        return packet.events if plausible.all() else packet.events[plausible]

    def _was_set(self, packet: Packet, plausible: bool) -> bool:
        """Whether two packets in succession agree on a time that is too far ahead."""
        first, last, arrived = int(packet.events["t"][0]), int(packet.events["t"][-1]), 0.0
        arrived = packet.arrived if packet.arrived is not None else arrived
        before, self._doubted = self._doubted, None if plausible else (last, arrived)
        if plausible or before is None:
            return False
        elapsed = arrived - before[1] + self.MAX_EARLY
        if not 0 <= first - before[0] <= elapsed * 1e6:
            return False
        self._ahead = self._doubted = None
        return True

    def now(self, time: float) -> int | None:
        """Compute the time (us) before which no more events are expected.

        Args:
            time: Time of this machine (`time.perf_counter`).

        Returns:
            None before the first event.
        """
        return None if self._ahead is None else int((time - self._ahead - self.GRACE) * 1e6)


# --------------------------------------------------------------------------------------- the queue


class Buffered:
    """Reads a source in a thread, at most `size` packets ahead. Errors of the source pass through.

    Use as a context manager, which ends the thread.

    Args:
        source: The source.
        size: Length of the queue in packets.
        lossy: What happens if the queue is full: the source loses the packet (True, for a source
            that cannot wait), or waits (False).
        tick: Seconds without a packet after which an empty one is yielded. Default: never.

    Attributes:
        lost: Number of events lost to a full queue.
    """

    def __init__(
        self,
        source: Iterable[Packet],
        size: int = 64,
        lossy: bool = False,
        tick: float | None = None,
    ) -> None:
        self.lost = 0
        self._source, self._lossy, self._tick = source, lossy, tick
        self._queue: queue.Queue[Packet | BaseException | None] = queue.Queue(size)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._fill, name="events", daemon=True)

    def __enter__(self) -> Buffered:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join(JOIN_TIME)

    def __iter__(self) -> Iterator[Packet]:
        while (item := self._next()) is not None:
            if isinstance(item, BaseException):
                raise item
            yield item

    def _next(self) -> Packet | BaseException | None:
        try:
            return self._queue.get(timeout=self._tick)
        except queue.Empty:
            return Packet(np.empty(0, EVENT), None)

    def _fill(self) -> None:
        end: BaseException | None = None
        try:
            for packet in self._source:
                if self._stop.is_set():
                    break
                if len(packet.events):
                    self._put(packet, wait=not self._lossy)
        except Exception as error:
            end = error
        self._put(end, wait=True)

    def _put(self, item: Packet | BaseException | None, wait: bool) -> None:
        while not self._stop.is_set():
            try:
                self._queue.put(item, timeout=0.05 if wait else 0)
                return
            except queue.Full:
                if not wait and isinstance(item, Packet):
                    self.lost += len(item.events)
                    return
