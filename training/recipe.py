"""Recipes: everything that decides a training run, as TOML that is checked strictly.

    extends = "cifar10-resnet-18"   optional: the recipe that this one changes, by name or by path from this file

    [data]          what is learnt, and how its recordings become windows
    [augmentation]  what is done to training windows at random
    [network]       an architecture, its neurons, levels and steps
    [training]      optimiser, schedule, precision, seed
    [paper]         what the paper reports of it, to stand beside what is measured

Packaged recipes lie in training/recipes and are known by name; every key has a default but `data.name` and
`network.architecture`.
"""

from __future__ import annotations

import dataclasses
import json
import math
import os.path
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import MISSING, dataclass, field
from importlib import resources
from pathlib import Path
from typing import Any, get_type_hints

import numpy as np

from lmht_deploy.data import images
from lmht_deploy.errors import RecipeError

from .architectures import ARCHITECTURES


def _one_of(*choices: str, default: Any = MISSING) -> Any:
    return field(default=default, metadata={"choices": choices})


def _within(least: float, most: float, default: Any = MISSING) -> Any:
    return field(default=default, metadata={"least": least, "most": most})


@dataclass(frozen=True, kw_only=True)
class DataRecipe:
    """`name` of the data set (lmht_deploy.events.datasets, training.images), and how its recordings become windows.

    `steps` is T_in; `size` the height and width to which events are down-sampled by address, or images are resized (0: as they
    are); counts are clipped to `max_count`; of images only the first `classes` classes are taken (0: all).
    """

    name: str
    steps: int = _within(1, 1024, 4)
    size: int = _within(0, 4096, 0)
    max_count: int = _within(1, 2**15, 255)
    classes: int = _within(0, 2**16, 0)


@dataclass(frozen=True, kw_only=True)
class AugmentationRecipe:
    """What is done to training windows at random (training.augment); every step and channel of a window is treated alike.

    shift, roll  every window moves by up to so many pixels a direction; zeros come in, or (roll) what leaves on the other side
    mirror       left and right are exchanged in every second window
    rotate       by up to so many degrees (nearest pixel)
    zoom         a random part of at least this share of the area fills the frame (sets whose images are decoded as they are used; 0: none)
    auto         policies of AutoAugment (Cubuk et al. 2019), for images
    cutout       a square of so many pixels a side is emptied (DeVries & Taylor 2017)
    mixup        probability that windows and labels are mixed in pairs, in shares uniform within 0..1 (Zhang et al. 2018)
    cutmix       probability that a rectangle is replaced by another window's, of an area uniform within 0..1 (Yun et al. 2019)
    """

    shift: int = _within(0, 64, 0)
    roll: int = _within(0, 64, 0)
    mirror: bool = False
    rotate: float = _within(0, 180, 0.0)
    zoom: float = _within(0, 1, 0.0)
    auto: str = _one_of("none", "cifar10", "imagenet", default="none")
    cutout: int = _within(0, 1024, 0)
    mixup: float = _within(0, 1, 0.0)
    cutmix: float = _within(0, 1, 0.0)


@dataclass(frozen=True, kw_only=True)
class NetworkRecipe:
    """`neuron` of training.neurons with L `levels` and T `steps`; `v0` is the initial potential in units of θ, which begins at 1.

    `width` multiplies the channels of every block. "mht", "if" and "qcfs" have no T-GIM: T must be T_in, or T_in 1 (a still
    image, whose current enters every step). "if" has one level; "qcfs" is a quantised ANN of one step and v0 = 0.5.
    """

    architecture: str = _one_of(*ARCHITECTURES)
    width: float = _within(0.01, 16, 1.0)
    neuron: str = _one_of("lmht", "mht", "if", "qcfs", default="lmht")
    levels: int = _within(1, 64, 2)
    steps: int = _within(1, 1024, 4)
    v0: float = _within(0, 1, 0.0)


