"""NetX networks with and without Lava: `python -m benchmarks.netx`.

One step of PilotNet (the file in lava-dl's wheel) and of a VGG for 2 x 48 x 48 in NetX form: in unmodified lava-dl, in lava-dl with
`--fast-conv`, and in lmht-deploy's own simulation on one thread. Lava's time is the wall time of its steps after it has started, on as many cores as
there are; the simulation's is the CPU time of its thread, the best of several rounds, as other programs run beside it. Other programs make Lava's
longer: for a ratio, leave the machine to this one. Spikes of every layer at every step are held equal on the way. `lmht lava install` first.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from lmht_deploy import netx
from lmht_deploy.backends import lava
from lmht_deploy.backends.lava import environment, stock
from lmht_deploy.exporters import netx as exporter

from . import networks


def pilotnet(folder: Path, python: Path) -> stock.Run:
    """PilotNet of lava-dl, driven by the image that it ships, held."""
    recorded = next(
        python.parent.parent.glob(
            "lib/python*/site-packages/tests/lava/lib/dl/netx/gts/pilotnet_lif"
        )
    )
    return stock.Run(recorded / "network.net", np.load(recorded / "image.npy").T[None], steps=1)


def vgg(folder: Path, python: Path) -> stock.Run:
    """A VGG of eight convolutions, average pooling folded into them, as `lmht export` writes it, and a moving ring."""
    path = folder / "vgg.net"
    exporter.export_netx(networks.vgg(), path)
    window = networks.event_windows((2, 48, 48), 4)[:, :1] > 0
    return stock.Run(path, window.astype(int))


NETWORKS = {"pilotnet": pilotnet, "vgg": vgg}


def lasting(one: stock.Run, steps: int) -> stock.Run:
    """`one` for so many steps: biases are held, spikes shifted on, a column a step."""
    if one.steps is not None:
        return stock.Run(one.path, one.inputs, steps)
    return stock.Run(
        one.path,
        np.concatenate([np.roll(one.inputs, step, axis=-1) for step in range(steps)], axis=1),
    )


def own_seconds(one: stock.Run, steps: int, rounds: int) -> tuple[float, float]:
    """CPU seconds a step, and spikes a step, of the simulation in its stride."""
    long = lasting(one, steps)
    simulator = netx.Simulator(netx.load_netx(one.path))
    times, found = [], []
    for _ in range(rounds):
        start = time.process_time()
        found = simulator.run(long.inputs, long.steps, spikes=False)
        times.append(time.process_time() - start)
    return min(times) / steps, sum(int(layer.counts.sum()) for layer in found) / steps


def lava_seconds(python: Path, one: stock.Run, steps: int, fast_conv: bool) -> float:
    """Seconds a step of Lava; its spikes are checked."""
    some = lasting(one, steps)
    (expected,), seconds = stock.run(python, [some], fast_conv=fast_conv, seconds=3600)
    found = netx.Simulator(netx.load_netx(one.path)).run(some.inputs, some.steps)
    for index, (a, b) in enumerate(zip(found, expected, strict=True)):
        if not np.array_equal(a.spikes, b.spikes):  # type: ignore[arg-type]
            sys.exit(f"spikes of layer {index} differ from Lava's")
    return seconds / steps


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--networks", nargs="+", choices=NETWORKS, default=list(NETWORKS))
    parser.add_argument("--steps", type=int, default=100, help="of the simulation, a round")
    parser.add_argument(
        "--lava-steps",
        type=int,
        default=6,
        help="of lava-dl; ten times as many with fast convolutions",
    )
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    python = environment.python_of()
    if python is None:
        sys.exit(str(lava.unavailable()))
    print(
        f"{'ms a step':10} {'lava-dl':>10} {'fast conv':>10} {'own':>8} {'times faster':>13} {'spikes a step':>14}   ({netx.isas()[0]}, one thread)"
    )
    with tempfile.TemporaryDirectory() as folder:
        for name in options.networks:
            one = NETWORKS[name](Path(folder), python)
            own, spikes = own_seconds(one, options.steps, options.rounds)
            slow = lava_seconds(python, one, options.lava_steps, fast_conv=False)
            fast = lava_seconds(python, one, 10 * options.lava_steps, fast_conv=True)
            print(
                f"{name:10} {1e3 * slow:10.0f} {1e3 * fast:10.1f} {1e3 * own:8.3f} {slow / own:13,.0f} {spikes:14,.0f}",
                flush=True,
            )


if __name__ == "__main__":
    main()
