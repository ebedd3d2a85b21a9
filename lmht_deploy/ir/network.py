"""The deployable network: plain data, its checks and its bounds.

A `Network` is a directed acyclic graph of layers in topological order, from one `Input` to one `Readout`:

    Input     -> integers k[j], j = 1..T_in           (event counts, or the pixels of a still image)
    Neurons   -> spikes   k[t], t = 1..T              (LM-HT neurons under the sum of their synapses)
    SumPool, MaxPool, Flatten                         (act on k)
    Readout   -> logits                               (synapses, no neurons)

What travels between layers is always the spike count `k`; amplitudes (the threshold of the layer before, the
divisor of an average pooling) are part of the weights. So float and integer networks have the same structure, and
differ in the dtype of their arrays and in the unit of the leak only (docs/semantics.md).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Literal, TypeAlias

import numpy as np

from lmht_deploy.errors import NetworkError

Shape: TypeAlias = tuple[int, ...]
Pair: TypeAlias = tuple[int, int]

LEAK_ONE = 4096
"""Integer leak that stands for 1.0."""
INT32_MAX = 2**31 - 1
MAX_EXPONENT = 16
MAX_OMEGA = 2**16
MAX_LEAK = 4 * LEAK_ONE
MAX_INPUT = 2**15


# ------------------------------------------------------------------------------------------------ helpers


class _Record:
    """Dataclass of plain data whose arrays are read-only and compared by value."""

    def __eq__(self, other: object) -> bool:
        if type(other) is not type(self):
            return NotImplemented
        return all(
            _equal(getattr(self, f.name), getattr(other, f.name)) for f in dataclasses.fields(self)
        )  # type: ignore[arg-type]

    __hash__ = None  # type: ignore[assignment]

    def _set(self, **values: object) -> None:
        for name, value in values.items():
            object.__setattr__(self, name, value)


def _equal(a: object, b: object) -> bool:
    if isinstance(a, np.ndarray) and isinstance(b, np.ndarray):
        return a.dtype == b.dtype and np.array_equal(a, b)
    return a == b


def _array(what: str, values: object, ndim: int, dtype: type[np.signedinteger]) -> np.ndarray:
    """Read-only copy: `dtype` where `values` are integers that fit it, else finite float64."""
    array = np.asarray(values)
    if array.dtype == object or array.dtype.kind not in "iuf":
        raise NetworkError(f"{what} must hold real numbers, not {array.dtype}")
    if array.ndim != ndim:
        raise NetworkError(f"{what} must have {ndim} dimensions, not shape {array.shape}")
    if array.dtype.kind == "f":
        if not np.isfinite(array).all():
            raise NetworkError(f"{what} holds values that are not finite")
        array = np.array(array, np.float64)
    else:
        info = np.iinfo(dtype)
        if array.size and (array.min() < info.min or array.max() > info.max):
            raise NetworkError(
                f"{what} must lie within {info.min}..{info.max}, found {array.min()}..{array.max()}"
            )
        array = np.array(array, dtype)
    array.setflags(write=False)
    return array


def _pair(what: str, value: int | Pair, least: int) -> Pair:
    pair = (value, value) if isinstance(value, int | np.integer) else tuple(value)
    if len(pair) != 2 or any(int(p) != p or p < least for p in pair):
        raise NetworkError(f"{what} must be one or two integers >= {least}, not {value!r}")
    return int(pair[0]), int(pair[1])


def _name(value: str) -> str:
    if (
        not isinstance(value, str)
        or not value
        or not value.isprintable()
        or set(value) & set("/\\:")
        or value in {".", ".."}
    ):
        raise NetworkError(f"layer name {value!r} must be printable text without '/', '\\' or ':'")
    return value


def _window_taps(
    size: int, out: int, kernel: int, stride: int, padding: int, dilation: int
) -> np.ndarray:
    """For each position 0..size-1: how many (output, tap) pairs of a 1-D convolution touch it; int64 [size]."""
    taps = np.zeros(size, np.int64)
    for i in range(kernel):
        at = np.arange(out) * stride + i * dilation - padding
        taps[at[(at >= 0) & (at < size)]] += 1
    return taps


def _window_shape(
    what: str, shape: Shape, kernel: Pair, stride: Pair, padding: Pair, dilation: Pair
) -> Pair:
    if len(shape) != 3:
        raise NetworkError(f"{what} needs an input of shape (C, H, W), not {shape}")
    h, w = (
        (n + 2 * p - d * (k - 1) - 1) // s + 1
        for n, k, s, p, d in zip(shape[1:], kernel, stride, padding, dilation, strict=True)
    )
    if h < 1 or w < 1:
        raise NetworkError(
            f"{what}: a kernel of {kernel} with dilation {dilation} is larger than its padded input {shape}"
        )
    return h, w


# ------------------------------------------------------------------------------------------------ synapses


@dataclass(frozen=True, eq=False, kw_only=True)
class Conv(_Record):
    """Convolution (cross-correlation, as in PyTorch) from the spikes of layer `source`:

        X[o, y, x] = Σ_{c,i,j} W[o, c, i, j] · k[c, s·y + d·i - p, s·x + d·j - p] · 2^e

    where `weight` W is [C_out, C_in/groups, kh, kw] (int8, or float64), `stride` s, `padding` p (zeros), `dilation` d
    are (vertical, horizontal), and `exponent` e >= 0 is the weight exponent (integer networks only).
    """

    source: str
    weight: np.ndarray
    stride: Pair = (1, 1)
    padding: Pair = (0, 0)
    dilation: Pair = (1, 1)
    groups: int = 1
    exponent: int = 0

    def __post_init__(self) -> None:
        what = f"Conv from {self.source!r}"
        weight = _array(f"{what}: weight", self.weight, 4, np.int8)
        self._set(
            weight=weight,
            stride=_pair(f"{what}: stride", self.stride, 1),
            padding=_pair(f"{what}: padding", self.padding, 0),
            dilation=_pair(f"{what}: dilation", self.dilation, 1),
            groups=_pair(f"{what}: groups", self.groups, 1)[0],
        )
        if min(weight.shape) < 1 or weight.shape[0] % self.groups:
            raise NetworkError(
                f"{what}: {weight.shape[0]} output channels cannot be divided into {self.groups} groups"
            )
        _check_exponent(what, self)

    @property
    def kernel(self) -> Pair:
        return self.weight.shape[2], self.weight.shape[3]

    def output_shape(self, shape: Shape) -> Shape:
        """Shape (C_out, H_out, W_out) for an input of `shape` (C_in, H, W); NetworkError where they do not fit."""
        what = f"Conv from {self.source!r}"
        h, w = _window_shape(what, shape, self.kernel, self.stride, self.padding, self.dilation)
        if shape[0] != self.weight.shape[1] * self.groups:
            raise NetworkError(
                f"{what}: weight {self.weight.shape} with {self.groups} groups expects {self.weight.shape[1] * self.groups} channels, not {shape[0]}"
            )
        return self.weight.shape[0], h, w

    def fan_out(self, shape: Shape) -> np.ndarray:
        """Synapses that one spike at each place really crosses (borders, strides counted); int64 [1, H, W]."""
        _, h, w = self.output_shape(shape)
        (kh, kw), (sh, sw), (ph, pw), (dh, dw) = (
            self.kernel,
            self.stride,
            self.padding,
            self.dilation,
        )
        rows = _window_taps(shape[1], h, kh, sh, ph, dh)
        columns = _window_taps(shape[2], w, kw, sw, pw, dw)
        return np.outer(rows, columns)[None] * (self.weight.shape[0] // self.groups)


@dataclass(frozen=True, eq=False, kw_only=True)
class Linear(_Record):
    """Dense synapse `X = (W · k) · 2^e`, `weight` W [N_out, N_in] (int8, or float64), from a flat layer `source`."""

    source: str
    weight: np.ndarray
    exponent: int = 0

    def __post_init__(self) -> None:
        what = f"Linear from {self.source!r}"
        self._set(weight=_array(f"{what}: weight", self.weight, 2, np.int8))
        if min(self.weight.shape) < 1:
            raise NetworkError(f"{what}: weight of shape {self.weight.shape} is empty")
        _check_exponent(what, self)

    def output_shape(self, shape: Shape) -> Shape:
        """Shape (N_out,) for an input of `shape` (N_in,); NetworkError where they do not fit."""
        if shape != (self.weight.shape[1],):
            hint = (
                "; put a Flatten between"
                if len(shape) == 3 and np.prod(shape) == self.weight.shape[1]
                else ""
            )
            raise NetworkError(
                f"Linear from {self.source!r}: weight {self.weight.shape} expects an input of shape ({self.weight.shape[1]},), not {shape}{hint}"
            )
        return (self.weight.shape[0],)

    def fan_out(self, shape: Shape) -> np.ndarray:
        """Synapses that one spike crosses; int64 [1]."""
        return np.full(1, self.weight.shape[0], np.int64)


@dataclass(frozen=True, eq=False, kw_only=True)
class Scale(_Record):
    """Identity shortcut: one weight a channel, `X[c] = W[c] · k[c] · 2^e`, `weight` W [C] (int8, or float64)."""

    source: str
    weight: np.ndarray
    exponent: int = 0

    def __post_init__(self) -> None:
        self._set(weight=_array(f"Scale from {self.source!r}: weight", self.weight, 1, np.int8))
        _check_exponent(f"Scale from {self.source!r}", self)

    def output_shape(self, shape: Shape) -> Shape:
        """`shape` itself; NetworkError where its channels do not fit the weight."""
        if shape[0] != self.weight.shape[0]:
            raise NetworkError(
                f"Scale from {self.source!r}: {self.weight.shape[0]} weights for {shape[0]} channels"
            )
        return shape

    def fan_out(self, shape: Shape) -> np.ndarray:
        """Synapses that one spike crosses: 1; int64 [1] or [1, 1, 1]."""
        return np.ones((1,) * len(shape), np.int64)


Synapse: TypeAlias = Conv | Linear | Scale


def _check_exponent(what: str, synapse: Synapse) -> None:
    exponent = synapse.exponent
    if int(exponent) != exponent or not 0 <= exponent <= MAX_EXPONENT:
        raise NetworkError(
            f"{what}: weight exponent must be an integer within 0..{MAX_EXPONENT}, not {exponent!r}"
        )
    if synapse.weight.dtype.kind == "f" and exponent:
        raise NetworkError(f"{what}: float weights have no exponent")
    synapse._set(exponent=int(exponent))


# ------------------------------------------------------------------------------------------------ layers


@dataclass(frozen=True, eq=False, kw_only=True)
class Input(_Record):
    """What enters the network: `steps` (T_in) steps of integers within `min_value`..`max_value`, of `shape` (C, H, W) or (N,).

    `kind` "events": counts of events a place and step (`min_value` = 0); what they cross counts as synaptic operations.
    `kind` "image": pixels, as integers of any sign; what they cross counts as MACs.
    """

    name: str
    shape: Shape
    steps: int
    min_value: int = 0
    max_value: int = 255
    kind: Literal["events", "image"] = "events"

    def __post_init__(self) -> None:
        what = f"input {_name(self.name)!r}"
        self._set(shape=tuple(int(n) for n in self.shape))
        if len(self.shape) not in (1, 3) or min(self.shape) < 1:
            raise NetworkError(
                f"{what}: shape must be (C, H, W) or (N,) of positive sizes, not {self.shape}"
            )
        if self.steps < 1:
            raise NetworkError(f"{what}: needs at least one step, not {self.steps}")
        if not -MAX_INPUT <= self.min_value <= self.max_value <= MAX_INPUT:
            raise NetworkError(
                f"{what}: range {self.min_value}..{self.max_value} must be ordered and within ±{MAX_INPUT}"
            )
        if self.kind not in ("events", "image") or (self.kind == "events" and self.min_value < 0):
            raise NetworkError(
                f"{what}: kind must be 'events' (counts >= 0) or 'image', not {self.kind!r} with min_value {self.min_value}"
            )


@dataclass(frozen=True, eq=False, kw_only=True)
class Neurons(_Record):
    """LM-HT neurons under the sum of their `synapses` (Hao et al. 2024, with a rectangular T-GIM). For t = 1..T:

        X[j] = Σ_synapses W ∗ k[j] + bias          j = 1..T_in
        I[t] = Σ_j Ω[t, j] · X[j]
        v    = λ·v + I[t]                          v starts at v0
        k[t] = clip(floor(v / θ), 0, L)
        v    = v - k[t]·θ

    where `omega` Ω is [T, T_in], `threshold` θ, `bias` and `v0` are [C], `levels` is L, and `leak` is λ: a float, or in
    an integer network an integer in units of 1/4096 whose product is truncated towards zero.

    `substeps` S > 1 is the reparameterised form: every time-step becomes S sub-steps, at each of which the neuron
    fires up to L (then 1) spikes. With `injection` "block-start" I[t] enters at the first of them; with "uniform"
    at all of them (θ and v0 are then S times larger: the paper's I[t]/L in integers). The leak acts once a time-step.
    """

    name: str
    synapses: tuple[Synapse, ...]
    bias: np.ndarray
    threshold: np.ndarray
    omega: np.ndarray
    leak: float | int
    v0: np.ndarray
    levels: int
    substeps: int = 1
    injection: Literal["block-start", "uniform"] = "block-start"

    def __post_init__(self) -> None:
        what = f"layer {_name(self.name)!r}"
        self._set(
            synapses=tuple(self.synapses),
            bias=_array(f"{what}: bias", self.bias, 1, np.int32),
            threshold=_array(f"{what}: threshold", self.threshold, 1, np.int32),
            omega=_array(f"{what}: T-GIM", self.omega, 2, np.int32),
            v0=_array(f"{what}: initial potential", self.v0, 1, np.int32),
        )
        if not self.synapses:
            raise NetworkError(f"{what} has no synapse")
        if min(self.omega.shape) < 1:
            raise NetworkError(f"{what}: T-GIM of shape {self.omega.shape} is empty")
        if self.levels < 1 or self.substeps < 1:
            raise NetworkError(
                f"{what}: levels and sub-steps must be >= 1, not {self.levels} and {self.substeps}"
            )
        if self.injection not in ("block-start", "uniform"):
            raise NetworkError(
                f"{what}: injection must be 'block-start' or 'uniform', not {self.injection!r}"
            )
        integer = self.threshold.dtype.kind == "i"
        if self.threshold.size == 0 or (self.threshold <= 0).any():
            raise NetworkError(
                f"{what}: every threshold must be {'at least 1' if integer else 'positive'}"
            )
        self._check_leak(what, integer)
        if integer and np.abs(self.omega.astype(np.int64)).max() > MAX_OMEGA:
            raise NetworkError(f"{what}: T-GIM entries must lie within ±{MAX_OMEGA}")

    def _check_leak(self, what: str, integer: bool) -> None:
        if integer and not (int(self.leak) == self.leak and 0 <= self.leak <= MAX_LEAK):
            raise NetworkError(
                f"{what}: integer leak must be an integer within 0..{MAX_LEAK} ({LEAK_ONE} is 1.0), not {self.leak!r}"
            )
        if not integer and not (np.isfinite(self.leak) and 0 <= self.leak <= MAX_LEAK / LEAK_ONE):
            raise NetworkError(
                f"{what}: leak must be a number within 0..{MAX_LEAK // LEAK_ONE}, not {self.leak!r}"
            )
        self._set(leak=int(self.leak) if integer else float(self.leak))

    @property
    def steps(self) -> int:
        """Steps of the output: T time-steps of S sub-steps each."""
        return self.omega.shape[0] * self.substeps

    @property
    def leaks(self) -> bool:
        """Whether the leak does anything (λ != 1)."""
        return self.leak != (LEAK_ONE if self.threshold.dtype.kind == "i" else 1.0)

    def unrolled_omega(self) -> np.ndarray:
        """Ω with one row a sub-step: [T·S, T_in]; rows that inject nothing are zero."""
        rows = np.ones(self.substeps, self.omega.dtype)
        if self.injection == "block-start":
            rows[1:] = 0
        return np.kron(self.omega, rows[:, None])


@dataclass(frozen=True, eq=False, kw_only=True)
class _Pool(_Record):
    name: str
    source: str
    kernel: Pair
    stride: Pair
    padding: Pair = (0, 0)

    def __post_init__(self) -> None:
        what = f"layer {_name(self.name)!r}"
        self._set(
            kernel=_pair(f"{what}: kernel", self.kernel, 1),
            stride=_pair(f"{what}: stride", self.stride, 1),
            padding=_pair(f"{what}: padding", self.padding, 0),
        )
        if any(2 * p > k for p, k in zip(self.padding, self.kernel, strict=True)):
            raise NetworkError(
                f"{what}: padding {self.padding} must be at most half the kernel {self.kernel}"
            )

    def output_shape(self, shape: Shape) -> Shape:
        """Shape (C, H_out, W_out) for an input of `shape` (C, H, W); NetworkError where they do not fit."""
        return (
            shape[0],
            *_window_shape(
                f"layer {self.name!r}", shape, self.kernel, self.stride, self.padding, (1, 1)
            ),
        )


class SumPool(_Pool):
    """Sum of k over windows of (C, H, W); an average pooling whose divisor is part of the next weights."""


class MaxPool(_Pool):
    """Maximum of k over windows of (C, H, W); what is padded never wins."""


@dataclass(frozen=True, eq=False, kw_only=True)
class Flatten(_Record):
    """(C, H, W) -> (C·H·W,), in that order."""

    name: str
    source: str

    def __post_init__(self) -> None:
        _name(self.name)

    def output_shape(self, shape: Shape) -> Shape:
        return (int(np.prod(shape)),)


@dataclass(frozen=True, eq=False, kw_only=True)
class Readout(_Record):
    """`logits = Σ_j (Σ_synapses W ∗ k[j] + bias)` over every step j; `scale` is the real value of one unit."""

    name: str
    synapses: tuple[Synapse, ...]
    bias: np.ndarray
    scale: float = 1.0

    def __post_init__(self) -> None:
        what = f"read-out {_name(self.name)!r}"
        self._set(
            synapses=tuple(self.synapses),
            bias=_array(f"{what}: bias", self.bias, 1, np.int32),
            scale=float(self.scale),
        )
        if not self.synapses:
            raise NetworkError(f"{what} has no synapse")
        if not (np.isfinite(self.scale) and self.scale > 0):
            raise NetworkError(f"{what}: scale must be positive and finite, not {self.scale!r}")


Layer: TypeAlias = Input | Neurons | SumPool | MaxPool | Flatten | Readout


@dataclass(frozen=True)
class Bounds:
    """Largest magnitudes that any input within range can cause in a layer; each is proved to fit 32 bits."""

    current: int
    """of a current X[j], every partial sum included"""
    drive: int
    """of a mixed current I[t], every partial sum included (0 for the read-out)"""
    potential: int
    """of a potential v before it fires (0 for the read-out)"""


# ------------------------------------------------------------------------------------------------ network


@dataclass(frozen=True, eq=False)
class Network(_Record):
    """Layers in topological order, checked when built; NetworkError names the layer that does not fit.

    Derived, by layer name: `shapes` (without batch and steps), `steps` (of the output, sub-steps included), `substeps`
    (S of the spikes that a layer puts out), `ranges` (least and largest k of a step) and, for integer networks,
    `bounds`. `metadata` is provenance: text by key, stored and exported with the network.
    """

    layers: tuple[Layer, ...]
    metadata: Mapping[str, str] = field(default_factory=dict)
    shapes: dict[str, Shape] = field(init=False, repr=False, default_factory=dict)
    steps: dict[str, int] = field(init=False, repr=False, default_factory=dict)
    substeps: dict[str, int] = field(init=False, repr=False, default_factory=dict)
    ranges: dict[str, Pair] = field(init=False, repr=False, default_factory=dict)
    bounds: dict[str, Bounds] = field(init=False, repr=False, default_factory=dict)

    def __post_init__(self) -> None:
        self._set(layers=tuple(self.layers), metadata=dict(self.metadata))
        if (
            len(self.layers) < 2
            or not isinstance(self.layers[0], Input)
            or not isinstance(self.layers[-1], Readout)
        ):
            raise NetworkError("a network starts with its Input and ends with its Readout")
        for index, layer in enumerate(self.layers):
            if layer.name in self.shapes:
                raise NetworkError(f"two layers are named {layer.name!r}")
            if isinstance(layer, Input | Readout) and index not in (0, len(self.layers) - 1):
                raise NetworkError(
                    f"layer {layer.name!r}: only the first layer is an Input and only the last a Readout"
                )
            self._derive(layer)
        unused = (
            set(self.shapes)
            - {source for layer in self.layers for source in sources(layer)}
            - {self.readout.name}
        )
        if unused:
            raise NetworkError(f"nothing reads layer {sorted(unused)[0]!r}")

    # -- parts

    @property
    def input(self) -> Input:
        return self.layers[0]  # type: ignore[return-value]

    @property
    def readout(self) -> Readout:
        return self.layers[-1]  # type: ignore[return-value]

    @cached_property
    def neurons(self) -> tuple[Neurons, ...]:
        return tuple(layer for layer in self.layers if isinstance(layer, Neurons))

    @cached_property
    def pixels(self) -> frozenset[str]:
        """Layers that put out pixels, not spikes: an image input, and what pools or flattens it."""
        found = {self.input.name} if self.input.kind == "image" else set()
        for layer in self.layers:
            if isinstance(layer, SumPool | MaxPool | Flatten) and layer.source in found:
                found.add(layer.name)
        return frozenset(found)

    @property
    def classes(self) -> int:
        return self.shapes[self.readout.name][0]

    @property
    def integer(self) -> bool:
        """True for a network of integers only, False for a float one (a mixture is refused)."""
        return self.readout.bias.dtype.kind == "i"

    @property
    def window_shape(self) -> Shape:
        """Shape of one window: (T_in, C, H, W) or (T_in, N)."""
        return (self.input.steps, *self.input.shape)

    def __getitem__(self, name: str) -> Layer:
        for layer in self.layers:
            if layer.name == name:
                return layer
        raise NetworkError(
            f"no layer is named {name!r}; there are {', '.join(layer.name for layer in self.layers)}"
        )

    # -- derivation, layer by layer

    def _derive(self, layer: Layer) -> None:
        for source in sources(layer):
            if source not in self.shapes:
                raise NetworkError(
                    f"layer {layer.name!r} reads {source!r}, which is not a layer before it"
                )
        match layer:
            case Input():
                derived = (layer.shape, layer.steps, 1, (layer.min_value, layer.max_value))
            case Neurons() | Readout():
                derived = self._derive_synaptic(layer)
            case _:
                shape = layer.output_shape(self.shapes[layer.source])
                low, high = self.ranges[layer.source]
                area = layer.kernel[0] * layer.kernel[1] if isinstance(layer, SumPool) else 1
                if isinstance(layer, SumPool) and layer.padding != (0, 0):
                    low, high = min(low, 0), max(high, 0)
                derived = (
                    shape,
                    self.steps[layer.source],
                    self.substeps[layer.source],
                    (low * area, high * area),
                )
        name = layer.name
        self.shapes[name], self.steps[name], self.substeps[name], self.ranges[name] = derived

    def _derive_synaptic(self, layer: Neurons | Readout) -> tuple[Shape, int, int, Pair]:
        what = f"layer {layer.name!r}"
        shapes = {synapse.output_shape(self.shapes[synapse.source]) for synapse in layer.synapses}
        blocks = {self.blocks(synapse.source) for synapse in layer.synapses}
        if len(shapes) > 1 or len(blocks) > 1:
            differ = (
                f"shapes {sorted(shapes)}"
                if len(shapes) > 1
                else f"numbers of steps {sorted(blocks)}"
            )
            raise NetworkError(f"{what}: synapses that are summed give different {differ}")
        shape, steps = shapes.pop(), blocks.pop()
        self._check_arrays(layer, shape, steps)
        if layer.bias.dtype.kind == "i":
            self.bounds[layer.name] = self.prove(layer)
        if isinstance(layer, Readout):
            return shape, 1, 1, (0, 0)
        return shape, layer.steps, layer.substeps, (0, layer.levels)

    def _check_arrays(self, layer: Neurons | Readout, shape: Shape, steps: int) -> None:
        what = f"layer {layer.name!r}"
        arrays = {"bias": layer.bias}
        if isinstance(layer, Neurons):
            arrays |= {"threshold": layer.threshold, "initial potential": layer.v0}
            if layer.omega.shape[1] != steps:
                raise NetworkError(
                    f"{what}: T-GIM of shape {layer.omega.shape} meets {steps} input steps; it needs {steps} columns"
                )
        elif len(shape) != 1:
            raise NetworkError(
                f"{what}: a read-out is flat, not of shape {shape}; put a Flatten before it"
            )
        for name, array in arrays.items():
            if array.shape != (shape[0],):
                raise NetworkError(
                    f"{what}: {name} has {array.shape[0]} entries for {shape[0]} channels"
                )
        kinds = {a.dtype.kind for a in [*arrays.values(), *(s.weight for s in layer.synapses)]} | (
            {layer.omega.dtype.kind} if isinstance(layer, Neurons) else set()
        )
        if self.layers[-1].bias.dtype.kind not in kinds or len(kinds) > 1:  # type: ignore[union-attr]
            raise NetworkError(f"{what} mixes integers and floats; a network is of one kind")

    def blocks(self, name: str) -> int:
        """Time-steps that a synapse from layer `name` sees: sub-steps of a block are summed first."""
        return self.steps[name] // self.substeps[name]

    # -- the proof that 32 bits suffice

    def prove(self, layer: Neurons | Readout) -> Bounds:
        """Bounds of an integer `layer`, reading layers of this network, over every input within range.

        Raises NetworkError where one exceeds 32 bits.
        """
        low, high, current = self.current_range(layer)
        self._fits(layer, "a synaptic current", current.max())
        if isinstance(layer, Readout):
            return Bounds(int(current.max()), 0, 0)
        omega = layer.unrolled_omega().astype(np.int64)
        drive = np.abs(omega).sum(1).max() * current
        self._fits(layer, "a mixed current", drive.max())
        positive, negative = np.maximum(omega, 0).sum(1), np.minimum(omega, 0).sum(1)
        potential = self._potential_bound(
            layer,
            [
                (p * low + n * high, p * high + n * low)
                for p, n in zip(positive, negative, strict=True)
            ],
        )
        return Bounds(int(current.max()), int(drive.max()), potential)

    def current_range(self, layer: Neurons | Readout) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Least and largest current X[j], and the largest magnitude of any partial sum; int64 [C] each."""
        bias = layer.bias.astype(np.int64)
        low, high, magnitude = bias.copy(), bias.copy(), np.abs(bias)
        for synapse in layer.synapses:
            least, largest = (
                substep * self.substeps[synapse.source] for substep in self.ranges[synapse.source]
            )
            least, largest = min(least, 0), max(largest, 0)
            weight = (
                synapse.weight.astype(np.int64).reshape(len(synapse.weight), -1) << synapse.exponent
            )
            positive, negative = np.maximum(weight, 0).sum(1), np.minimum(weight, 0).sum(1)
            low += positive * least + negative * largest
            high += positive * largest + negative * least
            magnitude += (positive - negative) * max(largest, -least)
        return low, high, magnitude

    def _potential_bound(self, layer: Neurons, drives: list[tuple[np.ndarray, np.ndarray]]) -> int:
        """Largest |v| before firing, by interval arithmetic over the sub-steps."""
        theta = layer.threshold.astype(np.int64)
        low = high = layer.v0.astype(np.int64)
        bound = 0
        for step, (least, largest) in enumerate(drives):
            if layer.leaks and step % layer.substeps == 0:
                low, high = leak_integer(low, int(layer.leak)), leak_integer(high, int(layer.leak))
                bound = max(bound, int(np.maximum(-low, high).max()))
            low, high = low + least, high + largest
            bound = max(bound, int(np.maximum(-low, high).max()))
            self._fits(layer, "a potential", bound)
            low = np.minimum(low, 0)
            high = np.maximum(np.minimum(high, theta - 1), high - layer.levels * theta)
        return bound

    @staticmethod
    def _fits(layer: Layer, what: str, value: int) -> None:
        if value > INT32_MAX:
            raise NetworkError(
                f"layer {layer.name!r}: {what} can reach {int(value)}, beyond 32 bits ({INT32_MAX})"
            )


def sources(layer: Layer) -> tuple[str, ...]:
    """Names of the layers that `layer` reads."""
    match layer:
        case Input():
            return ()
        case Neurons() | Readout():
            return tuple(synapse.source for synapse in layer.synapses)
        case _:
            return (layer.source,)


def leak_integer(v: np.ndarray, leak: int) -> np.ndarray:
    """`trunc(v·λq / 4096)`, towards zero; int64 in, int64 out."""
    product = v * leak
    return np.sign(product) * (np.abs(product) // LEAK_ONE)
