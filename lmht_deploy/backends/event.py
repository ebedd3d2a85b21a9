"""Backend of the event-driven engine: a `.lmht` file on the CPU."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from lmht_deploy import engine
from lmht_deploy.errors import BackendError
from lmht_deploy.ir import Network
from lmht_deploy.result import Result

from . import Capability, load_integer_network

SUFFIX = ".lmht"
CAPABILITIES: frozenset[Capability] = frozenset({"network", "events", "traces", "incremental"})


def unavailable() -> str | None:
    """Return why the engine's extension cannot be imported, or None."""
    return engine.unavailable()


def open_artifact(path: Path, *, threads: int = 1) -> EventBackend:
    """Open a `.lmht` file of an integer network; BackendError for a float network."""
    return open_network(load_integer_network("event", path), threads=threads)


def open_network(net: Network, *, threads: int = 1) -> EventBackend:
    """Run an integer network."""
    return EventBackend(net, threads)


class EventBackend:
    """The event-driven engine as a backend."""

    chunk = 32

    def __init__(self, net: Network, threads: int) -> None:
        self.window_shape, self.max_value = net.window_shape, net.input.max_value
        self.metadata = net.metadata
        self._engine: engine.Engine | None = engine.Engine(net, threads=threads)
        self._threads = threads

    def run(self, windows: np.ndarray, *, trace: bool = False) -> Result:
        """Run `windows` [B, T_in, ...]; BackendError after `close`."""
        return self._open().run(windows, trace=trace)

    def steps(
        self, *, eager: bool = False, stop_margin: int | None = None
    ) -> engine.IncrementalEngine | engine.StepwiseRing | None:
        """Return a runner of single time-steps, or None where the network does not allow it.

        Args:
            eager: Whether a time-step runs through all layers when it arrives, where the network
                allows that. For windows that do not overlap.
            stop_margin: Margin with which a window ends early, see `engine.StepwiseEngine.run`;
                None to run all time-steps. Only with `eager`.
        """
        model = self._open().model
        if eager and engine.StepwiseEngine.supports(model.net):
            return engine.StepwiseRing(
                engine.StepwiseEngine(model.net, threads=self._threads), stop_margin
            )
        if not engine.IncrementalEngine.supports(model):
            return None
        return engine.IncrementalEngine(model, threads=self._threads)

    def close(self) -> None:
        """Release threads and buffers."""
        self._engine = None

    def _open(self) -> engine.Engine:
        if self._engine is None:
            raise BackendError("the backend is closed")
        return self._engine
