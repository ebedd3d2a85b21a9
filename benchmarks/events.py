"""Speed of the events room: `python -m benchmarks.events`.

Events per second through validation, windows, and both with the first layer of a network for
2 x 48 x 48 (and with the whole network), from packets as a source yields them. Then the latency of
a stream, from the last event of a window to the decision, beside the time of the engine. CPU time
of one thread, the best of several rounds.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable

import numpy as np

from lmht_deploy import engine
from lmht_deploy.events.arrays import EventValidator, Sensor, make_events
from lmht_deploy.events.live import play_in_real_time
from lmht_deploy.events.stream import Counts, Packet, SharedSteps, Windower, decide
from lmht_deploy.events.windows import WindowRule
from lmht_deploy.ir import Network

from .networks import Grower, resnet18

SENSOR, SIZE, STEPS = Sensor(128, 128), Sensor(48, 48), 4


def recording(events: int, seed: int = 0) -> np.ndarray:
    """EVENT [n] at the rate of CIFAR10-DVS (158,000 a second), half of them on a ring."""
    rng = np.random.default_rng(seed)
    t = np.sort(rng.integers(int(events / 0.158), size=events))
    angle, radius = rng.uniform(0, 2 * np.pi, events), rng.normal(40, 2, events)
    ring = rng.random(events) < 0.5
    x, y = (
        np.where(ring, 64 + radius * turned, rng.uniform(0, 128, events)).astype(int)
        for turned in (np.cos(angle), np.sin(angle))
    )
    return make_events(t, x, y, rng.random(events) < 0.57)


def first_layer(channels: int = 64) -> Network:
    """The 3 x 3 stem of the ResNet-18, then only the maximum over the image and a readout."""
    from lmht_deploy.ir import MaxPool

    g = Grower((2, *SIZE), STEPS, 1, "identity", 0.1)
    stem = g.neurons(g.conv("input", channels))
    return g.finish(g.pool(stem, MaxPool, SIZE.height))


def best(run: Callable[[], object], rounds: int) -> float:
    """Least CPU time of `run`, in seconds."""
    run()
    times = []
    for _ in range(rounds):
        start = time.process_time()
        run()
        times.append(time.process_time() - start)
    return min(times)


def streamed(net: Network, rule: WindowRule, hop: int | None = None) -> Windower:
    """A windower whose windows go through `net`, as `lmht stream` does it."""
    return Windower(
        rule,
        SharedSteps(
            engine.IncrementalEngine(engine.Model(net)), net.input.max_value, STEPS, SENSOR, SIZE
        ),
        hop,
    )


def throughput(events: np.ndarray, per_window: int, packet: int, rounds: int) -> None:
    packets = [events[start : start + packet] for start in range(0, len(events), packet)]
    rule = WindowRule(STEPS, "events", per_window // STEPS)

    def validate_only() -> None:
        validator = EventValidator(SENSOR)
        for given in packets:
            validator.validate(given)

    def through(windower: Windower, validated: bool = True) -> Callable[[], None]:
        def run() -> None:
            validator = EventValidator(SENSOR) if validated else None
            for given in packets:
                for _ in windower.push(validator.validate(given) if validator else given):
                    pass

        return run

    def counted() -> Windower:
        return Windower(rule, Counts(STEPS, SENSOR, SIZE))

    print(
        f"\n{per_window:,} events per window of {STEPS} x 2 x 48 x 48, packets of {packet:,};"
        " million events per second, one core"
    )
    for name, run in (
        ("validation", validate_only),
        ("windows", through(counted(), validated=False)),
        ("validation, windows", through(counted())),
        ("validation, windows, first layer", through(streamed(first_layer(), rule))),
        ("validation, windows, ResNet-18", through(streamed(resnet18(), rule))),
    ):
        print(f"  {name:36s} {len(events) / best(run, rounds) * 1e-6:8.1f}", flush=True)


def latency(events: np.ndarray, per_window: int, packet: int) -> None:
    """Print the latency from a window's last event, beside the engine's time for whole windows."""
    print(
        f"\nlatency after a window's last event, {per_window:,} events per window,"
        f" packets of {packet:,}; wall time in ms"
    )
    rule = WindowRule(STEPS, "events", per_window // STEPS)
    counts = next(
        window
        for _, window in Windower(rule, Counts(STEPS, SENSOR, SIZE)).push(events[:per_window])
    )
    for name, net in (("first layer", first_layer()), ("ResNet-18", resnet18())):
        packets = (
            Packet(events[start : start + packet], time.perf_counter())
            for start in range(0, len(events), packet)
        )
        found = [
            decision.latency
            for decision in decide(packets, streamed(net, rule), EventValidator(SENSOR))
        ]
        alone = engine.Engine(net)
        whole = [alone.run(np.minimum(counts, net.input.max_value)[None]).seconds for _ in found]
        (p50, p99), (whole50, whole99) = (
            np.percentile(seconds, [50, 99]) * 1e3 for seconds in (found, whole)
        )
        print(
            f"  {name:12s} p50 {p50:6.2f}  p99 {p99:6.2f}   the engine, whole windows:"
            f" p50 {whole50:6.2f}  p99 {whole99:6.2f}   ({len(found)} windows)",
            flush=True,
        )


def paced(events: np.ndarray, bin_us: int = 25_000) -> None:
    """Print the latency at the pace of the recording, as `lmht stream --speed 1` plays it.

    The processor rests and its caches cool between two windows, so the engine is measured at this
    pace, too.
    """
    rule, net = WindowRule(STEPS, "time", bin_us), first_layer()
    found = list(decide(play_in_real_time([events]), streamed(net, rule), EventValidator(SENSOR)))
    alone, whole = engine.Engine(net), []
    for _, counts in Windower(rule, Counts(STEPS, SENSOR, SIZE)).push(events):
        time.sleep(STEPS * bin_us * 1e-6)
        whole.append(alone.run(np.minimum(counts, net.input.max_value)[None]).seconds)
    print(
        "\nlatency after a window's last event, played in real time, the first layer alone,"
        f" {STEPS * bin_us // 1000} ms per window; wall time in ms"
    )
    for name, seconds in (
        ("from when the event was due to the decision", [decision.latency for decision in found]),
        ("the network's part of it", [decision.seconds for decision in found]),
        ("the engine, whole windows at this pace", whole),
    ):
        p50, p99 = np.percentile(seconds, [50, 99]) * 1e3
        print(f"  {name:44s} p50 {p50:6.2f}  p99 {p99:6.2f}   ({len(seconds)} windows)", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description="Speed of the events room.")
    parser.add_argument("--events", type=int, default=4_000_000)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    events = recording(options.events)
    for per_window in (20_000, 200_000):
        throughput(events, per_window, 4096, options.rounds)
    latency(events, 20_000, 1000)
    paced(events)


if __name__ == "__main__":
    main()
