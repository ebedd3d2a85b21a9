"""`.lmht` files: a network as HDF5.

`SCHEMA` describes the format; the writer and the reader follow it. Reading is strict: a file with
an unknown type, a missing or additional key or another checksum is refused, and the network is
checked again when it is built. Nothing in a file is ever executed.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from lmht_deploy import ir
from lmht_deploy.errors import StorageError
from lmht_deploy.formats.hdf5 import hdf5_checksum, reading_hdf5, writing_hdf5
from lmht_deploy.formats.schema import Field, Group, Schema, check_keys
from lmht_deploy.ir import Network, require_network

__all__ = ["SCHEMA", "load_input", "load_network", "save_network"]

MAX_METADATA = 60_000
"""Largest size of the metadata as JSON, in bytes; HDF5 stores up to 64 KiB per attribute."""

AGAIN = "lmht convert RUN --out FILE, with the folder of the training run"
"""How to write a network again."""

FORMAT = Field("format", "text", "Identifies the format.")
VERSION = Field("version", "int64", "Version of the format.")
METADATA = Field("metadata", "text", "JSON object of texts: provenance of the network.")
CHECKSUM = Field("checksum", "text", "SHA-256 of the content, hexadecimal.")
TYPE = Field("type", "text", "Type of the layer or synapse; it determines the other keys.")
SYNAPSES = Field("synapses", "groups `0`, `1`, ...", "Synapses that are summed.", kind="group")

_NAME = Field("name", "text", "Name of the layer.")
_SOURCE = Field("source", "text", "Name of the layer that is read.")
_STRIDE = Field("stride", "int64 [2]", "Stride (vertical, horizontal).")
_EXPONENT = Field("exponent", "int64", "Weight exponent e; 0 in a float network.")
_POOL = (
    _NAME,
    _SOURCE,
    Field("kernel", "int64 [2]", "Size of the window (vertical, horizontal)."),
    _STRIDE,
    Field("padding", "int64 [2]", "Padding on each side (vertical, horizontal)."),
)


def _array(name: str, dtype: str, meaning: str) -> Field:
    return Field(name, dtype, meaning, kind="data set")


_BIAS = _array("bias", "int32 or float64 [C]", "Bias b.")

LAYERS: Mapping[type, Group] = {
    ir.Input: Group(
        "Input",
        "Input of the network; the first layer and no other.",
        (
            _NAME,
            Field("shape", "int64 [3] or [1]", "(C, H, W) or (N)."),
            Field("steps", "int64", "T_in, number of input steps per window."),
            Field("min_value", "int64", "Smallest integer that may enter."),
            Field("max_value", "int64", "Largest integer that may enter."),
            Field("kind", "text", "`events` or `image`."),
        ),
    ),
    ir.Neurons: Group(
        "Neurons",
        "LM-HT neurons under the sum of their synapses.",
        (
            _NAME,
            SYNAPSES,
            _BIAS,
            _array("threshold", "int32 or float64 [C]", "Threshold θ."),
            _array("omega", "int32 or float64 [T, T_in]", "T-GIM Ω."),
            Field("leak", "int64 or float64", "λq = λ·4096 in an integer network, otherwise λ."),
            _array("v0", "int32 or float64 [C]", "Initial potential."),
            Field("levels", "int64", "L, largest spike count per step."),
            Field("substeps", "int64", "S, number of sub-steps per time-step."),
            Field("injection", "text", "`block-start` or `uniform`."),
            Field("reset", "text", "`subtract`, `subtract-late` or `zero`.", since=2),
            Field(
                "floor",
                "int32 or float64 [C]",
                "Lower bound of the potential; left out where there is none.",
                kind="data set",
                optional=True,
                since=2,
            ),
        ),
    ),
    ir.SumPool: Group("SumPool", "Sum pooling of spike counts.", _POOL),
    ir.MaxPool: Group("MaxPool", "Max pooling of spike counts.", _POOL),
    ir.Flatten: Group("Flatten", "(C, H, W) to (C·H·W).", (_NAME, _SOURCE)),
    ir.Readout: Group(
        "Readout",
        "Logits; the last layer and no other.",
        (
            _NAME,
            SYNAPSES,
            _BIAS,
            Field("scale", "float64", "Real value of one unit of a logit."),
        ),
    ),
}
"""Keys of each type of layer."""

_WEIGHT = "int8 or float64"
SYNAPSE_TYPES: Mapping[type, Group] = {
    ir.Conv: Group(
        "Conv",
        "Convolution.",
        (
            _SOURCE,
            _array("weight", f"{_WEIGHT} [C_out, C_in/groups, kh, kw]", "Weights W."),
            _STRIDE,
            Field("padding", "int64 [2]", "Zeros on each side (vertical, horizontal)."),
            Field("dilation", "int64 [2]", "Distance of the taps (vertical, horizontal)."),
            Field("groups", "int64", "Number of groups of channels."),
            _EXPONENT,
        ),
    ),
    ir.Linear: Group(
        "Linear",
        "Dense synapse.",
        (_SOURCE, _array("weight", f"{_WEIGHT} [N_out, N_in]", "Weights W."), _EXPONENT),
    ),
    ir.Scale: Group(
        "Scale",
        "Identity shortcut with one weight per channel.",
        (_SOURCE, _array("weight", f"{_WEIGHT} [C]", "Weights W."), _EXPONENT),
    ),
}
"""Keys of each type of synapse."""

SCHEMA = Schema(
    title="Network files (`.lmht`)",
    suffix=".lmht",
    format="lmht-deploy network",
    version=2,
    summary="""
