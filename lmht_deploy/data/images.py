"""Still images, through Hugging Face `datasets`: from its hub, or from a folder of Parquet files laid out as there.

Pixels become integers around 0 (grey level - 128), so that the zeros of a padding are a medium grey. What differs between
the sets is one entry of `SETS`; a new one is a new entry.
"""

from __future__ import annotations

import importlib.util
import io
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from lmht_deploy.errors import DataError

if TYPE_CHECKING:
    from datasets import Dataset
    from PIL.Image import Image

LOW, HIGH = -128, 127
SCALE = 1 / 64
"""Real value of one grey level: pixels span -2..2."""

READERS = 8
"""Threads that decode images which are not kept in memory."""

MARGIN = 8 / 7
"""Where an image is cropped to a size, its shorter side is brought to so many times that size before (224 of 256, as is usual)."""


@dataclass(frozen=True)
class ImageSet:
    """A data set of the hub: its name there, its columns, its number of classes, and how its split for testing is called.

    `size` is the height and width of the images; 0 where they differ, which are then decoded as they are used.
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
    "tiny-imagenet": ImageSet(
        "zh-plus/tiny-imagenet", 200, 64, test="valid"
    ),  # ImageNet-200 of the paper
    "imagenet": ImageSet("ILSVRC/imagenet-1k", 1000, 0, test="validation"),
}

CIFAR10 = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")


@dataclass(frozen=True)
class Images:
    """`windows` int8 [N, T_in, 3, H, W], the same image at every step; `labels` int64 [N] into `classes`."""

    windows: np.ndarray
    labels: np.ndarray
    classes: tuple[str, ...]


class Decoded:
    """Stands in for an array int8 [N, T_in, 3, H, W] of images that are decoded when they are asked for: indexed along N."""

    nbytes = 0
    dtype = np.dtype(np.int8)

    def __init__(self, rows: Dataset, column: str, size: int, steps: int, what: str) -> None:
        self._rows, self._column, self._what = rows, column, what
        self.shape = (len(rows), steps, 3, size, size)

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, chosen: np.ndarray | slice) -> np.ndarray:
        return self.read(np.arange(len(self))[chosen])

    def read(self, chosen: np.ndarray, *, zoom: float = 0.0, seed: int = 0) -> np.ndarray:
        """The images of the indices `chosen`, their middle cut out; with `zoom`, a random part of at least that share of the area.

        What part is drawn from `seed` and the image's index, wherever and whenever it is read. Raises DataError.
        """
        size = self.shape[-1]
        with ThreadPoolExecutor(READERS) as readers:
            found = readers.map(lambda index: self._one(int(index), size, zoom, seed), chosen)
            return _as_windows(list(found), self.shape[1])

    def _one(self, index: int, size: int, zoom: float, seed: int) -> np.ndarray:
        cut = (
            partial(_part, generator=np.random.default_rng((seed, index)), least=zoom)
            if zoom
            else _middle
        )
        return _decoded(
            self._rows[index][self._column],
            f"{self._what} image {index}",
            lambda image: cut(image, size),
        )


def load_images(
    name: str,
    *,
    split: str,
    steps: int = 1,
    size: int = 0,
    first: int = 0,
    per_class: int = 0,
    root: str | Path | None = None,
    cache: str | Path | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Images:
    """The images of data set `name`, of its `split` "train" or "test", in their order; from the folder `root`, or else from the hub.

    An image enters at each of `steps` input steps. `size` is the height and width to which images are brought (0: as they are); only the
    `first` classes are taken, and the first `per_class` images of each (0: all); `cache` is the folder in which the library keeps what it
    has read (default: its own). Images of one size are decoded at once, and `progress(done, total)` is called; those of different sizes when
    they are used. Raises DataError for a missing package, for a hub that cannot be reached, and for files that are missing, damaged or of
    another layout.
    """
    for package in ("datasets", "PIL"):
        if importlib.util.find_spec(package) is None:
            raise DataError(
                f"images need the package {package!r}; run: pip install 'lmht-deploy[images]'"
            )
    chosen = SETS[name]
    rows = _rows(name, chosen, split, root, cache)
    what = f"{root or chosen.hub}: {split}"
    labels = _labels(rows, name, what)
    if first:
        rows, labels = rows.select(np.flatnonzero(labels < first)), labels[labels < first]
    if per_class:
        taken = np.sort(
            np.concatenate(
                [np.flatnonzero(labels == label)[:per_class] for label in np.unique(labels)]
            )
        )
        rows, labels = rows.select(taken), labels[taken]
    if not len(rows):
        raise DataError(
            f"{what} holds no image" + (f" of the first {first} classes" if first else "")
        )
    classes = _classes(name, rows)[: first or None]
    if not chosen.size:
        if not size:
            raise DataError(f"the images of {name} differ in size: give data.size, 224 for example")
        return Images(
            cast("np.ndarray", Decoded(rows, chosen.image, size, steps, what)), labels, classes
        )
    pixels = []
    for index, image in enumerate(rows[chosen.image]):
        pixels.append(
            _decoded(
                image,
                f"{what} image {index}",
                (lambda image: _middle(image, size)) if size else None,
            )
        )
        if progress:
            progress(index + 1, len(rows))
    if len({array.shape for array in pixels}) > 1:
        raise DataError(
            f"{what} images have different sizes; they must be of one, or data.size must say which"
        )
    return Images(_as_windows(pixels, steps), labels, classes)


def _rows(
    name: str, chosen: ImageSet, split: str, root: str | Path | None, cache: str | Path | None
) -> Dataset:
    """The rows of one split, with images as {bytes, path} that nobody has decoded."""
    import datasets

    source: dict[str, Any] = {
        "path": chosen.hub,
        "split": chosen.test if split == "test" else split,
    }
    if root is not None:
        names = [chosen.test, "test", "val"] if split == "test" else [split]
        files = next(
            (
                found
                for part in names
                if (found := sorted(map(str, Path(root).rglob(f"{part}*.parquet"))))
            ),
            None,
        )
        if files is None:
            raise DataError(f"{root}: there is no file {names[0]}*.parquet of {name}")
        if len(folders := {str(Path(file).parent) for file in files}) > 1:
            raise DataError(
                f"{root}: there are {split} files in several folders ({', '.join(sorted(folders))}); give one of them as the root"
            )
        source = {
            "path": "parquet",
            "data_files": files,
            "split": "train",
        }  # whatever the files hold is called so
    with _quiet(bars=root is None):
        try:
            rows = datasets.load_dataset(**source, cache_dir=None if cache is None else str(cache))
        except Exception as error:  # the library and the hub's client raise dozens of kinds
            raise DataError(_unreadable(name, chosen, root, error)) from None
    if missing := {chosen.image, chosen.label} - set(rows.column_names):
        there = ", ".join(rows.column_names)
        raise DataError(
            f"{root or chosen.hub}: {name} has the columns {chosen.image} {{bytes, path}} and {chosen.label}; {min(missing)} is not among {there}"
        )
    try:
        return rows.select_columns([chosen.image, chosen.label]).cast_column(
            chosen.image, datasets.Image(decode=False)
        )
    except Exception:  # of the library and of pyarrow, by what the column holds instead
        raise DataError(
            f"{root or chosen.hub}: the column {chosen.image} of {name} must hold {{bytes, path}}, not {rows.features[chosen.image]}"
        ) from None


@contextmanager
def _quiet(bars: bool) -> Iterator[None]:
    """Without what the library and the hub's client log before the error that says the same; `bars` of downloads may stay."""
    import datasets
    from datasets.utils import logging as of_library
    from huggingface_hub.utils import logging as of_client

    logs = (of_library, of_client)
    before = [log.get_verbosity() for log in logs]
    for log in logs:
        log.set_verbosity(log.CRITICAL)
    if not bars:
        datasets.disable_progress_bars()
    try:
        yield
    finally:
        for log, level in zip(logs, before, strict=True):
            log.set_verbosity(level)
        datasets.enable_progress_bars()


