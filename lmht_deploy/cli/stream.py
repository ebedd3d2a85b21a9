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

from lmht_deploy.errors import DataError, LmhtError

from . import _options as options
from ._console import STDOUT, ReaderLeft, say, tell, writing
from ._stream_source import SourceOptions, open_source
from ._stream_summary import Summary

if TYPE_CHECKING:
    from lmht_deploy.backends import Backend
    from lmht_deploy.events.arrays import Sensor
    from lmht_deploy.events.stream import Counts, Decision
    from lmht_deploy.events.windows import WindowRule
    from lmht_deploy.ir import Network

WINDOWS, SOURCE = "Windows", "Source"


def stream(
    network: Annotated[
        Path,
        typer.Argument(
            help="A .lmht file of an integer network.", callback=options.file_with(".lmht")
        ),
    ],
    source: Annotated[
        str,
        typer.Argument(
            help="A recording, '-' for lines 't x y p' on standard input, udp://HOST:PORT, or "
            "'camera'.",
            autocompletion=options.completion(lambda: ("-", "udp://", "camera"), files=True),
        ),
    ],
    bin_us: Annotated[
        int | None,
        typer.Option(
            "--bin-us",
            metavar="US",
            help="Length of a time bin in microseconds.",
            rich_help_panel=WINDOWS,
        ),
    ] = None,
    bin_events: Annotated[
        int | None,
        typer.Option(
            "--bin-events",
            metavar="N",
            help="Number of events in a bin, instead of --bin-us.",
            rich_help_panel=WINDOWS,
        ),
    ] = None,
    hop: Annotated[
        int | None,
        typer.Option(
            "--hop",
            metavar="BINS",
            help="Bins between the starts of two windows; fewer than T_in make them overlap "
            "(default: T_in).",
            rich_help_panel=WINDOWS,
        ),
    ] = None,
    limit: Annotated[
        int | None,
        typer.Option("--limit", min=1, help="Stop after N windows.", rich_help_panel=WINDOWS),
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
            help="End after S seconds without a datagram (UDP).",
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
    rule = _rule(net, bin_us, bin_events)
    chosen = SourceOptions(source, sensor, speed, drop, live or source == "camera", silence)
    if chosen.live and rule.by != "time":
        raise DataError("--live ends windows by time; give --bin-us")
    chosen.check()
    with ExitStack() as stack:
        runner = stack.enter_context(open_runner(network, backend, threads=threads))
        opened = open_source(stack, chosen, _input_size(net))
        show = stack.enter_context(_writer(json, _class_names(net)))
        windower = Windower(rule, _bins(net, runner, rule.steps, opened.validator.sensor), hop)
        clock = Clock() if chosen.live else None
        summary = Summary()
        try:
            for decision in islice(
                decide(opened.packets, windower, opened.validator, clock), limit
            ):
                show(decision)
                summary.add(decision)
        except (KeyboardInterrupt, ReaderLeft):
            pass
        tell(summary.text(windower, opened.validator, clock, opened.packets, opened.udp))


def _bins(net: Network, runner: Backend, steps: int, sensor: Sensor) -> Counts:
    """Return the bins to count events in: single bins if the backend reuses them, else windows."""
    from lmht_deploy.backends import Incremental
    from lmht_deploy.events.stream import SharedSteps, WholeWindows

    size = _input_size(net)
    shared = runner.steps() if isinstance(runner, Incremental) else None
    if shared is not None:
        return SharedSteps(shared, net.input.max_value, steps, sensor, size)
    return WholeWindows(runner, net.input.max_value, steps, sensor, size)


def _class_names(net: Network) -> list[str] | None:
    """Return the names of the classes, if the file has them."""
    names = str(net.metadata.get("classes", "")).split(", ")
    return names if len(names) == net.classes and all(names) else None


def _rule(net: Network, bin_us: int | None, bin_events: int | None) -> WindowRule:
    from lmht_deploy.events.windows import WindowRule

    if net.input.kind != "events" or len(net.input.shape) != 3 or net.input.shape[0] != 2:
        raise DataError(
            f"the network takes {net.input.kind} of shape {net.input.shape}; "
            "a stream gives events of shape (2, H, W)"
        )
    if (bin_us is None) == (bin_events is None):
        raise DataError("give the length of a bin: --bin-us or --bin-events, one of the two")
    if bin_events is not None:
        return WindowRule(net.input.steps, "events", bin_events)
    return WindowRule(net.input.steps, "time", bin_us or 0)


def _input_size(net: Network) -> Sensor:
    from lmht_deploy.events.arrays import Sensor

    return Sensor(*net.input.shape[1:])


@contextmanager
def _writer(json: Path | None, names: list[str] | None) -> Iterator[Callable[[Decision], None]]:
    """Yield the function that writes one decision: a line of text, or JSON if asked for."""

    def as_json(decision: Decision) -> str:
        name = {"class": names[decision.label]} if names else {}
        return json_module.dumps(asdict(decision) | name)

    if json is None:
        yield lambda decision: say(_line(decision, names))
        return
    with open_lines(json) as write:
        yield lambda decision: write(as_json(decision))


def _line(decision: Decision, names: list[str] | None) -> str:
    label = f"{names[decision.label]:12s}" if names else f"{decision.label:3d}"
    return (
        f"{decision.time * 1e-6:12.6f} s  class {label}  margin {decision.margin:8.3f}  "
        f"{decision.events:7,} events  {decision.spikes:9,} spikes  {decision.sops:12,} SOPs  "
        f"{decision.latency * 1e3:8.3f} ms"
    )
