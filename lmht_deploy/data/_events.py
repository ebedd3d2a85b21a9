"""Recordings of event data sets, of folders and of single files, as windows."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np

from lmht_deploy.errors import DataError
from lmht_deploy.events.recordings import open_recording

from ._cache import cache_path, map_cache, read_cache, write_cache
from ._counting import EventOptions, count_recordings
from ._digits import load_digits_recordings
from ._folders import load_folder_recordings
from ._listing import Choice
from ._recordings import Recordings
from ._tonic import load_nmnist_recordings, load_tonic_recordings
from ._windows import Progress, Windows


def load_event_set(
    name: str,
    options: EventOptions,
    *,
    source: str,
    choice: Choice,
    root: Path | None,
    subset: bool,
    cache: Path | None,
    progress: Progress | None,
    memory_map: bool = False,
) -> Windows:
    """Load an event data set, which the user calls `source`; see `lmht_deploy.data.load`."""
    if options.sensor is not None and name != "folder":
        raise DataError(f"the sensor of {name!r} is known; only that of 'folder' can be given")
    recordings = _open(name, root, choice, options, subset)
    described = options.describe(recordings.sensor)
    place = {} if root is None or source != name else {"root": str(root)}
    provenance = {"data": source, "split": choice.split, **place, **described, **recordings.origin}
    if cache is None or not recordings.files:
        return count_recordings(recordings, options, progress).label(recordings, provenance)
    path = cache_path(cache, recordings, described)
    if memory_map:
        make = partial(count_recordings, recordings, options, progress)
        return map_cache(path, len(recordings.names), make).label(recordings, provenance)
    found = read_cache(path, len(recordings.names))
    if found is None:
        found = count_recordings(recordings, options, progress)
        write_cache(path, found)
    return found.label(recordings, provenance)


def load_recording(path: Path, options: EventOptions) -> Windows:
    """Load one recording; see `lmht_deploy.data.load`."""
    stream = open_recording(path, options.sensor, track=options.track)
    try:
        packets = list(stream.packets)
    except DataError as error:
        raise DataError(str(error) if str(path) in str(error) else f"{path}: {error}") from None
    if not sum(map(len, packets)):
        raise DataError(f"{path}: holds no event")
    events = np.concatenate(packets)
    recordings = Recordings([events], [path.name], None, (), stream.sensor, {})
    provenance = {"data": str(path), **options.describe(stream.sensor)}
    try:
        return count_recordings(recordings, options, None).label(recordings, provenance)
    except DataError as error:
        raise DataError(f"{path}: {str(error).removeprefix(f'{path.name}: ')}") from None


def _open(
    name: str, root: Path | None, choice: Choice, options: EventOptions, subset: bool
) -> Recordings:
    match name:
        case "folder":
            return load_folder_recordings(root, choice, options.sensor, options.track)
        case "digits":
            return load_digits_recordings(choice)
        case "nmnist":
            return load_nmnist_recordings(root, choice, subset)
    tonic_name = name.removeprefix("tonic:")
    return load_tonic_recordings(tonic_name, root, choice, subset, all_classes=not subset)
