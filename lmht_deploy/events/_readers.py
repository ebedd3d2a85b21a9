"""Readers of recordings: a function for each suffix.

A reader returns the size of the sensor, or None if the file does not name it, and an iterator of
structured arrays. It may raise any error: `recordings` turns it into a DataError.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import numpy as np

from lmht_deploy._packages import require_package
from lmht_deploy.errors import DataError

from ._aedat import open_aedat, read_words
from ._faery import Opened, open_faery
from .arrays import Sensor, has_event_fields, make_events

PROPHESEE = {
    "gen3": Sensor(480, 640),
    "gen31": Sensor(480, 640),
    "gen4": Sensor(720, 1280),
    "gen41": Sensor(720, 1280),
    "imx636": Sensor(720, 1280),
    "genx320": Sensor(320, 320),
}
"""Sensors by their word in the 'plugin_name' of a RAW file, for files that name no size."""

WORD_SIZES = {"EVT2": 4, "EVT2.0": 4, "EVT21": 8, "EVT2.1": 8, "EVT3": 2, "EVT3.0": 2}
"""Bytes of a word of a RAW file by its format ('evt' or 'format' in the header)."""


def _open_raw(path: Path) -> Opened:
    """Open RAW through faery, which ignores half a word at the end: that is checked here."""
    header, start = _read_percent_header(path)
    name = header.get("format", f"EVT{header.get('evt', '')}").partition(";")[0]
    if rest := (path.stat().st_size - start) % WORD_SIZES.get(name, 1):
        raise DataError(f"{path}: is truncated, {rest} bytes are left over after the last event")
    sensor, packets = open_faery(path)
    words = re.findall(r"[a-z0-9]+", header.get("plugin_name", ""))
    return sensor or next((PROPHESEE[word] for word in words if word in PROPHESEE), None), packets


def _read_percent_header(path: Path) -> tuple[dict[str, str], int]:
    """Read the '% key value' lines at the start of a file of Prophesee, and where they end."""
    header: dict[str, str] = {}
    with path.open("rb") as file:
        end = 0
        while (line := file.readline(4096)).startswith(b"% "):
            key, _, value = line[2:].decode("latin-1").strip().partition(" ")
            header[key] = value
            end = file.tell()
    return header, end


def _open_dat(path: Path) -> Opened:
    """Open DAT; the older type "2d" (0x00, N-CARS) is read here.

    It has the layout of "cd" (0x0C): t 32 bits, then x 14, y 14, p 4 bits.
    """
    _, start = _read_percent_header(path)
    with path.open("rb") as file:
        file.seek(start)
        kind = file.read(2)
    if kind != b"\x00\x08":
        return open_faery(path)
    t, address = read_words(path, start + 2, "<u4").T
    x, y = address & 0x3FFF, address >> 14 & 0x3FFF
    return None, iter([make_events(t, x, y, address >> 28 != 0)])


def _open_bin(path: Path) -> Opened:
    require_package("tonic", "events")
    from tonic.io import read_mnist_file

    dtype = np.dtype([(name, np.int64) for name in "xytp"])
    return None, iter([read_mnist_file(path, dtype=dtype)])


def _open_numpy(path: Path) -> Opened:
    content = np.load(path, allow_pickle=False)
    if isinstance(content, np.ndarray):
        return None, iter([content])
    with content:
        return None, iter([_combine(path, dict(content))])


def _open_hdf5(path: Path) -> Opened:
    """Open the one group or data set of the file that holds t, x, y, p."""
    import h5py

    found: list[np.ndarray] = []

    def visit(name: str, item: h5py.Group | h5py.Dataset) -> None:
        if isinstance(item, h5py.Group) and set("txyp") <= item.keys():
            found.append(_combine(path, {key: item[key][()] for key in "txyp"}))
        elif isinstance(item, h5py.Dataset) and has_event_fields(item.dtype):
            found.append(item[()])

    with h5py.File(path, "r") as file:
        visit("/", file)
        file.visititems(visit)
    if len(found) != 1:
        raise DataError(
            f"{path}: must hold one group with the arrays t, x, y, p;"
            f" it holds {len(found) or 'none'}"
        )
    return None, iter(found)


def _combine(path: Path, columns: dict[str, np.ndarray]) -> np.ndarray:
    """One structured array of the arrays t, x, y, p; floating-point times are seconds."""
    if (
        not set("txyp") <= columns.keys()
        or len({columns[name].shape for name in "txyp"}) > 1
        or columns["t"].ndim != 1
    ):
        raise DataError(
            f"{path}: must hold four arrays t, x, y, p of one length;"
            f" it holds {', '.join(sorted(columns)) or 'nothing'}"
        )
    if columns["t"].dtype.kind == "f":
        columns = columns | {"t": np.rint(columns["t"] * 1e6).astype(np.int64)}
    events = np.empty(len(columns["t"]), [(name, columns[name].dtype) for name in "txyp"])
    for name in "txyp":
        events[name] = columns[name]
    return events


OPENERS: dict[str, Callable[[Path], Opened]] = {
    ".aedat4": open_aedat,
    ".aedat": open_aedat,
    ".raw": _open_raw,
    ".dat": _open_dat,
    ".es": open_faery,
    ".h5": _open_hdf5,
    ".hdf5": _open_hdf5,
    ".bin": _open_bin,
    ".npy": _open_numpy,
    ".npz": _open_numpy,
}
