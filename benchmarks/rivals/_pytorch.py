"""The network in PyTorch, and with the neurons of simulators that are built on it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from lmht_deploy.ir import (
    LEAK_ONE,
    Conv,
    Flatten,
    Layer,
    Linear,
    MaxPool,
    Network,
    Neurons,
    Readout,
    SumPool,
    Synapse,
)

from ._batches import Rival, as_batch, is_identity, per_channel

if TYPE_CHECKING:
    from torch import Tensor

Fire = Callable[["Tensor"], "Tensor"]
"""Maps currents `[T, B, ...]` to spikes k `[T, B, ...]`."""


def torch_eager(net: Network, windows: np.ndarray, threads: int) -> Rival:
    """Return `net` in eager PyTorch, fp32, its neurons step by step."""
    return _rival(net, windows, threads, lambda layer: _eager_neurons(layer, net))


def _eager_neurons(layer: Neurons, net: Network) -> Fire:
    import torch

    shape = net.shapes[layer.name]
    threshold = torch.from_numpy(per_channel(layer.threshold, shape))
    v0 = torch.from_numpy(per_channel(layer.v0, shape))
    leak = layer.leak / LEAK_ONE

    def levels(v: Tensor) -> Tensor:
        if layer.levels == 1:
            return (v >= threshold).to(torch.float32)
        return torch.floor(v / threshold).clamp_(0, layer.levels)

    def fire(current: Tensor) -> Tensor:
        v, spikes = v0, []
        for x in current:
            v = x + (v if leak == 1 else torch.trunc(v * leak))
            spikes.append(levels(v))
            v = v - spikes[-1] * threshold
        return torch.stack(spikes)

    return fire


def spikingjelly(net: Network, windows: np.ndarray, threads: int) -> Rival:
    """Return `net` with the IF neurons of SpikingJelly (multi-step, soft reset).

    Its synapses are PyTorch's. The network must have L = 1, no leak and v0 = 0.
    """
    from spikingjelly.activation_based import functional, neuron

    def neurons(layer: Neurons) -> Fire:
        threshold = float(layer.threshold[0])
        node = neuron.IFNode(v_threshold=threshold, v_reset=None, step_mode="m").eval()

        def fire(current: Tensor) -> Tensor:
            functional.reset_net(node)
            spikes: Tensor = node(current)
            return spikes

        return fire

    return _rival(net, windows, threads, neurons)


def sinabs(net: Network, windows: np.ndarray, threads: int) -> Rival:
    """Return `net` with the IAF neurons of sinabs (soft reset, at most L spikes per step).

    Its synapses are PyTorch's. The network must have no leak and v0 = 0.
    """
    import torch
    from sinabs.activation import MaxSpike, SingleSpike
    from sinabs.layers import IAF

    def neurons(layer: Neurons) -> Fire:
        spikes = SingleSpike if layer.levels == 1 else MaxSpike(layer.levels)
        threshold = torch.tensor(float(layer.threshold[0]))
        node = IAF(spike_threshold=threshold, spike_fn=spikes, min_v_mem=None).eval()

        def fire(current: Tensor) -> Tensor:
            node.reset_states()
            found: Tensor = node(current.transpose(0, 1)).transpose(0, 1)
            return found

        return fire

    return _rival(net, windows, threads, neurons)


def _rival(
    net: Network, windows: np.ndarray, threads: int, neurons: Callable[[Neurons], Fire]
) -> Rival:
    """Return `net` in PyTorch with the neurons that `neurons` makes of each layer."""
    import torch

    network, inputs = _TorchNetwork(net, len(windows), neurons), _tensor(as_batch(windows))

    def run() -> Mapping[str, Any]:
        torch.set_num_threads(threads)
        with torch.inference_mode():
            return network(inputs)

    return run


class _TorchNetwork:
    """A network in PyTorch, fp32 and channels last; the batch dimension holds steps and windows."""

    def __init__(self, net: Network, batch: int, neurons: Callable[[Neurons], Fire]) -> None:
        self._net, self._batch = net, batch
        weighted: list[Neurons | Readout] = [*net.neurons, net.readout]
        self._weights = {
            id(synapse): _tensor(synapse.weight * np.float32(2.0**synapse.exponent))
            for layer in weighted
            for synapse in layer.synapses
        }
        self._biases = {layer.name: _tensor(layer.bias) for layer in weighted}
        self._omegas = {
            layer.name: _tensor(layer.omega)
            for layer in net.neurons
            if not is_identity(layer.omega)
        }
        self._fires = {layer.name: neurons(layer) for layer in net.neurons}

    def __call__(self, inputs: Tensor) -> dict[str, Tensor]:
        """Return the output of each layer for `inputs`, float32 `[T_in * B, ...]`."""
        outputs = {self._net.input.name: inputs}
        for layer in self._net.layers[1:]:
            outputs[layer.name] = self._output(layer, outputs)
        return outputs

    def _output(self, layer: Layer, outputs: Mapping[str, Tensor]) -> Tensor:
        from torch.nn import functional

        match layer:
            case Neurons():
                return self._spikes(layer, self._current(layer, outputs))
            case Readout():
                return self._current(layer, outputs)
            case SumPool():
                window = (layer.kernel, layer.stride, layer.padding)
                return functional.avg_pool2d(outputs[layer.source], *window, divisor_override=1)
            case MaxPool():
                window = (layer.kernel, layer.stride, layer.padding)
                return functional.max_pool2d(outputs[layer.source], *window)
            case Flatten():
                return outputs[layer.source].flatten(1)
        raise TypeError(f"{type(layer).__name__} is not supported")

    def _current(self, layer: Neurons | Readout, outputs: Mapping[str, Tensor]) -> Tensor:
        first, *others = layer.synapses
        total = self._synapse(first, outputs[first.source], self._biases[layer.name])
        for synapse in others:
            total = total + self._synapse(synapse, outputs[synapse.source], None)
        return total

    def _synapse(self, synapse: Synapse, k: Tensor, bias: Tensor | None) -> Tensor:
        from torch.nn import functional

        weight = self._weights[id(synapse)]
        match synapse:
            case Conv():
                geometry = (synapse.stride, synapse.padding, synapse.dilation, synapse.groups)
                return functional.conv2d(k, weight, bias, *geometry)
            case Linear():
                return functional.linear(k, weight, bias)
        shape = (-1, *[1] * (k.ndim - 2))
        scaled = k * weight.reshape(shape)
        return scaled if bias is None else scaled + bias.reshape(shape)

    def _spikes(self, layer: Neurons, current: Tensor) -> Tensor:
        import torch

        current = current.unflatten(0, (-1, self._batch))  # type: ignore[no-untyped-call]
        omega = self._omegas.get(layer.name)
        drive = current if omega is None else torch.einsum("tj,j...->t...", omega, current)
        return self._fires[layer.name](drive).flatten(0, 1)


def _tensor(array: np.ndarray) -> Tensor:
    import torch

    found = torch.from_numpy(array.astype(np.float32))
    return found.to(memory_format=torch.channels_last) if found.ndim == 4 else found
