"""Streams of the library decide as `lmht stream` does."""

from __future__ import annotations

from ctypes import byref
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest

import lmht_deploy
from lmht_deploy import reference
from lmht_deploy.answers import Judge
from lmht_deploy.events.arrays import EventValidator, Sensor, make_events
from lmht_deploy.events.recordings import read_events
from lmht_deploy.events.stream import Packet, WholeWindows, Windower, decide
from lmht_deploy.events.windows import WindowRule, clip_counts, count_windows
from lmht_deploy.formats.flat import network_to_bytes
from lmht_deploy.ir import Network
from lmht_deploy.result import Result
from tests.support.networks import Builder
from tests.support.recordings import SENSOR, at

from . import bindings
from .bindings import ARGUMENT, INVALID_EVENT, Library, LibraryError, Losses, StreamOptions, packed

BY = {"recording": 1, "time": 2, "events": 3}


def network(steps: int = 3, size: tuple[int, int] = (3, 5), max_count: int = 2) -> Network:
    b = Builder(3, shape=(2, *size), steps=steps, max_value=max_count)
    return b.finish(b.neurons("a", b.conv("input", 3, 3, 1, 1), levels=2), classes=3)


class Reference:
    """The reference as a backend."""

    def __init__(self, net: Network) -> None:
        self._net = net

    def run(self, windows: np.ndarray) -> Result:
        return reference.run(self._net, windows)


@dataclass
class Case:
    """A stream and its options."""

    net: Network
    events: np.ndarray
    rule: WindowRule
    drop: bool = False
    max_gap: int = 10_000_000
    smooth: int = 1
    min_margin: float = 0.0
    cuts: Any = ()
    elapsed: dict[int, int] = field(default_factory=dict)
    """Times that elapse, by the number of the packet that they follow."""

    def packets(self) -> list[np.ndarray]:
        return np.split(self.events, self.cuts)


def python_stream(case: Case) -> tuple[list[Any], list[int]]:
    net, rule = case.net, case.rule
    validator = EventValidator(SENSOR, drop=case.drop, max_gap=case.max_gap)
    size = Sensor(*net.input.shape[1:])
    bins = WholeWindows(Reference(net), net.input.max_value, rule.steps, SENSOR, size)
    windower = Windower(rule, bins, case.max_gap)
    packets = (Packet(part, None) for part in case.packets())
    judge = Judge(case.smooth, case.min_margin)
    found = [
        [d.window, d.start, d.time, d.label, d.margin, d.logits, d.incomplete, d.events, d.lost,
         d.spikes, d.sops]
        for d in decide(packets, windower, validator, None, judge)
    ]  # fmt: skip
    return found, [*validator.dropped.values(), windower.late, windower.skipped]


def options_of(library: Library, case: Case) -> StreamOptions:
    options = StreamOptions()
    library.check(library.stream_options_init(byref(options)))
    options.window = bindings.WindowRule(BY[case.rule.by], case.rule.hop, case.rule.length)
    options.drop, options.max_gap = case.drop, case.max_gap
    options.smooth, options.min_margin = case.smooth, case.min_margin
    return options


def library_stream(library: Library, case: Case) -> tuple[list[Any], list[int]]:
    found = []
    with (
        library.network(network_to_bytes(case.net)) as net,
        library.made(
            "stream_create", net, SENSOR.width, SENSOR.height, byref(options_of(library, case))
        ) as stream,
    ):

        def pull() -> None:
            for d in library.decisions(stream):
                result = library.as_result(net, library.stream_result(stream))
                found.append(
                    [d.window, d.start, d.time, d.label, d.margin, result.logits[0].tolist(),
                     bool(d.incomplete), d.events, d.lost, d.spikes, d.sops]
                )  # fmt: skip

        for number, part in enumerate(case.packets()):
            events = packed(part)
            library.check(library.stream_push(stream, events.ctypes.data, len(events)))
            if number in case.elapsed:
                library.check(library.stream_elapse(stream, case.elapsed[number]))
            pull()
        library.check(library.stream_finish(stream))
        pull()
        losses = Losses()
        library.check(library.stream_get_losses(stream, byref(losses)))
    return found, [getattr(losses, name) for name, _ in Losses._fields_]


