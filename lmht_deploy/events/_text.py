"""Events as lines of text: "t x y p", separated by blanks or commas."""

from __future__ import annotations

import io
import re

import numpy as np

from lmht_deploy.errors import DataError

COLUMNS = "txyp"
INTEGER = re.compile(rb"[+-]?[0-9]{1,19}")


def parse_lines(lines: bytes, first: int, columns: str = COLUMNS) -> np.ndarray:
    """Parse lines of four integers.

    Args:
        lines: Whole lines.
        first: Number of the first line, for messages.
        columns: Order of the columns t, x, y, p.

    Returns:
        Structured array `[n]` of int64 fields t, x, y, p.

    Raises:
        DataError: A line holds anything else.
    """
    rows = np.empty((0, 4), np.int64)
    try:
        if _has_empty_field(lines):
            raise ValueError
        if lines.strip():
            text = io.BytesIO(lines.replace(b",", b" "))
            rows = np.loadtxt(text, dtype=np.int64, ndmin=2, comments=None)
        if rows.shape[1] != 4:
            raise ValueError
    except (ValueError, OverflowError, UnicodeDecodeError):
        number, line = _first_wrong(lines)
        raise DataError(
            f"line {first + number}: must hold four integers '{' '.join(columns)}', not {line!r}"
        ) from None
    return rows.view(np.dtype([(name, np.int64) for name in columns]))[:, 0]


def parse_valid_lines(lines: bytes) -> tuple[np.ndarray, int]:
    """Parse lines of four integers, and leave out those that hold anything else.

    Args:
        lines: Whole lines.

    Returns:
        Structured array `[n]` as of `parse_lines`, and the number of lines that are left out.
    """
    words = [_words(line) for line in lines.split(b"\n")]
    valid = b"\n".join(b" ".join(found) for found in words if found is not None)
    return parse_lines(valid, 1), words.count(None)


def _has_empty_field(lines: bytes) -> bool:
    """Whether a comma has no number before or behind it."""
    fields = lines.translate(None, b" \t\r").strip(b"\n")
    wrong = any(pair in fields for pair in (b",,", b",\n", b"\n,"))
    return wrong or fields.startswith(b",") or fields.endswith(b",")


def _first_wrong(lines: bytes) -> tuple[int, str]:
    """Index and start of the first line that does not hold four integers of 64 bits."""
    found = lines.split(b"\n")
    number = next((index for index, line in enumerate(found) if _words(line) is None), 0)
    return number, found[number][:40].decode("latin-1").strip()


def _words(line: bytes) -> list[bytes] | None:
    """The four integers of 64 bits of a line, or none if it is empty; None for any other line."""
    if _has_empty_field(line):
        return None
    words = line.replace(b",", b" ").split()
    fits = all(INTEGER.fullmatch(word) and -(2**63) <= int(word) < 2**63 for word in words)
    return words if fits and len(words) in (0, 4) else None


def parse_header(line: bytes) -> str | None:
    """Order of the columns that a first line names; None if it holds numbers.

    Raises:
        DataError: It holds neither.
    """
    words = [word.strip().decode("latin-1").lower() for word in line.strip().split(b",")]
    if sorted(words) == sorted(COLUMNS):
        return "".join(words)
    if line.strip() and not line.strip()[:1].isalpha():
        return None
    raise DataError(
        f"starts with {line[:40]!r}; a CSV file starts with the header 't,x,y,p' (in any order)"
        " or with an event"
    )
