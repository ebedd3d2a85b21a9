"""The value of `--twin-accuracy`: a number, or the training run of the twin."""

from __future__ import annotations

from pathlib import Path

from lmht_deploy.analysis.twin import Twin
from lmht_deploy.errors import DataError

from ._training import need_torch


def read_twin(text: str) -> Twin:
    """Return the twin of an accuracy or of a training run.

    Args:
        text: A number from 0 to 1, or the folder of a training run with `network.neuron = "relu"`.

    Raises:
        DataError: It is neither.
        StorageError: The run is damaged.
    """
    try:
        accuracy = float(text)
    except ValueError:
        return _of_run(Path(text))
    if not 0 <= accuracy <= 1:
        raise DataError(f"the accuracy of the twin is a number from 0 to 1, not {text}")
    return Twin(accuracy, "stated by the user")


def _of_run(folder: Path) -> Twin:
    from lmht_deploy.training.recipe import load_recipe
    from lmht_deploy.training.run_folder import RECIPE

    if not (folder / RECIPE).is_file():
        raise DataError(
            f"{folder}: is neither an accuracy from 0 to 1 nor the folder of a training run"
        )
    recipe = load_recipe(folder / RECIPE)
    if recipe.network.neuron != "relu":
        raise DataError(
            f"{folder}: is no run of an ANN; its neurons are {recipe.network.neuron!r}, not 'relu'"
        )
    need_torch()
    from lmht_deploy.training.runs import read_metrics

    if not (metrics := read_metrics(folder)):
        raise DataError(f"{folder}: holds no epoch yet")
    accuracy = float(metrics[-1]["test_accuracy"])
    return Twin(accuracy, f"float accuracy of the run {folder.name}, before int8 quantization")
