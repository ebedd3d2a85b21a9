"""Windows and labels as `.npz` (NumPy's own format, never a pickle): the plain way to bring data."""

from __future__ import annotations

import zipfile
import zlib
from pathlib import Path

import numpy as np

from lmht_deploy.errors import DataError, StorageError

from .files import atomic_write


def save_windows(windows: np.ndarray, path: str | Path, labels: np.ndarray | None = None) -> None:
    """Write `windows` [N, T_in, ...] (integers) and `labels` [N] (integers) to `path` (`.npz`), whole or not at all.

    Raises DataError where the arrays are not of that kind, StorageError where the file cannot be written.
    """
    arrays = {"windows": np.asarray(windows)} | (
        {} if labels is None else {"labels": np.asarray(labels)}
    )
    _check(path, arrays)
    with atomic_write(path) as temporary, temporary.open("wb") as file:
        np.savez_compressed(file, **arrays)  # type: ignore[arg-type]


def load_windows(path: str | Path) -> tuple[np.ndarray, np.ndarray | None]:
    """Read `windows` [N, T_in, ...] (integers) and, where the file has them, `labels` int64 [N].

    Raises StorageError for a file that is missing, damaged or no `.npz`, and DataError for arrays of another kind.
    """
    if not Path(path).is_file():
        raise StorageError(f"{path}: there is no such file")
    try:
        with Path(path).open("rb") as file:
            content = np.load(file, allow_pickle=False)
            if isinstance(content, np.ndarray):
                raise DataError(
                    f"{path}: holds one bare array; write it with numpy.savez_compressed(path, windows=..., labels=...)"
                )
            arrays = {name: content[name] for name in content.files}
    except (OSError, EOFError, ValueError, KeyError, zipfile.BadZipFile, zlib.error) as error:
        raise StorageError(
            f"{path}: is not a readable .npz file ({str(error).splitlines()[0] if str(error) else type(error).__name__})"
        ) from None
    _check(path, arrays)
    labels = arrays.get("labels")
    return arrays["windows"], None if labels is None else labels.astype(np.int64)


def _check(path: str | Path, arrays: dict[str, np.ndarray]) -> None:
    if "windows" not in arrays or arrays.keys() - {"windows", "labels"}:
        raise DataError(
            f"{path}: must hold the array 'windows' and may hold 'labels'; it holds {', '.join(sorted(arrays)) or 'nothing'}"
        )
    windows, labels = arrays["windows"], arrays.get("labels")
    if windows.dtype.kind not in "iub" or windows.ndim < 2 or len(windows) == 0:
        raise DataError(
            f"{path}: 'windows' must hold integers in the shape [N, T_in, ...], not {windows.dtype} {list(windows.shape)}"
        )
    if labels is not None and (labels.dtype.kind not in "iu" or labels.shape != windows.shape[:1]):
        raise DataError(
            f"{path}: 'labels' must hold {len(windows)} integers, one a window, not {labels.dtype} {list(labels.shape)}"
        )
