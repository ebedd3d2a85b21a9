"""Sources of a stream: recordings played in real time or as fast as they are read, text, UDP, cameras."""

from __future__ import annotations

import importlib.util
import io
import socket
import struct
import time
from collections.abc import Iterable, Iterator
from typing import BinaryIO

import numpy as np

from lmht_deploy._packages import require_package
from lmht_deploy.errors import DataError

from .arrays import EVENT, Sensor, make_events
from .stream import Packet

TICK = 1000
"""Microseconds of a recording that are played at once."""

AWAKE = 2e-4
"""Seconds that a player of a recording waits awake before it plays the next events."""

POLL = 0.1
"""Seconds after which a silent source looks whether it should end."""

WIRE = np.dtype([("t", "<u8"), ("x", "<u2"), ("y", "<u2"), ("p", "u1")])
"""One event in a datagram."""

RXQ_OVFL = 40
"""Linux's SO_RXQ_OVFL: every datagram tells how many were dropped before it."""


def at_once(packets: Iterable[np.ndarray]) -> Iterator[Packet]:
    """A recording as fast as it is read."""
    for events in packets:
        yield Packet(events, None)


def in_real_time(packets: Iterable[np.ndarray], speed: float = 1.0) -> Iterator[Packet]:
    """A recording at `speed` times the pace at which it was recorded.

    A packet arrives when its last event is due, also where the reader of the packets or who takes them is late: a network that
    cannot keep up shows in the latency.
    """
    if not speed > 0:
        raise DataError(f"a recording is played at a speed > 0, not {speed}")
    start: tuple[float, int] | None = None
    for events in packets:
        if len(events) == 0:
            continue
        start = start or (time.perf_counter(), int(events["t"][0]))
        ticks = (events["t"] - start[1]) // TICK
        for part in np.split(events, np.flatnonzero(np.diff(ticks)) + 1):
            due = start[0] + (int(part["t"][-1]) - start[1]) * 1e-6 / speed
            _wait(due)
            yield Packet(part, due)


def _wait(due: float) -> None:
    """Until `due` (`time.perf_counter`): asleep, but awake at the end, as the system wakes a sleeper late."""
    while (left := due - time.perf_counter()) > 0:
        if left > AWAKE:
            time.sleep(
                min(left - AWAKE, POLL)
            )  # a damaged time may be further off than sleep takes


def text(stream: BinaryIO, block: int = 2**16) -> Iterator[Packet]:
    """Lines "t x y p" (microseconds, column, row, 0 or 1; separated by blanks or commas), as they come in.

    Raises DataError, with the line, where one holds anything else.
    """
    read = getattr(stream, "read1", stream.read)
    line, rest = 1, b""
    while data := read(block):
        complete, newline, rest = (rest + data).rpartition(b"\n")
        if newline:
            yield Packet(_parsed(complete, line), time.perf_counter())
            line += complete.count(b"\n") + 1
        if len(rest) > block:
            raise DataError(f"line {line}: is longer than {block} bytes; a line is 't x y p'")
    if rest.strip():
        yield Packet(_parsed(rest, line), time.perf_counter())


def _parsed(lines: bytes, first: int) -> np.ndarray:
    try:
        rows = (
            np.loadtxt(
                io.BytesIO(lines.replace(b",", b" ")), dtype=np.int64, ndmin=2, comments=None
            )
            if lines.strip()
            else np.empty((0, 4), np.int64)
        )
        if rows.shape[1] != 4:
            raise ValueError(f"{rows.shape[1]} columns")
    except (ValueError, OverflowError, UnicodeDecodeError) as error:
        raise DataError(
            f"a line must hold four integers 't x y p': {error} (counted from line {first})"
        ) from None
    return rows.view(np.dtype([(name, np.int64) for name in "txyp"]))[:, 0]


class Udp:
    """Events by UDP, in the format that faery calls "t64_x16_y16_on8": 13 bytes an event, little-endian.

    Listens from the moment it is made, at `address` (port 0 takes a free one). Ends after `silence` seconds without a datagram,
    where given. `malformed` counts datagrams of another length, `lost` those that the system dropped because its buffer was full
    (where it tells: Linux).
    """

    def __init__(self, host: str, port: int, silence: float | None = None) -> None:
        self.malformed = self.lost = 0
        self._silence = silence
        if not 0 <= port <= 65535:
            raise DataError(f"udp://{host}:{port}: a port lies within 0..65535")
        try:
            family, kind, _, _, address = socket.getaddrinfo(
                host, port, type=socket.SOCK_DGRAM, flags=socket.AI_PASSIVE
            )[0]
            self._socket = _bound(socket.socket(family, kind), address)
        except OSError as error:
            raise DataError(
                f"udp://{host}:{port}: cannot be listened to ({error.strerror or error})"
            ) from None
        self._socket.settimeout(POLL)
        self._counts = self._count_losses()
        self.address: tuple[str, int] = self._socket.getsockname()[:2]

    def __enter__(self) -> Udp:
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()

    def __iter__(self) -> Iterator[Packet]:
        heard = time.perf_counter()
        while self._silence is None or time.perf_counter() - heard < self._silence:
            events = np.empty(0, EVENT)
            try:
                data, ancillary, _, _ = self._socket.recvmsg(2**16, socket.CMSG_SPACE(4))
            except TimeoutError:
                yield Packet(events, time.perf_counter())
                continue
            heard = time.perf_counter()
            for level, kind, value in ancillary:
                if self._counts and (level, kind) == (socket.SOL_SOCKET, RXQ_OVFL):
                    (self.lost,) = struct.unpack("=I", value[:4])
            if len(data) % WIRE.itemsize:
                self.malformed += 1
            else:
                events = np.frombuffer(data, WIRE)
            yield Packet(events, heard)

    def _count_losses(self) -> bool:
        try:
            self._socket.setsockopt(socket.SOL_SOCKET, RXQ_OVFL, 1)
        except OSError:
            return False
        return True


DRIVERS = ("neuromorphic_drivers", "event_camera_drivers")
"""Packages with the drivers that faery opens cameras with; it depends on neither."""


def camera() -> tuple[Sensor, Iterator[Packet]]:
    """The size and the packets of the event camera that is plugged in, opened by faery. DataError where there is none, or no driver for it."""
    require_package("faery", "events")
    import faery

    if not any(importlib.util.find_spec(name) for name in DRIVERS):
        raise DataError(
            f"faery has no drivers for cameras here; run: pip install {DRIVERS[0].replace('_', '-')}"
        )
    try:
        stream = faery.events_stream_from_camera()
        width, height = stream.dimensions()
    except Exception as error:  # every driver has errors of its own
        raise DataError(
            f"no event camera could be opened ({' '.join(str(error).split())}); plug it in, and see its udev rules"
        ) from None
    return Sensor(height, width), _from_camera(stream)


def _from_camera(stream: Iterable[np.ndarray]) -> Iterator[Packet]:
    try:
        for events in stream:
            yield Packet(
                make_events(events["t"], events["x"], events["y"], events["on"]),
                time.perf_counter(),
            )
    except Exception as error:
        raise DataError(f"the camera was lost ({' '.join(str(error).split())})") from None


def _bound(found: socket.socket, address: tuple) -> socket.socket:
    try:
        found.bind(address)
    except OSError:
        found.close()
        raise
    return found
