"""Recipe -> run -> network, on the command line, and the mistakes on the way."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file

from lmht_deploy._locks import folder_lock
from lmht_deploy.cli._own_files import is_own, patterns_of
from lmht_deploy.events.arrays import make_events
from lmht_deploy.formats.lmht import load_network
from tests.support.images import write_parquet

from .test_cli import lmht, refused

SHORT = ("training.epochs=2", "training.batch_size=128", "--threads", "1")


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("train") / "run"
    assert (
        lmht("train", "digits", *SHORT, "--out", folder, "--json", folder.parent / "train.json")
        == 0
    )
    return folder


def test_train_and_convert(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert all(is_own(path, run, patterns_of("train", "--out")) for path in run.iterdir())
    content = json.loads((run.parent / "train.json").read_text())
    assert len(content["metrics"]) == 2 and content["recipe"]["training"]["epochs"] == 2
    assert content["metrics"][1]["loss"] < content["metrics"][0]["loss"]
    assert content["accuracy"] > 0.3

    assert (
        lmht("convert", run, "--out", tmp_path / "net.lmht", "--json", tmp_path / "convert.json")
        == 0
    )
    net = load_network(tmp_path / "net.lmht")
    assert net.integer and net.metadata["data"] == "digits"
    assert json.loads((tmp_path / "convert.json").read_text())["accumulator_bits"] <= 32
    assert (
        lmht("convert", run, "--out", tmp_path / "single.lmht", "--single-threshold", "block-start")
        == 0
    )
    assert all(
        layer.levels == 1 and layer.substeps == 2
        for layer in load_network(tmp_path / "single.lmht").neurons
    )
    assert lmht("convert", run, "--out", tmp_path / "float.lmht", "--float") == 0
    assert not load_network(tmp_path / "float.lmht").integer
    assert lmht("convert", tmp_path / "float.lmht", "--out", tmp_path / "again.lmht") == 0
    assert load_network(tmp_path / "again.lmht") == net
    capsys.readouterr()
    assert lmht("inspect", tmp_path / "float.lmht") == 0
    assert "float network" in capsys.readouterr().out


def test_a_killed_run_resumes_to_the_same_weights(run: Path, tmp_path: Path) -> None:
    arguments = [
        sys.executable,
        "-c",
        "from lmht_deploy.cli import main; main()",
        "train",
        "digits",
        *SHORT,
        "--out",
        str(tmp_path / "run"),
    ]
    with subprocess.Popen(
        arguments, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    ) as process:
        while not (tmp_path / "run" / "model.safetensors").exists() and process.poll() is None:
            time.sleep(0.01)
        os.kill(process.pid, signal.SIGKILL)
    subprocess.run([*arguments, "--resume"], check=True, capture_output=True)
    expected, found = (
        load_file(run / "model.safetensors"),
        load_file(tmp_path / "run" / "model.safetensors"),
    )
    assert expected.keys() == found.keys()
    assert all(np.array_equal(expected[name], found[name]) for name in expected)


def test_two_processes_learn_what_one_does(run: Path, tmp_path: Path) -> None:
    """Under torchrun, over gloo: the same command gives the same curve, batch norm and all."""
    torchrun = [
        sys.executable,
        "-m",
        "torch.distributed.run",
        "--standalone",
        "--nproc-per-node",
        "2",
        "--no-python",
    ]
    command = [
        sys.executable,
        "-c",
        "from lmht_deploy.cli import main; main()",
        "train",
        "digits",
        *SHORT,
        "--device",
        "cpu",
        "--out",
        str(tmp_path / "run"),
    ]
    done = subprocess.run([*torchrun, *command], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert (
        done.stdout.count("test accuracy") == 1 and done.stderr.count("epoch 1/2") == 1
    )  # one of them speaks
    expected, found = (
        [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
        for folder in (run, tmp_path / "run")
    )
    assert len(found) == 2
    for one, two in zip(expected, found, strict=True):
        assert two["step"] == one["step"] and two["learning_rate"] == one["learning_rate"]
        assert two["loss"] == pytest.approx(one["loss"], rel=5e-3) and two[
            "accuracy"
        ] == pytest.approx(one["accuracy"], abs=0.01)
        assert two["test_loss"] == pytest.approx(one["test_loss"], rel=0.03)


def test_validate(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The columns of Table 2; what the paper reports stands below, and a difference is an error."""
    recipe = run / "recipe.toml"
    written = recipe.read_text()
    recipe.write_text(
        written.replace('table = ""', 'table = "2"')
        .replace("accuracy = 0.0", "accuracy = 64.44")
        .replace("sops = 0.0", "sops = 0.52")
    )
    arguments = ("validate", run, "--limit", 30, "--json", tmp_path / "table2.json")
    arguments += ("--predictions", tmp_path / "answers.csv")
    assert lmht(*arguments) == 0
    said = capsys.readouterr().out
    assert (
        all(column in said for column in ("Acc.(%)", "SOPs(G)", "E.(mJ)"))
        and "paper, Table 2" in said
        and "64.44" in said
    )
    assert "equal in every window" in said
    content = json.loads((tmp_path / "table2.json").read_text())
    assert (
        content["recipe"]["paper"]["accuracy"] == 64.44
        and content["exact"]
        and [row["form"] for row in content["rows"]] == ["before", "block-start", "uniform"] * 2
    )
    assert [row["windows"] for row in content["rows"]] == [30] * 6
    answers, integer = content["answers"], content["rows"][3]
    assert integer["integer"] and answers["accuracy"] == integer["accuracy"]
    assert answers["interval"] == integer["interval"] and "confusion matrix" in said
    assert sum(map(sum, answers["confusion"])) == 30
    assert (tmp_path / "answers.csv").read_text().count("\n") == 31

    from lmht_deploy.analysis import validate
    from lmht_deploy.reparameterize import reparameterize

    monkeypatch.setattr(
        validate, "reparameterize", lambda net, form: reparameterize(net, "uniform")
    )
    monkeypatch.setattr(
        validate,
        "difference",
        lambda found, expected: "spikes of layer 'a' differ" if found is not expected else None,
    )
    assert lmht(*arguments) == 1
    assert (
        "the block-start form differs from the network before: spikes of layer 'a' differ"
        in capsys.readouterr().err
    )
    recipe.write_text(written)
    assert "there is no such run folder" in refused(capsys, "validate", tmp_path / "none")
    assert "device 'fly' is not available" in refused(capsys, "validate", run, "--device", "fly")
    assert "split must be 'train', 'validation', 'test' or 'all', not 'some'" in refused(
        capsys, "validate", run, "--split", "some"
    )


