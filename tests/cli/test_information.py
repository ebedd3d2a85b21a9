"""What `lmht` says about itself: help, completion, recipes, data sets, `doctor`, closest names."""

from __future__ import annotations

import importlib.metadata
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from lmht_deploy import __version__, backends, data
from lmht_deploy.formats.lmht import save_network
from lmht_deploy.formats.windows import save_windows
from lmht_deploy.training.recipe import available_recipes, load_recipe, recipe_keys
from tests.support.networks import SPECIAL

from .test_cli import VERBS, lmht, refused

HEAVY = {"torch", "onnx", "onnxruntime", "tonic", "sklearn"}


@pytest.fixture
def net(tmp_path: Path) -> Path:
    save_network(SPECIAL["residual"](), tmp_path / "net.lmht")
    return tmp_path / "net.lmht"


def loaded(*arguments: object) -> set[str]:
    """Modules that one command has loaded at its end, in a new process."""
    code = (
        "import sys\nfrom lmht_deploy.cli import main\n"
        "try:\n    main(sys.argv[1:])\n"
        "finally:\n    print(*sys.modules, file=open('modules', 'w'))"
    )
    command = [sys.executable, "-c", code, *map(str, arguments)]
    subprocess.run(command, capture_output=True, check=False)
    return set(Path("modules").read_text().split())


# ------------------------------------------------------------------------------------- speed


