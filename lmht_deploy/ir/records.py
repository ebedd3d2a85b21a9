"""Base class of the records that a network consists of, and the types of their fields."""

from __future__ import annotations

import dataclasses
from typing import TypeAlias

import numpy as np

Shape: TypeAlias = tuple[int, ...]
"""Shape of a layer without batch and steps: (C, H, W) or (N,)."""
Pair: TypeAlias = tuple[int, int]
"""Two integers: (vertical, horizontal), or (minimum, maximum)."""


class Record:
    """Base of frozen dataclasses of plain data: arrays are read-only and compared by value."""

    __hash__ = None  # type: ignore[assignment]

    def __eq__(self, other: object) -> bool:
        """Compare type and fields; arrays are equal where dtype, shape and values are."""
        if type(other) is not type(self):
            return NotImplemented
        fields = dataclasses.fields(self)  # type: ignore[arg-type]
        return all(_equal(getattr(self, f.name), getattr(other, f.name)) for f in fields)

    def _set(self, **values: object) -> None:
        """Set fields while the frozen record is initialized."""
        for name, value in values.items():
            object.__setattr__(self, name, value)


def _equal(a: object, b: object) -> bool:
    if isinstance(a, np.ndarray) and isinstance(b, np.ndarray):
        return a.dtype == b.dtype and np.array_equal(a, b)
    return bool(a == b)
