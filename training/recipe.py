"""Recipes: everything that determines a training run, as strictly checked TOML.

    extends = "cifar10-resnet-18"   optional: the recipe to change, a name or a path from this file

    [data]          data set, and how its recordings become windows
    [augmentation]  random transforms of training windows
    [network]       architecture, neurons, levels and steps
    [training]      optimizer, schedule, precision, seed
    [paper]         figures of the LM-HT paper, printed beside the measured ones

Packaged recipes have names (`available_recipes`). Every key has a default except `data.name` and
`network.architecture`; `recipe_keys` describes them all. This module does not import PyTorch.
"""

from __future__ import annotations

import dataclasses
import json
import os.path
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import MISSING, dataclass, field
from importlib import resources
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Any, cast, get_args, get_type_hints

import numpy as np

from lmht_deploy._suggest import unknown
from lmht_deploy.data import By, SplitRule, WindowRule, images
from lmht_deploy.errors import DataError, RecipeError, counted, first_line, listed, show
from lmht_deploy.formats.files import as_path

from .architectures import ARCHITECTURES

MAX_BYTES = 2**20
"""Size of the largest file of a recipe; a recipe has about 1,000."""

NEURONS = {"lmht": "LM-HT", "mht": "M-HT", "if": "IF", "qcfs": "QCFS", "relu": "ReLU"}
"""Kinds of neurons: value of `network.neuron`, and the name in the literature."""


def _key(
    meaning: str,
    default: Any = MISSING,
    *,
    min: float | None = None,
    max: float | None = None,
    choices: Iterable[str] = (),
) -> Any:
    """Field of a recipe section, described well enough to be checked and documented."""
    limits = {"min": min, "max": max, "choices": tuple(choices)}
    return field(default=default, metadata={"meaning": meaning, **limits})


@dataclass(frozen=True, kw_only=True)
class DataRecipe:
    """Section [data]: the data set, and how its recordings become windows.

    `recipe_keys` describes the fields.
    """

    name: str = _key("name of the data set")
    steps: int = _key(
        "number of input steps T_in; a still image enters at every one of them", 4, min=1, max=1024
    )
    by: str = _key(
        "how recordings are cut into windows: one for each recording, or windows of a fixed time "
        "or number of events",
        "recording",
        choices=get_args(By),
    )
    length: int = _key(
        "length of a window of all T_in steps: us for windows by time, events for windows by "
        "events; a multiple of data.steps",
        0,
        min=0,
        max=2**40,
    )
    hop: int = _key(
        "steps between the starts of two windows; fewer than T_in make them overlap (0: T_in)",
        0,
        min=0,
        max=1024,
    )
    incomplete: bool = _key(
        "also use the last window of a recording, which ends before the window does", False
    )
    size: int = _key(
        "height and width: events are down-sampled, images are resized (0: unchanged)",
        0,
        min=0,
        max=4096,
    )
    max_count: int = _key(
        "upper limit of the events per pixel, polarity and step; larger counts are clipped",
        255,
        min=1,
        max=2**15,
    )
    classes: tuple[str, ...] = _key(
        'classes to use, in the order of their labels; "OLD=NEW" renames a class, equal new names '
        "merge classes (empty: all)",
        (),
    )
    max_classes: int = _key(
        "number of classes to use, from the first (0: all)", 0, min=0, max=2**16
    )
    label_by: str = _key(
        "part of the path that is the class, for your own files: a number N for the N-th folder, "
        'or a regular expression ("": the first folder)',
        "",
    )
    group_by: str = _key(
        "part of the path that names the group, as for label_by: recordings of one group are in "
        'one split ("": each recording is a group)',
        "",
    )
    test_share: float = _key(
        "share of each class in the test split, if the data set has none (0: 0.1; 0.2 for digits)",
        0.0,
        min=0,
        max=0.9,
    )
    validation_share: float = _key(
        "share of the training recordings of each class in the validation split; epochs are then "
        "tested on it, and not on the test split (0: none)",
        0.0,
        min=0,
        max=0.9,
    )
    fold: str = _key(
        '"I/K": fold I of K is the test split, or the validation split if the data set has a test '
        "split",
        "",
    )
    split_scheme: str = _key(
        "named split that is the same for everyone, in place of a share or a fold; "
        '`lmht datasets NAME` lists those of a data set ("": none)',
        "",
    )
    split_seed: int = _key("seed of the splits", 0, min=0, max=2**32 - 1)

    @property
    def split_rule(self) -> SplitRule:
        """How the recordings are divided into splits."""
        return SplitRule(
            label_by=self.label_by,
            group_by=self.group_by,
            test_share=self.test_share,
            validation_share=self.validation_share,
            fold=self.fold,
            seed=self.split_seed,
            scheme=self.split_scheme,
        )

    @property
    def rule(self) -> WindowRule:
        """How recordings are cut into windows."""
        return WindowRule(self.steps, cast("By", self.by), self.length, self.hop)


