"""Data sets by name."""

from __future__ import annotations

import importlib.util
import shutil
import zipfile
from pathlib import Path

import numpy as np
import pytest

from lmht_deploy.errors import DataError
from lmht_deploy.events import datasets

from .recordings import data


def nearest_mean_accuracy(train: datasets.Windows, test: datasets.Windows) -> float:
    """Accuracy of the class whose mean training window is nearest: a floor under what a network can learn."""
    flat, wanted = (part.windows.reshape(len(part), -1).astype(np.float32) for part in (train, test))
    means = np.stack([flat[train.labels == label].mean(0) for label in range(len(train.classes))])
    distances = ((wanted[:, None] - means) ** 2).sum(-1)
    return float((distances.argmin(1) == test.labels).mean())


def test_digits() -> None:
    pytest.importorskip("sklearn")
    calls: list[tuple[int, int]] = []
    train = datasets.load("digits", progress=lambda done, total: calls.append((done, total)))
    test = datasets.load("digits", split="test")
    assert train.windows.shape[1:] == (4, 2, 16, 16) and train.windows.dtype == np.uint8
    assert len(train) + len(test) == 1797 and calls[-1] == (len(train), len(train)) and len(calls) == len(train)
    assert train.provenance["events"] == train.windows.sum() and train.provenance["lost"] == 0
    assert (np.bincount(train.labels) / np.bincount(test.labels) == pytest.approx(4, rel=0.05)) and train.classes[7] == "7"
    assert nearest_mean_accuracy(train, test) > 0.85
    again = datasets.load("digits", split="test")
    np.testing.assert_array_equal(test.windows, again.windows)
    np.testing.assert_array_equal(test.labels, again.labels)


def test_splits_are_disjoint_and_complete() -> None:
    labels = np.random.default_rng(0).integers(0, 5, 200)
    train, test = (datasets.split_by_class(labels, 0.9, split) for split in ("train", "test"))
    assert sorted([*train, *test]) == list(range(200))
    for label in range(5):
        assert (labels[train] == label).sum() == round(0.9 * (labels == label).sum())


def test_options_of_load() -> None:
    pytest.importorskip("sklearn")
    whole = datasets.load("digits", split="test")
    small = datasets.load("digits", split="test", steps=2, size=8, high=3)
    merged = whole.windows.astype(int).reshape(-1, 2, 2, 2, 8, 2, 8, 2).sum((2, 5, 7))
    np.testing.assert_array_equal(small.windows, np.minimum(merged, 3))
    assert small.provenance["lost"] == (merged - small.windows).sum() > 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"name": "mnist"}, "unknown data set 'mnist'; there are digits, nmnist"),
        ({"name": "digits", "split": "all"}, "'train' and 'test', not 'all'"),
        ({"name": "digits", "steps": 0}, "at least one bin"),
        ({"name": "nmnist"}, "give the root that holds Train/<digit>"),
    ],
)
def test_what_cannot_be_loaded_is_named(arguments: dict, message: str) -> None:
    with pytest.raises(DataError, match=message):
        datasets.load(**arguments)


@pytest.mark.parametrize(("name", "package", "extra"), [("digits", "sklearn", "demo"), ("nmnist", "tonic", "events")])
def test_a_missing_package_is_named_with_its_remedy(monkeypatch: pytest.MonkeyPatch, name: str, package: str, extra: str) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    with pytest.raises(DataError, match=rf"package '{package}'; run: pip install 'lmht-deploy\[{extra}\]'"):
        datasets.load(name)


# ------------------------------------------------------------------------------------------------ N-MNIST


def test_nmnist_from_the_zip_and_from_folders(tmp_path: Path) -> None:
    pytest.importorskip("tonic")
    archive = data("nmnist_small/nmnist_small.zip")
    test = datasets.load("nmnist", root=archive.parent, split="test")
    assert test.windows.shape == (100, 4, 2, 34, 34) and sorted(set(test.labels)) == list(range(10))
    with zipfile.ZipFile(archive) as file:
        file.extractall(tmp_path / "NMNIST", [name for name in file.namelist() if name.startswith("Test/")])
        assert test.provenance["events"] == sum(events_in(file.read(name)) for name in file.namelist() if name.startswith("Test/"))
    for root in (archive, tmp_path, tmp_path / "NMNIST"):
        again = datasets.load("nmnist", root=root, split="test")
        np.testing.assert_array_equal(again.windows, test.windows)
        np.testing.assert_array_equal(again.labels, test.labels)
    with pytest.raises(DataError, match="there is no N-MNIST here; expected Train"):
        datasets.load("nmnist", root=tmp_path)
    shutil.rmtree(tmp_path / "NMNIST" / "Test" / "3")
    with pytest.raises(DataError, match=r"incomplete, there is no recording 3/\*\.bin"):
        datasets.load("nmnist", root=tmp_path, split="test")


def events_in(recording: bytes) -> int:
    """Events of an N-MNIST file: records of five bytes, of which those with y = 240 are overflows of the clock."""
    return sum(1 for i in range(0, len(recording), 5) if recording[i + 1] != 240)


def test_damaged_nmnist_is_named(tmp_path: Path) -> None:
    pytest.importorskip("tonic")
    (tmp_path / "broken.zip").write_bytes(b"PK\x03\x04 nothing")
    with pytest.raises(DataError, match=r"broken\.zip: is not a readable zip file"):
        datasets.load("nmnist", root=tmp_path)
    for digit in range(10):
        (tmp_path / "Test" / str(digit)).mkdir(parents=True)
        (tmp_path / "Test" / str(digit) / "00001.bin").write_bytes(bytes([40, 3, 128, 0, 1]))
    with pytest.raises(DataError, match="nmnist, test recording 0: event 0: address x=40, y=3 lies beside the sensor of 34 x 34"):
        datasets.load("nmnist", root=tmp_path, split="test")
    (tmp_path / "Test" / "0" / "00001.bin").write_bytes(bytes([4, 3, 128, 0]))
    with pytest.raises(DataError, match=r"0/00001\.bin: is damaged"):
        datasets.load("nmnist", root=tmp_path, split="test")
