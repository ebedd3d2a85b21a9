"""Recordings that come with networks of the zoo: `python -m benchmarks.zoo NAME --sample WHAT`."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from lmht_deploy.data import cifar10dvs
from lmht_deploy.data._digits import SENSOR, load_digits_recordings
from lmht_deploy.data._listing import Choice
from lmht_deploy.events.recordings import Recording

SIDE, FINE = 32, 8
"""Pixels of a picture along each axis, and points of each pixel that are averaged."""


class Sample(NamedTuple):
    """A recording, what it shows, and the right answer for each of its windows."""

    recording: Recording
    about: str
    answers: list[str]


def make_sample(what: str) -> Sample:
    """Make a sample: "ship", or the number of digits."""
    return _ship() if what == "ship" else _digits(int(what))


def _digits(number: int) -> Sample:
    """Return the first test recordings of "digits" as one recording, 100 ms each."""
    found = load_digits_recordings(Choice("test"))
    parts = [events for _, events in zip(range(number), found.events, strict=False)]
    for index, events in enumerate(parts):
        events["t"] += index * 100_000 - events["t"][0]
    assert found.labels is not None
    return Sample(
        Recording(np.concatenate(parts), SENSOR),
        "the first test recordings of the data set digits, 100 ms each: handwritten digits"
        " before an emulated sensor",
        [found.classes[label] for label in found.labels[:number].tolist()],
    )


def _ship() -> Sample:
    """Return a ship before the emulated sensor of the recordings of CIFAR-10.

    The images of CIFAR-10 themselves have no license.
    """
    events = cifar10dvs.record(draw_ship(), np.random.default_rng(0))
    return Sample(
        Recording(events, cifar10dvs.SENSOR),
        "a ship in the haze, drawn by a program, before an emulated sensor; on its side, as"
        " the recordings of CIFAR10-DVS are",
        ["ship"],
    )


def draw_ship() -> np.ndarray:
    """Draw a gray ship on a gray sea under a bright sky, uint8 `[32, 32, 3]`.

    It has little contrast, so that there are few events.
    """
    y, x = (np.mgrid[: SIDE * FINE, : SIDE * FINE] + 0.5) / FINE
    light = 255 - 54 * y / SIDE
    light[y > 23] -= 11
    hull = (y > 18) & (y < 21) & (x > 4 + (y - 18)) & (x < 28 - (y - 18))
    bridge = (y > 14) & (y < 18) & (x > 10) & (x < 16)
    funnel = (y > 10) & (y < 14) & (x > 12) & (x < 14)
    light[hull], light[bridge], light[funnel] = 206, 210, 210
    gray = light.reshape(SIDE, FINE, SIDE, FINE).mean((1, 3))
    return np.repeat(gray.round().astype(np.uint8)[..., None], 3, 2)
