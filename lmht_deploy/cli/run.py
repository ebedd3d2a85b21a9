"""`lmht run`: windows through one artifact."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from lmht_deploy.errors import BackendError

from . import _options as options
from ._console import counting, percent, say, show, table, write_json
from ._data import named_errors, read_windows

if TYPE_CHECKING:
    from lmht_deploy.backends import Backend
    from lmht_deploy.data import Windows
    from lmht_deploy.result import Result


def run(
    artifact: Annotated[
        Path,
        typer.Argument(help="What to run: a .lmht, .onnx or .net file.", callback=options.is_file),
    ],
    data: options.Data,
    backend: Annotated[
        str | None,
        typer.Option(
            "--backend",
            help="Backend to use (default: event for .lmht, onnx for .onnx, lava for .net; netx "
            "for .net files that lava-dl or --stock-exact wrote).",
            rich_help_panel=options.EXECUTION,
            autocompletion=options.completion(options.backend_names),
        ),
    ] = None,
    root: options.Root = None,
    split: options.Split = "test",
    limit: options.Limit = None,
    sensor: options.SensorSize = None,
    subset: options.Subset = False,
    cache: options.Cache = None,
    threads: options.Threads = 1,
    fast_conv: Annotated[
        bool,
        typer.Option(
            "--fast-conv",
            help="For backend lava and NetX files of other tools: compute convolutions as matrix "
            "products, with the same integers.",
            rich_help_panel=options.EXECUTION,
        ),
    ] = False,
    json: options.Json = None,
) -> None:
    """Run windows through a network; report accuracy, spikes, synaptic operations and time."""
    from lmht_deploy.analysis.runner import default_backend

    name = backend or default_backend(artifact)
    with _open_runner(name, artifact, threads, fast_conv) as runner:
        found = read_windows(
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
        with named_errors(data):
            result = _run(name, runner, found)
    content = {"artifact": artifact, "backend": name, **_content(found, result)}
    _show(f"{artifact.name} on {name}, {len(found)} windows", result)
    correct, milliseconds = percent(content["accuracy"]), content["ms_per_window"]
    say(f"accuracy {correct}, {milliseconds:.3f} ms per window")
    write_json(json, content)


def _run(name: str, runner: Backend, found: Windows) -> Result:
    from lmht_deploy.backends import run_windows

    with counting(name) as show:
        return run_windows(
            runner, found.windows, progress=lambda done: show(done, len(found.windows))
        )


def _content(found: Windows, result: Result) -> dict[str, Any]:
    """Return what was run, and the result, as plain data."""
    from lmht_deploy.analysis.scores import accuracy

    return {
        "data": dict(found.provenance),
        "windows": len(found),
        "accuracy": accuracy(result, found.labels),
        "ms_per_window": 1000 * result.seconds / len(found),
        "predictions": result.predictions,
        "labels": found.labels,
        "logits": result.logits,
        "scale": result.scale,
        "spikes": result.spikes,
        "sops": result.sops,
        "events": result.events,
        "event_sops": result.event_sops,
        "macs": result.macs,
    }


@contextmanager
def _open_runner(name: str, artifact: Path, threads: int, fast_conv: bool) -> Iterator[Backend]:
    from lmht_deploy.analysis.runner import open_runner

    if not fast_conv:
        with open_runner(artifact, name, threads=threads) as runner:
            yield runner
        return
    if name != "lava":
        raise BackendError(f"--fast-conv is for backend 'lava', not {name!r}")
    from lmht_deploy.backends import lava

    with closing(lava.open_artifact(artifact, threads=threads, fast_conv=True)) as runner:
        yield runner


def _show(title: str, result: Result) -> None:
    columns = ("layer", "spikes", "events", "SOPs", "MACs")
    found = table(title, columns, left=("layer",), caption="means per window")
    for layer in dict.fromkeys([*result.spikes, *result.sops]):
        means = (
            f"{counts[layer].mean():,.1f}" if layer in counts else ""
            for counts in (result.spikes, result.events, result.sops)
        )
        macs = f"{result.macs[layer]:,}" if layer in result.macs else ""
        found.add_row(layer, *means, macs)
    show(found)