def _unreadable(name: str, chosen: ImageSet, root: str | Path | None, error: Exception) -> str:
    reason = (str(error.__cause__ or error).splitlines() or [type(error).__name__])[0]
    if root is not None:
        return f"{root}: cannot be read as Parquet files of {name} ({reason})"
    return (
        f"{name} could not be fetched from the hub as {chosen.hub} ({reason}); the files that came whole are kept: run it again, "
        "or give the root of a folder that holds its Parquet files"
    )


def _labels(rows: Dataset, name: str, what: str) -> np.ndarray:
    """The labels of all rows, int64 [N]; DataError where one is no class of data set `name`."""
    column, classes = SETS[name].label, SETS[name].classes
    labels = np.asarray(rows[column]) if len(rows) else np.zeros(0, np.int64)
    if labels.dtype.kind not in "iu":  # text, fractions, or nothing in some rows
        raise DataError(
            f"{what}: the column {column} must give every image the number of its class, 0..{classes - 1}"
        )
    if labels.min(initial=0) < 0 or labels.max(initial=0) >= classes:
        raise DataError(
            f"{what} labels of {name} lie within {labels.min()}..{labels.max()}, expected 0..{classes - 1}"
        )
    return labels.astype(np.int64)


def _classes(name: str, rows: Dataset) -> tuple[str, ...]:
    names = getattr(rows.features[SETS[name].label], "names", None)
    if names is None:  # plain Parquet files do not say
        return CIFAR10 if name == "cifar10" else tuple(map(str, range(SETS[name].classes)))
    return tuple(names)


