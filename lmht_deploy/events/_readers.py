"""Readers of recordings: a function for each suffix.

A reader takes the path, and the size of the sensor if the caller gives it. It returns the size of
the sensor, or None if the file does not state it, and an iterator of structured arrays. It may
raise any error: `recordings` turns it into a DataError that names the file.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from ._aedat import open_aedat
from ._columns import combine_columns
from ._decoding import open_dat, open_event_stream, open_raw
from ._hdf5 import open_hdf5
from ._pieces import PIECE, Opened, read_pieces
from .arrays import Sensor, make_events

NMNIST_OVERFLOW = 240
"""Row that marks an overflow of the time in files of N-MNIST."""


def _open_bin(path: Path, _given: Sensor | None) -> Opened:
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
        yield make_events(t, x, y, high >> 7)[~overflow]


def _open_numpy(path: Path, _given: Sensor | None) -> Opened:
    if path.suffix.lower() == ".npy":
        array = np.load(path, mmap_mode="r", allow_pickle=False)
        return None, (np.array(array[i : i + PIECE]) for i in range(0, len(array), PIECE))
    with np.load(path, allow_pickle=False) as content:
        return None, iter([combine_columns(dict(content))])


OPENERS: dict[str, Callable[[Path, Sensor | None], Opened]] = {
    ".aedat4": open_aedat,
    ".aedat": open_aedat,
    ".raw": open_raw,
    ".dat": open_dat,
    ".es": open_event_stream,
    ".h5": open_hdf5,
    ".hdf5": open_hdf5,
    ".bin": _open_bin,
    ".npy": _open_numpy,
    ".npz": _open_numpy,
}
