"""The run folder: what training writes, and nothing in it is a pickle.

    model.safetensors    weights; in its header everything else that rebuilds the model: input, classes
    recipe.toml          the recipe, every key written out
    metrics.jsonl        one line an epoch
    state.safetensors    weights, optimiser and epoch: what `resume` continues from

Every file is written beside and renamed, so it is whole or not there.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from lmht_deploy.data import images
from lmht_deploy.errors import LmhtError, StorageError
from lmht_deploy.formats.files import atomic_write
from lmht_deploy.ir import Input

from . import recipe as recipes
from .architectures import ARCHITECTURES, Block, build
from .model import SpikingModel
from .neurons import IF, LMHT, MHT, QCFS, Neuron
from .recipe import NetworkRecipe, Recipe

MODEL, RECIPE, METRICS, STATE = (
    "model.safetensors",
    "recipe.toml",
    "metrics.jsonl",
    "state.safetensors",
)


@dataclass(frozen=True)
class Run:
    """A trained model: `lower(run.model, run.input)` gives its network.

    model      in evaluation mode, on the CPU
    input      what enters it
    classes    names of its logits
    metrics    one mapping an epoch: epoch, step, loss, accuracy, test_loss, test_accuracy, rate, seconds, windows_per_second,
               density (by neuron layer: mean spikes k a neuron and time-step, on the test data)
    """

    folder: Path
    model: SpikingModel
    recipe: Recipe
    input: Input
    classes: tuple[str, ...]
    metrics: tuple[Mapping[str, Any], ...]

    @property
    def accuracy(self) -> float:
        """Share of the test data that the model gets right, 0..1."""
        return float(self.metrics[-1]["test_accuracy"])


def load_run(folder: str | Path) -> Run:
    """The run in `folder`. Raises StorageError for files that are missing, damaged or do not fit each other, RecipeError for the recipe."""
    folder = Path(folder)
    recipe = recipes.load_recipe(folder / RECIPE)
    weights, header = read(folder / MODEL)
    try:
        input, classes = Input(**_tuples(header["input"])), tuple(header["classes"])
        model = make(recipe, input, len(classes))
        model.load_state_dict(weights)
    except (KeyError, TypeError, ValueError, RuntimeError, LmhtError) as error:
        raise StorageError(
            f"{folder / MODEL}: does not fit {RECIPE}, or was edited ({_first_line(error)})"
        ) from None
    if not (metrics := read_metrics(folder)):
        raise StorageError(f"{folder / METRICS}: is damaged (there is a model, but no epoch)")
    return Run(folder, model.eval(), recipe, input, classes, metrics)


def make(recipe: Recipe, input: Input, classes: int) -> SpikingModel:
    """The model of `recipe` with new weights, drawn from the recipe's seed."""
    blocks = [
        _scaled(block, recipe.network.width) for block in ARCHITECTURES[recipe.network.architecture]
    ]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(recipe.training.seed_of(0))
        scale = images.SCALE if input.kind == "image" else 1.0
        return build(
            blocks,
            input.shape,
            classes,
            lambda steps_in: _neuron(recipe.network, steps_in),
            steps_in=input.steps,
            input_scale=scale,
        )  # type: ignore[arg-type]


def _scaled(block: Block, width: float) -> Block:
    """`block` with `width` times its channels or units, one at least."""
    sizes = {
        name: max(1, round(getattr(block, name) * width))
        for name in ("channels", "units")
        if hasattr(block, name)
    }
    return dataclasses.replace(block, **sizes)  # type: ignore[type-var]


def _neuron(network: NetworkRecipe, steps_in: int) -> Neuron:
    match network.neuron:
        case "lmht":
            return LMHT(network.levels, network.steps, steps_in, v0=network.v0)
        case "mht":
            return MHT(network.levels, network.steps, steps_in, v0=network.v0)
        case "if":
            return IF(network.steps, steps_in, v0=network.v0)
        case _:
            return QCFS(network.levels, ceiling=network.levels)


# ------------------------------------------------------------------------------------------------ files


def save_model(folder: Path, model: SpikingModel, input: Input, classes: tuple[str, ...]) -> None:
    write(
        folder / MODEL, model.state_dict(), {"input": dataclasses.asdict(input), "classes": classes}
    )


def write(path: Path, tensors: Mapping[str, Tensor], header: Mapping[str, Any]) -> None:
    """Write `tensors`, and `header` as JSON, to a safetensors file; StorageError where that fails."""
    with atomic_write(path) as temporary:
        try:
            save_file(
                {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()},
                temporary,
                {"lmht": json.dumps(header)},
            )
        except SafetensorError as error:  # whatever the system says, a full disk for example
            raise StorageError(f"{path}: cannot be written ({_first_line(error)})") from None


def read(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """What `write` wrote. Raises StorageError."""
    if not path.is_file():
        raise StorageError(f"{path}: there is no such file")
    try:
        with safe_open(path, "pt") as file:
            return {name: file.get_tensor(name) for name in file.keys()}, json.loads(
                file.metadata()["lmht"]
            )  # noqa: SIM118 (not a mapping)
    except (SafetensorError, OSError, TypeError, KeyError, ValueError) as error:
        raise StorageError(
            f"{path}: is damaged, or was not written by a training run ({_first_line(error)})"
        ) from None


def sweep(folder: Path) -> None:
    """Remove what a run that was killed in the middle of writing left behind."""
    for name in (MODEL, METRICS, STATE, RECIPE):
        for partial in folder.glob(f".{name}.*.partial"):
            partial.unlink(missing_ok=True)


def write_metrics(folder: Path, metrics: list[dict[str, Any]]) -> None:
    with atomic_write(folder / METRICS) as temporary:
        temporary.write_text("".join(json.dumps(line) + "\n" for line in metrics), encoding="utf-8")


def read_metrics(folder: Path) -> tuple[dict[str, Any], ...]:
    """One mapping an epoch, none before the first has ended. Raises StorageError."""
    try:
        metrics = tuple(
            json.loads(line) for line in (folder / METRICS).read_text(encoding="utf-8").splitlines()
        )
        if wrong := [
            line
            for line, one in enumerate(metrics, 1)
            if not isinstance(one, dict) or "test_accuracy" not in one or "density" not in one
        ]:
            raise ValueError(f"line {wrong[0]} is of no epoch")
    except (OSError, ValueError) as error:
        raise StorageError(f"{folder / METRICS}: is missing or damaged ({error})") from None
    return metrics


def _tuples(fields: Mapping[str, Any]) -> dict[str, Any]:
    return {
        name: tuple(value) if isinstance(value, list) else value for name, value in fields.items()
    }


def _first_line(error: BaseException) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
