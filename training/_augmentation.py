"""Augmentation of training windows, in batches, on their device.

Random numbers depend on the recipe's seed, the epoch, the step and the position in the batch only.
They do not depend on where a run was interrupted, or on the number of processes that share a batch.
So windows are augmented in groups, and every group has a seed of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import torch
from torch import Tensor
from torch.nn import functional

from lmht_deploy._packages import require_package
from lmht_deploy.data import images
from lmht_deploy.errors import LmhtError, RecipeError

from .recipe import AugmentationRecipe

GROUP = 32
"""Windows that share one seed, one policy of AutoAugment and one decision to mix.

The share of every process is a multiple of it.
"""

LOW, RANGE = float(images.MIN_VALUE), float(images.MAX_VALUE - images.MIN_VALUE)
"""Smallest pixel value of an image window, and the range of its pixels."""

Transform: TypeAlias = Callable[[Tensor], Tensor]

Mixer: TypeAlias = Callable[[Tensor, Tensor], Sequence[Tensor]]
"""From x [B, C, H, W] and the indices [B] to mixed windows, and to rows (index, index of the other
window, share of the other window)."""

_OF_KORNIA = ("rotate", "auto_augment", "cutout", "mixup", "cutmix")


class Augmentation:
    """The random transforms that `recipe` describes; all steps and channels are treated alike.

    Args:
        recipe: Section [augmentation] of a recipe.
        classes: Number of classes.
        image: Whether the windows are still images.

    Raises:
        RecipeError: `recipe` uses a transform for images on events, or needs a missing package.
    """

    def __init__(self, recipe: AugmentationRecipe, classes: int, *, image: bool) -> None:
        self.recipe, self.classes, self.image = recipe, classes, image
        self._transforms: list[Transform] | None = None
        self._mixers: list[Mixer] | None = None
        if recipe.auto_augment != "none" and not image:
            raise RecipeError("augmentation.auto_augment is for images, not for events")
        for name in ("thin", "swap_polarity"):
            if getattr(recipe, name) and image:
                raise RecipeError(f"augmentation.{name} is for events, not for images")
        for name in _OF_KORNIA:
            if getattr(recipe, name) not in (0, "none"):
                _need_kornia(name)

    def __call__(
        self, windows: Tensor, labels: Tensor, seeds: Sequence[int]
    ) -> tuple[Tensor, Tensor]:
        """Augment a batch; PyTorch's generators are left unchanged.

        Args:
            windows: Windows.
            labels: Classes of the windows.
            seeds: One seed per `GROUP` windows.

        Returns:
            Windows and labels. Labels become shares of the classes where windows are mixed.

        Shape:
            windows: float [B, T_in, C, H, W]
            labels: int64 [B]
            output: float [B, T_in, C, H, W], and int64 [B] or float [B, K]
        """
        if self.recipe == AugmentationRecipe(crop_scale=self.recipe.crop_scale):
            return windows, labels
        groups = zip(torch.split(windows, GROUP), torch.split(labels, GROUP), seeds, strict=True)
        with torch.random.fork_rng(devices=[]):
            augmented = [self._group(*group) for group in groups]
        return torch.cat([x for x, _ in augmented]), torch.cat([y for _, y in augmented])

    def _group(self, windows: Tensor, labels: Tensor, seed: int) -> tuple[Tensor, Tensor]:
        torch.manual_seed(seed)
        steps = windows.shape[1]
        # kornia takes [B, C, H, W]; an image is the same at every step.
        x = windows[:, 0] if self.image else windows.flatten(1, 2)
        x, targets = self._mix(self._transform(x), labels)
        if self.image:
            return x[:, None].expand(-1, steps, -1, -1, -1), targets
        return torch.unflatten(x, 1, (steps, -1)), targets

    def _transform(self, x: Tensor) -> Tensor:
        """Transform every one of x [B, C, H, W] by itself."""
        recipe = self.recipe
        x = thin_events(x, recipe.thin) if recipe.thin else x
        x = swap_polarity(x) if recipe.swap_polarity else x
        x = random_shift(x, recipe.shift) if recipe.shift else x
        x = random_shift(x, recipe.roll, wrap=True) if recipe.roll else x
        x = random_flip(x) if recipe.flip else x
        if self._transforms is None:
            self._transforms = _transforms(recipe, x.shape[-2:])
        for transform in self._transforms:
            x = transform(x)
        return x

    def _mix(self, x: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Mix windows in pairs, and their labels [B] to shares [B, K], if the recipe does."""
        if not (self.recipe.mixup or self.recipe.cutmix):
            return x, labels
        if self._mixers is None:
            self._mixers = _mixers(self.recipe)
        shares = functional.one_hot(labels, self.classes).to(x.dtype)
        for mix in self._mixers:
            x, pairs = mix(x, torch.arange(len(x), device=x.device))
            first, second, share = pairs.reshape(-1, 3).unbind(1)
            share = share[:, None].to(x.dtype)
            shares = shares[first.long()] * (1 - share) + shares[second.long()] * share
        return x, shares


