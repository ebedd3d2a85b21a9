"""HDF5 files: written in memory with a checksum, and read after their layout was checked."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Callable, Iterator
from pathlib import Path

import h5py
import numpy as np

from lmht_deploy.errors import StorageError

from ._hdf5_layout import check_layout
from ._hdf5_recordings import check_recording_layout
from .files import atomic_write, reading

__all__ = ["check_recording_layout", "hdf5_checksum", "reading_hdf5", "writing_hdf5"]

_IN_MEMORY = {"driver": "core", "backing_store": False, "libver": "earliest", "track_order": False}
"""Options of a new file: in memory, with the layout that `check_layout` accepts."""


@contextlib.contextmanager
def writing_hdf5(path: str | Path) -> Iterator[h5py.File]:
    """Provide an HDF5 file that is written to `path`, with its checksum, when the block ends.

    The file is composed in memory: HDF5 can crash where a disk is full.

    Args:
        path: File to write.

    Yields:
        An empty HDF5 file.

    Raises:
        StorageError: If the file cannot be written.
    """
    with atomic_write(path) as temporary:
        with h5py.File("memory", "w", **_IN_MEMORY) as file:
            yield file
            file.attrs["checksum"] = hdf5_checksum(file)
            file.flush()
            content = file.id.get_file_image()
        temporary.write_bytes(content)


@contextlib.contextmanager
def reading_hdf5(path: str | Path, what: str) -> Iterator[h5py.File]:
    """Provide an HDF5 file of a network, which may come from anyone.

    Its layout is checked first: the file holds all of its data itself, each part once, and no
    structure that makes the HDF5 library hang or crash.

    Args:
        path: File to read.
        what: What the file should be, with its article: `"a .lmht file"`.

    Yields:
        The open file.

    Raises:
        StorageError: If the file is missing or damaged, or the block raises; the message names the
            file.
    """
    with reading(path, what):
        whole = check_layout(path)
        with h5py.File(path, "r") as file:
            yield file
            if not whole and "checksum" in file.attrs:  # what the block finds is more specific
                raise StorageError(
                    f"{path}: holds bytes outside of its data, which its checksum does not cover; "
                    "the file is damaged or was edited"
                )


def hdf5_checksum(file: h5py.File) -> str:
    """Return the SHA-256 over the names, attributes and data sets of `file`, in sorted order.

    The attribute `checksum` of the root group is left out.
    """
    digest = hashlib.sha256()

    def update(text: str, data: bytes) -> None:
        digest.update(f"{len(text)}:{text}{len(data)}:".encode() + data)

    _visit(file, update)
    return digest.hexdigest()


def _visit(group: h5py.Group, update: Callable[[str, bytes], None]) -> None:
    for name in sorted(group.attrs):
        if (group.name, name) != ("/", "checksum"):
            value = np.asarray(group.attrs[name])
            update(f"{group.name}@{name}", repr(value.tolist()).encode())
    for name in sorted(group):
        item = group[name]
        if isinstance(item, h5py.Group):
            update(item.name, b"group")
            _visit(item, update)
        else:
            value = np.asarray(item[()])
            # An array of texts holds addresses.
            data = repr(value.tolist()).encode() if value.dtype.kind == "O" else value.tobytes()
            update(f"{item.name}:{value.dtype.str}{value.shape}", data)
