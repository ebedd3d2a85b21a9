"""Writing and reading files safely, for every format."""

from __future__ import annotations

import contextlib
import hashlib
import os
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import h5py
import numpy as np

from lmht_deploy.errors import LmhtError, StorageError


@contextlib.contextmanager
def atomic_write(path: str | Path) -> Iterator[Path]:
    """A temporary path beside `path`, renamed onto it when the block ends well and removed when it does not."""
    path = Path(path)
    try:
        descriptor, name = tempfile.mkstemp(
            prefix=f".{path.name}.", suffix=".partial", dir=path.parent
        )
        os.close(descriptor)
    except OSError as error:
        raise StorageError(f"{path}: cannot be written ({error.strerror})") from None
    temporary = Path(name)
    try:
        yield temporary
        umask = os.umask(0)
        os.umask(umask)
        temporary.chmod(0o666 & ~umask)
        temporary.replace(path)
    except OSError as error:
        raise StorageError(f"{path}: cannot be written ({error.strerror or error})") from None
    finally:
        temporary.unlink(missing_ok=True)


@contextlib.contextmanager
def reading(path: str | Path, what: str) -> Iterator[None]:
    """Turn whatever a strange file makes a reader raise into a StorageError that names the file."""
    if not Path(path).is_file():
        raise StorageError(f"{path}: there is no such file")
    try:
        yield
    except StorageError:
        raise
    except LmhtError as error:
        raise StorageError(f"{path}: does not describe a valid network: {error}") from None
    except OSError:
        raise StorageError(f"{path}: is not {what}, or is truncated") from None
    except (KeyError, TypeError, ValueError, AttributeError, RuntimeError, OverflowError) as error:
        raise StorageError(
            f"{path}: is damaged or was edited ({str(error).strip(chr(34))})"
        ) from None


def hdf5_checksum(file: h5py.File) -> str:
    """SHA-256 over the names, attributes and data sets of the file, in sorted order."""
    digest = hashlib.sha256()
    _visit(
        file, lambda text, data: digest.update(f"{len(text)}:{text}{len(data)}:".encode() + data)
    )
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
            update(
                f"{item.name}:{value.dtype.str}{value.shape}", np.ascontiguousarray(value).tobytes()
            )
