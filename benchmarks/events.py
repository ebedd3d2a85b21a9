"""Speed of the events room: `python -m benchmarks.events`.

Events a second through the door, the window, and both with the first layer of a network for 2 x 48 x 48 (and with all of it), from packets
as a source gives them; then the latency of a stream, from its window's last event to the decision, beside the engine's time. CPU time
of one thread; the best of several rounds, as other programs run beside it.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterator

import numpy as np

from lmht_deploy import engine
from lmht_deploy.events.arrays import Door, Sensor, make_events
from lmht_deploy.events.stream import Packet, Windower, decide
from lmht_deploy.events.windows import Rule, saturated
from lmht_deploy.network import Network
from lmht_deploy.result import Result

from .networks import Grower, resnet18

SENSOR, SIZE, STEPS = Sensor(128, 128), Sensor(48, 48), 4


def recording(events: int, seed: int = 0) -> np.ndarray:
    """EVENT [n] at the rate of CIFAR10-DVS (158,000 a second), half of them on a ring."""
    rng = np.random.default_rng(seed)
    t = np.sort(rng.integers(int(events / 0.158), size=events))
    angle, radius = rng.uniform(0, 2 * np.pi, events), rng.normal(40, 2, events)
    ring = rng.random(events) < 0.5
    x, y = (np.where(ring, 64 + radius * turned, rng.uniform(0, 128, events)).astype(int) for turned in (np.cos(angle), np.sin(angle)))
    return make_events(t, x, y, rng.random(events) < 0.57)


def first_layer(channels: int = 64) -> Network:
    """Input, the 3 x 3 stem of the ResNet-18, its sum over the image, and a read-out."""
    from lmht_deploy.network import SumPool

    g = Grower((2, *SIZE), STEPS, 1, "identity", 0.1)
    stem = g.neurons(g.conv("input", channels))
    return g.finish(g.pool(stem, SumPool, SIZE.height))


def best(run: Callable[[], object], rounds: int) -> float:
    """Least CPU time of `run`, in seconds."""
    run()
    times = []
    for _ in range(rounds):
        start = time.process_time()
        run()
        times.append(time.process_time() - start)
    return min(times)


def windows_of(packets: list[np.ndarray], rule: Rule) -> Iterator[np.ndarray]:
    door, windower = Door(SENSOR), Windower(rule, SENSOR, SIZE)
    for packet in packets:
        for _, counts in windower.push(door.admit(packet)):
            yield counts


def throughput(events: np.ndarray, per_window: int, packet: int, rounds: int) -> None:
    packets = [events[start : start + packet] for start in range(0, len(events), packet)]
    rule = Rule(STEPS, "events", per_window // STEPS)
    first, whole = engine.Engine(first_layer()), engine.Engine(resnet18())

    def door_only() -> None:
        door = Door(SENSOR)
        for given in packets:
            door.admit(given)

    def window_only() -> None:
        windower = Windower(rule, SENSOR, SIZE)
        for given in packets:
            for _ in windower.push(given):
                pass

    def both() -> None:
        for _ in windows_of(packets, rule):
            pass

    def through(runner: engine.Engine) -> Callable[[], None]:
        def run() -> None:
            for counts in windows_of(packets, rule):
                runner.run(saturated(counts)[0][None])

        return run

    print(f"\n{per_window:,} events a window of {STEPS} x 2 x 48 x 48, packets of {packet:,}; million events a second, one core")
    for name, run in (
        ("door", door_only),
        ("window", window_only),
        ("door, window", both),
        ("door, window, first layer", through(first)),
        ("door, window, ResNet-18", through(whole)),
    ):
        print(f"  {name:36s} {len(events) / best(run, rounds) * 1e-6:8.1f}", flush=True)


class Timed:
    """An engine that remembers its own time for every window."""

    def __init__(self, net: Network) -> None:
        self.engine, self.seconds = engine.Engine(net), list[float]()

    def run(self, windows: np.ndarray) -> Result:
        result = self.engine.run(windows)
        self.seconds.append(result.seconds)
        return result


def latency(events: np.ndarray, per_window: int, packet: int) -> None:
    """From the arrival of the packet with a window's last event to the decision."""
    print(f"\nlatency after a window's last event, {per_window:,} events a window, packets of {packet:,}; wall time in ms")
    for name, net in (("first layer", first_layer()), ("ResNet-18", resnet18())):
        runner = Timed(net)
        packets = (Packet(events[start : start + packet], time.perf_counter()) for start in range(0, len(events), packet))
        rule = Rule(STEPS, "events", per_window // STEPS)
        found = [decision.latency for decision in decide(packets, Windower(rule, SENSOR, SIZE), Door(SENSOR), runner, net.input.high)]
        all_of_it, engines = (np.percentile(seconds, [50, 99]) * 1e3 for seconds in (found, runner.seconds))
        rest = np.percentile(np.subtract(found, runner.seconds), [50, 99]) * 1e3
        print(
            f"  {name:12s} p50 {all_of_it[0]:6.2f}  p99 {all_of_it[1]:6.2f}   of it the engine p50 {engines[0]:6.2f}  p99 {engines[1]:6.2f}"
            f"   all else p50 {rest[0]:6.2f}  p99 {rest[1]:6.2f}   ({len(found)} windows)",
            flush=True,
        )


def main() -> None:
    parser = argparse.ArgumentParser(description="Speed of the events room.")
    parser.add_argument("--events", type=int, default=4_000_000)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    events = recording(options.events)
    for per_window in (20_000, 200_000):
        throughput(events, per_window, 4096, options.rounds)
    latency(events, 20_000, 1000)


if __name__ == "__main__":
    main()
