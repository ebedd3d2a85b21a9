"""Filters, parts, summaries and pictures of recordings, against loops in plain Python."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lmht_deploy.errors import DataError
from lmht_deploy.events import (
    BackgroundActivityFilter,
    EventStream,
    PixelFilter,
    RefractoryFilter,
    Sensor,
    count_pixels,
    crop_events,
    cut_events,
    filter_events,
    find_hot_pixels,
    make_events,
    open_recording,
    summarize,
)
from lmht_deploy.events.pictures import draw, draw_bars, draw_text, find_brightest
from lmht_deploy.events.summary import RATE_BINS, Gap, Gaps, Rate
from tests.support.recordings import SENSOR, at, data, recordings

NEVER = -(2**62)


def packets(events: np.ndarray, size: int) -> list[np.ndarray]:
    return [events[i : i + size] for i in range(0, len(events), size)]


def neighbors(x: int, y: int) -> list[tuple[int, int]]:
    return [(x + i, y + j) for i in (-1, 0, 1) for j in (-1, 0, 1) if (i, j) != (0, 0)]


# ----------------------------------------------------------------------------------------- filters


@given(events=recordings(), time=st.sampled_from([0, 1, 5, 10**5]), size=st.integers(1, 60))
def test_background_activity(events: np.ndarray, time: int, size: int) -> None:
    last: dict[tuple[int, int], int] = {}
    expected = []
    for t, x, y, p in events.tolist():
        if any(t - last.get(pixel, NEVER) <= time for pixel in neighbors(x, y)):
            expected.append((t, x, y, p))
        last[x, y] = t
    each = BackgroundActivityFilter(SENSOR, time)
    found = np.concatenate([each.apply(packet) for packet in packets(events, size)])
    assert found.tolist() == expected


@given(events=recordings(), time=st.sampled_from([0, 1, 5, 10**5]), size=st.integers(1, 60))
def test_refractory(events: np.ndarray, time: int, size: int) -> None:
    last: dict[tuple[int, int], int] = {}
    expected = []
    for t, x, y, p in events.tolist():
        if t - last.get((x, y), NEVER) >= time:
            expected.append((t, x, y, p))
            last[x, y] = t
    each = RefractoryFilter(SENSOR, time)
    found = np.concatenate([each.apply(packet) for packet in packets(events, size)])
    assert found.tolist() == expected


@given(seed=st.integers(0, 2**32 - 1), height=st.integers(1, 6), width=st.integers(1, 6))
def test_hot_pixels(seed: int, height: int, width: int) -> None:
    rng = np.random.default_rng(seed)
    counts = rng.choice([0, 1, 9, 10, 11, 20, 21, 300], (height, width))
    expected = np.zeros((height, width), bool)
    for y in range(height):
        for x in range(width):
            near = [counts[j, i] for i, j in neighbors(x, y) if 0 <= i < width and 0 <= j < height]
            second = sorted([0, 0, *near])[-2]
            expected[y, x] = counts[y, x] > 10 * (1 + second)
    np.testing.assert_array_equal(find_hot_pixels(counts), expected)
    np.testing.assert_array_equal(find_hot_pixels(np.stack([counts, 0 * counts])), expected)


def test_filters_count_what_they_remove() -> None:
    events = make_events(
        np.array([0, 1, 2, 3, 40]), np.array([0, 1, 1, 4, 1]), np.zeros(5, int), np.ones(5, int)
    )
    hot = np.zeros(SENSOR, bool)
    hot[0, 4] = True
    removed: dict[str, int] = {}
    filters = [PixelFilter(hot), RefractoryFilter(SENSOR, 5), BackgroundActivityFilter(SENSOR, 5)]
    found = np.concatenate(list(filter_events(packets(events, 2), filters, removed)))
    assert found["t"].tolist() == [1]
    assert removed == {"hot pixels": 1, "refractory": 1, "background activity": 2}


def test_filters_refuse_what_they_cannot_hold() -> None:
    for make in (BackgroundActivityFilter, RefractoryFilter):
        with pytest.raises(DataError, match="the time of a filter lies within"):
            make(SENSOR, -1)
        with pytest.raises(DataError, match="is too large"):
            make(Sensor(65535, 65535), 1)
    with pytest.raises(DataError, match="must be valid"):
        RefractoryFilter(SENSOR, 1).apply(make_events([0], [5], [0], [0]))  # type: ignore[arg-type]


# ------------------------------------------------------------------------------------------- parts


@given(
    events=recordings(),
    start=st.sampled_from([0, 1, 7, 10**6]),
    length=st.sampled_from([1, 3, 10**6, 2**60]),
    size=st.integers(1, 60),
)
def test_a_part_in_time(events: np.ndarray, start: int, length: int, size: int) -> None:
    stream = EventStream(SENSOR, iter([events[:0], *packets(events, size)]))
    found = np.concatenate([events[:0], *cut_events(stream, start, start + length).packets])
    t = events["t"] - events["t"][0]
    np.testing.assert_array_equal(found, events[(t >= start) & (t < start + length)])


@given(events=recordings(), x=st.integers(0, 4), y=st.integers(0, 2))
def test_a_part_in_space(events: np.ndarray, x: int, y: int) -> None:
    part = crop_events(EventStream(SENSOR, iter([events])), x, y, 5 - x, 3 - y)
    (found,) = part.packets
    kept = [e for e in events.tolist() if e[1] >= x and e[2] >= y]
    assert found.tolist() == [(t, i - x, j - y, p) for t, i, j, p in kept]
    assert part.sensor == (3 - y, 5 - x)


@pytest.mark.parametrize(
    "part", [(-1, 0, 2, 2), (0, 0, 6, 1), (0, 0, 0, 1), (4, 2, 2, 1), (0, 3, 1, 1)]
)
def test_a_part_off_the_sensor_is_refused(part: tuple[int, int, int, int]) -> None:
    with pytest.raises(DataError, match="does not lie on the sensor of 5 x 3"):
        crop_events(EventStream(SENSOR, iter([])), *part)


# ------------------------------------------------------------------------------------- the summary


@given(events=recordings(), size=st.integers(1, 60))
def test_rate_and_gaps(events: np.ndarray, size: int) -> None:
    rate, gaps, t = Rate(), Gaps(), events["t"]
    for packet in packets(events, size):
        rate.add(packet["t"])
        gaps.add(packet["t"])
    bins = (t - t[0]) // rate.bin_us
    assert rate.counts.tolist() == np.bincount(bins).tolist() and len(rate.counts) <= RATE_BINS
    assert rate.bin_us == 1 or 2 * len(rate.counts) > RATE_BINS
    lengths = np.sort(np.diff(t))[::-1]
    assert [gap.duration for gap in gaps.longest] == lengths[lengths > 0][:5].tolist()
    for gap in gaps.longest:
        after = t[np.searchsorted(t, gap.start, "right")]
        assert gap.start in t and after - gap.start == gap.duration


def test_a_summary() -> None:
    events = make_events(
        np.array([5, 6, 6, 1000, 900, 2005]),
        np.array([0, 1, 9, 1, 1, 1]),
        np.array([0, 2, 0, 2, 2, 2]),
        np.array([1, 0, 0, 1, 1, 1]),
    )
    found = summarize(EventStream(SENSOR, iter([events[:2], events[2:2], events[2:]])))
    assert (found.seen, found.events, found.on, found.active) == (6, 4, 3, 2)
    assert found.dropped == {"range": 1, "polarity": 0, "order": 1}
    assert (found.start, found.end, found.duration, found.mean_rate) == (5, 2005, 2000, 2000.0)
    assert found.gaps == (Gap(1000, 1005), Gap(6, 994), Gap(5, 1))
    assert found.bin_us == 64 and found.rate[0] == 2 and sum(found.rate) == 4
    assert found.counts[:, 2, 1].tolist() == [1, 2] and found.hot_count == 0
    for wrong, message in (
        (at(), "holds no event"),
        (make_events([0], [9], [9], [0]), "no valid event; 1 are"),  # type: ignore[arg-type]
    ):
        with pytest.raises(DataError, match=message):
            summarize(EventStream(SENSOR, iter([wrong])))


def test_a_real_recording() -> None:
    path = data("event_formats/evt3_gen41_sample.raw")
    stream = open_recording(path)
    found = summarize(stream)
    assert found.events == found.seen == 219596 and found.sensor == (720, 1280)
    counts = count_pixels(open_recording(path).packets, found.sensor)
    np.testing.assert_array_equal(counts, found.counts)
    hot = find_hot_pixels(counts)
    removed: dict[str, int] = {}
    kept = filter_events(open_recording(path).packets, [PixelFilter(hot)], removed)
    assert sum(map(len, kept)) == 219596 - found.hot_events
    assert removed["hot pixels"] == found.hot_events == counts.sum(0)[hot].sum()


# ---------------------------------------------------------------------------------------- pictures


def test_pictures() -> None:
    counts = np.zeros((2, 64, 128), int)
    counts[1, 3, 5], counts[0, 7, 9], counts[1, 7, 9], counts[0, 1, 1] = 3, 3, 3, 1
    assert find_brightest(counts) == 3 and find_brightest(0 * counts) == 1
    picture = draw(counts)
    assert picture.shape == (256, 512, 3) and picture.dtype == np.uint8
    assert picture[12:16, 20:24].reshape(-1, 3).tolist() == [[80, 160, 255]] * 16
    assert picture[28, 36].tolist() == [255, 255, 255] and picture[4, 4].tolist() == [128, 70, 0]
    assert np.count_nonzero(picture.any(2)) == 48
    lines = draw_text(counts, 8)
    assert len(lines) == 2 and lines == ["@", ""]


def test_bars() -> None:
    assert draw_bars([0, 1, 4, 8]) == " ▁▄█"
    assert draw_bars([0, 0]) == "  " and draw_bars([5]) == "█"
