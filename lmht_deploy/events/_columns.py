"""Events as four arrays t, x, y, p."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from lmht_deploy.errors import DataError

from .arrays import MAX_TIME


def combine_columns(columns: Mapping[str, np.ndarray]) -> np.ndarray:
    """Return one structured array of the arrays t, x, y, p; floating-point times are seconds.

    Raises:
        DataError: An array is missing, they are not of one length, or all seconds are whole:
            then they are microseconds.
    """
    shapes = {columns[name].shape for name in "txyp" if name in columns}
    if not set("txyp") <= columns.keys() or len(shapes) > 1 or columns["t"].ndim != 1:
        raise DataError(
            "must hold four arrays t, x, y, p of one length;"
            f" it holds {', '.join(sorted(columns)) or 'nothing'}"
        )
    t = columns["t"]
    values = {**columns, "t": _microseconds(t) if t.dtype.kind == "f" else t}
    events = np.empty(len(t), [(name, values[name].dtype) for name in "txyp"])
    for name in "txyp":
        events[name] = values[name]
    return events


def _microseconds(seconds: np.ndarray) -> np.ndarray:
    finite = seconds[np.isfinite(seconds)]
    if (finite != finite[:1]).any() and (finite == np.rint(finite)).all():
        raise DataError(
            "gives floating-point times, which are seconds, and all of them are whole, from "
            f"{finite[0]:.0f} to {finite[-1]:.0f}; write microseconds as integers"
        )
    found = np.rint(seconds.astype(np.float64) * 1e6)
    valid = np.abs(found) < MAX_TIME  # a time that is not finite becomes one that is out of range
    return np.where(valid, found, 0).astype(np.int64) + np.where(valid, 0, MAX_TIME + 1)
