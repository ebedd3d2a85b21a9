"""`lmht_deploy.data.load`: data sets by name, files of windows and recordings."""

from __future__ import annotations

import importlib.util
import json
import shutil
import zipfile
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from lmht_deploy.data import SplitRule, Windows, available
from lmht_deploy.data._listing import Choice, select
from lmht_deploy.data._splits import Split
from lmht_deploy.errors import DataError, LmhtError, StorageError
from lmht_deploy.events.arrays import Sensor, make_events
from lmht_deploy.formats.windows import save_windows
from tests.support.recordings import SENSOR, data, load


def nearest_mean_accuracy(train: Windows, test: Windows) -> float:
    """Accuracy of the nearest class mean: a lower bound of what a network can learn."""
    flat, wanted = (
        part.windows.reshape(len(part), -1).astype(np.float32) for part in (train, test)
    )
    means = np.stack([flat[train.labels == label].mean(0) for label in range(len(train.classes))])
    distances = ((wanted[:, None] - means) ** 2).sum(-1)
    return float((distances.argmin(1) == test.labels).mean())


def test_digits() -> None:
    pytest.importorskip("sklearn")
    calls: list[tuple[int, int]] = []
    train = load("digits", progress=lambda done, total: calls.append((done, total)))
    test = load("digits", split="test")
    assert train.windows.shape[1:] == (4, 2, 16, 16) and train.windows.dtype == np.uint8
    assert (
        len(train) + len(test) == 1797
        and calls[-1] == (len(train), len(train))
        and len(calls) == len(train)
    )
    assert train.provenance["events"] == train.windows.sum() and train.provenance["lost"] == 0
    assert (
        np.bincount(train.labels) / np.bincount(test.labels) == pytest.approx(4, rel=0.05)
    ) and train.classes[7] == "7"
    assert nearest_mean_accuracy(train, test) > 0.85
    again = load("digits", split="test")
    np.testing.assert_array_equal(test.windows, again.windows)
    np.testing.assert_array_equal(test.labels, again.labels)


SIDES: tuple[Split, ...] = ("train", "test")


def split_of(labels: np.ndarray, split: Split) -> np.ndarray:
    names = [f"{index:03}" for index in range(len(labels))]
    return select(names, labels, "abcde", Choice(split)).index


def test_splits_are_disjoint_and_complete() -> None:
    labels = np.random.default_rng(0).integers(0, 5, 200)
    train, test = (split_of(labels, split) for split in SIDES)
    assert sorted([*train, *test]) == list(range(200))
    for label in range(5):
        assert (labels[train] == label).sum() == round(0.9 * (labels == label).sum())


def test_options_of_load() -> None:
    pytest.importorskip("sklearn")
    whole = load("digits", split="test")
    small = load("digits", split="test", steps=2, size=8, max_count=3)
    merged = whole.windows.astype(int).reshape(-1, 2, 2, 2, 8, 2, 8, 2).sum((2, 5, 7))
    np.testing.assert_array_equal(small.windows, np.minimum(merged, 3))
    assert small.provenance["lost"] == (merged - small.windows).sum() > 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            {"source": "mnist"},
            "unknown data set 'mnist'; did you mean 'nmnist'\\? .* digits, nmnist",
        ),
        ({"split": "some"}, "split must be 'train', 'validation', 'test' or 'all', not 'some'"),
        ({"steps": 0}, "at least one bin"),
        ({"source": "nmnist"}, "give the root that holds Train/<digit>"),
    ],
)
def test_what_cannot_be_loaded_is_named(arguments: dict, message: str) -> None:
    with pytest.raises(DataError, match=message):
        load(**{"source": "digits"} | arguments)


@pytest.mark.parametrize(
    ("name", "package", "extra"), [("digits", "sklearn", "demo"), ("nmnist", "tonic", "events")]
)
def test_a_missing_package_is_named_with_its_remedy(
    monkeypatch: pytest.MonkeyPatch, name: str, package: str, extra: str
) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    with pytest.raises(
        DataError,
        match=rf"package '{package}' is not installed; run: pip install 'lmht-deploy\[{extra}\]'",
    ):
        load(name)


# ------------------------------------------------------------------------------- one loader for all


