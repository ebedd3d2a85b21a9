"""Recordings of a NetX network as a `Result`: layers by their place in the file, spikes and synaptic operations by sample."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from lmht_deploy import ir
from lmht_deploy.errors import DataError
from lmht_deploy.result import Counts, Result, check_windows, per_window

from .file import READOUT, Approximation, Conv, Dense, Encoding, InputLayer, NetX
from .simulate import UNIT, Recording


@dataclass(frozen=True)
class Sample:
    """The arguments of `Simulator.run`."""

    inputs: np.ndarray
    steps: int | None = None
    graded: bool = False


def window_shape(net: NetX) -> tuple[int, ...]:
    """Shape of a window; the first of spikes from others may be any number of steps."""
    if net.encoding:
        return net.encoding.window
    return (1 if isinstance(net.spiking[0], InputLayer) else net.steps or 1, *net.input_shape)


def samples(net: NetX, windows: np.ndarray) -> Sample:
    """Windows as `Simulator.run` takes them: spikes [B, steps, ...]; biases and the steps that the file names; as `net.encoding` has it.

    Raises DataError where a network that is driven by biases has other windows than [B, 1, ...], or names no steps, and where
    an encoded network's windows are not of its shape and range.
    """
    if net.encoding:
        return _encoded(net, net.encoding, windows)
    if not isinstance(net.spiking[0], InputLayer):
        return Sample(windows)
    if windows.ndim < 2 or windows.shape[1] != 1 or net.steps is None:
        raise DataError(
            f"this network is driven by biases [batch, 1, ...] for the file's 'simulation/tSample' ({net.steps}) steps"
        )
    return Sample(windows[:, 0], net.steps)


def _encoded(net: NetX, encoding: Encoding | Approximation, windows: np.ndarray) -> Sample:
    windows = check_windows(encoding.window, encoding.min_value, encoding.max_value, windows)
    assert net.steps is not None
    if isinstance(encoding, Encoding):
        frames = np.zeros((len(windows), net.steps, *net.input_shape), np.int16)
        frames[:, 0] = np.tile(windows.reshape(len(windows), -1), encoding.copies)
    else:  # every layer is a step behind the one before
        frames = np.zeros(
            (len(windows), net.steps + len(net.spiking), *encoding.window[1:]), np.int16
        )
        frames[:, : windows.shape[1] * encoding.substeps : encoding.substeps] = windows
        frames = frames.reshape(*frames.shape[:2], *net.input_shape)
    return Sample(frames, graded=True)


def result(
    backend: str,
    net: NetX,
    windows: np.ndarray,
    recordings: Sequence[Recording],
    seconds: float,
    *,
    trace: bool,
) -> Result:
    """What `backend` made of `windows`. Logits are the last layer's spikes; the potential it ends with, where it is a read-out."""
    if isinstance(net.encoding, Encoding):
        return _decoded(backend, net.encoding, recordings, seconds, trace=trace)
    names = [
        f"layer {i}"
        for i, layer in enumerate(net.layers)
        if any(layer is other for other in net.spiking)
    ]
    counts = {
        name: recording.counts[:, None].astype(np.int64)
        for name, recording in zip(names, recordings, strict=True)
    }
    last = recordings[-1]
    logits = last.potential if net.spiking[-1].neurons == READOUT else last.counts
    if net.encoding:
        logits = logits // UNIT
        windows = windows.reshape(*windows.shape[:2], *net.input_shape)
    return Result(
        backend=backend,
        logits=logits.reshape(len(windows), -1).astype(np.int64),
        scale=net.encoding.scale if net.encoding else 1.0,
        spikes={name: per_window(k) for name, k in counts.items()},
        sops=_sops(net, (windows != 0).astype(np.int64), counts),
        seconds=seconds,
        traces={name: _trace(recording) for name, recording in zip(names, recordings, strict=True)}
        if trace
        else None,
    )


def _decoded(
    backend: str,
    encoding: Encoding,
    recordings: Sequence[Recording],
    seconds: float,
    *,
    trace: bool,
) -> Result:
    """In terms of the network that was encoded; synaptic operations are not counted, as the file has others."""
    if trace:
        raise DataError(
            "a stock-exact file unrolls time in space, and has no traces of its network"
        )
    own = zip(encoding.layers, recordings, strict=False)
    return Result(
        backend=backend,
        logits=recordings[-1].potential.astype(np.int64) // UNIT,
        scale=encoding.scale,
        spikes={
            name: per_window(recording.counts[:, :neurons]) for (name, neurons), recording in own
        },
        sops={},
        seconds=seconds,
    )


def _trace(recording: Recording) -> np.ndarray:
    assert recording.spikes is not None
    return recording.spikes.astype(np.int64)


def _sops(net: NetX, windows: np.ndarray, counts: Counts) -> Counts:
    """Synaptic operations of each layer: spikes of the one before, and its own where it is recurrent."""
    found: Counts = {}
    before = windows
    for (name, own), layer in zip(counts.items(), net.spiking, strict=True):
        if not isinstance(layer, InputLayer):
            found[name] = per_window(before, fan_out(layer, before.shape[2:]))
            if isinstance(layer, Dense) and layer.recurrent is not None:
                found[name] += per_window(own) * len(layer.recurrent)
        before = own
    return found


def fan_out(layer: Conv | Dense, shape: tuple[int, ...]) -> np.ndarray | int:
    """Synapses that one spike crosses, at each place of the layer before, of `shape`."""
    if isinstance(layer, Dense):
        return len(layer.weight)
    geometry = {
        "stride": layer.stride,
        "padding": layer.padding,
        "dilation": layer.dilation,
        "groups": layer.groups,
    }
    return ir.Conv(
        source="before", weight=np.zeros(layer.weight.shape, np.int8), **geometry
    ).fan_out(shape)  # type: ignore[arg-type]
