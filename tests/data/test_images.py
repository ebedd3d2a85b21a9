"""Image data sets: files that were written here, and everything that can be wrong with files."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import pytest

from lmht_deploy.data import images
from lmht_deploy.errors import DataError
from tests.support.images import random_pixels, write_parquet
from tests.support.recordings import data


def test_images_come_back_pixel_for_pixel(tmp_path: Path) -> None:
    pixels = random_pixels(5)
    (tmp_path / "plain_text").mkdir()  # as on the hub
    write_parquet(tmp_path / "plain_text" / "train-00000-of-00002.parquet", pixels[:3], [0, 1, 2])
    write_parquet(tmp_path / "plain_text" / "train-00001-of-00002.parquet", pixels[3:], [9, 3])
    calls: list[tuple[int, int]] = []
    found = images.load_images(
        "cifar10",
        root=tmp_path,
        split="train",
        progress=lambda done, total: calls.append((done, total)),
    )
    assert found.windows.dtype == np.int8 and found.windows.shape == (5, 1, 3, 8, 8)
    np.testing.assert_array_equal(
        found.windows[:, 0].transpose(0, 2, 3, 1), np.stack(pixels).astype(int) - 128
    )
    assert found.labels.tolist() == [0, 1, 2, 9, 3] and found.classes[3] == "cat"
    assert calls == [(index, 5) for index in range(1, 6)]
    repeated = images.load_images("cifar10", root=tmp_path, split="train", steps=3)
    np.testing.assert_array_equal(repeated.windows, found.windows.repeat(3, axis=1))


def test_the_first_images_of_every_class_are_taken_and_the_others_not_decoded(
    tmp_path: Path,
) -> None:
    pixels, labels = random_pixels(7), [1, 0, 1, 1, 9, 0, 0]
    write_parquet(tmp_path / "train.parquet", pixels, labels)
    calls: list[int] = []
    found = images.load_images(
        "cifar10",
        root=tmp_path,
        split="train",
        per_class=2,
        progress=lambda done, total: calls.append(total),
    )
    assert found.labels.tolist() == [1, 0, 1, 9, 0] and calls == [5] * 5
    np.testing.assert_array_equal(
        found.windows[:, 0].transpose(0, 2, 3, 1),
        np.stack(pixels)[[0, 1, 2, 4, 5]].astype(int) - 128,
    )


@pytest.mark.parametrize(
    ("name", "columns", "split", "classes"),
    [
        ("cifar100", {"label": "fine_label"}, "test", 100),
        ("tiny-imagenet", {"img": "image"}, "valid", 200),
        ("imagenet", {"img": "image"}, "validation", 1000),
    ],
)
def test_other_sets(
    name: str, columns: dict[str, str], split: str, classes: int, tmp_path: Path
) -> None:
    pixels = random_pixels(3)
    write_parquet(
        tmp_path / f"{split}-00000-of-00001.parquet", pixels, [0, classes - 1, 7], **columns
    )
    found = images.load_images(name, split="test", size=8, root=tmp_path)
    assert found.windows.shape == (3, 1, 3, 8, 8) and found.labels.tolist() == [0, classes - 1, 7]
    np.testing.assert_array_equal(
        found.windows[np.arange(3)][:, 0].transpose(0, 2, 3, 1), np.stack(pixels).astype(int) - 128
    )
    assert len(found.classes) == classes and found.classes[7] == "7"
    some = images.load_images(name, split="test", size=8, max_classes=8, root=tmp_path)
    assert some.labels.tolist() == [0, 7] and len(some.classes) == 8
    np.testing.assert_array_equal(some.windows[1:2][0], found.windows[2:3][0])
    repeated = images.load_images(name, split="test", steps=2, size=8, root=tmp_path)
    np.testing.assert_array_equal(
        repeated.windows[np.arange(3)], found.windows[np.arange(3)].repeat(2, axis=1)
    )
    with pytest.raises(
        DataError, match=r"labels of imagenet lie within 0\.\.1000, expected 0\.\.999"
    ):
        write_parquet(tmp_path / "train.parquet", pixels, [0, 1000, 7], img="image")
        images.load_images("imagenet", split="train", size=8, root=tmp_path)


def test_names_of_classes_come_from_the_files(tmp_path: Path) -> None:
    """Files of the hub say them; those that somebody wrote need not."""
    datasets = pytest.importorskip("datasets")
    names = [f"class {index}" for index in range(100)]
    write_parquet(tmp_path / "plain.parquet", random_pixels(2), [99, 1], label="fine_label")
    rows = datasets.Dataset.from_parquet(str(tmp_path / "plain.parquet")).cast_column(
        "fine_label", datasets.ClassLabel(names=names)
    )
    rows.to_parquet(tmp_path / "train.parquet")
    assert images.load_images("cifar100", split="train", root=tmp_path).classes == tuple(names)


def test_images_of_different_sizes_are_decoded_when_used(tmp_path: Path) -> None:
    """Their center is cropped; training takes a random part that depends on seed and index."""
    rng = np.random.default_rng(0)
    ramp = [
        np.broadcast_to(np.linspace(0, 255, width)[None, :, None], (height, width, 3)).astype(
            np.uint8
        )
        for height, width in ((30, 60), (64, 40), (16, 16))
    ]
    write_parquet(tmp_path / "train.parquet", ramp, [1, 2, 3], img="image")
    found = images.load_images("imagenet", split="train", size=16, root=tmp_path)
    assert found.windows.shape == (3, 1, 3, 16, 16) and len(found.windows) == 3
    middle = found.windows[:][:, 0, 0, 8].astype(int) + 128  # of every image a row
    side = 30 * 7 / 8
    np.testing.assert_allclose(
        middle[0], (30 - side / 2 + (np.arange(16) + 0.5) * side / 16 - 0.5) * 255 / 59, atol=2
    )
    np.testing.assert_array_equal(middle[2], ramp[2][0, :, 0])
    lazily = found.windows
    assert isinstance(lazily, images.LazyImages)
    chosen = rng.permutation(3)
    parts = [lazily.read(chosen, zoom=0.1, seed=seed) for seed in (1, 1, 2)]
    np.testing.assert_array_equal(parts[0], parts[1])
    np.testing.assert_array_equal(parts[0][1], lazily.read(chosen[1:2], zoom=0.1, seed=1)[0])
    assert (parts[0] != parts[2]).any() and (parts[0] != lazily[chosen]).any()
    assert (np.diff(parts[0][0, 0, 0, 8].astype(int)) >= 0).all()  # a part of a ramp is a ramp
    with pytest.raises(DataError, match=r"the images of imagenet differ in size; give the size"):
        images.load_images("imagenet", split="train", root=tmp_path)


def test_wrong_image_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def load() -> None:
        images.load_images("cifar10", root=tmp_path, split="train")

    with pytest.raises(DataError, match=r"there is no file train\*\.parquet of cifar10"):
        load()
    (tmp_path / "train.parquet").write_bytes(b"PAR1 not")
    with pytest.raises(
        DataError,
        match=r"cannot be read as Parquet files of cifar10 \(Parquet magic bytes not found",
    ):
        load()
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        write_parquet(tmp_path / folder / "test.parquet", random_pixels(1), [0])
    with pytest.raises(
        DataError,
        match=r"there are test files in several folders \(.*a, .*b\); give one of them as the root",
    ):
        images.load_images("cifar10", root=tmp_path, split="test")
    write_parquet(tmp_path / "train.parquet", random_pixels(1), [0], img="image")
    with pytest.raises(
        DataError,
        match=r"has the columns img \{bytes, path\} and label; img is not among image, label",
    ):
        load()
    write_parquet(
        tmp_path / "train.parquet", [*random_pixels(1), np.zeros((4, 4, 3), np.uint8)], [0, 1]
    )
    with pytest.raises(DataError, match="train images have different sizes"):
        load()

    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(
        DataError,
        match=r"the package 'datasets' is not installed; run: pip install 'lmht-deploy\[images\]'",
    ):
        load()


@pytest.mark.parametrize(
    ("image", "label", "message"),
    [
        (
            {"bytes": b"no image", "path": ""},
            0,
            r"train image 1: cannot be decoded \(its format is not known\)",
        ),
        ({"bytes": None, "path": "x.png"}, 0, "train image 1: holds no bytes of an image"),
        (None, 0, "train image 1: holds no bytes of an image"),
        (3, 0, r"the column img of cifar10 must hold \{bytes, path\}, not .*int64"),
        (
            "good",
            None,
            r"train: the column label must hold the class of every image as a number within 0\.\.9",
        ),
        (
            "good",
            "cat",
            r"train: the column label must hold the class of every image as a number within 0\.\.9",
        ),
        (
            "good",
            1.5,
            r"train: the column label must hold the class of every image as a number within 0\.\.9",
        ),
        ("good", 10, r"train labels of cifar10 lie within 0\.\.10, expected 0\.\.9"),
    ],
)
def test_wrong_rows(image: object, label: object, message: str, tmp_path: Path) -> None:
    """Beside a good one, but where a column can hold one kind only."""
    import pyarrow
    from pyarrow import parquet

    write_parquet(tmp_path / "good.parquet", random_pixels(1), [0])
    good = parquet.read_table(tmp_path / "good.parquet").to_pylist()[0]
    rows = [good, {"img": good["img"] if image == "good" else image, "label": label}]
    if isinstance(image, int) or isinstance(label, str | float):
        rows = rows[1:]
    parquet.write_table(pyarrow.Table.from_pylist(rows), tmp_path / "train.parquet")
    with pytest.raises(DataError, match=message):
        images.load_images("cifar10", root=tmp_path, split="train")


def test_files_without_rows(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """One error, and no line of the library's log before it."""
    write_parquet(tmp_path / "train.parquet", [], [])
    with pytest.raises(DataError, match="cannot be read as Parquet files of cifar10"):
        images.load_images("cifar10", root=tmp_path, split="train")
    assert capfd.readouterr().err == ""


