"""`lmht validate`: a trained run before and after reparameterisation, in the columns of the paper's Table 2."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lmht_deploy.errors import LmhtError

from . import common
from .convert import lowered
from .train import need_torch

if TYPE_CHECKING:
    from lmht_deploy.analysis.validate import Row, Validation
    from lmht_deploy.training.recipe import PaperRecipe

FORMS = {"before": "", "block-start": "block-start", "uniform": "uniform (the paper's)"}


def validate(
    folder: Annotated[Path, typer.Argument(metavar="RUN", help="Folder of a run.")],
    root: common.Root = None,
    split: common.Split = "test",
    limit: common.Limit = None,
    subset: common.Subset = False,
    cache: common.Cache = None,
    threads: common.Threads = 1,
    device: common.Device = "auto",
    energy_model: Annotated[
        str, typer.Option("--energy", help="Energy model: '45nm' or 'loihi1'.")
    ] = "45nm",
    json: common.Json = None,
) -> None:
    """Evaluate a trained network before and after reparameterisation, as floats and as integers: accuracy, SOPs and energy.

    Exits with 1 where the block-start form gives another figure than the network before, for any window, and says where
    they part first.
    """
    need_torch()
    from lmht_deploy.analysis.validate import validate as validate_network
    from lmht_deploy.training import data, runs

    common.check_writable(json)
    if split not in ("train", "test"):
        raise LmhtError(f"split must be 'train' or 'test', not {split!r}")
    if not folder.is_dir():
        raise LmhtError(f"{folder}: there is no such run folder")
    run, device = runs.load_run(folder), common.device(device)
    with common.progress(f"reading {run.recipe.data.name}") as show:
        found = data.load_split(
            run.recipe,
            split,
            root=root,
            subset=subset,
            cache=cache,
            progress=lambda done, total: show("", done, total),
        )
    with common.progress("validating") as report:
        windows, labels = found.windows[:limit], found.labels[:limit]
        validation = validate_network(
            lowered(run),
            windows,
            labels,
            threads=threads,
            device=device,
            energy_model=energy_model,
            report=report,
        )
    _show(validation, run.recipe.network.architecture, run.recipe.paper)
    rows = [dataclasses.asdict(row) for row in validation.rows]
    content = {
        "exact": validation.exact,
        "energy_model": energy_model,
        "rows": rows,
        "omitted": validation.omitted,
    }
    common.write_json(
        json,
        {
            "run": folder,
            "recipe": dataclasses.asdict(run.recipe),
            "trained_accuracy": run.accuracy,
            **content,
        },
    )
    if not validation.exact:
        raise typer.Exit(1)


def _show(validation: Validation, architecture: str, paper: PaperRecipe) -> None:
    from lmht_deploy.analysis import energy

    model = energy.model(validation.energy_model)
    macs = any(row.macs for row in validation.rows)
    columns = (
        "numbers",
        "Arch.",
        "L",
        "T",
        "reparameterised",
        "Acc.(%)",
        "rate",
        "SOPs(G)",
        "E.(mJ)",
        *(["E. with MACs"] if macs else []),
        "against before",
    )
    left = ("numbers", "Arch.", "reparameterised", "against before")
    caption = f"means a window, of {validation.rows[0].windows:,}; rate: spikes a neuron and step; energy is an estimate: {model.source}"
    table = common.table("before and after reparameterisation", columns, left=left, caption=caption)
    for row in validation.rows:
        table.add_row(
            "integer" if row.integer else "float",
            architecture,
            str(row.levels),
            str(row.steps),
            FORMS[row.form],
            _percent(row.accuracy),
            f"{row.rate:.4f}",
            f"{row.sops / 1e9:.4g}",
            f"{row.energy * 1e3:.4g}",
            *([f"{row.with_macs * 1e3:.4g}"] if macs else []),
            _against(row),
        )
    if paper.accuracy:
        figures = (
            f"{figure:g}" if figure else ""
            for figure in (paper.accuracy, 0, paper.sops, paper.energy)
        )
        table.add_row(
            f"paper, Table {paper.table}",
            architecture,
            "",
            "",
            "",
            *figures,
            *([""] if macs else []),
            "",
        )
    common.out.print(table)
    for why in validation.omitted:
        common.err.print(f"left out: {why}", markup=False, highlight=False, soft_wrap=True)
    for row in validation.rows:
        if row.form == "block-start" and row.difference is not None:
            common.err.print(
                f"lmht: the block-start form is not what it was before: {row.difference}",
                markup=False,
                soft_wrap=True,
            )


def _percent(share: float | None) -> str:
    return "-" if share is None else f"{100 * share:.2f}"


def _against(row: Row) -> str:
    if row.form == "before":
        return ""
    if row.difference is None:
        return "[green]equal, window by window[/]"
    return f"spikes of {row.windows_apart:,}, classes of {row.predictions_apart:,} windows differ"
