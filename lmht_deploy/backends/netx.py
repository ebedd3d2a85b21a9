"""Backend of NetX files that others wrote: CUBA neurons with a hard reset, with the integers of Lava's fixed-point simulation (docs/netx.md).

Such a file is no LM-HT network: this backend is asked for by name, or by `lmht run`, and takes no part in comparisons.
Layers are named by their place in the file, and its logits are the spike counts of the last one; where that has no
neurons, as lava-dl leaves a read-out, the potential that it ends with.
"""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np

from lmht_deploy import ir
from lmht_deploy.netx import NetX, Simulator, counting, load_netx
from lmht_deploy.result import Result

SUFFIX = ".net"


def unavailable() -> str | None:
    """Nothing: the simulation is part of this package."""
    return None


def open_artifact(path: Path, *, threads: int = 1) -> NetxBackend:
    """Open a NetX file. Raises StorageError for what is missing, damaged or not run here."""
    return NetxBackend(load_netx(path), threads)


class NetxBackend:
    """Windows are spikes [B, steps, ...], every value but 0 one spike, for any number of steps.

    Where the input layer has neurons, they are its biases, [B, 1, ...], held for the steps that the file names.
    """

    chunk = 32

    def __init__(self, net: NetX, threads: int = 1) -> None:
        self.net = net
        self.max_value = net.encoding.max_value if net.encoding else ir.MAX_INPUT
        self._simulator = Simulator(net, threads=threads)
        self.window_shape = counting.window_shape(net)

    def run(self, windows: np.ndarray, *, trace: bool = False) -> Result:
        windows = np.asarray(windows)
        sample = counting.samples(self.net, windows)
        start = time.perf_counter()
        recordings = self._simulator.run(
            sample.inputs, sample.steps, graded=sample.graded, spikes=trace
        )
        return counting.result(
            "netx", self.net, windows, recordings, time.perf_counter() - start, trace=trace
        )

    def close(self) -> None:
        """Nothing to give back."""
