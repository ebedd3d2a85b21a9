"""Speed of the event-driven engine: `python -m benchmarks.engine [--json FILE]`.

    resnet, vgg, large                        the engine beside dense rivals, per-step currents
    resnet-window, vgg-window, large-window   uniform T-GIM; the rivals run one int8 convolution
                                              per layer for the whole window
    shapes         other T, L, T-GIMs, batch and image sizes, beside the inference runtimes
    own            the same choices, beside the engine's own default
    densities      every density, beside the engine with its dense path forced
    paths          every density, beside the engine with each path forced
    densities-window   the same for a uniform T-GIM
    gather         one layer with its sparse path forced: the highest rate of SOPs
    trained        a trained network on held-out windows
    threads        one and two threads
    batches        batches of 64 windows on one and two threads, beside 64 single windows
    busy           one and two threads while other processes compute
    tiers          every tier of this CPU; OpenVINO is kept to the same instructions

Every table has a column of OpenVINO with int8 weights, the fastest rival. `--isa` keeps the engine
and its rivals to the instructions of one tier, or of each tier in turn.

Every table times all its columns alternately in one run, so that a busy machine slows all of them
alike. The turns of all columns take equally long, and the mean of the best turn is printed. Only
the ratios count: the time of a column divided by that of the first. With one thread the time is
CPU time of the process, which excludes other programs.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from lmht_deploy import engine
from lmht_deploy.errors import LmhtError
from lmht_deploy.formats.lmht import load_network
from lmht_deploy.ir import Network

from . import isa, rivals
from .networks import Omega, event_windows, one_layer, resnet18, vgg
from .report import Row, Table, add_report_arguments, run_tables
from .timing import Run, best_of_cases, best_of_each, busy_processes, mean_of_each

Build = Callable[..., Network]
Options = argparse.Namespace

DENSITIES = (0.05, 0.1, 0.15)
ALL_DENSITIES = (0.0, 0.01, 0.02, 0.05, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.65, 0.8, 1.0)
HELD_OUT = 16
"""Windows of a trained network."""
BATCH = 64
"""Windows of a batch in the table `batches`."""


def engine_run(net: Network | engine.Model, windows: np.ndarray, threads: int) -> Run:
    """Return a run of the engine."""
    runner = engine.Engine(net, threads=threads)
    return lambda: runner.run(windows)


def one_by_one(net: Network, windows: np.ndarray) -> Run:
    """Return a run of the engine that runs the windows one after another, on one thread."""
    runner = engine.Engine(net, threads=1)
    return lambda: [runner.run(window[None]) for window in windows]


# ----------------------------------------------------------------------------------- against rivals


def against_rivals(
    build: Build, densities: Sequence[float], size: int, options: Options
) -> Iterator[Row]:
    """Compare with every rival; the time of the rivals does not depend on the density."""
    windows = event_windows((2, size, size), 4)
    others = rivals.build(build(size, density=0.1), windows, options.threads)
    yield from _densities_beside(others, partial(build, size), windows, densities, options)


def against_one_window(
    build: Build, densities: Sequence[float], size: int, options: Options
) -> Iterator[Row]:
    """Compare, for a uniform T-GIM, with one int8 convolution per layer for the whole window."""
    windows = event_windows((2, size, size), 4)
    others = rivals.one_window(build(size, density=0.1), windows, options.threads)
    uniform = partial(build, size, omega="uniform")
    yield from _densities_beside(others, uniform, windows, densities, options)


def _densities_beside(
    others: Mapping[str, Run],
    build: Build,
    windows: np.ndarray,
    densities: Sequence[float],
    options: Options,
) -> Iterator[Row]:
    """One row per density: the engine beside `others`."""
    ours = {
        f"{density:.0%} spikes": engine_run(build(density=density), windows, options.threads)
        for density in densities
    }
    times = best_of_each({**ours, **others}, options.seconds, options.clock)
    for label in ours:
        yield Row(label, {"engine": times[label]} | {name: times[name] for name in others})


def shapes(options: Options) -> Iterator[Row]:
    """Compare other shapes with the inference runtimes; times are of a whole batch."""
    cases: list[tuple[str, Build, int, dict[str, Any], int]] = [
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
    for label, build, size, choices, batch in cases:
        net = build(size, density=0.1, **choices)
        windows = event_windows((2, size, size), choices.get("steps", 4), batch)
        runs = {
            "engine": engine_run(net, windows, options.threads),
            **rivals.runtimes(net, windows, options.threads),
        }
        yield Row(label, best_of_each(runs, options.seconds / 3, options.clock))


# ------------------------------------------------------------------------------ against the engine


def own_shapes(options: Options) -> Iterator[Row]:
    """Compare T-GIMs, steps, levels and batches with the default: identity, T = 4, L = 1."""
    windows = event_windows((2, 48, 48), 4)
    choices: dict[str, tuple[dict[str, Any], np.ndarray]] = {
        "default": ({}, windows),
        "general T-GIM": ({"omega": "general"}, windows),
        "T=2": ({"steps": 2}, event_windows((2, 48, 48), 2)),
        "T=8": ({"steps": 8}, event_windows((2, 48, 48), 8)),
        "L=2": ({"levels": 2}, windows),
        "L=4": ({"levels": 4}, windows),
        "batch 8": ({}, np.repeat(windows, 8, 0)),
    }
    cases = {
        name: beside_openvino("this", resnet18(density=0.1, **chosen), given, options.threads)
        for name, (chosen, given) in choices.items()
    }
    times = best_of_cases(cases, options.seconds, options.clock)
    default = times.pop("default")["this"]
    for name, measured in times.items():
        yield Row(name, {"default": default, **measured})


def beside_openvino(
    label: str, net: Network, windows: np.ndarray, threads: int, *, one_window: bool = False
) -> dict[str, Run]:
    """Return a run of the engine, by `label`, and one of OpenVINO with int8 weights."""
    rival = rivals.openvino_int8(net, windows, threads, one_window=one_window)
    return {label: engine_run(net, windows, threads), **rival}


def densities(omega: Omega, options: Options) -> Iterator[Row]:
    """Compare the engine with its dense int8 path, and with OpenVINO, at every density."""
    windows, one_window = event_windows((2, 48, 48), 4), omega == "uniform"
    nets = {density: resnet18(density=density, omega=omega) for density in ALL_DENSITIES}
    cases: dict[str, dict[str, Run]] = {
        f"{density}": {
            "engine": engine_run(net, windows, options.threads),
            "dense path": engine_run(engine.Model(net, path="dense"), windows, options.threads),
        }
        for density, net in nets.items()
    }
    cases["rival"] = dict(
        rivals.openvino_int8(nets[0.1], windows, options.threads, one_window=one_window)
    )
    times = best_of_cases(cases, options.seconds * 2, options.clock)
    for density, net in nets.items():
        measured = times[f"{density}"] | times["rival"]
        fired, sops = _activity(engine.Engine(net, threads=options.threads), windows)
        rate = sops / measured["engine"] * 1e-6
        figures = {"MSOP": sops * 1e-6, "GSOP/s": rate, "spikes per neuron and step": fired}
        yield Row(f"requested {density:.0%} spikes", measured, figures)


def single_paths(options: Options) -> Iterator[Row]:
    """Compare the engine's choice with every forced path at every density.

    The ratio to the best forced path shows what the choice costs: at most 1 if it is right.
    """
    windows = event_windows((2, 48, 48), 4)
    forced: tuple[engine.ForcedPath, ...] = ("list", "shared", "dense")
    omegas: tuple[Omega, ...] = ("identity", "uniform")
    for omega, density in itertools.product(omegas, ALL_DENSITIES):
        net = resnet18(density=density, omega=omega)
        runs = beside_openvino(
            "engine", net, windows, options.threads, one_window=omega == "uniform"
        )
        for path in forced:
            runs[path] = engine_run(engine.Model(net, path=path), windows, options.threads)
        times = best_of_each(runs, options.seconds / 10, options.clock)
        best = min(times[path] for path in forced)
        yield Row(
            f"{omega} {density:.0%} spikes", times, {"engine / best path": times["engine"] / best}
        )


def _activity(runner: engine.Engine, windows: np.ndarray) -> tuple[float, int]:
    """Spikes per neuron and step, and SOPs of all windows."""
    result, net = runner.run(windows), runner.model.net
    spikes = sum(int(count.sum()) for count in result.spikes.values())
    sops = sum(int(count.sum()) for count in result.sops.values())
    neurons = sum(layer.steps * int(np.prod(net.shapes[layer.name])) for layer in net.neurons)
    return spikes / (neurons * len(windows)), sops


def gather(options: Options) -> Iterator[Row]:
    """Measure the sparse path alone, with weights that stay in the L1 or L2 cache."""
    for channels_in, channels_out in ((64, 64), (64, 512), (256, 64), (256, 256)):
        net = one_layer(channels_in, channels_out)
        windows = (np.random.default_rng(0).random((1, *net.window_shape)) < 0.3).astype(np.int32)
        runner = engine.Engine(engine.Model(net, path="list"), threads=options.threads)
        profiles = [_first_layer(runner, windows)]
        end = time.perf_counter() + options.seconds / 10
        while time.perf_counter() < end:
            profiles.append(_first_layer(runner, windows))
        rate = max(profile.sops / profile.seconds for profile in profiles)
        kibibytes = channels_in * channels_out * 9 / 1024
        figures = {"GSOP/s": rate * 1e-9, "KiB of weights": kibibytes}
        runs: dict[str, Run] = {
            "sparse path": partial(runner.run, windows),
            **rivals.openvino_int8(net, windows, options.threads),
        }
        times = best_of_each(runs, options.seconds / 10, options.clock)
        yield Row(f"{channels_in} to {channels_out} channels", times, figures)


def _first_layer(runner: engine.Engine, windows: np.ndarray) -> engine.LayerProfile:
    name = runner.model.net.neurons[0].name
    return next(layer for layer in runner.profile(windows) if layer.name == name)


def tiers(options: Options) -> Iterator[Row]:
    """Compare with OpenVINO on every tier, or on the one that the process is kept to."""
    if not options.isa:
        for name in engine.isas():
            yield from _in_child(name, options)
        return
    windows = event_windows((2, 48, 48), 4)
    for omega in ("identity", "uniform"):
        net = resnet18(density=0.1, omega=omega)
        runs = beside_openvino(
            "engine", net, windows, options.threads, one_window=omega == "uniform"
        )
        times = best_of_each(runs, options.seconds / 2, options.clock)
        yield Row(f"{options.isa}, {omega} T-GIM", times)


def _in_child(name: str, options: Options) -> Iterator[Row]:
    """The rows of `tiers` from a child process that is kept to the tier `name`."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "report.json"
        numbers = [f"--seconds={options.seconds}", f"--threads={options.threads}"]
        command = ["-m", "benchmarks.engine", "--tables", "tiers", "--json", str(path), *numbers]
        if isa.run_kept_to(name, [*command, "--isa", name], quiet=True):
            raise LmhtError(f"the child process of the tier {name} failed")
        report = json.loads(path.read_text(encoding="utf-8"))
    for row in report["tables"]["tiers"]["rows"]:
        yield Row(row["label"], row["milliseconds"])