An HDF5 file that holds one network, float or integer. The symbols are those of the semantics page.
Texts are UTF-8. Scalars are attributes; arrays are data sets, which are written without
compression. Links and data in other files are not allowed. A file has the oldest version that holds
its network: version 1 where all neurons subtract `k·θ` at once and have no floor.""",
    groups=(
        Group("/", "Root group.", (FORMAT, VERSION, METADATA, CHECKSUM)),
        Group(
            "/layers/<i>",
            "One group per layer, i = 0, 1, ... in topological order, with the keys of its type.",
            (TYPE,),
        ),
        *LAYERS.values(),
        Group(
            "/layers/<i>/synapses/<j>",
            "One group per synapse of layer i, j = 0, 1, ..., with the keys of its type.",
            (TYPE,),
        ),
        *SYNAPSE_TYPES.values(),
    ),
    checksum="""
SHA-256 over the sequence of all entries. The entries of a group are its attributes in the order of
their names, without the attribute `checksum` of the root group, and then its members in the order
of their names; the members of a subgroup follow the subgroup. An entry is a text and bytes, written
as `<length of text>:<text><length of bytes>:<bytes>`:

* attribute: `<path of group>@<name>`; `repr` of the value as Python lists and scalars,
* group: its path; `group`,
* data set: `<path>:<NumPy dtype string><shape as a Python tuple>`; the values in C order.""",
)
"""Description of the format."""


def save_network(net: Network, path: str | Path) -> None:
    """Write a network to a `.lmht` file, which appears complete or not at all.

    Args:
        net: Float or integer network.
        path: File to write.

    Raises:
        StorageError: If the file cannot be written.
    """
    metadata = json.dumps(dict(require_network(net).metadata), sort_keys=True)
    if len(metadata) > MAX_METADATA:
        raise StorageError(
            f"{path}: cannot be written (metadata of {len(metadata)} bytes; a .lmht file holds up "
            f"to {MAX_METADATA})"
        )
    with writing_hdf5(path) as file:
        _write_network(file, net)


def network_checksum(net: Network) -> str:
    """Return the checksum that the `.lmht` file of `net` holds, hexadecimal."""
    import h5py

    with h5py.File("network", "w", driver="core", backing_store=False) as file:
        _write_network(file, require_network(net))
        return hdf5_checksum(file)


def load_network(path: str | Path) -> Network:
    """Read a network from a `.lmht` file.

    Args:
        path: File to read.

    Returns:
        The network, checked, with its bounds proved.

    Raises:
        StorageError: If the file is missing, damaged, of another kind or of another version.
    """
    with reading_hdf5(path, "a .lmht file") as file:
        attributes = {name: _plain(value) for name, value in file.attrs.items()}
        SCHEMA.check(path, attributes.get(FORMAT.name), attributes.get(VERSION.name))
        if attributes.get(CHECKSUM.name) != hdf5_checksum(file):
            raise StorageError(
                f"{path}: the checksum does not match the content; the file is damaged or was "
                f"edited"
            )
        _check_keys(file, "/", attributes, SCHEMA.groups[0].names)
        _check_keys(file, "/", file, {"layers"})
        version = int(attributes[VERSION.name])
        return read_layers(file["layers"], json.loads(attributes[METADATA.name]), version)


def load_input(path: str | Path) -> tuple[ir.Input, dict[str, str]]:
    """Read the input layer and the metadata of a `.lmht` file, and nothing else.

    The checksum is not compared with the content: `load_network` does that.

    Args:
        path: File to read.

    Raises:
        StorageError: If the file is missing, of another kind or of another version.
    """
    with reading_hdf5(path, "a .lmht file") as file:
        attributes = {name: _plain(value) for name, value in file.attrs.items()}
        SCHEMA.check(path, attributes.get(FORMAT.name), attributes.get(VERSION.name))
        source = {name: _plain(value) for name, value in file["layers/0"].attrs.items()}
        source.pop(TYPE.name, None)
        shape = tuple(map(int, source.pop("shape")))
        return ir.Input(shape=shape, **source), json.loads(attributes[METADATA.name])


def write_layers(group: h5py.Group, net: Network, version: int) -> None:
    """Write the layers of a network to a group, as in a `.lmht` file of `version`."""
    types = layers_of(version)
    for index, layer in enumerate(net.layers):
        _write(group.create_group(str(index)), layer, types)


def read_layers(group: h5py.Group, metadata: Mapping[str, str], version: int) -> Network:
    """Build the network of the layers in a group; StorageError where a key is wrong."""
    return Network(layers=_read_all(group, layers_of(version)), metadata=metadata)


def layers_of(version: int) -> Mapping[type, Group]:
    """Return the keys of each type of layer in files of `version`."""
    return {
        kind: Group(group.path, group.meaning, tuple(f for f in group.fields if f.since <= version))
        for kind, group in LAYERS.items()
    }


def version_of(net: Network) -> int:
    """Return the oldest version of the format that holds `net`."""
    return 1 if all(layer.plain_reset for layer in net.neurons) else 2


# --------------------------------------------------------------------------------------- records


def _write_network(file: h5py.File, net: Network) -> None:
    version = version_of(net)
    write_layers(file.create_group("layers"), net, version)
    file.attrs[FORMAT.name] = SCHEMA.format
    file.attrs[VERSION.name] = version
    file.attrs[METADATA.name] = json.dumps(dict(net.metadata), sort_keys=True)


def _write(group: h5py.Group, record: Any, types: Mapping[type, Group]) -> None:
    group.attrs[TYPE.name] = type(record).__name__
    for field in types[type(record)].fields:
        value = getattr(record, field.name)
        if value is None and field.optional:
            continue
        match field.kind:
            case "attribute":
                group.attrs[field.name] = value
            case "data set":
                group.create_dataset(field.name, data=value, track_times=False)
            case "group":
                members = group.create_group(field.name)
                for index, member in enumerate(value):
                    _write(members.create_group(str(index)), member, SYNAPSE_TYPES)


def _read_all(group: h5py.Group, types: Mapping[type, Group]) -> tuple[Any, ...]:
    """Read the records `0`, `1`, ... of a group."""
    _check_keys(group, group.name, group, {str(index) for index in range(len(group))})
    return tuple(_read(group[str(index)], types) for index in range(len(group)))


def _read(group: h5py.Group, types: Mapping[type, Group]) -> Any:
    attributes = {name: _plain(value) for name, value in group.attrs.items()}
    name = attributes.pop(TYPE.name, None)
    record = {kind.__name__: kind for kind in types}.get(name)
    if record is None:
        raise StorageError(f"{group.file.filename}: {group.name} is of the unknown type {name!r}")
    fields = types[record].fields
    what = f"{group.name} ({name})"
    _check_keys(group, what, attributes, {f.name for f in fields if f.kind == "attribute"})
    inside = Group("", "", tuple(f for f in fields if f.kind != "attribute"))
    check_keys(f"{group.file.filename}: {what}", group, inside.required, inside.names, AGAIN)
    members = {
        key: _read_all(item, SYNAPSE_TYPES) if key == SYNAPSES.name else item[()]
        for key, item in group.items()
    }
    return record(**attributes, **members)


def _check_keys(
    group: h5py.Group, what: str, found: Iterable[str], expected: Iterable[str]
) -> None:
    check_keys(f"{group.file.filename}: {what}", found, expected, expected, AGAIN)


def _plain(value: Any) -> Any:
    if isinstance(value, np.ndarray):
        return tuple(value.tolist())
    return value.item() if isinstance(value, np.generic) else value
