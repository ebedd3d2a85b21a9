"""The library reads the events that the Python readers read."""

from __future__ import annotations

import contextlib
import struct
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lmht_deploy.errors import LmhtError
from lmht_deploy.events._encoding import encode_aedat4_packet
from lmht_deploy.events.arrays import EVENT, Sensor, make_events
from lmht_deploy.events.recordings import Recording, open_recording, write_events
from lmht_deploy.zoo import recording_path
from tests.events.test_hostile import aedat4, packet4
from tests.events.test_recordings import aedat2, aedat31, packet31
from tests.support.recordings import DATA

from .bindings import FILE, IO, UNSUPPORTED, Library, LibraryError

SUFFIXES = (".aedat4", ".aedat", ".raw", ".dat", ".es", ".bin")
REAL = sorted(
    path
    for pattern in ("event_formats/*", "reports/*/*")
    for path in DATA.glob(pattern)
    if path.suffix in SUFFIXES
)
SIZES: tuple[Sensor | None, ...] = (None, Sensor(260, 346), Sensor(480, 640))


def read_python(path: Path, sensor: Sensor | None, track: str | None) -> tuple[Sensor, list[Any]]:
    stream = open_recording(path, sensor, track=track)
    columns = [np.empty((0, 4), np.int64)]
    for packet in stream.packets:
        columns.append(np.stack([packet[name].astype(np.int64) for name in "txyp"], 1))
    events = np.concatenate(columns)
    events[:, 1:3] &= 0xFFFF  # addresses of 16 bits
    return stream.sensor, events.tolist()


def read_library(
    library: Library, path: Path, sensor: Sensor | None, track: str | None
) -> tuple[Sensor, list[Any]]:
    height, width = sensor or (0, 0)
    chosen = None if track is None else track.encode()
    with library.made("recording_open", str(path).encode(), width, height, chosen) as recording:
        size = Sensor(library.recording_height(recording), library.recording_width(recording))
        events = library.read_all(recording)
        return size, np.stack([events[name].astype(np.int64) for name in "txyp"], 1).tolist()


def assert_agree(
    library: Library, path: Path, sensor: Sensor | None = None, track: str | None = None
) -> None:
    """Require the same events, or an error of both."""
    try:
        expected: object = read_python(path, sensor, track)
    except LmhtError as error:
        with pytest.raises(LibraryError) as found:
            read_library(library, path, sensor, track)
        assert found.value.status in (FILE, UNSUPPORTED), error
        assert str(found.value).isprintable()
    else:
        assert read_library(library, path, sensor, track) == expected


@pytest.mark.parametrize("path", REAL, ids=lambda path: path.name)
def test_real_recordings(library: Library, path: Path) -> None:
    for sensor in SIZES:
        assert_agree(library, path, sensor)


def test_the_recording_of_the_zoo(library: Library) -> None:
    assert_agree(library, recording_path(Path("zoo:digits")))


@pytest.fixture
def events() -> np.ndarray:
    rng = np.random.default_rng(3)
    number = 40_000
    return make_events(
        np.cumsum(rng.integers(0, 300, number)),
        rng.integers(0, 100, number),
        rng.integers(0, 90, number),
        rng.integers(0, 2, number),
    )


@pytest.mark.parametrize("suffix", [".aedat4", ".raw"])
def test_what_is_written_is_read(
    library: Library, events: np.ndarray, suffix: str, tmp_path: Path
) -> None:
    path = tmp_path / f"recording{suffix}"
    write_events(path, Recording(events, Sensor(90, 100)))
    assert (
        read_library(library, path, None, None)[1]
        == np.stack([events[name].astype(np.int64) for name in "txyp"], 1).tolist()
    )
    content = path.read_bytes()
    for share in np.linspace(0, 1, 30):
        path.write_bytes(content[: int(share * len(content))])
        assert_agree(library, path)


