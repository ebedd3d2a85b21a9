"""`lmht train`: a recipe -> a run folder."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ..errors import TrainingError
from . import common

if TYPE_CHECKING:
    from training.data import Data
    from training.loop import Progress
    from training.recipe import Recipe
    from training.runs import Run


def train(
    recipe: Annotated[str, typer.Argument(help="A packaged recipe ('digits', 'nmnist') or a .toml file.")],
    overrides: Annotated[list[str] | None, typer.Argument(metavar="[SECTION.KEY=VALUE]...", help="Values that replace the recipe's.")] = None,
    out: Annotated[Path, typer.Option("--out", "-o", metavar="DIR", help="Folder of the run: weights, recipe, metrics, resumable state.")] = Path("run"),
    resume: Annotated[bool, typer.Option("--resume", help="Continue the run in --out after its last whole epoch.")] = False,
    root: common.Root = None,
    subset: common.Subset = False,
    cache: common.Cache = None,
    threads: common.Threads = 1,
    json: common.Json = None,
) -> None:
    """Train an LM-HT network."""
    need_torch()
    from training import recipe as recipes

    common.check_writable(json)
    chosen = recipes.load(recipe, overrides or ())
    run = train_run(chosen, read_data(chosen, root, subset=subset, cache=cache), out, resume=resume, threads=threads)
    common.out.print(f"{out}: test accuracy {common.percent(run.accuracy)} after {len(run.metrics)} epochs")
    common.write_json(json, {"run": out, "recipe": chosen, "accuracy": run.accuracy, "metrics": run.metrics})


def need_torch() -> None:
    """TrainingError with the command that installs PyTorch, where it is missing."""
    if importlib.util.find_spec("torch") is None or importlib.util.find_spec("safetensors") is None:
        raise TrainingError("training needs PyTorch; run: pip install 'lmht-deploy[train]'")


def read_data(recipe: Recipe, root: Path | None, *, subset: bool = False, cache: Path | None = None) -> Data:
    """Both splits of the recipe's data set."""
    from training import data

    with common.progress(f"reading {recipe.data.name}") as show:
        return data.load(recipe, root=root, subset=subset, cache=cache, progress=lambda done, total: show("", done, total))


def train_run(recipe: Recipe, data: Data, folder: Path, *, resume: bool = False, threads: int) -> Run:
    """Train under a progress line of loss, accuracy, rate and spike density."""
    import torch

    from training.loop import train as train_on

    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        with common.progress("training") as show:
            return train_on(recipe, data, folder, report=lambda at: show(_line(at), at.step, at.steps), resume=resume)
    finally:
        torch.set_num_threads(before)


def _line(at: Progress) -> str:
    density = f", {sum(at.density.values()) / len(at.density):.2f} spikes/neuron/step" if at.density else ""
    test = "" if at.test_accuracy is None else f", test {common.percent(at.test_accuracy)}"
    return f"epoch {at.epoch}/{at.epochs}, loss {at.loss:.3f}, accuracy {common.percent(at.accuracy)}{test}{density}, {at.windows_per_second:.0f} windows/s"
