"""The 1,797 handwritten digits of scikit-learn, moved before the emulated sensor: no files."""

from __future__ import annotations

import numpy as np

from lmht_deploy._packages import require_package
from lmht_deploy.events._grid import on_grid
from lmht_deploy.events.arrays import Sensor
from lmht_deploy.events.dvs import Dvs, emulate

from ._listing import Choice, select
from ._recordings import Recordings

SENSOR = Sensor(16, 16)
CLASSES = tuple(map(str, range(10)))
TEST_SHARE = 0.2
DVS = Dvs(on=0.3, off=0.3, dark=0.15)

SCALE = 1.5
"""Sensor pixels that one pixel of an 8 x 8 scan covers."""

RADIUS = 2.0
"""Radius of the circle on which a digit moves, in sensor pixels."""

STEPS, INTERVAL = 32, 3125
"""Frames of one revolution, and us between them: a recording takes 0.1 s."""

BITS = 20
"""Positions and weights are multiples of 2^-20, images of 2^-4: intensities have 44 bits."""


def load_digits_recordings(choice: Choice) -> Recordings:
    """Emulate the recordings of one split: 4 of 5 digits of each class train, the others test.

    Args:
        choice: Split and classes.

    Raises:
        DataError: scikit-learn is not installed.
    """
    require_package("sklearn", "demo")
    from sklearn.datasets import load_digits

    scans = load_digits()
    labels = scans.target.astype(np.int64)
    names = [f"digit {index:04}" for index in range(len(labels))]
    chosen = select(names, labels, CLASSES, choice, test_share=TEST_SHARE)
    order = np.arange(STEPS + 1)
    frames = _move_on_circle(scans.images[chosen.index] / 16)
    events = emulate(frames, order, INTERVAL * order, DVS, np.random.default_rng(0))
    origin = {"source": "scikit-learn load_digits, emulated DVS", "dvs": vars(DVS)}
    return Recordings(
        events,
        [names[index] for index in chosen.index.tolist()],
        chosen.labels,
        chosen.classes,
        SENSOR,
        origin | chosen.origin,
    )


def _move_on_circle(images: np.ndarray) -> np.ndarray:
    """Frames `[B, STEPS + 1, H, W]` of `images` `[B, 8, 8]`, enlarged, on one revolution."""
    down, right = _circle()
    rows = np.stack([_interpolate(SENSOR.height, images.shape[1], shift) for shift in down])
    columns = np.stack([_interpolate(SENSOR.width, images.shape[2], shift) for shift in right])
    frames: np.ndarray = rows @ images[:, None] @ columns.transpose(0, 2, 1)
    return frames


def _circle() -> tuple[np.ndarray, np.ndarray]:
    """Shifts down and right `[STEPS + 1]` on one revolution, in sensor pixels."""
    angles = np.linspace(0, 2 * np.pi, STEPS + 1)
    return on_grid(RADIUS * np.sin(angles), BITS), on_grid(RADIUS * np.cos(angles), BITS)


def _interpolate(size: int, pixels: int, shift: float) -> np.ndarray:
    """Weights `[size, pixels]` of bilinear interpolation along one axis; zero outside the image."""
    position = (np.arange(size) - (size - 1) / 2 - shift) / SCALE + (pixels - 1) / 2
    return on_grid(np.maximum(1 - np.abs(position[:, None] - np.arange(pixels)), 0), BITS)
