"""`lmht train`: a recipe -> the folder of a run."""

from __future__ import annotations

import dataclasses
import importlib.util
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from lmht_deploy._packages import install_command
from lmht_deploy.errors import TrainingError, counted

from . import _options as options
from ._console import percent, say, warn, write_json
from ._data import ReadOptions, find_source, reads_data
from ._report import write_report
from ._training import (
    load_run,
    need_torch,
    read_training_data,
    resolve_device,
    train_overrides,
    train_run,
)
from .recipes import recipe_names

if TYPE_CHECKING:
    from lmht_deploy.training.recipe import Recipe
    from lmht_deploy.training.runs import Run


@reads_data
def train(
    recipe: Annotated[
        str,
        typer.Argument(
            help="A packaged recipe (see `lmht recipes`) or a .toml file.",
            autocompletion=options.completion(recipe_names, files=True),
        ),
    ],
    overrides: Annotated[
        list[str] | None,
        typer.Argument(metavar="[SECTION.KEY=VALUE]...", help="Values that replace the recipe's."),
    ] = None,
    out: Annotated[
        Path,
        typer.Option(
            "--out",
            "-o",
            metavar="DIR",
            help="Folder of the run: weights, recipe, metrics, resumable state.",
            callback=options.check_out,
        ),
    ] = Path("run"),
    resume: Annotated[
        bool,
        typer.Option("--resume", help="Continue the run in --out after its last complete epoch."),
    ] = False,
    start: Annotated[
        Path | None,
        typer.Option(
            "--start",
            metavar="RUN",
            help="Run of a quantized ANN whose weights this run starts from (hybrid training).",
        ),
    ] = None,
    data: options.OptionalData = None,
    reading: ReadOptions = ReadOptions(),  # noqa: B008 (immutable)
    device: options.Device = "auto",
    threads: options.Threads = 1,
    tensorboard: Annotated[
        bool,
        typer.Option(
            "--tensorboard",
            help="Also write scalars for TensorBoard to --out.",
            rich_help_panel=options.OUTPUT,
        ),
    ] = False,
    report: options.Report = None,
    figures: options.Figures = None,
    json: options.Json = None,
) -> None:
    """Train an LM-HT network.

    Under torchrun, all processes share every batch: torchrun --nproc-per-node 8 --no-python lmht
    train ...
    """
    from lmht_deploy.training.recipe import load_recipe
    from lmht_deploy.training.run_folder import check_run_folder

    chosen = load_recipe(recipe, [*(overrides or ()), *train_overrides(data, reading)])
    check_run_folder(chosen, out, resume=resume, started=start is not None)
    find_source(chosen.data.name, reading)
    _check_packages(tensorboard)
    ann = None if start is None else load_run(start)
    with _processes(resolve_device(device)) as (first, own_device):
        run = train_run(
            chosen,
            read_training_data(chosen, reading),
            out,
            resume=resume,
            start=ann,
            threads=threads,
            device=own_device,
            tensorboard=tensorboard and first,
            quiet=not first,
        )
    if first:
        content = _summarize(out, chosen, run, threads)
        write_json(json, content)
        write_report("train", content, report, figures)


def _check_packages(tensorboard: bool) -> None:
    need_torch()
    if tensorboard and importlib.util.find_spec("tensorboard") is None:
        raise TrainingError(f"--tensorboard needs a package; run: {install_command('tensorboard')}")


def _summarize(out: Path, recipe: Recipe, run: Run, threads: int) -> dict[str, Any]:
    """Say how accurate the run is, and return it as plain data."""
    from lmht_deploy.analysis.provenance import provenance

    paper = recipe.paper
    beside = f" (the paper, Table {paper.table}: {paper.accuracy:.2f}%)" if paper.accuracy else ""
    split = run.data.get("held_out", "test")
    epochs = counted(len(run.metrics), "epoch")
    say(f"{out}: {split} accuracy {percent(run.accuracy)} after {epochs}{beside}")
    if split == "validation":
        say(f"the test split was not used; to test the run: lmht validate {out}")
    _warn_about_silence(run, split)
    return {
        "run": out,
        "recipe": dataclasses.asdict(recipe),
        "split": split,
        "accuracy": run.accuracy,
        "metrics": run.metrics,
        "provenance": provenance(threads),
    }


def _warn_about_silence(run: Run, split: str) -> None:
    """Name the layers that never fire: nothing after them depends on the input."""
    if silent := [name for name, mean in run.metrics[-1]["density"].items() if not mean]:
        warn(
            f"no neuron of {', '.join(silent)} fires in any {split} window; lower "
            "training.learning_rate, or use windows with more events (--length)"
        )


@contextmanager
def _processes(device: str) -> Iterator[tuple[bool, str]]:
    """Join the processes of torchrun, if it started this one.

    Yields:
        Whether this process is the first, and its device.
    """
    from torch import cuda, distributed

    if not distributed.is_torchelastic_launched():
        yield True, device
        return
    if device == "cuda":
        device = f"cuda:{os.environ['LOCAL_RANK']}"
        cuda.set_device(device)
    distributed.init_process_group("nccl" if device.startswith("cuda") else "gloo")
    try:
        yield distributed.get_rank() == 0, device
    finally:
        distributed.destroy_process_group()
