"""`lmht inspect`: a network as a table."""

from __future__ import annotations

import dataclasses
import json as json_module
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from lmht_deploy.errors import BackendError, DataError

from . import common

if TYPE_CHECKING:
    from lmht_deploy.analysis.chips import Finding
    from lmht_deploy.ir import Layer, Network

COLUMNS = (
    "layer",
    "kind",
    "reads",
    "shape",
    "steps",
    "levels",
    "T-GIM",
    "leak",
    "parameters",
    "bits X/I/v",
)
MEASURED = ("spikes", "SOPs")
NETX = (
    "layer",
    "neurons",
    "synapses",
    "fan-in",
    "fan-out",
    "weight bits",
    "threshold bits",
    "bias bits",
    "spike",
    "delay",
)
ENGINE_THREADS = (1, 2, 4, 8)
"""Numbers of threads for which the event engine's memory is stated."""


def inspect(
    network: Annotated[
        Path, typer.Argument(help="A network (.lmht), or a NetX file (.net) of anyone.")
    ],
    run: Annotated[
        Path | None,
        typer.Option(
            "--run",
            metavar="FILE",
            help="What `lmht run --json` wrote: adds measured spikes and SOPs.",
        ),
    ] = None,
    target: Annotated[
        str | None,
        typer.Option("--target", help="Chip to hold the network against: 'loihi1' or 'loihi2'."),
    ] = None,
    json: common.Json = None,
) -> None:
    """Draw a network: layers, shapes, parameters, and the bits that its accumulators are proved to need."""
    from lmht_deploy.analysis import chips as limits

    if network.suffix == ".net":
        _inspect_netx(network, run, target, json)
        return
    net = common.open_network(network)
    measured = _read_run(run, net) if run else {}
    findings = limits.check(net, target) if target else []
    rows = [_row(net, layer, measured) for layer in net.layers]
    columns = COLUMNS + MEASURED if run else COLUMNS
    title = f"{network.name}: {'integer' if net.integer else 'float'} network, {sum(r['parameters'] for r in rows):,} parameters"
    caption = "bits of the largest current X, mixed current I and potential v, sign included"
    table = common.table(title, columns, left=COLUMNS[:4], caption=caption if net.integer else None)
    for row in rows:
        table.add_row(*(_cell(row[column]) for column in columns))
    common.out.print(table)
    for key, value in sorted(net.metadata.items()):
        common.out.print(f"{key}: {' '.join(value.split())}", markup=False, highlight=False)
    memory = _engine_memory(net)
    if memory:
        common.out.print(_memory_line(memory), markup=False, highlight=False)
    if findings:
        _show_limits(findings, limits.chip(target).name)  # type: ignore[arg-type]
    content = {
        "network": network,
        "integer": net.integer,
        "metadata": dict(net.metadata),
        "layers": rows,
        "engine": memory,
    }
    common.write_json(json, content | {"limits": [_plain(finding) for finding in findings]})


def _engine_memory(net: Network) -> dict[str, Any] | None:
    """Bytes that the event engine takes for an integer network, by number of threads, without running it; or why it cannot run it."""
    from lmht_deploy import engine

    if not net.integer:
        return None
    try:
        model = engine.Model(net)
        buffers = {
            threads: engine.Engine(model, threads=threads).buffer_bytes
            for threads in ENGINE_THREADS
        }
    except BackendError as error:
        return {"refused": str(error)}
    return {"isa": model.isa, "weight_bytes": model.weight_bytes, "buffer_bytes": buffers}


def _memory_line(memory: dict[str, Any]) -> str:
    if "refused" in memory:
        return memory["refused"]
    buffers = ", ".join(_mebibytes(taken) for taken in memory["buffer_bytes"].values())
    threads = ", ".join(map(str, memory["buffer_bytes"]))
    return f"event engine ({memory['isa']}): {_mebibytes(memory['weight_bytes'])} MiB of weights; {buffers} MiB of buffers with {threads} threads"


def _mebibytes(taken: int) -> str:
    return f"{taken / 2**20:.2f}"


