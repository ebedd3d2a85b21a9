"""Energy of the processor: the RAPL counters, where Linux shows them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from ._meter import Counter, Meter

__all__ = ["POWERCAP", "open_meter"]

POWERCAP = Path("/sys/class/powercap")
"""Folder of the counters."""


def open_meter(folder: Path = POWERCAP) -> Meter:
    """Return the meter of all processors."""
    zones = sorted(folder.glob("*-rapl:?")) + sorted(folder.glob("*-rapl:??"))
    if not zones:
        return Meter("RAPL", reason="the system shows no RAPL counter of the processor")
    found = tuple(counter for zone in zones for counter in _open(zone))
    if not found:
        reason = "the RAPL counters of the processor cannot be read without permission"
        return Meter("RAPL", reason=reason)
    return Meter("RAPL", found)


def _open(zone: Path) -> Iterator[Counter]:
    try:
        name, largest = (
            (zone / file).read_text(encoding="ascii").strip()
            for file in ("name", "max_energy_range_uj")
        )
        counter = Counter(name, lambda: _read(zone), int(largest))
        counter.read()
    except (OSError, ValueError):
        return
    yield counter


def _read(zone: Path) -> int:
    return int((zone / "energy_uj").read_text(encoding="ascii"))
