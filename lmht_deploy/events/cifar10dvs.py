"""The recording of CIFAR10-DVS (Li et al. 2017), emulated: an image on a screen, moved before a dynamic vision sensor.

The image is enlarged to 512 x 512 screen pixels (bicubic), lit with the display's gamma, and moved along a closed diamond,
left-down, left-up, right-up, right-down, again and again; a lens blurs it onto 128 x 128 pixels, which see its middle. Addresses are
those of the data set: x = 127 - row, y = 127 - column of the upright image.

What the set-up was is known in part only. SPAN, PERIOD and the path were measured on one real recording; BLUR, AMPLITUDE and the
thresholds were fitted to it, and to the mean number of events of the data set (docs/events.md says how well that goes).
"""

from __future__ import annotations

from functools import cache

import numpy as np

from ..errors import DataError
from .arrays import Sensor, make_events
from .dvs import Dvs, emulate
from .extension import core

SENSOR = Sensor(128, 128)
CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
DVS = Dvs(on=0.15, off=0.195, mismatch=0.021, dark=0.0137, refractory=6000, noise_on=0.3, noise_off=0.085)
"""Thresholds, dark and refractory time: fitted. Mismatch: that of a DVS128 (2.1 % contrast, Lichtsteiner et al. 2008). Noise: measured in
flat areas."""

SCREEN = 512
"""Screen pixels that the image fills, in both directions."""
SPAN = 1.175
"""The same, as a share of the sensor's width: the borders of the image are not seen."""
SCALE = SCREEN / (SENSOR.width * SPAN)
"""Screen pixels that one pixel of the sensor sees."""
GAMMA = 2.2
BLUR = 2.05
"""Standard deviation of the lens's point spread, in sensor pixels."""
AMPLITUDE = 9.5
"""Half the diagonal of the diamond, in screen pixels: every side moves the image as much along both axes."""
PERIOD, STEPS = 283_000, 70
"""Microseconds of one way round, and frames on it."""
DURATION, DURATION_SPREAD, DURATION_RANGE = 1_298_444, 50_000, (1_149_758, 1_459_301)
"""Microseconds of a recording: mean and range are those of the data set, the standard deviation is an assumption."""


def record(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """What the sensor sends for `image` uint8 [H, W, 3]: EVENT [n] for about 1.3 s. Raises DataError for another kind of array.

    The duration, the place on the path at the start, the pixels' thresholds and the noise are drawn from `rng`.
    """
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
        raise DataError(f"an image must be uint8 [H, W, 3], not {image.dtype} {list(image.shape)}")
    duration = np.clip(rng.normal(DURATION, DURATION_SPREAD), *DURATION_RANGE)
    interval = PERIOD // STEPS
    order = (int(rng.integers(STEPS)) + np.arange(int(duration) // interval + 2)) % STEPS
    (events,) = emulate(_film(image)[None], order, interval, DVS, rng)
    return make_events(events["t"], SENSOR.width - 1 - events["y"], SENSOR.height - 1 - events["x"], events["p"])


def _film(image: np.ndarray) -> np.ndarray:
    """Intensities float32 [STEPS, 128, 128] on the upright sensor, once round the path."""
    lens = _blurred()
    down, right = _path().T
    film = np.empty((STEPS, *SENSOR), np.float32)
    core().move(lens @ _lit(image) @ lens.T, _places(down, SENSOR.height), _places(right, SENSOR.width), film)
    return film


def _lit(image: np.ndarray) -> np.ndarray:
    """Intensity float32 [256, 256] of the enlarged image on the screen, pairs of its pixels averaged."""
    luma = image.astype(np.float32) @ np.array([0.299, 0.587, 0.114], np.float32) / 255
    enlarged = _cubic(SCREEN, luma.shape[0]) @ luma @ _cubic(SCREEN, luma.shape[1]).T
    light = np.clip(enlarged, 0, 1) ** GAMMA
    return light.reshape(SCREEN // 2, 2, SCREEN // 2, 2).mean((1, 3))


@cache
def _cubic(size: int, pixels: int) -> np.ndarray:
    """Weights [size, pixels] of cubic interpolation (a = -1/2, Keys 1981), the border repeated."""
    position = (np.arange(size) + 0.5) * pixels / size - 0.5
    weights = np.zeros((size, pixels), np.float32)
    for tap in range(-1, 3):
        at = np.floor(position).astype(int) + tap
        d = np.abs(position - at)
        near, far = (1.5 * d - 2.5) * d**2 + 1, ((-0.5 * d + 2.5) * d - 4) * d + 2
        np.add.at(weights, (np.arange(size), np.clip(at, 0, pixels - 1)), np.where(d <= 1, near, np.where(d < 2, far, 0)))
    return weights


def _path() -> np.ndarray:
    """By how many screen pixels (down, right) the image is moved at every step, float [STEPS, 2]."""
    corners = AMPLITUDE * np.array([(0, 1), (1, 0), (0, -1), (-1, 0), (0, 1)])
    shares = np.arange(STEPS) / STEPS * 4
    side, along = shares.astype(int), (shares % 1)[:, None]
    return corners[side] * (1 - along) + corners[side + 1] * along


def _blurred() -> np.ndarray:
    """Gaussian weights float32 [256, 256] of the lens along one axis of the lit screen; black beside it."""
    deviation = BLUR * SCALE / 2
    pixels = np.arange(SCREEN // 2)
    weights = np.exp(-0.5 * ((pixels[:, None] - pixels) / deviation) ** 2)
    return (weights / (np.sqrt(2 * np.pi) * deviation)).astype(np.float32)


def _places(shifts: np.ndarray, size: int) -> np.ndarray:
    """Where on the lit screen, in its pixels, the `size` rows (columns) of the sensor look while the image is moved by `shifts` [S]: float32 [S, size]."""
    screen = (np.arange(size) - (size - 1) / 2) * SCALE + (SCREEN - 1) / 2 - shifts[:, None]
    return ((screen - 0.5) / 2).astype(np.float32)
