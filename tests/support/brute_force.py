"""Counts of an integer network, by one loop over every synapse at every step.

It is slow and shares no code with the package: it enumerates synapses one by one, and simulates
neurons in Python integers. Only the records of the network are read.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import product
from typing import Any

import numpy as np

from lmht_deploy.ir import (
    Conv,
    Flatten,
    Input,
    Linear,
    MaxPool,
    Network,
    Neurons,
    Readout,
    Scale,
    SumPool,
    Synapse,
)

Position = tuple[int, ...]
Step = dict[Position, int]
"""k by position; positions of shape `shape` that are missing hold 0."""


@dataclass
class Tally:
    """Counts of one layer for one window; lists have one entry per step."""

    spikes: list[int] = field(default_factory=list)
    events: list[int] = field(default_factory=list)
    sops: list[int] = field(default_factory=list)
    event_sops: list[int] = field(default_factory=list)
    conv_events: list[int] = field(default_factory=list)
    macs: int = 0
    synapses: int = 0
    neurons: int = 0
    updates: int = 0
    dense_reads: int = 0


@dataclass
class Output:
    shape: Position
    steps: list[Step]
    substeps: int
    pixels: bool


def brute_force(net: Network, window: np.ndarray) -> tuple[dict[str, Tally], list[int]]:
    """Return the counts of every layer with synapses, and the logits."""
    outputs: dict[str, Output] = {}
    tallies: dict[str, Tally] = {}
    logits: list[int] = []
    for layer in net.layers:
        match layer:
            case Input():
                steps = [_step(frame) for frame in window]
                outputs[layer.name] = Output(layer.shape, steps, 1, layer.kind == "image")
            case SumPool() | MaxPool():
                outputs[layer.name] = _pool(layer, outputs[layer.source])
            case Flatten():
                outputs[layer.name] = _flatten(outputs[layer.source])
            case Neurons():
                tally = tallies[layer.name] = Tally()
                current, shape = _currents(layer, outputs, tally)
                outputs[layer.name] = _fire(layer, current, shape, tally)
            case Readout():
                tally = tallies[layer.name] = Tally()
                current, shape = _currents(layer, outputs, tally)
                logits = [sum(step[(n,)] for step in current) for n in range(shape[0])]
    return tallies, logits


def _step(frame: np.ndarray) -> Step:
    return {tuple(map(int, at)): int(frame[tuple(at)]) for at in np.argwhere(frame != 0)}


def _everywhere(shape: Position) -> Iterator[Position]:
    return product(*map(range, shape))


def _pairs(synapse: Synapse, shape: Position) -> Iterator[tuple[Position, Position, int]]:
    """Yield every synapse as (from, to, weight)."""
    weight = synapse.weight
    match synapse:
        case Linear():
            for n, m in _everywhere(weight.shape):
                yield (m,), (n,), int(weight[n, m])
        case Scale():
            for at in _everywhere(shape):
                yield at, at, int(weight[at[0]])
        case Conv():
            yield from _conv_pairs(synapse, shape)


def _conv_pairs(conv: Conv, shape: Position) -> Iterator[tuple[Position, Position, int]]:
    channels, per_group, height, width = conv.weight.shape
    rows, columns = (
        (size + 2 * p - d * (k - 1) - 1) // s + 1
        for size, k, s, p, d in zip(
            shape[1:], (height, width), conv.stride, conv.padding, conv.dilation, strict=True
        )
    )
    for o, c, i, j, y, x in product(
        range(channels), range(per_group), range(height), range(width), range(rows), range(columns)
    ):
        row = y * conv.stride[0] + i * conv.dilation[0] - conv.padding[0]
        column = x * conv.stride[1] + j * conv.dilation[1] - conv.padding[1]
        if 0 <= row < shape[1] and 0 <= column < shape[2]:
            source = o // (channels // conv.groups) * per_group + c
            yield (source, row, column), (o, y, x), int(conv.weight[o, c, i, j])


def _currents(
    layer: Neurons | Readout, outputs: dict[str, Output], tally: Tally
) -> tuple[list[Step], Position]:
    """Return X of each time-step, and count what the synapses do."""
    sources = {synapse.source: outputs[synapse.source] for synapse in layer.synapses}
    blocks = {len(o.steps) // o.substeps for o in sources.values()}.pop()
    spiking = {len(o.steps) for o in sources.values() if not o.pixels}
    per_step = blocks if len(spiking) != 1 else spiking.pop()
    tally.sops, tally.event_sops = [0] * per_step, [0] * per_step
    tally.conv_events = [0] * per_step
    current: list[Step] = [defaultdict(int) for _ in range(blocks)]
    targets: set[Position] = set()
    for synapse in layer.synapses:
        source = sources[synapse.source]
        conv, read = isinstance(synapse, Conv), set()
        for step, spikes in enumerate(source.steps):
            at = step if len(source.steps) == per_step else step // source.substeps
            tally.conv_events[at] += 0 if source.pixels or not conv else len(spikes)
        for start, end, weight in _pairs(synapse, source.shape):
            tally.synapses += 1
            read.add(start)
            tally.dense_reads += conv
            targets.add(end)
            for step, k in enumerate(source.steps):
                value = k.get(start, 0)
                current[step // source.substeps][end] += (weight * value) << synapse.exponent
                at = step if len(source.steps) == per_step else step // source.substeps
                if source.pixels:
                    tally.macs += 1
                elif value:
                    tally.sops[at] += value
                    tally.event_sops[at] += 1
        tally.dense_reads += 0 if conv else len(read)
    shape = tuple(max(axis) + 1 for axis in zip(*targets, strict=True))
    for step_current, at in product(current, _everywhere(shape)):
        step_current[at] += int(layer.bias[at[0]])
    return current, shape


def _fire(layer: Neurons, current: list[Step], shape: Position, tally: Tally) -> Output:
    tally.neurons = int(np.prod(shape))
    times, substeps = len(layer.omega), layer.substeps
    steps: list[Step] = [{} for _ in range(times * substeps)]
    for at in _everywhere(shape):
        theta, v = int(layer.threshold[at[0]]), int(layer.v0[at[0]])
        k = min(max(v // theta, 0), layer.levels)
        for t, sub in product(range(times), range(substeps)):
            tally.updates += 1
            if sub == 0:
                leaked = abs(v * int(layer.leak)) // 4096 * (1 if v >= 0 else -1)
                v = leaked - (k * theta if layer.reset == "subtract-late" else 0)
            if sub == 0 or layer.injection == "uniform":
                v += sum(int(w) * x[at] for w, x in zip(layer.omega[t], current, strict=True))
            if layer.floor is not None:
                v = max(v, int(layer.floor[at[0]]))
            k, left = 0, v
            while k < layer.levels and left >= theta:
                left, k = left - theta, k + 1
            if k:
                v = {"subtract": left, "subtract-late": v, "zero": 0}[layer.reset]
                steps[t * substeps + sub][at] = k
    tally.spikes = [sum(step.values()) for step in steps]
    tally.events = [len(step) for step in steps]
    return Output(shape, steps, substeps, False)


def _pool(layer: SumPool | MaxPool, source: Output) -> Output:
    rows, columns = (
        (size + 2 * p - k) // s + 1
        for size, k, s, p in zip(
            source.shape[1:], layer.kernel, layer.stride, layer.padding, strict=True
        )
    )
    shape = (source.shape[0], rows, columns)

    def pooled(step: Step, at: Position) -> int:
        c, y, x = at
        inside = [
            (c, row, column)
            for i, j in product(range(layer.kernel[0]), range(layer.kernel[1]))
            if 0 <= (row := y * layer.stride[0] + i - layer.padding[0]) < source.shape[1]
            and 0 <= (column := x * layer.stride[1] + j - layer.padding[1]) < source.shape[2]
        ]
        values = [step.get(position, 0) for position in inside]
        return sum(values) if isinstance(layer, SumPool) else max(values)

    steps = [
        {at: value for at in _everywhere(shape) if (value := pooled(step, at))}
        for step in source.steps
    ]
    return Output(shape, steps, source.substeps, source.pixels)


def _flatten(source: Output) -> Output:
    def index(at: Position) -> Any:
        return (int(np.ravel_multi_index(at, source.shape)),)

    steps = [{index(at): k for at, k in step.items()} for step in source.steps]
    return Output((int(np.prod(source.shape)),), steps, source.substeps, source.pixels)
