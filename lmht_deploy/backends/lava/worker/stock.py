"""NetX files in unmodified lava-dl 0.6: its own network of its own processes, recorded."""

from __future__ import annotations

import functools
import threading
import time
from collections.abc import Callable
from typing import Any

import numpy as np
from lava.lib.dl.netx import hdf5
from lava.magma.core.run_conditions import RunSteps
from lava.magma.core.run_configs import Loihi2SimCfg
from lava.proc import io
from lava.proc.conv import utils
from lava.proc.conv.models import PyConvModelFixed
from lava.proc.lif.models import AbstractPyLifModelFixed
from lava.proc.sdn.models import PyDeltaModelFixed, PySigmaDeltaModelFixed, PySigmaModelFixed
from lava.proc.sdn.process import Delta, Sigma, SigmaDelta


def run(
    job: dict[str, Any], watching: threading.Lock, show: Callable[[int], None]
) -> tuple[float, int]:
    """Run every sample of every entry of job["stock"]; returns seconds and Lava steps.

    An entry is {"net", "layers", "inputs", "steps", "graded", "states", "reset_interval",
    "reset_offset", "out"}. `inputs` is an .npy file of spikes or values [B, steps, *shape] or,
    where the input layer has CUBA neurons, of their biases [B, *shape]. The spikes or messages of
    layer i, and its u and v if `states`, are written to <out>-<i>-spikes.npy and so on,
    [B, steps, *shape]. How often u, v or the sum of a convolution left its 24 bits is written to
    <out>-<i>-wrapped.npy, -clipped.npy and -sums.npy, [B].

    Args:
        job: The job.
        watching: Lock that is held while processes are joined.
        show: Called with the number of finished samples.
    """
    watch_neurons()
    for model in (PyDeltaModelFixed, PySigmaModelFixed, PySigmaDeltaModelFixed):
        watch_messages(model)
    watch_sums()
    if job["fast_conv"]:
        utils.conv = functools.partial(convolve, utils.conv)
    seconds, steps, samples = 0.0, 0, 0
    for entry in job["stock"]:
        inputs = np.load(entry["inputs"])
        for sample in range(len(inputs)):
            net, needed = run_sample(entry, inputs, sample)
            with watching:
                net.stop()
            seconds += needed
            steps += entry["steps"]
            samples += 1
            show(samples)
    return seconds, steps


def run_sample(entry: dict[str, Any], inputs: np.ndarray, sample: int) -> tuple[Any, float]:
    """Run one sample in a network of its own; returns the network and the seconds."""
    options = {"reset_interval": entry["reset_interval"], "reset_offset": entry["reset_offset"]}
    options["num_layers"] = entry["layers"]
    net = hdf5.Network(entry["net"], input_message_bits=16 if entry["graded"] else 0, **options)
    entry_layer = isinstance(net.in_layer, hdf5.Input)
    if entry_layer and not isinstance(net.in_layer.neuron, Delta):
        net.in_layer.neuron.bias_mant.init = inputs[sample].T
    else:
        source = io.source.RingBuffer(data=inputs[sample].T.astype(int))
        source.s_out.connect(net.in_layer.neuron.a_in if entry_layer else net.inp)
    for index, layer in enumerate(net.layers):
        record = f"{entry['out']}-{index}"
        if sample == 0:
            shape = (len(inputs), entry["steps"], *layer.neuron.s_out.shape[::-1])
            spike = np.int32 if isinstance(layer.neuron, (Delta, Sigma, SigmaDelta)) else bool
            for name, dtype in (("spikes", spike), ("u", np.int32), ("v", np.int32)):
                if name == "spikes" or entry["states"]:
                    np.lib.format.open_memmap(f"{record}-{name}.npy", "w+", dtype, shape).flush()
            for name in ("wrapped", "clipped", "sums"):
                create_counts(f"{record}-{name}.npy", len(inputs))
        layer.neuron.proc_params["record"] = (record, sample, entry["states"])
        if hasattr(layer, "synapse"):
            layer.synapse.proc_params["record"] = (record, sample, entry["steps"])
    net.create_runtime(run_cfg=Loihi2SimCfg(select_tag="fixed_pt"))
    start = time.perf_counter()
    net.run(condition=RunSteps(entry["steps"]))
    return net, time.perf_counter() - start


def create_counts(path: str, samples: int) -> None:
    """Create a file of one count per sample, which processes share through memory mapping."""
    np.lib.format.open_memmap(path, "w+", np.int64, (samples,)).flush()


def add_count(self: Any, name: str, count: np.integer[Any]) -> None:
    """Add to a count of the layer of a process model."""
    record, sample, _ = self.proc_params["record"]
    if count:
        np.load(f"{record}-{name}.npy", mmap_mode="r+")[sample] += count


