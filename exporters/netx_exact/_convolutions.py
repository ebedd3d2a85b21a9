"""Convolutions of neurons that keep nothing.

With `iDecay = vDecay = 4096` a stock neuron fires where the sum of one step reaches its threshold,
and forgets it. Layers of such neurons compute a layer of T time-steps and L levels without a leak.
Let I[t] be the current after the T-GIM (the matrix that mixes time-steps), v0 the initial potential
and θ the threshold. With S[t] = v0 + I[1] + ... + I[t] and F[t] = floor(S[t] / θ), the spikes are

    k[t] = clip(F[t] - k[1] - ... - k[t-1], 0, L)

A count is held in unary: as many of its neurons, its digits, fire as the count says.

* One convolution computes the digits of all F[t]: neuron (t, n), n = 1 ... t·L, fires if
  S[t] >= n·θ. It reads time-step j with W times the sum of column j over the first t rows of the
  T-GIM.
* The digits of k[1] are those of F[1]. For t = 2 ... T, a convolution of 1x1 computes the digits of
  k[t]: neuron l = 1 ... L fires if (digits of F[t]) - (digits of k[1] ... k[t-1]) >= l. More digits
  of F[t] than t·L are not needed, because k[1] + ... + k[t-1] + l <= t·L.

A layer of the file reads the layer before it and no other. So each also repeats, one step later,
the spikes that later layers read: it has channels of its own, and channels that repeat. A
convolution of stride s repeats the s·s planes of every s-th pixel as channels of their own. The
read-out is a convolution, too.

A bias acts at every step, also without a sample. So a constant that could then make a neuron fire
is the weight of a token: a channel of ones, which enters with the sample and is repeated like the
others.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import TypeAlias

import numpy as np

from lmht_deploy.errors import ExportError
from lmht_deploy.formats.netx import keys
from lmht_deploy.formats.netx.exact import (
    MEMORYLESS,
    SILENT,
    DigitsRecord,
    ExactFile,
    ExactLayerRecord,
)
from lmht_deploy.formats.netx.fold import Folded, fold
from lmht_deploy.ir import Input, MaxPool, Network, Neurons, Pair, Readout, Shape

from ._shared import (
    WAY_OUT,
    initial_potential,
    refuse_second_reader,
    require_range,
    require_size,
    spikes_per_step,
)

Stage: TypeAlias = Neurons | Readout | MaxPool
"""A layer of the network that becomes one or more layers of the file."""


def convolved(net: Network) -> ExactFile:
    """Return the file of a network.

    Raises:
        ExportError: Convolutions cannot express the network; the message names the layer.
    """
    chain = _Chain(net)
    for number in range(len(chain.stages)):
        chain.add(number)
    return ExactFile(
        window=net.window_shape,
        input_range=(net.input.min_value, net.input.max_value),
        copies=1,
        scale=net.readout.scale,
        token=chain.token or None,
        steps=len(chain.records),
        layers=tuple(chain.records),
        metadata=net.metadata,
    )


# ------------------------------------------------------------------------------- what is read


@dataclass(frozen=True)
class _Block:
    """Channels that hold the values of one layer, or of one phase of it.

    Pixel y of the channels is pixel stride·y + phase of the layer.

    Attributes:
        index: Numbers of the channels, [C, T, digits]; the value is the sum of the digits.
        low: Smallest value of a digit.
        high: Largest value of a digit.
        plane: Rows and columns of the layer.
        stride: (vertical, horizontal).
        phase: (vertical, horizontal).
    """

    index: np.ndarray
    low: int
    high: int
    plane: Pair
    stride: Pair = (1, 1)
    phase: Pair = (0, 0)

    @property
    def range(self) -> Pair:
        """Smallest and largest value."""
        digits = self.index.shape[2]
        return digits * self.low, digits * self.high

    @property
    def extent(self) -> Pair:
        """Rows and columns that the channels need."""
        rows, columns = (
            -(-(size - phase) // stride)
            for size, phase, stride in zip(self.plane, self.phase, self.stride, strict=True)
        )
        return rows, columns


@dataclass(frozen=True)
class _Read:
    """How a stage reads a layer.

    Attributes:
        source: The layer.
        weight: int64 [C_out, C_in, kh, kw].
        stride: (vertical, horizontal); 0 where there is one output.
        padding: (vertical, horizontal).
        dilation: (vertical, horizontal).
    """

    source: str
    weight: np.ndarray
    stride: Pair
    padding: Pair
    dilation: Pair = (1, 1)

    def taps(self, block: _Block) -> Iterator[tuple[Pair, Pair]]:
        """Yield position in the kernel, and offset in the channels, of each tap that reads them."""
        axes = (list(self._axis(axis, block)) for axis in (0, 1))
        for (i, y), (j, x) in product(*axes):
            yield (i, j), (y, x)

    def _axis(self, axis: int, block: _Block) -> Iterator[tuple[int, int]]:
        for tap in range(self.weight.shape[2 + axis]):
            pixel = self.dilation[axis] * tap - self.padding[axis] - block.phase[axis]
            if pixel % block.stride[axis] == 0:
                yield tap, pixel // block.stride[axis]


def _read(net: Network, layer: Neurons | Readout, folded: Folded, shape: Shape) -> _Read:
    """Return how `layer` of `shape` reads the source of a synapse."""
    source = folded.pools[-1].name if folded.pools else folded.source
    inputs = _plane(net, source)
    if folded.weight.ndim == 2:
        return _Read(source, folded.weight.reshape(len(folded.weight), *inputs), (0, 0), (0, 0))
    read = _Read(source, _ungrouped(folded), folded.stride, folded.padding, folded.dilation)
    last = (
        s * (n - 1) - p + d * (k - 1)
        for s, n, p, d, k in zip(
            read.stride, shape[1:], read.padding, read.dilation, read.weight.shape[2:], strict=True
        )
    )
    for size, extent, pixel in zip(inputs[1:], folded.extent, last, strict=True):
        if extent < size and pixel >= extent:
            raise ExportError(
                f"layer {layer.name!r} pads a sum pooling that leaves out pixels of {source!r}; "
                f"choose a pooling that divides its plane, or {WAY_OUT}"
            )
    return read


def _ungrouped(folded: Folded) -> np.ndarray:
    """Return the weights of a convolution without groups, int64 [C_out, C_in, kh, kw]."""
    groups, (outputs, inputs, *kernel) = folded.groups, folded.weight.shape
    found = np.zeros((groups, outputs // groups, groups, inputs, *kernel), np.int64)
    for group, weight in enumerate(np.split(folded.weight, groups)):
        found[group, :, group] = weight
    return found.reshape(outputs, groups * inputs, *kernel)


def _pooling(net: Network, pool: MaxPool) -> _Read:
    """Return how a maximum reads spikes: a digit of it is 1 where one digit under it is."""
    if not isinstance(net[pool.source], Neurons | MaxPool):
        what = "the input" if isinstance(net[pool.source], Input) else "sums"
        raise ExportError(
            f"layer {pool.name!r} is a maximum of {what}, and stock neurons compute that of single "
            f"spikes only; pool the spikes of a layer of neurons, or {WAY_OUT}"
        )
    channels = _plane(net, pool.source)[0]
    weight = np.broadcast_to(
        np.eye(channels, dtype=np.int64)[..., None, None], (channels, channels, *pool.kernel)
    )
    return _Read(pool.source, weight, pool.stride, pool.padding)


def _plane(net: Network, name: str) -> Shape:
    """Return the shape of a layer as (C, H, W)."""
    shape = net.shapes[name]
    return shape if len(shape) == 3 else (*shape, 1, 1)


# ------------------------------------------------------------------------- layers of neurons


@dataclass(frozen=True)
class _Digits:
    """Factors and constants of the neurons (channel, digit) of one convolution.

    The weight of a neuron is weight // divisor · gain. It fires if Σ weight·value + drive >= 1.

    Attributes:
        gain: Factor of time-step j of the layer that is read, int64 [digits, J].
        divisor: Common divisor of the weights of a channel, int64 [C].
        drive: int64 [C, digits].
    """

    gain: np.ndarray
    divisor: np.ndarray
    drive: np.ndarray

    @property
    def bias(self) -> np.ndarray:
        """Part of `drive` that is a bias: it holds without a sample, and may not make it fire."""
        kept: np.ndarray = np.clip(self.drive, -keys.MAX_BIAS, 0)
        return kept

    @property
    def token(self) -> np.ndarray:
        """Part of `drive` that enters with the sample."""
        rest: np.ndarray = self.drive - self.bias
        return rest


class _ReadoutDigits(_Digits):
    """The same for the read-out, whose neurons never fire."""

    @property
    def bias(self) -> np.ndarray:
        kept: np.ndarray = np.clip(self.drive, -keys.MAX_BIAS, keys.MAX_BIAS)
        return kept


def _digits(layer: Neurons, reads: Sequence[_Read]) -> _Digits:
    """Return the digits of all F[t] of a layer, t by t.

    The weights of a neuron are divided by their greatest common divisor. What they must reach is
    divided too, and rounded up.
    """
    steps, levels = len(layer.omega), spikes_per_step(layer)
    step = np.repeat(np.arange(steps), levels * np.arange(1, steps + 1))
    number = np.concatenate([1 + np.arange(levels * (t + 1)) for t in range(steps)])
    gains = np.cumsum(layer.omega.astype(np.int64), 0)
    shared = np.maximum(1, np.gcd.reduce(gains, 1))
    divisor = np.maximum(1, np.gcd.reduce(np.hstack([_rows(read) for read in reads]), 1))
    constant = initial_potential(layer)[:, None] + np.outer(layer.bias, gains.sum(1))
    needed = number * layer.threshold.astype(np.int64)[:, None] - constant[:, step]
    needed = -(-needed // (divisor[:, None] * shared[step]))
    return _Digits((gains // shared[:, None])[step], divisor, 1 - needed)


def _rows(read: _Read) -> np.ndarray:
    """Return the weights of each output channel, [C_out, n]."""
    return read.weight.reshape(len(read.weight), -1)


def _readout_digits(layer: Readout, steps: int) -> _Digits:
    bias = layer.bias.astype(np.int64) * steps
    ones = np.ones_like(bias)
    return _ReadoutDigits(np.ones((1, steps), np.int64), ones, bias[:, None])


def _range(
    digits: _Digits, reads: Sequence[_Read], blocks: Mapping[str, tuple[_Block, ...]]
) -> int:
    """Return the largest magnitude of u and v that the neurons can reach."""
    highest, lowest = np.zeros((2, *digits.drive.shape), np.int64)
    up, down = np.maximum(digits.gain, 0).sum(1), np.minimum(digits.gain, 0).sum(1)
    for read in reads:
        weight, block = _rows(read) // digits.divisor[:, None], blocks[read.source][0]
        plus, minus = np.maximum(weight, 0).sum(1), np.minimum(weight, 0).sum(1)
        most = np.outer(plus, up) + np.outer(minus, down)
        least = np.outer(plus, down) + np.outer(minus, up)
        low, high = block.range
        highest += high * most + low * least
        lowest += low * most + high * least
    ends = (end + part for end in (highest, lowest) for part in (digits.token, digits.drive))
    return max(int(np.abs(end).max()) for end in ends)


# ------------------------------------------------------------------------- layers of the file


class _Convolution:
    """Weights of one layer of the file, added tap by tap."""

    def __init__(self, name: str, before: _Plane, channels: int, plane: Pair, stride: Pair) -> None:
        self.name, self.before, self.channels = name, before, channels
        self.plane, self.stride = plane, stride
        self.bias = np.zeros(channels, np.int64)
        self._taps: list[tuple[Pair, np.ndarray, np.ndarray, tuple[np.ndarray | int, ...]]] = []

    def connect(
        self, offset: Pair, targets: np.ndarray, sources: np.ndarray, *factors: np.ndarray | int
    ) -> None:
        """Read `sources` at the pixel stride·y + offset, with the product of `factors` as weight.

        All arrays broadcast.
        """
        self._taps.append((offset, targets, sources, factors))

    def connect_token(self, targets: np.ndarray, weight: np.ndarray | int) -> None:
        """Let the token of the layer before enter `targets`."""
        assert self.before.token is not None
        for axis in (0, 1):
            if self.stride[axis] * (self.plane[axis] - 1) >= self.before.plane[axis]:
                raise ExportError(
                    f"layer {self.name!r} pads more than half of its kernel, so that an output may "
                    f"read no pixel, and a constant enters with the pixels only; {WAY_OUT}"
                )
        self.connect((0, 0), targets, np.array(self.before.token), weight)

    def record(self) -> ExactLayerRecord:
        """Return the layer."""
        axes = [self._axis(axis) for axis in (0, 1)]
        (top, height), (left, width) = axes
        shape = (self.channels, self.before.channels, height, width)
        if max(height, width, *self.stride, top, left) > keys.MAX_GEOMETRY:
            raise ExportError(
                f"layer {self.name!r} has a kernel, stride or padding beyond "
                f"{keys.MAX_GEOMETRY}, and lava-nc 0.10 keeps them in 8 bits; {WAY_OUT}"
            )
        require_size(self.name, int(np.prod(shape)))
        weight = np.zeros(shape, np.int32)
        for (y, x), targets, sources, factors in self._taps:
            value = functools.reduce(np.multiply, factors)
            weight[targets, sources, y + top, x + left] += value
        return _record(weight, self.bias, self.plane, self.stride, (top, left))

    def _axis(self, axis: int) -> Pair:
        """Return padding and kernel size such that the output has its size."""
        offsets = [offset[axis] for offset, *_ in self._taps]
        before, after = max(0, -min(offsets)), max(0, *offsets)
        stride, size = self.stride[axis], self.before.plane[axis]
        least = stride * (self.plane[axis] - 1) + 1 - size
        before = max(before, after + least)
        after = max(after, before - least - stride + 1)
        return before, before + after + 1


@dataclass(frozen=True)
class _Plane:
    """A layer of the file as the next one reads it.

    Attributes:
        channels: Number of channels.
        plane: Rows and columns.
        blocks: The channels that hold each layer of the network, by its name.
        token: Number of the channel of ones; None without one.
    """

    channels: int
    plane: Pair
    blocks: Mapping[str, tuple[_Block, ...]]
    token: int | None


def _record(
    weight: np.ndarray,
    bias: np.ndarray,
    plane: Pair,
    stride: Pair = (1, 1),
    padding: Pair = (0, 0),
    groups: int = 1,
) -> ExactLayerRecord:
    return ExactLayerRecord(
        type=keys.CONV,
        shape=(len(weight), *plane),
        weight=weight,
        bias=bias.astype(np.int32),
        stride=stride,
        padding=padding,
        dilation=(1, 1),
        groups=groups,
        neurons=MEMORYLESS,
    )


@dataclass(frozen=True)
class _Lanes:
    """How the channels of a stage are divided, so that 1x1 convolutions can have groups.

    Each channel of the network has a lane. After layer t of the stage it holds the digits of
    k[1] ... k[t] and of F[t + 1] ... F[T]. Channels that repeat fill further lanes, T·L each.

    Attributes:
        channels: C.
        steps: T.
        levels: L.
        n_repeating: Number of channels that repeat others.
    """

    channels: int
    steps: int
    levels: int
    n_repeating: int

    @property
    def per_group(self) -> int:
        """Lanes per group; lava-nc has at most 127 groups."""
        return -(-self._lanes // keys.MAX_GEOMETRY)

    @property
    def groups(self) -> int:
        return -(-self._lanes // self.per_group)

    @property
    def _lanes(self) -> int:
        return self.channels + -(-self.n_repeating // (self.steps * self.levels))

    def width(self, t: int) -> int:
        """Channels per lane in layer t = 1 ... T."""
        return self.levels * (t + sum(range(t + 1, self.steps + 1)))

    def total(self, t: int) -> int:
        """Channels of layer t."""
        if self.steps == 1:
            return self.channels * self.levels + self.n_repeating
        return self.groups * self.per_group * self.width(t)

    def own(self, t: int) -> np.ndarray:
        """Return the numbers of the layer's own channels in layer t, [C, width]."""
        return np.arange(self.channels * self.width(t)).reshape(self.channels, -1)

    def repeating(self, t: int) -> np.ndarray:
        """Return the numbers of the channels that repeat, in layer t."""
        lane, slot = np.divmod(np.arange(self.n_repeating), self.steps * self.levels)
        found: np.ndarray = (self.channels + lane) * self.width(t) + slot
        return found

    def subtract(self, name: str, t: int, plane: Pair) -> ExactLayerRecord:
        """Return layer t > 1, which computes k[t] from F[t] and k[1] ... k[t-1]."""
        width, before, levels = self.width(t), self.width(t - 1), self.levels
        spikes, digits = (t - 1) * levels, (2 * t - 1) * levels
        lane = np.zeros((width, before), np.int32)
        lane[:spikes, :spikes] = np.eye(spikes)
        lane[spikes : t * levels, :spikes] = -1
        lane[spikes : t * levels, spikes:digits] = 1
        lane[t * levels :, digits:] = np.eye(width - t * levels)
        repeat = np.eye(width, before, dtype=np.int32)
        lanes = self.groups * self.per_group
        require_size(name, lanes * width * self.per_group * before)
        weight = np.zeros((self.groups, self.per_group, width, self.per_group, before), np.int32)
        for number in range(lanes):
            group, place = divmod(number, self.per_group)
            weight[group, place, :, place] = lane if number < self.channels else repeat
        bias = np.zeros((lanes, width), np.int64)
        bias[: self.channels, spikes : t * levels] = -np.arange(levels)
        kernels = weight.reshape(lanes * width, self.per_group * before, 1, 1)
        return _record(kernels, bias.ravel(), plane, groups=self.groups)


