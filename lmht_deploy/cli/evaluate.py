"""`lmht evaluate`: many networks on whole data sets, on many workers, resumable."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from lmht_deploy.errors import DataError, counted

from . import _options as options
from . import _scale_options as scale
from ._console import bad, good, percent, say, show, table, tell, write_json
from ._data import (
    ReadOptions,
    Target,
    check_shape,
    find_source,
    named_errors,
    read_windows,
    reads_data,
)
from ._report import write_report
from ._training import lower_run, need_torch, read_training_data, train_run

if TYPE_CHECKING:
    from lmht_deploy.data._sources import Source
    from lmht_deploy.scale import Audit, Evaluation, Row
    from lmht_deploy.scale._networks import Networks
    from lmht_deploy.scale._plan import Entry

SUFFIXES = (".lmht", ".nir", ".lmhtf", ".onnx", ".net")
SHOWN = 50
"""Rows that are printed; the files hold all."""
TABLES = ("table.csv", "table.parquet", "table.json")
"""Files of the table in the folder of the results."""


def _check_networks(paths: list[Path]) -> list[Path]:
    check = options.network_file(*SUFFIXES, ".toml")
    return [check(path) for path in paths]


@reads_data
def evaluate(
    networks: Annotated[
        list[Path],
        typer.Argument(
            metavar="NETWORK...",
            help="Networks (.lmht, .nir, .lmhtf, or zoo:NAME) and exported files (.onnx, .net), or "
            "one .toml file that lists them with their variants.",
            callback=_check_networks,
            autocompletion=options.complete_network,
        ),
    ],
    data: options.Data,
    out: scale.Out,
    backends: Annotated[
        str,
        typer.Option(
            "--backends",
            metavar="LIST",
            help="Backends of networks, separated by commas.",
            rich_help_panel=options.EXECUTION,
            autocompletion=options.complete_list(options.backend_names),
        ),
    ] = "event",
    split: options.Split = None,
    limit: options.Limit = None,
    reading: ReadOptions = ReadOptions(),  # noqa: B008 (immutable)
    on: scale.On = "local",
    workers: scale.Workers = None,
    shard: scale.Shard = 500,
    audit: Annotated[
        float,
        typer.Option(
            "--audit",
            min=0,
            max=1,
            metavar="SHARE",
            help="Compute this share of the shards again, on other workers, and compare all "
            "integers: 0.01 for one in a hundred.",
            rich_help_panel=options.EXECUTION,
        ),
    ] = 0.0,
    audit_backend: Annotated[
        str | None,
        typer.Option(
            "--audit-backend",
            metavar="NAME",
            help="Backend of the audit (default: the one that computed the shard).",
            rich_help_panel=options.EXECUTION,
            autocompletion=options.completion(options.backend_names),
        ),
    ] = None,
    energy_model: options.Energy = "45nm",
    report: options.Report = None,
    figures: options.Figures = None,
    json: options.Json = None,
) -> None:
    """Run whole data sets through many networks, on many workers, and keep every result.

    The same command goes on after any interruption: what --out holds is not computed again.
    A network that fails does not stop the others. Exits with 1 if the audit finds another integer,
    and with 2 if a network or a shard fails.
    """
    from lmht_deploy.analysis.compare import choose_backends
    from lmht_deploy.analysis.energy import energy_model as load_model
    from lmht_deploy.scale._evaluate import (
        check_audit_backend,
        check_shard,
        open_workers,
        prepare_folder,
        run_entries,
    )
    from lmht_deploy.scale._table import check_model

    model = load_model(energy_model)
    check_model(model)
    check_shard(shard, audit)
    check_audit_backend(audit_backend)
    names = [name.strip() for name in backends.split(",") if name.strip()]
    choose_backends(names)
    source = find_source(data, reading)
    folder = prepare_folder(out)
    failures: list[str] = []
    with open_workers(folder, on, workers) as executor:
        entries = _entries(networks, folder, names, data, source, reading, split, limit, failures)
        with named_errors(data), scale.watching() as progress:
            found = run_entries(
                entries,
                folder,
                executor,
                failures=failures,
                shard=shard,
                audit_share=audit,
                audit_backend=audit_backend,
                model=model,
                progress=progress,
            )
    _show(found, model.source)
    content = as_json(found, model.name)
    _write(found, out, content)
    write_json(json, content)
    write_report("evaluate", content, report, figures)
    _finish(found)


def _entries(
    paths: Sequence[Path],
    folder: Path,
    backends: Sequence[str],
    data: str,
    source: Source,
    reading: ReadOptions,
    split: str | None,
    limit: int | None,
    failures: list[str],
) -> list[Entry]:
    """Return the rows of all networks; networks that need the same windows share them.

    An error about one network is added to the failures. An error about the data is raised.
    """
    from lmht_deploy.scale._evaluate import keep_windows
    from lmht_deploy.scale._networks import keep_networks, make_entries, noted

    files = keep_networks(folder, _listed(paths, folder, reading), failures)
    targets: dict[str, Target] = {}
    for name, path in files.items():
        with noted(failures, path):
            target = _target(path)
            check_shape(data, source, target.shape)
            targets[name] = target
    entries: list[Entry] = []
    stores: dict[str, Any] = {}
    for name, target in targets.items():
        key = repr(target)
        if key not in stores:
            found = read_windows(data, target, reading, split=split, limit=limit, store=folder)
            stores[key] = keep_windows(folder, found)[0]
        with noted(failures, files[name]):
            entries += make_entries(folder, name, files[name], backends, stores[key], data)
    return entries


def _listed(paths: Sequence[Path], folder: Path, reading: ReadOptions) -> Networks:
    """Return the networks of the command line, or those that a .toml file lists."""
    if not any(path.suffix == ".toml" for path in paths):
        return list(paths)
    if len(paths) > 1:
        raise DataError("a .toml file lists all networks; give nothing beside it")
    from lmht_deploy.scale._sweep import read_sweep

    return read_sweep(paths[0], partial(_train, folder / "runs", reading))


def _train(folder: Path, reading: ReadOptions, recipe: str, overrides: Sequence[str]) -> Path:
    """Train a recipe, or go on with its training; return its integer network.

    The run is in a folder that is named by the recipe's content, so that it is trained once.
    """
    need_torch()
    import lmht_deploy as lmht
    from lmht_deploy.scale.executors.local import cores
    from lmht_deploy.training.recipe import dumps, load_recipe

    chosen = load_recipe(recipe, overrides)
    run = folder / hashlib.sha256(dumps(chosen).encode()).hexdigest()[:16]
    path = run.with_suffix(".lmht")
    if not path.exists():
        data = read_training_data(chosen, reading)
        resume = (run / "recipe.toml").exists()
        trained = train_run(chosen, data, run, resume=resume, threads=cores())
        lmht.save(lmht.quantize(lower_run(trained)), path)
    return path


def _target(path: Path) -> Target:
    """Return what a network or an exported file needs of its data."""
    from lmht_deploy.analysis.runner import default_backend, open_runner
    from lmht_deploy.formats.lmht import load_input

    if path.suffix == ".lmht":
        source, metadata = load_input(path)
        return Target.of((source.steps, *source.shape), source.max_value, metadata, path)
    with open_runner(path, default_backend(path)) as runner:
        return Target.of(runner.window_shape, runner.max_value, runner.metadata, path)


# ------------------------------------------------------------------------------------- output


def as_json(found: Evaluation, energy_model: str) -> dict[str, Any]:
    """Return an evaluation as plain data."""
    return {
        "schema": "lmht-evaluate",
        "version": 1,
        "rows": [row.cells() for row in found.rows],
        "energy_model": energy_model,
        "failures": list(found.failures),
        "audit": None if found.audit is None else _audit(found.audit),
        "times": found.times(),
    }


def _audit(audit: Audit) -> dict[str, Any]:
    content = asdict(audit)
    del content["verdicts"]
    return content


def _write(found: Evaluation, out: Path, content: Mapping[str, Any]) -> None:
    """Write the table, and what was measured, to the folder of the results."""
    from lmht_deploy.scale import write_table

    for name in TABLES:
        write_table(found.rows, out / name)
    write_json(out / "times.json", content["times"])


def _show(found: Evaluation, source: str) -> None:
    """Print the table, and how the work was done."""
    columns = (
        *("network", "backend", "windows", "accuracy", "95% interval", "spikes", "SOPs"),
        *("energy nJ", "ms", "same answers", "integers"),
    )
    rows = table(
        "evaluation",
        columns,
        left=("network", "backend", "integers"),
        caption=f"means per window; energy is an estimate: {source}; integers: compared with the "
        "first backend of the network, and by the audit",
    )
    compared: set[tuple[str, str]] = set()
    for row in found.rows[:SHOWN]:
        pair = (row.network, row.data)
        rows.add_row(*_cells(row), _verdict(row, pair not in compared))
        compared.add(pair)
    show(rows)
    if (more := len(found.rows) - SHOWN) > 0:
        say(f"and {counted(more, 'more row')}; the files hold all")
    there = found.shards - found.computed - found.failed
    failed = f", {found.failed:,} failed" if found.failed else ""
    say(
        f"{counted(found.shards, 'shard')}: {found.computed:,} computed in {found.seconds:.1f} s, "
        f"{there:,} already there{failed}"
    )


def _cells(row: Row) -> list[Any]:
    interval = row.interval
    return [
        row.network,
        row.backend,
        f"{row.windows:,}",
        percent(row.accuracy),
        "-" if interval is None else " to ".join(map(percent, interval)),
        f"{row.spikes / row.windows:,.0f}",
        f"{row.sops / row.windows:,.0f}",
        "-" if row.joules is None else f"{row.joules * 1e9:,.1f}",
        f"{row.ms:,.3f}",
        percent(row.agreement),
    ]


def _verdict(row: Row, first: bool) -> Any:
    """What was compared: with the first backend of the network, and by the audit."""
    if not row.equal or row.audited is False:
        return bad("differ")
    return "-" if first and row.audited is None else good("equal")


def _finish(found: Evaluation) -> None:
    """Say what the audit found and what failed, and choose the exit code."""
    if (audit := found.audit) is not None:
        for text in (*audit.differences, *audit.failures):
            tell(f"audit: {text}")
        verdict = "all integers are equal" if audit.passed else "not all integers are equal"
        say(f"audit: {counted(audit.shards, 'shard')} computed again; {verdict}")
    if found.failures:
        for text in found.failures:
            tell(f"lmht: {' '.join(text.split())}")
        raise typer.Exit(2)
    unequal = any(not row.equal for row in found.rows)
    if unequal or (audit is not None and not audit.passed):
        raise typer.Exit(1)
