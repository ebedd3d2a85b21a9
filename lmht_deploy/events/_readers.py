"""Readers of recordings: a function for each suffix.

A reader takes the path, and what the caller chooses: the size of the sensor and a track. It returns
the size of the sensor, or None if the file does not state it, and an iterator of structured arrays.
It may raise any error: `recordings` turns it into a DataError that names the file.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from lmht_deploy.errors import DataError

from ._aedat import open_aedat
from ._decoding import open_dat, open_event_stream, open_raw
from ._hdf5 import open_hdf5
from ._numpy import open_npy, open_npz
from ._pieces import Choice, Opened, read_pieces
from ._text import COLUMNS, parse_header, parse_lines
from .arrays import pack_events

NMNIST_OVERFLOW = 240
"""Row that marks an overflow of the time in files of N-MNIST."""

MAX_LINE = 2**16
"""Bytes of the longest line of a CSV file."""
TEXT_PIECE = 2**20
"""Bytes of a CSV file that are parsed at once."""


def _open_bin(path: Path, _choice: Choice) -> Opened:
    return None, _read_bin(path)


def _read_bin(path: Path) -> Iterator[np.ndarray]:
    """N-MNIST and N-Caltech101: x 8 bits, y 8, p 1, time 23 bits in us, big-endian.

    A record in row 240 says that the time has advanced by 2^13 us (Orchard et al. 2015).
    """
    elapsed = 0
    for records in read_pieces(path, 0, np.dtype((np.uint8, 5))):
        x, y, high, middle, low = records.T.astype(np.int64)
        overflow = y == NMNIST_OVERFLOW
        t = ((high & 127) << 16 | middle << 8 | low) + elapsed + np.cumsum(overflow) * 2**13
        elapsed += int(overflow.sum()) * 2**13
        yield pack_events(t, x, y, high >> 7)[~overflow]


def _open_csv(path: Path, _choice: Choice) -> Opened:
    with path.open("rb") as file:
        first = file.readline(MAX_LINE)
    columns = parse_header(first) if first.strip() else None
    return None, _read_csv(path, columns)


def _read_csv(path: Path, columns: str | None) -> Iterator[np.ndarray]:
    """Lines of four integers, after a header that names the columns if there is one."""
    line, rest = 1, b""
    with path.open("rb") as file:
        if columns:
            file.readline(MAX_LINE)
            line = 2
        while data := file.read(TEXT_PIECE):
            complete, end, rest = (rest + data).rpartition(b"\n")
            if len(rest) > MAX_LINE:
                raise DataError(f"a line after line {line} is longer than {MAX_LINE} bytes")
            yield parse_lines(complete, line, columns or COLUMNS)
            line += complete.count(b"\n") + len(end)
    if rest.strip():
        yield parse_lines(rest, line, columns or COLUMNS)


TRACKED = (".aedat4", ".aedat", ".h5", ".hdf5")
"""Suffixes of files that can hold several tracks of events."""

OPENERS: dict[str, Callable[[Path, Choice], Opened]] = {
    ".aedat4": open_aedat,
    ".aedat": open_aedat,
    ".raw": open_raw,
    ".dat": open_dat,
    ".es": open_event_stream,
    ".h5": open_hdf5,
    ".hdf5": open_hdf5,
    ".bin": _open_bin,
    ".csv": _open_csv,
    ".npy": open_npy,
    ".npz": open_npz,
}
