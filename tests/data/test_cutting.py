"""Recordings cut into windows by `lmht_deploy.data.load`: counts, sources, notes, cache."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lmht_deploy._folders import own_prefix
from lmht_deploy.data import Windows, _cache, load
from lmht_deploy.errors import DataError, StorageError
from lmht_deploy.events.arrays import Sensor, make_events
from lmht_deploy.events.windows import WindowRule, count_windows
from lmht_deploy.formats.windows import save_windows
from tests.support.recordings import at

SENSOR = Sensor(4, 8)


def write(path: Path, duration: int, number: int, seed: int = 0) -> np.ndarray:
    """Write `number` events whose first is at 50 us and whose last is `duration` us later."""
    rng = np.random.default_rng(seed)
    t = 50 + np.sort(np.r_[0, duration, rng.integers(0, duration, number - 2)])
    x, y, p = (
        rng.integers(8, size=number),
        rng.integers(4, size=number),
        rng.integers(2, size=number),
    )
    events = make_events(t, x, y, p)
    path.parent.mkdir(parents=True, exist_ok=True)
    np.save(path, events)
    return events


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Two classes, two recordings of 1000 and 350 us each."""
    for index, name in enumerate(("cup", "mug")):
        write(tmp_path / "data" / name / "long.npy", 1000, 200, index)
        write(tmp_path / "data" / name / "short" / "a.npy", 350, 60, index)
    return tmp_path / "data"


def read(root: Path, **options: Any) -> Windows:
    return load(root, **{"split": "all", "steps": 4, "sensor": SENSOR} | options)


def test_a_folder_of_long_recordings_gives_many_windows(root: Path) -> None:
    found = read(root, by="time", length=100)
    assert len(found) == 2 * (10 + 3)  # 1000 us end with the tenth window, 350 us within the fourth
    assert found.sources == ("cup/long.npy", "cup/short/a.npy", "mug/long.npy", "mug/short/a.npy")
    assert found.source_index is not None and found.start_us is not None
    assert found.source_index.tolist() == [0] * 10 + [1] * 3 + [2] * 10 + [3] * 3
    assert found.start_us.tolist() == [*range(0, 1000, 100), *range(0, 300, 100)] * 2
    assert found.require_labels().tolist() == [0] * 13 + [1] * 13
    for index, source in enumerate(found.sources):
        events = np.load(root / source)
        whole = count_windows(events, SENSOR, WindowRule(4, "time", 100))
        chosen = found.source_index == index
        np.testing.assert_array_equal(found.windows[chosen], whole[: chosen.sum()])


def test_incomplete_windows_are_counted_and_can_be_used(root: Path) -> None:
    found = read(root, by="time", length=100)
    provenance = found.provenance
    assert (provenance["windows"], provenance["left_out"], provenance["partial"]) == (26, 4, 0)
    assert provenance["events"] == 520 and provenance["counted"] == found.windows.sum() < 520
    whole = read(root, by="time", length=100, incomplete=True)
    provenance = whole.provenance
    assert (provenance["windows"], provenance["left_out"], provenance["partial"]) == (30, 0, 4)
    assert whole.windows.sum() == 520 == provenance["counted"]


def test_a_recording_shorter_than_a_window_does_not_vanish(root: Path) -> None:
    found = read(root, by="time", length=400)
    assert found.provenance["short"] == found.provenance["partial"] == 2
    assert found.source_index is not None
    assert np.bincount(found.source_index).tolist() == [2, 1, 2, 1]


def test_windows_by_events_that_overlap(root: Path) -> None:
    found = read(root, by="events", length=40, hop=1)
    # 200 events: bins of 10, windows 0..3, 1..4, ..., 16..19; 60 events: 0..3, 1..4, 2..5
    assert len(found) == 2 * (17 + 3) and found.provenance["left_out"] == 0
    assert (found.windows.sum((1, 2, 3, 4)) == 40).all()
    assert found.provenance["events"] == 520 and found.provenance["counted"] == 1600


def test_notes_say_how_recordings_became_windows(root: Path) -> None:
    notes = "\n".join(read(root, by="time", length=100, size=(2, 4)).notes)
    assert f"{root} (all split): 26 windows from 4 recordings: windows of 100 us (4 bins)" in notes
    assert "8 x 4 pixels are down-sampled to 4 x 2" in notes
    assert "4 incomplete windows left out" in notes
    notes = "\n".join(read(root, by="time", length=400, incomplete=True).notes)
    assert "2 recordings end before the first window does. Each gives one" in notes
    assert "2 incomplete windows at the end of recordings used" in notes
    assert "is one window" not in "\n".join(read(root).notes)


