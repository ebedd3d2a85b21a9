"""Still images, read by Hugging Face `datasets` from its hub or from a folder of Parquet files.

A pixel becomes the integer gray level - 128, so that zero padding is a medium gray. `SETS`
describes each data set; a new data set is a new entry.
"""

from __future__ import annotations

import io
import logging
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from lmht_deploy._packages import require_package
from lmht_deploy._suggest import unknown
from lmht_deploy.errors import DataError

from ._recordings import check_split
from ._windows import Progress, Windows
from .cifar10dvs import CLASSES as CIFAR10_CLASSES

if TYPE_CHECKING:
    from datasets import Dataset
    from PIL.Image import Image

PACKAGES = ("datasets", "PIL")
"""Import names of the packages that reading images needs."""

MIN_VALUE, MAX_VALUE = -128, 127
"""Range of the integers that pixels become."""

SCALE = 1 / 64
"""Real value of one gray level: pixels span -2 to 2."""

READERS = 8
"""Threads that decode images on access."""

MARGIN = 8 / 7
"""Shorter side of an image, in sides of its center crop (256 for 224, as is usual)."""


@dataclass(frozen=True)
class ImageSet:
    """An image data set of the Hugging Face hub.

    Attributes:
        hub: Name on the hub.
        classes: Number of classes.
        size: Height and width of the images; 0 if they differ. Such images are decoded on access.
        image: Column of the images.
        label: Column of the labels.
        test: Name of the test split on the hub.
    """

    hub: str
    classes: int
    size: int
    image: str = "image"
    label: str = "label"
    test: str = "test"


SETS = {
    "cifar10": ImageSet("uoft-cs/cifar10", 10, 32, image="img"),
    "cifar100": ImageSet("uoft-cs/cifar100", 100, 32, image="img", label="fine_label"),
    "tiny-imagenet": ImageSet("zh-plus/tiny-imagenet", 200, 64, test="valid"),  # ImageNet-200
    "imagenet": ImageSet("ILSVRC/imagenet-1k", 1000, 0, test="validation"),
}


class LazyImages:
    """Array-like int8 `[N, T_in, 3, H, W]` of images that are decoded on access.

    Only the first axis can be indexed, by a slice or an index array. The result is an array.
    """

    nbytes = 0
    dtype = np.dtype(np.int8)

    def __init__(self, rows: Dataset, column: str, size: int, steps: int, name: str) -> None:
        """Decode from `column` of `rows`; `name` stands for the data set in error messages."""
        self._rows, self._column, self._name = rows, column, name
        self.shape = (len(rows), steps, 3, size, size)

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, chosen: np.ndarray | slice) -> np.ndarray:
        return self.read(np.arange(len(self))[chosen])

    def read(self, chosen: np.ndarray, *, zoom: float = 0.0, seed: int = 0) -> np.ndarray:
        """Decode images, cropped to their center or to a random part.

        Args:
            chosen: Indices of the images.
            zoom: Smallest share of the image's area that a random part covers. 0: the center.
            seed: Seed of the random parts. The same seed and index give the same part.

        Returns:
            int8 `[len(chosen), T_in, 3, H, W]`.

        Raises:
            DataError: An image cannot be decoded.
        """
        with ThreadPoolExecutor(READERS) as readers:
            pixels = readers.map(lambda index: self._read_one(int(index), zoom, seed), chosen)
            return _to_windows(list(pixels), self.shape[1])

    def _read_one(self, index: int, zoom: float, seed: int) -> np.ndarray:
        crop: Callable[[Image, int], Image] = _crop_center
        if zoom:
            generator = np.random.default_rng((seed, index))
            crop = partial(_crop_random, generator=generator, min_share=zoom)
        name = f"{self._name} image {index}"
        return _decode(
            self._rows[index][self._column], name, lambda image: crop(image, self.shape[-1])
        )