def test_no_image_of_the_chosen_classes(tmp_path: Path) -> None:
    write_parquet(tmp_path / "train.parquet", random_pixels(2), [5, 7])
    with pytest.raises(
        DataError, match="train: the train split has no image of airplane, automobile"
    ):
        images.load_images("cifar10", root=tmp_path, split="train", max_classes=2)


def test_hub_that_cannot_be_reached() -> None:
    pytest.importorskip("datasets")
    with pytest.raises(
        DataError,
        match=r"cifar100 could not be downloaded from the hub as uoft-cs/cifar100 \(.*;"
        " complete files are kept: run it again, or give",
    ):
        images.load_images("cifar100", split="train")


def test_cifar10() -> None:
    pytest.importorskip("datasets")
    found = images.load_images("cifar10", root=data("cifar10"), split="test")
    assert found.windows.shape == (10_000, 1, 3, 32, 32)
    assert np.bincount(found.labels).tolist() == [1000] * 10
    assert (
        -20 < found.windows.mean() < 20
        and found.windows.min() == -128
        and found.windows.max() == 127
    )


@pytest.mark.parametrize("bars", [True, False])
def test_what_belongs_to_other_libraries_is_left_as_it_was(tmp_path: Path, bars: bool) -> None:
    """Levels of logs and the switch of the progress bars, after success and after an error."""
    datasets = pytest.importorskip("datasets")
    switch = {True: datasets.enable_progress_bars, False: datasets.disable_progress_bars}
    logs = [logging.getLogger(name) for name in ("datasets", "huggingface_hub")]
    before = datasets.are_progress_bars_disabled(), [log.level for log in logs]
    try:
        switch[bars]()
        for log, level in zip(logs, (logging.NOTSET, 17), strict=True):
            log.setLevel(level)
        for content in (0, 1):
            write_parquet(tmp_path / "train.parquet", random_pixels(content), [0] * content)
            if content:
                images.load_images("cifar10", root=tmp_path, split="train")
            else:
                with pytest.raises(DataError):
                    images.load_images("cifar10", root=tmp_path, split="train")
            assert datasets.are_progress_bars_disabled() is not bars
            assert [log.level for log in logs] == [logging.NOTSET, 17]
    finally:
        switch[not before[0]]()
        for log, level in zip(logs, before[1], strict=True):
            log.setLevel(level)


def test_an_unknown_image_set() -> None:
    with pytest.raises(DataError, match=r"unknown image data set 'cifar'; did you mean 'cifar1"):
        images.load_images("cifar", split="train")