def test_available_names_what_load_loads() -> None:
    known = {entry.name: entry for entry in available()}
    assert {"digits", "nmnist", "folder", "tonic:CIFAR10DVS", "cifar10", "imagenet"} <= set(known)
    assert known["digits"].size == (16, 16) and known["digits"].classes == 10
    assert known["cifar10"].kind == "image" and known["imagenet"].size is None
    for entry in known.values():
        assert entry.origin and bool(entry.packages) == bool(entry.extra), entry.name
        if not entry.missing and entry.name != "digits":  # known, but its files are not here
            with pytest.raises(DataError) as caught:
                load(entry.name, root="absent")
            assert "unknown" not in str(caught.value)


def test_missing_packages_are_listed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    missing = {entry.name: entry.missing for entry in available()}
    assert missing["cifar10"] == ("datasets", "PIL") and missing["folder"] == ()


def test_a_file_of_windows(tmp_path: Path) -> None:
    windows = np.random.default_rng(0).integers(0, 9, (5, 4, 2, 3, 6)).astype(np.uint8)
    save_windows(windows, tmp_path / "windows.npz", np.arange(5))
    for size in (None, (3, 6)):
        found = load(tmp_path / "windows.npz", size=size, split=None)
        np.testing.assert_array_equal(found.windows, windows)
        assert found.require_labels().tolist() == [0, 1, 2, 3, 4] and found.kind == "events"
        assert found.provenance == {"data": str(tmp_path / "windows.npz")} and not found.warnings
    with pytest.raises(
        DataError,
        match=r"windows\.npz: windows must have shape \[N, 5, C, H, W\], not \[5, 4, 2, 3, 6\]",
    ):
        load(tmp_path / "windows.npz", steps=5, split=None)
    with pytest.raises(DataError, match=r"must have shape \[N, 4, C, 6, 6\]"):
        load(tmp_path / "windows.npz", size=6)
    with pytest.raises(StorageError, match="there is no such file"):
        load(tmp_path / "absent.npz")
    save_windows(windows.astype(np.int8) - 5, tmp_path / "images.npz")
    images = load(tmp_path / "images.npz", split=None)
    assert images.kind == "image" and images.labels is None
    with pytest.raises(DataError, match=r"images\.npz: there are no labels"):
        images.require_labels()


def test_a_recording_is_one_window(tmp_path: Path) -> None:
    """Clipped and dropped events are reported."""
    path = tmp_path / "events.npy"
    np.save(
        path,
        make_events(np.arange(8), np.r_[9, np.ones(7, int)], np.zeros(8, int), np.ones(8, int)),
    )
    with pytest.raises(DataError, match=r"events\.npy: event 0: x=9"):
        load(path, sensor=SENSOR, split=None)
    found = load(path, split=None, sensor=(3, 5), steps=2, size=(3, 1), max_count=2, drop=True)
    assert found.windows.shape == (1, 2, 2, 3, 1) and found.windows.sum() == 4
    assert found.labels is None and found.classes == () and len(found) == 1
    wanted = {"data": str(path), "sensor": [3, 5], "size": [3, 1], "events": 7}
    assert found.provenance.items() >= (wanted | {"lost": 3, "dropped": 1}).items()
    assert found.warnings == (
        f"{path}: 3 of 7 events exceed the largest input count (2) and are not counted",
        f"{path}: 1 invalid event was dropped",
    )
    fewer = load(path, split=None, sensor=(3, 5), steps=2, size=(3, 1), max_count=3, drop=True)
    assert fewer.warnings[0] == (
        f"{path}: 1 of 7 events exceeds the largest input count (3) and is not counted"
    )


