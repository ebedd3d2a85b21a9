"""Arrays that the core writes the integers of a run to, and the `Result` made of them."""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from lmht_deploy.ir import Network
from lmht_deploy.result import CountColumns, Result

from ._extension import core
from ._model import PATHS, Model
from ._plan import image_shape

Int64Array = npt.NDArray[np.int64]


class RunArrays:
    """The output arrays of one run of `batch` windows.

    Attributes:
        core: The same arrays as the core takes them.
        traces: int32 [B, T·S, C, H, W] per neuron layer; empty without `trace`.
        profile: int64 [layers, 1 + paths]: nanoseconds, then output rows by path; or None.
    """

    __slots__ = (
        "_event_sops",
        "_events",
        "_logits",
        "_model",
        "_sops",
        "_spikes",
        "_traced",
        "core",
        "profile",
        "traces",
    )

    def __init__(
        self, model: Model, batch: int, *, trace: bool = False, profile: bool = False
    ) -> None:
        # After a large network, the code around a run is not in the caches. So each call and each
        # line of memory takes time here.
        synaptic = len(model.columns)
        self._model, self._traced = model, trace
        self._logits = np.empty((batch, model.classes), np.int64)
        self._spikes = np.empty((batch, synaptic - 1), np.int64)
        self._events = np.empty((batch, synaptic - 1), np.int64)
        self._sops = np.empty((batch, synaptic), np.int64)
        self._event_sops = np.empty((batch, synaptic), np.int64)
        self.traces = _traces(model.net, batch) if trace else []
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

    def fill(
        self,
        run: Callable[..., None],
        source: npt.NDArray[np.int32] | int,
        *more: bool,
        steps: Int64Array | None = None,
    ) -> Result:
        """Let `run(source, *more, core)` write the arrays; return them with the time it took.

        Args:
            run: Writes `core`; raises ValueError for a count beyond the input's range.
            source: What it reads: windows of `Model.inputs`, or the slot of the oldest step.
            more: Its other arguments.
            steps: `Result.steps` of the result.

        Raises:
            DataError: A count of the windows lies beyond the input's range.
            ValueError: `run` refuses anything else.
        """
        model = self._model
        start = time.perf_counter()
        try:
            run(source, *more, self.core)
        except ValueError:
            if isinstance(source, np.ndarray):
                model.check(source)  # says which count it is
            raise
        seconds = time.perf_counter() - start
        return Result(
            backend="event",
            logits=self._logits,
            scale=model.scale,
            spikes=CountColumns(model.columns, self._spikes),
            sops=CountColumns(model.columns, self._sops),
            events=CountColumns(model.columns, self._events),
            event_sops=CountColumns(model.columns, self._event_sops),
            macs=model.macs.copy(),
            seconds=seconds,
            traces=self._traces_by_layer() if self._traced else None,
            steps=steps,
        )

    def _traces_by_layer(self) -> dict[str, np.ndarray]:
        net = self._model.net
        return {
            layer.name: k.reshape(*k.shape[:2], *net.shapes[layer.name])
            for layer, k in zip(net.neurons, self.traces, strict=True)
        }


def _traces(net: Network, batch: int) -> list[np.ndarray]:
    return [
        np.empty((batch, layer.steps, *image_shape(net.shapes[layer.name])), np.int32)
        for layer in net.neurons
    ]
