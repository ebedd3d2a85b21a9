"""Changes of an answer, painted over the window and as bars."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

import numpy as np

from ._draw import GAP, draw_legend, write_beside
from ._style import INK, LINE, MUTED, SERIES, bare, tidy

if TYPE_CHECKING:
    from matplotlib.axes import Axes

SUPPORTS, OPPOSES = SERIES[2], SERIES[3]
"""Colors of parts without which the margin is smaller, and larger."""
CELL_ALPHA = 0.6
"""Opacity of the cell with the largest change."""
MAX_WRITTEN = 100
"""Number of cells up to which the changes are written into them."""
LEAST = 0.02
"""Share of the largest change below which a cell stays empty."""


def draw_attribution(
    ax: Axes,
    frame: np.ndarray,
    changes: np.ndarray,
    cell: int,
    outlined: Iterable[tuple[int, int]] = (),
    *,
    image: bool = False,
) -> None:
    """Draw the changes of a margin over gray events or over a gray image.

    Args:
        ax: Axes.
        frame: Integers `[C, H, W]`: counts of events, or pixels within -128..127.
        changes: Change of the margin without each cell, float64 `[rows, columns]`.
        cell: Side of a cell in pixels.
        outlined: Rows and columns of cells that get an outline.
        image: Whether the frame holds pixels.
    """
    height, width = frame.shape[1:]
    ax.imshow(_gray(frame, image), extent=(0, width, height, 0), interpolation="nearest")
    largest = max(float(np.abs(changes).max()), 1e-300)
    _fill_cells(ax, changes / largest, cell, (height, width))
    if changes.size <= MAX_WRITTEN:
        _write_changes(ax, changes, largest * LEAST, cell, (height, width))
    _label_colors(ax)
    for number, (row, column) in enumerate(outlined):
        x, y = zip(*_corners(row, column, cell, (height, width)), strict=True)
        label = None if number else "set that changes the answer"
        ax.fill(x, y, edgecolor=INK, linewidth=1.8, facecolor="none", label=label)
    draw_legend(ax)
    ax.set(xlim=(0, width), ylim=(height, 0), aspect="equal")
    ax.set_anchor("W")
    tidy(ax)
    ax.spines[["top", "right"]].set_visible(True)
    ax.spines[:].set_color(LINE)


def _gray(frame: np.ndarray, image: bool) -> np.ndarray:
    """Return events as mid-gray of varying opacity, or an image in gray, uint8 `[H, W, 4]`."""
    from lmht_deploy.events.pictures import find_brightest

    picture = np.full((*frame.shape[1:], 4), 128.0)
    if image:
        picture[..., :3] = (frame.mean(0) + 128)[..., None]
        picture[..., 3] = 255
    else:
        total = frame.sum(0)
        picture[..., 3] = 230 * np.minimum(np.log1p(total) / np.log1p(find_brightest(total)), 1)
    return np.rint(picture).clip(0, 255).astype(np.uint8)


def _fill_cells(
    ax: Axes, shares: np.ndarray, cell: int, size: tuple[int, int], left: float = 0
) -> None:
    """Fill cells with the color and opacity of their shares -1..1, moved to the right by `left`."""
    from matplotlib.collections import PolyCollection
    from matplotlib.colors import to_rgb

    shown = np.argwhere(np.abs(shares) >= LEAST)
    faces = [
        (*to_rgb(SUPPORTS if share < 0 else OPPOSES), CELL_ALPHA * abs(share))
        for share in (float(shares[row, column]) for row, column in shown)
    ]
    corners = [_corners(row, column, cell, size) for row, column in shown.tolist()]
    moved = [np.add(corner, (left, 0)) for corner in corners]
    ax.add_collection(PolyCollection(moved, facecolors=faces, edgecolors="none"))


def _corners(row: int, column: int, cell: int, size: tuple[int, int]) -> list[tuple[float, float]]:
    upper, left = row * cell, column * cell
    lower, right = min(upper + cell, size[0]), min(left + cell, size[1])
    return [(left, upper), (right, upper), (right, lower), (left, lower)]


def _write_changes(
    ax: Axes, changes: np.ndarray, least: float, cell: int, size: tuple[int, int]
) -> None:
    font = 8 if changes.size <= 64 else 6
    for (row, column), change in np.ndenumerate(changes):
        if abs(change) >= least:
            (left, upper), _, (right, lower), _ = _corners(row, column, cell, size)
            x, y = (left + right) / 2, (upper + lower) / 2
            ax.text(x, y, f"{change:+.2g}", ha="center", va="center", size=font, color=INK)


def draw_step_changes(ax: Axes, changes: np.ndarray, labels: Sequence[str]) -> None:
    """Draw the changes of a margin without each cell in each step, steps beside each other.

    Args:
        ax: Axes.
        changes: Change of the margin, float64 `[T_in, rows, columns]`.
        labels: Label of each step.
    """
    rows, columns = changes.shape[1:]
    pitch = columns * (1 + GAP)
    shares = changes / max(float(np.abs(changes).max()), 1e-300)
    for step, part in enumerate(shares):
        left = step * pitch
        _fill_cells(ax, part, 1, (rows, columns), left)
        x, y = zip(*_corners(0, 0, max(rows, columns), (rows, columns)), strict=True)
        ax.fill(np.add(x, left), y, edgecolor=LINE, linewidth=0.8, facecolor="none")
    _label_colors(ax)
    draw_legend(ax)
    ax.set_anchor("W")
    ax.set(xlim=(-0.3, len(changes) * pitch), ylim=(rows + 0.3, -0.3), aspect="equal")
    ax.set_xticks(np.arange(len(changes)) * pitch + columns / 2, labels)
    ax.set_yticks([])
    bare(ax)


def _label_colors(ax: Axes) -> None:
    for color, label in ((SUPPORTS, "supports the answer"), (OPPOSES, "opposes it")):
        ax.fill([], [], color=color, alpha=CELL_ALPHA, linewidth=0, label=label)


def draw_changes(ax: Axes, labels: Sequence[str], changes: np.ndarray) -> None:
    """Draw horizontal bars from 0, whose colors tell the sign.

    Args:
        ax: Axes.
        labels: Labels of the bars, the first on top.
        changes: Change of the margin without each part, float64 `[n]`.
    """
    for row, change in enumerate(changes.tolist()):
        ax.barh(row, change, 0.66, color=SUPPORTS if change < 0 else OPPOSES)
        write_beside(ax, f"{change:+.3g}", (max(change, 0), row), (4, 0), va="center")
    ax.axvline(0, color=MUTED, linewidth=0.8)
    low, high = min(float(changes.min()), 0), max(float(changes.max()), 0)
    span = max(high - low, 1e-300)
    ax.set_yticks(range(len(labels)), labels)
    ax.set(ylim=(len(labels) - 0.4, -0.6), xlim=(low - 0.05 * span, high + 0.16 * span))
    tidy(ax, grid="x")
    ax.spines["left"].set_visible(False)
