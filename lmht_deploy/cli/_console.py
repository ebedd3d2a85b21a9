"""Console output: consoles, messages, tables, progress and JSON."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console

if TYPE_CHECKING:
    from rich.table import Table

PIPE_WIDTH = 140
"""Columns of a table that is written to a pipe or a file, which have no width."""
STDOUT = Path("-")
"""File name that stands for standard output."""

out = Console(width=None if sys.stdout.isatty() else PIPE_WIDTH)
err = Console(stderr=True)


def say(text: str) -> None:
    """Print one line of the result."""
    out.print(text, markup=False, highlight=False, soft_wrap=True)


def tell(text: str) -> None:
    """Print one line on standard error: a note, a warning or the state of the work."""
    err.print(text, markup=False, highlight=False, soft_wrap=True)


def warn(text: str) -> None:
    """Print a warning on standard error."""
    tell(f"warning: {text}")


def table(
    title: str, columns: Sequence[str], *, left: Collection[str], caption: str | None = None
) -> Table:
    """Return an empty table. Columns in `left` hold text, the others hold figures."""
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    found = Table(title=title, caption=caption, box=SIMPLE_HEAD, padding=(0, 1, 0, 0))
    for column in columns:
        text = column in left
        found.add_column(
            column, justify="left" if text else "right", overflow="fold", no_wrap=not text
        )
    return found


def escaped(text: str) -> str:
    """Escape the square brackets of a text for a cell of a table, which is markup."""
    from rich.markup import escape

    return escape(text)


def percent(share: float | None) -> str:
    """Format a share as a percentage; a dash for None."""
    return "-" if share is None else f"{100 * share:.2f}%"


@contextmanager
def progress(title: str) -> Iterator[Callable[[str, int, int], None]]:
    """Show a progress bar on standard error, if that is a terminal.

    Yields:
        `show(what, done, total)`.
    """
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        SpinnerColumn,
        TextColumn,
        TimeRemainingColumn,
    )

    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(bar_width=20),
        MofNCompleteColumn(),
        TimeRemainingColumn(elapsed_when_finished=True),
    )
    with Progress(*columns, console=err, transient=True, disable=not err.is_terminal) as bar:
        task = bar.add_task(title, total=None)
        yield lambda what, done, total: bar.update(
            task, description=f"{title} {what}".strip(), completed=done, total=total
        )


@contextmanager
def counting(title: str) -> Iterator[Callable[[int, int], None]]:
    """Like `progress`, for one kind of work: yields `show(done, total)`."""
    with progress(title) as show:
        yield lambda done, total: show("", done, total)


def write_json(path: Path | None, content: Mapping[str, Any]) -> None:
    """Write `content` to `path`, to standard output for "-", or nowhere for None."""
    from lmht_deploy.formats.files import atomic_write

    if path is None:
        return
    text = json.dumps(content, indent=2, default=_plain) + "\n"
    if path == STDOUT:
        sys.stdout.write(text)
        return
    with atomic_write(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def _plain(value: Any) -> Any:
    return value.tolist() if hasattr(value, "tolist") else str(value)
