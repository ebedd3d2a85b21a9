"""The type of every loaded data set."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import numpy as np

from lmht_deploy.errors import DataError, counted
from lmht_deploy.events.arrays import Sensor
from lmht_deploy.events.windows import WindowRule, down_sampling

Kind = Literal["events", "image"]
Progress = Callable[[int, int], None]
"""Called as `progress(done, total)` after each recording or image."""

LONG_US, LONG_EVENTS = 2_000_000, 20_000
"""Duration of a recording and mean number of events beyond which one window is unusual."""


class MappedRows:
    """Array-like windows that are chosen from an array in a file; they are read on access.

    The first axis is indexed by a slice or an index array, and the result is an array. An index
    `[:, ...]` of later axes gives another such object.
    """

    def __init__(self, array: np.ndarray, rows: np.ndarray) -> None:
        """Choose rows of an array that is mapped into memory."""
        self._array, self._rows = array, rows
        self.shape = (len(rows), *array.shape[1:])
        self.dtype, self.ndim = array.dtype, array.ndim

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, chosen: Any) -> Any:
        if isinstance(chosen, tuple):
            return MappedRows(self._array[(slice(None), *chosen[1:])], self._rows[chosen[0]])
        return np.asarray(self._array[self._rows[chosen]])

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        return np.asarray(self[:], dtype)

    def choose(self, chosen: slice | np.ndarray) -> MappedRows:
        """Choose some of the windows, without reading them."""
        return MappedRows(self._array, self._rows[chosen])


@dataclass(frozen=True, eq=False)
class Windows:
    """Network inputs, with labels where they are known.

    Attributes:
        windows: Integers `[N, T_in, C, H, W]`. Events: counts, uint8 or uint16, channel 0 OFF and
            channel 1 ON. Images: int8, gray level - 128, equal at all input steps. Images of
            different sizes are decoded on access, see `images.LazyImages`. A selection of windows
            that are mapped into memory is read on access, by slices.
        labels: int64 `[N]`, indices into `classes`; None if the source has no labels.
        classes: Class names; empty if the source does not name them.
        kind: "events" or "image".
        sources: Names of the recordings that the windows come from, relative to the folder of the
            data; empty if the windows do not come from recordings.
        source_index: int64 `[N]`, indices into `sources`; None if there are none.
        start_us: int64 `[N]`, start of each window in us from the first event of its recording;
            None if there are no recordings.
        provenance: What was read and how, as plain values for JSON. `data` is the name or the
            path. For events, the number of `recordings` and of `windows`, of `events`, of those
            in windows (`counted`), of them above `max_count` (`lost`), of invalid ones (`dropped`),
            of incomplete windows that are kept (`partial`) or not (`left_out`), and of recordings
            that are shorter than a window (`short`).
    """

    windows: np.ndarray
    labels: np.ndarray | None = None
    classes: tuple[str, ...] = ()
    kind: Kind = "events"
    provenance: Mapping[str, Any] = field(default_factory=dict)
    sources: tuple[str, ...] = ()
    source_index: np.ndarray | None = None
    start_us: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.windows)

    def __getitem__(self, chosen: slice | np.ndarray) -> Windows:
        """Select windows by a slice or an index array, with all that is known of each."""

        def select(values: np.ndarray | None) -> np.ndarray | None:
            return None if values is None else values[chosen]

        return replace(
            self,
            windows=self._choose(chosen),
            labels=select(self.labels),
            source_index=select(self.source_index),
            start_us=select(self.start_us),
        )

    def _choose(self, chosen: slice | np.ndarray) -> Any:
        if isinstance(self.windows, MappedRows):
            return self.windows.choose(chosen)
        if isinstance(self.windows, np.memmap) and not isinstance(chosen, slice):
            return MappedRows(self.windows, np.arange(len(self))[chosen])
        return self.windows[chosen]

    def require_labels(self) -> np.ndarray:
        """Return the labels int64 `[N]`; DataError if there are none."""
        if self.labels is None:
            raise DataError(f"{self.provenance.get('data', 'the windows')}: there are no labels")
        return self.labels

    @property
    def notes(self) -> tuple[str, ...]:
        """One sentence for each thing to know about how recordings became windows."""
        counted = _notes(self.provenance) if "recordings" in self.provenance else ()
        return (*counted, *self.provenance.get("notes", ()))

    @property
    def warnings(self) -> tuple[str, ...]:
        """One sentence for each kind of loss: clipped counts and dropped events."""
        found, name = self.provenance, _title(self.provenance)
        texts = []
        if lost := found.get("lost", 0):
            exceed, are = ("exceeds", "is") if lost == 1 else ("exceed", "are")
            texts.append(
                f"{name}: {lost:,} of {counted(found['counted'], 'event')} {exceed} the largest"
                f" input count ({found['max_count']}) and {are} not counted"
            )
        if dropped := found.get("dropped", 0):
            were = "was" if dropped == 1 else "were"
            texts.append(f"{name}: {counted(dropped, 'invalid event')} {were} dropped")
        return tuple(texts)


def _notes(found: Mapping[str, Any]) -> Iterator[str]:
    name, rule = _title(found), WindowRule(**found["rule"])
    yield (
        f"{name}: {counted(found['windows'], 'window')} from"
        f" {counted(found['recordings'], 'recording')}: {rule}"
    )
    if text := down_sampling(Sensor(*found["size"]), Sensor(*found["sensor"])):
        yield f"{name}: {text}"
    if left_out := found["left_out"]:
        yield (
            f"{name}: {counted(left_out, 'incomplete window')} left out: the recording ends before"
            " the window (--incomplete uses them)"
        )
    if (short := found["short"]) and not _fills_one_window(found, rule):
        verb, each = ("ends", "It gives") if short == 1 else ("end", "Each gives")
        yield (
            f"{name}: {counted(short, 'recording')} {verb} before the first window does. {each} one"
            " incomplete window; a shorter --length avoids that"
        )
    if others := found["partial"] - short:
        yield f"{name}: {counted(others, 'incomplete window')} at the end of recordings used"
    if rule.by == "recording" and _is_long(found):
        yield (
            f"{name}: a recording of {found['duration_us'] * 1e-6:.1f} s is one window; to cut"
            " recordings into many, give the length of a window (--length 50ms)"
        )


def _title(found: Mapping[str, Any]) -> str:
    """Name of the data and of its split."""
    split = f" ({found['split']} split)" if "split" in found else ""
    return f"{found.get('data', 'windows')}{split}"


def _fills_one_window(found: Mapping[str, Any], rule: WindowRule) -> bool:
    """Whether a window by time is about as long as the longest recording, as if made for it."""
    return rule.by == "time" and rule.length // 2 <= found["duration_us"] < rule.length


def _is_long(found: Mapping[str, Any]) -> bool:
    """Whether recordings hold more than a window usually does."""
    events_per_recording: float = found["events"] / found["recordings"]
    return events_per_recording > LONG_EVENTS and int(found["duration_us"]) > LONG_US
