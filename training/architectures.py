"""Architectures as data: each is a tuple of blocks, which `builder.build_model` turns into a model.

This module does not import PyTorch. A new architecture is a new entry of `ARCHITECTURES`. A new
kind of block is a dataclass here and a function in `builder`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeAlias


@dataclass(frozen=True)
class Convolution:
    """Convolution, batch norm and neurons.

    Attributes:
        channels: Number of output channels.
        kernel: Height and width of the kernel; the padding is `kernel // 2`.
        stride: Stride in both directions.
    """

    channels: int
    kernel: int = 3
    stride: int = 1


@dataclass(frozen=True)
class ConvNorm:
    """Convolution and batch norm without neurons: the stem of a network with membrane shortcuts.

    Attributes:
        channels: Number of output channels.
        kernel: Height and width of the kernel; the padding is `kernel // 2`.
        stride: Stride in both directions.
    """

    channels: int
    kernel: int = 3
    stride: int = 1


@dataclass(frozen=True)
class Residual:
    """Two 3x3 convolutions and a shortcut, added before the last neurons (He et al. 2016).

    The shortcut is the identity if the shape is unchanged, otherwise a 1x1 convolution with batch
    norm.

    Attributes:
        channels: Number of output channels.
        stride: Stride of the first convolution and of the shortcut.
    """

    channels: int
    stride: int = 1


@dataclass(frozen=True)
class MembraneResidual:
    """Twice neurons, 3x3 convolution and batch norm, and a shortcut for currents (MS-ResNet).

    The shortcut bypasses the neurons (Hu et al. 2024). It is the identity if the shape is
    unchanged, otherwise a 1x1 convolution with batch norm. The block adds the currents of its input
    and of its neurons, so the input needs as many steps as the neurons have time-steps.

    Attributes:
        channels: Number of output channels.
        stride: Stride of the first convolution and of the shortcut.
    """

    channels: int
    stride: int = 1


@dataclass(frozen=True)
class NeuronLayer:
    """Neurons alone: the end of a network with membrane shortcuts."""


@dataclass(frozen=True)
class AveragePool:
    """Average pooling without overlap.

    Attributes:
        size: Height and width of the pooling window, and the stride.
    """

    size: int


@dataclass(frozen=True)
class GlobalAveragePool:
    """Average pooling over the whole map."""


@dataclass(frozen=True)
class MaxPool:
    """Max pooling.

    Attributes:
        size: Height and width of the pooling window.
        stride: Stride in both directions; None: `size`.
        padding: Padding on every side.
    """

    size: int
    stride: int | None = None
    padding: int = 0


@dataclass(frozen=True)
class Dropout:
    """Dropout.

    Attributes:
        probability: Probability that an element is set to zero.
    """

    probability: float


@dataclass(frozen=True)
class FullyConnected:
    """Flatten, linear layer and neurons.

    Attributes:
        units: Number of neurons.
    """

    units: int


Block: TypeAlias = (
    Convolution
    | ConvNorm
    | Residual
    | MembraneResidual
    | NeuronLayer
    | AveragePool
    | GlobalAveragePool
    | MaxPool
    | Dropout
    | FullyConnected
)

Stage: TypeAlias = tuple[int, int]
"""Channels of a stage, and its number of blocks or convolutions."""

STEMS = ("cifar", "imagenet", "dvs")
"""Stems of a ResNet.

