"""Network -> NetX file on which unmodified lava-dl 0.6 gives exact spikes: soft reset, levels, T-GIM and residual sums from stock LIF neurons.

Every layer becomes a `dense_rec` layer of LIF neurons whose current u never decays and whose potential is v = u + bias, so that u is a
potential that no spike resets; a recurrent weight of -θ from each neuron to itself subtracts θ one step later, together with the
next current: a soft reset. Time is unrolled in space: a neuron of T time-steps becomes T neurons, of which number t adds up
I[1] + … + I[t] (its weights are W times the T-GIM's column sums) and is inhibited by the spikes of those before it, too. Each may
fire in L steps of its own: at all other times its bias holds it below the threshold by more than it can reach, and a gate lifts it
for those steps. Gates are pulses from a clock, a chain of neurons in which one spike runs. Shortcuts travel through relays.

A sample is one run: the whole window enters as one graded frame at the first step (docs/netx.md).
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path

import h5py
import numpy as np

from lmht_deploy import reference
from lmht_deploy.errors import ExportError
from lmht_deploy.formats.files import atomic_write, hdf5_checksum
from lmht_deploy.ir import LEAK_ONE, Conv, Network, Neurons, Readout, Shape
from lmht_deploy.netx import Dense
from lmht_deploy.netx.dense import effective_weights
from lmht_deploy.netx.file import READOUT

from .netx import STOCK_BIAS, STOCK_THRESHOLD, Folded, fold

WEIGHT = 254
"""Largest weight of a dense synapse in lava-dl 0.6; a larger one is split over copies of the neuron that it comes from."""
LARGEST = 32_000_000
"""Weights of a layer, zeros included, beyond which the export is refused: it is for small networks."""
WAY_OUT = "export without --stock-exact: Lava as run by lmht-deploy is exact with that file"


def export_netx_exact(net: Network, path: str | Path) -> None:
    """Write the integer network `net` to the NetX file `path` for stock lava-dl, exactly; whole or not at all.

    Raises ExportError, naming the layer and a way out, for what stock neurons cannot do: float networks, max pooling, a leak over
    several time-steps, a shortcut from the input, levels and sub-steps at once, the paper's uniform injection, potentials beyond
    24 bits, a read-out's bias beyond 16, and layers of more than 32 million unrolled weights. StorageError where the file cannot be written.
    """
    if not net.integer:
        raise ExportError(
            "a NetX file holds integers, and this network is a float one; quantise it first"
        )
    layers = _Unroller(net).layers()
    with atomic_write(path) as temporary, h5py.File(temporary, "w") as file:
        _write(file, net, layers)
        file.attrs.update(metadata=json.dumps(dict(net.metadata), sort_keys=True))
        file.attrs["checksum"] = hdf5_checksum(file)


@dataclass
class _Block:
    """Neurons [copies, steps, units] of one layer that carry the spikes of layer `name`: itself, or a relay of it."""

    name: str
    start: int
    copies: int
    steps: int
    units: int
    most: int
    """spikes of one of them in a window"""

    @property
    def size(self) -> int:
        return self.copies * self.steps * self.units

    def index(self) -> np.ndarray:
        return self.start + np.arange(self.size).reshape(self.copies, self.steps, self.units)


@dataclass
class _Unrolled:
    """One layer of the file: weights from the layer before and from itself, biases, and the blocks that the next one may read."""

    name: str
    weight: np.ndarray
    recurrent: np.ndarray | None
    bias: np.ndarray
    blocks: dict[str, _Block] = field(default_factory=dict)
    last: int = 0
    """step at which its last spike may be fired"""


class _Unroller:
    def __init__(self, net: Network) -> None:
        self.net = net
        self.stages = [layer for layer in net.layers if isinstance(layer, Neurons | Readout)]
        self.folded = {
            layer.name: [fold(net, layer.name, synapse) for synapse in layer.synapses]
            for layer in self.stages
        }

    def layers(self) -> list[_Unrolled]:
        """The layers of the file, the input as the first of them."""
        net = self.net
        steps, units = net.input.steps, int(np.prod(net.input.shape))
        block = _Block(net.input.name, 0, self._copies(net.input.name, 0), steps, units, 1)
        found = [
            _Unrolled(
                net.input.name,
                np.zeros((block.size, 0)),
                None,
                np.zeros(block.size),
                {block.name: block},
                last=1,
            )
        ]
        for number, layer in enumerate(self.stages):
            later = {
                folded.source
                for other in self.stages[number + 1 :]
                for folded in self.folded[other.name]
            }
            if net.input.name in later:
                raise ExportError(
                    f"layer {layer.name!r} is not the only one that reads the input, whose graded values no LIF neuron can relay; {WAY_OUT}"
                )
            found.append(
                self._neurons(layer, found[-1], later)
                if isinstance(layer, Neurons)
                else self._readout(layer, found[-1])
            )
            _check_weights(found[-1])
        return found

    def _copies(self, name: str, threshold: int) -> int:
        """Copies of the neurons of layer `name` over which its largest outgoing weight, and its threshold, can be split."""
        largest = threshold
        for layer in self.stages:
            gain = int(np.abs(np.cumsum(layer.omega, 0)).max()) if isinstance(layer, Neurons) else 1
            largest = max(
                [
                    largest,
                    *(
                        gain * int(np.abs(folded.weight).max())
                        for folded in self.folded[layer.name]
                        if folded.source == name
                    ),
                ]
            )
        return max(1, -(-largest // WEIGHT))

    def _neurons(self, layer: Neurons, before: _Unrolled, later: set[str]) -> _Unrolled:
        steps, fires = len(layer.omega), _fires(layer)
        units = int(np.prod(self.net.shapes[layer.name]))
        own = _Block(
            layer.name, 0, self._copies(layer.name, int(layer.threshold.max())), steps, units, fires
        )
        relayed = [block for name, block in before.blocks.items() if name in later]
        starts = np.cumsum([own.size, *(block.size for block in relayed)])
        blocks = [
            own,
            *(
                _Block(b.name, int(start), b.copies, b.steps, b.units, b.most)
                for b, start in zip(relayed, starts, strict=False)
            ),
        ]
        first = before.last + 1
        size = self._size(layer.name, int(starts[-1]), before)

        # What reaches the neurons [steps, units] at most and at least, the constants being in their biases.
        gains = np.cumsum(layer.omega, 0)
        weight, highest, lowest = self._currents(layer, before, gains, own, size)
        per_unit = {
            name: np.repeat(getattr(layer, name).astype(np.int64), units // len(layer.threshold))
            for name in ("threshold", "v0", "bias")
        }
        v0 = np.sign(per_unit["v0"]) * (np.abs(per_unit["v0"]) * layer.leak // LEAK_ONE)
        constant = v0 + per_unit["bias"] * gains.sum(1)[:, None]
        hold = np.maximum(
            1, (constant + highest - per_unit["threshold"] + 1).max(1)
        )  # of each time-step: below the threshold, whatever arrives
        bias = constant - (per_unit["threshold"] - 1) - hold[:, None]
        lowest = lowest - per_unit["threshold"] * fires * np.arange(1, steps + 1)[:, None]
        within = np.clip(bias, -STOCK_BIAS, STOCK_BIAS)
        rest = bias - within  # enters u, with the first inputs
        self._check_range(
            layer.name, int(max((highest + hold[:, None]).max(), (np.abs(rest) - lowest).max()))
        )

        clock = _Clock(int(starts[-1]), first + steps * fires)
        pulses = [(first + t * fires - 1, t, sign) for t in range(steps) for sign in (1, -1)]
        gates = [
            (sign, t, part, at + (fires if sign < 0 else 0))
            for at, t, sign in pulses
            for part in _parts(int(hold[t]))
        ]
        rests = _split(rest, -(-int(np.abs(rest).max()) // WEIGHT))
        total = clock.start + clock.steps + len(gates) + len(rests)
        self._size(layer.name, total, before)

        weight = np.pad(weight, ((0, total - size), (0, 0)))
        recurrent = np.zeros((total, total), np.int32)
        for block, source in zip(
            blocks[1:], relayed, strict=True
        ):  # a relay fires one step after what it relays
            weight[block.index(), source.index()] = 1
            recurrent[block.index(), block.index()] = -1
        index, theta = own.index(), _split(-per_unit["threshold"], own.copies)
        for t in range(steps):
            for earlier in range(t + 1):
                for copy in range(own.copies):
                    recurrent[index[:, t], index[copy, earlier]] = theta[copy]
        biases = np.zeros(total, np.int64)
        biases[index] = within
        clock.wind(recurrent, biases)
        for number, (sign, t, part, at) in enumerate(gates):
            gate = clock.start + clock.steps + number
            clock.pulse(recurrent, biases, gate, at)
            recurrent[index[:, t].ravel(), gate] = sign * part
        for number, part in enumerate(rests):
            clock.pulse(recurrent, biases, total - 1 - number, 1)
            recurrent[index, total - 1 - number] = part
        return _Unrolled(
            layer.name,
            weight,
            recurrent,
            biases,
            {block.name: block for block in blocks},
            last=first + steps * fires - 1,
        )

    def _readout(self, layer: Readout, before: _Unrolled) -> _Unrolled:
        units = len(layer.bias)
        size = self._size(layer.name, units, before)
        steps = self.net.blocks(layer.synapses[0].source)
        own = _Block(layer.name, 0, 1, 1, units, 1)
        weight, highest, lowest = self._currents(
            layer, before, np.ones((1, steps), np.int64), own, size
        )
        bias = layer.bias.astype(np.int64) * steps
        self._check_range(layer.name, int(max((highest + bias).max(), -(lowest + bias).min())))
        if np.abs(bias).max() > STOCK_BIAS:
            raise ExportError(
                f"layer {layer.name!r} has a bias of {np.abs(bias).max():,} a window, and LIF neurons hold up to {STOCK_BIAS:,}; {WAY_OUT}"
            )
        return _Unrolled(layer.name, weight, None, bias, last=before.last + 1)

    def _currents(
        self, layer: Neurons | Readout, before: _Unrolled, gains: np.ndarray, own: _Block, size: int
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Weights [size, before]; the largest and least sums [steps, units] of what arrives through them."""
        weight = np.zeros((size, len(before.bias)), np.int32)
        highest, lowest = np.zeros((2, own.steps, own.units), np.int64)
        for folded in self.folded[layer.name]:
            block = before.blocks[folded.source]
            shape = self.net.shapes[folded.source]
            matrix = _matrix(folded, shape, own.units)
            low, high = (
                (self.net.input.min_value, self.net.input.max_value)
                if folded.source == self.net.input.name
                else (0, block.most)
            )
            for t in range(own.steps):
                for j in range(block.steps):
                    scaled = matrix * gains[t, j]
                    ends = scaled * low, scaled * high
                    highest[t] += np.maximum.reduce((*ends, ends[0] * 0)).sum(1)
                    lowest[t] += np.minimum.reduce((*ends, ends[0] * 0)).sum(1)
                    for copy, part in enumerate(_split(scaled, block.copies)):
                        for target in own.index()[:, t]:
                            weight[np.ix_(target, block.index()[copy, j])] += part.astype(np.int32)
        return weight, highest, lowest

    def _size(self, name: str, neurons: int, before: _Unrolled) -> int:
        weights = neurons * (neurons + len(before.bias))
        if weights > LARGEST:
            raise ExportError(
                f"layer {name!r} unrolls into {weights:,} weights, beyond {LARGEST:,}: a stock-exact file is for small networks; {WAY_OUT}"
            )
        return neurons

    def _check_range(self, name: str, potential: int) -> None:
        if potential > STOCK_THRESHOLD:
            raise ExportError(
                f"layer {name!r} has potentials of up to {potential:,}, and LIF neurons hold up to {STOCK_THRESHOLD:,}; quantise to fewer bits, or {WAY_OUT}"
            )


