"""The verbs: help with an example, JSON, and one line and exit code 2 for every mistake."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from lmht_deploy import __version__, reference
from lmht_deploy.cli import app, main
from lmht_deploy.formats.lmht import save_network
from lmht_deploy.formats.windows import save_windows
from lmht_deploy.ir import Network
from tests.support.networks import SPECIAL, Builder, float_network, windows_for

VERBS = sorted(command.name for command in app.registered_commands)  # type: ignore[union-attr]


def lmht(*arguments: object) -> int:
    """Run `lmht` in this process; its exit code."""
    with pytest.raises(SystemExit) as exit_:
        main([str(argument) for argument in arguments])
    return exit_.value.code  # type: ignore[return-value]


def recording_network(max_value: int = 255) -> Network:
    """Reads what a sensor of 34 x 34 pixels sees, in two bins."""
    b = Builder(0, shape=(2, 34, 34), steps=2, max_value=max_value)
    return b.finish(b.neurons("a", b.conv("input", 3, stride=4), steps=2))


@pytest.fixture
def net(tmp_path: Path) -> Path:
    save_network(SPECIAL["residual"](), tmp_path / "net.lmht")
    return tmp_path / "net.lmht"


@pytest.fixture
def data(tmp_path: Path) -> Path:
    net = SPECIAL["residual"]()
    windows = windows_for(net, 5)
    save_windows(windows, tmp_path / "data.npz", reference.run(net, windows).predictions)
    return tmp_path / "data.npz"


def refused(capsys: pytest.CaptureFixture[str], *arguments: object) -> str:
    """What `lmht` says where it refuses: exit code 2, one line on stderr, nothing on stdout.

    Notes on the data may stand above it.
    """
    assert lmht(*arguments) == 2
    said = capsys.readouterr()
    assert said.out == ""
    lines = said.err.splitlines(keepends=True)
    (line,) = [line for line in lines if not line.startswith("note: ")]
    assert line.startswith("lmht: ") and line.endswith("\n"), said.err
    return line


@pytest.mark.parametrize("verb", VERBS)
def test_help_has_an_example(verb: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert lmht(verb, "--help") == 0
    said = capsys.readouterr().out
    assert f"Example: lmht {verb}" in said
    assert "--json" in said


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert lmht("--version") == 0
    assert capsys.readouterr().out == f"{__version__}\n"


def test_run_and_inspect(
    net: Path, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert (
        lmht("run", net, "--data", data, "--backend", "torch", "--json", tmp_path / "run.json") == 0
    )
    assert "accuracy 100.00%" in capsys.readouterr().out
    expected = reference.run(SPECIAL["residual"](), windows_for(SPECIAL["residual"](), 5))
    content = json.loads((tmp_path / "run.json").read_text())
    assert content["accuracy"] == 1.0
    assert content["logits"] == expected.logits.tolist()
    assert content["spikes"] == {name: counts.tolist() for name, counts in expected.spikes.items()}
    assert content["sops"] == {name: counts.tolist() for name, counts in expected.sops.items()}

    assert (
        lmht("inspect", net, "--run", tmp_path / "run.json", "--json", tmp_path / "net.json") == 0
    )
    assert "residual" not in capsys.readouterr().err
    rows = {row["layer"]: row for row in json.loads((tmp_path / "net.json").read_text())["layers"]}
    assert rows["f"]["reads"] == "e, d, a"
    assert rows["f"]["SOPs"] == expected.sops["f"].mean()
    assert rows["e"]["T-GIM"] == "4x4 uniform"
    assert rows["input"]["parameters"] == 0


def test_compare_says_equal(
    net: Path, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert (
        lmht(
            "compare",
            net,
            "--data",
            data,
            "--backends",
            "torch, reference",
            "--limit",
            4,
            "--json",
            tmp_path / "c.json",
        )
        == 0
    )
    assert "equal" in capsys.readouterr().out
    content = json.loads((tmp_path / "c.json").read_text())
    assert content["equal"] is True
    rows = content["networks"][0]["backends"]
    assert [(row["label"], row["windows"]) for row in rows] == [
        ("reference", 4),
        ("torch", 4),
    ]


def test_compare_exits_with_1_if_backends_differ(
    net: Path, data: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from lmht_deploy.backends import torch as torch_backend

    right = torch_backend._fire
    monkeypatch.setattr(torch_backend, "_fire", lambda layer, current: right(layer, current + 50))
    assert lmht("compare", net, "--data", data, "--backends", "torch") == 1
    assert "torch: spikes of layer 'a' differ: window 0 has" in capsys.readouterr().err


@pytest.mark.parametrize("suffix", [".onnx", ".net"])
def test_export(net: Path, suffix: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / f"out{suffix}"
    assert lmht("export", net, "--out", out) == 0
    assert f"wrote {out}" in capsys.readouterr().out.replace("\n", "")
    plain = out.stat().st_size
    assert plain > 1000
    if suffix == ".net":
        assert (
            lmht("export", net, "--out", out, "--graded", "--json", tmp_path / "export.json") == 0
        )
        assert json.loads((tmp_path / "export.json").read_text())["bytes"] == out.stat().st_size


# ------------------------------------------------------------------------------------- mistakes


def test_unknown_verbs_options_backends(
    net: Path, data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert "No such command 'fly'" in refused(capsys, "fly")
    assert "No such option: --fly" in refused(capsys, "run", net, "--fly")
    assert "Missing option '--data'" in refused(capsys, "run", net)
    assert "unknown backend 'fly'; the backends are reference" in refused(
        capsys, "run", net, "--data", data, "--backend", "fly"
    )
    assert "unknown backend 'fly'" in refused(
        capsys, "compare", net, "--data", data, "--backends", "torch,fly"
    )
    assert "backend 'netx' runs .net files" in refused(
        capsys, "run", net, "--data", data, "--backend", "netx"
    )
    assert "unknown energy model" in refused(
        capsys, "compare", net, "--data", data, "--backends", "torch", "--energy", "fly"
    )


def test_bad_files(
    net: Path, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for verb in (
        ["inspect"],
        ["run", "--data", data, "--backend", "torch"],
        ["compare", "--data", data],
        ["export", "--out", tmp_path / "x.onnx"],
    ):
        assert "no such file" in refused(capsys, verb[0], tmp_path / "none.lmht", *verb[1:])
    net.write_bytes(net.read_bytes()[:3000])
    assert "truncated" in refused(capsys, "inspect", net)
    (tmp_path / "text.lmht").write_text("hello")
    assert "is not a .lmht file" in refused(capsys, "inspect", tmp_path / "text.lmht")
    assert "expected a .lmht, .net, .nir, .lmhtf, or .onnx file" in refused(capsys, "inspect", data)
    assert "is a folder; expected a .lmht, .net, .nir, .lmhtf, or .onnx file" in refused(
        capsys, "compare", tmp_path, "--data", data
    )
    assert "expected a .lmht, .net" in refused(capsys, "run", data, "--data", data)


def test_bad_data(
    net: Path, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = ("run", net, "--backend", "torch", "--data")
    assert "no such file" in refused(capsys, *run, tmp_path / "none.npz")
    save_windows(np.zeros((3, 4, 2, 7, 8), np.uint8), tmp_path / "small.npz")
    assert "small.npz: windows must have shape [batch, 4, 2, 8, 8], not [3, 4, 2, 7, 8]" in refused(
        capsys, *run, tmp_path / "small.npz"
    )
    save_windows(np.full((3, 4, 2, 8, 8), 9, np.uint8), tmp_path / "high.npz")
    assert "high.npz: windows must lie within 0..3" in refused(capsys, *run, tmp_path / "high.npz")
    assert "unknown data set 'fly'" in refused(capsys, *run, "fly")
    assert "split must be" in refused(capsys, *run, data, "--split", "middle")


def test_recordings(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A recording is one window of T_in equal time bins; --sensor gives a size that is missing."""
    save_network(recording_network(), tmp_path / "net.lmht")
    events = np.array(
        [(10, 3, 4, 1), (20, 33, 0, 0), (30, 3, 4, 1)],
        [("t", "<i8"), ("x", "<u2"), ("y", "<u2"), ("p", "?")],
    )
    np.save(tmp_path / "events.npy", events)
    run = ("run", tmp_path / "net.lmht", "--backend", "torch", "--data")
    assert "does not say how large its sensor is" in refused(capsys, *run, tmp_path / "events.npy")
    assert "WIDTHxHEIGHT" in refused(capsys, *run, tmp_path / "events.npy", "--sensor", "34")
    assert (
        lmht(*run, tmp_path / "events.npy", "--sensor", "34x34", "--json", tmp_path / "run.json")
        == 0
    )
    capsys.readouterr()
    window = np.zeros((1, 2, 2, 34, 34), int)
    window[0, 0, 1, 4, 3] = window[0, 1, 0, 0, 33] = window[0, 1, 1, 4, 3] = 1
    assert (
        json.loads((tmp_path / "run.json").read_text())["logits"]
        == reference.run(recording_network(), window).logits.tolist()
    )
    assert "there is no such file" in refused(capsys, *run, tmp_path / "none.aedat4")
    (tmp_path / "bad.aedat4").write_bytes(b"#!AER-DAT4.0\r\n" + bytes(99))
    assert "bad.aedat4" in refused(capsys, *run, tmp_path / "bad.aedat4")


