"""Prophesee RAW and DAT, and Event Stream: headers here, events in the compiled core.

Files are read in pieces of constant size. The formats follow their vendors' descriptions:
Prophesee's file formats (https://docs.prophesee.ai, "Data file formats") and Event Stream 2
(https://github.com/neuromorphic-paris/event_stream).
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from lmht_deploy.errors import DataError, show

from ._extension import core
from ._pieces import Choice, Opened, read_pieces
from .arrays import EVENT, Sensor

if TYPE_CHECKING:
    from ._core import Decoder

PIECE_WORDS = 2**14
"""Words that are decoded at once; larger pieces do not fit a core's cache."""

PROPHESEE_SENSORS = {
    "gen3": Sensor(480, 640),
    "gen31": Sensor(480, 640),
    "gen4": Sensor(720, 1280),
    "gen41": Sensor(720, 1280),
    "imx636": Sensor(720, 1280),
    "genx320": Sensor(320, 320),
}
"""Sensors by the word for them in `plugin_name`, for RAW files that state no size."""

RAW_FORMATS = {
    "evt2": "evt2",
    "evt2.0": "evt2",
    "evt21": "evt2.1",
    "evt2.1": "evt2.1",
    "evt3": "evt3",
    "evt3.0": "evt3",
}
"""Decoders by the name of the format in the header, in lower case."""

DAT_TYPES = {b"\x00\x08": "2d", b"\x0c\x08": "cd"}
"""Types of DAT files whose events have 8 bytes: address and time."""

ES_MAGIC = b"Event Stream"
ES_DECODERS = {1: "es-dvs", 2: "es-atis"}


def open_raw(path: Path, _choice: Choice) -> Opened:
    """Open a Prophesee RAW file in EVT2, EVT2.1 or EVT3.

    Events before the first time word have no time and are skipped, as Prophesee's decoders do.

    Raises:
        DataError: If the header names no format or another one, or the file ends within a word.
    """
    header, start = percent_header(path)
    named, _, rest = header.get("format", "").partition(";")
    named = named or f"EVT{header.get('evt', '')}"
    decoder = RAW_FORMATS.get(named.lower())
    if decoder is None:
        found = f"names the format {show(named)}" if named != "EVT" else "names no format"
        raise DataError(f"its header {found}; EVT2, EVT2.1 and EVT3 can be read")
    if decoder == "evt2.1" and "endianness=legacy" in rest:
        decoder = "evt2.1-legacy"
    return _raw_sensor(header), _decoded(path, start, decoder, _first_time(header))


def open_dat(path: Path, _choice: Choice) -> Opened:
    """Open a Prophesee DAT file of change detection events (types "cd" and "2d").

    Raises:
        DataError: If the file holds events of another type, or ends within an event.
    """
    header, start = percent_header(path)
    with path.open("rb") as file:
        file.seek(start)
        kind = file.read(2)
    if kind not in DAT_TYPES:
        raise DataError(
            f"holds events of the type {kind.hex() or 'none'}; 000c and 0008 can be read"
        )
    sizes = header.get("Width", ""), header.get("Height", "")
    return _sensor(*sizes), _decoded(path, start + 2, "dat", _first_time(header))


def open_event_stream(path: Path, _choice: Choice) -> Opened:
    """Open an Event Stream 2 file of DVS or ATIS events.

    Raises:
        DataError: If the file is of another version or type, states a sensor without pixels, or
            ends within an event.
    """
    with path.open("rb") as file:
        head = file.read(20)
    if len(head) < 20 or not head.startswith(ES_MAGIC):
        raise DataError("is damaged or not an Event Stream file")
    if head[12] != 2:
        raise DataError(f"is Event Stream {head[12]}; version 2 can be read")
    if head[15] not in ES_DECODERS:
        raise DataError(
            f"holds Event Stream events of type {head[15]}; 1 (DVS) and 2 (ATIS) can be read"
        )
    width, height = struct.unpack("<HH", head[16:20])
    if not (width and height):
        raise DataError(f"is damaged, it states a sensor of {width} x {height} pixels")
    packets = _decoded(path, 20, ES_DECODERS[head[15]], 0)
    return Sensor(height, width), (_upside_down(packet, height) for packet in packets)


def _upside_down(events: np.ndarray, height: int) -> np.ndarray:
    """Count rows from the top; Event Stream counts them from the bottom."""
    events["y"] = (
        height - 1 - events["y"].astype(np.int64)
    )  # beside the sensor: wraps, and stays so
    return events


def percent_header(path: Path) -> tuple[dict[str, str], int]:
    """Read the '% key value' lines that a Prophesee file starts with.

    Returns:
        The values by key, and the position at which the header ends.
    """
    header: dict[str, str] = {}
    with path.open("rb") as file:
        end = 0
        while (line := file.readline(4096)).startswith(b"% "):
            key, _, value = line[2:].decode("latin-1").strip().partition(" ")
            end = file.tell()
            if key == "end":
                break
            header[key] = value
    return header, end


def _raw_sensor(header: dict[str, str]) -> Sensor | None:
    fields = dict(part.partition("=")[::2] for part in header.get("format", "").split(";"))
    width, _, height = header.get("geometry", "").partition("x")
    stated = _sensor(fields.get("width", ""), fields.get("height", "")) or _sensor(width, height)
    words = re.findall(r"[a-z0-9]+", header.get("plugin_name", ""))
    return stated or next((PROPHESEE_SENSORS[w] for w in words if w in PROPHESEE_SENSORS), None)


def _sensor(width: str, height: str) -> Sensor | None:
    if not (width.isdecimal() and height.isdecimal() and int(width) and int(height)):
        return None
    return Sensor(int(height), int(width))


def _first_time(header: dict[str, str]) -> int:
    """The time (us) that the writer subtracted from all events, where the header states one."""
    text = header.get("t0", header.get("T0", "0"))
    if not text.isdecimal():
        raise DataError(
            f"its header states the first time {show(text)}, which is not a number of us"
        )
    return int(text)


def _decoded(path: Path, start: int, name: str, first_time: int) -> Iterator[np.ndarray]:
    """Return the events of the file behind byte `start`, piece by piece.

    Raises:
        DataError: The file ends within a word; for formats without words when it is read.
    """
    decoder = core().make_decoder(name)
    words = read_pieces(path, start, np.dtype((np.uint8, (decoder.word_bytes,))), PIECE_WORDS)
    return _decode(words, decoder, first_time)


def _decode(words: Iterator[np.ndarray], decoder: Decoder, first_time: int) -> Iterator[np.ndarray]:
    for piece in words:
        events = decoder.decode(piece.reshape(-1)).view(EVENT)[:, 0]
        events["t"] += first_time
        yield events
    if not decoder.complete:
        raise DataError("is truncated, it ends within an event")
