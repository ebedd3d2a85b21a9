"""Events in HDF5: the arrays t, x, y, p in one group, or one data set with these fields."""

from __future__ import annotations

import contextlib
import importlib
from collections.abc import Iterator
from pathlib import Path

import h5py
import numpy as np

from lmht_deploy.errors import DataError, show
from lmht_deploy.formats.hdf5 import check_recording_layout

from ._columns import combine_columns
from ._pieces import PIECE, Choice, Opened, check_expansion
from .arrays import as_sensor, has_event_fields

HDF5PLUGIN = "run: pip install hdf5plugin"
PROPHESEE = "install Prophesee's plugin and name its folder in HDF5_PLUGIN_PATH"
HOMEMADE = "name the folder of its plugin in HDF5_PLUGIN_PATH"
FILTERS = {
    307: ("bzip2", HDF5PLUGIN),
    32001: ("Blosc", HDF5PLUGIN),
    32004: ("LZ4", HDF5PLUGIN),
    32008: ("Bitshuffle", HDF5PLUGIN),
    32013: ("ZFP", HDF5PLUGIN),
    32015: ("Zstandard", HDF5PLUGIN),
    32026: ("Blosc2", HDF5PLUGIN),
    36559: ("ECF of Prophesee", PROPHESEE),
}
"""Compression filters by their registered number: the name, and how to install the filter."""

MAX_LISTED = 8
"""Groups that an error lists, at most."""
MAX_CHUNK = 2**28
"""Bytes of the largest chunk, which HDF5 reads at once."""

NUMBERS = "biuf"
"""Kinds of NumPy dtypes of events."""


def open_hdf5(path: Path, choice: Choice) -> Opened:
    """Open an HDF5 recording; it is read piece by piece.

    A track is the path of a group or data set. The attribute `sensor_resolution` of the file
    (height, width) is the size of the sensor.

    Raises:
        DataError: The file does not hold one group or data set of events, stores them elsewhere,
            or needs a compression filter that is not installed.
        OSError: The file is not an HDF5 file, or is truncated.
        ValueError: Its structure is damaged.
    """
    check_recording_layout(path)
    with h5py.File(path, "r") as file:
        name = _choose(_event_places(file), choice.track)
        arrays = _arrays(file[name]).values()
        for item in arrays:
            _check_storage(item)
        check_expansion(
            sum(item.nbytes for item in arrays),
            sum(item.id.get_storage_size() for item in arrays),
        )
        size = _sensor_resolution(file)
    sensor = None if size is None else as_sensor(tuple(np.ravel(size).tolist()))
    return sensor, _read(path, name)


def _sensor_resolution(file: h5py.File) -> np.ndarray | None:
    name = "sensor_resolution"
    if name not in file.attrs:
        return None
    if file.attrs.get_id(name).dtype.kind not in NUMBERS:
        raise DataError(f"must state two numbers in the attribute {name!r}")
    return np.asarray(file.attrs[name])


def _choose(names: list[str], track: str | None) -> str:
    found = [name for name in names if track in (None, name, f"/{name}")]
    if len(found) == 1:
        return found[0]
    held = (
        f"{len(names)}: {', '.join(show(name)[1:-1] for name in names[:MAX_LISTED])}"
        if names
        else "none"
    )
    if track is not None:
        raise DataError(f"holds no group of events {show(track)}; it holds {held}")
    choose = "; choose one (track=, or --track)" if names else ""
    raise DataError(f"must hold one group with the arrays t, x, y, p; it holds {held}{choose}")


def _event_places(file: h5py.File) -> list[str]:
    found = []

    def visit(name: str, item: h5py.Group | h5py.Dataset) -> None:
        group = isinstance(item, h5py.Group) and set("txyp") <= item.keys()
        if group or (isinstance(item, h5py.Dataset) and has_event_fields(item.dtype)):
            found.append(name)

    visit("/", file)
    file.visititems(visit)
    return found


def _arrays(item: h5py.Group | h5py.Dataset) -> dict[str, h5py.Dataset]:
    if isinstance(item, h5py.Dataset):
        if item.ndim != 1:
            raise DataError(f"must hold a one-dimensional table of events; {item.name} is none")
        if any(item.dtype[name].hasobject for name in item.dtype.names or ()):
            raise DataError(f"must hold a table of numbers; {item.name} holds {item.dtype}")
        return {"": item}
    for name in "txyp":
        if not isinstance(item.get(name, getlink=True), h5py.HardLink):
            raise DataError(f"holds a link in place of the array {name!r}, which is not followed")
    arrays = {name: item[name] for name in "txyp"}
    for name, array in arrays.items():
        if not isinstance(array, h5py.Dataset) or array.ndim != 1:
            raise DataError(f"must hold one-dimensional arrays t, x, y, p; {name!r} is none")
        if array.dtype.kind not in NUMBERS:
            raise DataError(f"must hold numbers t, x, y, p; {name!r} holds {array.dtype}")
    if len({len(array) for array in arrays.values()}) > 1:
        lengths = ", ".join(f"{name} {len(array):,}" for name, array in arrays.items())
        raise DataError(f"must hold four arrays t, x, y, p of one length; it holds {lengths}")
    return arrays


def _check_storage(array: h5py.Dataset) -> None:
    """Require that the values are in the file, and that their filters are installed."""
    if array.external or array.is_virtual:
        raise DataError(f"stores {array.name} in another file, which is not read")
    if array.nbytes > _largest_size(array):
        raise DataError(f"declares {array.size:,} values of {array.name} and stores fewer")
    properties = array.id.get_create_plist()
    for index in range(properties.get_nfilters()):
        number = properties.get_filter(index)[0]
        if not _filter_available(number):
            name, install = FILTERS.get(number, ("a filter", HOMEMADE))
            raise DataError(f"is compressed with {name} (HDF5 filter {number}); {install}")


def _largest_size(array: h5py.Dataset) -> int:
    """Bytes that the array can have by what is stored: missing chunks would be read as zeros."""
    if array.chunks is None:
        return int(array.id.get_storage_size())
    (length,) = array.chunks
    if length * array.dtype.itemsize > MAX_CHUNK:
        raise DataError(f"stores {array.name} in chunks of more than {MAX_CHUNK:,} bytes")
    return int(array.id.get_num_chunks() * length * array.dtype.itemsize)


def _filter_available(number: int) -> bool:
    """Whether HDF5 has the filter, after hdf5plugin has registered its own if it is installed."""
    if not h5py.h5z.filter_avail(number):
        with contextlib.suppress(ImportError):
            importlib.import_module("hdf5plugin")
    return bool(h5py.h5z.filter_avail(number))


def _read(path: Path, name: str) -> Iterator[np.ndarray]:
    with h5py.File(path, "r") as file:
        arrays = _arrays(file[name])
        for start in range(0, len(next(iter(arrays.values()))), PIECE):
            pieces = {key: array[start : start + PIECE] for key, array in arrays.items()}
            yield pieces[""] if "" in pieces else combine_columns(pieces)
