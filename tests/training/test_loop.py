"""Training: it learns, it resumes to the same bits, and it reports what is wrong."""

from __future__ import annotations

import shutil
import signal
import time
from collections.abc import Callable
from multiprocessing.sharedctypes import Synchronized
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

from lmht_deploy import reference
from lmht_deploy.errors import DataError, LmhtError, StorageError, TrainingError
from lmht_deploy.training import loop, recipe, run_folder, runs
from lmht_deploy.training.data import Data
from lmht_deploy.training.evaluation import evaluate
from lmht_deploy.training.loop import Progress, supports_channels_last, train
from lmht_deploy.training.lowering import lower
from lmht_deploy.training.neurons import QCFS
from lmht_deploy.training.recipe import Recipe
from tests.support.training import DATA, EVERYTHING, Synthetic, copied, processes, small, synthetic

NO_MEMORY = "[alloc_cpu.cpp] DefaultCPUAllocator: can't allocate memory: you tried to allocate 9"


class KilledError(Exception):
    """Stops a run in these tests."""


# ------------------------------------------------------------------------------------ what a run is


def test_it_learns_and_keeps_what_it_learnt(finished: Path) -> None:
    run = runs.load_run(finished)
    assert run.accuracy >= 0.9
    assert run.recipe == small() and run.classes == DATA.test.classes
    assert run.accuracy == evaluate(run.model, DATA.test).accuracy
    assert [line["epoch"] for line in run.metrics] == [1, 2, 3, 4]
    assert run.metrics[-1]["loss"] < run.metrics[0]["loss"] / 2
    assert {path.name for path in finished.iterdir()} == {
        run_folder.MODEL,
        run_folder.RECIPE,
        run_folder.METRICS,
        run_folder.STATE,
    }


def test_a_run_lowers(finished: Path) -> None:
    """The network of a run gives the logits of the float64 model on the test data."""
    run = runs.load_run(finished)
    result = reference.run(lower(run.model, run.input), DATA.test.windows)
    with torch.no_grad():
        logits = run.model.double()(torch.from_numpy(DATA.test.windows).double())
    np.testing.assert_allclose(result.logits * result.scale, logits.numpy(), rtol=0, atol=1e-9)


def test_progress(tmp_path: Path) -> None:
    found: list[Progress] = []
    run = train(small("training.epochs=2"), DATA, tmp_path / "run", report=found.append)
    assert [p.step for p in found] == [*range(1, 7), 6, *range(7, 13), 12]
    assert {p.steps for p in found} == {12} and {p.epochs for p in found} == {2}
    ends = [p for p in found if p.test_accuracy is not None]
    assert [p.epoch for p in ends] == [1, 2]
    assert [p.test_accuracy for p in ends] == [line["test_accuracy"] for line in run.metrics]
    assert ends[-1].density == run.metrics[-1]["density"] and ends[-1].remaining == 0
    assert found[0].density == {} and found[7].density == ends[0].density
    assert all(
        0 <= p.accuracy <= 1 and p.loss > 0 and p.windows_per_second > 0 and p.remaining >= 0
        for p in found
    )


def test_same_seed_same_weights(finished: Path, tmp_path: Path) -> None:
    train(small(), DATA, tmp_path / "again")
    train(small("training.seed=1"), DATA, tmp_path / "other")
    assert (tmp_path / "again" / run_folder.MODEL).read_bytes() == (
        finished / run_folder.MODEL
    ).read_bytes()
    assert (tmp_path / "other" / run_folder.MODEL).read_bytes() != (
        finished / run_folder.MODEL
    ).read_bytes()


def test_training_leaves_the_global_generator_alone(tmp_path: Path) -> None:
    torch.manual_seed(3)
    expected = torch.rand(4)
    torch.manual_seed(3)
    train(small("training.epochs=1"), DATA, tmp_path / "run")
    assert torch.rand(4).equal(expected)


# ----------------------------------------------------------------------------------------- resuming


