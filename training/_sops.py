"""The synaptic operations of a batch as a term of the loss."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from lmht_deploy.ir import Flatten, MaxPool, Network, Neurons, Readout, SumPool

from .model import SpikingModel
from .neurons import Neuron


class SopRate:
    """Measures the SOPs of each forward pass in training mode, with a gradient.

    The rate is the number of spikes per synapse and time-step: the SOPs of all neurons, divided by
    their synapses and time-steps. It lies in 0..L and does not depend on the size of the network.
    As a term of the loss it trades accuracy for SOPs (Sorbaro et al. 2020). SOPs of the input are
    left out, since training does not change them.

    Args:
        model: The model, on its device. Each of its neuron layers gets a forward hook.
        net: The lowered form of a model of the same shape. It gives the synapses of each neuron.
    """

    def __init__(self, model: SpikingModel, net: Network) -> None:
        shares = _shares(net)
        self._rates: list[Tensor] = []
        for path, neuron in model.body.named_modules():
            if isinstance(neuron, Neuron):
                share = torch.as_tensor(shares[path]).to(neuron.threshold)
                neuron.register_forward_hook(self._hook(share))

    def _hook(self, share: Tensor) -> Callable[..., None]:
        def hook(neuron: Neuron, inputs: tuple[Tensor, ...], out: Tensor) -> None:
            if neuron.training:
                amplitude = out.mean(0, dtype=torch.float32)  # of all windows and time-steps
                self._rates.append((amplitude * share).sum() / neuron.threshold)

        return hook

    def take(self) -> Tensor:
        """Return the rate of the forward pass since the last call."""
        rate = torch.stack(self._rates).sum()
        self._rates.clear()
        return rate


def _shares(net: Network) -> dict[str, np.ndarray]:
    """Return the weight of every neuron in the rate, by layer: `[C, H, W]` or `[N]`.

    The weight is the fan-out of the neuron times T, divided by the sum over all neurons.
    """
    spiking = [layer for layer in net.layers if isinstance(layer, Neurons)]
    fans = fan_outs(net)
    weighted = {layer.name: fans[layer.name] * layer.steps for layer in spiking}
    total = sum(float(values.sum()) for values in weighted.values())
    return {name: values / max(total, 1.0) for name, values in weighted.items()}


def fan_outs(net: Network) -> dict[str, np.ndarray]:
    """Return the number of synapses that a spike crosses, by layer, for each of its positions.

    A spike at the input of a pooling is counted for every pooling window that contains it. For max
    pooling this is an upper bound.
    """
    found = {name: np.zeros(shape) for name, shape in net.shapes.items()}
    for layer in reversed(net.layers):
        match layer:
            case Neurons() | Readout():
                for synapse in layer.synapses:
                    found[synapse.source] += synapse.fan_out(net.shapes[synapse.source])
            case Flatten():
                found[layer.source] += found[layer.name].reshape(net.shapes[layer.source])
            case SumPool() | MaxPool():
                found[layer.source] += _unpooled(layer, found[layer.name], net.shapes[layer.source])
    return found


def _unpooled(pool: SumPool | MaxPool, values: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Add each value to every position of its pooling window: the adjoint of a sum pooling."""
    read = torch.zeros(shape, dtype=torch.float64, requires_grad=True)
    sums = functional.avg_pool2d(read, pool.kernel, pool.stride, pool.padding, divisor_override=1)
    (found,) = torch.autograd.grad(sums, read, torch.from_numpy(values))
    return found.numpy()
