"""Your own recordings on the command line: one set of options, and a window rule that travels."""

from __future__ import annotations

import json
from pathlib import Path

import h5py
import numpy as np
import pytest

from lmht_deploy.events.arrays import make_events
from lmht_deploy.events.windows import WindowRule
from lmht_deploy.formats.lmht import load_network
from lmht_deploy.formats.windows import save_windows

from .test_cli import lmht, refused

pytest.importorskip("torch")

RULE = WindowRule(4, "time", 400)
SMALL = (
    "data.size=8",
    "network.architecture=residual-small",
    "augmentation.rotate=0",
    "augmentation.shift=1",
    "training.epochs=2",
    "training.batch_size=8",
    "--threads",
    "1",
)
SENSOR = ("--sensor", "16x16")


def write(path: Path, row: int, seed: int) -> None:
    """4050 us of events around one row of a 16 x 16 sensor: ten windows and a rest."""
    rng = np.random.default_rng(seed)
    t = np.sort(np.r_[0, 4050, rng.integers(0, 4050, 598)])
    y = np.clip(row + rng.integers(-1, 2, 600), 0, 15)
    path.parent.mkdir(parents=True, exist_ok=True)
    np.save(path, make_events(t, rng.integers(16, size=600), y, rng.integers(2, size=600)))


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Recordings of two classes, and a network that was trained on windows of 400 us."""
    home = tmp_path_factory.mktemp("own")
    for name, row in (("high, left", 3), ("low", 12)):
        for index in range(5):
            write(home / "data" / name / f"{index}.npy", row, index + 10 * row)
    arguments = ("--data", home / "data", *SENSOR, "--length", "400us", "--test-share", "0.2")
    assert lmht("train", "recordings", *SMALL, *arguments, "--out", home / "run") == 0
    assert lmht("convert", home / "run", "--out", home / "net.lmht") == 0
    return home


def test_the_rule_is_kept_in_the_run_and_the_network(home: Path) -> None:
    recipe = (home / "run" / "recipe.toml").read_text()
    assert 'by = "time"' in recipe and "length = 400" in recipe
    net = load_network(home / "net.lmht")
    assert WindowRule.from_text(net.metadata["window"]) == RULE
    assert net.class_names == ("high, left", "low") and net.metadata["data"] == str(home / "data")


@pytest.mark.parametrize("suffix", ["lmht", "onnx"])
def test_the_rule_is_the_default_of_run(
    home: Path, suffix: str, capsys: pytest.CaptureFixture[str]
) -> None:
    artifact = home / f"net.{suffix}"
    if suffix != "lmht":
        pytest.importorskip("onnxruntime")
        assert lmht("export", home / "net.lmht", "--out", artifact) == 0
    capsys.readouterr()
    arguments = ("run", artifact, "--data", home / "data", *SENSOR, "--json", home / "run.json")
    assert lmht(*arguments) == 0
    said = capsys.readouterr()
    content = json.loads((home / "run.json").read_text())
    assert content["windows"] == 20 and content["accuracy"] == 1.0  # one recording of each class
    assert content["data"]["rule"] == {"steps": 4, "by": "time", "length": 400, "hop": 4}
    assert "20 windows from 2 recordings: windows of 400 us (4 bins)" in said.err
    assert "16 x 16 pixels are down-sampled to 8 x 8" in said.err
    assert "2 incomplete windows left out" in said.err and "warning" not in said.err
    assert lmht(*arguments, "--split", "all", "--hop", "1") == 0
    # 40 bins in 4050 us of 100 us: windows start at the bins 0..36
    assert json.loads((home / "run.json").read_text())["windows"] == 10 * 37
    capsys.readouterr()
    assert lmht(*arguments, "--length", "800us", "--incomplete") == 0
    said = capsys.readouterr()
    assert json.loads((home / "run.json").read_text())["windows"] == 2 * 6
    assert (
        "the network was trained on windows of 400 us (4 bins), and gets windows of 800 us"
        in said.err
    )


def test_one_recording_gets_an_answer_per_window(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    recording = home / "data" / "low" / "1.npy"
    assert lmht("run", home / "net.lmht", "--data", recording, *SENSOR) == 0
    said = capsys.readouterr().out
    assert said.count("class low") == 10
    assert lmht("compare", home / "net.lmht", "--data", recording, *SENSOR) == 0
    assert "reference" in capsys.readouterr().out


def test_a_track_is_chosen(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Recordings of two tracks, of which one shows the other class, train the same network."""
    folder = home / "tracks"
    for path in sorted((home / "data").rglob("*.npy")):
        own = np.load(path)
        other = np.load(
            path.parent.parent / ("low" if "high" in str(path) else "high, left") / path.name
        )
        copy = folder / path.relative_to(home / "data").with_suffix(".h5")
        copy.parent.mkdir(parents=True, exist_ok=True)
        with h5py.File(copy, "w") as file:
            for track, events in (("left", own), ("right", other)):
                for name in "txyp":
                    file[f"{track}/{name}"] = events[name]
    arguments = ("--data", folder, *SENSOR, "--length", "400us", "--test-share", "0.2")
    train = ("train", "recordings", *SMALL, *arguments, "--out", home / "tracked")
    assert "choose one (track=, or --track)" in refused(capsys, *train)
    assert lmht(*train, "--track", "left") == 0
    weights = [
        (home / run / "model.safetensors").read_bytes()[-5000:] for run in ("run", "tracked")
    ]
    assert weights[0] == weights[1]
    assert lmht("validate", home / "tracked") == 0  # the run knows its track
    run = ("run", home / "net.lmht", "--data", folder, *SENSOR, "--json", home / "run.json")
    for track, accuracy in (("left", 1.0), ("right", 0.0)):
        assert lmht(*run, "--track", track) == 0
        content = json.loads((home / "run.json").read_text())
        assert content["accuracy"] == accuracy and content["data"]["track"] == track
    capsys.readouterr()
    digits = ("run", home / "net.lmht", "--data", "digits", "--track", "1")
    assert "track chooses among" in refused(capsys, *digits)


