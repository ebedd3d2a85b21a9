"""The page of lmht.js, in headless Chromium."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

import lmht_deploy as lmht
from lmht_deploy.cli import app
from lmht_deploy.events.arrays import Sensor, make_events
from lmht_deploy.events.recordings import Recording, write_events
from tests.cli.test_view_page import contrast
from tests.support.chromium import Page, open_page

MAX_BYTES = 3_000_000
"""Bytes of the page with its networks, at most."""
LOADED = "Boolean(globalThis.page && page.state.ended)"


@pytest.fixture(params=["", "?embed"])
def address(page_folder: Path, request: pytest.FixtureRequest) -> str:
    return f"{(page_folder / 'index.html').as_uri()}{request.param}"


@pytest.fixture
def page(page_folder: Path, tmp_path: Path) -> Iterator[Page]:
    """The page, with the example, which is paused."""
    with Opened(tmp_path, (page_folder / "index.html").as_uri()) as found:
        yield found


@pytest.fixture
def recording(tmp_path: Path) -> Path:
    """Four windows and a part of one, of a sensor that is larger than the network's input."""
    rng = np.random.default_rng(0)
    t = np.sort(rng.integers(0, 430_000, 4000))
    events = make_events(
        t, rng.integers(0, 40, 4000), rng.integers(0, 30, 4000), rng.integers(0, 2, 4000)
    )
    write_events(tmp_path / "own.aedat4", Recording(events, Sensor(30, 40)))
    return tmp_path / "own.aedat4"


class Opened:
    """The page at `url`, once everything is computed; it requests nothing but its own files."""

    def __init__(self, folder: Path, url: str) -> None:
        self._context = open_page(folder, url)
        self._base = url.rpartition("/")[0]

    def __enter__(self) -> Page:
        self._page = self._context.__enter__()
        self._page.wait(LOADED)
        self._page.run("page.state.playing && page.$('pause').click()")
        return self._page

    def __exit__(self, *error: Any) -> None:
        if error[0] is None:
            self._page.run("1")
            assert self._page.errors == []
            assert all(url.startswith((self._base, "blob:")) for url in self._page.requests)
        self._context.__exit__(*error)


def drop_files(page: Page, *paths: Path) -> None:
    """Choose files, as by a drop."""
    root = page.call("DOM.getDocument")["root"]["nodeId"]
    node = page.call("DOM.querySelector", nodeId=root, selector="#file")["nodeId"]
    page.call("DOM.setFileInputFiles", files=[str(path) for path in paths], nodeId=node)


def text(page: Page, name: str) -> str:
    return str(page.run(f"page.$('{name}').textContent"))


def decisions(page: Page) -> list[dict[str, Any]]:
    return [json.loads(line) for line in page.run("page.decisionLines()")]


def streamed(page: Page, folder: Path) -> list[dict[str, Any]]:
    """What the command that the page states writes."""
    _, verb, *arguments = shlex.split(text(page, "command"))
    arguments = [str(folder / word) if word == "own.aedat4" else word for word in arguments]
    done = CliRunner().invoke(app, [verb, *arguments])
    assert done.exit_code == 0, done.output
    lines = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    return [{key: it[key] for key in it if key not in ("latency", "seconds")} for it in lines]


def run_of(command: str) -> dict[str, Any]:
    """What a command of the page that runs whole recordings writes as JSON."""
    done = CliRunner().invoke(app, shlex.split(command)[1:])
    assert done.exit_code == 0, done.output
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def test_the_integers_are_those_of_lmht_stream(page: Page, recording: Path) -> None:
    folder = recording.parent
    assert decisions(page) == streamed(page, folder) and len(decisions(page)) == 20
    page.run("page.$('overlap').click()")
    page.wait("page.state.ended")
    assert decisions(page) == streamed(page, folder) and len(decisions(page)) == 77
    drop_files(page, recording)
    page.wait("page.state.ended && page.state.rec.name === 'own.aedat4'")
    assert decisions(page) == streamed(page, folder) and len(decisions(page)) > 10
    page.run("page.$('rule').value = '50', page.$('rule').dispatchEvent(new Event('change'))")
    page.wait("page.state.ended")
    assert decisions(page) == streamed(page, folder)


