"""Live classification: events in packets -> windows, one after another, in constant memory -> decisions.

    source (a recording, standard input, UDP) -> Buffered (a thread and a bounded queue) -> Windower -> a backend -> Decision

A source is an iterable of `Packet`. Nothing is dropped in silence: what a full queue, the socket, the door or the input range
of the network loses is counted, and everything else waits.
"""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from ..errors import DataError
from ..result import Result
from .arrays import Door, Sensor
from .windows import Rule, count, fitting, saturated

MAX_SILENCE = 1_000_000
"""Empty bins in a row beyond which a time is taken for damaged."""


@dataclass(frozen=True)
class Packet:
    """Events as a source gives them (unchecked), and when they were there (`time.perf_counter`; None: it has no pace of its own)."""

    events: np.ndarray
    arrived: float | None


class Runner(Protocol):
    """Anything that runs windows: a backend."""

    def run(self, windows: np.ndarray) -> Result: ...


# ------------------------------------------------------------------------------------------------ windows


class Windower:
    """`windows.windows` for events that come in packets: the same windows, in the memory of one.

    With `hop` < T_in windows overlap: one ends with every `hop`-th bin, from the T_in-th on.
    """

    def __init__(self, rule: Rule, sensor: Sensor, size: Sensor | None = None, hop: int | None = None) -> None:
        if rule.by == "recording":
            raise DataError("a stream has no end to be cut by; its windows are cut by 'time' or by 'events'")
        self.rule, self.sensor, self.size = rule, sensor, fitting(size, sensor)
        self.hop = rule.steps if hop is None else hop
        if not 1 <= self.hop <= rule.steps:
            raise DataError(f"windows of {rule.steps} bins move on by 1 to {rule.steps} bins, not by {hop}")
        self._frames = np.zeros((rule.steps, 2, *self.size), np.int64)
        self._bin = 0
        self._seen = 0
        self._start = self._last = 0
        self._pending = False

    def push(self, events: np.ndarray) -> Iterator[tuple[int, np.ndarray]]:
        """The windows that EVENT [n] completes: the time of their end (us), and counts [T_in, 2, H, W].

        A window by time ends when an event behind it arrives, one by events with its last event.
        """
        if len(events) == 0:
            return
        events = np.ascontiguousarray(events)
        if self._seen == 0:
            self._start = int(events["t"][0])
        seen, done = self._seen, 0
        while done < len(events):
            index = self._bin_of(int(events["t"][done]))
            yield from self._advance(index)
            edge = self.rule.before(index + 1, events, self._start, seen=seen)
            count(events, done, edge, self.sensor, self._frames[index % self.rule.steps])
            self._last, self._pending = int(events["t"][edge - 1]), True
            self._seen, done = seen + edge, edge
        if self.rule.by == "events" and self._seen % self.rule.length == 0:
            yield from self._advance(self._bin + 1)

    def finish(self) -> Iterator[tuple[int, np.ndarray]]:
        """The last window, filled up with empty bins, where events are in it that were in none before."""
        while self._pending:
            yield from self._advance(self._bin + 1)

    def _bin_of(self, t: int) -> int:
        """Bin of the next event, at time `t`."""
        index = self.rule.bin(t, self._seen, self._start)
        if index - self._bin > MAX_SILENCE:
            raise DataError(f"event {self._seen}: its time lies {index - self._bin} bins of {self.rule.length} us behind the event before it")
        return index

    def _advance(self, index: int) -> Iterator[tuple[int, np.ndarray]]:
        """Complete every bin before `index`."""
        steps = self.rule.steps
        while self._bin < index:
            self._bin += 1
            if self._bin >= steps and (self._bin - steps) % self.hop == 0:
                end = self._start + self._bin * self.rule.length if self.rule.by == "time" else self._last
                yield end, np.roll(self._frames, -self._bin % steps, axis=0)
                self._pending = False
            self._frames[self._bin % steps] = 0


# ------------------------------------------------------------------------------------------------ decisions


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
              own, from the completion
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


def decide(packets: Iterable[Packet], windower: Windower, door: Door, runner: Runner, high: int) -> Iterator[Decision]:
    """A decision for every window of `packets`, whose counts are clipped to `high`; the incomplete last one included.

    Raises DataError for an event that `door` refuses.
    """
    arrived: float | None = None
    number = 0

    def decided(windows: Iterator[tuple[int, np.ndarray]]) -> Iterator[Decision]:
        nonlocal number
        for end, counts in windows:
            start = arrived or time.perf_counter()
            clipped, lost = saturated(counts, high)
            result = runner.run(clipped[None])
            latency = time.perf_counter() - start
            spikes, sops = (sum(int(layer[0]) for layer in counted.values()) for counted in (result.spikes, result.sops))
            yield Decision(number, end, int(result.predictions[0]), _margin(result), int(counts.sum()), lost, spikes, sops, latency)
            number += 1

    for packet in packets:
        arrived = packet.arrived
        yield from decided(windower.push(door.admit(packet.events)))
    arrived = None
    yield from decided(windower.finish())


def _margin(result: Result) -> float:
    first, second = np.sort(result.logits[0])[::-1][:2] if result.logits.shape[1] > 1 else (result.logits[0, 0], 0)
    return float(first - second) * result.scale


# ------------------------------------------------------------------------------------------------ the queue


class Buffered:
    """A source that runs in a thread of its own, at most `size` packets ahead; errors pass through.

    Where the queue is full the source waits; a `lossy` one, which cannot wait, loses its packet, and its events are counted in
    `lost`. Leaving the `with` block ends the thread.
    """

    def __init__(self, source: Iterable[Packet], size: int = 64, lossy: bool = False) -> None:
        self.lost = 0
        self._source, self._lossy = source, lossy
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
        while (item := self._queue.get()) is not None:
            if isinstance(item, BaseException):
                raise item
            yield item

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
