"""Data sets by name, as windows and labels.

    digits    the 1,797 handwritten digits of scikit-learn, moved before the emulated sensor: nothing to download
    nmnist    N-MNIST (Orchard et al. 2015), real recordings, read by Tonic from `root`

Nothing is ever downloaded without being asked for: where data is missing, a DataError says what is expected where.
"""

from __future__ import annotations

import contextlib
import tempfile
import zipfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from ..errors import DataError
from .arrays import Sensor, checked
from .dvs import Dvs, emulate
from .packages import need
from .windows import Rule, saturated
from .windows import windows as cut

Progress = Callable[[int, int], None]
Split = Literal["train", "test"]


@dataclass(frozen=True)
class Windows:
    """A labelled data set, ready to train on or to run.

    windows      uint8 or uint16 [N, T_in, 2, H, W]: counts of events
    labels       int64 [N]: index into `classes`
    sensor       size of the sensor that recorded them (before down-sampling to H, W)
    provenance   plain values that say what made them: data set, split, rule, events and events lost to saturation
    """

    windows: np.ndarray
    labels: np.ndarray
    classes: tuple[str, ...]
    sensor: Sensor
    provenance: Mapping[str, Any]

    def __len__(self) -> int:
        return len(self.windows)


@dataclass(frozen=True)
class Recordings:
    """Labelled event arrays of one split; `events` is walked once."""

    events: Iterable[np.ndarray]
    labels: np.ndarray
    classes: tuple[str, ...]
    sensor: Sensor
    origin: Mapping[str, Any]


def load(
    name: str,
    *,
    root: str | Path | None = None,
    split: Split = "train",
    steps: int = 4,
    size: Sensor | tuple[int, int] | int | None = None,
    high: int = 255,
    progress: Progress | None = None,
) -> Windows:
    """The data set `name`, each recording as one window of `steps` equal time bins (`windows.Rule`).

    `size` (H, W) down-samples by address; counts are clipped to `high`. `progress(done, total)` is called as recordings are
    read. Raises DataError for an unknown name, a missing package, and data that is missing, partial or damaged.
    """
    if name not in SOURCES:
        raise DataError(f"unknown data set {name!r}; there are {', '.join(SOURCES)}")
    if split not in ("train", "test"):
        raise DataError(f"a data set has the splits 'train' and 'test', not {split!r}")
    rule = Rule(steps)
    with SOURCES[name](None if root is None else Path(root), split) as recordings:
        size = recordings.sensor if size is None else Sensor(size, size) if isinstance(size, int) else Sensor(*size)
        counts, events, lost = [], 0, 0
        for index, recording in enumerate(recordings.events):
            window = _window(recording, recordings.sensor, rule, size, f"{name}, {split} recording {index}")
            events += int(window.sum())
            window, clipped = saturated(window, high)
            lost += clipped
            counts.append(window)
            if progress:
                progress(index + 1, len(recordings.labels))
    provenance = {
        "data": name,
        "split": split,
        "rule": {"steps": rule.steps, "by": rule.by, "length": rule.length},
        "recordings": len(counts),
        "events": events,
        "high": high,
        "lost": lost,
        **recordings.origin,
    }
    return Windows(np.stack(counts), recordings.labels, recordings.classes, recordings.sensor, provenance)


def _window(recording: np.ndarray, sensor: Sensor, rule: Rule, size: Sensor, what: str) -> np.ndarray:
    try:
        return cut(checked(recording, sensor), sensor, rule, size)[0]
    except DataError as error:
        raise DataError(f"{what}: {error}") from None


def split_by_class(labels: np.ndarray, share: float, split: Split, seed: int = 0) -> np.ndarray:
    """Indices of one split: in every class, `share` of the recordings (drawn with `seed`) train, the others test."""
    rng = np.random.default_rng(seed)
    chosen = []
    for label in np.unique(labels):
        members = rng.permutation(np.flatnonzero(labels == label))
        cut_at = round(share * len(members))
        chosen.append(members[:cut_at] if split == "train" else members[cut_at:])
    return np.sort(np.concatenate(chosen))


# ------------------------------------------------------------------------------------------------ digits

DIGITS_SENSOR = Sensor(16, 16)
DIGITS_DVS = Dvs(on=0.3, off=0.3, dark=0.15)
DIGITS_SCALE = 1.5
"""Sensor pixels that one pixel of a scan covers."""
DIGITS_RADIUS = 2.0
"""Radius of the circle on which a digit moves, in sensor pixels."""
DIGITS_STEPS, DIGITS_INTERVAL = 32, 3125
"""Frames on the way round, and microseconds between them: a recording lasts 0.1 s."""


