"""Labeled recordings as windows, and the cache of them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict
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
from ._recordings import Recordings, Split
from ._tonic import load_nmnist_recordings, load_tonic_recordings
from ._windows import Progress, Windows

CACHE_VERSION = 1
"""Changes whenever the same data would become other windows."""


def load_event_set(
    name: str,
    *,
    split: Split,
    rule: WindowRule,
    size: Sensor | None,
    max_count: int,
    sensor: Sensor | None,
    root: Path | None,
    subset: bool,
    drop: bool,
    cache: str | Path | None,
    progress: Progress | None,
) -> Windows:
    """Load the event data set `name`; arguments as in `lmht_deploy.data.load`."""
    if sensor is not None and name != "folder":
        raise DataError(f"the sensor of {name!r} is known; only that of 'folder' can be given")
    recordings = _open(name, root, split, sensor, subset)
    made = {
        "data": name,
        "split": split,
        **_settings(rule, size or recordings.sensor, recordings.sensor, max_count, drop),
        **recordings.origin,
    }
    if cache is None or not recordings.files:
        return _count_all(recordings, rule, made, progress)
    path = Path(cache) / f"{name.replace(':', '-')}-{split}-{_cache_key(made, recordings)}.npz"
    cached = _read_cache(path, recordings) if path.is_file() else None
    if cached is None:
        cached = _count_all(recordings, rule, made, progress)
        _write_cache(path, cached)
    return cached


def load_recording(
    path: Path,
    *,
    rule: WindowRule,
    size: Sensor | None,
    max_count: int,
    sensor: Sensor | None,
    drop: bool,
) -> Windows:
    """Load one recording; arguments as in `lmht_deploy.data.load`."""
    recording = read_events(path, sensor, drop=drop)
    counts = count_windows(recording.events, recording.sensor, rule, size)
    clipped, lost = clip_counts(counts, max_count)
    provenance = {
        "data": str(path),
        **_settings(rule, size or recording.sensor, recording.sensor, max_count, drop),
        "recordings": 1,
        "events": len(recording.events),
        "lost": lost,
        "dropped": sum(recording.dropped.values()),
    }
    return Windows(clipped, None, (), "events", provenance)


def _settings(
    rule: WindowRule, size: Sensor, sensor: Sensor, max_count: int, drop: bool
) -> dict[str, Any]:
    """Provenance: how recordings become windows."""
    return {
        "rule": asdict(rule),
        "size": list(size),
        "sensor": list(sensor),
        "max_count": max_count,
        "drop": drop,
    }


def _open(
    name: str, root: Path | None, split: Split, sensor: Sensor | None, subset: bool
) -> Recordings:
    match name:
        case "digits":
            return load_digits_recordings(split)
        case "nmnist":
            return load_nmnist_recordings(root, split)
        case "folder":
            return load_folder_recordings(root, split, sensor)
    return load_tonic_recordings(name.removeprefix("tonic:"), root, split, subset)


def _count_all(
    recordings: Recordings, rule: WindowRule, made: dict[str, Any], progress: Progress | None
) -> Windows:
    """Count every recording into one window."""
    number = len(recordings.labels)
    counts = _allocate(number, rule, made)
    events = lost = dropped = 0
    for index, recording in enumerate(recordings.events):
        validator = EventValidator(recordings.sensor, drop=made["drop"])
        try:
            valid = validator.validate(recording)
            (window,) = count_windows(valid, recordings.sensor, rule, Sensor(*made["size"]))
        except DataError as error:
            raise DataError(f"{made['data']}, {made['split']} recording {index}: {error}") from None
        counts[index], clipped = clip_counts(window, made["max_count"])
        events, lost = events + len(valid), lost + clipped
        dropped += sum(validator.dropped.values())
        if progress:
            progress(index + 1, number)
    provenance = {**made, "recordings": number, "events": events, "lost": lost, "dropped": dropped}
    return Windows(counts, recordings.labels, recordings.classes, "events", provenance)


def _allocate(number: int, rule: WindowRule, made: Mapping[str, Any]) -> np.ndarray:
    shape = (number, rule.steps, 2, *made["size"])
    try:
        return np.empty(shape, np.uint8 if made["max_count"] <= 255 else np.uint16)
    except (MemoryError, ValueError):
        raise DataError(
            f"{made['data']}: windows of shape {list(shape)} do not fit into memory;"
            " choose a smaller size"
        ) from None


# ---------------------------------------------------------------------------------------- the cache


def _cache_key(made: dict[str, Any], recordings: Recordings) -> str:
    """Hash of all that the windows depend on: settings, and name, size and time of every file."""
    stats = [(str(path), path.stat()) for path in recordings.files]
    files = [(name, stat.st_size, stat.st_mtime_ns) for name, stat in stats]
    key = json.dumps([CACHE_VERSION, made, files], sort_keys=True)
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
