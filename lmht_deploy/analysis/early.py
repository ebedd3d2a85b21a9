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
from contextlib import closing
from dataclasses import dataclass

import numpy as np

from lmht_deploy import reference
from lmht_deploy._arguments import REAL, check_types
from lmht_deploy.backends import open_network, run_chunks
from lmht_deploy.engine import StepwiseEngine, check_stepwise
from lmht_deploy.errors import DataError, counted
from lmht_deploy.ir import Network, require_network

from .runner import as_windows

__all__ = [
    "EarlyRun",
    "StopRule",
    "calibrate_stop",
    "check_calibration",
    "check_risk",
    "choose_margin",
    "run_early",
    "stop_scores",
]


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
        >>> result = engine.run(window, rule.stop_margin)
    """
    check_calibration(risk, len(as_windows(windows)))
    return choose_margin(stop_scores(net, windows), risk)


def stop_scores(net: Network, windows: np.ndarray) -> np.ndarray:
    """Return the largest c with which each window would stop with another answer, -1 if none.

    Args:
        net: An integer network that `StepwiseEngine` supports.
        windows: Calibration windows.

    Returns:
        int64 `[B]`

    Raises:
        BackendError: A time-step of the network depends on later ones.
        DataError: The windows do not fit the network.
    """
    check_stepwise(require_network(net))
    logits = np.concatenate(list(_step_logits(net, as_windows(windows))))
    answers = logits.argmax(2)
    left = np.arange(logits.shape[1] - 1, 0, -1)
    ordered = np.sort(logits[:, :-1], axis=2)
    margins = ordered[..., -1] - (ordered[..., -2] if ordered.shape[2] > 1 else 0)
    # margin > c·left  <=>  c < margin/left  <=>  c <= ceil(margin/left) - 1
    largest = -(-margins // left) - 1
    # With c, a window stops at the first step whose largest possible c is not smaller.
    before = np.maximum.accumulate(np.insert(largest, 0, -1, axis=1), axis=1)[:, :-1]
    wrong = (largest > before) & (answers[:, :-1] != answers[:, -1:])
    scores: np.ndarray = np.where(wrong, largest, -1).max(axis=1, initial=-1)
    return scores


def _step_logits(net: Network, windows: np.ndarray) -> Iterator[np.ndarray]:
    """Yield the logits after each time-step, int64 `[b, T, K]`, of successive windows."""
    with closing(open_network("event", net)) as runner:
        first = 0
        for result in run_chunks(runner, windows, trace=True):
            part = windows[first : first + len(result.logits)]
            outputs = reference.outputs_of(net, part, result.traces)
            yield np.cumsum(reference.currents(net, net.readout, outputs), axis=1)
            first += len(part)


def choose_margin(scores: np.ndarray, risk: float) -> StopRule:
    """Choose the margin for a risk.

    Args:
        scores: Scores of the calibration windows, see `stop_scores`.
        risk: α, as for `calibrate_stop`.

    Raises:
        DataError: There are fewer than 1/α - 1 windows.
    """
    check_calibration(risk, len(scores))
    rank = math.ceil((1 - risk) * (len(scores) + 1))
    return StopRule(int(np.sort(scores)[rank - 1]) + 1, float(risk), len(scores))


@check_types(DataError, risk=REAL)
def check_risk(risk: float) -> None:
    """Raise DataError if a risk is out of range."""
    if not 0 < risk < 1:
        raise DataError(f"the risk must be above 0 and below 1, not {risk}")


def check_calibration(risk: float, windows: int) -> None:
    """Raise DataError if a risk is out of range, or needs more calibration windows."""
    check_risk(risk)
    if math.ceil((1 - risk) * (windows + 1)) > windows:
        needed = math.ceil(1 / risk) - 1
        raise DataError(
            f"a risk of {risk:g} needs at least {needed:,} calibration windows; there "
            f"{'is' if windows == 1 else 'are'} {counted(windows, 'window')}"
        )


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
    early, whole = engine.run(window, stop_margin), engine.run(window)
    yield from () if early.steps is None else early.steps.tolist()
    yield from (int(result.predictions[0]) for result in (early, whole))
    yield from (sum(int(n[0]) for n in result.sops.values()) for result in (early, whole))
    yield from (result.seconds for result in (early, whole))
