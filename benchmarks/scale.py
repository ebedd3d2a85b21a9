"""Measure an evaluation on this machine: windows per second by workers, overhead of a shard.

python -m benchmarks.scale speedup
python -m benchmarks.scale many --networks 1000 --windows 1000
"""

from __future__ import annotations

import argparse
import resource
import tempfile
import time
from pathlib import Path

import numpy as np

import lmht_deploy as lmht
from lmht_deploy.ir import Flatten, Input, Linear, Network, Neurons, Readout
from lmht_deploy.scale.executors.local import cores

SHARD = 500
NETWORKS = {"zoo:cifar10-dvs-emulated": (16, (10, 2, 48, 48)), "zoo:digits": (64, (4, 2, 16, 16))}
"""Networks, their number of shards, and the shapes of their windows."""


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


def speedup() -> None:
    """Print windows per second with one worker and with one per core, on networks of the zoo.

    The windows are random counts, one event in ten cells.
    """
    rng = np.random.default_rng(0)
    for network, (shards, shape) in NETWORKS.items():
        windows = (rng.random((SHARD * shards, *shape)) < 0.1).astype(np.uint8)
        for workers in (1, cores()):
            print(f"{network}, {_workers(network, windows, workers)}")


def _workers(network: str, windows: np.ndarray, workers: int) -> str:
    """Return the figures of one evaluation; the first shards tell how long workers start."""
    ended: list[float] = []
    with tempfile.TemporaryDirectory() as folder:
        found = lmht.evaluate(
            network,
            windows,
            out=folder,
            workers=workers,
            shard=SHARD,
            progress=lambda state: ended.append(state.seconds),
        )
    shards = found.shards
    others = found.worker_seconds - found.run_seconds - found.load_seconds
    rate = SHARD * (shards - workers) / (ended[-1] - ended[workers])
    return (
        f"{workers} workers: {len(windows):,} windows in {found.seconds:.2f} s "
        f"({len(windows) / found.seconds:,.0f} windows/s), first shard after {ended[1]:.2f} s, "
        f"then {rate:,.0f} windows/s; "
        f"per shard of {SHARD} windows {1e3 * found.run_seconds / shards:.1f} ms run, "
        f"{1e3 * others / shards:.1f} ms overhead"
    )


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
        workers = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
        print(f"memory of a worker: {workers:.0f} MiB at most")


def peak_mib() -> float:
    """Return the largest memory of this process, in MiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def main() -> None:
    """Run one measurement."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=("speedup", "many"))
    parser.add_argument("--networks", type=int, default=1000)
    parser.add_argument("--windows", type=int, default=1000)
    given = parser.parse_args()
    if given.what == "speedup":
        speedup()
    else:
        many(given.networks, given.windows)


if __name__ == "__main__":
    main()
