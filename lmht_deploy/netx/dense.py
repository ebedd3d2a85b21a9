"""What lava-dl 0.6 and lava-nc 0.10 make of the weights of a dense layer: 8 bits and their sign, a shift, and some gaps."""

from __future__ import annotations

import numpy as np

from .file import Dense


def effective_weights(layer: Dense) -> tuple[np.ndarray, np.ndarray | None]:
    """Weights [N_out, N_in] (and recurrent ones) by which Lava really multiplies, int32.

    Lava shifts left before it cuts and right after it sums; what it keeps is a multiple of that power of two, so that
    the shift may as well come first.
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


def prepare_dense(weight: np.ndarray) -> tuple[np.ndarray, int, int]:
    """Dense weights as lava-dl hands them to Lava: (shifted weights, bits, exponent), weight = shifted · 2^exponent.

    As `lava.lib.dl.netx.utils.optimize_weight_bits` has it, with its gaps: weights of both signs are clipped to
    -256..254, positive ones beyond 255 are shifted away.
    """
    if (weight.max() > 254 and weight.min() < 0) or (weight.min() < -256 and weight.max() > 0):
        weight = np.clip(weight, -256, 254)
    least, largest = int(weight.min()), int(weight.max())
    mixed = least < 0 <= largest
    largest_scale = 127 / largest if mixed and largest else np.inf
    scale = (
        min(largest_scale, -128 / least)
        if mixed
        else -256 / least
        if largest < 0
        else 255 / largest
    )
    shift = int(np.floor(np.log2(scale))) + mixed
    low_bits = int(np.bitwise_or.reduce(weight, axis=None)) & 255
    zeros = (
        8 if not low_bits else (low_bits & -low_bits).bit_length() - 1
    ) - mixed  # low bits that no weight needs
    return weight << shift if shift >= 0 else np.zeros_like(weight), 8 - shift - zeros, -shift


def truncate_dense(weight: np.ndarray, bits: int) -> np.ndarray:
    """Weights as Lava's dense model keeps them: clipped to 8 bits and their sign, the lowest bits cut (`lava.utils.weightutils`)."""
    mixed = weight.min() < 0 < weight.max()
    sign = -1 if weight.min() < 0 and not mixed else 1
    cut = max(0, 8 - bits + mixed)
    kept = np.clip(sign * weight, -256 if mixed else 0, 255)
    return sign * ((kept >> cut) << cut)