@dataclass
class _Clock:
    """A chain of neurons, of which number i fires at step i + 1 and never again."""

    start: int
    steps: int

    def wind(self, recurrent: np.ndarray, bias: np.ndarray) -> None:
        for i in range(self.steps):
            self.pulse(recurrent, bias, self.start + i, i + 1)

    def pulse(self, recurrent: np.ndarray, bias: np.ndarray, neuron: int, step: int) -> None:
        """Let `neuron` fire once, at `step`: by its bias at the first, else by the clock."""
        if step == 1:
            bias[neuron] = 1
            recurrent[neuron, neuron] = -2
        else:
            recurrent[neuron, self.start + step - 2] = 1
            recurrent[neuron, neuron] = -1


def _fires(layer: Neurons) -> int:
    """Lava steps of one time-step. Refuses what has no step-by-step form here."""
    if layer.levels > 1 and layer.substeps > 1:
        raise ExportError(
            f"layer {layer.name!r} has {layer.levels} levels and {layer.substeps} sub-steps at once; export the network before it was reparameterised"
        )
    if layer.substeps > 1 and layer.injection == "uniform":
        raise ExportError(
            f"layer {layer.name!r} spreads its current over sub-steps; reparameterise with the current at the block's start"
        )
    if layer.leaks and len(layer.omega) > 1:
        raise ExportError(
            f"layer {layer.name!r} has a leak over {len(layer.omega)} time-steps, which LIF neurons without a reset do not do; train without leak, or {WAY_OUT}"
        )
    return layer.levels * layer.substeps


