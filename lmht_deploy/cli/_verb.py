"""The class of all commands, which checks their output files before the work starts."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from typer.core import TyperCommand

from lmht_deploy.errors import DataError, StorageError
from lmht_deploy.formats.files import check_writable, make_folder

from ._console import STDOUT
from ._options import OUTPUT
from ._own_files import is_own, patterns_of


class Verb(TyperCommand):
    """A command that refuses an output that it cannot write, or that is another file of it."""

    def invoke(self, ctx: Any) -> Any:
        """Run the command.

        Raises:
            DataError: An output file is an input, or another output, or a file that the command
                writes to an output folder.
            StorageError: An output file cannot be written.
        """
        given: dict[object, str] = {}
        for parameter in sorted(self.params, key=_is_output_file):  # outputs last
            for path in _files(ctx.params.get(parameter.name or "")):
                name = parameter.opts[0] if parameter.opts[0].startswith("-") else "an input"
                other = given.setdefault(_identity(path), name)
                if other != name and _is_output_file(parameter):
                    raise DataError(f"{path}: is given as {other} and as {name}; give two files")
        self._check_folders(ctx.params)
        files = [ctx.params.get(item.name or "") for item in filter(_is_output_file, self.params)]
        with _created(self._folders_of(files, ctx.params)):
            for path in files:
                _check_output(path)
            return super().invoke(ctx)

    def _folders_of(self, files: Iterable[object], values: Mapping[str, Any]) -> set[Path]:
        """Return the folders that the command creates, and that output files lie in."""
        created: set[Path] = set()
        for parameter in filter(_is_output, self.params):
            folder = values.get(parameter.name or "")
            if parameter.metavar == "DIR" and isinstance(folder, Path):
                created.update(_missing(folder.absolute()))
        paths = {path.absolute() for path in files if isinstance(path, Path) and path != STDOUT}
        return {path.parent for path in paths} & created

    def _check_folders(self, values: Mapping[str, Any]) -> None:
        """Refuse an output in the folder of another one, if the command writes its name there.

        `patterns_of` has no names for outputs that are files.
        """
        outputs = [
            (parameter.opts[0], Path(os.path.realpath(value)))
            for parameter in filter(_is_output, self.params)
            if isinstance(value := values.get(parameter.name or ""), Path) and value != STDOUT
        ]
        for option, folder in outputs:
            patterns = patterns_of(self.name or "", option)
            for other, path in outputs:
                if is_own(path, folder, patterns):
                    raise DataError(
                        f"{path}: {option} writes files of this name to its folder; give {other} "
                        "another name or folder"
                    )


@contextmanager
def _created(folders: Iterable[Path]) -> Iterator[None]:
    """Create output folders before the work; remove those that are empty after an error."""
    created = sorted({path for folder in folders for path in _missing(folder)}, reverse=True)
    try:
        for folder in reversed(created):
            make_folder(folder)
        yield
    except BaseException:
        for folder in created:
            with suppress(OSError):  # it is not empty
                folder.rmdir()
        raise


def _missing(folder: Path) -> Iterator[Path]:
    """Yield a folder and those that it lies in, where they do not exist."""
    for path in (folder, *folder.parents):
        if not path.exists():
            yield path


def _is_output(parameter: Any) -> bool:
    return parameter.name == "out" or getattr(parameter, "rich_help_panel", "") == OUTPUT


def _is_output_file(parameter: Any) -> bool:
    return _is_output(parameter) and parameter.metavar != "DIR"


def _check_output(path: object) -> None:
    if path == STDOUT:
        if sys.stdout is None:
            raise StorageError("standard output: is closed; give a file")
    elif isinstance(path, Path):
        check_writable(path)


def _identity(path: Path) -> object:
    """Return what two names of one file have in common, hard links included."""
    try:
        status = os.stat(path)
    except OSError:  # there is none yet
        return path
    return status.st_dev, status.st_ino


def _files(value: object) -> Iterator[Path]:
    """Yield the files in a value; folders and devices may be given twice.

    A text, as in --data, counts where it names a file.
    """
    for item in value if isinstance(value, list | tuple) else (value,):
        if not isinstance(item, str | Path) or str(item) == str(STDOUT):
            continue
        if os.path.isfile(item) or (isinstance(item, Path) and not os.path.lexists(item)):
            yield Path(os.path.realpath(item))
