"""`.lmht` files: HDF5, written beside and renamed, with a checksum over everything that the network is.

    /                    attributes: format, version, checksum (SHA-256, hexadecimal), metadata (JSON text)
    /layers/<i>/         attributes: type, and every scalar field; data sets: every array field
    /layers/<i>/synapses/<j>/    likewise

Reading is strict: a file with an unknown type, a missing or additional field, or another checksum is refused, and the
network is checked again when it is built. Nothing in the file is ever executed.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
import os
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from . import network
from .errors import LmhtError, StorageError
from .network import Network

FORMAT = "lmht-deploy network"
VERSION = 1

_TYPES: dict[str, type] = {
    kind.__name__: kind
    for kind in (
        network.Input,
        network.Neurons,
        network.SumPool,
        network.MaxPool,
        network.Flatten,
        network.Readout,
        network.Conv,
        network.Linear,
        network.Scale,
    )
}


def save(net: Network, path: str | Path) -> None:
    """Write `net` to `path` (`.lmht`); the file appears whole or not at all. Raises StorageError."""
    with atomic(path) as temporary, h5py.File(temporary, "w", track_order=False) as file:
        layers = file.create_group("layers")
        for index, layer in enumerate(net.layers):
            _write(layers.create_group(str(index)), layer)
        file.attrs["format"] = FORMAT
        file.attrs["version"] = VERSION
        file.attrs["metadata"] = json.dumps(dict(net.metadata), sort_keys=True)
        file.attrs["checksum"] = checksum(file)


def load(path: str | Path) -> Network:
    """Read a `.lmht` file. Raises StorageError where it is missing, damaged, foreign or of another version."""
    with reading(path, "a .lmht file"), h5py.File(path, "r") as file:
        if file.attrs.get("format") != FORMAT:
            raise StorageError(f"{path}: is HDF5, but not a .lmht file (its 'format' attribute is {file.attrs.get('format')!r})")
        if file.attrs.get("version") != VERSION:
            raise StorageError(f"{path}: has format version {file.attrs.get('version')}, this release reads version {VERSION}")
        if file.attrs.get("checksum") != checksum(file):
            raise StorageError(f"{path}: the checksum does not match the content; the file is damaged or was edited")
        groups = file["layers"]
        layers = [_read(groups[str(index)]) for index in range(len(groups))]
        return Network(layers=tuple(layers), metadata=json.loads(file.attrs["metadata"]))


# ------------------------------------------------------------------------------------------------ for every format


@contextlib.contextmanager
def atomic(path: str | Path) -> Iterator[Path]:
    """A temporary path beside `path`, renamed onto it when the block ends well and removed when it does not."""
    path = Path(path)
    try:
        descriptor, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".partial", dir=path.parent)
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
        raise StorageError(f"{path}: is damaged or was edited ({str(error).strip(chr(34))})") from None


# ------------------------------------------------------------------------------------------------ records


def _write(group: h5py.Group, record: Any) -> None:
    group.attrs["type"] = type(record).__name__
    for field in dataclasses.fields(record):
        value = getattr(record, field.name)
        if field.name == "synapses":
            synapses = group.create_group("synapses")
            for index, synapse in enumerate(value):
                _write(synapses.create_group(str(index)), synapse)
        elif isinstance(value, np.ndarray):
            group.create_dataset(field.name, data=value, track_times=False)
        else:
            group.attrs[field.name] = value


def _read(group: h5py.Group) -> Any:
    record = _TYPES.get(group.attrs["type"])
    if record is None:
        raise StorageError(f"{group.file.filename}: {group.name} is of the unknown type {group.attrs['type']!r}")
    values: dict[str, Any] = {name: _plain(value) for name, value in group.attrs.items() if name != "type"}
    for name, item in group.items():
        values[name] = tuple(_read(item[str(i)]) for i in range(len(item))) if name == "synapses" else item[()]
    fields = {field.name for field in dataclasses.fields(record)}
    if values.keys() != fields:
        raise StorageError(f"{group.file.filename}: {group.name} ({record.__name__}) should have {sorted(fields)}, has {sorted(values)}")
    return record(**values)


def _plain(value: Any) -> Any:
    if isinstance(value, np.ndarray):
        return tuple(value.tolist())
    return value.item() if isinstance(value, np.generic) else value


def checksum(file: h5py.File) -> str:
    """SHA-256 over the names, attributes and data sets of the file, in sorted order."""
    digest = hashlib.sha256()
    _visit(file, lambda text, data: digest.update(f"{len(text)}:{text}{len(data)}:".encode() + data))
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
            update(f"{item.name}:{value.dtype.str}{value.shape}", np.ascontiguousarray(value).tobytes())
