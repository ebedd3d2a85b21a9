"""One run on several processes: each trains its share of every batch, and all hold the same weights.

The processes come from `torchrun`; whoever starts them joins them by `torch.distributed.init_process_group`. Where there
is none, everything here is of one process and costs nothing.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch import distributed as dist


def rank() -> int:
    """Number of this process, 0 for the one that writes files and reports."""
    return dist.get_rank() if dist.is_initialized() else 0


def world() -> int:
    """Number of processes."""
    return dist.get_world_size() if dist.is_initialized() else 1


def total(values: Tensor) -> Tensor:
    """`values` summed over all processes."""
    if world() > 1:
        dist.all_reduce(values)
    return values


def wait() -> None:
    """Go on when every process has come here."""
    if world() > 1:
        dist.barrier()


def synchronised(model: nn.Module, device: torch.device) -> nn.Module:
    """`model` whose batch norms take their statistics over the windows of all processes, so that a share of a batch learns as the whole."""
    if world() == 1:
        return model
    if device.type == "cuda":
        return nn.SyncBatchNorm.convert_sync_batchnorm(model)  # type: ignore[no-any-return]
    for module in model.modules():
        if type(module) is nn.BatchNorm2d:
            module.__class__ = GatheredBatchNorm2d  # parameters, buffers and their names stay
    return model


def shared(model: nn.Module, device: torch.device) -> nn.Module:
    """`model` with gradients that are means over all processes."""
    if world() == 1:
        return model
    return nn.parallel.DistributedDataParallel(
        model, device_ids=[device] if device.type == "cuda" else None
    )


class GatheredBatchNorm2d(nn.BatchNorm2d):
    """`nn.BatchNorm2d` over the batches of all processes, of one size each: what nn.SyncBatchNorm does, which knows accelerators only."""

    def forward(self, x: Tensor) -> Tensor:
        if not self.training:
            return super().forward(x)
        dims, number = (0, 2, 3), x.numel() // x.shape[1] * world()
        wide = x.to(
            torch.promote_types(x.dtype, torch.float32)
        )  # statistics are not rounded to what convolutions give under autocast
        mean: Tensor = _Total.apply(wide.sum(dims)) / number  # type: ignore[no-untyped-call]
        centred = wide - mean[:, None, None]
        variance: Tensor = _Total.apply(centred.square().sum(dims)) / number  # type: ignore[no-untyped-call]
        self._track(mean.detach(), variance.detach() * number / (number - 1))
        scale = self.weight * torch.rsqrt(variance + self.eps)
        return (centred * scale[:, None, None] + self.bias[:, None, None]).to(x.dtype)

    @torch.no_grad()
    def _track(self, mean: Tensor, variance: Tensor) -> None:
        assert (
            self.running_mean is not None
            and self.running_var is not None
            and self.num_batches_tracked is not None
        )
        assert self.momentum is not None
        self.running_mean.lerp_(mean, self.momentum)
        self.running_var.lerp_(variance, self.momentum)
        self.num_batches_tracked.add_(1)


class _Total(torch.autograd.Function):
    """The sum over all processes; its gradient is the sum of theirs."""

    @staticmethod
    def forward(ctx: Any, values: Tensor) -> Tensor:  # type: ignore[override]
        return total(values.clone())

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:  # type: ignore[override]
        return total(grad.clone())
