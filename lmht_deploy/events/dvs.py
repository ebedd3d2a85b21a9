"""The emulator of a dynamic vision sensor (DVS): intensities in, events out.

Every pixel compares the logarithm of its intensity with the level at its last event, and sends an ON (OFF) event whenever
it has risen (fallen) by its contrast threshold (Lichtsteiner et al. 2008; the form of ESIM, Rebecq et al. 2018). Thresholds
differ from pixel to pixel, as on a chip, and every pixel sends noise events at a low rate.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from .arrays import make_events


@dataclass(frozen=True)
class Dvs:
    """Parameters of the emulated sensor.

    on, off              mean contrast thresholds: rise and fall of ln(intensity + dark) for one event
    mismatch             standard deviation of both thresholds between pixels, in the same unit
    dark                 intensity, as a share of the largest, that is added before the logarithm: limits the contrast of black
    noise_on, noise_off  noise events a pixel and second
    """

    on: float = 0.2
    off: float = 0.2
    mismatch: float = 0.03
    dark: float = 0.02
    noise_on: float = 0.3
    noise_off: float = 0.1


def emulate(frames: Iterable[np.ndarray], interval: int, dvs: Dvs, rng: np.random.Generator) -> list[np.ndarray]:
    """What the sensor sends while it sees B scenes side by side: B arrays EVENT [n], in order of time from 0.

    `frames` are intensities [B, H, W] within 0..1, `interval` microseconds apart; between them the log intensity changes
    linearly. The first frame is what the pixels have settled to. All B scenes are seen by the same pixels: their thresholds
    are drawn once, from `rng`, before the noise.
    """
    parts: list[tuple[np.ndarray, ...]] = []
    levels = (np.log(frame + dvs.dark) for frame in frames)
    before = next(levels)
    reference = before.copy()
    thresholds = [np.maximum(mean + dvs.mismatch * rng.standard_normal(before.shape[1:]), 0.01) for mean in (dvs.off, dvs.on)]
    for step, level in enumerate(levels):
        for polarity in (0, 1):
            crossings = _crossings(before, level, reference, thresholds[polarity], 2 * polarity - 1)
            noise = _noise(level.size, (dvs.noise_off, dvs.noise_on)[polarity] * interval * 1e-6, rng)
            parts += [(places, (step + share) * interval, np.full(len(places), polarity)) for places, share in (crossings, noise)]
        before = level
    return _by_scene(parts, before.shape)


def _crossings(before: np.ndarray, level: np.ndarray, reference: np.ndarray, threshold: np.ndarray, sign: int) -> tuple[np.ndarray, np.ndarray]:
    """Where (flat index) and when (share of the interval) `level` crosses thresholds; moves `reference` along, in place."""
    number = np.floor(np.maximum(sign * (level - reference), 0) / threshold).astype(np.int64)
    active = np.flatnonzero(number)
    repeats = number.flat[active]
    places = np.repeat(active, repeats)
    nth = np.arange(len(places)) - np.repeat(np.cumsum(repeats) - repeats, repeats) + 1
    step = sign * np.broadcast_to(threshold, level.shape).flat[places]
    crossed = reference.flat[places] + nth * step
    change = level.flat[places] - before.flat[places]
    share = np.divide(crossed - before.flat[places], change, out=np.ones(len(places)), where=change != 0)
    reference += sign * number * threshold
    return places, np.clip(share, 0, 1)


def _noise(pixels: int, rate: float, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Where and when noise falls in one interval, `rate` events a pixel."""
    number = rng.poisson(rate * pixels)
    return rng.integers(pixels, size=number), rng.random(number)


def _by_scene(parts: list[tuple[np.ndarray, ...]], shape: tuple[int, ...]) -> list[np.ndarray]:
    places, times, polarities = (np.concatenate([part[i] for part in parts]) for i in range(3))
    scenes, rows, columns = np.unravel_index(places, shape)
    t = times.astype(np.int64)
    order = np.lexsort((t, scenes))
    events = make_events(t, columns, rows, polarities)[order]
    return np.split(events, np.searchsorted(scenes[order], np.arange(1, shape[0])))
