"""Speed of the event-driven engine against dense rivals: `python -m benchmarks.engine`.

Every table times all its columns turn by turn in one run and prints the best of each, so that a busy machine slows
all of them alike; what counts are the ratios. With one thread the time is CPU time of the process, which leaves out
what other programs take.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from lmht_deploy import engine
from lmht_deploy.errors import LmhtError
from lmht_deploy.formats.lmht import load_network
from lmht_deploy.ir import Network

from . import rivals
from .networks import Omega, event_windows, one_layer, resnet18, vgg

Run = Callable[[], object]
Build = Callable[..., Network]
TURN = 0.15
"""Seconds a turn: long enough for several runs of the slowest column."""

DENSITIES = (0.05, 0.1, 0.15)


def best_of_each(
    runs: Mapping[str, Run], seconds: float, clock: Callable[[], float]
) -> dict[str, float]:
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


def engine_run(net: Network | engine.Model, windows: np.ndarray, threads: int) -> Run:
    runner = engine.Engine(net, threads=threads)
    return lambda: runner.run(windows)


def print_rows(ours: Mapping[str, float], others: Mapping[str, float]) -> None:
    """Times of the rivals, then of the engine, each with how many times slower every rival is."""
    print("  ".join(f"{name} {ms:.2f} ms" for name, ms in others.items()))
    for label, ms in ours.items():
        print_row(label, ms, {name: f"{other / ms:.2f}x" for name, other in others.items()})


def print_row(label: str, ours: float, columns: Mapping[str, str]) -> None:
    print(
        f"{label:26s} engine {ours:7.2f} ms  {'  '.join(f'{name} {column}' for name, column in columns.items())}",
        flush=True,
    )


# ------------------------------------------------------------------------------------------------ against rivals


def against_rivals(
    title: str, build: Build, densities: tuple[float, ...], size: int, options: argparse.Namespace
) -> None:
    """Per-step currents (identity T-GIM); what the rivals take does not depend on the density."""
    print(
        f"\n{title} 2x{size}x{size} T=4, per-step currents; rivals run 4 steps with the IF neuron unrolled, {options.threads} thread(s)"
    )
    windows = event_windows((2, size, size), 4)
    others = rivals.build(build(size, density=0.1), windows, options.threads)
    ours = {
        f"{density:.0%} spikes": engine_run(build(size, density=density), windows, options.threads)
        for density in densities
    }
    times = best_of_each(ours | others, options.seconds, options.clock)
    print_rows({name: times[name] for name in ours}, {name: times[name] for name in others})


def against_one_window(
    title: str, build: Build, densities: tuple[float, ...], size: int, options: argparse.Namespace
) -> None:
    """Uniform T-GIM: the window is summed before the synapses; the rival is ONE int8 convolution a layer."""
    print(
        f"\n{title} 2x{size}x{size} T=4, uniform T-GIM; the rival is ONE int8 convolution a layer for the whole window, {options.threads} thread(s)"
    )
    windows = event_windows((2, size, size), 4)
    others = rivals.one_window(build(size, density=0.1), windows, options.threads)
    ours = {
        f"{density:.0%} spikes": engine_run(
            build(size, omega="uniform", density=density), windows, options.threads
        )
        for density in densities
    }
    times = best_of_each(ours | others, options.seconds, options.clock)
    print_rows({name: times[name] for name in ours}, {name: times[name] for name in others})


def shapes(options: argparse.Namespace) -> None:
    """Other steps, levels, batches and T-GIMs, each against the strongest dense runtimes with the same network."""
    print(
        f"\n10 % spikes: other shapes, each against the same network; times are of a whole batch, {options.threads} thread(s)"
    )
    cases: list[tuple[str, Build, int, dict, int]] = [
        ("ResNet-18 T=2", resnet18, 48, {"steps": 2}, 1),
        ("ResNet-18 T=8", resnet18, 48, {"steps": 8}, 1),
        ("ResNet-18 L=2", resnet18, 48, {"levels": 2}, 1),
        ("ResNet-18 L=4", resnet18, 48, {"levels": 4}, 1),
        ("ResNet-18 general T-GIM", resnet18, 48, {"omega": "general"}, 1),
        ("ResNet-18 batch 8", resnet18, 48, {}, 8),
        ("VGG T=8 L=2", vgg, 48, {"steps": 8, "levels": 2}, 1),
        ("VGG batch 8", vgg, 48, {}, 8),
        ("VGG 128x128", vgg, 128, {}, 1),
    ]
    for title, build, size, how, batch in cases:
        net, windows = (
            build(size, density=0.1, **how),
            event_windows((2, size, size), how.get("steps", 4), batch),
        )
        others = rivals.runtimes(net, windows, options.threads)
        times = best_of_each(
            {"engine": engine_run(net, windows, options.threads)} | others,
            options.seconds / 3,
            options.clock,
        )
        ours = times.pop("engine")
        print_row(
            title, ours, {name: f"{ms:.2f} ms = {ms / ours:.2f}x" for name, ms in times.items()}
        )


# ------------------------------------------------------------------------------------------------ the engine against itself


def own_shapes(options: argparse.Namespace) -> None:
    """What the engine's own options cost: T-GIM, steps, levels, batch."""
    print("\nResNet-18 48x48 at 10 %: the engine against itself")
    base, windows = resnet18(density=0.1), event_windows((2, 48, 48), 4)

    def run(steps: int = 4, levels: int = 1, omega: Omega = "identity") -> Run:
        return engine_run(
            resnet18(steps=steps, levels=levels, omega=omega, density=0.1),
            event_windows((2, 48, 48), steps),
            options.threads,
        )

    runs = {
        "identity": engine_run(base, windows, options.threads),
        "general T-GIM": run(omega="general"),
        "T=2": run(steps=2),
        "T=8": run(steps=8),
        "L=2": run(levels=2),
        "L=4": run(levels=4),
        "batch 8": engine_run(base, np.repeat(windows, 8, 0), options.threads),
    }
    times = best_of_each(runs, options.seconds, options.clock)
    for name, ms in times.items():
        print(f"{name:26s} {ms:7.2f} ms = {ms / times['identity']:5.2f} x identity", flush=True)


