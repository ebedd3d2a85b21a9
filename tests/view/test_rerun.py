"""Recordings for Rerun: what is logged, with a stand-in for its package."""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from lmht_deploy.view.rerun import BACK, OFF, ON, paint
from tests.cli.test_cli import lmht, refused
from tests.cli.test_view import NET, OPTIONS, WINDOWS, folder, read, streamed

__all__ = ["folder"]


class FakeStream:
    """Notes what is logged, at which times."""

    def __init__(self, application: str) -> None:
        assert application == "lmht view"
        self.now: dict[str, float] = {}
        self.logged: list[tuple[str, dict[str, float], Any]] = []
        self.closed = False

    def save(self, path: str, default_blueprint: Any) -> None:
        self.path = Path(path)
        assert default_blueprint[0] == "Blueprint"

    def set_time(self, timeline: str, **value: float) -> None:
        (self.now[timeline],) = value.values()

    def log(self, path: str | list[str], value: Any, static: bool = False) -> None:
        name = path if isinstance(path, str) else "/".join(path)
        self.logged.append((name, {} if static else dict(self.now), value))

    def flush(self) -> None:
        self.path.write_text("a recording")

    def disconnect(self) -> None:
        self.closed = True

    def of(self, name: str) -> list[Any]:
        return [value for path, _, value in self.logged if path == name]


class FakeRerun(ModuleType):
    """The part of rerun that is used: archetypes are (name, value)."""

    def __init__(self) -> None:
        super().__init__("rerun")
        self.__spec__ = __spec__  # it is "installed"
        self.streams: list[FakeStream] = []

    def RecordingStream(self, application: str) -> FakeStream:  # noqa: N802
        self.streams.append(FakeStream(application))
        return self.streams[-1]

    def __getattr__(self, name: str) -> Any:
        return lambda *values, **named: (name, *values, *named.values())


@pytest.fixture
def rerun(monkeypatch: pytest.MonkeyPatch) -> FakeRerun:
    fake = FakeRerun()
    monkeypatch.setitem(sys.modules, "rerun", fake)
    monkeypatch.setitem(sys.modules, "rerun.blueprint", fake)
    return fake


def record(folder: Path, *options: object) -> None:
    arguments = (folder / "net.lmht", folder / "recording.npy", *OPTIONS)
    assert lmht("view", *arguments, "--rerun", folder / "a.rrd", *options) == 0


def test_every_event_and_every_decision_is_written(folder: Path, rerun: FakeRerun) -> None:
    written = folder / "view.jsonl"
    record(folder, "--json", written)
    decisions = read(written)
    assert decisions == streamed(folder) and len(decisions) == WINDOWS
    (stream,) = rerun.streams
    assert stream.closed and (folder / "a.rrd").read_text() == "a recording"
    assert stream.of("margin") == [("Scalars", row["margin"]) for row in decisions]
    spikes = np.sum([[v for _, v in stream.of(f"spikes/{n.name}")] for n in NET.neurons], axis=0)
    assert spikes.tolist() == [row["spikes"] for row in decisions]
    layers = [*(layer.name for layer in NET.neurons), NET.readout.name]
    sops = np.sum([[v for _, v in stream.of(f"sops/{name}")] for name in layers], axis=0)
    assert sops.tolist() == [row["sops"] for row in decisions]
    shares = np.sum([[v for _, v in stream.of(f"probability/{k}")] for k in range(5)], axis=0)
    assert np.allclose(shares, 1)
    assert len(stream.of("events")) >= WINDOWS - 1
    assert stream.of("answer")[0][1].endswith("window 0")
    times = [at["time"] for path, at, _ in stream.logged if path == "answer"]
    assert times == sorted(times) and 0 < times[-1] <= 0.12
    windows = [at["window"] for path, at, _ in stream.logged if path == "answer"]
    assert windows == list(range(WINDOWS))


def test_pictures() -> None:
    counts = np.zeros((2, 1, 3), int)
    counts[1, 0, 1] = counts[0, 0, 2] = 7
    assert paint(counts).tolist() == [[list(BACK), list(ON), list(OFF)]]
    assert paint(np.zeros((2, 1, 1), int)).tolist() == [[list(BACK)]]


def test_mistakes(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ("view", folder / "net.lmht", folder / "recording.npy", *OPTIONS, "--rerun")
    assert "expected a .rrd file" in refused(capsys, *arguments, folder / "a.txt")


def test_without_the_package(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "rerun", None)
    arguments = ("view", folder / "net.lmht", folder / "recording.npy", *OPTIONS)
    said = refused(capsys, *arguments, "--rerun", folder / "a.rrd")
    assert "pip install 'lmht-deploy[rerun]'" in said and not (folder / "a.rrd").exists()


def test_the_package_itself(folder: Path) -> None:
    """Where rerun-sdk is installed, it writes a file of its own."""
    pytest.importorskip("rerun", reason="not applicable: rerun-sdk is not installed")
    record(folder, "--json", folder / "view.jsonl")
    content = (folder / "a.rrd").read_bytes()
    assert content.startswith(b"RRF") and len(content) > 10_000
