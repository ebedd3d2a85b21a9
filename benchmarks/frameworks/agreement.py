"""Compare the spikes of a framework, computed in float32, with those of a float network.

Each layer reads the spikes that the framework computed in the layer before, and its potentials
follow the spikes of the framework, too. So one spike that rounding decides does not cause others.
A current is a sum of n products. In float32 it is off by at most n·2^-24 times the sum of the
absolute values of its terms (Higham 2002, section 3.1). This bound e passes through the potential,
e = λ·e + e_I, with the rounding of the potential itself. A spike may differ only where the
potential is within e of a multiple of θ.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import prod

import numpy as np

from lmht_deploy import reference
from lmht_deploy.ir import Flatten, Input, MaxPool, Network, Neurons, SumPool

UNIT = 2.0**-24
"""Unit roundoff of float32."""
OPERATIONS = 8
"""Operations per step beside the sum of products, parameters that the graph rounds included."""


@dataclass
class Agreement:
    """What differs.

    Attributes:
        spikes: Number of neuron-steps that were compared.
        differ: Those where the counts differ.
        unexplained: Those of them that the rounding of float32 does not explain.
        distance: Largest distance of a potential to the nearest multiple of θ where counts differ,
            in units of θ.
        fired: Number of spikes.
    """

    spikes: int = 0
    differ: int = 0
    unexplained: int = 0
    distance: float = 0.0
    fired: float = 0.0


def compare(net: Network, windows: np.ndarray, recorded: list[np.ndarray]) -> Agreement:
    """Compare the spikes `recorded` of a framework, [B, T, ...] per layer of neurons."""
    outputs: dict[str, np.ndarray] = {}
    found, calls = Agreement(), iter(recorded)
    for layer in net.layers:
        match layer:
            case Input():
                outputs[layer.name] = windows.astype(np.float64)
            case Neurons():
                spikes = next(calls)
                _compare_layer(net, layer, outputs, spikes, found)
                outputs[layer.name] = spikes
            case Flatten():
                source = outputs[layer.source]
                outputs[layer.name] = source.reshape(*source.shape[:2], -1)
            case SumPool() | MaxPool():
                outputs[layer.name] = reference.pool(outputs[layer.source], layer, np.sum, 0)
    return found


def _compare_layer(
    net: Network,
    layer: Neurons,
    outputs: dict[str, np.ndarray],
    spikes: np.ndarray,
    found: Agreement,
) -> None:
    drive = reference.mix(layer, reference.currents(net, layer, outputs))
    terms = sum(prod(synapse.weight.shape[1:]) for synapse in layer.synapses)
    mixed = np.abs(layer.omega).sum(1).max()
    error = UNIT * (terms + OPERATIONS) * _magnitude(layer, outputs) * mixed
    theta, v = (reference.per_channel(x, drive.ndim - 2) for x in (layer.threshold, layer.v0))
    v, e, late = np.broadcast_to(v, drive[:, 0].shape), np.zeros_like(drive[:, 0]), 0.0
    for t in range(drive.shape[1]):
        v, e = layer.leak * v - late + drive[:, t], layer.leak * e + error
        e = e + UNIT * OPERATIONS * (np.abs(v) + np.abs(late) + theta)
        if layer.floor is not None:
            v = np.maximum(v, reference.per_channel(layer.floor, v.ndim - 1))
        k = spikes[:, t]
        _count(v, e, theta, layer.levels, k, found)
        v, late = _reset(layer, v, k, theta)


def _count(
    v: np.ndarray, e: np.ndarray, theta: np.ndarray, levels: int, k: np.ndarray, found: Agreement
) -> None:
    own, least, most = (np.clip(np.floor(x / theta), 0, levels) for x in (v, v - e, v + e))
    differ = own != k
    distance = np.abs(v / theta - np.maximum(own, k))[differ]
    found.spikes += k.size
    found.fired += float(k.sum())
    found.differ += int(differ.sum())
    found.unexplained += int((differ & ((k < least) | (k > most))).sum())
    found.distance = max(found.distance, float(distance.max(initial=0)))


def _reset(
    layer: Neurons, v: np.ndarray, k: np.ndarray, theta: np.ndarray
) -> tuple[np.ndarray, np.ndarray | float]:
    match layer.reset:
        case "subtract":
            return v - k * theta, 0.0
        case "zero":
            return np.where(k > 0, 0.0, v), 0.0
    return v, k * theta


def _magnitude(layer: Neurons, outputs: dict[str, np.ndarray]) -> float:
    """Bound on the sum of the absolute values that enter a current of `layer`."""
    total = float(np.abs(layer.bias).max())
    for synapse in layer.synapses:
        rows = np.abs(synapse.weight).reshape(len(synapse.weight), -1).sum(1)
        total += float(rows.max() * np.abs(outputs[synapse.source]).max())
    return total
