"""What the verbs that use PyTorch share: runs, data, devices and training under a progress bar."""

from __future__ import annotations

import dataclasses
import importlib.util
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lmht_deploy._packages import install_command
from lmht_deploy.errors import DataError, LmhtError, StorageError, TrainingError

from . import _split_options as splits
from ._console import counting, shown_warnings, tell
from ._data import DIVIDING, ReadOptions, Target, find_source, tell_about
from ._training_reports import reports
from ._window_options import length_and_kind

if TYPE_CHECKING:
    from lmht_deploy.data import SplitRule
    from lmht_deploy.events.windows import WindowRule
    from lmht_deploy.ir import Network
    from lmht_deploy.training.data import Data
    from lmht_deploy.training.recipe import Recipe
    from lmht_deploy.training.runs import Run

NOT_LOADED = "windows that were made in Python"
"""Data of a run whose windows do not come from `lmht_deploy.data.load`."""


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

    rule, division, chosen = own_rule(run), _own_split_rule(run), _chosen_classes(run)
    provenance = {
        "data": str(run.data.get("data", NOT_LOADED)),
        "recipe": dumps(run.recipe),
        "accuracy of the trained network": f"{run.accuracy:.4f}",
        "classes": json.dumps(run.classes),
        "lmht-deploy": __version__,
        **({} if rule is None else {"window": rule.to_text()}),
        **({} if division is None else {splits.RULE: division.to_text()}),
        **({splits.CHOSEN: json.dumps(chosen)} if chosen else {}),
    }
    return dataclasses.replace(lower(run.model, run.input), metadata=provenance)


def own_rule(run: Run) -> WindowRule | None:
    """Window rule of the data that the run was trained on; None if it is not known."""
    from lmht_deploy.events.windows import WindowRule

    rule = run.data.get("rule")
    return None if rule is None else WindowRule.from_text(json.dumps(rule))


def run_target(run: Run) -> Target:
    """What the network of a run needs of its data."""
    return Target(
        (run.input.steps, *run.input.shape),
        run.input.max_value,
        own_rule(run),
        run.classes,
        _chosen_classes(run),
        _own_split_rule(run),
    )


def _chosen_classes(run: Run) -> tuple[str, ...]:
    """Classes of its data set that the run was trained on; empty: all."""
    chosen = run.recipe.data
    return chosen.classes or (run.classes if chosen.max_classes else ())


def _own_split_rule(run: Run) -> SplitRule | None:
    """How the data of the run was divided; None if it is not known."""
    from lmht_deploy.data import SplitRule

    text = run.data.get("split_rule")
    return None if text is None else SplitRule.from_text(text)


def own_data(run: Run, data: str | None, reading: ReadOptions) -> tuple[str, ReadOptions]:
    """Return the data to read: `data`, or else that of the run, with its root, sensor and track."""
    if data is not None:
        return data, reading
    if "data" not in run.data:
        raise DataError(f"{run.folder}: was trained on {NOT_LOADED}; give --data")
    root, (height, width) = run.data.get("root"), run.data.get("sensor", (0, 0))
    own_recordings = run.data.get("source") == "folders of recordings"
    return run.data["data"], dataclasses.replace(
        reading,
        root=reading.root or (None if root is None else Path(root)),
        sensor=reading.sensor or (f"{width}x{height}" if own_recordings else None),
        track=reading.track or run.data.get("track"),
    )


def train_overrides(data: str | None, reading: ReadOptions) -> list[str]:
    """Overrides of a recipe by the options of the verb."""
    found: dict[str, Any] = {} if data is None else {"name": data}
    if reading.by is not None or reading.length is not None:
        number, by = length_and_kind(reading.by, reading.length)
        found |= {"by": by, "length": number, "hop": 0}
    if reading.hop is not None:
        found["hop"] = reading.hop
    if reading.incomplete:
        found["incomplete"] = True
    if reading.classes is not None:
        found["classes"] = splits.parse_classes(reading.classes)
    divided = {name: getattr(reading, name) for name in DIVIDING}
    found |= {name: value for name, value in divided.items() if value is not None}
    return [f"data.{key}={json.dumps(value, ensure_ascii=False)}" for key, value in found.items()]


def read_training_data(recipe: Recipe, reading: ReadOptions) -> Data:
    """Read both splits of the recipe's data, and say how they became windows."""
    from lmht_deploy.training import data

    arguments = reading.load_arguments(find_source(recipe.data.name, reading))
    with counting(f"reading {recipe.data.name}") as show:
        found = data.load_data(recipe, progress=show, **arguments)
    for split in (found.train, found.test):
        tell_about(split)
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
        split = data.evaluation_split
        with (
            shown_warnings(),
            reports(folder, split=split, tensorboard=tensorboard, quiet=quiet) as report,
        ):
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
