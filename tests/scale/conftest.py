from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import lmht_deploy as lmht
from lmht_deploy import reference
from lmht_deploy.ir import Network
from tests.support.networks import SPECIAL, windows_for

NAMES = ("residual", "deep") if "deep" in SPECIAL else tuple(SPECIAL)[:2]


@pytest.fixture(scope="session")
def net() -> Network:
    return SPECIAL["residual"]()


@pytest.fixture(scope="session")
def windows(net: Network) -> np.ndarray:
    return windows_for(net, 24).astype(np.uint8)


@pytest.fixture(scope="session")
def labels(net: Network, windows: np.ndarray) -> np.ndarray:
    """The right answers, but for every fifth window."""
    found = reference.run(net, windows).predictions
    found[::5] = (found[::5] + 1) % net.classes
    return found


@pytest.fixture
def path(net: Network, tmp_path: Path) -> Path:
    lmht.save(net, tmp_path / "net.lmht")
    return tmp_path / "net.lmht"
