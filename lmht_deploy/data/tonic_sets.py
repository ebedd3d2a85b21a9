"""Data sets through Tonic: read where they lie, never downloaded, in an order and a split that any machine reproduces."""

from __future__ import annotations

import inspect
import json
import zipfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from lmht_deploy._packages import need
from lmht_deploy.errors import DataError
from lmht_deploy.events.arrays import Sensor

from .sources import Recordings, Split, split_by_class


@dataclass(frozen=True)
class Known:
    """What Tonic does not say, or only by downloading: the sensor, and the recordings of the complete data set."""

    sensor: Sensor
    complete: dict[Split, int] | int
    """By split, or in all where the data set has no split of its own."""


KNOWN = {
    "NMNIST": Known(Sensor(34, 34), {"train": 60_000, "test": 10_000}),
    "POKERDVS": Known(Sensor(35, 35), {"train": 48, "test": 20}),
    "DVSGesture": Known(Sensor(128, 128), {"train": 1_077, "test": 264}),
    "CIFAR10DVS": Known(Sensor(128, 128), 10_000),
    "NCALTECH101": Known(Sensor(180, 240), 8_709),
    "ASLDVS": Known(Sensor(180, 240), 100_800),
}
"""The data sets whose completeness is checked. N-Caltech101: its images fill at most 240 x 180 of an ATIS."""

ELSEWHERE = {
    "NCARS": "N-CARS has no class in Tonic; lay its recordings out as ROOT/{train,test}/{background,cars}/*.dat "
    "and read them with 'folder' and a sensor of 120 x 100"
}
"""Data sets that are asked for by name, and how they are read without a class of Tonic."""

EMULATED = "emulated.json"
"""The file in a data set's folder that says that its recordings are emulated, and how."""

TRAIN_SHARE = 0.9
"""Share of every class that trains, where a data set has no split of its own."""


def tonic_set(name: str, root: Path | None, split: Split, subset: bool) -> Recordings:
    """One split of the data set that `tonic.datasets` calls `name`, as Tonic laid it out in `root` or `root`/`name`.

    Any class will do whose events have t, x, y, p and whose targets are class labels; `KNOWN` ones are checked for completeness, of
    others the origin says that it is not known. Raises DataError where there is no such data set, it is missing or (without
    `subset`) incomplete.
    """
    found = _class(name)
    sensor = KNOWN[name].sensor if name in KNOWN else Sensor(*found.sensor_size[1::-1])
    splits = "train" in inspect.signature(found).parameters
    dataset = _local(found, _home(name, root), {"train": split == "train"} if splits else {})
    _check_complete(name, dataset, split, subset)
    names, labels = _labels(name, dataset)
    order = np.array(
        sorted(range(len(labels)), key=lambda index: (_path(dataset, index), labels[index]))
    )
    chosen = order if splits else order[split_by_class(labels[order], TRAIN_SHARE, split)]
    if absent := set(range(len(names))) - set(labels[chosen].tolist()):
        raise DataError(
            f"{dataset.location_on_system}: {name} is incomplete, class {names[min(absent)]!r} has no {split} recording"
        )
    origin: dict[str, Any] = {"source": f"{name}, read by Tonic"} | (
        {} if name in KNOWN else {"complete": "not known"}
    )
    if (note := Path(dataset.location_on_system, EMULATED)).is_file():
        origin["emulated"] = json.loads(note.read_text())
    files = [path for path in sorted(Path(dataset.location_on_system).rglob("*")) if path.is_file()]
    return Recordings(
        _read_all(dataset, chosen.tolist()), labels[chosen], names, sensor, origin, files
    )


def _class(name: str) -> Any:
    """The class `name` of `tonic.datasets`; DataError where there is none, or it holds no labelled recordings of a sensor."""
    need("tonic", "events")
    import tonic.datasets

    if name in ELSEWHERE:
        raise DataError(ELSEWHERE[name])
    if name not in tonic.datasets.__all__:
        fit = [
            other
            for other in tonic.datasets.__all__
            if not _unfit(other, getattr(tonic.datasets, other))
        ]
        raise DataError(f"Tonic has no data set of the name {name!r}; it has {', '.join(fit)}")
    found = getattr(tonic.datasets, name)
    if reason := _unfit(name, found):
        raise DataError(f"tonic:{name}: {reason}")
    return found


def _unfit(name: str, found: Any) -> str | None:
    """Why the recordings of Tonic's class `found` cannot be windows with labels; None where they can."""
    if name in KNOWN:
        return None
    fields, size = (
        getattr(getattr(found, "dtype", None), "names", None) or (),
        getattr(found, "sensor_size", None),
    )
    if not (
        set("txyp") <= set(fields) and isinstance(size, tuple) and len(size) == 3 and size[2] == 2
    ):
        shown = f"{', '.join(fields) or 'unknown'} on {size or 'no fixed sensor'}"
        return (
            f"its events ({shown}) do not come from a sensor with rows, columns and two polarities"
        )
    return (
        None
        if getattr(found, "classes", None)
        else "is no data set of labelled classes; only such can be trained on and run"
    )


def _home(name: str, root: Path | None) -> Path:
    if root is None:
        raise DataError(f"{name} is read from a folder: give the root that Tonic saved it to")
    home = root / name if (root / name).is_dir() else root
    if not home.is_dir():
        raise DataError(f"{home}: there is no such folder; expected {name} as Tonic lays it out")
    return home.resolve()


