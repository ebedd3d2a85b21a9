"""Speed of the package `lmht_deploy.events`: `python -m benchmarks.events [--json FILE]`.

    decoding       event files of every format, beside the decoders of other packages
    throughput     validation, windows, and both with the first layer of a network for 2 x 48 x 48
                   or with a ResNet-18, from packets as a source yields them
    latency        from the last event of a window to the decision, beside the time of the engine
                   alone for whole windows
    paced          the same for a recording that is played in real time

Decoding and throughput are the best CPU time of several turns, in one thread except for decoders
that start threads of their own. Latencies are wall time.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Literal, get_args

import numpy as np

from lmht_deploy import engine
from lmht_deploy.events.arrays import EventValidator, Sensor, make_events
from lmht_deploy.events.live import play_in_real_time
from lmht_deploy.events.stream import (
    Bins,
    Counts,
    Packet,
    SharedSteps,
    WholeWindows,
    Windower,
    decide,
)
from lmht_deploy.events.windows import WindowRule
from lmht_deploy.ir import MaxPool, Network

from . import decoders
from .networks import NetworkBuilder, resnet18
from .report import Row, Table, add_report_arguments, run_tables
from .timing import Run, best_of_each

SENSOR, SIZE, STEPS = Sensor(128, 128), Sensor(48, 48), 4
PACKET_EVENTS = 4096
WINDOW_EVENTS = (20_000, 200_000)
"""Events per window."""
LATENCY_EVENTS, LATENCY_PACKET_EVENTS = 20_000, 1000
"""Events per window and per packet of the latency."""
LATENCY_TURN = 10
"""Windows of a turn, in which they run in one way."""
BIN_US = 25_000
"""Microseconds per time-step of the recording that is played in real time."""

Way = Literal["first layer by bin", "bin by bin", "whole windows"]
"""What is computed before the last bin of a window is complete."""


def synthetic_recording(events: int, seed: int = 0) -> np.ndarray:
    """Return EVENT `[n]`, 158,000 per second as in CIFAR10-DVS, half of them on a ring."""
    rng = np.random.default_rng(seed)
    t = np.sort(rng.integers(int(events / 0.158), size=events))
    angle, radius = rng.uniform(0, 2 * np.pi, events), rng.normal(40, 2, events)
    ring = rng.random(events) < 0.5
    x, y = (
        np.where(ring, 64 + radius * direction, rng.uniform(0, 128, events)).astype(int)
        for direction in (np.cos(angle), np.sin(angle))
    )
    return make_events(t, x, y, rng.random(events) < 0.57)


def first_layer(channels: int = 64) -> Network:
    """Return the 3 x 3 stem of the ResNet-18 with global max pooling and a readout."""
    builder = NetworkBuilder((2, *SIZE), STEPS, 1, "identity", 0.1)
    stem = builder.neurons(builder.conv("input", channels))
    return builder.build(builder.flatten(builder.pool(stem, MaxPool, SIZE.height)))


def packets_of(events: np.ndarray, size: int) -> list[np.ndarray]:
    """Split events into packets of `size` events."""
    return [events[start : start + size] for start in range(0, len(events), size)]


def count_windower(rule: WindowRule) -> Windower:
    """Return a windower that yields the counts of whole windows."""
    return Windower(rule, Counts(STEPS, SENSOR, SIZE))


def network_windower(net: Network, rule: WindowRule, way: Way = "first layer by bin") -> Windower:
    """Return a windower whose windows run through `net`, as in `lmht stream`."""
    inputs = net.input.max_value, STEPS, SENSOR, SIZE
    match way:
        case "first layer by bin":  # as for a recording
            bins: Bins = SharedSteps(engine.IncrementalEngine(engine.Model(net)), *inputs)
        case "bin by bin":  # as for a source in real time
            bins = SharedSteps(engine.StepwiseRing(engine.StepwiseEngine(net)), *inputs)
        case "whole windows":
            bins = WholeWindows(engine.Engine(net), *inputs)
    return Windower(rule, bins)


# ----------------------------------------------------------------------------------------- decoding


def decoding(events: np.ndarray, seconds: float) -> Iterator[Row]:
    """Time the decoders that return the written events; others are named with the reason."""
    with tempfile.TemporaryDirectory() as folder:
        for name, form in decoders.FORMATS.items():
            path = decoders.write(name, events, SENSOR, Path(folder))
            faults = decoders.faults(path, name, events)
            runs = {
                decoder: partial(_read_all, decoders.DECODERS[decoder], path, form)
                for decoder, fault in faults.items()
                if fault is None
            }
            times = best_of_each(runs, seconds)
            yield Row(name, times, _rates(times, len(events)))
            for decoder, fault in faults.items():
                if fault:
                    print(f"  {name}: {decoder} is left out: {fault}")


def _read_all(decoder: decoders.Decoder, path: Path, form: decoders.Format) -> None:
    for _ in decoder.read(path, form):
        pass


def _rates(times: dict[str, float], events: int) -> dict[str, float]:
    return {f"{name} M/s": events / ms * 1e-3 for name, ms in times.items()}


# --------------------------------------------------------------------------------------- throughput


def throughput(events: np.ndarray, window_events: int, seconds: float) -> Iterator[Row]:
    """Time each stage from packets to decisions."""
    packets = packets_of(events, PACKET_EVENTS)
    rule = WindowRule(STEPS, "events", window_events)
    stages: dict[str, Run] = {
        "validation": lambda: _validate(packets),
        "windows": _through(count_windower(rule), packets, validated=False),
        "validation, windows": _through(count_windower(rule), packets),
        "validation, windows, first layer": _through(
            network_windower(first_layer(), rule), packets
        ),
        "validation, windows, ResNet-18": _through(network_windower(resnet18(), rule), packets),
    }
    times = best_of_each(stages, seconds)
    for name, ms in times.items():
        yield Row(name, {"time": ms}, {"M events/s": len(events) / ms * 1e-3})


def _validate(packets: list[np.ndarray]) -> None:
    validator = EventValidator(SENSOR)
    for packet in packets:
        validator.validate(packet)


def _through(
    windower: Windower, packets: list[np.ndarray], *, validated: bool = True
) -> Callable[[], None]:
    """A run that pushes all packets through `windower`."""

    def run() -> None:
        validator = EventValidator(SENSOR) if validated else None
        for packet in packets:
            for _ in windower.push(validator.validate(packet) if validator else packet):
                pass

    return run


# ------------------------------------------------------------------------------------------ latency


def latency(events: np.ndarray) -> Iterator[Row]:
    """Measure the latency of decisions, and the engine's time for whole windows."""
    rule = WindowRule(STEPS, "events", LATENCY_EVENTS)
    for name, net in (("first layer", first_layer()), ("ResNet-18", resnet18())):
        sources = {
            **{way: _latencies(events, network_windower(net, rule, way)) for way in get_args(Way)},
            "engine, whole windows": _engine_times(events, net, rule),
        }
        for label, seconds in _in_turns(sources).items():
            yield _percentiles(f"{name}: {label}", seconds)


