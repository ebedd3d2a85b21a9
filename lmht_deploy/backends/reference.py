"""Backend of the golden model: a `.lmht` file in plain NumPy."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from lmht_deploy import reference
from lmht_deploy.formats.lmht import load_network
from lmht_deploy.ir import Network
from lmht_deploy.result import Result

SUFFIX = ".lmht"


def unavailable() -> str | None:
    """Nothing: the golden model needs NumPy only."""
    return None


def open_artifact(path: Path, *, threads: int = 1) -> ReferenceBackend:
    """Open a `.lmht` file; NumPy chooses its own threads."""
    return ReferenceBackend(load_network(path))


class ReferenceBackend:
    chunk = 32

    def __init__(self, net: Network) -> None:
        self.net = net
        self.window_shape, self.max_value = net.window_shape, net.input.max_value

    def run(self, windows: np.ndarray, *, trace: bool = False) -> Result:
        return reference.run(self.net, windows, trace=trace)

    def close(self) -> None:
        pass
