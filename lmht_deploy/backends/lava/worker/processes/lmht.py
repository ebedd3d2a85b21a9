"""LM-HT networks as Lava processes: exact integers, layers pipelined by windows.

A window is `steps` blocks of `substeps` Lava steps. Every synapse delays by one step, so that at the first step of a
window a layer has received the last spike of the window before: it mixes its currents and begins to fire in the very
same step. A layer's latency is one window; all layers share one phase (docs/lava.md).

Tensors are (C, H, W) or (N,), as in the NetX file. Constants travel in `proc_params`, results through memory-mapped
files: `Var.get()` moves one element at a time.
"""

import functools
import json
import os
import signal

import numpy as np
from lava.magma.core.decorator import implements, requires, tag
from lava.magma.core.model.py.model import PyLoihiProcessModel
from lava.magma.core.model.py.ports import PyInPort, PyOutPort
from lava.magma.core.model.py.type import LavaPyType
from lava.magma.core.process.ports.ports import InPort, OutPort
from lava.magma.core.process.process import AbstractProcess
from lava.magma.core.resources import CPU
from lava.magma.core.sync.protocols.loihi_protocol import LoihiProtocol


def model(process):
    """Decorator of the model that runs `process` on a CPU; an exception in it ends the whole run, with a reason."""

    def decorate(cls):
        run_spk = cls.run_spk

        @functools.wraps(run_spk)
        def guarded(self):
            try:
                run_spk(self)
            except BaseException as error:
                fail(f"{type(error).__name__} in {process.__name__}: {error}")

        cls.run_spk = guarded
        return implements(proc=process, protocol=LoihiProtocol)(requires(CPU)(tag("fixed_pt")(cls)))

    return decorate


def fail(reason):
    """Say why in failure.json of the working directory and end the process group: Lava would wait for ever."""
    partial = f"failure.{os.getpid()}.partial"
    with open(partial, "w") as file:
        json.dump({"reason": reason}, file)
    os.replace(partial, "failure.json")
    os.killpg(0, signal.SIGTERM)


class Source(AbstractProcess):
    """Sends windows: input step j of window n at the first step of its block.

    windows   path of an integer .npy [B, T_in, *shape]
    """

    def __init__(self, *, shape, windows, steps, substeps):
        super().__init__(shape=shape, windows=windows, steps=steps, substeps=substeps)
        self.s_out = OutPort(shape=shape)


@model(Source)
class SourceModel(PyLoihiProcessModel):
    s_out: PyOutPort = LavaPyType(PyOutPort.VEC_DENSE, np.int32)

    def __init__(self, proc_params):
        super().__init__(proc_params)
        self.windows = np.load(proc_params["windows"], mmap_mode="r")
        self.steps, self.substeps = proc_params["steps"], proc_params["substeps"]
        self.nothing = np.zeros(proc_params["shape"], np.int32)

    def run_spk(self):
        window, phase = divmod(self.time_step - 1, self.steps * self.substeps)
        block, substep = divmod(phase, self.substeps)
        sends = window < len(self.windows) and substep == 0 and block < self.windows.shape[1]
        self.s_out.send(self.windows[window, block].astype(np.int32) if sends else self.nothing)


class Synapse(AbstractProcess):
    """Convolution (`weight` [C_out, C_in/groups, kh, kw]) or dense synapse (`weight` [N_out, C·H·W]) of integer spikes.

    delay    further steps before the current arrives, beside the one that every synapse takes
    extent   rows and columns of the source that it reads
    """

    def __init__(
        self, *, source_shape, shape, weight, delay, extent, stride, padding, dilation, groups
    ):
        super().__init__(
            source_shape=source_shape,
            shape=shape,
            weight=weight,
            delay=delay,
            extent=extent,
            stride=stride,
            padding=padding,
            dilation=dilation,
            groups=groups,
        )
        self.s_in = InPort(shape=source_shape)
        self.a_out = OutPort(shape=shape)


