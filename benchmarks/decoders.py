"""Decoders of event files: that of lmht-deploy and those of other packages."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from lmht_deploy.events import Sensor, open_recording

Columns = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]
"""t (us), x, y and p of events."""


@dataclass(frozen=True)
class Format:
    """A file format, as faery writes it.

    Attributes:
        suffix: Suffix of its files.
        kind: The format's name in faery.
        version: The version's name in faery, if there are several.
    """

    suffix: str
    kind: str
    version: str | None = None


FORMATS = {
    "EVT2": Format(".raw", "evt", "evt2"),
    "EVT3": Format(".raw", "evt", "evt3"),
    "DAT": Format(".dat", "dat", "dat2"),
    "Event Stream": Format(".es", "es"),
    "AEDAT 4": Format(".aedat4", "aedat"),
}


@dataclass(frozen=True)
class Decoder:
    """A decoder.

    Attributes:
        package: Package that must be installed.
        read: Reads a file of a format, in packets if the package can.
        columns: Returns the columns of one packet.
        formats: Names in `FORMATS` that it supports.
    """

    package: str
    read: Callable[[Path, Format], Iterable[Any]]
    columns: Callable[[Any], Columns]
    formats: tuple[str, ...] = tuple(FORMATS)


def write(name: str, events: np.ndarray, sensor: Sensor, folder: Path) -> Path:
    """Write events with faery, which must be installed.

    Args:
        name: A name in `FORMATS`.
        events: EVENT `[n]`.
        sensor: Size of the sensor.
        folder: Folder of the new file.

    Returns:
        Path of the file.
    """
    import faery

    form = FORMATS[name]
    packet = np.zeros(len(events), faery.EVENTS_DTYPE)
    for field, column in {"t": "t", "x": "x", "y": "y", "on": "p"}.items():
        packet[field] = events[column]
    path = folder / f"{name.replace(' ', '-').lower()}{form.suffix}"
    faery.events_stream_from_array(packet, (sensor.width, sensor.height)).to_file(
        path, version=form.version, zero_t0=False, file_type=form.kind
    )
    return path


def faults(path: Path, name: str, events: np.ndarray) -> dict[str, str | None]:
    """Compare what each installed decoder of a format reads with the events that were written.

    Args:
        path: A file.
        name: Its format, a name in `FORMATS`.
        events: EVENT `[n]` that the file holds.

    Returns:
        For each decoder the reason why it cannot be compared, or None if its events are equal.
    """
    return {
        key: _fault(path, FORMATS[name], events, decoder)
        for key, decoder in DECODERS.items()
        if name in decoder.formats and importlib.util.find_spec(decoder.package)
    }


def _fault(path: Path, form: Format, events: np.ndarray, decoder: Decoder) -> str | None:
    try:
        packets = [decoder.columns(packet) for packet in decoder.read(path, form)]
    except Exception as error:  # every package has errors of its own
        return " ".join(str(error).split()) or type(error).__name__
    for number, name in enumerate("txyp"):
        column = np.concatenate([packet[number] for packet in packets])
        if not np.array_equal(column.astype(np.int64), events[name].astype(np.int64)):
            return f"its column {name} differs from what was written"
    return None


def _fields(packet: np.ndarray) -> Columns:
    return packet["t"], packet["x"], packet["y"], packet["p"]


# ------------------------------------------------------------------------------- other packages


def _faery(path: Path, _form: Format) -> Iterable[Any]:
    import faery

    packets: Iterable[Any] = faery.events_stream_from_file(path)
    return packets


def _evlib(path: Path, _form: Format) -> Iterable[Any]:
    import evlib

    frame = evlib.load_events(str(path))
    return [frame.collect() if hasattr(frame, "collect") else frame]  # some versions are lazy


def _evlib_columns(frame: Any) -> Columns:
    t, x, y, p = (frame[name].to_physical().to_numpy() for name in ("t", "x", "y", "polarity"))
    return t, x, y, p > 0


def _expelliarmus(path: Path, form: Format) -> Iterable[Any]:
    from expelliarmus import Wizard

    encoding = "dat" if form.kind == "dat" else form.version
    return [Wizard(encoding=encoding).read(path)]


def _evt3(path: Path, _form: Format) -> Iterable[Any]:
    import evt3

    packets: Iterable[Any] = evt3.decode_file_batches(str(path))
    return packets


def _evt3_columns(packet: Any) -> Columns:
    return packet.t, packet.x, packet.y, packet.p


def _aedat(path: Path, _form: Format) -> Iterable[Any]:
    import aedat

    return (packet["events"] for packet in aedat.Decoder(path) if "events" in packet)


DECODERS = {
    "lmht-deploy": Decoder("lmht_deploy", lambda path, _: open_recording(path).packets, _fields),
    "faery": Decoder("faery", _faery, _fields),
    "evlib": Decoder("evlib", _evlib, _evlib_columns, ("EVT2", "EVT3", "AEDAT 4")),
    "expelliarmus": Decoder("expelliarmus", _expelliarmus, _fields, ("EVT2", "EVT3", "DAT")),
    "evt3": Decoder("evt3", _evt3, _evt3_columns, ("EVT3",)),
    "aedat": Decoder("aedat", _aedat, _fields, ("AEDAT 4",)),
}
"""Decoders by name, that of lmht-deploy first."""
