"""`lmht inspect`: a network as a table."""

from __future__ import annotations

import json as json_module
import math
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from lmht_deploy.errors import BackendError, DataError, counted
from lmht_deploy.formats.files import no_file

from . import _options as options
from ._console import bad, good, say, show, table, write_json

if TYPE_CHECKING:
    from rich.text import Text

    from lmht_deploy.analysis.chips import Finding
    from lmht_deploy.engine import Model
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
    "reset",
    "parameters",
    "bits X/I/v",
)
PLAIN_RESET = "subtract"
MEASURED = ("spikes", "SOPs")
MEASURED_KEYS = {"spikes": "spikes", "SOPs": "sops"}
"""Columns of measured counts, and their keys in the file of a run."""
ONNX = ("layer", "nodes", "products", "constants", "constant bytes", "macs", "neurons", "trace")
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
REASONS = 3
"""Number of reasons why a network does not fit a chip that are printed."""
PATHS = ("layer", "reads", "spikes per value and step", "path", "microseconds of each path")
ASSUMED_DENSITY = 0.1
"""Spikes per neuron and step where no run was measured."""
ENGINE_THREADS = (1, 2, 4, 8)
"""Numbers of threads for which the memory of the event engine is reported."""


def _chip_names() -> list[str]:
    from lmht_deploy.analysis.chips import TARGETS

    return list(TARGETS)


def inspect(
    network: Annotated[
        Path,
        typer.Argument(
            help="A network (.lmht, .nir or .lmhtf, or zoo:NAME), an exported .onnx file, or a "
            "NetX file (.net) of any tool.",
            callback=options.network_file(".onnx"),
            autocompletion=options.complete_network,
        ),
    ],
    run: Annotated[
        Path | None,
        typer.Option(
            "--run",
            metavar="FILE",
            help="File that `lmht run --json` wrote: adds measured spikes and SOPs.",
            callback=options.is_file,
        ),
    ] = None,
    target: Annotated[
        str | None,
        typer.Option(
            "--target",
            help="Chip whose published limits the network is compared with: 'loihi1' or 'loihi2'.",
            autocompletion=options.completion(_chip_names),
        ),
    ] = None,
    paths: Annotated[
        bool,
        typer.Option(
            "--paths",
            help="Show which path the event engine is expected to take for each synapse, and the "
            "estimated time of every path: at the spikes of --run, otherwise at 0.1 spikes per "
            "value and step.",
        ),
    ] = False,
    json: options.Json = None,
) -> None:
    """Show a network: layers, shapes, parameters, and the proved bits of its accumulators."""
    kinds = {".net": _inspect_netx, ".onnx": _inspect_onnx}
    if paths and network.suffix in kinds:
        raise DataError(f"--paths needs a network (.lmht or .nir), and {network} is not one")
    content = kinds.get(network.suffix, _inspect_network)(network, run, target)
    if paths:
        content["paths"] = _inspect_paths(network, run)
    write_json(json, content)


# ------------------------------------------------------------------------------------- networks


def _inspect_network(path: Path, run: Path | None, target: str | None) -> dict[str, Any]:
    import lmht_deploy as lmht
    from lmht_deploy.analysis import chips

    net = lmht.load(path)
    measured = _read_run(run, net.shapes) if run else {}
    findings = chips.check(net, target) if target else []
    rows = [_row(net, layer, measured) for layer in net.layers]
    plain = {row["reset"] for row in rows} <= {None, PLAIN_RESET}
    columns = tuple(name for name in COLUMNS if name != "reset" or not plain)
    _show_layers(path.name, net, rows, columns + MEASURED if run else columns)
    for key, value in sorted(net.metadata.items()):
        say(f"{key}: {' '.join(value.split())}")
    memory = _engine_memory(net)
    if memory:
        say(_memory_line(memory))
    if target:
        _show_limits(findings, chips.chip(target).name)
    return {
        "network": path,
        "integer": net.integer,
        "metadata": dict(net.metadata),
        "layers": rows,
        "engine": memory,
        **_limits_as_json(findings, target),
    }


