"""Fold pooling, Flatten and weight exponents into the synapse after them.

NetX has layers of neurons only. Each synapse becomes one convolution or one dense matrix that
reads the neurons themselves. Max pooling is not linear: it remains, with whatever lies before it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from math import prod
from operator import mul

import numpy as np

from lmht_deploy.errors import ExportError
from lmht_deploy.ir import (
    Conv,
    Flatten,
    Input,
    Layer,
    MaxPool,
    Network,
    Neurons,
    Pair,
    Scale,
    Shape,
    SumPool,
    Synapse,
)

MAX_WEIGHTS = 2**28
"""Largest number of weights of a synapse with pooling."""


@dataclass(frozen=True)
class Folded:
    """A synapse that reads neurons or the input; pooling, Flatten and exponent are in its weights.

    Attributes:
        source: Layer of neurons, or input, that it reads.
        weight: int64 [C_out, C_in/groups, kh, kw] (convolution) or [N_out, N_in] (dense, N_in is
            C·H·W of the source).
        fan_out: Synapses that one spike crosses, counted before folding; int64, broadcasts to the
            shape of the source.
        extent: Rows and columns of the source that it reads. The others were outside of every
            pooling window.
        stride: (vertical, horizontal).
        padding: (vertical, horizontal).
        dilation: (vertical, horizontal).
        groups: Number of groups.
        pools: Max pooling that remains between the source and the weights, and what lies before
            it, in order. `fan_out` and `extent` are then those of its output.
    """

    source: str
    weight: np.ndarray
    fan_out: np.ndarray
    extent: Pair
    stride: Pair = (1, 1)
    padding: Pair = (0, 0)
    dilation: Pair = (1, 1)
    groups: int = 1
    pools: tuple[SumPool | MaxPool, ...] = ()


def fold(net: Network, layer: str, synapse: Synapse) -> Folded:
    """Fold every pooling and Flatten between `synapse` of `layer` and the neurons that it reads.

    Raises:
        ExportError: Overlapping sum pooling under a padded convolution, or too many weights.
    """
    shape = net.shapes[synapse.source]
    weight = synapse.weight.astype(np.int64) << synapse.exponent
    folded = Folded(synapse.source, weight, synapse.fan_out(shape), plane_of(shape))
    match synapse:
        case Conv():
            folded = replace(
                folded,
                stride=synapse.stride,
                padding=synapse.padding,
                dilation=synapse.dilation,
                groups=synapse.groups,
            )
        case Scale() if len(shape) == 3:
            folded = replace(folded, weight=weight[:, None, None, None], groups=shape[0])
        case Scale():
            folded = replace(folded, weight=np.diag(weight))
    dense = folded.weight.ndim == 2
    while not isinstance(source := net[folded.source], Input | Neurons | MaxPool):
        folded = _step_back(net, layer, folded, source, dense)
    if isinstance(source, MaxPool):
        folded = _keep_pools(net, folded)
    return replace(folded, weight=folded.weight.reshape(len(weight), -1)) if dense else folded


def _keep_pools(net: Network, folded: Folded) -> Folded:
    """Return `folded` such that it reads neurons, through the pooling that cannot be folded."""
    pools: tuple[SumPool | MaxPool, ...] = ()
    while isinstance(pool := net[folded.source], SumPool | MaxPool):
        pools = (pool, *pools)
        folded = replace(folded, source=pool.source)
    return replace(folded, pools=pools)


def _step_back(net: Network, layer: str, folded: Folded, source: Layer, dense: bool) -> Folded:
    """Return `folded` such that it reads what `source`, a pooling or a Flatten, reads."""
    match source:
        case Flatten():
            return _under_flatten(net, folded, source)
        case SumPool() if dense:
            plane = plane_of(net.shapes[source.source])
            return replace(
                folded,
                source=source.source,
                weight=unpool(folded.weight, source, plane),
                fan_out=_pooled_fan_out(net, folded, source),
                extent=plane,
            )
        case SumPool():
            plane = plane_of(net.shapes[source.source])
            convolution = _under_convolution(layer, folded, source, plane)
            return replace(convolution, fan_out=_pooled_fan_out(net, folded, source))
    raise TypeError(f"unknown layer {source!r}")


def _under_flatten(net: Network, folded: Folded, flatten: Flatten) -> Folded:
    """Return a dense synapse over `flatten` that reads (C, H, W)."""
    shape = net.shapes[flatten.source]
    fan_out = np.broadcast_to(folded.fan_out, net.shapes[flatten.name])
    return replace(
        folded,
        source=flatten.source,
        weight=folded.weight.reshape(-1, *shape),
        fan_out=fan_out.reshape(shape),
        extent=plane_of(shape),
    )


def _pooled_fan_out(net: Network, folded: Folded, pool: SumPool) -> np.ndarray:
    """Return the fan-out of what `pool` reads: a spike counts in every window that it is in."""
    fan_out = np.broadcast_to(folded.fan_out, (len(folded.fan_out), *net.shapes[pool.name][1:]))
    return unpool(fan_out, pool, plane_of(net.shapes[pool.source]))


def _under_convolution(layer: str, folded: Folded, pool: SumPool, plane: Pair) -> Folded:
    """Return a convolution over `pool` as one convolution.

    Its taps are spread by the stride of the pooling, and each is as large as a pooling window.
    """
    kernel = _dilated(folded.weight, folded.dilation)
    spread = _pair(lambda n, k, r: r * (n - 1) + k, kernel.shape[2:], pool.kernel, pool.stride)
    sizes = (plane, folded.extent, folded.padding, pool.kernel, pool.stride, pool.padding)
    return replace(
        folded,
        source=pool.source,
        weight=unpool(kernel, replace(pool, padding=(0, 0)), spread),
        extent=_pair(partial(_extent, layer, pool.name), *sizes),
        stride=_pair(mul, pool.stride, folded.stride),
        padding=_pair(lambda r, p, q: r * p + q, pool.stride, folded.padding, pool.padding),
        dilation=(1, 1),
    )


def _pair(function: Callable[..., int], *axes: Sequence[int]) -> Pair:
    """Apply `function` along the vertical and the horizontal axis."""
    vertical, horizontal = (function(*values) for values in zip(*axes, strict=True))
    return vertical, horizontal


def _extent(
    layer: str,
    pool: str,
    size: int,
    extent: int,
    padding: int,
    kernel: int,
    stride: int,
    pool_padding: int,
) -> int:
    """Return how many of `size` pixels count along one axis.

    The convolution reads the first `extent` outputs of `pool`. The zeros that it pads become,
    once folded, pooling windows that do not exist. Without overlap, the pixels under such windows
    are left out. With overlap, those pixels also count under other windows.
    """
    outputs = (size + 2 * pool_padding - kernel) // stride + 1
    if padding == 0 and extent == outputs:
        return size
    if kernel <= stride:
        return min(size, stride * (extent - 1) + kernel - pool_padding)
    if kernel - stride - pool_padding >= 1 or stride * extent - pool_padding < size:
        raise ExportError(
            f"layer {layer!r} convolves, with padding, the overlapping sum pooling {pool!r}, which "
            "no single convolution equals at the border; use a pooling whose stride is its kernel, "
            "or no padding after it"
        )
    return size


def unpool(values: np.ndarray, pool: SumPool, plane: Pair) -> np.ndarray:
    """Adjoint of a sum pooling: add each value to every pixel of its pooling window.

    Args:
        values: int64 [..., H', W'].
        pool: The sum pooling.
        plane: H and W.

    Returns:
        int64 [..., H, W].
    """
    (kh, kw), (sh, sw), (ph, pw) = pool.kernel, pool.stride, pool.padding
    h, w = values.shape[-2:]
    shape = (
        *values.shape[:-2],
        max(plane[0] + 2 * ph, sh * (h - 1) + kh),
        max(plane[1] + 2 * pw, sw * (w - 1) + kw),
    )
    if prod(shape) > MAX_WEIGHTS:
        raise ExportError(
            f"the pooling {pool.name!r} makes {prod(shape):,} weights of a synapse, beyond "
            f"{MAX_WEIGHTS:,}"
        )
    out = np.zeros(shape, np.int64)
    for i in range(kh):
        for j in range(kw):
            out[..., i : i + sh * (h - 1) + 1 : sh, j : j + sw * (w - 1) + 1 : sw] += values
    return out[..., ph : ph + plane[0], pw : pw + plane[1]]


def _dilated(weight: np.ndarray, dilation: Pair) -> np.ndarray:
    """Return the kernel with the zeros of its dilation written out."""
    (dh, dw), (kh, kw) = dilation, weight.shape[2:]
    out = np.zeros((*weight.shape[:2], dh * (kh - 1) + 1, dw * (kw - 1) + 1), weight.dtype)
    out[..., ::dh, ::dw] = weight
    return out


def plane_of(shape: Shape) -> Pair:
    """Return rows and columns of a layer of `shape`; those of a flat layer are 1 and 1."""
    return (shape[1], shape[2]) if len(shape) == 3 else (1, 1)