def by_hand() -> dict[str, tuple[str, bytes]]:
    """Small files, as the tests of the Python readers make them: suffix and content by name."""
    zero = np.zeros(3, EVENT)
    two = make_events(np.array([1, 5]), np.array([3, 4]), np.array([2, 1]), np.array([0, 1]))
    bodies = [packet4(two), packet4(two, track=1), packet4(zero)]
    evt = b"% evt 2.0\n% geometry 640x480\n"
    words2 = bytes.fromhex("00000080 01080010 02100000")
    words3 = bytes.fromhex("02800560 0500 0728 0538 ff4f")
    pixels31 = packet31([(100 << 17 | 7 << 2 | 3, 5), (3, 2**31 - 1)], overflow=1)
    others31 = packet31([(1, 9)], kind=0), packet31([(7, 9)])
    davis = (0x400, 7), (1 << 31, 8), (0x12345800, 9)
    sized = b"% Width 9\n% Height 9\n"
    return {
        "aedat4": (".aedat4", aedat4(bodies[0], bodies[2])),
        "aedat4-tracks": (".aedat4", aedat4(bodies[0], bodies[1], tracks=2)),
        "aedat31": (".aedat", aedat31(pixels31)),
        "aedat31-name": (".aedat", aedat31(*others31, source="DAVIS346bMono")),
        "aedat2": (".aedat", aedat2((0x1234, 7), (0x8001, 8), (1, 2**32 - 1), (1, 3))),
        "aedat2-davis": (".aedat", aedat2(*davis, chip="DAVIS240C")),
        "aedat2-no-chip": (".aedat", b"#!AER-DAT2.0\r\n# End\r\n" + bytes(range(32))),
        "evt2": (".raw", evt + words2),
        "evt3": (".raw", b"% evt 3.0\n% geometry 640x480\n% t0 17\n" + words3),
        "plugin": (".raw", b"% evt 2.0\n% plugin_name hal_plugin_gen41_evk3\n" + bytes(8)),
        "format": (".raw", b"% format EVT21;endianness=legacy;height=9;width=7\n" + bytes(8)),
        "first-time": (".raw", evt + b"% t0 x\n"),
        "dat": (".dat", sized + b"\x0c\x08" + bytes(range(16))),
        "dat-type": (".dat", sized + b"\x0e\x08" + bytes(range(16))),
        "es": (".es", b"Event Stream\2\0\0\1\x09\0\x09\0" + bytes(range(0, 40, 2))),
        "es-no-rows": (".es", b"Event Stream\2\0\0\1\x09\0\0\0" + bytes(range(0, 40, 2))),
        "es-no-columns": (".es", b"Event Stream\2\0\0\2\0\0\x09\0" + bytes(range(0, 40, 2))),
        "es-atis": (".es", b"Event Stream\2\0\0\2\x09\0\x09\0" + bytes(range(0, 200, 3))),
        "bin": (".bin", bytes(range(50)) + bytes([0, 240, 0, 0, 0]) * 3 + bytes(range(5))),
        "empty": (".aedat", b""),
        "foreign": (".aedat", b"#!AER-DAT9.0\r\n"),
    }  # fmt: skip


@pytest.mark.parametrize("name", by_hand())
def test_files_by_hand(library: Library, name: str, tmp_path: Path) -> None:
    suffix, content = by_hand()[name]
    path = tmp_path / f"recording{suffix}"
    path.write_bytes(content)
    tracks = ("0", "1", "2") if suffix.startswith(".aedat") else ("1",)
    for sensor in SIZES:
        for track in (None, *tracks):
            assert_agree(library, path, sensor, track)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"content_checksum": True, "block_checksum": True},
        {"store_size": False, "block_linked": False},
        {"block_size": 4, "compression_level": 9},
    ],
)
def test_frames_of_lz4(library: Library, options: dict[str, Any], tmp_path: Path) -> None:
    lz4 = pytest.importorskip("lz4.frame")
    rng = np.random.default_rng(1)
    number = 30_000  # several blocks
    x, zero = rng.integers(0, 9, number), np.zeros(number, int)
    events = make_events(np.arange(number), x, zero, zero + 1)
    packet = encode_aedat4_packet(events, partial(lz4.compress, **options))
    path = tmp_path / "recording.aedat4"
    content = aedat4(bytes(4) + packet[4:])
    path.write_bytes(content)
    assert_agree(library, path)
    assert len(read_library(library, path, None, None)[1]) == number
    for at in rng.integers(len(content) - len(packet), len(content), 60):
        damaged = bytearray(content)
        damaged[at] ^= 1 << rng.integers(8)
        path.write_bytes(damaged)
        if "content_checksum" in options:  # otherwise some damage cannot be seen
            assert_agree(library, path)
        with contextlib.suppress(LibraryError):
            read_library(library, path, None, None)


