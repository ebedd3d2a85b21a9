"""Data sets through Tonic: never downloaded, with the same order and split on any machine."""

from __future__ import annotations

import inspect
import json
import zipfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from lmht_deploy._packages import require_package
from lmht_deploy._suggest import unknown
from lmht_deploy.errors import DataError
from lmht_deploy.events.arrays import Sensor, has_event_fields

from ._labels import match_classes, order_classes
from ._listing import Choice, Selection, naming, select
from ._recordings import Recordings
from ._splits import Split


@dataclass(frozen=True)
class KnownSet:
    """What Tonic does not say of a data set, or only after a download.

    Attributes:
        sensor: Size of the sensor.
        classes: Number of classes.
        complete: Number of recordings, by split or (if Tonic has no split) in all.
    """

    sensor: Sensor
    classes: int
    complete: dict[str, int] | int


KNOWN = {
    "NMNIST": KnownSet(Sensor(34, 34), 10, {"train": 60_000, "test": 10_000}),
    "POKERDVS": KnownSet(Sensor(35, 35), 4, {"train": 48, "test": 20}),
    "DVSGesture": KnownSet(Sensor(128, 128), 11, {"train": 1_077, "test": 264}),
    "CIFAR10DVS": KnownSet(Sensor(128, 128), 10, 10_000),
    "NCALTECH101": KnownSet(Sensor(180, 240), 101, 8_709),  # at most this much of an ATIS
    "ASLDVS": KnownSet(Sensor(180, 240), 24, 100_800),
}
"""Data sets that are checked for completeness."""

NOT_IN_TONIC = {
    "NCARS": "N-CARS has no class in Tonic; arrange its recordings as"
    " ROOT/{train,test}/{background,cars}/*.dat and load them with 'folder' and a sensor of"
    " 120 x 100"
}
"""Data sets that are asked for by name, and how to load them without Tonic."""

FOLDERS: dict[Split, str] = {"train": "Train", "test": "Test"}
"""Folders of N-MNIST."""

EMULATED = "emulated.json"
"""File in the folder of a data set which says that its recordings are emulated, and how."""


def load_tonic_recordings(
    name: str, root: Path | None, choice: Choice, subset: bool, *, all_classes: bool = True
) -> Recordings:
    """Find the recordings of a data set of Tonic.

    Any class of `tonic.datasets` can be loaded whose events have t, x, y, p and whose targets are
    labels of its classes.

    Args:
        name: Name of the class.
        root: Folder that Tonic saved the data set to.
        choice: Split and classes.
        subset: Accept a data set that is not complete.
        all_classes: Require a recording of each chosen class in the split.

    Raises:
        DataError: There is no such data set, or it is missing or not complete.
    """
    tonic_class = _find_class(name)
    sensor = KNOWN[name].sensor if name in KNOWN else Sensor(*tonic_class.sensor_size[1::-1])
    has_splits = "train" in inspect.signature(tonic_class).parameters
    home = _find_home(name, root)
    parts = [
        _open_part(name, tonic_class, home, split, subset)
        for split in (choice.own_splits if has_splits else ("",))
    ]
    dataset, classes = parts[0].dataset, parts[0].classes
    if any(part.classes != classes for part in parts):
        classes = order_classes(name for part in parts for name in part.classes)
    names = [file for part in parts for file in part.names]
    labels = np.concatenate([match_classes(p.classes, p.labels, classes) for p in parts])
    given = [part.split for part in parts for _ in part.names] if has_splits else None
    with naming(dataset.location_on_system):
        chosen = select(names, labels, classes, choice, given=given)
    if all_classes:
        _check_classes(name, dataset.location_on_system, choice.split, chosen)
    every = [(part.dataset, index) for part in parts for index in part.order.tolist()]
    return Recordings(
        _read_all([every[position] for position in chosen.index.tolist()]),
        [names[position] for position in chosen.index.tolist()],
        chosen.labels,
        chosen.classes,
        sensor,
        _describe_origin(name, dataset) | chosen.origin,
        [path for path in sorted(Path(dataset.location_on_system).rglob("*")) if path.is_file()],
    )


@dataclass(frozen=True)
class _Part:
    """One split of a data set as Tonic opens it, or all of a data set without splits.

    Attributes:
        dataset: Tonic's data set.
        split: Name of the split; empty if there are none.
        order: Indices of its recordings in the order of their paths.
        names: Names of the recordings.
        labels: int64 `[N]`.
        classes: Class names.
    """

    dataset: Any
    split: str
    order: np.ndarray
    names: list[str]
    labels: np.ndarray
    classes: tuple[str, ...]


def _open_part(name: str, tonic_class: type, home: Path, split: str, subset: bool) -> _Part:
    options = {"train": split == "train"} if split else {}
    dataset = _open_local(tonic_class, home, options)
    _check_complete(name, dataset, split, subset)
    classes, labels = _read_labels(name, dataset)
    order = _order(dataset, labels)
    names = [_name(dataset, index, split) for index in order.tolist()]
    return _Part(dataset, split, order, names, labels[order], classes)


