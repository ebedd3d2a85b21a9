"""Labeled recordings as windows, and the cache of them."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from lmht_deploy.errors import DataError
from lmht_deploy.events.arrays import EventValidator, Sensor
from lmht_deploy.events.recordings import read_events
from lmht_deploy.events.windows import WindowRule, clip_counts, count_windows
from lmht_deploy.formats.files import atomic_write

from ._digits import load_digits_recordings
from ._folders import load_folder_recordings
from ._listing import Choice
from ._recordings import Recordings, Split
from ._tonic import load_nmnist_recordings, load_tonic_recordings
from ._windows import Progress, Windows

CACHE_VERSION = 1
"""Changes whenever the same data would become other windows."""


@dataclass(frozen=True)
class EventOptions:
    """How recordings become windows; see the arguments of `lmht_deploy.data.load`."""

    rule: WindowRule
    size: Sensor | None
    max_count: int
    sensor: Sensor | None
    drop: bool

    def describe(self, sensor: Sensor) -> dict[str, Any]:
        """Provenance of windows from a sensor of size `sensor`."""
        return {
            "rule": asdict(self.rule),
            "size": list(self.size or sensor),
            "sensor": list(sensor),
            "max_count": self.max_count,
            "drop": self.drop,
        }


def load_event_set(
    name: str,
    options: EventOptions,
    *,
    split: Split,
    root: Path | None,
    subset: bool,
    cache: str | Path | None,
    progress: Progress | None,
) -> Windows:
    """Load the event data set `name`; arguments as in `lmht_deploy.data.load`."""
    if options.sensor is not None and name != "folder":
        raise DataError(f"the sensor of {name!r} is known; only that of 'folder' can be given")
    recordings = _open(name, root, split, options.sensor, subset)
    provenance = {
        "data": name,
        "split": split,
        **options.describe(recordings.sensor),
        **recordings.origin,
    }
    if cache is None or not recordings.files:
        return _count_all(recordings, options, provenance, progress)
    key = _cache_key(provenance, recordings)
    path = Path(cache) / f"{name.replace(':', '-')}-{split}-{key}.npz"
    found = _read_cache(path, recordings) if path.is_file() else None
    if found is None:
        found = _count_all(recordings, options, provenance, progress)
        _write_cache(path, found)
    return found


def load_recording(path: Path, options: EventOptions) -> Windows:
    """Load one recording; arguments as in `lmht_deploy.data.load`."""
    events, sensor, dropped = read_events(path, options.sensor, drop=options.drop)
    counts = count_windows(events, sensor, options.rule, options.size)
    clipped, lost = clip_counts(counts, options.max_count)
    provenance = {"data": str(path), **options.describe(sensor)}
    losses = {"events": int(counts.sum()), "lost": lost, "dropped": sum(dropped.values())}
    return Windows(clipped, None, (), "events", provenance | {"recordings": 1} | losses)


def _open(
    name: str, root: Path | None, split: Split, sensor: Sensor | None, subset: bool
) -> Recordings:
    match name:
        case "digits":
            return load_digits_recordings(split)
        case "nmnist":
            return load_nmnist_recordings(root, split)
        case "folder":
            return load_folder_recordings(root, Choice(split), sensor)
    return load_tonic_recordings(name.removeprefix("tonic:"), root, split, subset)


def _count_all(
    recordings: Recordings,
    options: EventOptions,
    provenance: dict[str, Any],
    progress: Progress | None,
) -> Windows:
    """Count every recording into one window."""
    number = len(recordings.labels)
    counts = _allocate(number, options, recordings.sensor)
    losses = Counter(events=0, lost=0, dropped=0)
    for index, events in enumerate(recordings.events):
        try:
            counts[index], found = _count_one(events, recordings.sensor, options)
        except DataError as error:
            name = f"{provenance['data']}, {provenance['split']} recording {index}"
            raise DataError(f"{name}: {error}") from None
        losses.update(found)
        if progress:
            progress(index + 1, number)
    provenance = provenance | {"recordings": number} | losses
    return Windows(counts, recordings.labels, recordings.classes, "events", provenance)


def _count_one(
    events: np.ndarray, sensor: Sensor, options: EventOptions
) -> tuple[np.ndarray, dict[str, int]]:
    """The window of a recording, and how many events it counts, clips and drops."""
    validator = EventValidator(sensor, drop=options.drop)
    valid = validator.validate(events)
    (window,) = count_windows(valid, sensor, options.rule, options.size)
    clipped, lost = clip_counts(window, options.max_count)
    dropped = sum(validator.dropped.values())
    return clipped, {"events": len(valid), "lost": lost, "dropped": dropped}


def _allocate(number: int, options: EventOptions, sensor: Sensor) -> np.ndarray:
    shape = (number, options.rule.steps, 2, *(options.size or sensor))
    try:
        return np.empty(shape, np.uint8 if options.max_count <= 255 else np.uint16)
    except (MemoryError, ValueError):
        raise DataError(
            f"windows of shape {list(shape)} do not fit into memory; choose a smaller size"
        ) from None


# ---------------------------------------------------------------------------------------- the cache


def _cache_key(provenance: dict[str, Any], recordings: Recordings) -> str:
    """Hash of all that the windows depend on: settings, and name, size and time of every file."""
    stats = [(str(path), path.stat()) for path in recordings.files]
    files = [(name, stat.st_size, stat.st_mtime_ns) for name, stat in stats]
    key = json.dumps([CACHE_VERSION, provenance, files], sort_keys=True)
    return hashlib.sha256(key.encode()).hexdigest()[:16]


def _read_cache(path: Path, recordings: Recordings) -> Windows | None:
    """Read cached windows; None if the file is damaged, which is then written anew."""
    try:
        with path.open("rb") as file:
            content = np.load(file, allow_pickle=False)
            return Windows(
                content["windows"],
                content["labels"],
                recordings.classes,
                "events",
                json.loads(str(content["provenance"])),
            )
    except Exception:  # whatever a damaged file raises: the cache is only a shortcut
        return None


def _write_cache(path: Path, found: Windows) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    provenance = np.array(json.dumps(found.provenance))
    with atomic_write(path) as temporary, temporary.open("wb") as file:
        np.savez_compressed(
            file, windows=found.windows, labels=np.asarray(found.labels), provenance=provenance
        )