def _show_layers(
    name: str, net: Network, rows: Sequence[dict[str, Any]], columns: Sequence[str]
) -> None:
    parameters = sum(row["parameters"] for row in rows)
    kind = "integer" if net.integer else "float"
    caption = "bits of the largest current X, mixed current I and potential v, sign included"
    found = table(
        f"{name}: {kind} network, {counted(parameters, 'parameter')}",
        columns,
        left=COLUMNS[:4],
        caption=caption if net.integer else None,
    )
    for row in rows:
        found.add_row(*(_cell(row[column]) for column in columns))
    show(found)


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
        "reset": None,
        "parameters": _parameters(layer),
        "bits X/I/v": _bits(net, layer),
        "spikes": _mean(measured, "spikes", layer.name),
        "SOPs": _mean(measured, "sops", layer.name),
    }
    if isinstance(layer, Neurons):
        leak = layer.leak / LEAK_ONE if net.integer else layer.leak
        row |= {"levels": layer.levels, "T-GIM": _omega(layer.omega), "leak": f"{leak:.4g}"}
        row["reset"] = layer.reset + ("" if layer.floor is None else ", floor")
    return row


def _omega(omega: Any) -> str:
    import numpy as np

    size = f"{omega.shape[0]}x{omega.shape[1]}"
    if omega.shape[0] == omega.shape[1] and np.array_equal(omega, np.eye(len(omega)) * omega[0, 0]):
        return f"{size} identity"
    return f"{size} uniform" if (omega == omega.flat[0]).all() else size


def _parameters(layer: Layer) -> int:
    """Number of weights, biases, thresholds, initial potentials, floors and T-GIM entries."""
    names = ("bias", "threshold", "v0", "omega", "floor")
    arrays = [array for name in names if (array := getattr(layer, name, None)) is not None]
    arrays += [synapse.weight for synapse in getattr(layer, "synapses", ())]
    return sum(int(array.size) for array in arrays)


def _bits(net: Network, layer: Layer) -> str | None:
    """Bits, sign included, of the largest current, mixed current and potential."""
    bounds = net.bounds.get(layer.name)
    if bounds is None:
        return None
    return "/".join(
        str(value.bit_length() + 1) if value else "-"
        for value in (bounds.current, bounds.drive, bounds.potential)
    )


def _read_run(path: Path, layers: Collection[str]) -> dict[str, Any]:
    try:
        content: dict[str, Any] = json_module.loads(path.read_text(encoding="utf-8"))
        names = set(content["sops"])
    except FileNotFoundError:
        raise no_file(path) from None
    except (OSError, ValueError, KeyError, TypeError):
        raise DataError(f"{path}: is not a file that `lmht run --json` writes") from None
    if not names <= set(layers):
        raise DataError(
            f"{path}: is a run of another network; it has layers {', '.join(sorted(names))}"
        )
    return content


def _mean(measured: dict[str, Any], kind: str, layer: str) -> float | None:
    counts = measured.get(kind, {}).get(layer)
    return None if counts is None else sum(counts) / len(counts)


# ------------------------------------------------------------------------------------- engine


def _engine_memory(net: Network) -> dict[str, Any] | None:
    """Memory of the event engine in bytes, by number of threads; or why it cannot run `net`."""
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
        return str(memory["refused"])
    buffers = ", ".join(_mebibytes(size) for size in memory["buffer_bytes"].values())
    threads = ", ".join(map(str, memory["buffer_bytes"]))
    return (
        f"event engine ({memory['isa']}): {_mebibytes(memory['weight_bytes'])} MiB of weights; "
        f"{buffers} MiB of buffers with {threads} threads"
    )


def _mebibytes(size: int) -> str:
    return f"{size / 2**20:.2f}"


