"""Files and events that lie: about their size, their place, their time or their polarity."""

from __future__ import annotations

import io
import struct
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest

from lmht_deploy.errors import DataError
from lmht_deploy.events import (
    EVENT,
    EventStream,
    EventValidator,
    Recording,
    Sensor,
    make_events,
    open_recording,
    read_events,
    write_events,
)
from lmht_deploy.events import _encoding as encoding
from lmht_deploy.events._pieces import PIECE
from lmht_deploy.events.arrays import MAX_GAP
from lmht_deploy.events.stream import Counts, Windower
from lmht_deploy.events.windows import WindowRule, clip_counts
from tests.support.recordings import at, data

SENSOR = Sensor(260, 346)


def columns(number: int) -> dict[str, np.ndarray]:
    return {"t": np.arange(number), **{name: np.zeros(number, np.uint8) for name in "xyp"}}


# --------------------------------------------------------------------------------- declared sizes


def hdf5(path: Path, name: str) -> None:
    """A file of 10^8 events that holds almost none of them."""
    number = 10**8
    with h5py.File(path, "w") as file:
        for column in "txyp":
            match name:
                case "nothing stored":
                    file.create_dataset(column, (number,), "i8", chunks=(PIECE,))
                case "one chunk stored":
                    array = file.create_dataset(column, (number,), "i8", chunks=(PIECE,))
                    array[:PIECE] = 0
                case "compressed twice":
                    plist = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
                    plist.set_chunk((10**7,))
                    plist.set_deflate(9)
                    plist.set_filter(h5py.h5z.FILTER_DEFLATE, h5py.h5z.FLAG_OPTIONAL, (9,))
                    space = h5py.h5s.create_simple((number,))
                    kind = h5py.h5t.NATIVE_UINT8
                    h5py.h5d.create(file.id, column.encode(), kind, space, plist)
                    for start in range(0, number, 10**7):
                        file[column][start : start + 10**7] = 0
                case "one huge chunk":
                    array = file.create_dataset(
                        column, (number,), "i8", chunks=(number,), compression="gzip"
                    )
                    array.id.write_direct_chunk((0,), b"x" * 100)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("nothing stored", "declares 100,000,000 values of /t and stores fewer"),
        ("one chunk stored", "declares 100,000,000 values of /t and stores fewer"),
        ("compressed twice", "declares 400,000,000 bytes of events and stores"),
        ("one huge chunk", "in chunks of more than"),
    ],
)
def test_hdf5_is_not_believed(tmp_path: Path, name: str, message: str) -> None:
    hdf5(tmp_path / "a.h5", name)
    assert (tmp_path / "a.h5").stat().st_size < 10**7
    with pytest.raises(DataError, match=message):
        open_recording(tmp_path / "a.h5", SENSOR)


def test_hdf5_does_not_leave_the_file(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "other.h5", "w") as file:
        for name, values in columns(5).items():
            file[name] = values
    with h5py.File(tmp_path / "link.h5", "w") as file:
        for name in "xyp":
            file[name] = np.zeros(5, np.uint8)
        file["t"] = h5py.ExternalLink("other.h5", "t")
    with pytest.raises(DataError, match="a link in place of the array 't'"):
        read_events(tmp_path / "link.h5", SENSOR)
    with h5py.File(tmp_path / "virtual.h5", "w") as file:
        for name in "xyp":
            file[name] = np.zeros(5, np.uint8)
        layout = h5py.VirtualLayout((5,), "i8")
        layout[:] = h5py.VirtualSource(str(tmp_path / "other.h5"), "t", (5,))
        file.create_virtual_dataset("t", layout)
    with pytest.raises(DataError, match="stores /t in another file"):
        read_events(tmp_path / "virtual.h5", SENSOR)


def npy(values: np.ndarray, shape: tuple[int, ...] | None = None) -> bytes:
    """`values` in a file that declares `shape`."""
    content = io.BytesIO()
    header = {"descr": values.dtype.str, "fortran_order": False, "shape": shape or values.shape}
    np.lib.format.write_array_header_1_0(content, header)
    return content.getvalue() + values.tobytes()


