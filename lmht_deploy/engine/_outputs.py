"""Arrays that the core writes the integers of a run to, and the `Result` made of them."""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Iterator, Mapping
from itertools import islice

import numpy as np
import numpy.typing as npt

from lmht_deploy.result import Result

from ._extension import core
from ._model import PATHS, Model
from ._plan import image_shape

Int64Array = npt.NDArray[np.int64]


class LayerCounts(Mapping[str, np.ndarray]):
    """Counts per window by layer: columns of an array, whose views are made when they are read.

    To make all of them takes longer than a small network runs.
    """

    __slots__ = ("_columns", "_counts")

    def __init__(self, columns: Mapping[str, int], counts: Int64Array) -> None:
        """Name the columns of counts.

        Args:
            columns: Column by name of the layer, in order; names beyond those of `counts` are left
                out.
            counts: int64 [B, layers].
        """
        self._columns, self._counts = columns, counts

    def __getitem__(self, name: str) -> Int64Array:
        column = self._columns[name]
        if column >= len(self):
            raise KeyError(name)
        return self._counts[:, column]

    def __iter__(self) -> Iterator[str]:
        return islice(self._columns, len(self))

    def __len__(self) -> int:
        return len(self._counts[0])

    def __repr__(self) -> str:
        return repr(dict(self))


class RunArrays:
    """The output arrays of one run of `batch` windows.

    Attributes:
        core: The same arrays as the core takes them.
        traces: int32 [B, T·S, C, H, W] per neuron layer; empty without `trace`.
        profile: int64 [layers, 1 + paths]: nanoseconds, then output rows by path; or None.
    """

    def __init__(
        self, model: Model, batch: int, *, trace: bool = False, profile: bool = False
    ) -> None:
        net = model.net
        neurons, synaptic = len(net.neurons), len(net.neurons) + 1
        self._model, self._traced = model, trace
        self._macs, self._seconds = model.macs, 0.0
        self._logits = np.empty((batch, net.classes), np.int64)
        self._spikes, self._events = np.empty((2, batch, neurons), np.int64)
        self._sops, self._event_sops = np.empty((2, batch, synaptic), np.int64)
        self.traces = [
            np.empty((batch, layer.steps, *image_shape(net.shapes[layer.name])), np.int32)
            for layer in (net.neurons if trace else ())
        ]
        self.profile = np.zeros((len(model.places), 1 + len(PATHS)), np.int64) if profile else None
        self.core = core.Outputs(
            logits=self._logits,
            spikes=self._spikes,
            events=self._events,
            sops=self._sops,
            event_sops=self._event_sops,
            traces=self.traces,
            profile=self.profile,
        )

    def fill(self, run: Callable[[core.Outputs], None]) -> Result:
        """Let `run` write the arrays; return them as a `Result` with the wall time it took."""
        start = time.perf_counter()
        run(self.core)
        self._seconds = time.perf_counter() - start
        return self.result()

    def plus(self, later: RunArrays) -> RunArrays:
        """Return the integers of two runs of successive time-steps of the same windows.

        As `add_steps` of two results, without a sum for each layer: those take longer than a small
        network runs.
        """
        joined = copy.copy(later)
        for name in ("_logits", "_spikes", "_events", "_sops", "_event_sops"):
            setattr(joined, name, getattr(self, name) + getattr(later, name))
        joined._macs = {name: macs + later._macs[name] for name, macs in self._macs.items()}
        joined.traces = [
            np.concatenate(parts, axis=1) for parts in zip(self.traces, later.traces, strict=True)
        ]
        return joined

    def result(self) -> Result:
        """Return the arrays as a `Result`; `seconds` is the wall time of the last run."""
        columns = self._model.columns
        return Result(
            backend="event",
            logits=self._logits,
            scale=self._model.net.readout.scale,
            spikes=LayerCounts(columns, self._spikes),
            sops=LayerCounts(columns, self._sops),
            events=LayerCounts(columns, self._events),
            event_sops=LayerCounts(columns, self._event_sops),
            macs=self._macs.copy(),
            seconds=self._seconds,
            traces=self._traces_by_layer() if self._traced else None,
        )

    def _traces_by_layer(self) -> dict[str, np.ndarray]:
        net = self._model.net
        return {
            layer.name: k.reshape(*k.shape[:2], *net.shapes[layer.name])
            for layer, k in zip(net.neurons, self.traces, strict=True)
        }
