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
            raise ValueError(f"{rows.shape[1]} columns")
    except (ValueError, OverflowError, UnicodeDecodeError) as error:
        raise DataError(
            f"a line must hold four integers '{' '.join(columns)}': {error}"
            f" (counted from line {first})"
        ) from None
    return rows.view(np.dtype([(name, np.int64) for name in columns]))[:, 0]


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
