"""`--report` and `--figures` of the verbs: a page and figures that hold what `--json` says."""

from __future__ import annotations

import csv
import importlib.util
import json
from pathlib import Path

import pytest

from lmht_deploy import reference
from lmht_deploy.formats.lmht import save_network
from lmht_deploy.formats.windows import save_windows
from tests.support.networks import SPECIAL, windows_for

from .test_cli import lmht, refused

pytest.importorskip("matplotlib")
pytest.importorskip("jinja2")
NAMES = ("residual", "image", "dense", "steps-differ")


@pytest.fixture
def files(tmp_path: Path) -> Path:
    """A folder with networks, and windows for each."""
    for name in NAMES:
        net = SPECIAL[name]()
        save_network(net, tmp_path / f"{name}.lmht")
        windows = windows_for(net, 8)
        labels = reference.run(net, windows).predictions if name == "residual" else None
        save_windows(windows, tmp_path / f"{name}.npz", labels)
    return tmp_path


@pytest.mark.parametrize("name", ["residual", "image"])
def test_run(name: str, files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    net, data, page = (files / f"{name}.{suffix}" for suffix in ("lmht", "npz", "html"))
    out = ("--report", page, "--figures", files / "figures", "--json", files / "run.json")
    assert lmht("run", net, "--data", data, *out) == 0
    said = capsys.readouterr().out
    assert f"report: {page}" in said and f"figures and tables: {files / 'figures'}" in said
    content = json.loads((files / "run.json").read_text())
    assert json.loads((files / "figures" / "report.json").read_text()) == content
    text = page.read_text(encoding="utf-8")
    for layer, counts in content["sops"].items():
        assert f">{layer}</th>" in text and f"{sum(counts) / 8:,.0f}" in text
    assert len(content["samples"]) == 4 and text.count("Answer over time.</strong>") == 4
    assert (files / "figures" / "sops.pdf").exists()
    assert ("confusion matrix" in text.lower()) == (name == "residual")


@pytest.mark.parametrize("name", NAMES)
def test_compare(name: str, files: Path) -> None:
    """Every figure of the page holds the figures of the JSON."""
    net, data, page = (files / f"{name}.{suffix}" for suffix in ("lmht", "npz", "html"))
    out = ("--report", page, "--figures", files / "figures", "--json", files / "compare.json")
    assert lmht("compare", net, "--data", data, "--backends", "event,torch", *out) == 0
    content = json.loads((files / "compare.json").read_text())
    network = content["networks"][0]
    text = page.read_text(encoding="utf-8")
    assert "All integers are equal" in text and "3 backends: reference, event, torch." in text
    for model in content["energy_models"]:
        assert model["title"] in text and model["url"] in text
    sops = _table(files / "figures" / f"sops-{name}.csv")
    layers = network["counts"]["graded"]["layers"]
    assert [row[:2] for row in sops] == [[x["layer"], str(x["sops"])] for x in layers]
    density = _table(files / "figures" / f"density-{name}.csv")
    for row, layer in zip(density, layers, strict=False):
        means = [spikes / layer["neurons"] for spikes in layer["per_step"]["spikes"]]
        assert [float(x) for x in row[1:] if x] == pytest.approx(means)
    energies = _table(files / "figures" / f"energy-models-{name}.csv")
    found = [entry["joules"] for entry in network["energy"]["models"]]
    assert sorted(float(row[2]) for row in energies) == sorted(found)
    steps = files / "figures" / "anytime-steps.csv"
    if name == "residual":
        assert [float(row[2]) for row in _table(steps)] == [
            entry["accuracy"] for entry in network["anytime"]
        ]
    else:
        assert not steps.exists() and "Classes: not available." in text


def _table(path: Path) -> list[list[str]]:
    """The rows of a CSV file, without its header."""
    return list(csv.reader(path.read_text(encoding="utf-8").splitlines()))[1:]


def test_compare_several_networks(files: Path) -> None:
    again = files / "again.lmht"
    save_network(SPECIAL["residual"](), again)
    page, out = files / "page.html", files / "compare.json"
    data = ("--data", files / "residual.npz", "--backends", "event")
    assert lmht("compare", files / "residual.lmht", again, *data, "--report", page) == 0
    text = page.read_text(encoding="utf-8")
    assert "residual, again on residual.npz" in text and "McNemar" in text
    assert 'id="pareto-energy"' in text and 'id="pareto-latency"' in text
    assert not out.exists()


def test_train_and_validate(tmp_path: Path) -> None:
    folder, page = tmp_path / "run", tmp_path / "train.html"
    short = ("training.epochs=2", "training.batch_size=256", "--threads", "1")
    assert lmht("train", "digits", *short, "--out", folder, "--report", page) == 0
    text = page.read_text(encoding="utf-8")
    assert "Spike density by layer" in text and "Training of residual-small on digits" in text
    page = tmp_path / "validate.html"
    assert lmht("validate", folder, "--limit", 20, "--report", page) == 0
    text = page.read_text(encoding="utf-8")
    assert "Every figure of the block-start form equals" in text and "block-start" in text


def test_bad_names(files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Refused before anything is read or run."""
    common = ("run", files / "dense.lmht", "--data", files / "dense.npz")
    assert ".html file" in refused(capsys, *common, "--report", files / "report.pdf")
    assert "is a folder" in refused(capsys, *common, "--report", _folder(files / "x.html"))
    page = files / "dense.npz" / "report.html"
    assert "cannot be written (Not a directory)" in refused(capsys, *common, "--report", page)
    absent = files / "absent" / "report.html"
    assert "absent does not exist" in refused(capsys, *common, "--report", absent)
    assert "is a file, not a folder" in refused(capsys, *common, "--figures", files / "dense.npz")


def _folder(path: Path) -> Path:
    path.mkdir()
    return path


@pytest.mark.parametrize("option", ["--report", "--figures"])
def test_a_missing_package_is_named(
    option: str,
    files: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    found = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name == "jinja2" else found(name)
    )
    common = ("run", files / "dense.lmht", "--data", files / "dense.npz")
    said = refused(capsys, *common, option, files / "report.html")
    assert "'jinja2' is not installed" in said and "lmht-deploy[report]" in said
