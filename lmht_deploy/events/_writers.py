"""Writers of recordings: a function for each suffix, which writes packet by packet.

A writer is a context manager: it takes the file and the size of the sensor, and provides a function
that writes the next packet, EVENT `[n]`.
"""

from __future__ import annotations

import errno
import importlib
import os
import shutil
import tempfile
import zipfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path
from typing import IO

import h5py
import numpy as np

from lmht_deploy._packages import require_package

from ._encoding import Evt3Encoder, encode_aedat4_header, encode_aedat4_packet
from ._pieces import PIECE
from .arrays import EVENT, Sensor

Write = Callable[[np.ndarray], None]
Writer = Callable[[Path, Sensor], AbstractContextManager[Write]]

PACKET = 2**14
"""Events of a packet of AEDAT 4, at most."""
SPARE = 2**20
"""Bytes that must stay free on the disk while HDF5 is written: it can crash on a full one."""
ZIP_TIME = (1980, 1, 1, 0, 0, 0)
"""Time of the members of a zip file: equal events give equal files."""


@contextmanager
def _write_aedat4(path: Path, sensor: Sensor) -> Iterator[Write]:
    require_package("lz4", "events")
    compress = importlib.import_module("lz4.frame").compress
    with path.open("wb") as file:
        file.write(encode_aedat4_header(sensor))

        def write(events: np.ndarray) -> None:
            for start in range(0, len(events), PACKET):
                file.write(encode_aedat4_packet(events[start : start + PACKET], compress))

        yield write


@contextmanager
def _write_evt3(path: Path, sensor: Sensor) -> Iterator[Write]:
    encoder = Evt3Encoder(sensor)
    with path.open("wb") as file:

        def write(events: np.ndarray) -> None:
            if file.tell() == 0 and len(events):
                file.write(encoder.header(int(events["t"][0])))
            file.write(encoder.encode(events))

        yield write
        if file.tell() == 0:
            file.write(encoder.header(0))


@contextmanager
def _write_csv(path: Path, _sensor: Sensor) -> Iterator[Write]:
    with path.open("w", encoding="ascii", newline="\n") as file:
        file.write("t,x,y,p\n")
        yield lambda events: file.writelines(
            f"{t},{x},{y},{p:d}\n" for t, x, y, p in events.tolist()
        )


@contextmanager
def _write_hdf5(path: Path, sensor: Sensor) -> Iterator[Write]:
    # `atomic_write` holds the lock
    with h5py.File(path, "w", libver="earliest", locking=False) as file:
        file.attrs["sensor_resolution"] = tuple(sensor)
        arrays = {
            name: file.create_dataset(
                f"events/{name}", (0,), dtype, maxshape=(None,), chunks=(PIECE,),
                compression="gzip", compression_opts=1, shuffle=True,
            )
            for name, dtype in _columns().items()
        }  # fmt: skip

        def write(events: np.ndarray) -> None:
            _require_space(path, 2 * events.nbytes + 4 * PIECE * EVENT.itemsize)
            for name, array in arrays.items():
                array.resize(len(array) + len(events), axis=0)
                array[len(array) - len(events) :] = events[name]

        yield write


def _columns() -> dict[str, np.dtype[np.generic]]:
    """Dtypes of the arrays; polarities are uint8, which every tool reads."""
    return {"t": np.dtype("<i8"), "x": np.dtype("<u2"), "y": np.dtype("<u2"), "p": np.dtype("u1")}


def _require_space(path: Path, number: int) -> None:
    if shutil.disk_usage(path.parent).free < number + SPARE:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@contextmanager
def _write_npz(path: Path, sensor: Sensor) -> Iterator[Write]:
    """Columns are gathered in files of their own, since a zip file takes one after another."""
    with ExitStack() as stack:
        files = {name: stack.enter_context(tempfile.TemporaryFile()) for name in _columns()}

        def write(events: np.ndarray) -> None:
            for name, dtype in _columns().items():
                files[name].write(events[name].astype(dtype).tobytes())

        yield write
        with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
            for name, file in files.items():
                _add_array(archive, name, file, _columns()[name])
            with archive.open(_member("sensor"), "w") as member:
                np.lib.format.write_array(member, np.array(sensor, np.int64))


def _add_array(
    archive: zipfile.ZipFile, name: str, file: IO[bytes], dtype: np.dtype[np.generic]
) -> None:
    header = {
        "descr": np.lib.format.dtype_to_descr(dtype),
        "fortran_order": False,
        "shape": (file.tell() // dtype.itemsize,),
    }
    file.seek(0)
    with archive.open(_member(name), "w", force_zip64=True) as member:
        np.lib.format.write_array_header_1_0(member, header)
        shutil.copyfileobj(file, member)


def _member(name: str) -> zipfile.ZipInfo:
    info = zipfile.ZipInfo(f"{name}.npy", ZIP_TIME)
    info.compress_type = zipfile.ZIP_STORED
    return info


WRITERS: dict[str, Writer] = {
    ".aedat4": _write_aedat4,
    ".raw": _write_evt3,
    ".h5": _write_hdf5,
    ".hdf5": _write_hdf5,
    ".npz": _write_npz,
    ".csv": _write_csv,
}
