"""Summary of a stream: throughput, latency and losses."""

from __future__ import annotations

import math
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING

from lmht_deploy.errors import counted

from ._answers import count_answers
from ._console import ReaderLeftError

if TYPE_CHECKING:
    from lmht_deploy.events.stream import Clock, Decision, Windower

    from ._predictions import Classes
    from ._stream_source import Source


class Percentiles:
    """Percentiles of positive times in constant memory: a histogram whose bins grow by 2 %."""

    FINEST, GROWTH = 1e-6, 1.02

    def __init__(self) -> None:
        self._counts: Counter[int] = Counter()

    def add(self, seconds: float) -> None:
        """Count one time."""
        self._counts[math.ceil(math.log(max(seconds / self.FINEST, 1), self.GROWTH))] += 1

    def __call__(self, percent: int) -> float:
        """Return a percentile, at most 2 % too large."""
        left = self._counts.total() * percent / 100
        for index in sorted(self._counts):
            left -= self._counts[index]
            if left <= 0:
                return self.FINEST * self.GROWTH**index
        return 0.0


class Summary:
    """Counts of the windows that were classified.

    Args:
        classes: The classes of the network.
        timed: Whether to state events per second; False for a stream that may be paused.
    """

    def __init__(self, classes: Classes, timed: bool = True) -> None:
        self._classes, self._timed = classes, timed
        self._answers: Counter[int] = Counter()
        self._windows = self._events = self._saturated = self._incomplete = 0
        self._latency, self._seconds = Percentiles(), Percentiles()
        self._start = time.perf_counter()

    def add(self, decision: Decision) -> None:
        """Count one window."""
        self._windows += 1
        self._answers[decision.label] += 1
        self._incomplete += decision.incomplete
        self._events += decision.events
        self._saturated += decision.lost
        self._latency.add(decision.latency)
        self._seconds.add(decision.seconds)

    def follow(
        self, decisions: Iterable[Decision], write: Callable[[Decision], None] | None
    ) -> bool:
        """Count and write decisions until they end, the reader leaves, or Ctrl-C ends them.

        Returns:
            Whether Ctrl-C ended them. What was opened is closed first; then the caller raises
            KeyboardInterrupt, which gives the exit code of the signal.
        """
        try:
            for decision in decisions:
                self.add(decision)
                if write is not None:
                    write(decision)
        except KeyboardInterrupt:
            return True
        except ReaderLeftError:
            pass
        return False

    def text(
        self,
        windower: Windower,
        source: Source,
        clock: Clock | None,
    ) -> str:
        """Return one line; losses are listed if there are any."""
        rate = source.validator.seen / (time.perf_counter() - self._start)
        parts = [f"{counted(self._windows, 'window')} of {counted(self._events, 'event')}"]
        if self._timed:
            parts[0] += f", {rate:,.0f} events/s"
        if self._windows:
            parts += [self._times(), f"answers: {count_answers(self._answers, self._classes)}"]
        if self._incomplete:
            parts.append("the last window is incomplete, the source ended before it")
        losses = self._losses(windower, source, clock)
        parts.extend(
            f"{counted(number, noun)} {what}" for (noun, what), number in losses.items() if number
        )
        return "; ".join(parts)

    def _times(self) -> str:
        latency, seconds = (
            f"p50 {times(50) * 1e3:.3f} ms, p99 {times(99) * 1e3:.3f} ms"
            for times in (self._latency, self._seconds)
        )
        return f"latency {latency}, of which the network {seconds}"

    def _losses(
        self,
        windower: Windower,
        source: Source,
        clock: Clock | None,
    ) -> Mapping[tuple[str, str], int]:
        """Return how many of something were lost, by its noun and what became of it."""
        from lmht_deploy.events.stream import Buffered

        packets, udp, dropped = source.packets, source.udp, source.validator.dropped
        whose = "its" if windower.late == 1 else "their"
        return {
            ("event", "above the input range"): self._saturated,
            **{("event", f"with invalid {fault} dropped"): n for fault, n in dropped.items()},
            ("event", f"dropped that arrived after {whose} window"): windower.late,
            ("event", "dropped with a time in the future"): clock.early if clock else 0,
            ("empty window", "skipped"): windower.skipped,
            ("event", "lost to a full queue"): packets.lost if isinstance(packets, Buffered) else 0,
            ("datagram", "lost by the system"): udp.lost if udp else 0,
            ("malformed datagram", "dropped"): udp.malformed if udp else 0,
            ("malformed line", "dropped"): source.dropped["lines"],
        }