def _inspect_paths(path: Path, run: Path | None) -> list[dict[str, Any]]:
    """Show the expected path of every synapse, the time of all paths, and what they cost."""
    import lmht_deploy as lmht
    from lmht_deploy import engine

    net = lmht.load(path)
    model = engine.Model(net)
    measured = _read_run(run, net.shapes) if run else {}
    rows = [row for name in model.places for row in _paths_of(model, net, name, measured)]
    title = f"event engine ({model.isa}): expected paths, in microseconds per window"
    caption = f"the path with the least time; costs measured on this machine: {_costs_text(model)}"
    found = table(title, PATHS, left=(*PATHS[:2], *PATHS[3:]), caption=caption)
    for row in rows:
        times = ", ".join(f"{name} {time / 1e3:,.1f}" for name, time in row["nanoseconds"].items())
        found.add_row(
            row["layer"], row["reads"], f"{row['density']:.3f}", row["path"], times or "-"
        )
    show(found)
    return rows


def _costs_text(model: Model) -> str:
    """The costs that decide between lists and the dense path."""
    costs = model.costs
    parts = [
        f"{costs['binary_row']:.2f} ns per weight row of a spike",
        f"{costs['graded_row']:.2f} ns of a count",
        f"{costs['list_pixel']:.0f} ns per output pixel of a list",
    ]
    if costs["tile_product"]:
        parts.append(f"{costs['tile_product']:.1f} ns per product of tiles")
    elif costs["dense_slot"]:
        parts.append(f"{costs['dense_slot']:.2f} ns per input of the dense path")
    return ", ".join(parts)


def _paths_of(
    model: Model, net: Network, name: str, measured: dict[str, Any]
) -> Iterator[dict[str, Any]]:
    layer = next(layer for layer in net.layers if layer.name == name)
    for index, synapse in enumerate(getattr(layer, "synapses", ())):
        density = _density(net, synapse.source, measured)
        times = model.path_costs(name, density)[index]
        yield {
            "layer": name,
            "reads": synapse.source,
            "density": density,
            "path": next(iter(times), "channelwise"),
            "nanoseconds": times,
        }


def _density(net: Network, name: str, measured: dict[str, Any]) -> float:
    """Spikes per value and step of what a synapse reads: those of the neurons before it."""
    from lmht_deploy.ir import Flatten, MaxPool, SumPool

    layer = next(layer for layer in net.layers if layer.name == name)
    spikes = _mean(measured, "spikes", name)
    if spikes is not None:
        return spikes / (math.prod(net.shapes[name]) * net.steps[name])
    if not isinstance(layer, SumPool | MaxPool | Flatten):
        return ASSUMED_DENSITY
    summed = math.prod(layer.kernel) if isinstance(layer, SumPool) else 1
    return summed * _density(net, layer.source, measured)


# ------------------------------------------------------------------------------------- ONNX


def _inspect_onnx(path: Path, run: Path | None, target: str | None) -> dict[str, Any]:
    import dataclasses

    from lmht_deploy.analysis.graph import read_graph

    if target is not None:
        raise DataError(f"--target needs a network (.lmht) or a .net file, and {path} is neither")
    graph = read_graph(path)
    measured = _read_run(run, [layer.layer for layer in graph.layers]) if run else {}
    rows = [
        dataclasses.asdict(layer)
        | {kind: _mean(measured, key, layer.layer) for kind, key in MEASURED_KEYS.items()}
        for layer in graph.layers
    ]
    constants = counted(sum(layer.constants for layer in graph.layers), "constant")
    shape = "x".join(map(str, graph.window_shape))
    classes = counted(graph.classes, "class", "classes")
    title = f"{path.name}: ONNX, windows {shape}, {classes}, {constants}"
    found = table(title, ONNX + MEASURED if run else ONNX, left=ONNX[:1])
    for row in rows:
        keys = (column.replace(" ", "_") for column in (ONNX + MEASURED if run else ONNX))
        found.add_row(*(_cell(row[key]) for key in keys))
    show(found)
    properties = graph.properties
    say(f"input: {properties.kind}, values {properties.min_value} to {properties.max_value}")
    for key, value in sorted(properties.metadata.items()):
        say(f"{key}: {' '.join(value.split())}")
    return {
        "network": path,
        "window_shape": graph.window_shape,
        "classes": graph.classes,
        "scale": properties.scale,
        "metadata": dict(properties.metadata),
        "layers": rows,
    }


