"""Options that `lmht evaluate` and `lmht search` share, and what they print in the same way."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from lmht_deploy.errors import counted

from . import _options as options
from ._console import err
from ._printable import printable

if TYPE_CHECKING:
    from lmht_deploy.scale import State

EXECUTORS = ("local", "ray", "ray://", "slurm", "slurm:")

On = Annotated[
    str,
    typer.Option(
        "--on",
        metavar="WHERE",
        help="Where to compute: 'local' (processes of this machine), 'ray', 'ray://HOST:PORT', "
        "'slurm', or 'slurm:KEY=VALUE,...' with parameters of submitit.",
        rich_help_panel=options.EXECUTION,
        autocompletion=options.completion(lambda: EXECUTORS),
    ),
]
Workers = Annotated[
    int | None,
    typer.Option(
        "--workers",
        min=1,
        metavar="N",
        help="Number of workers (default: one per core, or as many as a cluster has).",
        rich_help_panel=options.EXECUTION,
    ),
]
Shard = Annotated[
    int,
    typer.Option(
        "--shard",
        min=1,
        metavar="N",
        help="Number of windows of a shard.",
        rich_help_panel=options.EXECUTION,
    ),
]
Out = Annotated[
    Path,
    typer.Option(
        "--out",
        metavar="DIR",
        help="Folder of the results. What it holds already is not computed again.",
        rich_help_panel=options.OUTPUT,
        callback=options.check_out,
    ),
]


@contextmanager
def watching() -> Iterator[Callable[[State], None]]:
    """Show shards, windows per second, failures and the time left, if that is on a terminal."""
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
    )

    columns: tuple[Any, ...] = (
        BarColumn(bar_width=20),
        MofNCompleteColumn(),
        TimeRemainingColumn(elapsed_when_finished=True),
        TextColumn("{task.description}", markup=False),
    )
    with Progress(*columns, console=err, transient=True, disable=not err.is_terminal) as bar:
        task = bar.add_task("", total=None)
        yield lambda state: bar.update(
            task, description=printable(_text(state)), completed=state.done, total=state.total
        )


def _text(state: State) -> str:
    rate = state.windows / state.seconds if state.seconds else 0.0
    failures = f", {counted(state.failures, 'failure')}" if state.failures else ""
    return f"{state.what}, {rate:,.0f} windows/s{failures}"
