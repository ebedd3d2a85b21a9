"""The captured step: it does what the plain one does, and capturing it changes nothing."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.nn import functional
from torch.utils._python_dispatch import TorchDispatchMode

from lmht_deploy.errors import LmhtWarning
from lmht_deploy.training import _step, loop, run_folder
from lmht_deploy.training._step import CapturedStep
from lmht_deploy.training.loop import train
from lmht_deploy.training.recipe import TrainingRecipe
from tests.support.training import DATA, EVERYTHING, small


def rerun(work: Callable[[], None]) -> Callable[[], None]:
    """Stand in for a CUDA graph: run `work` as often as before a capture, then again per replay."""
    for _ in range(_step.WARM_UP):
        work()
    return work


def refuse(work: Callable[[], None]) -> Callable[[], None]:
    """Run `work`, and fail as a capture does."""
    rerun(work)
    raise RuntimeError("operation not permitted when stream is capturing")


@pytest.fixture
def capturing(monkeypatch: pytest.MonkeyPatch) -> Callable[[_step.Record], None]:
    """Let training use `CapturedStep` on the CPU, with another way to record."""

    def use(record: _step.Record) -> None:
        def captured(session: loop._Session) -> CapturedStep:
            return CapturedStep(session._step, record)

        monkeypatch.setattr(loop._Session, "_captured", captured)
        monkeypatch.setattr(loop._Session, "_is_captured", True)

    return use


def same_files(one: Path, other: Path) -> None:
    for name in (run_folder.MODEL, run_folder.STATE):
        assert (one / name).read_bytes() == (other / name).read_bytes(), name


@pytest.mark.parametrize(
    "options",
    [
        ["training.optimizer=sgd", "training.learning_rate=0.05"],
        ["training.optimizer=adamw", "training.max_grad_norm=1"],
        ["training.precision=float16", "training.optimizer=sgd", "training.max_grad_norm=1"],
        ["training.precision=bfloat16", "training.ema_decay=0.9", "training.sop_penalty=1"],
        list(EVERYTHING),
    ],
    ids=["sgd", "adamw", "scaled", "averaged", "everything"],
)
def test_captured_and_plain_steps_give_the_same_bits(
    options: list[str], capturing: Callable[[_step.Record], None], tmp_path: Path
) -> None:
    """Weights, momenta, scale and average; also when a run is resumed."""
    plain = train(small("training.epochs=3", *options), DATA, tmp_path / "plain")
    capturing(rerun)
    chosen = small("training.epochs=3", *options)
    captured = train(chosen, DATA, tmp_path / "captured")
    same_files(tmp_path / "plain", tmp_path / "captured")
    assert [line["loss"] for line in plain.metrics] == [line["loss"] for line in captured.metrics]

    class StopError(Exception):
        pass

    def stop(progress: loop.Progress) -> None:
        if progress.epoch == 2:
            raise StopError

    with pytest.raises(StopError):
        train(chosen, DATA, tmp_path / "resumed", report=stop)
    train(chosen, DATA, tmp_path / "resumed", resume=True)
    same_files(tmp_path / "plain", tmp_path / "resumed")


def test_a_step_that_cannot_be_captured_is_run_plainly(
    capturing: Callable[[_step.Record], None], tmp_path: Path
) -> None:
    train(small("training.epochs=1"), DATA, tmp_path / "plain")
    capturing(refuse)
    with pytest.warns(LmhtWarning, match="without a CUDA graph: operation not permitted"):
        train(small("training.epochs=1"), DATA, tmp_path / "refused")
    same_files(tmp_path / "plain", tmp_path / "refused")


@pytest.mark.parametrize("mixed", [False, True])
def test_loss_per_step(mixed: bool) -> None:
    """The mean over time of the cross-entropies; with one step, both losses are equal."""
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(3, 5, 4, generator=generator, dtype=torch.float64)
    labels = torch.randint(4, (5,), generator=generator)
    targets = torch.rand(5, 4, generator=generator, dtype=torch.float64) if mixed else labels

    def loss(logits: torch.Tensor, kind: str) -> float:
        recipe = TrainingRecipe(loss=kind, label_smoothing=0.1)
        return _step.loss_of(logits, targets, recipe).item()

    entropies = [
        functional.cross_entropy(step, targets, label_smoothing=0.1).item() for step in logits
    ]
    assert loss(logits, "per-step") == pytest.approx(sum(entropies) / 3, rel=1e-12)
    assert loss(logits, "mean") < loss(logits, "per-step")
    assert loss(logits[:1], "mean") == pytest.approx(loss(logits[:1], "per-step"), rel=1e-12)


class NoWait(TorchDispatchMode):
    """Refuses operations whose result the host must read, which no CUDA graph can hold."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        assert func._overloadpacket not in {
            torch.ops.aten._local_scalar_dense,
            torch.ops.aten.nonzero,
            torch.ops.aten.masked_select,
            torch.ops.aten.equal,
        }, func
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("options", [[], list(EVERYTHING)], ids=["plain", "everything"])
def test_the_host_never_reads_a_result_within_a_step(options: list[str], tmp_path: Path) -> None:
    chosen = small(*options, "training.optimizer=sgd", "training.max_grad_norm=1")
    session = loop._Session(chosen, DATA, tmp_path, lambda progress: None, torch.device("cpu"))
    for batch in session.batches.epoch(1):
        session.optimization.schedule(0, 6)
        with NoWait():
            session._step(batch)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize(
    "options", [[], ["training.optimizer=sgd"], ["training.precision=float16"]]
)
def test_a_cuda_graph_trains_as_the_plain_step_does(options: list[str], tmp_path: Path) -> None:
    found = [
        train(
            small("training.epochs=8", *options, f"training.cuda_graph={graph}"),
            DATA,
            tmp_path / graph,
            device="cuda",
        )
        for graph in ("true", "false")
    ]
    graphed, plain = ([line["loss"] for line in run.metrics] for run in found)
    assert graphed == pytest.approx(plain, rel=0.02)
    assert found[0].accuracy >= 0.5
