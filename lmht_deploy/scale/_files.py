"""SHA-256 of files."""

from __future__ import annotations

import hashlib
from pathlib import Path

from lmht_deploy.errors import StorageError


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
