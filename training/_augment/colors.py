"""Changes of gray levels, for a whole batch of images; every image has strengths of its own.

They compute what ImageOps and ImageEnhance of Pillow compute. Images are float [B, C, H, W] and
hold integers 0..255. Where a strength is 0, the image stays as it is.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

LEVELS = 256
"""Number of gray levels."""


def per_image(values: Tensor) -> Tensor:
    """View one value per image, [B], as [B, 1, 1, 1]."""
    return values[:, None, None, None]


def luminance(x: Tensor) -> Tensor:
    """Gray levels [B, 1, H, W] of x [B, C, H, W]: ITU-R 601-2 for three channels, else the mean."""
    if x.shape[1] != 3:
        return x.mean(1, keepdim=True).floor()
    weights = (19595.0, 38470.0, 7471.0)  # of 2^16; every sum is exact in float32
    red, green, blue = torch.split(x, 1, 1)
    sums = torch.add(red * weights[0], green, alpha=weights[1]).add(blue, alpha=weights[2])
    return ((sums + 2**15) / 2**16).floor()


def smoothed(x: Tensor) -> Tensor:
    """Means of 3 x 3 pixels, rounded, with weight 5 for the center; borders stay as they are."""
    rows = x[:, :, :-2] + x[:, :, 1:-1] + x[:, :, 2:]
    center = x[:, :, 1:-1, 1:-1]
    sums = (rows[..., :-2] + rows[..., 1:-1] + rows[..., 2:]).add(center, alpha=4)
    return x + functional.pad((sums / 13 + 0.5).floor() - center, (1, 1, 1, 1))


def enhance(
    x: Tensor, strength: Tensor, contrast: Tensor, color: Tensor, sharpness: Tensor
) -> Tensor:
    """Move images away from a reference, by `strength` (-1..1) of their distance from it.

    The reference is black (brightness), or the mean gray level (if `contrast` is 1), the image in
    gray levels (if `color` is 1) or the smoothed image (if `sharpness` is 1).
    """
    gray = luminance(x)
    mean = (gray.mean((1, 2, 3)) + 0.5).floor()
    reference = torch.addcmul(per_image(contrast * mean), per_image(color), gray)
    reference = torch.addcmul(reference, per_image(sharpness), smoothed(x))
    moved = torch.addcmul(reference, per_image(1 + strength), x - reference)
    return moved.clamp(0, LEVELS - 1).floor()


def stretch(x: Tensor, chosen: Tensor) -> Tensor:
    """Stretch each channel of the `chosen` images (float [B], 0 or 1) to 0..255 (autocontrast)."""
    low, high = x.amin((2, 3), keepdim=True), x.amax((2, 3), keepdim=True)
    used = per_image(chosen) * (high > low)
    width = (LEVELS - 1) + (high - low - (LEVELS - 1)) * used
    return torch.div((x - low * used) * (LEVELS - 1), width, rounding_mode="floor")


def posterize(x: Tensor, drop: Tensor) -> Tensor:
    """Round down to multiples of `drop` + 1 (float [B])."""
    return x - x % per_image(drop + 1)


def solarize(x: Tensor, depth: Tensor) -> Tensor:
    """Invert gray levels from 256 - `depth` (float [B]) on."""
    return torch.where(x >= LEVELS - per_image(depth), LEVELS - 1 - x, x)


def equalize(x: Tensor, chosen: Tensor) -> Tensor:
    """Equalize the histogram of each channel of the `chosen` images (float [B], 0 or 1)."""
    pixels = x.flatten(2).long()
    histogram = x.new_zeros(*x.shape[:2], LEVELS)
    histogram = histogram.scatter_add(2, pixels, torch.ones_like(x).flatten(2))
    last = histogram.gather(2, pixels.amax(2, keepdim=True))
    step = torch.div(pixels.shape[2] - last, LEVELS - 1, rounding_mode="floor")
    below = histogram.cumsum(2) - histogram + torch.div(step, 2, rounding_mode="floor")
    equal = torch.div(below, step.clamp(min=1), rounding_mode="floor").clamp(max=LEVELS - 1)
    table = torch.where(
        (step > 0) & (chosen[:, None, None] > 0), equal, torch.arange(LEVELS, device=x.device)
    )
    return table.gather(2, pixels).view_as(x)