def densities(options: argparse.Namespace) -> None:
    """Time against density and SOPs, beside the same engine kept to its dense path; then what the gather alone reaches."""
    print("\nResNet-18 48x48 T=4: every density, beside the engine kept to the dense int8 path")
    windows, runs, runners = event_windows((2, 48, 48), 4), {}, {}
    for density in (0.0, 0.01, 0.02, 0.05, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.65, 0.8, 1.0):
        net = resnet18(density=density)
        runners[density] = engine.Engine(net, threads=options.threads)
        runs[f"{density}"] = lambda runner=runners[density]: runner.run(windows)
        runs[f"{density} dense"] = engine_run(
            engine.Model(net, path="dense"), windows, options.threads
        )
    times = best_of_each(runs, options.seconds * 2, options.clock)
    for density, runner in runners.items():
        result = runner.run(windows)
        spikes, sops = (
            sum(int(count.sum()) for count in counts.values())
            for counts in (result.spikes, result.sops)
        )
        neurons = sum(
            layer.steps * int(np.prod(runner.model.net.shapes[layer.name]))
            for layer in runner.model.net.neurons
        )
        ms, dense = times[f"{density}"], times[f"{density} dense"]
        print(
            f"{spikes / neurons:6.1%} of neurons and steps {sops * 1e-6:8.1f} MSOP  engine {ms:7.2f} ms = {sops / ms * 1e-6:6.1f} GSOP/s"
            f"  dense {dense:7.2f} ms = {dense / ms:5.2f}x",
            flush=True,
        )
    ceiling(options)


def ceiling(options: argparse.Namespace) -> None:
    """The gather by itself: one layer of long lists whose weights stay in the first or second cache."""
    print("\nOne 3x3 convolution, 30 % spikes, lists only: what the gather reaches")
    for channels_in, channels_out in ((64, 64), (64, 512), (256, 64), (256, 256)):
        net = one_layer(channels_in, channels_out)
        windows = (np.random.default_rng(0).random((1, *net.window_shape)) < 0.3).astype(np.int32)
        runner = engine.Engine(engine.Model(net, path="list"), threads=options.threads)
        seconds, sops, end = float("inf"), 0, time.perf_counter() + options.seconds / 10
        while time.perf_counter() < end:
            layer = next(
                layer for layer in runner.profile(windows) if layer.name == net.neurons[0].name
            )
            seconds, sops = min(seconds, layer.seconds), layer.sops
        print(
            f"{channels_in} to {channels_out} channels, {channels_in * channels_out * 9 / 1024:.0f} KiB {sops / seconds * 1e-9:6.1f} GSOP/s",
            flush=True,
        )


