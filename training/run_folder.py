"""The files of a run folder, and what can be checked of it without PyTorch."""

from __future__ import annotations

from pathlib import Path

from lmht_deploy.errors import TrainingError

from .recipe import Recipe, changes, load_recipe

MODEL, RECIPE = "model.safetensors", "recipe.toml"
METRICS, STATE = "metrics.jsonl", "state.safetensors"
FILES = "files.csv"


def check_run_folder(recipe: Recipe, folder: Path, *, resume: bool, started: bool) -> None:
    """Check that a run can begin or resume in `folder`, before any data is read.

    Args:
        recipe: What to train.
        folder: Run folder.
        resume: Whether the run in `folder` is to be continued.
        started: Whether a trained ANN to start from is given.

    Raises:
        TrainingError: As for `lmht_deploy.training.train`.
    """
    if resume:
        _check_resumable(recipe, folder)
    elif (folder / RECIPE).exists():
        raise TrainingError(f"{folder} already holds a run; resume it, or choose another folder")
    elif recipe.training.start and not started:
        raise TrainingError(
            f"this recipe starts from a run of {recipe.training.start!r}: pass that run "
            "(--start RUN), or set training.start= to train from new weights"
        )


def _check_resumable(recipe: Recipe, folder: Path) -> None:
    if not (folder / STATE).exists():
        raise TrainingError(
            f"{folder} holds no state to resume from; start the run without resuming"
        )
    if changed := changes(load_recipe(folder / RECIPE), recipe):
        raise TrainingError(
            f"{folder} was started with another recipe: {changed}; resume it with its own {RECIPE}"
        )
