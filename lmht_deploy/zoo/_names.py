"""What "zoo:NAME" stands for. Only names of cards are looked up: a name is never part of a path."""

from __future__ import annotations

import os
from hashlib import file_digest
from pathlib import Path

from lmht_deploy._suggest import unknown
from lmht_deploy.errors import StorageError

from ._cards import SUFFIX, Card, read_card

PREFIX = "zoo:"
FOLDER = Path(__file__).parent
NETWORK, RECORDING = ".lmht", ".raw"
"""Suffixes of the files of a network."""


def cards() -> tuple[Card, ...]:
    """Return all cards, sorted by name."""
    return tuple(read_card(FOLDER / f"{name}{SUFFIX}") for name in _names())


def find_card(name: str) -> Card:
    """Return the card of the network NAME; StorageError if there is none."""
    if name not in _names():
        raise StorageError(unknown("zoo network", name, _names()))
    return read_card(FOLDER / f"{name}{SUFFIX}")


def has_network(card: Card) -> bool:
    """Whether the network comes with the package."""
    return (FOLDER / f"{card.name}{NETWORK}").is_file()


def network_path(path: str | Path) -> Path:
    """Return the file of a network: that of "zoo:NAME", or `path` itself.

    Raises:
        StorageError: There is no such network, it does not come with the package, or its file is
            damaged.
    """
    if (name := _name(path)) is None:
        return Path(path)
    card = find_card(name)
    if not has_network(card):
        raise StorageError(
            f"{PREFIX}{name}: does not come with the package ({card.bytes / 1e6:.1f} MB); give the"
            f" path of its file; `lmht zoo {name}` says how to build it"
        )
    return check_file(FOLDER / f"{name}{NETWORK}", card.sha256)


def recording_path(path: str | Path) -> Path:
    """Return the file of a recording: that of "zoo:NAME", or `path` itself.

    Raises:
        StorageError: There is no such network, it has no recording, or the file is damaged.
    """
    if (name := _name(path)) is None:
        return Path(path)
    sample = find_card(name).sample
    if sample is None:
        have = [f"{PREFIX}{card.name}" for card in cards() if card.sample]
        raise StorageError(f"{PREFIX}{name}: has no recording; these have one: {', '.join(have)}")
    return check_file(FOLDER / f"{name}{RECORDING}", sample.sha256)


def check_file(path: Path, sha256: str) -> Path:
    """Return `path` if its content has the checksum of a card; StorageError otherwise."""
    try:
        with path.open("rb") as file:
            found = file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise StorageError(f"{path}: cannot be read ({error.strerror})") from None
    if found != sha256:
        raise StorageError(f"{path}: has the SHA-256 {found}, its card {sha256}")
    return path


def _name(path: str | Path) -> str | None:
    """NAME of "zoo:NAME"; None for any other path."""
    text = os.fspath(path)
    return text.removeprefix(PREFIX) if text.startswith(PREFIX) else None


def _names() -> list[str]:
    return sorted(path.stem for path in FOLDER.glob(f"*{SUFFIX}"))
