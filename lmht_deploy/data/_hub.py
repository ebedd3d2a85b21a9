"""Images that Hugging Face `datasets` reads from its hub or from a folder of Parquet files."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from lmht_deploy._packages import require_package
from lmht_deploy.errors import DataError

from ._image_sets import PACKAGES, SETS
from ._pixels import Content
from ._splits import Split
from .cifar10dvs import CLASSES as CIFAR10_CLASSES

if TYPE_CHECKING:
    from datasets import Dataset


class Rows:
    """The images of one split; see `_pixels.Source`."""

    def __init__(
        self, name: str, split: Split, root: Path | None, cache: str | Path | None
    ) -> None:
        """Read the rows of the data set `name`; DataError if it cannot be read."""
        for package in PACKAGES:
            require_package(package, "images")
        self._rows = _read_rows(name, split, root, cache)
        self._column = SETS[name].image
        self.what = f"{root or SETS[name].hub}: {split}"
        self.labels = _read_labels(self._rows, name, self.what)
        self.classes = _class_names(name, self._rows)

    def __getitem__(self, index: int) -> Content:
        return cast("Content", self._rows[index][self._column])

    def iterate(self, chosen: np.ndarray) -> Iterable[Content]:
        """Yield the images with the indices `chosen`."""
        rows = self._rows if len(chosen) == len(self._rows) else self._rows.select(chosen)
        return cast("Iterable[Content]", rows[self._column])

    def name(self, index: int) -> str:
        """Return how messages call an image."""
        return f"{self.what} image {index}"


def _read_rows(name: str, split: Split, root: Path | None, cache: str | Path | None) -> Dataset:
    """Rows of one split, with images as {bytes, path} that are not decoded."""
    import datasets

    image_set = SETS[name]
    if root is None:
        split_name = image_set.test if split == "test" else split
        source: dict[str, Any] = {"path": image_set.hub, "split": split_name}
    else:  # Hugging Face `datasets` calls the rows of any files "train"
        files = _find_files(name, split, root)
        source = {"path": "parquet", "data_files": files, "split": "train"}
    with _quiet_library(progress_bars=root is None):
        try:
            rows = datasets.load_dataset(**source, cache_dir=None if cache is None else str(cache))
        except Exception as error:  # the library and the client of the hub raise dozens of types
            raise DataError(_describe_failure(name, root, error)) from None
    return _select_columns(rows, name, str(root or image_set.hub))


def _select_columns(rows: Dataset, name: str, place: str) -> Dataset:
    """Keep the columns of images and labels; DataError if they are missing or of another kind."""
    import datasets

    image, label = SETS[name].image, SETS[name].label
    if missing := {image, label} - set(rows.column_names):
        raise DataError(
            f"{place}: {name} has the columns {image} {{bytes, path}} and {label};"
            f" {min(missing)} is not among {', '.join(rows.column_names)}"
        )
    try:
        return rows.select_columns([image, label]).cast_column(image, datasets.Image(decode=False))
    except Exception:  # of the library or of pyarrow, depending on what the column holds
        raise DataError(
            f"{place}: the column {image} of {name} must hold {{bytes, path}},"
            f" not {rows.features[image]}"
        ) from None


def _find_files(name: str, split: Split, root: Path) -> list[str]:
    """Parquet files of one split, which must lie in one folder."""
    names = [SETS[name].test, "test", "val"] if split == "test" else [split]
    found = (sorted(map(str, Path(root).rglob(f"{part}*.parquet"))) for part in names)
    files = next((some for some in found if some), None)
    if files is None:
        raise DataError(f"{root}: there is no file {names[0]}*.parquet of {name}")
    if len(folders := {str(Path(file).parent) for file in files}) > 1:
        raise DataError(
            f"{root}: there are {split} files in several folders ({', '.join(sorted(folders))});"
            " give one of them as the root"
        )
    return files


@contextmanager
def _quiet_library(progress_bars: bool) -> Iterator[None]:
    """Silence the logs of Hugging Face: the error that follows says the same.

    Levels of logs and the switch of the progress bars are restored as they were. `progress_bars`
    leaves the bars as they are.
    """
    import datasets
    import huggingface_hub  # noqa: F401 (sets the level of its log when imported)

    with ExitStack() as restore:
        for log in map(logging.getLogger, ("datasets", "huggingface_hub")):
            restore.callback(log.setLevel, log.level)
            log.setLevel(logging.CRITICAL)
        if not progress_bars and not datasets.are_progress_bars_disabled():
            datasets.disable_progress_bars()
            restore.callback(datasets.enable_progress_bars)
        yield


def _describe_failure(name: str, root: str | Path | None, error: Exception) -> str:
    reason = (str(error.__cause__ or error).splitlines() or [type(error).__name__])[0]
    if root is not None:
        return f"{root}: cannot be read as Parquet files of {name} ({reason})"
    return (
        f"{name} could not be downloaded from the hub as {SETS[name].hub} ({reason}); complete"
        " files are kept: run it again, or give the root of a folder that holds its Parquet files"
    )


def _read_labels(rows: Dataset, name: str, source: str) -> np.ndarray:
    """Labels int64 `[N]` of all rows; DataError if one of them is not a class of `name`."""
    column, classes = SETS[name].label, SETS[name].classes
    labels = np.asarray(rows[column]) if len(rows) else np.zeros(0, np.int64)
    if labels.dtype.kind not in "iu":  # text, fractions, or nothing in some rows
        raise DataError(
            f"{source}: the column {column} must hold the class of every image as a number"
            f" within 0..{classes - 1}"
        )
    if labels.min(initial=0) < 0 or labels.max(initial=0) >= classes:
        raise DataError(
            f"{source} labels of {name} lie within {labels.min()}..{labels.max()},"
            f" expected 0..{classes - 1}"
        )
    return labels.astype(np.int64)


def _class_names(name: str, rows: Dataset) -> tuple[str, ...]:
    names = getattr(rows.features[SETS[name].label], "names", None)
    if names is not None:
        return tuple(names)
    if name == "cifar10":  # Parquet files that are not from the hub hold no names
        return CIFAR10_CLASSES
    return tuple(map(str, range(SETS[name].classes)))