@dataclass(frozen=True, kw_only=True)
class AugmentationRecipe:
    """Section [augmentation]: random transforms of training windows.

    All steps and channels of a window are transformed alike. `recipe_keys` describes the fields.
    """

    thin: float = _key(
        "each window of events loses a random share of them, from 0 to N (0: none)",
        0.0,
        min=0,
        max=0.95,
    )
    swap_polarity: bool = _key("ON and OFF events are swapped with probability 0.5", False)
    drop_time: float = _key(
        "the events of some consecutive steps are dropped: of none up to a share N of the steps, "
        "but at least one and not all (Gu et al. 2021)",
        0.0,
        min=0,
        max=0.95,
    )
    drop_area: float = _key(
        "the events in a random rectangle are dropped; its area is a random share of the window's, "
        "from 0 to N (Gu et al. 2021)",
        0.0,
        min=0,
        max=0.95,
    )
    shift: int = _key(
        "random translation by at most N pixels per axis; vacated pixels are zero",
        0,
        min=0,
        max=64,
    )
    roll: int = _key(
        "random translation by at most N pixels per axis; pixels wrap around", 0, min=0, max=64
    )
    flip: bool = _key("horizontal flip with probability 0.5", False)
    rotate: float = _key("random rotation by at most N degrees, nearest pixel", 0.0, min=0, max=180)
    shear: float = _key(
        "random shear along the rows by at most N degrees, nearest pixel (Li et al. 2022)",
        0.0,
        min=0,
        max=60,
    )
    crop_scale: float = _key(
        "random resized crop: smallest share of the image's area; for images that are decoded "
        "when they are used (0: no crop)",
        0.0,
        min=0,
        max=1,
    )
    auto_augment: str = _key(
        "random changes of geometry and color, for images: the policies of AutoAugment for a data "
        "set (Cubuk et al. 2019), RandAugment (Cubuk et al. 2020) or TrivialAugment (Müller & "
        "Hutter 2021)",
        "none",
        choices=("none", "cifar10", "imagenet", "rand", "trivial"),
    )
    cutout: int = _key(
        "side length in pixels of a random square set to zero (DeVries & Taylor 2017)",
        0,
        min=0,
        max=1024,
    )
    choose: int = _key(
        "each window undergoes N transforms, chosen at random among thin, drop_time, drop_area, "
        "shift, roll, rotate, shear and cutout, as far as they are used (Li et al. 2022; 0: all)",
        0,
        min=0,
        max=8,
    )
    mixup: float = _key(
        "probability that a window is blended with another one; the share is uniform in 0..1 "
        "(Zhang et al. 2018)",
        0.0,
        min=0,
        max=1,
    )
    cutmix: float = _key(
        "probability that a rectangle of a window is replaced by another window's; its area is "
        "uniform in 0..1 (Yun et al. 2019)",
        0.0,
        min=0,
        max=1,
    )


