"""Backend of PyTorch's dense operators: a `.lmht` file, one convolution per synapse.

All time-steps are part of the batch. Currents are float64: exact below 2^53, and so for every
integer network, whose bounds are below 2^31. Potentials are int64, or float64 in a float network.
"""

from __future__ import annotations

import importlib.util
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

from lmht_deploy.errors import BackendError
from lmht_deploy.ir import (
    LEAK_ONE,
    Conv,
    Flatten,
    Input,
    Linear,
    MaxPool,
    Network,
    Neurons,
    Readout,
    SumPool,
    Synapse,
)
from lmht_deploy.result import Result, check_windows, tally

from . import Capability, load_integer_network

if TYPE_CHECKING:
    import torch

Fire: TypeAlias = "Callable[[Neurons, torch.Tensor], torch.Tensor]"
"""From the currents X `[B, T_in, ...]` of neurons to their spikes `[B, steps, ...]`, float64."""

SUFFIX = ".lmht"
CAPABILITIES: frozenset[Capability] = frozenset({"network", "float", "device", "events", "traces"})


def unavailable() -> str | None:
    """Return how to install PyTorch, or None where it is installed."""
    return (
        None
        if importlib.util.find_spec("torch")
        else "PyTorch is not installed; run: pip install 'lmht-deploy[train]'"
    )


def open_artifact(path: Path, *, threads: int = 1, device: str = "cpu") -> TorchBackend:
    """Open a `.lmht` file of an integer network; BackendError for a float network."""
    return open_network(load_integer_network("torch", path), threads=threads, device=device)


def open_network(net: Network, *, threads: int = 1, device: str = "cpu") -> TorchBackend:
    """Run a network on `device`. PyTorch uses `threads` threads during a run.

    Raises:
        BackendError: The device is not available.
    """
    import torch

    try:
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:  # AssertionError: PyTorch without CUDA
        reason = str(error).splitlines()[0]
        raise BackendError(f"device {device!r} is not available ({reason})") from None
    return TorchBackend(net, threads, device)


class TorchBackend:
    """PyTorch's dense operators as a backend."""

    chunk = 32

    def __init__(self, net: Network, threads: int = 1, device: str = "cpu") -> None:
        self.net = net
        self.window_shape, self.max_value = net.window_shape, net.input.max_value
        self.metadata = net.metadata
        self._threads, self._device = threads, device

    def run(self, windows: np.ndarray, *, trace: bool = False) -> Result:
        """Run `windows` [B, T_in, ...]."""
        import torch

        net = self.net
        windows = check_windows(
            net.window_shape, net.input.min_value, net.input.max_value, windows, net.integer
        )
        before = torch.get_num_threads()
        torch.set_num_threads(self._threads)
        try:
            start = time.perf_counter()
            with torch.inference_mode():
                inputs = torch.from_numpy(windows.astype(np.float64)).to(self._device)
                outputs = forward(net, inputs)
            seconds = time.perf_counter() - start
        finally:
            torch.set_num_threads(before)
        arrays = {name: output.cpu().numpy() for name, output in outputs.items()}
        arrays = {
            name: array.astype(np.int64) if net.integer or name != net.readout.name else array
            for name, array in arrays.items()
        }
        return tally(net, "torch", arrays, seconds, trace=trace)

    def close(self) -> None:
        """Do nothing: there are no resources to release."""


def forward(
    net: Network, windows: torch.Tensor, fire: Fire | None = None
) -> dict[str, torch.Tensor]:
    """Return the output of every layer, by name.

    Args:
        net: The network.
        windows: float64 `[B, T_in, ...]`.
        fire: Computes the spikes of neurons from their currents; by default exactly.
    """
    outputs: dict[str, torch.Tensor] = {}
    for layer in net.layers:
        outputs[layer.name] = _apply(net, layer, outputs, windows, fire or _fire)
    return outputs


def _apply(
    net: Network,
    layer: object,
    outputs: dict[str, torch.Tensor],
    windows: torch.Tensor,
    fire: Fire,
) -> torch.Tensor:
    from torch.nn import functional

    match layer:
        case Input():
            return windows
        case Neurons():
            return fire(layer, _currents(net, layer, outputs))
        case Readout():
            return _currents(net, layer, outputs).sum(1)
        case SumPool():
            return _merged(
                outputs[layer.source],
                lambda k: functional.avg_pool2d(
                    k, layer.kernel, layer.stride, layer.padding, divisor_override=1
                ),
            )
        case MaxPool():
            return _merged(
                outputs[layer.source],
                lambda k: functional.max_pool2d(k, layer.kernel, layer.stride, layer.padding),
            )
        case Flatten():
            return outputs[layer.source].flatten(2)
    raise TypeError(f"unknown layer {layer!r}")


def _currents(
    net: Network, layer: Neurons | Readout, outputs: dict[str, torch.Tensor]
) -> torch.Tensor:
    total = None
    for synapse in layer.synapses:
        k = outputs[synapse.source]
        k = k.reshape(len(k), net.blocks(synapse.source), -1, *k.shape[2:]).sum(2)
        current = _apply_synapse(synapse, k) * 2.0**synapse.exponent
        total = current if total is None else total + current
    assert total is not None  # a layer has at least one synapse
    return total + per_channel(layer.bias, total)


def _merged(k: torch.Tensor, function: Callable[[torch.Tensor], torch.Tensor]) -> torch.Tensor:
    """Apply `function` to k with batch and steps merged."""
    result = function(k.flatten(0, 1))
    return result.reshape(*k.shape[:2], *result.shape[1:])


def per_channel(values: np.ndarray, like: torch.Tensor) -> torch.Tensor:
    """Return `values` [C] on the device of `like`, to broadcast over `like` [B, T, C, ...]."""
    import torch

    return torch.tensor(values, dtype=torch.float64, device=like.device).reshape(
        -1, *(1,) * (like.ndim - 3)
    )


def _apply_synapse(synapse: Synapse, k: torch.Tensor) -> torch.Tensor:
    import torch
    from torch.nn import functional

    weight = torch.tensor(synapse.weight, dtype=torch.float64, device=k.device)
    match synapse:
        case Linear():
            return k @ weight.T
        case Conv():
            return _merged(
                k,
                lambda k: functional.conv2d(
                    k,
                    weight,
                    None,
                    synapse.stride,
                    synapse.padding,
                    synapse.dilation,
                    synapse.groups,
                ),
            )
        case _:
            return k * per_channel(synapse.weight, k)


def _fire(layer: Neurons, current: torch.Tensor) -> torch.Tensor:
    """Return the spikes of neurons under the currents X.

    Shape:
        current: float64 [B, T_in, ...]. Result: float64 [B, T·S, ...] of integers.
    """
    import torch

    omega = torch.tensor(layer.unrolled_omega(), dtype=torch.float64, device=current.device)
    integer = layer.threshold.dtype.kind == "i"
    drive = torch.einsum("tj,bj...->tb...", omega, current).to(
        torch.int64 if integer else torch.float64
    )
    theta = per_channel(layer.threshold, drive).to(drive.dtype)
    v = per_channel(layer.v0, drive).to(drive.dtype).expand(drive.shape[1:])
    spikes = []
    for step, now in enumerate(drive):
        if layer.leaks and step % layer.substeps == 0:
            v = (
                torch.div(v * layer.leak, LEAK_ONE, rounding_mode="trunc")
                if integer
                else v * layer.leak
            )
        v = v + now
        k = torch.div(v, theta, rounding_mode="floor").clamp(0, layer.levels)
        v = v - k * theta
        spikes.append(k)
    return torch.stack(spikes, 1).to(torch.float64)
