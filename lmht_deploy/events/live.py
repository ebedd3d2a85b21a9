"""Sources of a stream: recordings, text, UDP and cameras.

A source is an iterable of `Packet`.
"""

from __future__ import annotations

import importlib.util
import os
import select
import socket
import struct
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Any, Protocol

import numpy as np

from lmht_deploy._packages import require_package
from lmht_deploy.errors import DataError

from ._text import parse_lines, parse_valid_lines
from .arrays import EVENT, MAX_GAP, Sensor, pack_events
from .stream import Packet

TICK = 1000
"""Microseconds of a recording that are played as one packet."""

SPIN_TIME = 2e-4
"""Seconds before a packet is due in which its player waits without sleeping."""

POLL_INTERVAL = 0.1
"""Seconds after which a silent source checks whether it should end."""

TOO_LONG = b"?"
"""Stands for the beginning of a line that is too long."""

DATAGRAM = np.dtype([("t", "<u8"), ("x", "<u2"), ("y", "<u2"), ("p", "u1")])
"""One event in a datagram."""

SO_RXQ_OVFL = 40
"""Option of Linux: each datagram says how many were dropped before it."""


def play_fast(packets: Iterable[np.ndarray]) -> Iterator[Packet]:
    """Play a recording as fast as it is read."""
    for events in packets:
        yield Packet(events, None)


def play_in_real_time(
    packets: Iterable[np.ndarray], speed: float = 1.0, max_gap: int = MAX_GAP
) -> Iterator[Packet]:
    """Play a recording at a multiple of the speed at which it was recorded.

    The arrival of a packet is the time at which its last event is due, even if the reader or the
    consumer is late. A network that is too slow therefore shows in the latency.

    Args:
        packets: Structured arrays with t, x, y, p.
        speed: Multiple of real time, > 0.
        max_gap: A silence of more us is not waited for: it may be a damaged time.

    Raises:
        DataError: `speed` is out of range.
    """
    if not speed > 0:
        raise DataError(f"the speed of a recording must be > 0, not {speed}")
    start, latest = 0.0, None  # when the time 0 of the recording is due; time of the last event
    for events in packets:
        if len(events) == 0:
            continue
        for part in split_ticks(events):
            first, last = int(part["t"][0]), int(part["t"][-1])
            if latest is None or abs(first - latest) > max_gap:
                start = time.perf_counter() - first * 1e-6 / speed
            latest = last
            due = start + last * 1e-6 / speed
            wait_until(due)
            yield Packet(part, due)


