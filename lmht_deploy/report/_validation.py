"""The report of a validation: sections made of the JSON of `lmht validate`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from lmht_deploy.errors import counted

from . import _text as texts
from ._answers import accuracy_fact, class_items
from ._charts import Content
from ._checks import of_command
from ._document import Fact, Item, Listing, Note, Report, Section, table
from ._provenance import dump, provenance

FORMS = {
    "before": "the network itself",
    "block-start": "block-start",
    "uniform": "uniform (the paper's)",
}
"""How a network was reparameterized, by the name of its form."""


@of_command("lmht validate --json")
def validation_report(content: Content) -> Report:
    """Return the report of a validation.

    Args:
        content: The JSON of `lmht validate`.

    Raises:
        DataError: It is not that.
    """
    recipe = content["recipe"]
    sections = (
        Section("Before and after reparameterization", tuple(_forms(content))),
        Section("Answers", tuple(class_items(content["answers"], "integer"))),
        Section("Provenance", tuple(_provenance(content))),
    )
    return Report(
        texts.printable(
            f"Validation of {recipe['network']['architecture']} on {recipe['data']['name']}"
        ),
        f"{counted(content['rows'][0]['windows'], 'window')}, float and integer network",
        tuple(_facts(content)),
        (),
        sections,
        content,
    )


def _facts(content: Content) -> Iterator[Fact]:
    if content["exact"]:
        note = "Every figure of the block-start form equals that of the network before."
        yield Fact("Reparameterization", "Exact", note, True)
    else:
        texts_ = [row["difference"] for row in content["rows"] if row["form"] == "block-start"]
        note = "; ".join(text for text in texts_ if text)
        yield Fact("Reparameterization", "The forms differ", note, False)
    yield from accuracy_fact(content["answers"])
    integer = next(row for row in content["rows"] if row["integer"] and row["form"] == "before")
    note = f"An estimate under the model {content['energy_model']}, of the SOPs alone."
    yield Fact("Energy per window", texts.joules(integer["energy"]), note)


def _forms(content: Content) -> Iterator[Item]:
    columns = [
        ("numbers", texts.text),
        ("reparameterized", texts.text),
        ("L", texts.count),
        ("T", texts.count),
        ("accuracy", texts.share),
        ("95% interval", texts.interval),
        ("rate", texts.number),
        ("SOPs", texts.count),
        ("energy", texts.joules),
        ("with MACs", texts.joules),
        ("windows that differ", texts.count),
    ]
    rows = [_row(row) for row in content["rows"]]
    title = (
        "The network before and after reparameterization, as in Table 2 of the paper: means per "
        "window. The rate is spikes per neuron and step. Energies are estimates under the model "
        f"{content['energy_model']}."
    )
    yield table("forms", title, columns, rows)
    if content["omitted"]:
        yield Note("Not evaluated:", tuple(content["omitted"]), absent=True)


def _row(row: Content) -> tuple[Any, ...]:
    return (
        "integer" if row["integer"] else "float",
        FORMS[row["form"]],
        row["levels"],
        row["steps"],
        row["accuracy"],
        row["interval"],
        row["firing_rate"],
        row["sops"],
        row["energy"],
        row["energy_with_macs"],
        None if row["form"] == "before" else row["differing_windows"],
    )


def _provenance(content: Content) -> Iterator[Item]:
    yield from provenance(content["provenance"], [("run", content["run"])])
    yield Listing("Recipe", dump(content["recipe"]))
