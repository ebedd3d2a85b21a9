"""Gradients of a network's margin by its input, with the surrogate gradient of training."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from lmht_deploy.backends.torch import after_spikes, forward, integrate, per_channel
from lmht_deploy.ir import LEAK_ONE, Network, Neurons

STEPS = 32
"""Points between an empty window and the window at which integrated gradients are taken."""


def attribute(
    net: Network, window: np.ndarray, answer: int, other: int | None, *, integrated: bool
) -> np.ndarray:
    """Return input times gradient of the margin between two classes.

    The network is the integer network itself. Only its spikes have no gradient; they get that of
    training: ∂(k·θ)/∂v is 1 where 0.5·θ <= v <= (L + 0.5)·θ, otherwise 0, and the previous
    potential and the reset are constant (see `lmht_deploy.training.neurons.lmht`).

    Args:
        net: An integer network for which `has_gradient` holds.
        window: Integers `[T_in, C, H, W]`.
        answer: Class whose logit counts.
        other: Class whose logit is subtracted; None for none.
        integrated: Whether the gradient is the mean of those along the line from an empty window
            (Sundararajan et al. 2017), or that of the window alone.

    Returns:
        float64 `[T_in, C, H, W]`, in units of a logit.
    """
    points = (np.arange(STEPS) + 0.5) / STEPS if integrated else np.ones(1)
    total = sum(_gradient(net, window * point, answer, other) for point in points)
    attribution: np.ndarray = window * total / len(points)
    return attribution


def _gradient(net: Network, window: np.ndarray, answer: int, other: int | None) -> np.ndarray:
    inputs = torch.from_numpy(window[None].astype(np.float64)).requires_grad_()
    logits = forward(net, inputs, fire)[net.readout.name][0]
    margin = logits[answer] if other is None else logits[answer] - logits[other]
    (gradient,) = torch.autograd.grad(margin, inputs)
    found: np.ndarray = gradient[0].numpy()
    return found


def fire(layer: Neurons, current: torch.Tensor) -> torch.Tensor:
    """Return the spikes of integer neurons under the currents X, with the surrogate gradient.

    The spikes of the S sub-steps of a time-step come as one graded spike of up to L·S.

    Shape:
        current: float64 [B, T_in, ...]. Result: float64 [B, T, ...].
    """
    omega = torch.tensor(layer.omega, dtype=torch.float64)
    drive = torch.einsum("tj,bj...->tb...", omega, current)
    theta = per_channel(layer.threshold, drive)
    v = per_channel(layer.v0, drive).expand(drive.shape[1:])
    spikes = []
    for now in drive:
        kept = torch.trunc(v * layer.leak / LEAK_ONE) if layer.leaks else v
        v = integrate(layer, v, kept, now, theta)
        k = _Spikes.apply(v, theta, layer.levels * layer.substeps)  # type: ignore[no-untyped-call]
        v = after_spikes(layer, v, k, theta).detach()
        spikes.append(k)
    return torch.stack(spikes, 1)


class _Spikes(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, v: torch.Tensor, theta: torch.Tensor, levels: int) -> torch.Tensor:
        ctx.save_for_backward(v, theta)
        ctx.levels = levels
        return torch.div(v, theta, rounding_mode="floor").clamp(0, levels)

    @staticmethod
    def backward(ctx: Any, grad: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        v, theta = ctx.saved_tensors
        passed = (v >= 0.5 * theta) & (v <= (ctx.levels + 0.5) * theta)
        return grad * passed / theta, None, None
