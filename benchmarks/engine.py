"""Speed of the event-driven engine against dense rivals: `python -m benchmarks.engine`.

Every table times all its columns turn by turn in one run and prints the best of each, so that a busy machine slows
all of them alike; what counts are the ratios. With one thread the time is CPU time of the process, which leaves out
what other programs take.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable

import numpy as np

from lmht_deploy import engine
from lmht_deploy.network import Network

from . import rivals
from .networks import event_windows, resnet18, vgg

Run = Callable[[], object]
TURN = 0.15
"""Seconds a turn: long enough for several runs of the slowest column."""


def best_of_each(runs: dict[str, Run], seconds: float, clock: Callable[[], float]) -> dict[str, float]:
    """Least time of each of `runs` in milliseconds, turn by turn for `seconds` (five turns at least) of `TURN` each."""
    best = dict.fromkeys(runs, float("inf"))
    for run in runs.values():
        run()
    end, turns = time.perf_counter() + seconds, 0
    while time.perf_counter() < end or turns < 5:
        for name, run in runs.items():
            turn_end = time.perf_counter() + TURN
            while True:
                start = clock()
                run()
                best[name] = min(best[name], (clock() - start) * 1e3)
                if time.perf_counter() > turn_end:
                    break
        turns += 1
    return best


def engine_run(net: Network, windows: np.ndarray, threads: int) -> Run:
    runner = engine.Engine(net, threads=threads)
    return lambda: runner.run(windows)


def print_row(label: str, ours: float, others: dict[str, float]) -> None:
    columns = "  ".join(f"{name} {ms:7.2f} ms = {ms / ours:5.2f}x" for name, ms in others.items())
    print(f"{label:26s} engine {ours:7.2f} ms  {columns}", flush=True)


def against_rivals(title: str, build: Callable[..., Network], densities: tuple[float, ...], size: int, steps: int, options: argparse.Namespace) -> None:
    """Per-step currents (identity T-GIM): fp32 and int8 with the IF neuron unrolled, and PyTorch eager."""
    print(f"\n{title}, per-step currents; rivals run {steps} steps with the IF neuron unrolled, {options.threads} thread(s)")
    window = event_windows((2, size, size), steps)
    fixed = build(size, steps, density=0.1)
    others = {
        "ORT fp32": rivals.onnxruntime(fixed, window[0], "fp32", options.threads),
        "ORT int8": rivals.onnxruntime(fixed, window[0], "int8", options.threads),
        "torch fp32": rivals.torch_eager(fixed, window[0], options.threads),
    }
    ours = {f"{density:.0%}": engine_run(build(size, steps, density=density), window, options.threads) for density in densities}
    times = best_of_each(ours | others, options.seconds, options.clock)
    for name in ours:
        print_row(f"{name} spikes", times[name], {other: times[other] for other in others})


def against_one_window(title: str, build: Callable[..., Network], densities: tuple[float, ...], size: int, steps: int, options: argparse.Namespace) -> None:
    """Uniform T-GIM: the window is summed before the synapses; the rival is ONE int8 convolution a layer."""
    print(f"\n{title}, uniform T-GIM; the rival is ONE int8 convolution a layer for the whole window, {options.threads} thread(s)")
    window = event_windows((2, size, size), steps)
    others = {"ORT int8, one window": rivals.onnxruntime(build(size, steps, density=0.1), window[0], "int8", options.threads, one_window=True)}
    ours = {f"{density:.0%}": engine_run(build(size, steps, omega="uniform", density=density), window, options.threads) for density in densities}
    times = best_of_each(ours | others, options.seconds, options.clock)
    for name in ours:
        print_row(f"{name} spikes", times[name], {other: times[other] for other in others})


def own_shapes(options: argparse.Namespace) -> None:
    """What the engine's own options cost: general T-GIM, steps, levels, batch, density."""
    print("\nResNet-18 48x48 at 10 %: the engine against itself")
    base = resnet18(density=0.1)
    window = event_windows((2, 48, 48), 4)
    runs = {
        "identity": engine_run(base, window, options.threads),
        "general T-GIM": engine_run(resnet18(omega="general", density=0.1), window, options.threads),
        "T=2": engine_run(resnet18(steps=2, density=0.1), event_windows((2, 48, 48), 2), options.threads),
        "T=8": engine_run(resnet18(steps=8, density=0.1), event_windows((2, 48, 48), 8), options.threads),
        "L=2": engine_run(resnet18(levels=2, density=0.1), window, options.threads),
        "L=4": engine_run(resnet18(levels=4, density=0.1), window, options.threads),
        "batch 8": engine_run(base, np.repeat(window, 8, 0), options.threads),
        "100 % spikes": engine_run(resnet18(density=1.0), window, options.threads),
    }
    times = best_of_each(runs, options.seconds, options.clock)
    for name, ms in times.items():
        print(f"{name:26s} {ms:7.2f} ms = {ms / times['identity']:5.2f} x identity", flush=True)


def two_threads(options: argparse.Namespace) -> None:
    print("\nResNet-18 48x48: one and two threads (wall time)")
    for density in (0.05, 0.1, 0.15):
        net, window = resnet18(density=density), event_windows((2, 48, 48), 4)
        times = best_of_each({str(n): engine_run(net, window, n) for n in (1, 2)}, options.seconds / 3, time.perf_counter)
        print(f"{density:.0%} spikes{'':17s} one {times['1']:7.2f} ms  two {times['2']:7.2f} ms = {times['1'] / times['2']:5.2f}x", flush=True)


def tiers(options: argparse.Namespace) -> None:
    print("\nResNet-18 48x48 at 10 %: tiers")
    net, window = resnet18(density=0.1), event_windows((2, 48, 48), 4)
    runners = {isa: engine.Engine(engine.Model(net, isa=isa), threads=options.threads) for isa in engine.isas()}
    times = best_of_each({isa: (lambda r=runner: r.run(window)) for isa, runner in runners.items()}, options.seconds, options.clock)
    for isa, ms in times.items():
        print(f"{isa:26s} {ms:7.2f} ms", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description="Speed of the event-driven engine against dense rivals.")
    parser.add_argument("--seconds", type=float, default=15, help="how long to time each table")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--tables", nargs="*", default=["resnet", "window", "vgg", "large", "own", "threads", "tiers"])
    options = parser.parse_args()
    options.clock = time.process_time if options.threads == 1 else time.perf_counter
    if missing := rivals.missing():
        print(f"rivals that are not installed here: {', '.join(missing)}")
    densities = (0.05, 0.1, 0.15)
    tables: dict[str, Run] = {
        "resnet": lambda: against_rivals("ResNet-18 2x48x48 T=4", resnet18, densities, 48, 4, options),
        "window": lambda: against_one_window("ResNet-18 2x48x48 T=4", resnet18, densities, 48, 4, options),
        "vgg": lambda: (
            against_rivals("VGG 2x48x48 T=4", vgg, densities, 48, 4, options),
            against_one_window("VGG 2x48x48 T=4", vgg, densities, 48, 4, options),
        ),
        "large": lambda: against_rivals("ResNet-18 2x128x128 T=4", resnet18, (0.05, 0.1), 128, 4, options),
        "own": lambda: own_shapes(options),
        "threads": lambda: two_threads(options),
        "tiers": lambda: tiers(options),
    }
    for name in options.tables:
        tables[name]()


if __name__ == "__main__":
    main()
