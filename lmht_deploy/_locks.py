"""A folder to which one process at a time writes."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

from .errors import StorageError

LOCK = ".lock"
"""File in the folder that the writing process holds and removes at the end."""


@contextlib.contextmanager
def folder_lock(folder: Path) -> Iterator[None]:
    """Let no other process hold `folder` while the block runs.

    The operating system releases the lock of a process that ends, however it ends. A file that a
    killed process leaves behind does not block the next one.

    Args:
        folder: Folder to write to, which exists.

    Raises:
        StorageError: Another process holds the folder, or the folder cannot be written.
    """
    from filelock import FileLock, Timeout

    lock = FileLock(folder / LOCK)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise StorageError(
            f"{folder}: another process is writing to this folder; wait until it ends, or choose "
            "another folder"
        ) from None
    except OSError as error:
        raise StorageError(f"{folder}: cannot be written ({error.strerror or error})") from None
    try:
        yield
    finally:
        # Removed before it is released: whoever locked the removed file meanwhile notices.
        with contextlib.suppress(OSError):
            (folder / LOCK).unlink()
        lock.release()
