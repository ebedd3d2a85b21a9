"""Write and read files safely, for every format."""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path

from lmht_deploy.errors import LmhtError, StorageError, first_line, show

__all__ = [
    "as_path",
    "atomic_write",
    "check_folder",
    "check_writable",
    "make_folder",
    "no_file",
    "reading",
    "writing_errors",
]

# Names of open streams. A file behind one of them belongs to whoever opened it and is not replaced.
_STREAMS = ("/dev/std", "/dev/fd/", "/proc/")


MAX_NAME = 255
"""Largest length of the name of a file, without its folder, on the usual file systems."""


def as_path(path: object) -> Path:
    """Return `path` as a `Path`; StorageError if it is not the name of a file or folder."""
    text = os.fspath(path) if isinstance(path, str | os.PathLike) else None
    if not isinstance(text, str) or "\0" in text or not text:  # Path("") is the current folder
        raise StorageError(f"{show(path)}: is not the name of a file")
    if max(map(len, text.split("/"))) > MAX_NAME:
        raise StorageError(f"{show(text)}: the name of a file has at most {MAX_NAME} characters")
    return Path(text)


@contextlib.contextmanager
def atomic_write(path: str | Path) -> Iterator[Path]:
    """Provide a temporary file, whose content becomes the content of `path` at the end.

    The temporary file lies beside `path` and is renamed onto it when the block ends without an
    exception, so that `path` is complete at every moment. Otherwise it is removed and `path` stays
    as it was. A symbolic link is followed. What is not a regular file (a device, a FIFO,
    `/dev/stdout`) is never replaced; the content is written into it.

    Args:
        path: File to write.

    Yields:
        Path of the temporary file, which exists and is empty.

    Raises:
        StorageError: If the file cannot be written.
    """
    with writing_errors(path):
        if _is_stream(path):
            with tempfile.TemporaryDirectory() as folder:
                temporary = Path(folder) / "content"
                temporary.touch()
                yield temporary
                _write_into(path, temporary)
        else:
            with _temporary_beside(Path(os.path.realpath(path))) as temporary:
                yield temporary


def check_writable(path: str | Path) -> None:
    """Check that `atomic_write` can write a file later: a temporary one is created and removed.

    Args:
        path: File to write.

    Raises:
        StorageError: If the file cannot be written.
    """
    with writing_errors(path):
        if _is_stream(path):
            if not os.access(path, os.W_OK):  # opening a FIFO would wait for a reader
                raise OSError(0, "permission denied" if os.path.exists(path) else "no such file")
            return
        target = Path(os.path.realpath(path))
        temporary, descriptor = _locked_file(target.parent, f".{target.name[:200]}.")
        temporary.unlink()
        os.close(descriptor)


def check_folder(folder: str | Path) -> None:
    """Check that a folder can be created and written to later; one is created and removed.

    Args:
        folder: Folder that exists or not.

    Raises:
        StorageError: If it or the folder that it would be created in cannot be written.
    """
    folder = as_path(folder)
    there = next((part for part in (folder, *folder.parents) if part.exists()), Path())
    if not there.is_dir():
        raise StorageError(f"{folder}: cannot be written; {there} is a file, not a folder")
    with writing_errors(folder):
        os.rmdir(tempfile.mkdtemp(prefix=".lmht-", dir=there))


def make_folder(folder: Path) -> None:
    """Create a folder, and those that it lies in, where they do not exist.

    Raises:
        StorageError: A folder cannot be created.
    """
    with writing_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)


@contextlib.contextmanager
def writing_errors(path: str | Path) -> Iterator[None]:
    """Raise an OSError of the block as StorageError, which says that `path` cannot be written."""
    folder = as_path(path).parent
    try:
        yield
    except FileNotFoundError as error:
        reason = error.strerror if folder.exists() else f"the folder {folder} does not exist"
        raise StorageError(f"{path}: cannot be written ({reason})") from None
    except OSError as error:
        raise StorageError(f"{path}: cannot be written ({error.strerror or error})") from None