def test_the_answer_forms_until_it_is_the_decision(page: Page) -> None:
    forming = """page.state.decisions.map((decision, i) => [decision.logits, page.state.net.run(
        page.countsUpTo(decision, decision.time - page.state.rec.start - 1)).logits[0]])"""
    assert all(complete == formed for complete, formed in page.run(forming))


def test_the_page_obeys_keys_and_shows_the_counts(page: Page) -> None:
    shown = decisions(page)
    page.press("Home", 36)
    page.wait("page.$('window').textContent === '–'")
    for window in range(2):
        page.press("ArrowRight", 39)
        page.wait(f"page.$('window').textContent === '{window}'")
    page.press("ArrowLeft", 37)
    page.wait("page.$('window').textContent === '0'")
    assert text(page, "answer") == shown[0]["class"]
    assert text(page, "margin") == f"{shown[0]['margin']:.3f}"
    layers = page.run("[...page.$('layers').rows].map(r => [...r.cells].map(c => c.textContent))")
    assert sum(int(row[2].replace(",", "")) for row in layers if row[2]) == shown[0]["spikes"]
    assert sum(int(row[4].replace(",", "")) for row in layers) == shown[0]["sops"]
    page.press("End", 35)
    page.wait("page.$('window').textContent === '19'")
    page.press(" ", 32)
    page.wait("page.state.playing && page.$('pause').textContent === 'Pause'")
    page.run("page.state.speed = Infinity")
    page.wait("page.$('status').textContent === 'ended'")
    page.press("l", 76)
    assert page.run("page.$('unit').getAttribute('aria-pressed')") == "true"


def test_a_network_brings_its_own_example(page: Page, tmp_path: Path) -> None:
    """A drawn ship, which is one window; and in windows by time."""
    choose = "page.$('{0}').value = '{1}', page.$('{0}').dispatchEvent(new Event('change'))"
    page.run(choose.format("network", "cifar10-dvs-emulated.lmht"))
    page.wait("page.state.ended && page.state.rec.name === 'cifar10-dvs-emulated.raw'")
    (decision,) = decisions(page)
    (ran,) = (run_of(text(page, "command")),)
    assert decision["class"] == "ship" and ran["predictions"] == [8]
    assert decision["logits"] == ran["logits"][0]
    assert decision["spikes"] == sum(sum(counts) for counts in ran["spikes"].values())
    assert decision["sops"] == sum(sum(counts) for counts in ran["sops"].values())
    page.run(choose.format("rule", "100"))
    page.wait("page.state.ended")
    assert decisions(page) == streamed(page, tmp_path) and len(decisions(page)) == 14
    page.run(choose.format("network", "digits.lmht"))
    page.wait("page.state.ended && page.state.rec.name === 'digits.raw'")


def test_what_cannot_be_read_is_said(page: Page, tmp_path: Path) -> None:
    cases = {
        "net.lmht": (b"\x89HDF\r\n\x1a\n", "is damaged or of another layout"),
        "note.txt": (b"", "neither a network"),
        "hostile.raw": (b"% evt 3.0\n" + bytes(100), "sensor"),
        "net.lmhtf": (b"LMHTFLAT", "is not a .lmhtf file"),
    }
    for name, (content, message) in cases.items():
        (tmp_path / name).write_bytes(content)
        drop_files(page, tmp_path / name)
        page.wait(f"page.$('status').textContent.includes({json.dumps(message)})")
        assert page.run("page.$('status').className") == "failed"
    page.run("page.$('network').value = 'digits.lmht', page.$('recording').value = 'digits.raw'")
    page.run("void page.load()")
    page.wait("page.state.ended && page.state.playing")


