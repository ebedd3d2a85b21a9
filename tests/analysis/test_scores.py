"""Scores: values by hand, and those of the literature for the interval."""

from __future__ import annotations

import numpy as np
import pytest

from lmht_deploy.analysis.runner import time_windows
from lmht_deploy.analysis.scores import (
    calibrate,
    interval,
    score,
    silent_layers,
    wilson,
)
from lmht_deploy.answers import UNKNOWN, Answers, Judge, answer_windows
from lmht_deploy.errors import DataError
from lmht_deploy.result import Result

LOGITS = np.array([[5, 1, 3], [2, 9, 2], [4, 4, 0], [0, 1, 7]], np.int64)


def result(logits: np.ndarray = LOGITS, **spikes: np.ndarray) -> Result:
    return Result("reference", logits, 0.5, spikes, {})


def answered(*pairs: tuple[int, float]) -> Answers:
    labels, margins = zip(*pairs, strict=True)
    return Answers(np.array(labels), np.array(margins))


def test_answers_by_hand() -> None:
    found = answer_windows(result())
    assert found.labels.tolist() == [0, 1, 0, 2]  # the lowest of equal classes
    assert found.margins.tolist() == [1.0, 3.5, 0.0, 3.0]
    assert answer_windows(result(), Judge(min_margin=3.0)).labels.tolist() == [UNKNOWN, 1, -1, 2]
    one = answer_windows(result(np.array([[3], [-2]])))
    assert one.labels.tolist() == [0, 0] and one.margins.tolist() == [1.5, -1.0]


def test_smoothing_adds_the_integers_of_the_last_windows_of_a_recording() -> None:
    smooth = Judge(smooth=2)
    one = answer_windows(result(), smooth, np.zeros(4, np.int64))
    # sums: [5 1 3], [7 10 5], [6 13 2], [4 5 7]
    assert one.labels.tolist() == [0, 1, 1, 2]
    assert one.margins.tolist() == [1.0, 0.75, 1.75, 0.5]
    two = answer_windows(result(), smooth, np.array([0, 0, 1, 1]))
    # sums: [5 1 3], [7 10 5], [4 4 0], [4 5 7]
    assert two.labels.tolist() == [0, 1, 0, 2]
    assert two.margins.tolist() == [1.0, 0.75, 0.0, 0.5]
    assert answer_windows(result(), smooth).margins.tolist() == [1.0, 3.5, 0.0, 3.0]


@pytest.mark.parametrize("wrong", [{"smooth": 0}, {"min_margin": -1.0}, {"min_margin": np.nan}])
def test_a_judge_refuses_what_has_no_meaning(wrong: dict) -> None:
    with pytest.raises(DataError, match=r"needs at least one|must be a number >= 0"):
        Judge(**wrong)


def test_confusion_by_hand() -> None:
    found = score(answered((0, 1.0), (1, 1.0), (1, 1.0), (UNKNOWN, 0.1)), np.array([0, 0, 1, 2]), 3)
    assert found.confusion.tolist() == [[1, 1, 0], [0, 1, 0], [0, 0, 0]]
    assert found.unknown.tolist() == [0, 0, 1]
    assert (found.windows, found.answered, found.correct) == (4, 3, 2)
    assert found.per_class == [0.5, 1.0, 0.0]
    assert score(answered((0, 1.0)), np.array([0]), 2).per_class == [1.0, None]


@pytest.mark.parametrize("label", [-1, 3])
def test_labels_that_are_no_class_are_refused(label: int) -> None:
    with pytest.raises(DataError, match=f"label {label} of window 1 is not a class"):
        score(answered((0, 1.0), (0, 1.0)), np.array([0, label]), 3)
    with pytest.raises(DataError, match="there are 1 labels for 2 windows"):
        score(answered((0, 1.0), (0, 1.0)), np.array([0]), 3)


@pytest.mark.parametrize(
    ("correct", "windows", "low", "high"),
    [  # Newcombe (1998), Statistics in Medicine 17, table I, method 3
        (81, 263, 0.2553, 0.3662),
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0.0, 0.1611),
        (1, 29, 0.0061, 0.1718),
    ],
)
def test_wilson_interval(correct: int, windows: int, low: float, high: float) -> None:
    assert wilson(correct, windows) == pytest.approx((low, high), abs=5e-5)
    mirrored = wilson(windows - correct, windows)
    assert mirrored == pytest.approx((1 - high, 1 - low), abs=5e-5)


def test_interval_of_a_result() -> None:
    assert interval(result(), None) is None
    assert interval(result(), np.array([0, 1, 1, 2])) == wilson(3, 4)


def test_calibration_keeps_the_share_and_rounds_down() -> None:
    right = [(0, margin) for margin in (0.5, 1.23456, 2.0, 3.0, 4.0)]
    found = calibrate(answered(*right, (1, 0.9), (1, 1.5)), np.zeros(7, int), 2, 80)
    assert found.min_margin == 1.234
    assert (found.right, found.right_kept, found.wrong, found.wrong_kept) == (5, 4, 2, 1)
    assert calibrate(answered(*right), np.zeros(5, int), 2, 100).min_margin == 0.5
    assert calibrate(answered(*right), np.zeros(5, int), 2, 0).min_margin == 4.0
    many = answered(*((0, float(margin)) for margin in range(1, 1001)))
    assert calibrate(many, np.zeros(1000, int), 2, 99.9).min_margin == 2.0
    assert calibrate(answered((0, 0.0)), np.zeros(1, int), 2, 95).min_margin == 0.0
    with pytest.raises(DataError, match="no window is classified correctly"):
        calibrate(answered((1, 1.0)), np.zeros(1, int), 2, 95)


def test_silent_layers() -> None:
    silent, loud = np.zeros(4, int), np.array([0, 0, 1, 0])
    assert silent_layers(result(a=silent, b=loud, c=silent)) == ["a", "c"]


def test_times_are_of_one_window_per_call() -> None:
    calls = []

    class Counting:
        def run(self, windows: np.ndarray) -> None:
            calls.append(len(windows))

    windows = np.zeros((5, 1))
    assert len(time_windows(Counting(), windows)) == 5 and calls == [1] * 6  # type: ignore[arg-type]
    assert len(time_windows(Counting(), windows, seconds=0)) == 0  # type: ignore[arg-type]
    assert len(time_windows(Counting(), windows[:0])) == 0  # type: ignore[arg-type]
