"""Triton's kernels run in its interpreter without a GPU, which must be set before its import."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch

if not torch.cuda.is_available():
    os.environ["TRITON_INTERPRET"] = "1"


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run of the recipe `small()`, which no test may change."""
    from lmht_deploy.training import train
    from tests.support.training import DATA, small

    folder = tmp_path_factory.mktemp("runs") / "finished"
    train(small(), DATA, folder)
    return folder
