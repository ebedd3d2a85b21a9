"""The event array: what every reader yields and everything else takes, checked once at the door."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from ..errors import DataError

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
    beside, polarity = _faults(events, sensor)
    if len(events) == 0:
        raise DataError("the recording holds no event")
    faults = {"range": beside, "polarity": polarity, "order": _earlier(events["t"])}
    bad = {name: int(mask.argmax()) for name, mask in faults.items() if mask.any()}
    if bad:
        first = min(bad, key=lambda name: bad[name])
        raise DataError(_message(first, bad[first], events, sensor))
    return _converted(events)


def cleaned(events: np.ndarray, sensor: Sensor) -> tuple[np.ndarray, dict[str, int]]:
    """`events` as EVENT [n] without those that `checked` would refuse, and how many were dropped for which fault.

    The faults are "range" (beside the sensor), "polarity" and "order" (earlier than a valid event before it); an event
    is counted under the first that it has. Raises DataError where the array itself is not one of events.
    """
    beside, polarity = _faults(events, sensor)
    valid = events[~(beside | polarity)]
    late = _earlier(valid["t"])
    dropped = {"range": int(beside.sum()), "polarity": int((polarity & ~beside).sum()), "order": int(late.sum())}
    return _converted(valid[~late]), dropped


def _faults(events: np.ndarray, sensor: Sensor) -> tuple[np.ndarray, np.ndarray]:
    """bool [n] twice: the address lies beside the sensor; the polarity is neither 0 nor 1."""
    _check_fields(events)
    x, y, p = (events[name] for name in "xyp")
    return (x < 0) | (x >= sensor.width) | (y < 0) | (y >= sensor.height), (p != 0) & (p != 1)


def _earlier(t: np.ndarray) -> np.ndarray:
    """bool [n]: the time lies before the latest time so far."""
    return t < np.maximum.accumulate(t) if len(t) else np.zeros(0, bool)


def _check_fields(events: np.ndarray) -> None:
    if not isinstance(events, np.ndarray) or events.ndim != 1 or events.dtype.names is None or not set("txyp") <= set(events.dtype.names):
        found = events.dtype if isinstance(events, np.ndarray) else type(events).__name__
        raise DataError(f"events must be a one-dimensional structured array with the fields t, x, y, p, not {found}")
    for name in "txyp":
        kind = events.dtype[name].kind
        if kind not in ("iub" if name == "p" else "iu"):
            raise DataError(f"the field {name} of events must hold integers{' (microseconds)' if name == 't' else ''}, not {events.dtype[name]}")
    far = (events["t"] > MAX_TIME) | (events["t"] < -MAX_TIME)
    if far.any():
        raise DataError(f"event {int(far.argmax())}: its time {events['t'][far.argmax()]} us lies beyond 2^62 us")


def _message(fault: str, index: int, events: np.ndarray, sensor: Sensor) -> str:
    t, x, y, p = (int(events[name][index]) for name in "txyp")
    match fault:
        case "range":
            return f"event {index}: address x={x}, y={y} lies beside the sensor of {sensor.width} x {sensor.height} pixels"
        case "polarity":
            return f"event {index}: polarity must be 0 (OFF) or 1 (ON), not {p}"
    return f"event {index}: its time {t} us lies before that of the event before it ({int(events['t'][index - 1])} us)"


def _converted(events: np.ndarray) -> np.ndarray:
    return events if events.dtype == EVENT else make_events(*(events[name] for name in "txyp"))
