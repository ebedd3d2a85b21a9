"""The one loader of data."""

from __future__ import annotations

import operator
from collections.abc import Sequence
from pathlib import Path
from typing import SupportsIndex

import numpy as np

from lmht_deploy.errors import DataError
from lmht_deploy.events.arrays import Sensor, as_sensor
from lmht_deploy.events.windows import WindowRule
from lmht_deploy.formats.files import as_path
from lmht_deploy.formats.windows import load_windows

from . import images
from ._events import EventOptions, load_event_set, load_recording
from ._recordings import check_split
from ._registry import is_event_set, unknown_data_set
from ._windows import Kind, Progress, Windows


def load(
    source: str | Path,
    *,
    split: str = "test",
    steps: int,
    size: int | Sequence[int] | None = None,
    max_count: int = 255,
    sensor: Sensor | tuple[int, int] | None = None,
    root: str | Path | None = None,
    subset: bool = False,
    drop: bool = False,
    classes: int = 0,
    cache: str | Path | None = None,
    progress: Progress | None = None,
) -> Windows:
    """Read a data set, a recording or a file of windows.

    Args:
        source: Name of a data set (see `available`), `tonic:<Class>` for another class of
            `tonic.datasets`, path of a recording, or path of an `.npz` file that
            `save_windows` wrote.
        split: "train" or "test". Recordings and `.npz` files have no splits.
        steps: Input steps T_in. A recording becomes one window of T_in time bins of equal length;
            an image is repeated T_in times; an `.npz` file must have this T_in.
        size: Height and width of the windows, or one number for both. Events are down-sampled by
            address and images are resized; an `.npz` file must have this size. Default: the size of
            the sensor or of the images.
        max_count: Largest number of events per pixel, polarity and step. Larger counts are clipped
            and reported in `provenance`. It has no effect on images and `.npz` files.
        sensor: (height, width) of the sensor, for a recording, or for the data set "folder" (your
            own recordings), if the files do not state it.
        root: Folder of the data set. An image data set without `root` is read from the Hugging Face
            hub.
        subset: Accept a data set that is not complete.
        drop: Drop and count invalid events instead of raising an error.
        classes: Take only the first `classes` classes of an image data set. 0: all.
        cache: Folder that keeps the windows for the next call with the same arguments and files.
            Data sets only.
        progress: Called as `progress(done, total)` after each recording or image. Data sets only.

    Returns:
        The windows, their labels if they are known, the names of the classes, and where the data
        comes from.

    Raises:
        DataError: An argument is not valid, the source is unknown, missing, incomplete or damaged,
            its windows do not have the given `steps` or `size`, or a package is not installed.
        StorageError: A file is missing or cannot be read.

    Shape:
        windows: integers `[N, T_in, C, H, W]`.
        labels: int64 `[N]`.

    Example:
        >>> load("digits", split="train", steps=4).windows.shape
        (1438, 4, 2, 16, 16)
    """
    name, split, window_size = str(as_path(source)), check_split(split), _size(size)
    root = None if root is None else as_path(root)
    if not isinstance(max_count, int | np.integer):
        raise DataError(f"max_count must be an integer, not {max_count!r}")
    if name in images.SETS:
        return images.load_images(
            name,
            split=split,
            steps=steps,
            size=_side(name, window_size),
            max_classes=classes,
            root=root,
            cache=cache,
            progress=progress,
        )
    if classes:
        raise DataError(f"{name}: only image data sets can be limited to their first classes")
    given = None if sensor is None else as_sensor(sensor)
    options = EventOptions(WindowRule(steps), window_size, max_count, given, drop)
    if not is_event_set(name):
        return _load_path(Path(source), options)
    return load_event_set(
        name, options, split=split, root=root, subset=subset, cache=cache, progress=progress
    )


def _load_path(path: Path, options: EventOptions) -> Windows:
    """Load a file: windows or a recording."""
    if path.is_dir():
        raise DataError(f"{path}: is a folder; load 'folder' with this folder as its root")
    if path.suffix.lower() == ".npz":
        return _load_window_file(path, options.rule.steps, options.size)
    if path.suffix:
        return load_recording(path, options)
    raise DataError(unknown_data_set(str(path)))


def _size(size: int | Sequence[int] | None) -> Sensor | None:
    """`size` as (height, width); DataError if it is not one number or two, or not positive."""
    if size is None:
        return None
    try:
        sides = (size, size) if isinstance(size, SupportsIndex) else size
        height, width = map(operator.index, sides)
    except (TypeError, ValueError):
        height = width = 0
    if height < 1 or width < 1:
        raise DataError(f"size must be (height, width) or one number, in pixels, not {size!r}")
    return Sensor(height, width)


def _side(name: str, size: Sensor | None) -> int:
    """Side of the square images; 0 for the size that they have."""
    if size is None:
        return 0
    if size.height != size.width:
        raise DataError(f"{name}: images become squares; size must not be {tuple(size)}")
    return size.height


def _load_window_file(path: Path, steps: int, size: Sensor | None) -> Windows:
    """Windows of an `.npz` file, which must have the given `steps` and `size`.

    The file does not state its kind. Only pixels can be negative.
    """
    windows, labels = load_windows(path)
    if windows.shape[1] != steps or (size is not None and windows.shape[3:] != size):
        pixels = f"{size.height}, {size.width}" if size else "H, W"
        raise DataError(
            f"{path}: windows must have shape [N, {steps}, C, {pixels}], not {list(windows.shape)}"
        )
    kind: Kind = "image" if windows.dtype.kind == "i" and windows.min() < 0 else "events"
    return Windows(windows, labels, (), kind, {"data": str(path)})
