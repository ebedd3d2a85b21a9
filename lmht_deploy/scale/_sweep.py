"""Sweeps: a TOML file that lists networks, and the variants of each."""

from __future__ import annotations

import itertools
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from lmht_deploy._suggest import unknown
from lmht_deploy.errors import DataError, StorageError
from lmht_deploy.formats.lmht import load_network
from lmht_deploy.ir import Network
from lmht_deploy.zoo import PREFIX, network_path

from ._variants import Variant

MAX_FILE = 2**20
"""Largest size of a sweep, in bytes."""
KEYS = ("networks", "options")


def read_sweep(path: Path) -> dict[str, Network | Path]:
    """Return the networks of a sweep by name: every file with every combination of the options.

        networks = ["runs/*/net.lmht", "zoo:digits"]
        [options]
        steps = [2, 4]
        levels = [1, 2]
        initial_potential = [0.0, 0.5]
        prune = [true]

    Args:
        path: The TOML file. Its paths are relative to its folder.

    Raises:
        DataError: A key is unknown or has a wrong value, or a pattern fits no file.
        StorageError: The file or a network cannot be read.
    """
    content = _read(path)
    files = [file for name in content["networks"] for file in _files(path, name)]
    variants = list(_variants(path, content.get("options", {})))
    if variants == [Variant()]:
        return {_title(file, files): file for file in files}
    found: dict[str, Network | Path] = {}
    for file in files:
        net = load_network(file)
        for variant in variants:
            found[f"{_title(file, files)} {variant}".strip()] = variant.apply(net)
    return found


def _read(path: Path) -> dict[str, Any]:
    try:
        if path.stat().st_size > MAX_FILE:
            raise StorageError(f"{path}: is larger than {MAX_FILE} bytes")
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise StorageError(f"{path}: cannot be read ({error})") from None
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise DataError(f"{path}: is not TOML ({error})") from None
    for key in content:
        if key not in KEYS:
            raise DataError(f"{path}: {unknown('key', key, KEYS)}")
    names = content.get("networks")
    if not isinstance(names, list) or not names or not all(isinstance(x, str) for x in names):
        raise DataError(f"{path}: 'networks' must be a list of files, patterns or zoo:NAME")
    return content


def _files(path: Path, name: str) -> list[Path]:
    if name.startswith(PREFIX):
        return [network_path(name)]
    pattern = Path(name)
    if pattern.is_absolute():
        found = sorted(Path(pattern.anchor).glob(str(pattern.relative_to(pattern.anchor))))
    else:
        found = sorted(path.parent.glob(name))
    if not found:
        raise DataError(f"{path}: no file fits {name!r}")
    return found


def _title(file: Path, files: list[Path]) -> str:
    return file.stem if sum(file.stem == other.stem for other in files) == 1 else str(file)


def _variants(path: Path, options: Any) -> Iterator[Variant]:
    """Yield every combination of the options."""
    if not isinstance(options, dict):
        raise DataError(f"{path}: 'options' must be a table")
    for key, values in options.items():
        if key not in Variant.NAMES:
            raise DataError(f"{path}: {unknown('option', key, Variant.NAMES)}")
        if not isinstance(values, list) or not values:
            raise DataError(f"{path}: option {key!r} must be a list of values")
    for combination in itertools.product(*options.values()):
        try:
            yield Variant(**dict(zip(options, combination, strict=True)))
        except DataError as error:
            raise DataError(f"{path}: {error}") from None
