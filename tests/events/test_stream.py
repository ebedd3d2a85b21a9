"""Streams: the windows of a whole recording, the decisions of the golden model, no silent loss."""

from __future__ import annotations

import dataclasses
import gc
import io
import os
import socket
import threading
import time
import tracemalloc
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Literal

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lmht_deploy import engine, reference
from lmht_deploy.errors import DataError
from lmht_deploy.events import live
from lmht_deploy.events.arrays import EVENT, MAX_GAP, EventValidator, Sensor, make_events
from lmht_deploy.events.live import (
    DATAGRAM,
    PolledFile,
    Udp,
    play_fast,
    play_in_real_time,
    read_text,
)
from lmht_deploy.events.stream import (
    Buffered,
    Clock,
    Counts,
    Packet,
    SharedSteps,
    StepRunner,
    WholeWindows,
    Windower,
    decide,
)
from lmht_deploy.events.windows import WindowRule, count_windows
from lmht_deploy.ir import Network
from lmht_deploy.result import Result
from tests.support.networks import SPECIAL
from tests.support.recordings import SENSOR, at, binned, data, recordings


def pieces(events: np.ndarray, seed: int) -> list[np.ndarray]:
    """`events` in packets of random sizes, empty ones among them."""
    rng = np.random.default_rng(seed)
    return np.split(events, np.sort(rng.integers(0, len(events) + 1, rng.integers(0, 6))))


def counting(rule: WindowRule, sensor: Sensor = SENSOR, size: Sensor | None = None) -> Windower:
    """A windower whose windows are counts."""
    return Windower(rule, Counts(rule.steps, sensor, size))


def pushed(windower: Windower, packets: list[np.ndarray]) -> list[tuple[int, np.ndarray]]:
    found = [(end, window.copy()) for packet in packets for end, window in windower.push(packet)]
    return found + [(end, window.copy()) for end, window in windower.finish()]


# ------------------------------------------------------------------------------------------ windows


@given(
    events=recordings(), steps=st.integers(1, 5), length=st.integers(1, 20), seed=st.integers(0, 99)
)
def test_by_events_as_from_the_whole_recording(
    events: np.ndarray, steps: int, length: int, seed: int
) -> None:
    rule = binned(steps, "events", length)
    found = pushed(counting(rule, SENSOR), pieces(events, seed))
    np.testing.assert_array_equal(
        np.stack([window for _, window in found]), count_windows(events, SENSOR, rule)
    )
    last = [
        min(end, len(events)) - 1
        for end in range(steps * length, len(events) + steps * length, steps * length)
    ]
    assert [end for end, _ in found] == events["t"][last].tolist()


