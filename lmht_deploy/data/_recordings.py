"""Labeled recordings before they become windows, and their split."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np

from lmht_deploy.errors import DataError
from lmht_deploy.events.arrays import Sensor

from ._splits import Split

TRAIN_SHARE = 0.9
"""Share of each class that trains if a data set has no split of its own."""


@dataclass(frozen=True)
class Recordings:
    """The recordings of one split.

    Attributes:
        events: Structured arrays with t, x, y, p, one for each recording, not validated. They are
            read when they are iterated, once.
        names: Name of each recording, different from all others of the data set: its path below
            the root if it is a file.
        labels: int64 `[N]`, indices into `classes`; None if they are not known.
        classes: Class names.
        sensor: Size of the sensor.
        origin: Where the recordings come from, as plain values for the provenance.
        files: All files that the recordings depend on; empty if they are generated.
    """

    events: Iterable[np.ndarray]
    names: Sequence[str]
    labels: np.ndarray | None
    classes: tuple[str, ...]
    sensor: Sensor
    origin: Mapping[str, Any]
    files: Sequence[Path] = ()


def join(parts: Sequence[Recordings]) -> Recordings:
    """Join the splits of a data set, which have the same classes and the same sensor."""
    first = parts[0]
    return Recordings(
        chain.from_iterable(part.events for part in parts),
        [name for part in parts for name in part.names],
        np.concatenate([part.labels for part in parts if part.labels is not None]),
        first.classes,
        first.sensor,
        first.origin,
        sorted({path for part in parts for path in part.files}),
    )


def split_by_class(
    labels: np.ndarray, split: Split, share: float = TRAIN_SHARE, seed: int = 0
) -> np.ndarray:
    """Choose the recordings of a split.

    Args:
        labels: int64 `[N]`.
        split: "train", "test" or "all".
        share: Share of each class that trains.
        seed: Seed of the draw.

    Returns:
        Sorted indices int64 `[n]`.
    """
    if split == "all":
        return np.arange(len(labels))
    if split == "validation":
        raise DataError("there is no validation split")
    rng = np.random.default_rng(seed)
    chosen = []
    for label in np.unique(labels):
        members = rng.permutation(np.flatnonzero(labels == label))
        cut = round(share * len(members))
        chosen.append(members[:cut] if split == "train" else members[cut:])
    return np.sort(np.concatenate(chosen))
