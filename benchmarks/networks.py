"""Networks of published architectures with synthetic weights.

Thresholds are chosen for a given density: the share of neurons that fire per time-step.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Literal

import numpy as np

from lmht_deploy import reference
from lmht_deploy.ir import (
    LEAK_ONE,
    Conv,
    Flatten,
    Input,
    Layer,
    Linear,
    MaxPool,
    Network,
    Neurons,
    Readout,
    Scale,
    Shape,
    SumPool,
    Synapse,
)

Omega = Literal["identity", "uniform", "general"]
"""Kinds of T-GIM: per-step currents, their sum over the window, and random entries."""

SAMPLED_NEURONS = 4000
"""Neurons of a layer whose density is measured for a candidate threshold."""


def event_windows(shape: Shape, steps: int, batch: int = 1, seed: int = 0) -> np.ndarray:
    """Return windows of a moving ring over noise, with counts 0..3; most cells are empty.

    Shape:
        output: int32 `[batch, steps, C, H, W]` for the shape `(C, H, W)`.
    """
    rng = np.random.default_rng(seed)
    _, height, width = shape
    y, x = np.mgrid[:height, :width]
    windows = np.zeros((batch, steps, *shape), np.int32)
    for step in range(steps):
        distance = np.hypot(x - width * (0.3 + 0.1 * step), y - height / 2)
        ring = np.abs(distance - height / 4) < height * 0.08
        probability = np.where(ring, 0.5, 0.03)
        fires = rng.random((batch, *shape)) < probability
        windows[:, step] = fires * rng.integers(1, 4, (batch, *shape))
    return windows


def random_weights(rng: np.random.Generator, *shape: int) -> np.ndarray:
    """Return weights of 8 bits with a normal distribution."""
    return np.clip(np.rint(rng.normal(0, 25, shape)), -127, 127).astype(int)


class NetworkBuilder:
    """Builds a network layer by layer.

    Each layer of neurons gets the threshold with which a sample window has the requested density.

    Attributes:
        rng: Source of the weights.
        steps: T, also T_in.
        levels: L.
        omega: Kind of T-GIM.
        density: Requested share of neurons that fire per time-step.
        layers: Layers so far.
        shapes: Output shape of each layer, by name.
        outputs: Output of each layer for the sample window, int64 `[1, T, ...]`, by name.
    """

    def __init__(
        self, shape: Shape, steps: int, levels: int, omega: Omega, density: float, seed: int = 0
    ) -> None:
        self.rng = np.random.default_rng(seed)
        self.steps, self.levels, self.omega, self.density = steps, levels, omega, density
        self.layers: list[Layer] = [Input(name="input", shape=shape, steps=steps)]
        self.shapes: dict[str, Shape] = {"input": shape}
        sample = event_windows(shape, steps, seed=seed).astype(np.int64)
        self.outputs: dict[str, np.ndarray] = {"input": sample}

    def conv(self, source: str, channels: int, kernel: int = 3, stride: int = 1) -> Conv:
        """Return a convolution of the output of layer `source`."""
        weight = random_weights(self.rng, channels, self.shapes[source][0], kernel, kernel)
        padding = (kernel // 2, kernel // 2)
        return Conv(source=source, weight=weight, stride=(stride, stride), padding=padding)

    def linear(self, source: str, units: int) -> Linear:
        """Return a fully connected synapse from layer `source`."""
        return Linear(source=source, weight=random_weights(self.rng, units, self.shapes[source][0]))

    def shortcut(self, source: str, weight: int = 127) -> Scale:
        """Return an identity shortcut from layer `source`."""
        return Scale(source=source, weight=np.full(self.shapes[source][0], weight), exponent=2)

    def neurons(self, *synapses: Synapse) -> str:
        """Add a layer of neurons and return its name."""
        name = f"n{len(self.layers)}"
        shape = synapses[0].output_shape(self.shapes[synapses[0].source])
        zero = np.zeros(shape[0], int)
        layer = Neurons(
            name=name,
            synapses=synapses,
            bias=zero + 5,
            threshold=zero + 1,
            omega=self._omega(),
            leak=LEAK_ONE,
            v0=zero,
            levels=self.levels,
        )
        drive = np.einsum("tj,bj...->bt...", layer.omega, self._currents(layer))
        layer = self._with_density(layer, drive)
        self._append(layer, shape, reference.fire(layer, drive))
        return name

    def pool(self, source: str, kind: type[SumPool] | type[MaxPool], kernel: int = 2) -> str:
        """Add a pooling layer without overlap and return its name."""
        window = (kernel, kernel)
        layer = kind(name=f"{source}-pool", source=source, kernel=window, stride=window)
        reduce, border = (np.sum, 0) if kind is SumPool else (np.max, 0)
        output = reference.pool(self.outputs[source], layer, reduce, border)
        self._append(layer, layer.output_shape(self.shapes[source]), output)
        return layer.name

    def flatten(self, source: str) -> str:
        """Add a layer that flattens the output of `source` and return its name."""
        layer = Flatten(name="flatten", source=source)
        output = self.outputs[source].reshape(1, self.steps, -1)
        self._append(layer, layer.output_shape(self.shapes[source]), output)
        return layer.name

    def build(self, source: str, classes: int = 10) -> Network:
        """Return the network with a readout of the flat layer `source`."""
        synapse = self.linear(source, classes)
        readout = Readout(name="logits", synapses=(synapse,), bias=np.zeros(classes, int))
        return Network((*self.layers, readout))

    def _append(self, layer: Layer, shape: Shape, output: np.ndarray) -> None:
        self.layers.append(layer)
        self.shapes[layer.name], self.outputs[layer.name] = shape, output

    def _omega(self) -> np.ndarray:
        omegas = {
            "identity": np.eye(self.steps, dtype=int),
            "uniform": np.ones((self.steps, self.steps), int),
            "general": self.rng.integers(8, 64, (self.steps, self.steps)),
        }
        return omegas[self.omega]

    def _currents(self, layer: Neurons) -> np.ndarray:
        """Currents of the sample window, int64 `[1, T, ...]`."""
        parts = [
            reference.apply_synapse(synapse, self.outputs[synapse.source].astype(np.float64))
            * 2.0**synapse.exponent
            for synapse in layer.synapses
        ]
        total: np.ndarray = np.sum(parts, axis=0)
        total = total + reference.per_channel(layer.bias, total.ndim - 2)
        rounded: np.ndarray = np.rint(total).astype(np.int64)
        return rounded

    def _with_density(self, layer: Neurons, drive: np.ndarray) -> Neurons:
        """Set the lowest threshold at which at most `density` of the neurons fire per step.

        Half of the neurons have a negative potential and never fire with any threshold. For larger
        densities the bias is raised until enough of them fire.
        """
        sample = self._sample(drive)
        maximum = int(np.abs(drive).sum(1).max()) + 1

        def density(threshold: int, bias: int) -> float:
            return _density(layer, sample, threshold, bias)

        if density(1, 0) > self.density:
            threshold = _smallest(lambda value: density(value, 0) <= self.density, maximum)
            return dataclasses.replace(layer, threshold=np.full_like(layer.threshold, threshold))
        if self.density < 0.5:  # a layer that receives hardly any input
            return layer
        bias = _smallest(lambda value: density(1, value) >= self.density, maximum)
        return dataclasses.replace(layer, bias=layer.bias + bias)

    def _sample(self, drive: np.ndarray) -> np.ndarray:
        """The drive of some neurons, as one channel: `[1, T, 1, N]`."""
        size = drive[0, 0].size
        chosen = self.rng.choice(size, min(SAMPLED_NEURONS, size), replace=False)
        flat = drive.reshape(*drive.shape[:2], -1)
        return flat[:, :, chosen].reshape(1, drive.shape[1], 1, -1)


def _density(layer: Neurons, drive: np.ndarray, threshold: int, bias: int) -> float:
    """Share of the neurons and steps of `drive` that fire with `threshold` and a further bias."""
    trial = dataclasses.replace(
        layer, threshold=np.array([threshold]), v0=np.array([0]), bias=np.array([0])
    )
    drive_per_bias = layer.omega.sum(1).reshape(1, -1, 1, 1)  # what a bias of 1 adds to the drive
    return float((reference.fire(trial, drive + bias * drive_per_bias) > 0).mean())


def _smallest(condition: Callable[[int], bool], maximum: int) -> int:
    """The smallest of 1..`maximum` that meets a condition that all larger numbers meet, too."""
    low, high = 1, maximum
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if condition(middle) else (middle + 1, high)
    return low


def resnet18(
    size: int = 48,
    steps: int = 4,
    levels: int = 1,
    omega: Omega = "identity",
    density: float = 0.1,
    channels: int = 2,
) -> Network:
    """Return a ResNet-18 for `[channels, size, size]`; event data have two channels.

    A 3 x 3 stem and four stages of two blocks, with 64 to 512 channels.
    """
    builder = NetworkBuilder((channels, size, size), steps, levels, omega, density)
    last = builder.neurons(builder.conv("input", 64))
    for stage in range(4):
        for block in range(2):
            last = _residual_block(builder, last, 64 << stage, 2 if stage and not block else 1)
    pooled = builder.pool(last, SumPool, builder.shapes[last][1])
    return builder.build(builder.flatten(pooled))


def _residual_block(builder: NetworkBuilder, source: str, channels: int, stride: int) -> str:
    middle = builder.neurons(builder.conv(source, channels, stride=stride))
    skip = builder.conv(source, channels, 1, stride) if stride == 2 else builder.shortcut(source)
    return builder.neurons(builder.conv(middle, channels), skip)


def vgg(
    size: int = 48, steps: int = 4, levels: int = 1, omega: Omega = "identity", density: float = 0.1
) -> Network:
    """Return a VGG with average pooling for event data `[2, size, size]`.

    Channels 64 64 P 128 128 P 256 256 P 512 512 P, then one hidden layer of 512 neurons.
    """
    builder = NetworkBuilder((2, size, size), steps, levels, omega, density)
    last = "input"
    for channels in (64, 128, 256, 512):
        last = builder.neurons(builder.conv(last, channels))
        last = builder.pool(builder.neurons(builder.conv(last, channels)), SumPool)
    hidden = builder.neurons(builder.linear(builder.flatten(last), 512))
    return builder.build(hidden)


def one_layer(channels_in: int, channels_out: int, size: int = 24, steps: int = 4) -> Network:
    """Return one 3 x 3 convolution whose neurons almost never fire, and a readout.

    The input is binary `[channels_in, size, size]`.
    """
    weight = random_weights(np.random.default_rng(0), channels_out, channels_in, 3, 3)
    zero = np.zeros(channels_out, int)
    layer = Neurons(
        name="layer",
        synapses=(Conv(source="input", weight=weight, padding=(1, 1)),),
        bias=zero,
        threshold=zero + 2**20,
        omega=np.eye(steps, dtype=int),
        leak=LEAK_ONE,
        v0=zero,
        levels=1,
    )
    readout = Linear(source="flatten", weight=np.ones((2, channels_out), int))
    return Network(
        (
            Input(name="input", shape=(channels_in, size, size), steps=steps, max_value=1),
            layer,
            SumPool(name="pool", source="layer", kernel=(size, size), stride=(size, size)),
            Flatten(name="flatten", source="pool"),
            Readout(name="logits", synapses=(readout,), bias=np.zeros(2, int)),
        )
    )
