"""Backend of the reference model: a `.lmht` file in plain NumPy."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from lmht_deploy import reference
from lmht_deploy.formats.networks import load_any_network
from lmht_deploy.ir import Network
from lmht_deploy.result import Result

from . import Capability

SUFFIX = ".lmht"
CAPABILITIES: frozenset[Capability] = frozenset({"network", "float", "events", "traces"})


def unavailable() -> str | None:
    """Return None: the reference model needs NumPy only."""
    return None


def open_artifact(path: Path, *, threads: int = 1) -> ReferenceBackend:
    """Open a file of a network. NumPy chooses its own number of threads."""
    return open_network(load_any_network(path), threads=threads)


def open_network(net: Network, *, threads: int = 1) -> ReferenceBackend:
    """Run a network. NumPy chooses its own number of threads."""
    return ReferenceBackend(net)


class ReferenceBackend:
    """The reference model as a backend."""

    chunk = 32

    def __init__(self, net: Network) -> None:
        self.net = net
        self.window_shape, self.max_value = net.window_shape, net.input.max_value
        self.metadata = net.metadata

    def run(self, windows: np.ndarray, *, trace: bool = False) -> Result:
        """Run `windows` [B, T_in, ...]."""
        return reference.run(self.net, windows, trace=trace)

    def close(self) -> None:
        """Do nothing: there are no resources to release."""
