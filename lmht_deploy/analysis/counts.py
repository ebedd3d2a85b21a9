"""Exact counts of a run: spikes, synaptic operations, updates and memory accesses, by layer.

Two views of one run are counted. The graded view is the network as it is: a spike has a value k
of 0 to L. The single-threshold view is its reparameterized form: each time-step is L sub-steps, and
a spike is 0 or 1. The spikes of the second view follow from those of the first, see
`unroll`.

Example:
    >>> result = lmht.run(net, windows, trace=True)
    >>> counts = count(net, windows, result.traces)
    >>> int(counts.total("sops").mean())
    4821
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any, TypeAlias

import numpy as np

from lmht_deploy import reference
from lmht_deploy._suggest import unknown
from lmht_deploy.errors import LmhtError
from lmht_deploy.ir import Conv, Network, Neurons, Readout, Synapse
from lmht_deploy.result import Result, synapse_macs

__all__ = [
    "EVENTS",
    "GRADED",
    "SINGLE_THRESHOLD",
    "STATE_BYTES",
    "WEIGHT_BYTES",
    "Counts",
    "LayerCounts",
    "concatenate",
    "count",
    "count_outputs",
    "of_result",
    "synapses",
    "take",
    "unroll",
]

GRADED, SINGLE_THRESHOLD = "graded", "single_threshold"
"""Names of the views."""
EVENTS = ("spikes", "events", "sops", "event_sops", "conv_events")
"""Counts that depend on the window; the others depend on the network alone."""
WEIGHT_BYTES = 1
"""Bytes of a weight: int8."""
STATE_BYTES = 4
"""Bytes of a current or a potential: int32."""


@dataclass(frozen=True, eq=False)
class LayerCounts:
    """Counts of one layer with synapses.

    Attributes:
        layer: Name of the layer.
        neurons: Number of neurons; 0 for the read-out.
        steps: Number of steps of its output, sub-steps included; 0 for the read-out.
        macs: Multiply-accumulates of pixels per window.
        dense_macs: Multiply-accumulates of one pass of a dense network of the same shape: the
            number of synapses.
        weights: Number of weights.
        outputs: Number of outputs: neurons, or classes of the read-out.
        biases: Number of biases.
        inputs: Number of inputs, of all synapses together.
        dense_reads: Reads of inputs in one pass of a dense network of the same shape: one per
            multiply-accumulate of a convolution, one per input of other synapses.
        spikes: Σ k of its neurons, int64 `[B, steps]`.
        events: Number of k > 0 of its neurons, int64 `[B, steps]`.
        sops: Synapses that the spikes into this layer cross, int64 `[B, steps of its input]`.
        event_sops: Like `sops`, where k > 0 counts once.
        conv_events: Number of k > 0 that enter its convolutions, like `sops`.
    """

    layer: str
    neurons: int
    steps: int
    macs: int
    dense_macs: int
    weights: int
    outputs: int
    biases: int
    inputs: int
    dense_reads: int
    spikes: np.ndarray
    events: np.ndarray
    sops: np.ndarray
    event_sops: np.ndarray
    conv_events: np.ndarray

    @property
    def updates(self) -> int:
        """Neuron updates per window: neurons × steps."""
        return self.neurons * self.steps

    def per_window(self, kind: str) -> np.ndarray:
        """Return a count per window, int64 `[B]`.

        Args:
            kind: One of `KINDS`. An event or a pixel reads one weight for each synapse that it
                crosses, and reads and writes the state behind the synapse. An update reads and
                writes the state of a neuron.

        Raises:
            LmhtError: There is no such count.
        """
        found: np.ndarray
        match kind:
            case _ if kind in EVENTS:
                found = getattr(self, kind).sum(1)
            case _ if kind in FIXED:
                found = np.full(len(self.sops), getattr(self, kind), np.int64)
            case "weight_reads":
                found = self.per_window("event_sops") + self.macs
            case "state_reads" | "state_writes":
                found = self.per_window("weight_reads") + self.updates
            case "bytes":
                states = 2 * self.per_window("state_reads")
                found = WEIGHT_BYTES * self.per_window("weight_reads") + STATE_BYTES * states
            case _:
                raise LmhtError(unknown("count", kind, KINDS))
        return found


FIXED = (
    *("neurons", "macs", "dense_macs", "weights", "outputs", "biases", "inputs", "dense_reads"),
    "updates",
)
"""Counts that are the same for every window."""
KINDS = (*EVENTS, *FIXED, "weight_reads", "state_reads", "state_writes", "bytes")
"""Counts that can be added over layers."""


@dataclass(frozen=True, eq=False)
class Counts:
    """Counts of a run in one view.

    Attributes:
        view: `GRADED` or `SINGLE_THRESHOLD`.
        layers: Layers of neurons in order, and the read-out.
    """

    view: str
    layers: tuple[LayerCounts, ...]

    @property
    def windows(self) -> int:
        """B, number of windows."""
        return len(self.layers[-1].sops)

    def total(self, kind: str) -> np.ndarray:
        """Return a count of all layers per window, int64 `[B]`; `kind` is one of `KINDS`."""
        total: np.ndarray = np.sum([layer.per_window(kind) for layer in self.layers], axis=0)
        return total

    def __getitem__(self, name: str) -> LayerCounts:
        """Return the counts of the layer `name`; LmhtError if there is none."""
        layers = {layer.layer: layer for layer in self.layers}
        if name not in layers:
            raise LmhtError(unknown("layer", name, layers))
        return layers[name]


def count(net: Network, windows: np.ndarray, traces: Mapping[str, np.ndarray]) -> Counts:
    """Count a run of a network as it is.

    Args:
        net: Float or integer network.
        windows: Integers `[B, T_in, ...]`.
        traces: k `[B, steps, ...]` by layer of neurons, as in `Result.traces`.
    """
    return count_outputs(net, reference.outputs_of(net, windows, traces), GRADED)


def count_outputs(net: Network, outputs: Mapping[str, np.ndarray], view: str) -> Counts:
    """Count a run, given the outputs of all layers."""
    layers = [layer for layer in net.layers if isinstance(layer, Neurons | Readout)]
    return Counts(view, tuple(_count_layer(net, layer, outputs) for layer in layers))


def unroll(
    net: Network, single: Network, windows: np.ndarray, traces: Mapping[str, np.ndarray]
) -> dict[str, np.ndarray]:
    """Return the outputs of all layers of the single-threshold form.

    The spikes of a time-step are the thermometer code of k: sub-step l fires where k > l.

    Args:
        net: The network.
        single: Its single-threshold form, `reparameterize(net)`.
        windows: Integers `[B, T_in, ...]`.
        traces: k `[B, T, ...]` of `net` by layer of neurons, as in `Result.traces`.
    """
    spikes = {layer.name: thermometer(traces[layer.name], layer.levels) for layer in net.neurons}
    return reference.outputs_of(single, windows, spikes)


def thermometer(k: np.ndarray, levels: int) -> np.ndarray:
    """Return the thermometer code of k.

    Shape:
        k: `[B, T, ...]`. Result: uint8 `[B, T·L, ...]`.
    """
    level = np.arange(levels).reshape(-1, *(1,) * (k.ndim - 2))
    return (k[:, :, None] > level).reshape(len(k), -1, *k.shape[2:]).astype(np.uint8)


def of_result(result: Result) -> Counts:
    """Return what a result without traces tells: totals per window, as if of one step.

    What does not depend on the window is 0, but the MACs. A backend that cannot count events gives
    spikes and synaptic operations in their place.
    """
    layers = []
    for name, sops in result.sops.items():
        spikes = result.spikes.get(name, np.zeros_like(sops))
        events = result.events.get(name, spikes)
        event_sops = result.event_sops.get(name, sops)
        arrays = (spikes, events, sops, event_sops, np.zeros_like(sops))
        columns = [array[:, None] for array in arrays]
        counts: dict[str, Any] = {
            **dict.fromkeys(_OF_NETWORK, 0),
            "macs": result.macs.get(name, 0),
            **dict(zip(EVENTS, columns, strict=True)),
        }
        layers.append(LayerCounts(layer=name, **counts))
    return Counts(GRADED, tuple(layers))


_OF_NETWORK = (
    *("neurons", "steps", "macs", "dense_macs", "weights"),
    *("outputs", "biases", "inputs", "dense_reads"),
)
"""Fields of `LayerCounts` that do not depend on the windows."""


def concatenate(parts: Sequence[Counts]) -> Counts:
    """Join the counts of successive windows."""
    first = parts[0]
    return Counts(
        first.view,
        tuple(_join([part.layers[i] for part in parts]) for i in range(len(first.layers))),
    )


def _join(parts: Sequence[LayerCounts]) -> LayerCounts:
    joined: dict[str, Any] = {
        kind: np.concatenate([getattr(part, kind) for part in parts]) for kind in EVENTS
    }
    return dataclasses.replace(parts[0], **joined)


def take(counts: Counts, chosen: np.ndarray) -> Counts:
    """Return the counts of some windows.

    Args:
        counts: Counts of a run.
        chosen: Indices of windows, or a mask.
    """
    layers = (
        dataclasses.replace(layer, **{kind: getattr(layer, kind)[chosen] for kind in EVENTS})
        for layer in counts.layers
    )
    return Counts(counts.view, tuple(layers))


def synapses(net: Network, synapse: Synapse) -> int:
    """Return the number of synapses, counted at each position; borders are exact."""
    shape = net.shapes[synapse.source]
    return int(np.broadcast_to(synapse.fan_out(shape), shape).sum())


def _count_layer(
    net: Network, layer: Neurons | Readout, outputs: Mapping[str, np.ndarray]
) -> LayerCounts:
    neurons = layer if isinstance(layer, Neurons) else None
    k = outputs[layer.name] if neurons else np.zeros((_batch(outputs), 0, 1), np.int64)
    return LayerCounts(
        layer=layer.name,
        neurons=prod(net.shapes[layer.name]) if neurons else 0,
        steps=neurons.steps if neurons else 0,
        macs=sum(synapse_macs(net, synapse) for synapse in layer.synapses),
        dense_macs=sum(synapses(net, synapse) for synapse in layer.synapses),
        weights=sum(synapse.weight.size for synapse in layer.synapses),
        outputs=prod(net.shapes[layer.name]),
        biases=layer.bias.size,
        inputs=sum(prod(net.shapes[synapse.source]) for synapse in layer.synapses),
        dense_reads=sum(_dense_reads(net, synapse) for synapse in layer.synapses),
        spikes=_per_step(k),
        events=_per_step(k != 0),
        sops=_sops(net, layer, outputs, _synapse_sops),
        event_sops=_sops(net, layer, outputs, _event_sops),
        conv_events=_sops(net, layer, outputs, _conv_events),
    )


def _dense_reads(net: Network, synapse: Synapse) -> int:
    if isinstance(synapse, Conv):
        return synapses(net, synapse)
    return prod(net.shapes[synapse.source])


def _batch(outputs: Mapping[str, np.ndarray]) -> int:
    return len(next(iter(outputs.values())))


def _per_step(k: np.ndarray, weight: np.ndarray | None = None) -> np.ndarray:
    """Return Σ k·weight of each step, int64 `[B, steps]`; a weight is the same for all channels."""
    total: np.ndarray = k.sum(axis=2, dtype=np.int64)
    if weight is not None:
        total = total * weight[0]
    rest = tuple(range(2, total.ndim))
    return np.asarray(total.sum(axis=rest, dtype=np.int64))


def _sops(
    net: Network, layer: Neurons | Readout, outputs: Mapping[str, np.ndarray], of: _Counter
) -> np.ndarray:
    """Return what `of` counts by input step, or by time-step where sub-steps differ."""
    blocks = net.blocks(layer.synapses[0].source)
    found = [
        of(net, synapse, outputs[synapse.source])
        for synapse in layer.synapses
        if synapse.source not in net.pixels
    ]
    if len({counts.shape[1] for counts in found}) > 1:
        found = [counts.reshape(len(counts), blocks, -1).sum(2) for counts in found]
    return np.sum(found, axis=0) if found else np.zeros((_batch(outputs), blocks), np.int64)


_Counter: TypeAlias = Callable[[Network, Synapse, np.ndarray], np.ndarray]
"""Counts what happens at a synapse that reads k; int64 `[B, steps]`."""


def _synapse_sops(net: Network, synapse: Synapse, k: np.ndarray) -> np.ndarray:
    return _per_step(k, synapse.fan_out(net.shapes[synapse.source]))


def _event_sops(net: Network, synapse: Synapse, k: np.ndarray) -> np.ndarray:
    return _synapse_sops(net, synapse, k != 0)


def _conv_events(net: Network, synapse: Synapse, k: np.ndarray) -> np.ndarray:
    return _per_step(k != 0) * isinstance(synapse, Conv)
