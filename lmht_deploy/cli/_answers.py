"""Answers of a network: options, scores against labels, one line per window."""

from __future__ import annotations

import math
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from lmht_deploy.errors import DataError

from ._console import percent, say, show, table, warn
from ._options import EXECUTION, OUTPUT
from ._predictions import Classes, check_predictions

if TYPE_CHECKING:
    from lmht_deploy.analysis.scores import Scores
    from lmht_deploy.ir import Network
    from lmht_deploy.result import Result

MIN_MARGIN = "min_margin"
"""Key of the smallest margin in the metadata of a network."""
MOST_CLASSES = 20
"""Number of classes up to which the confusion matrix is printed."""
WORST = 10
"""Number of confusions that are printed for more classes."""

Predictions = Annotated[
    Path | None,
    typer.Option(
        "--predictions",
        metavar="FILE",
        help="Also write the answer and the logits of every window: a .csv or .parquet file.",
        rich_help_panel=OUTPUT,
        callback=check_predictions,
    ),
]
Smooth = Annotated[
    int,
    typer.Option(
        "--smooth",
        min=1,
        metavar="N",
        help="Answer by the mean of the logits of the last N windows of a recording.",
        rich_help_panel=EXECUTION,
    ),
]
MinMargin = Annotated[
    float | None,
    typer.Option(
        "--min-margin",
        min=0,
        metavar="X",
        help="Answer 'unknown' where the margin is below X (default: the network's own, or 0).",
        rich_help_panel=EXECUTION,
    ),
]


def show_scores(scores: Scores, classes: Classes) -> None:
    """Print the confusion matrix, or for many classes the most frequent confusions."""
    if classes.number > MOST_CLASSES:
        _show_confusions(scores, classes)
        return
    unknown = ("unknown",) if scores.unknown.any() else ()
    numbers = [str(label) for label in range(classes.number)]
    found = table(
        "confusion matrix: one row per class, one column per answer",
        ("class", *numbers, *unknown, "windows", "accuracy"),
        left=("class",),
    )
    for label, share in enumerate(scores.per_class):
        counts = [*scores.confusion[label], *([scores.unknown[label]] if unknown else [])]
        found.add_row(
            f"{label} {classes.names[label]}" if classes.names else str(label),
            *(f"{count:,}" if count else "." for count in counts),
            f"{sum(counts):,}",
            percent(share),
        )
    show(found)


def _show_confusions(scores: Scores, classes: Classes) -> None:
    import numpy as np

    wrong = scores.confusion.copy()
    np.fill_diagonal(wrong, 0)
    found = table(
        f"the most frequent confusions of {classes.number} classes",
        ("class", "answer", "windows", "of"),
        left=("class", "answer"),
    )
    for index in np.argsort(-wrong, axis=None, kind="stable")[:WORST]:
        label, answer = divmod(int(index), classes.number)
        if count := int(wrong[label, answer]):
            total = int(scores.confusion[label].sum() + scores.unknown[label])
            found.add_row(classes.name(label), classes.name(answer), f"{count:,}", f"{total:,}")
    show(found)


def accuracy_text(scores: Scores) -> str:
    """Return the accuracy, its interval, and what is unknown, in one line."""
    from lmht_deploy.analysis.scores import wilson

    low, high = wilson(scores.correct, scores.windows)
    share = percent(scores.correct / scores.windows)
    text = f"accuracy {share} (95% interval {percent(low)} to {percent(high)})"
    unknown = scores.windows - scores.answered
    if not unknown:
        return text
    of_answered = percent(scores.correct / scores.answered if scores.answered else None)
    return (
        f"{text}; {unknown:,} of {scores.windows:,} windows are unknown, "
        f"accuracy of the others {of_answered}"
    )


def scores_as_json(scores: Scores | None) -> dict[str, Any]:
    """Return scores as plain data; None where there are no labels."""
    if scores is None:
        names = ("accuracy", "interval", "per_class", "confusion", "unknown")
        return dict.fromkeys(names)
    from lmht_deploy.analysis.scores import wilson

    return {
        "accuracy": scores.correct / scores.windows,
        "interval": wilson(scores.correct, scores.windows),
        "per_class": scores.per_class,
        "confusion": scores.confusion,
        "unknown": scores.unknown,
    }


def count_answers(counts: Counter[int], classes: Classes) -> str:
    """Return how often each class was the answer, the most frequent first."""
    return ", ".join(f"{classes.name(label)} {count:,}" for label, count in counts.most_common())


def own_margin(net: Network, path: Path) -> float:
    """Return the smallest margin that the file `path` of a network states; 0 if it states none."""
    text = net.metadata.get(MIN_MARGIN, "0")
    try:
        margin = float(text)
    except ValueError:
        margin = math.nan
    if not 0 <= margin < math.inf:
        raise DataError(f"{path}: its smallest margin must be a number >= 0, not {text!r}")
    return margin


def warn_about_silent_layers(result: Result) -> None:
    """Name the layers that fire no spike in any window."""
    from lmht_deploy.analysis.scores import silent_layers

    if silent := silent_layers(result):
        names = ", ".join(repr(name) for name in silent)
        warn(f"no neuron fires in any of the {len(result.logits):,} windows: layer {names}")


def say_answers(
    sources: list[str], times: list[float | None], labels: Any, margins: Any, classes: Classes
) -> None:
    """Print one line per window."""
    for window, label in enumerate(labels):
        time = times[window]
        when = "" if time is None else f"{time:12.6f} s  "
        where = f"{sources[window]}  " if len(set(sources)) > 1 else ""
        say(
            f"{where}window {window:4d}  {when}class {classes.name(int(label)):12s}  "
            f"margin {margins[window]:8.3f}"
        )
