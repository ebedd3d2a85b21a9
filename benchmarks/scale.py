"""Measure an evaluation on this machine: windows per second by workers, overhead of a shard.

python -m benchmarks.scale speedup --shards 16
python -m benchmarks.scale many --networks 1000 --windows 1000
"""

from __future__ import annotations

import argparse
import resource
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path

import numpy as np

import lmht_deploy as lmht
from lmht_deploy import zoo
from lmht_deploy.ir import Flatten, Input, Linear, Network, Neurons, Readout
from lmht_deploy.scale import Variant
from lmht_deploy.scale.executors.local import cores

SHARD = 500
NETWORKS = {"zoo:cifar10-dvs-emulated": (10, 2, 48, 48), "zoo:digits": (4, 2, 16, 16)}
"""Networks, and the shapes of their windows."""


def small_network(seed: int) -> Network:
    """Return a network of 64 neurons under 4 steps of 2 x 8 x 8 counts."""
    rng = np.random.default_rng(seed)
    hidden = Neurons(
        name="hidden",
        synapses=(Linear(source="flat", weight=rng.integers(-40, 60, (64, 128))),),
        bias=np.zeros(64, int),
        threshold=np.full(64, 150),
        omega=np.eye(4, dtype=int),
        leak=4096,
        v0=np.zeros(64, int),
        levels=2,
    )
    readout = Readout(
        name="out",
        synapses=(Linear(source="hidden", weight=rng.integers(-99, 99, (10, 64))),),
        bias=np.zeros(10, int),
    )
    source = Input(name="input", shape=(2, 8, 8), steps=4, max_value=3)
    return Network((source, Flatten(name="flat", source="input"), hidden, readout))


def speedup(shards: int) -> None:
    """Print how many times as fast an evaluation is with one worker per core as with one worker.

    Four variants of a network of the zoo run the same windows: random counts, one event in
    ten cells. The time is that of the whole call: the driver keeps the windows and writes the
    results' table, and the workers start, whether there is one or several.
    """
    rng = np.random.default_rng(0)
    for name, shape in NETWORKS.items():
        net = lmht.load(zoo.network_path(name))
        potentials = (0.0, 0.25, 0.5, 0.75)
        networks = {str(v): Variant(initial_potential=v).apply(net) for v in potentials}
        windows = (rng.random((SHARD * shards, *shape)) < 0.1).astype(np.uint8)
        seconds = [_workers(name, networks, windows, workers) for workers in (1, cores())]
        print(f"{name}: {seconds[0] / seconds[1]:.2f} times as fast with {cores()} workers")


def _workers(
    name: str, networks: Mapping[str, Network], windows: np.ndarray, workers: int
) -> float:
    """Print the figures of one evaluation, and return its time.

    The rest of the time is that in which no worker is busy, and that in which not all are.
    """
    with tempfile.TemporaryDirectory() as folder:
        start = time.perf_counter()
        found = lmht.evaluate(networks, windows, out=folder, workers=workers, shard=SHARD)
        seconds = time.perf_counter() - start
    shards, number = found.shards, len(networks) * len(windows)
    rest = seconds - found.worker_seconds / workers
    others = found.worker_seconds - found.run_seconds - found.load_seconds
    print(
        f"{name}, {workers} workers: {number:,} windows in {seconds:.2f} s "
        f"({number / seconds:,.0f} windows/s), {1e3 * rest:.0f} ms of it beside the work: "
        f"{1e3 * (seconds - found.seconds):.0f} ms of the driver before the first task and after "
        f"the last; per shard of {SHARD} windows {1e3 * found.run_seconds / shards:.1f} ms run, "
        f"{1e3 * others / shards:.1f} ms overhead"
    )
    return seconds


def many(networks: int, windows: int) -> None:
    """Print the time of many small networks, cold and resumed, and the memory of the driver."""
    rng = np.random.default_rng(0)
    data = rng.integers(0, 3, (windows, 4, 2, 8, 8)).astype(np.uint8)
    labels = rng.integers(0, 10, windows)
    with tempfile.TemporaryDirectory() as folder:
        paths = [Path(folder) / f"net{seed}.lmht" for seed in range(networks)]
        for seed, path in enumerate(paths):
            lmht.save(small_network(seed), path)
        before = peak_mib()
        for name in ("cold", "resumed"):
            start = time.perf_counter()
            found = lmht.evaluate(paths, data, labels, out=Path(folder) / "out", shard=windows)
            seconds = time.perf_counter() - start
            print(
                f"{name}: {networks:,} networks x {windows:,} windows in {seconds:.1f} s "
                f"({networks * windows / seconds:,.0f} windows/s); {found.shards:,} shards, "
                f"{found.computed:,} computed in {found.seconds:.1f} s by {cores()} workers: "
                f"{1e3 * found.run_seconds / networks:.1f} ms run, "
                f"{1e3 * found.load_seconds / networks:.1f} ms open, "
                f"{1e3 * found.worker_seconds / networks:.1f} ms in all per shard"
            )
        print(f"memory of the driver: {before:.0f} MiB before, {peak_mib():.0f} MiB at most")
        # Linux also counts the memory that the driver had when it started the worker.
        workers = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
        print(f"memory of a worker: less than {workers:.0f} MiB")


def peak_mib() -> float:
    """Return the largest memory of this process, in MiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def main() -> None:
    """Run one measurement."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=("speedup", "many"))
    parser.add_argument("--shards", type=int, default=16, help="shards of each network")
    parser.add_argument("--networks", type=int, default=1000)
    parser.add_argument("--windows", type=int, default=1000)
    given = parser.parse_args()
    if given.what == "speedup":
        speedup(given.shards)
    else:
        many(given.networks, given.windows)


if __name__ == "__main__":
    main()