def test_reports(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """One line per epoch on standard error, the figure of the paper, and TensorBoard."""
    capsys.readouterr()
    (tmp_path / "paper.toml").write_text(
        'extends = "digits"\n[paper]\ntable = "3"\naccuracy = 96.25\n'
    )
    assert (
        lmht(
            "train",
            tmp_path / "paper.toml",
            *SHORT,
            "training.epochs=1",
            "--out",
            tmp_path / "run",
            "--tensorboard",
        )
        == 0
    )
    said = capsys.readouterr()
    assert "(the paper, Table 3: 96.25%)" in said.out
    assert (
        len([line for line in said.err.splitlines() if not line.startswith("note: ")]) == 1
        and "epoch 1/1, loss" in said.err
        and "windows/s, 0.0 min left" in said.err
        and ", spikes " in said.err
    )
    event_accumulator = pytest.importorskip(
        "tensorboard.backend.event_processing.event_accumulator"
    )
    events = event_accumulator.EventAccumulator(str(tmp_path / "run"))
    events.Reload()
    assert {
        "loss/training",
        "loss/test",
        "accuracy/training",
        "accuracy/test",
        "learning_rate",
    } < set(events.Tags()["scalars"])
    metrics = json.loads((tmp_path / "run" / "metrics.jsonl").read_text())
    assert events.Scalars("accuracy/test")[0].value == pytest.approx(metrics["test_accuracy"])
    monkeypatch.setattr(
        "importlib.util.find_spec", lambda name: None if name == "tensorboard" else True
    )
    assert "pip install 'lmht-deploy[tensorboard]'" in refused(
        capsys, "train", "digits", "--tensorboard", "--out", tmp_path / "new"
    )


def test_hybrid(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A quantized ANN, then LM-HT neurons that start from it: two commands."""
    common = (*SHORT, "data.steps=1", "network.v0=0.5")
    assert (
        lmht(
            "train",
            "digits",
            *common,
            "network.neuron=qcfs",
            "network.steps=1",
            "network.levels=4",
            "--out",
            tmp_path / "ann",
        )
        == 0
    )
    hybrid = (
        "train",
        "digits",
        *common,
        "network.steps=2",
        "network.levels=2",
        "training.epochs=1",
        "training.learning_rate=1e-3",
    )
    assert lmht(*hybrid, "--start", tmp_path / "ann", "--out", tmp_path / "hybrid") == 0
    assert lmht(*hybrid, "--out", tmp_path / "alone") == 0
    ann, started, alone = (
        json.loads((tmp_path / name / "metrics.jsonl").read_text().splitlines()[-1])
        for name in ("ann", "hybrid", "alone")
    )
    assert (
        started["test_accuracy"] >= ann["test_accuracy"] - 0.05
        and started["loss"] < alone["loss"] / 2
    )
    capsys.readouterr()
    assert "body.convolution0.neuron: spiking neurons start from a QCFS activation" in refused(
        capsys, *hybrid, "--start", tmp_path / "hybrid", "--out", tmp_path / "new"
    )
    assert "there is no such run folder" in refused(
        capsys, *hybrid, "--start", tmp_path / "none", "--out", tmp_path / "new"
    )


@pytest.mark.parametrize(
    "network",
    [
        ("data.steps=1", "training.epochs=2"),
        (
            "data.steps=2",
            "training.epochs=6",
            "network.architecture=ms-resnet-18",
            "network.width=0.05",
        ),  # its shortcuts want the image at every step
    ],
    ids=["one-step", "every-step"],
)
def test_images_all_the_way(
    network: tuple[str, ...], run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """From Parquet files to equal integers, by the set's name in every verb."""
    rng = np.random.default_rng(0)
    for split, number in (("train", 96), ("test", 24)):
        labels = rng.integers(0, 2, number)
        write_parquet(
            tmp_path / f"{split}.parquet",
            [(rng.integers(0, 128, (8, 8, 3)) + 128 * label).astype(np.uint8) for label in labels],
            labels.tolist(),
        )
    where = ("--root", tmp_path, "--cache", tmp_path / "cache")
    plan = ("data.name=cifar10", "network.steps=2", "training.batch_size=16", *network)
    assert lmht("train", "digits", *plan, *where, "--out", tmp_path / "run") == 0
    assert lmht("convert", tmp_path / "run", "--out", tmp_path / "net.lmht") == 0
    assert (
        lmht(
            "compare",
            tmp_path / "net.lmht",
            "--data",
            "cifar10",
            *where,
            "--backends",
            "event,torch,onnx",
            "--json",
            tmp_path / "c.json",
        )
        == 0
    )
    assert lmht("validate", tmp_path / "run", *where, "--json", tmp_path / "v.json") == 0
    compared, validated = (json.loads((tmp_path / f"{name}.json").read_text()) for name in "cv")
    first = compared["networks"][0]["backends"][0]
    assert compared["equal"] and first["windows"] == 24 and first["accuracy"] >= 0.9
    integer = next(row for row in validated["rows"] if row["integer"])
    assert (
        validated["exact"]
        and integer["sops"] == first["sops"]
        and integer["energy_with_macs"] > integer["energy"]
    )
    assert lmht("convert", run, "--out", tmp_path / "events.lmht") == 0
    capsys.readouterr()
    assert "cifar10 gives windows (T, 3, H, W); the network takes (4, 2, 16, 16)" in refused(
        capsys, "run", tmp_path / "events.lmht", "--data", "cifar10", *where
    )
    assert "there is no file train*.parquet of cifar100" in refused(
        capsys,
        "train",
        "digits",
        *plan,
        "data.name=cifar100",
        "--root",
        run,
        "--out",
        tmp_path / "new",
    )


def test_own_recordings_that_state_no_sensor(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rng = np.random.default_rng(0)
    for name in ("cat", "dog"):
        (tmp_path / "data" / name).mkdir(parents=True)
        for index in range(10):
            x, y, p = rng.integers(16, size=(3, 50))
            events = make_events(np.arange(50) * 99, x, y, p % 2)
            np.save(tmp_path / "data" / name / f"{index}.npy", events)
    train = ("train", "digits", "data.name=folder", "--root", tmp_path / "data", "--out")
    short = ("training.epochs=1", "training.batch_size=4")
    assert "--sensor" in refused(capsys, *train, tmp_path / "refused", *short)
    assert lmht(*train, tmp_path / "run", *short, "--sensor", "16x16") == 0
    assert lmht("validate", tmp_path / "run", "--root", tmp_path / "data", "--sensor", "16x16") == 0
    assert lmht("validate", tmp_path / "run") == 0  # the run knows both


def test_interrupted(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from lmht_deploy.training import data, loop

    train_epoch = loop._Session._train_epoch

    def interrupt(session: Any, start: float) -> loop.Progress:
        if session.epoch == 1:
            raise KeyboardInterrupt
        return train_epoch(session, start)

    monkeypatch.setattr(loop._Session, "_train_epoch", interrupt)
    assert lmht("train", "digits", *SHORT, "--out", tmp_path / "run") == 130
    said = capsys.readouterr().err
    assert "lmht: the state after epoch 1 is kept in" in said and said.endswith(
        "lmht: interrupted\n"
    )
    monkeypatch.setattr(
        data, "load_data", lambda *args, **kwargs: interrupt(SimpleNamespace(epoch=1), 0.0)
    )
    assert lmht("train", "digits", "--out", tmp_path / "new") == 130
    assert capsys.readouterr().err == "lmht: interrupted\n" and not (tmp_path / "new").exists()
    monkeypatch.undo()
    assert lmht("train", "digits", *SHORT, "--out", tmp_path / "run", "--resume") == 0


def test_mistakes(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = ("--out", tmp_path / "new")
    assert "unknown training key 'speed'; did you mean 'seed'?" in refused(
        capsys, "train", "digits", "training.speed=9", *out
    )
    assert "training.epochs must be an integer" in refused(
        capsys, "train", "digits", "training.epochs=many", *out
    )
    assert "unknown recipe 'fly'" in refused(capsys, "train", "fly", *out)
    assert "N-MNIST is read from a folder" in refused(capsys, "train", "nmnist", *out)
    (tmp_path / "bad.toml").write_text("[data\n")
    assert "is not valid TOML" in refused(capsys, "train", tmp_path / "bad.toml", *out)
    assert "no state to resume" in refused(capsys, "train", "digits", "--resume", *out)
    unread = (
        "train",
        "cifar10-cpu",
        "--root",
        tmp_path / "none",
    )  # what is wrong with the run folder is said before data is read
    assert "already holds a run" in refused(capsys, *unread, "--out", run)
    assert "no state to resume" in refused(capsys, *unread, "--resume", *out)
    assert "started with another recipe: data.name ('digits', now 'cifar10')" in refused(
        capsys, *unread, "--resume", "--out", run
    )
    unstarted = ("train", "cifar100-vgg-16-hybrid-4-l2-t2", *unread[2:])
    assert "starts from a run of 'cifar100-vgg-16-qcfs-4': pass that run (--start RUN)" in refused(
        capsys, *unstarted, *out
    )
    assert "there is no file train*.parquet" in refused(capsys, *unstarted, "training.start=", *out)
    assert not (tmp_path / "new").exists()
    assert "there is no such run folder" in refused(
        capsys, "convert", tmp_path / "new", "--out", tmp_path / "net.lmht"
    )
    assert "suffix must be .lmht" in refused(capsys, "convert", run, "--out", tmp_path / "net.onnx")
    assert "--single-threshold must be block-start or uniform, not 'fly'" in refused(
        capsys, "convert", run, "--out", tmp_path / "net.lmht", "--single-threshold", "fly"
    )
    (tmp_path / "run").mkdir()
    for name in ("recipe.toml", "metrics.jsonl", "model.safetensors"):
        (tmp_path / "run" / name).write_bytes(
            (run / name).read_bytes()[: -100 if name.startswith("model") else None]
        )
    assert "model.safetensors" in refused(
        capsys, "convert", tmp_path / "run", "--out", tmp_path / "net.lmht"
    )
    assert not (tmp_path / "net.lmht").exists()


def test_demo_on_both_data_sets(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The whole way, with recipes cut short; exits with 0 only where every backend agrees."""
    from lmht_deploy.training import recipe as recipes

    load = recipes.load_recipe
    monkeypatch.setattr(
        recipes, "load_recipe", lambda name, more=(): load(name, [*SHORT[:2], *more])
    )
    nmnist = Path(__file__).parents[2] / ".." / "shared" / "data" / "nmnist_small"
    for arguments in ([], ["--data", "nmnist", "--root", nmnist]) if nmnist.exists() else ([],):
        assert lmht("demo", "--out", tmp_path / "demo", *arguments) == 0
        assert "all integers are equal" in capsys.readouterr().out
        content = json.loads((tmp_path / "demo" / "demo.json").read_text())
        assert content["equal"]
        labels = [row["label"] for row in content["rows"]]
        assert (
            labels[:5] == ["reference", "event", "torch", "onnx", *labels[4:5]]
            and "event/single" in labels
        )
        portable = {"net-openvino.onnx"} if "openvino" in labels else set()
        assert {path.name for path in (tmp_path / "demo").iterdir()} == portable | {
            "run",
            "net.lmht",
            "net.net",
            "net.onnx",
            "single.lmht",
            "demo.json",
            "report.html",
        }
        page = (tmp_path / "demo" / "report.html").read_text(encoding="utf-8")
        assert "All integers are equal" in page and "Energy by layer" in page


def test_two_demos_in_one_folder(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The second one leaves the run of the first alone."""
    run = tmp_path / "demo" / "run"
    run.mkdir(parents=True)
    with folder_lock(tmp_path / "demo"):
        assert lmht("demo", "--out", tmp_path / "demo") == 2
    assert "another process is writing to this folder" in capsys.readouterr().err
    assert run.is_dir()


def test_demo_exits_with_1_if_a_backend_differs(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from lmht_deploy.backends import torch as torch_backend
    from lmht_deploy.training import recipe as recipes

    load, right = recipes.load_recipe, torch_backend._fire
    monkeypatch.setattr(
        recipes,
        "load_recipe",
        lambda name, more=(): load(name, ["training.epochs=1", "training.batch_size=256", *more]),
    )
    monkeypatch.setattr(torch_backend, "_fire", lambda layer, current: right(layer, current + 999))
    assert lmht("demo", "--out", tmp_path / "demo") == 1
    said = capsys.readouterr()
    assert "torch: spikes of layer" in said.err and "differ: window" in said.err