@dataclass(frozen=True, kw_only=True)
class TrainingRecipe:
    """`optimiser` at a `rate` that rises over `warmup` epochs and then falls as a cosine, to 0 after `epochs`.

    batch         windows of one step, over all processes; an epoch leaves out what does not fill a last one
    weight_decay  of weights, not of biases, norms and neurons
    clip          largest norm of the gradient over all weights (0: any)
    ema           decay of a running mean of the weights, which is what is tested and kept (0: none)
    precision     of convolutions and linear layers; weights, norms and the loss stay float32
    channels_last, compile   memory format and torch.compile: for accelerators
    start         recipe of the quantised ANN from whose run this one begins, and without which it does not ("": from new weights)
    seed          the same seed gives the same weights on the same machine with the same number of threads
    """

    epochs: int = _within(1, 100_000, 20)
    batch: int = _within(1, 2**16, 32)
    optimiser: str = _one_of("adamw", "sgd", default="adamw")
    rate: float = _within(1e-9, 100, 5e-3)
    weight_decay: float = _within(0, 10, 0.01)
    warmup: float = _within(0, 1000, 1.0)
    label_smoothing: float = _within(0, 0.99, 0.0)
    clip: float = _within(0, 1e6, 0.0)
    ema: float = _within(0, 0.99999, 0.0)
    precision: str = _one_of("float32", "bfloat16", "float16", default="float32")
    channels_last: bool = False
    compile: bool = False
    start: str = ""
    seed: int = _within(0, 2**32 - 1, 0)

    def seed_of(self, epoch: int, *parts: int) -> int:
        """Seed of all that is random in (a part of) an epoch, of the initial weights for epoch 0: no generator's state needs to be kept."""
        return int(np.random.SeedSequence((self.seed, epoch, *parts)).generate_state(1)[0])


@dataclass(frozen=True, kw_only=True)
class PaperRecipe:
    """What Hao et al. (2024) report of this network: `accuracy` in percent, `sops` in G and `energy` in mJ a window (0: not reported)."""

    table: str = ""
    accuracy: float = _within(0, 100, 0.0)
    sops: float = _within(0, 1e6, 0.0)
    energy: float = _within(0, 1e6, 0.0)


@dataclass(frozen=True, kw_only=True)
class Recipe:
    data: DataRecipe
    augmentation: AugmentationRecipe
    network: NetworkRecipe
    training: TrainingRecipe
    paper: PaperRecipe

    def __post_init__(self) -> None:
        network, data = self.network, self.data
        if network.neuron != "lmht" and data.steps not in (network.steps, 1):
            raise RecipeError(
                f"network.neuron {network.neuron!r} has no T-GIM: network.steps ({network.steps}) must be data.steps ({data.steps}), or that be 1"
            )
        if self.augmentation.zoom and (data.name not in images.SETS or images.SETS[data.name].size):
            raise RecipeError(
                f"augmentation.zoom is for images that differ in size and are decoded as they are used (imagenet), not for {data.name}"
            )
        if data.classes and data.name not in images.SETS:
            raise RecipeError(f"data.classes is for images, not for {data.name}")
        if network.neuron == "if" and network.levels != 1:
            raise RecipeError(
                f"network.neuron 'if' has one level: network.levels must be 1, not {network.levels}"
            )
        if network.neuron == "qcfs" and (network.steps, network.v0) != (1, 0.5):
            raise RecipeError(
                f"network.neuron 'qcfs' has network.steps 1 and network.v0 0.5, not {network.steps} and {network.v0}"
            )


# ------------------------------------------------------------------------------------------------ reading and writing


def packaged() -> tuple[str, ...]:
    """Names of the recipes that come with the package."""
    files = (resources.files(__package__) / "recipes").iterdir()
    return tuple(
        sorted(file.name.removesuffix(".toml") for file in files if file.name.endswith(".toml"))
    )


def load_recipe(name: str | Path, overrides: Iterable[str] = ()) -> Recipe:
    """The packaged recipe `name`, or the one in the file `name` (.toml), with `overrides` of the form "section.key=value".

    Raises RecipeError for a missing or malformed file, an unknown section or key, and a value of a wrong type or out of range.
    """
    values = _read(name)
    for override in overrides:
        _override(values, override)
    return parse(values)


