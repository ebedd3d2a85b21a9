"""Changes of event counts that keep them counts."""

from __future__ import annotations

import torch
from torch import Tensor

ODD = 0x9E3779B9
"""Distance of the streams of random numbers of one window."""


def swap_polarity(x: Tensor, chosen: Tensor) -> Tensor:
    """Swap OFF and ON of the `chosen` (bool [B]) of x [B, T·2, H, W]."""
    swapped = torch.unflatten(x, 1, (-1, 2)).flip(2).flatten(1, 2)
    return torch.where(chosen[:, None, None, None], swapped, x)


# ------------------------------------------------------------------------------ drop single events


def thin(counts: Tensor, draws: Tensor, share: float, max_count: int) -> Tensor:
    """Drop events: each event of a window with the window's probability, uniform in 0..share.

    The binomial variable of a count n is the sum of one for every power of two in n. Each is found
    in its distribution function, by a random number of its own.

    Args:
        counts: Integers 0..max_count, float [B, C, H, W].
        draws: Uniform numbers, float32 [B, 2].
        share: Largest probability.
        max_count: Largest count.

    Returns:
        Kept events, float [B, C, H, W].
    """
    keep, bits = 1 - share * draws[:, 0].double(), max_count.bit_length()
    tables = _binomial_tables(keep, bits)
    number, kept = counts.flatten(1).long(), torch.zeros_like(counts.flatten(1))
    pixels = hashed(torch.arange(number.shape[1], device=counts.device))
    stream = hashed((draws[:, 1:] * 2**24).long()) + pixels
    for bit in range(bits):
        found = torch.searchsorted(tables[bit], hashed(stream + bit * ODD), right=True)
        kept += (number >> bit & 1) * found
    return kept.view_as(counts)


def _binomial_tables(keep: Tensor, bits: int) -> Tensor:
    """Distribution functions of Binomial(2^bit, keep) at 0, 1, …, times 2^32.

    Shape:
        keep: float64 [B]
        output: int64 [bits, B, 2^(bits-1)]; entries from 2^bit on are 2^32
    """
    k = torch.arange(2 ** max(bits - 1, 0), device=keep.device, dtype=torch.float64)
    n = 2.0 ** torch.arange(bits, device=keep.device, dtype=torch.float64)[:, None, None]
    rest = (n - k).clamp(min=0)
    choose = torch.lgamma(n + 1) - torch.lgamma(k + 1) - torch.lgamma(rest + 1)
    keep = keep[:, None]
    mass = (choose + torch.xlogy(k, keep) + torch.xlogy(rest, 1 - keep)).exp()
    table = (mass.cumsum(2) * 2**32).long().clamp(max=2**32)
    return torch.where(k < n, table, 2**32)


def hashed(numbers: Tensor) -> Tensor:
    """Map integers (int64) to random ones in 0..2^32-1, the same on every device.

    Source of the constants: Wellons, "Prospecting for hash functions", 2018 (lowbias32).
    """
    mask = 2**32 - 1
    h = numbers & mask
    h = ((h ^ h >> 16) * 0x7FEB352D) & mask
    # The constant minus 2^32, so that no product leaves 64 bits.
    h = ((h ^ h >> 15) * (0x846CA68B - 2**32)) & mask
    return h ^ h >> 16
