"""Images from files: folders of a class each, and the archives of CIFAR."""

from __future__ import annotations

import io
import pickle
import tarfile
from pathlib import Path

import numpy as np
import pytest

from lmht_deploy.data import images, load
from lmht_deploy.data._listing import Choice
from lmht_deploy.data._splits import Split, SplitRule
from lmht_deploy.errors import DataError
from tests.support.images import random_pixels

Image = pytest.importorskip("PIL.Image")
SIDES: tuple[Split, ...] = ("train", "test")


def write_images(root: Path, names: dict[str, list[np.ndarray]]) -> None:
    for name, pixels in names.items():
        (root / name).mkdir(parents=True)
        for index, array in enumerate(pixels):
            Image.fromarray(array).save(root / name / f"{index}.png")


def write_cifar(folder: Path, name: str, per_file: int = 4) -> dict[str, np.ndarray]:
    """Write the binary version; returns the records by file."""
    folder.mkdir(parents=True)
    rng = np.random.default_rng(0)
    classes, labels = (10, 1) if name == "cifar10" else (100, 2)
    files = [f"data_batch_{number}.bin" for number in range(1, 6)] + ["test_batch.bin"]
    records = {}
    for file in files if name == "cifar10" else ["train.bin", "test.bin"]:
        content = rng.integers(0, 256, (per_file, labels + 3072)).astype(np.uint8)
        content[:, labels - 1] = rng.integers(0, classes, per_file)
        records[file] = content
        (folder / file).write_bytes(content.tobytes())
    if name == "cifar100":
        (folder / "fine_label_names.txt").write_text("".join(f"name{n}\n" for n in range(100)))
    return records


# ---------------------------------------------------------------------------------------- folders


def test_images_of_a_folder(tmp_path: Path) -> None:
    cats, dogs = random_pixels(10, 1), random_pixels(20, 2)
    write_images(tmp_path, {"cat": cats, "dog": dogs})
    calls: list[tuple[int, int]] = []
    train, test = (
        images.load_image_folder(
            tmp_path, Choice(split), progress=lambda done, total: calls.append((done, total))
        )
        for split in SIDES
    )
    assert train.classes == ("cat", "dog") and train.kind == "image"
    assert np.bincount(train.labels).tolist() == [9, 18] and len(calls) == 30
    found = np.concatenate([train.windows, test.windows])[:, 0].astype(int) + 128
    every = np.stack([*cats, *dogs]).transpose(0, 3, 1, 2)
    assert sorted(found.sum((1, 2, 3))) == sorted(every.sum((1, 2, 3)))
    assert test.windows.shape == (3, 1, 3, 8, 8) and test.windows.dtype == np.int8
    small = images.load_image_folder(tmp_path, Choice(classes=("dog",)), size=4, steps=2)
    assert small.windows.shape == (2, 2, 3, 4, 4) and small.classes == ("dog",)


