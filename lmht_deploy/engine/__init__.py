"""The event-driven engine: a C++ core and its thin Python face."""

from __future__ import annotations

import importlib
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np

from lmht_deploy.errors import BackendError, DataError
from lmht_deploy.ir import Network
from lmht_deploy.result import Result, check_windows, macs

from .plan import Planner, image_shape

_core: Any
try:
    _core = importlib.import_module("._core", __name__)
except ImportError as error:  # a source tree that was not built
    _core, _reason = None, str(error)


def unavailable() -> str | None:
    """Why the engine cannot run here, with the command that mends it; None where it can."""
    return (
        None
        if _core is not None
        else f"the engine's extension was not built ({_reason}); run: pip install -e ."
    )


def isas() -> list[str]:
    """Names of the instruction sets that the engine has a tier for and this CPU runs, the best first."""
    _require()
    return _core.isas()


def _require() -> None:
    if reason := unavailable():
        raise BackendError(f"the event-driven engine cannot run here: {reason}")


TIERS = ("avx512vnni", "avx2", "generic")
"""Every tier there is, the best first."""

PATHS = ("ones", "shared", "graded", "weighted", "dense", "channelwise")
"""How the rows of a synapse are added: spike by spike; the same, but what two steps share once; graded spikes by an odd one and twice the rest;
spike by spike with their values; every input; or one weight a channel."""


@dataclass(frozen=True)
class LayerProfile:
    """What one layer did in a run: `seconds`, its spikes and SOPs (all windows), and `rows`: output rows by path."""

    name: str
    seconds: float
    spikes: int
    sops: int
    rows: dict[str, int]


class Model:
    """An integer network as the engine runs it; its packed weights are shared by every engine made from it.

    `isa` names the highest instruction set to use (see `isas`), by default the one in the
    environment variable LMHT_ISA, otherwise the best one of this CPU.
    `path` is for tests and benchmarks: "list", "shared" or "dense" where the engine would take whichever is cheapest, row by row.
    Raises BackendError for a float network, an unknown tier, a network beyond the engine's sizes or a missing extension.
    """

    def __init__(
        self,
        net: Network,
        *,
        isa: str | None = None,
        path: Literal["list", "shared", "dense"] | None = None,
    ) -> None:
        _require()
        if not net.integer:
            raise BackendError(
                "the event-driven engine runs integer networks, not float ones; see `lmht convert`"
            )
        self.net = net
        try:
            self._core = _core.Model(isa or "", path or "")
            self.places = Planner(net, self._core).places
        except (ValueError, OverflowError, MemoryError) as error:
            raise BackendError(
                f"the event-driven engine cannot run this network: {error}"
            ) from None
        self.macs = macs(net)

    @property
    def isa(self) -> str:
        """Name of the tier in use."""
        return self._core.isa

    @property
    def weight_bytes(self) -> int:
        """Bytes of packed weights and neuron parameters."""
        return self._core.weight_bytes