@given(
    events=recordings(),
    steps=st.integers(1, 5),
    length=st.integers(1, 10**6),
    seed=st.integers(0, 99),
)
def test_by_time_as_from_the_whole_recording(
    events: np.ndarray, steps: int, length: int, seed: int
) -> None:
    length = max(length, int(events["t"][-1] - events["t"][0]) // 200)
    rule = binned(steps, "time", length)
    found = pushed(counting(rule, SENSOR, Sensor(2, 2)), pieces(events, seed))
    np.testing.assert_array_equal(
        np.stack([window for _, window in found]), count_windows(events, SENSOR, rule, Sensor(2, 2))
    )
    assert [end for end, _ in found] == [
        int(events["t"][0]) + (index + 1) * steps * length for index in range(len(found))
    ]


@given(
    events=recordings(),
    steps=st.integers(1, 5),
    hop=st.integers(1, 5),
    by=st.sampled_from(["time", "events"]),
    seed=st.integers(0, 99),
)
def test_overlapping_windows_are_runs_of_bins(
    events: np.ndarray, steps: int, hop: int, by: str, seed: int
) -> None:
    hop = min(hop, steps)
    length = 7 if by == "events" else max(1, int(events["t"][-1] - events["t"][0]) // 20)
    bins = count_windows(events, SENSOR, binned(1, by, length))[:, 0]  # type: ignore[arg-type]
    found = pushed(counting(binned(steps, by, length, hop), SENSOR), pieces(events, seed))  # type: ignore[arg-type]
    padded = np.concatenate([bins, np.zeros((steps + hop, *bins.shape[1:]), int)])
    for index, (_, window) in enumerate(found):
        np.testing.assert_array_equal(window, padded[index * hop : index * hop + steps])
    covered = (len(found) - 1) * hop + steps
    assert covered >= len(bins) > covered - hop or len(found) == 1


def test_a_window_by_events_does_not_wait_for_the_next_event() -> None:
    windower = counting(binned(2, "events", 2), SENSOR)
    assert len(list(windower.push(at(1, 2, 3)))) == 0
    ((end, window),) = windower.push(at(9))
    assert end == 9 and window.sum() == 4
    assert not list(windower.finish())


def test_memory_does_not_grow_with_the_stream() -> None:
    def peak(packets: int) -> int:
        windower = counting(binned(4, "time", 100), Sensor(32, 32))
        tracemalloc.start()
        for number in range(packets):
            for _ in windower.push(at(*range(number * 1000, (number + 1) * 1000, 10))):
                pass
        _, found = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        return found

    assert peak(900) < 2 * peak(
        10
    )  # which varies by what the interpreter has not collected yet; 900 packets hold 1.2 MB


def test_silence_gives_empty_windows_but_not_without_end() -> None:
    windower = counting(binned(2, "time", 10), SENSOR)
    assert [
        int(window.sum()) for packet in (at(0, 5), at(65)) for _, window in windower.push(packet)
    ] == [2, 0, 0]
    far = 65 + 10 * 2**57
    found = [(end, int(window.sum())) for end, window in windower.push(at(far, far + 20))]
    assert found == [(80, 1), (far // 20 * 20 + 20, 1)]
    assert windower.skipped == far // 20 - 4
    assert [int(window.sum()) for _, window in windower.finish()] == [1]


@pytest.mark.parametrize("hop", [1, 2, 3, 4])
@pytest.mark.parametrize("gap", [17, 400, 401, 402, 403])
@pytest.mark.parametrize("kind", ["incremental", "stepwise"])
def test_a_long_silence_leaves_out_empty_windows_only(kind: str, gap: int, hop: int) -> None:
    if reason := engine.unavailable():
        pytest.skip(reason)
    rng = np.random.default_rng(gap)
    times = np.sort(rng.integers(0, 100, 60)) + np.repeat([0, 100 + 10 * gap], 30)
    events = make_events(times, *rng.integers(0, 8, (2, 60)), rng.integers(2, size=60))
    rule, sensor = binned(4, "time", 10, hop), Sensor(8, 8)
    found = []
    for max_gap in (100, 10**6):
        shared = SharedSteps(RUNNERS[kind](), NET.input.max_value, 4, sensor)
        windower = Windower(rule, shared, max_gap)
        packets = [Packet(part, None) for part in pieces(events, gap)]
        decisions = list(decide(packets, windower, EventValidator(sensor)))
        plain = [dataclasses.replace(each, window=0, latency=0, seconds=0) for each in decisions]
        found.append((plain, windower.skipped))
    (skipping, skipped), (whole, none) = found
    assert none == 0 and skipped == len(whole) - len(skipping) > 0
    assert [each for each in whole if each.events] == [each for each in skipping if each.events]
    assert all(each in whole for each in skipping)
    if gap >= 400:
        assert len(skipping) < 40 < len(whole)


def test_rules_without_an_end_are_refused() -> None:
    with pytest.raises(DataError, match="a stream has no known end"):
        counting(WindowRule(4), SENSOR)
    with pytest.raises(DataError, match="they must not be larger"):
        counting(binned(4, "time", 10), SENSOR, Sensor(4, 4))
    with pytest.raises(DataError, match="must be 1 to 4 bins, not 5"):
        counting(binned(4, "time", 10, 5), SENSOR)


# ---------------------------------------------------------------------------------------- decisions

NET, PER_STEP = SPECIAL["lm-ht"](), SPECIAL["m-ht"]()
NETS = {"incremental": NET, "stepwise": PER_STEP}
RUNNERS: dict[str, Callable[[], StepRunner]] = {
    "incremental": lambda: engine.IncrementalEngine(engine.Model(NET)),
    "stepwise": lambda: engine.StepwiseRing(engine.StepwiseEngine(PER_STEP)),
}


class Golden:
    def __init__(self, net: Network = NET) -> None:
        self.net = net

    def run(self, windows: np.ndarray) -> Result:
        return reference.run(self.net, windows)


def golden(rule: WindowRule) -> Windower:
    """A windower whose windows the golden model runs."""
    return Windower(rule, WholeWindows(Golden(), NET.input.max_value, rule.steps, Sensor(8, 8)))


def test_decisions_are_those_of_the_golden_model() -> None:
    rng = np.random.default_rng(0)
    sensor = Sensor(8, 8)
    events = make_events(
        np.sort(rng.integers(0, 100_000, 4000)),
        rng.integers(8, size=4000),
        rng.integers(8, size=4000),
        rng.integers(2, size=4000),
    )
    rule = binned(4, "time", 2500)
    counts = count_windows(events, sensor, rule)
    expected = reference.run(NET, np.minimum(counts, NET.input.max_value))
    packets = [Packet(part, time.perf_counter()) for part in pieces(events, 3)]
    found = list(decide(packets, golden(rule), EventValidator(sensor)))
    assert [decision.label for decision in found] == expected.predictions.tolist()
    assert [decision.events for decision in found] == counts.sum((1, 2, 3, 4)).tolist()
    assert [decision.lost for decision in found] == np.maximum(counts - NET.input.max_value, 0).sum(
        (1, 2, 3, 4)
    ).tolist()
    assert [decision.spikes for decision in found] == sum(expected.spikes.values()).tolist()  # type: ignore[union-attr]
    assert [decision.sops for decision in found] == sum(expected.sops.values()).tolist()  # type: ignore[union-attr]
    ordered = np.sort(expected.logits, axis=1)
    assert [decision.margin for decision in found] == (
        (ordered[:, -1] - ordered[:, -2]) * expected.scale
    ).tolist()
    assert [decision.window for decision in found] == list(range(10)) and all(
        decision.latency >= 0 for decision in found
    )


@pytest.mark.parametrize("hop", [1, 2, 4])
@pytest.mark.parametrize("by", ["time", "events"])
@pytest.mark.parametrize("kind", ["incremental", "stepwise"])
def test_shared_steps_decide_as_whole_windows_do(
    kind: str, by: Literal["time", "events"], hop: int
) -> None:
    if reason := engine.unavailable():
        pytest.skip(reason)
    rng = np.random.default_rng(hop)
    sensor = Sensor(16, 16)
    times = np.sort(
        np.concatenate([rng.integers(0, 50_000, 2000), rng.integers(90_000, 100_000, 500)])
    )  # a silence between
    x, y = rng.integers(16, size=(2, 2500))
    events = make_events(times, x, y, rng.integers(2, size=2500))
    rule = binned(4, by, 2500 if by == "time" else 90, hop)
    shared = SharedSteps(RUNNERS[kind](), NET.input.max_value, 4, sensor, Sensor(8, 8))
    whole = WholeWindows(Golden(NETS[kind]), NET.input.max_value, 4, sensor, Sensor(8, 8))
    found, expected = (
        [
            dataclasses.replace(decision, latency=0, seconds=0)
            for decision in decide(
                [Packet(part, None) for part in pieces(events, 3)],
                Windower(rule, into),
                EventValidator(sensor),
            )
        ]
        for into in (shared, whole)
    )
    assert found == expected and sum(decision.lost for decision in found) > 0


# ------------------------------------------------------------------------------------- by the clock


def test_elapsed_windows_end_without_an_event_and_late_events_are_counted() -> None:
    windower = counting(binned(2, "time", 10))
    assert not list(windower.elapse(1000))  # nothing is known before the first event
    assert not list(windower.push(at(100, 105, 112)))
    assert not list(windower.elapse(119))
    ((end, window),) = windower.elapse(120)
    assert end == 120 and window.sum((1, 2, 3)).tolist() == [2, 1]
    assert [end for end, _ in windower.elapse(165)] == [140, 160]
    assert not list(windower.push(at(113, 159, 160, 169))) and windower.late == 2
    ((end, window),) = windower.finish()
    assert end == 180 and window.sum((1, 2, 3)).tolist() == [2, 0]


def test_a_live_source_is_decided_on_time() -> None:
    now = time.perf_counter()
    packets = [Packet(at(0, 5), now - 1.0), Packet(at(), None)]
    rule = binned(4, "time", 25_000)
    expected_at_least = int((1.0 - Clock.GRACE) / 0.1)
    assert (
        len(list(decide(packets, golden(rule), EventValidator(Sensor(8, 8)), Clock())))
        >= expected_at_least
    )
    assert len(list(decide(packets, golden(rule), EventValidator(Sensor(8, 8))))) == 1


def test_the_clock_goes_by_the_least_delay_and_forgives_drift() -> None:
    clock = Clock()
    assert clock.now(5.0) is None
    clock.observe(1_000_000, 10.0)
    assert clock.now(10.5) == pytest.approx(1_500_000 - Clock.GRACE * 1e6, abs=2)
    clock.observe(1_100_000, 10.05)  # came 50 ms sooner after its time
    assert clock.now(10.5) == pytest.approx(1_550_000 - Clock.GRACE * 1e6, abs=2)
    clock.observe(11_000_000, 20.05)  # 10 s later, 100 ms late: 10 ms of it may be drift
    assert clock.now(20.05) == pytest.approx(11_090_000 - Clock.GRACE * 1e6, abs=2)


def test_a_live_event_from_the_future_is_not_believed() -> None:
    start = time.perf_counter()
    packets = [
        Packet(at(0), start),
        Packet(at(1_000, 2**61), start + 0.001),
        Packet(at(50_000), start + 0.05),
    ]
    clock, validator = Clock(), EventValidator(Sensor(8, 8))
    decisions = list(decide(packets, golden(binned(4, "time", 25_000)), validator, clock))
    assert sum(decision.events for decision in decisions) == 3 and clock.early == 1


@pytest.mark.parametrize("first", [2**61, -(10**15), 10**15])
@pytest.mark.parametrize("live", [False, True])
def test_a_bad_first_event_does_not_drop_those_after_it(first: int, live: bool) -> None:
    start = time.perf_counter()
    packets = [Packet(at(first), start)]
    for index in range(50):
        packets.append(
            Packet(at(*range(index * 1000, index * 1000 + 1000, 100)), start + index / 1e3)
        )
    clock = Clock() if live else None
    validator = EventValidator(Sensor(8, 8), drop=True, max_gap=MAX_GAP)
    windower = golden(binned(4, "time", 2500))
    counted = sum(decision.events for decision in decide(packets, windower, validator, clock))
    early = clock.early if clock else 0
    assert counted == 501 - sum(validator.dropped.values()) - early - windower.late
    assert counted >= 470 and windower.late == 0
    assert len(list(decide(packets, windower, validator, clock))) < 10**4


def test_a_live_clock_that_was_set_is_followed() -> None:
    start = time.perf_counter()
    day = 86_400 * 10**6
    packets = [Packet(at(index * 1000), start + index / 1e3) for index in range(20)]
    packets += [Packet(at(day + index * 1000), start + index / 1e3) for index in range(20, 60)]
    clock, windower = Clock(), golden(binned(4, "time", 2500))
    decisions = list(decide(packets, windower, EventValidator(Sensor(8, 8)), clock))
    assert clock.early == 1 and sum(decision.events for decision in decisions) == 59
    assert len(decisions) + windower.skipped == (day + 59_000) // 10_000 + 1


def test_events_that_are_held_are_let_go_after_a_second_of_silence() -> None:
    start = time.perf_counter() - 2
    validator = EventValidator(Sensor(8, 8), drop=True, max_gap=MAX_GAP)
    packets = [Packet(at(0, 5), start), Packet(at(), None), Packet(at(), None)]
    decisions = decide(packets, golden(binned(4, "time", 25_000)), validator, Clock())
    assert next(decisions).events == 2


def test_a_silent_source_ticks() -> None:
    released = threading.Event()

    def source() -> Iterator[Packet]:
        yield Packet(at(1), 0.0)
        released.wait()

    with Buffered(source(), tick=0.01) as buffered:
        found = [len(packet.events) for packet, _ in zip(buffered, range(4), strict=False)]
        released.set()
    assert found == [1, 0, 0, 0]


def test_an_event_that_does_not_fit_ends_the_stream_unless_dropped() -> None:
    packets = [Packet(at(5, 4), 0.0)]
    with pytest.raises(DataError, match="event 1: its time 4 us"):
        list(decide(packets, golden(binned(4, "time", 10)), EventValidator(Sensor(8, 8))))
    validator = EventValidator(Sensor(8, 8), drop=True)
    (decision,) = decide(packets, golden(binned(4, "time", 10)), validator)
    assert decision.events == 1 and validator.dropped["order"] == 1


# ---------------------------------------------------------------------------------------- the queue


def endless(taken: list[int]) -> Iterator[Packet]:
    while True:
        taken.append(len(taken))
        yield Packet(at(len(taken)), 0.0)


def test_a_full_queue_makes_the_source_wait() -> None:
    taken: list[int] = []
    with Buffered(endless(taken), size=4) as source:
        until(lambda: len(taken) >= 5)
        time.sleep(0.1)
        assert len(taken) == 5 and source.lost == 0  # four in the queue, one in the hand
        first = [int(packet.events["t"][0]) for packet, _ in zip(source, range(20), strict=False)]
        assert first == list(range(1, 21))


def test_a_source_that_cannot_wait_counts_what_it_loses() -> None:
    def source() -> Iterator[Packet]:
        for number in range(10):
            yield Packet(at(*[number] * 3), 0.0)

    buffered = Buffered(source(), size=4, lossy=True)
    with buffered:
        until(lambda: buffered.lost == 18)
        kept = sum(len(packet.events) for packet in buffered)
    assert kept + buffered.lost == 30


def test_errors_of_a_source_pass_through() -> None:
    def source() -> Iterator[Packet]:
        yield Packet(at(1), 0.0)
        raise DataError("the camera was unplugged")

    with Buffered(source()) as buffered, pytest.raises(DataError, match="unplugged"):
        list(buffered)
    assert not [thread for thread in threading.enumerate() if thread.name == "events"]


def until(condition: object) -> None:
    deadline = time.perf_counter() + 20
    while not condition():  # type: ignore[operator]
        assert time.perf_counter() < deadline
        time.sleep(0.001)


# ------------------------------------------------------------------------------------------ sources


def test_a_recording_in_real_time_gives_the_same_events_not_before_they_are_due() -> None:
    events = np.concatenate([at(*range(0, 30_000, 100)), at(60_000)])
    start = time.perf_counter()
    played = [
        (time.perf_counter(), packet)
        for packet in play_in_real_time([events[:150], events[:0], events[150:]], speed=2)
        if len(packet.events)
    ]
    np.testing.assert_array_equal(np.concatenate([packet.events for _, packet in played]), events)
    for now, packet in played:
        assert packet.arrived is not None and now >= packet.arrived
        assert packet.arrived - start >= int(packet.events["t"][-1]) * 0.5e-6
    assert len(played) > 20
    with pytest.raises(DataError, match="the speed of a recording must be > 0, not 0"):
        next(play_in_real_time([events], 0))


def test_a_silence_is_waited_for_asleep_and_can_be_interrupted(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def interrupted(seconds: float) -> None:
        assert 0 < seconds < 1
        raise KeyboardInterrupt

    monkeypatch.setattr(time, "sleep", interrupted)
    with pytest.raises(KeyboardInterrupt):
        list(play_in_real_time([at(0, 9_000_000)]))


def test_a_damaged_time_is_not_waited_for() -> None:
    start = time.perf_counter()
    times = [0, 1000, 2**61, 2000, 3000, -(2**61), 4000, 50_000]
    played = list(play_in_real_time([at(*times[:3]), at(*times[3:])]))
    assert [t for packet in played for t in packet.events["t"].tolist()] == times
    assert 0.045 <= time.perf_counter() - start < 5


def test_a_real_recording_at_once() -> None:
    pytest.importorskip("faery")
    from lmht_deploy.events.recordings import open_recording

    recording = open_recording(data("event_formats/evt2_gen3_faery.raw"))
    rule = binned(4, "time", 1000)
    with Buffered(play_fast(recording.packets), size=2) as source:
        validator, windower = (
            EventValidator(recording.sensor),
            counting(rule, recording.sensor, Sensor(32, 32)),
        )
        total = sum(
            int(window.sum())
            for packet in source
            for _, window in windower.push(validator.validate(packet.events))
        )
    assert total + sum(int(window.sum()) for _, window in windower.finish()) == 521252


class Slow:
    """A network that takes 2 ms for the currents of a bin and 3 ms for the rest."""

    def put(self, step: int, counts: np.ndarray) -> None:
        time.sleep(0.002)

    def run(self, first: int) -> Result:
        time.sleep(0.003)
        return reference.run(SPECIAL["lm-ht"](), np.zeros((1, 4, 2, 8, 8), np.uint8))


def test_the_networks_part_holds_the_currents_of_the_last_bin() -> None:
    windower = Windower(binned(4, "events", 1), SharedSteps(Slow(), 255, 4, SENSOR))
    (decision,) = decide([Packet(at(0, 1, 2, 3), None)], windower, EventValidator(SENSOR))
    assert 0.005 <= decision.seconds <= decision.latency


@pytest.mark.parametrize("separator", [" ", ",", "\t", ", "])
@pytest.mark.parametrize("block", [7, 64, 2**16])
def test_text(separator: str, block: int) -> None:
    rows = [(time, time % 5, time % 3, time % 2) for time in range(0, 300, 7)]
    lines = "\n".join(separator.join(map(str, row)) for row in rows)
    for end in ("", "\n", "\n\n"):
        packets = [
            packet.events
            for packet in read_text(io.BytesIO((lines + end).encode()), max(block, 20))
        ]
        assert np.concatenate(
            [EventValidator(SENSOR).validate(packet) for packet in packets]
        ).tolist() == [(t, x, y, bool(p)) for t, x, y, p in rows]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"1 2 3 1\n1 2 3\n", "line 2: must hold four integers 't x y p', not '1 2 3'"),
        (b"1 2 3\n", "line 1: must hold four integers 't x y p', not '1 2 3'"),
        (b"t x y p\n", "line 1: must hold four integers 't x y p', not 't x y p'"),
        (b"1.5 2 3 1\n", "not '1.5 2 3 1'"),
        (b"99999999999999999999 2 3 1\n", "line 1: must hold four integers"),
        (b"\xff\xfe 1\n", "must hold four integers"),
        (b"1" * 200_000, "longer than"),
    ],
)
def test_text_that_is_none_is_named(content: bytes, message: str) -> None:
    with pytest.raises(DataError, match=message) as caught:
        list(read_text(io.BytesIO(content)))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("block", [16, 64, 2**16])
def test_lines_that_are_no_events_are_dropped(block: int) -> None:
    good = [b"%d %d %d %d" % (t, t % 5, t % 3, t % 2) for t in range(0, 300, 7)]
    bad = [b"t x y p", b"1 2 3", b"1.5 2 3 1", b"\xff", b"1_0 2 3 1", b"9" * 30, b"1 2 3\r4 5 6 7"]
    lines = [*good[:20], *bad, b"", *good[20:], b"x" * 1000, b"5 1 1", b"+500,3,2,1"]
    for end in (b"", b"\n"):
        dropped: Counter[str] = Counter()
        packets = list(read_text(io.BytesIO(b"\n".join(lines) + end), block, dropped))
        events = np.concatenate([packet.events for packet in packets])
        expected = [tuple(map(int, line.split())) for line in good]
        assert events.tolist() == [*expected, (500, 3, 2, 1)]
        assert dropped == {"lines": 9}


def test_udp() -> None:
    sent = np.array([(5, 1, 2, 1), (6, 3, 0, 0), (6, 4, 1, 1)], DATAGRAM)
    with (
        Udp("127.0.0.1", 0, silence=0.5) as udp,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender,
    ):
        for datagram in (sent[:2].tobytes(), b"stray", sent[2:].tobytes(), b""):
            sender.sendto(datagram, udp.address)
        validator = EventValidator(SENSOR)
        packets = [validator.validate(packet.events) for packet in udp]
        found = np.concatenate(packets)
    assert found.dtype == EVENT and found.tolist() == [
        (5, 1, 2, True),
        (6, 3, 0, False),
        (6, 4, 1, True),
    ]
    assert udp.malformed == 1 and udp.lost == 0


def test_datagrams_without_events_do_not_keep_a_source_alive() -> None:
    with (
        Udp("127.0.0.1", 0, silence=0.4) as udp,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender,
    ):
        start = time.perf_counter()
        for packet in udp:
            assert time.perf_counter() - start < 10 and len(packet.events) == 0
            sender.sendto(b"", udp.address)
            sender.sendto(b"stray", udp.address)
    assert udp.malformed > 0


def test_a_silent_pipe_does_not_hold_up_the_end() -> None:
    reader, writer = os.pipe()
    try:
        os.write(writer, b"1 2 3 1\n4 5 6")
        packets = read_text(PolledFile(reader))
        assert next(packets).events.tolist() == [(1, 2, 3, 1)]
        assert len(next(packets).events) == 0
        start = time.perf_counter()
        with Buffered(packets):
            pass
        assert time.perf_counter() - start < 0.9
    finally:
        os.close(writer)
        os.close(reader)


def test_udp_counts_what_the_system_dropped() -> None:
    with (
        Udp("127.0.0.1", 0, silence=0.3) as udp,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender,
    ):
        if not udp._reports_loss:
            pytest.skip("this system does not tell how many datagrams it dropped")
        datagram = np.zeros(1000, DATAGRAM).tobytes()
        number = 2000
        for _ in range(number):
            sender.sendto(datagram, udp.address)
        kept = sum(len(packet.events) > 0 for packet in udp)
        sender.sendto(datagram, udp.address)  # tells of the losses before it
        kept += sum(len(packet.events) > 0 for packet in udp)
    assert kept < number + 1 and kept + udp.lost == number + 1


@pytest.mark.filterwarnings("ignore")
def test_udp_from_faery() -> None:
    """faery leaves its socket open, which warns."""
    faery = pytest.importorskip("faery")
    packet = np.zeros(100, faery.EVENTS_DTYPE)
    packet["t"], packet["x"], packet["on"] = np.arange(100), np.arange(100) % 5, np.arange(100) % 2
    with Udp("127.0.0.1", 0, silence=0.5) as udp:
        faery.events_stream_from_array(packet, (5, 3)).to_udp(udp.address, format="t64_x16_y16_on8")
        validator = EventValidator(SENSOR)
        found = np.concatenate([validator.validate(packet.events) for packet in udp])
        gc.collect()
    np.testing.assert_array_equal(found["t"], packet["t"])
    np.testing.assert_array_equal(found["x"], packet["x"])
    np.testing.assert_array_equal(found["p"], packet["on"])


class FakeCamera:
    """What faery gives for a camera: an endless stream, here of two packets."""

    def __init__(self, dtype: np.dtype) -> None:
        self.packets = [np.array([(5, 1, 2, True)], dtype), np.array([(6, 3, 0, False)], dtype)]

    def dimensions(self) -> tuple[int, int]:
        return 5, 3

    def __iter__(self) -> Iterator[np.ndarray]:
        yield from self.packets
        raise RuntimeError("usb: gone")


def test_a_camera_through_faery(monkeypatch: pytest.MonkeyPatch) -> None:
    faery = pytest.importorskip("faery")
    monkeypatch.setattr(live, "DRIVERS", ("absent_drivers",))
    with pytest.raises(
        DataError, match="faery has no camera drivers here; run: pip install absent-drivers"
    ):
        live.open_camera()
    monkeypatch.setattr(live, "DRIVERS", ("json",))  # a package that is there
    with pytest.raises(DataError, match="no event camera could be opened"):
        live.open_camera()
    monkeypatch.setattr(faery, "events_stream_from_camera", lambda: FakeCamera(faery.EVENTS_DTYPE))
    sensor, packets = live.open_camera()
    assert sensor == SENSOR
    found = [next(packets), next(packets)]
    assert [event for packet in found for event in packet.events.tolist()] == [
        (5, 1, 2, True),
        (6, 3, 0, False),
    ]
    with pytest.raises(DataError, match=r"the camera was lost \(usb: gone\)"):
        next(packets)


def test_an_address_that_cannot_be_used_is_named() -> None:
    with pytest.raises(DataError, match=r"udp://256\.1\.1\.1:1: is not available"):
        Udp("256.1.1.1", 1)
    with pytest.raises(DataError, match=r"udp://127.0.0.1:99999: a port lies within 0\.\.65535"):
        Udp("127.0.0.1", 99999)
    with (
        Udp("127.0.0.1", 0) as udp,
        pytest.raises(DataError, match=r"is not available .*in use"),
    ):
        Udp(*udp.address)


def test_a_hostile_datagram_is_dropped_and_counted() -> None:
    hostile = np.array(
        [(2**64 - 1, 0, 0, 1), (5, 65535, 0, 1), (5, 0, 0, 200), (7, 0, 0, 1)], DATAGRAM
    )
    validator = EventValidator(SENSOR, drop=True)
    assert validator.validate(hostile).tolist() == [(7, 0, 0, True)]
    assert validator.dropped == {"range": 2, "polarity": 1, "order": 0}
