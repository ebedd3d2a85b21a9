"""`lmht compare`: the same windows on several backends."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from . import _answers as answers
from . import _options as options
from ._console import bad, good, percent, progress, say, show, table, tell, write_json
from ._data import ReadOptions, Target, named_errors, read_windows, reads_data

if TYPE_CHECKING:
    from rich.text import Text

    from lmht_deploy.analysis.compare import BackendRow, Comparison


@reads_data
def compare(
    network: Annotated[
        Path,
        typer.Argument(
            help="An integer network (.lmht, or zoo:NAME).",
            callback=options.network_file(".lmht"),
            autocompletion=options.complete_network,
        ),
    ],
    data: options.Data,
    backends: Annotated[
        str | None,
        typer.Option(
            "--backends",
            help="Backends to compare, separated by commas (default: every one that can run here).",
            rich_help_panel=options.EXECUTION,
            autocompletion=options.complete_list(options.backend_names),
        ),
    ] = None,
    split: options.Split = None,
    limit: options.Limit = None,
    reading: ReadOptions = ReadOptions(),  # noqa: B008 (immutable)
    threads: options.Threads = 1,
    energy_model: options.Energy = "45nm",
    predictions: answers.Predictions = None,
    json: options.Json = None,
) -> None:
    """Run the same windows on several backends and compare all integers with the reference model.

    Reports the first mismatch and exits with 1 if an integer differs.
    """
    import lmht_deploy as lmht
    from lmht_deploy.analysis.compare import choose_backends

    names = None if backends is None else choose_backends(_split(backends))
    net = lmht.load(network)
    target = Target.of(net.window_shape, net.input.max_value, net.metadata, network)
    found = read_windows(data, target, reading, split=split, limit=limit)
    with named_errors(data), progress("comparing") as show:
        comparison = lmht.compare(
            net,
            found.windows,
            found.labels,
            backends=names,
            threads=threads,
            energy_model=energy_model,
            progress=show,
        )
    show_comparison(comparison)
    answered = answers.answer(found, comparison.result, net.metadata)
    answers.report(answered, predictions)
    write_json(
        json,
        {
            "network": network,
            "data": dict(found.provenance),
            **comparison_as_json(comparison),
            "answers": answered.as_json(),
        },
    )
    if not comparison.equal:
        raise typer.Exit(1)


def _split(names: str) -> list[str]:
    return [name.strip() for name in names.split(",") if name.strip()]


def show_comparison(comparison: Comparison) -> None:
    """Print the table, the first mismatch of every backend, and which backends are missing."""
    from lmht_deploy.analysis.energy import energy_model

    macs = any(row.macs for row in comparison.rows)
    columns = ["backend", "windows", "accuracy", "spikes", "SOPs", "energy nJ", "ms", "integers"]
    if macs:
        columns.insert(5, "MACs")
    found = table(
        "the same windows on every backend",
        columns,
        left=("backend", "integers"),
        caption="means per window; energy is an estimate: "
        + energy_model(comparison.energy_model).source,
    )
    for row in comparison.rows:
        found.add_row(*_cells(row, macs))
    show(found)
    for row in comparison.rows:
        if row.difference is not None:
            tell(f"{row.label}: {row.difference}")
        if row.saturations:
            tell(f"{row.label}: 24-bit states wrapped or were clipped {row.saturations:,} times")
    for name, reason in comparison.omitted.items():
        say(f"{name} is not compared: {reason}")


def _cells(row: BackendRow, macs: bool) -> list[Text | str]:
    return [
        row.label,
        str(row.windows),
        percent(row.accuracy),
        f"{row.spikes:,.0f}",
        f"{row.sops:,.0f}",
        *([f"{row.macs:,}"] if macs else []),
        "-" if row.energy is None else f"{row.energy * 1e9:,.1f}",
        f"{row.time * 1e3:,.3f}",
        good("equal") if row.difference is None else bad("differ"),
    ]


def comparison_as_json(comparison: Comparison) -> dict[str, Any]:
    """Return the comparison as plain data."""
    return {
        "equal": comparison.equal,
        "energy_model": comparison.energy_model,
        "rows": [dataclasses.asdict(row) for row in comparison.rows],
        "omitted": dict(comparison.omitted),
    }
