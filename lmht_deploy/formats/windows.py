"""Windows and labels as `.npz` files, the plain way to bring data.

`SCHEMA` describes the format. Such a file is also written with NumPy alone:
`numpy.savez_compressed(path, windows=windows, labels=labels, classes=names)`. Objects are never
unpickled.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from lmht_deploy._arguments import as_array
from lmht_deploy.errors import DataError, StorageError, show
from lmht_deploy.formats.files import as_path, atomic_write, reading
from lmht_deploy.formats.schema import Field, Group, Schema

from ._npz import ArrayHeader, map_array, npz_headers, read_npz

__all__ = ["SCHEMA", "WindowFile", "load_windows", "save_windows", "window_shape"]

WINDOWS = Field(
    "windows",
    "any integer or bool [N, T_in, C, H, W] or [N, T_in, N_in]",
    "N windows: event counts or pixels of each input step.",
    kind="array",
)
LABELS = Field(
    "labels",
    "any integer [N]",
    "Class of each window.",
    kind="array",
    optional=True,
)
CLASSES = Field(
    "classes",
    "text [K]",
    "Names of the classes; labels are indices into them.",
    kind="array",
    optional=True,
)
SCHEMA = Schema(
    title="Window files (`.npz`)",
    suffix=".npz",
    format="",
    version=1,
    summary="""
