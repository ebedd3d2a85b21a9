"""`lmht events`: look at recordings, convert, cut and filter them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperGroup

from lmht_deploy.errors import DataError, StorageError, counted

from . import _options as options
from ._console import say, warn, write_json
from ._durations import checked_duration, format_duration, parse_duration
from ._event_picture import check_picture, save_picture
from ._verb import Verb

if TYPE_CHECKING:
    import numpy as np

    from lmht_deploy.events import EventFilter, EventStream, EventSummary, Sensor

FILTERS = "Filters"


class InfoByDefault(TyperGroup):
    """A group whose verb `info` is meant where the first argument is a file."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Insert `info` before the name of a file."""
        first = args[0] if args else "-"
        known = first in self.commands or first.startswith("-")
        named = first.startswith("zoo:") or Path(first).suffix or Path(first).exists()
        if not known and named:
            args = ["info", *args]
        return super().parse_args(ctx, args)


app = typer.Typer(
    name="events",
    cls=InfoByDefault,
    no_args_is_help=True,
    help="Look at recordings of event cameras; convert, cut and filter them.",
    epilog="Example: lmht events recording.aedat4",
    rich_markup_mode="rich",
)

Source = Annotated[
    Path,
    typer.Argument(
        metavar="FILE", help="A recording in any format that can be read.", callback=options.is_file
    ),
]
Target = Annotated[
    Path,
    typer.Argument(
        metavar="OUT",
        help="File to write: .aedat4, .raw (EVT3), .h5, .hdf5, .npz or .csv.",
        callback=options.is_file,
    ),
]
Drop = Annotated[
    bool,
    typer.Option(
        "--drop",
        help="Drop and count invalid events, instead of stopping at the first one.",
        rich_help_panel=options.DATA,
    ),
]


@dataclass(frozen=True)
class Opening:
    """How a recording is opened.

    Attributes:
        path: The file.
        sensor: Size of the sensor as "WxH", if given.
        track: Track, if given.
        drop: Whether invalid events are dropped.
    """

    path: Path
    sensor: str | None
    track: str | None
    drop: bool = True

    def open(self) -> EventStream:
        """Open the recording; its packets are not validated."""
        from lmht_deploy.events import open_recording

        size = options.parse_sensor(self.sensor)
        return open_recording(self.path, size, track=self.track)

    def valid(self, dropped: dict[str, int]) -> EventStream:
        """Open the recording; invalid events are counted in `dropped`, or raise an error."""
        from lmht_deploy.events import EventStream, EventValidator
        from lmht_deploy.events.arrays import MAX_GAP

        stream = self.open()
        validator = EventValidator(stream.sensor, drop=self.drop, max_gap=MAX_GAP)

        def packets() -> Iterator[np.ndarray]:
            try:
                for packet in stream.packets:
                    yield validator.validate(packet)
                yield validator.finish()
            except DataError as error:
                named = str(self.path) in str(error)
                hint = "" if named or self.drop else " (--drop drops and counts invalid events)"
                raise DataError(f"{'' if named else f'{self.path}: '}{error}{hint}") from None
            dropped.update(validator.dropped)

        return EventStream(stream.sensor, packets())


# ------------------------------------------------------------------------------------------- info


@app.command(cls=Verb, epilog="Example: lmht events info recording.aedat4 --image recording.gif")
def info(
    recording: Source,
    sensor: options.SensorSize = None,
    track: options.Track = None,
    image: Annotated[
        Path | None,
        typer.Option(
            "--image",
            metavar="FILE",
            help="Also write a picture: .png of all events, or .gif that moves.",
            rich_help_panel=options.OUTPUT,
            callback=check_picture,
        ),
    ] = None,
    json: options.Json = None,
) -> None:
    """Show what a recording holds: sensor, duration, rate, polarity, gaps, hot pixels, faults."""
    from lmht_deploy.events import summarize
    from lmht_deploy.events.arrays import MAX_GAP

    opening = Opening(recording, sensor, track)
    try:
        found = summarize(opening.open(), max_gap=MAX_GAP)
    except DataError as error:
        named = str(recording) in str(error)
        raise DataError(str(error) if named else f"{recording}: {error}") from None
    for line in _describe(found):
        say(line)
    write_json(json, {"file": str(recording)} | _as_json(found))
    if image is not None:
        save_picture(image, found, opening.valid({}).packets)
        say(f"wrote {image}")


