"""`lmht validate`: a trained run before and after reparameterization, as in the paper's Table 2."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from lmht_deploy.errors import counted

from . import _answers as answers
from . import _options as options
from ._console import good, progress, show, table, tell, write_json
from ._data import ReadOptions, find_source, read_windows, reads_data
from ._report import write_report
from ._training import check_run, load_run, lower_run, own_data, resolve_device, run_target

if TYPE_CHECKING:
    from rich.table import Table
    from rich.text import Text

    from lmht_deploy.analysis.validate import FormRow, Validation
    from lmht_deploy.training.recipe import PaperRecipe

FORMS = {"before": "", "block-start": "block-start", "uniform": "uniform (the paper's)"}


@reads_data
def validate(
    folder: Annotated[
        Path, typer.Argument(metavar="RUN", help="Folder of a run.", callback=check_run)
    ],
    data: options.OptionalData = None,
    split: options.Split = None,
    limit: options.Limit = None,
    reading: ReadOptions = ReadOptions(),  # noqa: B008 (immutable)
    threads: options.Threads = 1,
    device: options.Device = "auto",
    energy_model: options.Energy = "45nm",
    predictions: answers.Predictions = None,
    report: options.Report = None,
    figures: options.Figures = None,
    json: options.Json = None,
) -> None:
    """Report accuracy, SOPs and energy of a trained network before and after reparameterization.

    Both the float and the integer network are evaluated. If the block-start form
    differs from the original network in any window, the first mismatch is reported, and the command
    exits with 1.
    """
    if data is not None:
        find_source(data, reading)
    run = load_run(folder)
    from lmht_deploy.analysis.provenance import provenance
    from lmht_deploy.analysis.validate import validate as validate_network

    source, reading = own_data(run, data, reading)
    net, own_device = lower_run(run), resolve_device(device)
    found = read_windows(source, run_target(run), reading, split=split, limit=limit)
    with progress("validating") as show_progress:
        validation = validate_network(
            net,
            found.windows,
            found.require_labels(),
            threads=threads,
            device=own_device,
            energy_model=energy_model,
            progress=show_progress,
        )
    _show(validation, run.recipe.network.architecture, run.recipe.paper)
    answered = answers.answer(found, validation.result, net.metadata)
    answers.report(answered, predictions)
    content = {
        "run": folder,
        "recipe": dataclasses.asdict(run.recipe),
        "trained_accuracy": run.accuracy,
        "exact": validation.exact,
        "energy_model": validation.energy_model.name,
        "rows": [_plain(row) for row in validation.rows],
        "omitted": validation.omitted,
        "answers": answered.as_json(),
        "provenance": provenance(threads),
    }
    write_json(json, content)
    write_report("validate", content, report, figures)
    if not validation.exact:
        raise typer.Exit(1)


def _plain(row: FormRow) -> dict[str, Any]:
    text = None if row.difference is None else str(row.difference)
    return dataclasses.asdict(row) | {"difference": text}


def _show(validation: Validation, architecture: str, paper: PaperRecipe) -> None:
    macs = any(row.macs for row in validation.rows)
    found = _empty_table(validation, macs)
    for row in validation.rows:
        found.add_row(*_cells(row, architecture, macs))
    if paper.accuracy:
        found.add_row(*_paper_cells(paper, architecture))
    show(found)
    for reason in validation.omitted:
        tell(f"not evaluated: {reason}")
    for row in validation.rows:
        if row.form == "block-start" and row.difference is not None:
            tell(f"lmht: the block-start form differs from the network before: {row.difference}")


def _empty_table(validation: Validation, macs: bool) -> Table:
    text = ("numbers", "Arch.", "reparameterized", "compared with before")
    columns = [
        *("numbers", "Arch.", "L", "T", "reparameterized", "Acc.(%)", "rate", "SOPs(G)", "E.(mJ)"),
        *(["E. with MACs"] if macs else []),
        "compared with before",
    ]
    caption = (
        f"means per window, over {counted(validation.rows[0].windows, 'window')}; rate: "
        f"spikes per neuron and step; energy is an estimate: {validation.energy_model.source}"
    )
    return table("before and after reparameterization", columns, left=text, caption=caption)


def _cells(row: FormRow, architecture: str, macs: bool) -> list[Text | str]:
    return [
        "integer" if row.integer else "float",
        architecture,
        str(row.levels),
        str(row.steps),
        FORMS[row.form],
        "-" if row.accuracy is None else f"{100 * row.accuracy:.2f}",
        f"{row.firing_rate:.4f}",
        f"{row.sops / 1e9:.4g}",
        f"{row.energy * 1e3:.4g}",
        *([f"{row.energy_with_macs * 1e3:.4g}"] if macs else []),
        _comparison(row),
    ]


def _paper_cells(paper: PaperRecipe, architecture: str) -> list[str]:
    figures = (paper.accuracy, 0, paper.sops, paper.energy)
    cells = (f"{figure:g}" if figure else "" for figure in figures)
    return [f"paper, Table {paper.table}", architecture, "", "", "", *cells]


def _comparison(row: FormRow) -> Text | str:
    if row.form == "before":
        return ""
    if row.difference is None:
        return good("equal in every window")
    return (
        f"spikes differ in {counted(row.differing_windows, 'window')}, "
        f"classes in {row.differing_predictions:,}"
    )
