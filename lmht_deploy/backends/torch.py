"""Backend of PyTorch's dense operators: a `.lmht` file, one convolution per synapse.

All time-steps are part of the batch. Currents are float64: exact below 2^53, and so for every
integer network, whose bounds are below 2^31. Potentials are int64, or float64 in a float network.

On the CPU, layers whose bounds are below 2^24 compute in float32. Every integer below 2^24 is exact
in float32, and so is every partial sum, in any order. So is the floor of a quotient: for
v = q·θ - 1 < 2^24, v/θ is 1/θ below q, which exceeds half a unit in the last place, and the rounded
quotient stays below q. Other devices compute in float64, as their libraries may choose algorithms
that are no sums of products (TensorFloat-32, Winograd).
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
    Pair,
    Readout,
    SumPool,
    Synapse,
)
from lmht_deploy.result import Result, check_windows, tally

from . import Capability, load_integer_network

if TYPE_CHECKING:
    import torch

EXACT_FLOAT32 = 2**24
"""Integers below this magnitude are exact in float32."""

Fire: TypeAlias = "Callable[[Neurons, torch.Tensor], torch.Tensor]"
"""From the currents X `[B, T_in, ...]` of neurons to their spikes `[B, steps, ...]`, float64."""

Tensors: TypeAlias = "dict[tuple[int, torch.dtype], torch.Tensor]"
"""Weights by synapse (its `id`) and type."""

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
        self._tensors: Tensors = {}

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
            with torch.inference_mode(), torch.backends.nnpack.flags(enabled=False):
                narrow = self._narrow()
                dtype = np.float32 if narrow and _fits_input(net) else np.float64
                inputs = torch.from_numpy(windows.astype(dtype)).to(self._device)
                outputs = forward(net, inputs, narrow=narrow, tensors=self._tensors)
            seconds = time.perf_counter() - start
        finally:
            torch.set_num_threads(before)
        events = None
        if net.integer and not trace:
            outputs, events = self._sums(outputs)
        return tally(net, "torch", self._arrays(outputs), seconds, trace=trace, events=events)

    def _arrays(self, outputs: dict[str, torch.Tensor]) -> dict[str, np.ndarray]:
        """Return outputs as integers, but for the logits of a float network."""
        arrays = {name: output.cpu().numpy() for name, output in outputs.items()}
        return {
            name: array.astype(np.int64)
            if self.net.integer or name != self.net.readout.name
            else array
            for name, array in arrays.items()
        }

    def _sums(
        self, outputs: dict[str, torch.Tensor]
    ) -> tuple[dict[str, torch.Tensor], dict[str, np.ndarray]]:
        """Return k summed over steps and channels, and how many k != 0; the logits as they are."""
        spiking = {name: k for name, k in outputs.items() if name != self.net.readout.name}
        axes = {name: (1, 2) if k.ndim == 5 else (1,) for name, k in spiking.items()}
        sums = {
            name: k.sum(axes[name], True, dtype=_sum_dtype(k, self.net.ranges[name]))
            for name, k in spiking.items()
        }
        events = {
            name: sums[name] if self.net.ranges[name] == (0, 1) else (k != 0).sum(axes[name], True)
            for name, k in spiking.items()
        }
        logits = {self.net.readout.name: outputs[self.net.readout.name]}
        return sums | logits, self._arrays(events | logits)

    def _narrow(self) -> bool:
        """Whether float32 is exact here: a program may allow PyTorch to round factors."""
        import torch

        exact = torch.get_float32_matmul_precision() == "highest"
        return self._device == "cpu" and self.net.integer and exact

    def close(self) -> None:
        """Do nothing: there are no resources to release."""


def forward(
    net: Network,
    windows: torch.Tensor,
    fire: Fire | None = None,
    *,
    narrow: bool = False,
    tensors: Tensors | None = None,
) -> dict[str, torch.Tensor]:
    """Return the output of every layer, by name.

    Args:
        net: The network.
        windows: float64 `[B, T_in, ...]`.
        fire: Computes the spikes of neurons from their currents; by default exactly.
        narrow: Whether layers compute in float32 where their bounds prove it exact.
        tensors: Weights as tensors, which this function fills, for the next call.
    """
    outputs: dict[str, torch.Tensor] = {}
    tensors = {} if tensors is None else tensors
    for layer in net.layers:
        outputs[layer.name] = _apply(net, layer, outputs, windows, fire or _fire, narrow, tensors)
    return outputs


def _apply(
    net: Network,
    layer: object,
    outputs: dict[str, torch.Tensor],
    windows: torch.Tensor,
    fire: Fire,
    narrow: bool,
    tensors: Tensors,
) -> torch.Tensor:
    from torch.nn import functional

    match layer:
        case Input():
            return windows
        case Neurons():
            return fire(layer, _currents(net, layer, outputs, narrow, tensors))
        case Readout():
            return _currents(net, layer, outputs, narrow, tensors).double().sum(1)
        case SumPool():
            k = outputs[layer.source]
            return _merged(
                k if max(map(abs, net.ranges[layer.name])) < EXACT_FLOAT32 else k.double(),
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
    net: Network,
    layer: Neurons | Readout,
    outputs: dict[str, torch.Tensor],
    narrow: bool,
    tensors: Tensors,
) -> torch.Tensor:
    """Return the currents X of a layer: float32 where `narrow` is exact, otherwise float64."""
    narrow, total = narrow and _fits_float32(net, layer), None
    for synapse in layer.synapses:
        k = outputs[synapse.source]
        k = k.float() if narrow else k.double()
        if k.shape[1] != (blocks := net.blocks(synapse.source)):
            k = k.reshape(len(k), blocks, -1, *k.shape[2:]).sum(2)
        current = _apply_synapse(synapse, k, _weight(synapse, k, tensors))
        total = current if total is None else total + current
    assert total is not None  # a layer has at least one synapse
    return total.add_(per_channel(layer.bias, total))


def _weight(synapse: Synapse, k: torch.Tensor, tensors: Tensors) -> torch.Tensor:
    """Return W·2^e in the dtype and on the device of `k`."""
    import torch

    key = (id(synapse), k.dtype)
    if key not in tensors:
        weight = synapse.weight * 2.0**synapse.exponent
        tensors[key] = torch.tensor(weight, dtype=k.dtype, device=k.device)
    return tensors[key]


def _sum_dtype(k: torch.Tensor, span: Pair) -> torch.dtype:
    """Return the type in which sums of k over all but the batch are exact."""
    import torch

    largest = max(map(abs, span)) * k[:1].numel()
    return torch.float32 if largest < EXACT_FLOAT32 else torch.int64


def _fits_input(net: Network) -> bool:
    """Whether the input is exact in float32."""
    return max(abs(net.input.min_value), net.input.max_value) < EXACT_FLOAT32


def _fits_float32(net: Network, layer: Neurons | Readout) -> bool:
    """Whether currents, their mixtures and potentials of a layer are exact in float32."""
    bounds = net.bounds[layer.name]
    largest = max(bounds.current, bounds.drive, bounds.potential)
    if isinstance(layer, Neurons):
        largest = max(largest, int(np.abs(layer.v0.astype(np.int64)).max()))
    return largest < EXACT_FLOAT32


def _merged(k: torch.Tensor, function: Callable[[torch.Tensor], torch.Tensor]) -> torch.Tensor:
    """Apply `function` to k with batch and steps merged."""
    result = function(k.flatten(0, 1))
    return result.reshape(*k.shape[:2], *result.shape[1:])


def per_channel(values: np.ndarray, like: torch.Tensor) -> torch.Tensor:
    """Return `values` [C] on the device of `like`, to broadcast over `like` [B, T, C, ...]."""
    import torch

    dtype = like.dtype if like.dtype.is_floating_point else torch.float64
    return torch.tensor(values, dtype=dtype, device=like.device).reshape(
        -1, *(1,) * (like.ndim - 3)
    )


def _apply_synapse(synapse: Synapse, k: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    from torch.nn import functional

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
            return k * weight.reshape(-1, *(1,) * (k.ndim - 3))


def _fire(layer: Neurons, current: torch.Tensor) -> torch.Tensor:
    """Return the spikes of neurons under the currents X.

    Shape:
        current: float64 or float32 [B, T_in, ...]. Result: the same [B, T·S, ...], of integers.
    """
    import torch

    integer = layer.threshold.dtype.kind == "i"
    drive = _mixed(layer.unrolled_omega(), current)
    if integer and current.dtype == torch.float64:
        drive = drive.to(torch.int64)
    theta = per_channel(layer.threshold, drive).to(drive.dtype)
    v = per_channel(layer.v0, drive).to(drive.dtype).expand(drive.shape[1:])
    spikes = []
    for step, now in enumerate(drive):
        kept = _leak(layer, v) if layer.leaks and step % layer.substeps == 0 else v
        v = integrate(layer, v, kept, now, theta)
        k = _count(layer, v, theta)
        v = after_spikes(layer, v, k, theta)
        spikes.append(k)
    return torch.stack(spikes, 1).to(current.dtype)


def _mixed(omega: np.ndarray, current: torch.Tensor) -> torch.Tensor:
    """Return I[t] = Σ_j Ω[t, j]·X[j], `[T, B, ...]`."""
    import torch

    if np.array_equal(omega, np.eye(current.shape[1])):
        return current.transpose(0, 1)
    factors = torch.tensor(omega, dtype=current.dtype, device=current.device)
    return torch.einsum("tj,bj...->tb...", factors, current)


def _count(layer: Neurons, v: torch.Tensor, theta: torch.Tensor) -> torch.Tensor:
    """Return clip(floor(v / θ), 0, L)."""
    import torch

    if layer.levels == 1:
        return (v >= theta).to(v.dtype)
    if v.dtype == torch.float32:  # the quotient is rounded to the right side, see the module
        return (v / theta).floor_().clamp_(0, layer.levels)
    return torch.div(v, theta, rounding_mode="floor").clamp(0, layer.levels)


def integrate(
    layer: Neurons, v: torch.Tensor, kept: torch.Tensor, now: torch.Tensor, theta: torch.Tensor
) -> torch.Tensor:
    """Return the potential that fires.

    Args:
        layer: The neurons.
        v: Potential at the end of the step before.
        kept: The same after the leak.
        now: I[t].
        theta: θ.
    """
    import torch

    if layer.reset == "subtract-late":
        kept = kept - _count(layer, v, theta) * theta
    v = kept + now
    if layer.floor is None:
        return v
    return torch.maximum(
        v, torch.tensor(layer.floor, dtype=v.dtype, device=v.device).view_as(theta)
    )


def after_spikes(
    layer: Neurons, v: torch.Tensor, k: torch.Tensor, theta: torch.Tensor
) -> torch.Tensor:
    """Return what k spikes leave of the potential v until the next step."""
    match layer.reset:
        case "subtract":
            return v - k * theta
        case "subtract-late":
            return v
        case "zero":
            return v.masked_fill(k > 0, 0)


def _leak(layer: Neurons, v: torch.Tensor) -> torch.Tensor:
    """Return λ·v; in an integer network truncated toward zero, exact in float64."""
    import torch

    if layer.threshold.dtype.kind != "i":
        return v * layer.leak
    if v.dtype == torch.float32:
        return (v.double() * (layer.leak / LEAK_ONE)).trunc().float()
    return torch.div(v * layer.leak, LEAK_ONE, rounding_mode="trunc")
