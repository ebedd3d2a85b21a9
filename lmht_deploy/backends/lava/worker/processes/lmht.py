"""LM-HT networks as Lava processes: exact integers, layers pipelined by windows.

A window has `steps` blocks of `substeps` Lava steps. Every synapse delays by one step. So at the
first step of a window a layer has received the last spike of the previous window: it mixes its
currents and begins to fire in the same step. The latency of a layer is one window, and all layers
share one phase.

Tensors are (C, H, W) or (N,), as in the NetX file. Constants travel in `proc_params` and results
through memory-mapped files, because `Var.get()` moves one element at a time.
"""

# mypy: disallow-subclassing-any=False

from __future__ import annotations

import functools
import json
import os
import signal
from collections.abc import Callable
from typing import Any, TypeVar

import numpy as np
from lava.magma.core.decorator import implements, requires, tag
from lava.magma.core.model.py.model import PyLoihiProcessModel
from lava.magma.core.model.py.ports import PyInPort, PyOutPort
from lava.magma.core.model.py.type import LavaPyType
from lava.magma.core.process.ports.ports import InPort, OutPort
from lava.magma.core.process.process import AbstractProcess
from lava.magma.core.resources import CPU
from lava.magma.core.sync.protocols.loihi_protocol import LoihiProtocol
from worker.pooling import pooled

Shape = tuple[int, ...]
Model = TypeVar("Model", bound=type)


def model(process: type) -> Callable[[Model], Model]:
    """Decorate the model that runs `process` on a CPU.

    An exception in the model ends the whole run and is reported.
    """

    def decorate(cls: Model) -> Model:
        run_spk = cls.run_spk  # type: ignore[attr-defined]

        @functools.wraps(run_spk)
        def guarded(self: Any) -> None:
            try:
                run_spk(self)
            except BaseException as error:
                fail(f"{type(error).__name__} in {process.__name__}: {error}")

        cls.run_spk = guarded  # type: ignore[attr-defined]
        decorated: Model = tag("fixed_pt")(cls)
        decorated = implements(proc=process, protocol=LoihiProtocol)(requires(CPU)(decorated))
        return decorated

    return decorate


def fail(reason: str) -> None:
    """Write `reason` to failure.json and end the process group; Lava would wait forever."""
    partial = f"failure.{os.getpid()}.partial"
    try:
        with open(partial, "w") as file:
            json.dump({"reason": reason}, file)
        os.replace(partial, "failure.json")
    finally:  # also where the folder is gone
        os.killpg(0, signal.SIGTERM)


class Source(AbstractProcess):
    """Sends windows: input step j of a window at the first step of block j.

    Args:
        shape: Shape of one input step.
        windows: Path of an integer .npy file [B, T_in, *shape].
        steps: Blocks per window.
        substeps: Lava steps per block.
    """

    def __init__(self, *, shape: Shape, **parameters: Any) -> None:
        super().__init__(shape=shape, **parameters)
        self.s_out = OutPort(shape=shape)


@model(Source)
class SourceModel(PyLoihiProcessModel):
    """Sends one input step per block."""

    s_out: PyOutPort = LavaPyType(PyOutPort.VEC_DENSE, np.int32)

    def __init__(self, proc_params: dict[str, Any]) -> None:
        super().__init__(proc_params)
        self.windows = np.load(proc_params["windows"], mmap_mode="r")
        self.steps, self.substeps = proc_params["steps"], proc_params["substeps"]
        self.nothing = np.zeros(proc_params["shape"], np.int32)

    def run_spk(self) -> None:
        """Run one Lava step."""
        window, phase = divmod(self.time_step - 1, self.steps * self.substeps)
        block, substep = divmod(phase, self.substeps)
        sends = window < len(self.windows) and substep == 0 and block < self.windows.shape[1]
        self.s_out.send(self.windows[window, block].astype(np.int32) if sends else self.nothing)


class Synapse(AbstractProcess):
    """Convolution or dense synapse of integer spikes.

    Args:
        source_shape: Shape of the source.
        shape: Shape of the target.
        weight: [C_out, C_in/groups, kh, kw] (convolution) or [N_out, C·H·W] (dense).
        pools: Pooling before the weights, see `worker.pooling`; None for none.
        delay: Steps before the current arrives, in addition to the one of every synapse.
        extent: Rows and columns of the source that a convolution reads.
        stride: (vertical, horizontal), of a convolution; likewise `padding` and `dilation`.
        groups: Groups of a convolution.
    """

    def __init__(self, *, source_shape: Shape, shape: Shape, **parameters: Any) -> None:
        super().__init__(source_shape=source_shape, shape=shape, **parameters)
        self.s_in = InPort(shape=source_shape)
        self.a_out = OutPort(shape=shape)


