"""`lmht train`: a recipe -> a run folder."""

from __future__ import annotations

import dataclasses
import importlib.util
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lmht_deploy.errors import TrainingError

from . import common

if TYPE_CHECKING:
    from lmht_deploy.training.data import Data
    from lmht_deploy.training.loop import Progress
    from lmht_deploy.training.recipe import Recipe
    from lmht_deploy.training.runs import Run

BARS = "▁▂▃▄▅▆▇█"
"""Spike densities 0..1 a neuron and time-step, as one character a layer."""


def train(
    recipe: Annotated[
        str,
        typer.Argument(help="A packaged recipe ('digits', 'cifar10-fast', ...) or a .toml file."),
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
        ),
    ] = Path("run"),
    resume: Annotated[
        bool, typer.Option("--resume", help="Continue the run in --out after its last whole epoch.")
    ] = False,
    start: Annotated[
        Path | None,
        typer.Option(
            "--start",
            metavar="RUN",
            help="Begin where this run of a quantised ANN ended (hybrid training).",
        ),
    ] = None,
    root: common.Root = None,
    subset: common.Subset = False,
    cache: common.Cache = None,
    device: common.Device = "auto",
    threads: common.Threads = 1,
    tensorboard: Annotated[
        bool, typer.Option("--tensorboard", help="Also write what TensorBoard shows, into --out.")
    ] = False,
    json: common.Json = None,
) -> None:
    """Train an LM-HT network. Under torchrun its processes share every batch: torchrun --nproc-per-node 8 --no-python lmht train ..."""
    need_torch()
    from lmht_deploy.training import loop, runs
    from lmht_deploy.training import recipe as recipes

    common.check_writable(json)
    if tensorboard and importlib.util.find_spec("tensorboard") is None:
        raise TrainingError(
            "--tensorboard needs a package; run: pip install 'lmht-deploy[tensorboard]'"
        )
    chosen = recipes.load_recipe(recipe, overrides or ())
    loop.check(chosen, out, resume=resume, started=start is not None)
    ann = None if start is None else runs.load_run(start)
    with _processes(common.device(device)) as (first, place):
        data = read_data(chosen, root, subset=subset, cache=cache)
        run = train_run(
            chosen,
            data,
            out,
            resume=resume,
            start=ann,
            threads=threads,
            device=place,
            tensorboard=tensorboard and first,
            quiet=not first,
        )
    if first:
        paper = (
            f" (the paper, Table {chosen.paper.table}: {chosen.paper.accuracy:.2f}%)"
            if chosen.paper.accuracy
            else ""
        )
        common.out.print(
            f"{out}: test accuracy {common.percent(run.accuracy)} after {len(run.metrics)} epochs{paper}",
            highlight=False,
        )
        common.write_json(
            json,
            {
                "run": out,
                "recipe": dataclasses.asdict(chosen),
                "accuracy": run.accuracy,
                "metrics": run.metrics,
            },
        )


def need_torch() -> None:
    """TrainingError with the command that installs PyTorch, where it is missing."""
    if importlib.util.find_spec("torch") is None or importlib.util.find_spec("safetensors") is None:
        raise TrainingError("training needs PyTorch; run: pip install 'lmht-deploy[train]'")


def read_data(
    recipe: Recipe, root: Path | None, *, subset: bool = False, cache: Path | None = None
) -> Data:
    """Both splits of the recipe's data set."""
    from lmht_deploy.training import data

    with common.progress(f"reading {recipe.data.name}") as show:
        return data.load_data(
            recipe,
            root=root,
            subset=subset,
            cache=cache,
            progress=lambda done, total: show("", done, total),
        )


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
    """Train under a line of progress, or a line an epoch where stderr is no terminal. Ctrl-C says how to go on."""
    import torch

    from lmht_deploy.training.loop import train as train_on

    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        with _reports(folder, tensorboard, quiet) as report:
            return train_on(
                recipe,
                data,
                folder,
                report=report,
                resume=resume,
                start=None if start is None else start.model,
                device=device,
            )
    except KeyboardInterrupt:
        common.err.print(f"lmht: {_kept(folder)}", soft_wrap=True, markup=False, highlight=False)
        raise
    finally:
        torch.set_num_threads(before)


def _kept(folder: Path) -> str:
    from lmht_deploy.training import runs

    if not (folder / runs.RECIPE).exists():
        return "nothing has been trained yet"
    return f"the state after epoch {len(runs.read_metrics(folder))} is kept in {folder}: the same command with --resume goes on"


# ------------------------------------------------------------------------------------------------ processes


@contextmanager
def _processes(device: str) -> Iterator[tuple[bool, str]]:
    """Join the processes of torchrun, if it started this one; gives whether this is the first, and its device."""
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


# ------------------------------------------------------------------------------------------------ reports


@contextmanager
def _reports(folder: Path, tensorboard: bool, quiet: bool) -> Iterator[Callable[[Progress], None]]:
    """What is called with the progress: shows it, and writes it for TensorBoard where asked to."""
    if quiet:
        yield lambda at: None
        return
    writer = _TensorBoard(folder) if tensorboard else None
    with common.progress("training") as show:

        def report(at: Progress) -> None:
            show(_line(at), at.step, at.steps)
            if at.test_accuracy is None:
                return
            if not common.err.is_terminal:
                common.err.print(
                    f"{_line(at)}, {at.remaining / 60:.1f} min left",
                    soft_wrap=True,
                    markup=False,
                    highlight=False,
                )
            if writer:
                writer.epoch(at)

        yield report
    if writer:
        writer.close()


def _line(at: Progress) -> str:
    test = "" if at.test_accuracy is None else f", test {common.percent(at.test_accuracy)}"
    return f"epoch {at.epoch}/{at.epochs}, loss {at.loss:.3f}, accuracy {common.percent(at.accuracy)}{test}{_density(at)}, {at.windows_per_second:.0f} windows/s"


def _density(at: Progress) -> str:
    """Spikes a neuron and time-step: a bar a layer, full where it is 1 or more, and their mean."""
    if not at.density:
        return ""
    bars = "".join(
        BARS[min(int(density * len(BARS)), len(BARS) - 1)] for density in at.density.values()
    )
    return f", spikes {bars} {sum(at.density.values()) / len(at.density):.2f}"


class _TensorBoard:
    """Scalars of every epoch, in the run's folder."""

    def __init__(self, folder: Path) -> None:
        from torch.utils.tensorboard import SummaryWriter

        self._writer = SummaryWriter(str(folder))  # type: ignore[no-untyped-call]

    def epoch(self, at: Progress) -> None:
        scalars = {
            "loss/training": at.loss,
            "loss/test": at.test_loss,
            "accuracy/training": at.accuracy,
            "accuracy/test": at.test_accuracy,
            "rate": at.rate,
        }
        for name, value in (
            scalars | {f"spikes/{layer}": density for layer, density in at.density.items()}
        ).items():
            self._writer.add_scalar(name, value, at.epoch)  # type: ignore[no-untyped-call]
        self._writer.flush()  # type: ignore[no-untyped-call]

    def close(self) -> None:
        self._writer.close()  # type: ignore[no-untyped-call]
