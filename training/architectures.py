"""Architectures: lists of blocks, and the one function that builds a model from such a list.

A new architecture is a new entry of `ARCHITECTURES`; a new kind of block, a dataclass with its `build`.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeAlias

from torch import Tensor, nn

from lmht_deploy.errors import DataError

from .model import SpikingModel
from .neurons import Neuron

Shape: TypeAlias = tuple[int, int, int]
MakeNeuron: TypeAlias = Callable[[], Neuron]
"""Gives the next neuron layer of the model under construction."""


class Block(Protocol):
    """Description of a part of a network. `build` gives its module and the shape (C, H, W) that it puts out."""

    def build(self, shape: Shape, neuron: MakeNeuron) -> tuple[nn.Module, Shape]: ...


@dataclass(frozen=True)
class Convolution:
    """Convolution, batch norm, neurons."""

    channels: int
    kernel: int = 3
    stride: int = 1

    def build(self, shape: Shape, neuron: MakeNeuron) -> tuple[nn.Module, Shape]:
        return _named(
            **_synapse(shape, self.channels, self.kernel, self.stride), neuron=neuron()
        ), _convolved(shape, self.channels, self.stride)


@dataclass(frozen=True)
class Residual:
    """Two 3x3 convolutions and a shortcut whose currents meet before the last neurons (He et al. 2016).

    The shortcut is the identity where the shape stays, else a 1x1 convolution with batch norm.
    """

    channels: int
    stride: int = 1

    def build(self, shape: Shape, neuron: MakeNeuron) -> tuple[nn.Module, Shape]:
        out = _convolved(shape, self.channels, self.stride)
        inner = _named(**_synapse(shape, self.channels, 3, self.stride), neuron=neuron())
        current = _named(**_synapse(out, self.channels, 3, 1))
        shortcut = (
            nn.Identity()
            if out == shape
            else _named(**_synapse(shape, self.channels, 1, self.stride))
        )
        return ResidualBlock(inner, current, shortcut, neuron()), out


@dataclass(frozen=True)
class Current:
    """Convolution and batch norm without neurons: what begins the currents that membrane shortcuts carry on."""

    channels: int
    kernel: int = 3
    stride: int = 1

    def build(self, shape: Shape, neuron: MakeNeuron) -> tuple[nn.Module, Shape]:
        return _named(**_synapse(shape, self.channels, self.kernel, self.stride)), _convolved(
            shape, self.channels, self.stride
        )


@dataclass(frozen=True)
class MembraneResidual:
    """Twice neurons, 3x3 convolution and batch norm, and a shortcut that carries currents past both (Hu et al. 2024, MS-ResNet).

    The shortcut is the identity where the shape stays, else a 1x1 convolution with batch norm. Currents of the input and of
    neurons are added, so the input needs as many steps as the neurons give: `build` raises DataError where they differ.
    """

    channels: int
    stride: int = 1

    def build(self, shape: Shape, neuron: MakeNeuron) -> tuple[nn.Module, Shape]:
        out = _convolved(shape, self.channels, self.stride)
        first, second = neuron(), neuron()
        if first.steps_in != second.steps:
            steps = f"the {first.steps_in} input steps to those of {second.steps} time-steps"
            raise DataError(
                f"membrane shortcuts add currents of {steps}: make them as many (in a recipe: data.steps, network.steps)"
            )
        inner = _named(first=first, **_synapse(shape, self.channels, 3, self.stride), second=second)
        current = _named(**_synapse(out, self.channels, 3, 1))
        shortcut = (
            nn.Identity()
            if out == shape
            else _named(**_synapse(shape, self.channels, 1, self.stride))
        )
        return MembraneBlock(inner, current, shortcut), out


@dataclass(frozen=True)
class Firing:
    """Neurons alone: what ends the currents that membrane shortcuts carry."""

    def build(self, shape: Shape, neuron: MakeNeuron) -> tuple[nn.Module, Shape]:
        return neuron(), shape


@dataclass(frozen=True)
class AveragePool:
    size: int

    def build(self, shape: Shape, neuron: MakeNeuron) -> tuple[nn.Module, Shape]:
        return nn.AvgPool2d(self.size), _pooled(shape, self.size, self.size, 0)


@dataclass(frozen=True)
class GlobalAveragePool:
    def build(self, shape: Shape, neuron: MakeNeuron) -> tuple[nn.Module, Shape]:
        return nn.AdaptiveAvgPool2d(1), (shape[0], 1, 1)


@dataclass(frozen=True)
class MaxPool:
    size: int
    stride: int | None = None
    padding: int = 0

    def build(self, shape: Shape, neuron: MakeNeuron) -> tuple[nn.Module, Shape]:
        stride = self.stride or self.size
        return nn.MaxPool2d(self.size, stride, self.padding), _pooled(
            shape, self.size, stride, self.padding
        )


@dataclass(frozen=True)
class Dropout:
    share: float

    def build(self, shape: Shape, neuron: MakeNeuron) -> tuple[nn.Module, Shape]:
        return nn.Dropout(self.share), shape


@dataclass(frozen=True)
class Dense:
    """Linear layer and neurons, over the flattened map."""

    units: int

    def build(self, shape: Shape, neuron: MakeNeuron) -> tuple[nn.Module, Shape]:
        linear = nn.Linear(shape[0] * shape[1] * shape[2], self.units)
        return _named(flatten=nn.Flatten(), linear=linear, neuron=neuron()), (self.units, 1, 1)


class ResidualBlock(nn.Module):
    def __init__(
        self, inner: nn.Module, current: nn.Module, shortcut: nn.Module, neuron: Neuron
    ) -> None:
        super().__init__()
        self.inner, self.current, self.shortcut, self.neuron = inner, current, shortcut, neuron

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.neuron(self.current(self.inner(x)) + self.shortcut(x))
        return out


class MembraneBlock(nn.Module):
    def __init__(self, inner: nn.Module, current: nn.Module, shortcut: nn.Module) -> None:
        super().__init__()
        self.inner, self.current, self.shortcut = inner, current, shortcut

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.current(self.inner(x)) + self.shortcut(x)
        return out


# ------------------------------------------------------------------------------------------------ architectures

STEMS = ("cifar", "imagenet", "dvs")
"""For images of 32 x 32 (the map keeps its size), photographs (a quarter of the height and width), event recordings (a half)."""


def _resnet(stem: str, *stages: tuple[int, int]) -> tuple[Block, ...]:
    """He et al. (2016): a stem, stages of (channels, blocks), each but the first beginning with stride 2, and the mean of the map."""
    first = stages[0][0]
    stems: dict[str, tuple[Block, ...]] = {
        "cifar": (Convolution(first),),
        "imagenet": (Convolution(first, 7, 2), MaxPool(3, 2, 1)),
        "dvs": (Convolution(first), AveragePool(2)),
    }
    return *stems[stem], *_staged(Residual, stages, 1), GlobalAveragePool()


def _ms_resnet(stem: str, *stages: tuple[int, int]) -> tuple[Block, ...]:
    """Hu et al. (2024): the stem gives currents, which cannot be pooled, so for ImageNet the first stage has a stride instead."""
    first = stages[0][0]
    stems = {"cifar": Current(first), "imagenet": Current(first, 7, 2), "dvs": Current(first, 3, 2)}
    return (
        stems[stem],
        *_staged(MembraneResidual, stages, 2 if stem == "imagenet" else 1),
        Firing(),
        GlobalAveragePool(),
    )


def _staged(
    block: Callable[[int, int], Block], stages: Sequence[tuple[int, int]], stride: int
) -> list[Block]:
    """The blocks of all stages; the first stage begins with `stride`, every other one with 2."""
    strides = [stride, *(2,) * (len(stages) - 1)]
    return [
        block(channels, stride if not index else 1)
        for (channels, number), stride in zip(stages, strides, strict=True)
        for index in range(number)
    ]


def _vgg(*stages: tuple[int, int]) -> tuple[Block, ...]:
    """Stages of (channels, convolutions), each ended by an average pooling, then two hidden layers of 4,096 units."""
    blocks: list[Block] = []
    for channels, number in stages:
        blocks += [*(Convolution(channels),) * number, AveragePool(2)]
    return *blocks, Dense(4096), Dense(4096)


_RESNETS: dict[str, tuple[str, Callable[[str], tuple[Block, ...]]]] = {
    "resnet-18": ("cifar", lambda stem: _resnet(stem, (64, 2), (128, 2), (256, 2), (512, 2))),
    "resnet-19": (
        "cifar",
        lambda stem: (*_resnet(stem, (128, 3), (256, 3), (512, 2)), Dense(256)),
    ),  # of Zheng et al. (2021)
    "resnet-20": ("cifar", lambda stem: _resnet(stem, (16, 3), (32, 3), (64, 3))),
    "resnet-34": ("imagenet", lambda stem: _resnet(stem, (64, 3), (128, 4), (256, 6), (512, 3))),
    "ms-resnet-18": ("cifar", lambda stem: _ms_resnet(stem, (64, 2), (128, 2), (256, 2), (512, 2))),
    "ms-resnet-34": (
        "imagenet",
        lambda stem: _ms_resnet(stem, (64, 3), (128, 4), (256, 6), (512, 3)),
    ),
}
"""Name in the LM-HT paper, the stem that it stands for there, and the blocks behind any stem."""

ARCHITECTURES: dict[str, tuple[Block, ...]] = {
    "residual-small": (Convolution(16), AveragePool(2), Residual(32), AveragePool(2)),
    "residual-strided": (Convolution(16, 5, 2), AveragePool(2), Residual(32), AveragePool(2)),
    **{name: blocks(stem) for name, (stem, blocks) in _RESNETS.items()},
    **{
        f"{name}-{stem}": blocks(stem)
        for name, (usual, blocks) in _RESNETS.items()
        for stem in STEMS
        if stem != usual
    },
    # VGG (Simonyan and Zisserman 2015) with batch norm and average pooling, as Bu et al. (2022) have it.
    "vgg-13": _vgg((64, 2), (128, 2), (256, 2), (512, 2), (512, 2)),
    "vgg-16": _vgg((64, 2), (128, 2), (256, 3), (512, 3), (512, 3)),
}
"""By name. A ResNet of another stem than the usual has it in its name: resnet-18-dvs, resnet-34-cifar."""

# ------------------------------------------------------------------------------------------------ building


def build(
    blocks: Sequence[Block],
    shape: Shape,
    classes: int,
    neuron: Callable[[int], Neuron],
    *,
    steps_in: int,
    input_scale: float = 1.0,
) -> SpikingModel:
    """Model of `blocks`, a Flatten and a linear read-out over an input of `shape` (C, H, W) with `steps_in` steps.

    `neuron(steps_in)` gives a neuron layer for so many input steps; the first one meets the steps of the input, every
    other one those of the layers before it. Weights are drawn from PyTorch's global generator. Raises DataError for an input
    that is too small.
    """
    size = shape[1:]
    made: list[Neuron] = []

    def following() -> Neuron:
        made.append(neuron(made[-1].steps if made else steps_in))
        return made[-1]

    body: OrderedDict[str, nn.Module] = OrderedDict()
    for index, block in enumerate(blocks):
        name = f"{type(block).__name__.lower()}{index}"
        body[name], shape = block.build(shape, following)
        if min(shape) < 1:
            raise DataError(
                f"an input of {size[0]} x {size[1]} is too small for the architecture: nothing is left behind {name}"
            )
    body["flatten"] = nn.Flatten()
    body["logits"] = nn.Linear(shape[0] * shape[1] * shape[2], classes)
    return SpikingModel(nn.Sequential(body), steps_in, input_scale=input_scale)


def parameters(model: nn.Module) -> int:
    """Number of parameters that are learnt."""
    return sum(p.numel() for p in model.parameters() if p.requires_grad)


# ------------------------------------------------------------------------------------------------ helpers


def _named(**modules: nn.Module) -> nn.Sequential:
    return nn.Sequential(OrderedDict(modules))


def _synapse(shape: Shape, channels: int, kernel: int, stride: int) -> dict[str, nn.Module]:
    conv = nn.Conv2d(shape[0], channels, kernel, stride, kernel // 2, bias=False)
    return {"conv": conv, "norm": nn.BatchNorm2d(channels)}


def _convolved(shape: Shape, channels: int, stride: int) -> Shape:
    return channels, (shape[1] - 1) // stride + 1, (shape[2] - 1) // stride + 1


def _pooled(shape: Shape, size: int, stride: int, padding: int) -> Shape:
    height, width = ((n + 2 * padding - size) // stride + 1 for n in shape[1:])
    return shape[0], height, width
