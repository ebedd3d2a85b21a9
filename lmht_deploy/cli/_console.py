"""Console output: consoles, messages, tables, progress and JSON."""

from __future__ import annotations

import json
import sys
import warnings
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from rich.console import Console

from lmht_deploy.errors import LmhtWarning, StorageError

from ._printable import printable

if TYPE_CHECKING:
    from rich.table import Table
    from rich.text import Text

PIPE_WIDTH = 140
"""Columns of a table that is written to a pipe or a file, which have no width."""
STDOUT = Path("-")
"""File name that stands for standard output."""

out = Console(
    width=None if sys.stdout and sys.stdout.isatty() else PIPE_WIDTH,  # None where it is closed
    markup=False,
    emoji=False,
    highlight=False,
)
err = Console(stderr=True, markup=False, emoji=False, highlight=False)


class ReaderLeftError(Exception):
    """The reader of standard output has left, as in `lmht recipes | head -3`."""


# ------------------------------------------------------------------------------------- text


def good(text: str) -> Text:
    """Return a cell that reports a success, in green."""
    return _colored(text, "green")


def bad(text: str) -> Text:
    """Return a cell that reports a failure, in red."""
    return _colored(text, "red")


def _colored(text: str, color: str) -> Text:
    from rich.text import Text

    return Text(printable(text), style=color)


# ------------------------------------------------------------------------------------- output


def say(text: str) -> None:
    """Print one line of the result."""
    with _writing_result():
        print(printable(text), file=out.file, flush=True)


def show(rows: Table) -> None:
    """Print a table of the result; a terminal that is too narrow wraps its lines."""
    if not fits(rows):
        rows.width = _narrowest(rows)
    with _writing_result():
        with out.capture() as text:  # rich would end the process where the reader has left
            out.print(rows, crop=False)
        print(text.get(), end="", file=out.file, flush=True)


def fits(rows: Table) -> bool:
    """Whether the terminal is wide enough for a table."""
    return _narrowest(rows) <= out.width


def _narrowest(rows: Table) -> int:
    """Return the number of columns with which no word and no figure of a table is cut."""
    unlimited = out.options.update(max_width=100_000)
    return rows.__rich_measure__(out, unlimited).minimum


def _writing_result() -> AbstractContextManager[None]:
    """The result goes to standard error where standard output is for JSON."""
    return _notes() if out.stderr else writing(STDOUT)


def tell(text: str) -> None:
    """Print one line on standard error: a note, a warning or the state of the work."""
    with _notes():
        err.print(printable(text), soft_wrap=True)


def warn(text: str) -> None:
    """Print a warning on standard error."""
    tell(f"warning: {text}")


@contextmanager
def shown_warnings() -> Iterator[None]:
    """Print the warnings of lmht-deploy as those of a verb, each text once."""
    with warnings.catch_warnings():
        warnings.simplefilter("once", LmhtWarning)
        others = warnings.showwarning

        def show(message: Warning | str, category: type[Warning], *where: Any) -> None:
            if issubclass(category, LmhtWarning):
                warn(str(message))
            else:
                others(message, category, *where)

        warnings.showwarning = show  # type: ignore[assignment]
        yield


@contextmanager
def _notes() -> Iterator[None]:
    """Go on where standard error cannot be written."""
    try:
        yield
    except OSError:
        sys.stderr = None


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Turn an error of the operating system while `path` is written into a StorageError.

    After an error, nothing more goes to standard output: Python would fail again when it exits.

    Raises:
        ReaderLeftError: The reader of a pipe has left.
        StorageError: Any other error.
    """
    try:
        yield
    except OSError as error:
        if path == STDOUT and error.filename is not None:  # another file
            raise
        if path == STDOUT:
            sys.stdout = None
        if isinstance(error, BrokenPipeError):
            raise ReaderLeftError from None
        name = "standard output" if path == STDOUT else path
        raise StorageError(f"{name}: cannot be written ({error.strerror or error})") from None


def table(
    title: str, columns: Sequence[str], *, left: Collection[str], caption: str | None = None
) -> Table:
    """Return an empty table. Columns in `left` hold text, the others hold figures."""
    from rich.box import SIMPLE_HEAD

    from ._table import SafeTable

    found = SafeTable(
        title=printable(title), caption=caption, box=SIMPLE_HEAD, padding=(0, 1, 0, 0)
    )
    for column in columns:
        text = column in left
        found.add_column(
            printable(column),
            justify="left" if text else "right",
            overflow="fold",
            no_wrap=not text,
        )
    return found


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
    from rich.table import Column

    columns = (
        SpinnerColumn(),
        BarColumn(bar_width=20),
        MofNCompleteColumn(),
        TimeRemainingColumn(elapsed_when_finished=True),
        # The last column takes what is left: on a narrow terminal it alone is cut.
        TextColumn("{task.description}", markup=False, table_column=Column(ratio=1, no_wrap=True)),
    )
    with Progress(
        *columns, console=err, transient=True, expand=True, disable=not err.is_terminal
    ) as bar:
        task = bar.add_task(printable(title), total=None)
        yield lambda what, done, total: bar.update(
            task, description=printable(f"{title} {what}".strip()), completed=done, total=total
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
    text = to_json(content)
    if path == STDOUT:
        with writing(STDOUT):
            print(text, end="", flush=True)
        return
    with atomic_write(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def to_json(content: Mapping[str, Any]) -> str:
    """Return `content` as JSON; arrays become lists, and paths become texts."""
    return json.dumps(content, indent=2, default=_plain) + "\n"


@contextmanager
def open_lines(path: Path) -> Iterator[Callable[[str], None]]:
    """Open a file, or standard output for "-", for lines that are written at once.

    Yields:
        The function that writes one line.
    """
    if path == STDOUT:
        yield lambda line: _write_line(path, line, sys.stdout)
        return
    with writing(path):
        file = path.open("w", encoding="utf-8")
    try:
        yield lambda line: _write_line(path, line, file)
    finally:
        with writing(path):
            file.close()


def _write_line(path: Path, line: str, file: TextIO) -> None:
    with writing(path):
        print(line, file=file, flush=True)


def _plain(value: Any) -> Any:
    return value.tolist() if hasattr(value, "tolist") else str(value)
