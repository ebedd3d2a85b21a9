"""Encoders of event files that have no library: AEDAT 4 packets and EVT3 words."""

from __future__ import annotations

import struct
from collections.abc import Callable
from xml.sax.saxutils import quoteattr

import numpy as np

from lmht_deploy.errors import DataError

from ._aedat4 import EVENT_STRUCT, MAGIC
from .arrays import Sensor

# ---------------------------------------------------------------------------------------- AEDAT 4

MAX_SIDE = 2**15
"""Largest side of a sensor in AEDAT 4, whose addresses are int16."""
LZ4 = 1
"""Number of the compression in the header."""


def encode_aedat4_header(sensor: Sensor) -> bytes:
    """Return the beginning of a file with one track of events, number 0, compressed with LZ4.

    It is a FlatBuffer of the type IOHeader: int32 compression, int64 position of the table of
    packets (-1: there is none), string of the tracks as XML.
    """
    if max(sensor) > MAX_SIDE:
        raise DataError(f"AEDAT 4 has sensors of up to {MAX_SIDE} x {MAX_SIDE} pixels")
    text = _describe_track(sensor).encode()
    text += bytes(4 - len(text) % 4)  # at least one zero at the end
    vtable = struct.pack("<5H2x", 10, 20, 4, 8, 16)
    table = struct.pack("<iiqI", 12, LZ4, -1, 4)
    content = struct.pack("<I4s", 20, b"IOHE") + vtable + table
    content += struct.pack("<I", len(text.rstrip(b"\0"))) + text
    return MAGIC + struct.pack("<I", len(content)) + content


def _describe_track(sensor: Sensor) -> str:
    def node(name: str, content: str) -> str:
        return f"<node name={quoteattr(name)} path={quoteattr(f'/{name}/')}>{content}</node>"

    def attribute(key: str, value: object) -> str:
        kind = "int" if isinstance(value, int) else "string"
        return f'<attr key="{key}" type="{kind}">{value}</attr>'

    track = {
        "compression": "LZ4",
        "originalModuleName": "lmht-deploy",
        "originalOutputName": "events",
        "typeDescription": "Array of events (polarity ON/OFF).",
        "typeIdentifier": "EVTS",
    }
    info = {"sizeX": sensor.width, "sizeY": sensor.height, "source": "lmht-deploy"}
    first, second = (
        "".join(attribute(key, value) for key, value in attributes.items())
        for attributes in (track, info)
    )
    return f'<dv version="2.0">{node("outInfo", node("0", first + node("info", second)))}</dv>'


def encode_aedat4_packet(events: np.ndarray, compress: Callable[[bytes], bytes]) -> bytes:
    """Return the events as a packet of track 0: a FlatBuffer with one vector of structs."""
    structs = np.zeros(len(events), EVENT_STRUCT)
    for name in "txyp":
        structs[name] = events[name]
    content = struct.pack("<I4s3H2xiII", 16, b"EVTS", 6, 8, 4, 8, 4, len(events))
    content += structs.tobytes()
    body = compress(struct.pack("<I", len(content)) + content)
    return struct.pack("<ii", 0, len(body)) + body


# ------------------------------------------------------------------------------------------- EVT3

ADDRESS_Y, ADDRESS_X, TIME_LOW, TIME_HIGH = 0, 2, 6, 8
"""Types of the words that are written."""
MAX_ADDRESS = 2048
MAX_WRAPS = 10**6
"""Wraps of the clock (16.8 s) between two events: 194 days."""


class Evt3Encoder:
    """Encodes events to EVT3, packet by packet.

    Times are relative to `first_time`, a multiple of the range of the clock.

    Args:
        sensor: Size of the sensor.

    Raises:
        DataError: EVT3 cannot address the sensor.
    """

    def __init__(self, sensor: Sensor) -> None:
        if max(sensor) > MAX_ADDRESS:
            raise DataError(f"EVT3 has sensors of up to {MAX_ADDRESS} x {MAX_ADDRESS} pixels")
        self._sensor = sensor
        self._first_time: int | None = None
        self._high = self._low = self._y = -1

    def header(self, first_time: int) -> bytes:
        """Return the header of a file whose first event is at `first_time` (us)."""
        if first_time < 0:
            raise DataError(f"EVT3 has no times before 0; the first event is at {first_time} us")
        self._first_time = first_time >> 24 << 24
        height, width = self._sensor
        start = f"% t0 {self._first_time}\n" if self._first_time else ""
        return (
            f"% evt 3.0\n% format EVT3;height={height};width={width}\n"
            f"% geometry {width}x{height}\n{start}% end\n"
        ).encode()

    def encode(self, events: np.ndarray) -> bytes:
        """Encode the next packet, EVENT `[n]`, valid for the sensor."""
        t = events["t"] - (self._first_time or 0)
        wraps = np.diff(t >> 24, prepend=max(self._high, 0) >> 12)
        starts = np.flatnonzero(wraps)
        parts = np.split(np.arange(len(events)), starts)
        content = [self._encode(t[parts[0]], events[parts[0]])]
        for start, part in zip(starts, parts[1:], strict=True):
            content.append(_wrap(int(wraps[start])))
            content.append(self._encode(t[part], events[part]))
        return b"".join(content)

    def _encode(self, t: np.ndarray, events: np.ndarray) -> bytes:
        """Words of events between two wraps: what has changed, then the column."""
        if len(t) == 0:
            return b""
        values = [t >> 12, t & 4095, events["y"].astype(np.int64)]
        previous = [self._high, self._low, self._y]
        self._high, self._low, self._y = (int(value[-1]) for value in values)
        changed = np.stack(
            [
                np.diff(value, prepend=before) != 0
                for value, before in zip(values, previous, strict=True)
            ]
            + [np.ones(len(t), bool)],
            1,
        )
        changed[:, 1] |= changed[:, 0]
        column = ADDRESS_X << 12 | events["p"].astype(np.int64) << 11 | events["x"]
        words = np.stack(
            [
                TIME_HIGH << 12 | values[0] & 4095,
                TIME_LOW << 12 | values[1],
                ADDRESS_Y << 12 | values[2],
                column,
            ],
            1,
        )
        content: bytes = words[changed].astype("<u2").tobytes()
        return content


def _wrap(number: int) -> bytes:
    """Words that let the clock wrap `number` times: its largest value, then zero."""
    if number > MAX_WRAPS:
        raise DataError(f"EVT3 cannot hold a gap of {number * 2**24 * 1e-6:,.0f} s between events")
    words = np.array([TIME_HIGH << 12 | 4095, TIME_HIGH << 12], "<u2")
    return np.tile(words, number).tobytes()
