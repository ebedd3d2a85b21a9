"""What lava-dl 0.6 and lava-nc 0.10 make of the weights of a dense layer.

They keep 8 bits and a sign, with a common shift. Some matrices lose weights on the way, without
a message.
"""

from __future__ import annotations

import numpy as np

from .keys import DENSE_WEIGHTS
from .stock import NetXDense

WEIGHT_BITS = 8
"""Bits of a weight, sign not included."""


def effective_weights(layer: NetXDense) -> tuple[np.ndarray, np.ndarray | None]:
    """Return the weights by which Lava multiplies.

    Lava shifts to the left before it truncates, and to the right after it sums. All truncated
    weights are multiples of that power of two, so the right shift may come first.

    Returns:
        Weights int32 [N_out, N_in], and the recurrent weights int32 [N_out, N_out] or None.
    """
    inputs = layer.weight.shape[1]
    joint, bits, exponent = prepare_dense(
        layer.weight if layer.recurrent is None else np.hstack((layer.weight, layer.recurrent))
    )
    kept = [truncate_dense(part, bits) for part in np.split(joint, [inputs], axis=1) if part.size]
    shifted = [
        (part << exponent if exponent > 0 else part >> -exponent).astype(np.int32) for part in kept
    ]
    return shifted[0], shifted[1] if layer.recurrent is not None else None


def dense_bits(weight: np.ndarray) -> int:
    """Return the bits at which Lava wraps the current of graded spikes through dense weights."""
    return 32 - max(0, -prepare_dense(weight)[2])


def prepare_dense(weight: np.ndarray) -> tuple[np.ndarray, int, int]:
    """Scale dense weights as `lava.lib.dl.netx.utils.optimize_weight_bits` does.

    Weights of both signs are clipped to -256..254. Positive weights beyond 255 are shifted away.

    Returns:
        Shifted weights, their number of bits, and the exponent: weight = shifted * 2^exponent.
    """
    low, high = DENSE_WEIGHTS
    if (weight.max() > high and weight.min() < 0) or (weight.min() < low and weight.max() > 0):
        weight = np.clip(weight, low, high)
    smallest, largest = int(weight.min()), int(weight.max())
    mixed = smallest < 0 <= largest
    shift = int(np.floor(np.log2(_scale(smallest, largest)))) + mixed
    bits = WEIGHT_BITS - shift - (_trailing_zeros(weight) - mixed)
    return weight << shift if shift >= 0 else np.zeros_like(weight), bits, -shift


def truncate_dense(weight: np.ndarray, bits: int) -> np.ndarray:
    """Clip weights to 8 bits and a sign, and cut the lowest bits (`lava.utils.weightutils`)."""
    mixed = weight.min() < 0 < weight.max()
    sign = -1 if weight.min() < 0 and not mixed else 1
    cut = max(0, WEIGHT_BITS - bits + mixed)
    kept = np.clip(sign * weight, -256 if mixed else 0, 255)
    truncated: np.ndarray = sign * ((kept >> cut) << cut)
    return truncated


def _scale(smallest: int, largest: int) -> float:
    """Largest factor that keeps every weight within 8 bits."""
    if smallest < 0 <= largest:
        return min(127 / largest if largest else np.inf, -128 / smallest)
    return -256 / smallest if largest < 0 else 255 / largest


def _trailing_zeros(weight: np.ndarray) -> int:
    """Low bits, up to 8, that no weight needs."""
    low_bits = int(np.bitwise_or.reduce(weight, axis=None)) & 255
    return (low_bits & -low_bits).bit_length() - 1 if low_bits else WEIGHT_BITS
