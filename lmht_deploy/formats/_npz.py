"""Read `.npz` archives: the header of every array is checked before memory is taken for it."""

from __future__ import annotations

import zipfile
from collections.abc import Iterator
from math import prod
from pathlib import Path
from typing import NamedTuple

import numpy as np

__all__ = ["ArrayHeader", "npz_headers", "read_npz"]

_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
"""Compression methods that NumPy writes."""
_MAX_EXPANSION = 1032
"""Largest ratio that deflate can reach."""
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


def read_npz(path: str | Path) -> dict[str, np.ndarray]:
    """Return the arrays of an archive that `npz_headers` accepts, by name.

    Raises:
        Exception: What NumPy and `zipfile` raise where the archive is damaged.
    """
    found = {}
    with zipfile.ZipFile(path) as archive:
        for name, info in _members(archive):
            with archive.open(info) as file:
                found[name] = np.lib.format.read_array(file, allow_pickle=False)
    return found


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