def tiers(options: argparse.Namespace) -> None:
    print("\nResNet-18 48x48 at 10 %: tiers")
    net, windows = resnet18(density=0.1), event_windows((2, 48, 48), 4)
    runs = {
        isa: engine_run(engine.Model(net, isa=isa), windows, options.threads)
        for isa in engine.isas()
    }
    for isa, ms in best_of_each(runs, options.seconds, options.clock).items():
        print(f"{isa:26s} {ms:7.2f} ms", flush=True)
    print(
        f"tiers that this CPU lacks: {', '.join(sorted({*engine.TIERS} - {*engine.isas()})) or 'none'}"
    )


# ------------------------------------------------------------------------------------------------ threads


def two_threads(options: argparse.Namespace) -> None:
    print("\nResNet-18 48x48: one and two threads (wall time)")
    for density in DENSITIES:
        net, windows = resnet18(density=density), event_windows((2, 48, 48), 4)
        times = best_of_each(
            {str(n): engine_run(net, windows, n) for n in (1, 2)},
            options.seconds / 3,
            time.perf_counter,
        )
        print(
            f"{density:.0%} spikes{'':17s} one {times['1']:7.2f} ms  two {times['2']:7.2f} ms = {times['1'] / times['2']:5.2f}x",
            flush=True,
        )