@pytest.mark.parametrize("optimizer", ["adamw", "sgd"])
@pytest.mark.parametrize(
    "stop", [3, 6, 15]
)  # in the first epoch, at the end of one, within a later one
def test_resumed_run_ends_with_the_same_bits(optimizer: str, stop: int, tmp_path: Path) -> None:
    chosen = small(
        f"training.optimizer={optimizer}",
        "training.learning_rate=0.01",
        "training.epochs=3",
        "augmentation.shift=1",
    )

    def die(progress: Progress) -> None:
        if progress.step == stop:
            raise KilledError

    with pytest.raises(KilledError):
        train(chosen, DATA, tmp_path / "resumed", report=die)
    train(chosen, DATA, tmp_path / "resumed", resume=True)
    train(chosen, DATA, tmp_path / "whole")
    for name in (run_folder.MODEL, run_folder.STATE, run_folder.RECIPE):
        assert (tmp_path / "resumed" / name).read_bytes() == (
            tmp_path / "whole" / name
        ).read_bytes(), name
    resumed, whole = (runs.load_run(tmp_path / name).metrics for name in ("resumed", "whole"))
    timings = {"seconds", "windows_per_second"}
    assert [{k: v for k, v in line.items() if k not in timings} for line in resumed] == [
        {k: v for k, v in line.items() if k not in timings} for line in whole
    ]


def test_killed_at_any_moment(tmp_path: Path) -> None:
    """By SIGKILL at random moments: while it begins, trains, tests or writes.

    With augmentation, an average of the weights, warm-up and cosine decay.
    """
    chosen = small(
        *EVERYTHING, "training.epochs=12", "training.warmup_epochs=3", "training.max_grad_norm=1"
    )
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    start = time.monotonic()
    assert _killed_in_epoch(chosen, whole, None, 0) == 0
    longest, moments = (time.monotonic() - start) / 24, np.random.default_rng()
    while not _killed_thrice(chosen, killed, lambda: moments.uniform(0, longest)):
        shutil.rmtree(killed)  # one finished before it was killed
    (killed / f".{run_folder.STATE}.abc.partial").write_bytes(b"half")
    assert _killed_in_epoch(chosen, killed, None, 0) == 0
    assert runs.read_metrics(killed)[-1]["epoch"] == 12
    assert {path.name for path in killed.iterdir()} == {
        run_folder.MODEL,
        run_folder.RECIPE,
        run_folder.METRICS,
        run_folder.STATE,
    }
    for name in (run_folder.MODEL, run_folder.STATE, run_folder.RECIPE):
        assert (killed / name).read_bytes() == (whole / name).read_bytes(), name


def _killed_thrice(chosen: Recipe, folder: Path, delay: Callable[[], float]) -> bool:
    """Kill it at once, and twice after two more epochs; False if a process finished."""
    for more in (0, 2, 2):
        begun = len(runs.read_metrics(folder)) if (folder / run_folder.RECIPE).exists() else 0
        if _killed_in_epoch(chosen, folder, begun + more, delay()) == 0:
            return False
    return True


def _killed_in_epoch(chosen: Recipe, folder: Path, epoch: int | None, delay: float) -> int:
    """Train in another process until `delay` seconds after `epoch` has begun; the exit code.

    Without an epoch, it trains to the end.
    """
    context = processes()
    reached = context.Value("i", 0)
    process = context.Process(target=_train, args=(chosen, folder, reached))
    process.start()
    while epoch is not None and process.is_alive() and reached.value < epoch:
        time.sleep(0.001)
    process.join(None if epoch is None else delay)
    process.kill()
    process.join()
    assert process.exitcode in {0, -signal.SIGKILL}
    return process.exitcode


def _train(chosen: Recipe, folder: Path, reached: Synchronized) -> None:
    torch.set_num_threads(1)  # the same bits are promised for the same number of threads

    def report(progress: Progress) -> None:
        reached.value = progress.epoch

    train(chosen, DATA, folder, resume=(folder / run_folder.RECIPE).exists(), report=report)


