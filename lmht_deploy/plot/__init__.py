"""Charts of results: Matplotlib axes in and out.

Every function draws on the axes that it is given, or on those of a new figure, and returns them.
The figure of the returned axes is `ax.figure`. Matplotlib is imported on the first call; the extra
`plot` installs it. No function changes the state of pyplot or the settings of Matplotlib.

Example:
    >>> result = lmht.run("net.lmht", windows, trace=True)
    >>> ax = lmht.plot.raster(result, window=3)
    >>> ax.figure.savefig("raster.pdf")
"""

from __future__ import annotations

import operator
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from lmht_deploy._arguments import check_types
from lmht_deploy.errors import DataError
from lmht_deploy.events.recordings import Recording
from lmht_deploy.result import Result

from ._attribution import draw_attribution
from ._draw import Point, draw_frames, draw_heat, draw_pareto, draw_raster
from ._style import new_axes, plain

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["Point", "attribution", "density", "frames", "pareto", "raster", "step_density"]


@check_types(DataError, result=Result)
def raster(
    result: Result,
    window: int = 0,
    *,
    layers: Sequence[str] | None = None,
    ax: Axes | None = None,
) -> Axes:
    """Draw the spikes of all neurons in one window.

    There is a band per layer, a row per neuron and a column per time-step. A graded spike of k
    fills k parts of its time-step.

    Args:
        result: Result of a run with `trace=True`.
        window: Index of the window.
        layers: Names of the layers to draw. Default: all.
        ax: Axes to draw on. Default: those of a new figure.

    Returns:
        The axes.

    Raises:
        DataError: The result holds no traces, or no such window or layer; or Matplotlib is not
            installed.

    Example:
        >>> result = lmht.run("net.lmht", windows, trace=True)
        >>> lmht.plot.raster(result, window=3).figure.savefig("raster.png")
    """
    traces = _traces(result)
    index, count = _index(window), len(result.logits)
    if not 0 <= index < count:
        raise DataError(f"the result has the windows 0 to {count - 1}, not {window!r}")
    chosen = list(traces) if layers is None else list(layers)
    for name in chosen:
        if name not in traces:
            raise DataError(f"there is no layer {name!r}; the layers are {', '.join(traces)}")
    spikes = {
        plain(name): traces[name][index].reshape(traces[name].shape[1], -1) for name in chosen
    }
    ax = new_axes(ax, 6.4, 1.2 + 1.1 * len(spikes))
    draw_raster(ax, spikes)
    ax.set_xlabel("time-step")
    return ax


def frames(
    events: Recording | np.ndarray,
    *,
    steps: int = 4,
    ax: Axes | None = None,
) -> Axes:
    """Draw events as frames beside each other: ON events blue, OFF events orange.

    A color is stronger where there are more events.

    Args:
        events: A recording, or one window of a network: int `[T_in, 2, H, W]`, OFF and ON.
        steps: Number of frames of a recording, which have equal durations.
        ax: Axes to draw on. Default: those of a new figure.

    Returns:
        The axes.

    Raises:
        DataError: `events` is neither, or Matplotlib is not installed.

    Example:
        >>> recording = lmht.read_events("recording.aedat4")
        >>> lmht.plot.frames(recording, steps=6).figure.savefig("frames.png")
    """
    counts = _count(events, steps) if isinstance(events, Recording) else _frame_counts(events)
    ratio = counts.shape[2] / counts.shape[3]
    ax = new_axes(ax, 1.7 * len(counts), 0.4 + 1.6 * ratio)
    draw_frames(ax, counts, [f"bin {index + 1}" for index in range(len(counts))])
    return ax


@check_types(DataError, result=Result)
def density(result: Result, *, ax: Axes | None = None) -> Axes:
    """Draw the spike density of each layer and time-step: spikes per neuron, on average.

    Args:
        result: Result of a run with `trace=True`.
        ax: Axes to draw on. Default: those of a new figure.

    Returns:
        The axes.

    Raises:
        DataError: The result holds no traces, or Matplotlib is not installed.

    Example:
        >>> result = lmht.run("net.lmht", windows, trace=True)
        >>> lmht.plot.density(result).figure.savefig("density.png")
    """
    means = step_density(result)
    steps = max(len(values) for values in means.values())
    matrix = np.full((len(means), steps), np.nan)
    for row, values in zip(matrix, means.values(), strict=True):
        row[: len(values)] = values
    ax = new_axes(ax, 2.4 + 0.7 * steps, 1 + 0.4 * len(means))
    rows = list(map(plain, means))
    draw_heat(ax, matrix, rows, [str(step + 1) for step in range(steps)], "{:.3f}".format)
    ax.set_xlabel("time-step", loc="left")
    return ax


@check_types(DataError, result=Result)
def step_density(result: Result) -> dict[str, np.ndarray]:
    """Return the mean number of spikes per neuron by layer and time-step.

    Args:
        result: Result of a run with `trace=True`.

    Returns:
        float64 `[steps]` by layer. A graded spike of k counts k.

    Raises:
        DataError: The result holds no traces.
    """
    return {
        name: k.mean(axis=(0, *range(2, k.ndim)), dtype=np.float64)
        for name, k in _traces(result).items()
    }


