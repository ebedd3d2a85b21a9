"""Recordings of every format: real files by counts, ends and a second reader; written files."""

from __future__ import annotations

import importlib.util
import struct
from pathlib import Path

import h5py
import numpy as np
import pytest

from lmht_deploy.errors import DataError, LmhtError, StorageError
from lmht_deploy.events.arrays import EVENT, Sensor, make_events
from lmht_deploy.events.recordings import (
    Recording,
    open_recording,
    read_events,
    write_events,
)
from tests.support.recordings import SENSOR, data

NMNIST = Sensor(34, 34)
REAL = {
    "davis346_short.aedat4": (
        None,
        Sensor(260, 346),
        6676,
        (1589163147368868, 215, 164, True),
        (1589163147538809, 96, 229, True),
    ),
    "tonic_sample_320x240.aedat4": (
        None,
        Sensor(240, 320),
        111954,
        (1605537493718345, 154, 204, False),
        (1605537494308262, 88, 237, True),
    ),
    "dvs.es": (None, Sensor(240, 320), 473225, (0, 0, 0, True), (999000, 38, 193, True)),
    "dvs128_aedat2_walking2.aedat": (
        None,
        Sensor(128, 128),
        70304,
        (135707767, 106, 90, True),
        (144951371, 42, 74, True),
    ),
    "evt2_gen3_faery.raw": (
        None,
        Sensor(480, 640),
        521252,
        (913716224, 35, 443, True),
        (913812095, 12, 471, False),
    ),
    "evt3_gen41_sample.raw": (
        None,
        Sensor(720, 1280),
        219596,
        (11718656, 874, 200, False),
        (11727457, 1218, 572, True),  # faery repeats an earlier, later time
    ),
    "ncars_sample.dat": (
        Sensor(100, 120),
        Sensor(100, 120),
        2009,
        (0, 25, 8, False),
        (99952, 75, 28, True),
    ),
    "nmnist_sample.bin": (NMNIST, NMNIST, 4325, (654, 7, 15, True), (311175, 21, 14, True)),
    "ncaltech101_faces_easy_0001.bin": (
        Sensor(180, 240),
        Sensor(180, 240),
        67445,
        (6, 131, 2, True),
        (299364, 40, 15, True),
    ),
    "tiny_event.hdf5": (
        Sensor(260, 346),
        Sensor(260, 346),
        17,
        (0, 134, 30, False),
        (5748, 74, 181, False),
    ),
}


@pytest.fixture
def library() -> None:
    for package in ("faery", "tonic"):
        pytest.importorskip(package)


@pytest.mark.parametrize("name", REAL)
def test_real_recording(name: str, library: None) -> None:
    given, sensor, number, first, last = REAL[name]
    events, found, dropped = read_events(data(f"event_formats/{name}"), given)
    assert found == sensor and events.dtype == EVENT and len(events) == number
    assert not any(dropped.values())
    assert events[0].item() == first and events[-1].item() == last
    assert (np.diff(events["t"]) >= 0).all()


@pytest.mark.parametrize("name", ["davis346_short.aedat4", "tonic_sample_320x240.aedat4"])
def test_aedat4_agrees_with_aedat(name: str, library: None) -> None:
    decoder = pytest.importorskip("aedat").Decoder(str(data(f"event_formats/{name}")))
    packets = [packet["events"] for packet in decoder if "events" in packet]
    assert_same(read_events(data(f"event_formats/{name}"))[0], np.concatenate(packets), p="on")


@pytest.mark.parametrize(
    ("name", "encoding", "fields"),
    [
        ("evt2_gen3_faery.raw", "evt2", "txyp"),
        ("evt3_gen41_sample.raw", "evt3", "xyp"),
        ("ncars_sample.dat", "dat", "txyp"),
    ],
)
def test_prophesee_agrees_with_expelliarmus(
    name: str, encoding: str, fields: str, library: None
) -> None:
    """Its version 1.1.12 reads wrong times from EVT3, so these are left out."""
    expected = (
        pytest.importorskip("expelliarmus")
        .Wizard(encoding=encoding)
        .read(str(data(f"event_formats/{name}")))
    )
    events, _, _ = read_events(data(f"event_formats/{name}"), REAL[name][0])
    for field in fields:
        np.testing.assert_array_equal(events[field], expected[field])


def assert_same(events: np.ndarray, expected: np.ndarray, p: str = "p") -> None:
    for field, other in {"t": "t", "x": "x", "y": "y", "p": p}.items():
        np.testing.assert_array_equal(events[field], expected[other])


