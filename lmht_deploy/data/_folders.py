"""Your own labeled recordings: one folder for each class."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from lmht_deploy.errors import DataError
from lmht_deploy.events.arrays import Sensor
from lmht_deploy.events.recordings import SUFFIXES, open_recording

from ._listing import Choice, describe_classes, list_files, no_folder, select_files
from ._recordings import Recordings


def load_folder_recordings(
    root: Path | None, choice: Choice, sensor: Sensor | None, track: str | None = None
) -> Recordings:
    """Find the recordings of one split, in the order of their names.

    Args:
        root: Folder or table of the recordings, see `list_files`.
        choice: Split and classes.
        sensor: Size of the sensor, if the files do not name it (N-CARS: 100 x 120).
        track: Track of each recording, if they hold several.

    Raises:
        DataError: There is nothing to read, or too little to be split.
    """
    found = list_files(root, SUFFIXES, "recording", choice.rule)
    chosen = select_files(found, choice, "recording")
    names = [found.names[index] for index in chosen.index.tolist()]
    told = describe_classes(found, choice.rule) if choice.split != "test" else []
    notes = [f"{found.root}: {note}" for note in told] + chosen.origin.get("notes", [])
    paths = [found.root / name for name in names]
    first = open_recording(paths[0], sensor, track=track).sensor
    return Recordings(
        _read_all(paths, sensor, track, first),
        names,
        chosen.labels,
        chosen.classes,
        first,
        {"source": "folders of recordings", **chosen.origin, "notes": notes},
        paths,
    )


def require_folder(root: Path | None) -> Path:
    """Return the folder or the table of recordings; DataError if there is none."""
    if root is None or not (root.is_dir() or root.suffix.lower() == ".csv"):
        raise no_folder(root, "recording")
    return root


def _read_all(
    paths: list[Path], given: Sensor | None, track: str | None, first: Sensor
) -> Iterator[np.ndarray]:
    for path in paths:
        stream = open_recording(path, given, track=track)
        if stream.sensor != first:
            raise DataError(
                f"{path}: its sensor has {stream.sensor.width} x {stream.sensor.height} pixels,"
                f" that of the first recording {first.width} x {first.height}"
            )
        packets = list(stream.packets)
        if not sum(map(len, packets)):
            raise DataError(f"{path}: holds no event")
        yield np.concatenate(packets)
