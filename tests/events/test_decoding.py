"""RAW, DAT, Event Stream and AEDAT 4: literal words, random events, and files that others wrote."""

from __future__ import annotations

import re
import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lmht_deploy.errors import DataError
from lmht_deploy.events import read_events
from lmht_deploy.events._extension import core
from lmht_deploy.events.arrays import EVENT, Sensor
from tests.support.recordings import data

OFF, ON = False, True


def decode(name: str, content: bytes, piece: int = 1 << 16) -> list[tuple[int, ...]]:
    """What the decoder `name` makes of `content`, fed in pieces of `piece` words."""
    decoder = core().make_decoder(name)
    size = piece * decoder.word_bytes
    pieces = [content[i : i + size] for i in range(0, len(content), size)]
    found = [decoder.decode(np.frombuffer(part, np.uint8)).view(EVENT)[:, 0] for part in pieces]
    assert decoder.complete
    return np.concatenate(found).tolist()


def words(form: str, *values: int) -> bytes:
    return struct.pack(f"<{len(values)}{form}", *values)


# ------------------------------------------------------------------------------------------------
# literal words


def test_evt2() -> None:
    high, off, on, trigger = 8 << 28, 0, 1 << 28, 10 << 28
    content = words(
        "I",
        on | 5 << 22 | 1 << 11 | 2,  # before the first time: skipped
        high | 3,
        off | 5 << 22 | 639 << 11 | 479,
        trigger | 5 << 22,
        on | 63 << 22 | 2047 << 11 | 2047,
    )
    assert decode("evt2", content) == [(197, 639, 479, OFF), (255, 2047, 2047, ON)]


@pytest.mark.parametrize("name", ["evt2.1", "evt2.1-legacy"])
def test_evt21(name: str) -> None:
    values = [
        1 << 60 | 5 << 54 | 1,  # before the first time: skipped
        8 << 60 | 2 << 32,
        1 << 60 | 7 << 54 | 64 << 43 | 9 << 32 | 0b101,
        0 << 60 | 8 << 54 | 96 << 43 | 10 << 32 | 1 << 31,
    ]
    if name.endswith("legacy"):
        values = [value >> 32 | (value & 2**32 - 1) << 32 for value in values]
    expected = [(135, 64, 9, ON), (135, 66, 9, ON), (136, 127, 10, OFF)]
    assert decode(name, words("Q", *values)) == expected


def test_evt3() -> None:
    content = words(
        "H",
        2 << 12 | 7,  # before the first time: skipped
        8 << 12 | 2,
        6 << 12 | 10,
        0 << 12 | 479,
        2 << 12 | 1 << 11 | 639,
        3 << 12 | 0 << 11 | 100,
        4 << 12 | 0b100000000001,
        5 << 12 | 0b10000001,
        14 << 12 | 5,
        6 << 12 | 11,
        4 << 12 | 1,
    )
    assert decode("evt3", content) == [
        (8202, 639, 479, ON),
        (8202, 100, 479, OFF),
        (8202, 111, 479, OFF),
        (8202, 112, 479, OFF),
        (8202, 119, 479, OFF),
        (8203, 120, 479, OFF),
    ]


@pytest.mark.parametrize(
    ("before", "after", "wraps"),
    [(4095, 0, 1), (4095, 1, 1), (4095, 10, 1), (4091, 7, 1), (4095, 2046, 1), (4095, 2047, 0)],
)
def test_the_time_of_evt3_wraps_though_words_are_lost(before: int, after: int, wraps: int) -> None:
    """Prophesee's decoders require a fall of 4085, and say that another value could be used."""
    event = 2 << 12 | 1
    content = words("H", 8 << 12 | before, event, 8 << 12 | after, event)
    times = [t for t, *_ in decode("evt3", content)]
    assert times == [before << 12, (after << 12) + (wraps << 24)]


def test_dat() -> None:
    first = words("I", 2**32 - 1, 1 << 28 | 99 << 14 | 119)
    second = words("I", 4, 0 << 28 | 1 << 14 | 2)
    assert decode("dat", first + second) == [(2**32 - 1, 119, 99, ON), (2**32 + 4, 2, 1, OFF)]


def test_event_stream() -> None:
    dvs = bytes([5 << 1 | 1]) + words("H", 10, 20) + b"\xfe\xff" + b"\x04" + words("H", 1, 2)
    assert decode("es-dvs", dvs) == [(5, 10, 20, ON), (5 + 254 + 2, 1, 2, OFF)]
    change, exposure = bytes([5 << 2 | 0b10]), bytes([1 << 2 | 0b01])
    atis = change + words("H", 3, 4) + b"\xfd" + exposure + words("H", 5, 6) + change
    assert decode("es-atis", atis + words("H", 7, 8)) == [
        (5, 3, 4, ON),
        (5 + 63 + 1 + 5, 7, 8, ON),
    ]


# ------------------------------------------------------------------------------------------------
# random events, in pieces of any size


