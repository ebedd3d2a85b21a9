"""The door: what is an event array, and what is said of one that is not."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given

from lmht_deploy.errors import DataError
from lmht_deploy.events.arrays import EVENT, MAX_TIME, Door, checked

from .recordings import SENSOR, recordings

FOREIGN = np.dtype([("x", int), ("y", int), ("t", int), ("p", int)])
"""As Tonic gives N-MNIST."""


def foreign(*events: tuple[int, int, int, int]) -> np.ndarray:
    return np.array(list(events), FOREIGN)


@given(events=recordings())
def test_valid_events_pass_as_they_are(events: np.ndarray) -> None:
    assert checked(events, SENSOR) is events
    door = Door(SENSOR, drop=True)
    np.testing.assert_array_equal(door.admit(events), events)
    assert door.dropped == {"range": 0, "polarity": 0, "order": 0} and door.seen == len(events)


def test_other_field_orders_and_dtypes_are_converted() -> None:
    found = checked(foreign((4, 2, 10, 1), (0, 0, 10, 0)), SENSOR)
    assert found.dtype == EVENT
    assert found.tolist() == [(10, 4, 2, True), (10, 0, 0, False)]


@pytest.mark.parametrize(
    ("events", "message"),
    [
        (foreign((0, 0, 5, 1), (5, 0, 6, 1)), "event 1: address x=5, y=0 lies beside the sensor of 5 x 3 pixels"),
        (foreign((0, 3, 5, 1)), "event 0: address x=0, y=3"),
        (foreign((0, -1, 5, 1)), "event 0: address x=0, y=-1"),
        (foreign((0, 0, 5, 1), (0, 0, 5, 1), (0, 0, 4, 1)), "event 2: its time 4 us lies before that of an event before it"),
        (foreign((0, 0, 5, 2)), r"event 0: polarity must be 0 \(OFF\) or 1 \(ON\), not 2"),
        (foreign((0, 0, 5, -1)), "event 0: polarity must be 0"),
        (foreign((0, 0, 5, 1), (0, 0, 4, 1), (9, 9, 9, 9)), "event 1: its time"),
        (foreign((0, 0, 5, 1), (0, 0, MAX_TIME + 1, 1)), "event 1: its time 4611686018427387905 us lies beyond"),
        (foreign(), "holds no event"),
        (np.zeros(3), "must be a one-dimensional structured array with the fields t, x, y, p, not float64"),
        (np.zeros((3, 1), EVENT), "one-dimensional"),
        ([(0, 0, 0, 0)], "not list"),
        (np.zeros(3, [("t", int), ("x", int), ("y", int)]), "fields t, x, y, p"),
        (np.zeros(3, [("t", float), ("x", int), ("y", int), ("p", int)]), r"field t of events must hold integers \(microseconds\), not float64"),
    ],
)
def test_what_does_not_fit_is_named(events: np.ndarray, message: str) -> None:
    with pytest.raises(DataError, match=message):
        checked(events, SENSOR)


@pytest.mark.parametrize("dtype", [np.uint64, np.uint32, np.int16])
def test_times_of_any_integer_dtype_are_converted(dtype: type) -> None:
    events = np.zeros(2, [("t", dtype), ("x", int), ("y", int), ("p", bool)])
    events["t"] = [3, 9]
    assert checked(events, SENSOR)["t"].tolist() == [3, 9]


def test_unsigned_times_beyond_63_bits_are_named() -> None:
    events = np.zeros(2, [("t", np.uint64), ("x", int), ("y", int), ("p", bool)])
    events["t"][1] = 2**63
    with pytest.raises(DataError, match="event 1"):
        checked(events, SENSOR)


FAULTY = foreign((0, 0, 5, 1), (7, 0, 99, 1), (0, 0, 4, 1), (0, 0, 6, 3), (8, 8, 6, 3), (1, 1, 6, 0))


def test_dropping_is_counted() -> None:
    door = Door(SENSOR, drop=True)
    found = door.admit(FAULTY)
    assert found.tolist() == [(5, 0, 0, True), (6, 1, 1, False)]
    assert door.dropped == {"range": 2, "polarity": 1, "order": 1} and door.seen == 6
    assert checked(found, SENSOR) is found


@pytest.mark.parametrize("size", [1, 2, 4])
def test_packets_are_checked_as_the_whole(size: int) -> None:
    whole, door = Door(SENSOR, drop=True), Door(SENSOR, drop=True)
    packets = [door.admit(FAULTY[start : start + size]) for start in range(0, len(FAULTY), size)]
    np.testing.assert_array_equal(np.concatenate(packets), whole.admit(FAULTY))
    assert door.dropped == whole.dropped


def test_the_index_counts_from_the_start_of_the_source() -> None:
    door = Door(SENSOR)
    door.admit(foreign((0, 0, 5, 1), (0, 0, 8, 1)))
    assert len(door.admit(foreign())) == 0
    with pytest.raises(DataError, match="event 3: its time 7 us lies before"):
        door.admit(foreign((0, 0, 8, 1), (0, 0, 7, 1)))


def test_dropping_may_leave_nothing() -> None:
    door = Door(SENSOR, drop=True)
    found = door.admit(foreign((9, 9, 9, 1)))
    assert found.dtype == EVENT and len(found) == 0 and door.dropped["range"] == 1
