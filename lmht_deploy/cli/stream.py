"""`lmht stream`: classify a recording, standard input, UDP or a camera, window after window."""

from __future__ import annotations

import json as json_module
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lmht_deploy.errors import DataError

from . import _answers as answers
from . import _options as options
from . import _window_options as windows
from ._console import ReaderLeftError, open_lines, say, tell
from ._durations import checked_duration, parse_duration
from ._predictions import Classes, Prediction, open_predictions
from ._stream_source import SourceOptions, open_source
from ._stream_summary import Summary

if TYPE_CHECKING:
    from lmht_deploy.backends import Backend
    from lmht_deploy.events.arrays import Sensor
    from lmht_deploy.events.stream import Counts, Decision
    from lmht_deploy.events.windows import WindowRule
    from lmht_deploy.ir import Network

SOURCE = "Source"


def stream(
    network: Annotated[
        Path,
        typer.Argument(
            help="An integer network (.lmht, or zoo:NAME).",
            callback=options.network_file(".lmht"),
            autocompletion=options.complete_network,
        ),
    ],
    source: Annotated[
        str,
        typer.Argument(
            help="A recording (or zoo:NAME), '-' for lines 't x y p' on standard input, "
            "udp://HOST:PORT, or 'camera'.",
            autocompletion=options.completion(lambda: ("-", "udp://", "camera"), files=True),
        ),
    ],
    by: windows.By = None,
    length: windows.Length = None,
    hop: windows.Hop = None,
    limit: Annotated[
        int | None,
        typer.Option(
            "--limit", min=1, help="Stop after N windows.", rich_help_panel=windows.WINDOWS
        ),
    ] = None,
    sensor: Annotated[
        str | None,
        typer.Option(
            "--sensor",
            metavar="WxH",
            help="Size of the sensor (default: the recording's; for live sources, the network's).",
            rich_help_panel=SOURCE,
        ),
    ] = None,
    speed: Annotated[
        float | None,
        typer.Option(
            "--speed",
            metavar="X",
            help="Play a recording at X times real time (default: as fast as possible).",
            rich_help_panel=SOURCE,
        ),
    ] = None,
    drop: Annotated[
        bool,
        typer.Option(
            "--drop",
            help="Drop and count invalid events, instead of stopping at the first one.",
            rich_help_panel=SOURCE,
        ),
    ] = False,
    live: Annotated[
        bool,
        typer.Option(
            "--live",
            help="The source sends in real time: windows by time end on time, even without an "
            "event. Always on for a camera.",
            rich_help_panel=SOURCE,
        ),
    ] = False,
    silence: Annotated[
        float | None,
        typer.Option(
            "--silence",
            metavar="S",
            help="End after S seconds without an event (UDP).",
            rich_help_panel=SOURCE,
        ),
    ] = None,
    max_gap: Annotated[
        str,
        typer.Option(
            "--max-gap",
            metavar="TIME",
            help="Skip empty windows if no event comes for longer, such as 10s. With --drop, the "
            "events after it count only if the next packet confirms their time.",
            rich_help_panel=SOURCE,
            callback=checked_duration,
        ),
    ] = "10s",
    track: Annotated[
        str | None,
        typer.Option(
            "--track",
            metavar="NAME",
            help="Track of a recording that holds several (see `lmht events info`).",
            rich_help_panel=SOURCE,
        ),
    ] = None,
    backend: Annotated[
        str,
        typer.Option(
            "--backend",
            help="Backend to use.",
            rich_help_panel=options.EXECUTION,
            autocompletion=options.completion(options.backend_names),
        ),
    ] = "event",
    threads: options.Threads = 1,
    smooth: answers.Smooth = 1,
    min_margin: answers.MinMargin = None,
    predictions: answers.Predictions = None,
    json: Annotated[
        Path | None,
        typer.Option(
            "--json",
            metavar="FILE",
            help="Write one JSON object per window to FILE; '-' for standard output.",
            rich_help_panel=options.OUTPUT,
            callback=options.check_json,
        ),
    ] = None,
) -> None:
    """Classify events as they arrive: class, margin, spikes, SOPs and latency per window."""
    import lmht_deploy as lmht
    from lmht_deploy.analysis.runner import open_runner
    from lmht_deploy.events.stream import Clock, Windower, decide

    net = lmht.load(network)
    classes = Classes(net.classes, net.class_names)
    rule = _rule(net, network, by, length, hop)
    gap = parse_duration(max_gap)
    live = live or source == "camera"
    chosen = SourceOptions(source, sensor, speed, drop, live, silence, gap, track)
    if chosen.live and rule.by != "time":
        raise DataError("--live ends windows by time; give their length, as in --length 50ms")
    chosen.check()
    judge = answers.choose_judge(net.metadata, network, smooth, min_margin)
    with ExitStack() as stack:
        runner = stack.enter_context(open_runner(network, backend, threads=threads))
        opened = open_source(stack, chosen, _input_size(net))
        show = stack.enter_context(_writers(source, json, predictions, classes))
        bins = _bins(net, runner, rule.steps, opened.validator.sensor)
        windower = Windower(rule, bins, gap)
        clock = Clock() if chosen.live else None
        decisions = decide(opened.packets, windower, opened.validator, clock, judge)
        summary = Summary(classes)
        interrupted = False
        try:
            for decision in islice(decisions, limit):
                summary.add(decision)
                show(decision)
        except KeyboardInterrupt:
            interrupted = True
        except ReaderLeftError:
            pass
        tell(summary.text(windower, opened, clock))
    if interrupted:  # the exit code is that of the signal
        raise KeyboardInterrupt


