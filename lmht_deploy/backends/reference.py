"""Backend of the golden model: a `.lmht` file in plain NumPy."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from .. import reference, storage
from ..network import Network
from ..result import Result

SUFFIX = ".lmht"


def missing() -> str | None:
    """Nothing: the golden model needs NumPy only."""
    return None


def load(path: Path, *, threads: int = 1) -> ReferenceBackend:
    """Open a `.lmht` file; NumPy chooses its own threads."""
    return ReferenceBackend(storage.load(path))


class ReferenceBackend:
    chunk = 32

    def __init__(self, net: Network) -> None:
        self.net = net
        self.window_shape, self.high = net.window_shape, net.input.high

    def run(self, windows: np.ndarray, *, trace: bool = False) -> Result:
        return reference.run(self.net, windows, trace=trace)

    def close(self) -> None:
        pass
