"""From logits to answers: the margin, smoothing over windows, and "unknown" below a margin."""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass
from types import NoneType
from typing import NamedTuple

import numpy as np

from ._arguments import INTEGER, REAL, check_types
from .errors import DataError, show
from .result import Result

__all__ = ["UNKNOWN", "Answer", "Answers", "Judge", "answer_windows"]

UNKNOWN = -1
"""Label of an answer whose margin is too small."""


class Answer(NamedTuple):
    """What a network answers for one window.

    Attributes:
        label: Class of the largest logit, the lowest if several are equal; `UNKNOWN` if the margin
            is too small.
        margin: Difference of the two largest logits (real values); the logit itself if there is
            only one.
    """

    label: int
    margin: float


@dataclass(frozen=True, eq=False)
class Answers:
    """What a network answers for N windows; see `Answer`.

    Attributes:
        labels: int64 `[N]`.
        margins: float64 `[N]`.
    """

    labels: np.ndarray
    margins: np.ndarray


class Judge:
    """Turns the logits of successive windows into answers.

    With smoothing, the logits are those of the last windows on average. Their integers are added
    and the sum is scaled once, so that the answers are the same on every backend. The first windows
    are averaged over those that there are.

    The logits of a window that ended early are those of t of its T time-steps. They count T/t
    times, so that windows of different numbers of time-steps are compared and averaged alike.

    Args:
        smooth: Number of windows to average; 1 for no smoothing.
        min_margin: Smallest margin (real value) of an answer that is a class; 0 for no such limit.

    Raises:
        DataError: `smooth` or `min_margin` is out of range.

    Example:
        >>> judge = Judge(min_margin=0.5)
        >>> judge.answer(np.array([3, 9, 1]), scale=0.1)
        Answer(label=1, margin=0.6000000000000001)
        >>> judge.answer(np.array([3, 7, 1]), scale=0.1)
        Answer(label=-1, margin=0.4)
    """

    @check_types(DataError, smooth=INTEGER, min_margin=REAL)
    def __init__(self, smooth: int = 1, min_margin: float = 0.0) -> None:
        if not 1 <= smooth < 2**31:
            raise DataError(f"smoothing needs at least one window, and not {smooth}")
        if not 0 <= min_margin < math.inf:
            raise DataError(f"a smallest margin must be a number >= 0, not {min_margin}")
        self._min_margin = min_margin
        self._last: deque[np.ndarray] = deque(maxlen=smooth)

    @check_types(DataError, logits=np.ndarray, scale=REAL)
    def answer(self, logits: np.ndarray, scale: float, share: float = 1.0) -> Answer:
        """Answer for the next window.

        Args:
            logits: Logits of the window, `[K]`.
            scale: Real value of one unit of a logit.
            share: t/T, the share of the time-steps that were run; 1 for a whole window.
        """
        if logits.ndim != 1 or logits.dtype.kind not in "iuf" or not len(logits):
            raise DataError(f"logits must be numbers [K], not {show(logits)}")
        self._last.append(logits if share == 1 else logits / share)
        total = self._last[0] if len(self._last) == 1 else np.sum(self._last, axis=0)
        values = total.tolist()  # NumPy is slow to begin after a network has used the caches
        largest, *others = sorted(values, reverse=True)
        difference = float(largest - others[0] if others else largest)
        margin = difference * scale / len(self._last)
        unknown = self._min_margin > 0 and margin < self._min_margin
        return Answer(UNKNOWN if unknown else values.index(largest), margin)

    def forget(self) -> None:
        """Forget the last windows, before the first one of another recording."""
        self._last.clear()


@check_types(DataError, result=Result, judge=(Judge, NoneType), recordings=(np.ndarray, NoneType))
def answer_windows(
    result: Result,
    judge: Judge | None = None,
    recordings: np.ndarray | None = None,
    steps: int | None = None,
) -> Answers:
    """Return the answers for all windows of a result.

    Args:
        result: Result of a run.
        judge: Default: one without smoothing and without a smallest margin.
        recordings: Index of the recording of each window, int `[N]`: windows are averaged within a
            recording only. Default: each window is a recording of its own.
        steps: T, number of time-steps of a whole window. Only needed if windows may have ended
            early, see `Result.steps`.
    """
    judge = judge or Judge()
    if recordings is not None and recordings.shape != result.logits.shape[:1]:
        raise DataError(f"recordings must be one index per window, not {show(recordings)}")
    run, shares = result.steps, np.ones(len(result.logits))
    if run is not None and steps is not None:
        shares = run / steps
    found = []
    for window, logits in enumerate(result.logits):
        if window == 0 or recordings is None or recordings[window] != recordings[window - 1]:
            judge.forget()
        found.append(judge.answer(logits, result.scale, float(shares[window])))
    return Answers(
        np.array([answer.label for answer in found], np.int64),
        np.array([answer.margin for answer in found], np.float64),
    )
