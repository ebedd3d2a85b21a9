"""The data of a training run."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from lmht_deploy._arguments import check_types
from lmht_deploy.data import Kind, Progress, Windows, load
from lmht_deploy.errors import DataError

from .recipe import Recipe


@dataclass(frozen=True)
class Data:
    """Two splits of a data set.

    Attributes:
        train: Windows to train on.
        test: Windows to test on after each epoch: the test split, or the validation split, where
            settings are chosen.

    Raises:
        DataError: A split has no windows or no labels, a label is not an index into the classes,
            or the splits differ in shape, classes or kind.
    """

    train: Windows
    test: Windows

    def __post_init__(self) -> None:
        for split in (self.train, self.test):
            if not isinstance(split, Windows):
                raise DataError(f"a split must be Windows, not {type(split).__name__}")
        _check_split("training", self.train)
        _check_split("test", self.test)
        if _signature(self.train) != _signature(self.test):
            raise DataError(
                "training and test data differ in shape or classes:"
                f" {_signature(self.train)} and {_signature(self.test)}"
            )

    @property
    def evaluation_split(self) -> str:
        """Name of the split that tests each epoch: "validation" or "test"."""
        return str(self.test.provenance.get("split", "test"))

    @property
    def kind(self) -> Kind:
        """ "events" or "image"."""
        return self.train.kind


def _check_split(name: str, data: Windows) -> None:
    shape, labels = data.windows.shape, data.labels
    if labels is None or len(shape) != 5 or len(labels) != len(data) or len(data) == 0:
        found = "no labels" if labels is None else f"{len(labels)} labels"
        raise DataError(
            f"{name} data must be windows [N, T_in, C, H, W] and N >= 1 labels,"
            f" not {list(shape)} and {found}"
        )
    if labels.min() < 0 or labels.max() >= len(data.classes):
        raise DataError(
            f"{name} labels must lie within 0..{len(data.classes) - 1},"
            f" found {labels.min()}..{labels.max()}"
        )


def _signature(data: Windows) -> tuple[tuple[int, ...], tuple[str, ...], Kind]:
    return data.windows.shape[1:], data.classes, data.kind


@check_types(DataError, recipe=Recipe)
def load_data(
    recipe: Recipe,
    *,
    root: str | Path | None = None,
    sensor: tuple[int, int] | None = None,
    track: str | int | None = None,
    subset: bool = False,
    drop: bool = False,
    cache: str | Path | None = None,
    progress: Progress | None = None,
) -> Data:
    """Load the training split of the recipe's data set, and the split that tests each epoch.

    That is the validation split if there is one, otherwise the test split.

    Args:
        recipe: The recipe; its `data` says what to load and how it becomes windows.
        root: Folder of the data set, as in `lmht_deploy.data.load`.
        sensor: Size (height, width) of the sensor, if the recordings do not state it.
        track: Which events to read from recordings that hold several tracks.
        subset: Accept a data set that is not complete.
        drop: Drop and count invalid events instead of raising an error.
        cache: Folder that keeps what was read for the next time.
        progress: Called as `progress(done, total)` after each recording or image, for one split
            after the other.

    Raises:
        DataError: As `lmht_deploy.data.load`, or the splits do not fit each other.
    """
    chosen = recipe.data

    def load_split(split: str) -> Windows:
        return load(
            chosen.name,
            split=split,
            steps=chosen.steps,
            by=chosen.by,
            length=chosen.length,
            hop=chosen.hop,
            incomplete=chosen.incomplete,
            size=chosen.size or None,
            max_count=chosen.max_count,
            classes=chosen.classes,
            max_classes=chosen.max_classes,
            split_rule=chosen.split_rule,
            root=root,
            sensor=sensor,
            track=track,
            subset=subset,
            drop=drop,
            cache=cache,
            progress=progress,
        )

    train = load_split("train")
    return Data(train, load_split(train.provenance.get("held_out", "test")))