def _need_kornia(key: str) -> None:
    try:
        require_package("kornia", "train")
    except LmhtError as error:
        raise RecipeError(f"augmentation.{key}: {error}") from None


def _transforms(recipe: AugmentationRecipe, size: Sequence[int]) -> list[Transform]:
    """Transforms of kornia that `recipe` uses, in order, for maps of `size` (H, W)."""
    transforms: list[Transform] = []
    if recipe.rotate:
        from kornia.augmentation import RandomRotation

        transforms.append(RandomRotation(recipe.rotate, resample="nearest", p=1.0))
    if recipe.auto_augment != "none":
        from kornia.augmentation.auto import AutoAugment

        policies = AutoAugment(recipe.auto_augment)
        transforms.append(lambda x: policies((x - LOW) / RANGE) * RANGE + LOW)
    if recipe.cutout:
        from kornia.augmentation import RandomErasing

        share = min(recipe.cutout**2 / (size[0] * size[1]), 1.0)
        transforms.append(RandomErasing(scale=(share, share), ratio=(1.0, 1.0), value=0.0, p=1.0))
    return transforms


def _mixers(recipe: AugmentationRecipe) -> list[Mixer]:
    """Mixup and CutMix of kornia."""
    from kornia.augmentation import RandomCutMixV2, RandomMixUpV2

    keys: Any = ["input", "class"]
    cut = RandomCutMixV2(p=recipe.cutmix, data_keys=keys, use_correct_lambda=True)

    def cutmix(x: Tensor, indices: Tensor) -> Sequence[Tensor]:
        """Turn the share that is kept, which kornia returns, into the share of the other window."""
        x, pairs = cut(x, indices)
        return x, pairs * pairs.new_tensor([1, 1, -1]) + pairs.new_tensor([0, 0, 1])

    return [RandomMixUpV2(p=recipe.mixup, data_keys=keys), cutmix]


# --------------------------------------------------------------------------- exact on integers


def thin_events(counts: Tensor, share: float) -> Tensor:
    """Drop events of counts [B, ...]: up to `share` of them, a random share for each window."""
    keep = 1 - share * torch.rand(len(counts)).to(counts)
    keep = keep.reshape(-1, *(1,) * (counts.ndim - 1)).expand_as(counts)
    return torch.binomial(counts, keep.contiguous())


def swap_polarity(x: Tensor) -> Tensor:
    """Swap OFF and ON of every one of x [B, T·2, H, W] with probability 0.5."""
    chosen = (torch.rand(len(x)) < 0.5).to(x.device)
    swapped = torch.unflatten(x, 1, (-1, 2)).flip(2).flatten(1, 2)
    return torch.where(chosen.reshape(-1, 1, 1, 1), swapped, x)


def random_shift(x: Tensor, max_shift: int, *, wrap: bool = False) -> Tensor:
    """Translate every one of x [B, C, H, W] by a random offset of at most `max_shift` per axis.

    Vacated pixels are zero, or wrap around if `wrap`.
    """
    batch, _, height, width = x.shape
    offsets = torch.randint(2 * max_shift + 1, (2, batch, 1)).to(x.device)
    rows = offsets[0] + torch.arange(height, device=x.device)
    columns = offsets[1] + torch.arange(width, device=x.device)
    if wrap:
        rows, columns = (rows - max_shift) % height, (columns - max_shift) % width
    else:
        x = functional.pad(x, (max_shift,) * 4)
    index = torch.arange(batch, device=x.device)[:, None, None]
    shifted = x[index, :, rows[:, :, None], columns[:, None, :]]  # [B, H, W, C]
    return shifted.permute(0, 3, 1, 2).contiguous()


def random_flip(x: Tensor) -> Tensor:
    """Flip every one of x [B, ..., W] horizontally with probability 0.5."""
    chosen = (torch.rand(len(x)) < 0.5).to(x.device)
    return torch.where(chosen.reshape(-1, *(1,) * (x.ndim - 1)), x.flip(-1), x)