def test_windows_can_be_selected_with_their_labels() -> None:
    found = Windows(np.arange(6).reshape(6, 1, 1, 1, 1), np.arange(6), ("a",) * 6)
    assert found[:2].require_labels().tolist() == [0, 1] and len(found[2:]) == 4
    chosen = found[np.array([5, 1])]
    assert chosen.windows.ravel().tolist() == [5, 1] and chosen.require_labels().tolist() == [5, 1]
    assert found[:3].classes == found.classes and Windows(found.windows)[:1].labels is None


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"source": "cifar-10"}, r"unknown data set 'cifar-10'; did you mean 'cifar10'\?"),
        ({"source": ".", "root": "."}, r"a root has no effect on \.; give the path alone"),
        ({"source": "a/b"}, "a/b: there is no such file"),
        ({"source": "absent.txt"}, "absent.txt: there is no such file"),
        ({"source": "digits", "classes": 3}, "classes must be a list of names, not 3"),
        ({"source": "digits", "classes": ["ten"]}, "unknown class 'ten'; the classes are 0, 1, 2"),
        ({"source": "digits", "split": "validation"}, "there is no validation split; give its sh"),
        ({"source": "digits", "size": (1, 2, 3)}, r"size must be \(height, width\) or one number"),
        ({"source": "digits", "size": "ab"}, r"or one number, in pixels, not 'ab'"),
        ({"source": "digits", "size": 0}, r"or one number, in pixels, not 0"),
        ({"source": "a.npy", "sensor": (1,)}, r"the size of a sensor is \(height, width\)"),
        ({"source": "cifar10", "size": (8, 9)}, r"cifar10: images become squares"),
    ],
)
def test_sources_and_options_that_do_not_fit(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(LmhtError, match=message):
        load(**arguments)


# ------------------------------------------------------------------------------------------ N-MNIST


def test_nmnist_from_the_zip_and_from_folders(tmp_path: Path) -> None:
    pytest.importorskip("tonic")
    archive = data("nmnist_small/nmnist_small.zip")
    test = load("nmnist", root=archive.parent, split="test")
    assert test.windows.shape == (100, 4, 2, 34, 34) and sorted(set(test.labels)) == list(range(10))
    with zipfile.ZipFile(archive) as file:
        file.extractall(
            tmp_path / "NMNIST", [name for name in file.namelist() if name.startswith("Test/")]
        )
        assert test.provenance["events"] == sum(
            events_in(file.read(name)) for name in file.namelist() if name.startswith("Test/")
        )
    for root in (archive, tmp_path, tmp_path / "NMNIST"):
        again = load("nmnist", root=root, split="test")
        np.testing.assert_array_equal(again.windows, test.windows)
        np.testing.assert_array_equal(again.labels, test.labels)
    with pytest.raises(DataError, match="there is no N-MNIST here; expected Train"):
        load("nmnist", root=tmp_path)
    shutil.rmtree(tmp_path / "NMNIST" / "Test" / "3")
    with pytest.raises(
        DataError, match="NMNIST is incomplete, class '3 - three' has no test recording"
    ):
        load("nmnist", root=tmp_path, split="test")


def events_in(recording: bytes) -> int:
    """Number of events in an N-MNIST file of five-byte records; y = 240 is a clock overflow."""
    return sum(1 for i in range(0, len(recording), 5) if recording[i + 1] != 240)


def test_damaged_nmnist_is_named(tmp_path: Path) -> None:
    pytest.importorskip("tonic")
    (tmp_path / "broken.zip").write_bytes(b"PK\x03\x04 nothing")
    with pytest.raises(DataError, match=r"broken\.zip: is not a readable zip file"):
        load("nmnist", root=tmp_path)
    for digit in range(10):
        (tmp_path / "Test" / str(digit)).mkdir(parents=True)
        (tmp_path / "Test" / str(digit) / "00001.bin").write_bytes(bytes([40, 3, 128, 0, 1]))
    with pytest.raises(
        DataError,
        match=r"^Test/0/00001\.bin: event 0: x=40, y=3 is outside the sensor of 34 x 34",
    ):
        load("nmnist", root=tmp_path, split="test")
    (tmp_path / "Test" / "0" / "00001.bin").write_bytes(bytes([4, 3, 128, 0]))
    with pytest.raises(DataError, match=r"0/00001\.bin: is damaged"):
        load("nmnist", root=tmp_path, split="test")


# -------------------------------------------------------------------------- your own recordings


def write_folders(root: Path, number: int = 10) -> None:
    rng = np.random.default_rng(0)
    for name in ("cat", "dog"):
        (root / name).mkdir(parents=True)
        for index in range(number):
            t = np.sort(rng.integers(0, 1000, 20))
            np.save(
                root / name / f"{index}.npy",
                make_events(
                    t, rng.integers(5, size=20), rng.integers(3, size=20), rng.integers(2, size=20)
                ),
            )


def test_a_folder_a_class(tmp_path: Path) -> None:
    write_folders(tmp_path)
    train, test = (
        load("folder", root=tmp_path, split=split, sensor=SENSOR) for split in ("train", "test")
    )
    assert (
        train.windows.shape == (18, 4, 2, 3, 5)
        and test.labels.tolist() == [0, 1]
        and test.classes == ("cat", "dog")
    )
    assert train.provenance["events"] == 18 * 20
    with pytest.raises(DataError, match="does not say how large its sensor is"):
        load("folder", root=tmp_path)


def test_a_track_is_chosen(tmp_path: Path) -> None:
    """Of a recording and of a folder; the provenance has it, and the cache holds it apart."""
    for name in ("cat", "dog"):
        (tmp_path / "data" / name).mkdir(parents=True)
        for index in range(2):
            with h5py.File(tmp_path / "data" / name / f"{index}.h5", "w") as file:
                for track, number in (("left", 3), ("right", 5)):
                    for column in "txyp":
                        file[f"{track}/{column}"] = np.zeros(number, np.int64)
    options = {"steps": 1, "split": "all", "sensor": SENSOR, "cache": tmp_path / "cache"}
    for track, number in (("left", 3), ("right", 5)):
        found = load(tmp_path / "data", track=track, **options)
        assert found.windows.sum((1, 2, 3, 4)).tolist() == [number] * 4
        assert found.provenance["track"] == track
        one = load(tmp_path / "data" / "cat" / "0.h5", track=track, split=None, sensor=SENSOR)
        assert one.windows.sum() == number
    with pytest.raises(DataError, match=r"0\.h5: .* it holds 2: left, right; choose one"):
        load(tmp_path / "data", **options)
    with pytest.raises(DataError, match="digits: is not a recording; track chooses among"):
        load("digits", track=1)
    with pytest.raises(DataError, match="track"):
        load(tmp_path / "data", track=1.5, **options)


def test_folders_with_a_split_of_their_own(tmp_path: Path) -> None:
    write_folders(tmp_path / "train", 3)
    write_folders(tmp_path / "test", 2)
    assert [
        len(load("folder", root=tmp_path, split=split, sensor=SENSOR))
        for split in ("train", "test")
    ] == [6, 4]


def test_a_class_that_one_split_lacks_keeps_its_label(tmp_path: Path) -> None:
    """Labels are those of both splits together; test lacks the class between two others."""
    write_folders(tmp_path / "train", 3)
    write_folders(tmp_path / "test", 2)
    (tmp_path / "train" / "cow").mkdir()
    for path in (tmp_path / "train" / "cat").iterdir():
        shutil.copy(path, tmp_path / "train" / "cow")
    train, test = (
        load("folder", root=tmp_path, split=split, sensor=SENSOR) for split in ("train", "test")
    )
    assert train.classes == test.classes == ("cat", "cow", "dog")
    assert train.labels.tolist() == [0, 0, 0, 1, 1, 1, 2, 2, 2]
    assert test.labels.tolist() == [0, 0, 2, 2]


def test_hidden_files_are_skipped(tmp_path: Path) -> None:
    write_folders(tmp_path)
    (tmp_path / "cat" / "._0.npy").write_bytes(b"what macOS leaves beside a file")
    assert len(load("folder", root=tmp_path, split="train", sensor=SENSOR)) == 18


def test_a_recording_without_events_is_named(tmp_path: Path) -> None:
    write_folders(tmp_path)
    np.save(tmp_path / "cat" / "0.npy", make_events(*np.zeros((4, 0), int)))
    with pytest.raises(DataError, match=r"0\.npy: holds no event"):
        for split in ("train", "test"):
            load("folder", root=tmp_path, split=split, sensor=SENSOR)


def test_real_recordings_of_a_folder(tmp_path: Path) -> None:
    pytest.importorskip("faery")
    for split in ("train", "test"):
        (tmp_path / split / "man").mkdir(parents=True)
        shutil.copy(
            data("event_formats/tonic_sample_320x240.aedat4"), tmp_path / split / "man" / "0.aedat4"
        )
    found = load("folder", root=tmp_path, steps=2, size=(24, 32))
    assert (
        found.provenance["sensor"] == [240, 320]
        and found.provenance["events"] == 111954 == found.windows.sum() + found.provenance["lost"]
    )
    shutil.copy(
        data("event_formats/davis346_short.aedat4"), tmp_path / "train" / "man" / "1.aedat4"
    )
    with pytest.raises(DataError, match=r"1\.aedat4: its sensor has 346 x 260 pixels"):
        load("folder", root=tmp_path)


def test_folders_that_hold_nothing_are_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="give a root with one folder of recordings for each class"):
        load("folder")
    with pytest.raises(DataError, match="holds no folder of recordings"):
        load("folder", root=tmp_path)
    (tmp_path / "cat").mkdir()
    with pytest.raises(DataError, match=r"cat: holds no recording \("):
        load("folder", root=tmp_path)
    (tmp_path / "cat" / "1.npy").touch()
    with pytest.raises(DataError, match="too few recordings to be split"):
        load("folder", root=tmp_path, split="test", sensor=SENSOR)
    with pytest.raises(DataError, match="only that of 'folder' can be given"):
        load("digits", sensor=SENSOR)


