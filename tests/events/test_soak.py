"""A long stream, shortened: `python -m benchmarks.soak` is the long one."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.soak import soak
from lmht_deploy import engine


def test_memory_is_flat_and_every_window_is_exact() -> None:
    if reason := engine.unavailable():
        pytest.skip(reason)
    if not Path("/proc/self/status").exists():
        pytest.skip("the system does not tell the memory of a process")
    rows = [row.figures for row in soak(4_000_000)]
    assert len(rows) == 10 and sum(row["windows exact"] for row in rows) == 200
    assert rows[-1]["RSS MB"] - rows[1]["RSS MB"] < 5