@pytest.mark.parametrize(
    "arguments", [["--help"], ["run", "--help"], ["train", "--help"], ["run"], ["fly"]]
)
def test_help_and_usage_errors_are_light(
    arguments: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert not loaded(*arguments) & {*HEAVY, "numpy", "h5py"}


@pytest.mark.parametrize(
    "arguments",
    [
        ["train", "fly"],
        ["train", "digits", "training.epochs=many"],
        ["train", "digits", "--out", "file"],
        ["train", "digits", "--device", "the gpu"],
        ["train", "digits", "--json", "absent/train.json"],
        ["validate", "absent"],
        ["validate", "file"],
        ["demo", "--out", "file"],
        ["convert", "absent", "--out", "net.lmht"],
        ["run", "net.lmht", "--data", "fly"],
        ["run", "net.lmht", "--data", "digits", "--split", "middle"],
        ["compare", "net.lmht", "--data", "digits", "--backends", "fly"],
        ["recipes"],
        ["datasets"],
        ["doctor"],
    ],
)
def test_arguments_are_checked_before_pytorch_is_imported(
    arguments: list[str], net: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(net.parent)
    Path("file").touch()
    assert not loaded(*arguments) & HEAVY


# ------------------------------------------------------------------------------------- names


def test_closest_names(net: Path, capsys: pytest.CaptureFixture[str]) -> None:
    digits = ("--data", "digits")
    assert "Did you mean 'compare'?" in refused(capsys, "cmpare")
    assert "did you mean 'event'?" in refused(capsys, "run", net, *digits, "--backend", "evnt")
    assert "did you mean 'torch'?" in refused(
        capsys, "compare", net, *digits, "--backends", "event,trch"
    )
    assert "did you mean 'nmnist'?" in refused(capsys, "run", net, "--data", "n-mnist")
    assert "did you mean 'loihi2'?" in refused(capsys, "inspect", net, "--target", "loihi22")
    assert "did you mean '45nm'?" in refused(capsys, "compare", net, *digits, "--energy", "45")
    assert "did you mean 'digits'" in refused(capsys, "train", "digts")


def test_folders_for_files(net: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for arguments in (
        ["run", tmp_path, "--data", "digits"],
        ["compare", tmp_path, "--data", "digits"],
        ["inspect", tmp_path],
        ["stream", tmp_path, "-", "--length", "20us"],
        ["export", net, "--out", tmp_path],
        ["convert", net, "--out", tmp_path],
        ["run", net, "--data", "digits", "--json", tmp_path],
        ["run", net, "--data", "digits", "--predictions", tmp_path],
        ["inspect", net, "--run", tmp_path],
        ["train", tmp_path],
        ["recipes", tmp_path],
    ):
        assert f"{tmp_path}: is a folder" in refused(capsys, *arguments)


def test_options_without_effect(net: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for option, suffix in (("graded", "onnx"), ("stock-exact", "onnx"), ("trace", "net")):
        out = net.with_name(f"out.{suffix}")
        message = refused(capsys, "export", net, "--out", out, f"--{option}")
        assert f"{option.replace('-', '_')!r} is for" in message and not out.exists()
    assert "no backend is named" in refused(
        capsys, "compare", net, "--data", "digits", "--backends", ""
    )
    windows = ("--data", net.with_name("windows.npz"))
    save_windows(np.zeros((1, 2, 2, 2, 2), int), windows[1])
    for given in (
        ["--sensor", "8x8"],
        ["--root", "."],
        ["--subset"],
        ["--cache", "."],
        ["--length", "50ms"],
        ["--incomplete"],
        ["--drop"],
    ):
        assert f"{given[0]} has no effect on the file" in refused(
            capsys, "run", net, *windows, *given
        )
    assert "--fast-conv is for backend 'lava'" in refused(
        capsys, "run", net, "--data", "digits", "--fast-conv"
    )


# ------------------------------------------------------------------------------------- verbs


def test_help_groups_options(capsys: pytest.CaptureFixture[str]) -> None:
    assert lmht("run", "--help") == 0
    said = capsys.readouterr().out
    assert all(f"─ {group} ─" in said for group in ("Data", "Execution", "Output"))
    assert lmht("--help") == 0
    said = capsys.readouterr().out
    assert all(f"│ {verb} " in said for verb in VERBS) and "--install-completion" in said


def test_recipes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert lmht("recipes", "--json", tmp_path / "all.json") == 0
    said = capsys.readouterr().out
    assert all(name in said for name in available_recipes())
    assert json.loads((tmp_path / "all.json").read_text())["recipes"] == available_recipes()

    assert lmht("recipes", "digits") == 0
    (tmp_path / "copy.toml").write_text(capsys.readouterr().out)
    assert load_recipe(tmp_path / "copy.toml") == load_recipe("digits")

    assert lmht("recipes", "--keys", "--json", "-") == 0
    keys = json.loads(capsys.readouterr().out)["keys"]
    assert [key["name"] for key in keys] == [key.name for key in recipe_keys()]
    assert "did you mean" in refused(capsys, "recipes", "digts")


def test_datasets(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert lmht("datasets", "--json", tmp_path / "sets.json") == 0
    said = capsys.readouterr().out
    names = [known.name for known in data.available()]
    assert "digits" in names and all(name in said for name in names)
    content = json.loads((tmp_path / "sets.json").read_text())["datasets"]
    assert [known["name"] for known in content] == names


def test_split_schemes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    name, out = "tonic:CIFAR10DVS", tmp_path / "tebn.csv"
    assert lmht("datasets", name, "--json", tmp_path / "set.json") == 0
    assert "lmht-seed-1029" in capsys.readouterr().out
    schemes = json.loads((tmp_path / "set.json").read_text())["split_schemes"]
    assert [scheme["scheme"] for scheme in schemes][:2] == ["spikingjelly", "tebn"]
    assert schemes[1]["test"] == 1_000 and schemes[1]["digest"].startswith("0e510cda")
    assert lmht("datasets", "nmnist") == 0
    assert "splits of its own" in capsys.readouterr().out

    assert lmht("datasets", name, "--split-scheme", "tebn", "--out", out) == 0
    assert "10,000 files of tonic:CIFAR10DVS" in capsys.readouterr().out
    lines = out.read_text().splitlines()
    assert len(lines) == 10_001
    assert lines[:2] == [
        "file,label,split,scheme",
        "airplane/cifar10_airplane_0.aedat4,airplane,test,tebn",
    ]
    assert "needs the name of a data set" in refused(capsys, "datasets", "--out", out)
    assert "did you mean" in refused(capsys, "datasets", "tonic:CIFAR10DV")


def test_doctor(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert lmht("doctor", "--json", tmp_path / "doctor.json") == 0
    said = capsys.readouterr().out
    content = json.loads((tmp_path / "doctor.json").read_text())
    assert f"lmht-deploy {__version__}, Python 3." in said
    assert list(content["backends"]) == [*backends.NAMES, *backends.FOREIGN]
    assert content["backends"]["event"] is None and content["tiers"]["engine"][-1] == "generic"
    found = {package["name"]: package["version"] for package in content["packages"]}
    assert found["torch"] == importlib.metadata.version("torch")

    version = importlib.metadata.version

    def without_tonic(name: str) -> str:
        if name in ("tonic", "onnx"):
            raise importlib.metadata.PackageNotFoundError(name)
        return version(name)

    monkeypatch.setattr(importlib.metadata, "version", without_tonic)
    monkeypatch.setattr(backends, "unavailable", lambda name: f"{name} is [not] here")
    assert lmht("doctor", "--json", "-") == 0
    said = capsys.readouterr()
    content = json.loads(said.out)
    assert content["install"] == "pip install 'lmht-deploy[events,onnx]'"
    assert content["install"] in said.err and "lava is [not] here" in said.err


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("re", ["recipes"]),
        ("run net.lmht --backend ev", ["event"]),
        ("compare net.lmht --backends event,to", ["event,torch"]),
        ("train nmn", ["nmnist"]),
        ("run net.lmht --data nmn", ["nmnist"]),
        ("run net.lmht --data ./wi", ["./windows.npz"]),
        ("compare net.lmht --energy lo", ["loihi1", "loihi1-sops"]),
        ("inspect net.lmht --target ", ["loihi1", "loihi2"]),
    ],
)
def test_completion(words: str, expected: list[str], tmp_path: Path) -> None:
    (tmp_path / "windows.npz").touch()
    environment = {
        "COMP_WORDS": f"lmht {words}",
        "COMP_CWORD": str(len(words.split(" "))),
        "_LMHT_COMPLETE": "complete_bash",
    }
    done = subprocess.run(
        [sys.executable, "-m", "lmht_deploy"],
        env=os.environ | environment,
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout.split() == expected, done.stderr
