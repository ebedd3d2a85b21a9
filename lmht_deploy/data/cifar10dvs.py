"""Emulated recordings of CIFAR10-DVS (Li et al. 2017): an image on a screen before an event camera.

The image is enlarged to 512 x 512 screen pixels (bicubic), shown with the display's gamma, and
moved along a closed diamond again and again: left-down, left-up, right-up, right-down. A lens blurs
it onto 128 x 128 pixels, which see its center. Addresses are those of the data set: x = 127 - row,
y = 127 - column of the upright image.

The screen shows 60 pictures per second, so the image moves in steps and its events come in bursts.
In a burst the readout of the chip loses many events, most for scenes of high contrast. Therefore
classes differ less than their images do.

The original setup is known in part only. SPAN, PERIOD and the path were measured on one real
recording. BLUR, AMPLITUDE, RESPONSE and the parameters of the pixels were fitted to it and to what
is known of the whole data set. docs/explanation/emulator.md compares the results.

All weights and intensities are multiples of powers of two (`on_grid`), so that the matrix products
are exact and every machine makes the same events.
"""

from __future__ import annotations

from functools import cache

import numpy as np

from lmht_deploy.errors import DataError
from lmht_deploy.events._extension import core
from lmht_deploy.events._grid import on_grid
from lmht_deploy.events.arrays import Sensor
from lmht_deploy.events.dvs import Dvs, emulate

VERSION = 2
"""Changes whenever the same image and generator would give other events."""

SENSOR = Sensor(128, 128)
CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
"""Class names of CIFAR-10, of the images and of the recordings."""

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
"""Thresholds, mismatch, dark (black of the screen, stray light) and refractory time are fitted. A
DVS128 reads out at most a million events per second (Lichtsteiner et al. 2008). Noise was measured
in flat areas."""

SCREEN = 512
"""Screen pixels that the image fills along each axis."""

COARSE = 4
"""Screen pixels per computed pixel along each axis: the lens blurs far more."""

SPAN = 1.175
"""Size of the image, in widths of the sensor: its borders are not seen."""

SCALE = SCREEN / (SENSOR.width * SPAN)
"""Screen pixels per sensor pixel."""

LUMA = np.array([299, 587, 114])
"""Thousandths of red, green and blue in the luma."""

GRAYS = 16 * 255
"""Gray levels of the enlarged image above black."""

GAMMA = 2.2

WEIGHT_BITS, INTENSITY_BITS = 16, 18
"""Weights of filters are multiples of 2^-16, intensities on the screen of 2^-18; luma has 18 bits.
Weights sum up to about 1, so what is filtered along both axes has 18 + 2 * 16 = 50 bits."""

BLUR = 2.8
"""Standard deviation of the lens's point spread, in sensor pixels."""

AMPLITUDE = 9.0
"""Half the diagonal of the diamond, in screen pixels: each side moves equally along both axes."""

PERIOD, STEPS = 283_000, 17
"""Microseconds and pictures of one revolution: the screen shows 60 pictures per second."""

RESPONSE = 3_700
"""Microseconds in which the screen changes from one picture to the next."""

DURATION, DURATION_SPREAD, DURATION_RANGE = 1_298_444, 50_000, (1_149_758, 1_459_301)
"""Microseconds of a recording. Mean and range are those of the data set, the standard deviation is
an assumption."""


