"""Windows in memory-mapped files, addressed by their content and shared by all workers."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from lmht_deploy._folders import new_folder
from lmht_deploy.errors import DataError, StorageError
from lmht_deploy.formats.files import reading

CONTENT, DIGESTS, LABELS, ABOUT = "windows.npy", "digests.npy", "labels.npy", "about.json"
DIGEST = 32
"""Bytes of the SHA-256 of a window."""


@dataclass(frozen=True)
class WindowStore:
    """A folder of windows, which never changes after it was written.

    Attributes:
        folder: The folder. Its name is the fingerprint: the SHA-256 of windows and labels.
    """

    folder: Path

    @property
    def fingerprint(self) -> str:
        """SHA-256 of the windows and labels, hexadecimal."""
        return self.folder.name

    @cached_property
    def windows(self) -> np.ndarray:
        """Integers `[N, T_in, ...]`, mapped into memory."""
        return _load(self.folder / CONTENT, "r")

    @cached_property
    def labels(self) -> np.ndarray | None:
        """int64 `[N]`; None if the windows have none."""
        path = self.folder / LABELS
        return _load(path, None) if path.exists() else None

    @cached_property
    def digests(self) -> np.ndarray:
        """SHA-256 of each window, uint8 `[N, 32]`."""
        return _load(self.folder / DIGESTS, None)

    @cached_property
    def about(self) -> dict[str, Any]:
        """Where the windows come from, as plain values."""
        with reading(self.folder / ABOUT, "a JSON file"):
            found: dict[str, Any] = json.loads((self.folder / ABOUT).read_text(encoding="utf-8"))
            return found

    def __len__(self) -> int:
        return len(self.windows)

    def digest(self, start: int, stop: int) -> str:
        """Return the SHA-256 of a range of windows, hexadecimal."""
        return hashlib.sha256(self.digests[start:stop].tobytes()).hexdigest()


def store_windows(
    parent: Path,
    parts: Iterable[np.ndarray],
    labels: np.ndarray | None,
    about: dict[str, Any],
) -> WindowStore:
    """Write windows to a folder in `parent`, part by part; nothing if they are there already.

    Args:
        parent: Folder of the stores.
        parts: Successive windows, integers `[n, T_in, ...]` of one dtype and window shape.
        labels: int `[N]`, or None.
        about: Where the windows come from, as plain values.

    Raises:
        DataError: There is no window, or the labels do not fit.
        StorageError: The folder cannot be written.
    """
    with new_folder(parent) as folder:
        digests = _write_parts(folder / CONTENT, parts)
        if labels is not None:
            if len(labels) != len(digests):
                raise DataError(f"there are {len(labels)} labels for {len(digests)} windows")
            np.save(folder / LABELS, labels.astype(np.int64))
        np.save(folder / DIGESTS, digests)
        (folder / ABOUT).write_text(json.dumps(about, default=str), encoding="utf-8")
        return WindowStore(_rename(folder, parent / _fingerprint(digests, labels)))


def _fingerprint(digests: np.ndarray, labels: np.ndarray | None) -> str:
    content = hashlib.sha256(digests.tobytes())
    if labels is not None:
        content.update(labels.astype(np.int64).tobytes())
    return content.hexdigest()


def _rename(folder: Path, target: Path) -> Path:
    with contextlib.suppress(OSError):  # another process wrote the same content
        folder.rename(target)
    if not target.is_dir():
        raise StorageError(f"{target}: cannot be written")
    return target


def _write_parts(path: Path, parts: Iterable[np.ndarray]) -> np.ndarray:
    """Write the parts as one `.npy` file, and return the digests of all windows.

    The header is written twice: the number of windows is known at the end only.
    """
    digests = bytearray()
    shape: tuple[int, ...] = ()
    dtype = np.dtype(np.uint8)
    with path.open("wb") as file:
        for part in parts:
            if not digests:
                shape, dtype = part.shape[1:], part.dtype
                _write_header(file, dtype, (2**40, *shape))
            for window in np.ascontiguousarray(part):
                digests += hashlib.sha256(_described(window)).digest()
                file.write(window.data)
        if not digests:
            raise DataError("there is no window to run")
        size = file.tell()
        file.seek(0)
        _write_header(file, dtype, (len(digests) // DIGEST, *shape))
        file.seek(size)
        file.flush()
        os.fsync(file.fileno())
    return np.frombuffer(digests, np.uint8).reshape(-1, DIGEST)


def _described(window: np.ndarray) -> bytes:
    return f"{window.dtype.str}{window.shape}".encode() + window.tobytes()


def _write_header(file: Any, dtype: np.dtype[Any], shape: tuple[int, ...]) -> None:
    """Write a header, always of the same length: NumPy leaves room for the first number."""
    header = {
        "descr": np.lib.format.dtype_to_descr(dtype),
        "fortran_order": False,
        "shape": shape,
    }
    np.lib.format.write_array_header_1_0(file, header)


def _load(path: Path, mode: Any) -> np.ndarray:
    with reading(path, "a .npy file"):
        array: np.ndarray = np.load(path, mmap_mode=mode, allow_pickle=False)
        return array