def _describe(found: EventSummary) -> Iterator[str]:
    """Lines for people."""
    from lmht_deploy.events.pictures import draw_bars, draw_text

    pixels = found.sensor.height * found.sensor.width
    peak, length = max(found.rate) / found.bin_us * 1e6, format_duration(found.bin_us)
    facts = {
        "sensor": f"{found.sensor.width} x {found.sensor.height} pixels",
        "duration": f"{format_duration(found.duration)}, from {found.start:,} to {found.end:,} us",
        "events": f"{found.events:,}, {found.mean_rate:,.0f} per second",
        "polarity": f"{found.on / found.events:.1%} ON, {1 - found.on / found.events:.1%} OFF",
        "active pixels": f"{found.active:,} of {pixels:,} ({found.active / pixels:.1%})",
        "hot pixels": _describe_hot(found),
        "longest gaps": _describe_gaps(found),
        "invalid": _describe_invalid(found),
        "rate": f"{peak:,.0f} events per second at most, in bins of {length}",
    }
    yield from (f"{name:14s} {text}" for name, text in facts.items())
    yield f"  |{draw_bars(found.rate)}|"
    yield from (f"  {line}" for line in draw_text(found.counts))


def _describe_hot(found: EventSummary) -> str:
    if not found.hot_count:
        return "none"
    listed = ", ".join(f"({p.x}, {p.y}) {p.events:,}" for p in found.hot_pixels[:3])
    more = ", ..." if found.hot_count > 3 else ""
    share = found.hot_events / found.events
    return f"{found.hot_count:,} with {share:.1%} of the events: {listed}{more}"


def _describe_gaps(found: EventSummary) -> str:
    listed = (
        f"{format_duration(gap.duration)} after {format_duration(gap.start - found.start)}"
        for gap in found.gaps[:3]
    )
    return ", ".join(listed) or "none"


def _describe_invalid(found: EventSummary) -> str:
    if found.seen == found.events:
        return "none"
    faults = ", ".join(f"{number:,} {fault}" for fault, number in found.dropped.items() if number)
    share = 1 - found.events / found.seen
    invalid, all_events = found.seen - found.events, counted(found.seen, "event")
    return f"{invalid:,} of {all_events} ({share:.1%}): {faults}"


def _as_json(found: EventSummary) -> dict[str, Any]:
    content = asdict(found)
    del content["counts"]
    size = {"width": found.sensor.width, "height": found.sensor.height}
    rates = {"duration": found.duration, "mean_rate": found.mean_rate}
    return content | {"sensor": size} | rates


# ------------------------------------------------------------------------- convert, cut and filter


@app.command(cls=Verb, epilog="Example: lmht events convert recording.aedat4 recording.raw")
def convert(
    recording: Source,
    out: Target,
    sensor: options.SensorSize = None,
    track: options.Track = None,
    drop: Drop = False,
    json: options.Json = None,
) -> None:
    """Write a recording in another format."""
    dropped: dict[str, int] = {}
    stream = Opening(recording, sensor, track, drop).valid(dropped)
    _write(recording, out, stream, {"dropped": dropped}, json)


@app.command(cls=Verb, epilog="Example: lmht events cut in.aedat4 out.aedat4 --start 1s --end 2.5s")
def cut(
    recording: Source,
    out: Target,
    start: Annotated[
        str | None,
        typer.Option(
            "--start",
            metavar="TIME",
            help="First time to keep, from the first event on: 1s, 250ms or 900us.",
            callback=checked_duration,
        ),
    ] = None,
    end: Annotated[
        str | None,
        typer.Option(
            "--end",
            metavar="TIME",
            help="First time not to keep, from the first event on.",
            callback=checked_duration,
        ),
    ] = None,
    crop: Annotated[
        str | None,
        typer.Option(
            "--crop",
            metavar="X,Y,W,H",
            help="Keep W x H pixels from column X and row Y on; they become the sensor.",
        ),
    ] = None,
    sensor: options.SensorSize = None,
    track: options.Track = None,
    drop: Drop = False,
    json: options.Json = None,
) -> None:
    """Write a part of a recording, in time or in space. Times stay as they are."""
    from lmht_deploy.events.cutting import crop_events, cut_events

    if start is None and end is None and crop is None:
        raise DataError("nothing is cut; give --start, --end or --crop")
    dropped: dict[str, int] = {}
    stream = Opening(recording, sensor, track, drop).valid(dropped)
    first = parse_duration(start) if start else 0
    stream = cut_events(stream, first, parse_duration(end) if end else None)
    if crop is not None:
        stream = crop_events(stream, *_parse_crop(crop))
    _write(recording, out, stream, {"dropped": dropped}, json)


