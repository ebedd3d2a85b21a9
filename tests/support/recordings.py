"""Event arrays for the tests of events."""

from __future__ import annotations

import os
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from hypothesis import strategies as st

from lmht_deploy import data as data_room
from lmht_deploy.events.arrays import Sensor, make_events
from lmht_deploy.events.windows import By, WindowRule

SENSOR = Sensor(height=3, width=5)
load = partial(data_room.load, split="train", steps=4)
"""`lmht_deploy.data.load` with defaults for what most tests do not care about."""
DATA = Path(os.environ.get("LMHT_TEST_DATA", Path(__file__).parents[3] / "shared" / "data"))
"""Folder of real data; the variable `LMHT_TEST_DATA` names another one."""


def data(path: str) -> Path:
    """Return a file or folder of real data; skip the test if it is missing."""
    if not (DATA / path).exists():
        pytest.skip(f"real data is missing: {path} in the folder that LMHT_TEST_DATA names")
    return DATA / path


def at(*times: int) -> np.ndarray:
    """Events at `times`, all ON at (0, 0)."""
    zero = np.zeros(len(times), int)
    return make_events(np.array(times, np.int64), zero, zero, zero + 1)


@st.composite
def recordings(draw: st.DrawFn, sensor: Sensor = SENSOR) -> np.ndarray:
    """Valid recordings of 1 to 60 events; times repeat, leave gaps and start anywhere."""
    number = draw(st.integers(1, 60))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    gaps = rng.integers(0, draw(st.sampled_from([1, 2, 10, 10**6])) + 1, number)
    start = draw(st.integers(-(2**40), 2**40))
    return make_events(
        start + np.cumsum(gaps),
        rng.integers(sensor.width, size=number),
        rng.integers(sensor.height, size=number),
        rng.integers(2, size=number),
    )


def binned(steps: int, by: By, bin_length: int, hop: int = 0) -> WindowRule:
    """The rule of windows of `steps` bins of `bin_length`."""
    return WindowRule(steps, by, steps * bin_length, hop)


def bins(rule: WindowRule, events: np.ndarray) -> np.ndarray:
    """The bin of every event, int64 [n], by the table in docs/reference/events.md."""
    t = events["t"] - events["t"][0]
    if rule.by == "events":
        return np.arange(len(events)) // rule.bin_length
    if rule.by == "time":
        return t // rule.bin_length
    return np.minimum(t * rule.steps // max(int(t[-1]), 1), rule.steps - 1)


def counted(events: np.ndarray, sensor: Sensor, rule: WindowRule, size: Sensor) -> np.ndarray:
    """`windows.windows` in NumPy, the oracle: int64 [N, T_in, 2, H, W]."""
    found = bins(rule, events)
    starts = [0]
    while starts[-1] + rule.steps <= found[-1]:
        starts.append(starts[-1] + rule.hop)
    shape = (starts[-1] + rule.steps, 2, *size)
    places = (
        found,
        events["p"].astype(int),
        events["y"].astype(int) * size.height // sensor.height,
        events["x"].astype(int) * size.width // sensor.width,
    )
    cells = np.bincount(np.ravel_multi_index(places, shape), minlength=int(np.prod(shape)))
    frames = cells.reshape(shape)
    return np.stack([frames[start : start + rule.steps] for start in starts])
