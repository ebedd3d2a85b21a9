"""The files of an artifact, and their SHA-256."""

from __future__ import annotations

import hashlib
from pathlib import Path

from lmht_deploy.errors import StorageError
from lmht_deploy.formats.onnx import data_path


def files_of(artifact: Path) -> tuple[Path, ...]:
    """Return an artifact, and the file beside it that holds the weights of a large ONNX model.

    The `.onnx` file holds the SHA-256 of that file, which is checked whenever it is opened.
    """
    weights = data_path(artifact)
    return (artifact, weights) if artifact.suffix == ".onnx" and weights.exists() else (artifact,)


def sha256_of(path: Path) -> str:
    """Return the SHA-256 of a file, hexadecimal."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise StorageError(f"{path}: cannot be read ({error.strerror or error})") from None


def check_sha256(path: Path, expected: str) -> None:
    """Raise StorageError if a file changed after the run was planned."""
    if sha256_of(path) != expected:
        raise StorageError(f"{path}: has changed since the run was planned")
