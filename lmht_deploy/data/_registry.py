"""The data sets that can be loaded by name."""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass

from lmht_deploy._suggest import unknown
from lmht_deploy.errors import DataError
from lmht_deploy.events.arrays import Sensor

from . import _digits, images
from ._schemes import SCHEMES, schemes_for
from ._tonic import KNOWN
from ._windows import Kind


@dataclass(frozen=True)
class DataSet:
    """A data set that `load` knows by name.

    Attributes:
        name: Name to load it by.
        kind: "events" or "image".
        size: (height, width) of the sensor or of the images; None if it depends on the files.
        classes: Number of classes; None if it depends on the files.
        origin: What the data is and where it comes from.
        packages: Import names of the packages that reading it needs.
        extra: Extra of lmht-deploy that installs `packages`; empty if there are none.
        split_schemes: Names of the split schemes that apply; empty if it has splits of its own.
    """

    name: str
    kind: Kind
    size: Sensor | None
    classes: int | None
    origin: str
    packages: tuple[str, ...] = ()
    extra: str = ""
    split_schemes: tuple[str, ...] = ()

    @property
    def missing(self) -> tuple[str, ...]:
        """Names in `packages` that are not installed."""
        return tuple(name for name in self.packages if importlib.util.find_spec(name) is None)


def available() -> tuple[DataSet, ...]:
    """List the data sets that `load` knows by name; none of them is read.

    `tonic:<Class>` also loads any other class of `tonic.datasets` with labeled recordings of one
    sensor.
    """
    return (
        DataSet(
            "digits",
            "events",
            _digits.SENSOR,
            10,
            "handwritten digits of scikit-learn before an emulated sensor; no files needed",
            ("sklearn",),
            "demo",
            _scheme_names("digits"),
        ),
        DataSet(
            "nmnist",
            "events",
            KNOWN["NMNIST"].sensor,
            10,
            "N-MNIST or a subset with all ten digits; root: folder or zip",
            ("tonic",),
            "events",
        ),
        *(_tonic_entry(name) for name in KNOWN),
        DataSet(
            "folder",
            "events",
            None,
            None,
            "your own recordings; root: one folder for each class (or --data FOLDER)",
            split_schemes=tuple(SCHEMES),
        ),
        *(_image_entry(name) for name in images.SETS),
        DataSet(
            images.FOLDER,
            "image",
            None,
            None,
            "your own images; root: one folder for each class",
            ("PIL",),
            "images",
            _scheme_names(images.FOLDER),
        ),
    )


def _scheme_names(data: str) -> tuple[str, ...]:
    """Names of the split schemes of a data set without splits of its own."""
    return tuple(scheme.name for scheme in schemes_for(data))


def _tonic_entry(name: str) -> DataSet:
    known = KNOWN[name]
    return DataSet(
        f"tonic:{name}",
        "events",
        known.sensor,
        known.classes,
        f"{name} as Tonic saves it; root: the folder that Tonic saved it to",
        ("tonic",),
        "events",
        () if isinstance(known.complete, dict) else _scheme_names(name),
    )


def _image_entry(name: str) -> DataSet:
    chosen = images.SETS[name]
    return DataSet(
        name,
        "image",
        Sensor(chosen.size, chosen.size) if chosen.size else None,
        chosen.classes,
        f"{chosen.hub} of the Hugging Face hub; root: folder of its Parquet files",
        images.PACKAGES,
        "images",
    )


def find_data_set(name: str) -> DataSet:
    """Return the data set called `name`; DataError if it is not one of `available`."""
    for known in available():
        if isinstance(name, str) and known.name == name:
            return known
    raise DataError(unknown_data_set(name))


def is_event_set(name: str) -> bool:
    """Whether `name` is an event data set: one of `available`, or any class of Tonic."""
    return name in ("digits", "nmnist", "folder") or name.startswith("tonic:")


def unknown_data_set(name: str) -> str:
    """Describe the unknown data set `name`, with the closest known name."""
    return unknown("data set", name, [*(known.name for known in available()), "tonic:<Class>"])
