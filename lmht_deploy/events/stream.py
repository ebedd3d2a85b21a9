"""Live classification: events in packets -> windows, one after another, in constant memory -> decisions.

    source (a recording; or standard input, UDP, a camera -> Buffered: a thread and a bounded queue) -> Windower -> a backend -> Decision

A source is an iterable of `Packet`. Nothing is dropped in silence: what a full queue, the socket, the door or the input range
of the network loses is counted, and everything else waits. Work is done as early as it can be: events are counted as they come, and where the
engine allows it, the currents of the first layer are computed when a bin is complete, once for all windows that it is in.
"""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import numpy as np

from lmht_deploy.errors import DataError
from lmht_deploy.result import Result

from .arrays import EVENT, EventValidator, Sensor
from .windows import WindowRule, check_size, clip_counts, count_events

MAX_SILENCE = 1_000_000
"""Empty bins in a row beyond which a time is taken for damaged."""


@dataclass(frozen=True)
class Packet:
    """Events as a source gives them (unchecked), and when they were there (`time.perf_counter`; None: it has no pace of its own)."""

    events: np.ndarray
    arrived: float | None


# ------------------------------------------------------------------------------------------------ windows


class Counts:
    """The T_in bins of a window in progress: a ring of slots, each counts int64 [2, H, W]. A window of it is a copy, [T_in, 2, H, W]."""

    def __init__(self, steps: int, sensor: Sensor, size: Sensor | None = None) -> None:
        self.steps, self.sensor, self.size = steps, sensor, check_size(size, sensor)
        self._frames = np.zeros((steps, 2, *self.size), np.int64)

    def add(self, slot: int, events: np.ndarray, first: int, last: int) -> None:
        """Count EVENT [n] from index `first` until `last`."""
        count_events(events, first, last, self.sensor, self._frames[slot])

    def complete(self, slot: int) -> None:
        """No event will be added any more."""

    def clear(self, slot: int) -> None:
        """Begin a new bin."""
        self._frames[slot] = 0

    def window(self, oldest: int) -> Any:
        """The window whose oldest bin is in slot `oldest`; all of them are complete."""
        return np.roll(self._frames, -oldest, axis=0)


class Windower:
    """`windows.windows` for events that come in packets: the same windows, in the memory of one.

    `into` holds the bins, and says what a window is. With `hop` < T_in windows overlap: one ends with every `hop`-th bin, from the T_in-th on.
    `late` counts events that came after the end of their bin: only `elapse` ends one before an event behind it is there.
    """

    def __init__(self, rule: WindowRule, into: Counts, hop: int | None = None) -> None:
        if rule.by == "recording":
            raise DataError(
                "a stream has no end to be cut by; its windows are cut by 'time' or by 'events'"
            )
        self.rule, self.into = rule, into
        self.hop = rule.steps if hop is None else hop
        if not 1 <= self.hop <= rule.steps:
            raise DataError(
                f"windows of {rule.steps} bins move on by 1 to {rule.steps} bins, not by {hop}"
            )
        self.late = 0
        self._bin = 0
        self._seen = 0
        self._start = self._last = 0
        self._pending = False

    def push(self, events: np.ndarray) -> Iterator[tuple[int, Any]]:
        """The windows that EVENT [n] completes: the time of their end (us), and what `into` makes of them.

        A window by time ends when an event behind it arrives, one by events with its last event.
        """
        if len(events) == 0:
            return
        events = np.ascontiguousarray(events)
        if self._seen == 0:
            self._start = int(events["t"][0])
        seen, done = self._seen, 0
        if self.rule.by == "time":
            done = self.rule.count_before(self._bin, events, self._start)
            self.late += done
            self._seen += done
        while done < len(events):
            index = self._bin_of(int(events["t"][done]))
            yield from self._advance(index)
            edge = self.rule.count_before(index + 1, events, self._start, seen=seen)
            self.into.add(index % self.rule.steps, events, done, edge)
            self._last, self._pending = int(events["t"][edge - 1]), True
            self._seen, done = seen + edge, edge
        if self.rule.by == "events" and self._seen % self.rule.length == 0:
            yield from self._advance(self._bin + 1)

    def elapse(self, t: int) -> Iterator[tuple[int, Any]]:
        """The windows by time that end at `t` (us) or before it, though no event came to say so."""
        if self.rule.by == "time" and self._seen:
            yield from self._advance(min(self.rule.bin(t, 0, self._start), self._bin + MAX_SILENCE))

    def finish(self) -> Iterator[tuple[int, Any]]:
        """The last window, filled up with empty bins, where events are in it that were in none before."""
        while self._pending:
            yield from self._advance(self._bin + 1)

    def _bin_of(self, t: int) -> int:
        """Bin of the next event, at time `t`."""
        index = self.rule.bin(t, self._seen, self._start)
        if index - self._bin > MAX_SILENCE:
            raise DataError(
                f"event {self._seen}: its time lies {index - self._bin} bins of {self.rule.length} us behind the event before it"
            )
        return index

    def _advance(self, index: int) -> Iterator[tuple[int, Any]]:
        """Complete every bin before `index`."""
        steps = self.rule.steps
        while self._bin < index:
            self.into.complete(self._bin % steps)
            self._bin += 1
            slot = self._bin % steps  # of the oldest bin, and then of the next
            if self._bin >= steps and (self._bin - steps) % self.hop == 0:
                end = (
                    self._start + self._bin * self.rule.length
                    if self.rule.by == "time"
                    else self._last
                )
                self._pending = False
                yield end, self.into.window(slot)
            self.into.clear(slot)


