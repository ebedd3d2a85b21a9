"""`lmht stream`: live classification of a recording, standard input, UDP or a camera."""

from __future__ import annotations

import json as json_text
import math
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import asdict
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lmht_deploy.errors import DataError, LmhtError

from . import common

if TYPE_CHECKING:
    from lmht_deploy.backends import Backend
    from lmht_deploy.events.arrays import Door, Sensor
    from lmht_deploy.events.live import Udp
    from lmht_deploy.events.stream import Clock, Counts, Decision, Packet, Windower
    from lmht_deploy.events.windows import Rule
    from lmht_deploy.ir import Network


TICK = 0.005
"""Seconds after which a live source that is silent looks whether a window has ended."""


def stream(
    network: Annotated[Path, typer.Argument(help="A .lmht file of an integer network.")],
    source: Annotated[
        str,
        typer.Argument(
            help="A recording, '-' for lines 't x y p' on standard input, udp://HOST:PORT, or 'camera'."
        ),
    ],
    bin_us: Annotated[
        int | None, typer.Option("--bin-us", metavar="US", help="Time bins of US microseconds.")
    ] = None,
    bin_events: Annotated[
        int | None,
        typer.Option("--bin-events", metavar="N", help="Bins of N events, in place of --bin-us."),
    ] = None,
    hop: Annotated[
        int | None,
        typer.Option(
            "--hop",
            metavar="BINS",
            help="A window with every BINS-th bin, so that windows overlap (default: T_in).",
        ),
    ] = None,
    sensor: Annotated[
        str | None,
        typer.Option(
            "--sensor",
            metavar="WxH",
            help="Size of the sensor (default: the recording's; else, live, the network's).",
        ),
    ] = None,
    speed: Annotated[
        float | None,
        typer.Option(
            "--speed",
            metavar="X",
            help="Play a recording at X times real time (default: as fast as possible).",
        ),
    ] = None,
    drop: Annotated[
        bool,
        typer.Option(
            "--drop", help="Drop and count events that do not fit, instead of stopping there."
        ),
    ] = False,
    live: Annotated[
        bool,
        typer.Option(
            "--live",
            help="The source is in real time: windows by time end on time, though no event comes. Always so for a camera.",
        ),
    ] = False,
    silence: Annotated[
        float | None,
        typer.Option(
            "--silence", metavar="S", help="End after S seconds without a datagram (UDP)."
        ),
    ] = None,
    limit: common.Limit = None,
    backend: Annotated[
        str | None, typer.Option("--backend", help="Who runs it (default: event).")
    ] = None,
    threads: common.Threads = 1,
    json: Annotated[
        Path | None,
        typer.Option(
            "--json",
            metavar="FILE",
            help="Write one JSON object a window to FILE; '-' for standard output.",
        ),
    ] = None,
) -> None:
    """Classify events as they come, window after window: class, margin, spikes, synaptic operations and latency."""
    from lmht_deploy import backends
    from lmht_deploy.events.stream import Clock, Windower, decide

    net = common.open_network(network)
    rule = _rule(net, bin_us, bin_events)
    live = live or source == "camera"
    if live and rule.by != "time":
        raise DataError("--live ends windows by time; give --bin-us")
    with ExitStack() as stack:
        runner = stack.enter_context(
            closing(backends.open_backend(backend or "event", network, threads=threads))
        )
        packets, door, udp = _opened(stack, source, net, sensor, speed, drop, live, silence)
        names = _names(net)
        show = stack.enter_context(_writer(json, names))
        windower = Windower(rule, _bins(net, runner, rule.steps, door.sensor), hop)
        clock = Clock() if live else None
        summary = _Summary()
        try:
            for decision in islice(decide(packets, windower, door, clock), limit):
                show(decision)
                summary.add(decision)
        except KeyboardInterrupt:
            pass
        except BrokenPipeError:  # who read our lines has seen enough
            sys.stdout = None
        common.err.print(
            summary.text(windower, door, clock, packets, udp), highlight=False, soft_wrap=True
        )


def _bins(net: Network, runner: Backend, steps: int, sensor: Sensor) -> Counts:
    """What events are counted into: bins that go to the network one by one where it can, else windows."""
    from lmht_deploy.backends.event import EventBackend
    from lmht_deploy.events.stream import SharedSteps, WholeWindows

    shared = runner.steps() if isinstance(runner, EventBackend) else None
    if shared is not None:
        return SharedSteps(shared, net.input.max_value, steps, sensor, _input_size(net))
    return WholeWindows(runner, net.input.max_value, steps, sensor, _input_size(net))


def _names(net: Network) -> list[str] | None:
    """Names of the classes, where the file carries them."""
    names = str(net.metadata.get("classes", "")).split(", ")
    return names if len(names) == net.classes and all(names) else None


def _rule(net: Network, bin_us: int | None, bin_events: int | None) -> Rule:
    from lmht_deploy.events.windows import Rule

    if net.input.kind != "events" or len(net.input.shape) != 3 or net.input.shape[0] != 2:
        raise DataError(
            f"the network takes {net.input.kind} of shape {net.input.shape}; a stream gives events of shape (2, H, W)"
        )
    if (bin_us is None) == (bin_events is None):
        raise DataError("give the length of a bin: --bin-us or --bin-events, one of the two")
    return (
        Rule(net.input.steps, "time", bin_us or 0)
        if bin_events is None
        else Rule(net.input.steps, "events", bin_events)
    )


def _input_size(net: Network) -> Sensor:
    from lmht_deploy.events.arrays import Sensor

    return Sensor(*net.input.shape[1:])


