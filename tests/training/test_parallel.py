"""Several processes train the same model as one."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from lmht_deploy.errors import TrainingError
from lmht_deploy.training import Recipe, _parallel, runs, train
from tests.support.training import DATA, EVERYTHING, processes, small


def test_what_cannot_be_shared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_parallel, "world_size", lambda: 2)
    for batch in (20, 96, 128):  # not a multiple of 64; more than the data
        with pytest.raises(
            TrainingError,
            match="for 2 processes training.batch_size must be a multiple of 64 and not exceed "
            f"the .* training windows, not {batch}",
        ):
            train(small(f"training.batch_size={batch}"), DATA, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_two_processes_draw_what_one_does(tmp_path: Path) -> None:
    """Order, augmentation and mixing of a batch, and batch norm over both shares.

    The weights are equal at the end, except for rounding.
    """
    context = processes()
    chosen = small(
        *EVERYTHING, "training.batch_size=64", "training.epochs=3", "training.learning_rate=1e-3"
    )
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
def test_synchronized_batch_norm_is_batch_norm(dtype: torch.dtype, tolerance: float) -> None:
    """With one process, and in evaluation: equal output, statistics and gradients.

    Also for the dtypes of convolutions under autocast.
    """
    torch.manual_seed(0)
    x = (torch.randn(6, 3, 4, 5) * 3 + 1).to(dtype)
    found = []
    for kind in (torch.nn.BatchNorm2d, _parallel.SyncBatchNorm2d):
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
