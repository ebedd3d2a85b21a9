"""Backend of the event-driven engine: a `.lmht` file on the CPU."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from lmht_deploy import engine
from lmht_deploy.errors import BackendError
from lmht_deploy.ir import Network
from lmht_deploy.result import Result

from . import load_integer_network

SUFFIX = ".lmht"


def unavailable() -> str | None:
    """Whether the engine's extension was built."""
    return engine.unavailable()


def open_artifact(path: Path, *, threads: int = 1) -> EventBackend:
    """Open a `.lmht` file of an integer network; BackendError for a float one."""
    return EventBackend(load_integer_network("event", path), threads)


class EventBackend:
    chunk = 32

    def __init__(self, net: Network, threads: int) -> None:
        self.window_shape, self.max_value = net.window_shape, net.input.max_value
        self._engine: engine.Engine | None = engine.Engine(net, threads=threads)
        self._threads = threads

    def run(self, windows: np.ndarray, *, trace: bool = False) -> Result:
        if self._engine is None:
            raise BackendError("the backend is closed")
        return self._engine.run(windows, trace=trace)

    def steps(self) -> engine.IncrementalEngine | None:
        """Return an engine for windows whose steps arrive one by one.

        None if the network does not allow it.
        """
        if self._engine is None:
            raise BackendError("the backend is closed")
        model = self._engine.model
        if not engine.IncrementalEngine.supports(model):
            return None
        return engine.IncrementalEngine(model, threads=self._threads)

    def close(self) -> None:
        """Give back threads and buffers."""
        self._engine = None
