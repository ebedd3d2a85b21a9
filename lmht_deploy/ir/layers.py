"""Layers of a network: its input, its neurons, what reshapes spike counts, and its read-out."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from typing import Literal, TypeAlias, get_args

import numpy as np

from lmht_deploy.errors import NetworkError, show

from . import _checks as checks
from ._geometry import output_size
from .records import Pair, Record, Shape
from .synapses import Synapse

LEAK_ONE = 4096
"""Integer leak λq that stands for λ = 1."""
MAX_LEAK = 4 * LEAK_ONE
"""Largest integer leak λq."""
MAX_OMEGA = 2**16
"""Largest magnitude of an entry of the integer T-GIM Ωq."""
MAX_INPUT = 2**15
"""Largest magnitude of an input value."""
MAX_STEPS = 2**16
"""Largest number of output steps of neurons, sub-steps included."""

MAX_ENTRIES = 2**24
"""Largest number of entries of a T-GIM, with one row per sub-step, and of input steps."""

InputKind: TypeAlias = Literal["events", "image"]
"""What the integers of an input are: counts of events, or pixels."""
Injection: TypeAlias = Literal["block-start", "uniform"]
"""Where the current I[t] enters the sub-steps of its time-step: at the first, or at all of them."""
Reset: TypeAlias = Literal["subtract", "subtract-late", "zero"]
"""What k spikes do to the potential: subtract k·θ, subtract it at the next step, or set it to 0."""


@dataclass(frozen=True, eq=False, kw_only=True)
class Input(Record):
    """Input of the network: integers k[j], j = 1..T_in.

    Attributes:
        name: Name of the layer.
        shape: (C, H, W) or (N,).
        steps: T_in, number of input steps per window.
        min_value: Smallest integer that may enter.
        max_value: Largest integer that may enter.
        kind: `"events"` for counts of events per pixel and step (`min_value` >= 0), whose synaptic
            operations are counted; `"image"` for pixels of any sign, whose multiply-accumulates
            are counted instead.
    """

    name: str
    shape: Shape
    steps: int
    min_value: int = 0
    max_value: int = 255
    kind: InputKind = "events"

    def __post_init__(self) -> None:
        what = f"input {checks.name(self.name)!r}"
        self._set(
            shape=_input_shape(what, self.shape),
            steps=checks.integer(f"{what}: number of steps", self.steps, 1, MAX_ENTRIES),
            min_value=checks.integer(f"{what}: min_value", self.min_value, -MAX_INPUT, MAX_INPUT),
            max_value=checks.integer(f"{what}: max_value", self.max_value, -MAX_INPUT, MAX_INPUT),
        )
        checks.choice(f"{what}: kind", self.kind, get_args(InputKind))
        if self.min_value > self.max_value:
            raise NetworkError(
                f"{what}: range {self.min_value}..{self.max_value} must be ordered, "
                f"min_value <= max_value"
            )
        if self.kind == "events" and self.min_value < 0:
            raise NetworkError(
                f"{what}: kind must be 'events' (counts >= 0) or 'image', not {self.kind!r} with "
                f"min_value {self.min_value}"
            )


def _input_shape(what: str, shape: object) -> Shape:
    if not isinstance(shape, tuple | list) or len(shape) not in (1, 3):
        raise NetworkError(f"{what}: shape must be (C, H, W) or (N,), not {show(shape)}")
    return tuple(checks.integer(f"{what}: each size of the shape", size, 1) for size in shape)


@dataclass(frozen=True, eq=False, kw_only=True)
class Neurons(Record):
    """LM-HT neurons (Hao et al. 2024, with a rectangular T-GIM). For t = 1..T:

        X[j] = Σ_synapses W ∗ k[j] + b             j = 1..T_in
        I[t] = Σ_j Ω[t, j] · X[j]
        v    = λ·v + I[t]                          v starts at v0
        v    = max(v, floor)                       only with a floor
        k[t] = clip(floor(v / θ), 0, L)
        v    = v - k[t]·θ                          reset "subtract"
        v    = 0 where k[t] > 0                    reset "zero"

    With the reset "subtract-late", the leak acts on the whole potential, and k[t]·θ is subtracted
    at the next step:

        v    = λ·v - clip(floor(v / θ), 0, L)·θ + I[t]

    In an integer network the product with λ is `trunc(v·λq / 4096)`, truncated toward zero.

    The reparameterized form has S > 1 sub-steps per time-step and L = 1: at every sub-step the
    neuron fires at most one spike. The leak acts once per time-step.

    Attributes:
        name: Name of the layer.
        synapses: Synapses whose currents are summed.
        bias: b, int32 or float64 `[C]`.
        threshold: θ > 0, int32 or float64 `[C]`.
        omega: T-GIM Ω, int32 (magnitude up to 2^16) or float64 `[T, T_in]`.
        leak: λ within 0..4, a float; in an integer network λq within 0..16384, an integer in units
            of 1/4096.
        v0: Initial potential, int32 or float64 `[C]`.
        levels: L, largest spike count k per step.
        substeps: S, number of sub-steps per time-step.
        injection: `"block-start"` if I[t] enters at the first sub-step; `"uniform"` if it enters
            at every sub-step, where θ, v0 and the floor are S times larger (the paper's I[t]/L in
            integers).
        reset: What spikes do to the potential: `"subtract"`, `"subtract-late"` or `"zero"`. Only
            `"subtract"` is possible with sub-steps.
        floor: Lower bound of the potential, int32 or float64 `[C]`, at most 0; None for none.
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
    injection: Injection = "block-start"
    reset: Reset = "subtract"
    floor: np.ndarray | None = None

    def __post_init__(self) -> None:
        what = f"layer {checks.name(self.name)!r}"
        self._set(
            synapses=_synapses(what, self.synapses),
            bias=checks.array(f"{what}: bias", self.bias, 1, np.int32),
            threshold=checks.array(f"{what}: threshold", self.threshold, 1, np.int32),
            omega=checks.array(f"{what}: T-GIM", self.omega, 2, np.int32),
            v0=checks.array(f"{what}: initial potential", self.v0, 1, np.int32),
            levels=checks.integer(f"{what}: number of levels", self.levels, 1),
            substeps=checks.integer(f"{what}: number of sub-steps", self.substeps, 1, MAX_STEPS),
        )
        checks.choice(f"{what}: injection", self.injection, get_args(Injection))
        checks.choice(f"{what}: reset", self.reset, get_args(Reset))
        if self.floor is not None:
            self._set(floor=checks.array(f"{what}: floor", self.floor, 1, np.int32))
        self._set(leak=self._checked_leak(what))
        self._check_values(what)

    @property
    def integer(self) -> bool:
        """Whether the neurons compute with integers."""
        return self.threshold.dtype.kind == "i"

    @property
    def steps(self) -> int:
        """Number of output steps: T time-steps of S sub-steps each."""
        return len(self.omega) * self.substeps

    @property
    def leaks(self) -> bool:
        """Whether the leak has an effect (λ != 1)."""
        return self.leak != (LEAK_ONE if self.integer else 1.0)

    @property
    def plain_reset(self) -> bool:
        """Whether k·θ is subtracted at once and the potential has no floor."""
        return self.reset == "subtract" and self.floor is None

    @property
    def stepwise(self) -> bool:
        """Whether a time-step needs its own input step alone: Ω is a multiple of the identity."""
        steps, steps_in = self.omega.shape
        alike = self.omega[0, 0] * np.eye(steps, dtype=self.omega.dtype)
        return steps == steps_in and bool(np.array_equal(self.omega, alike))

    def unrolled_omega(self) -> np.ndarray:
        """Return Ω with one row per sub-step, `[T·S, T_in]`; rows that inject nothing are zero."""
        rows = np.ones(self.substeps, self.omega.dtype)
        if self.injection == "block-start":
            rows[1:] = 0
        return np.kron(self.omega, rows[:, None])

    def _checked_leak(self, what: str) -> float | int:
        if self.integer:
            return checks.integer(f"{what}: integer leak", self.leak, 0, MAX_LEAK)
        return checks.real(f"{what}: leak", self.leak, 0, MAX_LEAK / LEAK_ONE)

    def _check_values(self, what: str) -> None:
        if (self.threshold <= 0).any():
            least = "at least 1" if self.integer else "positive"
            raise NetworkError(f"{what}: every threshold must be {least}")
        if self.floor is not None and (self.floor > 0).any():
            raise NetworkError(f"{what}: every floor must be at most 0")
        if self.reset != "subtract" and self.substeps > 1:
            raise NetworkError(
                f"{what}: the reset must be 'subtract' with {self.substeps} sub-steps per "
                f"time-step, not {self.reset!r}"
            )
        if self.omega.dtype.kind == "i":
            checks.check_range(f"{what}: T-GIM entries", self.omega, -MAX_OMEGA, MAX_OMEGA)
        entries = self.omega.size * self.substeps
        if self.steps > MAX_STEPS or entries > MAX_ENTRIES:
            raise NetworkError(
                f"{what}: {self.steps} output steps, sub-steps included, of "
                f"{self.omega.shape[1]} input steps are too many; at most {MAX_STEPS} steps and "
                f"{MAX_ENTRIES} pairs of steps are possible"
            )


