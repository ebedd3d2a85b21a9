"""Measured energy: the RAPL counters of the processor, where Linux shows them."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

__all__ = ["POWERCAP", "Counter", "counters", "idle_watts", "joules_between"]

POWERCAP = Path("/sys/class/powercap")
"""Folder of the counters."""


@dataclass(frozen=True)
class Counter:
    """The energy counter of one processor package.

    Attributes:
        name: Its name, as "package-0".
        path: File of its energy in microjoules.
        range: Value in microjoules at which it starts again at 0.
    """

    name: str
    path: Path
    range: int

    def read(self) -> int:
        """Return the counter in microjoules."""
        return int(self.path.read_text(encoding="ascii"))


def counters(folder: Path = POWERCAP) -> tuple[list[Counter], str]:
    """Return the counters that can be read, and otherwise the reason why there are none."""
    zones = sorted(folder.glob("*-rapl:?")) + sorted(folder.glob("*-rapl:??"))
    if not zones:
        return [], "the system shows no RAPL counter of the processor"
    found = [counter for zone in zones for counter in _open(zone)]
    if not found:
        return [], "the RAPL counters of the processor cannot be read without permission"
    return found, ""


def _open(zone: Path) -> Iterator[Counter]:
    try:
        name, largest = (
            (zone / file).read_text(encoding="ascii").strip()
            for file in ("name", "max_energy_range_uj")
        )
        counter = Counter(name, zone / "energy_uj", int(largest))
        counter.read()
    except (OSError, ValueError):
        return
    yield counter


def joules_between(found: list[Counter], before: list[int], after: list[int]) -> float:
    """Return the energy between two readings, which may lie on both sides of one overflow."""
    differences = (
        (end - start) % counter.range
        for counter, start, end in zip(found, before, after, strict=True)
    )
    return sum(differences) * 1e-6


def idle_watts(found: list[Counter], seconds: float = 0.5) -> float:
    """Return the power while this process sleeps."""
    before, start = [counter.read() for counter in found], time.perf_counter()
    time.sleep(seconds)
    after = [counter.read() for counter in found]
    return joules_between(found, before, after) / (time.perf_counter() - start)
