"""The emulated sensor: ideal pixels send what the threshold says; noise comes at its rate."""

from __future__ import annotations

import numpy as np
import pytest

from lmht_deploy.events.arrays import Sensor, checked
from lmht_deploy.events.dvs import Dvs, emulate

IDEAL = Dvs(on=0.25, off=0.5, mismatch=0, dark=0.0, noise_on=0, noise_off=0)


def ramp(*levels: float) -> list[np.ndarray]:
    """Frames [1, 1, 1] of the log intensities given."""
    return [np.full((1, 1, 1), np.exp(level)) for level in levels]


def test_events_at_every_threshold_and_the_time_of_the_crossing() -> None:
    (events,) = emulate(ramp(-2, -0.999), 1000, IDEAL, np.random.default_rng(0))
    assert events["p"].all()
    assert events["t"].tolist() == [249, 499, 749, 999]


def test_falling_intensity_gives_off_events_at_their_own_threshold() -> None:
    (events,) = emulate(ramp(0, -1.001), 1000, IDEAL, np.random.default_rng(0))
    assert not events["p"].any()
    assert events["t"].tolist() == [499, 999]


def test_small_changes_add_up() -> None:
    (events,) = emulate(ramp(-2, -1.9, -1.8, -1.7), 1000, IDEAL, np.random.default_rng(0))
    assert events["t"].tolist() == [2500]


def test_a_still_scene_is_silent() -> None:
    assert [len(events) for events in emulate(ramp(-1, -1, -1), 1000, IDEAL, np.random.default_rng(0))] == [0]


def test_scenes_side_by_side_are_seen_apart_by_the_same_pixels() -> None:
    rng = np.random.default_rng(1)
    frames = [rng.random((3, 4, 5)) for _ in range(6)]
    dvs = Dvs(noise_on=0, noise_off=0)
    together = emulate(frames, 1000, dvs, np.random.default_rng(7))
    for scene, events in enumerate(together):
        assert len(events) > 20
        checked(events, Sensor(4, 5))
        (alone,) = emulate([frame[scene : scene + 1] for frame in frames], 1000, dvs, np.random.default_rng(7))
        np.testing.assert_array_equal(np.sort(events), np.sort(alone))


def test_noise_comes_at_its_rate() -> None:
    dvs = Dvs(noise_on=2.0, noise_off=0.5)
    (events,) = emulate([np.full((1, 50, 40), 0.5)] * 11, 100_000, dvs, np.random.default_rng(0))
    assert events["p"].sum() == pytest.approx(2.0 * 2000, rel=0.1)
    assert (~events["p"]).sum() == pytest.approx(0.5 * 2000, rel=0.1)
    assert events["t"].min() >= 0 and events["t"].max() < 1_000_000


def test_the_same_seed_gives_the_same_events() -> None:
    frames = list(np.random.default_rng(3).random((5, 2, 4, 4)))
    first, again, other = (emulate(frames, 1000, Dvs(noise_on=100), np.random.default_rng(seed)) for seed in (1, 1, 2))
    np.testing.assert_array_equal(np.concatenate(first), np.concatenate(again))
    assert len(np.concatenate(first)) != len(np.concatenate(other)) or (np.concatenate(first) != np.concatenate(other)).any()
