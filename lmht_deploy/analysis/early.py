"""Stop when sure: end the run of a window when its answer is known, with a bounded risk.

After each time-step of a network that computes step by step, the logits so far are compared: the
run ends if the difference of the two largest exceeds c·(T - t), where T - t time-steps are left.
`calibrate_stop` chooses the integer c by conformal prediction (Vovk, Gammerman and Shafer 2005).
For each calibration window, its score is the largest c with which it would stop with another answer
than that of the whole window, or -1. Let c be larger by 1 than the ⌈(1 - α)(n + 1)⌉-th smallest of
the n scores. Then a further window stops with another answer with a probability of at most α, if it
is exchangeable with the calibration windows.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from lmht_deploy._arguments import REAL, check_types
from lmht_deploy.engine import StepwiseEngine
from lmht_deploy.errors import DataError, counted
from lmht_deploy.ir import Network, require_network

from .runner import as_windows

__all__ = ["EarlyRun", "StopRule", "calibrate_stop", "run_early"]


@dataclass(frozen=True)
class StopRule:
    """A margin with which a window may end early.

    Attributes:
        stop_margin: c, in units of a logit per time-step that is left.
        risk: α, the bound on the probability of another answer than that of the whole window.
        windows: Number of calibration windows.
    """

    stop_margin: int
    risk: float
    windows: int


@dataclass(frozen=True, eq=False)
class EarlyRun:
    """Windows that were run with and without an early end.

    Attributes:
        steps: Number of time-steps that were run per window, int64 `[B]`.
        answers: Answers of the early runs, int64 `[B]`.
        whole_answers: Answers of the whole windows, int64 `[B]`.
        sops: Synaptic operations of the early runs, int64 `[B]`.
        whole_sops: Synaptic operations of the whole windows, int64 `[B]`.
        seconds: Wall time of the early runs, float64 `[B]`.
        whole_seconds: Wall time of the whole windows, float64 `[B]`.
    """

    steps: np.ndarray
    answers: np.ndarray
    whole_answers: np.ndarray
    sops: np.ndarray
    whole_sops: np.ndarray
    seconds: np.ndarray
    whole_seconds: np.ndarray

    @property
    def risk(self) -> float:
        """Share of the windows with another answer than that of the whole window."""
        return float((self.answers != self.whole_answers).mean())

    @property
    def saved_sops(self) -> float:
        """Share of the synaptic operations that were saved."""
        return 1 - float(self.sops.sum() / max(int(self.whole_sops.sum()), 1))

    @property
    def saved_seconds(self) -> float:
        """Share of the time that was saved."""
        return 1 - float(self.seconds.sum() / self.whole_seconds.sum())


@check_types(DataError, risk=REAL)
def calibrate_stop(net: Network, windows: np.ndarray, risk: float = 0.01) -> StopRule:
    """Choose the margin with which windows may end early.

    Args:
        net: An integer network that `StepwiseEngine` supports.
        windows: Windows that the network was not trained on. Labels are not needed.
        risk: α, the largest probability of another answer than that of the whole window, 0..1.

    Raises:
        BackendError: A time-step of the network depends on later ones.
        DataError: There are fewer than 1/α - 1 windows, or they do not fit the network.

    Shape:
        windows: int `[B, T_in, C, H, W]` or `[B, T_in, N]`

    Example:
        >>> rule = calibrate_stop(net, held_out, risk=0.01)
        >>> engine = StepwiseEngine(net)
        >>> result, steps = engine.run(window, rule.stop_margin)
    """
    if not 0 < risk < 1:
        raise DataError(f"the risk must be above 0 and below 1, not {risk}")
    windows = as_windows(windows)
    rank = math.ceil((1 - risk) * (len(windows) + 1))
    if rank > len(windows):
        needed = math.ceil(1 / risk) - 1
        raise DataError(
            f"a risk of {risk:g} needs at least {needed:,} calibration windows; there "
            f"{'is' if len(windows) == 1 else 'are'} {counted(len(windows), 'window')}"
        )
    engine = StepwiseEngine(require_network(net))
    scores = sorted(_score(*_trajectory(engine, window)) for window in windows)
    return StopRule(scores[rank - 1] + 1, float(risk), len(windows))


def _trajectory(engine: StepwiseEngine, window: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the margins per step that is left, floored, and the answers, after each time-step.

    The last time-step, after which none is left, has the answer of the whole window.
    """
    logits = np.cumsum([engine.step(counts).logits[0] for counts in window], axis=0)
    total = engine.finish()
    left = np.arange(len(window) - 1, 0, -1)
    ordered = np.sort(logits[:-1], axis=1)
    margins = ordered[:, -1] - (ordered[:, -2] if ordered.shape[1] > 1 else 0)
    # margin > c·left  <=>  c < margin/left  <=>  c <= ceil(margin/left) - 1
    largest = -(-margins // left) - 1
    return largest, np.append(logits[:-1].argmax(1), total.predictions[0])


def _score(largest: np.ndarray, answers: np.ndarray) -> int:
    """Return the largest c with which a window stops with a wrong answer; -1 if there is none.

    With c, it stops at the first step whose largest possible c is not smaller.
    """
    score, before = -1, -1
    for value, answer in zip(largest.tolist(), answers[:-1].tolist(), strict=True):
        if value > before:
            score = value if answer != answers[-1] else score
            before = value
    return score


def run_early(net: Network, windows: np.ndarray, stop_margin: int) -> EarlyRun:
    """Run each window with and without an early end, in turn, and compare them.

    Args:
        net: An integer network that `StepwiseEngine` supports.
        windows: The windows.
        stop_margin: c, as `calibrate_stop` chooses it.

    Raises:
        BackendError: A time-step of the network depends on later ones.
        DataError: The windows do not fit the network.
    """
    engine = StepwiseEngine(require_network(net))
    rows = [list(_both(engine, window, stop_margin)) for window in as_windows(windows)]
    columns = [np.array(column) for column in zip(*rows, strict=True)]
    return EarlyRun(*columns)


def _both(engine: StepwiseEngine, window: np.ndarray, stop_margin: int) -> Iterator[float]:
    early, steps = engine.run(window, stop_margin)
    whole, _ = engine.run(window)
    yield steps
    yield from (int(result.predictions[0]) for result in (early, whole))
    yield from (sum(int(n[0]) for n in result.sops.values()) for result in (early, whole))
    yield from (result.seconds for result in (early, whole))