# ------------------------------------------------------------------------------------------------ decisions


class Outcome(NamedTuple):
    """What the network says of a window of `events` events, `lost` of them above its input range.

    `since` is when the last bin was complete, `seconds` what the backend took from then on.
    """

    result: Result
    events: int
    lost: int
    since: float
    seconds: float


class Runner(Protocol):
    """Anything that runs windows: a backend."""

    def run(self, windows: np.ndarray) -> Result: ...


class WholeWindows(Counts):
    """Bins whose windows are run from the beginning, by any backend."""

    def __init__(
        self, runner: Runner, max_count: int, steps: int, sensor: Sensor, size: Sensor | None = None
    ) -> None:
        super().__init__(steps, sensor, size)
        self._runner, self._max_count = runner, max_count
        self._since = 0.0

    def complete(self, slot: int) -> None:
        self._since = time.perf_counter()

    def window(self, oldest: int) -> Outcome:
        counts = super().window(oldest)
        clipped, lost = clip_counts(counts, self._max_count)
        result = self._runner.run(clipped[None])
        return Outcome(result, int(counts.sum()), lost, self._since, result.seconds)


class StepRunner(Protocol):
    """Runs windows that come step by step: `engine.Steps`."""

    def put(self, step: int, counts: np.ndarray) -> None: ...

    def run(self, first: int) -> Result: ...


class SharedSteps(Counts):
    """Bins of which each goes to the network when it is complete, once for all windows that it is in."""

    def __init__(
        self,
        runner: StepRunner,
        max_count: int,
        steps: int,
        sensor: Sensor,
        size: Sensor | None = None,
    ) -> None:
        super().__init__(steps, sensor, size)
        self._runner, self._max_count = runner, max_count
        self._clipped = np.empty((2, *self.size), np.int32)
        self._events, self._lost = [0] * steps, [0] * steps
        self._since = self._put = 0.0

    def add(self, slot: int, events: np.ndarray, first: int, last: int) -> None:
        super().add(slot, events, first, last)
        self._events[slot] += last - first

    def complete(self, slot: int) -> None:
        self._since = time.perf_counter()
        np.minimum(self._frames[slot], self._max_count, out=self._clipped, casting="same_kind")
        self._lost[slot] = self._events[slot] - int(self._clipped.sum())
        start = time.perf_counter()
        self._runner.put(slot, self._clipped)
        self._put = time.perf_counter() - start

    def clear(self, slot: int) -> None:
        super().clear(slot)
        self._events[slot] = 0

    def window(self, oldest: int) -> Outcome:
        result = self._runner.run(oldest)
        return Outcome(
            result, sum(self._events), sum(self._lost), self._since, self._put + result.seconds
        )


