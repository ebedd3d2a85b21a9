"""Whether a network computes what the model computes that it was made from.

The model runs in float64 on probe windows, and each layer of the network is compared with it. A
layer of the network reads the spikes that the *model* passed on, not those that the network
computed. So an error in one layer does not cause errors in later ones, and the first layer that
differs is the one at fault.

Both sides compute the same real numbers in a different order. A current may therefore differ by
`ROUNDING` times the largest sum of absolute values that can enter it. A spike count may differ only
where the potential is so close to a multiple of θ that this rounding decides.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from . import reference
from .ir import Flatten, Input, MaxPool, Network, Neurons, Readout, SumPool

ROUNDING = 2.0**-30
"""Bound on the relative rounding error of a current computed in float64.

One operation rounds by at most 2^-53 of its result. The bound allows about 2^23 operations: the
terms of the sum, and batch norm applied after it or folded into the weights.
"""


@dataclass(frozen=True)
class Call:
    """One call of neurons of the model, float64 [B, T, ...].

    Attributes:
        current: What they received; None where it is not compared.
        spikes: What they returned, as counts.
        passed: The counts that the next layers received.
    """

    current: np.ndarray | None
    spikes: np.ndarray
    passed: np.ndarray


@dataclass(frozen=True)
class Run:
    """A run of the model.

    Attributes:
        windows: What it read, integers [B, T_in, ...].
        calls: The calls of its neurons, in the order of the layers of the network.
        logits: What it returned, float64 [B, K].
    """

    windows: np.ndarray
    calls: Sequence[Call]
    logits: np.ndarray


def probes(input: Input, rng: np.random.Generator) -> Iterator[np.ndarray]:
    """Windows [T_in, ...] of integers within the input's range.

    The first holds zeros (or the value nearest to 0). In the second and third, small values are
    drawn for a tenth and for half of the cells. The last is uniform over the full range.
    """
    shape, low, high = (input.steps, *input.shape), input.min_value, input.max_value
    zeros = np.full(shape, np.clip(0, low, high))
    small, full = rng.integers(-2, 4, shape).clip(low, high), rng.integers(low, high + 1, shape)
    yield zeros
    yield np.where(rng.random(shape) < 0.1, small, zeros)
    yield np.where(rng.random(shape) < 0.5, small, zeros)
    yield full


def first_difference(net: Network, run: Run) -> str | None:
    """Return what of `net` differs first from the model, by layer; None if all agrees."""
    outputs: dict[str, np.ndarray] = {}
    calls = iter(run.calls)
    for layer in net.layers:
        found = None
        match layer:
            case Input():
                outputs[layer.name] = run.windows.astype(np.float64)
            case Neurons():
                call = next(calls)
                found = _neurons_differ(net, layer, outputs, call)
                outputs[layer.name] = call.passed.round()
            case Readout():
                found = _logits_differ(net, layer, outputs, run.logits)
            case _:
                outputs[layer.name] = _pooled(net, layer, outputs[layer.source])
        if found:
            return f"{layer.name}: the {found}"
    return None


def _pooled(net: Network, layer: SumPool | MaxPool | Flatten, k: np.ndarray) -> np.ndarray:
    match layer:
        case SumPool():
            return reference.pool(k, layer, np.sum, 0)
        case MaxPool():
            return reference.pool(k, layer, np.max, net.ranges[layer.source][0])
        case Flatten():
            return k.reshape(*k.shape[:2], -1)


def _neurons_differ(
    net: Network, layer: Neurons, outputs: dict[str, np.ndarray], call: Call
) -> str | None:
    current = reference.currents(net, layer, outputs)
    error = ROUNDING * _magnitude(layer, outputs)
    if call.current is not None and not _equal(call.current, current, error):
        return "currents"
    error *= np.abs(layer.omega).sum(1).max()
    fires = _fires(layer, reference.mix(layer, current), call.spikes, error)
    return None if fires else "spikes"


def _logits_differ(
    net: Network, layer: Readout, outputs: dict[str, np.ndarray], logits: np.ndarray
) -> str | None:
    error = ROUNDING * _magnitude(layer, outputs)
    computed = reference.currents(net, layer, outputs).sum(1) * layer.scale
    return None if _equal(logits, computed, error) else "logits"


def _magnitude(layer: Neurons | Readout, outputs: dict[str, np.ndarray]) -> float:
    """Bound on the sum of the absolute values that enter a current of `layer`."""
    total = float(np.abs(layer.bias).max())
    for synapse in layer.synapses:
        rows = np.abs(synapse.weight).reshape(len(synapse.weight), -1).sum(1)
        total += float(rows.max() * np.abs(outputs[synapse.source]).max())
    return total


def _equal(model: np.ndarray, network: np.ndarray, error: float) -> bool:
    return model.shape == network.shape and bool((np.abs(model - network) <= error).all())


def _fires(layer: Neurons, drive: np.ndarray, spikes: np.ndarray, error: float) -> bool:
    """Whether neurons can fire `spikes`, if their mixed currents I are `drive` up to `error`.

    The potential v follows the model: the given spikes are subtracted, not those computed here.
    The bound e on the error of v follows e = λ·e + error, plus the rounding of v itself.
    """
    if spikes.shape != drive.shape:
        return False
    theta, v0 = (reference.per_channel(x, drive.ndim - 2) for x in (layer.threshold, layer.v0))
    v, e = np.broadcast_to(v0, drive[:, 0].shape), np.zeros_like(drive[:, 0])
    for step in range(drive.shape[1]):
        late = spikes[:, step - 1] * theta if layer.reset == "subtract-late" and step else 0
        v, e = v * layer.leak - late + drive[:, step], e * layer.leak + error
        e = e + ROUNDING * (np.abs(v) + late + theta)
        if layer.floor is not None:
            v = np.maximum(v, reference.per_channel(layer.floor, v.ndim - 1))
        least, most = (np.clip(np.floor(x / theta), 0, layer.levels) for x in (v - e, v + e))
        k = spikes[:, step].round()
        if not ((least <= k) & (k <= most) & (np.abs(spikes[:, step] - k) <= ROUNDING)).all():
            return False
        if layer.reset == "subtract":
            v = v - k * theta
        elif layer.reset == "zero":
            v, e = np.where(k > 0, 0.0, v), np.where(k > 0, 0.0, e)
    return True
