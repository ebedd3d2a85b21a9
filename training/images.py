"""Still images from Parquet files, as Hugging Face lays image data sets out: columns with the encoded file and its label.

    cifar10   CIFAR-10 (Krizhevsky 2009): train*.parquet and test*.parquet, columns img {bytes, path} and label

Pixels become integers around 0 (grey level - 128), so that the zeros of a padding are a medium grey.
"""

from __future__ import annotations

import importlib.util
import io
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from lmht_deploy.errors import DataError

LOW, HIGH = -128, 127
SCALE = 1 / 64
"""Real value of one grey level: pixels span -2..2."""

CLASSES = {"cifar10": ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")}


@dataclass(frozen=True)
class Images:
    """`windows` int8 [N, 1, 3, H, W]: every image one input step; `labels` int64 [N] into `classes`."""

    windows: np.ndarray
    labels: np.ndarray
    classes: tuple[str, ...]


def load(name: str, *, root: str | Path | None, split: str, progress: Callable[[int, int], None] | None = None) -> Images:
    """The images of data set `name` in the files `root`/`split`*.parquet, in their order.

    `progress(done, total)` is called as images are decoded. Raises DataError for a missing package, and for files that are
    missing, damaged or of another layout.
    """
    for package in ("pyarrow", "PIL"):
        if importlib.util.find_spec(package) is None:
            raise DataError(f"images need the package {package!r}; run: pip install 'lmht-deploy[images]'")
    if root is None:
        raise DataError(f"{name} is read from a folder: give the root that holds train*.parquet and test*.parquet")
    files = sorted(Path(root).glob(f"{split}*.parquet"))
    if not files:
        raise DataError(f"{root}: there is no file {split}*.parquet of {name}")
    encoded, labels = zip(*(_columns(file) for file in files), strict=True)
    images = [image for column in encoded for image in column]
    pixels = []
    for index, image in enumerate(images):
        pixels.append(_decoded(image, f"{root}: {split} image {index}"))
        if progress:
            progress(index + 1, len(images))
    if len({array.shape for array in pixels}) > 1:
        raise DataError(f"{root}: the {split} images have different sizes; they must be of one")
    windows = np.stack(pixels).transpose(0, 3, 1, 2)[:, None].astype(np.int16) - 128
    return Images(windows.astype(np.int8), np.concatenate(labels).astype(np.int64), CLASSES[name])


def _columns(file: Path) -> tuple[list[bytes], np.ndarray]:
    import pyarrow
    from pyarrow import parquet

    try:
        table = parquet.read_table(file, columns=["img", "label"])
        return [image["bytes"] for image in table["img"].to_pylist()], table["label"].to_numpy()
    except (pyarrow.ArrowException, OSError, KeyError, TypeError) as error:
        raise DataError(f"{file}: is not a Parquet file with the columns img {{bytes, path}} and label ({str(error).splitlines()[0]})") from None


def _decoded(image: bytes, what: str) -> np.ndarray:
    from PIL import Image, UnidentifiedImageError

    try:
        return np.asarray(Image.open(io.BytesIO(image)).convert("RGB"))
    except (UnidentifiedImageError, OSError, TypeError, ValueError) as error:
        raise DataError(f"{what}: cannot be decoded ({error})") from None
