"""Read `.npz` archives: the header of every array is checked before memory is taken for it."""

from __future__ import annotations

import struct
import tempfile
import zipfile
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from functools import partial
from math import prod
from pathlib import Path
from typing import IO, Literal, NamedTuple

import numpy as np

from .files import writing_errors

__all__ = ["ArrayHeader", "map_array", "npz_headers", "read_npz"]

_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
"""Compression methods that NumPy writes."""
_MAX_EXPANSION = 1032
"""Largest ratio that deflate can reach."""
_PIECE = 2**20
"""Bytes that are read at once."""
_LOCAL_HEADER = struct.Struct("<26x2H")
"""End of the header in front of a member: the lengths of its name and of its extra field."""
_READERS = {
    (1, 0): np.lib.format.read_array_header_1_0,
    (2, 0): np.lib.format.read_array_header_2_0,
}


class ArrayHeader(NamedTuple):
    """What an archive states of one array."""

    dtype: np.dtype
    shape: tuple[int, ...]


def npz_headers(path: str | Path) -> dict[str, ArrayHeader]:
    """Return what an archive states of each array, by name, without reading the values.

    Raises:
        ValueError: The archive holds what is no array of plain values, or an array that is
            declared larger than what is stored, or is compressed as NumPy does not compress.
        Exception: What `zipfile` raises where the archive is damaged.
    """
    with zipfile.ZipFile(path) as archive:
        return {name: _header(archive, name, info) for name, info in _members(archive)}


def read_npz(path: str | Path, names: Collection[str] | None = None) -> dict[str, np.ndarray]:
    """Return arrays of an archive that `npz_headers` accepts, by name. Default: all of them.

    Raises:
        Exception: What NumPy and `zipfile` raise where the archive is damaged.
    """
    found = {}
    with zipfile.ZipFile(path) as archive:
        for name, info in _members(archive):
            if names is None or name in names:
                with archive.open(info) as file:
                    found[name] = np.lib.format.read_array(file, allow_pickle=False)
    return found


def map_array(path: str | Path, name: str, folder: Path) -> np.ndarray:
    """Map an array of an archive that `npz_headers` accepts into memory.

    The archive is read once in pieces, which checks the CRC-32. A compressed array is written to a
    file in `folder`, which has no name and goes away with the array.

    Raises:
        StorageError: The folder cannot be written.
        Exception: What NumPy and `zipfile` raise where the archive is damaged.
    """
    with zipfile.ZipFile(path) as archive:
        info = dict(_members(archive))[name]
        with archive.open(info) as member:
            shape, in_columns, dtype = _READERS[np.lib.format.read_magic(member)](member)
            start = member.tell()
            order: Literal["C", "F"] = "F" if in_columns else "C"
            pieces = iter(partial(member.read, _PIECE), b"")
            if prod(shape) == 0:
                return np.zeros(shape, dtype)
            if info.compress_type != zipfile.ZIP_STORED:
                with _unpacked(pieces, folder) as file:
                    return _mapped(file, dtype, 0, shape, order)
            for _ in pieces:
                pass
    start += _content_start(path, info)
    return _mapped(path, dtype, start, shape, order)


def _mapped(
    file: str | Path | IO[bytes],
    dtype: np.dtype,
    start: int,
    shape: tuple[int, ...],
    order: Literal["C", "F"],
) -> np.ndarray:
    found: np.ndarray = np.memmap(file, dtype, "r", start, shape, order)
    return found


@contextmanager
def _unpacked(pieces: Iterator[bytes], folder: Path) -> Iterator[IO[bytes]]:
    """Provide a file without a name, with the content of the pieces."""
    with writing_errors(folder):
        file = tempfile.TemporaryFile(dir=folder)  # noqa: SIM115 (closed below)
    with file:
        for piece in pieces:
            with writing_errors(folder):
                file.write(piece)
        with writing_errors(folder):
            file.flush()
        yield file


def _content_start(path: str | Path, info: zipfile.ZipInfo) -> int:
    """Return where the content of a member begins in the file."""
    with Path(path).open("rb") as file:
        file.seek(info.header_offset)
        header = file.read(_LOCAL_HEADER.size)
    name, extra = _LOCAL_HEADER.unpack(header)
    return info.header_offset + len(header) + int(name) + int(extra)


def _members(archive: zipfile.ZipFile) -> Iterator[tuple[str, zipfile.ZipInfo]]:
    """Yield the members with the names of their arrays."""
    names = [info.filename.removesuffix(".npy") for info in archive.infolist()]
    if len({*names}) < len(names):
        raise ValueError("two arrays have one name")
    yield from zip(names, archive.infolist(), strict=True)


def _header(archive: zipfile.ZipFile, name: str, info: zipfile.ZipInfo) -> ArrayHeader:
    if info.compress_type not in _METHODS or info.flag_bits & 1:
        raise ValueError(f"{name!r} is encrypted, or compressed in a way that NumPy does not use")
    with archive.open(info) as file:
        if file.read(6) != b"\x93NUMPY":
            raise ValueError(f"{name!r} is not an array")
        file.seek(0)
        version = np.lib.format.read_magic(file)
        if version not in _READERS:
            raise ValueError(f"{name!r} is an array of version {version}")
        shape, _, dtype = _READERS[version](file)
        start = file.tell()
    if dtype.hasobject or any(size < 0 for size in shape):
        raise ValueError(f"{name!r} holds objects, or has a negative size")
    expansion = 1 if info.compress_type == zipfile.ZIP_STORED else _MAX_EXPANSION
    size = prod(shape) * dtype.itemsize
    if start + size != info.file_size or info.file_size > expansion * info.compress_size:
        raise ValueError(f"{name!r} is declared as {dtype} {list(shape)}, which is not its size")
    return ArrayHeader(dtype, shape)