def encode_evt2(events: np.ndarray) -> bytes:
    values, high = [], -1
    for t, x, y, p in events.tolist():
        if t >> 6 != high:
            high = t >> 6
            values.append(8 << 28 | high)
        values.append(int(p) << 28 | (t & 63) << 22 | x << 11 | y)
    return words("I", *values)


def encode_evt3(events: np.ndarray) -> bytes:
    values, high = [], -1
    for t, x, y, p in events.tolist():
        if t >> 12 != high:
            high = t >> 12
            values.append(8 << 12 | high & 4095)
        values += [6 << 12 | t & 4095, y, 2 << 12 | int(p) << 11 | x]
    return words("H", *values)


def encode_dat(events: np.ndarray) -> bytes:
    return b"".join(
        words("I", t & 2**32 - 1, int(p) << 28 | y << 14 | x) for t, x, y, p in events.tolist()
    )


def encode_es(events: np.ndarray) -> bytes:
    content, latest = b"", 0
    for t, x, y, p in events.tolist():
        skips, rest = divmod(t - latest, 127)
        latest = t
        content += b"\xfe" * skips + bytes([rest << 1 | int(p)]) + words("H", x, y)
    return content


ENCODERS: dict[str, Callable[[np.ndarray], bytes]] = {
    "evt2": encode_evt2,
    "evt3": encode_evt3,
    "dat": encode_dat,
    "es-dvs": encode_es,
}


@pytest.mark.parametrize("name", ENCODERS)
@given(
    seed=st.integers(0, 2**32 - 1), piece=st.integers(1, 50), gap=st.sampled_from([3, 300, 9000])
)
def test_random_events_come_back(name: str, seed: int, piece: int, gap: int) -> None:
    rng = np.random.default_rng(seed)
    events = np.zeros(40, EVENT)
    events["t"] = np.cumsum(rng.integers(0, gap, 40)) + (
        0 if name == "es-dvs" else 2**24 - gap * 20
    )
    events["x"], events["y"] = rng.integers(0, 2048, (2, 40))
    events["p"] = rng.integers(0, 2, 40)
    assert decode(name, ENCODERS[name](events), piece) == events.tolist()


# ------------------------------------------------------------------------------------------------
# headers and ends


EVT3 = words("H", 8 << 12, 6 << 12 | 5, 0, 2 << 12 | 7)
"""One event (5, 7, 0, OFF)."""


@pytest.mark.parametrize(
    ("header", "sensor", "t"),
    [
        (b"% format EVT3;height=720;width=1280\n% end\n", Sensor(720, 1280), 5),
        (b"% evt 3.0\n% geometry 640x480\n", Sensor(480, 640), 5),
        (b"% integrator Universit\xe9\n% evt 3.0\n% plugin_name hal_gen41\n", Sensor(720, 1280), 5),
        (b"% evt 3.0\n% geometry 640x480\n% t0 1000\n", Sensor(480, 640), 1005),
    ],
)
def test_headers_of_raw(header: bytes, sensor: Sensor, t: int, tmp_path: Path) -> None:
    (tmp_path / "a.raw").write_bytes(header + EVT3)
    found = read_events(tmp_path / "a.raw")
    assert found.sensor == sensor and found.events.tolist() == [(t, 7, 0, OFF)]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.raw", EVT3, "names no format"),
        ("a.raw", b"% evt 3.0\n% geometry 640x480\n" + EVT3 + b"\0", "truncated"),
        ("a.raw", b"% format EVT4;height=1;width=1\n" + EVT3, "'EVT4'"),
        ("a.raw", b"% evt 3.0\n% geometry 640x480\n% t0 soon\n" + EVT3, "first time"),
        ("a.dat", b"% Width 9\n% Height 9\n\x0c\x08" + b"\0" * 12, "truncated"),
        ("a.dat", b"% Width 9\n% Height 9\n\x0e\x08" + b"\0" * 8, "type 0e08"),
        ("a.es", b"Event Stream\2\0\0\1\x09\0\x09\0\2\0\0\0", "ends within an event"),
        ("a.es", b"Event Stream\1\0\0\1\x09\0\x09\0", "version 2"),
        ("a.es", b"Event Stream\2\0\0\0\x09\0\x09\0", "type 0"),
        ("a.es", b"Event", "is damaged"),
    ],
)
def test_what_cannot_be_read(name: str, content: bytes, message: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match=message) as error:
        read_events(tmp_path / name)
    assert str(error.value).startswith(f"{tmp_path / name}: ")


# ------------------------------------------------------------------------------------------------
# files that others wrote


REPORTS = {
    "02_evt_before_first_time_high/t1_evt2_before_high.raw": (1000, 3200000000, 3200006390),
    "02_evt_before_first_time_high/t5_evt3_before_high.raw": (6, 4096100, 4104392),
    "03_evt3_lost_wrap/t3b_evt3_wrap_lost0.raw": (14, 16765028, 16793800),
    "03_evt3_lost_wrap/enc_faery_evt3_sparse.raw": (1200, 0, 59950000),
    "10_evt21/t9a_evt21.raw": (4, 323, 384),
    "10_evt21/t9b_evt21_dot.raw": (4, 323, 384),
    "10_evt21/t9c_evt21_legacy.raw": (4, 323, 384),
    "16_dat_type0_with_size/d0_2d_size.dat": (500, 0, 49900),
    "19_aedat4_other_tracks/a2_unknown_track.aedat4": (100, 1700000000000000, 1700000000014900),
    "19_aedat4_other_tracks/a3_empty_packet.aedat4": (100, 1700000000000000, 1700000000014900),
    "20_raw_header_bytes/t11_latin1.raw": (6, 4196, 12488),
    "05_times_that_go_back/a10_neg_t.aedat4": (5, -1000, -600),
}
"""Number of events, first and last time."""


