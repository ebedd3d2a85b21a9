"""What is written is read: by our own readers, and by those of other packages."""

from __future__ import annotations

import errno
import io
import shutil
import zipfile
from collections.abc import Iterator
from pathlib import Path

import h5py
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lmht_deploy.errors import DataError, StorageError
from lmht_deploy.events import (
    EVENT,
    EventStream,
    Recording,
    Sensor,
    make_events,
    open_recording,
    read_events,
    write_events,
)
from lmht_deploy.events import _writers as writers
from lmht_deploy.events._encoding import Evt3Encoder
from lmht_deploy.events._extension import core
from tests.support.recordings import at, data

SUFFIXES = (".aedat4", ".raw", ".h5", ".hdf5", ".npz", ".csv")
SENSOR = Sensor(480, 640)


def random_events(number: int, start: int = 0, gap: int = 300, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return make_events(
        start + np.cumsum(rng.integers(0, gap, number)),
        rng.integers(SENSOR.width, size=number),
        rng.integers(SENSOR.height, size=number),
        rng.integers(2, size=number),
    )


def in_packets(events: np.ndarray, size: int) -> Iterator[np.ndarray]:
    yield events[:0]
    for start in range(0, len(events), size):
        yield events[start : start + size]


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("size", [1, 777, 10**6])
@pytest.mark.parametrize("start", [0, 2**24 - 5, 1_605_537_493_718_345])
def test_every_format_is_read_as_it_was_written(
    tmp_path: Path, suffix: str, size: int, start: int
) -> None:
    events = random_events(200 if size == 1 else 40_000, start)
    path = tmp_path / f"a{suffix}"
    number = write_events(path, EventStream(SENSOR, in_packets(events, size)))
    found = read_events(path, SENSOR if suffix == ".csv" else None)
    assert number == len(events) and found.sensor == SENSOR
    np.testing.assert_array_equal(found.events, events)
    assert [each.name for each in tmp_path.iterdir()] == [path.name]


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_the_file_does_not_depend_on_the_packets(tmp_path: Path, suffix: str) -> None:
    events, found = random_events(5000), []
    for size in (1000, 5000):
        path = tmp_path / f"a{suffix}"
        write_events(path, EventStream(SENSOR, in_packets(events, size)))
        found.append(path.read_bytes())
    if suffix not in (".aedat4", ".h5", ".hdf5"):  # whose packets and chunks are as they came
        assert found[0] == found[1]
    write_events(path, Recording(events, SENSOR))
    write_events(tmp_path / f"b{suffix}", Recording(events, SENSOR))
    assert path.read_bytes() == (tmp_path / f"b{suffix}").read_bytes()


@given(
    seed=st.integers(0, 2**32 - 1),
    start=st.integers(0, 2**45),
    gap=st.sampled_from([1, 2, 5000, 2**23, 2**24, 2**27]),
    size=st.integers(1, 50),
)
def test_evt3_at_any_gap(seed: int, start: int, gap: int, size: int) -> None:
    events = random_events(40, start, gap, seed)
    encoder, decoder = Evt3Encoder(SENSOR), core().make_decoder("evt3")
    header = encoder.header(int(events["t"][0]))
    first = start >> 24 << 24 if len(events) else 0
    content = b"".join(encoder.encode(part) for part in in_packets(events, size))
    found = decoder.decode(np.frombuffer(content, np.uint8)).view(EVENT)[:, 0]
    found["t"] += int(events["t"][0]) >> 24 << 24
    assert b"% end\n" in header and first <= int(events["t"][0])
    np.testing.assert_array_equal(found, events)


def test_evt3_words() -> None:
    encoder = Evt3Encoder(SENSOR)
    assert encoder.header(5) == (
        b"% evt 3.0\n% format EVT3;height=480;width=640\n% geometry 640x480\n% end\n"
    )
    events = make_events(
        np.array([5, 5, 6, 4096, 2**24 + 1]),
        np.array([1, 2, 2, 3, 4]),
        np.array([7, 7, 8, 8, 8]),
        np.array([1, 0, 1, 1, 0]),
    )
    words = np.frombuffer(encoder.encode(events), "<u2").tolist()
    first = [0x8000, 0x6005, 0x7, 0x2801, 0x2002, 0x6006, 0x8, 0x2802]
    next_step, wrap = [0x8001, 0x6000, 0x2803], [0x8FFF, 0x8000, 0x8000, 0x6001, 0x2004]
    assert words == [*first, *next_step, *wrap]


# ------------------------------------------------------------------------------- other packages


@pytest.mark.parametrize("start", [0, 50_000_000])
def test_aedat4_for_others(tmp_path: Path, start: int) -> None:
    events, path = random_events(40_000, start), tmp_path / "a.aedat4"
    write_events(path, Recording(events, SENSOR))
    packets = [
        p["events"] for p in pytest.importorskip("aedat").Decoder(str(path)) if "events" in p
    ]
    for field, name in {"t": "t", "x": "x", "y": "y", "p": "on"}.items():
        np.testing.assert_array_equal(np.concatenate([p[name] for p in packets]), events[field])
    stream = pytest.importorskip("faery").events_stream_from_file(path)
    assert stream.dimensions() == (640, 480)
    np.testing.assert_array_equal(np.concatenate(list(stream))["t"], events["t"])


@pytest.mark.parametrize("start", [0, 50_000_000])
def test_evt3_for_others(tmp_path: Path, start: int) -> None:
    events, path = random_events(40_000, start, 3000), tmp_path / "a.raw"
    write_events(path, Recording(events, SENSOR))
    stream = pytest.importorskip("faery").events_stream_from_file(path)
    found = np.concatenate(list(stream))
    assert stream.dimensions() == (640, 480)
    for field, name in {"t": "t", "x": "x", "y": "y", "p": "on"}.items():
        np.testing.assert_array_equal(found[name], events[field])
    other = pytest.importorskip("expelliarmus").Wizard(encoding="evt3").read(str(path))
    for field in "xyp":  # it reads wrong times
        np.testing.assert_array_equal(other[field], events[field])


def test_arrays_for_others(tmp_path: Path) -> None:
    events = random_events(3000)
    for suffix in (".npz", ".h5", ".csv"):
        write_events(tmp_path / f"a{suffix}", Recording(events, SENSOR))
    with np.load(tmp_path / "a.npz") as found:
        assert found["sensor"].tolist() == [480, 640]
        for name in "txyp":
            np.testing.assert_array_equal(found[name], events[name])
    with h5py.File(tmp_path / "a.h5") as file:
        assert file.attrs["sensor_resolution"].tolist() == [480, 640]
        for name in "txyp":
            np.testing.assert_array_equal(file[f"events/{name}"], events[name])
    text = (tmp_path / "a.csv").read_text()
    assert text.startswith("t,x,y,p\n") and text.count("\n") == 3001
    rows = np.loadtxt(io.StringIO(text), delimiter=",", skiprows=1, dtype=np.int64)
    np.testing.assert_array_equal(rows[:, 0], events["t"])


def test_real_recordings_survive_every_format(tmp_path: Path) -> None:
    source = data("event_formats/davis346_short.aedat4")
    expected = read_events(source).events
    for suffix in SUFFIXES:
        path = tmp_path / f"a{suffix}"
        write_events(path, open_recording(source))
        np.testing.assert_array_equal(read_events(path, Sensor(260, 346)).events, expected)


# ---------------------------------------------------------------------------------------- mistakes


@pytest.mark.parametrize(
    ("name", "events", "sensor", "message"),
    [
        ("a.dat", at(1), SENSOR, "a recording is written as .aedat4, .raw, .h5, .hdf5, .npz, .csv"),
        ("a.raw", at(1), Sensor(480, 2049), "EVT3 has sensors of up to 2048 x 2048"),
        ("a.raw", at(-1), SENSOR, "no times before 0"),
        ("a.raw", at(0, 2**60), SENSOR, "EVT3 cannot hold a gap of"),
        ("a.aedat4", at(0), Sensor(9, 32769), "up to 32768 x 32768"),
        ("a.csv", at(2, 1), SENSOR, "event 1: its time 1 us is earlier"),
    ],
)
def test_what_cannot_be_written(
    tmp_path: Path, name: str, events: np.ndarray, sensor: Sensor, message: str
) -> None:
    (tmp_path / name).write_text("kept")
    with pytest.raises(DataError, match=message):
        write_events(tmp_path / name, Recording(events, sensor))
    assert (tmp_path / name).read_text() == "kept" and len(list(tmp_path.iterdir())) == 1


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_recording_without_events_is_written(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"a{suffix}"
    write_events(path, Recording(at(), SENSOR))
    with pytest.raises(DataError, match="holds no event"):
        read_events(path, SENSOR)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_negative_times(tmp_path: Path, suffix: str) -> None:
    path, events = tmp_path / f"a{suffix}", at(-(2**40), -5, 7)
    if suffix != ".raw":
        write_events(path, Recording(events, SENSOR))
        np.testing.assert_array_equal(read_events(path, SENSOR).events, events)


def test_hdf5_is_not_written_on_a_full_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """HDF5 can crash there."""
    monkeypatch.setattr(
        writers.shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(1, 1, 5000)
    )
    with pytest.raises(StorageError, match="No space left on device"):
        write_events(tmp_path / "a.h5", Recording(random_events(9), SENSOR))
    assert errno.ENOSPC and not list(tmp_path.iterdir())


def test_members_of_npz_have_no_time_of_their_own(tmp_path: Path) -> None:
    write_events(tmp_path / "a.npz", Recording(random_events(9), SENSOR))
    with zipfile.ZipFile(tmp_path / "a.npz") as archive:
        assert {info.date_time[0] for info in archive.infolist()} == {1980}
