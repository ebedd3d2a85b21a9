"""`lmht search`: the best variant of a network under a budget."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from lmht_deploy.errors import DataError, counted

from . import _options as options
from . import _scale_options as scale
from ._console import percent, say, show, table, warn, write_json
from ._data import ReadOptions, Target, named_errors, read_windows, reads_data

if TYPE_CHECKING:
    from lmht_deploy.scale import Candidate, SearchResult

SCHEMA = {"schema": "lmht-search", "version": 1}
FIGURES = (
    *("sha256", "windows", "correct", "accuracy", "accuracy_low", "accuracy_high"),
    *("agreement", "joules"),
)
"""Columns of the evaluation that the JSON of a candidate has."""


@reads_data
def search(
    network: Annotated[
        Path,
        typer.Argument(
            help="An integer network (.lmht, .net, .nir or .lmhtf, or zoo:NAME).",
            callback=options.network_file(),
            autocompletion=options.complete_network,
        ),
    ],
    data: options.Data,
    out: scale.Out,
    budget_sops: Annotated[
        float | None,
        typer.Option(
            "--budget-sops",
            metavar="N",
            help="Largest mean number of SOPs per window.",
            callback=options.check_positive,
        ),
    ] = None,
    budget_spikes: Annotated[
        float | None,
        typer.Option(
            "--budget-spikes",
            metavar="N",
            help="Largest mean number of spikes per window.",
            callback=options.check_positive,
        ),
    ] = None,
    budget_ms: Annotated[
        float | None,
        typer.Option(
            "--budget-ms",
            metavar="X",
            help="Largest mean run time per window, in milliseconds; not with --stop-risk.",
            callback=options.check_positive,
        ),
    ] = None,
    stop_risk: Annotated[
        list[float] | None,
        typer.Option(
            "--stop-risk",
            metavar="ALPHA",
            help="Also try windows that end early, and have another answer than the whole window "
            "with a probability of at most ALPHA. Every second window calibrates the margin; the "
            "others measure all candidates. May be repeated.",
        ),
    ] = None,
    split: options.Split = "validation",
    limit: options.Limit = None,
    reading: ReadOptions = ReadOptions(),  # noqa: B008 (immutable)
    on: scale.On = "local",
    workers: scale.Workers = None,
    shard: scale.Shard = 500,
    json: options.Json = None,
) -> None:
    """Search fewer time-steps, fewer levels and other initial potentials for a trained network.

    Channels that never fire are left out. The best network within the budgets is written to
    best.lmht in --out; that of an earlier search is removed. Exits with 1 if no candidate is within
    them.
    """
    import lmht_deploy as lmht
    from lmht_deploy.analysis.provenance import provenance
    from lmht_deploy.scale._evaluate import prepare_folder
    from lmht_deploy.scale._search import check_budgets
    from lmht_deploy.scale._variants import check_source

    budgets = {"sops": budget_sops, "spikes": budget_spikes, "ms": budget_ms}
    check_budgets(budgets, stop_risk or ())
    _check_inputs(out, network, Path(data))
    net = lmht.load(network)
    with named_errors(str(network)):
        check_source(net)
    folder = prepare_folder(out)
    target = Target.of(net.window_shape, net.input.max_value, net.metadata, network)
    found = read_windows(data, target, reading, split=split, limit=limit, store=folder)
    with named_errors(data), scale.watching() as progress:
        result = lmht.search(
            net,
            found,
            out=out,
            stop_risks=stop_risk or (),
            budget_sops=budget_sops,
            budget_spikes=budget_spikes,
            budget_ms=budget_ms,
            on=on,
            workers=workers,
            shard=shard,
            progress=progress,
        )
    _show(result)
    if stop_risk and not any(candidate.stop for candidate in result.candidates):
        say("no variant computes step by step: none can stop early")
    about = {
        "network": network,
        "data": dict(found.provenance),
        "budgets": budgets,
        "stop_risks": stop_risk or [],
    }
    write_json(json, {**SCHEMA, **about, **_as_json(result), "provenance": provenance(1)})
    if result.best is None:
        raise typer.Exit(1)


def _check_inputs(out: Path, *inputs: Path) -> None:
    """Refuse the files of an earlier search in the same folder, which this one replaces."""
    from lmht_deploy.scale._search import BEST, MEASURED

    replaced = [(out / name).resolve() for name in (BEST, MEASURED)]
    for path in inputs:
        if path.resolve() in replaced:
            raise DataError(f"{path}: is replaced by this search; choose another folder with --out")


def _show(result: SearchResult) -> None:
    """Print the Pareto front, and the best candidate."""
    columns = ("variant", "accuracy", "SOPs", "spikes", "ms", "time-steps", "pruned channels")
    rows = table(
        "Pareto front of accuracy and SOPs",
        columns,
        left=("variant",),
        caption="means per window; *: reads the first steps of a window alone, and a stream is cut "
        "into windows of these steps: this accuracy is not that in a stream; ms: windows that end "
        "early are run one by one, others in batches",
    )
    for candidate in result.front:
        rows.add_row(*_cells(candidate))
    show(rows)
    say(f"{counted(len(result.candidates), 'candidate')}; {len(result.front)} on the front")
    if result.best is None:
        say("no candidate is within the budgets")
    else:
        name, accuracy, sops, *_ = _cells(result.best)
        say(f"best within the budgets: {name}, accuracy {accuracy}, {sops} SOPs: {result.path}")
        if result.best.cut:
            warn(
                "the best network reads the first steps of a window alone; a stream is cut into "
                "windows of these steps, and its accuracy there was not measured"
            )
        if result.best.stop is not None:
            say(_about_stop(result.best))
        if result.measured is not None:
            say(f"to run it on the same windows: {_command(result)}")


def _about_stop(best: Candidate) -> str:
    """Say what was calibrated, and how often the answers differ."""
    assert best.stop is not None
    return (
        f"stop margin {best.stop.stop_margin} (risk {best.stop.risk:g}, calibrated on "
        f"{counted(best.stop.windows, 'window')}): of {counted(best.row.windows, 'other window')}, "
        f"{best.differing:,} have another answer than the whole window"
    )


def _command(result: SearchResult) -> str:
    """Return the command that gives the figures of the best candidate."""
    assert result.best is not None
    stop = result.best.stop
    margin = "" if stop is None else f" --stop-margin {stop.stop_margin}"
    return f"lmht run {result.path} --data {result.measured}{margin}"


def _cells(candidate: Candidate) -> list[str]:
    costs = candidate.costs
    return [
        candidate.row.network + ("*" if candidate.cut else ""),
        percent(candidate.row.accuracy),
        f"{costs['sops']:,.0f}",
        f"{costs['spikes']:,.0f}",
        f"{costs['ms']:,.3f}",
        f"{candidate.mean_steps:.2f}",
        f"{candidate.pruned:,}",
    ]


def _as_json(result: SearchResult) -> dict[str, Any]:
    def plain(candidate: Candidate) -> dict[str, Any]:
        cells = candidate.row.cells()
        return {
            **asdict(candidate.variant),
            "stop": None if candidate.stop is None else asdict(candidate.stop),
            "mean_steps": candidate.mean_steps,
            "differing": candidate.differing,
            "cut": candidate.cut,
            "pruned": candidate.pruned,
            "front": candidate.front,
            **{name: cells[name] for name in FIGURES},
            **candidate.costs,
        }

    return {
        "candidates": [plain(candidate) for candidate in result.candidates],
        "best": None if result.best is None else plain(result.best),
        "path": result.path,
        "measured": result.measured,
    }
