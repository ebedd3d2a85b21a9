"""What the C source of a network holds: tensors, their places in memory, synapses."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from lmht_deploy.errors import ExportError
from lmht_deploy.ir import (
    Conv,
    Linear,
    Network,
    Neurons,
    Pair,
    Readout,
    Shape,
    Synapse,
)
from lmht_deploy.ir.layers import sources

MAX_MEMORY = 2**31 - 1
"""Bytes that a place in memory, an int32, can name."""


@dataclass(frozen=True)
class Tensor:
    """The output of a layer: counts k `[steps, H, W, C]`, channels last.

    Attributes:
        name: Name of the layer.
        steps: Time-steps times sub-steps.
        substeps: Sub-steps per time-step.
        shape: (C, H, W).
        format: How a count is stored: `BITS`, `BYTES`, `SHORTS` or `WORDS`.
        at: First byte in memory.
    """

    name: str
    steps: int
    substeps: int
    shape: Shape
    format: str
    at: int = 0

    @property
    def pixel_bytes(self) -> int:
        """Bytes of the counts of one pixel and step."""
        channels = self.shape[0]
        if self.format == "BITS":
            return (channels + 7) // 8
        return channels * {"BYTES": 1, "SHORTS": 2, "WORDS": 4}[self.format]

    @property
    def bytes(self) -> int:
        """Bytes of all counts."""
        return self.steps * self.shape[1] * self.shape[2] * self.pixel_bytes


@dataclass(frozen=True)
class Convolution:
    """A synapse as a convolution of a tensor.

    Attributes:
        source: Name of the tensor.
        weights: int8 `[kh, kw, C_in, fan-out]`.
        groups: Number of groups of channels.
        group: Input channels per group.
        stride: (vertical, horizontal).
        padding: (vertical, horizontal).
        dilation: (vertical, horizontal).
        exponent: Weight exponent.
        counted: Whether its spikes cause synaptic operations; pixels do not.
    """

    source: str
    weights: np.ndarray
    groups: int
    group: int
    stride: Pair
    padding: Pair
    dilation: Pair
    exponent: int
    counted: bool


class Plan:
    """Tensors and synapses of a network, and where the tensors lie in memory.

    Attributes:
        tensors: Tensor of each layer that has one, by name, in order. A Flatten that only linear
            synapses read has none: they become convolutions as large as their input.
        memory: Bytes of the memory that all tensors share.
        currents: Number of currents of one pixel of the layer that has most.

    Raises:
        ExportError: If the memory is 2 GiB or larger.
    """

    def __init__(self, net: Network) -> None:
        self._net = net
        self.tensors = {
            layer.name: _tensor(net, layer.name)
            for layer in net.layers[:-1]
            if layer.name not in net.free_flattens
        }
        self.memory = self._place()
        if self.memory > MAX_MEMORY:
            raise ExportError(f"the network needs {self.memory:,} bytes of memory, 2 GiB or more")
        layers = (layer for layer in net.layers if isinstance(layer, Neurons | Readout))
        self.currents = max(self.blocks(layer) * net.shapes[layer.name][0] for layer in layers)

    def blocks(self, layer: Neurons | Readout) -> int:
        """Return the number of currents per neuron: 1 where only their sum matters."""
        if sums_currents(layer):
            return 1
        return self._net.blocks(layer.synapses[0].source)

    def convolutions(self, layer: Neurons | Readout) -> list[Convolution]:
        """Return the synapses of a layer."""
        return [self._convolution(synapse) for synapse in layer.synapses]

    def _convolution(self, synapse: Synapse) -> Convolution:
        source = self._net.free_flattens.get(synapse.source, synapse.source)
        channels, height, width = self.tensors[source].shape
        conv = synapse if isinstance(synapse, Conv) else None
        if isinstance(synapse, Linear):
            weight, groups = synapse.weight.reshape(-1, channels, height, width), 1
        else:
            weight = synapse.weight if conv else synapse.weight.reshape(-1, 1, 1, 1)
            groups = conv.groups if conv else channels
        return Convolution(
            source=source,
            weights=_channels_last(weight, groups),
            groups=groups,
            group=channels // groups,
            stride=conv.stride if conv else (1, 1),
            padding=conv.padding if conv else (0, 0),
            dilation=conv.dilation if conv else (1, 1),
            exponent=synapse.exponent,
            counted=synapse.source not in self._net.pixels,
        )

    def _place(self) -> int:
        """Place the tensors in memory, and return the bytes of all.

        Tensors that are needed together have separate places. The largest one is placed first.
        """
        lives = self._lives()
        placed: dict[str, Tensor] = {}
        for name in sorted(self.tensors, key=lambda name: -self.tensors[name].bytes):
            tensor = self.tensors[name]
            others = [other for other in placed.values() if _meet(lives[name], lives[other.name])]
            at = 0
            for other in sorted(others, key=lambda other: other.at):
                if at + tensor.bytes <= other.at:
                    break
                at = max(at, other.at + other.bytes)
            placed[name] = replace(tensor, at=at)
        self.tensors = {name: placed[name] for name in self.tensors}
        return max(tensor.at + tensor.bytes for tensor in placed.values())

    def _lives(self) -> dict[str, range]:
        """Return, by tensor, the range of layers that run while its counts are needed."""
        last = dict.fromkeys(self.tensors, 0)
        for index, layer in enumerate(self._net.layers):
            for name in sources(layer):
                last[self._net.free_flattens.get(name, name)] = index
        order = [layer.name for layer in self._net.layers]
        return {name: range(order.index(name), end + 1) for name, end in last.items()}


def sums_currents(layer: Neurons | Readout) -> bool:
    """Return whether the T-GIM weights the currents of all input steps alike.

    Then 32 bits hold their sum, unless all weights are 0.
    """
    if not isinstance(layer, Neurons):
        return False
    return bool((layer.omega == layer.omega[:, :1]).all() and layer.omega.any())


def _meet(one: range, other: range) -> bool:
    return one.start < other.stop and other.start < one.stop


def _tensor(net: Network, name: str) -> Tensor:
    shape = net.shapes[name]
    image = shape if len(shape) == 3 else (shape[0], 1, 1)
    return Tensor(name, net.steps[name], net.substeps[name], image, _format(*net.ranges[name]))


def _format(low: int, high: int) -> str:
    if low >= 0 and high <= 255:
        return "BITS" if high <= 1 else "BYTES"
    return "SHORTS" if low >= -(2**15) and high < 2**15 else "WORDS"


def _channels_last(weight: np.ndarray, groups: int) -> np.ndarray:
    """Return weights `[C_out, C_in/groups, kh, kw]` as `[kh, kw, C_in, C_out/groups]`."""
    per_group = weight.reshape(groups, -1, *weight.shape[1:])  # [G, C_out/G, C_in/G, kh, kw]
    moved = per_group.transpose(3, 4, 0, 2, 1)
    return moved.reshape(*weight.shape[2:], -1, weight.shape[0] // groups)
