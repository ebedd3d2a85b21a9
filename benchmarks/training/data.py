"""The data of the experiments: CIFAR-10, and recordings that are emulated from its images."""

from __future__ import annotations

import dataclasses
from concurrent.futures import Future, ProcessPoolExecutor
from dataclasses import asdict
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from lmht_deploy.data import WindowRule, Windows, cifar10dvs
from lmht_deploy.data.images import MIN_VALUE
from lmht_deploy.events.arrays import Sensor
from lmht_deploy.events.windows import clip_counts, count_windows
from lmht_deploy.formats.files import atomic_write
from lmht_deploy.training import Data, Recipe, load_data, load_recipe

from .session import Session
from .workers import start_workers, stop_workers

DVS_STEPS, DVS_SIZE = 10, 48
"""Frames per window, and their height and width, as in the paper."""

CHUNK = 20
"""Recordings that a process emulates at a time."""

Task = tuple[np.ndarray, tuple[int, int, int]]
"""Image uint8 [H, W, 3]; seed, class and number of the recording."""


def recipe_of(session: Session, name: str, epochs: int = 0, *overrides: str) -> Recipe:
    """Load a packaged recipe with the session's settings, for a number of epochs."""
    chosen = [*session.scale.small, *overrides]
    recipe = load_recipe(name, chosen)
    if not epochs:
        return recipe
    warmup = min(recipe.training.warmup_epochs, epochs / 5)
    training = dataclasses.replace(recipe.training, epochs=epochs, warmup_epochs=warmup)
    return dataclasses.replace(recipe, training=training)


def session_data(session: Session, recipe: Recipe) -> Data:
    """Data of `recipe`: images, or windows that `Emulation` wrote."""
    if recipe.data.name == "cifar10":
        return images(session.data, session.scale.images)
    return emulated(session.folder)


@cache
def images(root: Path | None, number: int) -> Data:
    """CIFAR-10, or synthetic images if `root` is None; only the first `number` if that is not 0."""
    if root is None:
        return Data(*(_synthetic_images(number or 512, seed) for seed in (0, 1)))
    found = load_data(load_recipe("cifar10-fast"), root=root)
    return Data(found.train[:number], found.test[:number]) if number else found


def _synthetic_images(number: int, seed: int) -> Windows:
    """Images of ten classes that differ in the position of a bright square, in noise."""
    rng = np.random.default_rng(seed)
    labels = np.arange(number) % 10
    pixels = rng.integers(-60, 40, (number, 1, 3, 32, 32))
    for image, label in zip(pixels, labels.tolist(), strict=True):
        row, column = divmod(label, 5)
        image[:, :, 16 * row : 16 * row + 12, 6 * column : 6 * column + 6] += 80
    split = {"data": "synthetic images", "split": "train" if seed == 0 else "test"}
    windows = pixels.astype(np.int8)
    return Windows(windows, labels, cifar10dvs.CLASSES, "image", split)


# -------------------------------------------------------------------------------------- recordings


class Emulation:
    """Windows of emulated recordings, which processes make while the GPU trains.

    Of every class the first nine tenths of the recordings are for training, the others for testing.
    The recordings are those of `lmht emulate` with seed 0.
    """

    def __init__(self, session: Session) -> None:
        self._folder, self._per_class = session.folder, session.scale.recordings
        self._pool: ProcessPoolExecutor | None = None
        self._chunks: list[Future[np.ndarray]] = []
        if is_emulated(session.folder):
            return
        tasks = _tasks(images(session.data, session.scale.images).train, self._per_class)
        self._pool = start_workers(max(1, session.cores - 3))
        self._chunks = [
            self._pool.submit(emulate, tasks[first : first + CHUNK])
            for first in range(0, len(tasks), CHUNK)
        ]

    def finish(self) -> None:
        """Wait for the recordings and write their windows."""
        if self._pool is None:
            return
        windows = np.concatenate([chunk.result() for chunk in self._chunks])
        with atomic_write(_windows_path(self._folder)) as temporary, temporary.open("wb") as file:
            np.save(file, windows)
        self.stop()

    def stop(self) -> None:
        """End the processes."""
        if self._pool is not None:
            stop_workers(self._pool)
            self._pool = None


def is_emulated(folder: Path) -> bool:
    """Whether the windows of recordings are in `folder`."""
    return _windows_path(folder).exists()


def emulate(tasks: list[Task]) -> np.ndarray:
    """Emulate recordings and count their events: uint8 [N, T_in, 2, H, W]."""
    rule, size = WindowRule(DVS_STEPS), Sensor(DVS_SIZE, DVS_SIZE)
    windows = []
    for image, seed in tasks:
        events = cifar10dvs.record(image, np.random.default_rng(seed))
        windows.append(clip_counts(count_windows(events, cifar10dvs.SENSOR, rule, size))[0][:1])
    return np.concatenate(windows)


def emulated(folder: Path) -> Data:
    """The windows that `Emulation` wrote."""
    windows = np.load(_windows_path(folder), mmap_mode="r")
    per_class = len(windows) // len(cifar10dvs.CLASSES)
    labels = np.repeat(np.arange(len(cifar10dvs.CLASSES)), per_class)
    is_train = np.tile(np.arange(per_class) < per_class * 9 // 10, len(cifar10dvs.CLASSES))
    return Data(
        *(
            Windows(
                np.ascontiguousarray(windows[chosen]),
                labels[chosen],
                cifar10dvs.CLASSES,
                "events",
                {**_provenance(per_class), "split": split},
            )
            for split, chosen in (("train", is_train), ("test", ~is_train))
        )
    )


def _provenance(per_class: int) -> dict[str, Any]:
    return {
        "data": "tonic:CIFAR10DVS",
        "emulated": {
            "version": cifar10dvs.VERSION,
            "images": "CIFAR-10 train",
            "per_class": per_class,
            "seed": 0,
            "dvs": asdict(cifar10dvs.DVS),
        },
        "rule": asdict(WindowRule(DVS_STEPS)),
        "size": [DVS_SIZE, DVS_SIZE],
        "sensor": list(cifar10dvs.SENSOR),
        "max_count": 255,
    }


def _tasks(found: Windows, per_class: int) -> list[Task]:
    """The first images of every class, in the order of the classes."""
    pixels = (found.windows[:, 0].astype(np.int16) - MIN_VALUE).astype(np.uint8)
    pixels, labels = pixels.transpose(0, 2, 3, 1), found.require_labels()
    return [
        (pixels[index], (0, label, number))
        for label in range(len(cifar10dvs.CLASSES))
        for number, index in enumerate(np.flatnonzero(labels == label)[:per_class])
    ]


def _windows_path(folder: Path) -> Path:
    return folder / "recordings.npy"
