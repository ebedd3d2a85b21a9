"""One run on several processes: each trains its share of every batch, all hold the same weights.

`torchrun` starts the processes, and its caller joins them with `torch.distributed`. Without a
process group, everything here concerns one process and costs nothing.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch import distributed as dist


def rank() -> int:
    """Return the number of this process; process 0 writes files."""
    return dist.get_rank() if dist.is_initialized() else 0


def world_size() -> int:
    """Return the number of processes."""
    return dist.get_world_size() if dist.is_initialized() else 1


def all_reduce(values: Tensor) -> Tensor:
    """Sum `values` over all processes, in place."""
    if world_size() > 1:
        dist.all_reduce(values)
    return values


def barrier() -> None:
    """Wait until every process has reached this point."""
    if world_size() > 1:
        dist.barrier()


def synchronize_batch_norm(model: nn.Module, device: torch.device) -> nn.Module:
    """Let the batch norms of `model` use the statistics of all processes.

    So the shares of a batch learn as the whole batch does.
    """
    if world_size() == 1:
        return model
    if device.type == "cuda":
        return nn.SyncBatchNorm.convert_sync_batchnorm(model)  # type: ignore[no-any-return, no-untyped-call]
    for module in model.modules():
        if type(module) is nn.BatchNorm2d:
            module.__class__ = SyncBatchNorm2d  # keeps parameters, buffers and their names
    return model


def distribute(model: nn.Module, device: torch.device) -> nn.Module:
    """Wrap `model` so that gradients are averaged over all processes."""
    if world_size() == 1:
        return model
    return nn.parallel.DistributedDataParallel(
        model, device_ids=[device] if device.type == "cuda" else None
    )


class SyncBatchNorm2d(nn.BatchNorm2d):
    """`nn.BatchNorm2d` over the batches of all processes, which have equal sizes.

    `nn.SyncBatchNorm` does the same but supports accelerators only.
    """

    def forward(self, x: Tensor) -> Tensor:
        """Normalize `x` [B, C, H, W]."""
        if not self.training:
            return super().forward(x)
        dims, number = (0, 2, 3), x.numel() // x.shape[1] * world_size()
        # Statistics are not rounded to the dtype that convolutions give under autocast.
        wide = x.to(torch.promote_types(x.dtype, torch.float32))
        mean: Tensor = _AllReduce.apply(wide.sum(dims)) / number  # type: ignore[no-untyped-call]
        centered = wide - mean[:, None, None]
        squares: Tensor = _AllReduce.apply(centered.square().sum(dims))  # type: ignore[no-untyped-call]
        variance = squares / number
        self._track(mean.detach(), variance.detach() * number / (number - 1))
        scale = self.weight * torch.rsqrt(variance + self.eps)
        return (centered * scale[:, None, None] + self.bias[:, None, None]).to(x.dtype)

    @torch.no_grad()
    def _track(self, mean: Tensor, variance: Tensor) -> None:
        """Update the running statistics."""
        assert self.running_mean is not None and self.running_var is not None
        assert self.num_batches_tracked is not None and self.momentum is not None
        self.running_mean.lerp_(mean, self.momentum)
        self.running_var.lerp_(variance, self.momentum)
        self.num_batches_tracked.add_(1)


class _AllReduce(torch.autograd.Function):
    """Sum over all processes; its gradient is the sum of their gradients."""

    @staticmethod
    def forward(ctx: Any, values: Tensor) -> Tensor:
        return all_reduce(values.clone())

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        return all_reduce(grad.clone())