# ------------------------------------------------------------------------------------------ threads


def threads(options: Options) -> Iterator[Row]:
    """Compare one thread with two."""
    for density in DENSITIES:
        runs = _two_and_one(resnet18(density=density), event_windows((2, 48, 48), 4))
        times = best_of_each(runs, options.seconds / 3, time.perf_counter)
        yield Row(f"{density:.0%} spikes", times)


def _two_and_one(net: Network, windows: np.ndarray) -> dict[str, Run]:
    """Runs of two threads and of one, of the engine and of OpenVINO."""
    runs: dict[str, Run] = {
        "two threads": engine_run(net, windows, 2),
        "one thread": engine_run(net, windows, 1),
    }
    for label, threads in (("two threads", 2), ("one thread", 1)):
        for name, run in rivals.openvino_int8(net, windows, threads).items():
            runs[f"{name}, {label}"] = run
    return runs


def batches(options: Options) -> Iterator[Row]:
    """Compare batches of 64 windows with the same windows one by one; times are per window."""
    nets = {
        **{f"ResNet-18 uniform {d:.0%}": resnet18(density=d, omega="uniform") for d in DENSITIES},
        **{f"VGG uniform {d:.0%}": vgg(density=d, omega="uniform") for d in DENSITIES},
        **{f"ResNet-18 per step {d:.0%}": resnet18(density=d) for d in DENSITIES},
        "images 3x32x32 L=2 T=2 general": resnet18(32, 2, 2, "general", 0.13, channels=3),
    }
    for label, net in nets.items():
        yield Row(label, _per_window_of_batches(net, options.seconds / 3))