def test_killed_between_two_files(
    finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Metrics and model of an epoch exist, its state does not: the epoch is trained again."""
    write = runs.write

    def die(path: Path, tensors, header) -> None:  # type: ignore[no-untyped-def]
        if path.name == run_folder.STATE and header["epoch"] == 2:
            raise KilledError
        write(path, tensors, header)

    monkeypatch.setattr(runs, "write", die)
    with pytest.raises(KilledError):
        train(small(), DATA, tmp_path / "run")
    monkeypatch.undo()
    assert len(runs.load_run(tmp_path / "run").metrics) == 2
    run = train(small(), DATA, tmp_path / "run", resume=True)
    assert (tmp_path / "run" / run_folder.MODEL).read_bytes() == (
        finished / run_folder.MODEL
    ).read_bytes()
    assert len(run.metrics) == 4


def test_killed_before_it_began(
    finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A folder without a recipe holds no run yet: training starts again."""

    def die(found: Recipe) -> str:
        raise KilledError

    monkeypatch.setattr(recipe, "dumps", die)
    with pytest.raises(KilledError):
        train(small(), DATA, tmp_path / "run")
    monkeypatch.undo()
    train(small(), DATA, tmp_path / "run")
    assert (tmp_path / "run" / run_folder.MODEL).read_bytes() == (
        finished / run_folder.MODEL
    ).read_bytes()


def test_resuming_a_finished_run_trains_no_more(finished: Path) -> None:
    before = (finished / run_folder.STATE).stat().st_mtime_ns
    assert train(small(), DATA, finished, resume=True).accuracy == runs.load_run(finished).accuracy
    assert (finished / run_folder.STATE).stat().st_mtime_ns == before


def test_what_cannot_be_resumed(finished: Path, tmp_path: Path) -> None:
    with pytest.raises(
        TrainingError, match=r"already holds a run; resume it, or choose another folder"
    ):
        train(small(), DATA, finished)
    with pytest.raises(TrainingError, match=r"holds no state to resume from"):
        train(small(), DATA, tmp_path / "none", resume=True)
    with pytest.raises(
        TrainingError,
        match=r"with another recipe: training.epochs \(\d+, now 5\), "
        r"training.max_grad_norm \(0.0, now 1.0\); resume it with its own recipe.toml",
    ):
        train(small("training.epochs=5", "training.max_grad_norm=1"), DATA, finished, resume=True)


def test_damaged_state(finished: Path, tmp_path: Path) -> None:
    folder = copied(finished, tmp_path / "run")
    content = (folder / run_folder.STATE).read_bytes()
    (folder / run_folder.STATE).write_bytes(content[: len(content) // 2])
    with pytest.raises(StorageError, match=r"state.safetensors: is damaged"):
        train(small(), DATA, folder, resume=True)
    runs.write(folder / run_folder.STATE, {"model.body.flatten": torch.zeros(1)}, {"epoch": 1})
    with pytest.raises(
        TrainingError, match=r"state\.safetensors does not fit the recipe and the data"
    ):
        train(small(), DATA, folder, resume=True)


# ------------------------------------------------------------------------------------------ loading


# ---------------------------------------------------------------------------------- what goes wrong


def test_loss_that_is_not_finite_keeps_the_last_good_state(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "run"
    cross_entropy, calls = functional.cross_entropy, []

    def breaks(logits: torch.Tensor, labels: torch.Tensor, **options: object) -> torch.Tensor:
        calls.append(1)
        loss: torch.Tensor = cross_entropy(logits, labels, **options)  # type: ignore[arg-type]
        return loss * (float("nan") if len(calls) == 9 else 1)  # 6 steps and one test an epoch

    monkeypatch.setattr(functional, "cross_entropy", breaks)
    with pytest.raises(
        TrainingError,
        match=r"the loss is not finite at step 8, in epoch 2; the state after epoch 1 is kept in "
        r".*run\. Try a training\.learning_rate below",
    ):
        train(small(), DATA, folder)
    monkeypatch.undo()
    assert len(runs.load_run(folder).metrics) == 1
    assert train(small(), DATA, folder, resume=True).accuracy >= 0.9


def test_weights_that_are_not_finite_are_not_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The last step of an epoch may break the weights after a finite loss."""
    step = torch.optim.AdamW.step
    calls = []

    def breaks(optimizer, *arguments):  # type: ignore[no-untyped-def]
        calls.append(1)
        step(optimizer, *arguments)
        if len(calls) == 12:
            optimizer.param_groups[0]["params"][0].data.fill_(float("inf"))

    monkeypatch.setattr(torch.optim.AdamW, "step", breaks)
    with pytest.raises(
        TrainingError,
        match=r"a weight is not finite at step 12, in epoch 2; the state after epoch 1 is kept",
    ):
        train(small(), DATA, tmp_path / "run")
    assert len(runs.load_run(tmp_path / "run").metrics) == 1


def test_thresholds_stay_positive(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A threshold that is learned must not cross 0: no network has such neurons."""
    qcfs = ["network.neuron=qcfs", "network.steps=1", "network.v0=0.5", "data.steps=1"]
    splits = (DATA.train, DATA.test)
    sums = (split.windows.sum(1, keepdims=True).astype(np.uint8) for split in splits)
    flat = Data(*(Synthetic(w, d.labels) for w, d in zip(sums, splits, strict=True)))
    update = loop.Optimization.step

    def cross(optimization, loss):  # type: ignore[no-untyped-def]
        update(optimization, loss)
        for module in optimization.model.modules():
            if isinstance(module, QCFS):
                module.threshold.data.neg_()

    assert train(small(*qcfs), flat, tmp_path / "good").accuracy > 0.8
    monkeypatch.setattr(loop.Optimization, "step", cross)
    one = small("training.epochs=1", "training.batch_size=120", *qcfs)
    with pytest.raises(TrainingError, match="a threshold is not positive at step 1, in epoch 1"):
        train(one, flat, tmp_path / "bad")


def test_data_must_fit() -> None:
    train_set = synthetic(5, 0)
    for test_set, message in [
        (
            Synthetic(train_set.windows[:, 0], train_set.labels),
            r"test data must be windows \[N, T_in, C, H, W\]",
        ),
        (
            Synthetic(train_set.windows, train_set.labels[:3]),
            "test data must be windows .* labels, not .* and 3",
        ),
        (Synthetic(train_set.windows, train_set.labels + 4), r"test labels must lie within 0\.\.3"),
        (
            Synthetic(train_set.windows[:, :, :1], train_set.labels),
            "training and test data differ in shape or classes",
        ),
    ]:
        with pytest.raises(DataError, match=message):
            Data(train_set, test_set)


def test_data_must_fit_the_recipe(tmp_path: Path) -> None:
    with pytest.raises(
        DataError, match=r"the windows have 3 input steps, the recipe's data.steps is 4"
    ):
        train(small("data.steps=4"), DATA, tmp_path / "run")
    with pytest.raises(
        DataError,
        match=r"the windows contain 0\.\..*, outside of the input's 0\.\.1 \(data\.max_count\)",
    ):
        train(small("data.max_count=1"), DATA, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_device_that_is_not_available(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="device 'gpu' is not available"):
        train(small(), DATA, tmp_path / "run", device="gpu")
    assert not (tmp_path / "run").exists()


def test_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(LmhtError, match=r"file/run: cannot be written"):
        train(small(), DATA, tmp_path / "file" / "run")


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB"),
        RuntimeError(NO_MEMORY),
    ],
)
def test_out_of_memory_keeps_the_last_good_state(
    error: Exception, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cross_entropy, calls = functional.cross_entropy, []

    def breaks(*arguments, **options):  # type: ignore[no-untyped-def]
        calls.append(1)
        if len(calls) >= 9:
            raise error
        return cross_entropy(*arguments, **options)

    monkeypatch.setattr(functional, "cross_entropy", breaks)
    with pytest.raises(
        TrainingError,
        match=r"out of memory: epoch 2, on cpu; the state after epoch 1 is kept in .*run\. "
        r"Try a training\.batch_size below 20$",
    ):
        train(small(), DATA, tmp_path / "run")
    assert len(runs.load_run(tmp_path / "run").metrics) == 1
    monkeypatch.setattr(runs, "make", breaks)
    with pytest.raises(
        TrainingError,
        match=r"out of memory: the network does not fit cpu; try a network\.width below 1$",
    ):
        train(small(), DATA, tmp_path / "large")
    monkeypatch.undo()
    monkeypatch.setattr(
        functional, "cross_entropy", lambda *_, **__: exec("raise RuntimeError('another')")
    )
    with pytest.raises(RuntimeError, match="another"):
        train(small(), DATA, tmp_path / "other")


# ------------------------------------------------------------------ precision, and what a step does


@pytest.mark.parametrize(
    ("channels", "kernel", "stride", "right"),
    [(15, 1, 2, False), (16, 1, 2, True), (15, 1, 1, True), (15, 3, 2, True)],
)
def test_channels_last_only_where_gradients_are_right(
    channels: int, kernel: int, stride: int, right: bool
) -> None:
    model = nn.Sequential(nn.Conv2d(channels, 4, kernel, stride))
    assert supports_channels_last(model, torch.device("cpu")) == right
    assert supports_channels_last(model, torch.device("cuda"))


def test_a_narrow_network_trains_the_same_in_both_formats(tmp_path: Path) -> None:
    """Its shortcuts are 1 x 1 convolutions with a stride."""
    narrow = ("network.architecture=resnet-20", "network.width=0.25", "training.epochs=1")
    one, other = (
        train(small(*narrow, f"training.channels_last={value}"), DATA, tmp_path / value)
        for value in ("true", "false")
    )
    assert one.metrics[0]["loss"] == pytest.approx(other.metrics[0]["loss"], rel=1e-5)


@pytest.mark.parametrize(
    "override",
    [
        "training.precision=bfloat16",
        "training.channels_last=true",
        "training.compile=true",
        "training.max_grad_norm=0.5",
    ],
)
def test_it_learns_in_every_way(
    override: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    compiled = []
    compile = torch.compile  # without a C++ compiler, which inductor would take a minute for
    monkeypatch.setattr(
        torch, "compile", lambda model: compiled.append(1) or compile(model, backend="eager")
    )
    run = train(small(override), DATA, tmp_path / "run")
    assert run.accuracy >= 0.85
    assert {value.dtype for value in run.model.state_dict().values()} <= {
        torch.float32,
        torch.int64,
    }
    assert len(compiled) == ("compile" in override)


def test_the_average_of_the_weights_is_tested_and_saved(tmp_path: Path) -> None:
    """Its weights equal an average by hand; training continues from the others."""
    chosen = small("training.epochs=1", "training.ema_decay=0.5")
    session = loop._Session(
        chosen, DATA, tmp_path / "run", lambda progress: None, torch.device("cpu")
    )
    session.folder.mkdir()
    session.begin(None)
    session.report = lambda progress: after.append(
        {name: value.clone() for name, value in session.model.state_dict().items()}
    )
    after: list[dict[str, torch.Tensor]] = []
    with session.writer:
        session.run_epoch()
    mean = after[0]  # the decay of the first step is 0
    for step, weights in enumerate(after[1:-1], 1):  # the last report is the epoch's
        decay = min(0.5, step / (9 + step))
        mean = {
            name: mean[name] * decay + weights[name] * (1 - decay)
            for name in mean
            if mean[name].is_floating_point()
        }
    run = runs.load_run(tmp_path / "run")
    for name, value in mean.items():
        torch.testing.assert_close(run.model.state_dict()[name], value)
    assert not run.model.state_dict()["body.logits.weight"].equal(after[-1]["body.logits.weight"])
    assert run.metrics[-1]["test_accuracy"] == evaluate(run.model, DATA.test).accuracy


@pytest.mark.parametrize("decay", [0.998, 0.9999])
def test_the_average_helps_from_the_first_epoch(decay: float, tmp_path: Path) -> None:
    """It forgets the initial weights: it tests at least 0.9 times as well as the weights do."""
    options = ["training.epochs=1", "training.batch_size=4", "training.warmup_epochs=0.5"]
    raw, mean = (
        train(small(*options, f"training.ema_decay={value}"), DATA, tmp_path / str(value)).accuracy
        for value in (0, decay)
    )
    assert raw >= 0.7 and mean >= 0.9 * raw


# -------------------------------------------------------------------------------- several processes


# ------------------------------------------------------------------------------------------- pieces
