"""NetX files on which unmodified lava-dl is exact: records, writer, reader and schema.

All layers hold stock neurons; the keys `lmht_*` say where the neurons of the network are among
them (`lmht_deploy.exporters.netx_exact`). The layers are dense and unroll time, or they are
convolutions of neurons that keep nothing.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from math import prod
from pathlib import Path
from typing import Annotated, Any

import h5py
import numpy as np

from lmht_deploy.errors import StorageError
from lmht_deploy.formats.schema import Field, Group, Schema
from lmht_deploy.ir import MAX_INPUT, Pair, Shape

from . import _identity as identity
from . import keys
from ._identity import SampleRecord
from ._records import ATTRIBUTE, expect_only, has, keys_of, read_record, write_record
from .network import CubaRecord

FORMAT = "lmht-deploy NetX stock-exact"
VERSION = 2


def _cuba(current_decay: int, threshold: int) -> CubaRecord:
    return CubaRecord(
        type="CUBA",
        current_decay=current_decay,
        voltage_decay=keys.STATE_ONE,
        threshold=threshold,
        refractory=1,
        graded=False,
    )


INTEGRATORS = _cuba(current_decay=0, threshold=0)
"""Integrators that no spike resets: the current never decays, the potential is u + bias."""
MEMORYLESS = _cuba(current_decay=keys.STATE_ONE, threshold=0)
"""Neurons that keep nothing: they fire where the sum of one step and the bias is positive."""
SILENT = _cuba(current_decay=keys.STATE_ONE, threshold=keys.MAX_THRESHOLD)
"""Neurons that keep nothing and never fire: v is the sum of one step and the bias."""


def _attribute(name: str, dtype: str, meaning: str, since: int = 1) -> Field:
    return Field(name, dtype, meaning, ATTRIBUTE, since=since)


@dataclass(frozen=True)
class UnrolledRecord:
    """Where the neurons of a layer of the network are in the layer of the file.

    They are its first `steps` · `units` neurons, in sets of `units`, one set per time-step. Set t
    fires k[t] times, in `fires` steps from step `first` + t · `fires` on.
    """

    steps: Annotated[int, _attribute("lmht_steps", "int64", "Time-steps T.")]
    fires: Annotated[
        int, _attribute("lmht_fires", "int64", "Steps in which a set of neurons fires.")
    ]
    first: Annotated[int, _attribute("lmht_first", "int64", "First step in which set 0 may fire.")]
    units: Annotated[int, _attribute("lmht_units", "int64", "Neurons per set.")]

    @property
    def size(self) -> int:
        """Number of neurons that count as the network's own."""
        return self.steps * self.units


@dataclass(frozen=True)
class DigitsRecord:
    """Which channels of a convolution hold the spikes of a layer of the network.

    They are its first `channels` · `steps` · `levels` channels. Number (c·T + t)·L + l fires at
    step `first` where k[t] of channel c is larger than l.
    """

    channels: Annotated[int, _attribute("lmht_channels", "int64", "Channels C.", 2)]
    steps: Annotated[int, _attribute("lmht_steps", "int64", "Time-steps T.")]
    levels: Annotated[int, _attribute("lmht_levels", "int64", "Levels L.", 2)]
    first: Annotated[int, _attribute("lmht_first", "int64", "Step at which they fire.")]


@dataclass(frozen=True)
class ExactLayerRecord:
    """One layer of the file.

    Layers without a name compute something in between. `unrolled` belongs to layers of neurons of
    the type `dense_rec`, `digits` to those of the type `conv`.
    """

    type: Annotated[str, keys.TYPE]
    shape: Annotated[Shape, keys.SHAPE]
    name: Annotated[
        str | None, _attribute("lmht_name", "text", "Name of the layer in the network.")
    ] = None
    weight: Annotated[np.ndarray | None, keys.WEIGHT] = None
    bias: Annotated[np.ndarray | None, keys.BIAS] = None
    recurrent: Annotated[np.ndarray | None, keys.RECURRENT_WEIGHT] = None
    stride: Annotated[Pair | None, keys.STRIDE] = None
    padding: Annotated[Pair | None, keys.PADDING] = None
    dilation: Annotated[Pair | None, keys.DILATION] = None
    groups: Annotated[int | None, keys.GROUPS] = None
    neurons: CubaRecord | None = None
    unrolled: UnrolledRecord | None = None
    digits: DigitsRecord | None = None

    @property
    def own(self) -> int:
        """Number of its neurons, the first ones, whose spikes are those of the network."""
        if self.digits:
            parts = self.digits
            return parts.channels * parts.steps * parts.levels * prod(self.shape[1:])
        return self.unrolled.size if self.unrolled else 0


@dataclass(frozen=True)
class ExactFile:
    """A stock-exact NetX file.

    Attributes:
        window: Shape of one window, (T_in, C, H, W) or (T_in, N).
        input_range: Smallest and largest input value.
        copies: How many times the flattened window enters.
        scale: Real value of one unit of a logit.
        token: Whether one more input channel follows, which is 1 everywhere.
        steps: Steps of one sample.
        layers: The layers, the input first and the read-out last.
        metadata: Provenance of the network.
    """

    window: Annotated[Shape, _attribute("lmht_window", "int64 [2] or [4]", "Shape of one window.")]
    input_range: Annotated[
        Pair, _attribute("lmht_range", "int64 [2]", "Smallest and largest input value.")
    ]
    copies: Annotated[
        int, _attribute("lmht_copies", "int64", "How many times the flattened window enters.")
    ]
    scale: Annotated[
        float, _attribute("lmht_scale", "float64", "Real value of one unit of a logit.")
    ]
    token: Annotated[
        bool | None,
        _attribute(
            "lmht_token", "bool", "Whether one more input channel follows, 1 everywhere.", 2
        ),
    ] = None
    steps: int = 0
    layers: tuple[ExactLayerRecord, ...] = ()
    metadata: Mapping[str, str] = field(default_factory=dict)


