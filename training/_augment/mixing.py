"""Mixup and CutMix of whole batches; partners are found among `GROUP` consecutive windows."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from .geometry import boxes_of_area

GROUP = 32
"""Consecutive windows among which partners are found.

The share of every process is a multiple of it.
"""


def partners(draws: Tensor) -> Tensor:
    """Choose one partner per window: a random permutation of each group.

    Args:
        draws: Uniform numbers, float32 [B].

    Returns:
        Indices of the partners, int64 [B].
    """
    number = len(draws)
    # Padding of an incomplete last group sorts behind its windows.
    padded = functional.pad(draws, (0, -number % GROUP), value=2.0).view(-1, GROUP)
    first = torch.arange(0, number, GROUP, device=draws.device)[:, None]
    return (padded.argsort(stable=True, dim=1) + first).flatten()[:number]


def mixup(x: Tensor, shares: Tensor, draws: Tensor, probability: float) -> tuple[Tensor, Tensor]:
    """Blend windows with their partners; the share of the partner is uniform in [0, 1).

    Source: Zhang et al., "mixup: Beyond empirical risk minimization", 2018, with alpha = 1.

    Args:
        x: Windows, float [B, C, H, W].
        shares: Shares of the classes, float [B, K].
        draws: Uniform numbers, float32 [B, 3].
        probability: Probability that a window is mixed.

    Returns:
        Mixed windows and shares.
    """
    decision, amount, order = draws.unbind(1)
    amount, other = amount * (decision < probability), partners(order)
    return (
        torch.lerp(x, x[other], amount[:, None, None, None]),
        torch.lerp(shares, shares[other], amount[:, None]),
    )


def cutmix(x: Tensor, shares: Tensor, draws: Tensor, probability: float) -> tuple[Tensor, Tensor]:
    """Replace a random rectangle of windows by their partners'; its area is uniform in 0..1.

    Source: Yun et al., "CutMix: Regularization strategy to train strong classifiers with
    localizable features", 2019. The rectangle lies inside of the window here.

    Args:
        x: Windows, float [B, C, H, W].
        shares: Shares of the classes, float [B, K].
        draws: Uniform numbers, float32 [B, 5].
        probability: Probability that a window is mixed.

    Returns:
        Mixed windows and shares.
    """
    decision, area, order = torch.split(draws[:, :3], 1, 1)
    area, other = area * (decision < probability), partners(order.flatten())
    inside = boxes_of_area(draws[:, 3:], (x.shape[2], x.shape[3]), area)
    amount = inside.to(shares.dtype).mean((1, 2))
    return (
        torch.where(inside[:, None], x[other], x),
        torch.lerp(shares, shares[other], amount[:, None]),
    )
