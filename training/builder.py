"""From an architecture (a list of blocks) to a PyTorch model."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

from torch import Tensor, nn

from lmht_deploy.errors import DataError, NetworkError

from .architectures import (
    AveragePool,
    Block,
    ConvNorm,
    Convolution,
    Dropout,
    FullyConnected,
    GlobalAveragePool,
    MaxPool,
    MembraneResidual,
    NeuronLayer,
    Residual,
)
from .model import SpikingModel
from .neurons import Activation

Shape: TypeAlias = tuple[int, int, int]
"""Channels, height and width of a map."""

NextNeuron: TypeAlias = Callable[[], Activation]
"""Returns the next neuron layer of the model under construction."""

Built: TypeAlias = tuple[nn.Module, Shape]
"""Module of a block, and the shape of its output."""


def build_model(
    blocks: Sequence[Block],
    shape: Shape,
    classes: int,
    neuron: Callable[[int], Activation],
    *,
    steps_in: int,
    input_scale: float = 1.0,
) -> SpikingModel:
    """Build the model of `blocks`, followed by a flatten and a linear read-out.

    Weights are drawn from PyTorch's global generator.

    Args:
        blocks: Architecture, for example an entry of `ARCHITECTURES`.
        shape: Shape (C, H, W) of one input step.
        classes: Number of logits.
        neuron: Returns a neuron layer for a number of input steps. The first layer receives the
            steps of the input, every other one the time-steps of the layer before it.
        steps_in: Number of input steps T_in.
        input_scale: Real value of one unit of the input.

    Returns:
        The model, in training mode.

    Raises:
        DataError: The input is too small for the architecture, or has another number of steps than
            membrane shortcuts need.
        NetworkError: An entry of `blocks` is not a block.
    """
    size = shape[1:]
    made: list[Activation] = []

    def next_neuron() -> Activation:
        made.append(neuron(made[-1].steps if made else steps_in))
        return made[-1]

    body: OrderedDict[str, nn.Module] = OrderedDict()
    for index, block in enumerate(blocks):
        if type(block) not in _BUILDERS:
            raise NetworkError(f"an architecture consists of blocks, not {block!r}")
        name = f"{type(block).__name__.lower()}{index}"
        body[name], shape = _BUILDERS[type(block)](block, shape, next_neuron)
        if min(shape) < 1:
            raise DataError(
                f"an input of {size[0]} x {size[1]} is too small for the architecture: "
                f"the output of {name} is empty"
            )
    body["flatten"] = nn.Flatten()
    body["logits"] = nn.Linear(_size(shape), classes)
    return SpikingModel(nn.Sequential(body), steps_in, input_scale=input_scale)


def count_parameters(model: nn.Module) -> int:
    """Count the learnable parameters of `model`."""
    return sum(p.numel() for p in model.parameters() if p.requires_grad)


# --------------------------------------------------------------------------------------- modules


class ResidualBlock(nn.Module):
    """Neurons over the sum of a residual branch and a shortcut.

    Args:
        inner: First convolution, with neurons.
        current: Second convolution, without neurons.
        shortcut: Identity, or a 1x1 convolution with batch norm.
        neuron: Neurons that integrate the sum.
    """

    def __init__(
        self, inner: nn.Module, current: nn.Module, shortcut: nn.Module, neuron: Activation
    ) -> None:
        super().__init__()
        self.inner, self.current, self.shortcut, self.neuron = inner, current, shortcut, neuron

    def forward(self, x: Tensor) -> Tensor:
        """Map spikes [T·B, C, H, W] to spikes."""
        out: Tensor = self.neuron(self.current(self.inner(x)) + self.shortcut(x))
        return out


class MembraneBlock(nn.Module):
    """Sum of a residual branch and a shortcut, both currents.

    Args:
        inner: Neurons, convolution, neurons.
        current: Second convolution, without neurons.
        shortcut: Identity, or a 1x1 convolution with batch norm.
    """

    def __init__(self, inner: nn.Module, current: nn.Module, shortcut: nn.Module) -> None:
        super().__init__()
        self.inner, self.current, self.shortcut = inner, current, shortcut

    def forward(self, x: Tensor) -> Tensor:
        """Map currents [T·B, C, H, W] to currents."""
        out: Tensor = self.current(self.inner(x)) + self.shortcut(x)
        return out


# ---------------------------------------------------------------------------------------- blocks


def _convolution(block: Convolution, shape: Shape, neuron: NextNeuron) -> Built:
    layers = _conv_norm(shape, block.channels, block.kernel, block.stride)
    return _named(**layers, neuron=neuron()), _conv_shape(shape, block.channels, block.stride)


def _current(block: ConvNorm, shape: Shape, neuron: NextNeuron) -> Built:
    layers = _conv_norm(shape, block.channels, block.kernel, block.stride)
    return _named(**layers), _conv_shape(shape, block.channels, block.stride)


def _residual(block: Residual, shape: Shape, neuron: NextNeuron) -> Built:
    out = _conv_shape(shape, block.channels, block.stride)
    inner = _named(**_conv_norm(shape, block.channels, 3, block.stride), neuron=neuron())
    current = _named(**_conv_norm(out, block.channels, 3, 1))
    shortcut = _shortcut(shape, out, block.stride)
    return ResidualBlock(inner, current, shortcut, neuron()), out


def _membrane_residual(block: MembraneResidual, shape: Shape, neuron: NextNeuron) -> Built:
    out = _conv_shape(shape, block.channels, block.stride)
    first, second = neuron(), neuron()
    if first.steps_in != second.steps:
        raise DataError(
            f"membrane shortcuts need as many input steps as time-steps, not {first.steps_in} and "
            f"{second.steps} (in a recipe: data.steps and network.steps)"
        )
    layers = _conv_norm(shape, block.channels, 3, block.stride)
    inner = _named(first=first, **layers, second=second)
    current = _named(**_conv_norm(out, block.channels, 3, 1))
    return MembraneBlock(inner, current, _shortcut(shape, out, block.stride)), out


def _neuron_layer(block: NeuronLayer, shape: Shape, neuron: NextNeuron) -> Built:
    return neuron(), shape


def _average_pool(block: AveragePool, shape: Shape, neuron: NextNeuron) -> Built:
    return nn.AvgPool2d(block.size), _pool_shape(shape, block.size, block.size, 0)


def _global_average_pool(block: GlobalAveragePool, shape: Shape, neuron: NextNeuron) -> Built:
    return nn.AdaptiveAvgPool2d(1), (shape[0], 1, 1)


def _max_pool(block: MaxPool, shape: Shape, neuron: NextNeuron) -> Built:
    stride = block.stride or block.size
    pool = nn.MaxPool2d(block.size, stride, block.padding)
    return pool, _pool_shape(shape, block.size, stride, block.padding)


def _dropout(block: Dropout, shape: Shape, neuron: NextNeuron) -> Built:
    return nn.Dropout(block.probability), shape


def _fully_connected(block: FullyConnected, shape: Shape, neuron: NextNeuron) -> Built:
    linear = nn.Linear(_size(shape), block.units)
    module = _named(flatten=nn.Flatten(), linear=linear, neuron=neuron())
    return module, (block.units, 1, 1)


_BUILDERS: dict[type[Block], Callable[[Any, Shape, NextNeuron], Built]] = {
    Convolution: _convolution,
    ConvNorm: _current,
    Residual: _residual,
    MembraneResidual: _membrane_residual,
    NeuronLayer: _neuron_layer,
    AveragePool: _average_pool,
    GlobalAveragePool: _global_average_pool,
    MaxPool: _max_pool,
    Dropout: _dropout,
    FullyConnected: _fully_connected,
}


# --------------------------------------------------------------------------------------- helpers


def _named(**modules: nn.Module) -> nn.Sequential:
    return nn.Sequential(OrderedDict(modules))


def _conv_norm(shape: Shape, channels: int, kernel: int, stride: int) -> dict[str, nn.Module]:
    conv = nn.Conv2d(shape[0], channels, kernel, stride, kernel // 2, bias=False)
    return {"conv": conv, "norm": nn.BatchNorm2d(channels)}


def _shortcut(shape: Shape, out: Shape, stride: int) -> nn.Module:
    return nn.Identity() if out == shape else _named(**_conv_norm(shape, out[0], 1, stride))


def _conv_shape(shape: Shape, channels: int, stride: int) -> Shape:
    return channels, (shape[1] - 1) // stride + 1, (shape[2] - 1) // stride + 1


def _pool_shape(shape: Shape, size: int, stride: int, padding: int) -> Shape:
    height, width = ((n + 2 * padding - size) // stride + 1 for n in shape[1:])
    return shape[0], height, width


def _size(shape: Shape) -> int:
    """Number of neurons of a layer of `shape`."""
    return shape[0] * shape[1] * shape[2]
