"""The emulator of a dynamic vision sensor (DVS): intensities in, events out.

Every pixel compares the logarithm of its intensity with the level at its last event, and sends an ON (OFF) event whenever
it has risen (fallen) by its contrast threshold (Lichtsteiner et al. 2008; the form of ESIM, Rebecq et al. 2018). Thresholds
differ from pixel to pixel, as on a chip. After an event a pixel is in reset for the refractory time: it does not see what happens
meanwhile. Its reference leaks, which sends ON events of a still scene, and shot noise falls anywhere, at any time. All pixels share one
readout, which sends one event after another.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ._extension import core
from .arrays import EVENT, as_bytes, make_events


@dataclass(frozen=True)
class Dvs:
    """Parameters of the emulated sensor.

    on, off              mean contrast thresholds: rise and fall of ln(intensity + dark) for one event
    mismatch             standard deviation of both thresholds between pixels, in the same unit
    dark                 intensity, as a share of the largest, that is added before the logarithm: limits the contrast of black
    refractory           microseconds of reset after an event; the level at their end is the new reference
    leak                 ON events a second that a pixel sends of a still scene, evenly spaced
    readout              microseconds for which the chip is busy with an event that it sends: others that come meanwhile are lost
    noise_on, noise_off  noise events a pixel and second, at random
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


def emulate(
    scenes: np.ndarray, order: np.ndarray, times: np.ndarray, dvs: Dvs, rng: np.random.Generator
) -> list[np.ndarray]:
    """What the sensor sends while it sees B scenes side by side: B arrays EVENT [n], in order of time from 0.

    `scenes` are intensities float [B, S, H, W] within 0..1: every scene has S frames, which are seen in the `order` int [F] at the `times` int [F] (us,
    rising from 0 by less than 2^24); between them the log intensity changes linearly. The first frame is what the pixels have settled to.
    All scenes are seen by the same pixels: their thresholds are drawn once, from `rng`, before the noise.
    """
    shape = scenes.shape[2:]
    off, on = (
        np.maximum(mean + dvs.mismatch * rng.standard_normal(shape), 0.01).astype(np.float32)
        for mean in (dvs.off, dvs.on)
    )
    order, times = (np.ascontiguousarray(given, np.int64) for given in (order, times))
    found = []
    for scene in scenes:
        levels = np.log(scene + np.float32(dvs.dark), dtype=np.float32, order="C")
        noise = _noise(shape, int(times[-1]), dvs, rng)
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
        found.append(events.view(EVENT)[:, 0])
    return found


def _noise(shape: tuple[int, ...], duration: int, dvs: Dvs, rng: np.random.Generator) -> np.ndarray:
    """Noise events EVENT [n] of `duration` microseconds, in order of time."""
    rates = np.array([dvs.noise_off, dvs.noise_on])
    numbers = rng.poisson(rates * duration * 1e-6 * np.prod(shape))
    total = int(numbers.sum())
    polarities = np.repeat([False, True], numbers)[rng.permutation(total)]
    return make_events(
        np.sort(rng.integers(max(duration, 1), size=total)),
        rng.integers(shape[1], size=total),
        rng.integers(shape[0], size=total),
        polarities,
    )