@dataclass(frozen=True, kw_only=True)
class NetworkRecipe:
    """Section [network]: architecture and neurons.

    "mht", "if" and "qcfs" have no T-GIM. They need T = T_in, or T_in = 1 (a still image, whose
    current enters at every time-step). "if" has one level. "qcfs" is a quantized ANN with one step
    and v0 = 0.5. "relu" is an ANN with one step, for comparison: it has no levels and cannot be
    lowered. `recipe_keys` describes the fields.
    """

    architecture: str = _key("name of the architecture", choices=ARCHITECTURES)
    width: float = _key("multiplies the channels of every block", 1.0, min=0.01, max=16)
    neuron: str = _key("kind of neurons", "lmht", choices=NEURONS)
    levels: int = _key("number of threshold levels L", 2, min=1, max=64)
    steps: int = _key("number of time-steps T", 4, min=1, max=1024)
    v0: float = _key("initial potential in units of the threshold θ", 0.0, min=0, max=1)

    @property
    def neurons(self) -> str:
        """The neurons as tables show them: "LM-HT (L=2, T=2)"."""
        name = NEURONS[self.neuron]
        return name if self.neuron == "relu" else f"{name} (L={self.levels}, T={self.steps})"


@dataclass(frozen=True, kw_only=True)
class TrainingRecipe:
    """Section [training]: optimizer, schedule, precision, seed.

    `recipe_keys` describes the fields.
    """

    epochs: int = _key("number of epochs", 20, min=1, max=100_000)
    batch_size: int = _key(
        "windows per training step, over all processes; the last incomplete batch of an epoch is "
        "dropped",
        32,
        min=1,
        max=2**16,
    )
    optimizer: str = _key(
        "AdamW, or SGD with Nesterov momentum 0.9", "adamw", choices=("adamw", "sgd")
    )
    learning_rate: float = _key(
        "peak learning rate: reached after a linear warm-up, followed by a cosine decay to 0",
        5e-3,
        min=1e-9,
        max=100,
    )
    weight_decay: float = _key(
        "weight decay; biases, norms and neurons have none", 0.01, min=0, max=10
    )
    warmup_epochs: float = _key("epochs of the linear warm-up", 1.0, min=0, max=1000)
    loss: str = _key(
        'cross-entropy of the mean of the logits over time ("mean"), or mean over time of the '
        'cross-entropies ("per-step": TET, Deng et al. 2022)',
        "mean",
        choices=("mean", "per-step"),
    )
    label_smoothing: float = _key("label smoothing of the cross-entropy", 0.0, min=0, max=0.99)
    sop_penalty: float = _key(
        "weight in the loss of the spikes per synapse and time-step, which lowers the SOPs "
        "(Sorbaro et al. 2020; 0: none)",
        0.0,
        min=0,
        max=1000,
    )
    max_grad_norm: float = _key(
        "largest norm of the gradient over all weights (0: no limit)", 0.0, min=0, max=1e6
    )
    ema_decay: float = _key(
        "decay of the exponential moving average of the weights, which is then tested and saved "
        "(0: no average)",
        0.0,
        min=0,
        max=0.99999,
    )
    precision: str = _key(
        "precision of convolutions and linear layers; weights, norms and the loss stay float32",
        "float32",
        choices=("float32", "bfloat16", "float16"),
    )
    channels_last: bool = _key(
        "channels-last memory format, where the device computes all gradients right in it", False
    )
    compile: bool = _key("compile the model with torch.compile", False)
    cuda_graph: bool = _key(
        "capture the whole training step in a CUDA graph, on one GPU, where that is possible", True
    )
    start: str = _key(
        'recipe whose trained run must be passed with --start ("": train from new weights)', ""
    )
    seed: int = _key(
        "random seed; equal seeds give equal weights on one machine with one number of threads",
        0,
        min=0,
        max=2**32 - 1,
    )

    def seed_of(self, epoch: int, *parts: int) -> int:
        """Derive the seed of one part of an epoch; epoch 0 seeds the initial weights.

        So no state of a generator needs to be saved for a run to be resumed.
        """
        return int(np.random.SeedSequence((self.seed, epoch, *parts)).generate_state(1)[0])