@dataclass(frozen=True)
class _Repeat:
    """What a stage repeats for later ones.

    Attributes:
        source: The layer of the network that a later stage reads.
        block: The channels of the layer before, one phase of them.
        offset: Position of the phase under the stride of the stage.
    """

    source: str
    block: _Block
    offset: Pair


class _Chain:
    """The layers of the file, one stage of the network after the other."""

    def __init__(self, net: Network) -> None:
        self.net = net
        self.stages: list[Stage] = [
            layer for layer in net.layers if isinstance(layer, Neurons | Readout | MaxPool)
        ]
        self.reads = [self._reads(stage) for stage in self.stages]
        self.digits = [
            self._constants(stage, reads)
            for stage, reads in zip(self.stages, self.reads, strict=True)
        ]
        self.token = self._needs_token(0)
        self.before = self._input()

    def _reads(self, stage: Stage) -> list[_Read]:
        if isinstance(stage, MaxPool):
            return [_pooling(self.net, stage)]
        return [
            _read(
                self.net, stage, fold(self.net, stage.name, synapse), _plane(self.net, stage.name)
            )
            for synapse in stage.synapses
        ]

    def _constants(self, stage: Stage, reads: list[_Read]) -> _Digits | None:
        match stage:
            case Neurons():
                return _digits(stage, reads)
            case Readout():
                return _readout_digits(stage, self.net.blocks(stage.synapses[0].source))
        return None

    def _input(self) -> _Plane:
        entry, (channels, *plane) = self.net.input, _plane(self.net, self.net.input.name)
        count = entry.steps * channels
        index = np.arange(count).reshape(entry.steps, channels).T[..., None]
        low, high = min(entry.min_value, 0), max(entry.max_value, 0)
        token = count if self.token else None
        size = count + self.token
        rows, columns = plane
        self.records = [
            ExactLayerRecord(name=entry.name, type=keys.INPUT, shape=(size, rows, columns))
        ]
        block = _Block(index, low, high, (rows, columns))
        return _Plane(size, (rows, columns), {entry.name: (block,)}, token)

    def _needs_token(self, number: int) -> bool:
        """Whether stage `number` or a later one has a constant that enters with the sample."""
        return any(digits and digits.token.any() for digits in self.digits[number:])

    def add(self, number: int) -> None:
        """Add the layers of one stage: a convolution, and T - 1 layers that subtract."""
        stage, reads = self.stages[number], self.reads[number]
        _, rows, columns = _plane(self.net, stage.name)
        plane, stride = (rows, columns), self._stride(stage.name, reads)
        repeats = list(self._repeats(number, plane, stride))
        token = self._needs_token(number + 1)
        n_repeating = sum(repeat.block.index.size for repeat in repeats) + token
        lanes = self._lanes(stage, n_repeating)
        layer = _Convolution(stage.name, self.before, lanes.total(1), plane, stride)
        self._connect(layer, lanes.own(1), number)
        _connect_repeats(layer, lanes.repeating(1), repeats, token)
        self.records += [layer.record()]
        self.records += [lanes.subtract(stage.name, t, plane) for t in range(2, lanes.steps + 1)]
        self.records[-1] = self._named(self.records[-1], stage, lanes)
        self.before = self._after(stage, plane, lanes, repeats, token)

    def _stride(self, name: str, reads: list[_Read]) -> Pair:
        """Return the stride of the convolution that reads all sources of a stage."""
        found: tuple[set[int], set[int]] = (set(), set())
        for read, axis in product(reads, (0, 1)):
            for block in self.before.blocks[read.source]:
                stride, rest = divmod(read.stride[axis], block.stride[axis])
                found[axis].update({stride} - {0} if rest == 0 else {stride, stride + 1})
        if max(map(len, found)) > 1:
            raise ExportError(
                f"layer {name!r} reads planes of several sizes, and one convolution reads the "
                f"layer before it; order the layers by size, or {WAY_OUT}"
            )
        return max(found[0], default=1), max(found[1], default=1)

    def _repeats(self, number: int, plane: Pair, stride: Pair) -> Iterator[_Repeat]:
        """Yield what stage `number` repeats for later ones."""
        name = self.stages[number].name
        later = [read for reads in self.reads[number + 1 :] for read in reads]
        for source, blocks in self.before.blocks.items():
            wanted = [read for read in later if read.source == source]
            if wanted and source == self.net.input.name:
                refuse_second_reader(name)
            for block, offset in product(blocks, product(range(stride[0]), range(stride[1]))):
                phase = _phase(block, stride, offset)
                if not any(any(read.taps(phase)) for read in wanted):
                    continue
                if phase.extent[0] > plane[0] or phase.extent[1] > plane[1]:
                    raise ExportError(
                        f"layer {name!r} has fewer pixels than {source!r}, which a shortcut passes "
                        f"by it; {WAY_OUT}"
                    )
                yield _Repeat(source, phase, offset)

    def _lanes(self, stage: Stage, n_repeating: int) -> _Lanes:
        channels = _plane(self.net, stage.name)[0]
        match stage:
            case Neurons():
                return _Lanes(channels, len(stage.omega), spikes_per_step(stage), n_repeating)
            case MaxPool():
                _, steps, levels = self.before.blocks[stage.source][0].index.shape
                return _Lanes(channels, 1, steps * levels, n_repeating)
        return _Lanes(channels, 1, 1, n_repeating)

    def _connect(self, layer: _Convolution, own: np.ndarray, number: int) -> None:
        """Connect the stage's `own` channels [C, digits] to the layer before."""
        digits, reads = self.digits[number], self.reads[number]
        for read in reads:
            for block in self.before.blocks[read.source]:
                for (i, j), offset in read.taps(block):
                    if digits is None:
                        layer.connect(offset, own, block.index.reshape(own.shape), 1)
                        continue
                    weight = read.weight[:, :, i, j] // digits.divisor[:, None]
                    layer.connect(
                        offset,
                        own[:, :, None, None, None],
                        block.index,
                        weight[:, None, :, None, None],
                        digits.gain[:, None, :, None],
                    )
        if digits is None:
            return
        require_range(layer.name, _range(digits, reads, self.before.blocks))
        layer.bias[own] = digits.bias
        if digits.token.any():
            layer.connect_token(own, digits.token)

    def _named(self, record: ExactLayerRecord, stage: Stage, lanes: _Lanes) -> ExactLayerRecord:
        """Return the last layer of a stage with what it means in the network."""
        if isinstance(stage, Readout):
            return dataclasses.replace(record, name=stage.name, neurons=SILENT)
        if isinstance(stage, MaxPool):
            return dataclasses.replace(record, name=stage.name)
        digits = DigitsRecord(lanes.channels, lanes.steps, lanes.levels, first=len(self.records))
        return dataclasses.replace(record, name=stage.name, digits=digits)

    def _after(
        self,
        stage: Stage,
        plane: Pair,
        lanes: _Lanes,
        repeats: list[_Repeat],
        token: bool,
    ) -> _Plane:
        """Return the last layer of a stage as the next one reads it."""
        own = lanes.own(lanes.steps)
        steps = self.net.blocks(stage.name) if not isinstance(stage, Readout) else 1
        block = _Block(own.reshape(len(own), steps, -1), 0, 1, plane)
        blocks: dict[str, tuple[_Block, ...]] = {stage.name: (block,)}
        repeating = lanes.repeating(lanes.steps)
        for numbers, repeat in _shares(repeating, repeats):
            index = numbers.reshape(repeat.block.index.shape)
            held = dataclasses.replace(repeat.block, index=index)
            blocks[repeat.source] = (*blocks.get(repeat.source, ()), held)
        last = int(repeating[-1]) if token else None
        return _Plane(lanes.total(lanes.steps), plane, blocks, last)


def _phase(block: _Block, stride: Pair, offset: Pair) -> _Block:
    """Return the pixels stride·y + offset of the channels of `block`."""
    (sy, sx), (py, px) = block.stride, block.phase
    return dataclasses.replace(
        block,
        stride=(sy * stride[0], sx * stride[1]),
        phase=(py + sy * offset[0], px + sx * offset[1]),
    )


def _connect_repeats(
    layer: _Convolution, repeating: np.ndarray, repeats: list[_Repeat], token: bool
) -> None:
    """Let the channels `repeating` repeat the channels of `repeats`, and the last one the token."""
    for numbers, repeat in _shares(repeating, repeats):
        layer.connect(repeat.offset, numbers, repeat.block.index.ravel(), 1)
    if token:
        layer.connect_token(repeating[-1:], 1)


def _shares(repeating: np.ndarray, repeats: list[_Repeat]) -> Iterator[tuple[np.ndarray, _Repeat]]:
    """Yield for each of `repeats` the numbers of the channels that repeat it."""
    used = 0
    for repeat in repeats:
        count = repeat.block.index.size
        yield repeating[used : used + count], repeat
        used += count
