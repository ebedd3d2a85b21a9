"""`lmht stream`: classify a recording, standard input, UDP or a camera, window after window."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from . import _answers as answers
from . import _options as options
from . import _stream_options as shared
from . import _window_options as windows
from ._console import say, tell
from ._durations import parse_duration
from ._early import StopMargin
from ._predictions import Classes, Prediction, open_predictions
from ._stream_json import open_json
from ._stream_source import SourceOptions, open_source
from ._stream_summary import Summary
from ._stream_windows import input_size, make_bins, stream_rule

if TYPE_CHECKING:
    from lmht_deploy.events.stream import Decision


def stream(
    network: shared.NetworkPath,
    source: shared.Source,
    by: windows.By = None,
    length: windows.Length = None,
    hop: windows.Hop = None,
    limit: Annotated[
        int | None,
        typer.Option(
            "--limit", min=1, help="Stop after N windows.", rich_help_panel=windows.WINDOWS
        ),
    ] = None,
    sensor: shared.SensorSize = None,
    speed: Annotated[
        float | None,
        typer.Option(
            "--speed",
            metavar="X",
            help="Play a recording at X times real time (default: as fast as possible).",
            rich_help_panel=shared.SOURCE,
        ),
    ] = None,
    drop: shared.Drop = False,
    live: shared.Live = False,
    silence: shared.Silence = None,
    max_gap: shared.MaxGap = "10s",
    track: shared.Track = None,
    backend: shared.Backend = "event",
    threads: options.Threads = 1,
    smooth: answers.Smooth = 1,
    min_margin: answers.MinMargin = None,
    stop_margin: StopMargin = None,
    predictions: answers.Predictions = None,
    json: shared.Json = None,
) -> None:
    """Classify events as they arrive: class, margin, spikes, SOPs and latency per window."""
    import lmht_deploy as lmht
    from lmht_deploy.analysis.runner import open_runner
    from lmht_deploy.events.stream import Clock, Windower, decide

    net = lmht.load(network)
    classes = Classes(net.classes, net.class_names)
    gap = parse_duration(max_gap)
    live = live or source == "camera"
    chosen = SourceOptions(source, sensor, speed, drop, live, silence, gap, track)
    rule = stream_rule(net, network, by, length, hop, chosen)
    chosen.check()
    judge = answers.choose_judge(net.metadata, network, smooth, min_margin)
    with ExitStack() as stack:
        runner = stack.enter_context(open_runner(network, backend, threads=threads))
        opened = open_source(stack, chosen, input_size(net))
        total = None if stop_margin is None else rule.steps
        show = stack.enter_context(_writers(source, json, predictions, classes, total))
        bins = make_bins(
            *(net, runner, rule, opened.validator.sensor),
            eager=chosen.paced,
            stop_margin=stop_margin,
        )
        windower = Windower(rule, bins, gap)
        clock = Clock() if chosen.live else None
        decisions = decide(opened.packets, windower, opened.validator, clock, judge)
        summary = Summary(classes)
        interrupted = summary.follow(islice(decisions, limit), show)
        tell(summary.text(windower, opened, clock))
    if interrupted:
        raise KeyboardInterrupt


@contextmanager
def _writers(
    source: str,
    json: Path | None,
    predictions: Path | None,
    classes: Classes,
    steps: int | None,
) -> Iterator[Callable[[Decision], None]]:
    """Yield the function that writes one decision everywhere it is asked for."""
    with ExitStack() as stack:
        writers = [stack.enter_context(_writer(json, classes, steps))]
        if predictions is not None:
            add = stack.enter_context(open_predictions(predictions, classes))
            writers.append(lambda decision: add(_prediction(source, decision)))

        def write(decision: Decision) -> None:
            for writer in writers:
                writer(decision)

        yield write


@contextmanager
def _writer(
    json: Path | None, classes: Classes, steps: int | None
) -> Iterator[Callable[[Decision], None]]:
    """Yield the function that writes one decision: a line of text, or JSON if asked for.

    Lines hold the number of time-steps that were run, where `steps` is that of a whole window.
    """
    if json is None:
        yield lambda decision: say(_line(decision, classes) + _steps(decision, steps))
        return
    with open_json(json, classes) as write:
        yield write


def _prediction(source: str, decision: Decision) -> Prediction:
    return Prediction(
        source=source,
        window=decision.window,
        time=decision.start / 1e6,
        label=None,
        predicted=decision.label,
        margin=decision.margin,
        logits=decision.logits,
        steps=decision.steps,
    )


def _steps(decision: Decision, steps: int | None) -> str:
    return "" if steps is None else f"  {decision.steps} of {steps} time-steps"


def _line(decision: Decision, classes: Classes) -> str:
    name = classes.name(decision.label)
    return (
        f"{decision.time / 1e6:12.6f} s  class {f'{name:12s}' if classes.names else f'{name:>3s}'}"
        f"  margin {decision.margin:8.3f}  "
        f"{decision.events:7,} events  {decision.spikes:9,} spikes  {decision.sops:12,} SOPs  "
        f"{decision.latency * 1e3:8.3f} ms{'  incomplete window' if decision.incomplete else ''}"
    )
