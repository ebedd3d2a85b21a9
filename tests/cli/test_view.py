"""`lmht view`: the decisions of `lmht stream`, under control of a page."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lmht_deploy.events.arrays import make_events
from lmht_deploy.formats.lmht import save_network
from tests.support.networks import SPECIAL
from tests.support.viewer import Viewer, open_viewer

from .test_cli import lmht, refused

NET = SPECIAL["lm-ht"]()
LENGTH_US, WINDOWS = 10_000, 12
TIMES = ("latency", "seconds")
OPTIONS = ("--length", "10ms", "--sensor", "8x8")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A network and a recording of 12 windows, of which the last one is incomplete."""
    save_network(NET, tmp_path / "net.lmht")
    rng = np.random.default_rng(0)
    t = np.sort(rng.integers(0, WINDOWS * LENGTH_US - 500, 2000))
    t[0] = 0
    x, y = rng.integers(0, 8, (2, 2000))
    np.save(tmp_path / "recording.npy", make_events(t + 77, x, y, rng.integers(0, 2, 2000)))
    return tmp_path


class View:
    """A running `lmht view`."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        assert process.stderr is not None
        self.process = process
        said = process.stderr.readline()
        found = re.fullmatch(r"the page is at (http://127\.0\.0\.1:\d+/[\w-]{43}/)\n", said)
        assert found, said + process.stderr.read()
        self.url = found[1]

    def end(self) -> str:
        """Wait until the command ends; what it said on standard error."""
        _, said = self.process.communicate(timeout=60)
        return said


@contextmanager
def viewing(folder: Path, source: object, *options: object) -> Iterator[View]:
    arguments = ["view", folder / "net.lmht", source, *OPTIONS, "--no-browser", *options]
    command = [sys.executable, "-c", "from lmht_deploy.cli import main; main()"]
    with subprocess.Popen(
        [*command, *map(str, arguments)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            yield View(process)
        finally:
            process.kill()


def streamed(folder: Path, *options: object) -> list[dict[str, Any]]:
    """The decisions of `lmht stream`, without times."""
    written = folder / "stream.jsonl"
    arguments = [folder / "net.lmht", folder / "recording.npy", *OPTIONS, "--json", written]
    assert lmht("stream", *arguments, *options) == 0
    return read(written)


def read(path: Path) -> list[dict[str, Any]]:
    lines = map(json.loads, path.read_text().splitlines())
    return [{k: v for k, v in line.items() if k not in TIMES} for line in lines]


def ended(header: dict[str, Any]) -> bool:
    return bool(header["playback"]["ended"])


@pytest.mark.parametrize(
    "options",
    [
        ["--speed", "inf"],
        ["--speed", "2"],
        ["--speed", "inf", "--hop", 1],
        ["--speed", "inf", "--by", "events", "--length", 80],
        ["--speed", "inf", "--smooth", 3, "--min-margin", 0.5],
        ["--speed", "inf", "--backend", "reference"],
    ],
    ids=lambda options: " ".join(map(str, options)),
)
def test_the_decisions_are_those_of_stream(folder: Path, options: list[object]) -> None:
    written = folder / "view.jsonl"
    with (
        viewing(folder, folder / "recording.npy", "--json", written, *options) as view,
        open_viewer(view.url) as viewer,
    ):
        last = viewer.until(ended).header
    rest = [value for value in options if value != "--speed" and value not in ("inf", "2")]
    expected = streamed(folder, *rest)
    assert read(written) == expected
    assert last["totals"]["events"] == 2000 and last["totals"]["windows"] == len(expected)
    answer = {k: last["answer"][k] for k in expected[-1]}
    assert answer == expected[-1]
    assert sum(last["answer"]["by_layer"]["spikes"]) == answer["spikes"]
    assert sum(last["answer"]["by_layer"]["sops"]) == answer["sops"]


def test_a_slow_page_loses_pictures_but_no_events_at_a_million_per_second(folder: Path) -> None:
    rng = np.random.default_rng(1)
    t = np.sort(rng.integers(0, 1_000_000, 1_000_000))
    x, y, p = rng.integers(0, (8, 8, 2), (1_000_000, 3)).T
    np.save(folder / "recording.npy", make_events(t, x, y, p))
    written = folder / "view.jsonl"
    with viewing(folder, folder / "recording.npy", "--json", written) as view:
        with open_viewer(view.url) as viewer:
            pictures = [viewer.picture()]
            while not pictures[-1].header["playback"]["ended"]:
                time.sleep(0.3)
                pictures.append(viewer.picture())
        said = view.end()
    assert read(written) == streamed(folder)
    last = pictures[-1].header
    assert last["totals"]["events"] == 1_000_000 and last["totals"]["windows"] == 100
    shown = [answer["window"] for picture in pictures for answer in picture.header["answers"]]
    assert shown == sorted(set(shown)) and shown[-1] == 99
    dropped = last["picture"] - pictures[0].header["picture"] - len(pictures) + 1
    assert 0 < last["dropped"] <= dropped
    assert re.match(r"100 windows of 1,000,000 events; .* pictures dropped$", said.strip())


def test_pause_and_step(folder: Path) -> None:
    with (
        viewing(folder, folder / "recording.npy", "--speed", "0.001") as view,
        open_viewer(view.url) as viewer,
    ):
        viewer.send("pause")
        found = viewer.until(lambda header: header["playback"]["paused"]).header
        assert found["answer"] is None
        expected = streamed(folder)
        for window in range(3):
            viewer.send("step")
            found = at_window(viewer, window)
            assert found["playback"]["paused"]
            assert [found["answer"][k] for k in ("logits", "spikes", "sops")] == [
                expected[window][k] for k in ("logits", "spikes", "sops")
            ]
        time.sleep(0.3)
        assert viewer.until(lambda header: True).header["totals"]["windows"] == 3
        viewer.send("speed", value=None)
        viewer.send("play")
        assert viewer.until(ended).header["totals"]["windows"] == WINDOWS


def at_window(viewer: Viewer, window: int) -> dict[str, Any]:
    def shows(header: dict[str, Any]) -> bool:
        return header["answer"] is not None and header["answer"]["window"] == window

    return viewer.until(shows).header


def test_seek_shows_the_windows_that_the_recording_has_there(folder: Path) -> None:
    """After a seek, a window has the number and the answer that it has in `stream`."""
    expected = streamed(folder)
    with (
        viewing(folder, folder / "recording.npy", "--speed", "inf") as view,
        open_viewer(view.url) as viewer,
    ):
        duration = viewer.about["duration"]
        assert duration == int(np.ptp(np.load(folder / "recording.npy")["t"]))
        viewer.until(ended)
        viewer.send("pause")
        for us, window in ((55_000, 6), (20_000, 2), (0, 0), (100_001, 11), (1, 1)):
            viewer.send("seek", us=us)
            found = at_window(viewer, window)
            assert {k: found["answer"][k] for k in expected[0]} == expected[window]
            assert found["playback"] == {"paused": True, "speed": None, "ended": False}
        viewer.send("step")
        at_window(viewer, 2)
        viewer.send("seek", us=duration)
        viewer.until(ended)
        viewer.send("seek", us=30_000)
        at_window(viewer, 3)
        viewer.send("play")
        assert viewer.until(ended).header["answer"]["window"] == WINDOWS - 1


def test_seek_on_a_recording_with_invalid_events(folder: Path) -> None:
    events = np.load(folder / "recording.npy")
    events["x"][::7] = 99
    np.save(folder / "recording.npy", events)
    expected = streamed(folder, "--drop")
    with (
        viewing(folder, folder / "recording.npy", "--drop", "--speed", "inf") as view,
        open_viewer(view.url) as viewer,
    ):
        viewer.until(ended)
        viewer.send("pause")
        viewer.send("seek", us=50_000)
        found = at_window(viewer, 5)
    assert {k: found["answer"][k] for k in expected[0]} == expected[5]


def test_a_closed_page_leaves_the_stream_alone_and_the_command_ends(folder: Path) -> None:
    written = folder / "view.jsonl"
    with viewing(folder, folder / "recording.npy", "--json", written, "--speed", "0.5") as view:
        with open_viewer(view.url) as viewer:
            viewer.picture()
        said = view.end()
        assert view.process.returncode == 0
    assert read(written) == streamed(folder)
    assert re.match(rf"{WINDOWS} windows of 2,000 events", said)


def test_a_second_page_controls_the_same_stream(folder: Path) -> None:
    with (
        viewing(folder, folder / "recording.npy", "--speed", "0.001") as view,
        open_viewer(view.url) as first,
        open_viewer(view.url) as second,
    ):
        first.send("pause")
        second.until(lambda header: header["playback"]["paused"])
        second.send("step")
        assert at_window(first, 0)["answer"] == at_window(second, 0)["answer"]


def test_standard_input_begins_when_a_page_is_open(folder: Path) -> None:
    events = np.load(folder / "recording.npy")
    written = folder / "view.jsonl"
    with viewing(folder, "-", "--json", written) as view:
        assert view.process.stdin is not None
        view.process.stdin.writelines(f"{t} {x} {y} {int(p)}\n" for t, x, y, p in events.tolist())
        view.process.stdin.close()
        time.sleep(0.2)
        assert written.read_text() == ""
        with open_viewer(view.url) as viewer:
            assert viewer.about["duration"] is None
            found = viewer.until(lambda header: header["totals"]["windows"] == WINDOWS)
        assert found.header["playback"] is None
        view.process.wait(60)
    assert read(written) == streamed(folder)


@pytest.mark.parametrize("open_first", [False, True])
@pytest.mark.parametrize("pause", [False, True])
def test_ctrl_c_ends_in_every_state(folder: Path, open_first: bool, pause: bool) -> None:
    if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
        pytest.skip("who started the tests has them ignore SIGINT")
    with viewing(folder, folder / "recording.npy", "--speed", "0.001") as view:
        if open_first:
            with open_viewer(view.url) as viewer:
                if pause:
                    viewer.send("pause")
                    viewer.until(lambda header: header["playback"]["paused"])
                view.process.send_signal(signal.SIGINT)
                said = view.end()
        else:
            time.sleep(0.1)
            view.process.send_signal(signal.SIGINT)
            said = view.end()
        assert view.process.returncode == 130 and "Traceback" not in said
        assert re.fullmatch(r"0 windows of 0 events[^\n]*\nlmht: interrupted\n", said), said


def test_an_invalid_event_ends_the_view_with_one_line(folder: Path) -> None:
    events = np.load(folder / "recording.npy")
    events["x"][1000] = 99
    np.save(folder / "recording.npy", events)
    with viewing(folder, folder / "recording.npy", "--speed", "inf") as view:
        with open_viewer(view.url):
            said = view.end()
        assert view.process.returncode == 2
    assert re.fullmatch(r"lmht: [^\n]*event 1000: x=99[^\n]*\n", said), said


OPENING = """
import signal
import sys
import webbrowser
from lmht_deploy.cli import main