def test_the_rule_is_the_default_of_streams(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    stream = ("stream", home / "net.lmht", home / "data" / "low" / "1.npy", *SENSOR, "--json", "-")
    assert lmht(*stream) == 0
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [line["time"] - lines[0]["time"] for line in lines] == [*range(0, 4400, 400)]
    assert lmht(*stream, "--length", "1ms") == 0
    said = capsys.readouterr()
    assert len(said.out.splitlines()) == 5 and "was trained on windows of 400 us" in said.err


def test_validate_knows_the_data_of_the_run(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert lmht("validate", home / "run", "--json", home / "validate.json") == 0
    said = capsys.readouterr()
    assert "20 windows from 2 recordings: windows of 400 us" in said.err
    assert [row["windows"] for row in json.loads((home / "validate.json").read_text())["rows"]] == [
        20
    ] * 6
    other = home / "other"
    write(other / "low" / "0.npy", 12, 99)
    arguments = ("validate", home / "run", "--data", other, "--split", "all")
    assert lmht(*arguments, *SENSOR, "--json", home / "validate.json") == 0
    answers = json.loads((home / "validate.json").read_text())["answers"]
    assert answers["accuracy"] == 1.0  # label 0 of the folder is class 1 of the network


def test_convert_measures_the_network_on_data(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    convert = ("convert", home / "run", "--out", home / "again.lmht", "--json", home / "c.json")
    assert lmht(*convert, "--data", home / "data", *SENSOR) == 0
    assert "accuracy 100.00% of 20 windows of" in capsys.readouterr().out
    assert json.loads((home / "c.json").read_text())["accuracy"] == 1.0
    assert "there is no such file" in refused(capsys, *convert, "--data", home / "absent.npz")


def test_a_run_on_windows_made_in_python_claims_no_data_set(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from lmht_deploy.data import Windows
    from lmht_deploy.training import Data, load_recipe, train

    rng = np.random.default_rng(0)
    windows, labels = rng.integers(0, 3, (16, 4, 2, 8, 8)).astype(np.uint8), np.arange(16) % 2
    made = Windows(windows, labels, ("a", "b"))
    recipe = load_recipe("digits", ["training.epochs=1", "training.batch_size=8"])
    assert train(recipe, Data(made, made), tmp_path / "run").data == {}
    assert lmht("convert", tmp_path / "run", "--out", tmp_path / "net.lmht") == 0
    net = load_network(tmp_path / "net.lmht")
    assert net.metadata["data"] == "windows that were made in Python"
    assert "window" not in net.metadata and net.class_names == ("a", "b")
    capsys.readouterr()
    assert "was trained on windows that were made in Python; give --data" in refused(
        capsys, "validate", tmp_path / "run"
    )
    save_windows(windows, tmp_path / "made.npz", labels, made.classes)
    assert lmht("validate", tmp_path / "run", "--data", tmp_path / "made.npz") == 0


def test_windows_of_a_file_are_trained_on(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    labels = np.arange(40) % 2
    windows = rng.integers(0, 2, (40, 4, 2, 8, 8)).astype(np.uint8)
    windows[labels == 1, :, :, 4:] += 3
    save_windows(windows, tmp_path / "made.npz", labels, ("a", "b"))
    train = ("train", "recordings", *SMALL, "data.by=recording", "data.length=0")
    assert lmht(*train, "--data", tmp_path / "made.npz", "--out", tmp_path / "run") == 0
    metrics = (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()
    assert json.loads(metrics[-1])["test_accuracy"] == 1.0
    assert lmht("convert", tmp_path / "run", "--out", tmp_path / "net.lmht") == 0
    net = load_network(tmp_path / "net.lmht")
    assert net.class_names == ("a", "b") and "window" not in net.metadata


def test_layers_that_never_fire_are_named(
    home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Windows of few events and neurons that start at 0: the layers stay silent."""
    labels = np.arange(16) % 2
    windows = np.zeros((16, 4, 2, 8, 8), np.uint8)
    save_windows(windows, tmp_path / "empty.npz", labels, ("a", "b"))
    train = ("train", "recordings", *SMALL, "data.by=recording", "data.length=0", "network.v0=0")
    rate = ("training.epochs=1", "training.learning_rate=1e-9")
    arguments = ("--data", tmp_path / "empty.npz", "--out", tmp_path / "run", "--test-share", "0.5")
    assert lmht(*train, *rate, *arguments) == 0
    assert "warning: no neuron of " in capsys.readouterr().err


def test_mistakes_are_found_before_anything_is_read(
    home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_torch() -> None:
        raise AssertionError("PyTorch would be imported")

    monkeypatch.setattr("lmht_deploy.cli.train.need_torch", no_torch)
    train = ("train", "recordings", "--out", tmp_path / "new")
    absent = tmp_path / "absent"
    for arguments, message in (
        (["--data", absent], f"{absent}: there is no such file or folder"),
        (["--data", "digts"], "unknown data set 'digts'; did you mean 'digits'?"),
        (["--root", absent], f"{absent}: there is no such folder"),
        ([], "give a root with one folder of recordings for each class"),
        (["--data", home / "data", "--root", home], "give the path alone"),
        (["--data", home / "data", "--length", "401us"], "multiple of 4 microseconds, not 401"),
        (["--data", home / "data", "--hop", "9"], "must be 1 to 4 bins, not 9"),
        (["--data", home / "data", "--by", "events"], "needs the length of a window"),
        (["--data", "cifar10", "data.by=time"], "data.by is for recordings, not for the images"),
    ):
        assert message in refused(capsys, *train, *arguments)
    assert not (tmp_path / "new").exists()


def test_a_damaged_rule_is_named(
    home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    import dataclasses

    from lmht_deploy.formats.lmht import save_network

    net = load_network(home / "net.lmht")
    for text, message in (
        ("{}", "a window rule is a JSON object"),
        (WindowRule(5).to_text(), "its window rule has 5 bins, its input 4 steps"),
    ):
        changed = dataclasses.replace(net, metadata={**net.metadata, "window": text})
        save_network(changed, tmp_path / "net.lmht")
        for verb in (["run", "--data"], ["stream"]):
            arguments = [verb[0], tmp_path / "net.lmht", *verb[1:], home / "data" / "low" / "1.npy"]
            said = refused(capsys, *arguments, *SENSOR)
            assert message in said and "net.lmht" in said


def test_the_default_cache_is_used_and_can_be_left_out(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LMHT_CACHE", str(tmp_path / "cache"))
    run = ("run", home / "net.lmht", "--data", home / "data", *SENSOR)
    assert lmht(*run, "--no-cache") == 0 and not (tmp_path / "cache").exists()
    assert lmht(*run) == 0 and len(list((tmp_path / "cache").iterdir())) == 1
    assert lmht(*run, "--cache", tmp_path / "other") == 0
    assert len(list((tmp_path / "other").iterdir())) == 1


@pytest.mark.parametrize(
    "arguments",
    [
        ("events", "info", "{0}"),
        ("events", "convert", "{0}", "x.raw"),
        ("stream", "zoo:digits", "{0}", "--length", "100ms"),
        ("run", "zoo:digits", "--data", "{0}"),
        ("compare", "zoo:digits", "--data", "{0}"),
        ("evaluate", "zoo:digits", "--data", "{0}", "--out", "ev", "--workers", "1"),
        ("explain", "zoo:digits", "{0}"),
    ],
    ids=lambda arguments: " ".join(arguments[:2]),
)
def test_a_sensor_that_contradicts_the_recording_is_refused(
    arguments: tuple[str, ...],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    given = [word.format("zoo:cifar10-dvs-emulated") for word in arguments]
    said = refused(capsys, *given, "--sensor", "64x64")
    assert "its sensor has 128 x 128 pixels; the given size 64 x 64 is smaller" in said
