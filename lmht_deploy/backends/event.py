"""Backend of the event-driven engine: a `.lmht` file on the CPU."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from lmht_deploy import engine
from lmht_deploy.errors import BackendError
from lmht_deploy.ir import Network
from lmht_deploy.result import Result, check_windows, concatenate

from . import Capability, load_integer_network

SUFFIX = ".lmht"
CAPABILITIES: frozenset[Capability] = frozenset(
    {"network", "events", "traces", "incremental", "stop"}
)


def unavailable() -> str | None:
    """Return why the engine's extension cannot be imported, or None."""
    return engine.unavailable()


def open_artifact(
    path: Path, *, threads: int = 1, stop_margin: int | None = None
) -> EventBackend | StoppingBackend:
    """Open a `.lmht` file of an integer network; BackendError for a float network.

    Args:
        path: The file.
        threads: Maximum number of threads.
        stop_margin: Margin with which a window ends early; None to run whole windows.
    """
    net = load_integer_network("event", path)
    return open_network(net, threads=threads, stop_margin=stop_margin)


def open_network(
    net: Network, *, threads: int = 1, stop_margin: int | None = None
) -> EventBackend | StoppingBackend:
    """Run an integer network; `open_artifact` lists the arguments."""
    if stop_margin is not None:
        return StoppingBackend(net, threads, stop_margin)
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


class StoppingBackend:
    """The engine as a backend that ends each window when its answer is sure."""

    chunk = 32

    def __init__(self, net: Network, threads: int, stop_margin: int) -> None:
        self.window_shape, self.max_value = net.window_shape, net.input.max_value
        self.metadata = net.metadata
        self._stop_margin = stop_margin
        self._engine: engine.StepwiseEngine | None = engine.StepwiseEngine(net, threads=threads)

    def run(self, windows: np.ndarray, *, trace: bool = False) -> Result:
        """Run `windows` [B, T_in, ...] one by one.

        Raises:
            BackendError: After `close`, and for traces, which need whole windows.
            DataError: The windows do not fit the network.
        """
        if self._engine is None:
            raise BackendError("the backend is closed")
        if trace:
            raise BackendError("windows that end early have no traces; run whole windows")
        return concatenate(list(self._run(self._engine, windows)))

    def _run(self, runner: engine.StepwiseEngine, windows: np.ndarray) -> Iterator[Result]:
        source = runner.net.input
        shape = self.window_shape
        for window in check_windows(shape, source.min_value, source.max_value, windows):
            yield runner.run(window, self._stop_margin)

    def close(self) -> None:
        """Release threads and buffers."""
        self._engine = None
