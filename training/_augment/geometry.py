"""Moves of whole batches: which pixel of a window every pixel of the result shows.

Moves are composed before any pixel is read, so that a batch is read once. They only copy pixels:
event counts stay counts.
"""

from __future__ import annotations

import math
from typing import NamedTuple, TypeAlias

import torch
from torch import Tensor

Size: TypeAlias = tuple[int, int]
"""Height and width."""


class Source(NamedTuple):
    """Position of the source pixel, for every pixel of the result.

    Attributes:
        rows: Row, int64 [B, H, W] or a shape that broadcasts to it.
        columns: Column, likewise.
        inside: Whether there is a source pixel, likewise; None: everywhere.
    """

    rows: Tensor
    columns: Tensor
    inside: Tensor | None = None


class Linear(NamedTuple):
    """Linear maps from (y, x) of the result to (y, x) of the source, each entry float [B]."""

    yy: Tensor
    yx: Tensor
    xy: Tensor
    xx: Tensor


def per_pixel(values: Tensor) -> Tensor:
    """View one value per window, [B], as [B, 1, 1]."""
    return values[:, None, None]


def offsets(draws: Tensor, max_offset: int) -> Tensor:
    """Turn uniform numbers in [0, 1) into integers -max_offset..max_offset."""
    return (draws * (2 * max_offset + 1)).long() - max_offset


def angles(draws: Tensor, max_degrees: float) -> Tensor:
    """Turn uniform numbers [B, 1] into angles [B] in radians, at most `max_degrees`."""
    return (draws[:, 0] * 2 - 1) * math.radians(max_degrees)


def unmoved(size: Size, device: torch.device) -> Source:
    """Every pixel is its own source."""
    rows, columns = (torch.arange(length, device=device) for length in size)
    return Source(rows[None, :, None], columns[None, None, :])


def linear(angle: Tensor, slope_x: Tensor, slope_y: Tensor | float = 0.0) -> Linear:
    """Map back a rotation by `angle` (radians) and then shears by `slope_x` and `slope_y`."""
    cos, sin = angle.cos(), angle.sin()
    return Linear(
        cos + sin * slope_x, cos * slope_y + sin, cos * slope_x - sin, cos - sin * slope_y
    )


def mapped(
    source: Source, size: Size, map: Linear, y: Tensor | float = 0.0, x: Tensor | float = 0.0
) -> Source:
    """Map positions about the center, then add the offsets `y` and `x`; take the nearest pixel."""
    center = [(length - 1) / 2 for length in size]
    rows, columns = source.rows - center[0], source.columns - center[1]
    yy, yx, xy, xx = (per_pixel(entry) for entry in map)
    y = torch.addcmul(yy * rows + (center[0] + y), yx, columns)
    x = torch.addcmul(xy * rows + (center[1] + x), xx, columns)
    return bounded(Source(y.round().long(), x.round().long(), source.inside), size)


def flipped(source: Source, size: Size, chosen: Tensor) -> Source:
    """Flip the `chosen` windows (bool [B]) horizontally."""
    columns = torch.where(per_pixel(chosen), size[1] - 1 - source.columns, source.columns)
    return source._replace(columns=columns)


def rolled(source: Source, size: Size, by: Tensor) -> Source:
    """Translate by `by` (int64 [B, 2]: y, x); pixels wrap around."""
    rows, columns = (per_pixel(offset) for offset in by.unbind(1))
    return source._replace(
        rows=(source.rows - rows) % size[0], columns=(source.columns - columns) % size[1]
    )


def shifted(source: Source, size: Size, by: Tensor) -> Source:
    """Translate by `by` (int64 [B, 2]: y, x); vacated pixels have no source."""
    rows, columns = (per_pixel(offset) for offset in by.unbind(1))
    return bounded(source._replace(rows=source.rows - rows, columns=source.columns - columns), size)


def bounded(source: Source, size: Size) -> Source:
    """Mark positions outside of the window, and clip them."""
    rows, columns = source.rows.clamp(0, size[0] - 1), source.columns.clamp(0, size[1] - 1)
    inside = (rows == source.rows) & (columns == source.columns)
    return Source(rows, columns, inside if source.inside is None else source.inside & inside)


def take(x: Tensor, source: Source, *, fill: float = 0.0) -> Tensor:
    """Read the source pixels of x [B, C, H, W]; pixels without a source become `fill`."""
    size = x.shape[-2:]
    index = torch.add(source.columns, source.rows, alpha=size[1]).flatten(1)
    taken = x.flatten(2).gather(2, index[:, None].expand(-1, x.shape[1], -1)).view_as(x)
    return taken if source.inside is None else torch.where(source.inside[:, None], taken, fill)


def boxes(draws: Tensor, size: Size, height: Tensor | int, width: Tensor | int) -> Tensor:
    """Choose one rectangle per window, at a random place inside of it.

    Args:
        draws: Uniform numbers, float32 [B, 2].
        size: Height and width of the windows.
        height: Height of the rectangles, at most that of the windows; or one per window, [B, 1].
        width: Width of the rectangles, likewise.

    Returns:
        Whether a pixel lies in the rectangle, bool [B, H, W].
    """
    rows = runs(draws[:, :1], size[0], height)
    columns = runs(draws[:, 1:], size[1], width)
    return rows[:, :, None] & columns[:, None, :]


def boxes_of_area(draws: Tensor, size: Size, area: Tensor) -> Tensor:
    """Choose rectangles that have the shape of the windows, and a share `area` [B, 1] of theirs."""
    side = area.sqrt()
    height, width = ((side * length).round().long() for length in size)
    return boxes(draws, size, height, width)


def runs(draws: Tensor, length: int, number: Tensor | int) -> Tensor:
    """Choose `number` consecutive ones of `length`, for draws [B, 1]; bool [B, length]."""
    start = (draws * (length + 1 - number)).long()
    place = torch.arange(length, device=draws.device) - start
    return (place >= 0) & (place < number)