def test_a_long_recording_that_is_one_window_is_said(tmp_path: Path) -> None:
    write(tmp_path / "long.npy", 2_500_000, 30_000)
    found = load(tmp_path / "long.npy", steps=4, sensor=SENSOR, max_count=65535)
    assert len(found) == 1 and "a recording of 2.5 s is one window; to cut" in found.notes[-1]
    cut = load(tmp_path / "long.npy", steps=4, sensor=SENSOR, by="time", length=500_000)
    assert len(cut) == 5 and cut.sources == ("long.npy",)
    # The last event is where the sixth window starts.
    assert cut.provenance["left_out"] == 1 and "is one window" not in "".join(cut.notes)


def test_selected_windows_keep_their_recordings(root: Path) -> None:
    found = read(root, by="time", length=100)
    for chosen in (slice(9, 12), np.array([12, 9, 25])):
        some = found[chosen]
        assert some.source_index is not None and some.start_us is not None
        expected = np.arange(26)[chosen]
        assert some.source_index.tolist() == np.asarray(found.source_index)[expected].tolist()
        assert some.start_us.tolist() == np.asarray(found.start_us)[expected].tolist()
        assert some.sources == found.sources


def test_recordings_of_no_class(tmp_path: Path) -> None:
    for name in ("a", "b"):
        write(tmp_path / f"{name}.npy", 1000, 50)
    for split in (None, "all", "train"):
        found = load(tmp_path, split=split, steps=2, sensor=SENSOR)
        assert found.labels is None and found.classes == () and found.sources == ("a.npy", "b.npy")


def test_damaged_times_do_not_make_windows_without_end(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", at(0, 1, 2, 10**12))
    with pytest.raises(DataError, match=r"a\.npy: 4 events in 1,000,000,000,000 us make 25,000,"):
        load(tmp_path / "a.npy", steps=4, sensor=SENSOR, by="time", length=40_000)


def test_an_npz_file_of_events_is_a_recording(tmp_path: Path) -> None:
    events = write(tmp_path / "a.npy", 1000, 50)
    np.savez(tmp_path / "a.npz", **{name: events[name] for name in "txyp"})
    found, expected = (
        load(tmp_path / f"a.{suffix}", steps=2, sensor=SENSOR) for suffix in ("npz", "npy")
    )
    np.testing.assert_array_equal(found.windows, expected.windows)


def test_windows_with_classes_are_divided(tmp_path: Path) -> None:
    windows, labels = np.arange(160, dtype=np.uint8).reshape(40, 1, 2, 2, 1), np.arange(40) % 2
    save_windows(windows, tmp_path / "a.npz", labels, ["mug, red", "cup"])
    parts = [load(tmp_path / "a.npz", split=split) for split in ("train", "test")]
    assert [len(part) for part in parts] == [36, 4]
    assert all(part.classes == ("mug, red", "cup") for part in parts)
    assert sorted(np.concatenate([part.windows for part in parts])[:, 0, 0, 0, 0]) == [
        *range(0, 160, 4)
    ]
    assert np.bincount(parts[1].require_labels()).tolist() == [2, 2]
    assert len(load(tmp_path / "a.npz")) == 40
    save_windows(windows, tmp_path / "b.npz")
    with pytest.raises(DataError, match=r"b\.npz: there are no labels"):
        load(tmp_path / "b.npz", split="train")


# ---------------------------------------------------------------------------------------- the cache


def test_the_cache_is_keyed_by_content(root: Path, tmp_path: Path) -> None:
    """A moved folder hits; the same size and time with another content does not."""
    cache = tmp_path / "cache"
    options = {"by": "time", "length": 100, "cache": cache}
    first = read(root, **options)
    moved = root.rename(tmp_path / "moved")
    again = read(moved, **options)
    assert len(list(cache.iterdir())) == 1
    np.testing.assert_array_equal(again.windows, first.windows)
    assert again.source_index is not None and again.start_us is not None
    assert again.source_index.tolist() == np.asarray(first.source_index).tolist()
    assert again.start_us.tolist() == np.asarray(first.start_us).tolist()
    notes = [f"{moved}: 2 classes: cup, mug"]
    assert again.provenance == {**first.provenance, "data": str(moved), "notes": notes}
    path = moved / "cup" / "long.npy"
    before, content = path.stat(), np.load(path)
    content["x"] = 0
    np.save(path, content)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    changed = read(moved, **options)
    assert path.stat().st_size == before.st_size and len(list(cache.iterdir())) == 2
    assert (changed.windows != first.windows).any()
    read(moved, **options | {"length": 200})
    assert len(list(cache.iterdir())) == 3


def test_concurrent_calls_share_a_cache(root: Path, tmp_path: Path) -> None:
    options = {"by": "time", "length": 100, "cache": tmp_path / "cache"}
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda _: read(root, **options), range(8)))
    for one in found:
        np.testing.assert_array_equal(one.windows, found[0].windows)
    assert [path.suffix for path in (tmp_path / "cache").iterdir()] == [".npz"]