def check_class(name: str) -> None:
    """Check that Tonic has the data set `name`, and that it can be used; DataError otherwise."""
    require_package("tonic", "events")
    if name not in KNOWN:  # Tonic takes long to import
        _find_class(name)


def _find_class(name: str) -> Any:
    """Find the class `name` of `tonic.datasets`, if it holds labeled recordings of a sensor."""
    require_package("tonic", "events")
    import tonic.datasets

    if name in NOT_IN_TONIC:
        raise DataError(NOT_IN_TONIC[name])
    if name not in tonic.datasets.__all__:
        usable = [
            other
            for other in tonic.datasets.__all__
            if not _explain_unfit(other, getattr(tonic.datasets, other))
        ]
        raise DataError(unknown("Tonic data set", name, usable))
    found = getattr(tonic.datasets, name)
    if reason := _explain_unfit(name, found):
        raise DataError(f"tonic:{name}: {reason}")
    return found


def _explain_unfit(name: str, tonic_class: Any) -> str | None:
    """Why recordings of a class of Tonic cannot become labeled windows; None if they can."""
    if name in KNOWN:
        return None
    dtype, size = getattr(tonic_class, "dtype", None), getattr(tonic_class, "sensor_size", None)
    fields = getattr(dtype, "names", None) or ()
    two_polarities = isinstance(size, tuple) and len(size) == 3 and size[2] == 2
    if dtype is None or not has_event_fields(dtype) or not two_polarities:
        return (
            f"its events ({', '.join(fields) or 'unknown'} on {size or 'no fixed sensor'}) are not"
            " from a sensor with rows, columns and two polarities"
        )
    if not getattr(tonic_class, "classes", None):
        return "has no labeled classes, which training and inference need"
    return None


def require_root(name: str, root: Path | None) -> Path:
    """Return the root of a data set of Tonic; DataError if none is given."""
    if root is None:
        what = "holds Train/<digit>/<number>.bin" if name == "N-MNIST" else "Tonic saved it to"
        raise DataError(
            f"{name} is read from a folder: give the root that {what} (on the command line --root)"
        )
    return root


def _find_home(name: str, root: Path | None) -> Path:
    root = require_root(name, root)
    home = root / name if (root / name).is_dir() else root
    if not home.is_dir():
        raise DataError(f"{home}: there is no such folder; expected {name} as Tonic saves it")
    return home.resolve()


def _open_local(tonic_class: type, home: Path, options: dict[str, bool]) -> Any:
    """Open Tonic's data set in `home` as it is.

    Tonic appends the name of the class to `save_to`, and downloads if files are missing. A
    subclass that is named after the folder and takes the data as present does neither.
    """

    def refuse(self: Any) -> None:
        raise DataError("it would be downloaded")

    present = {"_check_exists": lambda self: True, "download": refuse}
    try:
        return type(home.name, (tonic_class,), present)(save_to=str(home.parent), **options)
    except (Exception, SystemExit) as error:  # Tonic fails in many ways on unexpected folders
        raise DataError(
            f"{home}: does not hold {tonic_class.__name__} as Tonic saves it ({error})"
        ) from None


def _check_complete(name: str, dataset: Any, split: str, subset: bool) -> None:
    """Check the number of recordings, which is known for the data sets in `KNOWN`."""
    home, found = Path(dataset.location_on_system), len(dataset.targets)
    if not found:
        raise DataError(
            f"{home / dataset.folder_name}: holds no recording of {name} as Tonic saves it"
        )
    if name not in KNOWN or subset:
        return
    known = KNOWN[name].complete
    complete = known if isinstance(known, int) else known[split]
    if found != complete:
        raise DataError(
            f"{home}: {name} is incomplete, {found} of {complete} recordings are here;"
            " finish the download, or accept a subset (subset=True, on the command line --subset)"
        )


def _check_classes(name: str, place: object, split: Split, chosen: Selection) -> None:
    """Check that every chosen class has a recording."""
    if absent := set(range(len(chosen.classes))) - set(np.asarray(chosen.labels).tolist()):
        raise DataError(
            f"{place}: {name} is incomplete,"
            f" class {chosen.classes[min(absent)]!r} has no {split} recording; choose classes"
            " (data.classes in a recipe, on the command line --classes), or accept a subset"
        )


def _read_labels(name: str, dataset: Any) -> tuple[tuple[str, ...], np.ndarray]:
    """Class names and labels int64 `[N]`.

    Tonic's targets are indices or names; its classes are a list, a dict or missing.
    """
    targets = list(dataset.targets)
    if all(isinstance(target, str) for target in targets):
        names = tuple(sorted(set(targets)))
        return names, np.array([names.index(target) for target in targets], np.int64)
    names = tuple(map(str, dataset.classes))
    if not all(
        isinstance(target, int | np.integer) and 0 <= target < len(names) for target in targets
    ):
        raise DataError(
            f"tonic:{name}: its targets are not labels of its {len(names)} classes;"
            " training and inference need labeled recordings"
        )
    return names, np.array(targets, np.int64)


