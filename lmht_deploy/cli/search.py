"""`lmht search`: the best variant of a network under a budget."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from . import _options as options
from . import _scale_options as scale
from ._console import percent, say, show, table, write_json
from ._data import ReadOptions, Target, named_errors, read_windows, reads_data
from ._early import measure_stop, say_stop

if TYPE_CHECKING:
    import numpy as np

    from lmht_deploy.scale import Candidate, SearchResult


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
        typer.Option("--budget-sops", metavar="N", help="Largest mean number of SOPs per window."),
    ] = None,
    budget_spikes: Annotated[
        float | None,
        typer.Option(
            "--budget-spikes", metavar="N", help="Largest mean number of spikes per window."
        ),
    ] = None,
    budget_ms: Annotated[
        float | None,
        typer.Option(
            "--budget-ms", metavar="X", help="Largest mean run time per window, in milliseconds."
        ),
    ] = None,
    stop_risk: Annotated[
        float | None,
        typer.Option(
            "--stop-risk",
            min=0,
            max=1,
            metavar="ALPHA",
            help="Also find the margin with which a window of the best network ends early, as "
            "`lmht run --stop-risk` does.",
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
    best.lmht in --out. Exits with 1 if no candidate is within them.
    """
    import lmht_deploy as lmht

    net = lmht.load(network)
    target = Target.of(net.window_shape, net.input.max_value, net.metadata, network)
    found = read_windows(data, target, reading, split=split, limit=limit)
    with named_errors(data), scale.watching() as progress:
        result = lmht.search(
            net,
            found,
            out=out,
            budget_sops=budget_sops,
            budget_spikes=budget_spikes,
            budget_ms=budget_ms,
            on=on,
            workers=workers,
            shard=shard,
            progress=progress,
        )
    _show(result)
    early = None
    if stop_risk is not None and result.path is not None:
        early = _measure_stop(result.path, found.windows, stop_risk)
    write_json(json, {**_as_json(result), "early": early})
    if result.best is None:
        raise typer.Exit(1)


def _measure_stop(path: Path, windows: np.ndarray, risk: float) -> dict[str, Any] | None:
    """Measure when the best network may stop; None if it needs whole windows."""
    import lmht_deploy as lmht
    from lmht_deploy.engine import StepwiseEngine

    if not StepwiseEngine.supports(lmht.load(path)):
        say("the best network does not compute step by step, and cannot stop early")
        return None
    early = measure_stop(path, windows, risk)
    say_stop(early)
    return early


def _show(result: SearchResult) -> None:
    """Print the Pareto front, and the best candidate."""
    columns = ("variant", "accuracy", "SOPs", "spikes", "ms", "pruned channels")
    rows = table(
        "Pareto front of accuracy and SOPs", columns, left=("variant",), caption="means per window"
    )
    for candidate in result.front:
        rows.add_row(*_cells(candidate))
    show(rows)
    say(f"{len(result.candidates)} candidates; {len(result.front)} on the front")
    if result.best is None:
        say("no candidate is within the budgets")
    else:
        name, accuracy, sops, *_ = _cells(result.best)
        say(f"best within the budgets: {name}, accuracy {accuracy}, {sops} SOPs: {result.path}")


def _cells(candidate: Candidate) -> list[str]:
    costs = candidate.costs
    return [
        str(candidate.variant) or "unchanged",
        percent(candidate.row.accuracy),
        f"{costs['sops']:,.0f}",
        f"{costs['spikes']:,.0f}",
        f"{costs['ms']:,.3f}",
        f"{candidate.pruned:,}",
    ]


def _as_json(result: SearchResult) -> dict[str, Any]:
    def plain(candidate: Candidate) -> dict[str, Any]:
        about = {"pruned": candidate.pruned, "front": candidate.front}
        return {**asdict(candidate.variant), **about, **candidate.row.cells(), **candidate.costs}

    return {
        "candidates": [plain(candidate) for candidate in result.candidates],
        "best": None if result.best is None else plain(result.best),
        "path": result.path,
    }
