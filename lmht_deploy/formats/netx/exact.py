"""NetX files on which unmodified lava-dl is exact: records, writer, reader and schema.

All layers are dense and hold stock neurons; the keys `lmht_*` say where the neurons of the
network are among them (`lmht_deploy.exporters.netx_exact`).
"""

from __future__ import annotations

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
from ._records import ATTRIBUTE, expect_only, keys_of, read_record, write_record
from .network import CubaRecord

FORMAT = "lmht-deploy NetX stock-exact"
VERSION = 1

NEURONS = CubaRecord(
    type="CUBA",
    current_decay=0,
    voltage_decay=keys.STATE_ONE,
    threshold=0,
    refractory=1,
    graded=False,
)
"""Integrators that no spike resets: the current never decays, the potential is u + bias."""


def _attribute(name: str, dtype: str, meaning: str, *, optional: bool = False) -> Field:
    return Field(name, dtype, meaning, ATTRIBUTE, optional)


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
class ExactLayerRecord:
    """One layer of the file; `unrolled` is None in the input layer and in the read-out."""

    name: Annotated[str, _attribute("lmht_name", "text", "Name of the layer in the network.")]
    type: Annotated[str, keys.TYPE]
    shape: Annotated[Shape, keys.SHAPE]
    weight: Annotated[np.ndarray | None, keys.WEIGHT] = None
    bias: Annotated[np.ndarray | None, keys.BIAS] = None
    recurrent: Annotated[np.ndarray | None, keys.RECURRENT_WEIGHT] = None
    unrolled: UnrolledRecord | None = None


@dataclass(frozen=True)
class ExactFile:
    """A stock-exact NetX file.

    Attributes:
        window: Shape of one window, (T_in, C, H, W) or (T_in, N).
        input_range: Smallest and largest input value.
        copies: How many times the flattened window enters.
        scale: Real value of one unit of a logit.
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
        "steps, flattened, `lmht_copies` times. The logits are v/64 of the last layer at the last "
        "step, in units of `lmht_scale`."
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
        Group("/layer/<i>/neuron", "Stock neurons.", keys_of(CubaRecord)),
    ),
    checksum=identity.CHECKSUM_RULE,
)


def write_exact(content: ExactFile, path: str | Path) -> None:
    """Write a file; it appears complete or not at all.

    Raises:
        StorageError: The file cannot be written.
    """
    with identity.writing(path, SCHEMA, content.metadata) as file:
        write_record(file, content)
        sample = SampleRecord(steps=content.steps, step_time=1)
        write_record(file.create_group(keys.SIMULATION), sample)
        for index, layer in enumerate(content.layers):
            group = file.create_group(f"{keys.LAYERS}/{index}")
            write_record(group, layer)
            if layer.unrolled:
                write_record(group, layer.unrolled)
                write_record(group.create_group(keys.NEURON), NEURONS)


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
    if len(layers) < 2 or not layers[-1].type == keys.DENSE:
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
    if content.copies < 1 or prod(entry.shape) != content.copies * prod(content.window):
        raise StorageError(
            f"{path}: is damaged: its input layer does not hold {content.copies} windows"
        )
    low, high = content.input_range
    if not -MAX_INPUT <= low <= high <= MAX_INPUT or not 0 < content.scale < math.inf:
        raise StorageError(f"{path}: is damaged: its input range or its scale is impossible")
    for layer in content.layers:
        parts = layer.unrolled
        if parts and not (
            min(parts.steps, parts.fires, parts.first, parts.units) >= 1
            and parts.size <= prod(layer.shape)
        ):
            raise StorageError(f"{path}: is damaged: {layer.name!r} has not the neurons it names")


def _read_layer(group: h5py.Group) -> ExactLayerRecord:
    parts: dict[str, Any] = {}
    known = [*keys_of(ExactLayerRecord)]
    if keys.NEURON in group:
        parts["unrolled"] = read_record(UnrolledRecord, group)
        known += keys_of(UnrolledRecord)
        expect_only(group[keys.NEURON], keys_of(CubaRecord))
    expect_only(group, known, groups=(keys.NEURON,))
    return read_record(ExactLayerRecord, group, **parts)
