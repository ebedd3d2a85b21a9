"""Benchmarks: rivals run the same network, formats hold the same events, reports are complete."""

from __future__ import annotations

import itertools
import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

import lmht_deploy as lmht
from benchmarks import decoders, engine, isa, rivals
from benchmarks.events import SENSOR, synthetic_recording
from benchmarks.networks import event_windows, resnet18, vgg
from benchmarks.report import Row, Table, run_tables
from benchmarks.timing import MIN_TURNS, best_of_each
from lmht_deploy import reference
from lmht_deploy.engine import isas
from lmht_deploy.ir import Network
from tests.support.networks import SPECIAL, windows_for
from tests.support.requirements import NOT_APPLICABLE

IN_FP32 = {
    "torch": ("torch",),
    "SpikingJelly": ("torch", "spikingjelly"),
    "sinabs": ("torch", "sinabs"),
    "ORT fp32": ("onnxruntime", "onnx"),
    "OpenVINO fp32": ("openvino", "onnx"),
}
"""Packages of the rivals that are exact."""

LOGITS_ONLY = {"ORT fp32", "OpenVINO fp32"}
"""Rivals that return only the outputs of the readout."""

UNSUPPORTED = {("SpikingJelly", "L=2"), ("SpikingJelly", "residual"), ("sinabs", "residual")}
"""Rivals without the neurons of a network: several levels, or one threshold per channel."""


@pytest.fixture(scope="module", params=["resnet", "vgg", "L=2", "general T-GIM", "residual"])
def case(request: pytest.FixtureRequest) -> tuple[str, Network, np.ndarray]:
    """The name of a case, its network and windows."""
    name: str = request.param
    if name == "residual":  # thresholds per channel, exponents, shortcuts
        net = SPECIAL["residual"]()
        return name, net, windows_for(net, 2)
    nets = {
        "resnet": lambda: resnet18(16, 2, density=0.2),
        "vgg": lambda: vgg(16, 2, density=0.2),
        "L=2": lambda: vgg(16, 2, levels=2, density=0.2),
        "general T-GIM": lambda: vgg(16, 2, omega="general", density=0.2),
    }
    return name, nets[name](), event_windows((2, 16, 16), 2, batch=2)


@pytest.fixture(scope="module")
def runs(case: tuple[str, Network, np.ndarray]) -> dict[str, rivals.Rival]:
    """All rivals that are installed and support the network of `case`."""
    return rivals.build(*case[1:], threads=1)


@pytest.mark.parametrize("name", IN_FP32)
def test_rivals_fire_the_same_spikes_in_fp32(
    name: str, case: tuple[str, Network, np.ndarray], runs: dict[str, rivals.Rival]
) -> None:
    title, net, windows = case
    if (name, title) in UNSUPPORTED:
        assert name not in runs
        pytest.skip(f"{NOT_APPLICABLE}{name} has no neurons of this kind")
    if absent := [package for package in IN_FP32[name] if package in rivals.missing()]:
        pytest.skip(f"{', '.join(absent)} is not installed")
    assert_same(net, windows, runs[name](), logits_only=name in LOGITS_ONLY)


@pytest.mark.parametrize(
    "name",
    [
        "if",
        "lm-ht",
        "leak-above-one",
        "negative-v0",
        "pooled",
        "averaged",
        "geometry",
        "dense",
        "steps-differ",
        "pooled-image",
    ],
)
def test_torch_runs_every_network(name: str) -> None:
    pytest.importorskip("torch")
    net = SPECIAL[name]()
    windows = windows_for(net, 2)
    assert_same(net, windows, rivals.torch_eager(net, windows, 1)())


