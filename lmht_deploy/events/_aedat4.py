"""AEDAT 4 files: read packet by packet, with every size checked before it is believed.

The layout is iniVation's (https://docs.inivation.com, "AEDAT 4.0"):

    #!AER-DAT4.0\\r\\n
    IOHeader            FlatBuffer: compression, position of the table at the end, tracks as XML
    packets             int32 track, int32 size, `size` bytes: a FlatBuffer, compressed
    table               positions of the packets; not needed here

A packet of an event track holds structs of 16 bytes: t int64 (us), x int16, y int16, on uint8.
"""

from __future__ import annotations

import importlib
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO
from xml.etree import ElementTree

import numpy as np

from lmht_deploy._packages import require_package
from lmht_deploy.errors import DataError, show

from ._pieces import EXPANSION_FLOOR, MAX_EXPANSION, Choice, Opened
from .arrays import Sensor

MAGIC = b"#!AER-DAT4.0\r\n"
MAX_LISTED = 8
"""Tracks that an error lists, at most."""
MAX_HEADER = 2**24
"""Bytes that a header may have."""
MAX_PACKET = 2**28
"""Bytes that a packet may have once it is decompressed: 16 million events."""

EVENT_STRUCT = np.dtype(
    {
        "names": ["t", "x", "y", "p"],
        "formats": ["<i8", "<i2", "<i2", "u1"],
        "offsets": [0, 8, 10, 12],
        "itemsize": 16,
    }
)
COMPRESSIONS = {0: None, 1: "lz4", 2: "lz4", 3: "zstandard", 4: "zstandard"}
"""Packages that decompress packets, by the number of the compression in the header."""


@dataclass(frozen=True)
class Track:
    """A stream of packets in the file.

    Attributes:
        number: Its number, which every packet names.
        kind: Type of its packets: "EVTS" for events, "FRME" for frames, and others.
        name: Name of the camera, or of the module that wrote it.
        size: Width and height in pixels; None where the file does not state them.
    """

    number: int
    kind: str
    name: str
    size: tuple[int, int] | None


@dataclass(frozen=True)
class Aedat4:
    """The header of a file: its tracks, how packets are compressed, and where they lie."""

    path: Path
    tracks: tuple[Track, ...]
    package: str | None
    start: int
    end: int

    def event_track(self, chosen: str | None = None) -> Track:
        """Return the track of events with the number or name `chosen`, by default the only one.

        Raises:
            DataError: There is no such track, or there are several.
        """
        events = [track for track in self.tracks if track.kind == "EVTS"]
        found = [track for track in events if chosen in (None, str(track.number), track.name)]
        if len(found) == 1:
            return found[0]
        names = ", ".join(f"{track.number} ({track.name[:40]})" for track in events[:MAX_LISTED])
        if not events:
            raise DataError("holds no track of events")
        if chosen is None or found:
            raise DataError(
                f"holds {len(events)} tracks of events, {names}; choose one by its number"
                " (track=, or --track)"
            )
        raise DataError(f"holds no track of events {show(chosen)}; it holds {names}")

    def packets(self, track: Track) -> Iterator[np.ndarray]:
        """Yield the events of each packet of `track`, as EVENT_STRUCT [n]."""
        decompress = _decompressor(self.package)
        with self.path.open("rb") as file:
            file.seek(self.start)
            while file.tell() < self.end:
                number, body = _packet(file, self.end)
                if number == track.number:
                    yield _events(decompress(body))


def open_aedat4(path: Path, choice: Choice) -> Opened:
    """Open a track of events of an AEDAT 4 file; other tracks are skipped.

    Raises:
        DataError: The file is damaged, holds no such track, or several and none is chosen.
    """
    file = read_header(path)
    track = file.event_track(choice.track)
    return track.size and Sensor(track.size[1], track.size[0]), file.packets(track)


def read_header(path: Path) -> Aedat4:
    """Read the header of the AEDAT 4 file at `path`.

    Raises:
        DataError: If the file is truncated or damaged.
    """
    size = path.stat().st_size
    with path.open("rb") as file:
        file.seek(len(MAGIC))
        (length,) = struct.unpack("<I", _exactly(file, 4))
        if length > min(MAX_HEADER, size):
            raise DataError(f"is damaged, its header has {length} bytes, more than the file")
        table = _Table(struct.pack("<I", length) + _exactly(file, length))
        start = file.tell()
    compression = table.scalar(0, "<i", 0)
    if compression not in COMPRESSIONS:
        raise DataError(f"is damaged, its compression {compression} is unknown")
    position = table.scalar(1, "<q", -1)
    end = size if position < 0 else position
    if not start <= end <= size:
        raise DataError(
            f"is damaged, its table at byte {end} lies outside of the file of {size} bytes"
        )
    return Aedat4(path, _tracks(table.string(2)), COMPRESSIONS[compression], start, end)