A NumPy `.npz` archive, compressed or not, without pickled objects. It has no field for a version:
the keys are the whole format.""",
    groups=(Group("arrays", "Arrays of the archive.", (WINDOWS, LABELS, CLASSES)),),
    checksum="The CRC-32 of each array, which every ZIP archive holds.",
)
"""Description of the format."""
_MAGIC = (b"PK", b"\x93NUMPY")  # of .npz and of .npy; NumPy takes any other file for a pickle


class WindowFile(NamedTuple):
    """Content of a file of windows.

    Attributes:
        windows: Integers `[N, T_in, ...]`.
        labels: int64 `[N]`, the class of each window; None if the file has none.
        classes: Names of the classes; empty if the file has none.
    """

    windows: np.ndarray
    labels: np.ndarray | None
    classes: tuple[str, ...]


def save_windows(
    windows: np.ndarray,
    path: str | Path,
    labels: np.ndarray | None = None,
    classes: Sequence[str] = (),
) -> None:
    """Write windows to a `.npz` file, which appears complete or not at all.

    Args:
        windows: Integers `[N, T_in, ...]`.
        path: File to write.
        labels: Integers `[N]`, the class of each window.
        classes: Names of the classes; labels are indices into them.

    Raises:
        DataError: If the arrays are not of that kind.
        StorageError: If the file cannot be written, or its name does not end in `.npz`.
    """
    if isinstance(path, np.ndarray):
        raise DataError("the windows come first: save_windows(windows, path)")
    if as_path(path).suffix != SCHEMA.suffix:
        raise StorageError(f"{path}: the suffix must be {SCHEMA.suffix}")
    if not isinstance(classes, Iterable):
        raise DataError(f"{path}: the classes must be a list of names, not {show(classes)}")
    given = {WINDOWS.name: windows, LABELS.name: labels, CLASSES.name: list(classes) or None}
    arrays = {
        name: as_array(f"{path}: {name!r}", values)
        for name, values in given.items()
        if values is not None
    }
    _check(path, {name: ArrayHeader(array.dtype, array.shape) for name, array in arrays.items()})
    _check_values(path, arrays)
    with atomic_write(path) as temporary, temporary.open("wb") as file:
        np.savez_compressed(file, **arrays)  # type: ignore[arg-type]


def load_windows(path: str | Path, folder: str | Path | None = None) -> WindowFile:
    """Read windows, their labels and the names of their classes from a `.npz` file.

    Args:
        path: File to read.
        folder: Where compressed windows are unpacked, to a file that goes away with the array. The
            windows are then mapped into memory instead of read.

    Raises:
        StorageError: If the file is missing, damaged or not a `.npz` file, or `folder` cannot be
            written.
        DataError: If its arrays are of another kind.
    """
    window_shape(path)
    with reading(path, "a readable .npz file"):
        if folder is None:
            arrays = read_npz(path)
        else:
            arrays = read_npz(path, (LABELS.name, CLASSES.name))
            arrays[WINDOWS.name] = map_array(path, WINDOWS.name, as_path(folder))
    _check_values(path, arrays)
    labels = arrays.get(LABELS.name)
    return WindowFile(
        arrays[WINDOWS.name],
        None if labels is None else labels.astype(np.int64),
        tuple(arrays[CLASSES.name].tolist()) if CLASSES.name in arrays else (),
    )


def window_shape(path: str | Path) -> tuple[int, ...]:
    """Return the shape `[N, T_in, ...]` of the windows in a `.npz` file, without reading them.

    Args:
        path: File to read.

    Raises:
        StorageError: If the file is missing, damaged or not a `.npz` file.
        DataError: If its arrays are of another kind.
    """
    with reading(as_path(path), "a readable .npz file"):
        headers = _headers(path)
    if headers is None:
        raise DataError(
            f"{path}: holds one bare array; write it with "
            f"numpy.savez_compressed(path, windows=..., labels=...)"
        )
    _check(path, headers)
    return headers[WINDOWS.name].shape


def _headers(path: str | Path) -> dict[str, ArrayHeader] | None:
    """Return what the file states of its arrays; None for a bare array."""
    with Path(path).open("rb") as file:
        start = file.read(6)
    if not start.startswith(_MAGIC):
        raise StorageError(f"{path}: is not an .npz file")
    return npz_headers(path) if start.startswith(_MAGIC[0]) else None


def _check(path: str | Path, arrays: Mapping[str, ArrayHeader]) -> None:
    """Check names, types and shapes, which a file states before the values."""
    if not SCHEMA.groups[0].required <= set(arrays) <= SCHEMA.groups[0].names:
        raise DataError(
            f"{path}: must hold the array 'windows' and may hold 'labels' and 'classes'; it holds "
            f"{', '.join(map(show, sorted(arrays)[:9])) or 'nothing'}"
        )
    (dtype, shape), labels = arrays[WINDOWS.name], arrays.get(LABELS.name)
    if dtype.kind not in "iub" or len(shape) < 2 or shape[0] == 0:
        raise DataError(
            f"{path}: 'windows' must hold integers in the shape [N, T_in, ...] with N >= 1, not "
            f"{dtype} {list(shape)}"
        )
    if labels and (labels.dtype.kind not in "iu" or labels.shape != shape[:1]):
        raise DataError(
            f"{path}: 'labels' must hold {shape[0]} integers, one per window, not {labels.dtype} "
            f"{list(labels.shape)}"
        )
    classes = arrays.get(CLASSES.name)
    if classes and (classes.dtype.kind != "U" or len(classes.shape) != 1):
        raise DataError(f"{path}: 'classes' must hold texts, the names of the classes")


def _check_values(path: str | Path, arrays: Mapping[str, np.ndarray]) -> None:
    labels, classes = arrays.get(LABELS.name), arrays.get(CLASSES.name)
    if labels is not None and labels.max() > np.iinfo(np.int64).max:
        raise DataError(f"{path}: 'labels' must fit 64 bits, found {labels.max()}")
    if classes is not None and not classes.all():
        raise DataError(f"{path}: 'classes' must hold texts, the names of the classes")
    if (
        labels is not None
        and classes is not None
        and (labels.min() < 0 or labels.max() >= len(classes))
    ):
        raise DataError(
            f"{path}: 'labels' must lie within 0..{len(classes) - 1}, one of the {len(classes)} "
            f"classes, found {labels.min()}..{labels.max()}"
        )
