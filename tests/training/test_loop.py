"""Training: it learns, it resumes to the very same bits, and it says what is wrong."""

from __future__ import annotations

import json
import multiprocessing
import multiprocessing.context
import shutil
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.sharedctypes import Synchronized
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn import functional

from lmht_deploy import reference
from lmht_deploy.errors import DataError, LmhtError, RecipeError, StorageError, TrainingError
from lmht_deploy.training import loop, optimisation, parallel, recipe, runs
from lmht_deploy.training.data import Data
from lmht_deploy.training.loop import Progress, evaluate, train
from lmht_deploy.training.lowering import lower
from lmht_deploy.training.recipe import Recipe, TrainingRecipe


@dataclass
class Synthetic:
    """Events of four classes: a bright bar at one of four rows, in noise; a bar lies there from the second step on."""

    windows: np.ndarray
    labels: np.ndarray
    classes: tuple[str, ...] = ("a", "b", "c", "d")


def synthetic(number: int, seed: int) -> Synthetic:
    rng = np.random.default_rng(seed)
    labels = rng.integers(4, size=number, dtype=np.int32)
    windows = rng.poisson(0.2, (number, 3, 2, 8, 8))
    for window, label in zip(windows, labels, strict=True):
        window[1:, :, 2 * label] += rng.integers(0, 3, (2, 2, 8))
    return Synthetic(np.minimum(windows, 255).astype(np.uint8), labels)


DATA = Data(synthetic(120, 0), synthetic(40, 1))


def small(*overrides: str) -> Recipe:
    return recipe.load_recipe(
        "digits",
        ["data.steps=3", "network.steps=2", "training.epochs=4", "training.batch=20", *overrides],
    )


NO_MEMORY = "[enforce fail at alloc_cpu.cpp] DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes."


def processes() -> multiprocessing.context.ForkServerContext:
    """Begins processes by a server that has run nothing yet: in a fork of this process OpenMP would wait for ever for threads that did not survive it."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["lmht_deploy.training.loop", "kornia.augmentation"])
    return context


class KilledError(Exception):
    """What a run dies of in these tests."""


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "finished"
    train(small(), DATA, folder)
    return folder


# ------------------------------------------------------------------------------------------------ what a run is


def test_it_learns_and_keeps_what_it_learnt(finished: Path) -> None:
    run = runs.load_run(finished)
    assert run.accuracy >= 0.9
    assert run.recipe == small() and run.classes == DATA.test.classes
    assert run.accuracy == evaluate(run.model, DATA.test).accuracy
    assert [line["epoch"] for line in run.metrics] == [1, 2, 3, 4]
    assert run.metrics[-1]["loss"] < run.metrics[0]["loss"] / 2
    assert {path.name for path in finished.iterdir()} == {
        runs.MODEL,
        runs.RECIPE,
        runs.METRICS,
        runs.STATE,
    }


def test_a_run_lowers(finished: Path) -> None:
    """The network of a run gives the float64 model's logits on the test data."""
    run = runs.load_run(finished)
    result = reference.run(lower(run.model, run.input), DATA.test.windows)
    with torch.no_grad():
        logits = run.model.double()(torch.from_numpy(DATA.test.windows).double())
    np.testing.assert_allclose(result.logits * result.scale, logits.numpy(), rtol=0, atol=1e-9)


def test_density_is_mean_spikes(finished: Path) -> None:
    """As the golden model counts them: a neuron and time-step, on the test data."""
    run = runs.load_run(finished)
    net = lower(run.model.double(), run.input)
    spikes = reference.run(net, DATA.test.windows).spikes
    density = evaluate(runs.load_run(finished).model, DATA.test, batch=7).density
    assert density.keys() == spikes.keys()
    for name, count in spikes.items():
        assert density[name] == pytest.approx(
            count.mean() / (2 * np.prod(net.shapes[name])), rel=1e-4
        )


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
    assert (tmp_path / "again" / runs.MODEL).read_bytes() == (finished / runs.MODEL).read_bytes()
    assert (tmp_path / "other" / runs.MODEL).read_bytes() != (finished / runs.MODEL).read_bytes()


