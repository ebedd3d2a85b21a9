"""The 1,797 handwritten digits of scikit-learn, moved before the emulated sensor: real scans, nothing to download."""

from __future__ import annotations

import numpy as np

from lmht_deploy._packages import need
from lmht_deploy.events.arrays import Sensor
from lmht_deploy.events.dvs import Dvs, emulate

from .sources import Recordings, Split, split_by_class

SENSOR = Sensor(16, 16)
DVS = Dvs(on=0.3, off=0.3, dark=0.15)
SCALE = 1.5
"""Sensor pixels that one pixel of an 8 x 8 scan covers."""
RADIUS = 2.0
"""Radius of the circle on which a digit moves, in sensor pixels."""
STEPS, INTERVAL = 32, 3125
"""Frames on the way round, and microseconds between them: a recording lasts 0.1 s."""


def digits(split: Split) -> Recordings:
    """One split (in each class 4 of 5 train, the others test); DataError where scikit-learn is missing."""
    need("sklearn", "demo")
    from sklearn.datasets import load_digits

    scans = load_digits()
    labels = scans.target.astype(np.int64)
    chosen = split_by_class(labels, 0.8, split)
    events = emulate(
        moving(scans.images[chosen] / 16),
        np.arange(STEPS + 1),
        INTERVAL * np.arange(STEPS + 1),
        DVS,
        np.random.default_rng(0),
    )
    origin = {"source": "scikit-learn load_digits, emulated DVS", "dvs": vars(DVS)}
    return Recordings(
        events, labels[chosen], tuple(str(digit) for digit in range(10)), SENSOR, origin
    )


def moving(images: np.ndarray) -> np.ndarray:
    """Frames [B, STEPS + 1, H, W] of `images` [B, 8, 8], bilinearly enlarged, going once round a circle."""
    angles = np.linspace(0, 2 * np.pi, STEPS + 1)
    rows = np.stack(
        [_tents(SENSOR.height, images.shape[1], RADIUS * np.sin(angle)) for angle in angles]
    )
    columns = np.stack(
        [_tents(SENSOR.width, images.shape[2], RADIUS * np.cos(angle)) for angle in angles]
    )
    return rows @ images[:, None] @ columns.transpose(0, 2, 1)


def _tents(size: int, pixels: int, shift: float) -> np.ndarray:
    """Weights [size, pixels] of bilinear interpolation along one axis, centred and then shifted; zero beside the image."""
    position = (np.arange(size) - (size - 1) / 2 - shift) / SCALE + (pixels - 1) / 2
    return np.maximum(1 - np.abs(position[:, None] - np.arange(pixels)), 0)
