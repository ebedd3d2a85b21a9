"""The golden model: docs/semantics.md in plain NumPy, the oracle of every test.

It runs float and integer networks, graded and single-threshold (reparameterised) alike. Currents are computed in
float64, which is exact for an integer network: its bounds prove every sum below 2^31.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np

from .ir import (
    Conv,
    Flatten,
    Input,
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
)
from .result import Result, check_windows, tally


def run(net: Network, windows: np.ndarray, *, trace: bool = False) -> Result:
    """Run `windows` [B, T_in, ...] (integers within the input's range) through `net`.

    With `trace`, the result holds every neuron layer's k. Raises DataError where the windows do not fit.
    """
    windows = check_windows(
        net.window_shape, net.input.min_value, net.input.max_value, windows, net.integer
    )
    start = time.perf_counter()
    outputs: dict[str, np.ndarray] = {}
    for layer in net.layers:
        outputs[layer.name] = _apply(net, layer, outputs, windows)
    return tally(net, "reference", outputs, time.perf_counter() - start, trace=trace)


def _apply(
    net: Network, layer: object, outputs: dict[str, np.ndarray], windows: np.ndarray
) -> np.ndarray:
    match layer:
        case Input():
            return windows.astype(np.int64 if net.integer else np.float64)
        case Neurons():
            current = currents(net, layer, outputs)
            drive = np.einsum(
                "tj,bj...->bt...",
                layer.unrolled_omega().astype(np.int64 if net.integer else np.float64),
                current,
            )
            return fire(layer, drive)
        case Readout():
            return currents(net, layer, outputs).sum(1)
        case SumPool():
            return pool(outputs[layer.source], layer, np.sum, 0)
        case MaxPool():
            return pool(outputs[layer.source], layer, np.max, net.ranges[layer.source][0])
        case Flatten():
            k = outputs[layer.source]
            return k.reshape(*k.shape[:2], -1)
    raise TypeError(f"unknown layer {layer!r}")


def currents(net: Network, layer: Neurons | Readout, outputs: dict[str, np.ndarray]) -> np.ndarray:
    """X [B, T_in, C, ...] of a layer: the sum of its synapses and its bias, for each input step."""
    total: np.ndarray | float = 0.0
    for synapse in layer.synapses:
        k = outputs[synapse.source]
        blocks = net.blocks(synapse.source)
        k = k.reshape(len(k), blocks, -1, *k.shape[2:]).sum(2)
        total = total + apply_synapse(synapse, k.astype(np.float64)) * 2.0**synapse.exponent
    total = total + per_channel(layer.bias, np.ndim(total) - 2)
    return np.rint(total).astype(np.int64) if net.integer else np.asarray(total)


def apply_synapse(synapse: Synapse, k: np.ndarray) -> np.ndarray:
    """W ∗ k, float64 [B, T, ...] in and out, without the exponent."""
    weight = synapse.weight.astype(np.float64)
    match synapse:
        case Linear():
            return k @ weight.T
        case Scale():
            return k * per_channel(weight, k.ndim - 2)
        case Conv():
            return convolve(k, weight, synapse)
    raise TypeError(f"unknown synapse {synapse!r}")


def convolve(k: np.ndarray, weight: np.ndarray, conv: Conv) -> np.ndarray:
    """Cross-correlation of k [B, T, C, H, W] with `weight` [C_out, C/groups, kh, kw]: [B, T, C_out, H', W']."""
    windows = sliding_windows(k, conv.kernel, conv.stride, conv.padding, conv.dilation, 0)
    inputs = np.split(windows, conv.groups, axis=2)
    weights = np.split(weight, conv.groups, axis=0)
    parts = [
        np.tensordot(x, w, axes=((2, 5, 6), (1, 2, 3)))
        for x, w in zip(inputs, weights, strict=True)
    ]
    return np.moveaxis(np.concatenate(parts, axis=-1), -1, 2)


def pool(
    k: np.ndarray, layer: SumPool | MaxPool, reduce: Callable[..., np.ndarray], border: int | float
) -> np.ndarray:
    """`reduce` over the windows of k [B, T, C, H, W], padded with `border`: [B, T, C, H', W']."""
    return reduce(
        sliding_windows(k, layer.kernel, layer.stride, layer.padding, (1, 1), border), axis=(-2, -1)
    )


def sliding_windows(
    k: np.ndarray, kernel: Pair, stride: Pair, padding: Pair, dilation: Pair, border: int | float
) -> np.ndarray:
    """View [..., H', W', kh, kw] of the windows that a convolution or pooling sees in k [..., H, W]."""
    k = np.pad(k, [(0, 0)] * (k.ndim - 2) + [(p, p) for p in padding], constant_values=border)
    spans = tuple(d * (n - 1) + 1 for n, d in zip(kernel, dilation, strict=True))
    view = np.lib.stride_tricks.sliding_window_view(k, spans, axis=(-2, -1))
    return view[..., :: stride[0], :: stride[1], :: dilation[0], :: dilation[1]]


def per_channel(values: np.ndarray, ndim: int) -> np.ndarray:
    """`values` [C] shaped to broadcast over [C, ...] with `ndim` dimensions in all."""
    return values.reshape(-1, *(1,) * (ndim - 1))


def fire(layer: Neurons, drive: np.ndarray) -> np.ndarray:
    """Spikes k of LM-HT neurons, [B, T·S, C, ...], under the mixed currents `drive` of the same shape."""
    integer = drive.dtype.kind == "i"
    theta = per_channel(layer.threshold, drive.ndim - 2).astype(drive.dtype)
    v = np.broadcast_to(
        per_channel(layer.v0, drive.ndim - 2).astype(drive.dtype), drive[:, 0].shape
    )
    k = np.empty(drive.shape, np.int64)
    for step in range(drive.shape[1]):
        if layer.leaks and step % layer.substeps == 0:
            v = leak_integer(v, int(layer.leak)) if integer else v * layer.leak
        v = v + drive[:, step]
        k[:, step] = np.clip(np.floor_divide(v, theta), 0, layer.levels)
        v = v - k[:, step] * theta
    return k
