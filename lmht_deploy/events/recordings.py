"""Recordings: event files of every common format, as packets of events and the size of the sensor.

    .aedat4, .aedat        iniVation AEDAT 4 (faery); AEDAT 3.1, and AEDAT 2.0 of a DVS128 (here: no library reads them)
    .raw, .dat             Prophesee EVT2, EVT2.1, EVT3 and DAT (faery; DAT of the older type "2d" here)
    .es                    Event Stream (faery)
    .h5, .hdf5             arrays t, x, y, p in one group (h5py)
    .bin                   N-MNIST and N-Caltech101 (Tonic)
    .npy, .npz             NumPy: one structured array with the fields t, x, y, p, or four arrays of these names

Addresses count from the top left, times are microseconds. What a file gives is not trusted: it passes a `Door`.
"""

from __future__ import annotations

import contextlib
import os
import re
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from lmht_deploy._packages import need
from lmht_deploy.errors import DataError, StorageError
from lmht_deploy.formats.files import atomic_write

from .arrays import Door, Sensor, make_events

PROPHESEE = {
    "gen3": Sensor(480, 640),
    "gen31": Sensor(480, 640),
    "gen4": Sensor(720, 1280),
    "gen41": Sensor(720, 1280),
    "imx636": Sensor(720, 1280),
    "genx320": Sensor(320, 320),
}
"""Sensors by the word for them in a RAW file's 'plugin_name', for files that name no size."""

WORDS = {"EVT2": 4, "EVT2.0": 4, "EVT21": 8, "EVT2.1": 8, "EVT3": 2, "EVT3.0": 2}
"""Bytes of a word of a RAW file, by how its header names its format ('evt' or 'format'): faery passes over half a word at the end."""

UNKNOWN = (65535, 65535)
"""What faery is told to take as size where a file names none; no sensor is as large."""


@dataclass(frozen=True)
class Recording:
    """An opened recording: its sensor and its packets, in the order of the file, as the reader gives them (unchecked)."""

    sensor: Sensor
    packets: Iterator[np.ndarray]


def open_recording(path: str | Path, sensor: Sensor | None = None) -> Recording:
    """Open the recording at `path`, of a kind told by its suffix.

    `sensor` is needed where the file does not name its size, and overrules the file where it does. Raises StorageError
    where there is no such file, DataError where it is of no known kind, damaged, or of a sensor of unknown size.
    """
    path = Path(path)
    if not path.is_file():
        raise StorageError(f"{path}: there is no such file")
    opener = OPENERS.get(path.suffix.lower())
    if opener is None:
        raise DataError(f"{path}: a recording ends in {', '.join(OPENERS)}")
    with _readable(path):
        found, packets = opener(path)
    sensor = sensor or found
    if sensor is None:
        raise DataError(
            f"{path}: does not say how large its sensor is; give its size (on the command line --sensor WxH)"
        )
    return Recording(sensor, _guarded(path, packets))


def read(
    path: str | Path, sensor: Sensor | None = None, drop: bool = False
) -> tuple[np.ndarray, Door]:
    """The whole recording as EVENT [n], n >= 1, and the `Door` that it passed (with its sensor, and what was dropped).

    With `drop`, events that do not fit are dropped and counted; else the first of them raises DataError.
    """
    recording = open_recording(path, sensor)
    door = Door(recording.sensor, drop)
    try:
        packets = [door.admit(packet) for packet in recording.packets]
    except DataError as error:
        raise DataError(str(error) if str(path) in str(error) else f"{path}: {error}") from None
    if not sum(map(len, packets)):
        raise DataError(f"{path}: holds no event{' that fits' if door.seen else ''}")
    return np.concatenate(packets), door


def _guarded(path: Path, packets: Iterator[np.ndarray]) -> Iterator[np.ndarray]:
    with _readable(path):
        yield from packets


@contextlib.contextmanager
def _readable(path: Path) -> Iterator[None]:
    """DataError for whatever a reader stumbles over: each library has its own way, and Rust's panics are no `Exception`."""
    try:
        yield
    except (DataError, KeyboardInterrupt, SystemExit, GeneratorExit):
        raise
    except BaseException as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise DataError(
            f"{path}: is damaged, truncated or not what its name says ({reason})"
        ) from None


# ------------------------------------------------------------------------------------------------ through faery

Opened = tuple[Sensor | None, Iterator[np.ndarray]]


