"""Reference model: docs/semantics.md in plain NumPy, with which every backend is compared.

It runs float and integer networks, graded and single-threshold alike. Currents are computed in
float64, which is exact for an integer network: its bounds prove that every sum is below 2^31.

Example:
    The neuron of the worked example in docs/semantics.md, with T = L = 2.

    >>> import numpy as np
    >>> from lmht_deploy import reference
    >>> from lmht_deploy.ir import Linear, Neurons
    >>> neuron = Neurons(
    ...     name="n", synapses=(Linear(source="in", weight=[[3, -1]], exponent=1),), bias=[2],
    ...     threshold=[6], omega=[[1, 4], [1, -4]], leak=2048, v0=[-3], levels=2,
    ... )
    >>> current = np.array([[[12], [2]]])  # X[j], shape [B, T_in, C]
    >>> drive = reference.mix(neuron, current)
    >>> drive.ravel().tolist()
    [20, 4]
    >>> reference.fire(neuron, drive).ravel().tolist()
    [2, 1]
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping

import numpy as np

from .ir import (
    Conv,
    Flatten,
    Input,
    Layer,
    Linear,
    MaxPool,
    Network,
    Neurons,
    Pair,
    Readout,
    Scale,
    SumPool,
    Synapse,
    leak_integer,
    require_network,
)
from .result import Result, check_windows, tally

__all__ = [
    "apply_layer",
    "apply_synapse",
    "convolve",
    "currents",
    "fire",
    "mix",
    "outputs_of",
    "per_channel",
    "pool",
    "run",
    "sliding_windows",
]


def run(net: Network, windows: np.ndarray, *, trace: bool = False) -> Result:
    """Run `windows` through `net`.

    Args:
        net: Float or integer network.
        windows: Integers `[B, T_in, C, H, W]` or `[B, T_in, N]`, within the range of the input.
        trace: Whether the result holds k of every layer of neurons.

    Raises:
        DataError: If the windows do not fit the input of the network.
    """
    source = require_network(net).input
    windows = check_windows(
        net.window_shape, source.min_value, source.max_value, windows, net.integer
    )
    start = time.perf_counter()
    outputs = outputs_of(net, windows)
    return tally(net, "reference", outputs, time.perf_counter() - start, trace=trace)


def outputs_of(
    net: Network, windows: np.ndarray, known: Mapping[str, np.ndarray] | None = None
) -> dict[str, np.ndarray]:
    """Return the outputs of all layers.

    Args:
        net: Float or integer network.
        windows: Integers `[B, T_in, ...]`.
        known: Outputs that are not computed again, by layer: k `[B, steps, ...]` of neurons, as in
            `Result.traces`.
    """
    outputs: dict[str, np.ndarray] = {}
    for layer in net.layers:
        found = None if known is None else known.get(layer.name)
        outputs[layer.name] = (
            apply_layer(net, layer, outputs, windows) if found is None else np.asarray(found)
        )
    return outputs


def apply_layer(
    net: Network, layer: Layer, outputs: Mapping[str, np.ndarray], windows: np.ndarray
) -> np.ndarray:
    """Return the output of one layer.

    Args:
        net: Network of the layer.
        layer: The layer.
        outputs: Outputs of the layers before it, by name.
        windows: Integers `[B, T_in, ...]`, the output of the input layer.

    Shape:
        `[B, steps, ...]`; `[B, K]` for the read-out.
    """
    match layer:
        case Input():
            return windows.astype(np.int64 if net.integer else np.float64)
        case Neurons():
            return fire(layer, mix(layer, currents(net, layer, outputs)))
        case Readout():
            logits: np.ndarray = currents(net, layer, outputs).sum(1)
            return logits
        case SumPool():
            return pool(outputs[layer.source], layer, np.sum, 0)
        case MaxPool():
            return pool(outputs[layer.source], layer, np.max, net.ranges[layer.source][0])
        case Flatten():
            k = outputs[layer.source]
            return k.reshape(*k.shape[:2], -1)


def currents(
    net: Network, layer: Neurons | Readout, outputs: Mapping[str, np.ndarray]
) -> np.ndarray:
    """Return X `[B, T_in, C, ...]`: the synapses and the bias of `layer`, for each input step."""
    total: np.ndarray | float = 0.0
    for synapse in layer.synapses:
        k = outputs[synapse.source]
        blocks = net.blocks(synapse.source)
        k = k.reshape(len(k), blocks, -1, *k.shape[2:]).sum(2)
        total = total + apply_synapse(synapse, k.astype(np.float64)) * 2.0**synapse.exponent
    total = total + per_channel(layer.bias, np.ndim(total) - 2)
    return np.rint(total).astype(np.int64) if net.integer else np.asarray(total)


def apply_synapse(synapse: Synapse, k: np.ndarray) -> np.ndarray:
    """Return W ∗ k without the exponent; float64 `[B, T, ...]` in and out."""
    weight = synapse.weight.astype(np.float64)
    current: np.ndarray
    match synapse:
        case Linear():
            current = k @ weight.T
        case Scale():
            current = k * per_channel(weight, k.ndim - 2)
        case Conv():
            current = convolve(k, weight, synapse)
    return current


def convolve(k: np.ndarray, weight: np.ndarray, conv: Conv) -> np.ndarray:
    """Return the cross-correlation of k `[B, T, C, H, W]` with `weight`.

    Args:
        k: Input `[B, T, C, H, W]`.
        weight: Weights `[C_out, C/groups, kh, kw]`.
        conv: Stride, padding, dilation and groups.

    Shape:
        `[B, T, C_out, H_out, W_out]`.
    """
    windows = sliding_windows(k, conv.kernel, conv.stride, conv.padding, conv.dilation, 0)
    inputs = np.split(windows, conv.groups, axis=2)
    weights = np.split(weight, conv.groups, axis=0)
    parts = [
        np.tensordot(x, w, axes=((2, 5, 6), (1, 2, 3)))
        for x, w in zip(inputs, weights, strict=True)
    ]
    result: np.ndarray = np.moveaxis(np.concatenate(parts, axis=-1), -1, 2)
    return result


def pool(
    k: np.ndarray, layer: SumPool | MaxPool, reduce: Callable[..., np.ndarray], border: float
) -> np.ndarray:
    """Apply `reduce` to the sliding windows of k `[B, T, C, H, W]`, padded with `border`.

    Shape:
        `[B, T, C, H_out, W_out]`.
    """
    windows = sliding_windows(k, layer.kernel, layer.stride, layer.padding, (1, 1), border)
    return reduce(windows, axis=(-2, -1))


def sliding_windows(
    k: np.ndarray, kernel: Pair, stride: Pair, padding: Pair, dilation: Pair, border: float
) -> np.ndarray:
    """Return a view of the windows of k `[..., H, W]` that a convolution or a pooling reads.

    Shape:
        `[..., H_out, W_out, kh, kw]`.
    """
    k = np.pad(k, [(0, 0)] * (k.ndim - 2) + [(p, p) for p in padding], constant_values=border)
    spans = tuple(d * (n - 1) + 1 for n, d in zip(kernel, dilation, strict=True))
    view = np.lib.stride_tricks.sliding_window_view(k, spans, axis=(-2, -1))
    return view[..., :: stride[0], :: stride[1], :: dilation[0], :: dilation[1]]


def per_channel(values: np.ndarray, ndim: int) -> np.ndarray:
    """Reshape `values` `[C]` so that they broadcast over `[C, ...]` with `ndim` dimensions."""
    return values.reshape(-1, *(1,) * (ndim - 1))


def mix(layer: Neurons, current: np.ndarray) -> np.ndarray:
    """Return I = Ω X per sub-step, `[B, T·S, C, ...]`, of the currents X `[B, T_in, C, ...]`."""
    omega = layer.unrolled_omega().astype(current.dtype)
    drive: np.ndarray = np.einsum("tj,bj...->bt...", omega, current)
    return drive


def fire(layer: Neurons, drive: np.ndarray) -> np.ndarray:
    """Return the spikes k of LM-HT neurons.

    Args:
        layer: Neurons.
        drive: Currents I per sub-step, int64 or float64 `[B, T·S, C, ...]`.

    Returns:
        k, int64 of the same shape.
    """
    integer = drive.dtype.kind == "i"
    theta = per_channel(layer.threshold, drive.ndim - 2).astype(drive.dtype)
    v0 = per_channel(layer.v0, drive.ndim - 2).astype(drive.dtype)
    v = np.broadcast_to(v0, drive[:, 0].shape)
    k = np.empty(drive.shape, np.int64)
    for step in range(drive.shape[1]):
        late = _count(layer, v, theta) * theta if layer.reset == "subtract-late" else 0
        if layer.leaks and step % layer.substeps == 0:
            v = leak_integer(v, int(layer.leak)) if integer else v * layer.leak
        v = v - late + drive[:, step]
        if layer.floor is not None:
            v = np.maximum(v, per_channel(layer.floor, v.ndim - 1))
        k[:, step] = _count(layer, v, theta)
        v = _reset(layer, v, k[:, step], theta)
    return k


def _count(layer: Neurons, v: np.ndarray, theta: np.ndarray) -> np.ndarray:
    found: np.ndarray = np.clip(np.floor_divide(v, theta), 0, layer.levels)
    return found


def _reset(layer: Neurons, v: np.ndarray, k: np.ndarray, theta: np.ndarray) -> np.ndarray:
    """Return what k spikes leave of the potential v."""
    if layer.reset == "subtract-late":
        return v
    left: np.ndarray = v - k * theta if layer.reset == "subtract" else np.where(k > 0, 0, v)
    return left
