"""What the Lava processes read of a network: derived when a file is written, checked when read."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np

from lmht_deploy.errors import ExportError, StorageError
from lmht_deploy.formats.hdf5 import reading_hdf5
from lmht_deploy.formats.lmht import version_of
from lmht_deploy.ir import LEAK_ONE, MaxPool, Network, Neurons, Readout, SumPool
from lmht_deploy.result import synapse_macs

from . import _identity as identity
from . import exact, keys
from .fold import Folded, fold
from .network import (
    InputRecord,
    LayerRecord,
    NetworkFile,
    NeuronsRecord,
    ReadoutRecord,
    SynapseRecord,
    parse_network,
)


def load_netx_network(path: str | Path) -> Network:
    """Read the network of a NetX file that lmht-deploy exported.

    The weights and constants that the Lava processes read from the file are compared with those of
    the network. So a result of the network is the result of the file in Lava.

    Raises:
        StorageError: The file is missing or damaged, of another version or of another tool, or the
            two differ.
    """
    with reading_hdf5(path, "a NetX file") as file:
        if keys.LAYERS in file and identity.format_of(file) in (None, exact.FORMAT):
            raise StorageError(
                f"{path}: holds stock neurons of lava-dl, and no LM-HT network; run it on the "
                "backend 'netx' or 'lava'"
            )
        content = parse_network(file)
        check(content, str(path))
        return content.network


def check(content: NetworkFile, path: str) -> None:
    """Raise StorageError where the layers of a file are not those of the network that it holds."""
    net = content.network
    found = [layer for layer in content.layers if layer.synapses]
    stages = [layer for layer in net.layers if isinstance(layer, Neurons | Readout)]
    if not net.integer or [layer.name for layer in found] != [layer.name for layer in stages]:
        raise StorageError(f"{path}: its layers are not those of the network in the file")
    if timing(net, content.graded) != (content.steps, content.substeps):
        raise StorageError(f"{path}: its steps are not those of the network in the file")
    entry = content.layers[0]
    shared = _same(input_record(net), content.input) and entry.shape == net.input.shape
    if not shared or entry.name != net.input.name:
        raise StorageError(f"{path}: its input is not that of the network in the file")
    numbers = {str(layer.name): index for index, layer in enumerate(content.layers) if layer.name}
    for record, layer in zip(found, stages, strict=True):
        derived = layer_record(net, layer, numbers, graded=content.graded)
        if not _same(_of_lava(derived), _of_lava(record)):
            raise StorageError(
                f"{path}: layer {layer.name!r} as Lava reads it is not that of the network in the "
                "file"
            )


def timing(net: Network, graded: bool) -> tuple[int, int]:
    """Return the blocks of a window and the Lava steps of a block."""
    steps = max(net.input.steps, *(len(layer.omega) for layer in net.neurons), 1)
    return steps, max((fires(layer, graded) for layer in net.neurons), default=1)


def fires(layer: Neurons, graded: bool) -> int:
    """Return the Lava steps of a block in which a layer may fire."""
    if graded:
        return layer.substeps
    if layer.levels > 1 and layer.substeps > 1:
        raise ExportError(
            f"layer {layer.name!r} has {layer.levels} levels and {layer.substeps} sub-steps at "
            "once; export it with graded spikes"
        )
    return layer.substeps * layer.levels


def input_record(net: Network) -> InputRecord:
    """Return what enters the network."""
    entry = net.input
    return InputRecord(entry.steps, entry.min_value, entry.max_value, entry.kind)


def layer_record(
    net: Network, layer: Neurons | Readout, numbers: dict[str, int], *, graded: bool
) -> LayerRecord:
    """Return what the Lava processes read of a layer; its type, which stock reads, is empty.

    Args:
        net: The network.
        layer: The layer.
        numbers: Number in the file, by name of a layer.
        graded: Whether spikes carry counts.

    Raises:
        ExportError: The layer reads pooling that the file cannot represent.
    """
    folded = [fold(net, layer.name, synapse) for synapse in layer.synapses]
    if not graded:
        _check_pools(net, layer.name, folded)
    macs = [synapse_macs(net, synapse) for synapse in layer.synapses]
    return LayerRecord(
        type="",
        shape=net.shapes[layer.name],
        name=layer.name,
        synapses=tuple(
            _synapse(net, part, count, numbers) for part, count in zip(folded, macs, strict=True)
        ),
        neurons=_neurons(net, layer) if isinstance(layer, Neurons) else None,
        readout=_readout(net, layer) if isinstance(layer, Readout) else None,
    )


def _check_pools(net: Network, layer: str, synapses: list[Folded]) -> None:
    """Raise ExportError where max pooling of single spikes differs from max pooling of counts.

    The single spikes of a time-step are a thermometer code of the count, with which max pooling
    commutes. A sum of such codes is none.
    """
    for folded in synapses:
        source = net[folded.source]
        sums = any(isinstance(pool, SumPool) for pool in folded.pools)
        if sums and isinstance(source, Neurons) and source.levels > 1:
            raise ExportError(
                f"layer {layer!r} reads max pooling over sum pooling of {source.name!r}, which "
                f"has {source.levels} levels; export it with graded spikes"
            )


def _synapse(net: Network, folded: Folded, macs: int, numbers: dict[str, int]) -> SynapseRecord:
    conv = folded.weight.ndim == 4
    pools = np.array([_pool(net, pool) for pool in folded.pools], np.int64)
    return SynapseRecord(
        source=numbers[folded.source],
        extent=folded.extent,
        macs=macs,
        fan_out=folded.fan_out,
        weight=folded.weight.astype(np.int32),
        stride=folded.stride if conv else None,
        padding=folded.padding if conv else None,
        dilation=folded.dilation if conv else None,
        groups=folded.groups if conv else None,
        pools=pools if len(pools) else None,
    )


def _pool(net: Network, pool: SumPool | MaxPool) -> list[int]:
    largest = isinstance(pool, MaxPool)
    border = net.ranges[pool.source][0] if largest else 0
    return [border, int(largest), *pool.kernel, *pool.stride, *pool.padding]


def _neurons(net: Network, layer: Neurons) -> NeuronsRecord:
    return NeuronsRecord(
        levels=layer.levels,
        substeps=layer.substeps,
        steps=len(layer.omega),
        omega=layer.omega,
        theta=layer.threshold,
        bias=layer.bias,
        v0=layer.v0,
        leak=int(layer.leak),
        leak_bits=LEAK_ONE.bit_length() - 1,
        injection=layer.injection,
        reset=None if version_of(net) == 1 else layer.reset,
        floor=layer.floor,
    )


def _readout(net: Network, layer: Readout) -> ReadoutRecord:
    steps = net.blocks(layer.synapses[0].source)
    return ReadoutRecord(steps=steps, bias=layer.bias, scale=layer.scale)


def _of_lava(record: LayerRecord) -> LayerRecord:
    """Return a layer without what only stock lava-dl reads, its synapses in a fixed order."""
    synapses = sorted(record.synapses, key=lambda s: (s.source, s.weight.shape, s.weight.tobytes()))
    return dataclasses.replace(record, type="", bias=None, cuba=None, synapses=tuple(synapses))


def _same(a: object, b: object) -> bool:
    """Return whether two records, or values in them, are equal."""
    if dataclasses.is_dataclass(a) and type(a) is type(b):
        names = (field.name for field in dataclasses.fields(a))
        return all(_same(getattr(a, name), getattr(b, name)) for name in names)
    if isinstance(a, tuple) and isinstance(b, tuple):
        return len(a) == len(b) and all(map(_same, a, b))
    return a is b is None or (a is not None and b is not None and np.array_equal(a, b))  # type: ignore[arg-type]
