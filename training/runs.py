"""The run folder: what training writes. No file is a pickle.

    model.safetensors    weights; its header holds the input, the classes and the provenance of
                         the training data
    recipe.toml          the recipe, with every key
    metrics.jsonl        one line per epoch
    files.csv            file, label and split of each recording, and the name of the split scheme
                         if one was used; where windows have recordings
    state.safetensors    weights, optimizer and epoch, from which a run is resumed

Every file is written under a temporary name and renamed, so it is complete or absent.
"""

from __future__ import annotations

import csv
import dataclasses
import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from safetensors import safe_open
from safetensors.torch import save
from torch import Tensor

from lmht_deploy.data import Windows, images
from lmht_deploy.errors import StorageError, first_line
from lmht_deploy.formats.files import as_path, atomic_write
from lmht_deploy.formats.schema import check_keys
from lmht_deploy.ir import Input

from . import recipe as recipes
from .architectures import ARCHITECTURES, Block
from .builder import Shape, build_model
from .model import SpikingModel
from .neurons import IF, LMHT, MHT, QCFS, Activation, ReLU
from .recipe import NetworkRecipe, Recipe
from .run_folder import FILES, METRICS, MODEL, RECIPE


@dataclass(frozen=True)
class Run:
    """A trained model. `lower(run.model, run.input)` gives its network.

    Attributes:
        folder: The run folder.
        model: In evaluation mode, on the CPU.
        recipe: The recipe of the run.
        input: Input of the model.
        classes: Names of the logits.
        data: Provenance of the training data, as in `lmht_deploy.data.Windows`: empty if the
            windows were made in Python.
        metrics: One mapping per epoch: epoch, step, loss, accuracy, test_loss, test_accuracy,
            learning_rate, seconds, windows_per_second, density (by neuron layer: mean spikes k per
            neuron and time-step on the test data).
    """

    folder: Path
    model: SpikingModel
    recipe: Recipe
    input: Input
    classes: tuple[str, ...]
    data: Mapping[str, Any]
    metrics: tuple[Mapping[str, Any], ...]

    @property
    def accuracy(self) -> float:
        """Accuracy on the split that tests each epoch, after the last epoch, 0..1."""
        return float(self.metrics[-1]["test_accuracy"])


def load_run(folder: str | Path) -> Run:
    """Load the run in `folder`.

    Raises:
        StorageError: A file is missing or damaged, or the files do not match.
        RecipeError: The recipe is not valid.
    """
    folder = as_path(folder)
    if not (folder / RECIPE).is_file():
        raise StorageError(f"{folder}: is not the folder of a run; it has no file {RECIPE}")
    recipe = recipes.load_recipe(folder / RECIPE)
    weights, header = read(folder / MODEL)
    _check_input(folder / MODEL, header.get("input"))
    try:
        input, classes = Input(**_tuples(header["input"])), _classes(header)
        data = dict(header["data"])
        model = _model(recipe, input, len(classes), weights)
    except Exception as error:  # headers of strangers raise almost every type
        raise StorageError(
            f"{folder / MODEL}: does not match {RECIPE}, or was edited ({first_line(error)})"
        ) from None
    if not (metrics := read_metrics(folder)):
        raise StorageError(f"{folder / METRICS}: is damaged (there is a model, but no epoch)")
    return Run(folder, model.eval(), recipe, input, classes, data, metrics)


def _classes(header: Mapping[str, Any]) -> tuple[str, ...]:
    classes = header["classes"]
    if not isinstance(classes, list) or not all(isinstance(name, str) for name in classes):
        raise ValueError("the classes are no list of texts")
    return tuple(classes)


def _model(
    recipe: Recipe, input: Input, classes: int, weights: Mapping[str, Tensor]
) -> SpikingModel:
    """Make a model that holds `weights`; only a model of their sizes takes memory."""
    with torch.device("meta"):
        model = make(recipe, input, classes)
    for name, expected in model.state_dict().items():
        found = weights.get(name)
        if found is not None and (found.shape, found.dtype) != (expected.shape, expected.dtype):
            raise ValueError(
                f"{name} is {found.dtype} {list(found.shape)}, not {expected.dtype} "
                f"{list(expected.shape)}"
            )
    model.load_state_dict(weights, assign=True)
    return model


def make(recipe: Recipe, input: Input, classes: int) -> SpikingModel:
    """Make the model of `recipe`, with new weights drawn from the recipe's seed."""
    network = recipe.network
    blocks = [_scaled(block, network.width) for block in ARCHITECTURES[network.architecture]]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(recipe.training.seed_of(0))
        return build_model(
            blocks,
            cast(Shape, input.shape),
            classes,
            lambda steps_in: _neuron(network, steps_in),
            steps_in=input.steps,
            input_scale=images.SCALE if input.kind == "image" else 1.0,
        )


def _scaled(block: Block, width: float) -> Block:
    """`block` with `width` times its channels or units, at least one."""
    sizes = {
        name: max(1, round(getattr(block, name) * width))
        for name in ("channels", "units")
        if hasattr(block, name)
    }
    return dataclasses.replace(block, **sizes)


