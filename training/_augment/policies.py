"""AutoAugment, RandAugment and TrivialAugment for a whole batch of images.

Each of them is a list of policies, one of which is drawn for every image. A policy is one or two
operations, each with a probability and a strength. All strengths are numbers for which 0 means "no
change". So every operation runs on the whole batch, and no image waits for another.

Sources: Cubuk et al., "AutoAugment: Learning augmentation strategies from data", 2019, and
"RandAugment: Practical automated data augmentation with a reduced search space", 2020; Müller and
Hutter, "TrivialAugment: Tuning-free yet state-of-the-art data augmentation", 2021. Ranges of
strengths are those of torchvision.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

import torch
from torch import Tensor

from . import colors, geometry


@dataclass(frozen=True, kw_only=True)
class Operation:
    """One operation, as its strengths; the sign of the first eight is drawn.

    Attributes:
        angle: Rotation in radians.
        slope_x: Shear along the rows.
        slope_y: Shear along the columns.
        share_x: Translation along the rows, in widths of the image.
        share_y: Translation along the columns, in heights of the image.
        pixels_x: Translation along the rows, in pixels.
        pixels_y: Translation along the columns, in pixels.
        strength: Change of brightness, or of what the next three select.
        contrast: 1: `strength` is a change of contrast.
        color: 1: `strength` is a change of saturation.
        sharpness: 1: `strength` is a change of sharpness.
        stretch: 1: autocontrast.
        drop: Gray levels become multiples of `drop` + 1.
        depth: Gray levels from 256 - `depth` on are inverted.
        equalize: 1: histograms are equalized.
    """

    angle: float = 0.0
    slope_x: float = 0.0
    slope_y: float = 0.0
    share_x: float = 0.0
    share_y: float = 0.0
    pixels_x: float = 0.0
    pixels_y: float = 0.0
    strength: float = 0.0
    contrast: float = 0.0
    color: float = 0.0
    sharpness: float = 0.0
    stretch: float = 0.0
    drop: float = 0.0
    depth: float = 0.0
    equalize: float = 0.0


SIGNED = 8
"""Strengths, from the first, whose sign is drawn."""

Space: TypeAlias = dict[str, Callable[[float], Operation]]
"""Operations by name, as functions of the strength in 0..1."""

Policy: TypeAlias = tuple[tuple[Operation, float], ...]
"""Operations and their probabilities."""


def _space(slope: float, angle: float, enhance: float, bits: int) -> Space:
    """Operations without translations; the arguments are the largest strengths."""
    return {
        "identity": lambda r: Operation(),
        "shear_x": lambda r: Operation(slope_x=slope * r),
        "shear_y": lambda r: Operation(slope_y=slope * r),
        "rotate": lambda r: Operation(angle=math.radians(angle * r)),
        "brightness": lambda r: Operation(strength=enhance * r),
        "color": lambda r: Operation(strength=enhance * r, color=1),
        "contrast": lambda r: Operation(strength=enhance * r, contrast=1),
        "sharpness": lambda r: Operation(strength=enhance * r, sharpness=1),
        "posterize": lambda r: Operation(drop=2 ** round(bits * r) - 1),
        "solarize": lambda r: Operation(depth=1 + 255 * r),
        "auto_contrast": lambda r: Operation(stretch=1),
        "equalize": lambda r: Operation(equalize=1),
    }


USUAL: Space = _space(0.3, 30, 0.9, 4) | {
    "translate_x": lambda r: Operation(share_x=150 / 331 * r),
    "translate_y": lambda r: Operation(share_y=150 / 331 * r),
    "invert": lambda r: Operation(depth=256),
}
"""Operations of AutoAugment; without "invert", those of RandAugment."""

WIDE: Space = _space(0.99, 135, 0.99, 6) | {
    "translate_x": lambda r: Operation(pixels_x=32 * r),
    "translate_y": lambda r: Operation(pixels_y=32 * r),
}
"""Operations of TrivialAugment."""

# One policy per line: operation, probability and level 0..9, twice.
CIFAR10 = """
invert 0.1 0 contrast 0.2 6
rotate 0.7 2 translate_x 0.3 9
sharpness 0.8 1 sharpness 0.9 3
shear_y 0.5 8 translate_y 0.7 9
auto_contrast 0.5 0 equalize 0.9 0
shear_y 0.2 7 posterize 0.3 7
color 0.4 3 brightness 0.6 7
sharpness 0.3 9 brightness 0.7 9
equalize 0.6 0 equalize 0.5 0
contrast 0.6 7 sharpness 0.6 5
color 0.7 7 translate_x 0.5 8
equalize 0.3 0 auto_contrast 0.4 0
translate_y 0.4 3 sharpness 0.2 6
brightness 0.9 6 color 0.2 8
solarize 0.5 2 invert 0.0 0
equalize 0.2 0 auto_contrast 0.6 0
equalize 0.2 0 equalize 0.6 0
color 0.9 9 equalize 0.6 0
auto_contrast 0.8 0 solarize 0.2 8
brightness 0.1 3 color 0.7 0
solarize 0.4 5 auto_contrast 0.9 0
translate_y 0.9 9 translate_y 0.7 9
auto_contrast 0.9 0 solarize 0.8 3
equalize 0.8 0 invert 0.1 0
translate_y 0.7 9 auto_contrast 0.9 0
"""

IMAGENET = """
posterize 0.4 8 rotate 0.6 9
solarize 0.6 5 auto_contrast 0.6 0
equalize 0.8 0 equalize 0.6 0
posterize 0.6 7 posterize 0.6 6
equalize 0.4 0 solarize 0.2 4
equalize 0.4 0 rotate 0.8 8
solarize 0.6 3 equalize 0.6 0
posterize 0.8 5 equalize 1.0 0
rotate 0.2 3 solarize 0.6 8
equalize 0.6 0 posterize 0.4 6
rotate 0.8 8 color 0.4 0
rotate 0.4 9 equalize 0.6 0
equalize 0.0 0 equalize 0.8 0
invert 0.6 0 equalize 1.0 0
color 0.6 4 contrast 1.0 8
rotate 0.8 8 color 1.0 2
color 0.8 8 solarize 0.8 7
sharpness 0.4 7 invert 0.6 0
shear_x 0.6 5 equalize 1.0 0
color 0.4 0 equalize 0.6 0
equalize 0.4 0 solarize 0.2 4
solarize 0.6 5 auto_contrast 0.6 0
invert 0.6 0 equalize 1.0 0
color 0.6 4 contrast 1.0 8
equalize 0.8 0 equalize 0.6 0
"""


def _parsed(policies: str) -> list[Policy]:
    """Policies of AutoAugment."""
    parsed = []
    for line in policies.split("\n")[1:-1]:
        words = line.split()
        steps = zip(words[::3], words[1::3], words[2::3], strict=True)
        parsed.append(tuple((USUAL[op](int(level) / 9), float(p)) for op, p, level in steps))
    return parsed


def _pairs() -> list[Policy]:
    """RandAugment: every pair of operations, at level 9 of 30."""
    operations = [make(9 / 30) for name, make in USUAL.items() if name != "invert"]
    return [((first, 1.0), (second, 1.0)) for first in operations for second in operations]


def _singles() -> list[Policy]:
    """TrivialAugment: every operation at each of 31 levels."""
    return [((make(level / 30), 1.0),) for make in WIDE.values() for level in range(31)]


POLICIES: dict[str, Callable[[], list[Policy]]] = {
    "cifar10": lambda: _parsed(CIFAR10),
    "imagenet": lambda: _parsed(IMAGENET),
    "rand": _pairs,
    "trivial": _singles,
}
"""Lists of policies by their names in recipes."""

COLUMNS = 5
"""Uniform numbers that one image needs."""


def table(name: str) -> Tensor:
    """Probabilities and strengths of the policies `name`, float32 [policies, operations, 16]."""
    return torch.tensor(
        [
            [(probability, *dataclasses.astuple(operation)) for operation, probability in policy]
            for policy in POLICIES[name]()
        ],
        dtype=torch.float32,
    )


def apply(x: Tensor, draws: Tensor, table: Tensor) -> Tensor:
    """Apply one policy to each image.

    Args:
        x: Images of integers 0..255, float [B, C, H, W].
        draws: Uniform numbers, float32 [B, COLUMNS].
        table: Policies, from `table`.

    Returns:
        Images of integers 0..255, float [B, C, H, W].
    """
    policies = table[(draws[:, 0] * len(table)).long()]
    for step in range(table.shape[1]):
        decision, sign = draws[:, 1 + 2 * step], draws[:, 2 + 2 * step]
        probability, strengths = policies[:, step, :1], policies[:, step, 1:]
        strengths = strengths * (decision[:, None] < probability)
        signed = strengths[:, :SIGNED] * torch.where(sign < 0.5, -1.0, 1.0)[:, None]
        x = operate(x, signed, strengths[:, SIGNED:])
    return x


def operate(x: Tensor, signed: Tensor, unsigned: Tensor) -> Tensor:
    """Apply to each image the operation that its strengths describe (those of `Operation`)."""
    *moves, strength = signed.unbind(1)
    contrast, color, sharpness, stretch, drop, depth, equal = unsigned.unbind(1)
    x = move(x, *moves)
    x = colors.enhance(x, strength, contrast, color, sharpness)
    x = colors.stretch(x, stretch)
    x = colors.posterize(x, drop)
    x = colors.solarize(x, depth)
    return colors.equalize(x, equal)


def move(
    x: Tensor,
    angle: Tensor,
    slope_x: Tensor,
    slope_y: Tensor,
    share_x: Tensor,
    share_y: Tensor,
    pixels_x: Tensor,
    pixels_y: Tensor,
) -> Tensor:
    """Rotate, shear or translate images; shears keep the upper left corner. Gray comes in."""
    height, width = size = (x.shape[2], x.shape[3])
    offset_y = share_y * height + pixels_y + slope_y * (width / 2)
    offset_x = share_x * width + pixels_x + slope_x * (height / 2)
    source = geometry.mapped(
        geometry.unmoved(size, x.device),
        size,
        geometry.linear(angle, slope_x, slope_y),
        geometry.per_pixel(offset_y),
        geometry.per_pixel(offset_x),
    )
    return geometry.take(x, source, fill=colors.LEVELS / 2)