def test_counts_beyond_the_input_are_left_out_with_a_warning(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    save_network(recording_network(max_value=2), tmp_path / "net.lmht")
    np.save(
        tmp_path / "events.npy",
        np.array(
            [(t, 3, 4, 1) for t in range(9)], [("t", "<i8"), ("x", "<u2"), ("y", "<u2"), ("p", "?")]
        ),
    )
    assert (
        lmht(
            "run",
            tmp_path / "net.lmht",
            "--backend",
            "torch",
            "--data",
            tmp_path / "events.npy",
            "--sensor",
            "34x34",
        )
        == 0
    )
    assert "5 of 9 events exceed the largest input count (2)" in capsys.readouterr().err


def test_limits_of_a_chip(net: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert lmht("inspect", net, "--target", "loihi1", "--json", tmp_path / "net.json") == 0
    assert "beyond" in capsys.readouterr().out
    findings = json.loads((tmp_path / "net.json").read_text())["limits"]
    assert {
        "layer": None,
        "what": "layers of neurons with a soft reset",
        "found": 5,
        "limit": 0,
        "kept": False,
    }.items() <= findings[3].items()
    assert "unknown target 'fly'; the targets are loihi1, loihi2" in refused(
        capsys, "inspect", net, "--target", "fly"
    )


def test_a_verdict_about_a_chip(
    net: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """One line at the end; what is within its limit is counted, not listed."""
    inspect = ("inspect", net, "--json", tmp_path / "net.json", "--target")
    assert lmht(*inspect, "loihi2") == 0
    *_, counted, verdict = capsys.readouterr().out.splitlines()
    assert verdict == "fits on 6 of 128 cores of Loihi 2 (an estimate from published limits)"
    content = json.loads((tmp_path / "net.json").read_text())
    kept = [finding["kept"] for finding in content["limits"]]
    assert content["fits"] is True and False not in kept
    assert counted == (
        f"{len(kept)} figures: {kept.count(True)} within a published limit, 0 beyond, "
        f"{kept.count(None)} without one; --json lists all"
    )
    assert lmht(*inspect, "loihi1") == 0
    said = capsys.readouterr().out
    assert said.splitlines()[-1] == (
        "does not fit Loihi: layers of neurons with a soft reset 5, at most 0; "
        "layer 'a': largest spike 2, at most 1; layer 'c': largest spike 2, at most 1; and 3 more"
    )
    assert said.count("within") == 4 and said.count("beyond") == 7
    assert json.loads((tmp_path / "net.json").read_text())["fits"] is False
    assert lmht("inspect", net, "--json", tmp_path / "net.json") == 0
    assert json.loads((tmp_path / "net.json").read_text())["fits"] is None


def test_bad_output(
    net: Path, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert "the export formats are .onnx, .net, .c, .nir" in refused(
        capsys, "export", net, "--out", tmp_path / "net.tflite"
    )
    assert "does not exist" in refused(
        capsys,
        "run",
        net,
        "--data",
        data,
        "--backend",
        "torch",
        "--json",
        tmp_path / "no" / "x.json",
    )
    save_network(float_network(), net)
    assert "float" in refused(capsys, "export", net, "--out", tmp_path / "x.onnx")
    assert "float" in refused(capsys, "export", net, "--out", tmp_path / "x.net")
    assert "float" in refused(capsys, "run", net, "--data", data, "--backend", "torch")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["data.npz", "net.lmht"]


def test_inspect_refuses_another_networks_run(
    net: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "run.json").write_text('{"sops": {"other": [1]}}')
    assert "is a run of another network" in refused(
        capsys, "inspect", net, "--run", tmp_path / "run.json"
    )
    (tmp_path / "run.json").write_text("{")
    assert "is not a file that `lmht run --json` writes" in refused(
        capsys, "inspect", net, "--run", tmp_path / "run.json"
    )


def test_starts_without_heavy_imports() -> None:
    code = (
        "import lmht_deploy.cli._app, sys; names = {'torch', 'onnx', 'onnxruntime', 'tonic', "
        "'sklearn', 'h5py', 'numpy'}; print(sorted(names & set(sys.modules)))"
    )
    assert (
        subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=True
        ).stdout
        == "[]\n"
    )
