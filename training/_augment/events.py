"""Changes of event counts that keep them counts."""

from __future__ import annotations

import torch
from torch import Tensor

from .geometry import boxes_of_area, runs

ODD = 0x9E3779B9
"""Distance of the streams of random numbers of one window."""


def swap_polarity(x: Tensor, chosen: Tensor) -> Tensor:
    """Swap OFF and ON of the `chosen` (bool [B]) of x [B, T·2, H, W]."""
    swapped = torch.unflatten(x, 1, (-1, 2)).flip(2).flatten(1, 2)
    return torch.where(chosen[:, None, None, None], swapped, x)


def drop_time(x: Tensor, draws: Tensor, share: float, steps: int) -> Tensor:
    """Drop the events of some consecutive steps: up to a share of them, but never of all.

    Source: Gu et al., "EventDrop: Data augmentation for event-based learning", 2021.

    Args:
        x: Counts, float [B, steps·C, H, W].
        draws: Uniform numbers, float32 [B, 2].
        share: Largest share of the steps; and at least one step of two or more.
        steps: Number of steps.

    Returns:
        Kept events, float [B, steps·C, H, W].
    """
    most = min(max(int(share * steps), 1), steps - 1)
    dropped = runs(draws[:, 1:], steps, (draws[:, :1] * (most + 1)).long())
    every = dropped.repeat_interleave(x.shape[1] // steps, 1)
    return x.masked_fill(every[:, :, None, None], 0)


def drop_area(x: Tensor, draws: Tensor, share: float) -> Tensor:
    """Drop the events of a random rectangle: up to a share of the area, at all steps.

    Source: Gu et al., "EventDrop: Data augmentation for event-based learning", 2021.

    Args:
        x: Counts, float [B, C, H, W].
        draws: Uniform numbers, float32 [B, 3].
        share: Largest share of the area.

    Returns:
        Kept events, float [B, C, H, W].
    """
    dropped = boxes_of_area(draws[:, 1:], (x.shape[2], x.shape[3]), draws[:, :1] * share)
    return x.masked_fill(dropped[:, None], 0)


# ------------------------------------------------------------------------------ drop single events


def thin(counts: Tensor, draws: Tensor, share: float, max_count: int) -> Tensor:
    """Drop events: each event of a window with the window's probability, uniform in 0..share.

    What is kept of a count is binomial. The count is split into digits of 4 bits, and the binomial
    variables of the digits are added. Each is found in its distribution function, by a random
    number of its own.

    Args:
        counts: Integers 0..max_count, float [B, C, H, W].
        draws: Uniform numbers, float32 [B, 2].
        share: Largest probability.
        max_count: Largest count.

    Returns:
        Kept events, float [B, C, H, W].
    """
    keep, number = 1 - share * draws[:, 0].double(), counts.flatten(1).long()
    pixels = hashed(torch.arange(number.shape[1], device=counts.device))
    stream = hashed((draws[:, 1:] * 2**24).long()) + pixels
    kept = torch.zeros_like(number)
    for shift in range(0, max_count.bit_length(), 4):
        max_digit = min(max_count >> shift, 15)
        kept += _binomial(
            number >> shift & 15, hashed(stream + shift * ODD), keep, shift, max_digit
        )
    return kept.view_as(counts).to(counts.dtype)


def _binomial(digit: Tensor, random: Tensor, keep: Tensor, shift: int, max_digit: int) -> Tensor:
    """Binomial variables of digit · 2^shift trials, for random numbers in 0..2^32-1 (int64)."""
    length = max_digit << shift
    table = _distribution(keep, shift, max_digit).flatten(1)
    found = torch.searchsorted(table, (digit << 32) + random, right=True)
    return found - (digit - 1).clamp(min=0) * length


def _distribution(keep: Tensor, shift: int, max_digit: int) -> Tensor:
    """Distribution functions of Binomial(digit · 2^shift, keep) at 0, 1, …: (F + digit) · 2^32.

    Shape:
        keep: float64 [B]
        output: int64 [B, max_digit, max_digit · 2^shift]; F is 1 from digit · 2^shift on
    """
    digit = torch.arange(1, max_digit + 1, device=keep.device)[:, None]
    k = torch.arange(max_digit << shift, device=keep.device)
    n, keep = digit << shift, keep[:, None, None]
    rest = (n - k).clamp(min=0)
    choose = _log_factorial(n) - _log_factorial(k) - _log_factorial(rest)
    mass = (choose + torch.xlogy(k, keep) + torch.xlogy(rest, 1 - keep)).exp()
    below = torch.where(k < n, mass.cumsum(2).clamp(max=1), 1.0)
    return (below * 2**32).long() + (digit << 32)


def _log_factorial(n: Tensor) -> Tensor:
    return torch.lgamma(n.double() + 1)


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
