"""Labelled recordings of one's own: a folder a class, in any format that `recordings` reads."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from lmht_deploy.errors import DataError
from lmht_deploy.events.arrays import Sensor
from lmht_deploy.events.recordings import OPENERS, open_recording

from .sources import Recordings, Split, split_by_class

TRAIN_SHARE = 0.9
"""Share of every class that trains, where the folder has no split of its own."""


def folder_set(root: Path | None, split: Split, sensor: Sensor | None) -> Recordings:
    """`root`/{train,test}/<class>/<file>, or `root`/<class>/<file> split per class; classes and files in the order of their names.

    `sensor` is needed where the files do not name it (N-CARS: 100 x 120). Raises DataError where there is nothing to read.
    """
    if root is None or not root.is_dir():
        raise DataError(
            f"{root or 'a data set of folders'}: give the root that holds a folder of recordings a class, or train and test with such folders"
        )
    own_split = (root / "train").is_dir() and (root / "test").is_dir()
    home = root / split if own_split else root
    classes = tuple(
        sorted(
            path.name for path in home.iterdir() if path.is_dir() and not path.name.startswith(".")
        )
    )
    files = {
        name: sorted(path for path in (home / name).iterdir() if path.suffix.lower() in OPENERS)
        for name in classes
    }
    if empty := [name for name in classes if not files[name]]:
        raise DataError(f"{home / empty[0]}: holds no recording ({', '.join(OPENERS)})")
    if not classes:
        raise DataError(f"{home}: holds no folder of recordings; expected <class>/<recording>")
    paths = [path for name in classes for path in files[name]]
    labels = np.repeat(np.arange(len(classes)), [len(files[name]) for name in classes])
    chosen = np.arange(len(labels)) if own_split else split_by_class(labels, TRAIN_SHARE, split)
    if len(set(labels[chosen])) < len(classes):
        raise DataError(f"{home}: a class has too few recordings to be split into train and test")
    paths = [paths[index] for index in chosen]
    first = open_recording(paths[0], sensor).sensor
    return Recordings(
        _read_all(paths, sensor, first),
        labels[chosen],
        classes,
        first,
        {"source": "folders of recordings"},
        paths,
    )


def _read_all(paths: list[Path], given: Sensor | None, first: Sensor) -> Iterator[np.ndarray]:
    for path in paths:
        recording = open_recording(path, given)
        if recording.sensor != first:
            raise DataError(
                f"{path}: its sensor is {recording.sensor}, that of the first recording {first}"
            )
        yield np.concatenate(list(recording.packets))