# ------------------------------------------------------------------------------------- NetX, chips


def _inspect_netx(path: Path, run: Path | None, target: str | None) -> dict[str, Any]:
    import dataclasses

    from lmht_deploy import netx
    from lmht_deploy.analysis import chips

    if run is not None:
        raise DataError(f"--run needs a network (.lmht), and {path} is a NetX file")
    foreign = netx.is_foreign(path)
    demands = chips.demands(netx.load_netx(path)) if foreign else chips.of_exported(path)
    findings = chips.findings(demands, chips.chip(target)) if target else []
    neurons, synapses = (sum(d.neurons for d in demands), sum(d.synapses for d in demands))
    title = f"{path.name}: NetX, {counted(neurons, 'neuron')}, {counted(synapses, 'synapse')}"
    found = table(title, NETX, left=NETX[:1])
    rows = [dataclasses.asdict(demand) for demand in demands]
    for row in rows:
        keys = (column.replace(" ", "_").replace("-", "_") for column in NETX)
        found.add_row(*(_cell(row[key]) for key in keys))
    show(found)
    if target:
        _show_limits(findings, chips.chip(target).name)
    return {"network": path, "layers": rows, **_limits_as_json(findings, target)}


def _show_limits(findings: Sequence[Finding], chip: str) -> None:
    """Print the figures of the whole network, those beyond a limit, and the verdict."""
    text = ("of", "what", "", "source")
    title = f"published limits of {chip}"
    found = table(title, ("of", "what", "found", "limit", "", "source"), left=text)
    verdicts: dict[bool | None, Text | str] = {
        True: good("within"),
        False: bad("beyond"),
        None: "unknown",
    }
    listed = [f for f in findings if f.layer is None or f.kept is False]
    for finding in listed:
        limit = finding.limit
        found.add_row(
            finding.layer or "network",
            finding.what.rstrip(","),
            f"{finding.found:,}",
            "" if limit.value is None else f"{limit.value:,} {limit.unit}",
            verdicts[finding.kept],
            limit.source,
        )
    show(found)
    within, unknown = (sum(f.kept is kept for f in findings) for kept in (True, None))
    say(
        f"{counted(len(findings), 'figure')}: {within} within a published limit, "
        f"{len(findings) - within - unknown} beyond, {unknown} without one; --json lists all"
    )
    say(_verdict(findings, chip))


def _verdict(findings: Sequence[Finding], chip: str) -> str:
    """Say in one line whether the network fits the chip, and why not."""
    beyond = [finding for finding in findings if finding.kept is False]
    if not beyond:
        (cores,) = (f for f in findings if f.layer is None and f.what.startswith("cores"))
        estimate = "an estimate from published limits"
        return f"fits on {cores.found:,} of {cores.limit.value:,} cores of {chip} ({estimate})"
    reasons = [_reason(finding) for finding in beyond[:REASONS]]
    more = f"; and {len(beyond) - REASONS} more" if len(beyond) > REASONS else ""
    return f"does not fit {chip}: {'; '.join(reasons)}{more}"


def _reason(finding: Finding) -> str:
    where = f"layer {finding.layer!r}: " if finding.layer else ""
    what = finding.what.partition(",")[0]
    return f"{where}{what} {finding.found:,}, at most {finding.limit.value:,}"


def _limits_as_json(findings: Sequence[Finding], target: str | None) -> dict[str, Any]:
    fits = None if target is None else all(finding.kept is not False for finding in findings)
    return {"fits": fits, "limits": [_plain(finding) for finding in findings]}


def _plain(finding: Finding) -> dict[str, Any]:
    return {
        "layer": finding.layer,
        "what": finding.what,
        "found": finding.found,
        "limit": finding.limit.value,
        "kept": finding.kept,
        "source": finding.limit.source,
    }


def _cell(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else ""
    if isinstance(value, float):
        return f"{value:,.1f}"
    return f"{value:,}" if isinstance(value, int) else str(value)