ZSTD = b"\x28\xb5\x2f\xfd"
"""First bytes of a frame of Zstandard."""


def aedat4_of_zstd(events: np.ndarray, **options: Any) -> bytes:
    """A recording with one packet, which Zstandard compresses with `options`."""
    zstandard = pytest.importorskip("zstandard")
    packet = encode_aedat4_packet(events, zstandard.ZstdCompressor(**options).compress)
    lz4_header, zstd_header = (struct.pack("<iiqI", 12, kind, -1, 4) for kind in (1, 3))
    return aedat4(bytes(4) + packet[4:]).replace(lz4_header, zstd_header, 1)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"level": 1, "write_checksum": True},
        {"level": 19, "write_checksum": True, "write_content_size": False},
        {"level": -5},
    ],
)
@pytest.mark.parametrize("spread", [1, 9, 60_000])
def test_frames_of_zstandard(
    library: Library, options: dict[str, Any], spread: int, tmp_path: Path
) -> None:
    rng = np.random.default_rng(1)
    number = 30_000  # several blocks
    x, zero = rng.integers(0, 9, number), np.zeros(number, int)
    events = make_events(np.cumsum(rng.integers(0, spread, number)), x, zero, zero + 1)
    content = aedat4_of_zstd(events, **options)
    path = tmp_path / "recording.aedat4"
    path.write_bytes(content)
    assert_agree(library, path)
    assert len(read_library(library, path, None, None)[1]) == number
    for at in rng.integers(content.rindex(ZSTD), len(content), 60):
        damaged = bytearray(content)
        damaged[at] ^= 1 << rng.integers(8)
        path.write_bytes(damaged)
        with contextlib.suppress(LibraryError):
            read_library(library, path, None, None)
    path.write_bytes(content[:-20])  # of a packet that is cut off
    with pytest.raises(LibraryError):
        read_library(library, path, None, None)


@pytest.mark.parametrize("kind", ["lz4", "zstd"])
def test_no_reader_believes_a_frame_that_is_cut_off(
    library: Library, kind: str, tmp_path: Path
) -> None:
    """The packet ends where its frame is cut, so that only the frame shows it."""
    events = make_events(np.arange(20_000), *np.random.default_rng(1).integers(0, 2, (3, 20_000)))
    if kind == "lz4":
        content = aedat4(packet4(events))
    else:
        content = aedat4_of_zstd(events, write_content_size=False)
    at = content.rindex({"lz4": b"\x04\x22\x4d\x18", "zstd": ZSTD}[kind])
    path = tmp_path / "recording.aedat4"
    for cut in range(at + 5, len(content), 97):
        packet = struct.pack("<i", cut - at) + content[at:cut]
        path.write_bytes(content[: at - 4] + packet)
        with pytest.raises(LmhtError, match="cannot be decompressed"):
            read_python(path, None, None)
        assert_agree(library, path)


def test_errors(library: Library, tmp_path: Path) -> None:
    missing = tmp_path / "none.raw"
    for path, status, message in (
        (missing, IO, "No such file"),
        (tmp_path / "x.txt", UNSUPPORTED, "not a recording"),
        (tmp_path / "x.bin", FILE, "does not say how large its sensor is"),
    ):
        if path != missing:
            path.write_bytes(b"")
        with pytest.raises(LibraryError, match=message) as error:
            read_library(library, path, None, None)
        assert error.value.status == status and str(path) in str(error.value)