def _latencies(events: np.ndarray, windower: Windower) -> Iterator[float]:
    packets = (
        Packet(packet, time.perf_counter()) for packet in packets_of(events, LATENCY_PACKET_EVENTS)
    )
    for decision in decide(packets, windower, EventValidator(SENSOR)):
        yield decision.latency


def _engine_times(events: np.ndarray, net: Network, rule: WindowRule) -> Iterator[float]:
    runner, windower = engine.Engine(net), count_windower(rule)
    for packet in packets_of(events, LATENCY_PACKET_EVENTS):
        for _, counts in windower.push(packet):
            yield runner.run(np.minimum(counts, net.input.max_value)[None]).seconds


def _in_turns(sources: Mapping[str, Iterator[float]]) -> dict[str, list[float]]:
    """Take times from the sources in turns, so that a busy machine slows all of them alike.

    The first window of a turn brings the weights back into the caches, and does not count.
    """
    found: dict[str, list[float]] = {name: [] for name in sources}
    while True:
        for name, source in sources.items():
            turn = list(islice(source, LATENCY_TURN))
            if not turn:
                return found
            found[name] += turn[1:]


def paced(events: np.ndarray) -> Iterator[Row]:
    """Measure the latency at the pace of the recording, as `lmht stream --speed 1` plays it.

    The processor rests between two windows and its caches cool. The engine is therefore measured
    at this pace, too.
    """
    rule, net = WindowRule(STEPS, "time", STEPS * BIN_US), first_layer()
    source = play_in_real_time([events])
    found = list(decide(source, network_windower(net, rule, "bin by bin"), EventValidator(SENSOR)))
    yield _percentiles("last event to decision", [decision.latency for decision in found])
    yield _percentiles("of it the network", [decision.seconds for decision in found])
    runner, whole = engine.Engine(net), []
    for _, counts in count_windower(rule).push(events):
        time.sleep(STEPS * BIN_US * 1e-6)
        whole.append(runner.run(np.minimum(counts, net.input.max_value)[None]).seconds)
    yield _percentiles("engine, whole windows", whole)


def _percentiles(label: str, seconds: Sequence[float]) -> Row:
    p50, p99 = np.percentile(seconds, [50, 99]) * 1e3
    return Row(label, figures={"p50 ms": p50, "p99 ms": p99, "windows": len(seconds)})


# --------------------------------------------------------------------------------------------- main


def tables(events: np.ndarray, seconds: float) -> dict[str, Table]:
    """Return all tables by name.

    Args:
        events: EVENT `[n]`.
        seconds: Time to measure each row of `decoding` and each table of `throughput`.
    """
    found = {
        "decoding": Table(
            f"Decoding {len(events):,} events; CPU time, and million events per second (M/s)",
            partial(decoding, events, seconds),
        )
    }
    for window_events in WINDOW_EVENTS:
        found[f"throughput-{window_events}"] = Table(
            f"{window_events:,} events per window of {STEPS} x 2 x 48 x 48, packets of"
            f" {PACKET_EVENTS:,}; CPU time of {len(events):,} events",
            partial(throughput, events, window_events, seconds),
        )
    found["latency"] = Table(
        f"Latency after a window's last event, {LATENCY_EVENTS:,} events per window, packets of"
        f" {LATENCY_PACKET_EVENTS:,}; wall time",
        partial(latency, events),
    )
    found["paced"] = Table(
        "Latency after a window's last event, played in real time, the first layer alone,"
        f" {STEPS * BIN_US // 1000} ms per window; wall time",
        partial(paced, events),
    )
    return found


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.events", description=(__doc__ or "").splitlines()[0]
    )
    names = ("decoding", *(f"throughput-{n}" for n in WINDOW_EVENTS), "latency", "paced")
    add_report_arguments(parser, names)
    parser.add_argument("--events", type=int, default=4_000_000, help="length of the recording")
    parser.add_argument("--seconds", type=float, default=5, help="time to measure each part")
    options = parser.parse_args(arguments)
    found = tables(synthetic_recording(options.events), options.seconds)
    chosen = {name: found[name] for name in options.tables}
    run_tables(chosen, options.json, events=options.events, seconds=options.seconds)
    return 0


if __name__ == "__main__":
    sys.exit(main())
