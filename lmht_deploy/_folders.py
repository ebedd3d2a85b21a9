"""Folders of one process: its name is in theirs, so that those of killed processes are removed."""

from __future__ import annotations

import contextlib
import os
import re
import secrets
import shutil
import socket
import sys
from collections.abc import Iterator
from pathlib import Path

from .formats.files import writing_errors

PARTIAL = ".partial"


def own_prefix(begin: str) -> str:
    """Return how the names of this process's folders begin."""
    return f"{begin}{socket.gethostname()}-{os.getpid()}-"


def remove_abandoned(parent: Path, begin: str) -> None:
    """Remove folders of processes of this machine that do not exist anymore, see `own_prefix`."""
    prefix = f"{begin}{socket.gethostname()}-"
    # The name of another machine may begin with that of this one and a hyphen.
    own = re.compile(rf"{re.escape(prefix)}(\d+)-[^-]*")
    for path in parent.glob(f"{prefix}*"):
        found = own.fullmatch(path.name)
        if found and not _is_running(int(found[1])):
            shutil.rmtree(path, ignore_errors=True)


def _is_running(process: int) -> bool:
    if sys.platform == "win32":  # os.kill would end it
        return True
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except OSError:  # of another user
        return True
    return True


@contextlib.contextmanager
def new_folder(parent: Path) -> Iterator[Path]:
    """Provide a folder that is removed at the end, if it was not renamed.

    Raises:
        StorageError: The folder, or a file that the block writes, cannot be written.
    """
    folder = parent / f"{own_prefix('.')}{secrets.token_hex(4)}{PARTIAL}"
    try:
        with writing_errors(parent):
            remove_abandoned(parent, ".")
            folder.mkdir(parents=True)
            yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
