"""Files of networks on the command line: every verb takes each kind, and says what it takes."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

import lmht_deploy
from lmht_deploy import backends
from lmht_deploy.analysis import runner
from lmht_deploy.errors import StorageError
from lmht_deploy.formats.lmht import save_network
from lmht_deploy.formats.networks import NETWORK_SUFFIXES
from lmht_deploy.formats.windows import save_windows
from lmht_deploy.zoo import network_path
from tests.support.networks import SPECIAL, chain, windows_for

from .test_cli import lmht, refused

FILES = "expected a .lmht, .net, .nir, or .lmhtf file"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with one network in every kind of file, and windows for it."""
    net = chain()
    save_network(net, tmp_path / "net.lmht")
    for suffix in set(NETWORK_SUFFIXES) - {".lmht"}:
        lmht_deploy.export(net, tmp_path / f"net{suffix}")
    save_windows(windows_for(net, 6), tmp_path / "in.npz")
    return tmp_path


@pytest.mark.parametrize("suffix", NETWORK_SUFFIXES)
def test_run_compare_inspect_and_export(
    suffix: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path, data, found = folder / f"net{suffix}", folder / "in.npz", folder / "found.json"
    expected = lmht_deploy.run(chain(), windows_for(chain(), 6)).logits.tolist()
    for backend in ("event", "reference", "onnx"):
        if backends.unavailable(backend) is None:
            assert lmht("run", path, "--backend", backend, "--data", data, "--json", found) == 0
            assert json.loads(found.read_text())["logits"] == expected
    assert lmht("run", path, "--data", data, "--json", found) == 0
    assert json.loads(found.read_text())["backend"] == "event"
    assert lmht("compare", path, "--data", data, "--backends", "event", "--json", found) == 0
    content = json.loads(found.read_text())
    assert content["equal"] and content["networks"][0]["kind"] == "integer"
    assert lmht("inspect", path) == 0
    assert lmht("convert", path, "--out", folder / "again.lmht") == 0
    assert lmht("export", path, "--out", folder / "again.lmhtf") == 0
    assert lmht_deploy.load(folder / "again.lmhtf") == lmht_deploy.load(folder / "net.lmhtf")


def test_exported_files_are_compared_with_the_network_before_them(folder: Path) -> None:
    found = folder / "found.json"
    files = [folder / f"net{suffix}" for suffix in (".lmht", ".lmhtf", ".nir")]
    assert (
        lmht("compare", *files, "--data", folder / "in.npz", "--backends", "event", "--json", found)
        == 0
    )
    rows = json.loads(found.read_text())["networks"][0]["backends"]
    assert [row["label"] for row in rows][2:] == ["event/net.lmhtf", "event/net.nir"]


@pytest.mark.parametrize("suffix", NETWORK_SUFFIXES)
def test_streams_and_explanations(suffix: str, tmp_path: Path) -> None:
    net = tmp_path / f"digits{suffix}"
    if suffix == ".lmht":
        shutil.copyfile(network_path("zoo:digits"), net)
    else:
        lmht_deploy.export(lmht_deploy.load("zoo:digits"), net)
    found = tmp_path / "found.json"
    assert lmht("stream", net, "zoo:digits", "--json", found) == 0
    first = json.loads(found.read_text().splitlines()[0])
    assert lmht("stream", "zoo:digits", "zoo:digits", "--json", found) == 0
    again = json.loads(found.read_text().splitlines()[0])
    assert first["logits"] == again["logits"]


@pytest.mark.parametrize(
    ("verb", "options", "message"),
    [
        ("run", ["--data", "digits"], "expected a .lmht, .net, .nir, .lmhtf, or .onnx file"),
        ("compare", ["--data", "digits"], "expected a .lmht, .net, .nir, .lmhtf, or .onnx file"),
        ("inspect", [], "expected a .lmht, .net, .nir, .lmhtf, or .onnx file"),
        ("export", ["--out", "net.onnx"], FILES),
        ("stream", ["-"], FILES),
        ("view", ["-"], FILES),
        ("explain", ["zoo:digits"], FILES),
        ("search", ["--data", "digits", "--out", "found"], FILES),
    ],
)
def test_other_files(
    verb: str, options: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert message in refused(capsys, verb, "net.txt", *options)
    with pytest.raises(StorageError, match="expected a"):
        lmht_deploy.load("net.txt")


def test_messages_name_the_network_that_was_exported(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Not the temporary file that the backend runs."""
    pytest.importorskip("openvino")
    path = folder / "image.nir"
    lmht_deploy.export(SPECIAL["image-at-every-step"](), path)
    windows = windows_for(SPECIAL["image-at-every-step"](), 2)
    save_windows(windows, folder / "image.npz")
    message = refused(capsys, "run", path, "--backend", "openvino", "--data", folder / "image.npz")
    assert f"{path}: integers of layer 'c' can reach" in message
    assert "--portable" not in message
    with pytest.raises(lmht_deploy.errors.BackendError, match=r"^the network: integers of layer"):
        lmht_deploy.run(SPECIAL["image-at-every-step"](), windows, backend="openvino")


def test_openvino_exports_what_it_needs(folder: Path) -> None:
    pytest.importorskip("openvino")
    found, expected = folder / "found.json", lmht_deploy.run(chain(), windows_for(chain(), 6))
    data = folder / "in.npz"
    assert (
        lmht("run", folder / "net.lmht", "--backend", "openvino", "--data", data, "--json", found)
        == 0
    )
    assert json.loads(found.read_text())["logits"] == expected.logits.tolist()
    with runner.open_runner(folder / "net.lmhtf", "openvino", trace=True) as opened:
        traces = opened.run(windows_for(chain(), 6), trace=True).traces
    assert traces is not None
    reference = lmht_deploy.run(chain(), windows_for(chain(), 6), backend="reference", trace=True)
    for name, k in (reference.traces or {}).items():
        np.testing.assert_array_equal(traces[name], k)


def test_export_names_what_openvino_multiplies_in_float32(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Pixels up to 255 times weights up to 127 exceed 16 bits; counts of spikes do not."""
    pytest.importorskip("onnx")
    save_network(SPECIAL["image"](), tmp_path / "image.lmht")
    save_network(chain(), tmp_path / "chain.lmht")
    for name, synapses in (("image", ["a/Conv0"]), ("chain", [])):
        out, found = tmp_path / f"{name}.onnx", tmp_path / "found.json"
        network = tmp_path / f"{name}.lmht"
        assert lmht("export", network, "--out", out, "--openvino", "--json", found) == 0
        assert json.loads(found.read_text())["in_float32"] == synapses
        written = capsys.readouterr()
        assert ("in float32, where integers" in written.out) == bool(synapses)
        assert written.err == ""
    network = tmp_path / "large.lmht"
    save_network(SPECIAL["image-at-every-step"](), network)
    assert lmht("export", network, "--out", tmp_path / "large.onnx", "--openvino") == 0
    assert "integers of layer 'c' can reach" in capsys.readouterr().err


# ------------------------------------------------------------------------------------- profile


def test_profile(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("onnxruntime")
    found, data = folder / "found.json", folder / "in.npz"
    arguments = ("run", folder / "net.lmht", "--data", data, "--profile")
    assert lmht(*arguments, "--backend", "onnx", "--json", found) == 0
    text = capsys.readouterr().out
    assert "time per layer, 6 windows" in text and "ms per window" in text
    profile = json.loads(found.read_text())["profile"]
    assert profile["windows"] == 6
    layers = {layer.name for layer in chain().layers}
    assert set(profile["ms_per_window"]) - {"other"} <= layers
    assert all(time >= 0 for time in profile["ms_per_window"].values())
    assert "--profile needs --backend onnx" in refused(capsys, *arguments)
    assert lmht("run", folder / "net.lmht", "--data", data, "--json", found) == 0
    assert json.loads(found.read_text())["profile"] is None


# ------------------------------------------------------------------------------------- messages


@pytest.mark.parametrize("arguments", [["--json", ""], ["--json="], ["--run", ""]])
def test_empty_names_of_files(
    arguments: list[str], folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    option = arguments[0].removesuffix("=")
    message = refused(capsys, "inspect", folder / "net.lmht", *arguments)
    assert message.strip() == f"lmht: {option}: the name of a file is empty"


def test_a_run_that_is_missing(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = folder / "nowhere.json"
    message = refused(capsys, "inspect", folder / "net.lmht", "--paths", "--run", path)
    assert f"{path}: there is no such file" in message
