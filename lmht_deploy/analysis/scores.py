"""How well a network classifies: accuracy and its interval, the confusion matrix, margins."""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction

import numpy as np

from lmht_deploy._arguments import INTEGER, REAL, as_array, check_types
from lmht_deploy.answers import UNKNOWN, Answers
from lmht_deploy.errors import DataError, show
from lmht_deploy.result import Result

__all__ = [
    "Calibration",
    "Scores",
    "accuracy",
    "calibrate",
    "check_labels",
    "interval",
    "saturations",
    "score",
    "silent_layers",
    "wilson",
]

MAX_CLASSES = 2**15
"""Largest number of classes of a confusion matrix."""
Z = 1.959963984540054
"""Quantile of the normal distribution for an interval of 95 %."""


@dataclass(frozen=True, eq=False)
class Scores:
    """Answers compared with labels.

    Attributes:
        confusion: int64 `[K, K]`: number of windows of class i (row) that were answered with class
            j (column).
        unknown: int64 `[K]`: number of windows of each class that were answered with "unknown".
    """

    confusion: np.ndarray
    unknown: np.ndarray

    @property
    def windows(self) -> int:
        """Number of windows."""
        return self.answered + int(self.unknown.sum())

    @property
    def answered(self) -> int:
        """Number of windows whose answer is a class."""
        return int(self.confusion.sum())

    @property
    def correct(self) -> int:
        """Number of windows whose answer is their label."""
        return int(np.trace(self.confusion))

    @property
    def per_class(self) -> list[float | None]:
        """Share of the windows of each class that are answered correctly; None without windows."""
        windows = self.confusion.sum(1) + self.unknown
        return [
            float(right / count) if count else None
            for right, count in zip(np.diag(self.confusion), windows, strict=True)
        ]


@dataclass(frozen=True)
class Calibration:
    """A smallest margin, and what it does to the windows it was chosen on.

    Attributes:
        min_margin: The margin.
        right: Number of windows that are classified correctly.
        right_kept: Number of these whose margin is not smaller.
        wrong: Number of windows that are classified wrongly.
        wrong_kept: Number of these whose margin is not smaller.
    """

    min_margin: float
    right: int
    right_kept: int
    wrong: int
    wrong_kept: int


@check_types(DataError, answers=Answers, classes=INTEGER)
def score(answers: Answers, labels: np.ndarray, classes: int) -> Scores:
    """Count answers by label.

    Args:
        answers: What the network answers for N windows.
        labels: Classes of the windows.
        classes: K, number of classes of the network.

    Raises:
        DataError: There are fewer labels than answers, or a label is not a class of the network.

    Shape:
        labels: int `[N]`; further labels are ignored
    """
    if not 1 <= classes <= MAX_CLASSES:
        raise DataError(f"the number of classes lies within 1..{MAX_CLASSES:,}, not {classes}")
    labels = _labels_of(labels, len(answers.labels), classes)
    counts = np.zeros((classes, classes + 1), np.int64)
    np.add.at(counts, (labels, answers.labels), 1)  # UNKNOWN is the last column
    return Scores(counts[:, :classes], counts[:, UNKNOWN])


@check_types(DataError, result=Result)
def accuracy(result: Result, labels: np.ndarray | None) -> float | None:
    """Return the share of windows that are classified correctly, 0..1; None without labels.

    Args:
        result: Result of the first windows, or of all.
        labels: Classes of all windows, int `[N]`.

    Raises:
        DataError: There are fewer labels than windows, or a label is not a class of the network.
    """
    if labels is None:
        return None
    windows, classes = result.logits.shape
    return float((result.predictions == _labels_of(labels, windows, classes)).mean())


@check_types(DataError, result=Result)
def interval(result: Result, labels: np.ndarray | None) -> tuple[float, float] | None:
    """Return the 95 % interval of `accuracy`, for independent windows; None without labels."""
    share = accuracy(result, labels)
    if share is None:
        return None
    windows = len(result.logits)
    return wilson(round(share * windows), windows)