@dataclass(frozen=True, eq=False, kw_only=True)
class _Pool(Record):
    name: str
    source: str
    kernel: Pair
    stride: Pair
    padding: Pair = (0, 0)

    def __post_init__(self) -> None:
        what = f"layer {checks.name(self.name)!r}"
        self._set(
            source=checks.name(self.source, f"{what}: source"),
            kernel=checks.pair(f"{what}: kernel", self.kernel, 1),
            stride=checks.pair(f"{what}: stride", self.stride, 1),
            padding=checks.pair(f"{what}: padding", self.padding, 0),
        )
        if any(2 * p > k for p, k in zip(self.padding, self.kernel, strict=True)):
            raise NetworkError(
                f"{what}: padding {self.padding} must be at most half the kernel {self.kernel}"
            )

    def output_shape(self, shape: Shape) -> Shape:
        """Return (C, H_out, W_out) for an input of `shape` (C, H, W).

        Raises:
            NetworkError: If the layer cannot read an input of `shape`.
        """
        what = f"layer {self.name!r}"
        return shape[0], *output_size(what, shape, self.kernel, self.stride, self.padding)


class SumPool(_Pool):
    """Sum of k over a sliding window; an average pooling whose divisor is in the next weights.

        k'[c, y, x] = Σ_{i,j} k[c, s·y + i - p, s·x + j - p]

    Attributes:
        name: Name of the layer.
        source: Name of the layer that it reads, of shape (C, H, W).
        kernel: Size of the window; one integer or (vertical, horizontal).
        stride: s, one integer or (vertical, horizontal).
        padding: p, number of zeros added on each side, at most half the kernel.
    """


