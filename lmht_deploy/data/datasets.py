"""Data sets by name, as windows and labels.

    digits          the 1,797 handwritten digits of scikit-learn, moved before the emulated sensor: nothing to download
    nmnist          N-MNIST or a subset of it, read by Tonic from a folder or a zip
    tonic:<Class>   what `tonic.datasets` calls so (CIFAR10DVS, DVSGesture, POKERDVS, NCALTECH101, ASLDVS, DVSLip, ...)
    folder          recordings of one's own, a folder a class

Nothing is ever downloaded: where data is missing, a DataError says what is expected where.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from lmht_deploy.errors import DataError
from lmht_deploy.events.arrays import Door, Sensor
from lmht_deploy.events.windows import Rule, saturated, windows
from lmht_deploy.formats.files import atomic_write

from .digits import digits
from .folders import folder_set
from .sources import Recordings, Split
from .tonic_sets import nmnist, tonic_set

Progress = Callable[[int, int], None]
CACHE_VERSION = 1
"""Changes whenever the same data would be cut into other windows."""


@dataclass(frozen=True)
class Windows:
    """A labelled data set, ready to train on or to run.

    windows      uint8 or uint16 [N, T_in, 2, H, W]: counts of events
    labels       int64 [N]: index into `classes`
    sensor       size of the sensor that recorded them (before down-sampling to H, W)
    provenance   plain values that say what made them: data set, split, rule; events, and those lost to saturation or dropped
    """

    windows: np.ndarray
    labels: np.ndarray
    classes: tuple[str, ...]
    sensor: Sensor
    provenance: Mapping[str, Any]

    def __len__(self) -> int:
        return len(self.windows)


def load_events(
    name: str,
    *,
    root: str | Path | None = None,
    split: Split = "train",
    steps: int = 4,
    size: Sensor | tuple[int, ...] | int | None = None,
    max_count: int = 255,
    sensor: Sensor | None = None,
    subset: bool = False,
    drop: bool = False,
    cache: str | Path | None = None,
    progress: Progress | None = None,
) -> Windows:
    """The data set `name`, each recording as one window of `steps` equal time bins (`windows.Rule`).

    size      (H, W) of the windows, by address (default: that of the sensor)
    max_count      largest count; what lies above is clipped, and counted
    sensor    size of the sensor, for `folder` where its files do not name it
    subset    accept less than the complete data set of a `tonic:` name
    drop      drop and count events that do not fit, instead of refusing their recording
    cache     folder that keeps the windows, so that the next call with the same arguments and files need not read these
    progress  is called as `progress(done, total)` after each recording

    Raises DataError for an unknown name, a missing package, and data that is missing, incomplete or damaged.
    """
    if split not in ("train", "test"):
        raise DataError(f"a data set has the splits 'train' and 'test', not {split!r}")
    if sensor is not None and name != "folder":
        raise DataError(f"the sensor of {name!r} is known; only that of 'folder' can be given")
    rule = Rule(steps)
    recordings = _open(name, None if root is None else Path(root), split, sensor, subset)
    size = (
        recordings.sensor
        if size is None
        else Sensor(size, size)
        if isinstance(size, int)
        else Sensor(*size)
    )
    made = {
        "data": name,
        "split": split,
        "rule": asdict(rule),
        "size": list(size),
        "max_count": max_count,
        "drop": drop,
        **recordings.origin,
    }
    if cache is None or not recordings.files:
        return _cut(recordings, rule, size, made, progress)
    path = Path(cache) / f"{name.replace(':', '-')}-{split}-{_key(made, recordings)}.npz"
    if path.is_file() and (cached := _read(path, recordings)):
        return cached
    found = _cut(recordings, rule, size, made, progress)
    Path(cache).mkdir(parents=True, exist_ok=True)
    with atomic_write(path) as temporary, temporary.open("wb") as file:
        np.savez_compressed(
            file,
            windows=found.windows,
            labels=found.labels,
            provenance=np.array(json.dumps(found.provenance)),
        )
    return found


def _open(
    name: str, root: Path | None, split: Split, sensor: Sensor | None, subset: bool
) -> Recordings:
    kind, _, tonic_name = name.partition(":")
    match kind, tonic_name:
        case "digits", "":
            return digits(split)
        case "nmnist", "":
            return nmnist(root, split)
        case "folder", "":
            return folder_set(root, split, sensor)
        case "tonic", _ if tonic_name:
            return tonic_set(tonic_name, root, split, subset)
    images = "cifar10, cifar100, tiny-imagenet and imagenet (training.images)"
    raise DataError(
        f"unknown data set {name!r}; there are digits, nmnist, tonic:<class of tonic.datasets> and folder, and of images {images}"
    )


def _cut(
    recordings: Recordings,
    rule: Rule,
    size: Sensor,
    made: dict[str, Any],
    progress: Progress | None,
) -> Windows:
    number = len(recordings.labels)
    shape = (number, rule.steps, 2, *size)
    try:
        counts = np.empty(shape, np.uint8 if made["max_count"] <= 255 else np.uint16)
    except (MemoryError, ValueError):
        raise DataError(
            f"{made['data']}: windows of shape {list(shape)} do not fit the memory; choose a smaller size"
        ) from None
    events = lost = dropped = 0
    for index, recording in enumerate(recordings.events):
        door = Door(recordings.sensor, made["drop"])
        try:
            (window,) = windows(door.admit(recording), recordings.sensor, rule, size)
        except DataError as error:
            raise DataError(f"{made['data']}, {made['split']} recording {index}: {error}") from None
        counts[index], clipped = saturated(window, made["max_count"])
        events, lost, dropped = (
            events + int(window.sum()),
            lost + clipped,
            dropped + sum(door.dropped.values()),
        )
        if progress:
            progress(index + 1, number)
    provenance = {**made, "recordings": number, "events": events, "lost": lost, "dropped": dropped}
    return Windows(counts, recordings.labels, recordings.classes, recordings.sensor, provenance)


# ------------------------------------------------------------------------------------------------ the cache


def _key(made: dict[str, Any], recordings: Recordings) -> str:
    """What the windows depend on: how they are made, and the name, size and time of every file."""
    files = [
        (str(path), (stat := path.stat()).st_size, stat.st_mtime_ns) for path in recordings.files
    ]
    return hashlib.sha256(
        json.dumps([CACHE_VERSION, made, files], sort_keys=True).encode()
    ).hexdigest()[:16]


def _read(path: Path, recordings: Recordings) -> Windows | None:
    """What the cache holds at `path`; None where it is damaged, so that it is made anew."""
    try:
        with path.open("rb") as file:
            content = np.load(file, allow_pickle=False)
            provenance = json.loads(str(content["provenance"]))
            return Windows(
                content["windows"],
                content["labels"],
                recordings.classes,
                recordings.sensor,
                provenance,
            )
    except Exception:  # a cache is only ever a shortcut
        return None