def random_case(rng: np.random.Generator) -> Case:
    """A recording with gaps and, where they are dropped, events that are not valid."""
    steps, number = int(rng.integers(1, 5)), int(rng.integers(1, 60))
    by = "time" if rng.random() < 0.6 else "events"
    rule = WindowRule(steps, by, steps * int(rng.integers(1, 30)), int(rng.integers(1, steps + 1)))
    t = int(rng.integers(-(2**40), 2**40)) + np.cumsum(
        rng.integers(0, rng.choice([1, 5, 50]) + 1, number)
    )
    for _ in range(int(rng.integers(0, 3))):
        t[int(rng.integers(number)) :] += int(rng.integers(0, 2000))
    x, y = rng.integers(0, 5, number), rng.integers(0, 3, number)
    drop = rng.random() < 0.5
    if drop:
        wrong = rng.integers(0, number, 3)
        t[wrong] += rng.integers(-500, 5000, 3)
        x[wrong[0]] += int(rng.integers(0, 3))
    size = int(rng.integers(1, 4)), int(rng.integers(1, 6))
    return Case(
        network(steps, size, int(rng.integers(1, 4))),
        make_events(t, x, y, rng.integers(0, 2, number)),
        rule,
        drop,
        int(rng.choice([10, 100, 1000])),
        int(rng.integers(1, 4)),
        float(rng.choice([0, 0.5, 5])),
        np.sort(rng.integers(0, number + 1, int(rng.integers(0, 4)))),
    )


@pytest.mark.parametrize("seed", range(10))
def test_random_streams(library: Library, seed: int) -> None:
    rng = np.random.default_rng(seed)
    for _ in range(12):
        case = random_case(rng)
        assert library_stream(library, case) == python_stream(case), case


@pytest.mark.parametrize("shift", [0, -(2**62), 2**61])
def test_one_window_by_recording(library: Library, shift: int) -> None:
    rng = np.random.default_rng(5)
    for number in (1, 2, 7, 40):
        t = shift + np.sort(rng.integers(0, 1000, number))
        x, y = rng.integers(0, 5, number), rng.integers(0, 3, number)
        case = Case(
            network(size=(2, 5)), make_events(t, x, y, rng.integers(0, 2, number)), WindowRule(3)
        )
        counts = count_windows(case.events, SENSOR, case.rule, Sensor(2, 5))
        clipped, lost = clip_counts(counts, 2)
        expected = reference.run(case.net, clipped)
        ((_, start, time, label, _, logits, incomplete, events, dropped, *_),) = library_stream(
            library, case
        )[0]
        assert (start, time, incomplete, events, dropped) == (0, t[-1], False, number, lost)
        assert (label, logits) == (expected.predictions[0], expected.logits[0].tolist())


def test_time_elapses_without_an_event(library: Library) -> None:
    rule = WindowRule(3, "time", 30)
    case = Case(network(), at(100, 121, 128, 131), rule, cuts=[1, 2, 3], elapsed={0: 120, 1: 131})
    found, losses = library_stream(library, case)
    assert [(d[1], d[2], d[6], d[7]) for d in found] == [(0, 130, False, 2), (30, 160, True, 1)]
    assert losses == [0, 0, 0, 1, 0]  # 128 is late, after 130 has passed


def test_windows_that_are_kept_waiting(library: Library) -> None:
    """Events, elapsed time and more events before the first decision is asked for."""
    rule = WindowRule(3, "time", 30)
    with (
        library.network(network_to_bytes(network())) as net,
        library.made(
            "stream_create", net, 5, 3,
            byref(options_of(library, Case(network(), at(0), rule))),
        ) as stream,
    ):  # fmt: skip
        for events, elapsed in ((at(100), 130), (at(128, 140), 200), (at(199, 210), None)):
            part = packed(events)
            library.check(library.stream_push(stream, part.ctypes.data, len(part)))
            if elapsed is not None:
                library.check(library.stream_elapse(stream, elapsed))
        found = [(d.start, d.events) for d in library.decisions(stream)]
        assert found == [(0, 1), (30, 1), (60, 0)]
        losses = Losses()
        library.check(library.stream_get_losses(stream, byref(losses)))
        assert losses.late == 2  # 128 and 199


