"""The archives of CIFAR-10 and CIFAR-100 (Krizhevsky 2009), in their binary version."""

from __future__ import annotations

import tarfile
import zlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np

from lmht_deploy.errors import DataError

from ._pixels import Content
from ._splits import Split
from .cifar10dvs import CLASSES as CIFAR10_CLASSES

PIXELS = 3 * 32 * 32
MAX_BYTES = 50_000 * (2 + PIXELS)
"""Size of the largest file."""


@dataclass(frozen=True)
class Archive:
    """The files of an archive.

    Attributes:
        folder: Folder in the archive.
        train: Files of the training split.
        test: Files of the test split.
        labels: Number of bytes before the pixels of an image. The last one is the label.
        classes: Class names, or the name of the file that holds them.
        number: Number of classes.
        python: Folder and file of the Python version, whose files are pickles.
    """

    folder: str
    train: tuple[str, ...]
    test: tuple[str, ...]
    labels: int
    classes: tuple[str, ...] | str
    number: int
    python: tuple[str, str]


ARCHIVES = {
    "cifar10": Archive(
        folder="cifar-10-batches-bin",
        train=tuple(f"data_batch_{number}.bin" for number in range(1, 6)),
        test=("test_batch.bin",),
        labels=1,
        classes=CIFAR10_CLASSES,
        number=10,
        python=("cifar-10-batches-py", "data_batch_1"),
    ),
    "cifar100": Archive(
        folder="cifar-100-binary",
        train=("train.bin",),
        test=("test.bin",),
        labels=2,
        classes="fine_label_names.txt",
        number=100,
        python=("cifar-100-python", "train"),
    ),
}


class Records:
    """The images of one split; see `_pixels.Source`."""

    def __init__(self, name: str, split: Split, place: Path) -> None:
        """Read the files of the data set `name` in `place`, which `find_archive` found.

        Raises:
            DataError: A file is missing, damaged or of another kind.
        """
        archive, self.what = ARCHIVES[name], f"{place}: {split}"
        files = _read_files(place, archive.test if split == "test" else archive.train)
        for file, content in files.items():
            if not content or len(content) % (archive.labels + PIXELS):
                raise DataError(
                    f"{place}: {file} is truncated, or not of the binary version of {name}: it has"
                    f" {len(content):,} bytes, a record has {archive.labels + PIXELS:,}"
                )
        records = np.frombuffer(b"".join(files.values()), np.uint8)
        records = records.reshape(-1, archive.labels + PIXELS)
        self._pixels = records[:, archive.labels :].reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1)
        self.labels = records[:, archive.labels - 1].astype(np.int64)
        if self.labels.max() >= archive.number:
            raise DataError(
                f"{place}: not of the binary version of {name}: a label is {self.labels.max()},"
                f" expected 0..{archive.number - 1}"
            )
        self.classes = _read_classes(place, archive)

    def __getitem__(self, index: int) -> Content:
        pixels: np.ndarray = self._pixels[index]
        return pixels

    def iterate(self, chosen: np.ndarray) -> Iterable[Content]:
        """Yield the images with the indices `chosen`."""
        return (self._pixels[index] for index in chosen)

    def name(self, index: int) -> str:
        """Return how messages call an image."""
        return f"{self.what} image {index}"


def find_archive(name: str, root: Path) -> Path | None:
    """Find the binary version of CIFAR: its folder or its .tar.gz file, at `root` or in it.

    Args:
        name: Name of the data set.
        root: Folder or file.

    Returns:
        The folder or the file; None if there is none.

    Raises:
        DataError: Only the Python version is there.
    """
    if (archive := ARCHIVES.get(name)) is None:
        return None
    number = name.removeprefix("cifar")
    places = [root, root / archive.folder, root / f"cifar-{number}-binary.tar.gz"]
    for place in places:
        if any((place / file).is_file() for file in archive.train + archive.test):
            return place
        if place.is_file() and place.name.endswith((".tar.gz", ".tgz", ".tar")):
            if "python" in place.name:
                raise _pickled(name, place)
            return place
    folder, file = archive.python
    for place in (root / file, root / folder / file, root / f"cifar-{number}-python.tar.gz"):
        if place.is_file():
            raise _pickled(name, place)
    return None


def _pickled(name: str, place: Path) -> DataError:
    return DataError(
        f"{place}: is of the Python version of {name}, whose files are pickles, which can run any"
        f" code; take the binary version, cifar-{name.removeprefix('cifar')}-binary.tar.gz"
    )


def _read_files(place: Path, names: Iterable[str]) -> dict[str, bytes]:
    """Content of files of a folder or of an archive, by name."""
    names = list(names)
    if place.is_dir():
        found = {name: place / name for name in names if (place / name).is_file()}
        _check_present(place, names, found)
        return {name: _read_file(path) for name, path in found.items()}
    try:
        with tarfile.open(place) as archive:
            members = {PurePosixPath(m.name).name: m for m in archive if m.isfile()}
            _check_present(place, names, members)
            return {name: _read_member(place, archive, members[name]) for name in names}
    except (tarfile.TarError, EOFError, OSError, zlib.error) as error:
        raise DataError(f"{place}: is not a readable archive ({error})") from None


def _check_present(place: Path, names: Iterable[str], found: Iterable[str]) -> None:
    if missing := [name for name in names if name not in found]:
        raise DataError(f"{place}: there is no file {missing[0]}")


def _read_file(path: Path) -> bytes:
    _check_size(path, path.stat().st_size)
    try:
        return path.read_bytes()
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror})") from None


def _read_member(place: Path, archive: tarfile.TarFile, member: tarfile.TarInfo) -> bytes:
    _check_size(place / member.name, member.size)
    file = archive.extractfile(member)
    return b"" if file is None else file.read()


def _check_size(path: Path, size: int) -> None:
    if size > MAX_BYTES:
        raise DataError(f"{path}: has {size:,} bytes, more than any file of CIFAR")


def _read_classes(place: Path, archive: Archive) -> tuple[str, ...]:
    """Class names; numbers if the file that holds them is missing."""
    if not isinstance(archive.classes, str):
        return archive.classes
    try:
        (content,) = _read_files(place, [archive.classes]).values()
        names = tuple(content.decode("ascii").split())
    except (DataError, ValueError):
        names = ()
    return names if len(names) == archive.number else tuple(map(str, range(archive.number)))
