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
from ._stream_source import SourceOptions, open_source
from ._stream_summary import Summary
from ._stream_windows import input_size, stream_rule
from ._viewing import Explainer, Recorded, Viewed, Viewing, describe, measure, open_pass

if TYPE_CHECKING:
    from lmht_deploy.view import ViewServer

PAGE = "Page"
"""Group of the options of the page in `--help`."""


def _check_rerun(path: Path | None) -> Path | None:
    """Check that the recording can be written later, and that its package is installed."""
    if path is not None:
        options.file_with(".rrd")(path)
        options.check_out(path.parent)
        require_package("rerun", "rerun")
    return path


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
    rerun: Annotated[
        Path | None,
        typer.Option(
            "--rerun",
            metavar="FILE",
            help="Write the same to an .rrd file for the viewer Rerun, and open no page. A "
            "recording is then read as fast as possible.",
            rich_help_panel=options.OUTPUT,
            callback=_check_rerun,
        ),
    ] = None,
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
        classes = Classes(net.classes, net.class_names)
        if rerun is not None:
            _follow(_open_rerun(stack, viewed, network.name, rerun), classes, json)
            return
        viewing = _open_page(stack, viewed, network.name, port)
        _announce(viewing.server, browser)
        _follow(viewing, classes, json)


def _open_rerun(stack: ExitStack, viewed: Viewed, name: str, path: Path) -> Recorded:
    """Open the source, and a recording for Rerun that is complete when `stack` is closed."""
    from lmht_deploy.events.live import play_fast
    from lmht_deploy.view import open_rerun

    play = play_fast if viewed.chosen.played else None
    opened = open_source(stack, viewed.chosen, input_size(viewed.net), play)
    about = describe(viewed, name, opened.validator.sensor, None)
    return Recorded(viewed, opened, stack.enter_context(open_rerun(path, about)))


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
    described = describe(viewed, name, sampler.sensor, extent)
    explainer = Explainer(viewed.net)
    page = ViewServer(described, sampler, transport, port, explainer.explain)
    server = stack.enter_context(page)
    return Viewing(viewed, opened, sampler, server, explainer, transport, extent)


def _follow(viewing: Viewing | Recorded, classes: Classes, json: Path | None) -> None:
    """Run the stream until it ends or Ctrl-C ends it."""
    summary = Summary(classes, timed=False)
    with ExitStack() as stack:
        write = None if json is None else stack.enter_context(open_json(json, classes))
        interrupted = summary.follow(viewing.decisions(), write)
        tell(viewing.summarize(summary))
    if interrupted:
        raise KeyboardInterrupt


def _announce(server: ViewServer, browser: bool) -> None:
    tell(f"the page is at {server.url}")
    if browser and not webbrowser.open(server.launch_url):
        tell("no browser could be opened; open this address in one")
