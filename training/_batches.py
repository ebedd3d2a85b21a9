"""Batches of training windows: their order, the share of every process, the move to the device."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor

from lmht_deploy.data import Windows, images
from lmht_deploy.errors import TrainingError

from . import _parallel
from ._augment import GROUP
from .recipe import Recipe

MAX_RESIDENT_BYTES = 2**32
"""Training windows up to this size are kept on the accelerator."""

DRAWS = 2**32 - 1
"""Last part of the seeds of the augmentation. Layers that draw have the rank instead."""

Item = TypeVar("Item")


@dataclass(frozen=True)
class Batch:
    """One process's share of a batch.

    Attributes:
        windows: Windows [B, T_in, C, H, W], of the integer dtype of the data.
        labels: Labels, int64 [B].
        draws: Uniform numbers of the augmentation, float32 [B, columns].
    """

    windows: Tensor
    labels: Tensor
    draws: Tensor

    def copy(self) -> Batch:
        """Copy the batch."""
        return Batch(self.windows.clone(), self.labels.clone(), self.draws.clone())

    def fill(self, other: Batch) -> None:
        """Copy the values of `other` into the tensors of this batch."""
        self.windows.copy_(other.windows)
        self.labels.copy_(other.labels)
        self.draws.copy_(other.draws)


class Batches:
    """The training batches of one process.

    Args:
        recipe: The recipe.
        data: Training windows.
        device: Device that the batches are moved to.
        columns: Uniform numbers that the augmentation of one window needs.

    Attributes:
        size: Windows per batch, over all processes.
        per_epoch: Batches per epoch; the last incomplete one is dropped.

    Raises:
        TrainingError: The batches cannot be shared among the processes.
    """

    def __init__(self, recipe: Recipe, data: Windows, device: torch.device, columns: int) -> None:
        self.recipe, self.data, self.device, self.columns = recipe, data, device, columns
        self.size = min(recipe.training.batch_size, len(data.windows))
        self.per_epoch = len(data.windows) // self.size
        self._share = _share(recipe.training.batch_size, len(data.windows))

    def epoch(self, epoch: int) -> Iterator[Batch]:
        """Iterate over the batches of `epoch` (1-based), each made while the one before is used."""
        return prefetched(self._epoch(epoch))

    def _epoch(self, epoch: int) -> Iterator[Batch]:
        seed_of = self.recipe.training.seed_of
        generator = torch.Generator().manual_seed(seed_of(epoch))
        order = torch.randperm(len(self.data.windows), generator=generator).numpy()
        first = _parallel.rank() * self._share
        mine = slice(first, first + self._share)
        for number in range(self.per_epoch):
            chosen = order[number * self.size :][mine]
            yield Batch(
                self._windows(chosen, seed_of(epoch)),
                _moved(self.data.require_labels()[chosen], self.device).long(),
                _moved(self._draws(seed_of(epoch, number, DRAWS))[mine], self.device),
            )

    def _draws(self, seed: int) -> np.ndarray:
        """The uniform numbers of a whole batch, of all processes."""
        generator = torch.Generator().manual_seed(seed)
        return torch.rand(self.size, self.columns, generator=generator).numpy()

    def _windows(self, chosen: np.ndarray, seed: int) -> Tensor:
        """The training windows `chosen`, on the device."""
        windows = self.data.windows
        if isinstance(windows, images.LazyImages):
            crop_scale = self.recipe.augmentation.crop_scale
            return _moved(windows.read(chosen, zoom=crop_scale, seed=seed), self.device)
        if self.device.type == "cpu" or windows.nbytes > MAX_RESIDENT_BYTES:
            return _moved(windows[chosen], self.device)
        return self._resident[_moved(chosen, self.device)]

    @cached_property
    def _resident(self) -> Tensor:
        """All training windows, on the device."""
        return torch.from_numpy(np.ascontiguousarray(self.data.windows)).to(self.device)


def _moved(array: np.ndarray, device: torch.device) -> Tensor:
    """`array` on the device; the host does not wait for the copy to a GPU."""
    tensor = torch.from_numpy(array)
    if device.type == "cuda":
        return tensor.pin_memory().to(device, non_blocking=True)
    return tensor.to(device)


def _share(batch_size: int, number: int) -> int:
    """Windows of a batch that one process takes, of a data set of `number` windows."""
    processes = _parallel.world_size()
    if processes == 1:
        return min(batch_size, number)
    if batch_size % (processes * GROUP) or number < batch_size:
        raise TrainingError(
            f"for {processes} processes training.batch_size must be a multiple of "
            f"{processes * GROUP} and not exceed the {number:,} training windows, "
            f"not {batch_size}"
        )
    return batch_size // processes


def prefetched(items: Iterable[Item]) -> Iterator[Item]:
    """Iterate over `items`; a thread makes the next one while the present one is used."""
    iterator = iter(items)
    with ThreadPoolExecutor(1) as worker:
        following = worker.submit(next, iterator, None)
        while (item := following.result()) is not None:
            following = worker.submit(next, iterator, None)
            yield item
