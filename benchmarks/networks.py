"""Networks of the published architectures with synthetic weights, their thresholds set for a density of spikes."""

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


def event_windows(shape: Shape, steps: int, batch: int = 1, seed: int = 0) -> np.ndarray:
    """Windows [batch, steps, *shape] of a moving ring over noise: counts 0..3, most places empty."""
    rng = np.random.default_rng(seed)
    _, height, width = shape
    y, x = np.mgrid[:height, :width]
    windows = np.zeros((batch, steps, *shape), np.int32)
    for step in range(steps):
        ring = (
            np.abs(np.hypot(x - width * (0.3 + 0.1 * step), y - height / 2) - height / 4)
            < height * 0.08
        )
        chance = np.where(ring, 0.5, 0.03)
        windows[:, step] = (rng.random((batch, *shape)) < chance) * rng.integers(
            1, 4, (batch, *shape)
        )
    return windows


class Grower:
    """Adds layers one by one; each layer of neurons gets the threshold that gives `density` for the window `sample`."""

    def __init__(
        self, shape: Shape, steps: int, levels: int, omega: Omega, density: float, seed: int = 0
    ) -> None:
        self.rng = np.random.default_rng(seed)
        self.steps, self.levels, self.omega, self.density = steps, levels, omega, density
        self.layers: list[Layer] = [Input(name="input", shape=shape, steps=steps)]
        self.shapes: dict[str, Shape] = {"input": shape}
        self.outputs: dict[str, np.ndarray] = {
            "input": event_windows(shape, steps, seed=seed).astype(np.int64)
        }

    def conv(self, source: str, channels: int, kernel: int = 3, stride: int = 1) -> Conv:
        weight = self._weights(channels, self.shapes[source][0], kernel, kernel)
        return Conv(source=source, weight=weight, stride=stride, padding=kernel // 2)

    def linear(self, source: str, units: int) -> Linear:
        return Linear(source=source, weight=self._weights(units, self.shapes[source][0]))

    def shortcut(self, source: str, weight: int = 127) -> Scale:
        return Scale(source=source, weight=np.full(self.shapes[source][0], weight), exponent=2)

    def neurons(self, *synapses: Synapse) -> str:
        name = f"n{len(self.layers)}"
        shape = synapses[0].output_shape(self.shapes[synapses[0].source])
        channels = np.zeros(shape[0], int)
        omega = {
            "identity": np.eye(self.steps, dtype=int),
            "uniform": np.ones((self.steps, self.steps), int),
            "general": self.rng.integers(8, 64, (self.steps, self.steps)),
        }[self.omega]
        layer = Neurons(
            name=name,
            synapses=synapses,
            bias=channels + 5,
            threshold=channels + 1,
            omega=omega,
            leak=LEAK_ONE,
            v0=channels,
            levels=self.levels,
        )
        drive = np.einsum("tj,bj...->bt...", omega, self._currents(layer))
        layer = self._with_density(layer, drive)
        self._append(layer, shape, reference.fire(layer, drive))
        return name

    def pool(self, source: str, kind: type[SumPool] | type[MaxPool], kernel: int = 2) -> str:
        layer = kind(name=f"{source}-pool", source=source, kernel=kernel, stride=kernel)
        reduce, border = (np.sum, 0) if kind is SumPool else (np.max, 0)
        self._append(
            layer,
            layer.output_shape(self.shapes[source]),
            reference.pool(self.outputs[source], layer, reduce, border),
        )
        return layer.name

    def finish(self, source: str, classes: int = 10) -> Network:
        layer = Flatten(name="flatten", source=source)
        self._append(
            layer,
            layer.output_shape(self.shapes[source]),
            self.outputs[source].reshape(1, self.steps, -1),
        )
        readout = Readout(
            name="logits", synapses=(self.linear("flatten", classes),), bias=np.zeros(classes, int)
        )
        return Network((*self.layers, readout))

    def _weights(self, *shape: int) -> np.ndarray:
        return np.clip(np.rint(self.rng.normal(0, 25, shape)), -127, 127).astype(int)

    def _append(self, layer: Layer, shape: Shape, output: np.ndarray) -> None:
        self.layers.append(layer)
        self.shapes[layer.name], self.outputs[layer.name] = shape, output

    def _currents(self, layer: Neurons) -> np.ndarray:
        total: np.ndarray | float = 0.0
        for synapse in layer.synapses:
            total = (
                total
                + reference.apply_synapse(synapse, self.outputs[synapse.source].astype(np.float64))
                * 2.0**synapse.exponent
            )
        total = total + reference.per_channel(layer.bias, np.ndim(total) - 2)
        return np.rint(total).astype(np.int64)

    def _with_density(self, layer: Neurons, drive: np.ndarray) -> Neurons:
        """`layer` with the lowest threshold at which no more than `density` of its neurons fire in a step.

        Half of them have a negative potential and never fire: beyond that density the bias is raised until enough do.
        """
        some = self.rng.choice(drive[0, 0].size, min(4000, drive[0, 0].size), replace=False)
        sample = drive.reshape(*drive.shape[:2], -1)[:, :, some].reshape(1, drive.shape[1], 1, -1)
        per_step = layer.omega.sum(1).reshape(1, -1, 1, 1)  # what a bias of 1 adds to the drive
        most = int(np.abs(drive).sum(1).max()) + 1

        def density(threshold: int, bias: int) -> float:
            trial = dataclasses.replace(
                layer, threshold=np.array([threshold]), v0=np.array([0]), bias=np.array([0])
            )
            return float((reference.fire(trial, sample + bias * per_step) > 0).mean())

        ones = np.ones(len(layer.threshold), int)
        if density(1, 0) > self.density:
            return dataclasses.replace(
                layer,
                threshold=ones
                * _lowest(lambda threshold: density(threshold, 0) <= self.density, most),
            )
        if self.density < 0.5:  # a layer that hardly gets input
            return layer
        bias = _lowest(lambda bias: density(1, bias) >= self.density, most)
        return dataclasses.replace(layer, bias=layer.bias + bias)


def _lowest(holds: Callable[[int], bool], most: int) -> int:
    """The least of 1 .. `most` for which `holds`, which stays true once it is."""
    low, high = 1, most
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if holds(middle) else (middle + 1, high)
    return low


def resnet18(
    size: int = 48, steps: int = 4, levels: int = 1, omega: Omega = "identity", density: float = 0.1
) -> Network:
    """ResNet-18 for event data [2, size, size]: a 3x3 stem, four stages of two blocks, 64 to 512 channels."""
    g = Grower((2, size, size), steps, levels, omega, density)
    last = g.neurons(g.conv("input", 64))
    for stage in range(4):
        channels = 64 << stage
        for block in range(2):
            stride = 2 if stage and not block else 1
            middle = g.neurons(g.conv(last, channels, stride=stride))
            skip = g.conv(last, channels, 1, stride) if stride == 2 else g.shortcut(last)
            last = g.neurons(g.conv(middle, channels), skip)
    return g.finish(g.pool(last, SumPool, g.shapes[last][1]))


def vgg(
    size: int = 48, steps: int = 4, levels: int = 1, omega: Omega = "identity", density: float = 0.1
) -> Network:
    """VGG with average pooling for event data [2, size, size]: 64 64 P 128 128 P 256 256 P 512 512 P, one hidden layer."""
    g = Grower((2, size, size), steps, levels, omega, density)
    last = "input"
    for channels in (64, 128, 256, 512):
        last = g.neurons(g.conv(last, channels))
        last = g.pool(g.neurons(g.conv(last, channels)), SumPool)
    flatten = Flatten(name="flat", source=last)
    g._append(flatten, flatten.output_shape(g.shapes[last]), g.outputs[last].reshape(1, steps, -1))
    last = g.neurons(g.linear("flat", 512))
    readout = Readout(name="logits", synapses=(g.linear(last, 10),), bias=np.zeros(10, int))
    return Network((*g.layers, readout))


def one_layer(channels_in: int, channels_out: int, size: int = 24, steps: int = 4) -> Network:
    """One 3 x 3 convolution of binary input [channels_in, size, size] that hardly ever fires, and a read-out."""
    rng = np.random.default_rng(0)
    zero = np.zeros(channels_out, int)
    conv = Conv(
        source="input",
        weight=np.clip(
            np.rint(rng.normal(0, 25, (channels_out, channels_in, 3, 3))), -127, 127
        ).astype(int),
        padding=1,
    )
    layer = Neurons(
        name="layer",
        synapses=(conv,),
        bias=zero,
        threshold=zero + 2**20,
        omega=np.eye(steps, dtype=int),
        leak=LEAK_ONE,
        v0=zero,
        levels=1,
    )
    pool = SumPool(name="pool", source="layer", kernel=size, stride=size)
    readout = Readout(
        name="logits",
        synapses=(Linear(source="flat", weight=np.ones((2, channels_out), int)),),
        bias=[0, 0],
    )
    return Network(
        (
            Input(name="input", shape=(channels_in, size, size), steps=steps, max_value=1),
            layer,
            pool,
            Flatten(name="flat", source="pool"),
            readout,
        )
    )
