"""What a run learns from and is tested on."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

import numpy as np

from lmht_deploy.data import images
from lmht_deploy.errors import DataError

from .recipe import Recipe


class Windows(Protocol):
    """`windows` integers [N, T_in, C, H, W], `labels` int64 [N] into `classes`, as lmht_deploy.events.datasets gives them (or training.images.Decoded)."""

    @property
    def windows(self) -> np.ndarray: ...
    @property
    def labels(self) -> np.ndarray: ...
    @property
    def classes(self) -> tuple[str, ...]: ...


@dataclass(frozen=True)
class Data:
    """The two splits of one data set, counts of events or still images; DataError where they do not fit each other."""

    train: Windows
    test: Windows
    kind: Literal["events", "image"] = "events"

    def __post_init__(self) -> None:
        for split, data in (("training", self.train), ("test", self.test)):
            shape = data.windows.shape
            if len(shape) != 5 or len(data.labels) != len(data.windows) or len(data.windows) == 0:
                raise DataError(
                    f"{split} data must be windows [N, T_in, C, H, W] and N >= 1 labels, not {list(shape)} and {len(data.labels)}"
                )
            if data.labels.min() < 0 or data.labels.max() >= len(data.classes):
                raise DataError(
                    f"{split} labels must lie within 0..{len(data.classes) - 1}, found {data.labels.min()}..{data.labels.max()}"
                )
        if (
            self.train.windows.shape[1:] != self.test.windows.shape[1:]
            or self.train.classes != self.test.classes
        ):
            raise DataError(
                f"training and test data differ in shape or classes: {self.train.windows.shape[1:]} and {self.test.windows.shape[1:]}"
            )


def load_data(
    recipe: Recipe,
    *,
    root: str | Path | None = None,
    subset: bool = False,
    cache: str | Path | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Data:
    """Both splits of the recipe's data set, read from `root` where it is not generated (images: from the hub without `root`).

    `subset` accepts less than the complete data set, and `cache` is a folder that keeps what was read for the next time.
    `progress(done, total)` is called as recordings or images are read, one split after the other. Raises DataError.
    """
    train, test = (
        load_split(recipe, name, root=root, subset=subset, cache=cache, progress=progress)
        for name in ("train", "test")
    )
    return Data(train, test, kind="image" if recipe.data.name in images.SETS else "events")


def load_split(
    recipe: Recipe,
    split: str,
    *,
    root: str | Path | None = None,
    subset: bool = False,
    cache: str | Path | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Windows:
    """The `split` "train" or "test" of the recipe's data set, as `load` reads it."""
    chosen = recipe.data
    if chosen.name in images.SETS:
        return images.load_images(
            chosen.name,
            split=split,
            steps=chosen.steps,
            size=chosen.size,
            first=chosen.classes,
            root=root,
            cache=cache,
            progress=progress,
        )
    from lmht_deploy.data import datasets

    return datasets.load_events(
        chosen.name,
        root=root,
        split=split,  # type: ignore[arg-type]
        steps=chosen.steps,
        size=chosen.size or None,
        max_count=chosen.max_count,
        subset=subset,
        cache=cache,
        progress=progress,
    )
