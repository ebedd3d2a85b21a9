"""Augmentation of training windows, batched, on the device that they lie on.

What is drawn depends on the recipe's seed, the epoch, the step and the place in the batch, and on nothing else: neither on
where a run was stopped nor on the number of processes that share a batch. So windows are augmented in groups, each
from a seed of its own.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from lmht_deploy.errors import RecipeError

from .recipe import AugmentationRecipe

GROUP = 32
"""Windows that share one seed, one policy of AutoAugment and one decision to mix; the share of every process is a multiple of it."""

LOW, RANGE = -128.0, 255.0
"""Least grey level of an image window, and how far the largest lies above it."""


class Augmentation:
    """The random treatment of windows [B, T, C, H, W] that `recipe` describes; one treatment for all steps and channels of a window.

    Raises RecipeError where `recipe` wants of events what only images have, or a package that is missing.
    """

    def __init__(self, recipe: AugmentationRecipe, classes: int, *, image: bool) -> None:
        self.recipe, self.classes, self.image = recipe, classes, image
        self._transforms: list[Callable[[Tensor], Tensor]] | None = None
        self._mixers: list[Callable[[Tensor, Tensor], Sequence[Tensor]]] | None = None
        library = [
            name
            for name in ("rotate", "auto", "cutout", "mixup", "cutmix")
            if getattr(recipe, name) not in (0, "none")
        ]
        if recipe.auto != "none" and not image:
            raise RecipeError("augmentation.auto is for images, the recipe's data are events")
        if library and importlib.util.find_spec("kornia") is None:
            raise RecipeError(
                f"augmentation.{library[0]} needs the package 'kornia'; run: pip install 'lmht-deploy[train]'"
            )

    def __call__(
        self, windows: Tensor, labels: Tensor, seeds: Sequence[int]
    ) -> tuple[Tensor, Tensor]:
        """`windows` float [B, T, C, H, W] and `labels` int64 [B], the groups of `GROUP` from `seeds`, one each.

        Labels become shares [B, K] where windows are mixed. Leaves PyTorch's generators as they were.
        """
        if self.recipe == AugmentationRecipe(zoom=self.recipe.zoom):
            return windows, labels
        with torch.random.fork_rng(devices=[]):
            treated = [
                self._group(*group)
                for group in zip(windows.split(GROUP), labels.split(GROUP), seeds, strict=True)
            ]
        return torch.cat([group[0] for group in treated]), torch.cat(
            [group[1] for group in treated]
        )

    def _group(self, windows: Tensor, labels: Tensor, seed: int) -> tuple[Tensor, Tensor]:
        torch.manual_seed(seed)
        recipe, steps = self.recipe, windows.shape[1]
        x = (
            windows[:, 0] if self.image else windows.flatten(1, 2)
        )  # the library knows [B, C, H, W], and an image is the same at every step
        x = moved(x, recipe.shift) if recipe.shift else x
        x = moved(x, recipe.roll, around=True) if recipe.roll else x
        x = mirrored(x) if recipe.mirror else x
        if self._transforms is None:
            self._transforms = self._library(x.shape[-2:])
        for transform in self._transforms:
            x = transform(x)
        x, targets = self._mixed(x, labels)
        return x[:, None].expand(-1, steps, -1, -1, -1) if self.image else x.unflatten(
            1, (steps, -1)
        ), targets

    def _library(self, size: Sequence[int]) -> list[Callable[[Tensor], Tensor]]:
        """Transforms that kornia has, in the order of their use."""
        recipe = self.recipe
        transforms: list[Callable[[Tensor], Tensor]] = []
        if recipe.rotate:
            from kornia.augmentation import RandomRotation

            transforms.append(RandomRotation(recipe.rotate, resample="nearest", p=1.0))
        if recipe.auto != "none":
            from kornia.augmentation.auto import AutoAugment

            policies = AutoAugment(recipe.auto)
            transforms.append(lambda x: policies((x - LOW) / RANGE) * RANGE + LOW)
        if recipe.cutout:
            from kornia.augmentation import RandomErasing

            share = min(recipe.cutout**2 / (size[0] * size[1]), 1.0)
            transforms.append(
                RandomErasing(scale=(share, share), ratio=(1.0, 1.0), value=0.0, p=1.0)
            )
        return transforms

    def _mixed(self, x: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Windows mixed in pairs, and shares [B, K] of their labels; labels [B] where the recipe mixes nothing."""
        if not (self.recipe.mixup or self.recipe.cutmix):
            return x, labels
        if self._mixers is None:
            self._mixers = self._mixing()
        shares = functional.one_hot(labels, self.classes).to(x.dtype)
        for mix in self._mixers:
            x, pairs = mix(x, torch.arange(len(x), device=x.device))
            first, second, share = pairs.reshape(-1, 3).unbind(1)
            share = share[:, None].to(x.dtype)  # of the second
            shares = shares[first.long()] * (1 - share) + shares[second.long()] * share
        return x, shares

    def _mixing(self) -> list[Callable[[Tensor, Tensor], Sequence[Tensor]]]:
        """What kornia has to mix x [B, C, H, W]: it also gives, of every one, its place, that of the other, and the other's share."""
        from kornia.augmentation import RandomCutMixV2, RandomMixUpV2

        keys: Any = ["input", "class"]
        cut = RandomCutMixV2(
            p=self.recipe.cutmix, data_keys=keys, use_correct_lambda=True
        )  # which gives the share that is left

        def cutmix(x: Tensor, places: Tensor) -> Sequence[Tensor]:
            x, pairs = cut(x, places)
            return x, pairs * pairs.new_tensor([1, 1, -1]) + pairs.new_tensor([0, 0, 1])

        return [RandomMixUpV2(p=self.recipe.mixup, data_keys=keys), cutmix]


# ------------------------------------------------------------------------------------------------ exact on integers


def moved(x: Tensor, most: int, *, around: bool = False) -> Tensor:
    """Every one of x [B, C, H, W] moved by its own random offset of up to `most` pixels a direction.

    Zeros come in, or what leaves on the other side where `around`.
    """
    batch, _, height, width = x.shape
    offsets = torch.randint(2 * most + 1, (2, batch, 1)).to(x.device)
    rows, columns = (
        offsets[0] + torch.arange(height, device=x.device),
        offsets[1] + torch.arange(width, device=x.device),
    )
    if around:
        rows, columns = (rows - most) % height, (columns - most) % width
    else:
        x = functional.pad(x, (most, most, most, most))
    chosen = x[
        torch.arange(batch, device=x.device)[:, None, None],
        :,
        rows[:, :, None],
        columns[:, None, :],
    ]  # [B, H, W, C]
    return chosen.permute(0, 3, 1, 2).contiguous()


def mirrored(x: Tensor) -> Tensor:
    """Every second of x [B, ..., W], on average, with left and right exchanged."""
    chosen = (torch.rand(len(x)) < 0.5).to(x.device)
    return torch.where(chosen.reshape(-1, *(1,) * (x.ndim - 1)), x.flip(-1), x)
