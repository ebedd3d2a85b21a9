"""Network -> `.onnx`: standard operators only, exact on every conforming runtime.

Every activation is a tensor of spike counts k [B, steps, P, C]: P pixels (H·W, or 1 in a flat
layer), channels last. A convolution is one Gather of rows (im2col) and one matrix product. Steps
are a batch dimension everywhere but in the neurons, which are unrolled in time. The range of k
alone chooses between two encodings of the product:

    0 <= k <= 128    MatMulInteger, uint8 x int8 -> int32
    otherwise        MatMul in float64

Above 128, x86 processors without VNNI saturate in MatMulInteger. Every partial sum of a product is
an integer below 2^31 (`Network.bounds`), hence exact in float64. Currents and potentials are int32,
as the bounds prove.
"""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from lmht_deploy.errors import ExportError
from lmht_deploy.formats.files import atomic_write
from lmht_deploy.formats.onnx import LOGITS, TRACE, WINDOWS, Properties, output_name, sealed
from lmht_deploy.ir import (
    INT32_MAX,
    LEAK_ONE,
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
    Shape,
    SumPool,
    Synapse,
    require_network,
)
from lmht_deploy.result import macs

from ._onnx_graph import Graph

if TYPE_CHECKING:
    import onnx

EXACT_UINT8 = 128
"""Largest k whose products with int8 are exact on all processors: VPMADDUBSW adds two of them in
16 bits, and 2 * 128 * (-128) = -2^15."""


def export_onnx(net: Network, path: str | Path, *, trace: bool = False) -> tuple[str, ...]:
    """Write an integer network as an ONNX file (`lmht_deploy.formats.onnx`).

    The file appears complete or not at all, and equal networks give equal bytes.

    Args:
        net: The network.
        path: File to write.
        trace: Whether the graph also outputs the spikes of every neuron layer.

    Returns:
        No warnings: every conforming runtime gives the same integers.

    Raises:
        ExportError: A float network, constants beyond 2 GB, or a missing package.
        StorageError: The file cannot be written.
    """
    if not require_network(net).integer:
        raise ExportError(
            "an .onnx file carries an integer network, and this one holds floats; quantize it first"
        )
    if importlib.util.find_spec("onnx") is None:
        raise ExportError("the package onnx is not installed; run: pip install 'lmht-deploy[onnx]'")
    content = _Exporter(net, trace).model().SerializeToString(deterministic=True)
    with atomic_write(path) as temporary:
        temporary.write_bytes(sealed(content))
    return ()


# ---------------------------------------------------------------------------------------- network