SCHEMA = Schema(
    title="Stock-exact NetX files (`.net`)",
    suffix=".net",
    format=FORMAT,
    version=VERSION,
    summary=(
        "HDF5 that unmodified lava-dl 0.6 runs with the spikes and logits of the LM-HT network. "
        "One sample is one window. It enters as one frame of graded spikes at step 1: all of its "
        "steps, flattened, `lmht_copies` times, and with `lmht_token` a channel of ones. The "
        "logits are v/64 of the last layer at the last step, in units of `lmht_scale`."
    ),
    groups=(
        Group("/", "The file.", (*identity.KEYS, *keys_of(ExactFile))),
        keys.SIMULATION_GROUP,
        Group("/layer/<i>", "One layer.", keys_of(ExactLayerRecord)),
        Group(
            "/layer/<i>, type dense_rec",
            "In addition, in a layer of neurons.",
            keys_of(UnrolledRecord),
        ),
        Group(
            "/layer/<i>, type conv",
            "In addition, in a layer that holds the spikes of a layer of the network.",
            keys_of(DigitsRecord),
        ),
        Group("/layer/<i>/neuron", "Stock neurons.", keys_of(CubaRecord)),
    ),
    checksum=identity.CHECKSUM_RULE,
)


def write_exact(content: ExactFile, path: str | Path) -> None:
    """Write a file; it appears complete or not at all.

    Raises:
        StorageError: The file cannot be written.
    """
    with identity.writing(path, SCHEMA, content.metadata, VERSION) as file:
        write_record(file, content)
        sample = SampleRecord(steps=content.steps, step_time=1)
        write_record(file.create_group(keys.SIMULATION), sample)
        for index, layer in enumerate(content.layers):
            group = file.create_group(f"{keys.LAYERS}/{index}")
            write_record(group, layer)
            for parts in filter(None, (layer.unrolled, layer.digits)):
                write_record(group, parts)
            if layer.neurons:
                write_record(group.create_group(keys.NEURON), layer.neurons)


def parse_exact(file: h5py.File) -> ExactFile:
    """Read an open file that `write_exact` wrote.

    Raises:
        StorageError: The file is damaged or of another version.
    """
    metadata = identity.check(file, SCHEMA)
    known = (*identity.KEYS, *keys_of(ExactFile))
    expect_only(file, known, groups=(keys.LAYERS, keys.SIMULATION))
    groups = file[keys.LAYERS]
    layers = tuple(_read_layer(groups[str(index)]) for index in range(len(groups)))
    if len(layers) < 2 or layers[-1].type not in (keys.DENSE, keys.CONV):
        raise StorageError(f"{file.filename}: is damaged: its last layer is not a read-out")
    sample = read_record(SampleRecord, file[keys.SIMULATION])
    content = read_record(ExactFile, file, steps=sample.steps, layers=layers, metadata=metadata)
    _check(file.filename, content)
    return content


def _check(path: str, content: ExactFile) -> None:
    """Raise StorageError where the parts of a file do not belong together."""
    entry = content.layers[0]
    if min(content.window, default=0) < 1 or len(content.window) not in (2, 4):
        raise StorageError(f"{path}: is damaged: a window has the shape {content.window}")
    token = prod(entry.shape[1:]) if content.token else 0
    if content.copies < 1 or prod(entry.shape) != content.copies * prod(content.window) + token:
        raise StorageError(
            f"{path}: is damaged: its input layer does not hold {content.copies} windows"
        )
    low, high = content.input_range
    if not -MAX_INPUT <= low <= high <= MAX_INPUT or not 0 < content.scale < math.inf:
        raise StorageError(f"{path}: is damaged: its input range or its scale is impossible")
    for layer in content.layers:
        parts = layer.unrolled or layer.digits
        if parts and (min(dataclasses.astuple(parts)) < 1 or layer.own > prod(layer.shape)):
            raise StorageError(f"{path}: is damaged: {layer.name!r} has not the neurons it names")


def _read_layer(group: h5py.Group) -> ExactLayerRecord:
    layer = read_record(ExactLayerRecord, group)
    parts: dict[str, Any] = {}
    known = [*keys_of(ExactLayerRecord)]
    if keys.NEURON in group:
        parts["neurons"] = read_record(CubaRecord, group[keys.NEURON])
        expect_only(group[keys.NEURON], keys_of(CubaRecord))
    if layer.type == keys.RECURRENT:
        parts["unrolled"] = read_record(UnrolledRecord, group)
        known += keys_of(UnrolledRecord)
    if layer.type == keys.CONV and any(has(group, key) for key in keys_of(DigitsRecord)):
        parts["digits"] = read_record(DigitsRecord, group)
        known += keys_of(DigitsRecord)
    expect_only(group, known, groups=(keys.NEURON,))
    return dataclasses.replace(layer, **parts)
