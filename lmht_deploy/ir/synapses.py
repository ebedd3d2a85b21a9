"""Synapses: what turns the spike counts k of one layer into the current X of another."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from typing import TypeAlias

import numpy as np

from lmht_deploy.errors import NetworkError

from . import _checks as checks
from ._geometry import output_size, taps
from .records import Pair, Record, Shape

MAX_EXPONENT = 16
"""Largest weight exponent e of a synapse."""


@dataclass(frozen=True, eq=False, kw_only=True)
class Conv(Record):
    """Convolution (cross-correlation, as in PyTorch):

        X[o, y, x] = Σ_{c,i,j} W[o, c, i, j] · k[c, s·y + d·i - p, s·x + d·j - p] · 2^e

    Attributes:
        source: Name of the layer whose spike counts k `[C_in, H, W]` it reads.
        weight: W, int8 or float64 `[C_out, C_in/groups, kh, kw]`.
        stride: s, one integer or (vertical, horizontal).
        padding: p, number of zeros added on each side; one integer or (vertical, horizontal).
        dilation: d, distance between the taps; one integer or (vertical, horizontal).
        groups: Number of groups of channels that are convolved separately.
        exponent: e within 0..16, the weight exponent; 0 in a float network.
    """

    source: str
    weight: np.ndarray
    stride: Pair = (1, 1)
    padding: Pair = (0, 0)
    dilation: Pair = (1, 1)
    groups: int = 1
    exponent: int = 0

    def __post_init__(self) -> None:
        what = _check(self, ndim=4)
        self._set(
            stride=checks.pair(f"{what}: stride", self.stride, 1),
            padding=checks.pair(f"{what}: padding", self.padding, 0),
            dilation=checks.pair(f"{what}: dilation", self.dilation, 1),
            groups=checks.integer(f"{what}: groups", self.groups, 1),
        )
        if self.weight.shape[0] % self.groups:
            raise NetworkError(
                f"{what}: {self.weight.shape[0]} output channels cannot be divided into "
                f"{self.groups} groups"
            )

    @property
    def kernel(self) -> Pair:
        """Size (kh, kw) of the kernel."""
        return self.weight.shape[2], self.weight.shape[3]

    def output_shape(self, shape: Shape) -> Shape:
        """Return (C_out, H_out, W_out) for an input of `shape` (C_in, H, W).

        Raises:
            NetworkError: If the synapse cannot read an input of `shape`.
        """
        what = _title(self)
        h, w = output_size(what, shape, self.kernel, self.stride, self.padding, self.dilation)
        channels = self.weight.shape[1] * self.groups
        if shape[0] != channels:
            raise NetworkError(
                f"{what}: weight {self.weight.shape} with {self.groups} groups expects "
                f"{channels} channels, not {shape[0]}"
            )
        return self.weight.shape[0], h, w

    def fan_out(self, shape: Shape) -> np.ndarray:
        """Count the synapses that one spike at each position crosses; int64 `[1, H, W]`.

        Borders and strides are counted exactly.
        """
        rows, columns = (
            taps(size, out, *axis)
            for size, out, *axis in zip(
                shape[1:],
                self.output_shape(shape)[1:],
                self.kernel,
                self.stride,
                self.padding,
                self.dilation,
                strict=True,
            )
        )
        count: np.ndarray = np.outer(rows, columns)[None] * (self.weight.shape[0] // self.groups)
        return count


@dataclass(frozen=True, eq=False, kw_only=True)
class Linear(Record):
    """Dense synapse from a flat layer:

        X = (W · k) · 2^e

    Attributes:
        source: Name of the layer whose spike counts k `[N_in]` it reads.
        weight: W, int8 or float64 `[N_out, N_in]`.
        exponent: e within 0..16, the weight exponent; 0 in a float network.
    """

    source: str
    weight: np.ndarray
    exponent: int = 0

    def __post_init__(self) -> None:
        _check(self, ndim=2)

    def output_shape(self, shape: Shape) -> Shape:
        """Return (N_out,) for an input of `shape` (N_in,).

        Raises:
            NetworkError: If the synapse cannot read an input of `shape`.
        """
        outputs, inputs = self.weight.shape
        if shape != (inputs,):
            flat = len(shape) == 3 and prod(shape) == inputs
            raise NetworkError(
                f"{_title(self)}: weight {self.weight.shape} expects an input of shape "
                f"({inputs},), not {shape}{'; put a Flatten between' if flat else ''}"
            )
        return (outputs,)

    def fan_out(self, shape: Shape) -> np.ndarray:
        """Count the synapses that one spike crosses; int64 `[1]`."""
        return np.full(1, self.weight.shape[0], np.int64)


@dataclass(frozen=True, eq=False, kw_only=True)
class Scale(Record):
    """Identity shortcut with one weight per channel:

        X[c] = W[c] · k[c] · 2^e

    Attributes:
        source: Name of the layer whose spike counts k `[C, ...]` it reads.
        weight: W, int8 or float64 `[C]`.
        exponent: e within 0..16, the weight exponent; 0 in a float network.
    """

    source: str
    weight: np.ndarray
    exponent: int = 0

    def __post_init__(self) -> None:
        _check(self, ndim=1)

    def output_shape(self, shape: Shape) -> Shape:
        """Return `shape` itself.

        Raises:
            NetworkError: If the number of channels differs from the number of weights.
        """
        if shape[0] != len(self.weight):
            raise NetworkError(
                f"{_title(self)}: {len(self.weight)} weights for {shape[0]} channels"
            )
        return shape

    def fan_out(self, shape: Shape) -> np.ndarray:
        """Count the synapses that one spike crosses: 1; int64 `[1]` or `[1, 1, 1]`."""
        return np.ones((1,) * len(shape), np.int64)


Synapse: TypeAlias = Conv | Linear | Scale
"""Any synapse."""


def _title(synapse: Synapse) -> str:
    return f"{type(synapse).__name__} from {synapse.source!r}"


def _check(synapse: Synapse, *, ndim: int) -> str:
    """Check source, weight and exponent; return the title of the synapse for messages."""
    checks.name(synapse.source, f"{type(synapse).__name__}: source")
    what = _title(synapse)
    synapse._set(
        weight=checks.array(f"{what}: weight", synapse.weight, ndim, np.int8),
        exponent=checks.integer(f"{what}: weight exponent", synapse.exponent, 0, MAX_EXPONENT),
    )
    if synapse.weight.dtype.kind == "f" and synapse.exponent:
        raise NetworkError(f"{what}: float weights have no exponent")
    return what