def _neuron(network: NetworkRecipe, steps_in: int) -> Activation:
    match network.neuron:
        case "lmht":
            return LMHT(network.levels, network.steps, steps_in, v0=network.v0)
        case "mht":
            return MHT(network.levels, network.steps, steps_in, v0=network.v0)
        case "if":
            return IF(network.steps, steps_in, v0=network.v0)
        case "qcfs":
            return QCFS(network.levels, ceiling=network.levels)
        case _:
            return ReLU()


# ----------------------------------------------------------------------------------------- files


def save_model(
    folder: Path,
    weights: Mapping[str, Tensor],
    input: Input,
    classes: tuple[str, ...],
    data: Mapping[str, Any],
) -> None:
    """Write the model file of a run folder: the `weights` that are a model's `state_dict()`."""
    header = {"input": dataclasses.asdict(input), "classes": classes, "data": dict(data)}
    write(folder / MODEL, weights, header)


def host(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Copy `tensors` to the memory of the host."""
    return {name: tensor.detach().to("cpu", copy=True) for name, tensor in tensors.items()}


def write(path: Path, tensors: Mapping[str, Tensor], header: Mapping[str, Any]) -> None:
    """Write `tensors`, and `header` as JSON, to a safetensors file.

    Raises:
        StorageError: The file cannot be written.
    """
    plain = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    with atomic_write(path) as temporary:
        temporary.write_bytes(save(plain, {"lmht": json.dumps(header)}))


def read(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Read the tensors and the header that `write` wrote.

    Raises:
        StorageError: The file is missing, damaged or of another kind.
    """
    if not path.is_file():
        raise StorageError(f"{path}: there is no such file")
    try:
        with safe_open(path, "pt") as file:
            names = list(file.keys())
            tensors = {name: file.get_tensor(name) for name in names}
            header = json.loads(file.metadata()["lmht"])
    except Exception as error:  # headers of strangers raise almost every type
        raise StorageError(
            f"{path}: is damaged, or was not written by a training run ({first_line(error)})"
        ) from None
    if not isinstance(header, dict):
        raise StorageError(f"{path}: is damaged (its header is no JSON object)")
    return tensors, header


def write_metrics(folder: Path, metrics: list[dict[str, Any]]) -> None:
    """Write one line per epoch."""
    with atomic_write(folder / METRICS) as temporary:
        temporary.write_text("".join(json.dumps(line) + "\n" for line in metrics), encoding="utf-8")


def write_files(folder: Path, splits: Mapping[str, Windows]) -> None:
    """Write which recording is in which split: a table that `lmht_deploy.data.load` reads.

    Args:
        folder: Run folder.
        splits: Windows by the name of their split. Nothing is written if they do not come from
            recordings.
    """
    rows = [
        (*row, split, *_scheme(windows))
        for split, windows in splits.items()
        for row in _recordings(windows)
    ]
    if not rows:
        return
    header = ("file", "label", "split", "scheme")[: len(rows[0])]
    with (
        atomic_write(folder / FILES) as temporary,
        temporary.open("w", encoding="utf-8", newline="") as file,
    ):
        csv.writer(file, lineterminator="\n").writerows([header, *rows])


def _scheme(windows: Windows) -> tuple[str, ...]:
    """Name of the split scheme, if one was used."""
    scheme = windows.provenance.get("split_scheme")
    return () if scheme is None else (str(scheme),)


def _recordings(windows: Windows) -> Iterator[tuple[str, str]]:
    """Yield the name and the class of each recording that has a window."""
    if windows.source_index is None:
        return
    sources, first = np.unique(windows.source_index, return_index=True)
    labels = windows.require_labels()[first]
    for source, label in zip(sources.tolist(), labels.tolist(), strict=True):
        yield windows.sources[source], windows.classes[label]


def read_metrics(folder: Path) -> tuple[dict[str, Any], ...]:
    """Read one mapping per epoch; empty before the end of the first.

    Raises:
        StorageError: The file is missing or damaged.
    """
    try:
        lines = (folder / METRICS).read_text(encoding="utf-8").splitlines()
        metrics = tuple(json.loads(line) for line in lines)
        for number, line in enumerate(metrics, 1):
            if not _is_epoch(line):
                raise ValueError(f"line {number} does not describe an epoch")
    except (OSError, ValueError, RecursionError) as error:
        raise StorageError(
            f"{folder / METRICS}: is missing or damaged ({first_line(error)})"
        ) from None
    return metrics


def _is_epoch(line: object) -> bool:
    """Return whether `line` holds what reports show of an epoch."""
    if not isinstance(line, dict) or not isinstance(line.get("density"), dict):
        return False
    shown = (line.get("test_accuracy"), *line["density"].values())
    return all(type(value) in (int, float) and 0 <= value < math.inf for value in shown)


def _check_input(path: Path, found: object) -> None:
    """Require the keys of an input; the other checks are made when it is built."""
    if isinstance(found, dict):
        known = [field.name for field in dataclasses.fields(Input)]
        check_keys(f"{path}: the input", found, known, known, "lmht train RECIPE --out RUN")


def _tuples(fields: Mapping[str, Any]) -> dict[str, Any]:
    """`fields` with tuples in place of JSON's lists."""
    return {
        name: tuple(value) if isinstance(value, list) else value for name, value in fields.items()
    }
