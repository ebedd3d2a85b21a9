"""What every backend returns, and the counting that gives it."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from .errors import DataError
from .network import Network, Neurons, Readout

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
    macs         by layer that reads an image input: multiply-accumulates a window, instead of its SOPs
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
        traces=joined([part.traces for part in parts if part.traces is not None]) if first.traces is not None else None,
    )


def check_windows(shape: tuple[int, ...], low: int, high: int, windows: np.ndarray, integer: bool = True) -> np.ndarray:
    """`windows` as an array [B, T_in, ...]; DataError where shape, dtype or range do not fit the network's input."""
    windows = np.asarray(windows)
    if windows.ndim != len(shape) + 1 or windows.shape[1:] != shape:
        raise DataError(f"windows must have shape [batch, {', '.join(map(str, shape))}], not {list(windows.shape)}")
    if len(windows) == 0:
        raise DataError("there is no window to run")
    if windows.dtype == bool:
        windows = windows.view(np.uint8)
    if windows.dtype.kind not in ("iu" if integer else "iuf"):
        raise DataError(f"windows must hold integers, not {windows.dtype}")
    if not integer and not np.isfinite(windows).all():
        raise DataError("windows hold values that are not finite")
    least, largest = windows.min(), windows.max()
    if integer and (least < low or largest > high):
        at = np.unravel_index(int(windows.argmin() if least < low else windows.argmax()), windows.shape)
        raise DataError(f"windows must lie within {low}..{high}; window {at[0]} holds {windows[at]} at {tuple(int(i) for i in at[1:])}")
    return windows


class Counter:
    """Counts spikes and synaptic operations of a network from the tensors that its layers put out."""

    def __init__(self, net: Network) -> None:
        self._net = net
        self.spikes: Counts = {}
        self.sops: Counts = {}
        self.events: Counts = {}
        self.event_sops: Counts = {}
        self.macs = macs(net)

    def add(self, layer: Neurons | Readout, outputs: dict[str, np.ndarray]) -> None:
        """Count `layer`, given the k [B, steps, ...] of every layer before it and, for neurons, its own."""
        if isinstance(layer, Neurons):
            k = outputs[layer.name]
            self.spikes[layer.name] = _per_window(k)
            self.events[layer.name] = _per_window(k != 0)
        batch = len(next(iter(outputs.values())))
        self.sops[layer.name] = np.zeros(batch, np.int64)
        self.event_sops[layer.name] = np.zeros(batch, np.int64)
        for synapse in layer.synapses:
            if self._net[synapse.source] is self._net.input and self._net.input.kind == "image":
                continue
            k = outputs[synapse.source]
            fan_out = synapse.fan_out(self._net.shapes[synapse.source])
            self.sops[layer.name] += _per_window(k, fan_out)
            self.event_sops[layer.name] += _per_window(k != 0, fan_out)


def _per_window(k: np.ndarray, weight: np.ndarray | int = 1) -> np.ndarray:
    return (k.astype(np.int64) * weight).sum(axis=tuple(range(1, k.ndim)))


def macs(net: Network) -> dict[str, int]:
    """Multiply-accumulates a window, by layer that reads an image input: every synapse at every step."""
    if net.input.kind != "image":
        return {}
    found: dict[str, int] = {}
    for layer in net.layers:
        for synapse in getattr(layer, "synapses", ()):
            if synapse.source == net.input.name:
                fan_out = np.broadcast_to(synapse.fan_out(net.input.shape), net.input.shape)
                found[layer.name] = found.get(layer.name, 0) + int(fan_out.sum()) * net.input.steps
    return found
