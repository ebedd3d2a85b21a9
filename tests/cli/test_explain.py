"""`lmht explain`: the counterfactuals of the reference model, for recordings and windows."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lmht_deploy import reference
from lmht_deploy.events.arrays import make_events
from lmht_deploy.formats.lmht import save_network
from lmht_deploy.formats.windows import save_windows
from lmht_deploy.ir import Network
from tests.support.networks import SPECIAL, Builder, float_network, windows_for

from .test_cli import lmht, refused


def event_network() -> Network:
    """Reads what a sensor of 12 x 12 pixels sees, in two bins."""
    b = Builder(3, shape=(2, 12, 12), steps=2, max_value=255)
    first = b.neurons("a", b.conv("input", 6, stride=2), steps=2, omega="random")
    return b.finish(b.neurons("c", b.conv(first, 6), steps=2))


@pytest.fixture
def net(tmp_path: Path) -> Path:
    save_network(event_network(), tmp_path / "net.lmht")
    return tmp_path / "net.lmht"


@pytest.fixture
def recording(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    x, y = rng.integers(0, 12, (2, 900))
    events = make_events(np.sort(rng.integers(0, 100_000, 900)), x, y, rng.integers(2, size=900))
    np.save(tmp_path / "recording.npy", events)
    return tmp_path / "recording.npy"


def explained(tmp_path: Path, *arguments: object) -> dict[str, Any]:
    """The JSON that `lmht explain` writes."""
    assert lmht("explain", *arguments, "--json", tmp_path / "out.json") == 0
    return json.loads((tmp_path / "out.json").read_text())


def test_a_recording(
    net: Path, recording: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ("--sensor", "12x12", "--cell", 4, "--length", "50ms", "--incomplete", "--threads", 2)
    found = explained(tmp_path, net, recording, *options, "--window", "1", "--top", 2)
    assert found["schema"] == "lmht-explain" and found["version"] == 1
    assert found["classes"] is None and found["provenance"]["threads"] == 2
    (window,) = found["windows"]
    assert window["window"] == 1 and window["start_us"] == 50_000 and window["label"] is None
    assert window["grid"] == [3, 3] and window["shape"] == [2, 2, 12, 12]
    events = np.load(recording)
    late = events[events["t"] - events["t"][0] >= 50_000]
    assert window["events"] == len(late)
    counts = np.zeros((2, 12, 12), int)
    np.add.at(counts, (late["p"].astype(int), late["y"], late["x"]), 1)
    assert window["frame"] == counts.tolist()
    methods = {curve["method"] for curve in window["curves"]}
    assert methods == {"counterfactual", "gradient", "random"}
    said = capsys.readouterr().out
    assert f"window 1 of recording.npy at 0.050000 s: answer {window['answer']}, margin" in said
    assert said.count("step 1 of 2") == said.count("ON events") == 1
    assert "counterfactuals in" in said and "per second on 2 threads" in said
    assert "a faithful order has a small area of deletion" in " ".join(said.split())
    flip = window["flip"]
    assert flip["status"] == "found" and f"without {len(flip['cells'])} cell" in said


def test_all_windows_are_those_of_the_reference_model(tmp_path: Path) -> None:
    net = event_network()
    save_network(net, tmp_path / "net.lmht")
    windows = windows_for(net, 4)
    names = ("ape", "bee", "cat", "dog", "eel")
    labels = np.array([0, 1, 2, 3])
    save_windows(windows, tmp_path / "windows.npz", labels, names)
    options = ("--window", "all", "--methods", "none", "--cell", 6)
    found = explained(tmp_path, tmp_path / "net.lmht", tmp_path / "windows.npz", *options)
    assert found["classes"] == list(names)
    whole = reference.run(net, windows).logits
    assert [window["logits"] for window in found["windows"]] == whole.tolist()
    assert [window["label"] for window in found["windows"]] == labels.tolist()
    for window, values in zip(found["windows"], windows, strict=True):
        assert window["curves"] == []
        without = values.copy()
        without[:, :, :6, 6:] = 0
        (logits,) = reference.run(net, without[None]).logits
        change = np.array(window["parts"]["cell"]["deltas"][0][1])
        assert (np.array(window["logits"]) + change).tolist() == logits.tolist()


def test_the_report(net: Path, recording: Path, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    page, folder = tmp_path / "page.html", tmp_path / "figures"
    options = ("--sensor", "12x12", "--methods", "random", "--report", page, "--figures", folder)
    found = explained(tmp_path, net, recording, *options)
    assert "which events decided" in page.read_text()
    assert (folder / "attribution-0.png").exists()
    assert json.loads((folder / "report.json").read_text()) == found


def test_a_network_of_images(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    net = SPECIAL["image"]()
    save_network(net, tmp_path / "net.lmht")
    windows = windows_for(net, 3)[2:]
    save_windows(windows.astype(np.int8), tmp_path / "images.npz")
    found = explained(tmp_path, tmp_path / "net.lmht", tmp_path / "images.npz")
    said = capsys.readouterr()
    assert "parts are left out by setting them to 0, mid-gray" in said.err
    assert "nonzero values" in said.out and "channel 3 of 3" in said.out
    (window,) = found["windows"]
    assert window["kind"] == "image" and window["events"] == np.count_nonzero(windows[0])
    assert window["frame"] == windows[0, 0].tolist()


def test_a_window_without_events(
    net: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    save_windows(np.zeros((1, 2, 2, 12, 12), np.uint8), tmp_path / "windows.npz")
    found = explained(tmp_path, net, tmp_path / "windows.npz")
    assert found["windows"][0]["events"] == 0
    assert "window 0 has no events: nothing can be left out" in capsys.readouterr().err


def test_json_on_standard_output(
    net: Path, recording: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ("--sensor", "12x12", "--methods", "none", "--json", "-")
    assert lmht("explain", net, recording, *options) == 0
    said = capsys.readouterr()
    assert json.loads(said.out)["windows"][0]["curves"] == []
    assert "counterfactuals in" in said.err


def test_mistakes(
    net: Path, recording: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def line(*arguments: object) -> str:
        return refused(capsys, "explain", *arguments, "--sensor", "12x12")

    assert "has one window, with the index 0; there is no window 1" in line(
        net, recording, "--window", 1
    )
    cut = ("--length", "20ms", "--window", 77)
    assert "has the windows 0 to 3; there is no window 77" in line(net, recording, *cut)
    for text in ("-1", "first", "1.5", "", "٣", "9" * 30):
        assert "--window must be the index" in line(net, recording, f"--window={text}")
    assert "a cell of 13 x 13 pixels is larger than" in line(net, recording, "--cell", 13)
    assert "at least 1, not 0" in line(net, recording, "--cell", 0)
    assert "not 'saliency'" in line(net, recording, "--methods", "random,saliency")
    assert "'none' alone, not 'none'" in line(net, recording, "--methods", "random,none")
    assert "no such file" in line(net, tmp_path / "other.npy").lower()
    np.save(tmp_path / "empty.npy", np.load(recording)[:0])
    assert "holds no event" in line(net, tmp_path / "empty.npy")
    save_network(float_network(), tmp_path / "float.lmht")
    assert "float" in line(tmp_path / "float.lmht", recording)
    assert "expected a .lmht, .net, .nir, or .lmhtf file" in line(tmp_path / "net.onnx", recording)
    save_network(SPECIAL["dense"](), tmp_path / "dense.lmht")
    save_windows(windows_for(SPECIAL["dense"]()), tmp_path / "dense.npz")
    no_pixels = refused(capsys, "explain", tmp_path / "dense.lmht", tmp_path / "dense.npz")
    assert "without pixels" in no_pixels
