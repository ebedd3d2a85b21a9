"""Your own recordings: one folder for each class."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from lmht_deploy.errors import DataError
from lmht_deploy.events.arrays import Sensor
from lmht_deploy.events.recordings import SUFFIXES, open_recording

from ._labels import order_classes
from ._recordings import Recordings, Split, split_by_class
from ._splits import SYNONYMS


def load_folder_recordings(root: Path | None, split: Split, sensor: Sensor | None) -> Recordings:
    """Find the recordings of one split, in the order of the names of classes and files.

    Args:
        root: Folder with recordings in <class>, which is split in each class; or with
            {train,test}/<class>; or with recordings of no class, which are in every split.
            Folders in a class are searched, too.
        split: "train", "test" or "all".
        sensor: Size of the sensor, if the files do not name it (N-CARS: 100 x 120).

    Raises:
        DataError: There is nothing to read, or too little to be split.
    """
    root = require_folder(root)
    homes = _find_splits(root)
    if homes:
        wanted = ["train", "test"] if split == "all" else [split]
        chosen = [homes[part] for part in wanted]
        paths, labels, classes = _find_recordings(chosen, list(homes.values()))
    else:
        paths, labels, classes = _find_recordings([root], [root])
    if labels is not None and not homes:
        index = split_by_class(labels, split)
        paths, labels = [paths[number] for number in index], labels[index]
        if len(set(labels)) < len(classes):
            raise DataError(
                f"{root}: a class has too few recordings to be split into train and test"
            )
    first = open_recording(paths[0], sensor).sensor
    names = [path.relative_to(root).as_posix() for path in paths]
    origin = {"source": "folders of recordings"}
    events = _read_all(paths, sensor, first)
    return Recordings(events, names, labels, classes, first, origin, paths)


def require_folder(root: Path | None) -> Path:
    """Return the folder of recordings; DataError if there is none."""
    if root is None or not root.is_dir():
        what = f"{root}: there is no such folder" if root else "folder"
        raise DataError(
            f"{what}; give a root with one folder of recordings for each class, or with the"
            " folders train and test that hold them"
        )
    return root


def _folders(home: Path) -> list[Path]:
    """Folders in `home`, in order; hidden ones are skipped."""
    return sorted(p for p in home.iterdir() if p.is_dir() and not p.name.startswith("."))


def _find_splits(root: Path) -> dict[str, Path]:
    """Folders of the splits; empty if the train or the test split has none."""
    found: dict[str, Path] = {}
    for folder in _folders(root):
        if split := SYNONYMS.get(folder.name.lower()):
            if split in found:
                raise DataError(
                    f"{root}: {found[split].name} and {folder.name} are both the {split} split"
                )
            found[split] = folder
    return found if {"train", "test"} <= set(found) else {}


def _find_recordings(
    homes: list[Path], all_homes: list[Path]
) -> tuple[list[Path], np.ndarray | None, tuple[str, ...]]:
    """Find the recordings in `homes`.

    Returns:
        Paths; labels int64 `[N]`, None if there are no folders of classes; and the classes of
        `all_homes`, so that a label means the same in each split.
    """
    classes = order_classes(folder.name for home in all_homes for folder in _folders(home))
    if not classes:
        return _unlabeled(homes), None, ()
    paths: list[Path] = []
    labels: list[int] = []
    for home in homes:
        for folder in sorted(_folders(home), key=lambda folder: classes.index(folder.name)):
            found = _recordings_in(folder, "**/*")
            if not found:
                raise DataError(f"{folder}: holds no recording ({', '.join(SUFFIXES)})")
            paths += found
            labels += [classes.index(folder.name)] * len(found)
    if not paths:
        raise DataError(f"{homes[0]}: holds no folder of recordings; expected <class>/<recording>")
    return paths, np.array(labels, np.int64), classes


def _unlabeled(homes: list[Path]) -> list[Path]:
    paths = [path for home in homes for path in _recordings_in(home, "*")]
    if not paths:
        raise DataError(
            f"{homes[0]}: holds no folder of recordings, and no recording; expected"
            " <class>/<recording>"
        )
    return paths


def _recordings_in(folder: Path, pattern: str) -> list[Path]:
    """Recordings in a folder, in order; hidden files such as `._a.raw` of macOS are skipped."""
    return sorted(
        path
        for path in folder.glob(pattern)
        if path.suffix.lower() in SUFFIXES
        and path.is_file()
        and not any(part.startswith(".") for part in path.relative_to(folder).parts)
    )


def _read_all(paths: list[Path], given: Sensor | None, first: Sensor) -> Iterator[np.ndarray]:
    for path in paths:
        stream = open_recording(path, given)
        if stream.sensor != first:
            raise DataError(
                f"{path}: its sensor has {stream.sensor.width} x {stream.sensor.height} pixels,"
                f" that of the first recording {first.width} x {first.height}"
            )
        packets = list(stream.packets)
        if not sum(map(len, packets)):
            raise DataError(f"{path}: holds no event")
        yield np.concatenate(packets)
