"""Events as lines of text: "t x y p", separated by blanks or commas."""

from __future__ import annotations

import io

import numpy as np

from lmht_deploy.errors import DataError

COLUMNS = "txyp"


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


def _first_wrong(lines: bytes) -> tuple[int, str]:
    """Index and start of the first line that does not hold four integers of 64 bits."""
    found = lines.split(b"\n")
    for number, line in enumerate(found):
        words = line.replace(b",", b" ").split()
        try:
            fits = len(words) in (0, 4) and all(-(2**63) <= int(word) < 2**63 for word in words)
        except ValueError:
            fits = False
        if not fits:
            return number, line[:40].decode("latin-1").strip()
    return 0, found[0][:40].decode("latin-1")


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