@dataclass(frozen=True, kw_only=True)
class PaperRecipe:
    """Section [paper]: what Hao et al. (2024) report of this network.

    `recipe_keys` describes the fields.
    """

    table: str = _key("number of the table in the paper", "")
    accuracy: float = _key("test accuracy in percent (0: not reported)", 0.0, min=0, max=100)
    sops: float = _key("10^9 SOPs per window (0: not reported)", 0.0, min=0, max=1e6)
    energy: float = _key("energy in mJ per window (0: not reported)", 0.0, min=0, max=1e6)


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """A training run, described.

    Raises RecipeError if values of different sections contradict each other.

    Attributes:
        data: Data set and windows.
        augmentation: Random transforms of training windows.
        network: Architecture and neurons.
        training: Optimizer, schedule, precision, seed.
        paper: Figures of the paper.
    """

    data: DataRecipe
    augmentation: AugmentationRecipe
    network: NetworkRecipe
    training: TrainingRecipe
    paper: PaperRecipe

    def __post_init__(self) -> None:
        self._check_data()
        self._check_network()

    def _check_data(self) -> None:
        data = self.data
        image_set = images.SETS.get(data.name)
        if self.augmentation.crop_scale and (image_set is None or image_set.size):
            raise RecipeError(
                "augmentation.crop_scale is for images of different sizes, which are decoded when "
                f"they are used (imagenet), not for {data.name}"
            )
        if data.by != "recording" and image_set is not None:
            raise RecipeError(f"data.by is for recordings, not for the images of {data.name}")
        if data.classes and data.max_classes:
            raise RecipeError("give data.classes or data.max_classes, not both")
        try:
            data.split_rule  # noqa: B018 (its fields are checked)
            data.rule  # noqa: B018
        except DataError as error:
            raise RecipeError(f"[data] {error}") from None

    def _check_network(self) -> None:
        network, steps_in = self.network, self.data.steps
        if network.neuron != "lmht" and steps_in not in (network.steps, 1):
            raise RecipeError(
                f"network.neuron {network.neuron!r} has no T-GIM: data.steps must be 1 or equal "
                f"network.steps ({network.steps}), not {steps_in}"
            )
        if network.neuron == "if" and network.levels != 1:
            raise RecipeError(
                f"network.neuron 'if' has one level: network.levels must be 1, not {network.levels}"
            )
        if network.neuron == "qcfs" and (network.steps, network.v0) != (1, 0.5):
            raise RecipeError(
                "network.neuron 'qcfs' has network.steps 1 and network.v0 0.5, "
                f"not {network.steps} and {network.v0}"
            )
        if network.neuron == "relu" and network.steps != 1:
            raise RecipeError(f"network.neuron 'relu' has network.steps 1, not {network.steps}")
        if network.neuron == "relu" and self.training.sop_penalty:
            raise RecipeError(
                "network.neuron 'relu' has no spikes: training.sop_penalty must be 0, "
                f"not {self.training.sop_penalty:g}"
            )


# ---------------------------------------------------------------------------------- description


@dataclass(frozen=True)
class RecipeKey:
    """One key of a recipe, as documentation shows it.

    Attributes:
        section: Name of the section, for example "training".
        name: Name of the key in its section.
        type: "string", "integer", "number", "boolean" or "list" (of strings).
        default: Default value; None if the key is required.
        min: Smallest value; None: no limit.
        max: Largest value; None: no limit.
        choices: Allowed values; empty: any.
        meaning: What the key sets, in one line.
    """

    section: str
    name: str
    type: str
    default: str | int | float | bool | tuple[str, ...] | None
    min: float | None
    max: float | None
    choices: tuple[str, ...]
    meaning: str

    @property
    def key(self) -> str:
        """Full name, as in an override: "training.epochs"."""
        return f"{self.section}.{self.name}"

    @property
    def range(self) -> str:
        """Allowed values as text: "1..100000", "one of adamw, sgd", or "" for any."""
        if self.choices:
            return f"one of {', '.join(self.choices)}"
        return "" if self.min is None else f"{self.min:g}..{self.max:.12g}"


def recipe_keys() -> tuple[RecipeKey, ...]:
    """Describe every key of a recipe, in the order of the sections and their fields."""
    return tuple(key for keys in _KEYS.values() for key in keys.values())


def available_recipes() -> dict[str, str]:
    """Describe the packaged recipes.

    Returns:
        By name, one line: architecture, data set, neurons, and the accuracy that the paper reports
        for it, if there is one.
    """
    return {name: _summary(load_recipe(name)) for name in packaged()}


def _summary(recipe: Recipe) -> str:
    network, data, paper = recipe.network, recipe.data, recipe.paper
    number = len(data.classes) or data.max_classes
    classes = f" ({counted(number, 'class', 'classes')})" if number else ""
    figure = f"; paper, Table {paper.table}: {paper.accuracy:.2f} %" if paper.accuracy else ""
    return f"{network.architecture} on {data.name}{classes}, {network.neurons}{figure}"


