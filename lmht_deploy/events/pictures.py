"""Pictures of event counts, as arrays and as text."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

ON_COLOR, OFF_COLOR = (80, 160, 255), (255, 140, 0)
"""Blue and orange, which color-blind people tell apart."""
SHADES = " .:-=+*#%@"
BARS = " ▁▂▃▄▅▆▇█"
MIN_SIDE = 256
"""Pixels of the shorter side of a picture; smaller sensors are enlarged by a whole factor."""


def draw(counts: np.ndarray, brightest: float | None = None) -> np.ndarray:
    """Draw events as colors: ON blue, OFF orange, brighter where there are more.

    The brightness is the logarithm of 1 + n, relative to that of `brightest`.

    Args:
        counts: Number of events per pixel, int `[2, H, W]`: OFF and ON.
        brightest: Count that is drawn in full brightness, and those above it. Default: that of
            99 % of the pixels with events.

    Returns:
        uint8 `[H', W', 3]`, enlarged to at least 256 pixels per side.
    """
    top = find_brightest(counts) if brightest is None else brightest
    light = np.minimum(np.log1p(counts) / np.log1p(top), 1)[..., None]
    colors = light[0] * OFF_COLOR + light[1] * ON_COLOR
    factor = -(-MIN_SIDE // min(counts.shape[1:]))
    picture: np.ndarray = np.minimum(np.rint(colors), 255).astype(np.uint8)
    return picture.repeat(factor, 0).repeat(factor, 1)


def find_brightest(counts: np.ndarray) -> float:
    """Return the count that 99 % of the pixels with events do not exceed, at least 1."""
    active = counts[counts > 0]
    return float(max(np.percentile(active, 99), 1)) if len(active) else 1.0


def draw_text(counts: np.ndarray, width: int = 64) -> list[str]:
    """Draw the number of events of both polarities in lines of characters.

    A character stands for twice as many rows as columns, as it is twice as high as wide.

    Args:
        counts: Number of events per pixel, int `[2, H, W]`.
        width: Largest number of columns.
    """
    total = counts.sum(0)
    columns = min(width, total.shape[1])
    rows = max(1, round(columns * total.shape[0] / total.shape[1] / 2))
    cells = np.zeros((rows, columns))
    row = np.arange(total.shape[0]) * rows // total.shape[0]
    column = np.arange(total.shape[1]) * columns // total.shape[1]
    np.add.at(cells, (row[:, None], column[None, :]), total)
    light = np.minimum(np.log1p(cells) / np.log1p(find_brightest(cells)), 1)
    shades = np.rint(light * (len(SHADES) - 1)).astype(int)
    return ["".join(SHADES[shade] for shade in row).rstrip() for row in shades]


def draw_bars(values: Sequence[int]) -> str:
    """Draw values as a line of bars; the highest one is full, and zero is blank."""
    top = max(*values, 1)
    heights = (-(-value * (len(BARS) - 1) // top) for value in values)
    return "".join(BARS[height] for height in heights)
