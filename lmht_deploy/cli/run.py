"""`lmht run`: windows through one artifact."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lmht_deploy.errors import BackendError

from . import common

if TYPE_CHECKING:
    from lmht_deploy.backends import Backend


def run(
    artifact: Annotated[Path, typer.Argument(help="What to run: .lmht, .onnx or .net.")],
    data: common.Data,
    backend: Annotated[
        str | None,
        typer.Option(
            "--backend",
            help="Who runs it (default: event for .lmht, onnx for .onnx, lava for .net, netx for NetX files of others).",
        ),
    ] = None,
    root: common.Root = None,
    split: common.Split = "test",
    limit: common.Limit = None,
    sensor: common.SensorSize = None,
    subset: common.Subset = False,
    cache: common.Cache = None,
    threads: common.Threads = 1,
    fast_conv: Annotated[
        bool,
        typer.Option(
            "--fast-conv",
            help="Backend lava, NetX files of others: lava-dl convolves by matrix products; same integers.",
        ),
    ] = False,
    json: common.Json = None,
) -> None:
    """Run windows of events through a network; report accuracy, spikes, synaptic operations and time."""
    from lmht_deploy import backends
    from lmht_deploy.analysis.compare import accuracy

    name = backend or _default_backend(artifact)
    common.check_writable(json)
    with closing(_load(name, artifact, threads, fast_conv)) as runner:
        windows, labels, provenance = common.read_data(
            data,
            runner.window_shape,
            runner.max_value,
            root=root,
            split=split,
            sensor=sensor,
            subset=subset,
            cache=cache,
            limit=limit,
        )
        with common.progress(name) as show:
            result = backends.run_windows(
                runner, windows, progress=lambda done: show("", done, len(windows))
            )
    hit = accuracy(result, labels)
    title = f"{artifact.name} on {name}, {len(windows)} windows"
    table = common.table(
        title,
        ("layer", "spikes", "events", "SOPs", "MACs"),
        left=("layer",),
        caption="means a window",
    )
    for layer in dict.fromkeys([*result.spikes, *result.sops]):
        cells = (
            counts[layer].mean() if layer in counts else None
            for counts in (result.spikes, result.events, result.sops)
        )
        table.add_row(
            layer,
            *("" if cell is None else f"{cell:,.1f}" for cell in cells),
            f"{result.macs[layer]:,}" if layer in result.macs else "",
        )
    common.out.print(table)
    common.out.print(
        f"accuracy {common.percent(hit)}, {1000 * result.seconds / len(windows):.3f} ms a window"
    )
    content = {
        "artifact": artifact,
        "backend": name,
        "data": provenance,
        "windows": len(windows),
        "accuracy": hit,
        "ms_per_window": 1000 * result.seconds / len(windows),
        "predictions": result.predictions,
        "labels": labels,
        "logits": result.logits,
        "scale": result.scale,
        "spikes": result.spikes,
        "sops": result.sops,
        "events": result.events,
        "event_sops": result.event_sops,
        "macs": result.macs,
    }
    common.write_json(json, content)


def _load(name: str, artifact: Path, threads: int, fast_conv: bool) -> Backend:
    from lmht_deploy import backends

    if not fast_conv:
        return backends.open_backend(name, artifact, threads=threads)
    if name != "lava":
        raise BackendError(f"--fast-conv is for backend 'lava', not {name!r}")
    from lmht_deploy.backends import lava

    return lava.open_artifact(artifact, threads=threads, fast_conv=True)


def _default_backend(artifact: Path) -> str:
    defaults = {".lmht": "event", ".onnx": "onnx", ".net": "lava"}
    if artifact.suffix not in defaults:
        raise BackendError(
            f"{artifact}: no backend runs {artifact.suffix or 'such'} files; the suffixes are {', '.join(defaults)}"
        )
    from lmht_deploy.netx import is_foreign

    return (
        "netx" if artifact.suffix == ".net" and is_foreign(artifact) else defaults[artifact.suffix]
    )