def split_ticks(events: np.ndarray) -> list[np.ndarray]:
    """Split events, which have a field t, into the packets in which a recording is played."""
    return np.split(events, np.flatnonzero(np.diff(events["t"] // TICK)) + 1)


def wait_until(due: float) -> None:
    """Wait until a time of `time.perf_counter`.

    Sleeps, and spins at the end: the system wakes a sleeping thread late.
    """
    while (left := due - time.perf_counter()) > 0:
        if left > SPIN_TIME:
            time.sleep(min(left - SPIN_TIME, POLL_INTERVAL))


class Readable(Protocol):
    """A binary stream."""

    def read(self, size: int, /) -> bytes | None:
        """Read up to `size` bytes: b"" at the end, None while there is nothing to read."""
        ...


class PolledFile:
    """An open file whose `read` returns None after `POLL_INTERVAL` without data.

    A thread that reads a pipe can thus end although the pipe is silent.

    Args:
        descriptor: Its descriptor, which stays open.
    """

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    def read(self, size: int, /) -> bytes | None:
        """Read up to `size` bytes: b"" at the end, None while there is nothing to read."""
        return os.read(self._descriptor, size) if self._ready() else None

    def _ready(self) -> bool:
        try:
            return bool(select.select([self._descriptor], [], [], POLL_INTERVAL)[0])
        except (OSError, ValueError):  # Windows waits for sockets only
            return True


def read_text(
    stream: Readable, block: int = 2**16, dropped: Counter[str] | None = None
) -> Iterator[Packet]:
    """Read lines "t x y p" as they arrive.

    Args:
        stream: Binary stream of lines: time in us, column, row, 0 or 1, separated by blanks or
            commas. An empty packet is yielded while it has nothing to read.
        block: Bytes that are read at once, and the longest line.
        dropped: If given, lines that hold anything else are left out, and counted under "lines".

    Raises:
        DataError: A line holds anything else, and they are not dropped. The message has its number.
    """
    read = getattr(stream, "read1", stream.read)
    line, rest = 1, b""
    while (data := read(block)) != b"":
        if data is None:
            yield Packet(np.empty(0, EVENT), time.perf_counter())
            continue
        complete, newline, rest = (rest + data).rpartition(b"\n")
        if newline:
            yield Packet(_parse_text(complete, line, dropped), time.perf_counter())
            line += complete.count(b"\n") + 1
        if len(rest) > block:
            if dropped is None:
                raise DataError(f"line {line}: is longer than {block} bytes; a line is 't x y p'")
            rest = TOO_LONG  # its end makes no event of it
    if rest.strip():
        yield Packet(_parse_text(rest, line, dropped), time.perf_counter())


def _parse_text(lines: bytes, first: int, dropped: Counter[str] | None) -> np.ndarray:
    """Parse whole lines, of which the first has the number `first`."""
    if dropped is None:
        return parse_lines(lines, first)
    try:
        return parse_lines(lines, first)
    except DataError:
        events, wrong = parse_valid_lines(lines)
        dropped["lines"] += wrong
        return events


class Udp:
    """Events by UDP, in the format that faery calls "t64_x16_y16_on8": 13 bytes per event.

    The socket listens from the moment of construction. Use as a context manager, which closes it.

    Args:
        host: Host name or address to listen at.
        port: Port; 0 takes a free one.
        silence: Seconds without an event after which the source ends; datagrams without events
            do not count. Default: never.

    Attributes:
        address: Host and port.
        malformed: Number of datagrams whose length is not a multiple of 13 bytes.
        lost: Number of datagrams that the system dropped because its buffer was full, if the
            system tells (Linux).

    Raises:
        DataError: The address is not available.
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
            self._socket = _bind(socket.socket(family, kind), address)
        except OSError as error:
            raise DataError(
                f"udp://{host}:{port}: is not available ({error.strerror or error})"
            ) from None
        self._socket.settimeout(POLL_INTERVAL)
        self._reports_loss = self._request_loss_reports()
        self.address: tuple[str, int] = self._socket.getsockname()[:2]

    def __enter__(self) -> Udp:
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()

    def __iter__(self) -> Iterator[Packet]:
        """Yield a packet per datagram, and an empty one after each interval without any."""
        heard = time.perf_counter()
        while self._silence is None or time.perf_counter() - heard < self._silence:
            try:
                data, ancillary, _, _ = self._socket.recvmsg(2**16, socket.CMSG_SPACE(4))
            except TimeoutError:
                yield Packet(np.empty(0, EVENT), time.perf_counter())
                continue
            arrived = time.perf_counter()
            self._count_loss(ancillary)
            events = self._parse(data)
            heard = arrived if len(events) else heard
            yield Packet(events, arrived)

    def _parse(self, data: bytes) -> np.ndarray:
        if len(data) % DATAGRAM.itemsize:
            self.malformed += 1
            return np.empty(0, EVENT)
        return np.frombuffer(data, DATAGRAM)

    def _count_loss(self, ancillary: list[tuple[int, int, bytes]]) -> None:
        for level, kind, value in ancillary:
            if self._reports_loss and (level, kind) == (socket.SOL_SOCKET, SO_RXQ_OVFL):
                (self.lost,) = struct.unpack("=I", value[:4])

    def _request_loss_reports(self) -> bool:
        try:
            self._socket.setsockopt(socket.SOL_SOCKET, SO_RXQ_OVFL, 1)
        except OSError:
            return False
        return True


def _bind(udp_socket: socket.socket, address: tuple[Any, ...]) -> socket.socket:
    try:
        udp_socket.bind(address)
    except OSError:
        udp_socket.close()
        raise
    return udp_socket


DRIVERS = ("neuromorphic_drivers", "event_camera_drivers")
"""Packages with the drivers through which faery opens cameras; faery depends on neither."""


def open_camera() -> tuple[Sensor, Iterator[Packet]]:
    """Open the connected event camera through faery.

    Returns:
        The size of its sensor and its packets.

    Raises:
        DataError: There is no camera, or no driver.
    """
    require_package("faery", "events")
    import faery

    if not any(importlib.util.find_spec(name) for name in DRIVERS):
        raise DataError(
            f"faery has no camera drivers here; run: pip install {DRIVERS[0].replace('_', '-')}"
        )
    try:
        stream = faery.events_stream_from_camera()
        width, height = stream.dimensions()
    except Exception as error:  # every driver has its own errors
        raise DataError(
            f"no event camera could be opened ({' '.join(str(error).split())});"
            " connect it, and check its udev rules"
        ) from None
    return Sensor(height, width), _read_camera(stream)


def _read_camera(stream: Iterable[np.ndarray]) -> Iterator[Packet]:
    try:
        for events in stream:
            yield Packet(_from_faery(events), time.perf_counter())
    except Exception as error:
        raise DataError(f"the camera was lost ({' '.join(str(error).split())})") from None


def _from_faery(packet: np.ndarray) -> np.ndarray:
    """Convert a packet of faery, whose polarity is called "on", to EVENT `[n]`."""
    return pack_events(packet["t"], packet["x"], packet["y"], packet["on"])
