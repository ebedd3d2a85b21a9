"""Colors, and axes without decoration that carries no information."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lmht_deploy._packages import require_package

if TYPE_CHECKING:
    from matplotlib.axes import Axes

INK, MUTED, LINE, PAPER = "#1c2024", "#59636e", "#c8ced4", "#ffffff"
"""Text, labels of axes, grid lines and background."""
SERIES = ("#2460c8", "#6e2c14", "#128a54", "#b53fa8", "#b8841a", "#767d85")
"""Colors of series. They differ for readers with any of the common color deficiencies."""
MARKERS = ("o", "s", "^", "D", "v", "P")
"""Markers of series, so that no series is told by its color alone."""
OFF_COLOR, ON_COLOR = (230, 118, 20), (46, 128, 220)
"""Colors of OFF and ON events, visible on light and on dark paper."""
HEAT_ALPHA = 0.5
"""Opacity of the largest value of a heat map; text on it stays readable."""


def series_color(index: int) -> str:
    """Return the color of series `index`."""
    return SERIES[index % len(SERIES)]


def series_marker(index: int) -> str:
    """Return the marker of series `index`."""
    return MARKERS[index % len(MARKERS)]


def plain(text: str) -> str:
    """Return `text` such that Matplotlib reads no formula between two dollar signs."""
    return text.replace("$", r"\$")


def new_axes(ax: Axes | None, width: float, height: float) -> Axes:
    """Return `ax`, or the axes of a new figure.

    The new figure is not one of pyplot's: nothing global keeps it, and no window opens.

    Args:
        ax: Axes to draw on; None for new ones.
        width: Width of a new figure, in inches.
        height: Height of a new figure, in inches.

    Raises:
        DataError: Matplotlib is not installed.
    """
    if ax is not None:
        return ax
    require_package("matplotlib", "plot")
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), layout="constrained").subplots()


def tidy(ax: Axes, *, grid: str | None = None) -> None:
    """Remove the frame of `ax`, and draw thin grid lines behind the data.

    Args:
        ax: Axes.
        grid: "x", "y" or "both"; None for no grid.
    """
    ax.spines[["top", "right"]].set_visible(False)
    ax.spines[["left", "bottom"]].set_color(LINE)
    ax.tick_params(colors=MUTED, labelcolor=INK, length=3)
    ax.xaxis.label.set_color(MUTED)
    ax.yaxis.label.set_color(MUTED)
    ax.set_axisbelow(True)
    if grid is not None:
        ax.grid(axis=grid, color=LINE, linewidth=0.6)  # type: ignore[arg-type]


def log_axis(ax: Axes) -> None:
    """Make the x axis of `ax` logarithmic, with plain figures as labels."""
    from matplotlib.ticker import LogLocator, NullLocator

    ax.set_xscale("log")
    ax.margins(x=0.12)
    low, high = ax.get_xlim()
    wide = high > 100 * low
    ax.xaxis.set_major_locator(LogLocator(subs=(1.0,) if wide else (1.0, 2.0, 5.0)))
    ax.xaxis.set_minor_locator(NullLocator())
    ax.xaxis.set_major_formatter(lambda value, _: f"{value:,.12g}")


def bare(ax: Axes) -> None:
    """Remove the frame and the tick marks of `ax`; labels of ticks stay."""
    tidy(ax)
    ax.spines[["left", "bottom"]].set_visible(False)
    ax.tick_params(length=0)