def npz(path: Path, members: dict[str, bytes]) -> None:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(f"{name}.npy", content)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"t": npy(np.arange(4), (10**12,))}, "1,000,000,000,000 values of 8 bytes are declared"),
        ({"t": npy(np.arange(3))}, "of one length"),
        ({"t": b"no array"}, "is damaged"),
        ({"t": npy(np.arange(4).reshape(2, 2))}, "one-dimensional"),
        ({"sensor": npy(np.arange(3))}, "two integers, height and width"),
        ({"sensor": npy(np.zeros(2, int))}, "the size of a sensor"),
        ({name: npy(np.zeros(3 * 10**7, np.uint8)) for name in "txyp"}, "declares 120,000"),
    ],
)
def test_npz_is_not_believed(tmp_path: Path, changed: dict[str, bytes], message: str) -> None:
    members = {name: npy(values) for name, values in columns(4).items()}
    npz(tmp_path / "a.npz", members | changed)
    if message.startswith("declares"):  # a bomb of bombs: deflate alone reaches a ratio of 1,032
        pytest.importorskip("hypothesis")
        with zipfile.ZipFile(tmp_path / "a.npz") as archive:
            ratio = (
                sum(i.file_size for i in archive.infolist()) / (tmp_path / "a.npz").stat().st_size
            )
        assert ratio < 1100
        return
    with pytest.raises(DataError, match=message):
        open_recording(tmp_path / "a.npz")


@pytest.mark.parametrize("name", ["encrypted", "lzma_bad", "method99", "notallowed"])
def test_odd_zip_files(name: str) -> None:
    with pytest.raises(DataError):
        read_events(data(f"attacks/10/{name}.npz"), SENSOR)


@pytest.mark.parametrize("name", ["hugehdr", "huge_6GB"])
def test_huge_zip_files(name: str) -> None:
    with pytest.raises(DataError):
        read_events(data(f"attacks/06/{name}.npz"), SENSOR)


def test_npy_is_not_believed(tmp_path: Path) -> None:
    for content, message in (
        (npy(np.zeros(3, EVENT).view("V13"), (10**12,)), "fields t, x, y, p"),
        (b"\x93NUMPY\x03\0" + bytes(90), "version"),
    ):
        (tmp_path / "a.npy").write_bytes(content)
        with pytest.raises(DataError, match=message):
            open_recording(tmp_path / "a.npy", SENSOR)
    np.save(tmp_path / "a.npy", np.zeros(3, EVENT))
    whole = (tmp_path / "a.npy").read_bytes()
    for content in (whole[:-1], whole + b"\0"):
        (tmp_path / "a.npy").write_bytes(content)
        with pytest.raises(DataError, match=r"3 values of 13 bytes are declared, \d+ bytes follow"):
            open_recording(tmp_path / "a.npy", SENSOR)
    np.save(tmp_path / "a.npy", np.array([{}], object), allow_pickle=True)
    with pytest.raises(DataError, match="Python objects"):
        open_recording(tmp_path / "a.npy", SENSOR)


def aedat4(*packets: bytes, tracks: int = 1) -> bytes:
    """A file of `tracks` tracks of events, numbered from 0, compressed with LZ4."""
    text = encoding._describe_track(SENSOR)
    node = text[text.index('<node name="0"') : text.index("</node></dv>")]
    more = "".join(node.replace('name="0"', f'name="{n}"') for n in range(1, tracks))
    described = text.replace(node, node + more)
    original = encoding._describe_track
    try:
        encoding._describe_track = lambda _: described
        return encoding.encode_aedat4_header(SENSOR) + b"".join(packets)
    finally:
        encoding._describe_track = original


def packet4(events: np.ndarray, track: int = 0) -> bytes:
    lz4 = pytest.importorskip("lz4.frame")
    return struct.pack("<i", track) + encoding.encode_aedat4_packet(events, lz4.compress)[4:]


def test_aedat4_is_not_believed(tmp_path: Path) -> None:
    lz4 = pytest.importorskip("lz4.frame")
    bomb = lz4.compress(bytes(2**28 + 2**20))
    (tmp_path / "a.aedat4").write_bytes(aedat4(struct.pack("<ii", 0, len(bomb)) + bomb))
    with pytest.raises(DataError, match="holds more than 268,435,456 bytes"):
        read_events(tmp_path / "a.aedat4")
    with pytest.raises(DataError, match="packet"):
        (tmp_path / "a.aedat4").write_bytes(aedat4(struct.pack("<ii", 0, 2**30)))
        read_events(tmp_path / "a.aedat4")


def test_a_recording_on_which_another_reader_panics() -> None:
    """Twenty bytes of a frame are damaged; the events are not."""
    found = read_events(data("attacks/02/rec96.aedat4"), Sensor(480, 640)).events
    expected = read_events(data("event_formats/davis346_short.aedat4")).events
    np.testing.assert_array_equal(found, expected)


