"""Dense layers of neurons that integrate.

Stock LIF neurons give soft reset, levels, T-GIM and residual sums:

* Every layer becomes a `dense_rec` layer. The current u of its neurons never decays, and their
  potential is v = u + bias. So u is a potential that no spike resets.
* Soft reset: a recurrent weight of -θ from each neuron to itself subtracts θ one step later,
  together with the next current.
* Time is unrolled in space. A neuron of T time-steps becomes T neurons. Neuron t sums
  I[1] + ... + I[t]: its weights are W times the column sums of the T-GIM. The spikes of the
  neurons before it inhibit it, too.
* Levels: each neuron may fire in L steps of its own. At all other times its bias holds it below
  the threshold by more than it can reach, and a gate lifts it for those steps. Gates are pulses
  from a clock, a chain of neurons along which one spike travels.
* Weights beyond ±254 are split over copies of the neuron that they come from.
* Shortcuts travel through relays: neurons that repeat a spike one step later.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import numpy as np

from lmht_deploy.errors import ExportError
from lmht_deploy.formats.netx import keys
from lmht_deploy.formats.netx.exact import (
    INTEGRATORS,
    ExactFile,
    ExactLayerRecord,
    UnrolledRecord,
)
from lmht_deploy.formats.netx.fold import Folded, fold
from lmht_deploy.formats.netx.stock import READOUT, NetXDense
from lmht_deploy.formats.netx.weights import effective_weights
from lmht_deploy.ir import Network, Neurons, Readout, Shape

from ._shared import (
    WAY_OUT,
    initial_potential,
    refuse_second_reader,
    require_range,
    require_size,
    spikes_per_step,
)

MAX_WEIGHT = keys.DENSE_WEIGHTS[1]
"""Largest weight of a dense synapse; a larger one is split over copies of its source."""


def unrolled(net: Network) -> ExactFile:
    """Return the file of a network.

    Raises:
        ExportError: The layers cannot express the network; the message names the layer.
    """
    layers = _Unroller(net).layers()
    entry = layers[0].blocks[net.input.name]
    return ExactFile(
        window=net.window_shape,
        input_range=(net.input.min_value, net.input.max_value),
        copies=len(entry.index),
        scale=net.readout.scale,
        steps=layers[-1].last,
        layers=tuple(_record(layer) for layer in layers),
        metadata=net.metadata,
    )


@dataclass(frozen=True)
class _Block:
    """Neurons that carry the spikes of one layer of the network: its own, or relays of them.

    Attributes:
        index: Numbers of the neurons in the layer of the file, [copies, steps, units].
        most: Largest number of spikes of one of them per window.
    """

    index: np.ndarray
    most: int


@dataclass(frozen=True)
class _Unrolled:
    """One layer of the file.

    Attributes:
        name: Name of the layer in the network.
        weight: Weights from the layer before, [N, N_before].
        recurrent: Weights from the layer itself, [N, N]; None in the input and the read-out.
        bias: Biases, [N].
        blocks: What the next layer may read, by layer of the network.
        last: Last step in which its own neurons may fire.
    """

    name: str
    weight: np.ndarray
    recurrent: np.ndarray | None
    bias: np.ndarray
    blocks: dict[str, _Block]
    last: int


class _Wiring:
    """Neurons of one layer of the file and the weights into them, added group by group."""

    def __init__(self, name: str, inputs: int) -> None:
        self.name, self.inputs, self.size = name, inputs, 0
        self._forward: list[tuple[np.ndarray, np.ndarray, np.ndarray | int]] = []
        self._recurrent: list[tuple[np.ndarray, np.ndarray, np.ndarray | int]] = []
        self._biases: list[tuple[np.ndarray, np.ndarray | int]] = []

    def add(self, *shape: int) -> np.ndarray:
        """Add neurons and return their numbers, of `shape`."""
        index = self.size + np.arange(int(np.prod(shape))).reshape(shape)
        self.size += index.size
        require_size(self.name, self.size * (self.size + self.inputs))
        return index

    def connect(self, targets: np.ndarray, sources: np.ndarray, weight: np.ndarray | int) -> None:
        """Add `weight` from neurons of the layer before; the three broadcast."""
        self._forward.append((targets, sources, weight))

    def feed_back(self, targets: np.ndarray, sources: np.ndarray, weight: np.ndarray | int) -> None:
        """Add `weight` from neurons of this layer; the three broadcast."""
        self._recurrent.append((targets, sources, weight))

    def set_bias(self, neurons: np.ndarray, bias: np.ndarray | int) -> None:
        """Set the bias of neurons."""
        self._biases.append((neurons, bias))

    def forward(self) -> np.ndarray:
        """Return the weights from the layer before, int32 [N, inputs]."""
        return _filled(np.zeros((self.size, self.inputs), np.int32), self._forward)

    def recurrent(self) -> np.ndarray:
        """Return the weights from this layer, int32 [N, N]."""
        return _filled(np.zeros((self.size, self.size), np.int32), self._recurrent)

    def biases(self) -> np.ndarray:
        """Return the biases, int64 [N]."""
        found = np.zeros(self.size, np.int64)
        for neurons, bias in self._biases:
            found[neurons] = bias
        return found


class _Clock:
    """A chain of neurons, of which number i fires at step i + 1 and never again."""

    def __init__(self, wiring: _Wiring, steps: int) -> None:
        self.wiring = wiring
        self.chain = wiring.add(steps)
        for step, neuron in enumerate(self.chain, 1):
            self._fire(neuron, step)

    def pulse(self, step: int) -> np.ndarray:
        """Add a neuron that fires once, at `step`, and return its number."""
        neuron = self.wiring.add(1)
        self._fire(neuron, step)
        return neuron

    def _fire(self, neuron: np.ndarray, step: int) -> None:
        """Let `neuron` fire once: at the first step by its bias, later by the clock."""
        if step == 1:
            self.wiring.set_bias(neuron, 1)
            self.wiring.feed_back(neuron, neuron, -2)
        else:
            self.wiring.feed_back(neuron, self.chain[step - 2], 1)
            self.wiring.feed_back(neuron, neuron, -1)


class _Unroller:
    """Turns the layers of a network into layers of the file, one after the other."""

    def __init__(self, net: Network) -> None:
        self.net = net
        self.stages = [layer for layer in net.layers if isinstance(layer, Neurons | Readout)]
        self.folded = {
            layer.name: [
                _linear(layer, fold(net, layer.name, synapse)) for synapse in layer.synapses
            ]
            for layer in self.stages
        }

    def layers(self) -> list[_Unrolled]:
        """Return the layers of the file, the input first."""
        found = [self._input()]
        for number, layer in enumerate(self.stages):
            later = {
                folded.source
                for other in self.stages[number + 1 :]
                for folded in self.folded[other.name]
            }
            if self.net.input.name in later:
                refuse_second_reader(layer.name)
            if isinstance(layer, Neurons):
                found.append(self._neurons(layer, found[-1], later))
            else:
                found.append(self._readout(layer, found[-1]))
            _check_weights(found[-1])
        return found

    def _input(self) -> _Unrolled:
        entry = self.net.input
        shape = (self._copies(entry.name, 0), entry.steps, int(np.prod(entry.shape)))
        index = np.arange(int(np.prod(shape))).reshape(shape)
        return _Unrolled(
            name=entry.name,
            weight=np.zeros((index.size, 0)),
            recurrent=None,
            bias=np.zeros(index.size),
            blocks={entry.name: _Block(index, 1)},
            last=1,
        )

    def _neurons(self, layer: Neurons, before: _Unrolled, later: set[str]) -> _Unrolled:
        """Neurons [copies, T, units], their relays, and the pulses that gate them."""
        steps, fires = len(layer.omega), spikes_per_step(layer)
        first = before.last + 1
        wiring = _Wiring(layer.name, len(before.bias))
        own = wiring.add(
            self._copies(layer.name, int(layer.threshold.max())),
            steps,
            int(np.prod(self.net.shapes[layer.name])),
        )
        blocks = {layer.name: _Block(own, fires)} | _add_relays(wiring, before, later)
        highest, lowest = self._connect(layer, before, np.cumsum(layer.omega, 0), own, wiring)
        potentials = _Potentials.of(layer, highest, own.shape[2])
        require_range(layer.name, potentials.largest(highest, lowest, fires))

        wiring.set_bias(own, potentials.bias)
        _add_soft_reset(wiring, own, potentials.theta)
        clock = _Clock(wiring, first + steps * fires)
        for t, hold in enumerate(potentials.hold):
            start = first + t * fires - 1
            _add_pulses(wiring, clock, own[:, t], start, hold)
            _add_pulses(wiring, clock, own[:, t], start + fires, -hold)
        _add_pulses(wiring, clock, own, 1, potentials.rest)
        return _Unrolled(
            name=layer.name,
            weight=wiring.forward(),
            recurrent=wiring.recurrent(),
            bias=wiring.biases(),
            blocks=blocks,
            last=first + steps * fires - 1,
        )

    def _readout(self, layer: Readout, before: _Unrolled) -> _Unrolled:
        steps = self.net.blocks(layer.synapses[0].source)
        bias = layer.bias.astype(np.int64) * steps
        wiring = _Wiring(layer.name, len(before.bias))
        own = wiring.add(1, 1, len(bias))
        ones = np.ones((1, steps), np.int64)
        highest, lowest = self._connect(layer, before, ones, own, wiring)
        ends = (end + part for end in (highest, lowest) for part in (0, bias))  # of u and v
        require_range(layer.name, max(int(np.abs(end).max()) for end in ends))
        if np.abs(bias).max() > keys.MAX_BIAS:
            raise ExportError(
                f"layer {layer.name!r} has a bias of {np.abs(bias).max():,} per window, and LIF "
                f"neurons hold up to {keys.MAX_BIAS:,}; {WAY_OUT}"
            )
        return _Unrolled(layer.name, wiring.forward(), None, bias, {}, before.last + 1)

    def _copies(self, name: str, threshold: int) -> int:
        """Copies of the neurons of a layer that split its largest outgoing weight and threshold."""
        largest = threshold
        for layer in self.stages:
            gain = int(np.abs(np.cumsum(layer.omega, 0)).max()) if isinstance(layer, Neurons) else 1
            for folded in self.folded[layer.name]:
                if folded.source == name:
                    largest = max(largest, gain * int(np.abs(folded.weight).max()))
        return max(1, -(-largest // MAX_WEIGHT))

    def _connect(
        self,
        layer: Neurons | Readout,
        before: _Unrolled,
        gains: np.ndarray,
        own: np.ndarray,
        wiring: _Wiring,
    ) -> tuple[np.ndarray, np.ndarray]:
        """Connect `own` [copies, T, units] to the layer before, with weights W · gains[t, j].

        Returns:
            The largest and the smallest sum of what can arrive, int64 [T, units] each.
        """
        highest, lowest = np.zeros((2, *own.shape[1:]), np.int64)
        for folded in self.folded[layer.name]:
            block = before.blocks[folded.source]
            low, high = self._range(folded.source, block)
            shapes = self.net.shapes[folded.source], self.net.shapes[layer.name]
            matrix = _matrix(folded, *shapes)
            for t, j in np.ndindex(own.shape[1], block.index.shape[1]):
                scaled = matrix * gains[t, j]
                positive, negative = np.maximum(scaled, 0), np.minimum(scaled, 0)
                highest[t] += (positive * high + negative * low).sum(1)
                lowest[t] += (positive * low + negative * high).sum(1)
                parts = _split(scaled, len(block.index))
                for sources, part in zip(block.index[:, j], parts, strict=True):
                    for targets in own[:, t]:
                        wiring.connect(targets[:, None], sources, part.astype(np.int32))
        return highest, lowest

    def _range(self, source: str, block: _Block) -> tuple[int, int]:
        """Smallest (at most 0) and largest (at least 0) number of spikes per window."""
        if source == self.net.input.name:
            return min(self.net.input.min_value, 0), max(self.net.input.max_value, 0)
        return 0, block.most


@dataclass(frozen=True)
class _Potentials:
    """Constants of the neurons [T, units] of one layer.

    Attributes:
        theta: Threshold, int64 [units].
        hold: How far the neurons are held below the threshold, int64 [T, units]: more than
            whatever arrives can add.
        bias: Bias, within 16 bits.
        rest: Part of the constant that the bias cannot hold; it enters u with the first inputs.
    """

    theta: np.ndarray
    hold: np.ndarray
    bias: np.ndarray
    rest: np.ndarray

    @classmethod
    def of(cls, layer: Neurons, highest: np.ndarray, units: int) -> _Potentials:
        """Compute them from the largest sums [T, units] that can arrive."""
        theta, v0, bias = (
            np.repeat(values.astype(np.int64), units // len(values))
            for values in (layer.threshold, initial_potential(layer), layer.bias)
        )
        constant = v0 + bias * np.cumsum(layer.omega, 0).sum(1)[:, None]
        hold = np.maximum(1, constant + highest - theta + 1)
        total = constant - (theta - 1) - hold
        within = np.clip(total, -keys.MAX_BIAS, keys.MAX_BIAS)
        return cls(theta, hold, within, total - within)

    def largest(self, highest: np.ndarray, lowest: np.ndarray, fires: int) -> int:
        """Return the largest magnitude that u or v = u + bias can reach.

        The bias and the rest are at most 0, so v is lower than u where u is lowest.
        """
        resets = self.theta * fires * np.arange(1, len(self.hold) + 1)[:, None]
        lower = self.bias + self.rest + lowest - resets
        return int(max((highest + self.hold).max(), -lower.min()))


# ------------------------------------------------------------------------------ parts of a layer


def _add_relays(wiring: _Wiring, before: _Unrolled, later: set[str]) -> dict[str, _Block]:
    """Add relays of what later layers read: each fires one step after its source."""
    relays = {}
    for name, block in before.blocks.items():
        if name in later:
            index = wiring.add(*block.index.shape)
            wiring.connect(index, block.index, 1)
            wiring.feed_back(index, index, -1)
            relays[name] = _Block(index, block.most)
    return relays


def _add_soft_reset(wiring: _Wiring, own: np.ndarray, theta: np.ndarray) -> None:
    """Let each spike subtract θ, from its own neuron and from those of later time-steps."""
    parts = _split(-theta, len(own))
    for t in range(own.shape[1]):
        for earlier in range(t + 1):
            for sources, part in zip(own[:, earlier], parts, strict=True):
                wiring.feed_back(own[:, t], sources, part)


def _add_pulses(
    wiring: _Wiring, clock: _Clock, neurons: np.ndarray, step: int, value: np.ndarray
) -> None:
    """Add `value` to the potential of neurons one step after `step`, by one or more pulses."""
    count = -(-int(np.abs(value).max()) // MAX_WEIGHT)
    for part in _split(np.asarray(value), count):
        wiring.feed_back(neurons, clock.pulse(step), part)


def _linear(layer: Neurons | Readout, folded: Folded) -> Folded:
    """Return a synapse without max pooling; ExportError for another one."""
    if folded.pools:
        raise ExportError(
            f"layer {layer.name!r} reads the max pooling {folded.pools[-1].name!r}, which LIF "
            "neurons without a reset do not compute; train with average pooling, or replace it by "
            f"a convolution of stride {folded.pools[-1].stride}, or {WAY_OUT}"
        )
    return folded


def _check_weights(layer: _Unrolled) -> None:
    """Raise ExportError for a matrix that lava-dl changes (`lmht_deploy.formats.netx.weights`)."""
    if not _keeps_weights(layer):
        raise ExportError(
            f"layer {layer.name!r} has weights that lava-dl 0.6 does not keep "
            f"({layer.weight.min()}..{layer.weight.max()}); {WAY_OUT}"
        )


def _keeps_weights(layer: _Unrolled) -> bool:
    if not layer.weight.any():  # lava-dl raises an OverflowError
        return False
    shape = (len(layer.weight),)
    zeros = np.zeros(shape, np.int64)
    dense = NetXDense(shape, READOUT, layer.weight, zeros, None, layer.recurrent)
    kept, recurrent = effective_weights(dense)
    if recurrent is not None and (recurrent != layer.recurrent).any():
        return False
    return np.array_equal(kept, layer.weight)


# ---------------------------------------------------------------------------------------- arrays


def _matrix(folded: Folded, source: Shape, target: Shape) -> np.ndarray:
    """Return a synapse as a dense matrix, int64 [units of the target, units of the source]."""
    if folded.weight.ndim == 2:
        return folded.weight
    matrix = np.zeros((*target, *source), np.int64)
    outputs, inputs = target[0] // folded.groups, folded.weight.shape[1]
    geometry = folded.stride, folded.padding, folded.dilation, folded.extent
    for y, x, i, j in np.ndindex(*target[1:], *folded.weight.shape[2:]):
        row, column = (
            s * n + d * tap - p if s * n + d * tap - p < extent else -1
            for n, tap, s, p, d, extent in zip((y, x), (i, j), *geometry, strict=True)
        )
        if row < 0 or column < 0:
            continue
        for group in range(folded.groups):
            to = slice(group * outputs, (group + 1) * outputs)
            of = slice(group * inputs, (group + 1) * inputs)
            matrix[to, y, x, of, row, column] = folded.weight[to, :, i, j]
    return matrix.reshape(int(np.prod(target)), -1)


def _filled(
    matrix: np.ndarray, parts: list[tuple[np.ndarray, np.ndarray, np.ndarray | int]]
) -> np.ndarray:
    """Add every part (targets, sources, weight) to `matrix`."""
    for targets, sources, weight in parts:
        matrix[targets, sources] += weight
    return matrix


def _split(values: np.ndarray, parts: int) -> np.ndarray:
    """Return `parts` arrays of nearly equal integers that sum to `values`."""
    return np.array([(values + part) // parts for part in range(parts)])


def _record(layer: _Unrolled) -> ExactLayerRecord:
    """Return the record of one layer of the file."""
    record = ExactLayerRecord(name=layer.name, type=keys.INPUT, shape=(len(layer.bias),))
    if layer.weight.shape[1] == 0:
        return record
    record = dataclasses.replace(
        record,
        type=keys.DENSE,
        weight=layer.weight.astype(np.int16),
        bias=layer.bias.astype(np.int32),
    )
    if layer.recurrent is None:
        return record
    own = layer.blocks[layer.name]
    _, steps, units = own.index.shape
    parts = UnrolledRecord(
        steps=steps, fires=own.most, first=layer.last + 1 - steps * own.most, units=units
    )
    return dataclasses.replace(
        record,
        type=keys.RECURRENT,
        recurrent=layer.recurrent.astype(np.int16),
        neurons=INTEGRATORS,
        unrolled=parts,
    )
