"""What a data set is made of before it is cut into windows: labelled recordings, and how they are split."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from lmht_deploy.events.arrays import Sensor

Split = Literal["train", "test"]


@dataclass(frozen=True)
class Recordings:
    """The labelled recordings of one split.

    events    structured arrays with t, x, y, p, one a recording, unchecked; read while they are walked, once
    labels    int64 [N]: index into `classes`
    sensor    the size of the sensor
    origin    plain values that say where the recordings come from
    files     all files that they depend on; empty where they are generated
    """

    events: Iterable[np.ndarray]
    labels: np.ndarray
    classes: tuple[str, ...]
    sensor: Sensor
    origin: Mapping[str, Any]
    files: Sequence[Path] = ()


def split_by_class(labels: np.ndarray, share: float, split: Split, seed: int = 0) -> np.ndarray:
    """Indices of one split: in every class, `share` of the recordings (drawn with `seed`) train, the others test."""
    rng = np.random.default_rng(seed)
    chosen = []
    for label in np.unique(labels):
        members = rng.permutation(np.flatnonzero(labels == label))
        cut = round(share * len(members))
        chosen.append(members[:cut] if split == "train" else members[cut:])
    return np.sort(np.concatenate(chosen))
