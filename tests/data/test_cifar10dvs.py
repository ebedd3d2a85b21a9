"""The emulated CIFAR10-DVS: its optics by hand, its recordings compared with a real one."""

from __future__ import annotations

import json

import numpy as np
import pytest

from lmht_deploy.data import cifar10dvs
from lmht_deploy.errors import DataError
from lmht_deploy.events.arrays import Sensor, validate_events
from lmht_deploy.events.dvs import Dvs
from lmht_deploy.events.windows import WindowRule, count_windows
from tests.support.recordings import data


def still(value: int) -> np.ndarray:
    return np.full((32, 32, 3), value, np.uint8)


def test_an_even_image_lights_the_whole_sensor_evenly() -> None:
    film = cifar10dvs._render(still(128))
    assert film.shape == (cifar10dvs.STEPS, 128, 128)
    np.testing.assert_allclose(film, (128 / 255) ** 2.2, rtol=1e-3)


def test_an_even_image_gives_noise_only() -> None:
    events = cifar10dvs.record(still(128), np.random.default_rng(0))
    expected = (
        (cifar10dvs.DVS.noise_on + cifar10dvs.DVS.noise_off)
        * 128
        * 128
        * cifar10dvs.DURATION
        * 1e-6
    )
    assert len(events) == pytest.approx(expected, rel=0.15)


def upright(film: np.ndarray) -> np.ndarray:
    """Frames in the orientation of the image: the data set has x = 127 - row, y = 127 - column."""
    return film[:, ::-1, ::-1].transpose(0, 2, 1)


def test_the_path_is_a_closed_clockwise_diamond() -> None:
    image = still(0)
    image[16, 16] = 255
    film = upright(cifar10dvs._render(image))
    rows, columns = np.indices(film.shape[1:])
    centers = np.array(
        [((frame * rows).sum(), (frame * columns).sum()) / frame.sum() for frame in film]
    )  # type: ignore[operator]
    path = cifar10dvs._path()
    np.testing.assert_allclose(
        centers - centers.mean(0), path * 128 * cifar10dvs.SPAN / 512, atol=0.05
    )
    assert np.abs(path).sum(1) == pytest.approx(cifar10dvs.AMPLITUDE)
    moves = np.diff(path[[0, 4, 8, 13, 0]], axis=0)  # near the corners
    assert np.sign(moves).tolist() == [
        [1, -1],
        [-1, -1],
        [-1, 1],
        [1, 1],
    ]  # (down, right): left-down, left-up, right-up, right-down


def test_addresses_are_those_of_the_data_set(monkeypatch: pytest.MonkeyPatch) -> None:
    image = still(60)
    image[4:8, 20:24] = 255  # in the upper right of the upright image
    monkeypatch.setattr(
        cifar10dvs, "DVS", Dvs(on=0.2, off=0.25, mismatch=0, dark=0.01, noise_on=0, noise_off=0)
    )
    events = validate_events(cifar10dvs.record(image, np.random.default_rng(0)), Sensor(128, 128))
    assert 127 - events["x"].mean() == pytest.approx(
        (6 / 32 - 0.5) * 128 * cifar10dvs.SPAN + 63.5, abs=4
    )
    assert 127 - events["y"].mean() == pytest.approx(
        (22 / 32 - 0.5) * 128 * cifar10dvs.SPAN + 63.5, abs=4
    )


def test_a_recording_is_drawn_from_its_seed() -> None:
    image = np.random.default_rng(0).integers(0, 256, (32, 32, 3), np.uint8)
    first, again, other = (
        cifar10dvs.record(image, np.random.default_rng(seed)) for seed in ((1, 2), (1, 2), (1, 3))
    )
    np.testing.assert_array_equal(first, again)
    assert len(first) != len(other)
    low, high = cifar10dvs.DURATION_RANGE
    assert low - 10_000 < first["t"][-1] < high


def smoothed(image: np.ndarray) -> np.ndarray:
    """`image` averaged over 3 x 3 pixels."""
    padded = np.pad(image.astype(float), 1, mode="edge")
    return (
        sum(
            padded[i : i + image.shape[0], j : j + image.shape[1]]
            for i in range(3)
            for j in range(3)
        )
        / 9
    )  # type: ignore[return-value]


def test_against_a_real_recording() -> None:
    """airplane0: 210,816 events, 57.3 % ON; 34 % of the cells of ten bins not zero, at most 19."""
    image_module = pytest.importorskip("PIL.Image")
    real = np.load(data("cifar10dvs_airplane0/airplane0_counts.npz"))
    image = np.asarray(
        image_module.open(data("cifar10dvs_airplane0/cifar10_train_airplane_4678.jpg")).convert(
            "RGB"
        )
    )
    events = cifar10dvs.record(image, np.random.default_rng(0))
    (window,) = count_windows(events, cifar10dvs.SENSOR, WindowRule(10))
    ten = real["bins10_first5"]
    assert len(events) == pytest.approx(210_816, rel=0.2)
    assert events["p"].mean() == pytest.approx(ten[:, 1].sum() / ten.sum(), abs=0.01)
    assert (window > 0).mean() == pytest.approx((ten > 0).mean(), abs=0.02)
    assert window.max() == pytest.approx(ten.max(), abs=8)
    where, really = smoothed(window.sum((0, 1))), smoothed(real["bins5_merged"].sum(0))
    assert np.corrcoef(where.ravel(), really.ravel())[0, 1] > 0.9


@pytest.mark.parametrize(
    "image", [np.zeros((32, 32, 3)), np.zeros((32, 32), np.uint8), np.zeros((32, 32, 1), np.uint8)]
)
def test_what_is_no_image_is_refused(image: np.ndarray) -> None:
    with pytest.raises(DataError, match=r"an image must be uint8 \[H, W, 3\]"):
        cifar10dvs.record(image, np.random.default_rng(0))


def test_the_parameters_are_plain_values() -> None:
    assert json.loads(json.dumps(vars(cifar10dvs.DVS))) == vars(cifar10dvs.DVS)
