"""What every backend returns, and how spikes and synaptic operations are counted."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Any, TypeAlias

import numpy as np

from ._arguments import as_array
from .errors import DataError
from .ir import Network, Neurons, Readout, Synapse

__all__ = [
    "CountColumns",
    "Counts",
    "Result",
    "add_steps",
    "check_windows",
    "concatenate",
    "macs",
    "per_window",
    "synapse_macs",
    "tally",
    "total",
]

Counts: TypeAlias = Mapping[str, np.ndarray]
"""Counts per window by layer name, int64 `[B]`."""


class CountColumns(Mapping[str, np.ndarray]):
    """`Counts` in the columns of one array. Views of single layers are made when they are read.

    To make or to add an array for each layer takes longer than a small network runs.
    """

    __slots__ = ("_columns", "_counts")

    def __init__(self, columns: Mapping[str, int], counts: np.ndarray) -> None:
        """Name the columns of counts.

        Args:
            columns: Column by name of the layer, in order; names beyond those of `counts` are left
                out.
            counts: int64 `[B, layers]`.
        """
        self._columns, self._counts = columns, counts

    def __getitem__(self, name: str) -> np.ndarray:
        column = self._columns[name]
        if column >= len(self):
            raise KeyError(name)
        counts: np.ndarray = self._counts[:, column]
        return counts

    def __iter__(self) -> Iterator[str]:
        return islice(self._columns, len(self))

    def __len__(self) -> int:
        return len(self._counts[0])

    def __repr__(self) -> str:
        return repr(dict(self))

    def total(self) -> int:
        """Return the sum of all counts."""
        return sum(map(sum, self._counts.tolist()))

    def plus(self, other: CountColumns) -> CountColumns:
        """Return the sums with `other`, which has the same columns."""
        return CountColumns(self._columns, self._counts + other._counts)


@dataclass(frozen=True)
class Result:
    """The integers that a network gives for B windows, equal on every backend, and the run time.

    Attributes:
        backend: Name of the backend.
        logits: int64 `[B, K]`; float64 for a float network.
        scale: Real value of one unit of a logit.
        spikes: Σ k by layer of neurons.
        sops: Synaptic operations by layer with synapses: for each spike, the number of synapses
            that it crosses; a graded spike of k counts k times.
        events: Number of graded spikes by layer of neurons, where k > 0 counts once; empty if the
            backend cannot count them.
        event_sops: Like `sops`, where k > 0 counts once; empty if the backend cannot count them.
        macs: Multiply-accumulates per window by layer that reads pixels (an image input). They are
            counted instead of synaptic operations.
        wrapped: How often a current of 24 bits wrapped, by layer; empty if the backend has no such
            currents.
        clipped: How often a potential of 24 bits was clipped, by layer; empty if the backend has
            no such potentials.
        seconds: Wall time of the run without loading, in seconds.
        traces: k by layer of neurons, integers `[B, T·S, ...]`; None if not requested.
        steps: Number of time-steps that were run per window, int64 `[B]`; None from runners that
            never end a window early.
    """

    backend: str
    logits: np.ndarray
    scale: float
    spikes: Counts
    sops: Counts
    events: Counts = field(default_factory=dict)
    event_sops: Counts = field(default_factory=dict)
    macs: dict[str, int] = field(default_factory=dict)
    wrapped: Counts = field(default_factory=dict)
    clipped: Counts = field(default_factory=dict)
    seconds: float = 0.0
    traces: dict[str, np.ndarray] | None = None
    steps: np.ndarray | None = None

    @property
    def predictions(self) -> np.ndarray:
        """Class of the largest logit, int64 `[B]`; the lowest class if several are equal."""
        classes: np.ndarray = self.logits.argmax(1)
        return classes

    @property
    def margins(self) -> np.ndarray:
        """Difference of the two largest logits in their own units, `[B]`; the logit if K = 1."""
        if self.logits.shape[1] == 1:
            return self.logits[:, 0]
        second, first = np.partition(self.logits, -2, axis=1)[:, -2:].T
        difference: np.ndarray = first - second
        return difference


def concatenate(parts: Sequence[Result]) -> Result:
    """Join the results of several runs of one artifact, in order; their times are added."""
    first = parts[0]
    traces = [part.traces for part in parts if part.traces is not None]
    steps = [part.steps for part in parts if part.steps is not None]
    return dataclasses.replace(
        first,
        logits=np.concatenate([part.logits for part in parts]),
        spikes=_join([part.spikes for part in parts]),
        sops=_join([part.sops for part in parts]),
        events=_join([part.events for part in parts]),
        event_sops=_join([part.event_sops for part in parts]),
        wrapped=_join([part.wrapped for part in parts]),
        clipped=_join([part.clipped for part in parts]),
        seconds=sum(part.seconds for part in parts),
        traces=None if first.traces is None else _join(traces),
        steps=None if first.steps is None else np.concatenate(steps),
    )


def add_steps(before: Result, after: Result) -> Result:
    """Join the results of successive time-steps of the same windows.

    All integers add up, and traces follow each other. `seconds` is the time of `after`.
    """
    counted = ("spikes", "sops", "events", "event_sops", "macs", "wrapped", "clipped")
    sums: dict[str, Any] = {
        name: _add(getattr(before, name), getattr(after, name)) for name in counted
    }
    traces = None
    if before.traces is not None and after.traces is not None:
        traces = {
            name: np.concatenate([k, after.traces[name]], axis=1)
            for name, k in before.traces.items()
        }
    steps = None
    if before.steps is not None and after.steps is not None:
        steps = before.steps + after.steps
    logits = before.logits + after.logits
    return dataclasses.replace(after, logits=logits, traces=traces, steps=steps, **sums)


def total(counts: Counts) -> int:
    """Return the sum of the counts of all layers and windows."""
    if isinstance(counts, CountColumns):
        return counts.total()
    return sum(int(layer.sum()) for layer in counts.values())


def _add(before: Mapping[str, Any], after: Mapping[str, Any]) -> Mapping[str, Any]:
    if isinstance(before, CountColumns) and isinstance(after, CountColumns):
        return before.plus(after)
    return {name: counts + after[name] for name, counts in before.items()}


def _join(tables: Sequence[Counts]) -> dict[str, np.ndarray]:
    return {name: np.concatenate([table[name] for table in tables]) for name in tables[0]}


def check_windows(
    shape: tuple[int, ...],
    min_value: int,
    max_value: int,
    windows: np.ndarray,
    integer: bool = True,
) -> np.ndarray:
    """Return `windows` as an array that fits the input of a network.

    Args:
        shape: Shape of one window, (T_in, ...).
        min_value: Smallest integer that may enter.
        max_value: Largest integer that may enter.
        windows: Windows `[B, T_in, ...]`: integers, or for a float network real numbers.
        integer: Whether the network computes with integers.

    Raises:
        DataError: If shape, dtype or range do not fit.
    """
    windows = as_array("windows", windows)
    if windows.ndim != len(shape) + 1 or windows.shape[1:] != shape:
        expected = ", ".join(map(str, shape))
        raise DataError(f"windows must have shape [batch, {expected}], not {list(windows.shape)}")
    if len(windows) == 0:
        raise DataError("there is no window to run")
    if windows.dtype == bool:
        windows = windows.view(np.uint8)
    if windows.dtype.kind not in ("iu" if integer else "iuf"):
        raise DataError(f"windows must hold integers, not {windows.dtype}")
    if integer:
        _check_range(windows, min_value, max_value)
    elif not np.isfinite(windows).all():
        raise DataError("windows hold values that are not finite")
    return windows


def _check_range(windows: np.ndarray, min_value: int, max_value: int) -> None:
    smallest, largest = windows.min(), windows.max()
    if min_value <= smallest and largest <= max_value:
        return
    worst = windows.argmin() if smallest < min_value else windows.argmax()
    window, *position = (int(i) for i in np.unravel_index(int(worst), windows.shape))
    raise DataError(
        f"windows must lie within {min_value}..{max_value}; window {window} holds "
        f"{windows[(window, *position)]} at {tuple(position)}"
    )


def tally(
    net: Network,
    backend: str,
    outputs: Mapping[str, np.ndarray],
    seconds: float,
    *,
    trace: bool,
    events: Mapping[str, np.ndarray] | None = None,
) -> Result:
    """Count the spikes and synaptic operations of a run.

    Args:
        net: Network that was run.
        backend: Name of the backend.
        outputs: k `[B, steps, ...]` by layer, and the logits `[B, K]` by the name of the read-out.
        seconds: Wall time of the run.
        trace: Whether the result holds k of every layer of neurons.
        events: Numbers of k != 0 in the shape of `outputs`, where these hold sums of k over axes of
            size 1; otherwise None.
    """
    events = {name: k != 0 for name, k in outputs.items()} if events is None else events
    synaptic = [layer for layer in net.layers if isinstance(layer, Neurons | Readout)]
    spiking = {layer.name: outputs[layer.name] for layer in net.neurons}
    return Result(
        backend=backend,
        logits=outputs[net.readout.name],
        scale=net.readout.scale,
        spikes={name: per_window(k) for name, k in spiking.items()},
        sops={layer.name: _sops(net, layer, outputs) for layer in synaptic},
        events={name: per_window(events[name]) for name in spiking},
        event_sops={layer.name: _sops(net, layer, events) for layer in synaptic},
        macs=macs(net),
        seconds=seconds,
        traces=spiking if trace else None,
    )


def _sops(net: Network, layer: Neurons | Readout, counts: Mapping[str, np.ndarray]) -> np.ndarray:
    """Count the synaptic operations of `layer` per window, int64 `[B]`, for counts by layer."""
    total = np.zeros(len(counts[net.readout.name]), np.int64)
    for synapse in layer.synapses:
        if synapse.source not in net.pixels:
            fan_out = synapse.fan_out(net.shapes[synapse.source])
            total += per_window(counts[synapse.source], fan_out)
    return total


def per_window(k: np.ndarray, weight: np.ndarray | int = 1) -> np.ndarray:
    """Return Σ k·weight over all axes but the first, int64 `[B]`, for integers or booleans k."""
    sizes = np.shape(weight)
    first = k.ndim - len(sizes)
    alike = [first + axis for axis, size in enumerate(sizes) if size == 1]
    k = k.sum(axis=(*range(1, first), *alike), dtype=np.int64, keepdims=True)  # one weight for all
    total: np.ndarray = (k * weight).sum(axis=tuple(range(1, k.ndim)), dtype=np.int64)
    return total


def macs(net: Network) -> dict[str, int]:
    """Return the multiply-accumulates per window by layer that reads pixels."""
    sums = {
        layer.name: sum(synapse_macs(net, s) for s in layer.synapses)
        for layer in net.layers
        if isinstance(layer, Neurons | Readout)
    }
    return {name: count for name, count in sums.items() if count}


def synapse_macs(net: Network, synapse: Synapse) -> int:
    """Return the multiply-accumulates of `synapse` per window; 0 if it reads spikes."""
    if synapse.source not in net.pixels:
        return 0
    shape = net.shapes[synapse.source]
    return int(np.broadcast_to(synapse.fan_out(shape), shape).sum()) * net.steps[synapse.source]
