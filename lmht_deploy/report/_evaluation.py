"""The report of an evaluation: sections made of the JSON of `lmht evaluate`."""

from __future__ import annotations

from collections.abc import Iterator

from lmht_deploy.errors import counted

from . import _charts as charts
from . import _text as texts
from ._charts import Content
from ._checks import check_schema, of_command
from ._compare import NO_LABELS
from ._document import Fact, Item, Note, Report, Section, absent, table

COLUMNS = (
    ("network", texts.text),
    ("backend", texts.text),
    ("windows", texts.count),
    ("accuracy", texts.share),
    ("95% interval", texts.interval),
    ("spikes", texts.number),
    ("SOPs", texts.number),
    ("energy", texts.joules),
    ("same answers", texts.share),
    ("integers", lambda equal: "equal" if equal else "differ"),
)


@of_command("lmht evaluate --json")
def evaluation_report(content: Content) -> Report:
    """Return the report of an evaluation.

    Args:
        content: The JSON of `lmht evaluate`.

    Raises:
        DataError: It is not that.
    """
    check_schema(content, "lmht evaluate --json", "lmht-evaluate", 1)
    rows = content["rows"]
    sections = (
        Section("Networks", (_rows(content),)),
        Section("Accuracy and operations", tuple(_pareto(content))),
        Section("Work", tuple(_work(content))),
    )
    data = ", ".join(dict.fromkeys(row["data"] for row in rows))
    return Report(
        texts.printable(f"evaluation on {data}"),
        counted(len(rows), "row"),
        tuple(_facts(content)),
        (),
        sections,
        content,
    )


def _rows(content: Content) -> Item:
    rows = []
    for row in content["rows"]:
        interval = None if row["accuracy"] is None else [row["accuracy_low"], row["accuracy_high"]]
        windows = row["windows"]
        means = (row["spikes"] / windows, row["sops"] / windows, row["joules"])
        rest = (row["agreement"], row["equal"] and row["audited"] is not False)
        names = (row["network"], row["backend"], windows, row["accuracy"], interval)
        rows.append((*names, *means, *rest))
    title = f"Means per window; energy under the model {content['energy_model']}."
    return table("evaluation", title, COLUMNS, rows)


def _pareto(content: Content) -> Iterator[Item]:
    rows = content["rows"]
    if not rows or any(row["accuracy"] is None for row in rows):
        yield absent("Pareto front", NO_LABELS)
        return
    yield charts.pareto(
        "pareto-sops",
        "Accuracy and operations",
        "SOPs per window",
        texts.number,
        [
            (
                f"{row['network']} ({row['backend']})",
                row["sops"] / row["windows"],
                row["accuracy"],
                [row["accuracy_low"], row["accuracy_high"]],
            )
            for row in rows
        ],
    )


def _work(content: Content) -> Iterator[Item]:
    times = content["times"]
    yield Note(
        f"{counted(times['shards'], 'shard')}; the last call computed {times['computed']:,} of "
        f"them in {times['seconds']:.1f} s."
    )
    if content["failures"]:
        yield Note("These shards failed:", tuple(content["failures"]))


def _facts(content: Content) -> Iterator[Fact]:
    rows = content["rows"]
    known = [row for row in rows if row["accuracy"] is not None]
    if known:
        best = max(known, key=lambda row: row["accuracy"])
        yield Fact("Best accuracy", texts.share(best["accuracy"]), best["network"])
    yield Fact("Windows", texts.count(sum(row["windows"] for row in rows)), "Over all rows.")
    if (audit := content["audit"]) is not None:
        passed = not audit["differences"] and not audit["failures"]
        yield Fact("Audit", "equal" if passed else "not equal", "Computed again.", passed)