def test_many_images_are_decoded_on_access(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_images(tmp_path, {"cat": random_pixels(4), "dog": random_pixels(4, 1)})
    now = images.load_image_folder(tmp_path, Choice("train"), size=6)
    monkeypatch.setattr(images, "MAX_DECODED", 100)
    later = images.load_image_folder(tmp_path, Choice("train"), size=6)
    assert isinstance(later.windows, images.LazyImages)
    np.testing.assert_array_equal(later.windows[:], now.windows)


def test_images_that_do_not_fit(tmp_path: Path) -> None:
    write_images(tmp_path, {"train/cat": random_pixels(2), "test/cat": random_pixels(1)})
    Image.fromarray(np.zeros((4, 5, 3), np.uint8)).save(tmp_path / "train" / "cat" / "x.jpg")
    with pytest.raises(DataError, match="the images have different sizes; give the size"):
        images.load_image_folder(tmp_path, Choice("train"))
    assert images.load_image_folder(tmp_path, Choice("train"), size=4).windows.shape[3:] == (4, 4)
    Image.fromarray(np.zeros((8, 8), np.uint16)).save(tmp_path / "train" / "cat" / "y.png")
    with pytest.raises(DataError, match=r"y\.png: cannot be decoded \(its pixels have more than 8"):
        images.load_image_folder(tmp_path, Choice("train"), size=4)
    (tmp_path / "train" / "cat" / "y.png").write_bytes(b"no image")
    with pytest.raises(DataError, match=r"y\.png: cannot be decoded \(its format is not known\)"):
        images.load_image_folder(tmp_path, Choice("train"), size=4)
    with pytest.raises(DataError, match=r"dog: holds no image \(\.png, \.jpg"):
        (tmp_path / "test" / "dog").mkdir()
        images.load_image_folder(tmp_path, Choice())
    with pytest.raises(DataError, match="give a root with one folder of images for each class"):
        images.load_image_folder(None, Choice())


def test_a_folder_of_images_is_loaded_by_its_path(tmp_path: Path) -> None:
    write_images(tmp_path / "x", {"cat": random_pixels(4), "dog": random_pixels(4, 1)})
    found = load(tmp_path / "x", split="all", steps=1)
    assert found.kind == "image" and found.classes == ("cat", "dog") and len(found) == 8
    assert found.sources[0] == "cat/0.png" and found.provenance["data"] == "image-folder"
    again = load("image-folder", root=found.provenance["root"], split="all", steps=1)
    np.testing.assert_array_equal(again.windows, found.windows)
    (tmp_path / "x" / "files.csv").write_text("file,label\ncat/0.png,tom\ndog/1.png,rex\n")
    table = load(tmp_path / "x" / "files.csv", split="all", steps=1)
    assert table.classes == ("rex", "tom") and table.labels.tolist() == [1, 0]
    with pytest.raises(DataError, match="give a root with one folder"):
        load("image-folder", steps=1)


# ------------------------------------------------------------------------------- CIFAR's archives


@pytest.mark.parametrize("name", ["cifar10", "cifar100"])
def test_cifar_of_a_folder_and_of_an_archive(tmp_path: Path, name: str) -> None:
    inside = {"cifar10": "cifar-10-batches-bin", "cifar100": "cifar-100-binary"}
    folder = tmp_path / "a" / inside[name]
    records = write_cifar(folder, name)
    labels = 1 if name == "cifar10" else 2
    train = np.concatenate([part for file, part in records.items() if "test" not in file])
    found = images.load_images(name, split="train", root=tmp_path / "a")
    expected = train[:, labels:].reshape(-1, 1, 3, 32, 32).astype(int) - 128
    np.testing.assert_array_equal(found.windows, expected)
    assert found.labels.tolist() == train[:, labels - 1].tolist()
    assert found.classes[3] == ("cat" if name == "cifar10" else "name3")
    archive = tmp_path / "b" / f"cifar-{name[5:]}-binary.tar.gz"
    archive.parent.mkdir()
    with tarfile.open(archive, "w:gz") as file:
        file.add(folder, inside[name])
    for root in (folder, archive, archive.parent):
        again = images.load_images(name, split="train", root=root)
        np.testing.assert_array_equal(again.windows, found.windows)
        assert again.classes == found.classes
    assert len(images.load_images(name, split="test", root=archive)) == 4


def test_a_validation_split_of_cifar(tmp_path: Path) -> None:
    write_cifar(tmp_path / "bin", "cifar10", per_file=40)
    rule = SplitRule(validation_share=0.1)

    def load(split: str, rule: SplitRule = rule) -> np.ndarray:
        found = images.load_images("cifar10", split=split, root=tmp_path / "bin", rule=rule)
        return found.windows.astype(int).sum((1, 2, 3, 4))

    train, validation, test = (load(split) for split in ("train", "validation", "test"))
    assert len(train) + len(validation) == 200 and len(validation) == pytest.approx(20, abs=5)
    assert set(train) | set(validation) == set(load("train", SplitRule()))
    np.testing.assert_array_equal(test, load("test", SplitRule()))
    with pytest.raises(DataError, match="there is no validation split; give its share"):
        load("validation", SplitRule())


def test_chosen_classes_of_cifar(tmp_path: Path) -> None:
    write_cifar(tmp_path / "bin", "cifar10", per_file=40)
    every = images.load_images("cifar10", split="test", root=tmp_path / "bin")
    some = images.load_images(
        "cifar10", split="test", root=tmp_path / "bin", classes=["dog", "cat=pet", "frog=pet"]
    )
    assert some.classes == ("dog", "pet")
    kept = np.isin(every.labels, [3, 5, 6])
    np.testing.assert_array_equal(some.windows, every.windows[kept])
    assert some.labels.tolist() == (every.labels[kept] != 5).astype(int).tolist()


def test_pickles_are_refused(tmp_path: Path) -> None:
    folder = tmp_path / "cifar-10-batches-py"
    folder.mkdir()
    (folder / "data_batch_1").write_bytes(pickle.dumps({"data": 1}))
    message = (
        "is of the Python version of cifar10, whose files are pickles, which can run any code;"
        r" take the binary version, cifar-10-binary\.tar\.gz"
    )
    for root in (tmp_path, folder):
        with pytest.raises(DataError, match=message):
            images.load_images("cifar10", split="train", root=root)
    archive = tmp_path / "cifar-10-python.tar.gz"
    archive.touch()
    with pytest.raises(DataError, match=message):
        images.load_images("cifar10", split="train", root=archive)


def test_damaged_cifar(tmp_path: Path) -> None:
    records = write_cifar(tmp_path / "bin", "cifar10")
    file = tmp_path / "bin" / "test_batch.bin"

    def load(root: Path = tmp_path / "bin", split: str = "test") -> None:
        images.load_images("cifar10", split=split, root=root)

    file.write_bytes(records["test_batch.bin"].tobytes()[:-1])
    with pytest.raises(DataError, match=r"test_batch\.bin is truncated, or not of the binary ver"):
        load()
    records["test_batch.bin"][0, 0] = 10
    file.write_bytes(records["test_batch.bin"].tobytes())
    with pytest.raises(DataError, match=r"a label is 10, expected 0\.\.9"):
        load()
    (tmp_path / "bin" / "data_batch_3.bin").unlink()
    with pytest.raises(DataError, match=r"there is no file data_batch_3\.bin"):
        load(split="train")
    with file.open("wb") as huge:
        huge.truncate(2**30)
    with pytest.raises(DataError, match="1,073,741,824 bytes, more than any file of CIFAR"):
        load()
    archive = tmp_path / "x.tar.gz"
    archive.write_bytes(b"no archive")
    with pytest.raises(DataError, match="is not a readable archive"):
        load(archive)
    with tarfile.open(archive, "w:gz") as tar:
        tar.addfile(tarfile.TarInfo("other"), io.BytesIO())
    with pytest.raises(DataError, match=r"there is no file test_batch\.bin"):
        load(archive)
    archive.write_bytes(archive.read_bytes()[:40])
    with pytest.raises(DataError, match=r"is not a readable archive|there is no file"):
        load(archive)
