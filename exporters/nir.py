"""Network -> NIR (`lmht_deploy.formats.nir_network`).

Every file holds the integers of the network in its metadata, and is read back exactly. A reader
without them, such as sinabs or the package `nir`, sees IF and LIF neurons. They compute, with the
step 1,

    v = v + X[t];    z = 1 where v >= θ/D;    v = v - z·θ/D

which is the LM-HT neuron with L = 1, Ω = I, λ = 1 and v0 = 0. What differs from it is listed, and
the plain profile refuses it.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from lmht_deploy.errors import ExportError
from lmht_deploy.formats.nir import write_nir
from lmht_deploy.formats.nir_network import gain, network_graph
from lmht_deploy.ir import MaxPool, Network, Neurons, Readout, Scale, require_network

FLOAT32_INTEGERS = 2**24
"""Largest magnitude up to which float32 holds every integer."""
WAY_OUT = "export without --plain: the file then says what other readers get wrong"


def export_nir(net: Network, path: str | Path, *, plain: bool = False) -> tuple[str, ...]:
    """Write an integer network as a graph of NIR.

    The file appears complete or not at all, and equal networks give equal bytes.

    Args:
        net: The network.
        path: File to write.
        plain: Whether a reader of IF neurons must get the spikes and logits of the network.

    Returns:
        What a reader without the metadata gets wrong, one sentence per difference.

    Raises:
        ExportError: It is a float network. With `plain`: a layer differs from IF neurons that
            subtract their threshold, or its potentials exceed float32; the message names it.
        StorageError: The file cannot be written.
    """
    if not require_network(net).integer:
        raise ExportError(
            "a NIR file of lmht-deploy holds integers, and this is a float network; quantize it "
            "first"
        )
    differences = tuple(_differences(net))
    if plain and differences:
        raise ExportError(f"{differences[0]}; {WAY_OUT}")
    write_nir(path, network_graph(net, "exact" if differences else "plain"))
    return differences


def _differences(net: Network) -> Iterator[str]:
    """Yield what IF neurons in float32 get wrong, by layer."""
    for layer in net.layers:
        what: Iterator[str] = iter(())
        match layer:
            case Neurons():
                what = _neuron_differences(net, layer)
            case MaxPool():
                what = iter(("NIR has no max pooling, and a reader sums",))
            case Readout():
                what = _synapse_differences(net, layer)
        for text in what:
            yield f"layer {layer.name!r}: {text}"


def _neuron_differences(net: Network, layer: Neurons) -> Iterator[str]:
    if layer.levels > 1:
        yield f"fires up to {layer.levels} spikes per time-step, and an IF neuron one"
    if layer.substeps > 1:
        yield f"has {layer.substeps} sub-steps per time-step, and an IF neuron fires at once"
    if layer.leaks:
        yield "its leak truncates integers, and that of a LIF neuron does not"
    if layer.v0.any():
        yield "its potential does not begin at 0, as that of an IF neuron does"
    if layer.reset != "subtract":
        yield f"its reset is {layer.reset!r}, and an IF neuron subtracts its threshold at once"
    if layer.floor is not None:
        yield "its potential has a floor, and that of an IF neuron has none"
    if not _mixes_nothing(net, layer):
        yield "its T-GIM mixes time-steps"
    yield from _synapse_differences(net, layer)


def _mixes_nothing(net: Network, layer: Neurons) -> bool:
    """Whether Ωq is D·I with a power of two D, or D at every step of a network of one image."""
    factor, steps = int(gain(layer)), len(layer.omega)
    if factor < 1 or factor & (factor - 1):
        return False
    still = net.input.steps == 1 and {net.blocks(s.source) for s in layer.synapses} == {1}
    image = still and all(synapse.source in net.inputs for synapse in layer.synapses)
    expected = np.full((steps, 1), factor) if image else factor * np.eye(steps, dtype=int)
    return np.array_equal(layer.omega, expected)


def _synapse_differences(net: Network, layer: Neurons | Readout) -> Iterator[str]:
    if layer.bias.any() and all(isinstance(synapse, Scale) for synapse in layer.synapses):
        yield "no synapse of it can hold its bias"
    bounds = net.bounds[layer.name]
    largest = max(bounds.current, bounds.drive, bounds.potential)
    if largest > FLOAT32_INTEGERS:
        yield f"its potential can reach {largest}, and float32 is exact up to {FLOAT32_INTEGERS}"
