"""Colors: readable on both papers, and different for readers with a color deficiency."""

from __future__ import annotations

import re
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest

from lmht_deploy import report
from lmht_deploy.plot import _style as style
from lmht_deploy.report._svg import VARIABLES

CSS = (Path(report.__file__).parent / "templates" / "report.css").read_text(encoding="utf-8")
DEFICIENCIES = {
    "none": np.eye(3),
    "deuteranopia": [
        [0.367322, 0.860646, -0.227968],
        [0.280085, 0.672501, 0.047413],
        [-0.011820, 0.042940, 0.968881],
    ],
    "protanopia": [
        [0.152286, 1.052583, -0.204868],
        [0.114503, 0.786281, 0.099216],
        [-0.003882, -0.048116, 1.051998],
    ],
    "tritanopia": [
        [1.255528, -0.076749, -0.178779],
        [-0.078411, 0.930809, 0.147602],
        [0.004733, 0.691367, 0.303900],
    ],
}
"""Machado, Oliveira and Fernandes, 2009: what a reader sees of linear RGB."""
XYZ = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])


def palettes() -> dict[str, dict[str, str]]:
    """The variables of the style sheet, light and dark."""
    light, dark = (
        dict(re.findall(r"(--[\w-]+): (#[0-9a-f]{6});", block))
        for block in re.findall(r":root \{(.*?)\}", CSS, re.DOTALL)
    )
    return {"light": light, "dark": dark}


def linear(color: str) -> np.ndarray:
    values = np.array([int(color[i : i + 2], 16) for i in (1, 3, 5)]) / 255
    return np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)


def contrast(first: np.ndarray, second: np.ndarray) -> float:
    """The ratio of WCAG 2.1 of two linear colors."""
    dark, light = sorted(float(XYZ[1] @ color) for color in (first, second))
    return (light + 0.05) / (dark + 0.05)


def lab(color: np.ndarray) -> np.ndarray:
    ratio = XYZ @ np.clip(color, 0, 1) / (0.9505, 1, 1.089)
    f = np.where(ratio > 0.008856, np.cbrt(ratio), 7.787 * ratio + 16 / 116)
    return np.array([116 * f[1] - 16, 500 * (f[0] - f[1]), 200 * (f[1] - f[2])])


def test_the_style_sheet_has_the_colors_of_the_figures() -> None:
    light, dark = palettes().values()
    assert {variable: light[variable] for variable in VARIABLES.values()} == {
        variable: color for color, variable in VARIABLES.items()
    }
    assert light.keys() == dark.keys() and light["--paper"] == style.PAPER


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_contrast(scheme: str) -> None:
    """WCAG 2.1 level AA: 4.5 for texts, 3 for graphics."""
    colors = {name: linear(color) for name, color in palettes()[scheme].items()}
    papers = (colors["--paper"], colors["--raised"])
    for name in ("--ink", "--muted", "--link", "--good", "--bad"):
        assert min(contrast(colors[name], paper) for paper in papers) >= 4.5, name
    for index in range(len(style.SERIES)):
        assert contrast(colors[f"--series-{index}"], colors["--paper"]) >= 3


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_texts_on_heat_maps(scheme: str) -> None:
    colors = palettes()[scheme]
    series, paper = (
        np.array([int(colors[name][i : i + 2], 16) for i in (1, 3, 5)])
        for name in ("--series-0", "--paper")
    )
    for alpha in np.linspace(0, style.HEAT_ALPHA, 9):
        mixed = np.rint(alpha * series + (1 - alpha) * paper).astype(int)
        cell = linear("#{:02x}{:02x}{:02x}".format(*mixed))
        assert contrast(linear(colors["--ink"]), cell) >= 4.5, alpha


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("deficiency", DEFICIENCIES)
def test_series_differ_for_every_reader(scheme: str, deficiency: str) -> None:
    """A difference of CIELAB of 2 is just visible; 12 is told at a glance."""
    seen = [
        lab(np.asarray(DEFICIENCIES[deficiency]) @ linear(palettes()[scheme][f"--series-{index}"]))
        for index in range(len(style.SERIES))
    ]
    assert min(np.linalg.norm(a - b) for a, b in combinations(seen, 2)) >= 12
