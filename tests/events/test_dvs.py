"""The emulated sensor: ideal pixels by hand, all pixels by an oracle, noise by its rate."""

from __future__ import annotations

import dataclasses
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lmht_deploy.events._extension import core
from lmht_deploy.events.arrays import EVENT, Sensor, as_bytes, make_events, validate_events
from lmht_deploy.events.dvs import Dvs, emulate

IDEAL = Dvs(on=0.25, off=0.5, mismatch=0, dark=0.0, noise_on=0, noise_off=0)


def shown(levels: list[float], dvs: Dvs = IDEAL, interval: int = 1000) -> np.ndarray:
    """What one pixel sends while its log intensity goes from one of `levels` to the next."""
    (events,) = emulate(
        np.exp(levels).reshape(1, -1, 1, 1),
        np.arange(len(levels)),
        interval * np.arange(len(levels)),
        dvs,
        np.random.default_rng(0),
    )
    return events


def pixel(
    levels: list[float], interval: int, off: float, on: float, refractory: float, leak: float
) -> list[tuple[float, bool]]:
    """Oracle: one pixel in continuous time, (time, polarity) of its events; `leak` in 1/us."""
    found: list[tuple[float, bool]] = []
    reference, sees = levels[0], 0.0
    for step, (before, after) in enumerate(pairwise(levels)):
        start, end, slope = (
            step * interval,
            (step + 1) * interval,
            (after - before) / interval + leak * on,
        )
        level = lambda t: before + (t - start) * slope  # noqa: B023, E731
        now = float(start)
        while True:
            if sees > now:
                if sees >= end:
                    break
                now, reference = sees, level(sees)
            threshold = on if slope > 0 else -off
            crossing = (
                max(now, start + (reference + threshold - before) / slope) if slope else np.inf
            )
            if crossing > end:
                break
            found.append((crossing, slope > 0))
            reference, now, sees = reference + threshold, crossing, crossing + refractory
        reference -= leak * on * interval
    return found


def test_events_at_every_threshold_and_the_time_of_the_crossing() -> None:
    events = shown([-2, -0.999])
    assert events["p"].all()
    assert events["t"].tolist() == [249, 499, 749, 999]


def test_falling_intensity_gives_off_events_at_their_own_threshold() -> None:
    events = shown([0, -1.001])
    assert not events["p"].any()
    assert events["t"].tolist() == [499, 999]


def test_small_changes_add_up() -> None:
    assert shown([-2, -1.9, -1.8, -1.7])["t"].tolist() == [2500]


def test_a_still_scene_is_silent() -> None:
    assert len(shown([-1, -1, -1])) == 0


def test_in_reset_a_pixel_sees_nothing() -> None:
    dvs = dataclasses.replace(IDEAL, refractory=300)
    assert shown([-2, -0.999], dvs)["t"].tolist() == [
        249,
        799,
    ]  # the reference is taken anew at 549
    assert shown([-2, -1.7, -0.999], dataclasses.replace(IDEAL, refractory=3000))["t"].tolist() == [
        833
    ]


def test_a_still_scene_leaks() -> None:
    events = shown([-1] * 11, dataclasses.replace(IDEAL, leak=399.999), interval=1000)
    assert events["p"].all() and events["t"].tolist() == [2500, 5000, 7500]


@given(
    seed=st.integers(0, 2**32 - 1),
    frames=st.integers(2, 8),
    refractory=st.sampled_from([0, 10, 400, 2500]),
    leak=st.sampled_from([0, 1e-4, 2e-3]),
)
def test_a_pixel_does_what_the_oracle_does(
    seed: int, frames: int, refractory: int, leak: float
) -> None:
    rng = np.random.default_rng(seed)  # no round numbers, at which rounding would decide
    levels, (off, on) = rng.uniform(-4, 0, (frames, 3)), rng.uniform(0.1, 0.5, (2, 1, 3))
    refractory_time = refractory * rng.uniform(0.9, 1.1)
    none = as_bytes(make_events(*np.empty((4, 0), int)))
    levels, off, on = levels.astype(np.float32), off.astype(np.float32), on.astype(np.float32)
    raw = core().emulate(
        levels=levels[:, None],
        order=np.arange(frames),
        times=1000 * np.arange(frames),
        off=off,
        on=on,
        refractory=refractory_time,
        leak=leak,
        readout=0.0,
        noise=none,
    )
    events = (
        validate_events(raw.view(EVENT)[:, 0], Sensor(1, 3)) if len(raw) else np.empty(0, EVENT)
    )
    for x in range(3):
        expected = pixel(
            levels[:, x].astype(float).tolist(),
            1000,
            float(off[0, x]),
            float(on[0, x]),
            refractory_time,
            leak,
        )
        found = events[events["x"] == x]
        assert found["p"].tolist() == [polarity for _, polarity in expected]
        np.testing.assert_allclose(
            found["t"] + 0.5, [t for t, _ in expected], rtol=0, atol=0.6
        )  # the core computes with 32 bits


