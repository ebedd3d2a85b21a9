"""The one loader of data."""

from __future__ import annotations

import operator
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from types import NoneType
from typing import SupportsIndex

import numpy as np

from lmht_deploy._arguments import INTEGER, check_types
from lmht_deploy.errors import DataError
from lmht_deploy.events.arrays import Sensor, as_sensor
from lmht_deploy.events.windows import WindowRule
from lmht_deploy.formats.files import as_path
from lmht_deploy.formats.windows import load_windows

from . import images
from ._counting import EventOptions
from ._events import load_event_set, load_recording
from ._labels import class_list
from ._listing import Choice, naming, select
from ._sources import Source, find_source
from ._splits import Split, SplitRule, check_split
from ._windows import Kind, Progress, Windows


@check_types(
    DataError,
    split=(str, NoneType),
    by=str,
    length=INTEGER,
    hop=INTEGER,
    max_classes=INTEGER,
    split_rule=(SplitRule, NoneType),
    track=(str, int, NoneType),
    memory_map=bool,
    progress=(Callable, NoneType),
)
def load(
    source: str | Path,
    *,
    split: str | None = None,
    steps: int | None = None,
    by: str = "recording",
    length: int = 0,
    hop: int = 0,
    incomplete: bool = False,
    size: int | Sequence[int] | None = None,
    max_count: int = 255,
    sensor: Sensor | tuple[int, int] | None = None,
    track: str | int | None = None,
    root: str | Path | None = None,
    subset: bool = False,
    drop: bool = False,
    classes: Sequence[str] = (),
    max_classes: int = 0,
    split_rule: SplitRule | None = None,
    cache: str | Path | None = None,
    memory_map: bool = False,
    progress: Progress | None = None,
) -> Windows:
    """Read a data set, your own recordings or a file of windows.

    Args:
        source: Name of a data set (see `available`); `tonic:<Class>` for another class of
            `tonic.datasets`; a folder of recordings, with one folder for each class; a recording;
            `zoo:<name>` for the recording of a network of the zoo; or an `.npz` file that
            `save_windows` wrote.
        split: "train", "validation", "test" or "all". Default: "test" for data sets and for folders
            of classes, "all" for a file and for a folder without classes. Data without splits of
            its own is divided as `split_rule` says.
        steps: Input steps T_in, the number of time bins of a window. An image is repeated T_in
            times; an `.npz` file must have this T_in. Default: that of the `.npz` file; all other
            data needs it.
        by: How recordings are cut into windows: "recording", "time" or "events", see
            `WindowRule`. It has no effect on images and `.npz` files.
        length: Length of a window in us (by time) or events (by events), a multiple of `steps`.
        hop: Bins between the starts of two windows. 0: `steps`, windows do not overlap.
        incomplete: Also return the last window of a recording if the recording ends before it. A
            recording that is shorter than a window always makes one.
        size: Height and width of the windows, or one number for both. Events are down-sampled by
            address and images are resized; an `.npz` file must have this size. Default: the size of
            the sensor or of the images.
        max_count: Largest number of events per pixel, polarity and step. Larger counts are clipped
            and reported in `provenance`. It has no effect on images and `.npz` files.
        sensor: (height, width) of the sensor, for your own recordings, if the files do not state
            it.
        track: Which events to read from your own recordings, if they hold several tracks, as in
            `lmht_deploy.events.open_recording`.
        root: Folder of the data set. An image data set without `root` is read from the Hugging Face
            hub. "folder" stands for your own recordings in `root`.
        subset: Accept a data set that is not complete.
        drop: Drop and count invalid events instead of raising an error.
        classes: Classes to use, in the order of the new labels: "NAME", or "OLD=NEW" to rename a
            class. Classes with equal new names become one class. Empty: all.
        max_classes: Use only the first `max_classes` classes. 0: all.
        split_rule: How files are labeled and grouped, and how recordings are divided into splits.
            Default: each class 9 : 1 by recording, with a fixed seed.
        cache: Folder that keeps the windows for the next call with the same options and the same
            content of the files. It grows to at most 8 GiB; files that were not used for longest
            are removed. Data sets and folders only, and `.npz` files with `memory_map`.
        memory_map: Map the windows into memory: for data that is larger than memory, and for
            processes that share it. Windows of events are written to a file in `cache`, recording
            by recording. An `.npz` file is mapped; if it is compressed, it is unpacked to a file in
            `cache` that goes away with the windows. Other data, and an `.npz` file without `cache`,
            is read as a whole.
        progress: Called as `progress(done, total)` after each recording or image. Data sets and
            folders only.

    Returns:
        The windows, their labels if they are known, the names of the classes, the recordings, and
        where the data comes from.

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
    chosen = None if split is None else check_split(split)
    window_size, given = _size(size), None if sensor is None else as_sensor(sensor)
    if not isinstance(max_count, int | np.integer):
        raise DataError(f"max_count must be an integer, not {max_count!r}")
    found = find_source(source, root)
    if track is not None and found.kind != "recording" and found.name != "folder":
        raise DataError(f"{found.name}: is not a recording; track chooses among its events")
    choice = Choice(chosen or "test", split_rule or SplitRule(), class_list(classes), max_classes)
    if found.kind == "windows":
        all_windows = choice if chosen else replace(choice, split="all")
        folder = as_path(cache) if memory_map and cache is not None else None
        return _load_window_file(found.path, steps, window_size, all_windows, folder)
    rule = WindowRule(_required(found, steps), by, length, hop)  # type: ignore[arg-type]
    if found.kind == "image-folder":
        return images.load_image_folder(
            found.root,
            choice,
            size=_side(found.name, window_size),
            steps=rule.steps,
            progress=progress,
        )
    if found.kind == "images":
        return images.load_images(
            found.name,
            split=choice.split,
            steps=rule.steps,
            size=_side(found.name, window_size),
            classes=choice.classes,
            max_classes=max_classes,
            rule=choice.rule,
            root=found.root,
            cache=cache,
            progress=progress,
        )
    chosen_track = None if track is None else str(track)
    options = EventOptions(rule, window_size, max_count, given, chosen_track, drop, incomplete)
    if found.kind == "recording":
        return load_recording(_whole(found, chosen), options)
    return load_event_set(
        found.name,
        options,
        source=str(source),
        choice=choice,
        root=found.root,
        subset=subset,
        cache=None if cache is None else as_path(cache),
        progress=progress,
        memory_map=memory_map,
    )


def _required(found: Source, steps: int | None) -> int:
    if steps is None:
        raise DataError(f"{found.name}: the number of input steps T_in is not known; give steps")
    return steps


def _whole(found: Source, split: Split | None) -> Path:
    """Path of a recording, which has no splits."""
    if split not in (None, "all"):
        raise DataError(f"{found.path}: is one recording, and has no {split} split")
    return found.path


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


def _as_they_are(shape: tuple[int, ...]) -> str:
    """How to use windows of `shape` as they are; empty if they are not squares."""
    if len(shape) != 5 or shape[3] != shape[4]:
        return ""
    return (
        f"; to use them as they are, set steps to {shape[1]} and size to {shape[3]} (data.steps and"
        " data.size in a recipe)"
    )


def _load_window_file(
    path: Path, steps: int | None, size: Sensor | None, choice: Choice, folder: Path | None
) -> Windows:
    """Windows of an `.npz` file, which must have the given `steps` and `size`.

    With a folder, they are mapped into memory. The file does not state its kind. Only pixels can be
    negative.
    """
    windows, labels, classes = load_windows(path, folder)
    wanted = windows.shape[1] if steps is None else steps
    if windows.shape[1] != wanted or (size is not None and windows.shape[3:] != size):
        pixels = f"{size.height}, {size.width}" if size else "H, W"
        raise DataError(
            f"{path}: windows must have shape [N, {wanted}, C, {pixels}], not {list(windows.shape)}"
            f"{_as_they_are(windows.shape)}"
        )
    kind: Kind = "image" if windows.dtype.kind == "i" and windows.min() < 0 else "events"
    found = Windows(windows, labels, classes, kind, {"data": str(path)})
    return found if choice == Choice("all", choice.rule) else _select_windows(found, choice)


def _select_windows(found: Windows, choice: Choice) -> Windows:
    """Windows of one split, which are divided one by one: an `.npz` file has no recordings."""
    labels = found.require_labels()
    classes = found.classes or tuple(map(str, range(int(labels.max()) + 1)))
    names = [f"window {index:09}" for index in range(len(labels))]
    with naming(str(found.provenance["data"])):
        if labels.min() < 0:
            raise DataError(f"a label is {labels.min()}; labels must not be negative")
        chosen = select(names, labels, classes, choice, what="window")
    provenance = {**found.provenance, "split": choice.split, **chosen.origin}
    return replace(
        found[chosen.index], labels=chosen.labels, classes=chosen.classes, provenance=provenance
    )
