"""AutoAugment, RandAugment and TrivialAugment: every image as Pillow would transform it."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from PIL import Image, ImageEnhance, ImageOps
from torch import Tensor

from lmht_deploy.training._augment import policies
from lmht_deploy.training._augment.policies import SIGNED, Operation

SIZE = (24, 20)
GRAY = (128, 128, 128)
RNG = np.random.default_rng(0)
PICTURES = np.stack(
    [
        RNG.integers(0, 256, (*SIZE, 3)),
        RNG.integers(60, 130, (*SIZE, 3)),
        np.full((*SIZE, 3), 77),
        RNG.normal(120, 20, (*SIZE, 3)).clip(0, 255).astype(int),
    ]
).astype(np.uint8)

Change = Callable[[Image.Image], Image.Image]


def as_tensor(pictures: np.ndarray) -> Tensor:
    return torch.from_numpy(pictures).permute(0, 3, 1, 2).float()


def by_pillow(change: Change) -> Tensor:
    return as_tensor(np.stack([change(Image.fromarray(one)) for one in PICTURES]))


def by_batch(operation: Operation) -> Tensor:
    strengths = torch.tensor([dataclasses.astuple(operation)]).expand(len(PICTURES), -1)
    return policies.operate(as_tensor(PICTURES), strengths[:, :SIGNED], strengths[:, SIGNED:])


def affine(*matrix: float) -> Change:
    return lambda image: image.transform(image.size, Image.Transform.AFFINE, matrix, fillcolor=GRAY)


EXACT: dict[str, tuple[Operation, Change]] = {
    "identity": (Operation(), lambda image: image),
    "equalize": (Operation(equalize=1), ImageOps.equalize),
    "stretch": (Operation(stretch=1), ImageOps.autocontrast),
    "invert": (Operation(depth=256), ImageOps.invert),
    "posterize": (Operation(drop=7), lambda image: ImageOps.posterize(image, 5)),
    "solarize": (Operation(depth=156), lambda image: ImageOps.solarize(image, 100)),
    "shear_x": (Operation(slope_x=0.13), affine(1, 0.13, 0, 0, 1, 0)),
    "shear_y": (Operation(slope_y=-0.29), affine(1, 0, 0, -0.29, 1, 0)),
    "translate_x": (Operation(pixels_x=4.3), affine(1, 0, 4.3, 0, 1, 0)),
    "translate_y": (Operation(share_y=-0.26), affine(1, 0, 0, 0, 1, -0.26 * SIZE[0])),
    "rotate": (
        Operation(angle=math.radians(17)),
        lambda image: image.rotate(17, fillcolor=GRAY),
    ),
}


@pytest.mark.parametrize("name", EXACT)
def test_an_operation_is_that_of_pillow(name: str) -> None:
    operation, change = EXACT[name]
    assert by_batch(operation).equal(by_pillow(change))


ENHANCERS: dict[str, Callable[[Image.Image], ImageEnhance._Enhance]] = {
    "brightness": ImageEnhance.Brightness,
    "contrast": ImageEnhance.Contrast,
    "color": ImageEnhance.Color,
    "sharpness": ImageEnhance.Sharpness,
}


@pytest.mark.parametrize("strength", [-0.9, -0.35, 0.2, 0.9])
@pytest.mark.parametrize("name", ENHANCERS)
def test_an_enhancement_is_that_of_pillow(name: str, strength: float) -> None:
    """Except that Pillow truncates what float32 has rounded."""
    found = by_batch(dataclasses.replace(policies.USUAL[name](1.0), strength=strength))
    expected = by_pillow(lambda image: ENHANCERS[name](image).enhance(1 + strength))
    assert (found - expected).abs().max() <= 1
    assert (found != expected).float().mean() < 0.01


# ---------------------------------------------------------------------------------------- policies


def chained(policy: str, sign: int) -> Change:
    """The operations of one line of AutoAugment's policies, in Pillow."""
    words = policy.split()

    def change(image: Image.Image) -> Image.Image:
        for name, probability, level in zip(words[::3], words[1::3], words[2::3], strict=True):
            if float(probability) > 0:
                image = pillow(name, int(level), sign)(image)
        return image

    return change