def _open_faery(path: Path) -> Opened:
    need("faery", "events")
    import faery

    with _quiet():
        stream = faery.file_decoder.Decoder(path, dimensions_fallback=UNKNOWN)
    width, height = stream.dimensions()
    sensor = None if (width, height) == UNKNOWN else Sensor(height, width)
    return sensor, (_renamed(packet) for packet in stream)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep a Rust panic from writing its backtrace to standard error: the error itself says enough."""
    sys.stderr.flush()
    kept, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)


def _renamed(packet: np.ndarray) -> np.ndarray:
    """faery names the polarity 'p' only by its title."""
    return make_events(packet["t"], packet["x"], packet["y"], packet["on"])


def _open_raw(path: Path) -> Opened:
    header, start = _percent_header(path)
    named = header.get("format", f"EVT{header.get('evt', '')}").partition(";")[0]
    if rest := (path.stat().st_size - start) % WORDS.get(named, 1):
        raise DataError(f"{path}: is truncated, {rest} bytes are left over behind the last event")
    sensor, packets = _open_faery(path)
    words = re.findall(r"[a-z0-9]+", header.get("plugin_name", ""))
    return sensor or next((PROPHESEE[word] for word in words if word in PROPHESEE), None), packets


def _percent_header(path: Path) -> tuple[dict[str, str], int]:
    """The '% key value' lines that Prophesee's files start with, and where they end."""
    header: dict[str, str] = {}
    with path.open("rb") as file:
        end = 0
        while (line := file.readline(4096)).startswith(b"% "):
            key, _, value = line[2:].decode("latin-1").strip().partition(" ")
            header[key] = value
            end = file.tell()
    return header, end


# ------------------------------------------------------------------------------------------------ read here


def _open_dat(path: Path) -> Opened:
    """DAT; the type "2d" (0x00, N-CARS) has the layout of "cd" (0x0C): t 32 bits, then x 14, y 14, p 4."""
    _, start = _percent_header(path)
    with path.open("rb") as file:
        file.seek(start)
        kind = file.read(2)
    if kind != b"\x00\x08":
        return _open_faery(path)
    words = _words(path, start + 2, "<u4")
    t, address = words[:, 0], words[:, 1]
    return None, iter(
        [make_events(t, address & 0x3FFF, address >> 14 & 0x3FFF, address >> 28 != 0)]
    )


def _open_aedat(path: Path) -> Opened:
    with path.open("rb") as file:
        first = file.readline(64).strip()
    if first == b"#!AER-DAT4.0":
        return _open_faery(path)
    if first == b"#!AER-DAT3.1":
        return _open_aedat31(path)
    if first == b"#!AER-DAT2.0":
        return _open_aedat2(path)
    raise DataError(
        f"{path}: starts with {first[:20]!r}; AEDAT 4, 3.1 and 2.0 can be read. iniVation's DV converts others to AEDAT 4"
    )


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
"""What an AEDAT 3.1 file says before each packet."""

POLARITY = 1
"""The kind of packet that holds events of pixels."""


def _open_aedat31(path: Path) -> Opened:
    """AEDAT 3.1 as iniVation specifies it, not compressed; packets of other kinds (frames, inertia, triggers) are passed over."""
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
            f"{path}: AEDAT 3.1 of the format {header['Format']}; only RAW is read. iniVation's DV converts others to AEDAT 4"
        )
    names = [value for key, value in header.items() if key.startswith("Source")]
    sensor = next(
        (size for name in names for known, size in INIVATION if name.upper().startswith(known)),
        None,
    )
    return sensor, _aedat31_packets(path, start)


def _aedat31_packets(path: Path, start: int) -> Iterator[np.ndarray]:
    with path.open("rb") as file:
        file.seek(start)
        while head := file.read(BLOCK.itemsize):
            if len(head) < BLOCK.itemsize:
                raise DataError(
                    f"{path}: is truncated, {len(head)} bytes are left over behind the last packet"
                )
            (block,) = np.frombuffer(head, BLOCK)
            length = int(block["size"]) * int(block["number"])
            if (
                block["size"] <= 0
                or block["number"] < 0
                or length > path.stat().st_size - file.tell()
            ):
                raise DataError(
                    f"{path}: is damaged or truncated, a packet of {block['number']} events of {block['size']} bytes does not fit"
                )
            body = file.read(length)
            if block["kind"] != POLARITY:
                continue
            if block["size"] != 8 or block["time_at"] != 4:
                raise DataError(
                    f"{path}: is damaged, an event of a pixel has 8 bytes, not {block['size']}"
                )
            words = np.frombuffer(body, "<u4").reshape(-1, 2)
            address, t = words[words[:, 0] & 1 == 1].T  # bit 0: valid
            yield make_events(
                t.astype(np.int64) + (int(block["overflow"]) << 31),
                address >> 17,
                address >> 2 & 0x7FFF,
                address >> 1 & 1 == 1,
            )