class MaxPool(_Pool):
    """Maximum of k over a sliding window.

        k'[c, y, x] = max_{i,j} k[c, s·y + i - p, s·x + j - p]

    Attributes:
        name: Name of the layer.
        source: Name of the layer that it reads, of shape (C, H, W).
        kernel: Size of the window; one integer or (vertical, horizontal).
        stride: s, one integer or (vertical, horizontal).
        padding: p, number of positions added on each side, at most half the kernel. An added
            position is never the maximum.
    """


@dataclass(frozen=True, eq=False, kw_only=True)
class Flatten(Record):
    """Change of shape from (C, H, W) to (C·H·W,), in that order.

    Attributes:
        name: Name of the layer.
        source: Name of the layer that it reads.
    """

    name: str
    source: str

    def __post_init__(self) -> None:
        what = f"layer {checks.name(self.name)!r}"
        checks.name(self.source, f"{what}: source")

    def output_shape(self, shape: Shape) -> Shape:
        """Return (C·H·W,) for an input of `shape` (C, H, W)."""
        return (prod(shape),)


@dataclass(frozen=True, eq=False, kw_only=True)
class Readout(Record):
    """Last layer, which has no neurons:

        logits = Σ_j (Σ_synapses W ∗ k[j] + b)     over every time-step j

    Attributes:
        name: Name of the layer.
        synapses: Synapses whose currents are summed.
        bias: b, int32 or float64 `[K]`, one entry per class.
        scale: Real value of one unit of a logit, positive.
    """

    name: str
    synapses: tuple[Synapse, ...]
    bias: np.ndarray
    scale: float = 1.0

    def __post_init__(self) -> None:
        what = f"read-out {checks.name(self.name)!r}"
        self._set(
            synapses=_synapses(what, self.synapses),
            bias=checks.array(f"{what}: bias", self.bias, 1, np.int32),
            scale=checks.positive(f"{what}: scale", self.scale),
        )


Layer: TypeAlias = Input | Neurons | SumPool | MaxPool | Flatten | Readout
"""Any layer."""


def _synapses(what: str, synapses: object) -> tuple[Synapse, ...]:
    found = checks.members(f"{what}: synapses", synapses, get_args(Synapse))
    if not found:
        raise NetworkError(f"{what} has no synapse")
    return found


def sources(layer: Layer) -> tuple[str, ...]:
    """Return the names of the layers that `layer` reads."""
    match layer:
        case Input():
            return ()
        case Neurons() | Readout():
            return tuple(synapse.source for synapse in layer.synapses)
        case _:
            return (layer.source,)


def leak_integer(v: np.ndarray, leak: int) -> np.ndarray:
    """Return `trunc(v·λq / 4096)`, truncated toward zero; int64 in, int64 out."""
    product = v * leak
    result: np.ndarray = np.sign(product) * (np.abs(product) // LEAK_ONE)
    return result
