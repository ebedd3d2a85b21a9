"""`.npz` files of windows: arrays are restored; any other file is refused in one line."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import lmht_deploy as lmht
from lmht_deploy.errors import DataError, LmhtError, StorageError
from lmht_deploy.formats.windows import load_windows, save_windows

WINDOWS = np.arange(2 * 3 * 2 * 2 * 2, dtype=np.uint8).reshape(2, 3, 2, 2, 2)


@pytest.mark.parametrize("labels", [None, np.array([3, 1], np.uint8)])
def test_round_trip(tmp_path: Path, labels: np.ndarray | None) -> None:
    path = tmp_path / "data.npz"
    save_windows(WINDOWS, path, labels)
    windows, found, _ = load_windows(path)
    np.testing.assert_array_equal(windows, WINDOWS)
    assert windows.dtype == WINDOWS.dtype
    if labels is None:
        assert found is None
    else:
        assert found is not None and found.dtype == np.int64 and found.tolist() == [3, 1]
    assert [file.name for file in tmp_path.iterdir()] == ["data.npz"]


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"frames": WINDOWS}, "must hold the array 'windows'"),
        ({"windows": WINDOWS, "extra": WINDOWS}, "it holds 'extra', 'windows'"),
        ({"windows": WINDOWS.astype(float)}, "'windows' must hold integers"),
        ({"windows": WINDOWS[:0]}, "'windows' must hold integers in the shape"),
        ({"windows": WINDOWS, "labels": np.array([1])}, "'labels' must hold 2 integers"),
        ({"windows": WINDOWS, "labels": np.array([1.0, 2.0])}, "'labels' must hold 2 integers"),
        ({"windows": WINDOWS, "classes": np.array([1])}, "'classes' must hold texts"),
        ({"windows": WINDOWS, "classes": np.array(["a", ""])}, "'classes' must hold texts"),
        (
            {"windows": WINDOWS, "labels": np.array([0, 2]), "classes": np.array(["a", "b"])},
            r"'labels' must lie within 0\.\.1, one of the 2 classes, found 0\.\.2",
        ),
    ],
)
def test_arrays_of_another_kind_are_refused(
    tmp_path: Path, arrays: dict[str, np.ndarray], message: str
) -> None:
    np.savez(tmp_path / "data.npz", **arrays)  # type: ignore[arg-type]
    with pytest.raises(DataError, match=message):
        load_windows(tmp_path / "data.npz")


def test_names_of_classes(tmp_path: Path) -> None:
    names = ("mug, red", "\u00e4")
    save_windows(WINDOWS, tmp_path / "data.npz", np.array([1, 0]), names)
    found = load_windows(tmp_path / "data.npz")
    assert found.classes == names and found.labels is not None and found.labels.tolist() == [1, 0]
    save_windows(WINDOWS, tmp_path / "data.npz")
    assert load_windows(tmp_path / "data.npz").classes == ()


def test_nothing_wrong_is_written(tmp_path: Path) -> None:
    with pytest.raises(DataError):
        save_windows(WINDOWS.astype(float), tmp_path / "data.npz")
    assert not list(tmp_path.iterdir())


def broken(path: Path, how: str) -> Path:
    match how:
        case "missing":
            pass
        case "empty":
            path.touch()
        case "text":
            path.write_text("windows")
        case "truncated":
            save_windows(WINDOWS, path)
            path.write_bytes(path.read_bytes()[:-40])
        case "flipped":
            save_windows(np.random.default_rng(0).integers(0, 255, (4, 4, 2, 9, 9)), path)
            data = bytearray(path.read_bytes())
            data[300] ^= 255
            path.write_bytes(data)
        case "pickle":
            np.savez(path, windows=np.array([{"a": 1}], object))
        case "bare":
            np.save(path.with_suffix(".npy"), WINDOWS)
            path.with_suffix(".npy").rename(path)
        case "folder":
            path.mkdir()
    return path


@pytest.mark.parametrize(
    "how", ["missing", "empty", "text", "truncated", "flipped", "pickle", "bare", "folder"]
)
def test_broken_files_are_named_in_one_line(tmp_path: Path, how: str) -> None:
    with pytest.raises(LmhtError, match=r"data\.npz") as caught:
        load_windows(broken(tmp_path / "data.npz", how))
    assert isinstance(caught.value, StorageError | DataError)
    assert "\n" not in str(caught.value)


def test_arguments_in_the_wrong_order(tmp_path: Path) -> None:
    path = tmp_path / "data.npz"
    with pytest.raises(DataError, match=r"^the windows come first: save_windows\(windows, path\)$"):
        save_windows(path, WINDOWS)  # type: ignore[arg-type]
    net = lmht.load("zoo:digits")
    for write in (lmht.save, lmht.export):
        with pytest.raises(LmhtError, match=r"^the network comes first: \w+\(net, path\)$"):
            write(path, net)  # type: ignore[arg-type]
    with pytest.raises(StorageError) as error:
        lmht.load(WINDOWS)  # type: ignore[arg-type]
    assert len(str(error.value)) < 150


@pytest.mark.parametrize("write", [np.savez, np.savez_compressed])
@pytest.mark.parametrize(
    "windows", [WINDOWS, np.asfortranarray(WINDOWS), WINDOWS.astype(">i4"), WINDOWS > 20]
)
def test_mapped_windows_are_those_that_are_read(
    write: Callable[..., None], windows: np.ndarray, tmp_path: Path
) -> None:
    path, folder = tmp_path / "data.npz", tmp_path / "folder"
    folder.mkdir()
    write(path, labels=[1, 0], windows=windows, classes=["a", "b"])
    found = load_windows(path, folder)
    assert isinstance(found.windows, np.memmap) and found.windows.mode == "r"
    assert found.windows.dtype == windows.dtype
    np.testing.assert_array_equal(found.windows, windows)
    assert found.labels is not None and found.labels.tolist() == [1, 0]
    assert found.classes == ("a", "b") and not list(folder.iterdir())


@pytest.mark.parametrize("write", [np.savez, np.savez_compressed])
def test_damage_of_mapped_windows_is_found(write: Callable[..., None], tmp_path: Path) -> None:
    windows = np.random.default_rng(0).integers(0, 255, (20, 2, 2, 8, 8), np.uint8)
    write(tmp_path / "data.npz", windows=windows)
    content = bytearray((tmp_path / "data.npz").read_bytes())
    content[len(content) // 2] ^= 1
    (tmp_path / "data.npz").write_bytes(content)
    with pytest.raises(StorageError, match=r"data\.npz: is damaged"):
        load_windows(tmp_path / "data.npz", tmp_path)


def test_a_folder_that_cannot_hold_the_windows(tmp_path: Path) -> None:
    save_windows(WINDOWS, tmp_path / "data.npz")
    with pytest.raises(StorageError, match=r"missing: cannot be written \(No such file"):
        load_windows(tmp_path / "data.npz", tmp_path / "missing")