def _describe(section: str, kind: type) -> dict[str, RecipeKey]:
    """Keys of a section by name, from the fields of its dataclass."""
    hints = get_type_hints(kind)
    return {
        item.name: RecipeKey(
            section=section,
            name=item.name,
            type=_TYPES[hints[item.name]],
            default=None if item.default is MISSING else item.default,
            **item.metadata,
        )
        for item in dataclasses.fields(kind)
    }


_TYPES: dict[Any, str] = {
    str: "string",
    int: "integer",
    float: "number",
    bool: "boolean",
    tuple[str, ...]: "list",
}
_SECTIONS: dict[str, type] = get_type_hints(Recipe)
_KEYS = {section: _describe(section, kind) for section, kind in _SECTIONS.items()}


# --------------------------------------------------------------------------- reading and writing


def packaged() -> tuple[str, ...]:
    """List the names of the recipes that come with the package."""
    names = (file.name for file in _folder().iterdir())
    return tuple(sorted(name.removesuffix(".toml") for name in names if name.endswith(".toml")))


def load_recipe(name: str | Path, overrides: Iterable[str] = ()) -> Recipe:
    """Load a packaged recipe or a recipe file.

    Args:
        name: Name of a packaged recipe, or path of a `.toml` file.
        overrides: Values that replace the recipe's, as "section.key=value".

    Raises:
        StorageError: `name` is neither text nor a path.
        RecipeError: The file is missing or malformed, a section or key is unknown, or a value has
            the wrong type or is out of range.
    """
    if isinstance(overrides, str) or not isinstance(overrides, Iterable):
        raise RecipeError(f"overrides must be a list of section.key=value, not {show(overrides)}")
    as_path(name)
    values = _read(name)
    for override in overrides:
        _override(values, override)
    return parse(values)


def parse(values: Mapping[str, Any]) -> Recipe:
    """Make a recipe of nested `values`, {section: {key: value}}.

    Raises:
        RecipeError: As for `load_recipe`.
    """
    for section in values:
        if section not in _SECTIONS:
            raise RecipeError(unknown("section", section, _SECTIONS))
    return Recipe(**{section: _section(section, values.get(section, {})) for section in _SECTIONS})


def dumps(recipe: Recipe) -> str:
    """Format `recipe` as TOML with every key; `load_recipe` reads the same recipe back."""
    sections = (
        f"[{section}]\n"
        + "\n".join(
            f"{key} = {json.dumps(value, ensure_ascii=False)}" for key, value in keys.items()
        )
        for section, keys in dataclasses.asdict(recipe).items()
    )
    return "\n\n".join(sections) + "\n"


def changes(before: Recipe, after: Recipe) -> str:
    """Describe how `after` differs from `before`: "training.epochs (20, now 30), ..."."""
    old, new = dataclasses.asdict(before), dataclasses.asdict(after)
    return ", ".join(
        f"{section}.{key} ({value!r}, now {new[section][key]!r})"
        for section, values in old.items()
        for key, value in values.items()
        if value != new[section][key]
    )


def _folder() -> Traversable:
    return resources.files(__package__) / "recipes"


def _read(name: str | Path, folder: Path = Path(), seen: tuple[str, ...] = ()) -> dict[str, Any]:
    """Read the values of a recipe and of those that it extends; paths are relative to `folder`."""
    file, what = _find(name, folder)
    if what in seen:
        raise RecipeError(f"{what} extends itself, through {listed(seen)}")
    values = _parse_toml(file, what)
    base = values.pop("extends", None)
    for section, keys in values.items():
        if not isinstance(keys, Mapping):
            raise RecipeError(f"{what}: {show(section)} must be a section, not {show(keys)}")
    if base is None:
        return values
    if not isinstance(base, str):
        raise RecipeError(
            f"{what}: extends must be the name or the path of a recipe, not {show(base)}"
        )
    merged = _read(base, Path(str(file)).parent, (*seen, what))
    for section, keys in values.items():
        merged[section] = {**merged.get(section, {}), **keys}
    return merged


