"""Answers of `run`, `compare`, `validate` and `stream`: scores, predictions, margins, smoothing."""

from __future__ import annotations

import csv
import dataclasses
import json
import sys
from pathlib import Path

import numpy as np
import pytest

from lmht_deploy import load, reference
from lmht_deploy.analysis.scores import wilson
from lmht_deploy.answers import Judge, answer_windows
from lmht_deploy.events.arrays import make_events
from lmht_deploy.formats.lmht import save_network
from lmht_deploy.formats.windows import save_windows
from lmht_deploy.ir import Network
from lmht_deploy.result import Result
from tests.support.networks import SPECIAL, Builder, windows_for

from .test_cli import lmht, refused

NET = SPECIAL["lm-ht"]()
NAMES = tuple(f"kind {label}" for label in range(NET.classes))
WINDOWS = windows_for(NET, 12)
RESULT = reference.run(NET, WINDOWS)
PREDICTED = RESULT.predictions
LABELS = np.where(np.arange(12) % 4 == 3, (PREDICTED + 1) % NET.classes, PREDICTED)
"""Every fourth window is classified wrongly."""
MARGINS = answer_windows(RESULT).margins


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working folder, with a network, windows with and without labels, and a recording."""
    monkeypatch.chdir(tmp_path)
    save_network(named(NET), tmp_path / "net.lmht")
    save_windows(WINDOWS, tmp_path / "data.npz", LABELS)
    save_windows(WINDOWS, tmp_path / "bare.npz", None)
    rng = np.random.default_rng(0)
    t = np.sort(rng.integers(0, 95_000, 900))
    x, y, p = rng.integers(8, size=900), rng.integers(8, size=900), rng.integers(2, size=900)
    np.save(tmp_path / "recording.npy", make_events(t, x, y, p))
    return tmp_path


def named(net: Network, **metadata: str) -> Network:
    """The network with names of its classes, and further metadata."""
    names = {"classes": json.dumps(NAMES[: net.classes])}
    return dataclasses.replace(net, metadata=names | metadata)


def run_json(*arguments: object) -> dict:
    assert lmht("run", "net.lmht", "--json", "run.json", *arguments) == 0
    found: dict = json.loads(Path("run.json").read_text())
    return found


def rows(path: str) -> list[dict[str, str]]:
    with Path(path).open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


# ------------------------------------------------------------------------------------- scores


def test_run_reports_scores(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    content = run_json("--data", "data.npz")
    confusion = np.zeros((NET.classes, NET.classes), int)
    np.add.at(confusion, (LABELS, PREDICTED), 1)
    windows = np.bincount(LABELS, minlength=NET.classes)
    assert content["accuracy"] == 0.75 and content["interval"] == list(wilson(9, 12))
    assert content["confusion"] == confusion.tolist()
    assert content["per_class"] == [
        confusion[k, k] / windows[k] if windows[k] else None for k in range(NET.classes)
    ]
    assert content["classes"] == list(NAMES) and content["labels"] == LABELS.tolist()
    assert content["predictions"] == PREDICTED.tolist()
    assert content["margins"] == MARGINS.tolist()
    said = capsys.readouterr().out
    assert "accuracy 75.00% (95% interval 46.77% to 91.11%)\n" in said
    assert "confusion matrix" in said and "rows: classes; columns: answers" in said
    assert all(f" {label} {name} " in said for label, name in enumerate(NAMES))


def test_run_without_labels_prints_answers(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    content = run_json("--data", "bare.npz")
    said = capsys.readouterr().out
    for window, label in enumerate(PREDICTED):
        line = f"window {window:4d}  class {NAMES[label]:12s}  margin {MARGINS[window]:8.3f}\n"
        assert line in said
    assert "confusion" not in said and "accuracy" not in said
    counts = np.bincount(PREDICTED)
    assert f"{NAMES[counts.argmax()]} ({counts.max()})" in said.split("answers: ")[1]
    assert content["accuracy"] is None and content["confusion"] is None
    save_network(NET, folder / "net.lmht")
    assert run_json("--data", "bare.npz")["classes"] is None
    assert f"answers: class {counts.argmax()} ({counts.max()})" in capsys.readouterr().out


def test_a_recording_gets_answers(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    content = run_json("--data", "recording.npy", "--sensor", "8x8")
    (label,), (margin,) = content["predictions"], content["margins"]
    said = capsys.readouterr().out
    assert f"class {NAMES[label]:12s}  margin {margin:8.3f}\n" in said


def test_many_classes_list_the_most_frequent_confusions(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    b = Builder(0)
    net = b.finish(b.neurons("a", b.conv("input", 4, kernel=3)), classes=21)
    windows = windows_for(net, 8)
    predicted = reference.run(net, windows).predictions
    save_network(net, folder / "net.lmht")
    save_windows(windows, folder / "data.npz", np.full(8, (predicted[0] + 1) % 21))
    content = run_json("--data", "data.npz")
    said = capsys.readouterr().out
    assert "confusion matrix" not in said and len(content["confusion"]) == 21
    assert "most frequent confusions" in said
    most, count = (int(f(np.bincount(predicted))) for f in (np.argmax, np.max))
    line = said.split("windows  of")[1].splitlines()[2].split()
    assert line == [str((predicted[0] + 1) % 21), str(most), str(count), "8"]


def test_compare_reports_scores_of_the_reference(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert lmht(
        *("compare", "net.lmht", "--data", "data.npz", "--backends", "event"),
        *("--json", "c.json", "--predictions", "p.csv"),
    ) == 0  # fmt: skip
    content = json.loads(Path("c.json").read_text())
    (network,) = content["networks"]
    assert network["accuracy"] == 0.75
    assert [row["interval"] for row in network["backends"]] == [list(wilson(9, 12))] * 2
    assert [int(row["predicted"]) for row in rows("p.csv")] == PREDICTED.tolist()
    assert "accuracy 75.00% (95% interval" in capsys.readouterr().out


def test_layers_without_a_spike_are_named(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    layers = [
        dataclasses.replace(layer, bias=layer.bias - 10**7) if layer.name == "c" else layer
        for layer in NET.layers
    ]
    save_network(dataclasses.replace(NET, layers=layers), folder / "silent.lmht")
    for arguments in (["run"], ["compare", "--backends", "event"]):
        assert lmht(arguments[0], "silent.lmht", "--data", "data.npz", *arguments[1:]) == 0
        said = capsys.readouterr().err
        assert said == "warning: no neuron fires in any of the 12 windows: layer 'c'\n"
    assert lmht("run", "net.lmht", "--data", "data.npz") == 0
    assert capsys.readouterr().err == ""


# ------------------------------------------------------------------------------------- predictions


def test_predictions_of_run(folder: Path) -> None:
    run_json("--data", "data.npz", "--predictions", "p.csv", "--latency", 0)
    found = rows("p.csv")
    names = ["source", "window", "time", "label", "class", "predicted", "margin", "steps"]
    assert list(found[0]) == [*names, *(f"logit_{k}" for k in range(NET.classes))]
    for window, row in enumerate(found):
        assert row["source"] == "data.npz" and row["window"] == str(window) and row["time"] == ""
        assert int(row["label"]) == LABELS[window] and int(row["predicted"]) == PREDICTED[window]
        assert row["class"] == NAMES[PREDICTED[window]] and float(row["margin"]) == MARGINS[window]
        logits = [int(row[f"logit_{k}"]) for k in range(NET.classes)]
        assert logits == RESULT.logits[window].tolist()


def test_predictions_as_parquet(folder: Path) -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    run_json("--data", "data.npz", "--predictions", "p.csv")
    run_json("--data", "data.npz", "--predictions", "p.parquet")
    found = parquet.read_table("p.parquet")
    assert [str(field.type) for field in found.schema] == [
        *("string", "int64", "double", "int64", "string", "int64", "double", "int64"),
        *["int64"] * NET.classes,
    ]
    as_text = [
        {name: "" if value is None else str(value) for name, value in row.items()}
        for row in found.to_pylist()
    ]
    assert as_text == rows("p.csv")


def test_parquet_needs_a_package(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    message = refused(capsys, "run", "net.lmht", "--data", "data.npz", "--predictions", "p.parquet")
    assert "'pyarrow' is not installed; run: pip install pyarrow, or write a .csv file" in message


def test_predictions_of_a_stream(folder: Path) -> None:
    stream = ["stream", "net.lmht", "recording.npy", "--sensor", "8x8", "--length", "20ms"]
    assert lmht(*stream, "--json", "s.jsonl", "--predictions", "p.csv") == 0
    lines = [json.loads(line) for line in Path("s.jsonl").read_text().splitlines()]
    assert [line["incomplete"] for line in lines] == [False] * 4 + [True]
    assert [line["start"] for line in lines] == [0, 20_000, 40_000, 60_000, 80_000]
    for line, row in zip(lines, rows("p.csv"), strict=True):
        assert row["source"] == "recording.npy" and row["label"] == ""
        assert float(row["time"]) == line["start"] * 1e-6
        assert (row["class"], row["predicted"]) == (line["class"], str(line["label"]))
        assert [int(row[f"logit_{k}"]) for k in range(NET.classes)] == line["logits"]


# ------------------------------------------------------------------------------------- margins


def test_unknown_below_a_margin(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    least = sorted(MARGINS)[5]
    content = run_json("--data", "data.npz", "--min-margin", repr(float(least)))
    kept = least <= MARGINS
    assert kept.sum() == 7
    assert content["predictions"] == np.where(kept, PREDICTED, -1).tolist()
    right = int((kept & (PREDICTED == LABELS)).sum())
    assert content["accuracy"] == right / 12
    assert content["unknown"] == np.bincount(LABELS[~kept], minlength=NET.classes).tolist()
    said = capsys.readouterr().out
    assert f"5 of 12 windows are unknown, accuracy of the others {right / 7:.2%}\n" in said
    assert lmht("run", "net.lmht", "--data", "bare.npz", "--min-margin", least) == 0
    said = capsys.readouterr().out
    assert said.count("class unknown ") == 5 and "unknown (5)" in said


def test_a_margin_is_calibrated_stored_and_used(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    content = run_json("--data", "data.npz", "--calibrate", 80)
    margin = content["calibration"]["min_margin"]
    right = np.sort(MARGINS[PREDICTED == LABELS])
    assert 0 <= right[1] - margin < right[1] * 1e-3  # 8 of 9 are kept
    assert content["calibration"]["right_kept"] == 8 and content["calibration"]["wrong"] == 3
    said = capsys.readouterr().out
    assert f"margin {margin:g} keeps 88.89% of the right answers (8 of 9), and " in said

    store = f"lmht convert net.lmht --out FILE --min-margin {margin:g}"
    assert store in said
    assert lmht(*store.replace("FILE", "stored.lmht").split()[1:]) == 0
    assert load("stored.lmht").metadata["min_margin"] == repr(margin)
    assert lmht("export", "stored.lmht", "--out", "stored.onnx") == 0
    expected = np.where(margin <= MARGINS, PREDICTED, -1).tolist()
    for artifact in ("stored.lmht", "stored.onnx"):
        run = ("run", artifact, "--data", "data.npz", "--json", "run.json")
        assert lmht(*run) == 0
        content = json.loads(Path("run.json").read_text())
        assert content["predictions"] == expected and content["classes"] == list(NAMES)
        assert lmht(*run, "--min-margin", 0) == 0
        content = json.loads(Path("run.json").read_text())
        assert content["predictions"] == PREDICTED.tolist()


def test_calibrating_on_training_data_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    """The margins of training data are too large."""
    command = ["run", "zoo:digits", "--data", "digits", "--limit", "20", "--calibrate", "90"]
    for split, expected in (("train", True), ("test", False)):
        assert lmht(*command, "--split", split) == 0
        assert ("the training split of digits" in capsys.readouterr().err) == expected


def test_mistakes_about_margins(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = ("run", "net.lmht", "--data", "data.npz")
    assert "do not give --min-margin with it" in refused(
        capsys, *run, "--calibrate", 95, "--min-margin", 1
    )
    assert "'--min-margin'" in refused(capsys, *run, "--min-margin", "nan")
    assert "there are no labels" in refused(
        capsys, "run", "net.lmht", "--data", "bare.npz", "--calibrate", 95
    )
    assert "--smooth averages the windows of a recording; data.npz does not say" in refused(
        capsys, *run, "--smooth", 2
    )
    assert "must be a number" in refused(
        capsys, "convert", "net.lmht", "--out", "x.lmht", "--min-margin", "inf"
    )
    save_network(named(NET, min_margin="much"), folder / "net.lmht")
    message = "net.lmht: its smallest margin must be a number >= 0, not 'much'"
    assert message in refused(capsys, *run)
    assert message in refused(capsys, "stream", "net.lmht", "-", "--length", "20ms")


def test_smoothing_of_a_stream(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    stream = ["stream", "net.lmht", "recording.npy", "--sensor", "8x8", "--length", "20ms"]
    found = {}
    for backend in ("event", "reference"):
        assert lmht(*stream, "--smooth", 3, "--backend", backend, "--json", "-") == 0
        lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
        found[backend] = [(line["label"], line["margin"], line["logits"]) for line in lines]
    assert found["event"] == found["reference"]
    logits = np.array([line[2] for line in found["event"]])
    result = Result("reference", logits, NET.readout.scale, {}, {})
    expected = answer_windows(result, Judge(smooth=3), np.zeros(len(logits), int))
    assert [line[0] for line in found["event"]] == expected.labels.tolist()
    assert [line[1] for line in found["event"]] == expected.margins.tolist()


def test_run_smooths_within_a_recording(folder: Path) -> None:
    cut = ("--data", "recording.npy", "--sensor", "8x8", "--length", "20ms")
    plain, smooth = run_json(*cut), run_json(*cut, "--smooth", 3, "--predictions", "p.csv")
    assert smooth["logits"] == plain["logits"] and len(plain["logits"]) >= 4
    result = Result("event", np.array(plain["logits"]), plain["scale"], {}, {})
    expected = answer_windows(result, Judge(smooth=3), np.zeros(len(plain["logits"]), int))
    assert smooth["predictions"] == expected.labels.tolist() != plain["predictions"]
    assert smooth["margins"] == expected.margins.tolist()
    assert [float(row["time"]) for row in rows("p.csv")][:3] == [0, 0.02, 0.04]
    assert {row["source"] for row in rows("p.csv")} == {"recording.npy"}


def test_lines_of_a_stream_say_unknown_and_incomplete(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    stream = ["stream", "net.lmht", "recording.npy", "--sensor", "8x8", "--length", "20ms"]
    assert lmht(*stream, "--min-margin", 1e9) == 0
    said = capsys.readouterr()
    lines = said.out.splitlines()
    assert len(lines) == 5 and all("class unknown " in line for line in lines)
    assert [line.endswith("  incomplete window") for line in lines] == [False] * 4 + [True]
    assert "answers: unknown (5); the last window is incomplete" in said.err


# ------------------------------------------------------------------------------------- times


def test_times_of_single_windows(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = run_json("--data", "data.npz", "--latency", 5)["latency"]
    assert found["windows"] == 5
    assert 0 < found["p50_ms"] <= found["p90_ms"] <= found["p99_ms"]
    line = ", ".join(f"p{p} {found[f'p{p}_ms']:.3f} ms" for p in (50, 90, 99))
    assert f"one window per call: {line} (5 windows)\n" in capsys.readouterr().out
    assert run_json("--data", "data.npz", "--latency", 0)["latency"] == {"windows": 0}
    assert "one window per call" not in capsys.readouterr().out