def _parse_crop(text: str) -> tuple[int, int, int, int]:
    parts = text.split(",")
    if len(parts) != 4 or not all(part.strip().isdecimal() for part in parts):
        raise DataError(f"--crop takes X,Y,W,H in pixels, as in 10,20,128,128, not {text!r}")
    x, y, width, height = (int(part) for part in parts)
    return x, y, width, height


@app.command(
    cls=Verb,
    name="filter",
    epilog="Example: lmht events filter in.aedat4 out.aedat4 --background-activity 10ms",
)
def filter_recording(
    recording: Source,
    out: Target,
    hot_pixels: Annotated[
        bool,
        typer.Option(
            "--hot-pixels",
            help="Remove the events of pixels with more than 10 (1 + m) events, where m is the "
            "second largest number among their eight neighbors. Reads the file twice.",
            rich_help_panel=FILTERS,
        ),
    ] = False,
    refractory: Annotated[
        str | None,
        typer.Option(
            "--refractory",
            metavar="TIME",
            help="Remove an event less than TIME after a kept event of its pixel, such as 1ms.",
            rich_help_panel=FILTERS,
            callback=checked_duration,
        ),
    ] = None,
    background_activity: Annotated[
        str | None,
        typer.Option(
            "--background-activity",
            metavar="TIME",
            help="Remove an event if none of its eight neighbors had an event within TIME before "
            "it, such as 10ms.",
            rich_help_panel=FILTERS,
            callback=checked_duration,
        ),
    ] = None,
    sensor: options.SensorSize = None,
    track: options.Track = None,
    drop: Drop = False,
    json: options.Json = None,
) -> None:
    """Remove noise: hot pixels, then refractory time, then background activity."""
    from lmht_deploy.events import EventStream
    from lmht_deploy.events.filters import filter_events

    if not (hot_pixels or refractory or background_activity):
        raise DataError("no filter; give --hot-pixels, --refractory or --background-activity")
    opening = Opening(recording, sensor, track, drop)
    dropped: dict[str, int] = {}
    removed: dict[str, int] = {}
    stream = opening.valid(dropped)
    times = refractory, background_activity
    filters = _filters(opening, stream.sensor, hot_pixels, *times)
    kept = EventStream(stream.sensor, filter_events(stream.packets, filters, removed))
    _write(recording, out, kept, {"dropped": dropped, "removed": removed}, json)


def _filters(
    opening: Opening,
    sensor: Sensor,
    hot_pixels: bool,
    refractory: str | None,
    background_activity: str | None,
) -> list[EventFilter]:
    from lmht_deploy.events.filters import (
        BackgroundActivityFilter,
        PixelFilter,
        RefractoryFilter,
        count_pixels,
        find_hot_pixels,
    )

    found: list[EventFilter] = []
    if hot_pixels:
        counts = count_pixels(opening.valid({}).packets, sensor)
        found.append(PixelFilter(find_hot_pixels(counts)))
    if refractory:
        found.append(RefractoryFilter(sensor, parse_duration(refractory)))
    if background_activity:
        found.append(BackgroundActivityFilter(sensor, parse_duration(background_activity)))
    return found


def _write(
    source: Path,
    out: Path,
    stream: EventStream,
    counts: Mapping[str, dict[str, int]],
    json: Path | None,
) -> None:
    """Write the recording and say what was left out."""
    from lmht_deploy.events import write_events

    if out.exists() and out.samefile(source):
        raise StorageError(f"{out}: is the recording that is read; give another file")
    number = write_events(out, stream)
    dropped, removed = counts["dropped"], counts.get("removed", {})
    losses = [f"{lost:,} invalid ({fault}) dropped" for fault, lost in dropped.items() if lost]
    losses += [f"{lost:,} removed ({name})" for name, lost in removed.items()]
    text = "".join(f"; {loss}" for loss in losses)
    say(f"{out}: {counted(number, 'event')}{text}")
    if number == 0:
        warn(f"{out}: no event is left")
    size = {"width": stream.sensor.width, "height": stream.sensor.height}
    write_json(json, {"file": str(out), "events": number, "sensor": size, **counts})