def random_events(sensor: Sensor, number: int = 500, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    t = np.cumsum(rng.integers(0, 300, number))
    return make_events(
        t - t[0],
        rng.integers(sensor.width, size=number),
        rng.integers(sensor.height, size=number),
        rng.integers(2, size=number),
    )


# --------------------------------------------------------------------------------- written and read


@pytest.mark.parametrize("suffix", [".aedat4", ".dat", ".raw", ".es"])
def test_what_faery_writes_is_read(tmp_path: Path, suffix: str) -> None:
    faery = pytest.importorskip("faery")
    sensor, path = Sensor(480, 640), tmp_path / f"recording{suffix}"
    events = random_events(sensor)
    packet = np.zeros(len(events), faery.EVENTS_DTYPE)
    for field, other in {"t": "t", "x": "x", "y": "y", "on": "p"}.items():
        packet[field] = events[other]
    faery.events_stream_from_array(packet, (sensor.width, sensor.height)).to_file(path)
    found, found_sensor, _ = read_events(path)
    assert found_sensor == sensor
    np.testing.assert_array_equal(found, events)


def test_what_is_written_is_read(tmp_path: Path) -> None:
    pytest.importorskip("faery")
    events = random_events(SENSOR)
    events["t"] += 1_605_537_493_718_345
    write_events(tmp_path / "a.aedat4", Recording(events, SENSOR))
    found, sensor, _ = read_events(tmp_path / "a.aedat4")
    np.testing.assert_array_equal(found, events)
    assert sensor == SENSOR and [path.name for path in tmp_path.iterdir()] == ["a.aedat4"]
    with pytest.raises(StorageError, match="cannot be written"):
        write_events(tmp_path / "absent" / "a.aedat4", Recording(events, SENSOR))


@pytest.mark.parametrize("form", ["npy", "npz", "group.h5", "seconds.hdf5", "table.h5", "root.h5"])
def test_arrays_in_files(tmp_path: Path, form: str) -> None:
    events, path = random_events(NMNIST), tmp_path / form
    columns = {name: events[name] for name in "txyp"}
    match form:
        case "npy":
            path = path.with_name("recording.npy")
            np.save(path, events)
        case "npz":
            path = path.with_name("recording.npz")
            np.savez(path, **columns)
        case _:
            with h5py.File(path, "w") as file:
                if form == "seconds.hdf5":
                    columns["t"] = columns["t"] / 1e6
                if form == "table.h5":
                    file["CD/events"] = events
                else:
                    for name, column in columns.items():
                        file[name if form == "root.h5" else f"davis/events/{name}"] = column
    found, _, _ = read_events(path, NMNIST)
    np.testing.assert_array_equal(found, events)
    with pytest.raises(DataError, match="does not say how large its sensor is"):
        read_events(path)


def aedat2(*records: tuple[int, int], chip: str = "ch.unizh.ini.jaer.chip.retina.DVS128") -> bytes:
    header = f"#!AER-DAT2.0\r\n# AEChip: {chip}\r\n# End\r\n".encode()
    return header + b"".join(struct.pack(">II", *record) for record in records)


def aedat31(*packets: bytes, format: str = "RAW", source: str = "DVS128") -> bytes:
    return (
        f"#!AER-DAT3.1\r\n#Format: {format}\r\n#Source 1: {source}\r\n#!END-HEADER\r\n".encode()
        + b"".join(packets)
    )


def packet31(
    events: list[tuple[int, int]], kind: int = 1, size: int = 8, overflow: int = 0
) -> bytes:
    """Of (data, time): bit 0 valid, bit 1 polarity, bits 2 to 16 y, bits 17 to 31 x."""
    head = struct.pack(
        "<hhiiiiii", kind, 1, size, 4, overflow, len(events), len(events), len(events)
    )
    return head + b"".join(struct.pack("<II", *event) for event in events)


def test_aedat31_by_hand(tmp_path: Path) -> None:
    path = tmp_path / "recording.aedat"
    packets = [
        packet31(
            [(100 << 17 | 7 << 2 | 3, 5), (1 << 17 | 2 << 2 | 1, 6), (3 << 17 | 3, 2**31 - 1)]
        ),
        packet31([(1, 9)], kind=0),  # a special event, as of a trigger
        packet31(
            [(4 << 17 | 4 << 2 | 2, 8), (4 << 17 | 5 << 2 | 1, 9)], overflow=1
        ),  # the first is not valid
    ]
    path.write_bytes(aedat31(*packets))
    events, sensor, _ = read_events(path)
    assert sensor == Sensor(128, 128)
    assert events.tolist() == [
        (5, 100, 7, True),
        (6, 1, 2, False),
        (2**31 - 1, 3, 0, True),
        (2**31 + 9, 4, 5, False),
    ]


def test_aedat31_agrees_with_tonic(tmp_path: Path) -> None:
    """Tonic reads gestures of a DVS128: polarity events only, all valid, without overflow."""
    io = pytest.importorskip("tonic.io")
    path = tmp_path / "recording.aedat"
    rng = np.random.default_rng(0)
    t = np.sort(rng.integers(0, 10**6, 300))
    data = (
        rng.integers(128, size=300) << 17
        | rng.integers(128, size=300) << 2
        | rng.integers(2, size=300) << 1
        | 1
    )
    rows = list(zip(data.tolist(), t.tolist(), strict=True))
    path.write_bytes(aedat31(packet31(rows[:100]), packet31(rows[100:])))
    expected = io.get_aer_events_from_file(str(path), 3.1, len(aedat31()))
    events, _, _ = read_events(path)
    np.testing.assert_array_equal(events["t"], expected["timeStamp"])
    for name, lowest, bits in (
        ("x", 17, 13),
        ("y", 2, 13),
        ("p", 1, 1),
    ):  # as in tonic.io.read_dvs_ibm
        np.testing.assert_array_equal(events[name], expected["address"] >> lowest & 2**bits - 1)


def test_aedat2_by_hand(tmp_path: Path) -> None:
    path = tmp_path / "recording.aedat"
    on, off, sync = (127 << 8) | (0 << 1), (0 << 8) | (127 << 1) | 1, 0x8000
    path.write_bytes(aedat2((on, 2**32 - 5), (sync, 2**32 - 4), (off, 3)))
    events, sensor, _ = read_events(path)
    assert events.tolist() == [
        (2**32 - 5, 127, 0, True),
        (2**32 + 3, 0, 127, False),
    ]  # the 32-bit clock ran over
    assert sensor == Sensor(128, 128)


def test_packets_need_not_be_read_at_once(library: None) -> None:
    recording = open_recording(data("event_formats/evt2_gen3_faery.raw"))
    first, second = next(recording.packets), next(recording.packets)
    assert len(first) + len(second) < 521252 // 4


# ------------------------------------------------------------------------------ what cannot be read


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.txt", b"", "a recording ends in .aedat4"),
        (
            "a.aedat",
            b"#!AER-DAT3.0\r\n",
            "AEDAT 4, 3.1 and 2.0 can be read. iniVation's DV converts others",
        ),
        (
            "a.aedat",
            aedat31(b"", format="SerializedTS"),
            "of the format SerializedTS; only RAW can be read. iniVation's DV",
        ),
        (
            "a.aedat",
            aedat31(packet31([(1, 1)])[:-3]),
            "is damaged or truncated, a packet of 1 events",
        ),
        ("a.aedat", aedat31(packet31([(1, 1)])[:20]), "is truncated, 20 bytes are left over"),
        (
            "a.aedat",
            aedat31(packet31([(1, 1)], size=-8)),
            "is damaged or truncated, a packet of 1 events of -8 bytes",
        ),
        ("a.aedat", aedat31(packet31([(1, 1)], size=4)), "an event of a pixel has 8 bytes, not 4"),
        (
            "a.aedat",
            aedat31(packet31([(1, 1)]), source="Unheard of"),
            "does not say how large its sensor is",
        ),
        (
            "a.aedat",
            aedat2(chip="eu.seebetter.ini.chips.davis.DAVIS640"),
            "AEDAT 2.0 of the chip 'DAVIS640",
        ),
        ("a.aedat", aedat2((0, 1)) + b"abc", "3 bytes are left over"),
        ("a.aedat", aedat2(), "holds no event$"),
        ("a.aedat", aedat2((0, 5), (0, 4)), "event 1: its time 4 us is earlier"),
        ("a.aedat4", b"", "a.aedat4: is empty"),
        ("a.aedat4", b"#!AER-DAT4.0\r\nabc", "is damaged"),
        ("a.aedat4", b"#!AER-DAT4.0\r\n" + bytes(99), "is damaged"),
        ("a.es", b"Event", "is damaged"),
        (
            "a.raw",
            b"% evt 3.0\n",
            r"does not say how large its sensor is; give .* \(on the command line --sensor WxH\)",
        ),
        ("a.raw", b"% evt 3.0\n" + bytes(7), "is truncated, 1 bytes are left over"),
        (
            "a.raw",
            b"% format EVT21;height=720;width=1280\n% end\n" + bytes(9),
            "is truncated, 1 bytes are left over",
        ),
        ("a.raw", b"% evt 2.0\n" + bytes(7), "is truncated, 3 bytes are left over"),
        ("a.dat", b"% Version 2\n\x00\x08123", "3 bytes are left over"),
        ("a.h5", b"abc", "is damaged"),
        ("a.npy", b"abc", "is damaged"),
        ("a.npz", b"PK", "is damaged"),
    ],
)
def test_what_is_no_recording_is_named_in_one_line(
    tmp_path: Path, name: str, content: bytes, message: str, library: None
) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match=message) as caught:
        read_events(tmp_path / name)
    assert "\n" not in str(caught.value) and str(tmp_path / name) in str(caught.value)