@dataclass(frozen=True)
class Decision:
    """What the network says of one window.

    window    number of the window, from 0
    time      its end, in microseconds of the source
    label     class of the largest logit
    margin    by how much it leads the second (real value)
    events    events in it; `lost` of them above the input range of the network
    spikes    of all neurons; `sops` of all layers
    latency   seconds to the decision from the arrival of the packet that completed it, or, where the source has no pace of its
              own, or the clock completed it, from the completion
    seconds   that the backend took of it, the last bin's currents included
    """

    window: int
    time: int
    label: int
    margin: float
    events: int
    lost: int
    spikes: int
    sops: int
    latency: float
    seconds: float


def decide(
    packets: Iterable[Packet],
    windower: Windower,
    validator: EventValidator,
    clock: Clock | None = None,
) -> Iterator[Decision]:
    """A decision for every window of `packets`, the incomplete last one included; `windower` counts into `WholeWindows` or `SharedSteps`.

    With a `clock`, of a source in real time, windows end on time though no event comes. Raises DataError for an event that `door` refuses.
    """
    number = 0

    def decided(
        windows: Iterator[tuple[int, Outcome]], arrived: float | None
    ) -> Iterator[Decision]:
        nonlocal number
        for end, (result, events, lost, since, seconds) in windows:
            label = int(result.predictions[0])
            latency = time.perf_counter() - (since if arrived is None else arrived)
            spikes, sops = (
                sum(int(layer[0]) for layer in counted.values())
                for counted in (result.spikes, result.sops)
            )
            yield Decision(
                number, end, label, _margin(result), events, lost, spikes, sops, latency, seconds
            )
            number += 1

    for packet in packets:
        events = validator.validate(clock.plausible(packet) if clock else packet.events)
        if clock and len(events) and packet.arrived is not None:
            clock.saw(int(events["t"][-1]), packet.arrived)
        yield from decided(windower.push(events), packet.arrived)
        if (
            clock
            and len(packet.events) == 0
            and (now := clock.now(time.perf_counter())) is not None
        ):  # nothing waits in the queue
            yield from decided(windower.elapse(now), None)
    yield from decided(windower.finish(), None)


class Clock:
    """What time it is for a source in real time, told from the events that came with the least delay.

    An event may come `GRACE` seconds later than those and still be in time. The clocks of the source and of this machine may differ by `DRIFT`.
    One whose time is more than `HURRY` seconds ahead is not believed: every event after it would be too late. `early` counts those.
    """

    GRACE = 0.02
    DRIFT = 1e-3
    HURRY = 1.0

    def __init__(self) -> None:
        self.early = 0
        self._ahead: float | None = None  # of the source's time, in seconds
        self._heard = 0.0

    def saw(self, t: int, arrived: float) -> None:
        """An event of time `t` (us) arrived."""
        ahead = arrived - t * 1e-6
        if self._ahead is not None:
            ahead = min(ahead, self._ahead + self.DRIFT * max(arrived - self._heard, 0))
        self._ahead, self._heard = ahead, arrived

    def plausible(self, packet: Packet) -> np.ndarray:
        """The events of `packet` that are believed."""
        if self._ahead is None or packet.arrived is None:
            return packet.events
        believed = packet.events["t"] <= int((packet.arrived - self._ahead + self.HURRY) * 1e6)
        self.early += len(believed) - int(np.count_nonzero(believed))
        return packet.events if believed.all() else packet.events[believed]

    def now(self, time: float) -> int | None:
        """The time (us) before which no event is to be expected any more at `time`; None before the first event."""
        return None if self._ahead is None else int((time - self._ahead - self.GRACE) * 1e6)


def _margin(result: Result) -> float:
    first, second = (
        np.sort(result.logits[0])[::-1][:2]
        if result.logits.shape[1] > 1
        else (result.logits[0, 0], 0)
    )
    return float(first - second) * result.scale


# ------------------------------------------------------------------------------------------------ the queue


class Buffered:
    """A source that runs in a thread of its own, at most `size` packets ahead; errors pass through.

    Where the queue is full the source waits; a `lossy` one, which cannot wait, loses its packet, and its events are counted in
    `lost`. With `tick`, an empty packet comes whenever there was none for so many seconds. Leaving the `with` block ends the thread.
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
        self._thread.join()

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
