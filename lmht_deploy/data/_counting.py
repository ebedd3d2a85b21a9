"""Recordings become windows."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO, Protocol

import numpy as np

from lmht_deploy.errors import DataError
from lmht_deploy.events.arrays import EventValidator, Sensor
from lmht_deploy.events.windows import WindowRule, clip_counts, iterate_windows, smallest_dtype

from ._recordings import Recordings
from ._windows import Progress, Windows

MIN_WINDOWS = 1000
"""A recording may always have this many windows; beyond it, not more than it has events."""


@dataclass(frozen=True)
class EventOptions:
    """How recordings become windows; see the arguments of `lmht_deploy.data.load`."""

    rule: WindowRule
    size: Sensor | None = None
    max_count: int = 255
    sensor: Sensor | None = None
    track: str | None = None
    drop: bool = False
    incomplete: bool = False

    def describe(self, sensor: Sensor) -> dict[str, Any]:
        """Provenance of windows from a sensor of size `sensor`."""
        return {
            "rule": asdict(self.rule),
            "size": list(self.size or sensor),
            "sensor": list(sensor),
            **({} if self.track is None else {"track": self.track}),
            "max_count": self.max_count,
            "drop": self.drop,
            "incomplete": self.incomplete,
        }


@dataclass(frozen=True)
class Counted:
    """Windows of recordings, without what is known of the recordings.

    Attributes:
        windows: uint8 or uint16 `[N, T_in, 2, H, W]`.
        source_index: int64 `[N]`, index of the recording.
        start_us: int64 `[N]`, start in us from the first event of the recording.
        totals: What was counted, in all recordings: `windows`, `events`, `counted` (events in
            windows, once per window), `lost` (of them above the largest count), `dropped`
            (invalid events), `partial` (incomplete windows that are kept), `left_out` (those that
            are not), `short` (recordings that are shorter than a window), `duration_us` (of the
            longest recording).
    """

    windows: np.ndarray
    source_index: np.ndarray
    start_us: np.ndarray
    totals: dict[str, int]

    def label(self, recordings: Recordings, provenance: dict[str, Any]) -> Windows:
        """Add what is known of the recordings."""
        labels = None if recordings.labels is None else recordings.labels[self.source_index]
        return Windows(
            self.windows,
            labels,
            recordings.classes,
            "events",
            provenance | {"recordings": len(recordings.names)} | self.totals,
            tuple(recordings.names),
            self.source_index,
            self.start_us,
        )


def count_recordings(
    recordings: Recordings,
    options: EventOptions,
    progress: Progress | None,
    file: Path | None = None,
) -> Counted:
    """Count the events of all recordings into windows.

    Args:
        recordings: The recordings.
        options: How they become windows.
        progress: Called after each recording.
        file: `.npy` file to write the windows to, recording by recording; they are then mapped into
            memory. None to hold them in memory.

    Raises:
        DataError: A recording is not valid, or the windows do not fit into memory.
    """
    number = len(recordings.names)
    store = _open(options, recordings.sensor, number, file)
    sources: list[int] = []
    starts: list[np.ndarray] = []
    totals = Counter(dict.fromkeys(_TOTALS, 0))
    for index, (name, events) in enumerate(zip(recordings.names, recordings.events, strict=True)):
        with _naming(name):
            cut = _Cut(events, recordings.sensor, options)
            totals["lost"] += store.extend(cut)
        sources += [index] * cut.kept
        starts.append(cut.rule.starts(cut.events)[: cut.kept])
        totals.update(cut.totals())
        totals["duration_us"] = max(totals["duration_us"], cut.duration)
        if progress:
            progress(index + 1, number)
    totals["windows"], totals["counted"] = len(sources), store.events
    return Counted(
        store.finish(), np.array(sources, np.int64), np.concatenate(starts), dict(totals)
    )


_TOTALS = (
    "windows",
    "events",
    "counted",
    "lost",
    "dropped",
    "partial",
    "left_out",
    "short",
    "duration_us",
)


@contextmanager
def _naming(name: str) -> Iterator[None]:
    """Name the recording in errors about its events."""
    try:
        yield
    except DataError as error:
        raise DataError(str(error) if name in str(error) else f"{name}: {error}") from None


class _Cut:
    """One recording and its windows.

    Attributes:
        events: Valid events, EVENT `[n]`.
        kept: Number of windows that are used.
    """

    def __init__(self, events: np.ndarray, sensor: Sensor, options: EventOptions) -> None:
        validator = EventValidator(sensor, drop=options.drop)
        self.events, self.rule = validator.validate(events), options.rule
        self.sensor, self.size = sensor, options.size
        if not len(self.events):
            raise DataError(f"holds no {'valid ' if len(events) else ''}event")
        self._dropped = sum(validator.dropped.values())
        self._number = self.rule.number_of_windows(self.events)
        self._complete = self.rule.number_of_complete_windows(self.events)
        # A recording that is shorter than a window makes one: no recording vanishes.
        self.kept = self._number if options.incomplete else max(self._complete, 1)
        if self._number > max(MIN_WINDOWS, len(self.events)):
            raise DataError(
                f"{len(self.events):,} events in {self.duration:,} us make {self._number:,}"
                f" {self.rule}; its times are damaged, or the windows too short"
            )

    @property
    def duration(self) -> int:
        """Time from the first to the last event in us."""
        return int(self.events["t"][-1] - self.events["t"][0])

    def windows(self) -> Iterator[np.ndarray]:
        """Count the windows that are used, each int64 `[T_in, 2, H, W]`."""
        return islice(iterate_windows(self.events, self.sensor, self.rule, self.size), self.kept)

    def totals(self) -> dict[str, int]:
        """What this recording adds to the totals."""
        return {
            "events": len(self.events),
            "dropped": self._dropped,
            "partial": self.kept - min(self.kept, self._complete),
            "left_out": self._number - self.kept,
            "short": int(not self._complete),
        }


def _open(options: EventOptions, sensor: Sensor, capacity: int, file: Path | None) -> _Windows:
    if file is None:
        return _Store(options, sensor, capacity)
    return _File(options, sensor, file)


class _Windows(Protocol):
    """Where the windows of all recordings go."""

    events: int

    def extend(self, cut: _Cut) -> int: ...

    def finish(self) -> np.ndarray: ...


class _File:
    """The windows of all recordings in one `.npy` file, which is mapped into memory at the end.

    Attributes:
        events: Number of events in them, before counts are clipped.
    """

    def __init__(self, options: EventOptions, sensor: Sensor, path: Path) -> None:
        self._shape = (options.rule.steps, 2, *(options.size or sensor))
        self._dtype, self._max_count = smallest_dtype(options.max_count), options.max_count
        self._number = self.events = 0
        self._path = path
        self._file: BinaryIO = path.open("wb")
        self._write_header()

    def extend(self, cut: _Cut) -> int:
        """Add the windows of a recording; return the number of events above the largest count."""
        lost = 0
        for counts in cut.windows():
            clipped, more = clip_counts(counts, self._max_count)
            self._file.write(np.ascontiguousarray(clipped, self._dtype).data)
            self._number += 1
            lost += more
            self.events += int(counts.sum())
        return lost

    def finish(self) -> np.ndarray:
        """Return all windows, mapped into memory."""
        self._file.seek(0)
        self._write_header()
        self._file.close()
        windows: np.ndarray = np.load(self._path, mmap_mode="r", allow_pickle=False)
        return windows

    def _write_header(self) -> None:
        """Write the header, always of the same length: NumPy leaves room for the first number."""
        described = np.lib.format.dtype_to_descr(np.dtype(self._dtype))
        shape = (self._number, *self._shape)
        header = {"descr": described, "fortran_order": False, "shape": shape}
        np.lib.format.write_array_header_1_0(self._file, header)


class _Store:
    """The windows of all recordings in one array, which grows.

    Attributes:
        events: Number of events in them, before counts are clipped.
    """

    def __init__(self, options: EventOptions, sensor: Sensor, capacity: int) -> None:
        self._shape = (options.rule.steps, 2, *(options.size or sensor))
        self._max_count = options.max_count
        self._number = self.events = 0
        try:
            self._array = np.empty((capacity, *self._shape), smallest_dtype(options.max_count))
        except (MemoryError, ValueError):
            raise self._too_large(capacity) from None

    def extend(self, cut: _Cut) -> int:
        """Add the windows of a recording; return the number of events above the largest count."""
        lost = 0
        self._reserve(self._number + cut.kept)
        for counts in cut.windows():
            self._array[self._number], more = clip_counts(counts, self._max_count)
            self._number += 1
            lost += more
            self.events += int(counts.sum())
        return lost

    def finish(self) -> np.ndarray:
        """Return all windows."""
        self._resize(self._number)
        return self._array

    def _reserve(self, number: int) -> None:
        if number > len(self._array):
            self._resize(max(number, len(self._array) * 3 // 2))

    def _resize(self, number: int) -> None:
        try:
            self._array.resize((number, *self._shape), refcheck=False)
        except (MemoryError, ValueError):
            raise self._too_large(number) from None

    def _too_large(self, number: int) -> DataError:
        return DataError(
            f"windows of shape {[number, *self._shape]} do not fit into memory; choose a smaller"
            " size or longer windows"
        )
