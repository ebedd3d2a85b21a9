"""The chart of an explanation."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

pytest.importorskip("matplotlib")

from matplotlib.collections import PolyCollection
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure

from lmht_deploy import plot
from lmht_deploy.errors import DataError
from lmht_deploy.plot._attribution import CELL_ALPHA, OPPOSES, SUPPORTS, draw_attribution

WINDOW = np.random.default_rng(0).integers(0, 3, (2, 2, 8, 10))
CHANGES = np.array([[-2.0, 0.0, 1.0], [0.5, -1.0, 0.0]])


def test_colors_and_places_of_the_cells() -> None:
    ax = plot.attribution(WINDOW, CHANGES, cell=4, outlined=[(0, 2)])
    (cells,) = [found for found in ax.collections if isinstance(found, PolyCollection)]
    shown = np.argwhere(CHANGES)
    assert len(cells.get_paths()) == len(shown)
    for path, face, (row, column) in zip(
        cells.get_paths(), cells.get_facecolor(), shown.tolist(), strict=True
    ):
        change = CHANGES[row, column]
        assert face[:3] == pytest.approx(to_rgb(SUPPORTS if change < 0 else OPPOSES))
        assert face[3] == pytest.approx(CELL_ALPHA * abs(change) / 2)
        corners = path.vertices[:4]
        assert corners.min(0).tolist() == [4 * column, 4 * row]
        assert corners.max(0).tolist() == [min(4 * column + 4, 10), 4 * row + 4]
    assert [text.get_text() for text in ax.texts] == ["-2", "+1", "+0.5", "-1"]
    outline = ax.patches[-1]
    assert outline.get_label() == "set that changes the answer"
    assert outline.get_path().vertices.max(0).tolist() == [10, 4]  # the last column is narrow


def test_axes_in_and_out() -> None:
    ax = Figure().subplots()
    assert plot.attribution(WINDOW, CHANGES.tolist(), cell=4, ax=ax) is ax
    new = plot.attribution(WINDOW, CHANGES, cell=4)
    assert new.figure is not ax.figure
    new.figure.canvas.draw()


def test_without_events_or_changes() -> None:
    ax = plot.attribution(0 * WINDOW, 0 * CHANGES, cell=4)
    ax.figure.canvas.draw()
    assert not ax.texts


def test_an_image() -> None:
    ax = Figure().subplots()
    pixels = np.stack([np.full((4, 4), value) for value in (-128, -128, -128)])
    pixels[:, 0, 0] = 127
    draw_attribution(ax, pixels, np.zeros((1, 1)), 4, image=True)
    picture = ax.images[0].get_array()
    assert picture[0, 0].tolist() == [255] * 4 and picture[1, 1].tolist() == [0, 0, 0, 255]


@pytest.mark.parametrize(
    ("window", "changes", "options", "message"),
    [
        (WINDOW[0], CHANGES, {"cell": 4}, r"\[T_in, 2, H, W\]"),
        (WINDOW, CHANGES, {"cell": 5}, r"of shape \[2, 2\], one per cell of 5 x 5 pixels"),
        (WINDOW, CHANGES * np.nan, {"cell": 4}, "finite numbers"),
        (WINDOW, [["a"]], {"cell": 4}, "finite numbers"),
        (WINDOW, CHANGES, {"cell": 0}, "at least 1, not 0"),
        (WINDOW, CHANGES, {"cell": "4"}, "at least 1, not '4'"),
    ],
)
def test_mistakes_are_named(window: Any, changes: Any, options: Any, message: str) -> None:
    with pytest.raises(DataError, match=message):
        plot.attribution(window, changes, **options)
