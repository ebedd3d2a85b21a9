"""Charts from Python: axes in and out, the figures of the result, nothing global changed."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import lmht_deploy as lmht
from lmht_deploy import plot, reference
from lmht_deploy.errors import DataError
from lmht_deploy.events.arrays import Sensor, make_events
from lmht_deploy.events.recordings import Recording
from lmht_deploy.result import Result
from tests.support.networks import SPECIAL, windows_for

pytest.importorskip("matplotlib")
from matplotlib.axes import Axes
from matplotlib.figure import Figure


@pytest.fixture(scope="module")
def result() -> Result:
    net = SPECIAL["residual"]()
    return reference.run(net, windows_for(net, 6), trace=True)


@pytest.fixture(scope="module")
def recording() -> Recording:
    rng = np.random.default_rng(0)
    x, y = rng.integers(0, 16, 500), rng.integers(0, 12, 500)
    events = make_events(np.arange(500) * 10, x, y, rng.integers(0, 2, 500))
    return Recording(events, Sensor(height=12, width=16))


@pytest.fixture
def draw(result: Result, recording: Recording) -> dict[str, Callable[..., Axes]]:
    points = [plot.Point("a", 1.0, 0.9, (0.8, 0.95)), plot.Point("b", 2.0, 0.8)]
    return {
        "raster": lambda **options: plot.raster(result, 2, **options),
        "frames": lambda **options: plot.frames(recording, **options),
        "density": lambda **options: plot.density(result, **options),
        "pareto": lambda **options: plot.pareto(points, **options),
    }


@pytest.mark.parametrize("name", ["raster", "frames", "density", "pareto"])
def test_axes_in_and_out(name: str, draw: dict[str, Callable[..., Axes]]) -> None:
    """The axes that are given are returned; without any, those of a new figure."""
    ax = Figure().subplots()
    assert draw[name](ax=ax) is ax
    new = draw[name]()
    assert isinstance(new, Axes) and new.figure is not ax.figure
    new.figure.canvas.draw()


def test_the_state_of_pyplot_and_all_settings_stay(draw: dict[str, Callable[..., Axes]]) -> None:
    import matplotlib
    from matplotlib import pyplot

    before = dict(matplotlib.rcParams)
    for function in draw.values():
        function()
    assert dict(matplotlib.rcParams) == before and pyplot.get_fignums() == []


def test_density_is_the_mean_of_the_spikes(result: Result) -> None:
    found = plot.step_density(result)
    assert result.traces is not None
    for name, k in result.traces.items():
        neurons = k[0, 0].size
        np.testing.assert_allclose(found[name], k.sum((0, *range(2, k.ndim))) / len(k) / neurons)
        assert found[name].sum() == pytest.approx(result.spikes[name].mean() / neurons)
    ax = plot.density(result)
    texts = [text.get_text() for text in ax.texts]
    written = [f"{value:.3f}" if value else "·" for row in found.values() for value in row]
    assert texts == written
    assert [label.get_text() for label in ax.get_yticklabels()] == list(found)


def test_a_raster_shows_every_spike(result: Result) -> None:
    """A neuron with k spikes at a step fills k parts of the step."""
    assert result.traces is not None
    ax = plot.raster(result, 2)
    for image, k in zip(ax.images, result.traces.values(), strict=True):
        opaque = np.asarray(image.get_array())[..., 3] > 0
        columns = (max(int(k[2].max()), 1) + 1) * k.shape[1]
        sharp = opaque.shape[1] // columns
        assert opaque.shape == (k[2, 0].size, columns * sharp)
        assert opaque.sum() == sharp * k[2].sum()
    assert len(plot.raster(result, layers=["a"]).images) == 1


def test_frames_show_every_event(recording: Recording) -> None:
    """ON events are blue and OFF events orange; pixels without events are transparent."""
    ax = plot.frames(recording, steps=3)
    assert len(ax.images) == 3
    counts = np.zeros((12, 16), int)
    np.add.at(counts, (recording.events["y"], recording.events["x"]), 1)
    alpha = np.sum([np.asarray(image.get_array())[..., 3] > 0 for image in ax.images], 0)
    np.testing.assert_array_equal(alpha > 0, counts > 0)
    window = np.zeros((2, 2, 4, 4), np.uint8)
    window[0, 1, 0, 0], window[1, 0, 3, 3] = 1, 2
    on, off = (np.asarray(image.get_array()) for image in plot.frames(window).images)
    assert on[0, 0, 2] > on[0, 0, 0] and off[3, 3, 0] > off[3, 3, 2]
    assert on[..., 3].sum() == on[0, 0, 3] and off[..., 3].sum() == off[3, 3, 3]


def test_the_pareto_front_is_filled() -> None:
    points = [plot.Point("cheap", 1, 0.9), plot.Point("good", 2, 0.95), plot.Point("bad", 3, 0.92)]
    ax = plot.pareto(points, cost="latency (ms)")
    markers = {line.get_label(): line.get_fillstyle() for line in ax.lines}
    assert [markers[point.label] for point in points] == ["full", "full", "none"]
    assert ax.get_xlabel() == "latency (ms)" and ax.get_ylabel() == "accuracy (%)"


def test_dollar_signs_are_no_formulas(result: Result) -> None:
    assert result.traces is not None
    traces = {r"$\frac{1}{0}$": result.traces["a"]}
    strange = Result("x", result.logits, 1.0, {}, {}, traces=traces)
    for ax in (plot.density(strange), plot.raster(strange), plot.pareto([plot.Point("$x$", 1, 1)])):
        ax.figure.canvas.draw()


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (lambda result: plot.raster(result, 6), "windows 0 to 5, not 6"),
        (lambda result: plot.raster(result, "a"), "index of a window, not 'a'"),
        (lambda result: plot.raster(result, layers=["z"]), "no layer 'z'; the layers are a, "),
        (lambda result: plot.raster(None), "result must be a Result"),
        (lambda result: plot.density(Result("x", result.logits, 1, {}, {})), "trace=True"),
        (lambda result: plot.frames(np.zeros((4, 3, 2, 2), int)), r"\[T_in, 2, H, W\]"),
        (lambda result: plot.frames([[1], [1, 2]]), r"\[T_in, 2, H, W\]"),
        (lambda result: plot.pareto([]), "at least one"),
        (lambda result: plot.pareto(3), "at least one"),
        (lambda result: plot.pareto([plot.Point("a", 0, 1)]), "cost of 'a' must be positive"),
    ],
)
def test_mistakes_are_named(wrong: Callable[[Any], Axes], message: str, result: Result) -> None:
    with pytest.raises(DataError, match=message):
        wrong(result)


def test_a_missing_package_is_named(result: Result, monkeypatch: pytest.MonkeyPatch) -> None:
    found = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name == "matplotlib" else found(name)
    )
    with pytest.raises(DataError, match=r"pip install 'lmht-deploy\[plot\]'"):
        plot.density(result)


def test_matplotlib_is_imported_on_the_first_call() -> None:
    code = "import lmht_deploy.plot, sys; print('matplotlib' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"
    assert lmht.plot is plot
