"""Augmentation of training windows: a whole batch at once, on its device.

All randomness of a batch is a table of uniform numbers with one row per window. It depends on the
recipe's seed, the epoch, the step and the position in the batch only, so neither on where a run was
interrupted nor on the number of processes that share a batch. What follows is a function of the
tensors alone: no step waits for the device or depends on a value, so a CUDA graph can hold it.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from lmht_deploy.data import images
from lmht_deploy.errors import RecipeError

from ..recipe import AugmentationRecipe
from . import events, geometry, mixing, policies
from .mixing import GROUP

__all__ = ["GROUP", "Augmentation"]

COLUMNS = {
    "thin": 2,
    "swap_polarity": 1,
    "drop_time": 2,
    "drop_area": 3,
    "shift": 2,
    "roll": 2,
    "flip": 1,
    "rotate": 1,
    "shear": 1,
    "auto_augment": policies.COLUMNS,
    "cutout": 2,
    "mixup": 3,
    "cutmix": 5,
}
"""Uniform numbers per window that each key of the recipe needs."""

FOR_EVENTS = ("thin", "swap_polarity", "drop_time", "drop_area")
"""Keys that do not apply to images."""

UNCHANGED = {
    "thin": 0.0,
    "drop_time": 0.0,
    "drop_area": 0.0,
    "shift": 0.5,
    "roll": 0.5,
    "rotate": 0.5,
    "shear": 0.5,
    "cutout": 1e6,  # far outside of the window
}
"""Keys among which `choose` chooses, and the draw with which each changes nothing."""


class Augmentation(nn.Module):
    """The random transforms that `recipe` describes; all steps and channels are treated alike.

    Args:
        recipe: Section [augmentation] of a recipe.
        classes: Number of classes.
        image: Whether the windows are still images, whose steps are all equal.
        max_count: Largest count of events.

    Attributes:
        columns: Uniform numbers that one window needs.

    Raises:
        RecipeError: `recipe` uses a transform for images on events, or the reverse.

    Example:
        >>> augment = Augmentation(AugmentationRecipe(shift=4, flip=True), 10, image=True)
        >>> draws = torch.rand(256, augment.columns)
        >>> windows, targets = augment(windows, labels, draws)
    """

    _policies: Tensor

    def __init__(
        self, recipe: AugmentationRecipe, classes: int, *, image: bool, max_count: int = 255
    ) -> None:
        super().__init__()
        self.recipe, self.classes, self.image, self.max_count = recipe, classes, image, max_count
        self._columns = _columns(recipe)
        self._choices = [name for name in self._columns if name in UNCHANGED]
        if recipe.choose and self._choices:
            self._columns["choose"] = len(self._choices)
        self.columns = sum(self._columns.values())
        if recipe.auto_augment != "none" and not image:
            raise RecipeError("augmentation.auto_augment is for images, not for events")
        for name in FOR_EVENTS:
            if getattr(recipe, name) and image:
                raise RecipeError(f"augmentation.{name} is for events, not for images")
        name = recipe.auto_augment
        table = None if name == "none" else policies.table(name)
        self.register_buffer("_policies", table, persistent=False)

    def forward(self, windows: Tensor, labels: Tensor, draws: Tensor) -> tuple[Tensor, Tensor]:
        """Augment a batch.

        Args:
            windows: Windows.
            labels: Classes of the windows.
            draws: Uniform numbers in [0, 1).

        Returns:
            Windows and labels. Labels become shares of the classes if the recipe mixes windows.

        Shape:
            windows: float [B, T_in, C, H, W]
            labels: int64 [B]
            draws: float32 [B, columns]
            output: float [B, T_in, C, H, W], and int64 [B] or float [B, K]
        """
        if not self.columns:
            return windows, labels
        drawn, steps = self._drawn(draws), windows.shape[1]
        x = windows[:, 0] if self.image else self._drop(windows.flatten(1, 2), drawn, steps)
        x, targets = self._mix(self._transform(x, drawn), labels, drawn)
        if self.image:
            return x[:, None].expand(-1, steps, -1, -1, -1), targets
        return torch.unflatten(x, 1, (steps, -1)), targets

    def _drawn(self, draws: Tensor) -> dict[str, Tensor]:
        """The draws [B, ...] of each transform; those that are not chosen change nothing."""
        split = torch.split(draws, list(self._columns.values()), 1)
        drawn = dict(zip(self._columns, split, strict=True))
        if "choose" in drawn:
            rank = drawn["choose"].argsort(stable=True, dim=1).argsort(1)
            chosen = torch.split(rank < self.recipe.choose, 1, 1)
            for name, mask in zip(self._choices, chosen, strict=True):
                drawn[name] = torch.where(mask, drawn[name], UNCHANGED[name])
        return drawn

    def _drop(self, x: Tensor, drawn: Mapping[str, Tensor], steps: int) -> Tensor:
        """Drop events of every one of x [B, steps·2, H, W], and swap polarities."""
        recipe = self.recipe
        if "thin" in drawn:
            x = events.thin(x, drawn["thin"], recipe.thin, self.max_count)
        if "swap_polarity" in drawn:
            x = events.swap_polarity(x, drawn["swap_polarity"][:, 0] < 0.5)
        if "drop_time" in drawn:
            x = events.drop_time(x, drawn["drop_time"], recipe.drop_time, steps)
        if "drop_area" in drawn:
            x = events.drop_area(x, drawn["drop_area"], recipe.drop_area)
        return x

    def _transform(self, x: Tensor, drawn: Mapping[str, Tensor]) -> Tensor:
        """Transform every one of x [B, C, H, W] by itself."""
        if drawn.keys() & {"shift", "roll", "flip", "rotate", "shear"}:
            x = geometry.take(x, self._source(x, drawn))
        if "auto_augment" in drawn:
            levels = policies.apply(x - images.MIN_VALUE, drawn["auto_augment"], self._policies)
            x = levels + images.MIN_VALUE
        if "cutout" in drawn:
            size = (x.shape[2], x.shape[3])
            sides = (min(self.recipe.cutout, length) for length in size)
            x = x.masked_fill(geometry.boxes(drawn["cutout"], size, *sides)[:, None], 0)
        return x

    def _source(self, x: Tensor, drawn: Mapping[str, Tensor]) -> geometry.Source:
        """Shift, roll, flip, rotate, shear: composed from the result back to x [B, C, H, W]."""
        recipe, size = self.recipe, (x.shape[2], x.shape[3])
        source = geometry.unmoved(size, x.device)
        if drawn.keys() & {"rotate", "shear"}:
            none = torch.zeros(len(x), device=x.device)
            angle = geometry.angles(drawn["rotate"], recipe.rotate) if "rotate" in drawn else none
            slope = (
                geometry.angles(drawn["shear"], recipe.shear).tan() if "shear" in drawn else none
            )
            source = geometry.mapped(source, size, geometry.linear(angle, slope))
        if "flip" in drawn:
            source = geometry.flipped(source, size, drawn["flip"][:, 0] < 0.5)
        if "roll" in drawn:
            source = geometry.rolled(source, size, geometry.offsets(drawn["roll"], recipe.roll))
        if "shift" in drawn:
            source = geometry.shifted(source, size, geometry.offsets(drawn["shift"], recipe.shift))
        return source

    def _mix(self, x: Tensor, labels: Tensor, drawn: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
        """Mix windows, and their labels [B] to shares [B, K], if the recipe does."""
        if not drawn.keys() & {"mixup", "cutmix"}:
            return x, labels
        # `one_hot` of PyTorch reads the labels to check them.
        shares = (labels[:, None] == torch.arange(self.classes, device=x.device)).to(x.dtype)
        if "mixup" in drawn:
            x, shares = mixing.mixup(x, shares, drawn["mixup"], self.recipe.mixup)
        if "cutmix" in drawn:
            x, shares = mixing.cutmix(x, shares, drawn["cutmix"], self.recipe.cutmix)
        return x, shares


def _columns(recipe: AugmentationRecipe) -> dict[str, int]:
    """The columns of the table of uniform numbers: how many each transform of `recipe` takes."""
    unused = (0, "none")
    return {name: n for name, n in COLUMNS.items() if getattr(recipe, name) not in unused}
