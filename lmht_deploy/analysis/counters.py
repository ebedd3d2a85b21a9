"""What other tools would have counted for the same run.

Published figures for "synaptic operations" are counted in different ways. Three usual counters are
computed here beside the exact count of `lmht_deploy.analysis.counts`:

* rate: the FLOPs of a layer times T times the mean firing rate of its input. Borders are counted
  as if a kernel read zeros there, and every position as if it fired at the mean rate.
* Norse: `SynOpsCounter` of Norse counts C_out·kh·kw / groups for each spike into a convolution,
  at borders and with strides alike, and N_out for each spike into a linear layer.
* NeuroBench: `SynapticOperations` of NeuroBench counts nonzero inputs times nonzero weights. A
  layer whose inputs at one step are all -1, 0 or 1 has accumulations (ACs), any other layer has
  multiply-accumulates (MACs). Thus an L = 2 network has MACs, and its single-threshold form ACs.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from math import prod
from typing import Any

import numpy as np

from lmht_deploy.ir import (
    Conv,
    Flatten,
    Linear,
    MaxPool,
    Network,
    Neurons,
    Readout,
    Scale,
    Shape,
    SumPool,
    Synapse,
)

from . import counts as counting
from .counts import Counts

__all__ = ["Activity", "OtherCount", "merge", "neurobench", "observe", "other_counts"]


@dataclass(frozen=True, eq=False)
class Activity:
    """What the counters need to know of a run, as sums over its windows.

    Attributes:
        windows: Number of windows.
        spikes: Σ k by layer that a synapse reads.
        active: Number of k > 0 by layer of neurons.
        effective: Nonzero inputs times the nonzero weights that they meet, by (layer, index of the
            synapse), int64 `[steps]`.
        graded: Whether an input is none of -1, 0 and 1, by the same key, bool `[steps]`.
    """

    windows: int
    spikes: dict[str, int] = field(default_factory=dict)
    active: dict[str, int] = field(default_factory=dict)
    effective: dict[tuple[str, int], np.ndarray] = field(default_factory=dict)
    graded: dict[tuple[str, int], np.ndarray] = field(default_factory=dict)


@dataclass(frozen=True)
class OtherCount:
    """Operations per window as another tool counts them.

    Attributes:
        counter: Short name.
        title: Name for tables.
        definition: What is counted, in one sentence.
        layers: Operations by layer; layers that read pixels only are missing.
        sops: The exact count.
    """

    counter: str
    title: str
    definition: str
    layers: Mapping[str, float]
    sops: float

    @property
    def operations(self) -> float:
        """Operations of all layers."""
        return sum(self.layers.values())

    @property
    def difference(self) -> float:
        """Operations minus exact SOPs."""
        return self.operations - self.sops

    @property
    def relative(self) -> float | None:
        """Difference as a share of the exact SOPs; None without SOPs."""
        return self.difference / self.sops if self.sops else None


def observe(net: Network, outputs: Mapping[str, np.ndarray]) -> Activity:
    """Return the activity of some windows, given the outputs of all layers."""
    found = Activity(len(next(iter(outputs.values()))))
    for layer, index, synapse in _synapses(net):
        k = outputs[synapse.source]
        found.spikes[synapse.source] = int(k.sum())
        if not isinstance(synapse, Scale):
            weights = _nonzero_fan_out(synapse, net.shapes[synapse.source])
            key = layer.name, index
            active = np.count_nonzero(k, axis=0) * weights
            found.effective[key] = active.reshape(len(active), -1).sum(1, dtype=np.int64)
            found.graded[key] = np.asarray(((k > 1) | (k < -1)).any((0, *range(2, k.ndim))))
    for neurons in net.neurons:
        found.spikes[neurons.name] = int(outputs[neurons.name].sum())
        found.active[neurons.name] = int(np.count_nonzero(outputs[neurons.name]))
    found.spikes[net.input.name] = int(outputs[net.input.name].sum())
    return found


def merge(parts: Sequence[Activity]) -> Activity:
    """Return the activity of the windows of all parts."""
    first = parts[0]
    return Activity(
        sum(part.windows for part in parts),
        {name: sum(part.spikes[name] for part in parts) for name in first.spikes},
        {name: sum(part.active[name] for part in parts) for name in first.active},
        {key: np.sum([part.effective[key] for part in parts], axis=0) for key in first.effective},
        {key: np.any([part.graded[key] for part in parts], axis=0) for key in first.graded},
    )


def other_counts(net: Network, activity: Activity, counts: Counts) -> list[OtherCount]:
    """Return the counts of the three counters, per window.

    Args:
        net: The network.
        activity: Its activity in a run.
        counts: The exact counts of the same run.
    """
    sops = float(counts.total("sops").mean())
    spiking = {
        layer.name for layer, _, synapse in _synapses(net) if synapse.source not in net.pixels
    }
    metrics = _synaptic_operations(net, activity)
    rows = [
        (
            "rate",
            "rate × T × FLOPs",
            "mean firing rate of the input, times T, times the FLOPs of the layer",
            _by_layer(net, lambda synapse: _rate_operations(net, synapse, activity)),
        ),
        (
            "norse",
            "Norse SynOpsCounter",
            "spikes times C_out·kh·kw / groups, also at borders and with strides",
            _by_layer(net, lambda synapse: _norse_operations(synapse, activity)),
        ),
        (
            "neurobench",
            "NeuroBench Effective_ACs + Effective_MACs",
            "nonzero inputs times nonzero weights; a graded spike counts once",
            {name: macs + acs for name, (macs, acs) in metrics.items() if name in spiking},
        ),
    ]
    return [OtherCount(*row, sops) for row in rows]


def neurobench(net: Network, activity: Activity) -> dict[str, Any]:
    """Return the metrics of NeuroBench 2.3 under its own keys, per window.

    Counted are convolutions and linear layers, once per step, for the integers k as inputs.
    NeuroBench does not see identity shortcuts and does not count biases. Whether a layer has ACs or
    MACs is decided for each step over all windows, as if they were one batch.

    Args:
        net: The network.
        activity: Its activity in a run.
    """
    operations = _synaptic_operations(net, activity)
    dense = sum(
        counting.synapses(net, synapse) * net.steps[synapse.source]
        for _, _, synapse in _synapses(net)
        if not isinstance(synapse, Scale)
    )
    return {
        "Footprint": _footprint(net),
        "ParameterCount": sum(array.size for array in _parameters(net)),
        "ConnectionSparsity": _connection_sparsity(net),
        "ActivationSparsity": _activation_sparsity(net, activity),
        "SynapticOperations": {
            "Effective_MACs": sum(macs for macs, _ in operations.values()),
            "Effective_ACs": sum(acs for _, acs in operations.values()),
            "Dense": float(dense),
        },
    }


def _synapses(net: Network) -> Iterator[tuple[Neurons | Readout, int, Synapse]]:
    for layer in net.layers:
        if isinstance(layer, Neurons | Readout):
            for index, synapse in enumerate(layer.synapses):
                yield layer, index, synapse


def _by_layer(net: Network, operations: Any) -> dict[str, float]:
    """Add the operations of the synapses that read spikes, by layer."""
    found: dict[str, float] = {}
    for layer, _, synapse in _synapses(net):
        if synapse.source not in net.pixels:
            found[layer.name] = found.get(layer.name, 0.0) + operations(synapse)
    return found


# ------------------------------------------------------------------------------------- rate, Norse


def _rate_operations(net: Network, synapse: Synapse, activity: Activity) -> float:
    """FLOPs × T × rate; the rate is that of the neurons or the input before any pooling."""
    source = _spiking_source(net, synapse.source)
    mean = activity.spikes[source] / activity.windows / prod(net.shapes[source])
    return _flops(synapse, net.shapes[synapse.source]) * mean


def _flops(synapse: Synapse, shape: Shape) -> int:
    """Return the multiplications of one pass, with those of the zeros of the padding."""
    outputs = synapse.output_shape(shape)
    per_output = prod(synapse.weight.shape[1:])
    return prod(outputs) * per_output


def _spiking_source(net: Network, name: str) -> str:
    while isinstance(layer := net[name], SumPool | MaxPool | Flatten):
        name = layer.source
    return name


def _norse_operations(synapse: Synapse, activity: Activity) -> float:
    fan_out: int
    match synapse:
        case Conv():
            fan_out = synapse.weight.shape[0] * prod(synapse.kernel) // synapse.groups
        case Linear():
            fan_out = synapse.weight.shape[0]
        case Scale():
            fan_out = 0  # Norse counts convolutions and linear layers
    return activity.spikes[synapse.source] / activity.windows * fan_out


# ------------------------------------------------------------------------------------- NeuroBench


def _synaptic_operations(net: Network, activity: Activity) -> dict[str, tuple[float, float]]:
    """Return (MACs, ACs) per window by layer."""
    found: dict[str, tuple[float, float]] = {}
    for (name, index), steps in activity.effective.items():
        graded = activity.graded[name, index]
        macs, acs = found.get(name, (0.0, 0.0))
        found[name] = (
            macs + int(steps[graded].sum()) / activity.windows,
            acs + int(steps[~graded].sum()) / activity.windows,
        )
    return found


def _nonzero_fan_out(synapse: Conv | Linear, shape: Shape) -> np.ndarray:
    """Count the nonzero weights that an input at each position meets; int64 of `shape`."""
    nonzero = (synapse.weight != 0).astype(np.int64)
    if isinstance(synapse, Linear):
        count: np.ndarray = nonzero.sum(0)
        return count
    channels, per_group, *kernel = nonzero.shape
    grouped = nonzero.reshape(synapse.groups, channels // synapse.groups, per_group, *kernel)
    per_tap = grouped.sum(1).reshape(shape[0], *kernel)
    rows, columns = (
        _taps(shape[axis + 1], synapse.output_shape(shape)[axis + 1], synapse, axis)
        for axis in (0, 1)
    )
    found: np.ndarray = np.einsum("cij,iy,jx->cyx", per_tap, rows, columns)
    return found


def _taps(size: int, outputs: int, conv: Conv, axis: int) -> np.ndarray:
    """Return whether an output reads each position with each tap; int64 `[taps, size]`."""
    found = np.zeros((conv.kernel[axis], size), np.int64)
    for tap in range(conv.kernel[axis]):
        at = np.arange(outputs) * conv.stride[axis] + tap * conv.dilation[axis]
        at -= conv.padding[axis]
        found[tap, at[(at >= 0) & (at < size)]] = 1
    return found


def _parameters(net: Network) -> Iterator[np.ndarray]:
    for layer in net.layers:
        if isinstance(layer, Neurons | Readout):
            yield layer.bias
            yield from (synapse.weight for synapse in layer.synapses)
        if isinstance(layer, Neurons):
            yield from (layer.threshold, layer.v0, layer.omega)
            if layer.floor is not None:
                yield layer.floor


def _footprint(net: Network) -> int:
    """Return the bytes of all parameters as the network stores them."""
    return sum(array.nbytes for array in _parameters(net))


def _connection_sparsity(net: Network) -> float:
    weights = [s.weight for _, _, s in _synapses(net) if not isinstance(s, Scale)]
    zeros = sum(int((weight == 0).sum()) for weight in weights)
    share = zeros / sum(weight.size for weight in weights)
    return float(round(share, 4))


def _activation_sparsity(net: Network, activity: Activity) -> float:
    sites = sum(layer.steps * prod(net.shapes[layer.name]) for layer in net.neurons)
    total = sites * activity.windows
    return (total - sum(activity.active.values())) / total if total else 0.0
