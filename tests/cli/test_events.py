"""`lmht events`: what a recording holds; convert, cut and filter."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from lmht_deploy.events import Recording, Sensor, make_events, read_events, write_events
from tests.support.recordings import data

from .test_cli import lmht, refused

SENSOR = Sensor(40, 60)


@pytest.fixture
def recording(tmp_path: Path) -> Path:
    """Two bursts around a silence of 1 s, a hot pixel at (7, 5), all on a small square."""
    rng = np.random.default_rng(0)
    number = 3000
    t = np.sort(rng.integers(0, 100_000, number)) + np.repeat([0, 1_000_000], number // 2)
    x, y = rng.integers(20, 30, (2, number))
    hot = rng.random(number) < 0.2
    x[hot], y[hot] = 7, 5
    events = make_events(t, x, y, np.arange(number) % 3 == 0)
    write_events(tmp_path / "a.aedat4", Recording(events, SENSOR))
    return tmp_path / "a.aedat4"


def info(path: Path, *arguments: object) -> dict:
    written = path.with_suffix(".json")
    assert lmht("events", "info", path, "--json", written, *arguments) == 0
    return json.loads(written.read_text())


@pytest.mark.parametrize("verb", [["info"], []])
def test_info(recording: Path, verb: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    events = read_events(recording).events
    assert lmht("events", *verb, recording) == 0
    said = capsys.readouterr().out
    hot = int(((events["x"] == 7) & (events["y"] == 5)).sum())
    for line in (
        "sensor         60 x 40 pixels",
        "duration       1.1",
        "events         3,000,",
        "polarity       33.3% ON, 66.7% OFF",
        "active pixels  101 of 2,400 (4.2%)",
        f"hot pixels     1 with {hot / 3000:.1%} of the events: (7, 5) {hot}",
        "longest gaps   1.00",
        "invalid        none",
    ):
        assert line in said
    assert "|█" in said and "**" in said


def test_info_as_json(recording: Path) -> None:
    events = read_events(recording).events
    found = info(recording)
    assert found["sensor"] == {"width": 60, "height": 40} and found["events"] == 3000
    assert found["start"] == events["t"][0] and found["end"] == events["t"][-1]
    assert found["on"] == 1000 and found["dropped"] == {"range": 0, "polarity": 0, "order": 0}
    assert sum(found["rate"]) == 3000 and 30 < len(found["rate"]) <= 60
    edges = np.arange(len(found["rate"]) + 1) * found["bin_us"] + found["start"]
    assert found["rate"] == np.histogram(events["t"], edges)[0].tolist()
    gaps = np.sort(np.diff(events["t"]))[::-1][:5]
    assert [gap["duration"] for gap in found["gaps"]] == gaps.tolist()
    assert found["gaps"][0]["start"] == events["t"][1499]
    assert found["hot_count"] == 1 and found["hot_pixels"][0]["x"] == 7


def test_info_says_what_would_be_dropped(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    events = make_events(
        np.array([0, 10, 2**50, 20, 15, 30]),
        np.array([1, 99, 1, 1, 1, 1]),
        np.zeros(6, int),
        np.ones(6, int),
    )
    np.save(tmp_path / "a.npy", events)
    assert lmht("events", tmp_path / "a.npy", "--sensor", "8x8") == 0
    assert "invalid        3 of 6 events (50.0%): 1 range, 2 order" in capsys.readouterr().out
    assert "event 1: x=99, y=0 is outside" in refused(
        capsys, "events", "convert", tmp_path / "a.npy", tmp_path / "b.csv", "--sensor", "8x8"
    )
    arguments = ["convert", tmp_path / "a.npy", tmp_path / "b.csv", "--sensor", "8x8", "--drop"]
    assert lmht("events", *arguments, "--json", tmp_path / "b.json") == 0
    said = capsys.readouterr().out
    assert "3 events; 1 invalid (range) dropped; 2 invalid (order) dropped" in said
    assert (tmp_path / "b.csv").read_text() == "t,x,y,p\n0,1,0,1\n20,1,0,1\n30,1,0,1\n"
    assert json.loads((tmp_path / "b.json").read_text())["dropped"]["order"] == 2


@pytest.mark.parametrize("suffix", [".png", ".gif"])
def test_pictures(recording: Path, suffix: str) -> None:
    image = pytest.importorskip("PIL.Image")
    path = recording.with_suffix(suffix)
    info(recording, "--image", path)
    with image.open(path) as picture:
        assert picture.size == (420, 280)
        frames = getattr(picture, "n_frames", 1)  # equal frames are joined
        assert 4 <= frames <= 30 if suffix == ".gif" else frames == 1
        if suffix == ".png":
            pixels = np.array(picture)
            assert pixels[5 * 7 + 3, 7 * 7 + 3].any() and not pixels[0, 0].any()


@pytest.mark.parametrize("suffix", [".raw", ".h5", ".npz", ".csv", ".aedat4"])
def test_convert(recording: Path, suffix: str, capsys: pytest.CaptureFixture[str]) -> None:
    out = recording.with_name(f"b{suffix}")
    assert lmht("events", "convert", recording, out) == 0
    assert capsys.readouterr().out == f"{out}: 3,000 events\n"
    found = read_events(out, SENSOR)
    np.testing.assert_array_equal(found.events, read_events(recording).events)


def test_cut(recording: Path) -> None:
    events, out = read_events(recording).events, recording.with_name("b.h5")
    arguments = ["--start", "20ms", "--end", "1.07s", "--crop", "21,20,8,10"]
    assert lmht("events", "cut", recording, out, *arguments) == 0
    t = events["t"] - events["t"][0]
    kept = events[(t >= 20_000) & (t < 1_070_000) & (events["x"] >= 21) & (events["x"] < 29)]
    kept = kept[(kept["y"] >= 20) & (kept["y"] < 30)]
    kept["x"] -= 21
    kept["y"] -= 20
    found = read_events(out)
    assert found.sensor == (10, 8) and 500 < len(kept) < 2000
    np.testing.assert_array_equal(found.events, kept)


def test_filter(recording: Path, capsys: pytest.CaptureFixture[str]) -> None:
    events, out = read_events(recording).events, recording.with_name("b.csv")
    filters = ["--hot-pixels", "--refractory", "5ms", "--background-activity", "1ms"]
    counts = recording.with_name("counts.json")
    assert lmht("events", "filter", recording, out, *filters, "--json", counts) == 0
    last: dict[tuple[int, int], int] = {}
    calm = []
    for t, x, y, p in events.tolist():
        if (x, y) != (7, 5) and t - last.get((x, y), -(10**9)) >= 5000:
            last[x, y] = t
            calm.append((t, x, y, p))
    seen: dict[tuple[int, int], int] = {}
    kept = []
    for t, x, y, p in calm:
        near = ((x + i, y + j) for i in (-1, 0, 1) for j in (-1, 0, 1) if (i, j) != (0, 0))
        if any(t - seen.get(pixel, -(10**9)) <= 1000 for pixel in near):
            kept.append((t, x, y, p))
        seen[x, y] = t
    assert read_events(out, SENSOR).events.tolist() == kept and 100 < len(kept) < len(calm)
    removed = json.loads(counts.read_text())["removed"]
    hot = int(((events["x"] == 7) & (events["y"] == 5)).sum())
    assert removed == {
        "hot pixels": hot,
        "refractory": 3000 - hot - len(calm),
        "background activity": len(calm) - len(kept),
    }
    assert f"{len(kept):,} events; {hot} removed (hot pixels)" in capsys.readouterr().out


def test_a_track_is_chosen(capsys: pytest.CaptureFixture[str]) -> None:
    path = data("reports/19_aedat4_other_tracks/a2_unknown_track.aedat4")
    assert lmht("events", path, "--track", "0") == 0 and capsys.readouterr().out
    assert "holds no track of events '9'" in refused(capsys, "events", path, "--track", 9)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["absent.raw"], "there is no such file"),
        (["convertt", "a.aedat4", "b.raw"], "No such command 'convertt'"),
        (["info", "."], "is a folder"),
        (["info", "a.aedat4", "--image", "a.jpg"], "a picture is a .png or .gif file"),
        (["info", "a.aedat4", "--sensor", "8"], "WIDTHxHEIGHT"),
        (["convert", "a.aedat4", "b.dat"], "a recording is written as .aedat4, .raw"),
        (["convert", "a.aedat4", "a.aedat4"], "is the recording that is read"),
        (["convert", "a.aedat4", "absent/b.raw"], "the folder absent does not exist"),
        (["cut", "a.aedat4", "b.raw"], "nothing is cut"),
        (["cut", "a.aedat4", "b.raw", "--start", "5"], "a duration is a number with a unit"),
        (["cut", "a.aedat4", "b.raw", "--start", "5s", "--end", "1s"], "0 <= start < end"),
        (["cut", "a.aedat4", "b.raw", "--crop", "1,2,3"], "--crop takes X,Y,W,H"),
        (["cut", "a.aedat4", "b.raw", "--crop", "1,2,60,9"], "does not lie on the sensor"),
        (["filter", "a.aedat4", "b.raw"], "no filter; give --hot-pixels"),
        (["filter", "a.aedat4", "b.raw", "--refractory", "99999999999h"], "time of a filter lies"),
    ],
)
def test_mistakes(
    arguments: list[str],
    message: str,
    recording: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(recording.parent)
    assert message in refused(capsys, "events", *arguments)


@pytest.mark.parametrize("name", ["evt3_gen41_sample.raw", "dvs.es"])
def test_real_recordings(name: str, tmp_path: Path) -> None:
    path = data(f"event_formats/{name}")
    assert lmht("events", path, "--json", tmp_path / "a.json") == 0
    found = json.loads((tmp_path / "a.json").read_text())
    assert found["events"] == found["seen"] == len(read_events(path).events)
