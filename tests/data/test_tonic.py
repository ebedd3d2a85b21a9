"""Data sets through Tonic: real POKER-DVS and N-MNIST; the layouts of the others, written small."""

from __future__ import annotations

import os
import tarfile
import urllib.request
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lmht_deploy.data import SplitRule, split_list
from lmht_deploy.errors import DataError
from lmht_deploy.events.arrays import Sensor
from lmht_deploy.events.recordings import read_events
from tests.support.recordings import data, load

tonic = pytest.importorskip("tonic")


@pytest.fixture(autouse=True)
def offline(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is ever downloaded."""

    def refuse(*arguments: Any, **options: Any) -> None:
        raise AssertionError("a download was started")

    monkeypatch.setattr(urllib.request, "urlopen", refuse)
    monkeypatch.setattr(urllib.request, "urlretrieve", refuse)


def random_events(
    rng: np.random.Generator, width: int, height: int, number: int = 50
) -> dict[str, np.ndarray]:
    return {
        "t": np.sort(rng.integers(0, 10**6, number)),
        "x": rng.integers(width, size=number),
        "y": rng.integers(height, size=number),
        "p": rng.integers(2, size=number),
    }


def shuffle_file_system(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let os.walk list folders in another order, as another file system does."""
    walk = os.walk

    def reversed_walk(top: str, *arguments: Any, **options: Any) -> Any:
        for path, folders, files in walk(top, *arguments, **options):
            folders.sort(reverse=True)
            files.sort(reverse=True)
            yield path, folders, files

    monkeypatch.setattr(os, "walk", reversed_walk)


# ---------------------------------------------------------------------------------------- real data


@pytest.fixture
def poker(tmp_path: Path) -> Path:
    for split in ("train", "test"):
        with tarfile.open(data(f"poker_dvs/pips_{split}.tar.gz")) as archive:
            archive.extractall(tmp_path / "POKERDVS", filter="data")
    return tmp_path


def test_poker_dvs(poker: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    train, test = (
        load("tonic:POKERDVS", root=poker, split=split, steps=5) for split in ("train", "test")
    )
    assert train.windows.shape == (48, 5, 2, 35, 35) and test.windows.shape == (20, 5, 2, 35, 35)
    assert (
        train.classes == ("cl", "he", "di", "sp") and np.bincount(train.labels).tolist() == [12] * 4
    )
    stored = sum(len(np.load(path)) for path in (poker / "POKERDVS" / "pips_test").rglob("*.npy"))
    assert test.provenance["events"] == stored and test.provenance["lost"] == 0
    shuffle_file_system(monkeypatch)
    again = load("tonic:POKERDVS", root=poker / "POKERDVS", split="test", steps=5)
    np.testing.assert_array_equal(again.windows, test.windows)
    np.testing.assert_array_equal(again.labels, test.labels)


def test_an_incomplete_set_is_refused_unless_a_subset_is_asked_for(poker: Path) -> None:
    (poker / "POKERDVS" / "pips_train" / "he" / "3.npy").unlink()
    with pytest.raises(
        DataError,
        match=r"POKERDVS is incomplete, 47 of 48 recordings are here; finish .* or accept a subset",
    ):
        load("tonic:POKERDVS", root=poker)
    assert len(load("tonic:POKERDVS", root=poker, subset=True)) == 47


def test_nmnist_by_its_name_in_tonic_is_the_same(tmp_path: Path) -> None:
    archive = data("nmnist_small/nmnist_small.zip")
    with pytest.raises(DataError, match="holds no recording of NMNIST as Tonic saves it"):
        load("tonic:NMNIST", root=archive.parent, split="test")
    with zipfile.ZipFile(archive) as file:
        file.extractall(tmp_path / "NMNIST")
    with pytest.raises(DataError, match="NMNIST is incomplete, 100 of 10000 recordings are here"):
        load("tonic:NMNIST", root=tmp_path, split="test")
    by_tonic = load("tonic:NMNIST", root=tmp_path, split="test", subset=True)
    plain = load("nmnist", root=archive, split="test")
    np.testing.assert_array_equal(by_tonic.windows, plain.windows)
    np.testing.assert_array_equal(by_tonic.labels, plain.labels)
    assert by_tonic.classes == plain.classes


# --------------------------------------------------------------------------- layouts, written small


def write_cifar10dvs(home: Path, number: int) -> dict[str, int]:
    """`number` recordings a class as AEDAT 4; events by path."""
    faery = pytest.importorskip("faery")
    rng = np.random.default_rng(0)
    written = {}
    for name in tonic.datasets.CIFAR10DVS.classes:
        (home / name).mkdir(parents=True)
        for index in range(number):
            events = random_events(rng, 128, 128, int(rng.integers(30, 60)))
            packet = np.zeros(len(events["t"]), faery.EVENTS_DTYPE)
            for field, other in {"t": "t", "x": "x", "y": "y", "on": "p"}.items():
                packet[field] = events[other]
            path = home / name / f"cifar10_{name}_{index}.aedat4"
            faery.events_stream_from_array(packet, (128, 128)).to_file(path)
            written[f"{name}/{index}"] = len(packet)
    return written


def test_cifar10dvs_is_sorted_and_split_9_to_1(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("aedat")
    written = write_cifar10dvs(tmp_path / "CIFAR10DVS", 10)
    with pytest.raises(DataError, match="CIFAR10DVS is incomplete, 100 of 10000 recordings"):
        load("tonic:CIFAR10DVS", root=tmp_path)
    train, test = (
        load("tonic:CIFAR10DVS", root=tmp_path, split=split, steps=10, subset=True, size=32)
        for split in ("train", "test")
    )
    assert train.windows.shape == (90, 10, 2, 32, 32) and test.labels.tolist() == list(range(10))
    assert train.provenance["events"] + test.provenance["events"] == sum(written.values())
    assert train.classes[:2] == ("airplane", "automobile")
    shuffle_file_system(monkeypatch)
    again = load("tonic:CIFAR10DVS", root=tmp_path, split="test", steps=10, subset=True, size=32)
    np.testing.assert_array_equal(again.windows, test.windows)


def test_cifar10dvs_by_a_split_scheme(tmp_path: Path) -> None:
    """A part of the data set is divided as the list says, also when it is read as a folder."""
    pytest.importorskip("aedat")
    write_cifar10dvs(tmp_path / "CIFAR10DVS", 4)
    rule = SplitRule(scheme="fold-1-of-5")
    listed = split_list("tonic:CIFAR10DVS", "fold-1-of-5")
    for name, root in (("tonic:CIFAR10DVS", tmp_path), ("folder", tmp_path / "CIFAR10DVS")):
        for split in ("train", "test"):
            found = load(
                name, root=root, split=split, steps=2, size=8, subset=True, split_rule=rule
            )
            files = [file for file in sorted(listed) if listed[file] == split]
            present = [file for file in files if int(file[:-7].rpartition("_")[2]) < 4]
            assert list(found.sources) == present
            assert found.provenance["split_scheme"] == "fold-1-of-5"
            assert found.provenance["split_complete"] is False
    assert "40 of the 10,000 recordings of CIFAR10-DVS" in " ".join(found.notes)
    with pytest.raises(
        DataError, match=r"there is no train split; .* in test by split scheme 'tebn'"
    ):
        load(
            "folder",
            root=tmp_path / "CIFAR10DVS",
            split="train",
            split_rule=SplitRule(scheme="tebn"),
        )


def test_dvs_gesture(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    total = 0
    for user in range(2):
        folder = tmp_path / "DVSGesture" / "ibmGestureTest" / f"user{user:02}_fluorescent"
        folder.mkdir(parents=True)
        for gesture in range(11):
            events = random_events(rng, 128, 128)
            np.save(
                folder / f"{gesture}.npy",
                np.stack([events[name] for name in "xypt"], 1).astype(float),
            )
            total += 50
    test = load("tonic:DVSGesture", root=tmp_path, split="test", subset=True)
    assert test.windows.shape == (22, 4, 2, 128, 128) and test.provenance["events"] == total
    assert (
        test.labels.tolist() == [0, 1, 10, 2, 3, 4, 5, 6, 7, 8, 9] * 2
    )  # in the order of the paths
    with pytest.raises(DataError, match="ibmGestureTrain: holds no recording of DVSGesture"):
        load("tonic:DVSGesture", root=tmp_path, subset=True)


def nmnist_record(x: int, y: int, p: int, t: int) -> bytes:
    return bytes([x, y, p << 7 | t >> 16, t >> 8 & 255, t & 255])


def test_ncaltech101(tmp_path: Path) -> None:
    for name in ("BACKGROUND_Google", "accordion"):
        folder = tmp_path / "NCALTECH101" / "Caltech101" / name
        folder.mkdir(parents=True)
        for index in range(20):
            (folder / f"image_{index:04}.bin").write_bytes(
                nmnist_record(3, 4, 1, 10) + nmnist_record(200, 150, 0, 20 + index)
            )
    train = load("tonic:NCALTECH101", root=tmp_path, subset=True)
    assert train.classes == ("BACKGROUND_Google", "accordion")
    assert (
        len(train) == 36
        and train.windows.shape[1:] == (4, 2, 180, 240)
        and train.provenance["events"] == 72
    )


def test_asl_dvs(tmp_path: Path) -> None:
    scipy_io = pytest.importorskip("scipy.io")
    rng = np.random.default_rng(0)
    for letter in "abcdefghijklmnopqrstuvwxyz":
        folder = tmp_path / "ASLDVS" / letter
        folder.mkdir(parents=True)
        for index in range(10):
            events = random_events(rng, 240, 180)
            columns = {"ts": events["t"], "x": events["x"], "y": events["y"], "pol": events["p"]}
            scipy_io.savemat(
                folder / f"{letter}_{index:04}.mat",
                {name: column[:, None] for name, column in columns.items()},
            )
    test = load("tonic:ASLDVS", root=tmp_path, split="test", subset=True, size=(18, 24))
    assert test.windows.shape == (26, 4, 2, 18, 24) and test.provenance["events"] == 26 * 50


# ---------------------------------------------------------------------------------- any other class


def write_dvs_lip(home: Path, number: int) -> None:
    rng = np.random.default_rng(0)
    for word in tonic.datasets.DVSLip.classes:
        for split in ("train", "test"):
            folder = home / "DVS-Lip" / split / word
            folder.mkdir(parents=True)
            for index in range(number if split == "train" else 1):
                columns = random_events(rng, 128, 128)
                events = np.empty(
                    50, [("t", np.int32), ("x", np.int8), ("y", np.int8), ("p", np.int8)]
                )
                for name in "txyp":
                    events[name] = columns[name]
                np.save(folder / f"{index}.npy", events)


def test_dvs_lip_which_is_not_among_the_known(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_dvs_lip(tmp_path / "DVSLip", 2)
    train, test = (
        load("tonic:DVSLip", root=tmp_path, split=split, size=16) for split in ("train", "test")
    )
    assert (
        train.windows.shape == (200, 4, 2, 16, 16)
        and train.provenance["sensor"] == [128, 128]
        and train.provenance["events"] == 200 * 50
    )
    assert train.provenance["complete"] == "not known"
    assert len(train.classes) == 100 and test.labels.tolist() == list(
        range(100)
    )  # the classes are in the order of their names
    shuffle_file_system(monkeypatch)
    listdir = os.listdir
    monkeypatch.setattr(os, "listdir", lambda path: sorted(listdir(path), reverse=True))
    again = load("tonic:DVSLip", root=tmp_path, size=16)
    np.testing.assert_array_equal(again.windows, train.windows)
    np.testing.assert_array_equal(again.labels, train.labels)
    for path in (tmp_path / "DVSLip" / "DVS-Lip" / "train" / "accused").iterdir():
        path.unlink()
    with pytest.raises(
        DataError, match="DVSLip is incomplete, class 'accused' has no train recording"
    ):
        load("tonic:DVSLip", root=tmp_path)
    with pytest.raises(DataError, match="does not hold DVSLip as Tonic saves it"):
        load("tonic:DVSLip", root=tmp_path / "DVSLip" / "DVS-Lip")


class STMNIST(tonic.dataset.Dataset):
    """ST-MNIST as a class of Tonic without a split: a sensor of 10 x 10 that is touched."""

    sensor_size = (10, 10, 2)
    dtype = np.dtype([("t", np.int64), ("x", np.int64), ("y", np.int64), ("p", np.int64)])
    classes = tuple("01")

    def __init__(self, save_to: str, transform: Any = None) -> None:
        super().__init__(save_to, transform=transform)
        for path in Path(self.location_on_system).glob("*/*.mat"):
            self.data.append(str(path))
            self.targets.append(int(path.parent.name))

    def __getitem__(self, index: int) -> tuple[np.ndarray, int]:
        from scipy.io import loadmat

        train = loadmat(self.data[index])["spiketrain"]
        place, when = np.nonzero(train[:100])
        events = np.empty(len(place), self.dtype)
        events["t"], events["x"], events["y"] = train[100, when] * 1e6, place % 10, place // 10
        events["p"] = train[place, when] > 0
        return np.sort(events, order="t"), self.targets[index]


def test_any_class_of_labelled_recordings_without_a_split(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    loadmat = pytest.importorskip("scipy.io").loadmat
    sample = data("event_formats/stmnist_sample.mat")
    monkeypatch.setattr(tonic.datasets, "STMNIST", STMNIST, raising=False)
    monkeypatch.setattr(tonic.datasets, "__all__", [*tonic.datasets.__all__, "STMNIST"])
    for digit in "01":
        (tmp_path / "STMNIST" / digit).mkdir(parents=True)
        for index in range(10):
            (tmp_path / "STMNIST" / digit / f"{index}.mat").write_bytes(sample.read_bytes())
    train, test = (
        load("tonic:STMNIST", root=tmp_path, split=split, max_count=65535)
        for split in ("train", "test")
    )
    assert train.windows.shape == (18, 4, 2, 10, 10) and test.labels.tolist() == [0, 1]
    assert test.provenance["events"] == 2 * np.count_nonzero(loadmat(sample)["spiketrain"][:100])
    monkeypatch.setattr(STMNIST, "classes", ("0",))
    with pytest.raises(
        DataError, match="tonic:STMNIST: its targets are not labels of its 1 classes"
    ):
        load("tonic:STMNIST", root=tmp_path)


# ---------------------------------------------------------------------------- what cannot be loaded


@pytest.mark.parametrize("name", ["SHD", "SSC", "SMNIST", "NTIDIGITS18"])
def test_sets_without_rows_are_refused(name: str, tmp_path: Path) -> None:
    with pytest.raises(
        DataError,
        match=rf"tonic:{name}: its events \(t, x, p on .*\) are not from a sensor with rows",
    ):
        load(f"tonic:{name}", root=tmp_path)


@pytest.mark.parametrize(
    "name", ["DSEC", "MVSEC", "VPR", "EBSSA", "DAVISDATA", "TUMVIE", "ThreeET_Eyetracking"]
)
def test_sets_without_classes_are_refused(name: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=f"tonic:{name}: has no labeled classes"):
        load(f"tonic:{name}", root=tmp_path)


def test_n_cars_is_read_from_folders(tmp_path: Path) -> None:
    with pytest.raises(
        DataError,
        match=r"N-CARS has no class in Tonic; arrange its recordings as .* load them with 'folder'",
    ):
        load("tonic:NCARS", root=tmp_path)
    sample = data("event_formats/ncars_sample.dat")
    for split in ("train", "test"):
        for name in ("background", "cars"):
            (tmp_path / split / name).mkdir(parents=True)
            (tmp_path / split / name / "obj_000000_td.dat").write_bytes(sample.read_bytes())
    found = load(
        "folder", root=tmp_path, split="test", sensor=Sensor(height=100, width=120), size=48
    )
    assert found.classes == ("background", "cars") and found.windows.shape == (2, 4, 2, 48, 48)
    assert found.provenance["events"] == 2 * len(read_events(sample, Sensor(100, 120))[0])


def test_what_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(
        DataError,
        match="unknown Tonic data set 'dataset'; the Tonic data sets are ASLDVS, CIFAR10DVS, "
        "DVSGesture, DVSLip, NCALTECH101, NMNIST, POKERDVS",
    ):
        load("tonic:dataset", root=tmp_path)
    with pytest.raises(DataError, match="unknown Tonic data set 'dataset'"):
        load("tonic:dataset")
    with pytest.raises(DataError, match="give the root that Tonic saved it to"):
        load("tonic:CIFAR10DVS")
    with pytest.raises(
        DataError, match="there is no such folder; expected CIFAR10DVS as Tonic saves it"
    ):
        load("tonic:CIFAR10DVS", root=tmp_path / "absent")
    with pytest.raises(DataError, match="holds no recording of CIFAR10DVS"):
        load("tonic:CIFAR10DVS", root=tmp_path)
    (tmp_path / "ibmGestureTrain" / "nouser").mkdir(parents=True)
    with pytest.raises(DataError, match="does not hold DVSGesture as Tonic saves it"):
        load("tonic:DVSGesture", root=tmp_path)


def test_a_damaged_recording_is_named(tmp_path: Path) -> None:
    pytest.importorskip("aedat")
    write_cifar10dvs(tmp_path / "CIFAR10DVS", 2)
    path = tmp_path / "CIFAR10DVS" / "bird" / "cifar10_bird_0.aedat4"
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(
        DataError, match=r"cifar10_bird_0\.aedat4: is damaged, Tonic cannot read it"
    ):
        for split in ("train", "test"):
            load("tonic:CIFAR10DVS", root=tmp_path, split=split, subset=True)