def test_training_leaves_the_global_generator_alone(tmp_path: Path) -> None:
    torch.manual_seed(3)
    expected = torch.rand(4)
    torch.manual_seed(3)
    train(small("training.epochs=1"), DATA, tmp_path / "run")
    assert torch.rand(4).equal(expected)


# ------------------------------------------------------------------------------------------------ resuming


@pytest.mark.parametrize("optimiser", ["adamw", "sgd"])
@pytest.mark.parametrize(
    "stop", [3, 6, 15]
)  # in the first epoch, at the end of one, within a later one
def test_resumed_run_ends_with_the_same_bits(optimiser: str, stop: int, tmp_path: Path) -> None:
    chosen = small(
        f"training.optimiser={optimiser}",
        "training.rate=0.01",
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
    for name in (runs.MODEL, runs.STATE, runs.RECIPE):
        assert (tmp_path / "resumed" / name).read_bytes() == (
            tmp_path / "whole" / name
        ).read_bytes(), name
    resumed, whole = (runs.load_run(tmp_path / name).metrics for name in ("resumed", "whole"))
    timings = {"seconds", "windows_per_second"}
    assert [{k: v for k, v in line.items() if k not in timings} for line in resumed] == [
        {k: v for k, v in line.items() if k not in timings} for line in whole
    ]


EVERYTHING = (
    "augmentation.shift=1",
    "augmentation.roll=1",
    "augmentation.mirror=true",
    "augmentation.cutout=2",
    "augmentation.mixup=0.5",
    "training.ema=0.9",
)


def test_killed_at_any_moment(tmp_path: Path) -> None:
    """By SIGKILL, at random moments: while it begins, trains, tests or writes. With EMA, augmentation, warm-up and cosine."""
    chosen = small(*EVERYTHING, "training.epochs=12", "training.warmup=3", "training.clip=1")
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    start = time.monotonic()
    assert _killed_in_epoch(chosen, whole, None, 0) == 0
    longest, moments = (time.monotonic() - start) / 24, np.random.default_rng()
    while not _killed_thrice(chosen, killed, lambda: moments.uniform(0, longest)):
        shutil.rmtree(killed)  # one came to its end before it was killed
    (killed / f".{runs.STATE}.abc.partial").write_bytes(b"half")
    assert _killed_in_epoch(chosen, killed, None, 0) == 0
    assert runs.read_metrics(killed)[-1]["epoch"] == 12
    assert {path.name for path in killed.iterdir()} == {
        runs.MODEL,
        runs.RECIPE,
        runs.METRICS,
        runs.STATE,
    }
    for name in (runs.MODEL, runs.STATE, runs.RECIPE):
        assert (killed / name).read_bytes() == (whole / name).read_bytes(), name


def _killed_thrice(chosen: Recipe, folder: Path, delay: Callable[[], float]) -> bool:
    """At once, and twice where two epochs more have begun; False where a process came to its end."""
    for more in (0, 2, 2):
        begun = len(runs.read_metrics(folder)) if (folder / runs.RECIPE).exists() else 0
        if _killed_in_epoch(chosen, folder, begun + more, delay()) == 0:
            return False
    return True


def _killed_in_epoch(chosen: Recipe, folder: Path, epoch: int | None, delay: float) -> int:
    """Train in a process of its own until `delay` seconds after `epoch` has begun (None: to the end); the exit code."""
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

    train(chosen, DATA, folder, resume=(folder / runs.RECIPE).exists(), report=report)


def test_killed_between_two_files(
    finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Metrics and model of an epoch are there, its state is not: the epoch is trained again."""
    write = runs.write

    def die(path: Path, tensors, header) -> None:  # type: ignore[no-untyped-def]
        if path.name == runs.STATE and header["epoch"] == 2:
            raise KilledError
        write(path, tensors, header)

    monkeypatch.setattr(runs, "write", die)
    with pytest.raises(KilledError):
        train(small(), DATA, tmp_path / "run")
    monkeypatch.undo()
    assert len(runs.load_run(tmp_path / "run").metrics) == 2
    run = train(small(), DATA, tmp_path / "run", resume=True)
    assert (tmp_path / "run" / runs.MODEL).read_bytes() == (finished / runs.MODEL).read_bytes()
    assert len(run.metrics) == 4


def test_killed_before_it_began(
    finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A folder without a recipe holds no run yet: training starts anew."""

    def die(found: Recipe) -> str:
        raise KilledError

    monkeypatch.setattr(recipe, "dumps", die)
    with pytest.raises(KilledError):
        train(small(), DATA, tmp_path / "run")
    monkeypatch.undo()
    train(small(), DATA, tmp_path / "run")
    assert (tmp_path / "run" / runs.MODEL).read_bytes() == (finished / runs.MODEL).read_bytes()


def test_resuming_a_finished_run_trains_no_more(finished: Path) -> None:
    before = (finished / runs.STATE).stat().st_mtime_ns
    assert train(small(), DATA, finished, resume=True).accuracy == runs.load_run(finished).accuracy
    assert (finished / runs.STATE).stat().st_mtime_ns == before


def test_what_cannot_be_resumed(finished: Path, tmp_path: Path) -> None:
    with pytest.raises(
        TrainingError, match=r"already holds a run; resume it, or choose another folder"
    ):
        train(small(), DATA, finished)
    with pytest.raises(TrainingError, match=r"holds no state to resume from"):
        train(small(), DATA, tmp_path / "none", resume=True)
    with pytest.raises(
        TrainingError,
        match=r"with another recipe: training.epochs \(\d+, now 5\), training.clip \(0.0, now 1.0\); resume it with its own recipe.toml",
    ):
        train(small("training.epochs=5", "training.clip=1"), DATA, finished, resume=True)


def test_damaged_state(finished: Path, tmp_path: Path) -> None:
    folder = copied(finished, tmp_path / "run")
    content = (folder / runs.STATE).read_bytes()
    (folder / runs.STATE).write_bytes(content[: len(content) // 2])
    with pytest.raises(StorageError, match=r"state.safetensors: is damaged"):
        train(small(), DATA, folder, resume=True)
    runs.write(folder / runs.STATE, {"model.body.flatten": torch.zeros(1)}, {"epoch": 1})
    with pytest.raises(
        TrainingError, match=r"state\.safetensors does not fit the recipe and the data"
    ):
        train(small(), DATA, folder, resume=True)


# ------------------------------------------------------------------------------------------------ loading


def copied(source: Path, target: Path) -> Path:
    target.mkdir()
    for path in source.iterdir():
        (target / path.name).write_bytes(path.read_bytes())
    return target


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        (runs.MODEL, None, "model.safetensors: there is no such file"),
        (runs.MODEL, b"", "model.safetensors: is damaged"),
        (runs.MODEL, b"PK" * 99, "model.safetensors: is damaged"),
        (runs.METRICS, b"{", "metrics.jsonl: is missing or damaged"),
        (runs.METRICS, None, "metrics.jsonl: is missing or damaged"),
        (
            runs.METRICS,
            b'{"epoch": 1}',
            "metrics.jsonl: is missing or damaged \\(line 1 is of no epoch\\)",
        ),
        (runs.METRICS, b"3", "metrics.jsonl: is missing or damaged \\(line 1 is of no epoch\\)"),
        (runs.METRICS, b"", "metrics.jsonl: is damaged \\(there is a model, but no epoch\\)"),
        (runs.RECIPE, b"x = 1", "unknown section 'x'"),
    ],
)
def test_damaged_folder(
    finished: Path, tmp_path: Path, file: str, content: bytes | None, message: str
) -> None:
    folder = copied(finished, tmp_path / "run")
    if content is None:
        (folder / file).unlink()
    else:
        (folder / file).write_bytes(content)
    with pytest.raises((StorageError, RecipeError), match=message):
        runs.load_run(folder)


@pytest.mark.parametrize(
    "change",
    [
        lambda header: header.pop("classes"),
        lambda header: header["input"].pop("shape"),
        lambda header: header["input"].update(extra=1),
        lambda header: header["input"].update(shape=[3, 8, 8]),
        lambda header: header.update(classes=["a", "b"]),
    ],
)
def test_edited_model(finished: Path, tmp_path: Path, change) -> None:  # type: ignore[no-untyped-def]
    folder = copied(finished, tmp_path / "run")
    weights, header = runs.read(folder / runs.MODEL)
    change(header)
    runs.write(folder / runs.MODEL, weights, header)
    with pytest.raises(
        StorageError, match=r"model\.safetensors: does not fit recipe\.toml, or was edited"
    ):
        runs.load_run(folder)


def test_a_safetensors_file_of_others(finished: Path, tmp_path: Path) -> None:
    from safetensors.torch import save_file

    folder = copied(finished, tmp_path / "run")
    save_file({"x": torch.zeros(1)}, folder / runs.MODEL)
    with pytest.raises(StorageError, match=r"was not written by a training run"):
        runs.load_run(folder)


# ------------------------------------------------------------------------------------------------ what goes wrong


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
        match=r"the loss is not finite at step 8, in epoch 2; the state after epoch 1 is kept in .*run\. Try a training\.rate below",
    ):
        train(small(), DATA, folder)
    monkeypatch.undo()
    assert len(runs.load_run(folder).metrics) == 1
    assert train(small(), DATA, folder, resume=True).accuracy >= 0.9


def test_weights_that_are_not_finite_are_not_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The last step of an epoch may spoil the weights after a finite loss."""
    step = torch.optim.AdamW.step
    calls = []

    def breaks(optimiser, *arguments):  # type: ignore[no-untyped-def]
        calls.append(1)
        step(optimiser, *arguments)
        if len(calls) == 12:
            optimiser.param_groups[0]["params"][0].data.fill_(float("inf"))

    monkeypatch.setattr(torch.optim.AdamW, "step", breaks)
    with pytest.raises(
        TrainingError,
        match=r"a weight is not finite at step 12, in epoch 2; the state after epoch 1 is kept",
    ):
        train(small(), DATA, tmp_path / "run")
    assert len(runs.load_run(tmp_path / "run").metrics) == 1


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
        match=r"the windows lie within 0\.\..*, beyond the 0\.\.1 of the input \(data\.max_count\)",
    ):
        train(small("data.max_count=1"), DATA, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(LmhtError, match=r"file.* cannot be created"):
        train(small(), DATA, tmp_path / "file" / "run")


def test_full_disk_keeps_the_last_good_state(finished: Path, tmp_path: Path) -> None:
    resource = pytest.importorskip("resource")
    folder = copied(finished, tmp_path / "run")
    before = (folder / runs.STATE).read_bytes()
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (1000, limits[1]))  # bytes of a file
        with pytest.raises(
            StorageError, match=r"state\.safetensors: cannot be written \(.*File too large"
        ):
            runs.write(folder / runs.STATE, runs.read(folder / runs.STATE)[0], {})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert (folder / runs.STATE).read_bytes() == before and not list(folder.glob(".*"))


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
        match=r"out of memory: epoch 2, on cpu; the state after epoch 1 is kept in .*run\. Try a training\.batch below 20$",
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


# ------------------------------------------------------------------------------------------------ precision, and what a step does


@pytest.mark.parametrize(
    "override",
    [
        "training.precision=bfloat16",
        "training.channels_last=true",
        "training.compile=true",
        "training.clip=0.5",
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


def test_the_running_mean_is_what_is_tested_and_kept(tmp_path: Path) -> None:
    """Its weights are the mean by hand; training goes on from the others."""
    chosen = small("training.epochs=1", "training.ema=0.5")
    session = loop._Session(
        chosen, DATA, tmp_path / "run", lambda progress: None, torch.device("cpu")
    )
    session.begin(None)
    session.report = lambda progress: after.append(
        {name: value.clone() for name, value in session.model.state_dict().items()}
    )
    after: list[dict[str, torch.Tensor]] = []
    session.run_epoch()
    mean = after[0]
    for weights in after[1:-1]:  # the last report is the epoch's
        mean = {
            name: mean[name] * 0.5 + weights[name] * 0.5
            for name in mean
            if mean[name].is_floating_point()
        }
    run = runs.load_run(tmp_path / "run")
    for name, value in mean.items():
        torch.testing.assert_close(run.model.state_dict()[name], value)
    assert not run.model.state_dict()["body.logits.weight"].equal(after[-1]["body.logits.weight"])
    assert run.metrics[-1]["test_accuracy"] == evaluate(run.model, DATA.test).accuracy


def test_clipping_bounds_the_gradient() -> None:
    model = torch.nn.Linear(3, 2)
    for clip, norm in ((0.0, None), (0.5, 0.5)):
        step = optimisation.Optimisation(
            TrainingRecipe(clip=clip, optimiser="sgd"), model, torch.device("cpu")
        )
        step.step(100 * model(torch.ones(4, 3)).square().sum(), 1e-9)
        found = (
            torch.stack([p.grad.norm() for p in model.parameters() if p.grad is not None])
            .norm()
            .item()
        )
        assert found > 10 if norm is None else found == pytest.approx(norm, rel=1e-3)


def test_float16_scales_its_gradients() -> None:
    """The scale is halved and the step left out where a gradient overflows; the state goes through files."""
    model = torch.nn.Linear(3, 2)
    recipe = TrainingRecipe(precision="float16", optimiser="sgd")
    step = optimisation.Optimisation(recipe, model, torch.device("cpu"))
    scale, before = step.scaler.get_scale(), model.weight.detach().clone()
    step.step(model(torch.ones(4, 3)).sum() * float("inf"), 0.1)
    assert step.scaler.get_scale() == scale / 2 and model.weight.equal(before)
    step.step(model(torch.ones(4, 3)).sum(), 0.1)
    assert not model.weight.equal(before) and model.weight.isfinite().all()
    again = optimisation.Optimisation(recipe, model, torch.device("cpu"))
    again.restore(step.tensors())
    assert again.scaler.get_scale() == scale / 2
    with step.autocast():
        assert model(torch.ones(4, 3)).dtype == torch.float16


def test_windows_that_do_not_fill_a_batch_wait(tmp_path: Path) -> None:
    """120 windows by 50 are two steps; all of them where there is no whole batch."""
    steps: list[int] = []
    train(
        small("training.batch=50", "training.epochs=1"),
        DATA,
        tmp_path / "a",
        report=lambda p: steps.append(p.steps),
    )
    assert set(steps) == {2} and len(steps) == 3
    train(
        small("training.batch=500", "training.epochs=1"),
        DATA,
        tmp_path / "b",
        report=lambda p: steps.append(p.steps),
    )
    assert steps[-1] == 1


# ------------------------------------------------------------------------------------------------ several processes


def test_what_cannot_be_shared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parallel, "world", lambda: 2)
    for batch in (20, 96, 128):  # not a multiple of 64; more than the data
        with pytest.raises(
            TrainingError,
            match=rf"2 processes share batches that are multiples of 64 .* not larger than the data .* training.batch is {batch}",
        ):
            train(small(f"training.batch={batch}"), DATA, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_two_processes_draw_what_one_does(tmp_path: Path) -> None:
    """Order, augmentation and mixing of a batch; batch norm over both shares; the same weights at the end, but for rounding."""
    context = processes()
    chosen = small(*EVERYTHING, "training.batch=64", "training.epochs=3", "training.rate=1e-3")
    ranks = [context.Process(target=_joined, args=(rank, chosen, tmp_path)) for rank in range(2)]
    for process in ranks:
        process.start()
    for process in ranks:
        process.join(120)
    codes = [process.exitcode for process in ranks]
    for process in ranks:
        process.kill()
    assert codes == [0, 0]
    one = train(chosen, DATA, tmp_path / "one")
    two = runs.load_run(tmp_path / "two")
    for name, value in two.model.state_dict().items():
        torch.testing.assert_close(
            value,
            one.model.state_dict()[name],
            rtol=1e-2,
            atol=2e-4,
            msg=lambda text, name=name: f"{name}: {text}",
        )
    for mine, theirs in zip(two.metrics, one.metrics, strict=True):
        assert mine["loss"] == pytest.approx(theirs["loss"], rel=1e-3) and mine[
            "test_loss"
        ] == pytest.approx(theirs["test_loss"], rel=5e-3)


def _joined(rank: int, chosen: Recipe, folder: Path) -> None:
    torch.distributed.init_process_group(
        "gloo", init_method=f"file://{folder}/meeting", rank=rank, world_size=2
    )
    train(chosen, DATA, folder / "two")
    torch.distributed.destroy_process_group()


@pytest.mark.parametrize(
    ("dtype", "tolerance"),
    [(torch.float32, 1e-4), (torch.bfloat16, 2e-2), (torch.float16, 2e-3)],
    ids=str,
)
def test_gathered_batch_norm_is_batch_norm(dtype: torch.dtype, tolerance: float) -> None:
    """Of one process, and in evaluation: the same output, statistics and gradients, of what convolutions give under autocast too."""
    torch.manual_seed(0)
    x = (torch.randn(6, 3, 4, 5) * 3 + 1).to(dtype)
    found = []
    for kind in (torch.nn.BatchNorm2d, parallel.GatheredBatchNorm2d):
        norm, inside = kind(3), x.clone().requires_grad_()
        torch.nn.init.constant_(norm.weight, 1.5)
        out = norm(inside)
        out.pow(3).sum().backward()
        assert inside.grad is not None and norm.weight.grad is not None
        found.append(
            [
                out,
                inside.grad,
                norm.weight.grad,
                norm.running_mean,
                norm.running_var,
                norm.eval()(x),
            ]
        )
    for expected, mine in zip(*found, strict=True):
        assert mine.dtype == expected.dtype
        torch.testing.assert_close(mine, expected, rtol=tolerance, atol=tolerance)


# ------------------------------------------------------------------------------------------------ pieces


def test_learning_rate() -> None:
    """Rises in a line over 2 epochs of 10 steps, peaks at their last step, then falls as half a cosine towards 0."""
    plan = TrainingRecipe(epochs=6, rate=0.5, warmup=2.0)
    rates = [optimisation.learning_rate(plan, step, 10) for step in range(60)]
    np.testing.assert_allclose(rates[:20], 0.5 * np.arange(1, 21) / 20)
    assert rates[39] == pytest.approx(0.25, rel=0.05) and 0 < rates[-1] < 0.002
    assert sorted(rates[19:], reverse=True) == rates[19:]
    assert optimisation.learning_rate(TrainingRecipe(epochs=1, rate=0.5, warmup=0.0), 0, 10) < 0.5


def test_only_weights_decay() -> None:
    from lmht_deploy.training.neurons import Neuron

    model = runs.make(small(), runs_input(), 4)
    decays, others = (
        group["params"]
        for group in optimisation.make_optimiser(small().training, model).param_groups
    )
    names = {id(p): name for name, p in model.named_parameters()}
    assert {names[id(p)].rsplit(".", 2)[-2] for p in decays} == {"conv", "logits"}
    learnt = [
        p
        for neuron in model.modules()
        if isinstance(neuron, Neuron)
        for p in neuron.parameters()
        if p.requires_grad
    ]
    assert {id(p) for p in learnt} <= {id(p) for p in others}


def runs_input():  # type: ignore[no-untyped-def]
    from lmht_deploy.ir import Input

    return Input(name="input", shape=(2, 8, 8), steps=3)


def test_metrics_are_plain_json(finished: Path) -> None:
    for line in (finished / runs.METRICS).read_text().splitlines():
        assert set(json.loads(line)) == {
            "epoch",
            "step",
            "loss",
            "accuracy",
            "test_loss",
            "test_accuracy",
            "rate",
            "seconds",
            "windows_per_second",
            "density",
        }
