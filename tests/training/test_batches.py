"""Batches of training windows."""

from __future__ import annotations

from pathlib import Path

from lmht_deploy.training import train
from tests.support.training import DATA, small


def test_an_incomplete_batch_is_dropped(tmp_path: Path) -> None:
    """120 windows in batches of 50 are two steps; one step if they are fewer than a batch."""
    steps: list[int] = []
    train(
        small("training.batch_size=50", "training.epochs=1"),
        DATA,
        tmp_path / "a",
        report=lambda p: steps.append(p.steps),
    )
    assert set(steps) == {2} and len(steps) == 3
    train(
        small("training.batch_size=500", "training.epochs=1"),
        DATA,
        tmp_path / "b",
        report=lambda p: steps.append(p.steps),
    )
    assert steps[-1] == 1