def test_windows_are_mapped_from_the_cache(root: Path, tmp_path: Path) -> None:
    """Written recording by recording, and never held in memory as a whole."""
    cache = tmp_path / "cache"
    whole = read(root, by="time", length=100)
    options = {"by": "time", "length": 100, "cache": cache, "memory_map": True}
    for _ in range(2):
        found = read(root, **options)
        assert isinstance(found.windows, np.memmap)
        np.testing.assert_array_equal(found.windows, whole.windows)
        assert found.provenance == whole.provenance
        assert np.array_equal(np.asarray(found.labels), np.asarray(whole.labels))
    (folder,) = cache.iterdir()
    assert folder.suffix == ".mapped"
    (folder / "totals.json").write_text("{")
    np.testing.assert_array_equal(read(root, **options).windows, whole.windows)


def test_threads_share_mapped_windows(root: Path, tmp_path: Path) -> None:
    options = {"by": "time", "length": 100, "cache": tmp_path / "cache", "memory_map": True}
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda _: read(root, **options), range(8)))
    for one in found:
        np.testing.assert_array_equal(one.windows, found[0].windows)
    assert [path.suffix for path in (tmp_path / "cache").iterdir()] == [".mapped"]


def test_another_process_removes_mapped_windows(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It may find a folder damaged that was just replaced by a good one."""
    whole = read(root, by="time", length=100)
    cache = tmp_path / "cache"
    read_mapped = _cache._read_mapped

    def read_removed(folder: Path, number: int) -> _cache.Counted | None:
        if folder.parent == cache:
            shutil.rmtree(folder, ignore_errors=True)
        return read_mapped(folder, number)

    monkeypatch.setattr(_cache, "_read_mapped", read_removed)
    for _ in range(2):
        found = read(root, by="time", length=100, cache=cache, memory_map=True)
        np.testing.assert_array_equal(found.windows, whole.windows)
    assert len(list(cache.iterdir())) == 1


def test_what_a_killed_process_left_in_the_cache_is_removed(root: Path, tmp_path: Path) -> None:
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    cache = tmp_path / "cache"
    (cache / f"{own_prefix('.').replace(str(os.getpid()), str(ended.pid))}0.partial").mkdir(
        parents=True
    )
    read(root, cache=cache, memory_map=True)
    assert [path.suffix for path in cache.iterdir()] == [".mapped"]


def test_mapped_windows_that_cannot_be_written(root: Path, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StorageError, match=r"file/cache: cannot be written \(Not a directory\)"):
        read(root, cache=tmp_path / "file" / "cache", memory_map=True)


def test_the_cache_has_a_limit(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cache = tmp_path / "cache"
    read(root, cache=cache, by="time", length=100)
    (first,) = cache.iterdir()
    (cache / "other.npz").write_bytes(b"not ours")
    monkeypatch.setattr(_cache, "MAX_BYTES", first.stat().st_size + 1)
    os.utime(first, (1, 1))
    read(root, cache=cache, by="time", length=200)
    left = {path.name for path in cache.iterdir()}
    assert len(left) == 2 and first.name not in left and "other.npz" in left


def test_a_cache_that_cannot_be_written_is_no_error(root: Path, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    found = read(root, cache=tmp_path / "file" / "cache")
    assert len(found) == 4


def test_recordings_that_fill_their_window_are_not_said(tmp_path: Path) -> None:
    for index, duration in enumerate((350, 399)):
        write(tmp_path / f"{index}.npy", duration, 100)
    notes = "\n".join(read(tmp_path, by="time", length=400).notes)
    assert "2 windows from 2 recordings" in notes and "before the first window" not in notes
