"""AEDAT files of iniVation: 3.1, and 2.0 of a DVS128, a DAVIS or a DVS640; for 4 see `_aedat4`."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import BinaryIO

import numpy as np

from lmht_deploy.errors import DataError, show

from ._aedat4 import open_aedat4
from ._pieces import Choice, Opened, read_pieces
from .arrays import Sensor, pack_events


def open_aedat(path: Path, choice: Choice) -> Opened:
    """Open an AEDAT file of the version that its first line names."""
    with path.open("rb") as file:
        first = file.readline(64).strip()
    if not first:
        raise DataError("is empty")
    openers = {
        b"#!AER-DAT4.0": open_aedat4,
        b"#!AER-DAT3.1": _open_aedat31,
        b"#!AER-DAT2.0": _open_aedat2,
    }
    if first not in openers:
        raise DataError(
            f"starts with {first[:20]!r}; AEDAT 4, 3.1 and 2.0 can be read."
            " iniVation's DV converts others to AEDAT 4"
        )
    return openers[first](path, choice)


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


def _open_aedat31(path: Path, choice: Choice) -> Opened:
    """Open AEDAT 3.1 without compression; packets of frames, inertia and triggers are skipped.

    A track is the number of a source.
    """
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
            f"AEDAT 3.1 of the format {header['Format'][:40]}; only RAW can be read."
            " iniVation's DV converts others to AEDAT 4"
        )
    source = "Source" if choice.track is None else f"Source {choice.track}"
    names = [value.upper() for key, value in header.items() if key.startswith(source)]
    found = (size for name in names for known, size in INIVATION if name.startswith(known))
    return next(found, None), _read_aedat31(path, start, choice.track)


def _read_aedat31(path: Path, start: int, track: str | None) -> Iterator[np.ndarray]:
    """Events of the source `track`, by default of the only source that has events."""
    chosen = track
    for block, body in _read_blocks(path, start):
        source = str(block["source"])
        if block["kind"] != POLARITY:
            continue
        chosen = chosen or source
        if source == chosen:
            yield _parse_polarity(block, body)
        elif track is None:
            raise DataError(
                f"holds events of the sources {chosen} and {source}; choose one by its number"
                " (track=, or --track)"
            )


def _read_blocks(path: Path, start: int) -> Iterator[tuple[np.void, bytes]]:
    with path.open("rb") as file:
        file.seek(start)
        while head := file.read(BLOCK.itemsize):
            if len(head) < BLOCK.itemsize:
                raise DataError(
                    f"is truncated, {len(head)} bytes are left over after the last packet"
                )
            (block,) = np.frombuffer(head, BLOCK)
            yield block, _read_body(path, file, block)


def _read_body(path: Path, file: BinaryIO, block: np.void) -> bytes:
    length = int(block["size"]) * int(block["number"])
    left = path.stat().st_size - file.tell()
    if block["size"] <= 0 or block["number"] < 0 or length > left:
        raise DataError(
            f"is damaged or truncated, a packet of {block['number']} events of"
            f" {block['size']} bytes does not fit"
        )
    return file.read(length)


def _parse_polarity(block: np.void, body: bytes) -> np.ndarray:
    """Valid events of a packet: bit 0 valid, bit 1 polarity, bits 2 to 16 y, bits 17 to 31 x."""
    if block["size"] != 8 or block["time_at"] != 4:
        raise DataError(f"is damaged, an event of a pixel has 8 bytes, not {block['size']}")
    words = np.frombuffer(body, "<u4").reshape(-1, 2)
    address, t = words[words[:, 0] & 1 == 1].T
    return pack_events(
        t.astype(np.int64) + (int(block["overflow"]) << 31),
        address >> 17,
        address >> 2 & 0x7FFF,
        address >> 1 & 1 == 1,
    )


# ---------------------------------------------------------------------------------------- AEDAT 2.0

DAVIS = {"DAVIS240": Sensor(180, 240), "DAVIS346": Sensor(260, 346)}
"""Sensors by the beginning of the chip's name in an AEDAT 2.0 file."""

DVS128_SENSOR, DVS640_SENSOR = Sensor(128, 128), Sensor(480, 640)


def _open_aedat2(path: Path, choice: Choice) -> Opened:
    """Open AEDAT 2.0 of a DVS128, a DAVIS or a DVS640: big-endian address and time.

    A file without the name of its chip, as v2e writes it, is one of the sensor whose size is given;
    of a DVS128 by default.
    """
    if choice.track is not None:
        raise DataError("is AEDAT 2.0, which holds one track of events; none can be chosen")
    chip, start = _read_chip(path)
    davis = next((size for name, size in DAVIS.items() if chip.upper().startswith(name)), None)
    if davis is not None:
        return davis, _read_aedat2(path, start, partial(_davis_events, davis))
    if chip not in ("", "DVS128"):
        raise DataError(
            f"AEDAT 2.0 of the chip {show(chip)}; those of DVS128, DAVIS240 and DAVIS346 can be"
            " read"
        )
    given = not chip and choice.sensor in WITHOUT_CHIP
    sensor = choice.sensor if given and choice.sensor is not None else DVS128_SENSOR
    return sensor, _read_aedat2(path, start, partial(_checked_events, sensor, bool(chip)))


