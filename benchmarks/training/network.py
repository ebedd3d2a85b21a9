"""The network whose training step is timed, with our neurons or with a plain step loop."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from lmht_deploy.training import ARCHITECTURES, LMHT, build_model
from lmht_deploy.training.architectures import Convolution, Residual

from .timing import Scale

LEVELS, STEPS = 2, 2


class StepLoop(LMHT):
    """LM-HT in its plainest form: PyTorch's operators, step by step, and autograd."""

    def forward(self, x: Tensor) -> Tensor:
        drive = torch.einsum("ts,s...->t...", self.omega, x.unflatten(0, (self.steps_in, -1)))
        v = self.v0.expand(drive.shape[1:])
        out = []
        for now in drive:
            v = self.leak * v.detach() + now
            fired = _Spike.apply(v, self.threshold, self.levels)  # type: ignore[no-untyped-call]
            v = v - fired.detach()
            out.append(fired)
        return torch.stack(out).flatten(0, 1)


class _Spike(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, v: Tensor, threshold: Tensor, levels: int) -> Tensor:  # type: ignore[override]
        ctx.save_for_backward(v, threshold)
        ctx.levels = levels
        return (v / threshold).floor().clamp(0, levels) * threshold

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:  # type: ignore[override]
        v, threshold = ctx.saved_tensors
        return (
            grad * ((v >= 0.5 * threshold) & (v <= (ctx.levels + 0.5) * threshold)).to(grad.dtype),
            None,
            None,
        )


def network(scale: Scale, kind: type[LMHT]) -> tuple[nn.Module, Tensor, Tensor]:
    """Model, a batch of windows [B, 1, 3, 32, 32] and labels, on the device.

    The numbers are the same for every kind of neurons.
    """
    torch.manual_seed(0)
    blocks = (
        ARCHITECTURES["resnet-18"] if scale.device == "cuda" else (Convolution(4), Residual(6, 2))
    )
    size = 32 if scale.device == "cuda" else 8
    model = build_model(
        blocks, (3, size, size), 10, lambda steps_in: kind(LEVELS, STEPS, steps_in), steps_in=1
    )
    windows = torch.randn(scale.batch_size, 1, 3, size, size)
    return (
        model.to(scale.device),
        windows.to(scale.device),
        torch.randint(10, (scale.batch_size,)).to(scale.device),
    )
