"""`lmht compare`: the same windows through several backends."""

from __future__ import annotations

import dataclasses
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from lmht_deploy.errors import BackendError, ExportError

from . import common

if TYPE_CHECKING:
    import numpy as np

    from lmht_deploy.analysis.compare import Comparison
    from lmht_deploy.ir import Network

LAVA_WINDOWS = 20
"""Lava simulates every sub-step of every process: more windows than this would take minutes."""


def compare(
    network: Annotated[Path, typer.Argument(help="An integer network (.lmht).")],
    data: common.Data,
    backends: Annotated[
        str | None,
        typer.Option(
            "--backends", help="Names, separated by commas (default: every one that can run here)."
        ),
    ] = None,
    root: common.Root = None,
    split: common.Split = "test",
    limit: common.Limit = None,
    sensor: common.SensorSize = None,
    subset: common.Subset = False,
    cache: common.Cache = None,
    threads: common.Threads = 1,
    energy_model: Annotated[
        str, typer.Option("--energy", help="Energy model: '45nm' or 'loihi1'.")
    ] = "45nm",
    json: common.Json = None,
) -> None:
    """Run the same windows through several backends and hold every integer against the golden model's.

    Exits with 1 where a backend gives another integer, and says where it parts first.
    """
    names = _chosen(backends)
    net = common.open_network(network)
    common.check_writable(json)
    windows, labels, provenance = common.read_data(
        data,
        net.window_shape,
        net.input.max_value,
        root=root,
        split=split,
        sensor=sensor,
        subset=subset,
        cache=cache,
        limit=limit,
    )
    with tempfile.TemporaryDirectory(prefix="lmht-") as folder:
        artifacts, left_out = write_artifacts(net, Path(folder), names, lenient=backends is None)
        comparison = run_comparison(
            artifacts, windows, labels, threads=threads, energy_model=energy_model
        )
    show(comparison, left_out)
    common.write_json(
        json, {"network": network, "data": provenance, **as_json(comparison, left_out)}
    )
    if not comparison.equal:
        raise typer.Exit(1)


def _chosen(names: str | None) -> list[str]:
    from lmht_deploy import backends as registry

    chosen = (
        list(registry.NAMES)
        if names is None
        else [name.strip() for name in names.split(",") if name.strip()]
    )
    for name in chosen:
        if name in registry.FOREIGN:
            raise BackendError(
                f"backend {name!r} runs files of others; compare takes {', '.join(registry.NAMES)}"
            )
        reason = registry.unavailable(name)
        if names is not None and reason:
            raise BackendError(f"backend {name!r} cannot run here: {reason}")
    return chosen


def write_artifacts(
    net: Network, folder: Path, names: list[str], *, lenient: bool
) -> tuple[dict[str, Path], dict[str, str]]:
    """The artifact of each backend in `names`, by backend, and why others are left out (only where `lenient`)."""
    from lmht_deploy import backends as registry

    artifacts: dict[str, Path] = {}
    left_out: dict[str, str] = {}
    written: set[Path] = set()
    for name in dict.fromkeys(["reference", *names]):
        path = folder / f"net{registry.artifact_suffix(name)}"
        try:
            if path not in written:
                common.export_artifact(net, path)
                written.add(path)
        except ExportError as error:
            if not lenient:
                raise
            left_out[name] = str(error)
            continue
        if reason := registry.unavailable(name):
            left_out[name] = reason
        else:
            artifacts[name] = path
    return artifacts, left_out


def run_comparison(
    artifacts: Mapping[str, Path], windows: np.ndarray, labels: np.ndarray | None, **options: Any
) -> Comparison:
    """`lmht_deploy.compare.compare` under a progress bar."""
    from lmht_deploy.analysis.compare import compare as compare_backends

    with common.progress("comparing") as report:
        return compare_backends(
            artifacts, windows, labels, limits={"lava": LAVA_WINDOWS}, report=report, **options
        )


def show(comparison: Comparison, left_out: Mapping[str, str]) -> None:
    """Print the table, where backends part, and which were left out and why."""
    from lmht_deploy.analysis import energy

    model = energy.model(comparison.energy_model)
    caption = f"means a window; energy is an estimate: {model.source}"
    macs = any(row.macs for row in comparison.rows)
    columns = (
        "backend",
        "windows",
        "accuracy",
        "spikes",
        "SOPs",
        *(["MACs"] if macs else []),
        "energy nJ",
        "ms",
        "integers",
    )
    table = common.table(
        "the same windows through every backend",
        columns,
        left=("backend", "integers"),
        caption=caption,
    )
    for row in comparison.rows:
        table.add_row(
            row.label,
            str(row.windows),
            common.percent(row.accuracy),
            f"{row.spikes:,.0f}",
            f"{row.sops:,.0f}",
            *([f"{row.macs:,}"] if macs else []),
            f"{row.energy * 1e9:,.1f}",
            f"{row.time * 1e3:,.3f}",
            "[green]equal[/]" if row.difference is None else "[red]differ[/]",
        )
    common.out.print(table)
    for row in comparison.rows:
        if row.difference is not None:
            common.err.print(f"{row.label}: {row.difference}", markup=False)
    for name, reason in left_out.items():
        common.out.print(f"{name} was left out: {reason}", markup=False)


def as_json(comparison: Comparison, left_out: Mapping[str, str]) -> dict[str, Any]:
    """The comparison as plain data."""
    return {
        "equal": comparison.equal,
        "energy_model": comparison.energy_model,
        "rows": [dataclasses.asdict(row) for row in comparison.rows],
        "left_out": dict(left_out),
    }
