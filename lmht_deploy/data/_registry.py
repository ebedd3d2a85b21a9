"""The data sets that can be loaded by name."""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass

from lmht_deploy._suggest import unknown
from lmht_deploy.events.arrays import Sensor

from . import _digits, images
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
    """

    name: str
    kind: Kind
    size: Sensor | None
    classes: int | None
    origin: str
    packages: tuple[str, ...] = ()
    extra: str = ""

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
        ),
    )


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


def is_event_set(name: str) -> bool:
    """Whether `name` is an event data set: one of `available`, or any class of Tonic."""
    return name in ("digits", "nmnist", "folder") or name.startswith("tonic:")


def unknown_data_set(name: str) -> str:
    """Describe the unknown data set `name`, with the closest known name."""
    return unknown("data set", name, [*(known.name for known in available()), "tonic:<Class>"])
