"""Arrays that the core writes the integers of a run to, and the `Result` made of them."""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np
import numpy.typing as npt

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

    def __init__(
        self, model: Model, batch: int, *, trace: bool = False, profile: bool = False
    ) -> None:
        net = model.net
        neurons, synaptic = len(net.neurons), len(net.neurons) + 1
        self._model, self._traced = model, trace
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

    def fill(
        self,
        run: Callable[[core.Outputs], None],
        inputs: npt.NDArray[np.int32] | None = None,
        steps: Int64Array | None = None,
    ) -> Result:
        """Let `run` write the arrays; return them as a `Result` with the wall time it took.

        Args:
            run: Writes; raises ValueError for a count beyond the input's range.
            inputs: The windows that it reads, of `Model.inputs`; None if their range is known.
            steps: `Result.steps`.

        Raises:
            DataError: A count lies beyond the input's range.
        """
        start = time.perf_counter()
        try:
            run(self.core)
        except ValueError:
            if inputs is not None:
                self._model.check(inputs)  # says which count it is
            raise
        return self._result(time.perf_counter() - start, steps)

    def _result(self, seconds: float, steps: Int64Array | None) -> Result:
        columns = self._model.columns
        return Result(
            backend="event",
            logits=self._logits,
            scale=self._model.net.readout.scale,
            spikes=CountColumns(columns, self._spikes),
            sops=CountColumns(columns, self._sops),
            events=CountColumns(columns, self._events),
            event_sops=CountColumns(columns, self._event_sops),
            macs=self._model.macs.copy(),
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