class Engine:
    """Runs a network on the CPU, computing what spikes touch; the same integers as `lmht_deploy.reference`.

    `threads` share the work of a window. Runs hold no lock of Python's. Raises BackendError as `Model` does.
    """

    def __init__(self, net: Network | Model, *, threads: int = 1) -> None:
        self.model = net if isinstance(net, Model) else Model(net)
        self._core = _threaded(self.model, threads)
        self._window = np.zeros(self.model.net.window_shape, np.int32)

    @property
    def buffer_bytes(self) -> int:
        """Bytes of all buffers; taken when the engine is made, none are added later."""
        return self._core.buffer_bytes

    def run(self, windows: np.ndarray, *, trace: bool = False) -> Result:
        """Run `windows` [B, T_in, ...] (integers within the input's range); with `trace`, keep every layer's k (int32).

        Raises DataError where the windows do not fit.
        """
        return self._run(windows, trace, None)

    def profile(self, windows: np.ndarray) -> list[LayerProfile]:
        """Run `windows` as `run` does, and say what each layer did and how long it took."""
        figures = np.zeros((len(self.model.places), 1 + len(PATHS)), np.int64)
        result = self._run(windows, False, figures)
        found = []
        for name, index in self.model.places.items():
            nanoseconds, *rows = figures[index].tolist()
            spikes, sops = (
                int(counts[name].sum()) if name in counts else 0
                for counts in (result.spikes, result.sops)
            )
            found.append(
                LayerProfile(
                    name,
                    nanoseconds * 1e-9,
                    spikes,
                    sops,
                    {path: n for path, n in zip(PATHS, rows, strict=True) if n},
                )
            )
        return found

    def push(self, events: np.ndarray) -> None:
        """Add events to the window in progress: integers [N, 4] of (step, channel, y, x), or [N, 2] of (step, unit).

        Events at one place add up. Raises DataError, and adds nothing, where one lies outside of the window or a count
        would exceed the input's range.
        """
        events = np.asarray(events)
        shape = self._window.shape
        if events.ndim != 2 or events.shape[1] != len(shape) or events.dtype.kind not in "iu":
            raise DataError(
                f"events must be integers [N, {len(shape)}], one column for each of {shape}, not {events.dtype} {list(events.shape)}"
            )
        if len(events) == 0:
            return
        if (events < 0).any() or (events >= shape).any():
            at = int(((events < 0) | (events >= shape)).any(1).argmax())
            raise DataError(
                f"event {at} at {tuple(events[at].tolist())} lies outside of the window {shape}"
            )
        places, counts = np.unique(np.ravel_multi_index(tuple(events.T), shape), return_counts=True)
        window = self._window.reshape(-1)
        most = int((window[places] + counts).max())
        if most > self.model.net.input.max_value:
            raise DataError(
                f"a place would count {most} events; the network's input takes at most {self.model.net.input.max_value}"
            )
        window[places] += counts.astype(np.int32)

    def finish_window(self, *, trace: bool = False) -> Result:
        """Run the window that was pushed (a batch of one) and begin an empty one."""
        result = self.run(self._window[None], trace=trace)
        self.reset()
        return result

    def reset(self) -> None:
        """Forget what was pushed since the last window."""
        self._window[...] = 0

    def _run(self, windows: np.ndarray, trace: bool, profile: np.ndarray | None) -> Result:
        net = self.model.net
        windows = check_windows(net.window_shape, net.input.min_value, net.input.max_value, windows)
        inputs = np.ascontiguousarray(windows, np.int32).reshape(
            len(windows), net.input.steps, *image_shape(net.input.shape)
        )
        traces = (
            [
                np.empty(
                    (len(windows), layer.steps, *image_shape(net.shapes[layer.name])), np.int32
                )
                for layer in net.neurons
            ]
            if trace
            else []
        )
        result = _result(
            self.model,
            len(windows),
            lambda *counts: self._core.run(self.model._core, inputs, *counts, traces, profile),
        )
        if not trace:
            return result
        return replace(
            result,
            traces={
                layer.name: k.reshape(*k.shape[:2], *net.shapes[layer.name])
                for layer, k in zip(net.neurons, traces, strict=True)
            },
        )


class Steps:
    """Runs windows that come step by step, and share steps: the currents of the first layer are computed when a step is there, once for all windows with it.

    The T_in steps are slots of a ring, silent at first. Only for models of which `Steps.fits`, and one window at a time. Raises BackendError as `Engine` does.
    """

    def __init__(self, model: Model, *, threads: int = 1) -> None:
        if not self.fits(model):
            raise BackendError(
                "the first layer of this network does not read its input step by step"
            )
        self.model = model
        self._core = _threaded(model, threads)
        self._core.begin_steps(model._core)

    @staticmethod
    def fits(model: Model) -> bool:
        """Whether the first layer alone reads the input, by one synapse with a current for each of its steps, none of which is negative."""
        return model._core.by_steps and model.net.input.min_value >= 0

    def put(self, step: int, counts: np.ndarray) -> None:
        """Fill slot `step` with `counts` int32 [C, H, W] or [N] (0..max_value, not looked at again)."""
        self._core.put_step(
            self.model._core, step, counts.reshape(image_shape(self.model.net.input.shape))
        )

    def run(self, first: int) -> Result:
        """Run the window whose oldest step is in slot `first` (a batch of one)."""
        return _result(
            self.model, 1, lambda *counts: self._core.run_steps(self.model._core, first, *counts)
        )


def _threaded(model: Model, threads: int) -> Any:
    """The core's engine for `model`."""
    if not 1 <= threads <= 1024:
        raise BackendError(f"the engine runs 1 to 1024 threads, not {threads}")
    return _core.Engine(model._core, threads)


def _result(model: Model, batch: int, run: Callable[..., None]) -> Result:
    """What `run(logits, spikes, events, sops, event_sops)` writes, and how long it takes."""
    net = model.net
    neurons = [layer.name for layer in net.neurons]
    synaptic = [*neurons, net.readout.name]
    logits = np.empty((batch, net.classes), np.int64)
    spikes, events = np.empty((2, batch, len(neurons)), np.int64)
    sops, event_sops = np.empty((2, batch, len(synaptic)), np.int64)
    start = time.perf_counter()
    run(logits, spikes, events, sops, event_sops)
    seconds = time.perf_counter() - start
    return Result(
        backend="event",
        logits=logits,
        scale=net.readout.scale,
        spikes=dict(zip(neurons, spikes.T, strict=True)),
        sops=dict(zip(synaptic, sops.T, strict=True)),
        events=dict(zip(neurons, events.T, strict=True)),
        event_sops=dict(zip(synaptic, event_sops.T, strict=True)),
        macs=model.macs.copy(),
        seconds=seconds,
        traces=None,
    )
