"""The proof that 32 bits suffice: what any input within range can cause in an integer layer.

Bounds of currents are computed with Python integers, which cannot wrap. Once they are proved to
fit 32 bits, int64 holds everything that the bounds of potentials are computed from.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from lmht_deploy.errors import NetworkError

from ._checks import INT32_MAX
from .layers import Neurons, Readout, leak_integer
from .records import Pair
from .synapses import Synapse


@dataclass(frozen=True)
class Bounds:
    """Largest magnitudes that any input within range can cause in a layer; each fits 32 bits.

    Attributes:
        current: Of a current X[j], every partial sum included.
        drive: Of a mixed current I[t], every partial sum included; 0 for the read-out.
        potential: Of a potential v before it fires; 0 for the read-out.
    """

    current: int
    drive: int
    potential: int


def prove(layer: Neurons | Readout, ranges: Mapping[str, Pair]) -> Bounds:
    """Return the bounds of an integer `layer`.

    Args:
        layer: Layer with integer arrays.
        ranges: Smallest and largest spike count per time-step, by name of the layers that it reads.

    Raises:
        NetworkError: If a bound exceeds 32 bits.
    """
    low, high, magnitude = current_range(layer, ranges)
    current = _fits(layer, "a synaptic current", magnitude.max())
    if isinstance(layer, Readout):
        return Bounds(current, 0, 0)
    mixed = int(np.abs(layer.omega.astype(np.int64)).sum(1).max())
    drive = _fits(layer, "a mixed current", mixed * current)
    return Bounds(current, drive, _potential(layer, low.astype(np.int64), high.astype(np.int64)))


def current_range(
    layer: Neurons | Readout, ranges: Mapping[str, Pair]
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the smallest and the largest current X[j] and the largest magnitude of a partial sum.

    Shape:
        Three arrays `[C]` of Python integers.
    """
    low = high = layer.bias.astype(object)
    magnitude = np.abs(low)
    for synapse in layer.synapses:
        least, largest = min(ranges[synapse.source][0], 0), max(ranges[synapse.source][1], 0)
        positive, negative = _weight_sums(synapse)
        low = low + positive * least + negative * largest
        high = high + positive * largest + negative * least
        magnitude = magnitude + (positive - negative) * max(largest, -least)
    return low, high, magnitude


def _weight_sums(synapse: Synapse) -> tuple[np.ndarray, np.ndarray]:
    """Return the sums of the positive and of the negative weights, Python integers `[C]`."""
    weight = synapse.weight.reshape(len(synapse.weight), -1).astype(np.int64) << synapse.exponent
    positive, negative = np.maximum(weight, 0).sum(1), np.minimum(weight, 0).sum(1)
    return positive.astype(object), negative.astype(object)


def _potential(layer: Neurons, low: np.ndarray, high: np.ndarray) -> int:
    """Return the largest |v| before firing for currents within `low`..`high`, int64 `[C]`.

    The interval of v is followed through all sub-steps (interval arithmetic).
    """
    least = largest = layer.v0.astype(np.int64)
    bound = 0
    for step, row in enumerate(layer.unrolled_omega().astype(np.int64)):
        if layer.leaks and step % layer.substeps == 0:
            bound = max(bound, _magnitude(*(_leaked(layer, v) for v in (least, largest))))
        least, largest = _kept(layer, least, largest, step)
        positive, negative = np.maximum(row, 0).sum(), np.minimum(row, 0).sum()
        least = least + positive * low + negative * high
        largest = largest + positive * high + negative * low
        bound = _fits(layer, "a potential", max(bound, _magnitude(least, largest)))
        if layer.floor is not None:
            least, largest = (np.maximum(v, layer.floor) for v in (least, largest))
        least, largest = _reset(layer, least, largest)
    return bound


def _leaked(layer: Neurons, v: np.ndarray) -> np.ndarray:
    return leak_integer(v, int(layer.leak)) if layer.leaks else v


def _kept(
    layer: Neurons, least: np.ndarray, largest: np.ndarray, step: int
) -> tuple[np.ndarray, np.ndarray]:
    """Return the interval of what is kept of potentials within `least`..`largest`, before I[t].

    With the reset "subtract-late", λ·v - k·θ rises with v as long as k stays the same, and at equal
    distance from k·θ it is linear in k. So its extremes are at the ends of the interval, and at the
    ends of the pieces of equal k that are next to them.
    """
    if step % layer.substeps:
        return least, largest
    if layer.reset != "subtract-late":
        return _leaked(layer, least), _leaked(layer, largest)
    theta = layer.threshold.astype(np.int64)
    first, last = (np.clip(v // theta, 0, layer.levels) for v in (least, largest))
    lows = [least, *(np.where(last > first, k * theta, least) for k in (first + 1, last))]
    highs = [largest, *(np.where(last > first, k * theta - 1, largest) for k in (first + 1, last))]
    return (
        np.min([_late(layer, v) for v in lows], axis=0),
        np.max([_late(layer, v) for v in highs], axis=0),
    )


def _late(layer: Neurons, v: np.ndarray) -> np.ndarray:
    theta = layer.threshold.astype(np.int64)
    spikes: np.ndarray = np.clip(v // theta, 0, layer.levels)
    kept: np.ndarray = _leaked(layer, v) - spikes * theta
    return kept


def _reset(layer: Neurons, least: np.ndarray, largest: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the interval of potentials within `least`..`largest` after their spikes."""
    theta = layer.threshold.astype(np.int64)
    match layer.reset:
        case "subtract-late":
            return least, largest
        case "zero":
            return np.minimum(least, 0), np.clip(largest, 0, theta - 1)
    most = np.maximum(np.minimum(largest, theta - 1), largest - layer.levels * theta)
    return np.minimum(least, 0), most


def _magnitude(low: np.ndarray, high: np.ndarray) -> int:
    return int(np.maximum(-low, high).max())


def _fits(layer: Neurons | Readout, what: str, value: int) -> int:
    if value > INT32_MAX:
        raise NetworkError(
            f"layer {layer.name!r}: {what} can reach {value}, beyond 32 bits ({INT32_MAX})"
        )
    return int(value)
