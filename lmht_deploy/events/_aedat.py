"""AEDAT files of iniVation: 4 (through faery), 3.1, and 2.0 of a DVS128."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO
from xml.etree import ElementTree

import numpy as np

from lmht_deploy.errors import DataError

from ._faery import Opened, open_faery
from .arrays import Sensor, make_events


def open_aedat(path: Path) -> Opened:
    """Open an AEDAT file of the version that its first line names."""
    with path.open("rb") as file:
        first = file.readline(64).strip()
    openers = {
        b"#!AER-DAT4.0": _open_aedat4,
        b"#!AER-DAT3.1": _open_aedat31,
        b"#!AER-DAT2.0": _open_aedat2,
    }
    if first not in openers:
        raise DataError(
            f"{path}: starts with {first[:20]!r}; AEDAT 4, 3.1 and 2.0 can be read."
            " iniVation's DV converts others to AEDAT 4"
        )
    return openers[first](path)


# ------------------------------------------------------------------------------------------ AEDAT 4


def _open_aedat4(path: Path) -> Opened:
    """Open through faery after a check of the header: faery 0.7 aborts on some damaged ones."""
    try:
        ElementTree.fromstring(_read_aedat4_header(path))
    except (struct.error, ValueError, ElementTree.ParseError) as error:
        raise DataError(f"{path}: is damaged or truncated, its header ({error})") from None
    return open_faery(path)


def _read_aedat4_header(path: Path) -> str:
    """XML of the header: the field `infoNode` of the flatbuffer `IOHeader` after the first line."""
    with path.open("rb") as file:
        file.readline()
        (size,) = struct.unpack("<I", file.read(4))
        header = file.read(min(size, path.stat().st_size))
    (table,) = struct.unpack_from("<I", header)
    (distance,) = struct.unpack_from("<i", header, table)
    if table < distance:
        raise ValueError("offset of a table")
    (field,) = struct.unpack_from("<H", header, table - distance + 8)
    (offset,) = struct.unpack_from("<I", header, table + field)
    start = table + field + offset
    (length,) = struct.unpack_from("<I", header, start)
    if len(header) < size or len(header) < start + 4 + length:
        raise ValueError("length of a text")
    return header[start + 4 : start + 4 + length].decode()


# ---------------------------------------------------------------------------------------- AEDAT 3.1

INIVATION = (
    ("DVS128", Sensor(128, 128)),
    ("DAVIS240", Sensor(180, 240)),
    ("DAVIS128", Sensor(128, 128)),
    ("DAVIS346", Sensor(260, 346)),
)
"""Sensors by the beginning of the source's name in an AEDAT 3.1 file."""

BLOCK = np.dtype(
    [("kind", "<i2"), ("source", "<i2")]
    + [(name, "<i4") for name in ("size", "time_at", "overflow", "capacity", "number", "valid")]
)
"""Header of a packet in an AEDAT 3.1 file."""

POLARITY = 1
"""Kind of a packet that holds events of pixels."""


def _open_aedat31(path: Path) -> Opened:
    """Open AEDAT 3.1 without compression; packets of frames, inertia and triggers are skipped."""
    header = {}
    with path.open("rb") as file:
        while (line := file.readline(4096)).startswith(b"#") and not line.startswith(
            b"#!END-HEADER"
        ):
            key, _, value = line[1:].decode("latin-1").strip().partition(": ")
            header[key] = value
        start = file.tell()
    if header.get("Format", "RAW") != "RAW":
        raise DataError(
            f"{path}: AEDAT 3.1 of the format {header['Format']}; only RAW can be read."
            " iniVation's DV converts others to AEDAT 4"
        )
    names = [value.upper() for key, value in header.items() if key.startswith("Source")]
    found = (size for name in names for known, size in INIVATION if name.startswith(known))
    return next(found, None), _read_aedat31(path, start)


def _read_aedat31(path: Path, start: int) -> Iterator[np.ndarray]:
    with path.open("rb") as file:
        file.seek(start)
        while head := file.read(BLOCK.itemsize):
            if len(head) < BLOCK.itemsize:
                raise DataError(
                    f"{path}: is truncated, {len(head)} bytes are left over after the last packet"
                )
            (block,) = np.frombuffer(head, BLOCK)
            body = _read_body(path, file, block)
            if block["kind"] == POLARITY:
                yield _parse_polarity(path, block, body)


def _read_body(path: Path, file: BinaryIO, block: np.void) -> bytes:
    length = int(block["size"]) * int(block["number"])
    left = path.stat().st_size - file.tell()
    if block["size"] <= 0 or block["number"] < 0 or length > left:
        raise DataError(
            f"{path}: is damaged or truncated, a packet of {block['number']} events of"
            f" {block['size']} bytes does not fit"
        )
    return file.read(length)


def _parse_polarity(path: Path, block: np.void, body: bytes) -> np.ndarray:
    """Valid events of a packet: bit 0 valid, bit 1 polarity, bits 2 to 16 y, bits 17 to 31 x."""
    if block["size"] != 8 or block["time_at"] != 4:
        raise DataError(f"{path}: is damaged, an event of a pixel has 8 bytes, not {block['size']}")
    words = np.frombuffer(body, "<u4").reshape(-1, 2)
    address, t = words[words[:, 0] & 1 == 1].T
    return make_events(
        t.astype(np.int64) + (int(block["overflow"]) << 31),
        address >> 17,
        address >> 2 & 0x7FFF,
        address >> 1 & 1 == 1,
    )


# ---------------------------------------------------------------------------------------- AEDAT 2.0


def _open_aedat2(path: Path) -> Opened:
    """Open AEDAT 2.0 of a DVS128 (jAER): big-endian address and time.

    Bit 0 is set for OFF, bits 1 to 7 are x, bits 8 to 14 are y, both from the far end of the chip
    (DVS128 extractor of jAER). Bit 15 marks what is not an event of a pixel.
    """
    chip, end = "", 0
    with path.open("rb") as file:
        while (line := file.readline(2**20)).startswith(b"#"):
            end = file.tell()
            if line.startswith(b"# AEChip:"):
                chip = line.decode("latin-1").split(".")[-1].strip()
    if chip not in ("", "DVS128"):
        raise DataError(f"{path}: AEDAT 2.0 of a {chip}; only that of a DVS128 can be read")
    words = read_words(path, end, ">u4")
    address, t = words[words[:, 0] & 0x8000 == 0].T
    x, y = 127 - (address >> 1 & 0x7F), 127 - (address >> 8 & 0x7F)
    return Sensor(128, 128), iter([make_events(_unwrap(t), x, y, address & 1 == 0)])


def read_words(path: Path, start: int, dtype: str) -> np.ndarray:
    """Read pairs of 32-bit words `[n, 2]` from byte `start` on; an incomplete pair is an error."""
    data = path.read_bytes()[start:]
    if rest := len(data) % 8:
        raise DataError(f"{path}: is truncated, {rest} bytes are left over after the last event")
    return np.frombuffer(data, dtype).reshape(-1, 2)


def _unwrap(t: np.ndarray) -> np.ndarray:
    """int64 times of a 32-bit counter: a fall by more than half its range is an overflow."""
    t = t.astype(np.int64)
    return t + np.concatenate([[0], np.cumsum(np.diff(t) < -(2**31))])[: len(t)] * 2**32