def test_windows_that_do_not_fit_the_memory_are_refused(tmp_path: Path) -> None:
    write_folders(tmp_path)
    with pytest.raises(
        DataError,
        match=r"do not fit into memory; choose a smaller size|choose a longer bin",
    ):
        load("folder", root=tmp_path, sensor=Sensor(2**31, 2**31))


def test_events_that_do_not_fit_are_dropped_only_when_asked(tmp_path: Path) -> None:
    write_folders(tmp_path)
    np.save(
        tmp_path / "cat" / "0.npy",
        make_events(np.array([5, 6, 7]), np.array([1, 99, 1]), np.zeros(3, int), np.ones(3, int)),
    )
    split = (
        "train" if any(index == 0 for index in split_of(np.repeat([0, 1], 10), "train")) else "test"
    )
    with pytest.raises(DataError, match=r"^cat/0\.npy: event 1: x=99"):
        load("folder", root=tmp_path, split=split, sensor=SENSOR)
    assert (
        load("folder", root=tmp_path, split=split, sensor=SENSOR, drop=True).provenance["dropped"]
        == 1
    )


# ---------------------------------------------------------------------------------------- the cache


def test_the_cache_gives_the_same_and_notices_every_change(tmp_path: Path) -> None:
    root, cache = tmp_path / "root", tmp_path / "cache"
    write_folders(root)
    reads: list[int] = []

    def load_again(**options: Any) -> Windows:
        reads.clear()
        return load(
            "folder",
            root=root,
            sensor=SENSOR,
            cache=cache,
            progress=lambda done, total: reads.append(done),
            **options,
        )

    first = load_again()
    assert len(reads) == 18
    again = load_again()
    assert not reads
    np.testing.assert_array_equal(again.windows, first.windows)
    np.testing.assert_array_equal(again.labels, first.labels)
    assert (
        again.windows.dtype == first.windows.dtype
        and again.provenance == first.provenance
        and again.classes == first.classes
    )
    for options in ({"steps": 5}, {"size": 2}, {"max_count": 1}, {"split": "test"}, {"drop": True}):
        load_again(**options)
        assert reads, options
    for path in cache.iterdir():
        path.write_bytes(path.read_bytes()[:50])
    np.testing.assert_array_equal(load_again().windows, first.windows)
    assert reads
    changed = root / "dog" / "3.npy"
    events = np.load(changed)
    events["x"] = 0
    np.save(changed, events)
    load_again()
    assert reads
    assert not [path for path in cache.iterdir() if path.suffix != ".npz"]


