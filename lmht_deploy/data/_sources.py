"""What the name of a source stands for, without reading it."""

from __future__ import annotations

import os
import re
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from lmht_deploy._packages import require_package
from lmht_deploy.errors import DataError
from lmht_deploy.events.recordings import SUFFIXES
from lmht_deploy.formats.files import as_path, no_file
from lmht_deploy.zoo import recording_path

from . import images
from ._folders import require_folder
from ._listing import is_table
from ._registry import is_event_set, unknown_data_set
from ._tonic import check_class, require_root


@dataclass(frozen=True)
class Source:
    """A source of data.

    Attributes:
        kind: "images" (an image data set), "image-folder" (a folder of images), "events" (an event
            data set, or a folder of recordings), "recording" (one file) or "windows" (an `.npz`
            file of windows).
        name: Name of the data set: "folder" or "image-folder" for a folder; otherwise the path.
        root: Folder of the data set, if any.
    """

    kind: Literal["images", "image-folder", "events", "recording", "windows"]
    name: str
    root: Path | None = None

    @property
    def path(self) -> Path:
        """Path of a file."""
        return Path(self.name)


def find_source(source: str | Path, root: str | Path | None = None) -> Source:
    """Find what `source` is; arguments as in `lmht_deploy.data.load`.

    Nothing is read, so that mistakes are found before PyTorch is imported.

    Raises:
        DataError: The source is unknown or missing, or `root` does not fit it.
        StorageError: There is no such file.
    """
    name, home = str(recording_path(as_path(source))), None if root is None else as_path(root)
    if name in images.SETS:
        return Source("images", name, home)
    if name == images.FOLDER:
        return Source("image-folder", name, require_folder(home))
    if is_event_set(name):
        _check_root(name, home)
        return Source("events", name, home)
    path = Path(name)
    if home is not None and path.exists():
        raise DataError(f"a root has no effect on {path}; give the path alone")
    if path.is_dir():
        return _folder(path)
    if not path.is_file():
        raise _missing(name, path)
    if is_table(path):
        return _folder(path)
    if path.suffix.lower() == ".npz" and not _holds_events(path):
        return Source("windows", name)
    return Source("recording", name)


def _folder(path: Path) -> Source:
    """A folder or a table of recordings or of images, as the first of its files is."""
    names = (
        (file for _, _, files in os.walk(path) for file in files)
        if path.is_dir()
        else (
            file.rstrip(",;\t") for file in re.split(r"[,;\t\n]", path.read_text(errors="replace"))
        )
    )
    suffixes = (Path(name.strip()).suffix.lower() for name in names if not name.startswith("."))
    first = next((suffix for suffix in suffixes if suffix in (*SUFFIXES, *images.SUFFIXES)), "")
    if first in images.SUFFIXES:
        return Source("image-folder", images.FOLDER, path)
    return Source("events", "folder", path)


def _check_root(name: str, root: Path | None) -> None:
    match name:
        case "digits":
            return
        case "folder":
            require_folder(root)
        case "nmnist":
            require_package("tonic", "events")
            require_root("N-MNIST", root)
        case _:
            check_class(name.removeprefix("tonic:"))
            require_root(name.removeprefix("tonic:"), root)


def _holds_events(path: Path) -> bool:
    """Whether an `.npz` file is a recording: a structured array, or arrays t, x, y and p."""
    try:
        with zipfile.ZipFile(path) as archive:
            names = {name.removesuffix(".npy") for name in archive.namelist()}
    except (OSError, ValueError, NotImplementedError, zipfile.BadZipFile):
        return False
    return "windows" not in names and (names >= set("txyp") or len(names) == 1)


def _missing(name: str, path: Path) -> Exception:
    if path.suffix.lower() in SUFFIXES:
        return no_file(path)
    if path.suffix or os.sep in name:
        return DataError(f"{path}: there is no such file or folder")
    return DataError(unknown_data_set(name))