@model(Synapse)
class SynapseModel(PyLoihiProcessModel):
    """Sums in float64, exact below 2^53; all sums of a network are proved to be below 2^31."""

    s_in: PyInPort = LavaPyType(PyInPort.VEC_DENSE, np.int32)
    a_out: PyOutPort = LavaPyType(PyOutPort.VEC_DENSE, np.int32)

    def __init__(self, proc_params: dict[str, Any]) -> None:
        super().__init__(proc_params)
        for name in ("shape", "extent", "stride", "padding", "dilation", "groups"):
            setattr(self, "_" + name, proc_params[name])
        self.weight = np.ascontiguousarray(proc_params["weight"], np.float64)
        self.pools = proc_params["pools"]
        self.nothing = np.zeros(self._shape, np.int32)
        self.queue = [self.nothing] * (1 + proc_params["delay"])

    def run_spk(self) -> None:
        """Run one Lava step."""
        slot = self.time_step % len(self.queue)
        self.a_out.send(self.queue[slot])
        spikes = self.s_in.recv()
        self.queue[slot] = self.current(spikes.astype(np.float64)) if spikes.any() else self.nothing

    def current(self, k: np.ndarray) -> np.ndarray:
        """Return the current of spikes k, int32 of the target's shape."""
        k = pooled(k, self.pools)
        current = self.weight @ k.ravel() if self.weight.ndim == 2 else self.convolve(k)
        return current.reshape(self._shape).astype(np.int32)

    def convolve(self, k: np.ndarray) -> np.ndarray:
        """Return the convolution of k by one matrix product per group."""
        (h, w), (sh, sw), (ph, pw), (dh, dw) = (
            self._extent,
            self._stride,
            self._padding,
            self._dilation,
        )
        outputs, _, kh, kw = self.weight.shape
        seen = np.zeros((k.shape[0], k.shape[1] + 2 * ph, k.shape[2] + 2 * pw))
        seen[:, ph : ph + h, pw : pw + w] = k[:, :h, :w]
        taps = np.lib.stride_tricks.sliding_window_view(
            seen, (dh * (kh - 1) + 1, dw * (kw - 1) + 1), axis=(1, 2)
        )[:, ::sh, ::sw, ::dh, ::dw]
        groups, channels = self._groups, len(k) // self._groups
        columns = (
            taps.reshape(groups, channels, *taps.shape[1:3], kh, kw)
            .transpose(0, 1, 4, 5, 2, 3)
            .reshape(groups, channels * kh * kw, -1)
        )
        current: np.ndarray = self.weight.reshape(groups, outputs // groups, -1) @ columns
        return current


class LMHT(AbstractProcess):
    """LM-HT neurons: I[t] enters at the start of block t, and spikes leave in its first steps.

    Args:
        shape: Shape of the layer.
        steps: Blocks per window.
        substeps: Lava steps per block.
        omega: T-GIM [T, T_in], integers.
        theta: Threshold; like `bias` and `v0` integers of `shape`.
        bias: Bias, added to the current of each input step.
        v0: Initial potential.
        leak: Leak per block in units of 2^-leak_bits; products are truncated toward zero.
        leak_bits: See `leak`.
        fires: Steps of a block in which neurons may fire (L levels or S sub-steps; graded: S).
        max_spike: Largest spike (1; graded: L).
        levels: L.
        reset: What spikes do to the potential: "subtract", "subtract-late" or "zero".
        floor: Lower bound of the potential, integers of `shape`; None for none.
        uniform: Whether I[t] enters at each of these steps, not only at the first.
        depth: Windows between the input and the output of this layer.
        record: Path of an int32 .npy file [B, slots, *shape].
        slot: Slot of the record, per step of a window, to which spikes are added.
    """

    PARAMETERS = (
        *("steps", "substeps", "omega", "theta", "bias", "v0", "leak", "leak_bits"),
        *("fires", "max_spike", "levels", "reset", "floor", "uniform", "depth", "slot"),
    )

    def __init__(self, *, shape: Shape, **parameters: Any) -> None:
        super().__init__(shape=shape, **parameters)
        self.a_in = InPort(shape=shape)
        self.s_out = OutPort(shape=shape)


@model(LMHT)
class LMHTModel(PyLoihiProcessModel):
    """Adds currents over a window, and fires in the next one."""

    a_in: PyInPort = LavaPyType(PyInPort.VEC_DENSE, np.int32)
    s_out: PyOutPort = LavaPyType(PyOutPort.VEC_DENSE, np.int32)

    def __init__(self, proc_params: dict[str, Any]) -> None:
        super().__init__(proc_params)
        for name in LMHT.PARAMETERS:
            setattr(self, "_" + name, proc_params[name])
        self.window = self._steps * self._substeps
        self.record = np.load(proc_params["record"], mmap_mode="r+")
        shape = proc_params["shape"]
        self.current = np.zeros((self._steps, *shape), np.int64)
        self.drive = np.zeros((len(self._omega), *shape), np.int64)
        self.v = np.zeros(shape, np.int64)
        self.waiting = np.zeros(shape, np.int64)

    def run_spk(self) -> None:
        """Run one Lava step."""
        now = self.time_step - 1
        phase = now % self.window
        self.current[(now - 1) % self.window // self._substeps] += self.a_in.recv()
        if phase == 0:
            self.begin_window()
        block, substep = divmod(phase, self._substeps)
        spikes = np.zeros_like(self.v)
        if block < len(self.drive) and substep < self._fires:
            spikes = self.fire(block, substep)
        self.s_out.send(spikes.astype(np.int32))
        window = now // self.window - self._depth
        if 0 <= window < len(self.record):
            self.record[window, self._slot[phase]] += spikes

    def begin_window(self) -> None:
        """Mix the currents of the previous window, and set v to v0."""
        steps_in = self._omega.shape[1]
        self.drive = np.tensordot(self._omega, self.current[:steps_in] + self._bias, axes=1)
        self.current[:] = 0
        self.v[:] = self._v0

    def fire(self, block: int, substep: int) -> np.ndarray:
        """Return the spikes of one step, and reset the potentials."""
        if substep == 0:
            late = self.count(self._levels) * self._theta if self._reset == "subtract-late" else 0
            product = self.v * self._leak
            self.v = np.sign(product) * (np.abs(product) >> self._leak_bits) - late
        if substep == 0 or self._uniform:
            self.v += self.drive[block]
            if self._floor is not None:
                self.v = np.maximum(self.v, self._floor)
        if self._reset == "subtract":
            spikes = self.count(self._max_spike)
            self.v -= spikes * self._theta
            return spikes
        return self.send(substep)

    def send(self, substep: int) -> np.ndarray:
        """Return the next spikes of the count that the first step of the time-step computed."""
        if substep == 0:
            self.waiting = self.count(self._levels)
            if self._reset == "zero":
                self.v[self.waiting > 0] = 0
        spikes: np.ndarray = np.minimum(self.waiting, self._max_spike)
        self.waiting = self.waiting - spikes
        return spikes

    def count(self, most: int) -> np.ndarray:
        """Return how many thresholds the potential reaches."""
        found: np.ndarray = np.clip(self.v // self._theta, 0, most)
        return found


class Readout(AbstractProcess):
    """Sums currents over a window into int64 logits.

    Args:
        shape: Shape of the layer, (classes,).
        window: Lava steps per window.
        bias: Integers [classes], added once per window.
        depth: Windows between the input and the last currents.
        record: Path of an int64 .npy file [B, classes].
    """

    def __init__(self, *, shape: Shape, **parameters: Any) -> None:
        super().__init__(shape=shape, **parameters)
        self.a_in = InPort(shape=shape)


@model(Readout)
class ReadoutModel(PyLoihiProcessModel):
    """Adds the currents of a window to its logits."""

    a_in: PyInPort = LavaPyType(PyInPort.VEC_DENSE, np.int32)

    def __init__(self, proc_params: dict[str, Any]) -> None:
        super().__init__(proc_params)
        self.window, self.depth = proc_params["window"], proc_params["depth"]
        self.record = np.load(proc_params["record"], mmap_mode="r+")
        self.record[:] = proc_params["bias"]

    def run_spk(self) -> None:
        """Run one Lava step."""
        current = self.a_in.recv()
        # a current that arrives at step t was sent at t - 1
        window = (self.time_step - 2) // self.window - self.depth
        if 0 <= window < len(self.record):
            self.record[window] += current
