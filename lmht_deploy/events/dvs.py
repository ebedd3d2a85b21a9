"""An emulated dynamic vision sensor (DVS): intensities become events.

Each pixel compares the logarithm of its intensity with the level at its last event. It sends an ON
(OFF) event whenever the logarithm has risen (fallen) by its contrast threshold (Lichtsteiner et al.
2008; the form of ESIM, Rebecq et al. 2018). Thresholds differ between pixels, as on a chip. After
an event a pixel is in reset for the refractory time and does not see changes. Its reference leaks,
which causes ON events of a static scene. Shot noise causes events at any pixel and time. All pixels
share one readout, which sends one event after another.

Equal scenes and an equal generator give the same events on every machine: no result depends on the
order of a sum, on a mathematical library or on the instructions of a processor.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ._extension import core
from ._grid import on_grid
from .arrays import EVENT, as_bytes, pack_events


@dataclass(frozen=True)
class Dvs:
    """Parameters of the emulated sensor.

    Attributes:
        on: Mean threshold of ON events, a rise of ln(intensity + dark).
        off: Mean threshold of OFF events, a fall of ln(intensity + dark).
        mismatch: Standard deviation of both thresholds between pixels.
        dark: Intensity, as a share of the largest, that is added before the logarithm. It limits
            the contrast of black.
        refractory: us of reset after an event. The level at its end is the new reference.
        leak: ON events per second and pixel of a static scene, evenly spaced.
        readout: us for which the chip is busy with an event. Events in that time are lost.
        noise_on: Random ON events per second and pixel.
        noise_off: Random OFF events per second and pixel.
    """

    on: float = 0.2
    off: float = 0.2
    mismatch: float = 0.03
    dark: float = 0.02
    refractory: float = 0.0
    leak: float = 0.0
    readout: float = 0.0
    noise_on: float = 0.3
    noise_off: float = 0.1


MIN_THRESHOLD = 0.01
"""Smallest threshold of a pixel, whatever the mismatch."""

THRESHOLD_BITS = 20
"""Thresholds are multiples of 2^-20."""


def emulate(
    scenes: np.ndarray, order: np.ndarray, times: np.ndarray, dvs: Dvs, rng: np.random.Generator
) -> list[np.ndarray]:
    """Emulate the recordings of B scenes.

    The log intensity changes linearly between two frames. The pixels have settled to the first
    frame. All scenes are seen by the same pixels: thresholds are drawn once, then the noise of each
    scene.

    Args:
        scenes: Intensities within 0..1, float `[B, S, H, W]`: S frames per scene.
        order: Frames in the order in which they are seen, int `[F]`.
        times: Time of each of them in us, int `[F]`, increasing from 0 to less than 2^24.
        dvs: Parameters of the sensor.
        rng: Generator of all randomness: the same seed gives the same events.

    Returns:
        B arrays EVENT `[n]`.
    """
    shape = scenes.shape[2:]
    off, on = _draw_thresholds(dvs.off, dvs, shape, rng), _draw_thresholds(dvs.on, dvs, shape, rng)
    order, times = (np.ascontiguousarray(given, np.int64) for given in (order, times))
    recordings = []
    for scene in scenes:
        levels = np.ascontiguousarray(scene + np.float32(dvs.dark), np.float32)
        core().take_logarithms(levels)
        noise = _draw_noise(shape, int(times[-1]), dvs, rng)
        events = core().emulate(
            levels=levels,
            order=order,
            times=times,
            off=off,
            on=on,
            refractory=dvs.refractory,
            leak=dvs.leak * 1e-6,
            readout=dvs.readout,
            noise=as_bytes(noise),
        )
        recordings.append(events.view(EVENT)[:, 0])
    return recordings


def _draw_thresholds(
    mean: float, dvs: Dvs, shape: tuple[int, ...], rng: np.random.Generator
) -> np.ndarray:
    """Threshold of each pixel, float32 `[H, W]`."""
    # rounded, because the last bit of a rare large draw is that of a library's logarithm
    drawn = on_grid(mean + dvs.mismatch * rng.standard_normal(shape), THRESHOLD_BITS)
    thresholds: np.ndarray = np.maximum(drawn, MIN_THRESHOLD).astype(np.float32)
    return thresholds


def _draw_noise(
    shape: tuple[int, ...], duration: int, dvs: Dvs, rng: np.random.Generator
) -> np.ndarray:
    """Noise of `duration` us, EVENT `[n]`."""
    rates = np.array([dvs.noise_off, dvs.noise_on])
    numbers = rng.poisson(rates * duration * 1e-6 * np.prod(shape))
    total = int(numbers.sum())
    polarities = np.repeat([False, True], numbers)[rng.permutation(total)]
    return pack_events(
        np.sort(rng.integers(max(duration, 1), size=total)),
        rng.integers(shape[1], size=total),
        rng.integers(shape[0], size=total),
        polarities,
    )
