"""Emulated recordings of CIFAR10-DVS, as tasks of workers."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from lmht_deploy.data import cifar10dvs
from lmht_deploy.events.recordings import Recording, write_events

from ._task import Spent, Task

if TYPE_CHECKING:
    from ._opened import Opened


@dataclass(frozen=True)
class Recordings(Task):
    """The task that emulates recordings of a few images.

    Attributes:
        images: Pixels of each image, uint8 `[H, W, 3]` as Base64.
        height: Height of the images.
        seeds: Seeds of each recording, see `numpy.random.default_rng`.
        paths: Files to write.
    """

    kind = "recordings"

    images: Sequence[str]
    height: int
    seeds: Sequence[Sequence[int]]
    paths: Sequence[str]

    @classmethod
    def of(
        cls, images: np.ndarray, seeds: Sequence[Sequence[int]], paths: Sequence[Path]
    ) -> Recordings:
        """Return the task for images `[N, H, W, 3]`."""
        pixels = [base64.b64encode(image.tobytes()).decode() for image in images]
        return cls(pixels, images.shape[1], seeds, [str(path) for path in paths])

    @property
    def key(self) -> str:
        """The first file."""
        return self.paths[0]

    @property
    def targets(self) -> tuple[str, ...]:
        """The files of the recordings."""
        return tuple(self.paths)

    def run(self, opened: Opened) -> Spent:
        """Emulate the recordings and write them."""
        for pixels, seed, path in zip(self.images, self.seeds, self.paths, strict=True):
            image = np.frombuffer(base64.b64decode(pixels), np.uint8)
            events = cifar10dvs.record(
                image.reshape(self.height, -1, 3), np.random.default_rng(seed)
            )
            write_events(path, Recording(events, cifar10dvs.SENSOR))
        return Spent()
