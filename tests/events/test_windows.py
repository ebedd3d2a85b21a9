"""The window rule: every event in exactly one bin, at the edges above all."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lmht_deploy.errors import DataError
from lmht_deploy.events.arrays import Sensor, make_events
from lmht_deploy.events.windows import (
    WindowRule,
    clip_bin,
    clip_counts,
    count_windows,
    iterate_windows,
)
from tests.support.recordings import SENSOR, at, binned, bins, counted, recordings

rules = st.one_of(
    st.builds(WindowRule, st.integers(1, 9)),
    st.builds(binned, st.integers(1, 9), st.just("events"), st.integers(1, 20)),
)


@st.composite
def overlapping(draw: st.DrawFn, events: np.ndarray) -> WindowRule:
    """Rules by time or events, with any hop, that cut `events` into a few hundred bins at most."""
    steps, by = draw(st.integers(1, 6)), draw(st.sampled_from(["time", "events"]))
    extent = len(events) if by == "events" else int(events["t"][-1] - events["t"][0])
    least = extent // 200 + 1
    length = draw(st.integers(least, least + max(20, extent // 5)))
    return binned(steps, by, length, draw(st.integers(1, steps)))


@pytest.mark.parametrize(
    ("rule", "times", "expected"),
    [
        (
            WindowRule(4),
            (0, 1, 2, 3, 4),
            [0, 1, 2, 3, 3],
        ),  # edges at 1, 2, 3; the last event is included
        (
            WindowRule(4),
            (100, 101, 199, 200, 201, 299, 300, 399, 400, 500),
            [0, 0, 0, 1, 1, 1, 2, 2, 3, 3],
        ),
        (WindowRule(3), (0, 3, 4, 6, 7, 10), [0, 0, 1, 1, 2, 2]),  # edges at 3 1/3 and 6 2/3
        (WindowRule(4), (7, 7, 7), [0, 0, 0]),  # no duration
        (WindowRule(4), (7, 8), [0, 3]),  # shorter than the number of bins
        (WindowRule(1), (7, 8, 900), [0, 0, 0]),
        (
            binned(2, "time", 10),
            (5, 14, 15, 24, 25, 44),
            [0, 0, 1, 1, 2, 3],
        ),  # counted from the first event
        (binned(2, "time", 1), (-3, -2, 2), [0, 1, 5]),
        (binned(2, "events", 2), (0, 0, 0, 1, 2), [0, 0, 1, 1, 2]),
    ],
)
def test_bins(rule: WindowRule, times: tuple[int, ...], expected: list[int]) -> None:
    events = at(*times)
    found = count_windows(events, SENSOR, rule).sum((2, 3, 4)).ravel()
    assert np.repeat(np.arange(len(found)), found).tolist() == expected
    assert [rule.bin(t, index, times[0], times[-1]) for index, t in enumerate(times)] == expected
    assert bins(rule, events).tolist() == expected


def test_a_whole_recording_by_hand() -> None:
    events = make_events(
        np.array([0, 1, 5, 10, 10]),
        np.array([0, 4, 4, 2, 2]),
        np.array([0, 2, 2, 1, 1]),
        np.array([1, 0, 1, 1, 1]),
    )
    (window,) = count_windows(events, SENSOR, WindowRule(2))
    expected = np.zeros((2, 2, 3, 5), int)
    expected[0, 1, 0, 0] = expected[0, 0, 2, 4] = expected[1, 1, 2, 4] = 1
    expected[1, 1, 1, 2] = 2
    np.testing.assert_array_equal(window, expected)


def test_an_incomplete_last_window_has_empty_bins() -> None:
    found = count_windows(at(0, 1, 12, 31), SENSOR, binned(2, "time", 10))
    assert found[:, :, 1, 0, 0].tolist() == [[2, 1], [0, 1]]
    found = count_windows(at(0, 1, 2, 3, 4), SENSOR, binned(2, "events", 2))
    assert found[:, :, 1, 0, 0].tolist() == [[2, 2], [1, 0]]


def test_down_sampling_sums_counts_by_address() -> None:
    events = make_events(
        np.arange(6), np.array([0, 1, 2, 3, 4, 5]), np.zeros(6, int), np.ones(6, int)
    )
    (window,) = count_windows(events, Sensor(2, 6), WindowRule(1), Sensor(1, 3))
    assert window[0, 1].tolist() == [[2, 2, 2]]
    (window,) = count_windows(
        events, Sensor(2, 6), WindowRule(1), Sensor(2, 4)
    )  # 6 pixels in 4: 2, 1, 2, 1
    assert window[0, 1].tolist() == [[2, 1, 2, 1], [0, 0, 0, 0]]


@given(events=recordings(), rule=rules, height=st.integers(1, 3), width=st.integers(1, 5))
def test_no_event_is_ever_lost(
    events: np.ndarray, rule: WindowRule, height: int, width: int
) -> None:
    found = count_windows(events, SENSOR, rule, Sensor(height, width))
    assert found.shape[1:] == (rule.steps, 2, height, width)
    assert found.sum() == len(events)
    assert found[:, :, 1].sum() == events["p"].sum()


@given(events=recordings(), rule=rules, height=st.integers(1, 3), width=st.integers(1, 5))
def test_counts_are_those_of_the_oracle(
    events: np.ndarray, rule: WindowRule, height: int, width: int
) -> None:
    size = Sensor(height, width)
    np.testing.assert_array_equal(
        count_windows(events, SENSOR, rule, size), counted(events, SENSOR, rule, size)
    )


LARGE = Sensor(720, 1279)


@given(
    events=recordings(LARGE),
    steps=st.integers(1, 4),
    width=st.integers(1, 1279),
    length=st.integers(1, 10**6),
)
def test_counts_of_a_large_sensor(events: np.ndarray, steps: int, width: int, length: int) -> None:
    rule = binned(steps, "time", max(length, int(events["t"][-1] - events["t"][0]) // 20))
    size = Sensor(7, width)
    np.testing.assert_array_equal(
        count_windows(events, LARGE, rule, size), counted(events, LARGE, rule, size)
    )


@pytest.mark.parametrize("width", [2, 3, 255, 641, 32768, 65535, 65536, 10**6])
def test_every_column_falls_into_its_cell(width: int) -> None:
    x = np.arange(min(width, 65536))
    events = make_events(np.arange(len(x)), x, np.zeros(len(x), int), np.ones(len(x), int))
    for cells in {1, 2, width // 3 + 1, min(width, 65536)}:
        (window,) = count_windows(events, Sensor(1, width), WindowRule(1), Sensor(1, cells))
        np.testing.assert_array_equal(
            window[0, 1, 0], np.bincount(x * cells // width, minlength=cells)
        )


def test_the_longest_recording() -> None:
    (window,) = count_windows(at(-(2**62), 0, 2**62), SENSOR, WindowRule(4))
    assert window[:, 1, 0, 0].tolist() == [1, 0, 1, 1]


def test_events_that_do_not_lie_side_by_side() -> None:
    events = at(*range(20))
    np.testing.assert_array_equal(
        count_windows(events[::3], SENSOR, WindowRule(4)),
        count_windows(events[::3].copy(), SENSOR, WindowRule(4)),
    )


@given(events=recordings(), steps=st.integers(1, 5), length=st.integers(1, 10**6))
def test_no_event_is_lost_by_time(events: np.ndarray, steps: int, length: int) -> None:
    length = max(length, int(events["t"][-1] - events["t"][0]) // 200)
    rule = binned(steps, "time", length)
    found = count_windows(events, SENSOR, rule)
    assert found.sum() == len(events)
    for event, index in zip(events, bins(rule, events), strict=True):
        start = events["t"][0] + index * length
        assert start <= event["t"] < start + length


@given(events=recordings(), steps=st.integers(1, 7))
def test_bins_of_a_recording_are_those_of_a_histogram(events: np.ndarray, steps: int) -> None:
    duration = int(events["t"][-1] - events["t"][0])
    for t, index in zip(
        events["t"].tolist(), bins(WindowRule(steps), events).tolist(), strict=True
    ):
        elapsed = (t - int(events["t"][0])) * steps  # in units of 1/steps microseconds, exactly
        assert index * duration <= elapsed
        assert elapsed < (index + 1) * duration or index == steps - 1 or duration == 0


@given(events=recordings(), rule=rules)
def test_one_by_one_equals_all_at_once(events: np.ndarray, rule: WindowRule) -> None:
    np.testing.assert_array_equal(
        np.stack(list(iterate_windows(events, SENSOR, rule))), count_windows(events, SENSOR, rule)
    )


@given(events=recordings(), data=st.data())
def test_windows_that_overlap_are_runs_of_bins(events: np.ndarray, data: st.DataObject) -> None:
    rule = data.draw(overlapping(events))
    found = count_windows(events, SENSOR, rule)
    np.testing.assert_array_equal(found, counted(events, SENSOR, rule, SENSOR))
    np.testing.assert_array_equal(found, np.stack(list(iterate_windows(events, SENSOR, rule))))
    assert len(found) == rule.number_of_windows(events) == len(rule.starts(events))
    single = count_windows(events, SENSOR, binned(1, rule.by, rule.bin_length))[:, 0]
    padded = np.concatenate([single, np.zeros((rule.steps, *single.shape[1:]), int)])
    for index, window in enumerate(found):
        first = index * rule.hop
        np.testing.assert_array_equal(window, padded[first : first + rule.steps])
    last = (len(found) - 1) * rule.hop  # first bin of the last window
    assert last == 0 or last - rule.hop + rule.steps < len(single) <= last + rule.steps


@given(events=recordings(), data=st.data())
def test_starts_and_complete_windows(events: np.ndarray, data: st.DataObject) -> None:
    rule = data.draw(overlapping(events))
    starts = rule.starts(events).tolist()
    ends = range(rule.length, 10**12, rule.hop * rule.bin_length)
    if rule.by == "time":
        assert starts == [end - rule.length for end, _ in zip(ends, starts, strict=False)]
        reached = int(events["t"][-1] - events["t"][0])
    else:
        times = (events["t"] - events["t"][0]).tolist()
        assert starts == [times[end - rule.length] for end, _ in zip(ends, starts, strict=False)]
        reached = len(events)
    complete = [end <= reached for end, _ in zip(ends, starts, strict=False)]
    assert sum(complete) == rule.number_of_complete_windows(events) >= len(starts) - 1
    assert all(complete[:-1])


@given(events=recordings(), data=st.data())
def test_a_rule_is_read_back_from_its_text(events: np.ndarray, data: st.DataObject) -> None:
    for rule in (data.draw(overlapping(events)), data.draw(rules)):
        assert WindowRule.from_text(rule.to_text()) == rule


def test_the_text_of_a_rule() -> None:
    assert WindowRule(4, "time", 50_000, 2).to_text() == (
        '{"steps": 4, "by": "time", "length": 50000, "hop": 2}'
    )
    assert WindowRule(4).to_text() == '{"steps": 4, "by": "recording", "length": 0, "hop": 4}'


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "a window rule is a JSON object"),
        ("[]", "a window rule is a JSON object"),
        ("[" * 100_000, "a window rule is a JSON object"),
        ('{"steps": 4}', "a window rule is a JSON object"),
        ('{"steps": 4, "by": [], "length": 8, "hop": 4}', "not by \\[\\]"),
        ('{"steps": true, "by": "time", "length": 8, "hop": 4}', "at least one bin, not True"),
        ('{"steps": 4, "by": "time", "length": 8.0, "hop": 4}', "length >= 1"),
        ('{"steps": 4, "by": "time", "length": 8, "hop": null}', "must be 1 to 4 bins, not None"),
    ],
)
def test_a_text_that_is_no_rule_is_refused(text: str, message: str) -> None:
    with pytest.raises(DataError, match=message):
        WindowRule.from_text(text)


def test_a_rule_in_words() -> None:
    assert str(WindowRule(4)) == "one window per recording (4 bins)"
    assert str(WindowRule(4, "time", 50_000)) == "windows of 50,000 us (4 bins)"
    assert str(WindowRule(1, "events", 1)) == "windows of 1 event (1 bin)"
    assert str(WindowRule(4, "events", 800, 1)) == (
        "windows of 800 events (4 bins, a new one every 1)"
    )


@given(events=recordings(), steps=st.integers(1, 6), bin_width=st.integers(1, 1000))
def test_tonic_gives_the_same_frames_but_loses_the_last_event(
    events: np.ndarray, steps: int, bin_width: int
) -> None:
    tonic = pytest.importorskip("tonic")
    duration = steps * bin_width
    events = events.copy()
    events["t"] = np.sort(events["t"] % duration)
    events = np.concatenate([at(0), events, at(duration)])
    frames = tonic.transforms.ToFrame(
        sensor_size=(SENSOR.width, SENSOR.height, 2), n_time_bins=steps
    )(events)
    (window,) = count_windows(events, SENSOR, WindowRule(steps))
    assert window.sum() - frames.sum() == 1
    window[-1, 1, 0, 0] -= 1
    np.testing.assert_array_equal(window, frames)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((0,), "at least one bin"),
        ((4, "frames"), "'recording', 'time' or 'events', not by 'frames'"),
        ((4, "recording", 10), "by recording have no length"),
        ((4, "recording", 0, 2), "one window by recording, and no hop"),
        ((4, "time"), r"length >= 1 \(microseconds\), not 0"),
        ((4, "events", 0), r"length >= 1 \(events\), not 0"),
        ((4, "time", 10), "multiple of 4 microseconds, not 10; the nearest are 8 and 12"),
        ((4, "events", 3), "multiple of 4 events, not 3; the nearest are 4"),
        ((4, "time", 8, 5), "must be 1 to 4 bins, not 5"),
        ((4, "time", 8, -1), "must be 1 to 4 bins, not -1"),
    ],
)
def test_a_rule_that_makes_no_sense_is_refused(arguments: tuple, message: str) -> None:
    with pytest.raises(DataError, match=message):
        WindowRule(*arguments)


def test_what_cannot_be_cut_is_refused() -> None:
    with pytest.raises(DataError, match="without events"):
        count_windows(at(), SENSOR, WindowRule(4))
    with pytest.raises(DataError, match="must not be larger"):
        count_windows(at(1), SENSOR, WindowRule(4), Sensor(4, 4))
    with pytest.raises(DataError, match="choose longer windows"):
        count_windows(at(0, 10**15), SENSOR, binned(4, "time", 1000))
    with pytest.raises(DataError, match="choose longer windows or a smaller size"):
        count_windows(at(1), Sensor(60_000, 60_000), WindowRule(4))


def test_saturation_says_what_it_lost() -> None:
    counts = np.array([0, 1, 255, 256, 300])
    found, lost = clip_counts(counts)
    assert found.dtype == np.uint8 and found.tolist() == [0, 1, 255, 255, 255] and lost == 46
    found, lost = clip_counts(counts, 3)
    assert found.dtype == np.uint8 and found.tolist() == [0, 1, 3, 3, 3] and lost == 252 + 253 + 297
    found, lost = clip_counts(counts, 256)
    assert found.dtype == np.uint16 and found.tolist() == [0, 1, 255, 256, 256] and lost == 44
    for high in (0, 2**16):
        with pytest.raises(DataError, match=r"1\.\.65535"):
            clip_counts(counts, high)


@pytest.mark.parametrize("max_count", [1, 3, 255, 2**16, 2**31 - 1])
def test_a_bin_loses_what_a_window_does(max_count: int) -> None:
    frame = np.array([0, 1, 2, 3, 4, 255, 256, 2**16, 2**31 - 1, 2**31, 2**40, 7]).reshape(2, 2, 3)
    clipped = np.full(frame.shape, -1, np.int32)
    lost = clip_bin(frame, max_count, clipped)
    assert clipped.tolist() == np.minimum(frame, max_count).tolist()
    assert lost == (frame - clipped).sum()