def _opened(
    stack: ExitStack,
    source: str,
    net: Network,
    sensor: str | None,
    speed: float | None,
    drop: bool,
    live: bool,
    silence: float | None,
) -> tuple[Iterable[Packet], Door, Udp | None]:
    """The source, running; the door for its events; and the socket, where it is one.

    A recording waits, and is read where it is needed; what comes by itself is taken in by a thread.
    """
    from lmht_deploy.events.arrays import Door
    from lmht_deploy.events.live import Udp, at_once, camera, in_real_time, text
    from lmht_deploy.events.recordings import open_recording
    from lmht_deploy.events.stream import Buffered

    given = None if sensor is None else common.parse_size(sensor)
    tick = TICK if live else None
    played = source not in ("-", "camera") and not source.startswith("udp://")
    if speed is not None and not played:
        raise DataError(
            "--speed plays a recording; standard input, UDP and cameras come at their own pace"
        )
    if live and played:
        raise DataError(
            "--live is for standard input, UDP and cameras; a recording is played in real time by --speed 1"
        )
    if silence is not None and not source.startswith("udp://"):
        raise DataError("--silence ends a UDP source; others end by themselves")
    if source.startswith("udp://"):
        udp = stack.enter_context(Udp(*_address(source), silence))
        return (
            stack.enter_context(Buffered(udp, size=1024, lossy=True, tick=tick)),
            Door(given or _input_size(net), drop),
            udp,
        )
    if source == "-":
        return (
            stack.enter_context(Buffered(text(sys.stdin.buffer), tick=tick)),
            Door(given or _input_size(net), drop),
            None,
        )
    if source == "camera":
        found, live_packets = camera()
        return (
            stack.enter_context(Buffered(live_packets, size=1024, lossy=True, tick=tick)),
            Door(given or found, drop),
            None,
        )
    recording = open_recording(source, given)
    packets = (
        at_once(recording.packets) if speed is None else in_real_time(recording.packets, speed)
    )
    return packets, Door(recording.sensor, drop), None


def _address(source: str) -> tuple[str, int]:
    host, _, port = source.removeprefix("udp://").rpartition(":")
    if not (host and port.isdecimal()):
        raise DataError(f"an address is given as udp://HOST:PORT, not {source!r}")
    return host.strip("[]"), int(port)


@contextmanager
def _writer(json: Path | None, names: list[str] | None) -> Iterator[Callable[[Decision], None]]:
    """What writes a decision: lines for people on stdout, or JSON where asked for."""

    def as_json(decision: Decision) -> str:
        return json_text.dumps(
            asdict(decision) | ({"class": names[decision.label]} if names else {})
        )

    if json is None or str(json) == "-":
        yield lambda decision: typer.echo(
            _line(decision, names) if json is None else as_json(decision)
        )
        return
    try:
        file = json.open("w")
    except OSError as error:
        raise LmhtError(f"{json}: cannot be written ({error.strerror})") from None
    with file:
        yield lambda decision: print(as_json(decision), file=file, flush=True)


def _line(decision: Decision, names: list[str] | None) -> str:
    label = f"{names[decision.label]:12s}" if names else f"{decision.label:3d}"
    return (
        f"{decision.time * 1e-6:12.6f} s  class {label}  margin {decision.margin:8.3f}  {decision.events:7,} events  "
        f"{decision.spikes:9,} spikes  {decision.sops:12,} SOPs  {decision.latency * 1e3:8.3f} ms"
    )


class _Percentiles:
    """Of positive times, in constant memory: a histogram whose bins grow by 2 %."""

    FINEST, GROWTH = 1e-6, 1.02

    def __init__(self) -> None:
        self._counts: Counter[int] = Counter()

    def add(self, seconds: float) -> None:
        self._counts[math.ceil(math.log(max(seconds / self.FINEST, 1), self.GROWTH))] += 1

    def __call__(self, percent: int) -> float:
        """At most 2 % above the time that `percent` of all are below or at."""
        left = self._counts.total() * percent / 100
        for index in sorted(self._counts):
            left -= self._counts[index]
            if left <= 0:
                return self.FINEST * self.GROWTH**index
        return 0.0


class _Summary:
    def __init__(self) -> None:
        self.windows = self.events = self.saturated = 0
        self.latency, self.seconds = _Percentiles(), _Percentiles()
        self.began = time.perf_counter()

    def add(self, decision: Decision) -> None:
        self.windows += 1
        self.events += decision.events
        self.saturated += decision.lost
        self.latency.add(decision.latency)
        self.seconds.add(decision.seconds)

    def text(
        self,
        windower: Windower,
        door: Door,
        clock: Clock | None,
        packets: Iterable[Packet],
        udp: Udp | None,
    ) -> str:
        """One line; losses are named where there are any."""
        from lmht_deploy.events.stream import Buffered

        parts = [
            f"{self.windows:,} windows of {self.events:,} events, {door.seen / (time.perf_counter() - self.began):,.0f} events a second"
        ]
        if self.windows:
            latency, seconds = (
                [times(percent) * 1e3 for percent in (50, 99)]
                for times in (self.latency, self.seconds)
            )
            parts.append(
                f"latency p50 {latency[0]:.3f} ms, p99 {latency[1]:.3f} ms, the network's part of it p50 {seconds[0]:.3f} ms, p99 {seconds[1]:.3f} ms"
            )
        losses = {
            "events above the input range": self.saturated,
            **{
                f"events dropped for their {fault}": number
                for fault, number in door.dropped.items()
            },
            "events dropped that came after their window": windower.late,
            "events dropped for a time that lies ahead": clock.early if clock else 0,
            "events lost to a full queue": packets.lost if isinstance(packets, Buffered) else 0,
            "datagrams lost by the system": udp.lost if udp else 0,
            "malformed datagrams": udp.malformed if udp else 0,
        }
        return "; ".join(
            parts + [f"{number:,} {what}" for what, number in losses.items() if number]
        )
