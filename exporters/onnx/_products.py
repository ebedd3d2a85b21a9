"""Synapses in an ONNX graph: exact products of spike counts and int8 weights.

A convolution is one Gather of rows (im2col) and one matrix product. The range of the counts c, the
weights and the bound of the sums choose the encoding of the product:

    uint8, pairs fit 16 bits    MatMulInteger, uint8 x int8 -> int32
    uint8                       MatMulInteger, uint8 x uint8 with zero point 128 -> int32
    sums below 2^24             MatMul, or Conv for groups, in float32
    otherwise                   MatMul in float64

A graph for OpenVINO has Conv and MatMul in float32 wherever the sums are below 2^24. If the counts
are uint8 and pairs fit 16 bits, the operands are DequantizeLinear of uint8 and int8 with the scale
1. OpenVINO then multiplies integers.

Proof. x86 processors without VNNI multiply uint8 with int8 by VPMADDUBSW, which adds a pair of
products in 16 bits with saturation. Pairs fit if no sum of two products leaves 16 bits. This holds
for counts up to 128 with any weights, and for counts up to 255 with weights from -64 to 64. The
products of uint8 and uint8 are computed in 32 bits. Every partial sum of a product is at most
Σ |w|·max|c|. Integers below 2^24 are exact in float32 and those below 2^53 in float64, in any order
and with or without fused multiply-add.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from math import prod
from typing import NamedTuple

import numpy as np

from lmht_deploy.ir import Conv, Linear, Pair, Scale, Shape, Synapse

from ._graph import Graph

INT16 = np.iinfo(np.int16)
FLOAT32 = np.dtype(np.float32)
EXACT_FLOAT32 = 2**24
"""Integers below this magnitude are exact in float32."""
TILE_BYTES = 2**26
"""Largest size of gathered rows per window, in bytes."""


class Current(NamedTuple):
    """Sums of a synapse: a tensor [B, n, P, C] of int32, or of integers in float32.

    Attributes:
        tensor: The tensor.
        dtype: int32 or float32.
    """

    tensor: str
    dtype: np.dtype


class Counts(NamedTuple):
    """Spike counts that synapses multiply.

    Attributes:
        tensor: Counts [B, n, P, C].
        dtype: Type of the tensor.
        span: Smallest and largest value.
        steps: n.
        shape: Shape of the layer.
    """

    tensor: str
    dtype: np.dtype
    span: Pair
    steps: int
    shape: Shape

    @property
    def maximum(self) -> int:
        """Largest magnitude."""
        return max(abs(value) for value in self.span)


def current(g: Graph, synapse: Synapse, counts: Counts, name: str) -> Current:
    """Return the sums of a synapse times 2^exponent. The weight becomes the constant `name`."""
    bound = _bound(synapse.weight, counts) << synapse.exponent
    g.reach(bound)
    if isinstance(synapse, Scale):
        weight = synapse.weight.astype(np.int32) << synapse.exponent
        tensor = g.convert(counts.tensor, counts.dtype, np.dtype(np.int32))
        return Current(g("Mul", tensor, g.weight(weight, name)), np.dtype(np.int32))
    if g.openvino and bound < EXACT_FLOAT32 and not _is_misread(synapse, counts):
        found = _in_float32(g, synapse, counts, name)
    elif isinstance(synapse, Linear):
        counts = _as_factor(g, counts, synapse.weight)
        found = _product(g, counts, counts.tensor, synapse.weight.T, name)
    else:
        found = _convolution(g, synapse, counts, name)
    if not synapse.exponent:
        return found
    found = found if bound < EXACT_FLOAT32 else _as_int32(g, found)
    factor = g.constant(found.dtype.type(2**synapse.exponent))
    return Current(g("Mul", found.tensor, factor), found.dtype)


def _is_misread(synapse: Conv | Linear, counts: Counts) -> bool:
    """Whether OpenVINO reads memory that is not the input in a convolution.

    It may for a horizontal stride and one output column, but not for a single output pixel of
    several input channels.
    """
    if isinstance(synapse, Linear) or synapse.stride[1] == 1:
        return False
    _, height, width = synapse.output_shape(counts.shape)
    return width == 1 and (height > 1 or synapse.weight.shape[1] == 1)


def total(g: Graph, currents: list[Current], bound: int) -> Current:
    """Return the sum of currents, whose partial sums are at most `bound`."""
    g.reach(bound)
    if bound >= EXACT_FLOAT32 or any(one.dtype == np.int32 for one in currents):
        currents = [_as_int32(g, one) for one in currents]
    result = currents[0]
    for one in currents[1:]:
        result = Current(g("Add", result.tensor, one.tensor), result.dtype)
    return result


def windows(g: Graph, k: str, shape: Shape, taps: np.ndarray) -> str:
    """Gather what each output pixel of a convolution or pooling sees.

    Converts [B, n, P, C] to [B, n, P', taps, C], with zeros beyond the border.
    """
    pixels, channels = pixels_of(shape)
    if (taps == pixels).any():
        k = g("Pad", k, g.constant(np.array([0, 0, 0, 0, 0, 0, 1, 0])))
    if not np.array_equal(taps[:, 0], np.arange(pixels)) or taps.shape[1] > 1:
        k = g("Gather", k, g.constant(taps.reshape(-1), "taps"), axis=2)
    return g.reshape(k, 0, 0, *taps.shape, channels)


def tiled(g: Graph, taps: np.ndarray, row_bytes: int, function: Callable[[np.ndarray], str]) -> str:
    """Apply `function` to parts of the output pixels, so that gathered rows take little memory.

    Args:
        g: The graph.
        taps: Table of `taps_of`.
        row_bytes: Bytes that one entry of the table gathers, of one window.
        function: From a part of the table to a tensor [B, n, part of P', C].
    """
    count = min(len(taps), -(-taps.size * row_bytes // TILE_BYTES))
    parts = [function(tile) for tile in np.array_split(taps, count)]
    return parts[0] if count == 1 else g("Concat", *parts, axis=2)


def pixels_of(shape: Shape) -> Pair:
    """Return (P, C) of a layer of `shape` (C, H, W) or (N,)."""
    return (shape[1] * shape[2], shape[0]) if len(shape) == 3 else (1, shape[0])


def _as_int32(g: Graph, found: Current) -> Current:
    int32 = np.dtype(np.int32)
    return Current(g.convert(found.tensor, found.dtype, int32), int32)


def _bound(weight: np.ndarray, counts: Counts) -> int:
    sums = np.abs(weight.astype(np.int64)).reshape(len(weight), -1).sum(1)
    return int(sums.max()) * counts.maximum


def _as_factor(g: Graph, counts: Counts, weight: np.ndarray) -> Counts:
    """Convert counts to the dtype in which they are multiplied."""
    if counts.dtype == np.uint8:
        return counts
    dtype = np.dtype(np.float32 if _bound(weight, counts) < EXACT_FLOAT32 else np.float64)
    return counts._replace(tensor=g.cast(counts.tensor, dtype), dtype=dtype)


def _product_dtype(counts: Counts) -> np.dtype:
    """Return the dtype of `_product`."""
    return np.dtype(np.float32 if counts.dtype == np.float32 else np.int32)


def _product(g: Graph, counts: Counts, rows: str, weight: np.ndarray, name: str) -> Current:
    """Return rows [..., P, N] @ weight, exact for all counts.

    Shape:
        weight: int8 [..., N, M]. Result: [..., P, M].
    """
    int32 = np.dtype(np.int32)
    if counts.dtype != np.uint8:
        factor = g.cast(g.weight(weight, name), counts.dtype)
        found = Current(g("MatMul", rows, factor), counts.dtype)
        return found if counts.dtype == np.float32 else _as_int32(g, found)
    if _pairs_fit(weight, counts):
        return Current(g("MatMulInteger", rows, g.weight(weight, name)), int32)
    shifted = g.weight((weight.astype(np.int16) + 128).astype(np.uint8), name)
    zeros = g.constant(np.uint8(0)), g.constant(np.uint8(128))
    return Current(g("MatMulInteger", rows, shifted, *zeros), int32)


def _pairs_fit(weight: np.ndarray, counts: Counts) -> bool:
    """Whether 16 bits hold the sum of any two products of a count and a weight."""
    largest = 2 * counts.span[1]
    return largest * int(weight.max()) <= INT16.max and largest * int(weight.min()) >= INT16.min


def _convolution(g: Graph, conv: Conv, counts: Counts, name: str) -> Current:
    misread = g.plain and _is_misread(conv, counts)
    if conv.groups > 1 and _bound(conv.weight, counts) < EXACT_FLOAT32 and not misread:
        return _in_float32(g, conv, counts, name)
    if g.openvino and misread:
        g.in_float32.append(g.scope)
    counts = _as_factor(g, counts, conv.weight)
    taps = taps_of(counts.shape, conv.kernel, conv.stride, conv.padding, conv.dilation)
    row_bytes = counts.steps * counts.shape[0] * counts.dtype.itemsize
    sums = tiled(g, taps, row_bytes, lambda tile: _gathered(g, conv, counts, tile, name))
    return Current(sums, _product_dtype(counts))


def _gathered(g: Graph, conv: Conv, counts: Counts, taps: np.ndarray, name: str) -> str:
    """Return W ∗ c by gathered rows; groups are a batch dimension of the product."""
    (pixels, area), outputs, groups = taps.shape, len(conv.weight), conv.groups
    weight = (
        conv.weight.reshape(groups, outputs // groups, -1, area)
        .transpose(0, 3, 2, 1)
        .reshape(groups, -1, outputs // groups)
    )
    rows = windows(g, counts.tensor, counts.shape, taps)
    if groups == 1:
        return _product(g, counts, g.reshape(rows, 0, 0, pixels, -1), weight[0], name).tensor
    rows = g.reshape(rows, 0, 0, pixels, area, groups, -1)
    rows = g.reshape(g("Transpose", rows, perm=[0, 1, 4, 2, 3, 5]), 0, 0, groups, pixels, -1)
    product = _product(g, counts, rows, weight, name)
    merged = g("Transpose", product.tensor, perm=[0, 1, 3, 2, 4])
    return g.reshape(merged, 0, 0, pixels, outputs)


def _in_float32(g: Graph, synapse: Conv | Linear, counts: Counts, name: str) -> Current:
    """Return W ∗ c as Conv or MatMul in float32, which needs no gathered rows."""
    integers = g.openvino and counts.dtype == np.uint8 and _pairs_fit(synapse.weight, counts)
    if not integers:
        g.in_float32.append(g.scope)
    converted = g.dequantized if integers else partial(g.cast, dtype=FLOAT32)
    if isinstance(synapse, Linear):
        factor = converted(g.weight(synapse.weight.T, name))
        return Current(g("MatMul", converted(counts.tensor), factor), FLOAT32)
    return _conv(g, synapse, counts, converted, name)


def _conv(
    g: Graph, conv: Conv, counts: Counts, converted: Callable[[str], str], name: str
) -> Current:
    images = g("Transpose", counts.tensor, perm=[0, 1, 3, 2])
    images = g.reshape(images, -1, *counts.shape)
    padding = conv.padding
    if conv.kernel == (1, 1) and max(conv.stride) > 1 and max(padding):
        # OpenVINO moves the stride of a kernel of 1x1 before its padding, and loses pixels.
        images = g("Pad", images, g.constant(np.array([0, 0, *padding] * 2)))
        padding = (0, 0)
    images = converted(images)
    factor = converted(g.weight(conv.weight, name))
    found = g(
        "Conv",
        images,
        factor,
        kernel_shape=conv.kernel,
        strides=conv.stride,
        pads=[*padding, *padding],
        # That of a single row or column has no effect, and OpenVINO crashes with some.
        dilations=[d if k > 1 else 1 for d, k in zip(conv.dilation, conv.kernel, strict=True)],
        group=conv.groups,
    )
    outputs, *size = conv.output_shape(counts.shape)
    flat = g.reshape(found, -1, counts.steps, outputs, prod(size))
    return Current(g("Transpose", flat, perm=[0, 1, 3, 2]), FLOAT32)


def taps_of(
    shape: Shape,
    kernel: Pair,
    stride: Pair,
    padding: Pair,
    dilation: Pair = (1, 1),
    nearest: bool = False,
) -> np.ndarray:
    """Return the index y·W + x of the pixel under every tap of every window, int32 [P', taps].

    Beyond the border the index is H·W. With `nearest` it is the nearest pixel. That pixel belongs
    to the same window, because a pooling is padded by at most half its kernel. So it does not
    change the maximum.
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
