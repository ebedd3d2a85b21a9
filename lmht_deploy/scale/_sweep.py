"""Sweeps: a TOML file that lists networks, and the variants of each."""

from __future__ import annotations

import itertools
import json
import tomllib
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeAlias

from lmht_deploy._suggest import unknown
from lmht_deploy.errors import DataError, LmhtError, StorageError
from lmht_deploy.formats.networks import load_any_network
from lmht_deploy.ir import Network
from lmht_deploy.zoo import PREFIX, network_path

from ._networks import check_unique, file_names
from ._variants import Variant

MAX_FILE = 2**20
"""Largest size of a sweep, in bytes."""
KEYS = ("networks", "recipes", "options")

Train: TypeAlias = Callable[[str, Sequence[str]], Path]
"""Trains a recipe with overrides ("network.levels=2"), and returns the file of its network."""


def read_sweep(path: Path, train: Train) -> dict[str, Network | Path]:
    """Return the networks of a sweep by name: every network with every combination of the options.

        networks = ["runs/*/net.lmht", "zoo:digits"]
        recipes = ["digits"]
        [options]
        steps = [2, 4]
        levels = [1, 2]
        initial_potential = [0.0, 0.5]
        "training.learning_rate" = [1e-3, 5e-3]

    Options whose name has a dot are keys of recipes: each combination is trained. The others are
    fields of `Variant`.

    Args:
        path: The TOML file. Its paths are relative to its folder.
        train: Trains a recipe, or finds the network that was trained before.

    Raises:
        DataError: A key is unknown or has a wrong value, or a pattern fits no file.
        StorageError: The file or a network cannot be read.
    """
    content = _read(path)
    files = [file for name in content["networks"] for file in _files(path, name)]
    options = _options(path, content.get("options", {}))
    trained = {key: values for key, values in options.items() if "." in key}
    if trained and not content["recipes"]:
        raise DataError(f"{path}: option {next(iter(trained))!r} needs 'recipes' to train")
    variants = list(_variants(path, options.keys() - trained.keys(), options))
    trainings = [
        (recipe, chosen) for recipe in content["recipes"] for chosen in _overrides(trained)
    ]
    with _errors(path):
        names = [*file_names(files), *(" ".join([recipe, *chosen]) for recipe, chosen in trainings)]
        check_unique(f"{name} {variant}".strip() for name in names for variant in variants)
    sources = [*files, *(train(recipe, chosen) for recipe, chosen in trainings)]
    if variants == [Variant()]:
        return dict(zip(names, sources, strict=True))
    return dict(_varied(path, zip(names, sources, strict=True), variants))


def _varied(
    path: Path, sources: Iterable[tuple[str, Path]], variants: Sequence[Variant]
) -> Iterator[tuple[str, Network]]:
    """Yield every variant of each network, with its name."""
    for name, file in sources:
        net = load_any_network(file)
        for variant in variants:
            with _errors(path, file):
                changed = variant.apply(net)
            yield f"{name} {variant}".strip(), changed


@contextmanager
def _errors(*paths: Path) -> Iterator[None]:
    """Name files in an error of the block."""
    try:
        yield
    except LmhtError as error:
        raise DataError(": ".join([*map(str, paths), str(error)])) from None


def _overrides(options: dict[str, list[Any]]) -> Iterator[list[str]]:
    """Yield every combination of values of recipe keys, as overrides."""
    for combination in itertools.product(*options.values()):
        pairs = zip(options, combination, strict=True)
        yield [f"{key}={json.dumps(value, ensure_ascii=False)}" for key, value in pairs]


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
    for key in ("networks", "recipes"):
        names = content.setdefault(key, [])
        if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
            raise DataError(f"{path}: {key!r} must be a list of texts")
    if not content["networks"] and not content["recipes"]:
        raise DataError(f"{path}: 'networks' or 'recipes' must name something to evaluate")
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


def _options(path: Path, options: Any) -> dict[str, list[Any]]:
    """Return the values of each option; DataError for one that is unknown or not a list."""
    if not isinstance(options, dict):
        raise DataError(f"{path}: 'options' must be a table")
    for key, values in options.items():
        if key not in Variant.NAMES and "." not in key:
            raise DataError(f"{path}: {unknown('option', key, Variant.NAMES)}")
        if not isinstance(values, list) or not values:
            raise DataError(f"{path}: option {key!r} must be a list of one value or more")
    return options


def _variants(path: Path, names: Collection[str], options: dict[str, Any]) -> Iterator[Variant]:
    """Yield every combination of the options that are variants, in the order of the file."""
    chosen = {key: values for key, values in options.items() if key in names}
    for combination in itertools.product(*chosen.values()):
        with _errors(path):
            variant = Variant(**dict(zip(chosen, combination, strict=True)))
        yield variant