def pareto(
    points: Sequence[Point],
    *,
    cost: str = "energy per window (nJ)",
    ax: Axes | None = None,
) -> Axes:
    """Draw networks by what they cost and how accurate they are, and their Pareto front.

    A network is on the front if no other one is both at least as accurate and at most as
    expensive. Its marker is filled. Vertical lines are the intervals of the accuracies.

    Args:
        points: One point per network.
        cost: Label of the axis of the costs, with the unit. The axis is logarithmic.
        ax: Axes to draw on. Default: those of a new figure.

    Returns:
        The axes.

    Raises:
        DataError: There is no point, a cost is not positive, or Matplotlib is not installed.

    Example:
        >>> points = [lmht.plot.Point("T=4", 982.5, 0.978), lmht.plot.Point("T=2", 520.1, 0.969)]
        >>> lmht.plot.pareto(points).figure.savefig("pareto.png")
    """
    found = list(points) if isinstance(points, Iterable) else []
    if not found or not all(isinstance(point, Point) for point in found):
        raise DataError("points must be a list of lmht_deploy.plot.Point, with at least one")
    for point in found:
        if not 0 < point.cost < np.inf:
            raise DataError(f"the cost of {point.label!r} must be positive, not {point.cost!r}")
    ax = new_axes(ax, 6.4, 4)
    draw_pareto(ax, [replace(point, label=plain(point.label)) for point in found])
    ax.set(xlabel=cost, ylabel="accuracy (%)")
    return ax


def attribution(
    window: np.ndarray,
    changes: np.ndarray,
    *,
    cell: int,
    outlined: Sequence[tuple[int, int]] = (),
    ax: Axes | None = None,
) -> Axes:
    """Draw how an answer changes without the cells of a window, over its events.

    Args:
        window: One window of a network: int `[T_in, 2, H, W]`, OFF and ON.
        changes: Change of the margin without each cell, numbers `[rows, columns]`. Cells that
            lower the margin when they are left out are green, the others purple.
        cell: Side of a cell in pixels.
        outlined: Rows and columns of cells that get an outline.
        ax: Axes to draw on. Default: those of a new figure.

    Returns:
        The axes.

    Raises:
        DataError: The arrays do not fit each other, or Matplotlib is not installed.

    Example:
        >>> found = lmht.explain(net, windows[0])
        >>> changes = found.parts["cell"].margin_deltas * found.scale
        >>> ax = lmht.plot.attribution(windows[0], changes, cell=found.cell)
        >>> ax.figure.savefig("attribution.png")
    """
    frame = _frame_counts(window).sum(0)
    values = _cell_values(changes, cell, frame.shape[1:])
    ax = new_axes(ax, 4.6, 0.8 + 4.2 * frame.shape[1] / frame.shape[2])
    draw_attribution(ax, frame, values, cell, outlined)
    return ax


def _cell_values(changes: object, cell: object, size: tuple[int, ...]) -> np.ndarray:
    """Return the values of all cells of a frame (H, W) as float64 `[rows, columns]`."""
    if isinstance(cell, bool) or not isinstance(cell, int | np.integer) or cell < 1:
        raise DataError(f"the side of a cell must be a number of pixels, at least 1, not {cell!r}")
    grid = tuple(-(-side // int(cell)) for side in size)
    try:
        values = np.asarray(changes, np.float64)
    except (TypeError, ValueError):
        values = np.empty(0)
    if values.shape != grid or not np.isfinite(values).all():
        raise DataError(
            f"changes must be finite numbers of shape {list(grid)}, one per cell of {cell} x {cell}"
            f" pixels, not of shape {list(values.shape)}"
        )
    return values


def _traces(result: Result) -> Mapping[str, np.ndarray]:
    if not result.traces:
        raise DataError("the result holds no spikes of single neurons; run with trace=True")
    return result.traces


def _index(value: Any) -> int:
    try:
        return operator.index(value)
    except TypeError:
        raise DataError(f"window must be the index of a window, not {value!r}") from None


def _frame_counts(events: object) -> np.ndarray:
    """Return one window as counts `[T_in, 2, H, W]`."""
    try:
        counts = np.asarray(events)
    except ValueError:
        counts = np.empty(0)
    if counts.ndim != 4 or counts.shape[1] != 2 or counts.dtype.kind not in "iu" or not counts.size:
        raise DataError(
            "events must be a Recording, or one window of event counts: integers [T_in, 2, H, W], "
            f"not {counts.dtype} {list(counts.shape)}"
        )
    return counts


def _count(recording: Recording, steps: int) -> np.ndarray:
    """Count the events of a recording in `steps` bins of equal duration."""
    from lmht_deploy.events.windows import WindowRule, count_windows

    return np.asarray(count_windows(recording.events, recording.sensor, WindowRule(steps))[0])
