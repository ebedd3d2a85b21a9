"""Events as four arrays t, x, y, p."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from lmht_deploy.errors import DataError


def combine_columns(columns: Mapping[str, np.ndarray]) -> np.ndarray:
    """Return one structured array of the arrays t, x, y, p; floating-point times are seconds.

    Raises:
        DataError: An array is missing, or they are not of one length.
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
    found = np.rint(seconds.astype(np.float64) * 1e6)
    if not (np.abs(found) < 2.0**62).all():
        raise DataError("holds times that are not finite, or beyond 2^62 us")
    return found.astype(np.int64)
