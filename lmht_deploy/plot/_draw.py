"""Charts of plain arrays on Matplotlib axes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from ._style import (
    HEAT_ALPHA,
    INK,
    LINE,
    MUTED,
    OFF_COLOR,
    ON_COLOR,
    SERIES,
    bare,
    log_axis,
    series_color,
    series_marker,
    tidy,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MAX_TEXTS = 400
"""Number of cells of a heat map up to which their values are written into them."""
SHARP = 24
"""Repetitions of the columns of a raster, without which an enlarged image blurs."""
MAX_LABELS = 34
"""Number of labels of an axis of a heat map; of more rows or columns, not every one is labeled."""
MIN_COLUMNS = 6
"""Columns for which a heat map leaves space, so that few cells do not become huge."""
GAP = 0.12
"""Space between the bands of a raster, in units of a band."""


@dataclass(frozen=True)
class Point:
    """One network in a chart of cost and accuracy.

    Attributes:
        label: Name of the network.
        cost: What one window costs, in the unit of the axis.
        accuracy: Share of the windows that are classified correctly, 0..1.
        interval: Interval of the accuracy; None if it is not known.
    """

    label: str
    cost: float
    accuracy: float
    interval: tuple[float, float] | None = None


# ------------------------------------------------------------------------------------- heat maps


def draw_heat(
    ax: Axes,
    values: np.ndarray,
    rows: Sequence[str],
    columns: Sequence[str],
    text: Callable[[float], str],
    written: np.ndarray | None = None,
) -> None:
    """Draw a matrix as cells whose opacity is the value; NaN stays empty.

    Args:
        ax: Axes.
        values: float `[rows, columns]`, >= 0.
        rows: Labels of the rows, the first on top.
        columns: Labels of the columns.
        text: Formats a value.
        written: Counts to write into the cells in place of the values, float `[rows, columns]`.
    """
    from matplotlib.collections import PolyCollection

    alpha = HEAT_ALPHA * values / max(float(np.nanmax(values, initial=0)), 1e-300)
    shown = np.argwhere(alpha > 0.004)
    cells = [_cell(row, column) for row, column in shown]
    faces = [(*_rgb(SERIES[0]), float(alpha[row, column])) for row, column in shown]
    ax.add_collection(PolyCollection(cells, facecolors=faces, edgecolors="none"))
    if values.size <= MAX_TEXTS:
        _write_cells(ax, values if written is None else written, text)
    ax.set(xlim=(-0.5, max(len(columns), MIN_COLUMNS) - 0.5), ylim=(len(rows) - 0.5, -0.5))
    for axis, labels in ((ax.xaxis, columns), (ax.yaxis, rows)):
        every = -(-len(labels) // MAX_LABELS)
        axis.set_ticks(range(0, len(labels), every), labels[::every])
    bare(ax)


def _cell(row: int, column: int) -> list[tuple[float, float]]:
    left, right, top, bottom = column - 0.47, column + 0.47, row - 0.46, row + 0.46
    return [(left, top), (right, top), (right, bottom), (left, bottom)]


def _rgb(color: str) -> tuple[float, float, float]:
    from matplotlib.colors import to_rgb

    return to_rgb(color)


def _write_cells(ax: Axes, values: np.ndarray, text: Callable[[float], str]) -> None:
    size = 9 if values.size <= 150 else 7
    for (row, column), value in np.ndenumerate(values):
        if not np.isnan(value):
            color, shown = (INK, text(value)) if value else (MUTED, "·")
            ax.text(column, row, shown, ha="center", va="center", size=size, color=color)


# ------------------------------------------------------------------------------------- bars, ranges


def draw_bars(
    ax: Axes,
    labels: Sequence[str],
    parts: Mapping[str, np.ndarray],
    text: Callable[[float], str],
) -> None:
    """Draw horizontal bars of one or several parts, with their totals.

    Args:
        ax: Axes.
        labels: Labels of the bars, the first on top.
        parts: Lengths by the name of the part.
        text: Formats a total.
    """
    at, end = np.arange(len(labels)), np.zeros(len(labels))
    for index, (name, lengths) in enumerate(parts.items()):
        ax.barh(at, lengths, 0.66, end, color=series_color(index), label=name)
        end = end + lengths
    for position, total in enumerate(end.tolist()):
        write_beside(ax, text(total), (total, position), (4, 0), va="center")
    ax.set_yticks(at, labels)
    ax.xaxis.set_major_formatter("{x:,.12g}")
    ax.set(ylim=(len(labels) - 0.4, -0.6), xlim=(0, 1.16 * max(float(end.max()), 1e-300)))
    tidy(ax, grid="x")
    if len(parts) > 1:
        draw_legend(ax)


def draw_ranges(
    ax: Axes,
    labels: Sequence[str],
    values: np.ndarray,
    text: Callable[[float], str],
    names: Sequence[str] = (),
    colors: Sequence[str] = SERIES,
) -> None:
    """Draw a line from the smallest to the largest value of each label, and a marker per value.

    Args:
        ax: Axes; its scale is logarithmic.
        labels: Labels of the rows, the first on top.
        values: float `[labels, n]`, in increasing order; NaN where a value is unknown.
        text: Formats a value.
        names: What the n values are, for the legend.
        colors: Colors of the rows.
    """
    for row in range(len(labels)):
        color, known = colors[row % len(colors)], values[row][~np.isnan(values[row])]
        if len(known):
            ax.plot(known[[0, -1]], [row, row], color=color, linewidth=1.5)
            note = " to ".join(dict.fromkeys((text(known[0]), text(known[-1]))))
            write_beside(ax, note, (known[0], row), (0, 6))
        for column, value in enumerate(values[row]):
            ax.plot(value, row, series_marker(column), color=color, markersize=6)
    for column, name in enumerate(names):
        ax.plot([], [], series_marker(column), color=MUTED, label=name, linestyle="none")
    log_axis(ax)
    ax.set_yticks(range(len(labels)), labels)
    ax.set_ylim(len(labels) - 0.5, -0.8)
    tidy(ax, grid="x")
    if names:
        draw_legend(ax)


# ------------------------------------------------------------------------------------- lines


def draw_lines(
    ax: Axes,
    x: np.ndarray,
    lines: Mapping[str, np.ndarray],
    bands: Mapping[str, np.ndarray] | None = None,
) -> None:
    """Draw lines with markers, and shaded intervals.

    Args:
        ax: Axes.
        x: float `[n]`, common to all lines.
        lines: float `[n]` by name.
        bands: float `[n, 2]` by the name of the line, smallest and largest values.
    """
    markers = len(x) <= 40
    for index, (name, y) in enumerate(lines.items()):
        color, marker = series_color(index), series_marker(index) if markers else ""
        ax.plot(x, y, marker=marker, color=color, label=name, linewidth=1.6, markersize=5)
        if bands and name in bands:
            low, high = bands[name].T
            ax.fill_between(x, low, high, color=color, alpha=0.15, linewidth=0)
    tidy(ax, grid="y")
    if len(lines) > 1:
        draw_legend(ax)


def write_beside(
    ax: Axes, text: str, point: tuple[float, float], offset: tuple[float, float], va: str = "bottom"
) -> None:
    """Write `text` beside a point, at an offset in points."""
    ax.annotate(text, point, offset, textcoords="offset points", va=va, size=9, color=INK)


def draw_legend(ax: Axes) -> None:
    """Draw a legend above the axes."""
    entries = len(ax.get_legend_handles_labels()[1])
    ax.legend(
        loc="lower left",
        bbox_to_anchor=(0, 1),
        ncols=min(entries, 3),
        frameon=False,
        fontsize=9,
        labelcolor=INK,
        borderaxespad=0.2,
    )


def draw_pareto(ax: Axes, points: Sequence[Point]) -> None:
    """Draw networks by cost and accuracy (percent), and the Pareto front of them.

    Args:
        ax: Axes; the scale of the cost is logarithmic.
        points: The networks.
    """
    front = sorted((p for p in points if is_efficient(p, points)), key=lambda p: p.cost)
    cost, share = [p.cost for p in front], [100 * p.accuracy for p in front]
    ax.step(cost, share, where="post", color=LINE, linewidth=1.6, zorder=1)
    for index, point in enumerate(points):
        _draw_point(ax, point, series_color(index), series_marker(index), point in front)
    log_axis(ax)
    ax.margins(0.18, 0.18)
    tidy(ax, grid="both")


def is_efficient(point: Point, points: Sequence[Point]) -> bool:
    """Whether no other point costs at most as much and is at least as accurate, one of them more.

    Example:
        >>> points = [Point("a", 1, 0.9), Point("b", 2, 0.95), Point("c", 3, 0.92)]
        >>> [is_efficient(point, points) for point in points]
        [True, True, False]
    """
    return not any(
        other.cost <= point.cost
        and other.accuracy >= point.accuracy
        and (other.cost, other.accuracy) != (point.cost, point.accuracy)
        for other in points
    )


def _draw_point(ax: Axes, point: Point, color: str, marker: str, efficient: bool) -> None:
    share = 100 * point.accuracy
    if point.interval is not None:
        low, high = (100 * bound for bound in point.interval)
        ax.plot([point.cost] * 2, [low, high], color=color, linewidth=1, alpha=0.6)
    ax.plot(
        point.cost,
        share,
        marker,
        color=color,
        markersize=9,
        label=point.label,
        fillstyle="full" if efficient else "none",
        markeredgewidth=1.5,
    )
    write_beside(ax, point.label, (point.cost, share), (7, 5))


# ------------------------------------------------------------------------------------- images


def draw_frames(ax: Axes, counts: np.ndarray, labels: Sequence[str]) -> None:
    """Draw frames of event counts beside each other: ON blue, OFF orange.

    Args:
        ax: Axes.
        counts: int `[n, 2, H, W]`: OFF and ON.
        labels: Label of each frame.
    """
    height, width = counts.shape[2:]
    pitch = width * (1 + GAP)
    for index, picture in enumerate(color_counts(counts)):
        left = index * pitch
        ax.imshow(picture, extent=(left, left + width, height, 0), interpolation="nearest")
        edges = [(left, 0), (left + width, 0), (left + width, height), (left, height), (left, 0)]
        ax.plot(*zip(*edges, strict=True), color=LINE, linewidth=0.8)
    ax.set_anchor("W")
    ax.set(xlim=(-1, len(counts) * pitch - GAP * width + 1), ylim=(height + 1, -1), aspect="equal")
    ax.set_xticks(np.arange(len(counts)) * pitch + width / 2, labels)
    ax.set_yticks([])
    bare(ax)


def color_counts(counts: np.ndarray) -> np.ndarray:
    """Return event counts as colors on transparent paper, uint8 `[n, H, W, 4]`.

    The opacity is the logarithm of 1 + n, relative to that of the 99th percentile of all pixels
    with events.

    Args:
        counts: int `[n, 2, H, W]`: OFF and ON.
    """
    from lmht_deploy.events.pictures import find_brightest

    light = np.minimum(np.log1p(counts) / np.log1p(find_brightest(counts)), 1)
    total = np.maximum(light.sum(1), 1e-300)
    on = (light[:, 1] / total)[..., None]
    picture = np.empty((len(counts), *counts.shape[2:], 4))
    picture[..., :3] = (1 - on) * OFF_COLOR + on * ON_COLOR
    picture[..., 3] = 255 * light.max(1)
    return np.rint(picture).astype(np.uint8)


def draw_raster(ax: Axes, spikes: Mapping[str, np.ndarray]) -> None:
    """Draw the spikes of one window: a band per layer, a row per neuron, a column per time-step.

    A graded spike of k fills k of the L parts of its time-step, as the spikes of the
    single-threshold network do.

    Args:
        ax: Axes.
        spikes: k by layer, int `[steps, neurons]`.
    """
    for band, k in enumerate(spikes.values()):
        code = _unary(k).T.repeat(SHARP, 1)
        image = np.zeros((*code.shape, 4), np.uint8)
        image[..., :3] = np.rint(255 * np.array(_rgb(series_color(band))))
        image[..., 3] = 255 * code
        extent = (0.5, len(k) + 0.5, band + 1 - GAP / 2, band + GAP / 2)
        ax.imshow(image, extent=extent, aspect="auto", interpolation="auto")
    steps = max(len(k) for k in spikes.values())
    ax.set(xlim=(0.5, steps + 0.5), ylim=(len(spikes), 0))
    ax.set_xticks(range(1, steps + 1))
    names = [f"{name}\n{k.shape[1]:,} neurons" for name, k in spikes.items()]
    ax.set_yticks(np.arange(len(names)) + 0.5, names)
    for step in range(1, steps):
        ax.axvline(step + 0.5, color=LINE, linewidth=0.6)
    tidy(ax)


def _unary(k: np.ndarray) -> np.ndarray:
    """Return spikes as a thermometer code with a gap between time-steps, bool `[columns, n]`."""
    levels = max(int(k.max(initial=0)), 1)
    code = np.zeros((len(k), levels + 1, k.shape[1]), bool)
    code[:, :levels] = np.arange(levels)[:, None] < k[:, None]
    return code.reshape(-1, k.shape[1])