def test_damaged_headers_of_aedat4_raise_an_error_and_print_nothing(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], library: None
) -> None:
    """faery panics on many of these, and aborts the process on some."""
    write_events(tmp_path / "good.aedat4", Recording(random_events(SENSOR), SENSOR))
    content = (tmp_path / "good.aedat4").read_bytes()
    rng = np.random.default_rng(0)
    refused = 0
    for end in (70, 600):
        for _ in range(100):
            damaged = bytearray(content)
            for index in rng.integers(14, end, 3):
                damaged[index] = rng.integers(256)
            (tmp_path / "damaged.aedat4").write_bytes(damaged)
            try:
                read_events(tmp_path / "damaged.aedat4")
            except DataError:
                refused += 1
    assert refused > 100 and capfd.readouterr().err == ""


@pytest.mark.parametrize(
    "name",
    [
        "davis346_short.aedat4",
        "dvs.es",
        "evt2_gen3_faery.raw",
        "evt3_gen41_sample.raw",
        "dvs128_aedat2_walking2.aedat",
        "tiny_event.hdf5",
    ],
)
def test_truncated_real_recordings_give_events_or_an_error(
    tmp_path: Path, name: str, library: None
) -> None:
    content = data(f"event_formats/{name}").read_bytes()
    for size in (0, 1, 15, 60, 300, len(content) // 3, len(content) // 2 + 1, len(content) - 1):
        (tmp_path / name).write_bytes(content[:size])
        try:
            events, _, _ = read_events(tmp_path / name, REAL[name][1])
        except LmhtError as error:
            assert "\n" not in str(error)
        else:
            assert 0 < len(events) <= REAL[name][2]


def test_arrays_of_another_kind_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "recording.npz"
    np.savez(path, t=np.arange(3), x=np.arange(3), y=np.arange(3))
    with pytest.raises(DataError, match="four arrays t, x, y, p of one length; it holds t, x, y"):
        read_events(path, NMNIST)
    np.savez(path, t=np.arange(3), x=np.arange(3), y=np.arange(3), p=np.zeros(2, int))
    with pytest.raises(DataError, match="of one length"):
        read_events(path, NMNIST)
    np.save(tmp_path / "recording.npy", np.zeros((4, 4)))
    with pytest.raises(DataError, match="structured array"):
        read_events(tmp_path / "recording.npy", NMNIST)
    with h5py.File(tmp_path / "two.h5", "w") as file:
        for name in "txyp":
            file[f"left/{name}"] = file[f"right/{name}"] = np.zeros(2, int)
    with pytest.raises(DataError, match="one group with the arrays t, x, y, p; it holds 2"):
        read_events(tmp_path / "two.h5", NMNIST)


def test_bad_events_are_dropped_only_when_asked(tmp_path: Path) -> None:
    path = tmp_path / "recording.npy"
    np.save(
        path,
        make_events(np.array([5, 6, 4]), np.array([1, 99, 1]), np.zeros(3, int), np.ones(3, int)),
    )
    with pytest.raises(DataError, match=r"recording\.npy: event 1: x=99"):
        read_events(path, NMNIST)
    events, _, dropped = read_events(path, NMNIST, drop=True)
    assert len(events) == 1 and dropped == {"range": 1, "polarity": 0, "order": 1}
    with pytest.raises(DataError, match="holds no valid event"):
        read_events(path, Sensor(1, 1), drop=True)


def test_a_missing_file_or_package_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(StorageError, match="there is no such file"):
        read_events(tmp_path / "absent.raw")
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    with pytest.raises(
        DataError,
        match=r"the package 'lz4' is not installed; run: pip install 'lmht-deploy\[events\]'",
    ):
        write_events(tmp_path / "a.aedat4", Recording(np.zeros(1, EVENT), SENSOR))


def test_a_missing_decompressor_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    path = data("event_formats/davis346_short.aedat4")
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    with pytest.raises(DataError, match="the package 'lz4' is not installed"):
        read_events(path)


@pytest.mark.parametrize("suffix", [".aedat4", ".raw"])
def test_a_given_sensor_is_not_smaller_than_the_stated_one(suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"recording{suffix}"
    write_events(path, Recording(make_events(*np.array([[1], [2], [3], [0]])), Sensor(30, 40)))
    for given in ((29, 40), (30, 39), (8, 64)):
        message = rf"recording{suffix}: its sensor has 40 x 30 pixels; the given size"
        with pytest.raises(DataError, match=rf"{message} {given[1]} x {given[0]} is smaller"):
            read_events(path, given)
    for given in ((30, 40), (30, 41), (480, 640)):
        assert read_events(path, given).sensor == given