def _bins(net: Network, runner: Backend, steps: int, sensor: Sensor) -> Counts:
    """Return the bins to count events in: single bins if the backend reuses them, else windows."""
    from lmht_deploy.backends import Incremental
    from lmht_deploy.events.stream import SharedSteps, WholeWindows

    size = _input_size(net)
    shared = runner.steps() if isinstance(runner, Incremental) else None
    if shared is not None:
        return SharedSteps(shared, net.input.max_value, steps, sensor, size)
    return WholeWindows(runner, net.input.max_value, steps, sensor, size)


def _rule(
    net: Network, path: Path, by: str | None, length: str | None, hop: int | None
) -> WindowRule:
    if net.input.kind != "events" or len(net.input.shape) != 3 or net.input.shape[0] != 2:
        raise DataError(
            f"the network takes {net.input.kind} of shape {net.input.shape}; "
            "a stream gives events of shape (2, H, W)"
        )
    rule = windows.window_rule(
        net.input.steps, by, length, hop, windows.own_rule(net.metadata, net.input.steps, path)
    )
    if rule.by == "recording":
        raise DataError(
            "a stream has no known end; give the length of its windows, as in --length 50ms"
        )
    return rule


def _input_size(net: Network) -> Sensor:
    from lmht_deploy.events.arrays import Sensor

    return Sensor(*net.input.shape[1:])


@contextmanager
def _writers(
    source: str, json: Path | None, predictions: Path | None, classes: Classes
) -> Iterator[Callable[[Decision], None]]:
    """Yield the function that writes one decision everywhere it is asked for."""
    with ExitStack() as stack:
        writers = [stack.enter_context(_writer(json, classes))]
        if predictions is not None:
            add = stack.enter_context(open_predictions(predictions, classes))
            writers.append(lambda decision: add(_prediction(source, decision)))

        def write(decision: Decision) -> None:
            for writer in writers:
                writer(decision)

        yield write


@contextmanager
def _writer(json: Path | None, classes: Classes) -> Iterator[Callable[[Decision], None]]:
    """Yield the function that writes one decision: a line of text, or JSON if asked for."""
    if json is None:
        yield lambda decision: say(_line(decision, classes))
        return
    with open_lines(json) as write:
        yield lambda decision: write(_as_json(decision, classes))


def _as_json(decision: Decision, classes: Classes) -> str:
    name = {"class": classes.name(decision.label)} if classes.names else {}
    return json_module.dumps(asdict(decision) | name)


def _prediction(source: str, decision: Decision) -> Prediction:
    return Prediction(
        source=source,
        window=decision.window,
        time=decision.start / 1e6,
        label=None,
        predicted=decision.label,
        margin=decision.margin,
        logits=decision.logits,
    )


def _line(decision: Decision, classes: Classes) -> str:
    name = classes.name(decision.label)
    return (
        f"{decision.time / 1e6:12.6f} s  class {f'{name:12s}' if classes.names else f'{name:>3s}'}"
        f"  margin {decision.margin:8.3f}  "
        f"{decision.events:7,} events  {decision.spikes:9,} spikes  {decision.sops:12,} SOPs  "
        f"{decision.latency * 1e3:8.3f} ms{'  incomplete window' if decision.incomplete else ''}"
    )
