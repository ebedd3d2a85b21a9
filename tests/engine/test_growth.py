"""What is opened and closed again leaves no memory behind."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from lmht_deploy import engine
from lmht_deploy.backends import open_backend
from lmht_deploy.events import make_events, open_recording
from lmht_deploy.formats.lmht import save_network
from tests.support.networks import SPECIAL, windows_for

STATM = Path("/proc/self/statm")
MAX_GROWTH = 4 << 20
"""Bytes: one leaked object of 400 bytes per round would exceed it after 10,000 rounds."""

if not STATM.exists():
    pytest.skip("reads the memory of the process from /proc of Linux", allow_module_level=True)


def resident() -> int:
    """Bytes of memory that the process holds."""
    return int(STATM.read_text().split()[1]) * 4096


def growth(work: Callable[[], object], rounds: int) -> int:
    """Bytes that `rounds` calls leave behind, after a tenth of them has filled every cache."""
    for _ in range(rounds // 10):
        work()
    before = resident()
    for _ in range(rounds):
        work()
    return resident() - before


def test_engines_leave_nothing() -> None:
    net = SPECIAL["residual"]()
    windows = windows_for(net, 1)

    def work() -> None:
        engine.Engine(engine.Model(net)).run(windows)

    assert growth(work, 10_000) < MAX_GROWTH


def test_backends_leave_nothing(tmp_path: Path) -> None:
    net = SPECIAL["residual"]()
    save_network(net, tmp_path / "net.lmht")
    windows = windows_for(net, 1)

    def work() -> None:
        runner = open_backend("event", tmp_path / "net.lmht")
        runner.run(windows)
        runner.close()

    assert growth(work, 100) < MAX_GROWTH


def test_recordings_leave_nothing(tmp_path: Path) -> None:
    events = make_events(np.arange(100), *np.ones((3, 100), int))
    np.save(tmp_path / "events.npy", events)

    def work() -> None:
        for _ in open_recording(tmp_path / "events.npy", (4, 4)).packets:
            pass

    assert growth(work, 1000) < MAX_GROWTH