# ---------------------------------------------------------------------------- splits and classes


def test_splits_of_a_set_without_its_own() -> None:
    pytest.importorskip("sklearn")
    rule = SplitRule(validation_share=0.25, test_share=0.5)
    sides = {
        split: load("digits", split=split, split_rule=rule) for split in ("train", "validation")
    }
    sides |= {split: load("digits", split=split, split_rule=rule) for split in ("test", "all")}
    numbers = {split: len(found) for split, found in sides.items()}
    assert numbers["all"] == 1797 and numbers["test"] == pytest.approx(898, abs=5)
    assert numbers["validation"] == pytest.approx(225, abs=5) and sum(numbers.values()) == 2 * 1797
    names = [name for split in ("train", "validation", "test") for name in sides[split].sources]
    assert len(set(names)) == 1797
    assert json.loads(sides["test"].provenance["split_rule"])["test_share"] == 0.5


def test_chosen_classes_keep_their_split() -> None:
    pytest.importorskip("sklearn")
    every, some = load("digits"), load("digits", classes=["8", "3=three"])
    assert some.classes == ("8", "three")
    kept = np.isin(every.require_labels(), [3, 8])
    np.testing.assert_array_equal(some.labels, every.require_labels()[kept] == 3)
    first = load("digits", max_classes=2)
    assert first.classes == ("0", "1") and set(first.require_labels()) == {0, 1}


