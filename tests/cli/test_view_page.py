"""The page of `lmht view`, in headless Chromium."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from lmht_deploy.analysis.explain import explain
from lmht_deploy.events import Sensor, WindowRule, count_windows
from lmht_deploy.view import server
from tests.support.chromium import Page, open_page

from .test_view import LENGTH_US, NET, WINDOWS, folder, read, viewing

__all__ = ["folder"]

SHIFT = 8
STATIC = Path(server.__file__).with_name("static")


@pytest.fixture
def page(folder: Path) -> Iterator[Page]:
    """The page of a recording that is played slowly."""
    written = folder / "view.jsonl"
    with (
        viewing(folder, folder / "recording.npy", "--json", written, "--speed", "0.001") as view,
        open_page(folder, view.url) as found,
    ):
        found.wait("state.header")
        yield found
        found.run("1")
        assert found.errors == []
        assert all(url.startswith(view.url) for url in found.requests)


def text(page: Page, name: str) -> str:
    return str(page.run(f"document.getElementById('{name}').textContent"))


def at_window(page: Page, window: int) -> None:
    page.wait(
        f"state.courses.at(-1)?.window === {window} && $('window').textContent === '{window}'"
    )


@pytest.mark.parametrize("script", ["draw.js", "view.js"])
def test_the_scripts_have_no_syntax_error(script: str) -> None:
    if shutil.which("node") is None:
        pytest.skip("needs node; Chromium finds it, too")
    subprocess.run(["node", "--check", STATIC / script], check=True)


def test_the_page_shows_the_decisions_and_obeys_keys(page: Page, folder: Path) -> None:
    assert page.run("$('speed').selectedOptions[0].textContent") == "0.001×"
    page.press(" ", 32)
    page.wait("state.header.playback.paused")
    assert text(page, "status") == "paused" and text(page, "pause") == "Play"
    for window in range(3):
        page.press("ArrowRight", 39)
        at_window(page, window)
    page.press("ArrowLeft", 37)
    at_window(page, 1)
    page.press("ArrowRight", 39)
    at_window(page, 2)
    shown = read(folder / "view.jsonl")[2]
    assert text(page, "answer") == str(shown["label"])
    assert text(page, "margin") == f"{shown['margin']:.3f}"
    layers = page.run("[...$('layers').rows].map(r => [...r.cells].map(c => c.textContent))")
    assert sum(int(row[2].replace(",", "")) for row in layers if row[2]) == shown["spikes"]
    assert sum(int(row[4].replace(",", "")) for row in layers) == shown["sops"]
    logits = page.run("state.courses.at(-1).values.map(v => v / state.about.scale)")
    assert np.allclose(logits, shown["logits"])
    page.press("ArrowRight", 39, SHIFT)
    page.wait("state.courses.at(-1).window >= 3")
    page.press("Home", 36)
    at_window(page, 0)
    page.press("l", 76)
    assert page.run("$('unit').getAttribute('aria-pressed')") == "true"
    page.run("$('speed').value = '', $('speed').dispatchEvent(new Event('change'))")
    page.press(" ", 32)
    page.wait("state.header.playback.ended")
    at_window(page, WINDOWS - 1)
    assert text(page, "status") == "ended"


def test_the_cells_that_decide_are_painted(page: Page, folder: Path) -> None:
    """The cells of a paused window are those of `lmht explain`."""
    page.press("w", 87)
    page.wait("state.header.playback.paused")
    page.wait("$('why').textContent.startsWith('Green') || $('why').textContent.includes('yet')")
    for window in range(3):
        page.press("ArrowRight", 39)
        at_window(page, window)
    pixels = "[...state.canvas.getImageData(0, 0, 8, 8).data].join()"
    before = page.run(pixels)
    page.press("w", 87)
    page.wait("state.why && state.why.window === 2")
    assert text(page, "why").startswith("Green cells support ")
    assert page.run(pixels) != before
    assert page.run("$('explain').getAttribute('aria-pressed')") == "true"
    rule = WindowRule(NET.input.steps, "time", LENGTH_US)
    events = np.load(folder / "recording.npy")
    windows = count_windows(events, Sensor(8, 8), rule)
    found = explain(NET, np.minimum(windows[2], NET.input.max_value), methods=(), flip=False)
    deltas = np.array(page.run("state.why.deltas"))
    assert np.allclose(deltas, found.parts["cell"].margin_deltas * found.scale)
    page.press("w", 87)
    assert page.run(pixels) == before and text(page, "why") == ""
    page.press("w", 87)
    page.wait("state.why")
    page.press("ArrowRight", 39)
    at_window(page, 3)
    page.wait("state.why === null")


def test_every_canvas_is_drawn(page: Page) -> None:
    page.run("$('speed').value = '', $('speed').dispatchEvent(new Event('change'))")
    page.wait("state.header.playback.ended")
    colors = """[...document.querySelectorAll('canvas')].filter(c => !c.hidden).map(c => {
          const image = c.getContext('2d').getImageData(0, 0, c.width, c.height);
          return new Set(new Uint32Array(image.data.buffer)).size;
        })"""
    found = page.run(colors)
    assert len(found) == 2 + page.run("state.about.layers.length") and min(found) > 1
    assert page.run("$('speed').selectedOptions[0].textContent") == "as fast as possible"
    assert page.run("$('classes').children.length") == page.run("state.about.classes.length")


@pytest.mark.parametrize("dark", [False, True])
@pytest.mark.parametrize("width", [360, 1100])
def test_the_page_fits_and_can_be_read(page: Page, width: int, dark: bool, tmp_path: Path) -> None:
    page.press("ArrowRight", 39)
    at_window(page, 0)
    page.look(width, 800, dark)
    assert page.run("document.documentElement.scrollWidth <= innerWidth")
    texts = page.run(
        """[...document.querySelectorAll('body *')].filter(e => e.clientWidth && [...e.childNodes]
        .some(n => n.nodeType === 3 && n.textContent.trim())).map(e => {
          let back = e;
          while (getComputedStyle(back).backgroundColor === 'rgba(0, 0, 0, 0)')
            back = back.parentElement;
          return [e.outerHTML.slice(0, 60), getComputedStyle(e).color,
                  getComputedStyle(back).backgroundColor];
        })"""
    )
    assert len(texts) > 30
    poor = [what for what, text, back in texts if contrast(text, back) < 4.5]
    assert not poor


def contrast(text: str, back: str) -> float:
    """Contrast of two colors "rgb(r, g, b)" by WCAG 2."""
    light, dark = sorted((luminance(text), luminance(back)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


def luminance(color: str) -> float:
    channels = np.array(color[4:-1].split(","), float) / 255
    linear = np.where(channels <= 0.04045, channels / 12.92, ((channels + 0.055) / 1.055) ** 2.4)
    return float(linear @ [0.2126, 0.7152, 0.0722])


def test_every_control_and_picture_has_a_name(page: Page) -> None:
    page.press("ArrowRight", 39)
    at_window(page, 0)
    nodes = page.call("Accessibility.getFullAXTree")["nodes"]
    roles = {"button", "combobox", "slider", "image", "img", "region", "toolbar", "table"}
    named = [
        (node["role"]["value"], node.get("name", {}).get("value"))
        for node in nodes
        if not node["ignored"] and node.get("role", {}).get("value") in roles
    ]
    assert {"button", "combobox", "slider"} <= {role for role, _ in named}
    assert [role for role, name in named if not name and role != "table"] == []
    order = []
    for _ in range(8):
        page.press("Tab", 9)
        order.append(page.run("document.activeElement.id || document.activeElement.className"))
    assert order == [
        *("pause", "back", "step", "speed", "seek", "explain", "unit", "scroll"),
    ], json.dumps(order)


def test_the_page_says_when_the_stream_has_ended(folder: Path) -> None:
    with viewing(folder, folder / "recording.npy", "--speed", "inf") as view:
        with open_page(folder, view.url) as page:
            page.wait("state.header?.playback.ended")
            view.process.terminate()
            page.wait("$('status').className === 'closed'")
            assert page.run("$('pause').disabled")
            assert page.errors == []
        view.end()


def test_names_of_strangers_are_text(folder: Path) -> None:
    """Names come from files of strangers: the page must not take them for HTML."""
    hostile = folder / "<img src=x onerror=alert(1)>.npy"
    (folder / "recording.npy").rename(hostile)
    with (
        viewing(folder, hostile, "--speed", "inf") as view,
        open_page(folder, view.url) as page,
    ):
        page.wait("state.header?.playback.ended")
        assert text(page, "source") == hostile.name
        assert page.run("document.images.length") == 0 and page.errors == []