def _matrix(folded: Folded, source: Shape, units: int) -> np.ndarray:
    """The synapse as weights int64 [units, inputs]."""
    if folded.weight.ndim == 2:
        return folded.weight
    inputs = int(np.prod(source))
    columns = []
    weight = folded.weight.astype(np.float64)
    geometry = Conv(
        source="-",
        weight=weight,
        stride=folded.stride,
        padding=folded.padding,
        dilation=folded.dilation,
        groups=folded.groups,
    )
    for start in range(0, inputs, 256):
        unit = np.zeros((min(256, inputs - start), inputs))
        unit[np.arange(len(unit)), start + np.arange(len(unit))] = 1
        unit = unit.reshape(-1, 1, *source)
        unit[..., folded.extent[0] :, :] = 0
        unit[..., folded.extent[1] :] = 0
        columns.append(reference.convolve(unit, weight, geometry).reshape(len(unit), units))
    return np.rint(np.concatenate(columns)).astype(np.int64).T


def _split(values: np.ndarray, parts: int) -> np.ndarray:
    """`parts` arrays of nearly equal integers that sum to `values`."""
    return np.array([(values + part) // parts for part in range(parts)])


def _parts(total: int) -> list[int]:
    return [int(part) for part in _split(np.array(total), max(1, -(-total // WEIGHT)))]


def _check_weights(layer: _Unrolled) -> None:
    """lava-dl loses some matrices of one sign without a word; see lmht_deploy.netx.dense."""
    shape = (len(layer.weight),)
    what = Dense(shape, READOUT, layer.weight, np.zeros(shape, np.int64), None, layer.recurrent)
    kept, kept_recurrent = (
        effective_weights(what) if layer.weight.any() else (None, None)
    )  # all zero: an OverflowError in lava-dl
    if (
        kept is None
        or (kept != layer.weight).any()
        or (kept_recurrent is not None and (kept_recurrent != layer.recurrent).any())
    ):
        raise ExportError(
            f"layer {layer.name!r} has weights that lava-dl 0.6 does not keep ({layer.weight.min()}..{layer.weight.max()}); {WAY_OUT}"
        )


def _write(file: h5py.File, net: Network, layers: list[_Unrolled]) -> None:
    entrance = next(iter(layers[0].blocks.values()))
    file.attrs.update(
        lmht_exact=1,
        lmht_window=(entrance.steps, *net.input.shape),
        lmht_range=(net.input.min_value, net.input.max_value),
        lmht_copies=entrance.copies,
        lmht_scale=net.readout.scale,
    )
    _data(file, "simulation/Ts", 1)
    _data(file, "simulation/tSample", layers[-1].last)
    for number, layer in enumerate(layers):
        group = file.create_group(f"layer/{number}")
        group.attrs["lmht_name"] = layer.name
        kind = "input" if number == 0 else "dense" if layer.recurrent is None else "dense_rec"
        _data(group, "type", np.array([kind.encode()], "S10"))
        _data(group, "shape", np.array([len(layer.bias)], np.int64))
        if number == 0:
            continue
        _data(group, "weight", layer.weight.astype(np.int16))
        _data(group, "bias", layer.bias.astype(np.int32))
        if layer.recurrent is None:
            continue
        own = layer.blocks[layer.name]
        group.attrs.update(
            lmht_steps=own.steps,
            lmht_fires=own.most,
            lmht_first=layer.last + 1 - own.steps * own.most,
            lmht_units=own.units,
        )
        _data(group, "weight_rec", layer.recurrent.astype(np.int16))
        group.create_dataset("neuron/type", data="CUBA", track_times=False)
        for key, value in {
            "iDecay": 0,
            "vDecay": 4096,
            "vThMant": 0,
            "refDelay": 1,
            "gradedSpike": False,
        }.items():
            _data(group, f"neuron/{key}", value)


def _data(group: h5py.Group, name: str, value: object) -> None:
    array = np.asarray(value)
    packed = {"compression": "gzip", "shuffle": True} if array.size > 64 else {}
    group.create_dataset(name, data=array, track_times=False, **packed)