def test_groups_of_a_folder_are_in_one_split(tmp_path: Path) -> None:
    """All windows of a recording, and all recordings of a session."""
    for session in ("one", "two"):
        write_folders(tmp_path / session, 6)
    options = {"root": tmp_path, "sensor": SENSOR, "by": "time", "length": 400}
    rule = SplitRule(label_by="2", group_by="1")
    train, test = (
        load("folder", split=split, split_rule=rule, **options) for split in ("train", "test")
    )
    assert train.classes == ("cat", "dog") and len(test) > len(test.sources)
    assert len({name.split("/")[0] for name in train.sources}) == 1
    assert {name.split("/")[0] for name in (*train.sources, *test.sources)} == {"one", "two"}
    assert any("because groups are not divided" in text for text in test.notes)
    folds = [
        load(
            "folder", split="test", split_rule=SplitRule(label_by="2", fold=f"{fold}/3"), **options
        ).sources
        for fold in (1, 2, 3)
    ]
    assert sorted(name for fold in folds for name in fold) == sorted(train.sources + test.sources)


def test_a_table_of_recordings(tmp_path: Path) -> None:
    write_folders(tmp_path, 3)
    (tmp_path / "files.csv").write_text(
        "file,label,split\ncat/0.npy,tom,train\ndog/0.npy,rex,train\ncat/2.npy,tom,test\n"
    )
    for found in (
        load("folder", root=tmp_path / "files.csv", split="train", sensor=SENSOR),
        load(tmp_path / "files.csv", split="train", sensor=SENSOR),
    ):
        assert found.sources == ("cat/0.npy", "dog/0.npy") and found.classes == ("rex", "tom")
        assert found.require_labels().tolist() == [1, 0]


def test_windows_of_a_file_are_split_and_chosen(tmp_path: Path) -> None:
    labels = np.repeat([0, 1, 2], 10)
    windows = np.arange(30).reshape(30, 1, 1, 1, 1).astype(np.uint8)
    save_windows(windows, tmp_path / "w.npz", labels)
    train, test = (load(tmp_path / "w.npz", split=split, steps=1) for split in ("train", "test"))
    assert len(train) == 27 and not set(train.windows.flat) & set(test.windows.flat)
    some = load(tmp_path / "w.npz", classes=["2=two", "0"], split="all", steps=1)
    assert some.classes == ("two", "0") and some.windows.flat[0] == 0 and len(some) == 20
    save_windows(windows, tmp_path / "w.npz", labels - 1)
    with pytest.raises(DataError, match=r"w\.npz: a label is -1; labels must not be negative"):
        load(tmp_path / "w.npz", split="train", steps=1)


def test_nmnist_with_some_digits(tmp_path: Path) -> None:
    pytest.importorskip("tonic")
    archive = data("nmnist_small/nmnist_small.zip")
    some = load("nmnist", root=archive, split="test", classes=["9", "6=six"])
    assert some.classes == ("9 - nine", "six") and np.bincount(some.require_labels()).all()
    with zipfile.ZipFile(archive) as file:
        file.extractall(
            tmp_path,
            [name for name in file.namelist() if name.split("/")[1] in ("6", "9")],
        )
    few = load("nmnist", root=tmp_path, split="test", classes=["9", "6=six"])
    np.testing.assert_array_equal(few.windows, some.windows)
    np.testing.assert_array_equal(few.labels, some.labels)
    with pytest.raises(DataError, match="class '0 - zero' has no test recording; choose classes"):
        load("nmnist", root=tmp_path, split="test")
    partial = load("nmnist", root=tmp_path, split="test", subset=True)
    assert set(partial.require_labels()) == {6, 9} and len(partial.classes) == 10
    rule = SplitRule(validation_share=0.2)
    sides = [
        load("nmnist", root=archive, split=s, split_rule=rule) for s in ("train", "validation")
    ]
    assert len(sides[0]) + len(sides[1]) == len(load("nmnist", root=archive, split="train"))
    assert not set(sides[0].sources) & set(sides[1].sources)
    assert len(load("nmnist", root=archive, split="all")) == 1100
