"""Pixels of images: decoding, cropping, and the integers that they become."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from lmht_deploy.errors import DataError

from ._windows import Progress

if TYPE_CHECKING:
    from PIL.Image import Image

READERS = 8
"""Threads that decode images on access."""

MARGIN = 8 / 7
"""Shorter side of an image, in sides of its center crop (256 for 224, as is usual)."""

Content = Mapping[str, bytes | None] | np.ndarray | None
"""An image before it is decoded: {"bytes"} of a file, or its pixels uint8 `[H, W, 3]`."""
Crop = Callable[["Image"], "Image"]


class Source(Protocol):
    """The images of a data set before they are decoded."""

    def __getitem__(self, index: int) -> Content:
        """Return one image; any thread may call it."""
        ...

    def iterate(self, chosen: np.ndarray) -> Iterable[Content]:
        """Yield the images with the indices `chosen`."""
        ...

    def name(self, index: int) -> str:
        """Return how messages call an image."""
        ...


class LazyImages:
    """Array-like int8 `[N, T_in, 3, H, W]` of images that are decoded on access.

    Only the first axis can be indexed, by a slice or an index array. The result is an array.
    """

    nbytes = 0
    dtype = np.dtype(np.int8)

    def __init__(self, source: Source, chosen: np.ndarray, size: int, steps: int) -> None:
        """Decode the images `chosen` of `source`."""
        self._source, self._chosen = source, chosen
        self.shape = (len(chosen), steps, 3, size, size)

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
        position = int(self._chosen[index])
        return _decode(
            self._source[position],
            self._source.name(position),
            lambda image: crop(image, self.shape[-1]),
        )


def decode_all(
    source: Source, chosen: np.ndarray, what: str, size: int, steps: int, progress: Progress | None
) -> np.ndarray:
    """Decode images, which must have one size.

    Args:
        source: The images.
        chosen: Indices of the images.
        what: Stands for them in messages.
        size: Height and width to which images are resized. 0: as they are.
        steps: Input steps T_in.
        progress: Called after each image.

    Returns:
        int8 `[N, T_in, 3, H, W]`.
    """
    crop = partial(_crop_center, size=size) if size else None
    pixels = []
    for done, (index, image) in enumerate(zip(chosen, source.iterate(chosen), strict=True), 1):
        pixels.append(_decode(image, source.name(int(index)), crop))
        if progress:
            progress(done, len(chosen))
    if len({array.shape for array in pixels}) > 1:
        raise DataError(
            f"{what} have different sizes; give the size that they are resized to"
            " (in a recipe: data.size)"
        )
    return _to_windows(pixels, steps)


def _to_windows(pixels: list[np.ndarray], steps: int) -> np.ndarray:
    """int8 `[N, steps, 3, H, W]` of images uint8 `[H, W, 3]`; the steps share their memory."""
    signed = (np.stack(pixels) ^ 0x80).view(np.int8)  # the bits of gray level - 128
    windows = signed.transpose(0, 3, 1, 2)[:, None]
    if steps == 1:
        return windows
    return np.broadcast_to(windows, (len(windows), steps, *windows.shape[2:]))


def _decode(image: Content, name: str, crop: Crop | None) -> np.ndarray:
    """Pixels uint8 `[H, W, 3]`, after `crop`."""
    from PIL import Image, UnidentifiedImageError

    if isinstance(image, np.ndarray):
        return np.asarray(crop(Image.fromarray(image))) if crop else image
    if not image or not image["bytes"]:
        raise DataError(f"{name}: holds no bytes of an image")
    try:
        picture: Any = Image.open(io.BytesIO(image["bytes"]))
        if picture.mode.startswith(("I", "F")):
            raise ValueError("its pixels have more than 8 bits per channel")
        picture = picture.convert("RGB")
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