def _inspect_netx(path: Path, run: Path | None, target: str | None, json: Path | None) -> None:
    from lmht_deploy import netx
    from lmht_deploy.analysis import chips as limits

    if run is not None:
        raise DataError(f"--run needs a network (.lmht), and {path} is a NetX file")
    demands = (
        limits.demands(netx.load_netx(path)) if netx.is_foreign(path) else limits.of_exported(path)
    )
    findings = limits.findings(demands, limits.chip(target)) if target else []
    table = common.table(
        f"{path.name}: NetX, {sum(d.neurons for d in demands):,} neurons, {sum(d.synapses for d in demands):,} synapses",
        NETX,
        left=NETX[:1],
    )
    rows = [dataclasses.asdict(demand) for demand in demands]
    for row in rows:
        table.add_row(*(_cell(row[column.replace(" ", "_").replace("-", "_")]) for column in NETX))
    common.out.print(table)
    if target:
        _show_limits(findings, limits.chip(target).name)
    common.write_json(
        json, {"network": path, "layers": rows, "limits": [_plain(finding) for finding in findings]}
    )


def _show_limits(findings: list[Finding], chip: str) -> None:
    table = common.table(
        f"published limits of {chip}",
        ("of", "what", "found", "limit", "", "source"),
        left=("of", "what", "", "source"),
    )
    for finding in findings:
        verdict = {True: "[green]within[/]", False: "[red]beyond[/]", None: "unknown"}[finding.kept]
        limit = (
            "" if finding.limit.value is None else f"{finding.limit.value:,} {finding.limit.unit}"
        )
        table.add_row(
            finding.layer or "network",
            finding.what.rstrip(","),
            f"{finding.found:,}",
            limit,
            verdict,
            finding.limit.source,
        )
    common.out.print(table)


def _plain(finding: Finding) -> dict[str, Any]:
    limit = finding.limit
    return {
        "layer": finding.layer,
        "what": finding.what,
        "found": finding.found,
        "limit": limit.value,
        "kept": finding.kept,
        "source": limit.source,
    }


def _cell(value: Any) -> str:
    return (
        ""
        if value is None
        else f"{value:,}"
        if isinstance(value, int)
        else f"{value:,.1f}"
        if isinstance(value, float)
        else str(value)
    )


def _row(net: Network, layer: Layer, measured: dict[str, Any]) -> dict[str, Any]:
    from lmht_deploy.ir import LEAK_ONE, Neurons, sources

    row: dict[str, Any] = {
        "layer": layer.name,
        "kind": type(layer).__name__,
        "reads": ", ".join(sources(layer)),
        "shape": "x".join(map(str, net.shapes[layer.name])),
        "steps": net.steps[layer.name],
        "levels": None,
        "T-GIM": None,
        "leak": None,
        "parameters": _parameters(layer),
        "bits X/I/v": _bits(net, layer),
        "spikes": _mean(measured, "spikes", layer.name),
        "SOPs": _mean(measured, "sops", layer.name),
    }
    if isinstance(layer, Neurons):
        leak = layer.leak / LEAK_ONE if net.integer else layer.leak
        row |= {"levels": layer.levels, "T-GIM": _omega(layer.omega), "leak": f"{leak:.4g}"}
    return row


def _omega(omega: Any) -> str:
    import numpy as np

    size = f"{omega.shape[0]}x{omega.shape[1]}"
    if omega.shape[0] == omega.shape[1] and np.array_equal(omega, np.eye(len(omega)) * omega[0, 0]):
        return f"{size} identity"
    return f"{size} uniform" if (omega == omega.flat[0]).all() else size


def _parameters(layer: Layer) -> int:
    """Weights, biases, thresholds, initial potentials and T-GIM entries."""
    arrays = [
        getattr(layer, name)
        for name in ("bias", "threshold", "v0", "omega")
        if hasattr(layer, name)
    ]
    return sum(a.size for a in arrays) + sum(s.weight.size for s in getattr(layer, "synapses", ()))


def _bits(net: Network, layer: Layer) -> str | None:
    """Bits, sign included, of the largest current, mixed current and potential."""
    bounds = net.bounds.get(layer.name)
    if bounds is None:
        return None
    return "/".join(
        str(value.bit_length() + 1) if value else "-"
        for value in (bounds.current, bounds.drive, bounds.potential)
    )


def _read_run(path: Path, net: Network) -> dict[str, Any]:
    try:
        content = json_module.loads(path.read_text())
        names = set(content["sops"])
    except (OSError, ValueError, KeyError, TypeError):
        raise DataError(f"{path}: is not what `lmht run --json` writes") from None
    if not names <= {layer.name for layer in net.layers}:
        raise DataError(
            f"{path}: is a run of another network; it has layers {', '.join(sorted(names))}"
        )
    return content


def _mean(measured: dict[str, Any], what: str, layer: str) -> float | None:
    counts = measured.get(what, {}).get(layer)
    return None if counts is None else sum(counts) / len(counts)