def _read_chip(path: Path) -> tuple[str, int]:
    """Name of the chip, empty if the file does not state it, and the end of the header."""
    chip, end = "", 0
    with path.open("rb") as file:
        while (line := file.readline(2**20)).startswith(b"#"):
            end = file.tell()
            if line.startswith(b"# AEChip:"):
                chip = line.decode("latin-1").partition(":")[2].split(".")[-1].strip()
    return chip, end


Decode = Callable[[np.ndarray, np.ndarray], np.ndarray]


def _read_aedat2(path: Path, start: int, decode: Decode) -> Iterator[np.ndarray]:
    """Yield decoded pieces; a time that falls by more than half its range is an overflow."""
    overflow, latest = 0, 0
    for words in read_pieces(path, start, np.dtype((">u4", 2))):
        address, t = words[:, 0], words[:, 1].astype(np.int64)
        overflows = np.cumsum(np.diff(t, prepend=latest) < -(2**31)) * 2**32
        latest = int(t[-1])
        yield decode(address, t + overflows + overflow)
        overflow += int(overflows[-1])


def _checked_events(sensor: Sensor, named: bool, address: np.ndarray, t: np.ndarray) -> np.ndarray:
    """Require that the addresses are those of `sensor`: a DVS128, or a guess if not `named`."""
    chip, has, decode = WITHOUT_CHIP[sensor]
    if (wrong := ~has(address)).any():
        raise DataError(
            f"holds the address {address[wrong.argmax()]:#x}, which a {chip} does not have"
            + ("" if named else _other_sensors(address))
        )
    return decode(sensor, address, t)


def _other_sensors(address: np.ndarray) -> str:
    """What to do with a file that does not name its chip: the sensors with these addresses."""
    fitting = [size for size, (_, has, _) in WITHOUT_CHIP.items() if has(address).all()]
    sizes = " or ".join(f"--sensor {size.width}x{size.height}" for size in fitting)
    advice = f"give the size of its sensor, on the command line {sizes}"
    unknown = "no sensor whose files are read without it has these addresses"
    return f", and its header names no chip; {advice if fitting else unknown}"


def _has_dvs128(address: np.ndarray) -> np.ndarray:
    return address < 2**16


def _dvs128_events(sensor: Sensor, address: np.ndarray, t: np.ndarray) -> np.ndarray:
    """Bit 0 is set for OFF, bits 1 to 7 are x, bits 8 to 14 are y, both from the far end.

    Bit 15 marks what is not an event of a pixel (DVS128 extractor of jAER). Higher bits are zero.
    """
    address, t = address[address & 0x8000 == 0], t[address & 0x8000 == 0]
    x, y = 127 - (address >> 1 & 0x7F), 127 - (address >> 8 & 0x7F)
    return pack_events(t, x, y, address & 1 == 0)


def _has_dvs640(address: np.ndarray) -> np.ndarray:
    return (address >> 1 & 0x3FF < DVS640_SENSOR.width) & (address >> 11 < DVS640_SENSOR.height)


def _dvs640_events(sensor: Sensor, address: np.ndarray, t: np.ndarray) -> np.ndarray:
    """Bit 0 is set for ON, bits 1 to 10 are x, the higher ones y, both from the far end (v2e)."""
    x, y = sensor.width - 1 - (address >> 1 & 0x3FF), sensor.height - 1 - (address >> 11)
    return pack_events(t, x, y, address & 1 == 1)


def _has_davis(address: np.ndarray) -> np.ndarray:
    """Bits 0 to 9 of an event are zero; bit 31 marks samples of a frame."""
    found: np.ndarray = (address >> 31 == 1) | (address & 0x3FF == 0)
    return found


def _davis_events(sensor: Sensor, address: np.ndarray, t: np.ndarray) -> np.ndarray:
    """Bit 11 is set for ON, bits 12 to 21 are x, bits 22 to 30 are y, both from the far end.

    Bit 31 marks samples of a frame, bit 10 external events (DAVIS extractor of jAER).
    """
    pixel = address & (1 << 31 | 1 << 10) == 0
    address, t = address[pixel].astype(np.int64), t[pixel]
    x, y = sensor.width - 1 - (address >> 12 & 0x3FF), sensor.height - 1 - (address >> 22 & 0x1FF)
    return pack_events(t, x, y, address >> 11 & 1 == 1)  # x < 0 wraps, and stays off the sensor


Layout = tuple[
    str, Callable[[np.ndarray], np.ndarray], Callable[[Sensor, np.ndarray, np.ndarray], np.ndarray]
]
WITHOUT_CHIP: Mapping[Sensor, Layout] = {
    DVS128_SENSOR: ("DVS128", _has_dvs128, _dvs128_events),
    **dict.fromkeys(DAVIS.values(), ("DAVIS", _has_davis, _davis_events)),
    DVS640_SENSOR: ("DVS640", _has_dvs640, _dvs640_events),
}
"""Sensors of files that do not name their chip: its name, which addresses it has, a decoder."""