def busy(options: argparse.Namespace) -> None:
    """Two threads while as many other processes as half of the cores compute without end; means, since a best would be a quiet moment."""
    cores = len(os.sched_getaffinity(0))
    print(
        f"\nResNet-18 48x48 at 10 %, {cores} cores: one and two threads while others compute (wall time, means)"
    )
    net, windows = resnet18(density=0.1), event_windows((2, 48, 48), 4)
    runs = {n: engine_run(net, windows, n) for n in (1, 2)}
    alone = 0.0
    for others in (0, cores // 2, cores):
        with burning(others):
            times = mean_of_each(runs, options.seconds)
        alone = alone or times[1]
        ratios = (
            f"{times[2] / times[1]:5.2f} of one beside them, {times[2] / alone:5.2f} of one alone"
        )
        print(
            f"{others} other process(es){'':6s} one {times[1]:7.2f} ms  two {times[2]:7.2f} ms = {ratios}",
            flush=True,
        )


def mean_of_each(runs: Mapping[int, Run], seconds: float) -> dict[int, float]:
    """Mean wall time of each of `runs` in milliseconds, turn by turn for `seconds`."""
    spent, counts = dict.fromkeys(runs, 0.0), dict.fromkeys(runs, 0)
    end = time.perf_counter() + seconds
    while time.perf_counter() < end:
        for name, run in runs.items():
            start = time.perf_counter()
            while (took := time.perf_counter() - start) < TURN:
                run()
                counts[name] += 1
            spent[name] += took
    return {name: spent[name] / counts[name] * 1e3 for name in runs}


@contextmanager
def burning(processes: int) -> Iterator[None]:
    """So many processes that do nothing but take a core each."""
    burners = [
        multiprocessing.get_context("spawn").Process(target=_burn, daemon=True)
        for _ in range(processes)
    ]
    for burner in burners:
        burner.start()
    time.sleep(0.5 if burners else 0)
    try:
        yield
    finally:
        for burner in burners:
            burner.kill()
            burner.join()


def _burn() -> None:
    while True:
        pass


# ------------------------------------------------------------------------------------------------ a trained network


def trained(options: argparse.Namespace) -> None:
    """A network that was trained, on held-out windows: its own densities, layer by layer."""
    net, windows = given_network(options) if options.network else train_digits()
    runner = engine.Engine(net, threads=options.threads)
    result = runner.run(windows)
    print(
        f"\n{options.network or 'the digits recipe, trained here'}: {len(windows)} held-out windows at once, {options.threads} thread(s)"
    )
    for layer in net.neurons:
        neurons = layer.steps * int(np.prod(net.shapes[layer.name])) * len(windows)
        spikes, events, sops = (
            int(counts[layer.name].sum()) for counts in (result.spikes, result.events, result.sops)
        )
        means = f"{events / neurons:6.1%} of neurons and steps fire, {spikes / max(events, 1):.2f} spikes each"
        print(f"{layer.name:26s} {means}, {sops / len(windows):12,.0f} SOPs a window")
    others = rivals.build(net, windows, options.threads)
    times = best_of_each(
        {"engine": lambda: runner.run(windows)} | others, options.seconds, options.clock
    )
    ours = times.pop("engine")
    print_row(
        "a window",
        ours / len(windows),
        {name: f"{ms / len(windows):.2f} ms = {ms / ours:.2f}x" for name, ms in times.items()},
    )


def given_network(options: argparse.Namespace) -> tuple[Network, np.ndarray]:
    """The network of --network and 16 windows of --data."""
    from lmht_deploy.cli import common

    net = load_network(options.network)
    windows, _, _ = common.read_data(
        options.data,
        net.window_shape,
        net.input.max_value,
        root=options.root,
        subset=True,
        limit=16,
    )
    return net, windows


def train_digits() -> tuple[Network, np.ndarray]:
    """The packaged recipe of moving digits, five epochs of it (half a minute), quantised; and 16 held-out windows."""
    import torch

    from lmht_deploy.quantize import quantize
    from lmht_deploy.training import data, loop, recipe
    from lmht_deploy.training.lowering import lower

    torch.set_num_threads(1)
    chosen = recipe.load_recipe("digits", ["training.epochs=5"])
    found = data.load_data(chosen)
    with tempfile.TemporaryDirectory() as folder:
        run = loop.train(chosen, found, folder)
    return quantize(lower(run.model, run.input)), np.asarray(found.test.windows[:16])


def main() -> None:
    tables: dict[str, Callable[[argparse.Namespace], None]] = {
        "resnet": lambda options: against_rivals("ResNet-18", resnet18, DENSITIES, 48, options),
        "window": lambda options: against_one_window("ResNet-18", resnet18, DENSITIES, 48, options),
        "vgg": lambda options: against_rivals("VGG", vgg, DENSITIES, 48, options),
        "vgg-window": lambda options: against_one_window("VGG", vgg, DENSITIES, 48, options),
        "large": lambda options: against_rivals("ResNet-18", resnet18, DENSITIES[:2], 128, options),
        "large-window": lambda options: against_one_window(
            "ResNet-18", resnet18, DENSITIES[:2], 128, options
        ),
        "shapes": shapes,
        "own": own_shapes,
        "densities": densities,
        "trained": trained,
        "threads": two_threads,
        "busy": busy,
        "tiers": tiers,
    }
    parser = argparse.ArgumentParser(
        description="Speed of the event-driven engine against dense rivals."
    )
    parser.add_argument("--seconds", type=float, default=15, help="how long to time each table")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument(
        "--tables",
        nargs="*",
        choices=tables,
        default=[*tables],
        metavar="TABLE",
        help=f"of {', '.join(tables)}; all by default",
    )
    parser.add_argument(
        "--network",
        type=Path,
        metavar="FILE.lmht",
        help="network of the table 'trained', with --data; by default it trains one",
    )
    parser.add_argument(
        "--data", metavar="NAME|FILE", help="windows for it, as `lmht run` takes them"
    )
    parser.add_argument("--root", type=Path, metavar="DIR", help="folder of that data set")
    options = parser.parse_args()
    if (options.network is None) != (options.data is None):
        parser.error("--network and --data go together")
    options.clock = time.process_time if options.threads == 1 else time.perf_counter
    if missing := rivals.missing():
        print(
            f"rivals that are not installed here: {', '.join(missing)}; see docs/how-to/benchmarks.md"
        )
    try:
        for name in options.tables:
            tables[name](options)
    except LmhtError as error:
        parser.error(str(error))


if __name__ == "__main__":
    main()