def test_the_counts_of_a_window(library: Library) -> None:
    case = random_case(np.random.default_rng(8))
    case.net, case.rule, case.drop = network(), WindowRule(3, "events", 15), False
    case.events = case.events[np.argsort(case.events["t"], kind="stable")]
    case.events["x"] %= 5
    expected = count_windows(case.events, SENSOR, case.rule)
    options = options_of(library, case)
    with (
        library.network(network_to_bytes(case.net)) as net,
        library.made("stream_create", net, 5, 3, byref(options)) as stream,
    ):
        events = packed(case.events)
        library.check(library.stream_push(stream, events.ctypes.data, len(events)))
        library.check(library.stream_finish(stream))
        found = [
            np.ctypeslib.as_array(library.stream_counts(stream), (3, 2, 3, 5)).tolist()
            for _ in library.decisions(stream)
        ]
    assert found == expected[: len(found)].tolist() and len(found) >= 1


def test_a_network_of_the_zoo_with_its_own_options(library: Library) -> None:
    net = lmht_deploy.load("zoo:digits")
    events, sensor, _ = read_events("zoo:digits")
    with (
        library.network(network_to_bytes(net)) as handle,
        library.made("stream_create", handle, sensor.width, sensor.height, None) as stream,
    ):
        given = packed(events)
        library.check(library.stream_push(stream, given.ctypes.data, len(given)))
        library.check(library.stream_finish(stream))
        labels = [d.label for d in library.decisions(stream)]
    rule = WindowRule.from_text(net.metadata["window"])
    size = Sensor(*net.input.shape[1:])
    windows = clip_counts(count_windows(events, sensor, rule, size), net.input.max_value)[0]
    assert labels == reference.run(net, windows).predictions.tolist()


@pytest.mark.parametrize(
    ("events", "message"),
    [
        (make_events(*np.array([[0, 1], [1, 5], [0, 0], [0, 0]])), "event 1: it lies outside"),
        (at(5, 4), "event 1: it is earlier than an event before it"),
        (at(2**62 + 1), "event 0: it lies outside"),
    ],
)
def test_events_that_are_not_valid(library: Library, events: np.ndarray, message: str) -> None:
    case = Case(network(), events, WindowRule(3, "time", 30))
    with pytest.raises(LibraryError, match=message) as error:
        library_stream(library, case)
    assert error.value.status == INVALID_EVENT
    case.events = np.concatenate([case.events, at(2**60)])
    with pytest.raises(LibraryError, match=message):
        library_stream(library, case)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"window": bindings.WindowRule(0, 0, 0)}, "does not state how recordings are cut"),
        ({"window": bindings.WindowRule(2, 0, 31)}, "the window rule does not fit"),
        ({"window": bindings.WindowRule(2, 4, 30)}, "the window rule does not fit"),
        ({"window": bindings.WindowRule(9, 0, 30)}, "the window rule does not fit"),
        ({"window": bindings.WindowRule(2, 0, 3 * 2**61)}, "the window rule does not fit"),
        ({"threads": 0}, "threads"),
        ({"smooth": 0}, "smoothing"),
        ({"max_gap": -1}, "the longest gap"),
        ({"min_margin": float("inf")}, "the smallest margin"),
    ],
)
def test_options_that_are_wrong(library: Library, changed: dict[str, Any], message: str) -> None:
    options = options_of(library, Case(network(), at(0), WindowRule(3, "time", 30)))
    for name, value in changed.items():
        setattr(options, name, value)
    with library.network(network_to_bytes(network())) as net:
        made = library.made("stream_create", net, 5, 3, byref(options))
        with pytest.raises(LibraryError, match=message) as error, made:
            pass
        assert error.value.status == ARGUMENT
        for width, words in ((4, "windows of 5 x 3 .* a sensor of 4 x 3"), (0, "1..65536")):
            small = library.made("stream_create", net, width, 3, None)
            with pytest.raises(LibraryError, match=words), small:
                pass


def test_a_stream_that_has_ended(library: Library) -> None:
    options = options_of(library, Case(network(), at(0), WindowRule(3, "time", 30)))
    with (
        library.network(network_to_bytes(network())) as net,
        library.made("stream_create", net, 5, 3, byref(options)) as stream,
    ):
        library.check(library.stream_finish(stream))
        assert list(library.decisions(stream)) == []
        for status in (
            library.stream_push(stream, None, 0),
            library.stream_elapse(stream, 0),
            library.stream_finish(stream),
        ):
            assert status == ARGUMENT and library.error_message() == b"the stream has ended"
