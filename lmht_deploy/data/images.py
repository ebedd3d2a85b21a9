"""Still images: of the Hugging Face hub, of Parquet files, of CIFAR's archives, and of folders.

A pixel becomes the integer gray level - 128, so that zero padding is a medium gray. `SETS`
describes the data sets that are known by name; a new data set is a new entry.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol, cast

import numpy as np

from lmht_deploy._packages import require_package
from lmht_deploy._suggest import unknown
from lmht_deploy.errors import DataError
from lmht_deploy.formats.files import as_path

from ._cifar import Records, find_archive
from ._hub import Rows
from ._image_sets import PACKAGES, SETS, ImageSet
from ._labels import class_list
from ._listing import Choice, Selection, list_files, naming, select, select_files
from ._pixels import LazyImages, Source, decode_all
from ._splits import Split, SplitRule, check_split
from ._windows import Progress, Windows

__all__ = [
    "FOLDER",
    "MAX_VALUE",
    "MIN_VALUE",
    "PACKAGES",
    "SCALE",
    "SETS",
    "SUFFIXES",
    "ImageSet",
    "LazyImages",
    "load_image_folder",
    "load_images",
]

FOLDER = "image-folder"
"""Name of the data set of your own images."""

SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".webp")
"""Suffixes of image files."""

MIN_VALUE, MAX_VALUE = -128, 127
"""Range of the integers that pixels become."""

SCALE = 1 / 64
"""Real value of one gray level: pixels span -2 to 2."""

MAX_DECODED = 2**30
"""Bytes of decoded images of a folder that are kept in memory; more are decoded on access."""


class _LabeledSource(Source, Protocol):
    """Images with their labels int64 `[N]`, class names, and what messages call them."""

    labels: np.ndarray
    classes: tuple[str, ...]
    what: str


def load_images(
    name: str,
    *,
    split: str,
    steps: int = 1,
    size: int = 0,
    classes: Sequence[str] = (),
    max_classes: int = 0,
    per_class: int = 0,
    rule: SplitRule | None = None,
    root: str | Path | None = None,
    cache: str | Path | None = None,
    progress: Progress | None = None,
) -> Windows:
    """Read the images of a data set, in their order.

    Images of one size are decoded at once, images of different sizes on access.

    Args:
        name: One of `SETS`.
        split: "train", "validation" or "test".
        steps: Input steps T_in; every step has the same image.
        size: Height and width to which images are resized. 0: as they are.
        classes: Classes to use, in the order of the new labels: "NAME", or "OLD=NEW" to rename a
            class. Empty: all.
        max_classes: Use only the first `max_classes` classes. 0: all.
        per_class: Take only the first `per_class` images of each class. 0: all.
        rule: How a validation split is drawn from the training images. Default: there is none.
        root: Folder of the Parquet files; for CIFAR also the folder or the .tar.gz file of its
            binary version. Default: the hub.
        cache: Folder in which Hugging Face `datasets` keeps what it has read. Default: its own.
        progress: Called as `progress(done, total)` after each decoded image.

    Returns:
        int8 windows `[N, T_in, 3, H, W]`.

    Raises:
        DataError: The name is unknown, a package is missing, the hub cannot be reached, or files
            are missing, damaged or of another layout.
    """
    if name not in SETS:
        raise DataError(unknown("image data set", name, SETS))
    choice = Choice(check_split(split), rule or SplitRule(), class_list(classes), max_classes)
    source = _open(name, choice.split, None if root is None else as_path(root), cache)
    chosen = _select(source, choice)
    if per_class:
        chosen = _first_of_each_class(chosen, per_class)
    if SETS[name].size:
        what = f"{source.what} images"
        windows = decode_all(source, chosen.index, what, size, steps, progress)
    elif size:
        windows = cast("np.ndarray", LazyImages(source, chosen.index, size, steps))
    else:
        raise DataError(
            f"the images of {name} differ in size; give the size, for example 224"
            " (in a recipe: data.size)"
        )
    place = {} if root is None else {"root": str(root)}
    provenance = {"data": name, "split": split, "source": str(root or SETS[name].hub), **place}
    return Windows(windows, chosen.labels, chosen.classes, "image", provenance | chosen.origin)


def _open(name: str, split: Split, root: Path | None, cache: str | Path | None) -> _LabeledSource:
    """Open the training images (for the splits train and validation) or the test images."""
    read: Split = "test" if split == "test" else "train"
    place = None if root is None else find_archive(name, root)
    if place is None:
        return Rows(name, read, root, cache)
    require_package("PIL", "images")
    return Records(name, read, place)


def _select(source: _LabeledSource, choice: Choice) -> Selection:
    names = [f"{index:09}" for index in range(len(source.labels))]
    read = "test" if choice.split == "test" else "train"
    if not names:
        raise DataError(f"{source.what} holds no image")
    with naming(source.what):
        return select(
            names, source.labels, source.classes, choice, given=[read] * len(names), what="image"
        )


def _first_of_each_class(chosen: Selection, number: int) -> Selection:
    """Keep the first `number` images of each class."""
    labels = np.asarray(chosen.labels)
    first = [np.flatnonzero(labels == label)[:number] for label in np.unique(labels)]
    return chosen[np.sort(np.concatenate(first))]


# --------------------------------------------------------------------------------- your own images


def load_image_folder(
    root: str | Path | None,
    choice: Choice,
    *,
    size: int = 0,
    steps: int = 1,
    progress: Progress | None = None,
) -> Windows:
    """Read your own images: one folder for each class, or a table of files.

    Args:
        root: Folder with <class>/<image>, or with {train,validation,test}/<class>/<image>; or a CSV
            file with the columns file, label and optionally split, group.
        choice: Split and classes.
        size: Height and width to which images are resized. 0: as they are, if they have one size.
        steps: Input steps T_in; every step has the same image.
        progress: Called as `progress(done, total)` after each decoded image.

    Returns:
        int8 windows `[N, T_in, 3, H, W]`.

    Raises:
        DataError: There is nothing to read, an image is damaged, or images have different sizes
            and `size` is 0.
    """
    require_package("PIL", "images")
    folder = None if root is None else as_path(root)
    found = list_files(folder, SUFFIXES, "image", choice.rule)
    chosen = select_files(found, choice, "image")
    source, number = _Files(found.root, found.names), len(chosen.index)
    if size and number * 3 * size**2 > MAX_DECODED:
        windows = cast("np.ndarray", LazyImages(source, chosen.index, size, steps))
    else:
        what = f"{found.root}: the images"
        windows = decode_all(source, chosen.index, what, size, steps, progress)
    provenance = {"data": FOLDER, "split": choice.split, "root": str(folder)}
    return Windows(
        windows,
        chosen.labels,
        chosen.classes,
        "image",
        provenance | chosen.origin,
        sources=tuple(found.names[index] for index in chosen.index.tolist()),
        source_index=np.arange(number),
    )


class _Files:
    """Image files; see `_pixels.Source`."""

    def __init__(self, root: Path, names: Sequence[str]) -> None:
        self._root, self._names = root, names

    def __getitem__(self, index: int) -> dict[str, bytes | None]:
        path = self._root / self._names[index]
        try:
            return {"bytes": path.read_bytes()}
        except OSError as error:
            raise DataError(f"{path}: cannot be read ({error.strerror})") from None

    def iterate(self, chosen: np.ndarray) -> map[dict[str, bytes | None]]:
        return map(self.__getitem__, chosen.tolist())

    def name(self, index: int) -> str:
        return str(self._root / self._names[index])