def watch_sums() -> None:
    """Make convolutions count the sums that leave 24 bits and arrive within the run."""
    clamp = PyConvModelFixed.clamp_precision

    def clamp_and_count(self: Any, x: np.ndarray) -> np.ndarray:
        kept: np.ndarray = clamp(self, x)
        if self.time_step < self.proc_params["record"][2]:  # it arrives one step later
            add_count(self, "sums", np.sum(kept != x))
        return kept

    PyConvModelFixed.clamp_precision = clamp_and_count


def decayed(state: np.ndarray, keep: int) -> np.ndarray:
    """Return trunc(state * keep / 4096), int64."""
    product = state.astype(np.int64) * keep
    rounded: np.ndarray = np.sign(product) * (np.abs(product) >> 12)
    return rounded


def watch_neurons() -> None:
    """Make neurons record u, v and spikes when they reset v, the last operation of a step.

    `Var.get()` would take 30 us per element. Neurons also count how often u and v leave 24 bits.
    """
    reset = AbstractPyLifModelFixed.reset_voltage
    update = AbstractPyLifModelFixed.subthr_dynamics

    def update_and_count(self: Any, activation_in: np.ndarray) -> None:
        limit = self.max_uv_val
        u = decayed(self.u, self.decay_unity - (self.du + self.ds_offset))
        u += activation_in.astype(np.int64) << self.act_shift
        v = decayed(self.v, self.decay_unity - (self.dv + self.dm_offset)) + self.effective_bias
        update(self, activation_in)
        add_count(self, "wrapped", np.sum((u > limit) | (u <= -limit)))
        add_count(self, "clipped", np.sum(np.abs(v + self.u) >= limit))

    AbstractPyLifModelFixed.subthr_dynamics = update_and_count

    def reset_and_record(self: Any, spike_vector: np.ndarray) -> None:
        reset(self, spike_vector)
        record, sample, states = self.proc_params["record"]
        values = (
            {"spikes": spike_vector, "u": self.u, "v": self.v}
            if states
            else {"spikes": spike_vector}
        )
        if not hasattr(self, "files"):
            self.files = {name: np.load(f"{record}-{name}.npy", mmap_mode="r+") for name in values}
        for name, value in values.items():
            self.files[name][sample, self.time_step - 1] = np.asarray(value).T

    AbstractPyLifModelFixed.reset_voltage = reset_and_record


def watch_messages(model: Any) -> None:
    """Make sigma-delta neurons record their messages, sigma and activation."""
    run_spk = model.run_spk

    def run_and_record(self: Any) -> None:
        sent: list[np.ndarray] = []
        send = self.s_out.send

        def send_and_keep(messages: np.ndarray) -> None:
            sent.append(messages)
            send(messages)

        self.s_out.send = send_and_keep
        run_spk(self)
        self.s_out.send = send
        record, sample, states = self.proc_params["record"]
        sigma = getattr(self, "sigma", np.zeros_like(sent[0]))
        values = {"spikes": sent[0]}
        if states:
            values |= {"u": sigma, "v": getattr(self, "act", sigma)}
        for name, value in values.items():
            file = np.load(f"{record}-{name}.npy", mmap_mode="r+")
            file[sample, self.time_step - 1] = np.asarray(value).T

    model.run_spk = run_and_record


def convolve(
    slowly: Callable[..., np.ndarray],
    spikes: np.ndarray,
    weight: np.ndarray,
    kernel_size: Any,
    stride: Any,
    padding: Any,
    dilation: Any,
    groups: int,
) -> np.ndarray:
    """Compute `lava.proc.conv.utils.conv` (WHC, true convolution) by matrix products.

    float64 is exact below 2^53. Where a sum can reach that, `slowly` is called instead.
    """
    x = spikes.astype(np.float64)
    if np.abs(weight).sum((1, 2, 3)).max() * np.abs(x).max(initial=0) >= 2**53:
        return slowly(spikes, weight, kernel_size, stride, padding, dilation, groups)
    outputs, kw, kh, channels = weight.shape
    (sx, sy), (px, py), (dx, dy) = ((int(n) for n in pair) for pair in (stride, padding, dilation))
    x = np.pad(x, ((px, px), (py, py), (0, 0)))
    taps = np.lib.stride_tricks.sliding_window_view(
        x, (dx * (kw - 1) + 1, dy * (kh - 1) + 1), axis=(0, 1)
    )[::sx, ::sy, :, ::dx, ::dy]
    kernel = weight[:, ::-1, ::-1].transpose(3, 1, 2, 0).astype(np.float64)
    size = outputs // groups
    parts = []
    for group in range(groups):
        columns = taps[:, :, group * channels : (group + 1) * channels].reshape(
            -1, channels * kw * kh
        )
        parts.append(columns @ kernel[..., group * size : (group + 1) * size].reshape(-1, size))
    return np.concatenate(parts, 1).reshape(*taps.shape[:2], outputs).astype(weight.dtype)