def pillow(name: str, level: int, sign: int) -> Change:
    """One operation of AutoAugment at a level 0..9."""
    if name in ENHANCERS:
        return lambda image: ENHANCERS[name](image).enhance(1 + sign * level / 10)
    height, width = SIZE
    slope, offset = sign * level / 30, sign * level / 9 * 150 / 331
    return {
        "shear_x": affine(1, slope, 0, 0, 1, 0),
        "shear_y": affine(1, 0, 0, slope, 1, 0),
        "translate_x": affine(1, 0, offset * width, 0, 1, 0),
        "translate_y": affine(1, 0, 0, 0, 1, offset * height),
        "rotate": lambda image: image.rotate(sign * level * 30 / 9, fillcolor=GRAY),
        "posterize": lambda image: ImageOps.posterize(image, 8 - round(level * 4 / 9)),
        "solarize": lambda image: ImageOps.solarize(image, 255 - level * 255 / 9),
        "invert": ImageOps.invert,
        "auto_contrast": ImageOps.autocontrast,
        "equalize": ImageOps.equalize,
    }[name]


@pytest.mark.parametrize("sign", [-1, 1])
@pytest.mark.parametrize("name", ["cifar10", "imagenet"])
def test_policies_are_those_of_the_paper(name: str, sign: int) -> None:
    """Policy by policy, where every operation with a probability above 0 is applied."""
    lines = {"cifar10": policies.CIFAR10, "imagenet": policies.IMAGENET}[name].strip().split("\n")
    assert len(lines) == 25
    for number, line in enumerate(lines):
        signs = 0.25 if sign < 0 else 0.75
        draws = torch.tensor([[(number + 0.5) / 25, 0, signs, 0, signs]]).expand(4, -1)
        found = policies.apply(as_tensor(PICTURES), draws, policies.table(name))
        expected = by_pillow(chained(line, sign))
        difference = (found - expected).abs()  # of rounding
        assert difference.max() <= 2 and difference.mean() < 0.2, line


def test_a_policy_is_drawn_for_every_image() -> None:
    """Operations are applied with their probability, and in both directions."""
    table = policies.table("cifar10")
    x = as_tensor(PICTURES[3:]).expand(4000, -1, -1, -1)
    draws = torch.rand(4000, policies.COLUMNS, generator=torch.Generator().manual_seed(0))
    draws[:, 0] = (draws[:, 0] + 1) / 25  # rotate 0.7, then translate_x 0.3
    found = policies.apply(x, draws, table)
    changed = (found != x).flatten(1).any(1).float().mean()
    assert abs(changed - (1 - 0.3 * 0.7)) < 0.05
    left, right = (found[:, :, :, column] == 128 for column in (0, -1))
    shares = [side.flatten(1).all(1).float().mean() for side in (left, right)]
    assert all(abs(share - 0.15) < 0.04 for share in shares)


def test_sizes_of_the_spaces() -> None:
    shapes = {name: tuple(policies.table(name).shape[:2]) for name in policies.POLICIES}
    assert shapes == {
        "cifar10": (25, 2),
        "imagenet": (25, 2),
        "rand": (14 * 14, 2),
        "trivial": (14 * 31, 1),
    }
    strongest = policies.table("trivial").amax((0, 1))
    names = ["probability", *(field.name for field in dataclasses.fields(Operation))]
    found = dict(zip(names, strongest.tolist(), strict=True))
    assert (found["pixels_x"], found["drop"], found["depth"]) == (32, 63, 256)
    assert math.degrees(found["angle"]) == pytest.approx(135)
    assert found["slope_x"] == found["strength"] == pytest.approx(0.99)


@pytest.mark.parametrize("name", policies.POLICIES)
@pytest.mark.parametrize("channels", [1, 3])
def test_images_stay_images(name: str, channels: int) -> None:
    x = as_tensor(PICTURES).repeat(16, 1, 1, 1)[:, :channels]
    draws = torch.rand(64, policies.COLUMNS, generator=torch.Generator().manual_seed(0))
    found = policies.apply(x, draws, policies.table(name))
    assert found.shape == x.shape and found.equal(found.round())
    assert found.min() >= 0 and found.max() <= 255
    assert ((found != x).flatten(1).any(1)).sum() > 32