@contextlib.contextmanager
def _digits(root: Path | None, split: Split) -> Iterator[Recordings]:
    need("sklearn", "demo")
    from sklearn.datasets import load_digits

    scans = load_digits()
    labels = scans.target.astype(np.int64)
    chosen = split_by_class(labels, 0.8, split)
    events = emulate(_moving(scans.images[chosen] / 16), DIGITS_INTERVAL, DIGITS_DVS, np.random.default_rng(0))
    origin = {"source": "scikit-learn load_digits, emulated DVS", "dvs": vars(DIGITS_DVS)}
    yield Recordings(events, labels[chosen], tuple(str(digit) for digit in range(10)), DIGITS_SENSOR, origin)


def _moving(images: np.ndarray) -> Iterator[np.ndarray]:
    """Frames [B, H, W] of `images` [B, 8, 8], bilinearly enlarged, going once round a circle."""
    for angle in np.linspace(0, 2 * np.pi, DIGITS_STEPS + 1):
        rows = _tents(DIGITS_SENSOR.height, images.shape[1], DIGITS_RADIUS * np.sin(angle))
        columns = _tents(DIGITS_SENSOR.width, images.shape[2], DIGITS_RADIUS * np.cos(angle))
        yield rows @ images @ columns.T


def _tents(size: int, pixels: int, shift: float) -> np.ndarray:
    """Weights [size, pixels] of bilinear interpolation along one axis, centred and then shifted; zero beside the image."""
    position = (np.arange(size) - (size - 1) / 2 - shift) / DIGITS_SCALE + (pixels - 1) / 2
    return np.maximum(1 - np.abs(position[:, None] - np.arange(pixels)), 0)


# ------------------------------------------------------------------------------------------------ N-MNIST


@contextlib.contextmanager
def _nmnist(root: Path | None, split: Split) -> Iterator[Recordings]:
    need("tonic", "events")
    folder = {"train": "Train", "test": "Test"}[split]
    with _nmnist_folder(root, folder) as home:
        digits = {path.name for path in (home / folder).iterdir() if any(path.glob("*.bin"))}
        if absent := {str(digit) for digit in range(10)} - digits:
            raise DataError(f"{home / folder}: N-MNIST is incomplete, there is no recording {min(absent)}/*.bin")
        dataset = _local("NMNIST", home, train=split == "train")
        classes = tuple(str(digit) for digit in range(10))
        yield Recordings(_read_all(dataset), np.array(dataset.targets, np.int64), classes, Sensor(34, 34), {"source": "N-MNIST, read by Tonic"})


@contextlib.contextmanager
def _nmnist_folder(root: Path | None, folder: str) -> Iterator[Path]:
    """The folder that holds `folder`/<digit>/*.bin: `root`, its NMNIST/, or what a zip in it is unpacked to for the time being."""
    expected = f"{folder}/<digit>/<number>.bin, in it, in its folder NMNIST (as Tonic lays it out) or in a .zip in it"
    if root is None:
        raise DataError(f"N-MNIST is read from a folder: give the root that holds {expected}")
    for home in (root, root / "NMNIST"):
        if (home / folder).is_dir():
            yield home
            return
    for archive in [root] if root.suffix == ".zip" else sorted(root.glob("*.zip")):
        with tempfile.TemporaryDirectory() as temporary:
            if _unpacked(archive, folder, Path(temporary)):
                yield Path(temporary)
                return
    raise DataError(f"{root}: there is no N-MNIST here; expected {expected}")


def _unpacked(archive: Path, folder: str, target: Path) -> bool:
    """Unpack what lies under `folder` in `archive`; False where there is nothing."""
    try:
        with zipfile.ZipFile(archive) as file:
            members = [name for name in file.namelist() if name.startswith(f"{folder}/") and name.endswith(".bin")]
            file.extractall(target, members)
    except (OSError, zipfile.BadZipFile) as error:
        raise DataError(f"{archive}: is not a readable zip file ({error})") from None
    return bool(members)


def _local(name: str, home: Path, **options: Any) -> Any:
    """Tonic's data set `name`, reading what lies in `home` as it is.

    Tonic joins the class's name to `save_to`, and downloads where its count of files falls short: a subclass that is named
    after the folder and takes it as present does neither.
    """
    import tonic.datasets

    present = {"_check_exists": lambda self: True}
    return type(home.name, (getattr(tonic.datasets, name),), present)(save_to=str(home.parent), **options)


def _read_all(dataset: Any) -> Iterator[np.ndarray]:
    for index in range(len(dataset)):
        try:
            yield dataset[index][0]
        except Exception as error:  # Tonic's readers raise whatever a damaged file makes them stumble over
            raise DataError(f"{dataset.data[index]}: is damaged, Tonic cannot read it ({error})") from None


SOURCES: dict[str, Callable[[Path | None, Split], AbstractContextManager[Recordings]]] = {"digits": _digits, "nmnist": _nmnist}