def _is_stream(path: str | Path) -> bool:
    """Whether `path` is an open stream or exists and is not a regular file."""
    if os.path.abspath(path).startswith(_STREAMS):
        return True
    try:
        mode = os.stat(path).st_mode
    except FileNotFoundError:
        return False
    if stat.S_ISDIR(mode):
        raise IsADirectoryError(0, "it is a folder")
    return not stat.S_ISREG(mode)


def _write_into(path: str | Path, source: Path) -> None:
    # Without O_CREAT and O_TRUNC: what was printed to a stream before is kept.
    descriptor = os.open(path, os.O_WRONLY | os.O_APPEND)
    with open(descriptor, "wb") as target, source.open("rb") as content:
        shutil.copyfileobj(content, target)


@contextlib.contextmanager
def _temporary_beside(path: Path) -> Iterator[Path]:
    prefix = f".{path.name[:200]}."
    temporary, descriptor = _locked_file(path.parent, prefix)
    try:
        _remove_abandoned(path.parent, prefix)
        yield temporary
        _flush(temporary)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
        os.close(descriptor)


def _locked_file(folder: Path, prefix: str) -> tuple[Path, int]:
    """Create a temporary file that is locked as long as its descriptor is open."""
    while True:
        path = folder / f"{prefix}{secrets.token_hex(8)}.partial"
        # The kernel applies the umask. tempfile would give 0600, and the umask of a process cannot
        # be read without setting it, which other threads would notice.
        descriptor = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666)
        _lock(descriptor, wait=True)  # another process may be about to remove it
        if os.fstat(descriptor).st_nlink:
            return path, descriptor
        os.close(descriptor)  # it did, before the file was locked


def _remove_abandoned(folder: Path, prefix: str) -> None:
    """Remove temporary files of processes that were killed: nobody locks them."""
    with os.scandir(folder) as entries:
        names = [entry.name for entry in entries if entry.name.startswith(prefix)]
    for path in (folder / name for name in names if name.endswith(".partial")):
        with contextlib.suppress(OSError):
            descriptor = os.open(path, os.O_WRONLY | getattr(os, "O_NONBLOCK", 0))
            try:
                if _lock(descriptor):
                    path.unlink()
            finally:
                os.close(descriptor)


def _lock(descriptor: int, *, wait: bool = False) -> bool:
    """Lock an open file; whether that was possible. The kernel unlocks it when it is closed."""
    try:
        import fcntl

        fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    except (ImportError, OSError):  # another system; a file system without locks
        return False
    return True


def _flush(path: Path) -> None:
    """Wait until the content is on the disk; a rename can otherwise overtake it."""
    with path.open("rb") as file:
        os.fsync(file.fileno())


@contextlib.contextmanager
def reading(path: str | Path, what: str) -> Iterator[None]:
    """Turn any error that a reader raises for a damaged or unknown file into a StorageError.

    Args:
        path: File that is read.
        what: What the file should be, with its article: `"a .lmht file"`.

    Raises:
        StorageError: If the file is missing or the block raises; the message names the file.
    """
    if not _is_file(path):
        raise no_file(path)
    try:
        yield
    except StorageError:
        raise
    except LmhtError as error:
        raise StorageError(f"{path}: does not describe a valid network: {error}") from None
    except PermissionError:
        raise StorageError(f"{path}: cannot be read (permission denied)") from None
    except OSError:
        raise StorageError(f"{path}: is not {what}, or is truncated") from None
    except MemoryError:
        raise StorageError(f"{path}: needs more memory than is available") from None
    except Exception as error:  # parsers of untrusted content raise almost every type
        raise StorageError(f"{path}: is damaged or was edited ({first_line(error)})") from None


def no_file(path: str | Path) -> StorageError:
    """Return the error for a path that is not a file: it is missing, or it is a folder."""
    with contextlib.suppress(OSError, TypeError, ValueError):
        if Path(path).is_dir():
            return StorageError(f"{path}: is a folder; expected a file")
    return StorageError(f"{path}: there is no such file")


def _is_file(path: str | Path) -> bool:
    try:
        return Path(path).is_file()
    except (OSError, TypeError):
        return False
