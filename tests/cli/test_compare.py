"""`lmht compare` with several networks and exported files, and `lmht inspect` of an .onnx file."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest

import lmht_deploy
from lmht_deploy import quantize, reference
from lmht_deploy.formats.lmht import save_network
from lmht_deploy.formats.windows import save_windows
from tests.cli.test_cli import lmht, refused
from tests.support.networks import SPECIAL, float_network, windows_for

NET = SPECIAL["residual"]()
WINDOWS = windows_for(NET, 6)
REFERENCE = ("--data", "data.npz", "--backends", "reference")


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working folder, with two networks, exported files of the first, and data."""
    monkeypatch.chdir(tmp_path)
    save_network(NET, tmp_path / "net.lmht")
    other = dataclasses.replace(NET.readout, bias=-1000 * NET.readout.bias)
    save_network(
        dataclasses.replace(NET, layers=(*NET.layers[:-1], other)), tmp_path / "other.lmht"
    )
    for suffix in (".onnx", ".net"):
        lmht_deploy.export(NET, tmp_path / f"net{suffix}")
    save_windows(WINDOWS, tmp_path / "data.npz", reference.run(NET, WINDOWS).predictions)
    return tmp_path


def compared(*arguments: object, code: int = 0) -> dict[str, Any]:
    assert lmht("compare", *arguments, "--json", "c.json") == code
    found: dict[str, Any] = json.loads(Path("c.json").read_text())
    return found


def test_exported_files_are_compared_with_their_network() -> None:
    content = compared("net.lmht", "net.onnx", *REFERENCE)
    (network,) = content["networks"]
    assert [row["label"] for row in network["backends"]] == ["reference", "onnx/net.onnx"]
    assert content["equal"] and content["schema"] == "lmht-compare"


def test_an_exported_file_of_another_network_differs(capsys: pytest.CaptureFixture[str]) -> None:
    content = compared("other.lmht", "net.onnx", *REFERENCE, code=1)
    row = content["networks"][0]["backends"][1]
    assert row["difference"]["kind"] == "logits" and row["energy"] is None
    assert row["difference"]["neuron"] is not None
    assert "onnx/net.onnx: logits differ: window 0 has" in capsys.readouterr().err


def test_an_exported_file_alone(capsys: pytest.CaptureFixture[str]) -> None:
    content = compared("net.onnx", "--data", "data.npz")
    (network,) = content["networks"]
    assert network["kind"] == "artifact" and network["accuracy"] == 1
    assert [row["label"] for row in network["backends"]] == ["onnx"]
    said = capsys.readouterr()
    assert "45nm-sops" in said.out
    assert "nothing was compared" in said.out + said.err and " equal" not in said.out


def test_several_networks(capsys: pytest.CaptureFixture[str]) -> None:
    content = compared("net.lmht", "other.lmht", *REFERENCE)
    assert [network["name"] for network in content["networks"]] == ["net", "other"]
    (pair,) = content["pairs"]
    assert pair["both_right"] + pair["only_first"] == 6 and 0 < pair["p_value"] <= 1
    said = capsys.readouterr().out
    assert "networks in pairs" in said and "McNemar p" in said


def test_a_float_network_beside_its_integer_network(
    capsys: pytest.CaptureFixture[str],
) -> None:
    net = float_network()
    windows = windows_for(net, 4)
    save_network(net, Path("float.lmht"))
    save_network(quantize(net), Path("integer.lmht"))
    save_windows(windows, Path("data.npz"), reference.run(net, windows).predictions)
    content = compared("float.lmht", "integer.lmht", "--data", "data.npz", "--limit", 3)
    first, second = content["networks"]
    assert [row["label"] for row in first["backends"]] == ["reference"] and first["accuracy"] == 1
    assert len(second["backends"]) > 1
    layers = content["pairs"][0]["quantization"]["layers"]
    assert [row["layer"] for row in layers] == ["a", "b", "out"]
    said = capsys.readouterr().out
    assert "what quantization does at each layer" in said and "by its own rounding" in said