# ------------------------------------------------------------------------------------------------ pixels


def _as_windows(pixels: list[np.ndarray], steps: int) -> np.ndarray:
    """uint8 [H, W, 3] each -> int8 [N, steps, 3, H, W], the steps of which share their memory."""
    windows = (np.stack(pixels).transpose(0, 3, 1, 2)[:, None] ^ 0x80).view(
        np.int8
    )  # the bits of grey level - 128
    return (
        windows
        if steps == 1
        else np.broadcast_to(windows, (len(windows), steps, *windows.shape[2:]))
    )


def _decoded(
    image: Mapping[str, bytes | None] | None, what: str, cut: Callable[[Image], Image] | None
) -> np.ndarray:
    from PIL import Image, UnidentifiedImageError

    if not image or not image["bytes"]:
        raise DataError(f"{what}: holds no bytes of an image")
    try:
        picture: Any = Image.open(io.BytesIO(image["bytes"])).convert("RGB")
        return np.asarray(cut(picture) if cut else picture)
    except UnidentifiedImageError:
        raise DataError(f"{what}: cannot be decoded (it has no format that is known)") from None
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise DataError(f"{what}: cannot be decoded ({error})") from None


def _middle(image: Image, size: int) -> Image:
    """`image` at `size` x `size`: as it is, or its middle."""
    if image.size == (size, size):
        return image
    side = min(image.size) / MARGIN
    left, top = (image.width - side) / 2, (image.height - side) / 2
    return _resized(image, size, (left, top, left + side, top + side))


def _part(image: Image, size: int, generator: np.random.Generator, least: float) -> Image:
    """A random part of `image` of at least the share `least` of its area, of an aspect ratio within 3/4..4/3 (Szegedy et al. 2015)."""
    area = image.width * image.height * generator.uniform(least, 1)
    ratio = np.exp(generator.uniform(np.log(3 / 4), np.log(4 / 3)))
    width, height = (
        min((area * ratio) ** 0.5, image.width),
        min((area / ratio) ** 0.5, image.height),
    )
    left, top = (
        generator.uniform(0, image.width - width),
        generator.uniform(0, image.height - height),
    )
    return _resized(image, size, (left, top, left + width, top + height))


def _resized(image: Image, size: int, box: tuple[float, float, float, float]) -> Image:
    from PIL.Image import Resampling

    return image.resize((size, size), Resampling.BILINEAR, box=box, reducing_gap=2.0)