def _open_aedat2(path: Path) -> Opened:
    """jAER's AEDAT 2.0 of a DVS128: big-endian address and time; bit 0 is set for OFF, bits 1-7 and 8-14 are x and y.

    Both count from the far end of the chip (DVS128 extractor of jAER); bit 15 marks what is no event of a pixel.
    """
    chip, end = "", 0
    with path.open("rb") as file:
        while (line := file.readline(2**20)).startswith(b"#"):
            end = file.tell()
            if line.startswith(b"# AEChip:"):
                chip = line.decode("latin-1").split(".")[-1].strip()
    if chip not in ("", "DVS128"):
        raise DataError(
            f"{path}: AEDAT 2.0 of a {chip}; only the addresses of a DVS128 are known here"
        )
    words = _words(path, end, ">u4")
    address, t = (words[(words[:, 0] & 0x8000) == 0, column] for column in (0, 1))
    events = make_events(
        _unwrapped(t), 127 - (address >> 1 & 0x7F), 127 - (address >> 8 & 0x7F), address & 1 == 0
    )
    return Sensor(128, 128), iter([events])


def _words(path: Path, start: int, dtype: str) -> np.ndarray:
    """[n, 2]: the pairs of 32-bit words from byte `start` on; a last, incomplete one is an error."""
    data = path.read_bytes()[start:]
    if len(data) % 8:
        raise DataError(
            f"{path}: is truncated, {len(data) % 8} bytes are left over behind the last event"
        )
    return np.frombuffer(data, dtype).reshape(-1, 2)


def _unwrapped(t: np.ndarray) -> np.ndarray:
    """int64 times from a 32-bit counter: a fall by more than half its range is an overflow."""
    t = t.astype(np.int64)
    return t + np.concatenate([[0], np.cumsum(np.diff(t) < -(2**31))])[: len(t)] * 2**32


def _open_bin(path: Path) -> Opened:
    need("tonic", "events")
    from tonic.io import read_mnist_file

    return None, iter(
        [read_mnist_file(path, dtype=np.dtype([(name, np.int64) for name in "xytp"]))]
    )


def _open_numpy(path: Path) -> Opened:
    content = np.load(path, allow_pickle=False)
    if isinstance(content, np.ndarray):
        return None, iter([content])
    with content:
        return None, iter([_columns(path, dict(content))])


def _open_hdf5(path: Path) -> Opened:
    """The one group (or data set) of the file that holds t, x, y, p; times of floats are seconds."""
    import h5py

    found: list[np.ndarray] = []

    def visit(name: str, item: h5py.Group | h5py.Dataset) -> None:
        if isinstance(item, h5py.Group) and set("txyp") <= item.keys():
            found.append(_columns(path, {key: item[key][()] for key in "txyp"}))
        elif isinstance(item, h5py.Dataset) and set("txyp") <= set(item.dtype.names or ()):
            found.append(item[()])

    with h5py.File(path, "r") as file:
        visit("/", file)
        file.visititems(visit)
    if len(found) != 1:
        raise DataError(
            f"{path}: must hold one group with the arrays t, x, y, p; it holds {len(found) or 'none'}"
        )
    return None, iter(found)


def _columns(path: Path, columns: dict[str, np.ndarray]) -> np.ndarray:
    """One structured array of the arrays t, x, y, p; float seconds become integer microseconds."""
    if (
        not set("txyp") <= columns.keys()
        or len({columns[name].shape for name in "txyp"}) > 1
        or columns["t"].ndim != 1
    ):
        raise DataError(
            f"{path}: must hold four arrays t, x, y, p of one length; it holds {', '.join(sorted(columns)) or 'nothing'}"
        )
    if columns["t"].dtype.kind == "f":
        columns = columns | {"t": np.rint(columns["t"] * 1e6).astype(np.int64)}
    events = np.empty(len(columns["t"]), [(name, columns[name].dtype) for name in "txyp"])
    for name in "txyp":
        events[name] = columns[name]
    return events


OPENERS: dict[str, Callable[[Path], Opened]] = {
    ".aedat4": _open_aedat,
    ".aedat": _open_aedat,
    ".raw": _open_raw,
    ".dat": _open_dat,
    ".es": _open_faery,
    ".h5": _open_hdf5,
    ".hdf5": _open_hdf5,
    ".bin": _open_bin,
    ".npy": _open_numpy,
    ".npz": _open_numpy,
}


# ------------------------------------------------------------------------------------------------ writing


def write_aedat4(path: str | Path, events: np.ndarray, sensor: Sensor) -> None:
    """Write EVENT [n] as AEDAT 4 (LZ4), whole or not at all. Raises DataError without faery, StorageError where it cannot be written."""
    need("faery", "events")
    import faery

    packet = np.empty(len(events), faery.EVENTS_DTYPE)
    for field, name in {"t": "t", "x": "x", "y": "y", "on": "p"}.items():
        packet[field] = events[name]
    with atomic_write(path) as temporary:
        faery.events_stream_from_array(packet, (sensor.width, sensor.height)).to_file(
            temporary, file_type="aedat", compression=("lz4", 1), zero_t0=False
        )
