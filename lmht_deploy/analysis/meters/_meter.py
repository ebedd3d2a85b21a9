"""A meter: counters of energy that are read together."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

IDLE_SECONDS = 0.5


@dataclass(frozen=True)
class Counter:
    """A counter of energy.

    Attributes:
        name: What it measures, as "package-0".
        read: Returns the energy in microjoules since some moment.
        range: Value in microjoules at which it starts again at 0; None if it never does.
    """

    name: str
    read: Callable[[], int]
    range: int | None = None

    def between(self, before: int, after: int) -> int:
        """Return the microjoules between two readings, with one overflow at most."""
        difference = after - before
        return difference if self.range is None else difference % self.range


@dataclass(frozen=True)
class Meter:
    """Counters of one kind.

    Attributes:
        kind: "RAPL" or "NVML".
        counters: The counters that can be read.
        reason: Why there are none; empty otherwise.
    """

    kind: str
    counters: tuple[Counter, ...] = ()
    reason: str = ""

    @property
    def source(self) -> str:
        """The kind and the names of the counters."""
        return f"{self.kind} {', '.join(counter.name for counter in self.counters)}"

    def read(self) -> list[int]:
        """Return all counters in microjoules."""
        return [counter.read() for counter in self.counters]

    def joules(self, before: Sequence[int], after: Sequence[int]) -> float:
        """Return the energy between two readings, in joules."""
        readings = zip(self.counters, before, after, strict=True)
        return sum(counter.between(start, end) for counter, start, end in readings) * 1e-6

    def idle_watts(self, seconds: float | None = None) -> float:
        """Return the power while this process sleeps."""
        before, start = self.read(), time.perf_counter()
        time.sleep(IDLE_SECONDS if seconds is None else seconds)
        after = self.read()
        return self.joules(before, after) / (time.perf_counter() - start)