class _Exporter:
    """Builds the graph of a network, layer by layer.

    Attributes:
        k: Tensor of the spikes, by layer.
    """

    def __init__(self, net: Network, trace: bool) -> None:
        self.net = net
        self.trace = trace
        self.g = Graph()
        self.k: dict[str, str] = {}
        self._totals: dict[tuple[str, bool], str] = {}

    def model(self) -> onnx.ModelProto:
        """Return the model."""
        for layer in self.net.layers:
            self.g.scope = layer.name
            if isinstance(layer, Readout):
                self._readout(layer)
            else:
                self.k[layer.name] = self._apply(layer)
            if isinstance(layer, Neurons | Readout):
                self._count(layer)
        return self.g.model(self._properties().encode())

    def _properties(self) -> Properties:
        entry = self.net.input
        return Properties(
            kind=entry.kind,
            min_value=entry.min_value,
            max_value=entry.max_value,
            scale=self.net.readout.scale,
            macs=macs(self.net),
            metadata=self.net.metadata,
        )

    def _apply(self, layer: Layer) -> str:
        """Return k [B, steps, P, C] of `layer`, in the dtype of its range."""
        match layer:
            case Input():
                return self._input(layer)
            case Neurons():
                return self._neurons(layer)
            case SumPool():
                windows = self._pooled(layer, nearest=False)
                return self._sum(windows, 3, self._range(layer.name))
            case MaxPool():
                windows = self._pooled(layer, nearest=True)
                return self.g("ReduceMax", windows, axes=[3], keepdims=0)
            case Flatten():
                k = self._channels_first(self.k[layer.source], layer.source)
                return self.g.reshape(k, 0, 0, 1, *self.net.shapes[layer.name])
        raise TypeError(f"unknown layer {layer!r}")

    def _input(self, layer: Input) -> str:
        dtype = _smallest(self._range(layer.name), np.uint8, np.int8, np.uint16, np.int16, np.int32)
        self.g.input(WINDOWS, dtype, ("batch", *self.net.window_shape))
        k = self.g.cast(WINDOWS, _dtype(self._range(layer.name)))
        pixels, channels = _pixels(layer.shape)
        if len(layer.shape) == 1:
            return self.g.reshape(k, 0, 0, 1, channels)
        return self.g("Transpose", self.g.reshape(k, 0, 0, channels, pixels), perm=[0, 1, 3, 2])

    def _readout(self, layer: Readout) -> None:
        current = self.g.cast(self._currents(layer), np.int64)
        self.g.output(LOGITS, self.g.sum(current, 1, 2), np.int64, ("batch", self.net.classes))

    # -- pixels

    def _range(self, name: str) -> Pair:
        return self.net.ranges[name]

    def _shape(self, name: str) -> tuple[str | int, ...]:
        return ("batch", self.net.steps[name], *self.net.shapes[name])

    def _channels_first(self, k: str, name: str) -> str:
        """Convert [B, steps, P, C] to [B, steps, C, H, W] or [B, steps, N]."""
        shape = self.net.shapes[name]
        if len(shape) == 3:
            k = self.g("Transpose", k, perm=[0, 1, 3, 2])
        return self.g.reshape(k, 0, 0, *shape)

    def _pooled(self, layer: SumPool | MaxPool, *, nearest: bool) -> str:
        """Gather the windows of a pooling, [B, steps, P', taps, C]."""
        shape = self.net.shapes[layer.source]
        taps = _taps(shape, layer.kernel, layer.stride, layer.padding, nearest=nearest)
        return self._windows(layer.source, self.k[layer.source], taps)

    def _windows(self, source: str, k: str, taps: np.ndarray) -> str:
        """Gather what each output pixel of a convolution or pooling sees.

        Converts [B, steps, P, C] to [B, steps, P', taps, C], with zeros beyond the border.
        """
        pixels, channels = _pixels(self.net.shapes[source])
        if (taps == pixels).any():
            k = self.g("Pad", k, self.g.constant(np.array([0, 0, 0, 0, 0, 0, 1, 0])))
        if not np.array_equal(taps[:, 0], np.arange(pixels)) or taps.shape[1] > 1:
            k = self.g("Gather", k, self.g.constant(taps.reshape(-1)), axis=2)
        return self.g.reshape(k, 0, 0, *taps.shape, channels)

    def _sum(self, k: str, axis: int, span: Pair) -> str:
        """Sum over one axis, in the dtype of `span`; ONNX sums int32 and larger types only."""
        wide = self.g.cast(k, np.promote_types(_dtype(span), np.int32))
        return self.g.cast(self.g.sum(wide, axis), _dtype(span))

    # -- synapses

    def _currents(self, layer: Neurons | Readout) -> str:
        """Return X, int32 [B, T_in, P, C]: the sum of a layer's synapses and its bias."""
        terms = [self._synapse(synapse) for synapse in layer.synapses]
        if layer.bias.any():
            terms.append(self.g.constant(layer.bias))
        total = terms[0]
        for term in terms[1:]:
            total = self.g("Add", total, term)
        return total

    def _synapse(self, synapse: Synapse) -> str:
        k, span = self._blocks(synapse.source)
        match synapse:
            case Scale():
                current = self.g(
                    "Mul",
                    self.g.cast(k, np.int32),
                    self.g.constant(synapse.weight.astype(np.int32)),
                )
            case Linear():
                current = self._product(k, synapse.weight.T, span)
            case Conv():
                current = self._convolution(synapse, k, span)
        return (
            self.g("Mul", current, self.g.constant(np.int32(2**synapse.exponent)))
            if synapse.exponent
            else current
        )

    def _blocks(self, source: str) -> tuple[str, Pair]:
        """Return k [B, T_in, P, C] and its range; the sub-steps of a time-step are summed."""
        substeps, (low, high) = self.net.substeps[source], self._range(source)
        if substeps == 1:
            return self.k[source], (low, high)
        span = (low * substeps, high * substeps)
        k = self.g.reshape(
            self.k[source], 0, self.net.blocks(source), substeps, *_pixels(self.net.shapes[source])
        )
        return self._sum(k, 2, span), span

    def _convolution(self, conv: Conv, k: str, span: Pair) -> str:
        """Return W ∗ k, int32 [B, T_in, P', C_out]; groups are a batch dimension of the product."""
        shape, groups = self.net.shapes[conv.source], conv.groups
        taps = _taps(shape, conv.kernel, conv.stride, conv.padding, conv.dilation)
        (pixels, area), outputs = taps.shape, len(conv.weight)
        weight = (
            conv.weight.reshape(groups, outputs // groups, -1, area)
            .transpose(0, 3, 2, 1)
            .reshape(groups, -1, outputs // groups)
        )
        rows = self._windows(conv.source, k, taps)
        if groups == 1:
            return self._product(self.g.reshape(rows, 0, 0, pixels, -1), weight[0], span)
        rows = self.g.reshape(rows, 0, 0, pixels, area, groups, -1)
        rows = self.g.reshape(
            self.g("Transpose", rows, perm=[0, 1, 4, 2, 3, 5]), 0, 0, groups, pixels, -1
        )
        current = self.g("Transpose", self._product(rows, weight, span), perm=[0, 1, 3, 2, 4])
        return self.g.reshape(current, 0, 0, pixels, outputs)

    def _product(self, k: str, weight: np.ndarray, span: Pair) -> str:
        """Return k [..., P, N] @ weight, exact for every k within `span`.

        Shape:
            weight: int8 [..., N, M]. Result: int32 [..., P, M].
        """
        constant = self.g.constant(weight)
        if span[0] >= 0 and span[1] <= EXACT_UINT8:
            return self.g("MatMulInteger", k, constant)
        return self.g.cast(
            self.g("MatMul", self.g.cast(k, np.float64), self.g.cast(constant, np.float64)),
            np.int32,
        )

    # -- neurons

    def _neurons(self, layer: Neurons) -> str:
        """Return k [B, T·S, P, C] of neurons, by the recurrence of the semantics."""
        spikes = self._fire(layer, self._mix(layer, self._currents(layer)))
        if self.trace:
            self.g.output(
                output_name(TRACE, layer.name),
                self._channels_first(spikes, layer.name),
                _dtype(self._range(layer.name)),
                self._shape(layer.name),
            )
        return spikes

    def _fire(self, layer: Neurons, drives: list[str]) -> str:
        """Return k under the mixed currents I[t], each [B, 1, P, C], step by step.

        Div truncates. It is above the floor only where k is clipped to 0.
        """
        g = self.g
        theta = g.constant(layer.threshold)
        zero, levels = g.constant(np.int32(0)), g.constant(np.int32(min(layer.levels, INT32_MAX)))
        v, spikes = g.constant(layer.v0), []
        for step in range(layer.steps):
            block, substep = divmod(step, layer.substeps)
            if layer.leaks and substep == 0:
                v = self._leak(v, int(layer.leak))
            if layer.injection == "uniform" or substep == 0:
                v = g("Add", v, drives[block])
            k = g("Clip", g("Div", v, theta), zero, levels)
            spikes.append(g.cast(k, _dtype(self._range(layer.name))))
            if step < layer.steps - 1:
                v = g("Sub", v, g("Mul", k, theta))
        return g("Concat", *spikes, axis=1)

    def _leak(self, v: str, leak: int) -> str:
        """Return trunc(v·λq / 4096): at most 45 bits, exact in float64, and Cast truncates."""
        factor = self.g.constant(np.float64(leak / LEAK_ONE))
        return self.g.cast(self.g("Mul", self.g.cast(v, np.float64), factor), np.int32)

    def _mix(self, layer: Neurons, current: str) -> list[str]:
        """Return I[t] = Σ_j Ω[t, j]·X[j] for t = 1..T, each [B, 1, P, C]."""
        steps = len(layer.omega)
        if not np.array_equal(layer.omega, np.eye(steps)):
            pixels, channels = _pixels(self.net.shapes[layer.name])
            flat = self.g.reshape(current, 0, 0, pixels * channels)
            current = self.g.reshape(
                self.g("MatMul", self.g.constant(layer.omega), flat), 0, 0, pixels, channels
            )
        return self.g.split(current, steps)

    # -- counting

    def _count(self, layer: Neurons | Readout) -> None:
        """Output spikes and events of `layer` and the SOPs of its synapses by either, int64 [B]."""
        for spikes, sops, events in (("spikes", "sops", False), ("events", "event_sops", True)):
            if isinstance(layer, Neurons):
                self._output_count(spikes, layer, self.g.sum(self._total(layer.name, events), 1))
            self._output_count(sops, layer, self._crossed(layer, events))

    def _output_count(self, kind: str, layer: Neurons | Readout, tensor: str) -> None:
        self.g.output(output_name(kind, layer.name), tensor, np.int64, ("batch",))

    def _crossed(self, layer: Neurons | Readout, events: bool) -> str:
        """Return SOPs [B]: spikes per pixel times the synapses that one of them crosses."""
        total = None
        for synapse in layer.synapses:
            if synapse.source in self.net.pixels:
                continue
            shape = self.net.shapes[synapse.source]
            fan_out = np.broadcast_to(synapse.fan_out(shape), (1, *shape[1:])).reshape(-1)
            crossed = self.g(
                "MatMul", self._total(synapse.source, events), self.g.constant(fan_out)
            )
            total = crossed if total is None else self.g("Add", total, crossed)
        return total or self.g.zeros()

    def _total(self, name: str, events: bool) -> str:
        """Return the spikes of a layer per pixel, summed over steps and channels; int64 [B, P].

        With `events`, every k != 0 counts once.
        """
        low, high = self._range(name)
        if events and low >= 0 and high <= 1:
            return self._total(name, False)
        if (name, events) not in self._totals:
            k, dtype = self.k[name], _dtype((low, high))
            if events:
                k, dtype, high = (
                    self.g.cast(self.g.cast(k, np.bool_), np.uint8),
                    np.dtype(np.uint8),
                    1,
                )
            channels = _pixels(self.net.shapes[name])[1]
            # the fastest sum over channels; 2 * 255 * 1 does not saturate
            if dtype == np.uint8 and channels * high <= INT32_MAX:
                k = self.g("MatMulInteger", k, self.g.constant(np.ones((channels, 1), np.int8)))
            self._totals[name, events] = self.g.sum(self.g.cast(k, np.int64), 1, 3)
        return self._totals[name, events]


def _pixels(shape: Shape) -> Pair:
    """Return (P, C) of a layer of `shape` (C, H, W) or (N,)."""
    return (shape[1] * shape[2], shape[0]) if len(shape) == 3 else (1, shape[0])


def _dtype(span: Pair) -> np.dtype:
    """Return the dtype of counts within `span`; only pooled large counts need 64 bits."""
    return _smallest(span, np.uint8, np.int32, np.int64)


def _smallest(span: Pair, *dtypes: type[np.integer]) -> np.dtype:
    """Return the first of `dtypes` that holds `span`, otherwise the last."""
    fitting = (
        dtype
        for dtype in dtypes
        if np.iinfo(dtype).min <= span[0] and span[1] <= np.iinfo(dtype).max
    )
    return np.dtype(next(fitting, dtypes[-1]))


def _taps(
    shape: Shape,
    kernel: Pair,
    stride: Pair,
    padding: Pair,
    dilation: Pair = (1, 1),
    nearest: bool = False,
) -> np.ndarray:
    """Return the index y·W + x of the pixel under every tap of every window, int32 [P', taps].

    Beyond the border the index is H·W. With `nearest` it is the nearest pixel: it belongs to the
    same window, as a pooling is padded by at most half its kernel, and so leaves a maximum as it
    is.
    """
    rows, columns = (
        (
            np.arange(0, size + 2 * p - d * (k - 1), s)[:, None] + d * np.arange(k) - p
        )  # [outputs, taps] along one axis
        for size, k, s, p, d in zip(shape[1:], kernel, stride, padding, dilation, strict=True)
    )
    height, width = shape[1:]
    if nearest:
        rows, columns = rows.clip(0, height - 1), columns.clip(0, width - 1)
    inside = ((rows >= 0) & (rows < height))[:, None, :, None] & (
        (columns >= 0) & (columns < width)
    )[None, :, None, :]
    index = np.where(
        inside, rows[:, None, :, None] * width + columns[None, :, None, :], height * width
    )
    return index.reshape(len(rows) * len(columns), -1).astype(np.int32)