def _find(name: str | Path, folder: Path) -> tuple[Traversable, str]:
    """File of a recipe, and how messages call it."""
    if Path(name).suffix == ".toml":
        return folder / name, os.path.normpath(folder / name)
    if str(name) not in packaged():
        if os.path.isdir(folder / name):  # False where the system refuses the name
            raise RecipeError(f"{name}: is a folder; expected a .toml file or the name of a recipe")
        raise RecipeError(unknown("recipe", name, packaged()))
    return _folder() / f"{name}.toml", f"recipe {str(name)!r}"


def _parse_toml(file: Traversable, what: str) -> dict[str, Any]:
    try:
        with file.open("rb") as content:
            text = content.read(MAX_BYTES + 1)
        if len(text) > MAX_BYTES:
            raise RecipeError(f"{what}: is larger than {MAX_BYTES:,} bytes, which no recipe is")
        return tomllib.loads(text.decode())
    except OSError as error:
        raise RecipeError(f"{what}: cannot be read ({error.strerror})") from None
    except (ValueError, RecursionError) as error:
        raise RecipeError(f"{what}: is not valid TOML: {first_line(error)}") from None


def _override(values: dict[str, Any], override: str) -> None:
    """Apply "section.key=value" to `values`."""
    name, equals, text = str(override).partition("=")
    section, dot, key = name.strip().partition(".")
    if not (equals and dot):
        raise RecipeError(
            "an override has the form section.key=value, for example training.epochs=10, "
            f"not {show(override)}"
        )
    try:
        value = tomllib.loads(f"value = {text}")["value"]
    except (ValueError, RecursionError):
        value = text.strip()
    known = _KEYS.get(section, {}).get(key)
    if known is not None and known.type == "string" and type(value) in (int, float):
        value = text.strip()  # strings do not need quotes, not even a number
    values.setdefault(section, {})[key] = value


# --------------------------------------------------------------------------------------- checks


def _section(section: str, values: Any) -> Any:
    """Make the dataclass of one section of checked `values`."""
    keys = _KEYS[section]
    if not isinstance(values, Mapping):
        raise RecipeError(f"[{section}] must be a section of the recipe, not {show(values)}")
    for name in values:
        if name not in keys:
            raise RecipeError(unknown(f"{section} key", name, keys))
    for name, key in keys.items():
        if key.default is None and name not in values:
            raise RecipeError(f"the recipe lacks {key.key}{_allowed(key)}")
    return _SECTIONS[section](
        **{name: _checked(keys[name], value) for name, value in values.items()}
    )


def _checked(key: RecipeKey, value: Any) -> Any:
    """`value` if `key` allows it; an integer becomes a float where the key is a number."""
    if key.type == "list":
        return _checked_list(key, value)
    found = _TYPES.get(type(value))
    if found != key.type and (found, key.type) != ("integer", "number"):
        raise RecipeError(
            f"{key.key} must be {_ARTICLES[key.type]}{_allowed(key)}, not {show(value)}"
        )
    if key.choices and value not in key.choices:
        raise RecipeError(f"{key.key} must be {key.range}, not {show(value)}")
    if key.min is not None and key.max is not None and not key.min <= value <= key.max:
        raise RecipeError(f"{key.key} must be within {key.range}, not {show(value)}")
    return float(value) if key.type == "number" else value


def _checked_list(key: RecipeKey, value: Any) -> tuple[str, ...]:
    """`value` as a tuple; text is taken as names that are separated by commas."""
    names = [name.strip() for name in value.split(",")] if isinstance(value, str) else value
    if not isinstance(names, list | tuple) or not all(
        isinstance(name, str) and name for name in names
    ):
        raise RecipeError(f"{key.key} must be {_ARTICLES[key.type]}, not {value!r}")
    return tuple(names)


_ARTICLES = {
    "string": "a string",
    "integer": "an integer",
    "number": "a number",
    "boolean": "true or false",
    "list": 'a list of names, as ["cup", "mug"]',
}


def _allowed(key: RecipeKey) -> str:
    """Continuation of a message: the values that `key` allows."""
    if not key.range:
        return ""
    return f", {key.range}" if key.choices else f" within {key.range}"