def test_scenes_side_by_side_are_seen_apart_by_the_same_pixels() -> None:
    scenes = np.random.default_rng(1).random((3, 6, 4, 5))
    dvs = Dvs(noise_on=0, noise_off=0)
    together = emulate(scenes, np.arange(6), 1000 * np.arange(6), dvs, np.random.default_rng(7))
    for scene, events in zip(scenes, together, strict=True):
        assert len(events) > 20
        validate_events(events, Sensor(4, 5))
        (alone,) = emulate(
            scene[None], np.arange(6), 1000 * np.arange(6), dvs, np.random.default_rng(7)
        )
        np.testing.assert_array_equal(events, alone)


def test_frames_are_shown_in_their_order() -> None:
    scenes = np.random.default_rng(1).random((1, 3, 4, 5))
    order = np.array([2, 0, 0, 1, 2])
    (events,) = emulate(scenes, order, 1000 * np.arange(5), Dvs(leak=20), np.random.default_rng(7))
    (written_out,) = emulate(
        scenes[:, order], np.arange(5), 1000 * np.arange(5), Dvs(leak=20), np.random.default_rng(7)
    )
    np.testing.assert_array_equal(events, written_out)
    assert len(events) > 20


def test_frames_may_be_shown_at_any_time() -> None:
    (events,) = emulate(
        np.exp([-2, -1.499, -1.499, -0.999]).reshape(1, -1, 1, 1),
        np.arange(4),
        np.array([0, 10, 5000, 5040]),
        IDEAL,
        np.random.default_rng(0),
    )
    assert events["t"].tolist() == [4, 9, 5019, 5039]


@pytest.mark.parametrize("readout", [0.5, 1.0, 7.3, 1000.0])
def test_the_readout_loses_what_comes_while_it_is_busy(readout: float) -> None:
    scenes = np.random.default_rng(1).random((1, 6, 20, 20))
    free, busy = (
        emulate(
            scenes,
            np.arange(6),
            1000 * np.arange(6),
            Dvs(noise_on=0, noise_off=0, readout=time),
            np.random.default_rng(7),
        )[0]
        for time in (0, readout)
    )
    assert 0 < len(busy) < len(free) and set(busy.tolist()) <= set(free.tolist())
    assert busy[0] == free[0]
    gaps = np.diff(busy["t"])
    assert gaps.min() >= np.floor(readout)
    lost = free[~np.isin(free, busy)]
    before = busy["t"][np.searchsorted(busy["t"], lost["t"], side="right") - 1]
    assert (lost["t"] - before <= readout + 1).all()  # times are whole microseconds


def test_noise_comes_at_its_rate() -> None:
    dvs = Dvs(noise_on=2.0, noise_off=0.5)
    (events,) = emulate(
        np.full((1, 1, 50, 40), 0.5),
        np.zeros(11, int),
        100_000 * np.arange(11),
        dvs,
        np.random.default_rng(0),
    )
    validate_events(events, Sensor(50, 40))
    assert events["p"].sum() == pytest.approx(2.0 * 2000, rel=0.1)
    assert (~events["p"]).sum() == pytest.approx(0.5 * 2000, rel=0.1)
    assert events["t"].min() >= 0 and events["t"].max() < 1_000_000


@pytest.mark.parametrize("intensity", [0, -0.5, np.nan, np.inf, 1e-39])
def test_intensities_without_a_logarithm_are_refused(intensity: float) -> None:
    scene = np.full((1, 2, 3, 4), 0.5)
    scene[0, 1, 2, 3] = intensity
    with pytest.raises(ValueError, match="intensities must be positive and finite"):
        emulate(scene, np.arange(2), np.arange(2), IDEAL, np.random.default_rng(0))


def test_logarithms_are_those_of_numpy() -> None:
    values = np.exp(np.random.default_rng(0).uniform(-80, 80, (2, 30, 40))).astype(np.float32)
    found = values.copy()
    core().take_logarithms(found)
    np.testing.assert_allclose(found, np.log(values.astype(float)), rtol=2e-7)


def test_the_same_seed_gives_the_same_events() -> None:
    scenes = np.random.default_rng(3).random((2, 5, 4, 4))
    first, again, other = (
        np.concatenate(
            emulate(
                scenes,
                np.arange(5),
                1000 * np.arange(5),
                Dvs(noise_on=100),
                np.random.default_rng(seed),
            )
        )
        for seed in (1, 1, 2)
    )
    np.testing.assert_array_equal(first, again)
    assert len(first) != len(other) or (first != other).any()
