"""Events in `.npy` and `.npz` files, read in pieces."""

from __future__ import annotations

import contextlib
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

import numpy as np

from lmht_deploy.errors import DataError, show

from ._columns import combine_columns
from ._pieces import PIECE, Choice, Opened, check_expansion, read_pieces
from .arrays import Sensor, as_sensor


def open_npy(path: Path, _choice: Choice) -> Opened:
    """Open a structured array.

    Raises:
        DataError: The file holds no one-dimensional structured array, or is truncated.
    """
    with path.open("rb") as file:
        dtype, number = _read_header(file)
        start = file.tell()
    if dtype.names is None:
        raise DataError(f"must hold a structured array with the fields t, x, y, p, not {dtype}")
    _check_size(path.stat().st_size - start, number, dtype)
    return None, read_pieces(path, start, dtype)


def _read_header(file: IO[bytes]) -> tuple[np.dtype[Any], int]:
    """Dtype and length of the array that starts here."""
    version = np.lib.format.read_magic(file)
    readers = {
        (1, 0): np.lib.format.read_array_header_1_0,
        (2, 0): np.lib.format.read_array_header_2_0,
    }
    if version not in readers:
        raise DataError(f"is an array of version {version}; 1.0 and 2.0 can be read")
    shape, _, dtype = readers[version](file)
    if dtype.hasobject:
        raise DataError("holds Python objects, which are not read")
    if len(shape) != 1:
        raise DataError(
            f"must hold a one-dimensional structured array, or arrays t, x, y, p; it holds"
            f" {dtype} {list(shape)}"
        )
    return dtype, int(shape[0])


def _check_size(found: int, number: int, dtype: np.dtype[Any]) -> None:
    if found != number * dtype.itemsize:
        raise DataError(
            f"is damaged or truncated: {number:,} values of {dtype.itemsize} bytes are declared,"
            f" {found:,} bytes follow"
        )


# ------------------------------------------------------------------------------------------- npz


def open_npz(path: Path, _choice: Choice) -> Opened:
    """Open the arrays t, x, y, p of one length, and `sensor` (height, width) if it is there.

    Raises:
        DataError: An array is missing, or declares another size than it has.
    """
    with zipfile.ZipFile(path) as archive:
        members = {info.filename.removesuffix(".npy"): info for info in archive.infolist()}
        sensor = _read_sensor(archive) if "sensor" in members else None
        lengths = {}
        for name in set("txyp") & members.keys():
            with archive.open(f"{name}.npy") as file:
                dtype, lengths[name] = _read_header(file)
                _check_size(members[name].file_size - file.tell(), lengths[name], dtype)
        if len(lengths) != 4 or len(set(lengths.values())) != 1:
            raise DataError(
                "must hold four arrays t, x, y, p of one length;"
                f" it holds {', '.join(map(show, sorted(members)[:9])) or 'nothing'}"
            )
        used = [members[name] for name in "txyp"]
        check_expansion(sum(i.file_size for i in used), sum(i.compress_size for i in used))
    return sensor, _read_npz(path)


def _read_sensor(archive: zipfile.ZipFile) -> Sensor:
    with archive.open("sensor.npy") as file:
        dtype, number = _read_header(file)
        if number != 2 or dtype.kind not in "iu":
            raise DataError("must give its sensor as two integers, height and width")
        height, width = np.frombuffer(file.read(2 * dtype.itemsize), dtype).tolist()
    return as_sensor((height, width))


def _read_npz(path: Path) -> Iterator[np.ndarray]:
    with contextlib.ExitStack() as stack:
        archive = stack.enter_context(zipfile.ZipFile(path))
        files = {name: stack.enter_context(archive.open(f"{name}.npy")) for name in "txyp"}
        headers = {name: _read_header(file) for name, file in files.items()}
        for start in range(0, headers["t"][1], PIECE):
            number = min(PIECE, headers["t"][1] - start)
            yield combine_columns(
                {
                    name: np.frombuffer(file.read(number * headers[name][0].itemsize), dtype)
                    for name, file in files.items()
                    for dtype in [headers[name][0]]
                }
            )
