"""Your own labeled recordings: one folder for each class."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from lmht_deploy.errors import DataError
from lmht_deploy.events.arrays import Sensor
from lmht_deploy.events.recordings import SUFFIXES, open_recording

from ._recordings import Recordings, Split, split_by_class


def load_folder_recordings(root: Path | None, split: Split, sensor: Sensor | None) -> Recordings:
    """Find the recordings of one split, in the order of the names of classes and files.

    Args:
        root: Folder with <class>/<file>, which is split in each class, or with
            {train,test}/<class>/<file>.
        split: "train" or "test".
        sensor: Size of the sensor, if the files do not name it (N-CARS: 100 x 120).

    Raises:
        DataError: There is nothing to read, or too little to be split.
    """
    if root is None or not root.is_dir():
        raise DataError(
            f"{root or 'folder'}: give a root with one folder of recordings for each class, or"
            " with the folders train and test that hold them"
        )
    has_splits = (root / "train").is_dir() and (root / "test").is_dir()
    files = _find_files(root / split if has_splits else root)
    classes = _all_classes(root) if has_splits else tuple(files)
    paths = [path for found in files.values() for path in found]
    labels = np.repeat([classes.index(name) for name in files], [len(f) for f in files.values()])
    if not has_splits:
        chosen = split_by_class(labels, split)
        paths, labels = [paths[index] for index in chosen], labels[chosen]
        if len(set(labels)) < len(classes):
            raise DataError(
                f"{root}: a class has too few recordings to be split into train and test"
            )
    first = open_recording(paths[0], sensor).sensor
    origin = {"source": "folders of recordings"}
    return Recordings(_read_all(paths, sensor, first), labels, classes, first, origin, paths)


def _all_classes(root: Path) -> tuple[str, ...]:
    """Classes of both splits, so that a label means the same in each of them."""
    return tuple(sorted({*_classes(root / "train"), *_classes(root / "test")}))


def _classes(home: Path) -> list[str]:
    """Names of the folders of classes, in order; hidden folders are skipped."""
    return sorted(p.name for p in home.iterdir() if p.is_dir() and not p.name.startswith("."))


def _recordings_in(folder: Path) -> list[Path]:
    """Recordings of a class, in order; hidden files such as `._a.raw` of macOS are skipped."""
    return sorted(
        path
        for path in folder.iterdir()
        if path.suffix.lower() in SUFFIXES and not path.name.startswith(".")
    )


def _find_files(home: Path) -> dict[str, list[Path]]:
    """Recordings of each class; DataError if there is no class, or one without recordings."""
    files = {name: _recordings_in(home / name) for name in _classes(home)}
    if empty := [name for name in files if not files[name]]:
        raise DataError(f"{home / empty[0]}: holds no recording ({', '.join(SUFFIXES)})")
    if not files:
        raise DataError(f"{home}: holds no folder of recordings; expected <class>/<recording>")
    return files


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
