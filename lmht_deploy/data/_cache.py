"""The cache of windows: a file per set of recordings and options, keyed by their content."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from lmht_deploy._folders import new_folder
from lmht_deploy.errors import StorageError
from lmht_deploy.formats.files import atomic_write

from ._counting import Counted
from ._recordings import Recordings

VERSION = 3
"""Changes whenever the same recordings would become other windows."""

MAX_BYTES = 8 * 2**30
"""Size of a cache folder, beyond which the files that were not used for longest are removed."""

PATTERN = "windows-*.npz"
MAPPED = "windows-*.mapped"
"""Folders of windows that are mapped into memory instead of read."""
READERS = 4
"""Threads that read files to hash them."""


def cache_path(cache: Path, recordings: Recordings, options: dict[str, Any]) -> Path:
    """Return the file of the windows of `recordings`, whose name is a hash of all they depend on.

    Args:
        cache: Folder of the cache.
        recordings: The recordings, with the content of all files.
        options: How they become windows.
    """
    names = list(recordings.names)
    key = json.dumps([VERSION, options, names, _hash_files(recordings.files)], sort_keys=True)
    return cache / PATTERN.replace("*", hashlib.sha256(key.encode()).hexdigest()[:32])


def _hash_files(files: Sequence[Path]) -> list[str]:
    with ThreadPoolExecutor(READERS) as readers:
        return list(readers.map(_hash_file, files))


def _hash_file(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def read_cache(path: Path, number: int) -> Counted | None:
    """Read the windows of `number` recordings; None if they are not there or damaged."""
    try:
        with path.open("rb") as file:
            content = np.load(file, allow_pickle=False)
            arrays = (content[name] for name in ("windows", "source_index", "start_us"))
            windows, sources, starts = arrays
            totals = json.loads(str(content["totals"]))
        _check(windows, sources, starts, number)
        os.utime(path)  # it was used
    except Exception:  # whatever a damaged file raises: the cache is only a shortcut
        return None
    return Counted(windows, sources, starts, totals)


def _check(windows: np.ndarray, sources: np.ndarray, starts: np.ndarray, number: int) -> None:
    """Raise StorageError unless the arrays are those of windows of `number` recordings."""
    if not (len(windows) == len(sources) == len(starts) and 0 <= sources.max() < number):
        raise StorageError("windows without a recording")


def write_cache(path: Path, found: Counted) -> None:
    """Write windows, if that is possible: without the file, they are made again the next time."""
    with contextlib.suppress(OSError, StorageError):
        path.parent.mkdir(parents=True, exist_ok=True)
        with atomic_write(path) as temporary, temporary.open("wb") as file:
            np.savez_compressed(
                file,
                windows=found.windows,
                source_index=found.source_index,
                start_us=found.start_us,
                totals=np.array(json.dumps(found.totals)),
            )
        _remove_oldest(path)


def _remove_oldest(kept: Path) -> None:
    """Remove files until the folder of `kept` holds at most `MAX_BYTES`, but never `kept`."""
    files = []
    for path in (*kept.parent.glob(PATTERN), *kept.parent.glob(MAPPED)):
        with contextlib.suppress(OSError):  # another process may have removed it
            files.append((path.stat().st_mtime_ns, _size(path), path))
    total = sum(size for _, size, _ in files)
    for _, size, path in sorted(files):
        if total <= MAX_BYTES:
            return
        if path != kept:
            _remove(path)
            total -= size


def _size(path: Path) -> int:
    parts = path.iterdir() if path.is_dir() else (path,)
    return sum(part.stat().st_size for part in parts)


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        with contextlib.suppress(OSError):  # it may be another user's
            path.unlink()


# ------------------------------------------------------------------------------------- mapped


def map_cache(path: Path, number: int, make: Callable[[Path], Counted]) -> Counted:
    """Return windows that are mapped into memory, from a folder of the cache.

    Args:
        path: What `cache_path` returned; the folder has the same name and another suffix.
        number: Number of recordings.
        make: Counts the recordings into windows, which it writes to a `.npy` file.

    Raises:
        StorageError: The folder cannot be written.
    """
    folder = path.with_suffix(".mapped")
    found = _read_mapped(folder, number)
    if found is None:
        found = _write_mapped(folder, number, make)
        _remove_oldest(folder)
    return found


def _read_mapped(folder: Path, number: int) -> Counted | None:
    try:
        windows = np.load(folder / "windows.npy", mmap_mode="r", allow_pickle=False)
        sources, starts = (np.load(folder / f"{name}.npy", allow_pickle=False) for name in _INDEX)
        totals = json.loads((folder / "totals.json").read_text(encoding="utf-8"))
        _check(windows, sources, starts, number)
        os.utime(folder)  # it was used
    except Exception:  # whatever a damaged file raises: the cache is only a shortcut
        return None
    return Counted(windows, sources, starts, totals)


_INDEX = ("source_index", "start_us")


def _write_mapped(folder: Path, number: int, make: Callable[[Path], Counted]) -> Counted:
    """Write a folder next to its place, map it, and rename it.

    The windows are mapped before the rename. They stay mapped if another process, which writes the
    same windows, replaces the folder.
    """
    with new_folder(folder.parent) as parent:
        temporary = parent / "content"
        temporary.mkdir()
        counted = make(temporary / "windows.npy")
        for name in _INDEX:
            np.save(temporary / f"{name}.npy", getattr(counted, name))
        (temporary / "totals.json").write_text(json.dumps(counted.totals), encoding="utf-8")
        found = _read_mapped(temporary, number)
        if found is None:
            raise StorageError(f"{folder}: cannot be written")
        with contextlib.suppress(OSError):  # another process wrote the same windows
            if _read_mapped(folder, number) is None and folder.exists():
                folder.rename(parent / "damaged")
            temporary.rename(folder)
    return found
