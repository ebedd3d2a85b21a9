"""Spikes and currents: the two values that a tensor of a lowered model can be.

    spikes     output of layers: k times an amplitude (θ, the divisor of an average pooling)
    current    sum of synapses and a bias, which neurons or the read-out integrate

Synapses are linear. So sums, concatenations, 1x1 convolutions and averages of currents are currents
again, with other weights.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias, cast

import numpy as np

from .errors import LoweringError, NetworkError
from .ir import Conv, Linear, Pair, Scale, Shape, Synapse

# ---------------------------------------------------------------------------------------- values


@dataclass(frozen=True)
class Part:
    """Output of one layer.

    Attributes:
        source: Name of the layer.
        amplitude: Real value of one spike.
        shape: (C, H, W) or (N,).
    """

    source: str
    amplitude: float
    shape: Shape


@dataclass(frozen=True)
class Spikes:
    """Outputs of layers, concatenated along the channels.

    Attributes:
        parts: The layers, usually one.
        steps: Number of steps.
    """

    parts: tuple[Part, ...]
    steps: int

    @property
    def shape(self) -> Shape:
        """(C, H, W) or (N,)."""
        return (sum(part.shape[0] for part in self.parts), *self.parts[0].shape[1:])

    @property
    def origin(self) -> str:
        """Names of the layers."""
        return ", ".join(part.source for part in self.parts)

    def columns(self) -> list[slice]:
        """Return the channels of each part."""
        ends = np.cumsum([part.shape[0] for part in self.parts]).tolist()
        return [slice(e - part.shape[0], e) for e, part in zip(ends, self.parts, strict=True)]


@dataclass(frozen=True)
class Current:
    """Σ synapses + bias.

    Attributes:
        origin: Path of the module that made it.
        synapses: Synapses from spikes.
        bias: float64 [C].
        shape: (C, H, W) or (N,).
        steps: Number of steps.
    """

    origin: str
    synapses: tuple[Synapse, ...]
    bias: np.ndarray
    shape: Shape
    steps: int


Value: TypeAlias = Spikes | Current

# ------------------------------------------------------------------------- from spikes to currents


def require_spikes(where: str, what: str, value: Value, ndim: int | None = None) -> Spikes:
    """`value` as the spikes that the operation `what` reads, of `ndim` dimensions."""
    if isinstance(value, Current):
        raise LoweringError(
            f"{where}: {what} reads the current of {value.origin!r}, not spikes; "
            "put neurons between the two"
        )
    if ndim == 3 and len(value.shape) != 3:
        raise LoweringError(f"{where}: {what} reads maps (C, H, W), not the flat {value.origin!r}")
    if ndim == 1 and len(value.shape) != 1:
        raise LoweringError(
            f"{where}: {what} reads flat spikes, not {value.origin!r} of shape {value.shape}; "
            "put a Flatten between the two"
        )
    return value


def as_current(where: str, value: Value) -> Current:
    """Spikes that are added or enter neurons become identity synapses."""
    if isinstance(value, Current):
        return value
    synapses = tuple(
        _identity(part, value.shape[0], columns)
        for part, columns in zip(value.parts, value.columns(), strict=True)
    )
    return Current(where, synapses, np.zeros(value.shape[0]), value.shape, value.steps)


def _identity(part: Part, channels: int, columns: slice) -> Synapse:
    """The synapse that copies `part` to `columns` of `channels` channels.

    A layer alone needs one weight per channel.
    """
    if part.shape[0] == channels:
        return Scale(source=part.source, weight=np.full(channels, part.amplitude))
    weight = part.amplitude * np.eye(channels)[:, columns]
    if len(part.shape) == 1:
        return Linear(source=part.source, weight=weight)
    return Conv(source=part.source, weight=weight[:, :, None, None])


def convolved(
    where: str, value: Value, weight: np.ndarray, bias: np.ndarray, options: Mapping[str, Any]
) -> Current:
    """A convolution of spikes: one synapse per layer that it reads.

    Args:
        where: Path of the module.
        value: What it reads.
        weight: Weights `[C_out, C_in/groups, kh, kw]`.
        bias: Bias `[C_out]`.
        options: Stride, padding, dilation and groups, as those of `Conv`.
    """
    spikes = require_spikes(where, "a convolution", value, 3)
    if options.get("groups", 1) > 1 and len(spikes.parts) > 1:
        raise LoweringError(
            f"{where}: a convolution with groups cannot be lowered if it reads concatenated spikes "
            f"({spikes.origin}); use groups=1, or one convolution for each of them"
        )

    def synapse(source: str, weight: np.ndarray) -> Conv:
        return Conv(source=source, weight=weight, **options)

    return _synapses(where, spikes, weight, bias, synapse)


def multiplied(where: str, value: Value, weight: np.ndarray, bias: np.ndarray) -> Current:
    """A linear layer of spikes: one synapse per layer that it reads."""
    spikes = require_spikes(where, "a linear layer", value, 1)

    def synapse(source: str, weight: np.ndarray) -> Linear:
        return Linear(source=source, weight=weight)

    return _synapses(where, spikes, weight, bias, synapse)


def _synapses(
    where: str,
    spikes: Spikes,
    weight: np.ndarray,
    bias: np.ndarray,
    make: Callable[[str, np.ndarray], Conv | Linear],
) -> Current:
    if len(spikes.parts) == 1:
        weights = [weight]
    else:
        check_channels(where, f"a layer of {weight.shape[1]}", weight.shape[1], spikes)
        weights = [weight[:, columns] for columns in spikes.columns()]
    try:
        synapses = tuple(
            make(part.source, one * part.amplitude)
            for part, one in zip(spikes.parts, weights, strict=True)
        )
        shapes = {
            synapse.output_shape(part.shape)
            for synapse, part in zip(synapses, spikes.parts, strict=True)
        }
    except NetworkError as error:
        raise LoweringError(f"{where}: {error}") from None
    (shape,) = shapes
    return Current(where, synapses, bias, shape, spikes.steps)


# --------------------------------------------------------------------------- currents of currents


def added(where: str, one: Value, other: Value) -> Current:
    """Sum of two values."""
    a, b = as_current(where, one), as_current(where, other)
    if (a.shape, a.steps) != (b.shape, b.steps):
        raise LoweringError(
            f"{where}: an addition needs currents of equal shapes and steps, not {a.shape} in "
            f"{a.steps} steps ({a.origin}) and {b.shape} in {b.steps} steps ({b.origin})"
        )
    return Current(where, a.synapses + b.synapses, a.bias + b.bias, a.shape, a.steps)


def concatenated(where: str, values: Sequence[Value]) -> Value:
    """Concatenation along the channels; of spikes alone it stays spikes."""
    if len({(value.shape[1:], value.steps) for value in values}) > 1:
        found = ", ".join(f"{v.shape} in {v.steps} steps ({v.origin})" for v in values)
        raise LoweringError(
            f"{where}: a concatenation needs tensors that differ in their channels only: {found}"
        )
    spikes = [value for value in values if isinstance(value, Spikes)]
    if len(spikes) == len(values):
        return Spikes(tuple(part for one in spikes for part in one.parts), spikes[0].steps)
    currents = [as_current(where, value) for value in values]
    channels = sum(current.shape[0] for current in currents)
    synapses: list[Synapse] = []
    first = 0
    for current in currents:
        rows = np.eye(channels)[:, first : first + current.shape[0]]
        synapses += (
            joined(f"{where}: a concatenation", rows, (1, 1), synapse, current)
            for synapse in current.synapses
        )
        first += current.shape[0]
    bias = np.concatenate([current.bias for current in currents])
    shape = (channels, *currents[0].shape[1:])
    return Current(where, tuple(synapses), bias, shape, currents[0].steps)


def projected(
    where: str, weight: np.ndarray, bias: np.ndarray, stride: Pair, current: Current
) -> Current:
    """Multiply a 1x1 convolution P `[C_out, C]` of stride s into a current.

    Every synapse W ∗ k becomes (P·W) ∗ k with s times the stride, and the bias b becomes P·b.
    """
    channels = weight.shape[1]
    check_channels(where, f"a convolution of {channels}", channels, current)
    synapses = tuple(
        joined(f"{where}: a 1x1 convolution", weight, stride, synapse, current)
        for synapse in current.synapses
    )
    height, width = ((n - 1) // s + 1 for n, s in zip(current.shape[1:], stride, strict=True))
    shape = (len(weight), height, width)
    return Current(where, synapses, weight @ current.bias + bias, shape, current.steps)


def joined(
    what: str, weight: np.ndarray, stride: Pair, synapse: Synapse, current: Current
) -> Synapse:
    """A matrix `weight` [C_out, C] over the channels, and a `stride`, after a synapse."""
    if isinstance(synapse, Linear):
        return dataclasses.replace(synapse, weight=weight @ synapse.weight)
    if isinstance(synapse, Scale):
        product = weight * synapse.weight
        if len(current.shape) == 1:
            return Linear(source=synapse.source, weight=product)
        return Conv(source=synapse.source, weight=product[:, :, None, None], stride=stride)
    if synapse.groups > 1:
        raise LoweringError(
            f"{what} of a current needs convolutions without groups and spikes, not the others of "
            f"{current.origin!r}"
        )
    return dataclasses.replace(
        synapse,
        weight=np.einsum("om,m...->o...", weight, synapse.weight),
        stride=(synapse.stride[0] * stride[0], synapse.stride[1] * stride[1]),
    )


def scaled(synapse: Synapse, factor: np.ndarray) -> Synapse:
    """`synapse` with the weights of every output channel times `factor` [C]."""
    per_channel = factor.reshape(-1, *(1,) * (synapse.weight.ndim - 1))
    return dataclasses.replace(synapse, weight=synapse.weight * per_channel)


def is_per_pixel(current: Current) -> bool:
    """Whether every synapse reads one pixel per output pixel, so that averages pass through it."""
    return len(current.shape) == 3 and all(
        isinstance(synapse, Scale)
        or (
            isinstance(synapse, Conv)
            and (synapse.weight.shape[2:], synapse.stride, synapse.padding)
            == ((1, 1), (1, 1), (0, 0))
        )
        for synapse in current.synapses
    )


def flattened(where: str, current: Current, flatten: Callable[[str], str]) -> Current:
    """A current of one pixel per channel, as a flat current.

    Args:
        where: Path of the module.
        current: The current, (C, 1, 1).
        flatten: Adds a Flatten of a layer, and returns its name.
    """
    if current.shape[1:] != (1, 1) or not is_per_pixel(current):
        raise LoweringError(
            f"{where}: a flatten reads the current of {current.origin!r}, of shape "
            f"{current.shape}, not spikes; put neurons, or a global average pooling after a 1x1 "
            "convolution, between the two"
        )
    synapses = []
    for synapse in current.synapses:
        dense = isinstance(synapse, Conv) and synapse.groups == 1
        weight = synapse.weight[:, :, 0, 0] if dense else _block_diagonal(synapse)
        synapses.append(Linear(source=flatten(synapse.source), weight=weight))
    shape = current.shape[:1]
    return dataclasses.replace(current, origin=where, synapses=tuple(synapses), shape=shape)


def _block_diagonal(synapse: Synapse) -> np.ndarray:
    """The matrix [C_out, C_in] of a `Scale`, or of a 1x1 convolution with groups."""
    if isinstance(synapse, Scale):
        return np.diag(synapse.weight)
    groups = cast(Conv, synapse).groups
    blocks = np.split(synapse.weight[:, :, 0, 0], groups)
    matrix = np.zeros((len(synapse.weight), groups * synapse.weight.shape[1]))
    for g, block in enumerate(blocks):
        rows, columns = len(block), block.shape[1]
        matrix[g * rows : (g + 1) * rows, g * columns : (g + 1) * columns] = block
    return matrix


def check_channels(where: str, what: str, channels: int, value: Value) -> None:
    """Require that `value` has as many channels as the operation `what`."""
    if value.shape[0] != channels:
        raise LoweringError(
            f"{where}: {what} channels receives the {value.shape[0]} channels of {value.origin!r}"
        )
