"""The event array and its validation: every reader's events pass here before they are used."""

from __future__ import annotations

import operator
from typing import Any, NamedTuple

import numpy as np

from lmht_deploy._arguments import as_array
from lmht_deploy.errors import DataError, show

from ._extension import core

EVENT = np.dtype([("t", np.int64), ("x", np.uint16), ("y", np.uint16), ("p", np.bool_)])
"""One event: time in us, column, row (from the top left), polarity (False: OFF, True: ON)."""

MAX_TIME = 2**62
"""Largest magnitude of a time in us: the difference of two times fits into 64 bits."""

MAX_GAP = 10_000_000
"""Microseconds without an event after which a time may be damaged, by default."""


class Sensor(NamedTuple):
    """Size of a sensor in pixels, in the order of the axes of a frame.

    Attributes:
        height: Rows.
        width: Columns.
    """

    height: int
    width: int


def is_integer(value: object) -> bool:
    """Whether a value is an integer of Python or NumPy, and no truth value."""
    return isinstance(value, int | np.integer) and not isinstance(value, bool)


def as_sensor(size: tuple[int, int]) -> Sensor:
    """Return the size (height, width) as a `Sensor`; DataError if it is none."""
    try:
        height, width = (operator.index(side) for side in size)
    except (TypeError, ValueError):
        height = width = 0
    if height < 1 or width < 1:
        raise DataError(f"the size of a sensor is (height, width) in pixels, not {size!r}")
    return Sensor(height, width)


def choose_sensor(given: Sensor | None, own: Sensor | None) -> Sensor | None:
    """Return the given size of a sensor, or its own.

    `own` is the size that a source states, None if it states none. The given size may be larger.

    Raises:
        DataError: The given size is smaller.
    """
    if given is None or own is None:
        return given or own
    if given.height < own.height or given.width < own.width:
        raise DataError(
            f"its sensor has {own.width} x {own.height} pixels; the given size"
            f" {given.width} x {given.height} is smaller"
        )
    return given


def make_events(t: np.ndarray, x: np.ndarray, y: np.ndarray, p: np.ndarray) -> np.ndarray:
    """Build an event array of four arrays `[n]`.

    The order of times and the size of the sensor are not checked; use `validate_events` for data
    from outside.

    Args:
        t: Times in us, not decreasing; integers.
        x: Columns.
        y: Rows.
        p: Polarities, 0 (OFF) or 1 (ON).

    Returns:
        EVENT `[n]`.

    Raises:
        DataError: The arrays differ in length, do not hold integers, or a value does not fit an
            event.
    """
    columns = {
        name: as_array(name, values) for name, values in zip("txyp", (t, x, y, p), strict=True)
    }
    shapes = {column.shape for column in columns.values()}
    if len(shapes) > 1 or any(len(shape) != 1 for shape in shapes):
        raise DataError(f"t, x, y and p must be arrays of one length, not {sorted(shapes)}")
    for name, column in columns.items():
        if len(column):  # an empty list has no integers
            _check_kind(name, column.dtype)
    events = pack_events(**columns)
    for name, column in columns.items():
        if (events[name] != column).any():
            raise DataError(f"events must be valid; a value of the field {name} is out of range")
    return events


def pack_events(t: np.ndarray, x: np.ndarray, y: np.ndarray, p: np.ndarray) -> np.ndarray:
    """Build an event array of four arrays `[n]` of valid values; other values wrap."""
    events = np.empty(len(t), EVENT)
    events["t"], events["x"], events["y"], events["p"] = t, x, y, p
    return events


def validate_events(events: np.ndarray, sensor: Sensor) -> np.ndarray:
    """Validate the events of a whole recording.

    Every event must lie on the sensor, have polarity 0 or 1 and not be earlier than the event
    before it.

    Args:
        events: Structured array `[n]` with at least the integer fields t, x, y, p.
        sensor: Size of the sensor.

    Returns:
        EVENT `[n]`, n >= 1.

    Raises:
        DataError: There is no event, a field is missing or not of integers, or an event is not
            valid. The message has the index of the first invalid event.
    """
    valid = EventValidator(as_sensor(sensor)).validate(events)
    if len(valid) == 0:
        raise DataError("the recording holds no event")
    return valid


