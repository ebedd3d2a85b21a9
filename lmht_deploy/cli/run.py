"""`lmht run`: windows through one artifact."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from lmht_deploy.errors import BackendError, counted

from . import _answers as answers
from . import _early as early
from . import _options as options
from ._console import counting, say, show, table, write_json
from ._data import ReadOptions, Target, named_errors, read_windows, reads_data
from ._profile import check_profile, measure_layers, show_profile
from ._report import write_report

if TYPE_CHECKING:
    import numpy as np

    from lmht_deploy.backends import Backend
    from lmht_deploy.data import Windows
    from lmht_deploy.ir import Network
    from lmht_deploy.result import Result

PERCENTS = (50, 90, 99)
"""Percentiles of the time of single windows that are reported."""
PROFILED = 100
"""Largest number of windows in which layers are timed."""
TIMED = 100
"""Number of windows that are timed one by one by default."""
SLOW = {"lava": 0}
"""The same for slow backends."""


@reads_data
def run(
    artifact: Annotated[
        Path,
        typer.Argument(
            help="What to run: a .lmht, .onnx, .net, .nir or .lmhtf file, or zoo:NAME.",
            callback=options.network_file(".onnx"),
            autocompletion=options.complete_network,
        ),
    ],
    data: options.Data,
    backend: Annotated[
        str | None,
        typer.Option(
            "--backend",
            help="Backend to use (default: onnx for .onnx, netx for .net files of lava-dl or "
            "--stock-exact, otherwise event). A network is exported where the backend needs it.",
            rich_help_panel=options.EXECUTION,
            autocompletion=options.completion(options.backend_names),
        ),
    ] = None,
    split: options.Split = None,
    limit: options.Limit = None,
    reading: ReadOptions = ReadOptions(),  # noqa: B008 (immutable)
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
    smooth: answers.Smooth = 1,
    min_margin: answers.MinMargin = None,
    calibrate: Annotated[
        float | None,
        typer.Option(
            "--calibrate",
            min=0,
            max=100,
            metavar="PERCENT",
            help="Find the --min-margin that keeps PERCENT of the right answers. The data must "
            "have labels, and must not be training data.",
            rich_help_panel=options.EXECUTION,
        ),
    ] = None,
    stop_risk: Annotated[
        float | None,
        typer.Option(
            "--stop-risk",
            metavar="ALPHA",
            callback=early.check_risk,
            help="Also find the --stop-margin with which a window ends early, and has another "
            "answer than the whole window with a probability of at most ALPHA. Every second window "
            "calibrates it; the others measure what it saves.",
            rich_help_panel=options.EXECUTION,
        ),
    ] = None,
    stop_margin: early.StopMargin = None,
    latency: Annotated[
        int | None,
        typer.Option(
            "--latency",
            min=0,
            metavar="N",
            help="Time N windows one by one, for a second at most; 0 for none (default: 100, and "
            "0 for backend lava).",
            rich_help_panel=options.EXECUTION,
        ),
    ] = None,
    profile: Annotated[
        bool,
        typer.Option(
            "--profile",
            help=f"Also measure the time of each layer, in {PROFILED} windows at most (backend "
            "onnx).",
            rich_help_panel=options.EXECUTION,
        ),
    ] = False,
    predictions: answers.Predictions = None,
    report: options.Report = None,
    figures: options.Figures = None,
    json: options.Json = None,
) -> None:
    """Run windows through a network; report answers or accuracy, spikes, SOPs and time.

    Without labels, the answer for every window is printed.
    """
    from lmht_deploy.analysis.provenance import provenance
    from lmht_deploy.analysis.runner import default_backend, time_windows

    name = backend or default_backend(artifact)
    net = early.check_stop(name, artifact, stop_risk, stop_margin)
    with _open_runner(name, net or artifact, threads, fast_conv, stop_margin) as runner:
        if profile:
            check_profile(name, runner)
        judge = answers.choose_judge(runner.metadata, artifact, smooth, min_margin, calibrate)
        shape, metadata = runner.window_shape, runner.metadata
        target = Target.of(shape, runner.max_value, metadata, artifact)
        found = read_windows(data, target, reading, split=split, limit=limit)
        answers.check_data(found, data, smooth, calibrate)
        with named_errors(data):
            result = _run(name, runner, found)
            answered = answers.answer(found, result, runner.metadata, judge)
            chosen = answers.calibrate(answered, calibrate)
        number = latency if latency is not None else SLOW.get(name, TIMED)
        times = time_windows(runner, found.windows[:number])
        layers = measure_layers(runner, found.windows[:PROFILED]) if profile else None
        stop = None
        if net is not None and stop_risk is not None:
            stop = early.measure_stop(net, found.windows, stop_risk)
    _show(f"{artifact.name} on {name}, {counted(len(found), 'window')}", result)
    if answered.scores is None:
        answers.say_answers(answered)
    answers.report(answered, predictions)
    _say_times(result, times)
    if result.steps is not None:
        say(f"{result.steps.mean():.2f} of {shape[0]} time-steps per window")
    show_profile(layers)
    answers.say_calibration(chosen, artifact, smooth, stop_margin)
    early.say_stop(stop)
    content = {"artifact": artifact, "backend": name, **_content(answered)}
    content |= _times_as_json(result, times)
    content |= {
        "calibration": None if chosen is None else asdict(chosen),
        "early": stop,
        "profile": layers,
        "provenance": provenance(threads),
    }
    if report or figures:
        content["samples"] = _samples(artifact, answered)
    write_json(json, content)
    write_report("run", content, report, figures)


def _run(name: str, runner: Backend, found: Windows) -> Result:
    from lmht_deploy.backends import run_windows

    with counting(name) as show:
        return run_windows(
            runner, found.windows, progress=lambda done: show(done, len(found.windows))
        )


def _content(answered: answers.Answered) -> dict[str, Any]:
    """Return what was run, and the result, as plain data."""
    result = answered.result
    return {
        "data": dict(answered.found.provenance),
        "windows": len(answered.found),
        **answered.as_json(),
        "logits": result.logits,
        "scale": result.scale,
        "spikes": result.spikes,
        "sops": result.sops,
        "events": result.events,
        "event_sops": result.event_sops,
        "macs": result.macs,
        "steps": result.steps,
        "wrapped": result.wrapped,
        "clipped": result.clipped,
    }


def _samples(artifact: Path, answered: answers.Answered) -> list[dict[str, Any]]:
    """Return the spikes of some windows; empty for an artifact without its network."""
    import lmht_deploy as lmht
    from lmht_deploy.analysis.runner import holds_network
    from lmht_deploy.analysis.samples import choose, label_margins, list_samples

    if not holds_network(artifact):
        return []
    labels, result = answered.found.labels, answered.result
    margins = answered.answers.margins if labels is None else label_margins(result, labels)
    net = lmht.load(artifact)
    return list_samples(net, answered.found.windows, choose(margins), labels)


def _say_times(result: Result, times: np.ndarray) -> None:
    """Print the mean time of the run, and the percentiles of single windows."""
    say(f"{1000 * result.seconds / len(result.logits):.3f} ms per window")
    if len(times):
        values = ", ".join(f"p{p} {_percentile(times, p):.3f} ms" for p in PERCENTS)
        say(f"one window per call: {values} ({counted(len(times), 'window')})")


def _times_as_json(result: Result, times: np.ndarray) -> dict[str, Any]:
    percentiles = {f"p{p}_ms": _percentile(times, p) for p in PERCENTS} if len(times) else {}
    return {
        "ms_per_window": 1000 * result.seconds / len(result.logits),
        "latency": {"windows": len(times), **percentiles},
    }


def _percentile(times: np.ndarray, percent: int) -> float:
    """Return a percentile in milliseconds, one of `times` (seconds)."""
    import numpy as np

    return 1000 * float(np.percentile(times, percent, method="inverted_cdf"))


@contextmanager
def _open_runner(
    name: str, artifact: Network | Path, threads: int, fast_conv: bool, stop_margin: int | None
) -> Iterator[Backend]:
    from lmht_deploy.analysis.runner import open_runner

    if not fast_conv:
        with open_runner(artifact, name, threads=threads, stop_margin=stop_margin) as runner:
            yield runner
        return
    if name != "lava" or not isinstance(artifact, Path):
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