def record(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Emulate the recording of one image, about 1.3 s long.

    Args:
        image: uint8 `[H, W, 3]`.
        rng: Generator of the duration, the start on the path, the parameters of the pixels and the
            noise.

    Returns:
        EVENT `[n]`.

    Raises:
        DataError: The image is an array of another kind.
    """
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
        raise DataError(f"an image must be uint8 [H, W, 3], not {image.dtype} {list(image.shape)}")
    duration = DURATION + DURATION_SPREAD * rng.standard_normal()
    duration = int(np.clip(duration, *DURATION_RANGE))
    shown = (int(rng.integers(STEPS)) + np.arange(duration * STEPS // PERIOD + 2)) % STEPS
    starts = np.arange(len(shown)) * PERIOD // STEPS
    # a picture is complete RESPONSE after its start, and stays until the next one starts
    times = np.stack([starts, starts + RESPONSE], 1).ravel()[:-1]
    (events,) = emulate(_render(image)[None], np.repeat(shown, 2)[1:], times, DVS, rng)
    return events


def _render(image: np.ndarray) -> np.ndarray:
    """Intensities float32 `[STEPS, 128, 128]` at the sensor on one revolution."""
    lens = _lens_weights()
    down, right = _path().T
    # flipped along the other diagonal: x = 127 - row, y = 127 - column
    scene = (lens @ _screen_intensity(image)[::-1, ::-1].T @ lens.T).astype(np.float32)
    frames = np.empty((STEPS, *SENSOR), np.float32)
    rows, columns = _positions(-right, SENSOR.height), _positions(-down, SENSOR.width)
    core().move(scene, rows, columns, frames)
    return frames


def _screen_intensity(image: np.ndarray) -> np.ndarray:
    """Intensity `[n, n]` of the enlarged image on the screen, n = SCREEN / COARSE."""
    size = SCREEN // COARSE
    luma = image @ LUMA
    enlarged = _cubic_weights(size, luma.shape[0]) @ luma @ _cubic_weights(size, luma.shape[1]).T
    grays = np.rint(enlarged * (GRAYS / (255 * LUMA.sum())))
    intensity: np.ndarray = _gray_intensities()[np.clip(grays, 0, GRAYS).astype(int)]
    return intensity


@cache
def _gray_intensities() -> np.ndarray:
    """Intensity `[GRAYS + 1]` of each gray level, from 0 to 1."""
    return on_grid((np.arange(GRAYS + 1) / GRAYS) ** GAMMA, INTENSITY_BITS)


@cache
def _cubic_weights(size: int, pixels: int) -> np.ndarray:
    """Weights `[size, pixels]` of cubic interpolation (a = -1/2, Keys 1981), border repeated."""
    position = (np.arange(size) + 0.5) * pixels / size - 0.5
    weights = np.zeros((size, pixels))
    for tap in range(-1, 3):
        pixel = np.floor(position).astype(int) + tap
        d = np.abs(position - pixel)
        near, far = (1.5 * d - 2.5) * d**2 + 1, ((-0.5 * d + 2.5) * d - 4) * d + 2
        weight = np.where(d <= 1, near, np.where(d < 2, far, 0))
        np.add.at(weights, (np.arange(size), np.clip(pixel, 0, pixels - 1)), weight)
    return on_grid(weights, WEIGHT_BITS)


def _path() -> np.ndarray:
    """Shift of the image at each step, float `[STEPS, 2]`, in screen pixels (down, right)."""
    corners = AMPLITUDE * np.array([(0, 1), (1, 0), (0, -1), (-1, 0), (0, 1)])
    position = np.arange(STEPS) / STEPS * 4
    side, share = position.astype(int), (position % 1)[:, None]
    shifts: np.ndarray = corners[side] * (1 - share) + corners[side + 1] * share
    return shifts


@cache
def _lens_weights() -> np.ndarray:
    """Gaussian weights `[n, n]` of the lens along one axis; black outside the screen."""
    deviation = BLUR * SCALE / COARSE
    pixels = np.arange(SCREEN // COARSE)
    weights = np.exp(-0.5 * ((pixels[:, None] - pixels) / deviation) ** 2)
    return on_grid(weights / (np.sqrt(2 * np.pi) * deviation), WEIGHT_BITS)


def _positions(shifts: np.ndarray, size: int) -> np.ndarray:
    """Computed screen pixels that the `size` rows (or columns) of the sensor see.

    Args:
        shifts: Shifts `[S]` of the image in screen pixels.
        size: Number of rows or columns.

    Returns:
        float32 `[S, size]`.
    """
    screen = (np.arange(size) - (size - 1) / 2) * SCALE + (SCREEN - 1) / 2 - shifts[:, None]
    positions: np.ndarray = ((screen - (COARSE - 1) / 2) / COARSE).astype(np.float32)
    return positions
