"""Durations on the command line: `250us`, `10ms`, `2.5s`."""

from __future__ import annotations

import re
from fractions import Fraction

from lmht_deploy.errors import DataError

UNITS = {"us": 1, "ms": 1000, "s": 1_000_000, "min": 60_000_000, "h": 3_600_000_000}
"""Microseconds of each unit."""


def parse_duration(text: str) -> int:
    """Return the microseconds of a duration such as "2.5s"; DataError if it is none."""
    found = re.fullmatch(r"(\d{1,12}(?:\.\d{1,9})?) ?(us|ms|s|min|h)", text.strip())
    if found is None:
        raise DataError(
            f"a duration is a number with a unit (us, ms, s, min, h) such as 2.5s, not {text!r}"
        )
    return round(Fraction(found[1]) * UNITS[found[2]])


def format_duration(us: float) -> str:
    """Write microseconds with three or more digits and the unit that fits them."""
    for unit in ("h", "min", "s", "ms"):
        if abs(us) >= UNITS[unit] * (10 if unit in ("h", "min") else 1):
            return f"{us / UNITS[unit]:,.3f} {unit}"
    return f"{us:,.0f} us"


def checked_duration(text: str | None) -> str | None:
    """Check a duration while the command line is parsed."""
    if text is not None:
        parse_duration(text)
    return text
