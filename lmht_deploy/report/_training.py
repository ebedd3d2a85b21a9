"""The report of a training run: sections made of the JSON of `lmht train`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from lmht_deploy.errors import counted

from . import _charts as charts
from . import _text as texts
from ._charts import Content
from ._checks import of_command
from ._document import Fact, Item, Listing, Note, Report, Section, table
from ._provenance import dump, provenance


@of_command("lmht train --json")
def training_report(content: Content) -> Report:
    """Return the report of a training run.

    Args:
        content: The JSON of `lmht train`.

    Raises:
        DataError: It is not that.
    """
    recipe, metrics = content["recipe"], content["metrics"]
    network = recipe["network"]
    sections = (
        Section("Accuracy and loss", tuple(_curves(metrics, content["split"]))),
        Section("Spike density", tuple(_density(metrics, content["split"]))),
        Section("Epochs", (_epochs(metrics, content["split"]),)),
        Section("Provenance", tuple(_provenance(content))),
    )
    seconds = sum(epoch["seconds"] for epoch in metrics)
    return Report(
        texts.printable(f"Training of {network['architecture']} on {recipe['data']['name']}"),
        f"L = {network['levels']}, T = {network['steps']}, {counted(len(metrics), 'epoch')}, "
        f"{_duration(seconds)}",
        tuple(_facts(content)),
        tuple(_notes(content)),
        sections,
        content,
    )


def _duration(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 300 else f"{seconds / 60:.0f} min"


def _facts(content: Content) -> Iterator[Fact]:
    metrics, split, paper = content["metrics"], content["split"], content["recipe"]["paper"]
    best = max(metrics, key=lambda epoch: epoch["test_accuracy"])
    beside = (
        f" The paper, Table {paper['table']}: {paper['accuracy']:.2f}%."
        if paper["accuracy"]
        else ""
    )
    yield Fact(
        f"Accuracy ({split})",
        texts.share(content["accuracy"]),
        f"After {counted(len(metrics), 'epoch')}. Highest: {texts.share(best['test_accuracy'])} "
        f"after epoch {best['epoch']}.{beside}",
    )
    yield Fact("Accuracy (training)", texts.share(metrics[-1]["accuracy"]))
    density = metrics[-1]["density"]
    if density:
        note = f"Mean of {counted(len(density), 'layer')}, spikes per neuron and time-step."
        yield Fact("Spike density", texts.number(sum(density.values()) / len(density)), note)
    speed = metrics[-1]["windows_per_second"]
    yield Fact("Speed", f"{speed:,.0f} windows/s", "In the last epoch.")


def _notes(content: Content) -> Iterator[Note]:
    density = content["metrics"][-1]["density"]
    if silent := [layer for layer, mean in density.items() if not mean]:
        text = "No neuron of these layers fires. Nothing after them depends on the input."
        yield Note(text, tuple(silent))
    if content["split"] == "validation":
        yield Note("The test split was not used.")


def _curves(metrics: Sequence[Content], split: str) -> Iterator[Item]:
    epochs = [epoch["epoch"] for epoch in metrics]
    yield charts.curves(
        "accuracy",
        "Accuracy",
        f"Accuracy on training windows and on the {split} split after each epoch.",
        "accuracy (%)",
        epochs,
        {"training": _column(metrics, "accuracy"), split: _column(metrics, "test_accuracy")},
        texts.share,
        100.0,
    )
    yield charts.curves(
        "loss",
        "Loss",
        f"Loss on training windows and on the {split} split after each epoch.",
        "loss",
        epochs,
        {"training": _column(metrics, "loss"), split: _column(metrics, "test_loss")},
    )


def _column(metrics: Sequence[Content], key: str) -> list[float]:
    return [epoch[key] for epoch in metrics]


def _density(metrics: Sequence[Content], split: str) -> Iterator[Item]:
    layers = metrics[-1]["density"]
    if not layers:
        return
    yield charts.curves(
        "density",
        "Spike density by layer",
        f"Mean number of spikes per neuron and time-step on the {split} split, by layer.",
        "spikes per neuron and step",
        [epoch["epoch"] for epoch in metrics],
        {layer: [epoch["density"][layer] for epoch in metrics] for layer in layers},
    )


def _epochs(metrics: Sequence[Content], split: str) -> Item:
    keys = ("epoch", "loss", "accuracy", "test_loss", "test_accuracy", "learning_rate")
    columns = [
        ("epoch", texts.count),
        ("loss", texts.number),
        ("accuracy", texts.share),
        (f"loss, {split}", texts.number),
        (f"accuracy, {split}", texts.share),
        ("learning rate", texts.number),
        ("time (s)", texts.number),
    ]
    rows = [(*(epoch.get(key) for key in keys), epoch["seconds"]) for epoch in metrics]
    return table("epochs", "Every epoch of the run.", columns, rows)


def _provenance(content: Content) -> Iterator[Item]:
    yield from provenance(content["provenance"], [("run", content["run"])])
    yield Listing("Recipe", dump(content["recipe"]))