def load_images(
    name: str,
    *,
    split: str,
    steps: int = 1,
    size: int = 0,
    classes: int = 0,
    per_class: int = 0,
    root: str | Path | None = None,
    cache: str | Path | None = None,
    progress: Progress | None = None,
) -> Windows:
    """Read the images of a data set, in their order.

    Images of one size are decoded at once, images of different sizes on access.

    Args:
        name: One of `SETS`.
        split: "train" or "test".
        steps: Input steps T_in; every step has the same image.
        size: Height and width to which images are resized. 0: as they are.
        classes: Take only the first `classes` classes. 0: all.
        per_class: Take only the first `per_class` images of each class. 0: all.
        root: Folder of the Parquet files. Default: the hub.
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
    for package in PACKAGES:
        require_package(package, "images")
    image_set, split = SETS[name], check_split(split)
    rows = _read_rows(name, split, root, cache)
    source = f"{root or image_set.hub}: {split}"
    rows, labels = _select(rows, _read_labels(rows, name, source), classes, per_class)
    if not len(rows):
        chosen = f" of the first {classes} classes" if classes else ""
        raise DataError(f"{source} holds no image{chosen}")
    if image_set.size:
        windows = _decode_all(rows, image_set.image, size, steps, source, progress)
    elif size:
        lazy = LazyImages(rows, image_set.image, size, steps, source)
        windows = cast("np.ndarray", lazy)
    else:
        raise DataError(
            f"the images of {name} differ in size; give the size, for example 224"
            " (in a recipe: data.size)"
        )
    provenance = {"data": name, "split": split, "source": str(root or image_set.hub)}
    return Windows(
        windows, labels, _class_names(name, rows)[: classes or None], "image", provenance
    )


def _select(
    rows: Dataset, labels: np.ndarray, classes: int, per_class: int
) -> tuple[Dataset, np.ndarray]:
    """Keep the first `classes` classes and the first `per_class` rows of each (0: all)."""
    if classes:
        rows, labels = rows.select(np.flatnonzero(labels < classes)), labels[labels < classes]
    if per_class and len(labels):
        first = [np.flatnonzero(labels == label)[:per_class] for label in np.unique(labels)]
        kept = np.sort(np.concatenate(first))
        rows, labels = rows.select(kept), labels[kept]
    return rows, labels


def _decode_all(
    rows: Dataset, column: str, size: int, steps: int, source: str, progress: Progress | None
) -> np.ndarray:
    """Decode all images, which must have one size."""
    crop = partial(_crop_center, size=size) if size else None
    pixels = []
    for index, image in enumerate(rows[column]):
        pixels.append(_decode(image, f"{source} image {index}", crop))
        if progress:
            progress(index + 1, len(rows))
    if len({array.shape for array in pixels}) > 1:
        raise DataError(
            f"{source} images have different sizes; give the size that they are resized to"
            " (in a recipe: data.size)"
        )
    return _to_windows(pixels, steps)


# ---------------------------------------------------------------------------------------- the files


def _read_rows(name: str, split: str, root: str | Path | None, cache: str | Path | None) -> Dataset:
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


def _find_files(name: str, split: str, root: str | Path) -> list[str]:
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


# --------------------------------------------------------------------------------------- the pixels


def _to_windows(pixels: list[np.ndarray], steps: int) -> np.ndarray:
    """int8 `[N, steps, 3, H, W]` of images uint8 `[H, W, 3]`; the steps share their memory."""
    signed = (np.stack(pixels) ^ 0x80).view(np.int8)  # the bits of gray level - 128
    windows = signed.transpose(0, 3, 1, 2)[:, None]
    if steps == 1:
        return windows
    return np.broadcast_to(windows, (len(windows), steps, *windows.shape[2:]))


def _decode(
    image: Mapping[str, bytes | None] | None, name: str, crop: Callable[[Image], Image] | None
) -> np.ndarray:
    """Pixels uint8 `[H, W, 3]`, after `crop`."""
    from PIL import Image, UnidentifiedImageError

    if not image or not image["bytes"]:
        raise DataError(f"{name}: holds no bytes of an image")
    try:
        picture: Any = Image.open(io.BytesIO(image["bytes"])).convert("RGB")
        return np.asarray(crop(picture) if crop else picture)
    except UnidentifiedImageError:
        raise DataError(f"{name}: cannot be decoded (its format is not known)") from None
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise DataError(f"{name}: cannot be decoded ({error})") from None


def _crop_center(image: Image, size: int) -> Image:
    """Resize to `size` x `size`: the center square, or the whole image if it has that size."""
    if image.size == (size, size):
        return image
    side = min(image.size) / MARGIN
    left, top = (image.width - side) / 2, (image.height - side) / 2
    return _resize(image, size, (left, top, left + side, top + side))


def _crop_random(
    image: Image, size: int, generator: np.random.Generator, min_share: float
) -> Image:
    """Resize a random part to `size` x `size`.

    The part covers at least `min_share` of the area, its aspect ratio lies within 3/4..4/3
    (Szegedy et al. 2015).
    """
    area = image.width * image.height * generator.uniform(min_share, 1)
    ratio = np.exp(generator.uniform(np.log(3 / 4), np.log(4 / 3)))
    width = min((area * ratio) ** 0.5, image.width)
    height = min((area / ratio) ** 0.5, image.height)
    left = generator.uniform(0, image.width - width)
    top = generator.uniform(0, image.height - height)
    return _resize(image, size, (left, top, left + width, top + height))


def _resize(image: Image, size: int, box: tuple[float, float, float, float]) -> Image:
    from PIL.Image import Resampling

    return image.resize((size, size), Resampling.BILINEAR, box=box, reducing_gap=2.0)