def _read(name: str | Path, beside: Path = Path(), seen: tuple[str, ...] = ()) -> dict[str, Any]:
    """The values of a recipe and of those that it extends; a path is taken from the folder `beside`."""
    if Path(name).suffix == ".toml":
        file = beside / name
        what = os.path.normpath(file)
    elif name in packaged():
        file, what = resources.files(__package__) / "recipes" / f"{name}.toml", f"recipe {name!r}"  # type: ignore[assignment]
    else:
        raise RecipeError(
            f"there is no recipe {str(name)!r}; there are {', '.join(packaged())}, or give the path of a .toml file"
        )
    if what in seen:
        raise RecipeError(f"{what} extends itself, by way of {' and '.join(seen)}")
    try:
        values = tomllib.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise RecipeError(f"{what}: cannot be read ({error.strerror})") from None
    except ValueError as error:
        raise RecipeError(f"{what}: is not TOML: {error}") from None
    base = values.pop("extends", None)
    if base is None:
        return values
    if not isinstance(base, str):
        raise RecipeError(f"{what}: extends must be the name or the path of a recipe, not {base!r}")
    merged = _read(base, Path(str(file)).parent, (*seen, what))
    for section, changes in values.items():
        merged[section] = (
            {**merged.get(section, {}), **changes} if isinstance(changes, Mapping) else changes
        )
    return merged


def parse(values: Mapping[str, Any]) -> Recipe:
    """The recipe of nested `values`, {section: {key: value}}; RecipeError as for `load`."""
    sections = get_type_hints(Recipe)
    _known("section", values, sections)
    return Recipe(
        **{
            section: _section(section, kind, values.get(section, {}))
            for section, kind in sections.items()
        }
    )


def dumps(recipe: Recipe) -> str:
    """`recipe` as TOML, every key written out; `load` reads the very same recipe."""
    sections = []
    for section, values in dataclasses.asdict(recipe).items():
        sections.append(
            "\n".join(
                [f"[{section}]", *(f"{key} = {json.dumps(value)}" for key, value in values.items())]
            )
        )
    return "\n\n".join(sections) + "\n"


def changes(before: Recipe, after: Recipe) -> str:
    """What `after` has otherwise than `before`, as "training.epochs (20, now 30), ..."."""
    old, new = dataclasses.asdict(before), dataclasses.asdict(after)
    keys = [
        (section, key)
        for section, values in old.items()
        for key in values
        if old[section][key] != new[section][key]
    ]
    return ", ".join(
        f"{section}.{key} ({old[section][key]!r}, now {new[section][key]!r})"
        for section, key in keys
    )


def _override(values: dict[str, Any], override: str) -> None:
    name, equals, text = override.partition("=")
    section, dot, key = name.strip().partition(".")
    if not (equals and dot):
        raise RecipeError(
            f"an override has the form section.key=value, for example training.epochs=10, not {override!r}"
        )
    try:
        value = tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        value = text.strip()  # text may stand without quotes
    values.setdefault(section, {})[key] = value


def _known(what: str, found: object, allowed: Iterable[str]) -> None:
    allowed = tuple(allowed)
    if not isinstance(found, Mapping):
        raise RecipeError(f"{what} must be a table, not {found!r}")
    for key in found:
        if key not in allowed:
            raise RecipeError(
                f"unknown {what} {key!r} in the recipe; there are {', '.join(allowed)}"
            )


def _section(section: str, kind: type, values: Any) -> Any:
    hints = get_type_hints(kind)
    _known(f"key of [{section}]", values, hints)
    for item in dataclasses.fields(kind):
        if item.default is MISSING and item.name not in values:
            raise RecipeError(f"the recipe lacks {section}.{item.name}{_allowed(item.metadata)}")
    fields = {item.name: item for item in dataclasses.fields(kind)}
    return kind(
        **{
            key: _value(f"{section}.{key}", hints[key], fields[key].metadata, value)
            for key, value in values.items()
        }
    )


def _value(name: str, kind: type[Any], limits: Mapping[str, Any], value: Any) -> Any:
    if kind is float and type(value) is int:
        value = float(value)
    if not isinstance(value, kind) or isinstance(value, bool) != (kind is bool):
        raise RecipeError(f"{name} must be {_KINDS[kind]}{_allowed(limits)}, not {value!r}")
    if value not in limits.get("choices", (value,)):
        raise RecipeError(f"{name} must be{_allowed(limits, '')}, not {value!r}")
    if "least" in limits and not (
        math.isfinite(value) and limits["least"] <= value <= limits["most"]
    ):
        raise RecipeError(f"{name} must lie{_allowed(limits, '')}, not be {value!r}")
    return value


_KINDS = {str: "text", int: "an integer", float: "a number", bool: "true or false"}


def _allowed(limits: Mapping[str, Any], comma: str = ",") -> str:
    if "choices" in limits:
        return f"{comma} one of {', '.join(limits['choices'])}"
    return f"{comma} within {limits['least']}..{limits['most']}" if limits else ""