@pytest.mark.parametrize("name", REPORTS)
def test_reported_files(name: str) -> None:
    events = read_events(data(f"reports/{name}")).events
    assert (len(events), events["t"][0], events["t"][-1]) == REPORTS[name]


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("05_times_that_go_back/d2_cd_cat.dat", "event 500"),
        ("05_times_that_go_back/d10_disorder.dat", "event 1"),
        ("13_cut_within_an_event/d12_cut.dat", "truncated"),
        ("13_cut_within_an_event/e_cut.es", "truncated"),
        ("20_raw_header_bytes/t10_noheader.raw", "names no format"),
        ("01_aedat2_v2e_without_chip/v2e_dvs346.aedat", "names no chip"),
        ("01_aedat2_v2e_without_chip/v2e_dvs640.aedat", "names no chip"),
    ],
)
def test_reported_files_that_are_refused(name: str, message: str) -> None:
    with pytest.raises(DataError, match=message):
        read_events(data(f"reports/{name}"))


def test_aedat2_of_a_davis_whose_chip_is_not_named() -> None:
    folder = data("reports/01_aedat2_v2e_without_chip")
    events = read_events(folder / "v2e_dvs346.aedat", Sensor(260, 346)).events
    expected = np.load(folder / "v2e_dvs346_true.npy")
    np.testing.assert_array_equal(np.stack([events[n] for n in "txyp"], 1), expected)
    frames = read_events(folder / "davis_aps_nochip.aedat", Sensor(260, 346)).events
    assert len(frames) == 1000
    with pytest.raises(DataError, match="a DAVIS does not have"):
        read_events(folder / "v2e_dvs640.aedat", Sensor(260, 346))


@pytest.mark.parametrize(
    ("size", "shifts"),
    [
        (Sensor(260, 346), (12, 22, 11)),
        (Sensor(180, 240), (12, 22, 11)),
        (Sensor(480, 640), (1, 11, 0)),
    ],
)
def test_the_sizes_that_a_message_names_are_those_with_which_the_file_is_read(
    size: Sensor, shifts: tuple[int, int, int], tmp_path: Path
) -> None:
    """A file of v2e, which does not name its chip; x and y count from the far end."""
    rng, number, path = np.random.default_rng(0), 500, tmp_path / "v2e.aedat"
    columns = rng.integers(size.width, size=number), rng.integers(size.height, size=number)
    p, t = rng.integers(2, size=number), np.arange(number)
    flipped = size.width - 1 - columns[0], size.height - 1 - columns[1]
    address = sum(value << shift for value, shift in zip((*flipped, p), shifts, strict=True))
    words = np.stack([address, t], 1).astype(">u4").tobytes()
    path.write_bytes(b"#!AER-DAT2.0\r\n# an emulator\r\n" + words)
    with pytest.raises(DataError, match="names no chip") as error:
        read_events(path)
    advised = [
        Sensor(int(height), int(width))
        for width, height in re.findall(r"--sensor (\d+)x(\d+)", str(error.value))
    ]
    assert size in advised
    read = {found: read_events(path, found, drop=True).events for found in advised}
    for name, expected in zip("xyp", (*columns, p), strict=True):
        np.testing.assert_array_equal(read[size][name], expected)


def test_an_aedat2_file_that_no_sensor_fits_gets_no_advice(tmp_path: Path) -> None:
    words = np.array([[2**31 - 1, 1]], ">u4").tobytes()
    (tmp_path / "a.aedat").write_bytes(b"#!AER-DAT2.0\r\n" + words)
    with pytest.raises(DataError, match="no sensor whose files are read without it has these"):
        read_events(tmp_path / "a.aedat")
    (tmp_path / "b.aedat").write_bytes(b"#!AER-DAT2.0\r\n# AEChip: x.DVS128\r\n" + words)
    with pytest.raises(DataError, match=r"which a DVS128 does not have$"):
        read_events(tmp_path / "b.aedat")


@pytest.mark.parametrize("name", ["h_blosc.h5", "h_zstd.h5"])
def test_filters_of_hdf5plugin(name: str) -> None:
    pytest.importorskip("hdf5plugin")
    assert (
        len(read_events(data(f"reports/15_hdf5_filters/{name}"), Sensor(480, 640)).events) == 1000
    )


def test_a_filter_that_is_missing_is_named() -> None:
    with pytest.raises(DataError, match=r"ECF of Prophesee \(HDF5 filter 36559\)"):
        read_events(data("reports/15_hdf5_filters/h_ecf.hdf5"), Sensor(480, 640))
