"""Answers of a network: options, scores against labels, one line per window."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from lmht_deploy.errors import DataError, counted

from ._console import fits, say, show, table, warn
from ._console import percent as percent_text
from ._options import EXECUTION, OUTPUT
from ._predictions import Classes, Prediction, check_predictions, write_predictions

if TYPE_CHECKING:
    from rich.table import Table

    from lmht_deploy.analysis.scores import Calibration, Scores
    from lmht_deploy.answers import Answers, Judge
    from lmht_deploy.data import Windows
    from lmht_deploy.result import Result

MIN_MARGIN = "min_margin"
"""Key of the smallest margin in the metadata of a network."""
MOST_CLASSES = 20
"""Number of classes up to which the confusion matrix is printed."""
LINES = 1000
"""Number of windows whose answers are printed."""
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


@dataclass(frozen=True)
class Answered:
    """Windows, what a network computed for them, and its answers.

    Attributes:
        found: The windows.
        result: Result of the first windows, or of all.
        answers: The answers.
        classes: The classes of the network.
        scores: The answers compared with the labels; None without labels.
    """

    found: Windows
    result: Result
    answers: Answers
    classes: Classes
    scores: Scores | None

    def predictions(self) -> Iterator[Prediction]:
        """Yield one row per window, for files."""
        labels, steps = self.found.labels, self.result.steps
        for window, label in enumerate(self.answers.labels.tolist()):
            yield Prediction(
                source=_source_of(self.found, window),
                window=window,
                time=_start_of(self.found, window),
                label=None if labels is None else int(labels[window]),
                predicted=label,
                margin=float(self.answers.margins[window]),
                logits=self.result.logits[window].tolist(),
                steps=None if steps is None else int(steps[window]),
            )

    def as_json(self) -> dict[str, Any]:
        """Return the answers and the scores as plain data."""
        found = self.found
        return {
            "classes": list(self.classes.names) or None,
            **_scores_as_json(self.scores),
            "predictions": self.answers.labels,
            "margins": self.answers.margins,
            "labels": found.labels,
            "sources": list(found.sources) or None,
            "source_index": found.source_index,
            "start_us": found.start_us,
        }


def choose_judge(
    metadata: Mapping[str, str],
    path: Path,
    smooth: int,
    min_margin: float | None,
    calibrate: float | None = None,
) -> Judge:
    """Return the judge that the options and the metadata of the network ask for."""
    from lmht_deploy.answers import Judge

    if calibrate is not None and min_margin is not None:
        raise DataError("--calibrate finds a margin; do not give --min-margin with it")
    if min_margin is None:
        min_margin = 0 if calibrate is not None else own_margin(metadata, path)
    return Judge(smooth, min_margin)


def check_data(found: Windows, name: str, smooth: int, calibrate: float | None) -> None:
    """Check options that need labels, recordings or other data, before the run."""
    if smooth > 1 and found.source_index is None:
        raise DataError(
            f"--smooth averages the windows of a recording; {name} does not say which recording "
            "its windows come from"
        )
    if calibrate is not None:
        found.require_labels()
        if found.provenance.get("split") == "train":
            warn(
                f"--calibrate on the training split of {name}: a network has larger margins on "
                "the data that it was trained on, so the margin that is found is too large for "
                "other data"
            )


def answer(
    found: Windows, result: Result, metadata: Mapping[str, str], judge: Judge | None = None
) -> Answered:
    """Return the answers of a network, compared with the labels if there are any.

    Raises:
        DataError: A label is not a class of the network.
    """
    from lmht_deploy.analysis.scores import score
    from lmht_deploy.answers import answer_windows
    from lmht_deploy.ir import class_names

    kind = int if result.logits.dtype.kind == "i" else float
    number = result.logits.shape[1]
    names = class_names(metadata, number) or found.classes
    classes = Classes(number, names if len(names) == number else (), kind)
    answers = answer_windows(result, judge, found.source_index, found.windows.shape[1])
    labels = found.labels
    scores = None if labels is None else score(answers, labels, number)
    return Answered(found, result, answers, classes, scores)


def _source_of(found: Windows, window: int) -> str:
    """Return the name of the recording of a window, or that of the data."""
    if found.source_index is None:
        return str(found.provenance.get("data", ""))
    return found.sources[int(found.source_index[window])]


def _start_of(found: Windows, window: int) -> float | None:
    """Return the start of a window in seconds from the first event of its recording."""
    return None if found.start_us is None else int(found.start_us[window]) / 1e6


def report(answered: Answered, predictions: Path | None) -> None:
    """Print the scores if there are labels, warn about silent layers, and write predictions."""
    if answered.scores is not None:
        _show_scores(answered.scores, answered.classes)
        say(_accuracy_text(answered.scores))
    _warn_about_silent_layers(answered.result)
    warn_about_saturation(answered.result)
    if predictions is not None:
        write_predictions(predictions, answered.predictions(), answered.classes)


def say_answers(answered: Answered) -> None:
    """Print the answer for every window, and how often each class was the answer."""
    many = len(answered.found.sources) > 1
    for row in islice(answered.predictions(), LINES):
        source = f"{row.source}  " if many else ""
        time = "" if row.time is None else f"{row.time:12.6f} s  "
        name = answered.classes.name(row.predicted)
        say(f"{source}window {row.window:4d}  {time}class {name:12s}  margin {row.margin:8.3f}")
    if (left := len(answered.answers.labels) - LINES) > 0:
        say(f"and {counted(left, 'more window')}; --predictions FILE writes all")
    counts = Counter(answered.answers.labels.tolist())
    say(f"answers: {count_answers(counts, answered.classes)}")


def calibrate(answered: Answered, percent: float | None) -> Calibration | None:
    """Choose a smallest margin by labels, if `percent` is given."""
    from lmht_deploy.analysis.scores import calibrate as choose

    if percent is None:
        return None
    return choose(
        answered.answers, answered.found.require_labels(), answered.classes.number, percent
    )


def say_calibration(
    chosen: Calibration | None, artifact: Path, smooth: int, stop_margin: int | None
) -> None:
    """Print what a margin keeps, and how to use it.

    A network states a margin of single whole windows alone: another one is not to be stored.
    """
    if chosen is None:
        return
    kept = chosen.right_kept / chosen.right
    wrong = f", and {chosen.wrong_kept:,} of {chosen.wrong:,} wrong ones" if chosen.wrong else ""
    say(
        f"margin {chosen.min_margin:g} keeps {percent_text(kept)} of the right answers "
        f"({chosen.right_kept:,} of {chosen.right:,}){wrong}"
    )
    stop = [] if stop_margin is None else ["--stop-margin", str(stop_margin)]
    smoothing = [] if smooth == 1 else ["--smooth", str(smooth)]
    margin = ["--min-margin", repr(float(chosen.min_margin))]  # a rounded one may be too large
    say(f"to use it: {' '.join([*stop, *smoothing, *margin])}")
    if not stop and not smoothing:
        file = artifact.with_suffix(".lmht")
        say(f"to store it in a network: lmht convert {file} --out FILE {' '.join(margin)}")


def _show_scores(scores: Scores, classes: Classes) -> None:
    """Print the confusion matrix, or for many classes the most frequent confusions."""
    matrix = _matrix(scores, classes) if classes.number <= MOST_CLASSES else None
    if matrix is not None and fits(matrix):
        show(matrix)
    else:
        _show_confusions(scores, classes)


def _matrix(scores: Scores, classes: Classes) -> Table:
    unknown = ("unknown",) if scores.unknown.any() else ()
    numbers = [str(label) for label in range(classes.number)]
    found = table(
        "confusion matrix",
        ("class", *numbers, *unknown, "windows", "accuracy"),
        left=("class",),
        caption="rows: classes; columns: answers",
    )
    for label, share in enumerate(scores.per_class):
        counts = [*scores.confusion[label], *([scores.unknown[label]] if unknown else [])]
        found.add_row(
            _title(label, classes),
            *(f"{count:,}" if count else "." for count in counts),
            f"{sum(counts):,}",
            percent_text(share),
        )
    return found


def _title(label: int, classes: Classes) -> str:
    """Return the number of a class, and its name if it is another text."""
    number, name = str(label), classes.name(label)
    return number if name == number else f"{number} {name}"


def _show_confusions(scores: Scores, classes: Classes) -> None:
    import numpy as np

    wrong = scores.confusion.copy()
    np.fill_diagonal(wrong, 0)
    found = table(
        "most frequent confusions",
        ("class", "answer", "windows", "of"),
        left=("class", "answer"),
    )
    for index in np.argsort(-wrong, axis=None, kind="stable")[:WORST]:
        label, answer = divmod(int(index), classes.number)
        if count := int(wrong[label, answer]):
            total = int(scores.confusion[label].sum() + scores.unknown[label])
            found.add_row(classes.name(label), classes.name(answer), f"{count:,}", f"{total:,}")
    show(found)


def _accuracy_text(scores: Scores) -> str:
    """Return the accuracy, its interval, and what is unknown, in one line."""
    from lmht_deploy.analysis.scores import wilson

    low, high = wilson(scores.correct, scores.windows)
    share = percent_text(scores.correct / scores.windows)
    text = f"accuracy {share} (95% interval {percent_text(low)} to {percent_text(high)})"
    unknown = scores.windows - scores.answered
    if not unknown:
        return text
    of_answered = percent_text(scores.correct / scores.answered if scores.answered else None)
    return (
        f"{text}; {unknown:,} of {counted(scores.windows, 'window')} "
        f"{'is' if unknown == 1 else 'are'} unknown, "
        f"accuracy of the others {of_answered}"
    )


def _scores_as_json(scores: Scores | None) -> dict[str, Any]:
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
    prefix = "" if classes.names else "class "
    return ", ".join(
        f"{prefix if label >= 0 else ''}{classes.name(label)} ({count:,})"
        for label, count in counts.most_common()
    )


def store_margin(metadata: Mapping[str, str], margin: float) -> dict[str, str]:
    """Return metadata that states a smallest margin."""
    if not margin < math.inf:
        raise DataError(f"--min-margin must be a number, not {margin}")
    return {**metadata, MIN_MARGIN: repr(margin)}


def own_margin(metadata: Mapping[str, str], path: Path) -> float:
    """Return the smallest margin that the file `path` of a network states; 0 if it states none."""
    text = metadata.get(MIN_MARGIN, "0")
    try:
        margin = float(text)
    except ValueError:
        margin = math.nan
    if not 0 <= margin < math.inf:
        raise DataError(f"{path}: its smallest margin must be a number >= 0, not {text!r}")
    return margin


def _warn_about_silent_layers(result: Result) -> None:
    """Name the layers that fire no spike in any window."""
    from lmht_deploy.analysis.scores import silent_layers

    if silent := silent_layers(result):
        names = ", ".join(repr(name) for name in silent)
        number = len(result.logits)
        where = "the window" if number == 1 else f"any of the {number:,} windows"
        warn(f"no neuron fires in {where}: layer {names}")


def warn_about_saturation(result: Result) -> None:
    """Name the layers whose 24-bit states did not hold what they had to."""
    from lmht_deploy.analysis.scores import saturations

    for name, wrapped, clipped in saturations(result):
        warn(
            f"layer {name!r} left its 24 bits: currents wrapped {counted(wrapped, 'time')} and "
            f"potentials were clipped {counted(clipped, 'time')} in "
            f"{counted(len(result.logits), 'window')}"
        )
