"""Validation of event arrays: what is valid, and the message for what is not."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lmht_deploy.errors import DataError
from lmht_deploy.events.arrays import EVENT, MAX_TIME, EventValidator, make_events, validate_events
from tests.support.recordings import SENSOR, recordings

FOREIGN = np.dtype([("x", int), ("y", int), ("t", int), ("p", int)])
"""As Tonic gives N-MNIST."""


def foreign(*events: tuple[int, int, int, int]) -> np.ndarray:
    return np.array(list(events), FOREIGN)


@given(events=recordings())
def test_valid_events_pass_as_they_are(events: np.ndarray) -> None:
    assert validate_events(events, SENSOR) is events
    validator = EventValidator(SENSOR, drop=True)
    np.testing.assert_array_equal(validator.validate(events), events)
    assert validator.dropped == {"range": 0, "polarity": 0, "order": 0} and validator.seen == len(
        events
    )


def test_other_field_orders_and_dtypes_are_converted() -> None:
    found = validate_events(foreign((4, 2, 10, 1), (0, 0, 10, 0)), SENSOR)
    assert found.dtype == EVENT
    assert found.tolist() == [(10, 4, 2, True), (10, 0, 0, False)]


@pytest.mark.parametrize(
    ("events", "message"),
    [
        (
            foreign((0, 0, 5, 1), (5, 0, 6, 1)),
            "event 1: x=5, y=0 is outside the sensor of 5 x 3 pixels",
        ),
        (foreign((0, 3, 5, 1)), "event 0: x=0, y=3"),
        (foreign((0, -1, 5, 1)), "event 0: x=0, y=-1"),
        (
            foreign((0, 0, 5, 1), (0, 0, 5, 1), (0, 0, 4, 1)),
            "event 2: its time 4 us is earlier than that of an event before it",
        ),
        (foreign((0, 0, 5, 2)), r"event 0: polarity must be 0 \(OFF\) or 1 \(ON\), not 2"),
        (foreign((0, 0, 5, -1)), "event 0: polarity must be 0"),
        (foreign((0, 0, 5, 1), (0, 0, 4, 1), (9, 9, 9, 9)), "event 1: its time"),
        (
            foreign((0, 0, 5, 1), (0, 0, MAX_TIME + 1, 1)),
            "event 1: its time 4611686018427387905 us is beyond",
        ),
        (foreign(), "holds no event"),
        (
            np.zeros(3),
            "must be a one-dimensional structured array with the fields t, x, y, p, not float64",
        ),
        (np.zeros((3, 1), EVENT), "one-dimensional"),
        ([(0, 0, 0, 0)], "not list"),
        (np.zeros(3, [("t", int), ("x", int), ("y", int)]), "fields t, x, y, p"),
        (
            np.zeros(3, [("t", float), ("x", int), ("y", int), ("p", int)]),
            r"field t of events must hold integers \(microseconds\), not float64",
        ),
    ],
)
def test_what_does_not_fit_is_named(events: np.ndarray, message: str) -> None:
    with pytest.raises(DataError, match=message):
        validate_events(events, SENSOR)


@pytest.mark.parametrize("dtype", [np.uint64, np.uint32, np.int16])
def test_times_of_any_integer_dtype_are_converted(dtype: type) -> None:
    events = np.zeros(2, [("t", dtype), ("x", int), ("y", int), ("p", bool)])
    events["t"] = [3, 9]
    assert validate_events(events, SENSOR)["t"].tolist() == [3, 9]


def test_unsigned_times_beyond_63_bits_are_named() -> None:
    events = np.zeros(2, [("t", np.uint64), ("x", int), ("y", int), ("p", bool)])
    events["t"][1] = 2**63
    with pytest.raises(DataError, match="event 1"):
        validate_events(events, SENSOR)


FAULTY = foreign(
    (0, 0, 5, 1), (7, 0, 99, 1), (0, 0, 4, 1), (0, 0, 6, 3), (8, 8, 6, 3), (1, 1, 6, 0)
)


def test_dropping_is_counted() -> None:
    validator = EventValidator(SENSOR, drop=True)
    found = validator.validate(FAULTY)
    assert found.tolist() == [(5, 0, 0, True), (6, 1, 1, False)]
    assert validator.dropped == {"range": 2, "polarity": 1, "order": 1} and validator.seen == 6
    assert validate_events(found, SENSOR) is found


@pytest.mark.parametrize("size", [1, 2, 4])
def test_packets_are_checked_as_the_whole(size: int) -> None:
    whole, validator = EventValidator(SENSOR, drop=True), EventValidator(SENSOR, drop=True)
    packets = [
        validator.validate(FAULTY[start : start + size]) for start in range(0, len(FAULTY), size)
    ]
    np.testing.assert_array_equal(np.concatenate(packets), whole.validate(FAULTY))
    assert validator.dropped == whole.dropped


def test_the_index_counts_from_the_start_of_the_source() -> None:
    validator = EventValidator(SENSOR)
    validator.validate(foreign((0, 0, 5, 1), (0, 0, 8, 1)))
    assert len(validator.validate(foreign())) == 0
    with pytest.raises(DataError, match="event 3: its time 7 us is earlier"):
        validator.validate(foreign((0, 0, 8, 1), (0, 0, 7, 1)))


def test_dropping_may_leave_nothing() -> None:
    validator = EventValidator(SENSOR, drop=True)
    found = validator.validate(foreign((9, 9, 9, 1)))
    assert found.dtype == EVENT and len(found) == 0 and validator.dropped["range"] == 1


@st.composite
def damaged(draw: st.DrawFn) -> np.ndarray:
    """Recordings with some invalid events, as EVENT (which can hold fewer faults) or otherwise."""
    events = draw(recordings())
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    table = np.stack([events[name].astype(np.int64) for name in "txyp"], 1)
    foreign = draw(st.booleans())
    values = {
        0: [-(2**50), 0, MAX_TIME, MAX_TIME + 1, -MAX_TIME - 1],
        1: [4, 5, 65535],
        2: [2, 3, 65535],
        3: [0, 1],
    }
    if foreign:
        values = {
            0: values[0],
            1: [*values[1], -1, 2**40],
            2: [*values[2], -1, 65536],
            3: [0, 1, 2, -1, 256],
        }
    for _ in range(draw(st.integers(0, 8))):
        column = int(rng.integers(4))
        table[rng.integers(len(table)), column] = rng.choice(values[column])
    return (
        table.view(np.dtype([(name, np.int64) for name in "txyp"]))[:, 0]
        if foreign
        else make_events(*table.T)
    )


def faults(events: np.ndarray) -> list[str]:
    """The first fault of every event, or "", one by one: the oracle."""
    found, latest = [], -MAX_TIME
    for t, x, y, p in events.tolist():
        if not (0 <= x < SENSOR.width and 0 <= y < SENSOR.height and abs(t) <= MAX_TIME):
            found.append("range")
        elif p not in (0, 1):
            found.append("polarity")
        elif t < latest:
            found.append("order")
        else:
            found.append("")
            latest = t
    return found


@given(events=damaged(), cut=st.integers(0, 60))
def test_every_fault_is_found(events: np.ndarray, cut: int) -> None:
    expected = faults(events)
    valid = np.array([not fault for fault in expected])
    validator = EventValidator(SENSOR, drop=True)
    found = np.concatenate([validator.validate(events[:cut]), validator.validate(events[cut:])])
    assert found.dtype == EVENT
    assert found.tolist() == [(t, x, y, bool(p)) for t, x, y, p in events[valid].tolist()]
    assert validator.dropped == {
        name: expected.count(name) for name in ("range", "polarity", "order")
    } and validator.seen == len(events)
    if valid.all():
        np.testing.assert_array_equal(validate_events(events, SENSOR), found)
    else:
        with pytest.raises(DataError, match=f"^event {valid.argmin()}: "):
            validate_events(events, SENSOR)


def test_a_packed_polarity_that_is_neither() -> None:
    raw = np.zeros(26, np.uint8)
    raw[25] = 2
    with pytest.raises(DataError, match="event 1: "):
        validate_events(raw.view(EVENT), SENSOR)


def test_an_unbuilt_extension_is_a_clean_message() -> None:
    script = (
        "import sys; sys.modules['lmht_deploy.events._core'] = None\n"
        "from lmht_deploy.errors import DataError\n"
        "from lmht_deploy.events.arrays import EVENT, Sensor, validate_events\n"
        "import numpy\n"
        "try: validate_events(numpy.zeros(1, EVENT), Sensor(1, 1))\n"
        "except DataError as error: print('refused:', error)\n"
    )
    printed = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    ).stdout
    assert (
        "refused: the extension lmht_deploy.events._core was not built" in printed
        and "pip install -e ." in printed
    )