def _tracks(text: str) -> tuple[Track, ...]:
    try:
        root = ElementTree.fromstring(text)
    except ElementTree.ParseError as error:
        raise DataError(f"is damaged, its header is not XML ({error})") from None
    nodes = [node for node in root.iter("node") if (node.get("name") or "").isdecimal()]
    found = []
    for node in nodes:
        attributes = {item.get("key"): item.text or "" for item in node.iter("attr")}
        width, height = (attributes.get(key, "") for key in ("sizeX", "sizeY"))
        sized = width.isdecimal() and height.isdecimal()
        found.append(
            Track(
                number=int(node.get("name", "0")),
                kind=attributes.get("typeIdentifier", ""),
                name=attributes.get("source") or attributes.get("originalModuleName", "unnamed"),
                size=(int(width), int(height)) if sized else None,
            )
        )
    return tuple(found)


def _packet(file: BinaryIO, end: int) -> tuple[int, bytes]:
    number, length = struct.unpack("<ii", _exactly(file, 8))
    if not 0 <= length <= end - file.tell():
        raise DataError(f"is damaged or truncated: a packet of {length} bytes does not fit")
    return number, _exactly(file, length)


def _exactly(file: BinaryIO, length: int) -> bytes:
    found = file.read(length)
    if len(found) < length:
        raise DataError("is damaged or truncated")
    return found


def _events(packet: bytes) -> np.ndarray:
    return _Table(packet, identifier=b"EVTS").structs(0, EVENT_STRUCT)


# ------------------------------------------------------------------------------------------------
# compression


def _decompressor(package: str | None) -> Callable[[bytes], bytes]:
    if package is None:
        return lambda body: body
    require_package(package, "events")
    library = importlib.import_module("lz4.frame" if package == "lz4" else package)
    frame = _lz4_frame if package == "lz4" else _zstd_frame

    def decompress(body: bytes) -> bytes:
        most = min(MAX_PACKET, max(EXPANSION_FLOOR, MAX_EXPANSION * len(body)))
        try:
            found = frame(library, body, most)
        except Exception as error:  # each library has an error of its own
            raise DataError(f"is damaged, a packet cannot be decompressed ({error})") from None
        if found is None:
            raise DataError(f"a packet of {len(body)} bytes holds more than {most:,} bytes")
        return found

    return decompress


def _lz4_frame(library: Any, body: bytes, most: int) -> bytes | None:
    """The content of a complete frame; None if it has more than `most` bytes."""
    frame = library.LZ4FrameDecompressor()
    found: bytes = frame.decompress(body, most + 1)
    if len(found) > most:
        return None
    if not frame.eof:
        raise ValueError("it is cut off")
    return found


def _zstd_frame(library: Any, body: bytes, most: int) -> bytes | None:
    """As `_lz4_frame`. A frame that does not state its size is cut off where it has more."""
    if library.frame_content_size(body) > most:
        return None
    found: bytes = library.ZstdDecompressor().decompress(body, max_output_size=most)
    return found


# ------------------------------------------------------------------------------------------------
# FlatBuffers


class _Table:
    """The root table of a FlatBuffer that begins with its size; every offset is checked."""

    def __init__(self, content: bytes, identifier: bytes = b"") -> None:
        self._content = content
        if identifier and content[8:12] != identifier:
            raise DataError(
                f"is damaged, a packet is of type {content[8:12]!r}, not {identifier!r}"
            )
        self._at = 4 + self._unpack("<I", 4)
        self._fields = self._at - self._unpack("<i", self._at)
        self._size = self._unpack("<H", self._fields)

    def _unpack(self, form: str, at: int) -> int:
        if not 0 <= at <= len(self._content) - struct.calcsize(form):
            raise DataError("is damaged, a FlatBuffer points outside of itself")
        (value,) = struct.unpack_from(form, self._content, at)
        return int(value)

    def _field(self, index: int) -> int | None:
        """Where field `index` lies; None where it has its default value."""
        place = 4 + 2 * index
        if place + 2 > self._size:
            return None
        offset = self._unpack("<H", self._fields + place)
        return self._at + offset if offset else None

    def scalar(self, index: int, form: str, default: int) -> int:
        """Return the number in field `index`, in the `struct` format `form`."""
        at = self._field(index)
        return default if at is None else self._unpack(form, at)

    def _vector(self, index: int, item_bytes: int) -> tuple[int, int]:
        """Start and number of the items of the vector in field `index`."""
        at = self._field(index)
        if at is None:
            return 0, 0
        at += self._unpack("<I", at)
        number = self._unpack("<I", at)
        if number * item_bytes > len(self._content) - at - 4:
            raise DataError(f"is damaged, a FlatBuffer states {number} items and holds fewer")
        return at + 4, number

    def string(self, index: int) -> str:
        at, length = self._vector(index, 1)
        return self._content[at : at + length].decode("utf-8", "replace")

    def structs(self, index: int, dtype: np.dtype[Any]) -> np.ndarray:
        at, number = self._vector(index, dtype.itemsize)
        return np.frombuffer(self._content, dtype, number, at)
