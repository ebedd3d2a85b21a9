"""`lmht view`: `lmht stream` with a page that shows events, spikes and the answer as it forms."""

from __future__ import annotations

import webbrowser
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lmht_deploy._packages import require_package

from . import _answers as answers
from . import _options as options
from . import _stream_options as shared
from . import _window_options as windows
from ._console import tell
from ._durations import parse_duration
from ._predictions import Classes
from ._stream_json import open_json
from ._stream_source import SourceOptions
from ._stream_summary import Summary
from ._stream_windows import stream_rule
from ._viewing import Viewed, Viewing, describe, measure, open_pass

if TYPE_CHECKING:
    from lmht_deploy.view import ViewServer

PAGE = "Page"
"""Group of the options of the page in `--help`."""


def view(
    network: shared.NetworkPath,
    source: shared.Source,
    by: windows.By = None,
    length: windows.Length = None,
    hop: windows.Hop = None,
    sensor: shared.SensorSize = None,
    speed: Annotated[
        float | None,
        typer.Option(
            "--speed",
            metavar="X",
            help="Play a recording at X times real time at first (default: 1); 'inf': as fast as "
            "possible.",
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
    port: Annotated[
        int,
        typer.Option(
            "--port",
            min=0,
            max=65535,
            help="Port on 127.0.0.1 (default: a free one).",
            rich_help_panel=PAGE,
        ),
    ] = 0,
    browser: Annotated[
        bool,
        typer.Option(
            "--browser/--no-browser",
            help="Open the page in a browser, or only print its address.",
            rich_help_panel=PAGE,
        ),
    ] = True,
    json: shared.Json = None,
) -> None:
    """Show a stream in the browser: events, spikes by layer, the answer as it forms, rates.

    A recording or standard input begins when the page is open. The command ends when the source has
    ended and the page is closed.
    """
    require_package("websockets", "view")
    import lmht_deploy as lmht
    from lmht_deploy.analysis.runner import open_runner

    net = lmht.load(network)
    live = live or source == "camera"
    gap = parse_duration(max_gap)
    chosen = SourceOptions(source, sensor, speed, drop, live, silence, gap, track)
    rule = stream_rule(net, network, by, length, hop, chosen)
    chosen.check()
    judge = answers.choose_judge(net.metadata, network, smooth, min_margin)
    with ExitStack() as stack:
        runner = stack.enter_context(open_runner(network, backend, threads=threads))
        viewed = Viewed(net, runner, rule, chosen, judge)
        viewing = _open_page(stack, viewed, network.name, port)
        _watch(viewing, Classes(net.classes, net.class_names), browser, json)


def _open_page(stack: ExitStack, viewed: Viewed, name: str, port: int) -> Viewing:
    """Open the source, and serve the page until `stack` is closed."""
    from lmht_deploy.view import Sampler, Transport, ViewServer

    chosen = viewed.chosen
    transport, extent = None, None
    if chosen.played:
        speed = 1.0 if chosen.speed is None else chosen.speed
        transport, extent = Transport(speed, chosen.max_gap), measure(viewed)
    opened = open_pass(stack, viewed, transport, extent)
    sampler = Sampler(opened.validator.sensor)
    described = describe(viewed, name, sampler, extent)
    server = stack.enter_context(ViewServer(described, sampler, transport, port))
    return Viewing(viewed, opened, sampler, server, transport, extent)


def _watch(viewing: Viewing, classes: Classes, browser: bool, json: Path | None) -> None:
    """Tell where the page is, and run the stream until it ends or Ctrl-C ends it."""
    summary = Summary(classes, timed=False)
    with ExitStack() as stack:
        write = None if json is None else stack.enter_context(open_json(json, classes))
        _announce(viewing.server, browser)
        interrupted = summary.follow(viewing.decisions(), write)
        tell(viewing.summarize(summary))
    if interrupted:
        raise KeyboardInterrupt


def _announce(server: ViewServer, browser: bool) -> None:
    tell(f"the page is at {server.url}")
    if browser and not webbrowser.open(server.launch_url):
        tell("no browser could be opened; open this address in one")
