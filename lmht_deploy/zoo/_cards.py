"""Cards: what is known of a network of the zoo, as TOML beside its `.lmht` file."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import MISSING, dataclass, fields
from pathlib import Path
from typing import Any, get_type_hints

from lmht_deploy.errors import StorageError

SUFFIX = ".toml"


@dataclass(frozen=True, kw_only=True)
class Sample:
    """A recording that comes with a network.

    Attributes:
        about: What was recorded, and the terms of its source.
        sha256: SHA-256 of the file, hexadecimal.
        answers: Right answer for each of its windows.
    """

    about: str
    sha256: str
    answers: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Card:
    """What is known of a network.

    Attributes:
        name: Name of the network: "zoo:NAME".
        title: The task, in a few words.
        network: Architecture, levels L and time-steps T.
        data: Data set that it was trained and tested on, as `lmht_deploy.data.load` takes it.
        data_terms: Terms of the data, and whom to credit.
        split_scheme: Split scheme; empty for the splits of the data set itself.
        terms: Terms of the network.
        recipe: Recipe, and the keys that were changed.
        build: Commands that train and convert it again. Rounding differs between processors, so
            that the result has about the same accuracy, not the same checksum.
        accuracy_float: Test accuracy of the trained model, 0..1.
        accuracy_integer: Test accuracy of the integer network, 0..1.
        windows: Number of test windows.
        sops: Mean number of synaptic operations per window.
        ms: Mean time per window on the event engine, in ms.
        machine: Machine and number of threads of `ms`.
        bytes: Size of the `.lmht` file.
        sha256: SHA-256 of the `.lmht` file, hexadecimal.
        note: What else a user must know, such as that recordings are emulated.
        sample: Its recording, if it has one.
    """

    name: str
    title: str
    network: str
    data: str
    data_terms: str
    terms: str
    recipe: str
    build: tuple[str, ...]
    accuracy_float: float
    accuracy_integer: float
    windows: int
    sops: float
    ms: float
    machine: str
    bytes: int
    sha256: str
    split_scheme: str = ""
    note: str = ""
    sample: Sample | None = None


def read_card(path: Path) -> Card:
    """Read a card.

    Raises:
        StorageError: The file cannot be read, a key is missing or unknown, or a value has the wrong
            type.
    """
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise StorageError(f"{path}: is not a card ({error})") from None
    if isinstance(values.get("sample"), dict):
        values["sample"] = Sample(**_checked(path, Sample, values["sample"]))
    return Card(**_checked(path, Card, {"name": path.stem} | values))


def _checked(path: Path, kind: type, values: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields of `kind`, with tuples in place of lists."""
    known = {item.name: item.default for item in fields(kind)}
    required = {name for name, default in known.items() if default is MISSING}
    if wrong := (required - values.keys()) | (values.keys() - known.keys()):
        raise StorageError(f"{path}: the key {min(wrong)!r} is missing or unknown")
    hints = get_type_hints(kind)
    found = {name: tuple(v) if isinstance(v, list) else v for name, v in values.items()}
    for name, value in found.items():
        if not _fits(value, hints[name]):
            raise StorageError(f"{path}: {name} is {value!r}; expected another type")
    return found


def _fits(value: object, hint: Any) -> bool:
    if hint == tuple[str, ...]:
        return isinstance(value, tuple) and all(isinstance(item, str) for item in value)
    if hint is float:
        return isinstance(value, int | float) and not isinstance(value, bool)
    return isinstance(value, hint) and not isinstance(value, bool)
