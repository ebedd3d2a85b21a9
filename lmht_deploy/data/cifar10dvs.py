"""The recording of CIFAR10-DVS (Li et al. 2017), emulated: an image on a screen, moved before a dynamic vision sensor.

The image is enlarged to 512 x 512 screen pixels (bicubic), lit with the display's gamma, and moved along a closed diamond,
left-down, left-up, right-up, right-down, again and again; a lens blurs it onto 128 x 128 pixels, which see its middle. Addresses are
those of the data set: x = 127 - row, y = 127 - column of the upright image.

The screen shows 60 pictures a second, so the image moves in steps, and its events come in bursts, in which the readout of the chip loses many:
scenes of much contrast lose most. That is why classes differ less than their images do.

What the set-up was is known in part only. SPAN, PERIOD and the path were measured on one real recording; BLUR, AMPLITUDE, RESPONSE and parameters
of the pixels were fitted to it, and to what is known of the whole data set (docs/events.md says how, and how well that goes).
"""

from __future__ import annotations

from functools import cache

import numpy as np

from lmht_deploy.errors import DataError
from lmht_deploy.events.arrays import Sensor
from lmht_deploy.events.dvs import Dvs, emulate
from lmht_deploy.events.extension import core

SENSOR = Sensor(128, 128)
CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
DVS = Dvs(
    on=0.055,
    off=0.072,
    mismatch=0.011,
    dark=0.007,
    refractory=100,
    readout=1.0,
    noise_on=0.3,
    noise_off=0.085,
)
"""Thresholds, mismatch, dark (black of the screen, stray light) and refractory time: fitted. Readout: a DVS128 sends a million events a second at
most (Lichtsteiner et al. 2008). Noise: measured in flat areas."""

SCREEN = 512
"""Screen pixels that the image fills, in both directions."""
COARSE = 4
"""One of so many of them is computed, both ways: the lens blurs far more."""
SPAN = 1.175
"""The same, as a share of the sensor's width: the borders of the image are not seen."""
SCALE = SCREEN / (SENSOR.width * SPAN)
"""Screen pixels that one pixel of the sensor sees."""
GAMMA = 2.2
BLUR = 2.8
"""Standard deviation of the lens's point spread, in sensor pixels."""
AMPLITUDE = 9.0
"""Half the diagonal of the diamond, in screen pixels: every side moves the image as much along both axes."""
PERIOD, STEPS = 283_000, 17
"""Microseconds of one way round, and pictures on it: the screen shows 60 a second."""
RESPONSE = 3_700
"""Microseconds in which the screen changes from one picture to the next."""
DURATION, DURATION_SPREAD, DURATION_RANGE = 1_298_444, 50_000, (1_149_758, 1_459_301)
"""Microseconds of a recording: mean and range are those of the data set, the standard deviation is an assumption."""


def record(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """What the sensor sends for `image` uint8 [H, W, 3]: EVENT [n] for about 1.3 s. Raises DataError for another kind of array.

    The duration, the place on the path at the start, the pixels' parameters and the noise are drawn from `rng`.
    """
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
        raise DataError(f"an image must be uint8 [H, W, 3], not {image.dtype} {list(image.shape)}")
    duration = np.clip(rng.normal(DURATION, DURATION_SPREAD), *DURATION_RANGE)
    shown = (int(rng.integers(STEPS)) + np.arange(int(duration) * STEPS // PERIOD + 2)) % STEPS
    begins = np.arange(len(shown)) * PERIOD // STEPS
    times = np.stack([begins, begins + RESPONSE], 1).ravel()[
        :-1
    ]  # a picture is there when the change to it is done, and until the next one begins
    (events,) = emulate(_film(image)[None], np.repeat(shown, 2)[1:], times, DVS, rng)
    return events


def _film(image: np.ndarray) -> np.ndarray:
    """Intensities float32 [STEPS, 128, 128] by the addresses of the data set, once round the path."""
    lens = _blurred()
    down, right = _path().T
    film = np.empty((STEPS, *SENSOR), np.float32)
    mirrored = (
        lens @ _lit(image)[::-1, ::-1].T @ lens.T
    )  # at the other diagonal: x = 127 - row, y = 127 - column
    core().move(mirrored, _places(-right, SENSOR.height), _places(-down, SENSOR.width), film)
    return film


def _lit(image: np.ndarray) -> np.ndarray:
    """Intensity float32 [n, n] of the enlarged image on the screen, n = SCREEN / COARSE."""
    luma = image.astype(np.float32) @ np.array([0.299, 0.587, 0.114], np.float32) / 255
    enlarged = (
        _cubic(SCREEN // COARSE, luma.shape[0]) @ luma @ _cubic(SCREEN // COARSE, luma.shape[1]).T
    )
    return np.clip(enlarged, 0, 1) ** GAMMA


@cache
def _cubic(size: int, pixels: int) -> np.ndarray:
    """Weights [size, pixels] of cubic interpolation (a = -1/2, Keys 1981), the border repeated."""
    position = (np.arange(size) + 0.5) * pixels / size - 0.5
    weights = np.zeros((size, pixels), np.float32)
    for tap in range(-1, 3):
        at = np.floor(position).astype(int) + tap
        d = np.abs(position - at)
        near, far = (1.5 * d - 2.5) * d**2 + 1, ((-0.5 * d + 2.5) * d - 4) * d + 2
        np.add.at(
            weights,
            (np.arange(size), np.clip(at, 0, pixels - 1)),
            np.where(d <= 1, near, np.where(d < 2, far, 0)),
        )
    return weights


def _path() -> np.ndarray:
    """By how many screen pixels (down, right) the image is moved at every step, float [STEPS, 2]."""
    corners = AMPLITUDE * np.array([(0, 1), (1, 0), (0, -1), (-1, 0), (0, 1)])
    shares = np.arange(STEPS) / STEPS * 4
    side, along = shares.astype(int), (shares % 1)[:, None]
    return corners[side] * (1 - along) + corners[side + 1] * along


@cache
def _blurred() -> np.ndarray:
    """Gaussian weights float32 [n, n] of the lens along one axis of the lit screen; black beside it."""
    deviation = BLUR * SCALE / COARSE
    pixels = np.arange(SCREEN // COARSE)
    weights = np.exp(-0.5 * ((pixels[:, None] - pixels) / deviation) ** 2)
    return (weights / (np.sqrt(2 * np.pi) * deviation)).astype(np.float32)


def _places(shifts: np.ndarray, size: int) -> np.ndarray:
    """Where on the lit screen, in its pixels, the `size` rows (columns) of the sensor look while the image is moved by `shifts` [S]: float32 [S, size]."""
    screen = (np.arange(size) - (size - 1) / 2) * SCALE + (SCREEN - 1) / 2 - shifts[:, None]
    return ((screen - (COARSE - 1) / 2) / COARSE).astype(np.float32)
