"""Sections about classes, made of the answers in the JSON of `lmht run` and `lmht validate`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any

from . import _charts as charts
from . import _text as texts
from ._charts import Content
from ._document import Fact, Item, table

COLUMNS = (
    ("class", texts.text),
    ("windows", texts.count),
    ("correct", texts.count),
    ("accuracy", texts.share),
    ("95% interval", texts.interval),
)


def accuracy_fact(answers: Content) -> Iterator[Fact]:
    """Yield the accuracy, if there are labels."""
    if answers["accuracy"] is not None:
        note = f"95% interval {texts.interval(answers['interval'])}."
        yield Fact("Accuracy", texts.share(answers["accuracy"]), note)


def class_items(answers: Content, name: str) -> Iterator[Item]:
    """Yield the confusion matrix and the accuracy by class; without labels, counts of answers.

    Args:
        answers: Answers of a network.
        name: Part of the names of files.
    """
    if answers["confusion"] is None:
        yield _answer_counts(answers, name)
        return
    classes = {**answers, "per_class": list(_per_class(answers))}
    yield charts.confusion(name, classes)
    rows = [
        (charts.class_name(entry), entry["windows"], entry["correct"], entry["accuracy"])
        for entry in classes["per_class"]
    ]
    yield table(f"classes-{name}", "Accuracy by class.", COLUMNS[:4], rows)


def _per_class(answers: Content) -> Iterator[dict[str, Any]]:
    names = answers["classes"]
    for index, (row, unknown) in enumerate(
        zip(answers["confusion"], answers["unknown"], strict=True)
    ):
        yield {
            "class": index,
            "name": names[index] if names else None,
            "windows": sum(row) + unknown,
            "correct": row[index],
            "accuracy": answers["per_class"][index],
        }


def _answer_counts(answers: Content, name: str) -> Item:
    names = answers["classes"]
    counts: Counter[int] = Counter(answers["predictions"])
    rows = [
        ("unknown" if label < 0 else names[label] if names else label, number)
        for label, number in counts.most_common()
    ]
    columns = [("answer", texts.text), ("windows", texts.count)]
    return table(f"answers-{name}", "How often each class was the answer.", columns, rows)