def check_labels(labels: np.ndarray | None, windows: np.ndarray) -> np.ndarray | None:
    """Return `labels` as an array; DataError if they are not one integer per window."""
    if labels is None:
        return None
    labels = as_array("labels", labels)
    if labels.dtype.kind not in "iu" or labels.shape != windows.shape[:1]:
        raise DataError(
            "labels must be integers, one per window: expected "
            f"{list(windows.shape[:1])}, not {labels.dtype} {list(labels.shape)}"
        )
    return labels


def _labels_of(labels: np.ndarray, windows: int, classes: int) -> np.ndarray:
    """Return the labels of the first windows; DataError if they do not fit the network."""
    labels = as_array("labels", labels)
    if labels.dtype.kind not in "iu" or labels.ndim != 1:
        raise DataError(f"labels must be integers, one per window, not {show(labels)}")
    if len(labels) < windows:
        raise DataError(f"there are {len(labels)} labels for {windows} windows")
    wrong = (labels < 0) | (labels >= classes)
    if wrong.any():
        index = int(wrong.argmax())
        raise DataError(
            f"label {labels[index]} of window {index} is not a class of the network,"
            f" which has the classes 0..{classes - 1}"
        )
    return labels[:windows]


def wilson(correct: int, windows: int) -> tuple[float, float]:
    """Return the 95 % interval of an accuracy (Wilson, 1927), for independent windows.

    Example:
        >>> wilson(90, 100)
        (0.8256..., 0.9447...)
    """
    share, weight = correct / windows, Z * Z / windows
    center = share + weight / 2
    spread = Z * math.sqrt(share * (1 - share) / windows + weight / (4 * windows))
    low, high = (center - spread) / (1 + weight), (center + spread) / (1 + weight)
    return (max(low, 0.0) if correct else 0.0, min(high, 1.0) if correct < windows else 1.0)


@check_types(DataError, answers=Answers, classes=INTEGER, percent=REAL)
def calibrate(answers: Answers, labels: np.ndarray, classes: int, percent: float) -> Calibration:
    """Choose the largest margin below which few right answers lie.

    Args:
        answers: Answers without a smallest margin, for windows that the network was not trained on.
        labels: Classes of the windows, int `[N]`.
        classes: Number of classes of the network.
        percent: Percentage of the right answers whose margin must not be smaller, 0..100.

    Returns:
        The margin, rounded down to 4 digits, and its effect.

    Raises:
        DataError: No window is classified correctly, or the labels do not fit.
    """
    if not 0 <= percent <= 100:
        raise DataError(f"a percentage lies within 0..100, not {percent}")
    right = answers.labels == _labels_of(labels, len(answers.labels), classes)
    margins = np.sort(answers.margins[right])
    if not len(margins):
        raise DataError("no window is classified correctly; a margin cannot be chosen")
    kept = max(1, math.ceil(Fraction(str(float(percent))) * len(margins) / 100))
    margin = _round_down(float(margins[-kept]))
    above = answers.margins >= margin
    return Calibration(
        min_margin=margin,
        right=len(margins),
        right_kept=int((above & right).sum()),
        wrong=int((~right).sum()),
        wrong_kept=int((above & ~right).sum()),
    )


def _round_down(value: float, digits: int = 4) -> float:
    """Round a value >= 0 down to `digits` significant digits."""
    nearest = float(f"{value:.{digits - 1}e}")
    if nearest <= value:
        return nearest
    return float(f"{nearest - 10.0 ** (math.floor(math.log10(value)) - digits + 1):.{digits - 1}e}")


def silent_layers(result: Result) -> list[str]:
    """Return the layers of neurons that fire no spike in any window."""
    return [layer for layer, counts in result.spikes.items() if not counts.any()]


def saturations(result: Result) -> list[tuple[str, int, int]]:
    """Return the layers whose 24-bit currents wrapped or whose potentials were clipped.

    Returns:
        Per layer its name, and how often each happened in all windows.
    """
    found = [
        (name, int(wrapped.sum()), int(result.clipped[name].sum()))
        for name, wrapped in result.wrapped.items()
    ]
    return [layer for layer in found if any(layer[1:])]
