"""Recordings: event files of every common format.

    .aedat4, .aedat        iniVation AEDAT 4 and 3.1; AEDAT 2.0 of a DVS128, a DAVIS or a DVS640
    .raw, .dat             Prophesee EVT2, EVT2.1 and EVT3; DAT of the types "cd" and "2d"
    .es                    Event Stream 2, DVS and ATIS
    .h5, .hdf5             arrays t, x, y, p in one group (h5py; hdf5plugin where compressed)
    .bin                   N-MNIST and N-Caltech101
    .npy, .npz             NumPy: one structured array, or four arrays, named t, x, y, p
    .csv                   lines "t,x,y,p"

AEDAT 4, EVT3, HDF5, NPZ and CSV are written, too. Addresses count from the top left, times are
microseconds. Events of a file are not trusted: they pass an `EventValidator`.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

import numpy as np

from lmht_deploy._arguments import check_types
from lmht_deploy.errors import DataError, first_line
from lmht_deploy.formats.files import as_path, atomic_write, no_file
from lmht_deploy.zoo import recording_path

from ._pieces import Choice
from ._readers import OPENERS, TRACKED
from ._writers import WRITERS
from .arrays import MAX_GAP, EventValidator, Sensor, as_sensor, choose_sensor

SUFFIXES = tuple(OPENERS)
"""Suffixes of the files that can be read."""

WRITTEN_EVENTS = 2**15
"""Events that are encoded at once, at most: more do not fit a core's cache."""


class Recording(NamedTuple):
    """A whole recording in memory.

    Attributes:
        events: EVENT `[n]`, n >= 1, valid for `sensor`.
        sensor: Size of the sensor.
        dropped: Number of dropped events by fault, as in `EventValidator`.
    """

    events: np.ndarray
    sensor: Sensor
    dropped: Mapping[str, int] = MappingProxyType({})


@dataclass(frozen=True)
class EventStream:
    """An opened recording.

    Attributes:
        sensor: Size of the sensor.
        packets: Structured arrays with t, x, y, p, in the order of the file, not validated. They
            are read when they are iterated, once.
    """

    sensor: Sensor
    packets: Iterator[np.ndarray]


def open_recording(
    path: str | Path,
    sensor: Sensor | tuple[int, int] | None = None,
    *,
    track: str | int | None = None,
) -> EventStream:
    """Open a recording, to read it in packets.

    Args:
        path: A file in one of the formats of this module, which its suffix names; or "zoo:NAME" for
            a recording that comes with the package.
        sensor: Size (height, width) of the sensor. Needed if the file does not name it; may be
            larger than what the file names.
        track: Which events to read from a file that holds several tracks: the number or the name
            of the track in AEDAT 4, the number of the source in AEDAT 3.1, the path of the group
            in HDF5.

    Raises:
        StorageError: There is no such file.
        DataError: The format is not known, the file is damaged, the size of the sensor is not
            known or smaller than the file states, or a package is not installed.
    """
    path, given = recording_path(as_path(path)), None if sensor is None else as_sensor(sensor)
    if not path.is_file():
        raise no_file(path)
    opener = OPENERS.get(path.suffix.lower())
    if opener is None:
        raise DataError(f"{path}: is not a recording; a recording ends in {', '.join(SUFFIXES)}")
    if track is not None and path.suffix.lower() not in TRACKED:
        raise DataError(f"{path}: holds one track of events; no other one can be chosen")
    with _reader_errors(path):
        found, packets = opener(path, Choice(given, None if track is None else str(track)))
        chosen = choose_sensor(given, found)
    if chosen is None:
        raise DataError(
            f"{path}: does not say how large its sensor is; give the size of the sensor"
            " (on the command line --sensor WxH)"
        )
    return EventStream(chosen, _with_reader_errors(path, packets))


def read_events(
    path: str | Path,
    sensor: Sensor | tuple[int, int] | None = None,
    *,
    drop: bool = False,
    track: str | int | None = None,
) -> Recording:
    """Read and validate a whole recording.

    Args:
        path: A file in one of the formats of this module, which its suffix names.
        sensor: Size (height, width) of the sensor. Needed if the file does not name it; may be
            larger than what the file names.
        drop: Drop and count invalid events instead of raising an error. A time more than 10 s ahead
            that later events contradict is dropped alone.
        track: Which events to read from a file that holds several tracks, as in `open_recording`.

    Raises:
        StorageError: There is no such file.
        DataError: The file cannot be read (see `open_recording`), holds no valid event, or
            (without `drop`) holds an invalid event.

    Example:
        >>> events, sensor, dropped = read_events("recording.aedat4")
    """
    stream = open_recording(path, sensor, track=track)
    validator = EventValidator(stream.sensor, drop=drop, max_gap=MAX_GAP)
    try:
        packets = [validator.validate(packet) for packet in stream.packets]
        packets.append(validator.finish())
    except DataError as error:
        raise DataError(str(error) if str(path) in str(error) else f"{path}: {error}") from None
    if not sum(map(len, packets)):
        raise DataError(f"{path}: holds no {'valid ' if validator.seen else ''}event")
    return Recording(np.concatenate(packets), stream.sensor, validator.dropped)


@check_types(DataError, recording=(Recording, EventStream))
def write_events(path: str | Path, recording: Recording | EventStream) -> int:
    """Write a recording packet by packet, whole or not at all.

    The suffix names the format: AEDAT 4 (`.aedat4`, compressed with LZ4), Prophesee EVT3 (`.raw`),
    HDF5 (`.h5`, `.hdf5`), NumPy (`.npz`) or `.csv`. `read_events` reads the same events.

    Args:
        path: File to write.
        recording: What to write. Its events must be valid for its sensor.

    Returns:
        Number of events.

    Raises:
        DataError: The format cannot be written, cannot hold the events, or an event is not valid.
        StorageError: The file cannot be written.

    Example:
        >>> write_events("copy.raw", open_recording("recording.aedat4"))
    """
    path = as_path(path)
    writer = WRITERS.get(path.suffix.lower())
    if writer is None:
        raise DataError(
            f"{path}: cannot be written; a recording is written as {', '.join(WRITERS)}"
        )
    packets = recording.packets if isinstance(recording, EventStream) else [recording.events]
    validator = EventValidator(recording.sensor)
    with atomic_write(path) as temporary, writer(temporary, recording.sensor) as write:
        for packet in packets:
            valid = validator.validate(packet)
            for start in range(0, len(valid), WRITTEN_EVENTS):
                write(valid[start : start + WRITTEN_EVENTS])
    return validator.seen


def _with_reader_errors(path: Path, packets: Iterator[np.ndarray]) -> Iterator[np.ndarray]:
    with _reader_errors(path):
        yield from packets


@contextlib.contextmanager
def _reader_errors(path: Path) -> Iterator[None]:
    """Turn any error of a reader into a DataError that names the file."""
    try:
        yield
    except DataError as error:
        raise DataError(f"{path}: {error}") from None
    except PermissionError:
        raise DataError(f"{path}: cannot be read (permission denied)") from None
    except Exception as error:  # parsers of untrusted content raise almost every type
        raise DataError(
            f"{path}: is damaged, truncated or not what its name says ({first_line(error)})"
        ) from None
