"""The event array: what every reader yields and everything else takes, checked once at the door."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from lmht_deploy.errors import DataError

from .extension import core

EVENT = np.dtype([("t", np.int64), ("x", np.uint16), ("y", np.uint16), ("p", np.bool_)])
"""One event: time in microseconds, column, row (from the top left), polarity (False OFF, True ON)."""
MAX_TIME = 2**62
"""Largest magnitude of a time, so that the difference of two fits 64 bits."""


class Sensor(NamedTuple):
    """Size of a sensor in pixels, in the order of the axes of a frame."""

    height: int
    width: int


def make_events(t: np.ndarray, x: np.ndarray, y: np.ndarray, p: np.ndarray) -> np.ndarray:
    """EVENT [n] of four arrays that already hold valid values; arrays from outside go through `checked`."""
    events = np.empty(len(t), EVENT)
    events["t"], events["x"], events["y"], events["p"] = t, x, y, p
    return events


def checked(events: np.ndarray, sensor: Sensor) -> np.ndarray:
    """`events` as EVENT [n], n >= 1, every one of them on the sensor, of polarity 0 or 1 and not before the one before it.

    `events` is a structured array with (at least) the integer fields t, x, y, p. Raises DataError with the index of the
    first event that does not fit.
    """
    admitted = Door(sensor).admit(events)
    if len(admitted) == 0:
        raise DataError("the recording holds no event")
    return admitted


class Door:
    """Checks the packets of one recording or live source as `checked` checks a whole one; a packet may be empty.

    With `drop`, events that do not fit are left out and counted in `dropped`, under the first fault that they have: "range"
    (beside the sensor, or a time beyond 2^62 us), "polarity" (neither 0 nor 1), "order" (earlier than a valid event before it).
    """

    def __init__(self, sensor: Sensor, drop: bool = False) -> None:
        self.sensor = sensor
        self.seen = 0
        self.dropped = {"range": 0, "polarity": 0, "order": 0}
        self._drop = drop
        self._latest = -MAX_TIME

    def admit(self, events: np.ndarray) -> np.ndarray:
        """The events of the next packet as EVENT [n]; DataError with the index, since the start, of one that does not fit."""
        _check_fields(events)
        given = packed(events) if events.dtype == EVENT else _table(events)
        index = core().check(given, self.sensor, self._latest)
        if index == len(events):
            admitted = _converted(events)
        elif self._drop:
            admitted = self._sifted(given)
        else:
            raise DataError(f"event {self.seen + index}: {_fault(events[index], self.sensor)}")
        self.seen += len(events)
        if len(admitted):
            self._latest = int(admitted["t"][-1])
        return admitted

    def _sifted(self, given: np.ndarray) -> np.ndarray:
        """The events of `given` that fit; the others are counted."""
        room = np.empty(len(given), EVENT)
        number, dropped = core().sift(given, self.sensor, self._latest, packed(room))
        for name, count in zip(self.dropped, dropped, strict=True):
            self.dropped[name] += count
        return room[:number]


def packed(events: np.ndarray) -> np.ndarray:
    """EVENT [n] as uint8 [n, 13], the form in which the extension takes it; a view where `events` is contiguous."""
    return np.ascontiguousarray(events).view(np.uint8).reshape(len(events), EVENT.itemsize)


def _table(events: np.ndarray) -> np.ndarray:
    """Events of a foreign dtype as int64 [n, 4]; unsigned times that do not fit stay beyond MAX_TIME."""
    table = np.empty((len(events), 4), np.int64)
    for column, name in enumerate("txyp"):
        field = events[name]
        table[:, column] = (
            np.minimum(field, np.uint64(MAX_TIME + 1)) if field.dtype == np.uint64 else field
        )
    return table


def _check_fields(events: np.ndarray) -> None:
    if (
        not isinstance(events, np.ndarray)
        or events.ndim != 1
        or events.dtype.names is None
        or not set("txyp") <= set(events.dtype.names)
    ):
        found = events.dtype if isinstance(events, np.ndarray) else type(events).__name__
        raise DataError(
            f"events must be a one-dimensional structured array with the fields t, x, y, p, not {found}"
        )
    for name in "txyp":
        kind = events.dtype[name].kind
        if kind not in ("iub" if name == "p" else "iu"):
            raise DataError(
                f"the field {name} of events must hold integers{' (microseconds)' if name == 't' else ''}, not {events.dtype[name]}"
            )


def _fault(event: np.void, sensor: Sensor) -> str:
    t, x, y, p = (int(event[name]) for name in "txyp")
    if not (0 <= x < sensor.width and 0 <= y < sensor.height):
        return f"address x={x}, y={y} lies beside the sensor of {sensor.width} x {sensor.height} pixels"
    if abs(t) > MAX_TIME:
        return f"its time {t} us lies beyond 2^62 us"
    if p not in (0, 1):
        return f"polarity must be 0 (OFF) or 1 (ON), not {p}"
    return f"its time {t} us lies before that of an event before it"


def _converted(events: np.ndarray) -> np.ndarray:
    return events if events.dtype == EVENT else make_events(*(events[name] for name in "txyp"))