def assert_same(
    net: Network, windows: np.ndarray, found: Mapping[str, Any], *, logits_only: bool = False
) -> None:
    """The logits of `found`, and k of every layer of neurons, are those of the reference."""
    expected = reference.run(net, windows, trace=True)
    values = {
        layer: np.asarray(array).reshape(-1, len(windows), *array.shape[1:]).swapaxes(0, 1)
        for layer, array in found.items()
    }
    np.testing.assert_array_equal(values[net.readout.name].sum(1), expected.logits)
    if logits_only:
        return
    assert expected.traces and expected.traces.keys() == {layer.name for layer in net.neurons}
    for layer, trace in expected.traces.items():
        np.testing.assert_array_equal(values[layer], trace, err_msg=layer)


@pytest.mark.parametrize("form", decoders.FORMATS)
def test_decoders_read_the_events_that_were_written(form: str, tmp_path: Path) -> None:
    pytest.importorskip("faery")
    events = synthetic_recording(2000)
    path = decoders.write(form, events, SENSOR, tmp_path)
    faults = decoders.faults(path, form, events)
    assert (faults["lmht-deploy"], faults["faery"]) == (None, None)


def test_decoders_that_differ_or_fail_are_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("faery")
    events = synthetic_recording(100)
    path = decoders.write("DAT", events, SENSOR, tmp_path)
    ours = decoders.DECODERS["lmht-deploy"]

    def fails(path: Path, form: decoders.Format) -> list[np.ndarray]:
        raise OSError("no such codec")

    def differs(path: Path, form: decoders.Format) -> list[np.ndarray]:
        return [*ours.read(path, form), events[:1]]

    others = {"fails": replace(ours, read=fails), "differs": replace(ours, read=differs)}
    monkeypatch.setattr(decoders, "DECODERS", {"lmht-deploy": ours, **others})
    assert decoders.faults(path, "DAT", events) == {
        "lmht-deploy": None,
        "fails": "no such codec",
        "differs": "its column t differs from what was written",
    }


