"""Recordings of a NetX network as a `Result`: layers by number, spikes and SOPs by sample."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from math import prod

import numpy as np

from lmht_deploy import ir
from lmht_deploy.errors import DataError
from lmht_deploy.formats.netx.keys import STATE_UNIT
from lmht_deploy.formats.netx.stock import (
    READOUT,
    ExactEncoding,
    NetX,
    NetXConv,
    NetXDense,
    NetXInput,
    SigmaDelta,
    StockEncoding,
)
from lmht_deploy.result import Counts, Result, check_windows, per_window

from .simulate import Recording

MAX_SAMPLE = 2**28
"""Largest number of input values of one sample."""


@dataclass(frozen=True)
class Sample:
    """The arguments of `Simulator.run`.

    Attributes:
        inputs: Spikes [B, steps, *shape], or biases [B, *shape].
        steps: Number of steps, for a network that is driven by biases.
        graded: Whether the spikes are integers.
    """

    inputs: np.ndarray
    steps: int | None = None
    graded: bool = False


def window_shape(net: NetX) -> tuple[int, ...]:
    """Return the shape of one window.

    If the file states no encoding, windows of any number of steps can be run; the number returned
    is then the one that the file states, or 1.

    Raises:
        DataError: The network has no layer with neurons.
    """
    if not net.spiking:
        raise DataError("the network has no layer with neurons")
    if net.encoding:
        return net.encoding.window
    return (1 if net.driven else net.steps or 1, *net.input_shape)


def max_value(net: NetX) -> int:
    """Return the largest input value."""
    return net.encoding.max_value if net.encoding else ir.MAX_INPUT


def samples(net: NetX, windows: np.ndarray) -> Sample:
    """Convert windows to the arguments of `Simulator.run`.

    Args:
        net: The network.
        windows: Spikes [B, steps, ...], where every value but 0 is one spike; or biases
            [B, 1, ...], held for the steps that the file states; or, for a network with an
            encoding, integers of its window shape.

    Raises:
        DataError: The windows do not fit, or the file states no steps.
    """
    if net.encoding:
        return _encoded(net, net.encoding, windows)
    if not net.driven:
        return Sample(windows, graded=net.encodes)
    if windows.ndim < 2 or windows.shape[1] != 1 or net.steps is None:
        raise DataError(
            "this network is driven by biases [batch, 1, ...] for the file's "
            f"'simulation/tSample' ({net.steps}) steps"
        )
    return Sample(windows[:, 0], net.steps)


def result(
    backend: str,
    net: NetX,
    windows: np.ndarray,
    recordings: Sequence[Recording],
    seconds: float,
    *,
    trace: bool,
) -> Result:
    """Convert the recordings of `windows` to a result.

    The logits are the spike counts of the last layer or, where that is a read-out or has
    sigma-delta neurons, the potential that it ends with. An `average` layer at the end sums them
    over its groups, and the scale holds the divisor.
    """
    found = (
        _decoded(backend, net.encoding, recordings, seconds, trace=trace)
        if isinstance(net.encoding, ExactEncoding)
        else _counted(backend, net, windows, recordings, seconds, trace=trace)
    )
    named = list(zip(_titles(net), recordings, strict=True))
    return dataclasses.replace(
        found,
        wrapped={name: recording.wrapped for name, recording in named},
        clipped={name: recording.clipped for name, recording in named},
    )


def _counted(
    backend: str,
    net: NetX,
    windows: np.ndarray,
    recordings: Sequence[Recording],
    seconds: float,
    *,
    trace: bool,
) -> Result:
    """Result in terms of the layers of the file."""
    counts = {
        name: recording.counts[:, None].astype(np.int64)
        for name, recording in zip(_names(net), recordings, strict=True)
    }
    if net.encoding:
        windows = windows.reshape(*windows.shape[:2], *net.input_shape)
    return Result(
        backend=backend,
        logits=_logits(net, recordings[-1]),
        scale=net.encoding.scale if net.encoding else _scale(net),
        spikes={name: per_window(k) for name, k in counts.items()},
        sops=_sops(net, (windows != 0).astype(np.int64), counts),
        seconds=seconds,
        traces=dict(zip(counts, map(_trace, recordings), strict=True)) if trace else None,
    )


def fan_out(layer: NetXConv | NetXDense, shape: tuple[int, ...]) -> np.ndarray | int:
    """Return the synapses that one spike crosses, per neuron of the previous layer of `shape`."""
    if isinstance(layer, NetXDense):
        return len(layer.weight)
    conv = ir.Conv(
        source="before",
        weight=np.zeros(layer.weight.shape, np.int8),
        stride=layer.stride,
        padding=layer.padding,
        dilation=layer.dilation,
        groups=layer.groups,
    )
    return conv.fan_out(shape)


def _encoded(net: NetX, encoding: ExactEncoding | StockEncoding, windows: np.ndarray) -> Sample:
    windows = check_windows(encoding.window, encoding.min_value, encoding.max_value, windows)
    if net.steps is None:
        raise DataError("the file does not state the steps of a sample ('simulation/tSample')")
    if net.steps * prod(net.input_shape) > MAX_SAMPLE:
        raise DataError(f"a sample of {net.steps} steps of {net.input_shape} is too large to run")
    if isinstance(encoding, ExactEncoding):
        frames = np.zeros((len(windows), net.steps, *net.input_shape), np.int16)
        entry = np.ones((len(windows), prod(net.input_shape)), np.int16)  # ones for the token
        values = np.tile(windows.reshape(len(windows), -1), encoding.copies)
        entry[:, : values.shape[1]] = values
        frames[:, 0] = entry.reshape(len(windows), *net.input_shape)
        return Sample(frames, graded=True)
    steps = net.steps + len(net.spiking)  # every layer is one step behind the layer before it
    frames = np.zeros((len(windows), steps, *encoding.window[1:]), np.int16)
    frames[:, : windows.shape[1] * encoding.substeps : encoding.substeps] = windows
    return Sample(frames.reshape(*frames.shape[:2], *net.input_shape), graded=True)


def _decoded(
    backend: str,
    encoding: ExactEncoding,
    recordings: Sequence[Recording],
    seconds: float,
    *,
    trace: bool,
) -> Result:
    """Result in terms of the encoded network; its SOPs are not counted, the file has others."""
    if trace:
        raise DataError(
            "a stock-exact file unrolls time in space, and has no traces of its network"
        )
    return Result(
        backend=backend,
        logits=_flat(recordings[-1].potential).astype(np.int64) // STATE_UNIT,
        scale=encoding.scale,
        spikes={
            name: per_window(_flat(recordings[position].counts)[:, :neurons])
            for position, name, neurons in encoding.layers
        },
        sops={},
        seconds=seconds,
    )


def _flat(array: np.ndarray) -> np.ndarray:
    """Return `[B, *shape]` as `[B, N]`."""
    return array.reshape(len(array), -1)


def _titles(net: NetX) -> list[str]:
    """Names of the layers with neurons: those of the encoded network, if the file has them."""
    titles = _names(net)
    if isinstance(net.encoding, ExactEncoding):
        for position, name, _ in net.encoding.layers:
            titles[position] = name
    return titles


def _names(net: NetX) -> list[str]:
    """Names of the layers with neurons."""
    spiking = [id(layer) for layer in net.spiking]
    return [f"layer {i}" for i, layer in enumerate(net.layers) if id(layer) in spiking]


def _logits(net: NetX, last: Recording) -> np.ndarray:
    neurons = net.spiking[-1].neurons
    states = neurons == READOUT or isinstance(neurons, SigmaDelta)
    found = last.potential if states else last.counts
    if net.encoding:
        found = found // STATE_UNIT
    found = _flat(found).astype(np.int64)
    return found if net.groups is None else found.reshape(len(found), net.groups, -1).sum(2)


def _scale(net: NetX) -> float:
    """Return the real value of one unit of a logit: one over the size of an averaged group."""
    return 1.0 if net.groups is None else net.groups / prod(net.spiking[-1].shape)


def _trace(recording: Recording) -> np.ndarray:
    assert recording.spikes is not None
    return recording.spikes.astype(np.int64)


def _sops(net: NetX, windows: np.ndarray, counts: Counts) -> Counts:
    """SOPs of each layer: spikes of the layer before it, and its own where it is recurrent."""
    found: dict[str, np.ndarray] = {}
    before = windows
    for (name, own), layer in zip(counts.items(), net.spiking, strict=True):
        if not isinstance(layer, NetXInput):
            found[name] = per_window(before, fan_out(layer, before.shape[2:]))
            if isinstance(layer, NetXDense) and layer.recurrent is not None:
                found[name] += per_window(own) * len(layer.recurrent)
        before = own
    return found