# ------------------------------------------------------------------------------------- the memory


def bin_file(number: int) -> bytes:
    records = np.zeros((number, 5), np.uint8)
    t = np.arange(number) % 2**23 // 2
    records[:, 2], records[:, 3], records[:, 4] = t >> 16, t >> 8 & 255, t & 255
    return records.tobytes()


def aedat2_file(number: int) -> bytes:
    records = np.zeros((number, 2), ">u4")
    records[:, 1] = np.arange(number)
    return b"#!AER-DAT2.0\r\n# AEChip: DVS128\r\n" + records.tobytes()


def dat_file(number: int) -> bytes:
    records = np.zeros((number, 2), "<u4")
    records[:, 0] = np.arange(number)
    return b"% Width 9\n% Height 9\n\x00\x08" + records.tobytes()


def npy_file(number: int) -> bytes:
    content = io.BytesIO()
    np.save(content, make_events(np.arange(number), *np.zeros((3, number), int)))
    return content.getvalue()


FILES: dict[str, Callable[[int], bytes]] = {
    ".bin": bin_file,
    ".aedat": aedat2_file,
    ".dat": dat_file,
    ".npy": npy_file,
}
MEMORY = """
import resource, sys
from lmht_deploy.events import Sensor, open_recording
stream = open_recording(sys.argv[1], Sensor(128, 128))
next(stream.packets)
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
number = sum(map(len, stream.packets))
print(number, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""


@pytest.mark.parametrize("suffix", [".bin", ".aedat", ".dat", ".npy", ".npz", ".h5", ".csv"])
def test_files_are_read_in_constant_memory(tmp_path: Path, suffix: str) -> None:
    number, path = 40 * PIECE if suffix in FILES else 16 * PIECE, tmp_path / f"a{suffix}"
    if suffix in FILES:
        path.write_bytes(FILES[suffix](number))
    else:
        zeros = np.zeros((3, PIECE), int)
        packets = (make_events(np.arange(PIECE) + i * PIECE, *zeros) for i in range(16))
        write_events(path, EventStream(Sensor(128, 128), packets))
    command = [sys.executable, "-c", MEMORY, str(path)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    found, growth = map(int, done.stdout.split())
    assert 0.6 * number < found < number
    assert growth < 12_000  # kB; the file holds 27 to 70 MB of events


# ----------------------------------------------------------------------------------------- tracks


def test_a_track_of_aedat4_is_chosen(tmp_path: Path) -> None:
    first, second, path = at(1, 2, 3), at(2, 9), tmp_path / "a.aedat4"
    path.write_bytes(aedat4(packet4(first), packet4(second, 1), packet4(at(4)), tracks=2))
    with pytest.raises(DataError, match=r"holds 2 tracks of events, 0 \(.*, 1 \(.*choose one"):
        open_recording(path)
    assert read_events(path, track=0).events["t"].tolist() == [1, 2, 3, 4]
    assert read_events(path, track="1").events["t"].tolist() == [2, 9]
    with pytest.raises(DataError, match="holds no track of events '2'; it holds 0"):
        open_recording(path, track=2)


def test_a_source_of_aedat31_is_chosen(tmp_path: Path) -> None:
    def block(source: int, *times: int) -> bytes:
        number = len(times)
        head = struct.pack("<hhiiiiii", 1, source, 8, 4, 0, number, number, number)
        return head + b"".join(struct.pack("<II", 1, t) for t in times)

    header = b"#!AER-DAT3.1\r\n#Source 1: DVS128\r\n#Source 2: DAVIS240C\r\n#!END-HEADER\r\n"
    path = tmp_path / "a.aedat"
    path.write_bytes(header + block(1, 5, 6) + block(2, 1, 8) + block(1, 7))
    with pytest.raises(DataError, match="holds events of the sources 1 and 2; choose one"):
        read_events(path)
    found = read_events(path, track=2)
    assert found.events["t"].tolist() == [1, 8] and found.sensor == Sensor(180, 240)
    found = read_events(path, track=1)
    assert found.events["t"].tolist() == [5, 6, 7] and found.sensor == Sensor(128, 128)


def test_a_group_of_hdf5_is_chosen(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "a.h5", "w") as file:
        for group, number in (("left", 3), ("right", 5)):
            for name, values in columns(number).items():
                file[f"{group}/{name}"] = values
    with pytest.raises(DataError, match="it holds 2: left, right; choose one"):
        open_recording(tmp_path / "a.h5", SENSOR)
    assert len(read_events(tmp_path / "a.h5", SENSOR, track="right").events) == 5
    with pytest.raises(DataError, match="holds no group of events 'up'; it holds 2"):
        open_recording(tmp_path / "a.h5", SENSOR, track="up")


def test_other_formats_have_one_track(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", at(1))
    with pytest.raises(DataError, match="holds one track of events"):
        open_recording(tmp_path / "a.npy", SENSOR, track=1)


# ----------------------------------------------------------------------------------------- events


def wide(*rows: tuple[int, int, int, int]) -> np.ndarray:
    """Events (t, x, y, p) of any integers."""
    return np.array(list(rows), [(name, np.int64) for name in "txyp"])


HOSTILE = {
    "outside, right": (wide((0, 0, 0, 1), (1, 346, 0, 1)), "range"),
    "outside, left": (wide((0, 0, 0, 1), (1, -1, 0, 1)), "range"),
    "outside, 16 bits on": (wide((0, 0, 0, 1), (1, 65536, 0, 1)), "range"),
    "another sensor": (wide((0, 0, 0, 1), (1, 1279, 719, 1)), "range"),
    "time beyond all": (wide((0, 0, 0, 1), (2**62 + 1, 0, 0, 1)), "range"),
    "polarity -1": (wide((0, 0, 0, 1), (1, 0, 0, -1)), "polarity"),
    "polarity 255": (wide((0, 0, 0, 1), (1, 0, 0, 255)), "polarity"),
    "back by one": (wide((5, 0, 0, 1), (4, 0, 0, 1)), "order"),
    "a clock that wrapped": (wide((2**32 - 1, 0, 0, 1), (3, 0, 0, 1)), "order"),
    "negative after positive": (wide((5, 0, 0, 1), (-5, 0, 0, 1)), "order"),
    "far ahead and back": (wide((0, 0, 0, 1), (10**9, 0, 0, 1), (1, 0, 0, 1)), "order"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_events_are_an_error_or_a_counted_drop(name: str) -> None:
    events, fault = HOSTILE[name]
    with pytest.raises(DataError, match=r"^event \d"):
        EventValidator(SENSOR).validate(events)
    validator = EventValidator(SENSOR, drop=True)
    kept = validator.validate(events)
    assert len(kept) == len(events) - 1
    assert validator.dropped == {"range": 0, "polarity": 0, "order": 0} | {fault: 1}


def test_only_the_time_that_is_wrong_is_dropped() -> None:
    times = [*range(100), 2**61, *range(100, 200), 10**9, 10**9 + 1, *range(200, 300)]
    for packet in (1, 7, 1000):
        validator = EventValidator(SENSOR, drop=True, max_gap=MAX_GAP)
        found = [
            validator.validate(at(*times[i : i + packet])) for i in range(0, len(times), packet)
        ]
        kept = np.concatenate([*found, validator.finish()])["t"].tolist()
        if packet > 1:  # single events that agree are believed
            assert kept == list(range(300)) and validator.dropped["order"] == 3
        else:
            assert kept == [*range(200), 10**9, 10**9 + 1]
        assert len(kept) + validator.dropped["order"] == validator.seen == len(times)


@pytest.mark.parametrize("gap", [-1, 2**62 + 1, 2**80])
def test_a_gap_that_is_out_of_range_is_refused(gap: int) -> None:
    with pytest.raises(DataError, match="the longest gap lies within"):
        EventValidator(SENSOR, drop=True, max_gap=gap)


def test_a_jump_says_so() -> None:
    with pytest.raises(DataError, match=r"event 2: its time 1 us .*, 1000000000 us, 1,000 s back"):
        EventValidator(SENSOR).validate(at(0, 10**9, 1))


def test_a_burst_of_a_hundred_million_events_is_counted() -> None:
    burst = at(*[7] * 10**5).repeat(10)
    counts = Counts(4, Sensor(8, 8))
    windower = Windower(WindowRule(4, "time", 40), counts)
    validator = EventValidator(Sensor(8, 8), drop=True, max_gap=MAX_GAP)
    for _ in range(100):
        assert not list(windower.push(validator.validate(burst)))
    list(windower.push(validator.finish()))
    ((end, window),) = windower.finish()
    assert end == 47 and window[0, 1, 0, 0] == window.sum() == 10**8
    assert clip_counts(window)[1] == 10**8 - 255


def test_duplicates_are_events() -> None:
    events = at(*[5] * 1000)
    np.testing.assert_array_equal(EventValidator(SENSOR).validate(events), events)


def test_files_drop_what_is_off_the_sensor(tmp_path: Path) -> None:
    """AEDAT 2.0 of a DAVIS240: column 239 - 1000 and row 179 - 511 do not exist."""
    path = tmp_path / "a.aedat"
    records = [(0, 1), (1000 << 12, 2), (511 << 22, 3), (1 << 11, 4)]
    path.write_bytes(
        b"#!AER-DAT2.0\r\n# AEChip: DAVIS240C\r\n"
        + b"".join(struct.pack(">II", *record) for record in records)
    )
    with pytest.raises(DataError, match=r"event 1: .* is outside the sensor of 240 x 180"):
        read_events(path)
    found = read_events(path, drop=True)
    assert found.events.tolist() == [(1, 239, 179, False), (4, 239, 179, True)]
    assert found.dropped["range"] == 2


def test_seconds_that_are_no_number_are_dropped(tmp_path: Path) -> None:
    arrays = columns(5) | {"t": np.array([0, np.nan, 1e-6, np.inf, 1e20])}
    np.savez(tmp_path / "a.npz", **arrays)
    with pytest.raises(DataError, match=r"event 1: its time .* is beyond 2"):
        read_events(tmp_path / "a.npz", SENSOR)
    found = read_events(tmp_path / "a.npz", SENSOR, drop=True)
    assert found.events["t"].tolist() == [0, 1] and found.dropped["range"] == 3


@pytest.mark.parametrize("name", ["a.npz", "a.h5"])
def test_microseconds_as_floating_point_numbers_are_not_taken_for_seconds(
    tmp_path: Path, name: str
) -> None:
    path, arrays = tmp_path / name, columns(5)
    arrays["t"] = np.array([0.0, 40.0, 90.0, 90.0, 250.0])
    if name == "a.npz":
        np.savez(path, **arrays)
    else:
        with h5py.File(path, "w") as file:
            for key, values in arrays.items():
                file[key] = values
    with pytest.raises(DataError, match="all of them are whole, from 0 to 250; write microsec"):
        read_events(path, SENSOR)


def test_a_file_with_one_damaged_time_loses_one_event(tmp_path: Path) -> None:
    events = at(*range(1000))
    events["t"][300] = 2**60
    np.save(tmp_path / "a.npy", events)
    found = read_events(tmp_path / "a.npy", SENSOR, drop=True)
    assert len(found.events) == 999 and found.dropped["order"] == 1


def test_csv(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    for text, expected in (
        ("t,x,y,p\n1,2,3,1\n", [(1, 2, 3, True)]),
        ("x,y,p,t\r\n2,3,0,1\r\n4,5,1,6\r\n", [(1, 2, 3, False), (6, 4, 5, True)]),
        ("1 2 3 1\n2 2 3 0", [(1, 2, 3, True), (2, 2, 3, False)]),
    ):
        path.write_text(text)
        assert read_events(path, SENSOR).events.tolist() == expected
    for text, message in (
        ("a,b\n", "starts with b'a,b.*header 't,x,y,p'"),
        ("t,x,y,p\n1,2,3,1\n1,2\n", "line 3: must hold four integers .* not .1,2."),
        ("t,x,y,p\n1,2,3,1.5\n", "line 2: must hold four integers"),
        ("t,x,y,p\n1,2,3,1\n1,2,3,1,\n", "line 3: must hold four integers .* not .1,2,3,1,"),
        ("t,x,y,p\n1,2,3,1, \r\n", "line 2: must hold four integers"),
        ("t,x,y,p\n1,2,3,1,", "line 2: must hold four integers"),
        ("t,x,y,p\n1,, 2,3,1\n", "line 2: must hold four integers"),
        ("t,x,y,p\n ,1,2,3,1\n", "line 2: must hold four integers"),
        ("t,x,y,p\n", "holds no event"),
        ("", "holds no event"),
        ("t,x,y,p\n1" + 200_000 * " ", "longer than"),
    ):
        path.write_text(text)
        with pytest.raises(DataError, match=message):
            read_events(path, SENSOR)
    write_events(path, Recording(at(3), SENSOR))
    with pytest.raises(DataError, match="does not say how large its sensor is"):
        open_recording(path)
