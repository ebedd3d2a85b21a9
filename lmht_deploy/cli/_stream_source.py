"""Sources of a stream: a recording, standard input, UDP or a camera."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeAlias

from lmht_deploy.errors import DataError

from ._options import parse_sensor

if TYPE_CHECKING:
    import numpy as np

    from lmht_deploy.events.arrays import EventValidator, Sensor
    from lmht_deploy.events.live import Readable, Udp
    from lmht_deploy.events.stream import Packet

TICK = 0.005
"""Seconds after which a silent live source checks whether a window has ended."""
QUEUE = 1024
"""Packets that wait for the network; more are lost."""


@dataclass(frozen=True)
class SourceOptions:
    """Options of `lmht stream` that describe its source.

    Attributes:
        source: A recording, "-", "udp://HOST:PORT" or "camera".
        sensor: Size of the sensor as "WxH", if given.
        speed: Factor of real time to play a recording at; None: as fast as possible.
        drop: Whether invalid events are dropped and counted.
        live: Whether windows end on time without an event.
        silence: Seconds without an event after which a UDP source ends.
        max_gap: us without an event after which empty windows are skipped. With `drop`, the events
            that follow are held until the next packet confirms them.
        track: Track of a recording that holds several.
    """

    source: str
    sensor: str | None
    speed: float | None
    drop: bool
    live: bool
    silence: float | None
    max_gap: int
    track: str | None = None

    @property
    def played(self) -> bool:
        """Whether the source is a recording."""
        return self.source not in ("-", "camera") and not self.udp

    @property
    def paced(self) -> bool:
        """Whether the events come in real time, or in a multiple of it."""
        return self.speed is not None or not self.played

    @property
    def udp(self) -> bool:
        """Whether the source is a UDP socket."""
        return self.source.startswith("udp://")

    def check(self) -> None:
        """Raise DataError for options that the source does not have."""
        if self.speed is not None and not self.played:
            raise DataError(
                "--speed plays a recording; standard input, UDP and cameras have their own pace"
            )
        if self.live and self.played:
            raise DataError(
                "--live is for standard input, UDP and cameras; "
                "--speed 1 plays a recording in real time"
            )
        if self.silence is not None and not self.udp:
            raise DataError("--silence ends a UDP source; other sources end by themselves")
        if self.track is not None and not self.played:
            raise DataError("--track chooses a track of a recording; other sources have only one")


@dataclass(frozen=True)
class Source:
    """An open source.

    Attributes:
        packets: The events in packets.
        validator: Checks the events.
        udp: The socket of a UDP source.
        dropped: What standard input holds beside events, counted.
    """

    packets: Iterable[Packet]
    validator: EventValidator
    udp: Udp | None = None
    dropped: Counter[str] = field(default_factory=Counter)


Play: TypeAlias = "Callable[[Iterator[np.ndarray]], Iterator[Packet]]"
"""Turns the packets of a recording into those of a stream."""


def open_source(
    stack: ExitStack, chosen: SourceOptions, default: Sensor, play: Play | None = None
) -> Source:
    """Open the source and close it with `stack`.

    A recording is read when events are needed. A thread reads every other source.

    Args:
        stack: Closes the source.
        chosen: Options of the source.
        default: Size of the sensor of standard input and UDP, if none is given.
        play: Plays a recording. Default: at the speed of the options.
    """
    from lmht_deploy.events.arrays import Sensor, choose_sensor
    from lmht_deploy.events.live import Udp, open_camera, read_text
    from lmht_deploy.events.stream import Buffered

    size = parse_sensor(chosen.sensor)
    given = None if size is None else Sensor(*size)
    tick = TICK if chosen.live else None
    if chosen.played:
        return _recording(chosen, given, play or _player(chosen))
    if chosen.udp:
        udp = stack.enter_context(Udp(*_address(chosen.source), chosen.silence))
        packets = Buffered(udp, size=QUEUE, lossy=True, tick=tick)
        return Source(stack.enter_context(packets), _validator(chosen, given or default), udp)
    if chosen.source == "-":
        dropped = Counter[str]()
        text = read_text(_standard_input(), dropped=dropped if chosen.drop else None)
        packets = stack.enter_context(Buffered(text, tick=tick))
        return Source(packets, _validator(chosen, given or default), dropped=dropped)
    sensor, live_packets = open_camera()
    packets = Buffered(live_packets, size=QUEUE, lossy=True, tick=tick)
    return Source(
        stack.enter_context(packets), _validator(chosen, choose_sensor(given, sensor) or sensor)
    )


def _validator(chosen: SourceOptions, sensor: Sensor) -> EventValidator:
    from lmht_deploy.events.arrays import EventValidator

    return EventValidator(sensor, drop=chosen.drop, max_gap=chosen.max_gap)


def _standard_input() -> Readable:
    from lmht_deploy.events.live import PolledFile

    if sys.stdin is None:
        raise DataError("standard input is closed; the source '-' reads lines 't x y p' from it")
    return PolledFile(sys.stdin.fileno())


def _recording(chosen: SourceOptions, sensor: Sensor | None, play: Play) -> Source:
    from lmht_deploy.events.recordings import open_recording

    recording = open_recording(chosen.source, sensor, track=chosen.track)
    return Source(play(recording.packets), _validator(chosen, recording.sensor))


def _player(chosen: SourceOptions) -> Play:
    from lmht_deploy.events.live import play_fast, play_in_real_time

    speed, gap = chosen.speed, chosen.max_gap
    return play_fast if speed is None else lambda found: play_in_real_time(found, speed, gap)


def _address(source: str) -> tuple[str, int]:
    host, _, port = source.removeprefix("udp://").rpartition(":")
    if not (host and port.isdecimal()):
        raise DataError(f"an address is given as udp://HOST:PORT, not {source!r}")
    return host.strip("[]"), int(port)
