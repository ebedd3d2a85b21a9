"""Parts of a window that are left out: cells of pixels, input steps, polarities."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias, get_args

import numpy as np

from lmht_deploy.errors import DataError

Kind: TypeAlias = Literal["cell", "step", "polarity", "cell_step"]
"""Kind of a part.

* `cell`: N x N pixels, all steps and polarities
* `step`: one input step (time bin)
* `polarity`: OFF or ON events; for pixels, one color channel
* `cell_step`: one cell in one input step
"""
KINDS: tuple[Kind, ...] = get_args(Kind)

MAX_PARTS = 2**20
"""Largest number of cells in all steps."""
CELLS_PER_SIDE = 8
"""Cells along the shorter side of a window by default."""


@dataclass(frozen=True, eq=False)
class Parts:
    """A division of a window into parts: every input value belongs to exactly one.

    Attributes:
        index: Index of the part of each value, int64 `[T_in, C, H, W]`.
        shape: Shape of the parts, such as (rows, columns) of cells.
    """

    index: np.ndarray
    shape: tuple[int, ...]

    @property
    def number(self) -> int:
        """Number of parts."""
        return int(np.prod(self.shape))

    def sums(self, values: np.ndarray) -> np.ndarray:
        """Add `values` `[T_in, C, H, W]` by part, float64 `[number]`."""
        return np.bincount(self.index.ravel(), values.ravel(), self.number)


def default_cell(shape: tuple[int, ...]) -> int:
    """Return the side of a cell that divides the shorter side of a window into about 8 cells."""
    return max(1, round(min(shape[2:]) / CELLS_PER_SIDE))


def check_cell(cell: int, shape: tuple[int, ...]) -> int:
    """Return the side of a cell; DataError if it does not fit into a window (T_in, C, H, W)."""
    steps, _, height, width = shape
    if isinstance(cell, bool) or not isinstance(cell, int | np.integer) or cell < 1:
        raise DataError(f"the side of a cell must be a number of pixels, at least 1, not {cell!r}")
    if cell > min(height, width):
        raise DataError(
            f"a cell of {cell} x {cell} pixels is larger than the network's input of"
            f" {width} x {height} pixels; its side must be at most {min(height, width)}"
        )
    if (number := -(-height // cell) * -(-width // cell) * steps) > MAX_PARTS:
        raise DataError(
            f"cells of {cell} x {cell} pixels make {number:,} cells in all steps; choose a larger"
            f" cell, for at most {MAX_PARTS:,}"
        )
    return int(cell)


def divide(kind: Kind, shape: tuple[int, ...], cell: int) -> Parts:
    """Divide a window into parts.

    Cells at the right and lower border are smaller where `cell` does not divide the size.

    Args:
        kind: Kind of the parts.
        shape: (T_in, C, H, W).
        cell: Side of a cell in pixels.
    """
    steps, channels, height, width = shape
    rows, columns = -(-height // cell), -(-width // cell)
    step, channel, y, x = np.ogrid[:steps, :channels, :height, :width]
    place = y // cell * columns + x // cell
    index, parts = {
        "cell": (place, (rows, columns)),
        "step": (step, (steps,)),
        "polarity": (channel, (channels,)),
        "cell_step": (step * (rows * columns) + place, (steps, rows, columns)),
    }[kind]
    return Parts(np.broadcast_to(index, shape).astype(np.int64), parts)