def test_an_energy_model_of_the_user(capsys: pytest.CaptureFixture[str]) -> None:
    Path("mine.toml").write_text(
        'name = "mine"\nview = "graded"\nsource = "my bench"\n[picojoules]\nsop = 2\n'
    )
    content = compared("net.lmht", *REFERENCE, "--energy", "mine.toml")
    (network,) = content["networks"]
    row = network["backends"][0]
    assert row["energy"] == pytest.approx(2e-12 * row["sops"])
    assert content["energy_model"] == "mine" == content["energy_models"][-1]["name"]
    assert [row["model"] for row in network["energy"]["models"]][-1] == "mine"
    assert "my bench" in capsys.readouterr().out.replace("\n", " ")
    Path("mine.toml").write_text("name = 3")
    assert "mine.toml: 'view' is missing" in refused(
        capsys, "compare", "net.lmht", *REFERENCE, "--energy", "mine.toml"
    )


def test_speed(capsys: pytest.CaptureFixture[str]) -> None:
    (network,) = compared("net.lmht", *REFERENCE, "--speed")["networks"]
    speed = network["backends"][0]["speed"]
    assert speed["latency"]["p50_ms"] > 0 and speed["artifact_bytes"] == network["bytes"]
    rapl, nvml = network["measured_energy"]
    assert "reason" in rapl or rapl["joules"] >= 0
    assert nvml == {"meter": "NVML", "reason": "no backend ran on a GPU; --device chooses one"}
    said = capsys.readouterr().out
    assert "speed, the backends in turn" in said
    assert "NVML measures no energy: no backend ran on a GPU" in said


def test_the_accuracy_of_the_twin(capsys: pytest.CaptureFixture[str]) -> None:
    assert compared("net.lmht", *REFERENCE)["twin"] == {"accuracy": None, "source": ""}
    assert "the accuracy of the int8 twin is not known" in capsys.readouterr().out
    twin = compared("net.lmht", *REFERENCE, "--twin-accuracy", "0.987")["twin"]
    assert twin == {"accuracy": 0.987, "source": "stated by the user"}
    assert "accuracy of the int8 twin: 98.70%" in capsys.readouterr().out
    for wrong in ("1.5", "98%", "nan"):
        said = refused(capsys, "compare", "net.lmht", *REFERENCE, "--twin-accuracy", wrong)
        assert "accuracy" in said and wrong in said


def test_counters_models_and_the_worst_windows_are_printed(
    capsys: pytest.CaptureFixture[str],
) -> None:
    predictions = reference.run(NET, WINDOWS).predictions
    predictions[4] = (predictions[4] + 1) % 5
    save_windows(WINDOWS, Path("data.npz"), predictions)
    compared("net.lmht", *REFERENCE)
    said = capsys.readouterr().out
    for text in ("SOPs, exact", "Norse SynOpsCounter", "int8-ann-memory", "by a factor of"):
        assert text in said
    assert f"worst windows: window 4 ({predictions[4]}, answered" in said


def test_mistakes(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "--predictions is for one network" in refused(
        capsys, "compare", "net.lmht", "other.lmht", *REFERENCE, "--predictions", "p.csv"
    )
    assert "net.lmht: is named twice" in refused(
        capsys, "compare", "net.lmht", "net.lmht", *REFERENCE
    )
    Path("other.onnx").write_bytes(b"no graph")
    assert "other.onnx" in refused(capsys, "compare", "net.lmht", "other.onnx", *REFERENCE)
    said = refused(capsys, "compare", "net.onnx", "--data", "data.npz", "--backends", "event")
    assert said.startswith("lmht: net.onnx: an exported file runs on its own backend alone")


def test_inspect_an_onnx_file(capsys: pytest.CaptureFixture[str]) -> None:
    data = ("--data", "data.npz")
    assert lmht("run", "net.onnx", *data, "--json", "run.json") == 0
    assert lmht("inspect", "net.onnx", "--run", "run.json", "--json", "i.json") == 0
    content = json.loads(Path("i.json").read_text())
    rows = {row["layer"]: row for row in content["layers"]}
    assert content["window_shape"] == [4, 2, 8, 8] and content["classes"] == 5
    assert rows["a"]["neurons"] and not rows["a"]["trace"] and rows["f"]["products"] >= 3
    expected = reference.run(NET, WINDOWS)
    assert rows["a"]["SOPs"] == expected.sops["a"].mean()
    assert rows["logits"]["spikes"] is None and rows["logits"]["constants"] > 0
    capsys.readouterr()
    assert "--target needs a network" in refused(
        capsys, "inspect", "net.onnx", "--target", "loihi1"
    )
    Path("text.onnx").write_text("hello")
    assert "text.onnx: is damaged" in refused(capsys, "inspect", "text.onnx")