def test_the_report_names_the_machine_and_every_row(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    row = Row("10 % spikes", {"engine": 2.0, "torch": 5.0}, {"MSOP": 1.25})
    path = tmp_path / "report.json"
    run_tables({"small": Table("A small table", lambda: iter([row]))}, path, threads=1)
    report = json.loads(path.read_text())
    assert report["tables"]["small"]["rows"] == [
        {
            "label": "10 % spikes",
            "milliseconds": {"engine": 2.0, "torch": 5.0},
            "ratios": {"torch": 2.5},
            "figures": {"MSOP": 1.25},
        }
    ]
    assert report["settings"] == {"threads": 1}
    about = report["environment"]
    assert about.keys() == {
        "date",
        "cpu",
        "cores",
        "tier",
        "limits",
        "not_limited",
        "commit",
        "versions",
    }
    assert {"python", "lmht-deploy", "numpy"} <= about["versions"].keys()
    printed = capsys.readouterr().out
    assert about["cpu"] in printed and "torch    5.000 ms =  2.50x" in printed


def test_the_engine_benchmark_writes_json(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("benchmarks.timing.TURN", 0)
    path = tmp_path / "report.json"
    arguments = ["--seconds", "0", "--tables", "gather", "--json", str(path)]
    assert engine.main(arguments) == 0
    rows = json.loads(path.read_text())["tables"]["gather"]["rows"]
    assert [row["label"] for row in rows] and all(row["figures"] for row in rows)
    assert "GSOP/s" in capsys.readouterr().out


def test_a_child_process_keeps_the_engine_and_rivals_to_one_tier(tmp_path: Path) -> None:
    tier = isas()[-1]
    path = tmp_path / "report.json"
    arguments = ["--seconds", "0", "--tables", "gather", "--json", str(path), "--isa", tier]
    assert engine.main(arguments) == 0
    about = json.loads(path.read_text())["environment"]
    assert about["tier"] == tier
    assert {"LMHT_ISA": tier, **about["limits"]} == isa.limits(tier)
    assert about["not_limited"] == (["ONNX Runtime"] if about["limits"] else [])


def test_every_tier_has_a_report_of_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    commands: dict[str, Sequence[str]] = {}

    def record(name: str, command: Sequence[str]) -> int:
        commands[name] = command
        return int(name == isas()[-1])

    monkeypatch.setattr(isa, "run_kept_to", record)
    assert engine.main(["--isa", "all", "--json", str(tmp_path / "engine.json")]) == 1
    assert list(commands) == isas()
    for name, command in commands.items():
        assert engine.parse(command[2:]).isa == name
        assert engine.parse(command[2:]).json == tmp_path / f"engine-{name}.json"


def test_a_tier_that_the_cpu_lacks_is_refused() -> None:
    with pytest.raises(SystemExit, match="--isa mmx: not available on this CPU; choose from"):
        engine.main(["--isa", "mmx"])


def test_runs_are_timed_turn_by_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("benchmarks.timing.TURN", 0)
    order: list[str] = []
    runs = {name: lambda name=name: order.append(name) for name in "ab"}
    times = best_of_each(runs, 0)
    assert times.keys() == {"a", "b"} and "".join(order) == "ab" * (MIN_TURNS + 1)


def test_short_and_long_runs_have_the_same_disturbances(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every fourth short run is disturbed. A long run takes four times as long, no longer."""
    now = 0.0
    disturbed = itertools.cycle([False, False, False, True])

    def short() -> None:
        nonlocal now
        now += 0.05 if next(disturbed) else 0.01

    def long() -> None:
        for _ in range(4):
            short()

    clock = SimpleNamespace(perf_counter=lambda: now)
    monkeypatch.setattr("benchmarks.timing.time", clock)
    times = best_of_each({"short": short, "long": long}, 0, clock.perf_counter)
    assert times == pytest.approx({"short": 20, "long": 80})


def test_onnx_files_are_timed(tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime")
    from benchmarks import onnx

    arguments = ["--tables", "uniform", "--size", "16", "--seconds", "0.1"]
    assert onnx.main([*arguments, "--json", str(tmp_path / "o.json")]) == 0
    table = json.loads((tmp_path / "o.json").read_text())["tables"]["uniform"]
    (row,) = table["rows"]
    assert set(onnx.FORMS) <= set(row["milliseconds"])


# ------------------------------------------------------------------------ models of frameworks


def test_models_of_sinabs_are_imported_and_compared() -> None:
    """Without training: every spike is that of sinabs, and the row has all figures."""
    torch = pytest.importorskip("torch")
    pytest.importorskip("sinabs")
    from benchmarks.frameworks.__main__ import measured
    from benchmarks.frameworks.models import digits
    from benchmarks.frameworks.routes import ROUTES

    torch.manual_seed(0)
    models = {model.name: model for model in ROUTES["sinabs"]()}
    for name in ("dense LIF", "convolutional IAF, floor"):
        spikes, labels = digits(models[name].shape)
        row = measured(models[name], spikes[:20], labels[:20], seconds=0)
        assert row.figures["unexplained"] == 0 and row.figures["of"] > 10_000
        assert row.figures["differ"] <= 2 and row.figures["density"] > 0.01
        assert row.times.keys() == {"engine", "framework"} and row.figures["batch ratio"] > 0


def test_a_spike_that_rounding_cannot_cause_is_counted() -> None:
    """The comparison finds one wrong spike, and no others because of it."""
    from benchmarks.frameworks.agreement import compare

    net = lmht.from_nir(
        Path(__file__).parent / "importers/golden/snntorch.nir", steps=8, profile="snntorch",
        max_value=2,
    )  # fmt: skip
    with np.load(Path(__file__).parent / "importers/golden/snntorch.npz") as stored:
        windows, recorded = stored["windows"], [stored["spikes0"], stored["spikes1"]]
    recorded = [spikes.astype(float) for spikes in recorded]
    assert compare(net, windows, recorded).differ == 0
    recorded[1][0, 7, 0] = 1 - recorded[1][0, 7, 0]
    found = compare(net, windows, recorded)
    assert (found.differ, found.unexplained) == (1, 1) and found.distance > 1e-3
