"""NetX networks with and without Lava: `python -m benchmarks.netx [--json FILE]`.

    pilotnet       PilotNet, a file in the wheel of lava-dl, driven by the image beside it
    vgg            a VGG for 2 x 48 x 48, as `lmht export` writes it, driven by a moving ring

Each row times one time-step in the simulation of lmht-deploy (one thread), in unmodified lava-dl,
and in lava-dl with `--fast-conv`. The simulation's time is the best CPU time of several rounds.
Lava's is the wall time of its steps, without its start, on all cores: other programs make it
longer, so a ratio requires a quiet machine. All spikes are compared. Needs `lmht lava install`.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path

import numpy as np

from lmht_deploy import netx
from lmht_deploy.backends import lava
from lmht_deploy.backends.lava import environment, stock
from lmht_deploy.exporters import netx as exporter

from . import networks
from .report import Row, Table, add_report_arguments, run_tables


def pilotnet(_folder: Path, python: Path) -> stock.Run:
    """Return PilotNet of lava-dl, driven by the image that it contains."""
    site_packages = next(python.parent.parent.glob("lib/python*/site-packages"))
    recorded = site_packages / "tests/lava/lib/dl/netx/gts/pilotnet_lif"
    return stock.Run(recorded / "network.net", np.load(recorded / "image.npy").T[None], steps=1)


def vgg(folder: Path, _python: Path) -> stock.Run:
    """Return a VGG of eight convolutions with average pooling, driven by a moving ring."""
    path = folder / "vgg.net"
    exporter.export_netx(networks.vgg(), path)
    window = networks.event_windows((2, 48, 48), 4)[:, :1] > 0
    return stock.Run(path, window.astype(int))


NETWORKS: dict[str, Callable[[Path, Path], stock.Run]] = {"pilotnet": pilotnet, "vgg": vgg}


def prolonged(sample: stock.Run, steps: int) -> stock.Run:
    """Return `sample` for `steps` steps: biases are held, spikes move by one column per step."""
    if sample.steps is not None:
        return stock.Run(sample.path, sample.inputs, steps)
    moved = [np.roll(sample.inputs, step, axis=-1) for step in range(steps)]
    return stock.Run(sample.path, np.concatenate(moved, axis=1))


def own_time(sample: stock.Run, steps: int, rounds: int) -> tuple[float, float]:
    """Return the simulation's CPU time in milliseconds and its spikes, both per step."""
    long = prolonged(sample, steps)
    simulator = netx.Simulator(netx.load_netx(sample.path))
    times: list[float] = []
    for _ in range(rounds):
        start = time.process_time()
        found = simulator.run(long.inputs, long.steps, spikes=False)
        times.append(time.process_time() - start)
    return min(times) / steps * 1e3, sum(int(layer.counts.sum()) for layer in found) / steps


def lava_time(python: Path, sample: stock.Run, steps: int, *, fast_conv: bool) -> float:
    """Return Lava's wall time per step in milliseconds; exit if its spikes differ."""
    long = prolonged(sample, steps)
    (expected,), seconds = stock.run(python, [long], fast_conv=fast_conv, seconds=3600)
    found = netx.Simulator(netx.load_netx(sample.path)).run(long.inputs, long.steps)
    for index, (ours, theirs) in enumerate(zip(found, expected, strict=True)):
        if not np.array_equal(_spikes(ours), _spikes(theirs)):
            sys.exit(f"the spikes of layer {index} differ from Lava's")
    return seconds / steps * 1e3


def _spikes(recording: netx.Recording) -> np.ndarray:
    assert recording.spikes is not None
    return recording.spikes


def per_step(name: str, python: Path, options: argparse.Namespace) -> Iterator[Row]:
    """Time one network."""
    with tempfile.TemporaryDirectory() as folder:
        sample = NETWORKS[name](Path(folder), python)
        own, spikes = own_time(sample, options.steps, options.rounds)
        fast_steps = 10 * options.lava_steps
        times = {
            f"lmht-deploy ({netx.isas()[0]})": own,
            "lava-dl": lava_time(python, sample, options.lava_steps, fast_conv=False),
            "lava-dl --fast-conv": lava_time(python, sample, fast_steps, fast_conv=True),
        }
        yield Row(name, times, {"spikes per step": spikes})


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.netx", description=(__doc__ or "").splitlines()[0]
    )
    add_report_arguments(parser, NETWORKS)
    parser.add_argument(
        "--steps", type=int, default=100, help="steps per round of the simulation (default: 100)"
    )
    parser.add_argument(
        "--lava-steps",
        type=int,
        default=6,
        help="steps of lava-dl; ten times as many with --fast-conv (default: 6)",
    )
    parser.add_argument("--rounds", type=int, default=5, help="rounds of the simulation")
    options = parser.parse_args(arguments)
    python = environment.python_of()
    if python is None:
        sys.exit(str(lava.unavailable()))
    run_tables(
        {
            name: Table(f"{name}, per time-step", partial(per_step, name, python, options))
            for name in options.tables
        },
        options.json,
        steps=options.steps,
        lava_steps=options.lava_steps,
        rounds=options.rounds,
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
