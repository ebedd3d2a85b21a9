"""`.lmht` files: HDF5, written beside and renamed, with a checksum over everything that the network is.

    /                    attributes: format, version, checksum (SHA-256, hexadecimal), metadata (JSON text)
    /layers/<i>/         attributes: type, and every scalar field; data sets: every array field
    /layers/<i>/synapses/<j>/    likewise

Reading is strict: a file with an unknown type, a missing or additional field, or another checksum is refused, and the
network is checked again when it is built. Nothing in the file is ever executed.
"""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from lmht_deploy import ir
from lmht_deploy.errors import StorageError
from lmht_deploy.formats.files import atomic_write, hdf5_checksum, reading
from lmht_deploy.ir import Network

FORMAT = "lmht-deploy network"
VERSION = 1

_TYPES: dict[str, type] = {
    kind.__name__: kind
    for kind in (
        ir.Input,
        ir.Neurons,
        ir.SumPool,
        ir.MaxPool,
        ir.Flatten,
        ir.Readout,
        ir.Conv,
        ir.Linear,
        ir.Scale,
    )
}


def save_network(net: Network, path: str | Path) -> None:
    """Write `net` to `path` (`.lmht`); the file appears whole or not at all. Raises StorageError."""
    with atomic_write(path) as temporary, h5py.File(temporary, "w", track_order=False) as file:
        layers = file.create_group("layers")
        for index, layer in enumerate(net.layers):
            _write(layers.create_group(str(index)), layer)
        file.attrs["format"] = FORMAT
        file.attrs["version"] = VERSION
        file.attrs["metadata"] = json.dumps(dict(net.metadata), sort_keys=True)
        file.attrs["checksum"] = hdf5_checksum(file)


def load_network(path: str | Path) -> Network:
    """Read a `.lmht` file. Raises StorageError where it is missing, damaged, foreign or of another version."""
    with reading(path, "a .lmht file"), h5py.File(path, "r") as file:
        if file.attrs.get("format") != FORMAT:
            raise StorageError(
                f"{path}: is HDF5, but not a .lmht file (its 'format' attribute is {file.attrs.get('format')!r})"
            )
        if file.attrs.get("version") != VERSION:
            raise StorageError(
                f"{path}: has format version {file.attrs.get('version')}, this release reads version {VERSION}"
            )
        if file.attrs.get("checksum") != hdf5_checksum(file):
            raise StorageError(
                f"{path}: the checksum does not match the content; the file is damaged or was edited"
            )
        groups = file["layers"]
        layers = [_read(groups[str(index)]) for index in range(len(groups))]
        return Network(layers=tuple(layers), metadata=json.loads(file.attrs["metadata"]))


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
        raise StorageError(
            f"{group.file.filename}: {group.name} is of the unknown type {group.attrs['type']!r}"
        )
    values: dict[str, Any] = {
        name: _plain(value) for name, value in group.attrs.items() if name != "type"
    }
    for name, item in group.items():
        values[name] = (
            tuple(_read(item[str(i)]) for i in range(len(item))) if name == "synapses" else item[()]
        )
    fields = {field.name for field in dataclasses.fields(record)}
    if values.keys() != fields:
        raise StorageError(
            f"{group.file.filename}: {group.name} ({record.__name__}) should have {sorted(fields)}, has {sorted(values)}"
        )
    return record(**values)


def _plain(value: Any) -> Any:
    if isinstance(value, np.ndarray):
        return tuple(value.tolist())
    return value.item() if isinstance(value, np.generic) else value
