"""Backend of NetX files from other tools: CUBA neurons, with the integers of Lava's simulation.

Such a file holds no LM-HT network. This backend is chosen by name or by `lmht run`, and takes no
part in comparisons. Layers are named by their number in the file. The logits are the spike counts
of the last layer or, where that has no neurons, the potential that it ends with.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from math import prod
from pathlib import Path

import numpy as np

from lmht_deploy._arguments import as_array
from lmht_deploy.netx import NetX, Simulator, counting, load_netx
from lmht_deploy.result import Result

from . import Capability

MAX_VALUES = 2**25
"""Input values of one call."""
SUFFIX = ".net"
CAPABILITIES: frozenset[Capability] = frozenset({"traces"})


def unavailable() -> str | None:
    """Return None: the simulation is part of this package."""
    return None


def open_artifact(path: Path, *, threads: int = 1) -> NetxBackend:
    """Open a NetX file; StorageError where it is missing, damaged or not supported."""
    return NetxBackend(load_netx(path), threads)


class NetxBackend:
    """The simulation of NetX files as a backend.

    Windows are spikes [B, steps, ...] with any number of steps; every value but 0 is one spike.
    Where the input layer has neurons, windows are its biases [B, 1, ...], held for the steps that
    the file states.
    """

    def __init__(self, net: NetX, threads: int = 1) -> None:
        self.net = net
        self._simulator = Simulator(net, threads=threads)
        self.window_shape, self.max_value = counting.window_shape(net), counting.max_value(net)
        self.chunk = max(1, min(32, MAX_VALUES // ((net.steps or 1) * prod(net.input_shape))))
        self.metadata: Mapping[str, str] = net.metadata

    def run(self, windows: np.ndarray, *, trace: bool = False) -> Result:
        """Run `windows`; DataError where they do not fit."""
        windows = as_array("windows", windows)
        sample = counting.samples(self.net, windows)
        start = time.perf_counter()
        recordings = self._simulator.run(
            sample.inputs, sample.steps, graded=sample.graded, spikes=trace
        )
        seconds = time.perf_counter() - start
        return counting.result("netx", self.net, windows, recordings, seconds, trace=trace)

    def close(self) -> None:
        """Do nothing: there are no resources to release."""