def browse(url):
    print(url, flush=True)
    signal.raise_signal(signal.SIGTERM)
    return sys.argv[1] == "True"

webbrowser.open = browse
main(sys.argv[2:])
"""
"""`lmht view` in a process of its own, with a browser that ends it."""


@pytest.mark.parametrize("opened", [True, False])
def test_a_browser_is_opened(folder: Path, opened: bool) -> None:
    files = map(str, (folder / "net.lmht", folder / "recording.npy"))
    done = subprocess.run(
        [sys.executable, "-c", OPENING, str(opened), "view", *files, *OPTIONS],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 143, done.stderr
    page = re.search(r"the page is at (\S+)", done.stderr)
    (url,) = done.stdout.split()
    assert page and url != page[1] and len(url) == len(page[1])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["recording.npy"], "give the length of its windows"),
        (["absent.npy", *OPTIONS], "there is no such file"),
        (["recording.npy", *OPTIONS, "--speed", 0], "the speed of a recording must be > 0"),
        (["recording.npy", *OPTIONS, "--speed", "nan"], "the speed of a recording must be > 0"),
        (["-", *OPTIONS, "--speed", 2], "--speed plays a recording"),
        (["recording.npy", *OPTIONS, "--port", 70000], "Invalid value for .--port"),
        (["recording.npy", *OPTIONS, "--live"], "--live is for standard input"),
    ],
)
def test_mistakes(
    arguments: list[object],
    message: str,
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(folder)
    assert re.search(message, refused(capsys, "view", "net.lmht", *arguments, "--no-browser"))


def test_the_missing_package_is_named(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    found = "lmht_deploy._packages.importlib.util.find_spec"
    monkeypatch.setattr(found, lambda name: None)
    said = refused(capsys, "view", folder / "net.lmht", folder / "recording.npy")
    assert "pip install 'lmht-deploy[view]'" in said
