"""What the verbs that use PyTorch share: runs, data, devices and training under a progress bar."""

from __future__ import annotations

import dataclasses
import importlib.util
import json
from pathlib import Path
from typing import TYPE_CHECKING

from lmht_deploy._packages import install_command
from lmht_deploy.errors import LmhtError, StorageError, TrainingError

from ._console import counting, tell, warn
from ._options import parse_sensor
from ._training_reports import reports

if TYPE_CHECKING:
    from lmht_deploy.ir import Network
    from lmht_deploy.training.data import Data
    from lmht_deploy.training.recipe import Recipe
    from lmht_deploy.training.runs import Run


def need_torch() -> None:
    """Raise TrainingError with the command that installs PyTorch, if it is missing."""
    if importlib.util.find_spec("torch") is None or importlib.util.find_spec("safetensors") is None:
        raise TrainingError(f"training needs PyTorch; run: {install_command('train')}")


def resolve_device(name: str) -> str:
    """Return the PyTorch device called `name`; LmhtError if it is not available."""
    import torch

    if name == "auto":
        accelerator = torch.accelerator.current_accelerator(check_available=True)
        return "cpu" if accelerator is None else accelerator.type
    try:
        torch.empty(0, device=name)
    except (RuntimeError, AssertionError) as error:  # AssertionError: PyTorch without CUDA
        reason = str(error).splitlines()[0]
        raise LmhtError(f"device {name!r} is not available ({reason})") from None
    return name


def check_run(folder: Path) -> Path:
    """Refuse a path that is no folder of a run, before PyTorch is imported."""
    if not folder.exists():
        raise StorageError(f"{folder}: there is no such run folder")
    if not folder.is_dir():
        raise StorageError(f"{folder}: is a file; expected the folder of a run")
    return folder


def load_run(folder: Path) -> Run:
    """Load the run in `folder`."""
    check_run(folder)
    need_torch()
    from lmht_deploy.training import runs

    return runs.load_run(folder)


def lower_run(run: Run) -> Network:
    """Lower a run to its float network, with its provenance as metadata."""
    from lmht_deploy import __version__
    from lmht_deploy.training.lowering import lower
    from lmht_deploy.training.recipe import dumps

    provenance = {
        "data": run.recipe.data.name,
        "recipe": dumps(run.recipe),
        "accuracy of the trained network": f"{run.accuracy:.4f}",
        "classes": json.dumps(run.classes),
        "lmht-deploy": __version__,
    }
    return dataclasses.replace(lower(run.model, run.input), metadata=provenance)


def read_training_data(
    recipe: Recipe,
    root: Path | None,
    *,
    sensor: str | None = None,
    subset: bool = False,
    cache: Path | None = None,
) -> Data:
    """Read both splits of the recipe's data set, and warn about events that are lost."""
    from lmht_deploy.training import data

    with counting(f"reading {recipe.data.name}") as show:
        found = data.load_data(
            recipe,
            root=root,
            sensor=parse_sensor(sensor),
            subset=subset,
            cache=cache,
            progress=show,
        )
    for name, split in (("training", found.train), ("test", found.test)):
        for text in split.warnings:
            warn(f"{name} data: {text}")
    return found


def train_run(
    recipe: Recipe,
    data: Data,
    folder: Path,
    *,
    resume: bool = False,
    start: Run | None = None,
    threads: int,
    device: str = "cpu",
    tensorboard: bool = False,
    quiet: bool = False,
) -> Run:
    """Train under a progress bar, with one line per epoch; Ctrl-C says how to continue."""
    import torch

    from lmht_deploy.training import loop

    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        with reports(folder, tensorboard=tensorboard, quiet=quiet) as report:
            return loop.train(
                recipe,
                data,
                folder,
                report=report,
                resume=resume,
                start=None if start is None else start.model,
                device=device,
            )
    except KeyboardInterrupt:
        tell(f"lmht: {_kept_state(folder)}")
        raise
    finally:
        torch.set_num_threads(before)


def _kept_state(folder: Path) -> str:
    from lmht_deploy.training.run_folder import RECIPE
    from lmht_deploy.training.runs import read_metrics

    if not (folder / RECIPE).exists():
        return "nothing has been trained yet"
    epoch = len(read_metrics(folder))
    return (
        f"the state after epoch {epoch} is kept in {folder}; "
        "to continue, run the same command with --resume"
    )
