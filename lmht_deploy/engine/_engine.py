"""Inference of whole windows."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from lmht_deploy._arguments import as_array
from lmht_deploy._threads import check_threads
from lmht_deploy.errors import DataError
from lmht_deploy.ir import Network
from lmht_deploy.result import Result

from ._extension import core
from ._model import PATHS, Model
from ._outputs import RunArrays

Integers = npt.NDArray[np.integer]


@dataclass(frozen=True)
class LayerProfile:
    """What one layer did in a run, summed over the windows.

    Attributes:
        name: Name of the layer.
        seconds: Wall time.
        spikes: Spikes that its neurons fired; 0 for a layer without neurons.
        sops: Synaptic operations; 0 for a layer without synapses.
        rows: Number of output rows by path (see `PATHS`), paths that were not taken left out.
    """

    name: str
    seconds: float
    spikes: int
    sops: int
    rows: dict[str, int]


class Engine:
    """Runs windows of a network on the CPU; returns the integers of `lmht_deploy.reference`.

    Runs release the global interpreter lock. An engine runs one batch at a time: a second caller
    waits. Engines that share a model run concurrently.

    Example:
        >>> runner = Engine(net, threads=2)
        >>> result = runner.run(windows)
    """

    def __init__(self, net: Network | Model, *, threads: int = 1) -> None:
        """Allocate the buffers and start the threads.

        Args:
            net: An integer network, or a model that is already packed.
            threads: Number of threads. Of a batch, each thread runs windows of its own; the windows
                that are left over, fewer than threads, are shared row by row.

        Raises:
            BackendError: As `Model` does, or for a number of threads outside 1 to 1024.
        """
        self._model = net if isinstance(net, Model) else Model(net)
        self._core = core.Engine(self._model.core, check_threads(threads, "the engine"))
        self._window = np.zeros(self._model.net.window_shape, np.int32)

    @property
    def model(self) -> Model:
        """The model that this engine runs."""
        return self._model

    @property
    def buffer_bytes(self) -> int:
        """Bytes of all buffers.

        Those for single windows are allocated when the engine is made. Those for threads that run
        windows of their own are added by the first batch of at least as many windows as threads.
        """
        return self._core.buffer_bytes

    @property
    def memory_plan(self) -> str:
        """Table of all buffers: offset, bytes, the layers that use it (both included), name."""
        return self._core.memory_plan

    def run(self, windows: Integers, *, trace: bool = False) -> Result:
        """Run a batch of windows.

        Args:
            windows: Integers within the input's range, [B, T_in, ...].
            trace: Whether to keep the spikes of every layer.

        Returns:
            Logits, spikes and SOPs per window; with `trace` also `Result.traces` (int32).

        Raises:
            DataError: If shape, dtype or range of the windows do not fit the network's input.
        """
        inputs = self._model.inputs(windows)
        return RunArrays(self._model, len(inputs), trace=trace).fill(self._core.run, inputs)

    def profile(self, windows: Integers) -> list[LayerProfile]:
        """Run a batch of windows as `run` does, and measure every layer.

        Args:
            windows: Integers within the input's range, [B, T_in, ...].

        Returns:
            One entry per layer, in the order of the network.

        Raises:
            DataError: If the windows do not fit the network's input.
        """
        inputs = self._model.inputs(windows)
        arrays = RunArrays(self._model, len(inputs), profile=True)
        result = arrays.fill(self._core.run, inputs)
        assert arrays.profile is not None
        return [
            _profile(name, arrays.profile[index], result)
            for name, index in self._model.places.items()
        ]

    def push(self, events: Integers) -> None:
        """Add events to the window in progress. Events at the same place add up.

        Args:
            events: Integers [N, 4] of (step, channel, y, x), or [N, 2] of (step, unit) for a flat
                input.

        Raises:
            DataError: If an event lies outside of the window or a count exceeds the input's range.
                No event of the call is added then.
        """
        events = as_array("events", events)
        _check_events(events, self._window.shape)
        if len(events) == 0:
            return
        at = np.ravel_multi_index(tuple(events.T), self._window.shape)
        places, counts = np.unique(at, return_counts=True)
        window = self._window.reshape(-1)
        largest, limit = int((window[places] + counts).max()), self._model.net.input.max_value
        if largest > limit:
            raise DataError(
                f"a place would count {largest} events; the network's input takes at most {limit}"
            )
        window[places] += counts.astype(np.int32)

    def finish_window(self, *, trace: bool = False) -> Result:
        """Run the window of all events pushed so far (a batch of one), and begin an empty one.

        Args:
            trace: Whether to keep the spikes of every layer.

        Returns:
            The result of the window.
        """
        result = self.run(self._window[None], trace=trace)
        self.reset()
        return result

    def reset(self) -> None:
        """Discard the events pushed since the last window."""
        self._window[...] = 0


def _profile(name: str, figures: npt.NDArray[np.int64], result: Result) -> LayerProfile:
    nanoseconds, *rows = figures.tolist()
    spikes, sops = (
        int(counts[name].sum()) if name in counts else 0 for counts in (result.spikes, result.sops)
    )
    by_path = {path: n for path, n in zip(PATHS, rows, strict=True) if n}
    return LayerProfile(name, nanoseconds * 1e-9, spikes, sops, by_path)


def _check_events(events: Integers, shape: tuple[int, ...]) -> None:
    if events.ndim != 2 or events.shape[1] != len(shape) or events.dtype.kind not in "iu":
        raise DataError(
            f"events must be integers [N, {len(shape)}], one column for each of {shape}, "
            f"not {events.dtype} {list(events.shape)}"
        )
    outside = ((events < 0) | (events >= shape)).any(1)
    if outside.any():
        at = int(outside.argmax())
        raise DataError(
            f"event {at} at {tuple(events[at].tolist())} lies outside of the window {shape}"
        )
