"""Types and arrays that all rivals share."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Literal

import numpy as np

Rival = Callable[[], Mapping[str, Any]]
"""Runs the windows that it was built with.

It returns arrays `[T * B, ...]` by name of the layer, at least those of the readout.
"""

Weights = Literal["fp32", "int8"]


def as_batch(windows: np.ndarray) -> np.ndarray:
    """Return windows `[B, T_in, ...]` as float32 `[T_in * B, ...]`, the steps outside."""
    return np.ascontiguousarray(windows.swapaxes(0, 1).reshape(-1, *windows.shape[2:]), np.float32)


def per_channel(values: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Return one value per channel, as float32 that broadcasts over a batch of `shape`.

    Equal values become a scalar.
    """
    values = values.astype(np.float32)
    if (values == values[0]).all():
        return np.asarray(values[0])
    return values.reshape(-1, *[1] * (len(shape) - 1))


def is_identity(omega: np.ndarray) -> bool:
    """Return whether the T-GIM `omega` is the identity matrix."""
    return omega.shape[0] == omega.shape[1] and bool((omega == np.eye(len(omega))).all())