"cifar" keeps the size of the map, "imagenet" divides height and width by 4, "dvs" by 2.
"""


def _resnet(stem: str, *stages: Stage) -> tuple[Block, ...]:
    """ResNet (He et al. 2016): a stem, stages that begin with stride 2 (except the first)."""
    channels = stages[0][0]
    stems: dict[str, tuple[Block, ...]] = {
        "cifar": (Convolution(channels),),
        "imagenet": (Convolution(channels, 7, 2), MaxPool(3, 2, 1)),
        "dvs": (Convolution(channels), AveragePool(2)),
    }
    return *stems[stem], *_stages(Residual, stages, 1), GlobalAveragePool()


def _ms_resnet(stem: str, *stages: Stage) -> tuple[Block, ...]:
    """MS-ResNet (Hu et al. 2024).

    The stem gives currents, which cannot be pooled. So the first stage of the stem "imagenet" has
    stride 2 instead.
    """
    channels = stages[0][0]
    stems = {
        "cifar": ConvNorm(channels),
        "imagenet": ConvNorm(channels, 7, 2),
        "dvs": ConvNorm(channels, 3, 2),
    }
    blocks = _stages(MembraneResidual, stages, 2 if stem == "imagenet" else 1)
    return stems[stem], *blocks, NeuronLayer(), GlobalAveragePool()


def _stages(
    block: Callable[[int, int], Block], stages: Sequence[Stage], first_stride: int
) -> list[Block]:
    """Blocks of all stages: the first stage begins with `first_stride`, every other one with 2."""
    strides = [first_stride, *(2,) * (len(stages) - 1)]
    return [
        block(channels, 1 if index else stride)
        for (channels, number), stride in zip(stages, strides, strict=True)
        for index in range(number)
    ]


def _vgg(*stages: Stage) -> tuple[Block, ...]:
    """VGG: every stage ends in an average pooling; two hidden layers of 4,096 units follow."""
    blocks: list[Block] = []
    for channels, number in stages:
        blocks += [*(Convolution(channels),) * number, AveragePool(2)]
    return *blocks, FullyConnected(4096), FullyConnected(4096)


def _resnet_18(stem: str) -> tuple[Block, ...]:
    return _resnet(stem, (64, 2), (128, 2), (256, 2), (512, 2))


def _resnet_19(stem: str) -> tuple[Block, ...]:
    """ResNet-19 of Zheng et al. (2021)."""
    return *_resnet(stem, (128, 3), (256, 3), (512, 2)), FullyConnected(256)


def _resnet_20(stem: str) -> tuple[Block, ...]:
    return _resnet(stem, (16, 3), (32, 3), (64, 3))


def _resnet_34(stem: str) -> tuple[Block, ...]:
    return _resnet(stem, (64, 3), (128, 4), (256, 6), (512, 3))


def _ms_resnet_18(stem: str) -> tuple[Block, ...]:
    return _ms_resnet(stem, (64, 2), (128, 2), (256, 2), (512, 2))


def _ms_resnet_34(stem: str) -> tuple[Block, ...]:
    return _ms_resnet(stem, (64, 3), (128, 4), (256, 6), (512, 3))


_RESNETS: dict[str, tuple[str, Callable[[str], tuple[Block, ...]]]] = {
    "resnet-18": ("cifar", _resnet_18),
    "resnet-19": ("cifar", _resnet_19),
    "resnet-20": ("cifar", _resnet_20),
    "resnet-34": ("imagenet", _resnet_34),
    "ms-resnet-18": ("cifar", _ms_resnet_18),
    "ms-resnet-34": ("imagenet", _ms_resnet_34),
}
"""By name in the LM-HT paper: the stem that the name implies, and the blocks for any stem."""

ARCHITECTURES: dict[str, tuple[Block, ...]] = {
    "residual-small": (Convolution(16), AveragePool(2), Residual(32), AveragePool(2)),
    "residual-strided": (Convolution(16, 5, 2), AveragePool(2), Residual(32), AveragePool(2)),
    **{name: blocks(stem) for name, (stem, blocks) in _RESNETS.items()},
    **{
        f"{name}-{stem}": blocks(stem)
        for name, (implied, blocks) in _RESNETS.items()
        for stem in STEMS
        if stem != implied
    },
    # VGG (Simonyan and Zisserman 2015) with batch norm and average pooling, as in Bu et al. (2022).
    "vgg-13": _vgg((64, 2), (128, 2), (256, 2), (512, 2), (512, 2)),
    "vgg-16": _vgg((64, 2), (128, 2), (256, 3), (512, 3), (512, 3)),
}
"""Architectures by name.

A ResNet with another stem than the usual one names it: resnet-18-dvs, resnet-34-cifar.
"""