@model(Synapse)
class SynapseModel(PyLoihiProcessModel):
    """Sums in float64, exact below 2^53; NetX files hold networks proved to stay below 2^31."""

    s_in: PyInPort = LavaPyType(PyInPort.VEC_DENSE, np.int32)
    a_out: PyOutPort = LavaPyType(PyOutPort.VEC_DENSE, np.int32)

    def __init__(self, proc_params):
        super().__init__(proc_params)
        for name in ("shape", "extent", "stride", "padding", "dilation", "groups"):
            setattr(self, "_" + name, proc_params[name])
        self.weight = np.ascontiguousarray(proc_params["weight"], np.float64)
        self.nothing = np.zeros(self._shape, np.int32)
        self.queue = [self.nothing] * (1 + proc_params["delay"])

    def run_spk(self):
        slot = self.time_step % len(self.queue)
        self.a_out.send(self.queue[slot])
        spikes = self.s_in.recv()
        self.queue[slot] = self.current(spikes.astype(np.float64)) if spikes.any() else self.nothing

    def current(self, k):
        current = self.weight @ k.ravel() if self.weight.ndim == 2 else self.convolve(k)
        return current.reshape(self._shape).astype(np.int32)

    def convolve(self, k):
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
        channels, places = len(k) // self._groups, taps.shape[1:3]
        columns = (
            taps.reshape(self._groups, channels, *places, kh, kw)
            .transpose(0, 1, 4, 5, 2, 3)
            .reshape(self._groups, channels * kh * kw, -1)
        )
        return self.weight.reshape(self._groups, outputs // self._groups, -1) @ columns


class LMHT(AbstractProcess):
    """LM-HT neurons: at the start of every block the current I enters, and at the first `fires` steps of it spikes leave.

    omega               T-GIM [T, T_in], integers
    theta, bias, v0     integers, of the neurons' shape
    leak                what stays of v at every block, in units of 2^-leak_bits, truncated towards zero
    fires               steps of a block at which the neurons may fire (L levels or S sub-steps; graded: S)
    most                largest spike (1; graded: L levels)
    uniform             I enters at each of these steps, not at the first alone
    depth               windows between the input and this layer's output
    record              path of an int32 .npy [B, slots, *shape] that takes the spikes of step p of a window in slot[p]
    """

    def __init__(
        self,
        *,
        shape,
        steps,
        substeps,
        omega,
        theta,
        bias,
        v0,
        leak,
        leak_bits,
        fires,
        most,
        uniform,
        depth,
        record,
        slot,
    ):
        super().__init__(
            shape=shape,
            steps=steps,
            substeps=substeps,
            omega=omega,
            theta=theta,
            bias=bias,
            v0=v0,
            leak=leak,
            leak_bits=leak_bits,
            fires=fires,
            most=most,
            uniform=uniform,
            depth=depth,
            record=record,
            slot=slot,
        )
        self.a_in = InPort(shape=shape)
        self.s_out = OutPort(shape=shape)


@model(LMHT)
class LMHTModel(PyLoihiProcessModel):
    a_in: PyInPort = LavaPyType(PyInPort.VEC_DENSE, np.int32)
    s_out: PyOutPort = LavaPyType(PyOutPort.VEC_DENSE, np.int32)

    def __init__(self, proc_params):
        super().__init__(proc_params)
        for name in (
            "steps",
            "substeps",
            "omega",
            "theta",
            "bias",
            "v0",
            "leak",
            "leak_bits",
            "fires",
            "most",
            "uniform",
            "depth",
            "slot",
        ):
            setattr(self, "_" + name, proc_params[name])
        self.window = self._steps * self._substeps
        self.record = np.load(proc_params["record"], mmap_mode="r+")
        shape = proc_params["shape"]
        self.current = np.zeros((self._steps, *shape), np.int64)
        self.drive = np.zeros((len(self._omega), *shape), np.int64)
        self.v = np.zeros(shape, np.int64)

    def run_spk(self):
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

    def begin_window(self):
        steps_in = self._omega.shape[1]
        self.drive = np.tensordot(self._omega, self.current[:steps_in] + self._bias, axes=1)
        self.current[:] = 0
        self.v[:] = self._v0

    def fire(self, block, substep):
        if substep == 0:
            product = self.v * self._leak
            self.v = np.sign(product) * (np.abs(product) >> self._leak_bits)
        if substep == 0 or self._uniform:
            self.v += self.drive[block]
        spikes = np.clip(self.v // self._theta, 0, self._most)
        self.v -= spikes * self._theta
        return spikes


class Readout(AbstractProcess):
    """Sums currents, and `bias` at each of T blocks, over a window into int64 logits.

    depth    windows between the input and the last currents
    record   path of an int64 .npy [B, classes]
    """

    def __init__(self, *, shape, window, bias, depth, record):
        super().__init__(shape=shape, window=window, bias=bias, depth=depth, record=record)
        self.a_in = InPort(shape=shape)


@model(Readout)
class ReadoutModel(PyLoihiProcessModel):
    a_in: PyInPort = LavaPyType(PyInPort.VEC_DENSE, np.int32)

    def __init__(self, proc_params):
        super().__init__(proc_params)
        self.window, self.depth = proc_params["window"], proc_params["depth"]
        self.record = np.load(proc_params["record"], mmap_mode="r+")
        self.record[:] = proc_params["bias"]

    def run_spk(self):
        current = self.a_in.recv()
        window = (
            self.time_step - 2
        ) // self.window - self.depth  # a current of step t was sent at t - 1
        if 0 <= window < len(self.record):
            self.record[window] += current