def _local(found: type, home: Path, options: dict[str, bool]) -> Any:
    """Tonic's data set of the class `found`, reading what lies in `home` as it is.

    Tonic joins the class's name to `save_to`, and downloads where its count of files falls short: a subclass that is named
    after the folder and takes it as present does neither.
    """

    def refuse(self: Any) -> None:
        raise DataError("it would be downloaded")

    present = {"_check_exists": lambda self: True, "download": refuse}
    try:
        return type(home.name, (found,), present)(save_to=str(home.parent), **options)
    except (
        Exception,
        SystemExit,
    ) as error:  # Tonic stumbles in its own ways over a folder that is not what it expects
        raise DataError(
            f"{home}: does not hold {found.__name__} as Tonic lays it out ({error})"
        ) from None


def _check_complete(name: str, dataset: Any, split: Split, subset: bool) -> None:
    """DataError where there is no recording, or fewer or more than `KNOWN` says; of other data sets it is not known how many there should be."""
    home = Path(dataset.location_on_system)
    found = len(dataset.targets)
    if not found:
        raise DataError(
            f"{home / dataset.folder_name}: holds no recording of {name} as Tonic lays it out"
        )
    if name not in KNOWN or subset:
        return
    known = KNOWN[name].complete
    complete = known if isinstance(known, int) else known[split]
    if found != complete:
        raise DataError(
            f"{home}: {name} is incomplete, {found} of {complete} recordings are here; finish the download, or ask for a subset"
        )


def _labels(name: str, dataset: Any) -> tuple[tuple[str, ...], np.ndarray]:
    """Names of the classes and int64 [N] labels; Tonic's targets are indices or names, its classes a list, a dict or absent."""
    targets = list(dataset.targets)
    if all(isinstance(target, str) for target in targets):
        names = tuple(sorted(set(targets)))
        return names, np.array([names.index(target) for target in targets], np.int64)
    names = tuple(map(str, dataset.classes))
    if not all(
        isinstance(target, int | np.integer) and 0 <= target < len(names) for target in targets
    ):
        raise DataError(
            f"tonic:{name}: its targets are no labels of its {len(names)} classes; only labelled recordings can be trained on and run"
        )
    return names, np.array(targets, np.int64)


def _path(dataset: Any, index: int) -> str:
    """Where a recording lies: Tonic lists most data sets in the order of the file system. Empty where it keeps arrays."""
    return dataset.data[index] if isinstance(dataset.data[index], str) else ""


def _read_all(dataset: Any, chosen: Sequence[int]) -> Iterator[np.ndarray]:
    for index in chosen:
        try:
            events = dataset[index][0]
        except (
            Exception
        ) as error:  # Tonic's readers raise whatever a damaged file makes them stumble over
            raise DataError(
                f"{_path(dataset, index) or f'recording {index}'}: is damaged, Tonic cannot read it ({error})"
            ) from None
        yield events.ravel()  # ASLDVS yields columns


# ------------------------------------------------------------------------------------------------ N-MNIST from an archive


def nmnist(root: Path | None, split: Split) -> Recordings:
    """N-MNIST (Orchard et al. 2015) or a subset with every digit: a folder as Tonic lays it out, or a zip of it in `root`."""
    need("tonic", "events")
    folder = {"train": "Train", "test": "Test"}[split]
    if root is None:
        raise DataError(
            f"N-MNIST is read from a folder: give the root that holds {folder}/<digit>/<number>.bin"
        )
    if any((home / folder).is_dir() for home in (root, root / "NMNIST")):
        return tonic_set("NMNIST", root, split, subset=True)
    for archive in [root] if root.suffix == ".zip" else sorted(root.glob("*.zip")):
        members = _members(archive, folder)
        if members:
            return _nmnist_zip(archive, members, split)
    raise DataError(
        f"{root}: there is no N-MNIST here; expected {folder}/<digit>/<number>.bin in it, in its folder NMNIST (as Tonic lays it out) or in a .zip in it"
    )


def _members(archive: Path, folder: str) -> list[str]:
    try:
        with zipfile.ZipFile(archive) as file:
            return sorted(
                name
                for name in file.namelist()
                if name.startswith(f"{folder}/") and name.endswith(".bin")
            )
    except (OSError, zipfile.BadZipFile) as error:
        raise DataError(f"{archive}: is not a readable zip file ({error})") from None


def _nmnist_zip(archive: Path, members: list[str], split: Split) -> Recordings:
    import tonic.datasets

    digits = [member.split("/")[1] for member in members]
    if absent := {str(digit) for digit in range(10)} ^ set(digits):
        raise DataError(
            f"{archive}: N-MNIST has the {split} folders 0 to 9; {min(absent)!r} is missing or too many"
        )
    names = tuple(tonic.datasets.NMNIST.classes)
    return Recordings(
        _read_members(archive, members),
        np.array(digits).astype(np.int64),
        names,
        KNOWN["NMNIST"].sensor,
        {"source": "NMNIST, read by Tonic"},
        [archive],
    )


def _read_members(archive: Path, members: list[str]) -> Iterator[np.ndarray]:
    from tonic.io import read_mnist_file

    with zipfile.ZipFile(archive) as file:
        for member in members:
            try:
                with file.open(member) as stream:
                    yield read_mnist_file(
                        stream,
                        dtype=np.dtype([(name, np.int64) for name in "xytp"]),
                        is_stream=True,
                    )  # type: ignore[arg-type]
            except Exception as error:  # as above
                raise DataError(
                    f"{archive}: {member} is damaged, Tonic cannot read it ({error})"
                ) from None
