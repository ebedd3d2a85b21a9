"""Options that `lmht stream` and `lmht view` share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from . import _options as options
from ._durations import checked_duration

SOURCE = "Source"
"""Group of the options of the source in `--help`."""

NetworkPath = Annotated[
    Path,
    typer.Argument(
        help="An integer network (.lmht, .net, .nir or .lmhtf, or zoo:NAME).",
        callback=options.network_file(),
        autocompletion=options.complete_network,
    ),
]
Source = Annotated[
    str,
    typer.Argument(
        help="A recording (or zoo:NAME), '-' for lines 't x y p' on standard input, "
        "udp://HOST:PORT, or 'camera'.",
        autocompletion=options.completion(lambda: ("-", "udp://", "camera"), files=True),
    ),
]
SensorSize = Annotated[
    str | None,
    typer.Option(
        "--sensor",
        metavar="WxH",
        help="Size of the sensor (default: the recording's; for live sources, the network's).",
        rich_help_panel=SOURCE,
    ),
]
Drop = Annotated[
    bool,
    typer.Option(
        "--drop",
        help="Drop and count invalid events, instead of stopping at the first one.",
        rich_help_panel=SOURCE,
    ),
]
Live = Annotated[
    bool,
    typer.Option(
        "--live",
        help="The source sends in real time: windows by time end on time, even without an "
        "event. Always on for a camera.",
        rich_help_panel=SOURCE,
    ),
]
Silence = Annotated[
    float | None,
    typer.Option(
        "--silence",
        metavar="S",
        help="End after S seconds without an event (UDP).",
        rich_help_panel=SOURCE,
    ),
]
MaxGap = Annotated[
    str,
    typer.Option(
        "--max-gap",
        metavar="TIME",
        help="Skip empty windows if no event comes for longer, such as 10s. With --drop, the "
        "events after it count only if the next packet confirms their time.",
        rich_help_panel=SOURCE,
        callback=checked_duration,
    ),
]
Track = Annotated[
    str | None,
    typer.Option(
        "--track",
        metavar="NAME",
        help="Track of a recording that holds several (see `lmht events info`).",
        rich_help_panel=SOURCE,
    ),
]
Backend = Annotated[
    str,
    typer.Option(
        "--backend",
        help="Backend to use (`lmht doctor` lists them).",
        rich_help_panel=options.EXECUTION,
        autocompletion=options.completion(options.backend_names),
    ),
]
Json = Annotated[
    Path | None,
    typer.Option(
        "--json",
        metavar="FILE",
        help="Write one JSON object per window to FILE; '-' for standard output.",
        rich_help_panel=options.OUTPUT,
        callback=options.check_json,
    ),
]