def _order(dataset: Any, labels: np.ndarray) -> np.ndarray:
    """Indices by path and label: Tonic lists most data sets in the order of the file system."""
    keys = [(_path(dataset, index), label) for index, label in enumerate(labels.tolist())]
    return np.array(sorted(range(len(labels)), key=keys.__getitem__))


def _name(dataset: Any, index: int, split: str) -> str:
    """Path of a recording below the folder of the data set, or its number in its split."""
    if not (path := _path(dataset, index)):
        return f"{split}/{index:05}".removeprefix("/")
    home = Path(dataset.location_on_system)
    return Path(path).relative_to(home).as_posix() if Path(path).is_relative_to(home) else path


def _path(dataset: Any, index: int) -> str:
    """Path of a recording; empty if Tonic keeps arrays."""
    path = dataset.data[index]
    return path if isinstance(path, str) else ""


def _describe_origin(name: str, dataset: Any) -> dict[str, Any]:
    origin: dict[str, Any] = {"source": f"{name}, read by Tonic"}
    if name not in KNOWN:
        origin["complete"] = "not known"
    note = Path(dataset.location_on_system, EMULATED)
    if note.is_file():
        try:
            origin["emulated"] = json.loads(note.read_text())
        except ValueError as error:
            raise DataError(f"{note}: is damaged, not JSON ({error})") from None
    return origin


def _read_all(chosen: Sequence[tuple[Any, int]]) -> Iterator[np.ndarray]:
    for dataset, index in chosen:
        try:
            events = dataset[index][0]
        except Exception as error:  # whatever Tonic raises on a damaged file
            name = _path(dataset, index) or f"recording {index}"
            raise DataError(f"{name}: is damaged, Tonic cannot read it ({error})") from None
        yield events.ravel()  # ASLDVS yields columns


# ------------------------------------------------------------------------------ N-MNIST from a zip


def load_nmnist_recordings(root: Path | None, choice: Choice, subset: bool) -> Recordings:
    """Find the recordings of N-MNIST (Orchard et al. 2015), or of a subset.

    Args:
        root: Folder as Tonic saves it, or a zip of it, or a folder that holds such a zip.
        choice: Split and classes.
        subset: Accept that a digit is missing.

    Raises:
        DataError: There is no N-MNIST, or a chosen digit is missing.
    """
    require_package("tonic", "events")
    folder = FOLDERS[choice.own_splits[0]]
    expected = f"{folder}/<digit>/<number>.bin"
    root = require_root("N-MNIST", root)
    if any((home / folder).is_dir() for home in (root, root / "NMNIST")):
        return load_tonic_recordings("NMNIST", root, choice, True, all_classes=not subset)
    for archive in [root] if root.suffix == ".zip" else sorted(root.glob("*.zip")):
        found = {split: _list_members(archive, FOLDERS[split]) for split in choice.own_splits}
        if all(found.values()):
            return _open_nmnist_zip(archive, found, choice, subset)
    raise DataError(
        f"{root}: there is no N-MNIST here; expected {expected} in it, in its folder NMNIST"
        " (as Tonic saves it) or in a .zip in it"
    )


def _list_members(archive: Path, folder: str) -> list[str]:
    try:
        with zipfile.ZipFile(archive) as file:
            names = file.namelist()
    except (OSError, zipfile.BadZipFile) as error:
        raise DataError(f"{archive}: is not a readable zip file ({error})") from None
    return sorted(name for name in names if name.startswith(f"{folder}/") and name.endswith(".bin"))


def _open_nmnist_zip(
    archive: Path, found: dict[Split, list[str]], choice: Choice, subset: bool
) -> Recordings:
    import tonic.datasets

    members = [member for some in found.values() for member in some]
    given = [split for split, some in found.items() for _ in some]
    digits = [member.split("/")[1] for member in members]
    if different := set(digits) - {str(digit) for digit in range(10)}:
        raise DataError(
            f"{archive}: N-MNIST has the folders 0 to 9; {min(different)!r} is unexpected"
        )
    classes, labels = tuple(tonic.datasets.NMNIST.classes), np.array(digits).astype(np.int64)
    with naming(archive):
        chosen = select(members, labels, classes, choice, given=given)
    if not subset:
        _check_classes("NMNIST", archive, choice.split, chosen)
    names = [members[position] for position in chosen.index.tolist()]
    return Recordings(
        _read_members(archive, names),
        names,
        chosen.labels,
        chosen.classes,
        KNOWN["NMNIST"].sensor,
        {"source": "NMNIST, read by Tonic", **chosen.origin},
        [archive],
    )


def _read_members(archive: Path, members: list[str]) -> Iterator[np.ndarray]:
    from tonic.io import read_mnist_file

    dtype = np.dtype([(name, np.int64) for name in "xytp"])
    with zipfile.ZipFile(archive) as file:
        for member in members:
            try:
                with file.open(member) as stream:
                    yield read_mnist_file(stream, dtype=dtype, is_stream=True)
            except Exception as error:  # whatever Tonic raises on a damaged file
                raise DataError(
                    f"{archive}: {member} is damaged, Tonic cannot read it ({error})"
                ) from None