class EventValidator:
    """Incremental form of `validate_events`: checks the packets of one recording or stream.

    A damaged time far ahead makes every later event invalid, since it is earlier. With `drop` and
    `max_gap`, the events after a longer gap are therefore held until the next packet. They are
    dropped if an event is earlier than they are. The first packet is held in the same way.

    Args:
        sensor: Size of the sensor.
        drop: Drop and count invalid events instead of raising an error.
        max_gap: Microseconds without an event after which events are held, up to 2^62. Default:
            events are never held.

    Raises:
        DataError: `max_gap` is out of range.

    Attributes:
        sensor: Size of the sensor.
        seen: Number of events so far, invalid ones included.
        dropped: Number of dropped events by their first fault: "range" (outside the sensor, or a
            time beyond 2^62 us), "polarity" (neither 0 nor 1), "order" (earlier than a valid
            event before it, or a jump ahead that later events contradict).
    """

    def __init__(self, sensor: Sensor, *, drop: bool = False, max_gap: int | None = None) -> None:
        if max_gap is not None and not is_integer(max_gap):
            raise DataError(f"the longest gap must be an integer (us), not {show(max_gap)}")
        if max_gap is not None and not 0 <= max_gap <= MAX_TIME:
            raise DataError(f"the longest gap lies within 0 and 2^62 us, not {max_gap}")
        self.sensor = sensor = as_sensor(sensor)
        self.seen = 0
        self.dropped = {"range": 0, "polarity": 0, "order": 0}
        self._sifter = core().Sifter(sensor, -1 if max_gap is None else max_gap) if drop else None
        self._latest = -MAX_TIME

    @property
    def held(self) -> int:
        """Number of events that wait for the next packet."""
        return self._sifter.held if self._sifter else 0

    def validate(self, events: np.ndarray, expected: int | None = None) -> np.ndarray:
        """Validate the next packet, which may be empty.

        Args:
            events: Structured array `[n]` with at least the integer fields t, x, y, p.
            expected: Time in us up to which events are not held, if the caller knows the time.

        Returns:
            The valid events, EVENT `[m]`. They include events that were held so far.

        Raises:
            DataError: A field is missing or not of integers, or (without `drop`) an event is not
                valid. The message has its index since the start.
        """
        packed = _is_packed(events)
        packet = as_bytes(events) if packed else _as_table(events)
        if self._sifter:
            valid = self._sift(packet, -MAX_TIME if expected is None else expected)
        else:
            self._require_valid(packet, events)
            valid = events if packed else pack_events(*_columns(events))
        self.seen += len(events)
        return valid

    def finish(self) -> np.ndarray:
        """Return the events that are still held, EVENT `[m]`: no later event contradicts them."""
        valid = np.empty(self.held, EVENT)
        if self._sifter:
            self._sifter.release(as_bytes(valid))
        return valid

    def _require_valid(self, packet: np.ndarray, events: np.ndarray) -> None:
        index = core().check(packet, self.sensor, self._latest)
        latest = int(events["t"][index - 1]) if index else self._latest
        if index < len(events):
            fault = _describe_fault(events[index], self.sensor, latest)
            raise DataError(f"event {self.seen + index}: {fault}")
        self._latest = latest

    def _sift(self, packet: np.ndarray, expected: int) -> np.ndarray:
        """Valid events of `packet`, and those that were held; the others are counted."""
        valid = np.empty(self.held + len(packet), EVENT)
        number = self._sifter.sift(packet, expected, as_bytes(valid)) if self._sifter else 0
        self.dropped = self._sifter.dropped if self._sifter else self.dropped
        return valid[:number]


def as_bytes(events: np.ndarray) -> np.ndarray:
    """EVENT `[n]` as the extension takes it: uint8 `[n, 13]`, a view if `events` is contiguous."""
    events = require_events(events)
    return np.ascontiguousarray(events).view(np.uint8).reshape(len(events), EVENT.itemsize)


def require_events(events: np.ndarray) -> np.ndarray:
    """Return events with any integer fields t, x, y, p as EVENT `[n]`; DataError for others."""
    if _is_packed(events):
        return events
    _check_fields(events)
    return make_events(*_columns(events))


def _is_packed(events: np.ndarray) -> bool:
    return isinstance(events, np.ndarray) and events.dtype == EVENT and events.ndim == 1


def _as_table(events: np.ndarray) -> np.ndarray:
    """Events of another dtype as int64 `[n, 4]`; unsigned times that do not fit stay invalid."""
    _check_fields(events)
    table = np.empty((len(events), 4), np.int64)
    for column, name in enumerate("txyp"):
        field = events[name]
        if field.dtype == np.uint64:
            field = np.minimum(field, np.uint64(MAX_TIME + 1))
        table[:, column] = field
    return table


def _columns(events: np.ndarray) -> list[np.ndarray]:
    return [events[name] for name in "txyp"]


def _check_fields(events: np.ndarray) -> None:
    if not isinstance(events, np.ndarray) or events.ndim != 1 or not has_event_fields(events.dtype):
        found = events.dtype if isinstance(events, np.ndarray) else type(events).__name__
        raise DataError(
            "events must be a one-dimensional structured array with the fields t, x, y, p,"
            f" not {found}"
        )
    for name in "txyp":
        _check_kind(name, events.dtype[name])


def _check_kind(name: str, dtype: np.dtype[Any]) -> None:
    if dtype.kind not in ("iub" if name == "p" else "iu"):
        unit = " (microseconds)" if name == "t" else ""
        raise DataError(f"the field {name} of events must hold integers{unit}, not {dtype}")


def has_event_fields(dtype: np.dtype[np.void]) -> bool:
    """Whether `dtype` is structured and has the fields t, x, y, p."""
    return set("txyp") <= set(dtype.names or ())


def _describe_fault(event: np.void, sensor: Sensor, latest: int) -> str:
    t, x, y, p = (int(event[name]) for name in "txyp")
    if not (0 <= x < sensor.width and 0 <= y < sensor.height):
        return f"x={x}, y={y} is outside the sensor of {sensor.width} x {sensor.height} pixels"
    if abs(t) > MAX_TIME:
        return f"its time {t} us is beyond 2^62 us"
    if p not in (0, 1):
        return f"polarity must be 0 (OFF) or 1 (ON), not {p}"
    back = f", {(latest - t) * 1e-6:,.0f} s back" if latest - t > MAX_GAP else ""
    return f"its time {t} us is earlier than that of an event before it, {latest} us{back}"
