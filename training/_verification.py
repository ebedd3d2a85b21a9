"""The check that ends every lowering: model and network agree on probe windows.

Tracing records the operations of a model. A module can also do what tracing does not record, for
example change a tensor in a hook. So the model runs in float64, and each layer of the network is
compared with it. A layer of the network reads the spikes that the *model* passed on, not those that
the network computed. So an error in one layer does not cause errors in later ones, and the first
layer that differs is the one at fault.

Both sides compute the same real numbers in a different order. A current may therefore differ by
`ROUNDING` times the largest sum of absolute values that can enter it. A spike count may differ only
where the potential is so close to a multiple of θ that this rounding decides.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from lmht_deploy import reference
from lmht_deploy.errors import LoweringError
from lmht_deploy.ir import Flatten, Input, MaxPool, Network, Neurons, Readout, SumPool

from .model import SpikingModel
from .neurons import Neuron

ROUNDING = 2.0**-30
"""Bound on the relative rounding error of a current computed in float64.

One operation rounds by at most 2^-53 of its result. The bound allows about 2^23 operations: the
terms of the sum, and batch norm applied after it or folded into the weights.
"""


def verify(model: SpikingModel, net: Network) -> None:
    """Compare `net` with the model that it was lowered from.

    Args:
        model: The model in float64, on the CPU and in evaluation mode.
        net: Its network.

    Raises:
        LoweringError: They differ on a probe window (the message names the first layer that
            differs), the model cannot run, or it calls other neurons than it did when traced.
    """
    rng = np.random.default_rng(0)
    zeros, sparse, dense, full = _probes(net.input, rng)
    _compare(net, _record(model, np.stack([zeros, full]), None))
    _compare(net, _record(model, np.stack([sparse, dense]), rng))


def _probes(input: Input, rng: np.random.Generator) -> Iterator[np.ndarray]:
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


# ----------------------------------------------------------------------------------------- model


@dataclass(frozen=True)
class _Call:
    """One call of neurons, float64 [B, T, ...].

    Attributes:
        current: What they received.
        spikes: What they returned, in units of θ.
        passed: The spikes that the next layers received.
    """

    current: np.ndarray
    spikes: np.ndarray
    passed: np.ndarray


@dataclass(frozen=True)
class _Run:
    windows: np.ndarray
    calls: list[_Call]
    logits: np.ndarray


def _record(model: SpikingModel, windows: np.ndarray, rng: np.random.Generator | None) -> _Run:
    """Run the model. With `rng`, neurons pass on random spikes, so that no layer stays silent."""
    calls: list[_Call] = []

    def hook(neuron: Neuron, inputs: tuple[Tensor, ...], out: Tensor) -> Tensor | None:
        spikes = out / neuron.threshold
        passed = spikes if rng is None else _random_spikes(neuron, spikes, rng)
        calls.append(_Call(*(_per_window(x, len(windows)) for x in (inputs[0], spikes, passed))))
        return None if rng is None else passed * neuron.threshold

    neurons = [module for module in model.modules() if isinstance(module, Neuron)]
    handles = [neuron.register_forward_hook(hook) for neuron in neurons]
    try:
        logits: np.ndarray = model(torch.tensor(windows, dtype=torch.float64, device="cpu")).numpy()
    except Exception as error:  # of the user's forward
        raise LoweringError(
            f"the model cannot run on probe windows in float64 on the CPU: {error}; register its "
            "tensors as parameters or buffers"
        ) from error
    finally:
        for handle in handles:
            handle.remove()
    return _Run(windows, calls, logits)


def _random_spikes(neuron: Neuron, like: Tensor, rng: np.random.Generator) -> Tensor:
    k = rng.integers(0, neuron.levels + 1, tuple(like.shape))
    return torch.tensor(k, dtype=torch.float64, device="cpu")


def _per_window(x: Tensor, batch: int) -> np.ndarray:
    """Copy [T·B, ...] to [B, T, ...]; the model may change `x` in place afterwards."""
    return torch.unflatten(x, 0, (-1, batch)).transpose(0, 1).numpy().copy()


# ------------------------------------------------------------------------------------ comparison


def _compare(net: Network, run: _Run) -> None:
    if len(run.calls) != len(net.neurons):
        raise LoweringError(
            f"the model calls neurons {len(run.calls)} times when it runs, and {len(net.neurons)} "
            "times when it is traced; its forward must be the same for every window"
        )
    outputs: dict[str, np.ndarray] = {}
    calls = iter(run.calls)
    for layer in net.layers:
        match layer:
            case Input():
                outputs[layer.name] = run.windows.astype(np.float64)
            case Neurons():
                call = next(calls)
                _compare_neurons(net, layer, outputs, call)
                outputs[layer.name] = call.passed.round()
            case Readout():
                _compare_logits(net, layer, outputs, run.logits)
            case _:
                outputs[layer.name] = _pooled(net, layer, outputs[layer.source])


def _pooled(net: Network, layer: SumPool | MaxPool | Flatten, k: np.ndarray) -> np.ndarray:
    match layer:
        case SumPool():
            return reference.pool(k, layer, np.sum, 0)
        case MaxPool():
            return reference.pool(k, layer, np.max, net.ranges[layer.source][0])
        case Flatten():
            return k.reshape(*k.shape[:2], -1)


def _compare_neurons(
    net: Network, layer: Neurons, outputs: dict[str, np.ndarray], call: _Call
) -> None:
    current = reference.currents(net, layer, outputs)
    error = ROUNDING * _magnitude(layer, outputs)
    _check_equal(f"{layer.name}: the currents", call.current, current, error)
    error *= np.abs(layer.omega).sum(1).max()
    if not _fires(layer, reference.mix(layer, current), call.spikes, error):
        raise _difference(f"{layer.name}: the spikes")


def _compare_logits(
    net: Network, layer: Readout, outputs: dict[str, np.ndarray], logits: np.ndarray
) -> None:
    error = ROUNDING * _magnitude(layer, outputs)
    computed = reference.currents(net, layer, outputs).sum(1) * layer.scale
    _check_equal(f"{layer.name}: the logits", logits, computed, error)


def _magnitude(layer: Neurons | Readout, outputs: dict[str, np.ndarray]) -> float:
    """Bound on the sum of the absolute values that enter a current of `layer`."""
    total = float(np.abs(layer.bias).max())
    for synapse in layer.synapses:
        rows = np.abs(synapse.weight).reshape(len(synapse.weight), -1).sum(1)
        total += float(rows.max() * np.abs(outputs[synapse.source]).max())
    return total


def _check_equal(what: str, model: np.ndarray, network: np.ndarray, error: float) -> None:
    same = model.shape == network.shape and bool((np.abs(model - network) <= error).all())
    if not same:
        raise _difference(what)


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
        v, e = v * layer.leak + drive[:, step], e * layer.leak + error
        e = e + ROUNDING * (np.abs(v) + theta)
        least, most = (np.clip(np.floor(x / theta), 0, layer.levels) for x in (v - e, v + e))
        k = spikes[:, step].round()
        if not ((least <= k) & (k <= most) & (np.abs(spikes[:, step] - k) <= ROUNDING)).all():
            return False
        v = v - k * theta
    return True


def _difference(what: str) -> LoweringError:
    return LoweringError(
        f"{what} of the network differ from those of the model on probe windows; probably a module "
        "of the model changes them in a way that tracing does not see. Use modules of PyTorch and "
        "of lmht_deploy.training unchanged, and functions of tensors without side effects"
    )
