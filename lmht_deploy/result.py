"""What every backend returns, and the counting that gives it."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from .errors import DataError
from .ir import Network, Neurons, Readout, Synapse

Counts = dict[str, np.ndarray]
"""int64 [B] by layer name: one figure a window."""


@dataclass(frozen=True)
class Result:
    """The integers that a network gives for B windows, equal on every backend, and the time it took.

    logits       int64 [B, K] (float64 for a float network)
    scale        real value of one unit of a logit
    spikes       by neuron layer: Σ k
    sops         by layer with synapses: Σ over its input spikes (k counts k) of the synapses they cross
    events       by neuron layer: graded spikes (k > 0 counted once); empty where a backend cannot tell
    event_sops   like `sops` with every graded spike counted once; empty where a backend cannot tell
    macs         by layer that reads pixels (an image input): multiply-accumulates a window, instead of its SOPs
    seconds      wall time of the run alone, without loading
    traces       by neuron layer: k as integers [B, T·S, ...], where asked for
    """

    backend: str
    logits: np.ndarray
    scale: float
    spikes: Counts
    sops: Counts
    events: Counts = field(default_factory=dict)
    event_sops: Counts = field(default_factory=dict)
    macs: dict[str, int] = field(default_factory=dict)
    seconds: float = 0.0
    traces: dict[str, np.ndarray] | None = None

    @property
    def predictions(self) -> np.ndarray:
        """int64 [B]: class of the largest logit, the lowest class where several are equal."""
        return self.logits.argmax(1)


def concatenate(parts: Sequence[Result]) -> Result:
    """One result of several runs of the same artifact, in order; their times are added."""
    first = parts[0]

    def joined(tables: list[Counts]) -> Counts:
        return {name: np.concatenate([table[name] for table in tables]) for name in tables[0]}

    return dataclasses.replace(
        first,
        logits=np.concatenate([part.logits for part in parts]),
        spikes=joined([part.spikes for part in parts]),
        sops=joined([part.sops for part in parts]),
        events=joined([part.events for part in parts]),
        event_sops=joined([part.event_sops for part in parts]),
        seconds=sum(part.seconds for part in parts),
        traces=joined([part.traces for part in parts if part.traces is not None])
        if first.traces is not None
        else None,
    )


def check_windows(
    shape: tuple[int, ...],
    min_value: int,
    max_value: int,
    windows: np.ndarray,
    integer: bool = True,
) -> np.ndarray:
    """`windows` as an array [B, T_in, ...]; DataError where shape, dtype or range do not fit the network's input."""
    windows = np.asarray(windows)
    if windows.ndim != len(shape) + 1 or windows.shape[1:] != shape:
        raise DataError(
            f"windows must have shape [batch, {', '.join(map(str, shape))}], not {list(windows.shape)}"
        )
    if len(windows) == 0:
        raise DataError("there is no window to run")
    if windows.dtype == bool:
        windows = windows.view(np.uint8)
    if windows.dtype.kind not in ("iu" if integer else "iuf"):
        raise DataError(f"windows must hold integers, not {windows.dtype}")
    if not integer and not np.isfinite(windows).all():
        raise DataError("windows hold values that are not finite")
    least, largest = windows.min(), windows.max()
    if integer and (least < min_value or largest > max_value):
        at = np.unravel_index(
            int(windows.argmin() if least < min_value else windows.argmax()), windows.shape
        )
        raise DataError(
            f"windows must lie within {min_value}..{max_value}; window {at[0]} holds {windows[at]} at {tuple(int(i) for i in at[1:])}"
        )
    return windows


def tally(
    net: Network, backend: str, outputs: Mapping[str, np.ndarray], seconds: float, *, trace: bool
) -> Result:
    """The result of a backend that gives every layer's `outputs`: k [B, steps, ...] by layer, and the logits [B, K]."""
    batch = len(outputs[net.readout.name])
    spikes: Counts = {layer.name: per_window(outputs[layer.name]) for layer in net.neurons}
    events: Counts = {layer.name: per_window(outputs[layer.name] != 0) for layer in net.neurons}
    sops: Counts = {}
    event_sops: Counts = {}
    for layer in net.layers:
        if not isinstance(layer, Neurons | Readout):
            continue
        sops[layer.name], event_sops[layer.name] = (
            np.zeros(batch, np.int64),
            np.zeros(batch, np.int64),
        )
        for synapse in layer.synapses:
            if synapse.source in net.pixels:
                continue
            k, fan_out = outputs[synapse.source], synapse.fan_out(net.shapes[synapse.source])
            sops[layer.name] += per_window(k, fan_out)
            event_sops[layer.name] += per_window(k != 0, fan_out)
    return Result(
        backend=backend,
        logits=outputs[net.readout.name],
        scale=net.readout.scale,
        spikes=spikes,
        sops=sops,
        events=events,
        event_sops=event_sops,
        macs=macs(net),
        seconds=seconds,
        traces={layer.name: outputs[layer.name] for layer in net.neurons} if trace else None,
    )


def per_window(k: np.ndarray, weight: np.ndarray | int = 1) -> np.ndarray:
    """Σ k·weight over everything but the first axis: int64 [B], for integers (or booleans) k [B, ...]."""
    return (k.astype(np.int64) * weight).sum(axis=tuple(range(1, k.ndim)), dtype=np.int64)


def macs(net: Network) -> dict[str, int]:
    """Multiply-accumulates a window, by layer that reads pixels: every synapse at every step."""
    sums = {
        layer.name: sum(synapse_macs(net, s) for s in layer.synapses)
        for layer in net.layers
        if isinstance(layer, Neurons | Readout)
    }
    return {name: count for name, count in sums.items() if count}


def synapse_macs(net: Network, synapse: Synapse) -> int:
    """Multiply-accumulates of `synapse` a window; 0 where it reads spikes."""
    if synapse.source not in net.pixels:
        return 0
    shape = net.shapes[synapse.source]
    return int(np.broadcast_to(synapse.fan_out(shape), shape).sum()) * net.steps[synapse.source]
