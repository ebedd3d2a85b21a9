"""NetX files of LM-HT networks: records, writer, reader and schema.

One file has three readers. The Lava processes of lmht-deploy read the LM-HT neurons and run them
exactly. Stock lava-dl ignores them and reads a chain of hard-reset CUBA neurons. The reader of
this module reads the network, which the file holds with the keys of a `.lmht` file. It checks that
all weights and constants which the Lava processes read are those of that network.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, get_args

import h5py
import numpy as np

from lmht_deploy.errors import StorageError
from lmht_deploy.formats.hdf5 import reading_hdf5
from lmht_deploy.formats.lmht import read_layers, version_of, write_layers
from lmht_deploy.formats.schema import Field, Group, Schema
from lmht_deploy.ir import MAX_INPUT, Conv, Network, Pair, Reset, Shape

from . import _identity as identity
from . import keys
from ._identity import SampleRecord
from ._records import (
    ATTRIBUTE,
    DATA_SET,
    Record,
    expect_only,
    has,
    keys_of,
    read,
    read_record,
    write,
    write_record,
)

FORMAT = "lmht-deploy NetX"
VERSION = 2
"""Newest version of the format. A file has the version of the `.lmht` file of its network, whose
keys it holds: 1 if all neurons have the reset "subtract" and no floor."""

SKIPS = "lmht_skip"
"""Group of a layer that holds its further synapses, named 0, 1, ..."""
LMHT = "lmht"
"""Group of `neuron` that holds the LM-HT neurons."""
READOUT = "lmht_readout"
"""Group of the last layer that holds the read-out."""
NETWORK = "lmht_network"
"""Group that holds the layers of the network, with the keys of a `.lmht` file."""


def _attribute(
    name: str, dtype: str, meaning: str, *, optional: bool = False, since: int = 1
) -> Field:
    return Field(name, dtype, meaning, ATTRIBUTE, optional, since)


def _data_set(name: str, dtype: str, meaning: str, since: int = 1) -> Field:
    return Field(name, dtype, meaning, DATA_SET, since=since)


@dataclass(frozen=True)
class InputRecord:
    """What enters the network."""

    steps: Annotated[int, _attribute("lmht_steps", "int64", "Input steps per window, T_in.")]
    min_value: Annotated[int, _attribute("lmht_min_value", "int64", "Smallest input value.")]
    max_value: Annotated[int, _attribute("lmht_max_value", "int64", "Largest input value.")]
    kind: Annotated[str, _attribute("lmht_kind", "text", "`events` or `image`.")]


@dataclass(frozen=True)
class SynapseRecord:
    """A synapse from the neurons of another layer, with pooling and exponent in its weights."""

    source: Annotated[int, _attribute("lmht_from", "int64", "Number of the layer that it reads.")]
    extent: Annotated[
        Pair,
        _attribute("lmht_extent", "int64 [2]", "Rows and columns of the source that it reads."),
    ]
    macs: Annotated[
        int, _attribute("lmht_macs", "int64", "MACs per window where it reads pixels, otherwise 0.")
    ]
    fan_out: Annotated[
        np.ndarray,
        _data_set(
            "lmht_fanOut",
            "int64, broadcasts to the source's shape",
            "Synapses that one spike crosses, borders counted, before pooling was folded in.",
        ),
    ]
    weight: Annotated[np.ndarray, keys.WEIGHT]
    stride: Annotated[Pair | None, keys.STRIDE] = None
    padding: Annotated[Pair | None, keys.PADDING] = None
    dilation: Annotated[Pair | None, keys.DILATION] = None
    groups: Annotated[int | None, keys.GROUPS] = None
    pools: Annotated[
        np.ndarray | None,
        _data_set(
            "lmht_pools",
            "int64 [n, 8]",
            "Pooling between the source and the weights, n times: the value beyond the border; 1 "
            "for the largest value, 0 for the sum; kernel, stride and padding (vertical, "
            "horizontal).",
        ),
    ] = None

    @property
    def dense(self) -> bool:
        """Whether this is a dense synapse and no convolution."""
        return self.weight.ndim == 2

    def redundant(self) -> dict[Field, object]:
        """Sizes that other writers of NetX store, too; every reader ignores them."""
        if self.dense:
            outputs, inputs = self.weight.shape
            return {keys.OUT_FEATURES: outputs, keys.IN_FEATURES: inputs}
        outputs, inputs = self.weight.shape[:2]
        return {
            keys.IN_CHANNELS: inputs * (self.groups or 1),
            keys.OUT_CHANNELS: outputs,
            keys.KERNEL_SIZE: np.array(self.weight.shape[2:]),
        }

    def crossings(self, source: Shape) -> np.ndarray:
        """Return how many synapses of the file one spike crosses; int64.

        It has the shape of what the weights read: that of the source, or of its pooling.
        """
        for _, _, kh, kw, sh, sw, ph, pw in [] if self.pools is None else self.pools.tolist():
            channels, height, width = source
            source = (channels, (height + 2 * ph - kh) // sh + 1, (width + 2 * pw - kw) // sw + 1)
        if self.dense:
            return np.full(source, len(self.weight), np.int64)
        assert self.stride and self.padding and self.dilation and self.groups
        conv = Conv(
            source="source",
            weight=np.zeros(self.weight.shape, np.int8),
            stride=self.stride,
            padding=self.padding,
            dilation=self.dilation,
            groups=self.groups,
        )
        return np.broadcast_to(conv.fan_out(source), source)


@dataclass(frozen=True)
class CubaRecord:
    """Neurons that stock lava-dl reads in place of the LM-HT neurons."""

    type: Annotated[str, keys.NEURON_TYPE]
    current_decay: Annotated[int, keys.CURRENT_DECAY]
    voltage_decay: Annotated[int, keys.VOLTAGE_DECAY]
    threshold: Annotated[int, keys.THRESHOLD]
    refractory: Annotated[int | None, keys.REFRACTORY] = None
    graded: Annotated[bool | None, keys.GRADED] = None


@dataclass(frozen=True)
class NeuronsRecord:
    """LM-HT neurons."""

    levels: Annotated[int, _data_set("levels", "int64", "Threshold levels L.")]
    substeps: Annotated[int, _data_set("substeps", "int64", "Sub-steps S per time-step.")]
    steps: Annotated[int, _data_set("steps", "int64", "Time-steps T.")]
    omega: Annotated[np.ndarray, _data_set("omega", "int32 [T, T_in]", "T-GIM Ω.")]
    theta: Annotated[np.ndarray, _data_set("theta", "int32 [C]", "Threshold θ.")]
    bias: Annotated[np.ndarray, _data_set("bias", "int32 [C]", "Bias, added once per input step.")]
    v0: Annotated[np.ndarray, _data_set("vInit", "int32 [C]", "Initial potential v0.")]
    leak: Annotated[int, _data_set("leak", "int64", "Leak λ, in units of 2^-leakBits.")]
    leak_bits: Annotated[int, _data_set("leakBits", "int64", "Fractional bits of the leak.")]
    injection: Annotated[
        str, _attribute("injection", "text", "`block-start`, or `uniform` (reparameterized).")
    ]
    reset: Annotated[
        str | None,
        _attribute("reset", "text", "`subtract`, `subtract-late` or `zero`.", since=2),
    ] = None
    floor: Annotated[
        np.ndarray | None,
        _data_set(
            "floor", "int32 [C]", "Lower bound of the potential; left out where there is none.", 2
        ),
    ] = None


@dataclass(frozen=True)
class ReadoutRecord:
    """The read-out, which has no neurons."""

    steps: Annotated[int, _data_set("steps", "int64", "Time-steps that it sums.")]
    bias: Annotated[np.ndarray, _data_set("bias", "int32 [K]", "Bias, added once per time-step.")]
    scale: Annotated[float, _attribute("scale", "float64", "Real value of one unit of a logit.")]


@dataclass(frozen=True)
class LayerRecord:
    """One layer of the file.

    Attributes:
        type: One of the types in `keys`.
        shape: Shape of the output, (C, H, W) or (N,).
        name: Name of the layer in the network; a flatten layer has none.
        bias: Bias that stock lava-dl adds at every step.
        input: The input, in layer 0.
        synapses: Its synapses; stock lava-dl sees the first one.
        cuba: What stock lava-dl sees of its neurons.
        neurons: The LM-HT neurons.
        readout: The read-out, in the last layer.
    """

    type: Annotated[str, keys.TYPE]
    shape: Annotated[Shape, keys.SHAPE]
    name: Annotated[
        str | None,
        _attribute("lmht_name", "text", "Name of the layer in the network.", optional=True),
    ] = None
    bias: Annotated[np.ndarray | None, keys.BIAS] = None
    input: InputRecord | None = None
    synapses: tuple[SynapseRecord, ...] = ()
    cuba: CubaRecord | None = None
    neurons: NeuronsRecord | None = None
    readout: ReadoutRecord | None = None


@dataclass(frozen=True)
class NetworkFile:
    """A NetX file of an LM-HT network.

    Attributes:
        steps: Blocks per window, the largest number of time-steps.
        substeps: Lava steps per block.
        graded: Whether a spike carries the count k; otherwise a neuron sends single spikes.
        layers: The layers, the input first and the read-out last.
        network: The network that the layers are made of.
    """

    steps: Annotated[int, _attribute("lmht_steps", "int64", "Blocks per window.")]
    substeps: Annotated[int, _attribute("lmht_substeps", "int64", "Lava steps per block.")]
    graded: Annotated[
        bool,
        _attribute(
            "lmht_graded", "bool", "Whether a spike carries k; otherwise each neuron fires once."
        ),
    ]
    layers: tuple[LayerRecord, ...]
    network: Network

    @property
    def metadata(self) -> Mapping[str, str]:
        """Provenance of the network."""
        return self.network.metadata

    @property
    def input(self) -> InputRecord:
        """The input."""
        assert self.layers[0].input is not None
        return self.layers[0].input

    @property
    def readout(self) -> ReadoutRecord:
        """The read-out."""
        assert self.layers[-1].readout is not None
        return self.layers[-1].readout

    @property
    def window_shape(self) -> Shape:
        """Shape of one window: (T_in, C, H, W) or (T_in, N)."""
        return (self.input.steps, *self.layers[0].shape)


# ----------------------------------------------------------------------------------------- schema

SCHEMA = Schema(
    title="NetX files of LM-HT networks (`.net`)",
    suffix=".net",
    format=FORMAT,
    version=VERSION,
    summary=(
        "HDF5 with two readers. The Lava processes of lmht-deploy read the keys `lmht*` and run "
        "the network exactly. Stock lava-dl 0.6 ignores them and reads a chain of hard-reset CUBA "
        "neurons, which is an approximation. A file has version 1 where all neurons subtract `k·θ` "
        "at once and have no floor."
    ),
    groups=(
        Group("/", "The file.", (*identity.KEYS, *keys_of(NetworkFile))),
        keys.SIMULATION_GROUP,
        Group("/layer/<i>", "One layer.", keys_of(LayerRecord)),
        Group("/layer/0", "In addition, in the input layer.", keys_of(InputRecord)),
        Group(
            "/layer/<i>, /layer/<i>/lmht_skip/<n>",
            "Synapses of a layer. Stock lava-dl sees the one in the layer itself.",
            (*keys_of(SynapseRecord), *keys.IGNORED),
        ),
        Group("/layer/<i>/neuron", "Neurons as stock lava-dl sees them.", keys_of(CubaRecord)),
        Group("/layer/<i>/neuron/lmht", "The LM-HT neurons.", keys_of(NeuronsRecord)),
        Group("/layer/<n>/lmht_readout", "Read-out, in the last layer.", keys_of(ReadoutRecord)),
        Group(
            f"/{NETWORK}/<i>",
            "The layers of the network, as `/layers/<i>` of a `.lmht` file of the same version, "
            "with the same keys. What the Lava processes read must follow from them.",
            (),
        ),
    ),
    checksum=identity.CHECKSUM_RULE,
)


# ---------------------------------------------------------------------------------------- writing


def write_network(network: NetworkFile, path: str | Path) -> None:
    """Write a file; it appears complete or not at all.

    Raises:
        StorageError: The file cannot be written.
    """
    version = version_of(network.network)
    with identity.writing(path, SCHEMA, network.metadata, version) as file:
        write_record(file, network)
        sample = SampleRecord(steps=network.steps * network.substeps, step_time=1)
        write_record(file.create_group(keys.SIMULATION), sample)
        for index, layer in enumerate(network.layers):
            _write_layer(file.create_group(f"{keys.LAYERS}/{index}"), layer)
        write_layers(file.create_group(NETWORK), network.network, version)


def _write_layer(group: h5py.Group, layer: LayerRecord) -> None:
    write_record(group, layer)
    if layer.input:
        write_record(group, layer.input)
    for number, synapse in enumerate(layer.synapses):
        _write_synapse(group.create_group(f"{SKIPS}/{number - 1}") if number else group, synapse)
    if layer.cuba and layer.neurons:
        write_record(group.create_group(keys.NEURON), layer.cuba)
        write_record(group.create_group(f"{keys.NEURON}/{LMHT}"), layer.neurons)
    if layer.readout:
        write_record(group.create_group(READOUT), layer.readout)


def _write_synapse(group: h5py.Group, synapse: SynapseRecord) -> None:
    write_record(group, synapse)
    for key, value in synapse.redundant().items():
        write(group, key, value)


# ---------------------------------------------------------------------------------------- reading


def read_network(path: str | Path) -> NetworkFile:
    """Read a file that `write_network` wrote.

    Raises:
        StorageError: The file is missing or damaged, of another version, or of another tool.
    """
    with reading_hdf5(path, "a NetX file") as file:
        return parse_network(file)


def parse_network(file: h5py.File) -> NetworkFile:
    """Read an open file; see `read_network`."""
    metadata = identity.check(file, SCHEMA)
    groups = (keys.LAYERS, keys.SIMULATION, NETWORK)
    expect_only(file, (*identity.KEYS, *keys_of(NetworkFile)), groups)
    expect_only(file[keys.SIMULATION], keys_of(SampleRecord))
    chain = file[keys.LAYERS]
    layers = tuple(_read_layer(index, chain[str(index)]) for index in range(len(chain)))
    version = int(read(file, identity.VERSION))
    _check(file.filename, layers, version)
    network = read_layers(file[NETWORK], metadata, version)
    content = read_record(NetworkFile, file, layers=layers, network=network)
    _check_steps(content, read_record(SampleRecord, file[keys.SIMULATION]).steps, file.filename)
    return content


def _read_layer(index: int, group: h5py.Group) -> LayerRecord:
    """Read one layer; it holds what its neighbors in the schema allow, and nothing else."""
    parts: dict[str, Any] = {}
    known = [*keys_of(LayerRecord)]
    if index == 0:
        parts["input"] = read_record(InputRecord, group)
        known += keys_of(InputRecord)
    if has(group, keys.WEIGHT):
        parts["synapses"] = _read_synapses(group)
        known += (*keys_of(SynapseRecord), *keys.IGNORED)
    if keys.NEURON in group:
        expect_only(group[keys.NEURON], keys_of(CubaRecord), groups=(LMHT,))
        parts["cuba"] = read_record(CubaRecord, group[keys.NEURON])
        parts["neurons"] = _read_part(NeuronsRecord, group[keys.NEURON][LMHT])
    if READOUT in group:
        parts["readout"] = _read_part(ReadoutRecord, group[READOUT])
    expect_only(group, known, groups=(SKIPS, keys.NEURON, READOUT))
    return read_record(LayerRecord, group, **parts)


def _read_synapses(group: h5py.Group) -> tuple[SynapseRecord, ...]:
    skips = [group[SKIPS][str(n)] for n in range(len(group[SKIPS]))] if SKIPS in group else []
    for skip in skips:
        expect_only(skip, (*keys_of(SynapseRecord), *keys.IGNORED))
    return tuple(read_record(SynapseRecord, part) for part in (group, *skips))


def _read_part(record: type[Record], group: h5py.Group) -> Record:
    """Read a group that holds one record and nothing else."""
    expect_only(group, keys_of(record))
    return read_record(record, group)


def _check(path: str, layers: tuple[LayerRecord, ...], version: int) -> None:
    """Raise StorageError where the layers are not those of one network."""
    if not layers or layers[-1].readout is None:
        raise StorageError(f"{path}: is damaged: its last layer is not a read-out")
    for index, layer in enumerate(layers[1:], 1):
        where = f"{path}: layer {index}"
        if layer.type not in (keys.CONV, keys.DENSE, keys.FLATTEN):
            raise StorageError(f"{where} is damaged: it is of the unknown type {layer.type!r}")
        for synapse in layer.synapses:
            if not 0 <= synapse.source < index:
                raise StorageError(f"{where} is damaged: it reads layer {synapse.source}")
            if not synapse.dense and None in (synapse.stride, synapse.padding, synapse.dilation):
                raise StorageError(f"{where} is damaged: its convolution has no geometry")
        if bool(layer.synapses) != (layer.neurons is not None or layer.readout is not None):
            raise StorageError(f"{where} is damaged: synapses and neurons do not belong together")
        if layer.neurons:
            _check_reset(where, layer.neurons, version)


def _check_reset(where: str, neurons: NeuronsRecord, version: int) -> None:
    """Raise StorageError for an unknown reset, and for a reset or a floor in version 1."""
    if version == 1 and not (neurons.reset is None and neurons.floor is None):
        raise StorageError(f"{where} is damaged: version 1 has no reset and no floor")
    if version > 1 and neurons.reset not in get_args(Reset):
        raise StorageError(f"{where} is damaged: it has the unknown reset {neurons.reset!r}")


def _check_steps(content: NetworkFile, sample: int, path: str) -> None:
    """Raise StorageError where steps, input or scale are not those of one network."""
    entry = content.input
    if not 1 <= sample == content.steps * content.substeps <= keys.MAX_STEPS or not (
        content.substeps >= 1 and 1 <= entry.steps <= content.steps
    ):
        raise StorageError(
            f"{path}: is damaged: a sample of {sample} steps has {content.steps} blocks of "
            f"{content.substeps} steps for {entry.steps} input steps"
        )
    if not -MAX_INPUT <= entry.min_value <= entry.max_value <= MAX_INPUT:
        raise StorageError(
            f"{path}: is damaged: its input lies within {entry.min_value}..{entry.max_value}"
        )
    if not 0 < content.readout.scale < math.inf:
        raise StorageError(f"{path}: is damaged: its scale is {content.readout.scale}")