def test_the_size_of_a_sensor_can_be_entered(page: Page, tmp_path: Path) -> None:
    """Of a recording that does not state it, or states what cannot be."""
    place = (100 | 60 << 14 | 1 << 28).to_bytes(4, "little")
    events = [t.to_bytes(4, "little") + place for t in range(9)]
    (tmp_path / "own.dat").write_bytes(b"% Data file\n\x0c\x08" + b"".join(events))
    (tmp_path / "own.bin").write_bytes(bytes([100, 60, 0, 0, 1]) * 9)
    for name, hint in (("own.dat", "does not say how large"), ("own.bin", "beyond the 34 x 34")):
        drop_files(page, tmp_path / name)
        page.wait(f"page.$('status').textContent.includes({json.dumps(hint)})")
        assert page.run("document.activeElement.id") == "sensor"
        enter_sensor(page, "12")
        page.wait("page.$('status').textContent.includes('a sensor is WIDTHxHEIGHT')")
        enter_sensor(page, "120 x 80")
        page.wait(f"page.state.ended && page.state.rec.name === {json.dumps(name)}")
        assert page.run("[page.state.rec.width, page.state.rec.height]") == [120, 80]
        assert page.run("page.state.rec.drawn.length") == 9
        assert f" {name} --drop --sensor 120x80 " in text(page, "command")
    page.run("page.$('recording').value = 'digits.raw', void page.load()")
    page.wait("page.state.ended && page.state.rec.name === 'digits.raw'")
    assert page.run("page.$('sensor').value") == "" and "--sensor" not in text(page, "command")


def test_what_does_not_fit_leaves_what_is_shown(page: Page) -> None:
    """A network whose input is larger than the sensor, and the other way round."""
    before = decisions(page)
    page.run("page.$('network').value = 'cifar10-dvs-emulated.lmht', void page.load()")
    message = "windows of 48 x 48 pixels cannot be made from a sensor of 16 x 16"
    page.wait(f"page.$('status').textContent.includes({json.dumps(message)})")
    assert page.run("page.$('network').value") == "digits.lmht" and decisions(page) == before
    assert page.run("[page.state.net.classes.length, page.state.stream.network.input.width]") == [
        10,
        16,
    ]
    page.press("Home", 36)
    page.wait("page.$('window').textContent === '–'")
    page.press("ArrowRight", 39)
    page.wait("page.$('window').textContent === '0'")
    assert text(page, "answer") == before[0]["class"]


def enter_sensor(page: Page, size: str) -> None:
    page.run(
        f"page.$('sensor').value = {json.dumps(size)},"
        "page.$('sensor').dispatchEvent(new Event('change'))"
    )


def test_a_network_can_be_dropped(page: Page, tmp_path: Path) -> None:
    lmht.save(lmht.load("zoo:digits"), tmp_path / "own.lmht")
    before = decisions(page)
    drop_files(page, tmp_path / "own.lmht")
    page.wait("page.state.ended && page.$('network').value === 'own.lmht'")
    assert decisions(page) == before and " own.lmht " in text(page, "command")


def test_names_of_strangers_are_text(page: Page, recording: Path) -> None:
    hostile = recording.rename(recording.with_name("-<img src=x onerror='alert(1)'>.aedat4"))
    drop_files(page, hostile)
    page.wait(f"page.state.ended && page.state.rec.name === {json.dumps(hostile.name)}")
    assert page.run("document.images.length") == 0
    assert shlex.split(text(page, "command"))[3] == f"./{hostile.name}"


@pytest.mark.parametrize("dark", [False, True])
@pytest.mark.parametrize("width", [360, 1100])
def test_the_page_fits_and_can_be_read(
    address: str, width: int, dark: bool, tmp_path: Path
) -> None:
    with Opened(tmp_path, address) as page:
        page.look(width, 800, dark)
        page.run("page.state.time = 650000")
        page.wait("page.$('window').textContent === '5'")
        assert page.run("document.documentElement.scrollWidth <= innerWidth")
        assert page.run("(t => t.scrollWidth <= t.clientWidth)(document.querySelector('.scroll'))")
        texts = page.run(
            """[...document.querySelectorAll('body *')].filter(e => e.clientWidth &&
            [...e.childNodes].some(n => n.nodeType === 3 && n.textContent.trim())).map(e => {
              let back = e;
              while (getComputedStyle(back).backgroundColor === 'rgba(0, 0, 0, 0)')
                back = back.parentElement;
              return [e.outerHTML.slice(0, 60), getComputedStyle(e).color,
                      getComputedStyle(back).backgroundColor];
            })"""
        )
        assert len(texts) > 30
        assert not [what for what, text, back in texts if contrast(text, back) < 4.5]


def test_the_page_is_small(page_folder: Path) -> None:
    assert sum(path.stat().st_size for path in page_folder.iterdir()) <= MAX_BYTES
