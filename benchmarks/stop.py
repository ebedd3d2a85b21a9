"""Measure what stopping early saves, on windows that neither trained the network nor calibrated it.

python -m benchmarks.stop zoo:digits-mht --data digits
python -m benchmarks.stop nmnist.lmht --data nmnist --root DIR --subset --splits validation,test

The recordings of all splits are divided at random into two halves, many times: one calibrates the
margin, the other measures it. With several splits, the last one is also measured once with the
margin that the others calibrate, engine and time included.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

import lmht_deploy as lmht
from lmht_deploy.analysis.early import choose_margin, run_early, stop_scores
from lmht_deploy.data import SplitRule, Windows
from lmht_deploy.engine import StepwiseEngine
from lmht_deploy.ir import Network

from .report import environment, summary


class Steps(NamedTuple):
    """Windows, step by step.

    Attributes:
        logits: Logits after each time-step, int64 `[N, T, K]`.
        sops: Synaptic operations until each time-step, int64 `[N, T]`.
        scores: Scores for the calibration, int64 `[N]`.
        labels: Classes, int64 `[N]`.
        recordings: Recording of each window, int64 `[N]`.
    """

    logits: np.ndarray
    sops: np.ndarray
    scores: np.ndarray
    labels: np.ndarray
    recordings: np.ndarray


class Measured(NamedTuple):
    """Shares of windows and operations that were measured with one margin."""

    saved: float
    differing: float
    accuracy: float
    whole_accuracy: float
    steps: float


def load(net: Network, given: argparse.Namespace, split: str) -> Windows:
    """Read the windows of a split, as the network was trained."""
    division = net.metadata.get("split")
    options = {} if given.root is None else {"root": given.root}
    return lmht.data.load(
        given.data,
        split=split,
        split_rule=None if division is None else SplitRule.from_text(division),
        max_count=net.input.max_value,
        subset=given.subset,
        **json.loads(net.metadata["window"]),
        **options,
    )


def run_steps(net: Network, parts: Sequence[Windows]) -> Steps:
    """Run all windows step by step."""
    engine = StepwiseEngine(net)
    found: list[tuple[np.ndarray, np.ndarray]] = []
    for window in (window for part in parts for window in part.windows):
        results = [engine.step(counts) for counts in window]
        engine.reset()
        spent = [sum(int(counts[0]) for counts in result.sops.values()) for result in results]
        found.append((np.cumsum([r.logits[0] for r in results], axis=0), np.cumsum(spent)))
    logits, sops = (np.array(column) for column in zip(*found, strict=True))
    scores = np.concatenate([stop_scores(net, np.asarray(part.windows)) for part in parts])
    labels = np.concatenate([part.require_labels() for part in parts])
    return Steps(logits, sops, scores, labels, np.array(list(_recordings(parts))))


def _recordings(parts: Sequence[Windows]) -> Iterator[int]:
    """Yield the number of the recording of each window."""
    first = 0
    for part in parts:
        index = np.arange(len(part)) if part.source_index is None else part.source_index
        yield from (first + index).tolist()
        first += int(index.max()) + 1


def measure(steps: Steps, chosen: np.ndarray, margin: int) -> Measured:
    """Measure a margin on some windows."""
    logits, sops, labels = steps.logits[chosen], steps.sops[chosen], steps.labels[chosen]
    second, first = np.moveaxis(np.partition(logits, -2, axis=2)[..., -2:], 2, 0)
    left = np.arange(logits.shape[1] - 1, -1, -1)
    ends = ((first - second > margin * left) | (left == 0)).argmax(1)
    windows = np.arange(len(ends))
    answers, whole = logits[windows, ends].argmax(1), logits[:, -1].argmax(1)
    return Measured(
        saved=1 - sops[windows, ends].sum() / sops[:, -1].sum(),
        differing=float((answers != whole).mean()),
        accuracy=float((answers == labels).mean()),
        whole_accuracy=float((whole == labels).mean()),
        steps=float(ends.mean() + 1),
    )


def divide(steps: Steps, risk: float, divisions: int) -> list[Measured]:
    """Calibrate on half of the recordings and measure the others, many times."""
    rng, found = np.random.default_rng(0), []
    names = np.unique(steps.recordings)
    for _ in range(divisions):
        half = np.isin(steps.recordings, rng.permutation(names)[: len(names) // 2])
        rule = choose_margin(steps.scores[half], risk)
        found.append(measure(steps, ~half, rule.stop_margin))
    return found


def _line(found: Sequence[Measured]) -> str:
    mean = Measured(*np.mean(found, axis=0))
    return (
        f"SOPs saved {mean.saved:.1%}   other answers {mean.differing:.2%}   "
        f"accuracy {mean.accuracy:.1%} (whole windows {mean.whole_accuracy:.1%})   "
        f"time-steps {mean.steps:.2f}"
    )


def main() -> None:
    """Measure one network."""
    parser = argparse.ArgumentParser(prog="benchmarks.stop", description=__doc__)
    parser.add_argument("network")
    parser.add_argument("--data", required=True)
    parser.add_argument("--root")
    parser.add_argument("--subset", action="store_true")
    parser.add_argument("--splits", default="test")
    parser.add_argument("--divisions", type=int, default=200)
    given = parser.parse_args()
    net, splits = lmht.load(given.network), given.splits.split(",")
    parts = [load(net, given, split) for split in splits]
    steps = run_steps(net, parts)
    print(summary(environment()))
    sizes = ", ".join(f"{len(p):,} windows ({s})" for p, s in zip(parts, splits, strict=True))
    print(f"{given.data}: {sizes}; {net.input.steps} time-steps")
    for risk in (0.01, 0.05):
        print(f"risk {risk:.0%}, {given.divisions} divisions by recording: ", end="")
        print(_line(divide(steps, risk, given.divisions)))
        if len(parts) > 1:
            first = len(steps.scores) - len(parts[-1])
            rule = choose_margin(steps.scores[:first], risk)
            chosen = np.arange(first, len(steps.scores))
            print(f"risk {risk:.0%}, measured on {splits[-1]}: ", end="")
            print(_line([measure(steps, chosen, rule.stop_margin)]), end="   ")
            early = run_early(net, np.asarray(parts[-1].windows), rule.stop_margin)
            print(f"margin {rule.stop_margin}   time saved {early.saved_seconds:.1%}")


if __name__ == "__main__":
    main()