def _per_window_of_batches(net: Network, seconds: float) -> dict[str, float]:
    windows = event_windows(net.input.shape, net.input.steps, BATCH)
    runs = {
        f"{BATCH} single windows": one_by_one(net, windows),
        f"batch of {BATCH}": engine_run(net, windows, 1),
        f"batch of {BATCH}, two threads": engine_run(net, windows, 2),
    }
    times = best_of_each(runs, seconds, time.perf_counter)
    return {name: ms / BATCH for name, ms in times.items()}


def busy(options: Options) -> Iterator[Row]:
    """Compare one thread with two beside other processes, by their mean times.

    The best time would be that of a moment in which the others do not run.
    """
    cores = len(os.sched_getaffinity(0))
    runs = _two_and_one(resnet18(density=0.1), event_windows((2, 48, 48), 4))
    alone = 0.0
    for others in (0, cores // 2, cores):
        with busy_processes(others):
            times = mean_of_each(runs, options.seconds)
        alone = alone or times["one thread"]
        figures = {"two threads / one thread alone": times["two threads"] / alone}
        yield Row(f"{others} other processes on {cores} cores", times, figures)


# -------------------------------------------------------------------------------- a trained network


def trained(options: Options) -> Iterator[Row]:
    """Compare on a trained network with held-out windows: its own densities, layer by layer."""
    net, windows = _given_network(options) if options.network else _train_digits()
    runner = engine.Engine(net, threads=options.threads)
    yield from _layers(runner, windows)
    runs: dict[str, Run] = {
        "engine": partial(runner.run, windows),
        **rivals.build(net, windows, options.threads),
    }
    times = best_of_each(runs, options.seconds, options.clock)
    yield Row("per window", {name: ms / len(windows) for name, ms in times.items()})


def _layers(runner: engine.Engine, windows: np.ndarray) -> Iterator[Row]:
    """One row per layer of neurons: how often they fire, and SOPs."""
    result, net = runner.run(windows), runner.model.net
    for layer in net.neurons:
        neurons = layer.steps * int(np.prod(net.shapes[layer.name])) * len(windows)
        events = int(result.events[layer.name].sum())
        figures = {
            "events per neuron and step": events / neurons,
            "spikes per event": int(result.spikes[layer.name].sum()) / max(events, 1),
            "SOPs per window": int(result.sops[layer.name].sum()) / len(windows),
        }
        yield Row(layer.name, figures=figures)


def _given_network(options: Options) -> tuple[Network, np.ndarray]:
    """The network of --network, and windows of --data."""
    from lmht_deploy import data

    net = load_network(options.network)
    found = data.load(
        options.data,
        steps=net.input.steps,
        size=net.input.shape[1:],
        max_count=net.input.max_value,
        root=options.root,
        subset=True,
    )
    return net, found.windows[:HELD_OUT]


def _train_digits() -> tuple[Network, np.ndarray]:
    """The packaged recipe `digits`, quantized after five epochs (half a minute), and windows."""
    import torch

    from lmht_deploy.quantize import quantize
    from lmht_deploy.training import data, loop, recipe
    from lmht_deploy.training.lowering import lower

    torch.set_num_threads(1)
    chosen = recipe.load_recipe("digits", ["training.epochs=5"])
    found = data.load_data(chosen)
    with tempfile.TemporaryDirectory() as folder:
        run = loop.train(chosen, found, folder)
    return quantize(lower(run.model, run.input)), np.asarray(found.test.windows[:HELD_OUT])


# --------------------------------------------------------------------------------------------- main

PER_STEP = "per-step currents; the rivals run 4 steps, their neurons unrolled"
WHOLE_WINDOW = "uniform T-GIM; the rivals run one int8 convolution per layer for the whole window"

TABLES: dict[str, tuple[str, Callable[[Options], Iterator[Row]]]] = {
    "resnet": (
        f"ResNet-18 2x48x48 T=4, {PER_STEP}",
        partial(against_rivals, resnet18, DENSITIES, 48),
    ),
    "resnet-window": (
        f"ResNet-18 2x48x48 T=4, {WHOLE_WINDOW}",
        partial(against_one_window, resnet18, DENSITIES, 48),
    ),
    "vgg": (f"VGG 2x48x48 T=4, {PER_STEP}", partial(against_rivals, vgg, DENSITIES, 48)),
    "vgg-window": (
        f"VGG 2x48x48 T=4, {WHOLE_WINDOW}",
        partial(against_one_window, vgg, DENSITIES, 48),
    ),
    "large": (
        f"ResNet-18 2x128x128 T=4, {PER_STEP}",
        partial(against_rivals, resnet18, DENSITIES[:2], 128),
    ),
    "large-window": (
        f"ResNet-18 2x128x128 T=4, {WHOLE_WINDOW}",
        partial(against_one_window, resnet18, DENSITIES[:2], 128),
    ),
    "shapes": ("10 % spikes, 2x48x48, T=4, L=1 unless stated; per batch", shapes),
    "own": ("ResNet-18 2x48x48, 10 % spikes, beside identity T-GIM, T=4, L=1", own_shapes),
    "paths": ("ResNet-18 2x48x48 T=4, beside each path forced", single_paths),
    "densities": (
        "ResNet-18 2x48x48 T=4, beside the dense int8 path and OpenVINO, per-step currents",
        partial(densities, "identity"),
    ),
    "densities-window": (
        "ResNet-18 2x48x48 T=4, beside the dense int8 path and OpenVINO, uniform T-GIM",
        partial(densities, "uniform"),
    ),
    "gather": ("One 3x3 convolution, 30 % spikes, sparse path only", gather),
    "trained": (f"A trained network, {HELD_OUT} held-out windows at once", trained),
    "threads": ("ResNet-18 2x48x48 T=4; wall time", threads),
    "batches": ("2x48x48, T=4, L=1 unless stated; wall time per window", batches),
    "busy": ("ResNet-18 2x48x48 T=4, 10 % spikes, beside other processes; mean wall time", busy),
    "tiers": ("ResNet-18 2x48x48 T=4, 10 % spikes; rivals are kept to the tier", tiers),
}
"""Title and rows of each table by name."""


def parse(arguments: Sequence[str] | None) -> Options:
    """Parse the options of the command; `clock` is added to them."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.engine", description=(__doc__ or "").splitlines()[0]
    )
    add_report_arguments(parser, TABLES)
    parser.add_argument("--seconds", type=float, default=15, help="time to measure each table")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument(
        "--isa",
        metavar="TIER|all",
        help="keep the engine and its rivals to the instructions of this tier; 'all' measures each"
        " tier of this CPU and writes one FILE-TIER.json for each",
    )
    parser.add_argument(
        "--network",
        type=Path,
        metavar="FILE.lmht",
        help="network of the table 'trained', with --data (default: trains one)",
    )
    parser.add_argument(
        "--data", metavar="NAME|FILE", help="windows of that network, as in `lmht run`"
    )
    parser.add_argument("--root", type=Path, metavar="DIR", help="folder of that data set")
    options = parser.parse_args(arguments)
    if (options.network is None) != (options.data is None):
        parser.error("--network and --data require each other")
    options.clock = time.process_time if options.threads == 1 else time.perf_counter
    return options


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command."""
    arguments = sys.argv[1:] if arguments is None else arguments
    options = parse(arguments)
    try:
        if options.isa and not isa.is_kept_to(options.isa):
            return _measure_kept_to(options, arguments)
        _measure(options)
    except LmhtError as error:
        sys.exit(f"python -m benchmarks.engine: {error}")
    return 0


def _measure(options: Options) -> None:
    """Measure the chosen tables in this process."""
    if missing := rivals.missing():
        print(f"rivals that are not installed: {', '.join(missing)}; see docs/how-to/benchmarks.md")
    chosen = {name: TABLES[name] for name in options.tables}
    run_tables(
        {name: Table(title, partial(rows, options)) for name, (title, rows) in chosen.items()},
        options.json,
        threads=options.threads,
        seconds=options.seconds,
    )


def _measure_kept_to(options: Options, arguments: Sequence[str]) -> int:
    """Measure the chosen tables in one child process per tier; return the worst exit status."""
    status = 0
    for name in isa.tiers_of(options.isa):
        command = ["-m", "benchmarks.engine", *arguments, "--isa", name]
        if options.json and options.isa == isa.ALL:
            command += ["--json", str(options.json.with_stem(f"{options.json.stem}-{name}"))]
        status = max(status, isa.run_kept_to(name, command))
    return status


if __name__ == "__main__":
    sys.exit(main())
