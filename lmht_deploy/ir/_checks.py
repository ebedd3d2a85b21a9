"""Checks of fields: each returns the value in its plain form or raises NetworkError."""

from __future__ import annotations

import math
from collections.abc import Collection
from typing import Any, TypeGuard

import numpy as np

from lmht_deploy._arguments import as_array
from lmht_deploy.errors import NetworkError, listed, show

from .records import Pair

INT32_MAX = 2**31 - 1
"""Largest value of a 32-bit integer."""
MAX_NAME = 255
"""Largest number of characters in the name of a layer."""


def integer(what: str, value: object, low: int, high: int = INT32_MAX) -> int:
    """Return `value` as an int within `low`..`high`; booleans and floats are no integers."""
    if _is_integer(value) and low <= value <= high:
        return int(value)
    raise NetworkError(f"{what} must be an integer within {low}..{high}, not {show(value)}")


def real(what: str, value: object, low: float, high: float) -> float:
    """Return `value` as a float within `low`..`high`."""
    number = _float(value)
    if low <= number <= high:
        return number
    raise NetworkError(f"{what} must be a number within {low:g}..{high:g}, not {show(value)}")


def positive(what: str, value: object) -> float:
    """Return `value` as a positive, finite float."""
    number = _float(value)
    if 0 < number < math.inf:
        return number
    raise NetworkError(f"{what} must be a positive and finite number, not {show(value)}")


def _is_integer(value: object) -> TypeGuard[int]:
    return isinstance(value, int | np.integer) and not isinstance(value, bool)


def _float(value: object) -> float:
    """Return a real number as a float, and NaN, which is in no range, for any other value."""
    if not _is_integer(value) and not isinstance(value, float | np.floating):
        return math.nan
    try:
        return float(value)
    except OverflowError:
        return math.nan


def pair(what: str, value: object, low: int) -> Pair:
    """Return one integer >= `low`, or two of them, as the pair (vertical, horizontal)."""
    values = value if isinstance(value, tuple | list) else (value, value)
    if len(values) != 2 or not all(_is_integer(v) and low <= v <= INT32_MAX for v in values):
        raise NetworkError(f"{what} must be one or two integers >= {low}, not {show(value)}")
    return int(values[0]), int(values[1])


def choice(what: str, value: object, options: Collection[str]) -> None:
    """Require that `value` is one of the texts `options`."""
    if not isinstance(value, str) or value not in options:
        allowed = listed(map(repr, options), "or")
        raise NetworkError(f"{what} must be {allowed}, not {show(value)}")


def name(value: object, what: str = "layer name") -> str:
    """Return `value` as the name of a layer: printable, and usable as part of a file name."""
    if not isinstance(value, str) or not value.isprintable() or not 1 <= len(value) <= MAX_NAME:
        raise NetworkError(
            f"{what} {show(value)} must be printable text of 1 to {MAX_NAME} characters"
        )
    if set(value) & set("/\\:") or value in {".", ".."}:
        raise NetworkError(f"{what} {show(value)} must be printable text without '/', '\\' or ':'")
    return str(value)


def members(what: str, values: object, kinds: tuple[type, ...]) -> tuple[Any, ...]:
    """Return the sequence `values` as a tuple, all of whose members are of one of `kinds`."""
    allowed = ", ".join(kind.__name__ for kind in kinds)
    if not isinstance(values, tuple | list):
        raise NetworkError(f"{what} must be a tuple of {allowed}, not {show(values)}")
    for value in values:
        if not isinstance(value, kinds):
            raise NetworkError(f"{what} must hold {allowed}, not {show(value)}")
    return tuple(values)


def array(what: str, values: object, ndim: int, dtype: type[np.signedinteger[Any]]) -> np.ndarray:
    """Return a read-only copy: of `dtype` where `values` are integers, otherwise float64."""
    found = as_array(what, values, NetworkError)
    if found.dtype.kind not in "iuf":
        raise NetworkError(f"{what} must hold real numbers, not {found.dtype}")
    if found.ndim != ndim:
        raise NetworkError(f"{what} must have {ndim} dimensions, not shape {found.shape}")
    if found.size == 0:
        raise NetworkError(f"{what} of shape {found.shape} is empty")
    if found.dtype.kind == "f":
        with np.errstate(over="ignore"):  # a long double beyond float64 becomes infinite
            result = np.array(found, np.float64)
        if not np.isfinite(result).all():
            raise NetworkError(f"{what} holds values that are not finite")
    else:
        check_range(what, found, np.iinfo(dtype).min, np.iinfo(dtype).max)
        result = np.array(found, dtype)
    result.setflags(write=False)
    return result


def check_range(what: str, values: np.ndarray, low: int, high: int) -> None:
    """Require that the integers `values` lie within `low`..`high`."""
    least, largest = int(values.min()), int(values.max())
    if least < low or largest > high:
        raise NetworkError(f"{what} must lie within {low}..{high}, found {least}..{largest}")
