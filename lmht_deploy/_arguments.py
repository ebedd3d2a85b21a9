"""Arguments of a wrong type are a user's mistake, and are named."""

from __future__ import annotations

import functools
import inspect
import math
from collections.abc import Callable
from typing import Any, ParamSpec, TypeAlias, TypeVar

import numpy as np

from .errors import DataError, LmhtError, first_line, listed

P = ParamSpec("P")
R = TypeVar("R")
Kinds: TypeAlias = Any
"""A type or a tuple of types, as `isinstance` takes it."""

INTEGER = (int, np.integer)
REAL = (int, float, np.integer, np.floating)

_NAMES = {
    "Callable": "a function",
    "Mapping": "a mapping",
    "NoneType": "None",
    "bool": "True or False",
    "float": "a number",
    "floating": "a NumPy number",
    "int": "an integer",
    "integer": "a NumPy integer",
    "ndarray": "an array",
    "str": "text",
}


def is_real(value: object) -> bool:
    """Whether a value is a finite real number of Python or NumPy, and no truth value."""
    if not isinstance(value, REAL) or isinstance(value, bool):
        return False
    try:
        return math.isfinite(value)
    except OverflowError:  # an integer beyond the largest float
        return False


def as_array(name: str, values: object, error: type[LmhtError] = DataError) -> np.ndarray:
    """Return `values` as an array of NumPy.

    Args:
        name: What the values are, for the message.
        values: An array of any library, or nested sequences.
        error: What to raise.

    Raises:
        LmhtError: They do not form one array, or some are masked: NumPy would use what lies under
            the mask.
    """
    try:
        found = np.asarray(values)
    except Exception as reason:  # of ragged lists, or whatever a foreign object raises
        raise error(f"{name} must be an array of numbers ({first_line(reason)})") from None
    if isinstance(values, np.ma.MaskedArray) and np.ma.is_masked(values):
        raise error(f"{name} must have no masked values; give them a value (`filled`)")
    return found


def check_types(
    error: type[LmhtError], **kinds: Kinds
) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Decorate a function: arguments that are not instances of `kinds` raise `error`.

    Args:
        error: What to raise.
        kinds: Type or types of each argument to check.
    """

    def decorate(function: Callable[P, R]) -> Callable[P, R]:
        parameters = inspect.signature(function).parameters.values()
        names = [p.name for p in parameters if p.kind is p.POSITIONAL_OR_KEYWORD]

        # `signature.bind` would say the same, but takes as long as some of these functions.
        @functools.wraps(function)
        def checked(*args: P.args, **kwargs: P.kwargs) -> R:
            given = dict(zip(names, args, strict=False), **kwargs)
            for name, kind in kinds.items():
                if name in given and not isinstance(given[name], kind):
                    raise error(f"{name} must be {_describe(kind)}, not {_value(given[name])}")
            return function(*args, **kwargs)

        return checked

    return decorate


def _describe(kinds: Kinds) -> str:
    names = [_name(kind) for kind in (kinds if isinstance(kinds, tuple) else (kinds,))]
    return listed(names, "or")


def _name(kind: Any) -> str:
    name: str = kind.__name__
    article = "an" if name[0] in "AEIOUaeiou" else "a"
    return _NAMES.get(name, f"{article} {name}")


def _value(value: object) -> str:
    """Show a small value, and the type of any other."""
    if value is None or (isinstance(value, bool | int | float | str) and len(str(value)) < 40):
        return repr(value)
    return f"a value of type {type(value).__name__}"
