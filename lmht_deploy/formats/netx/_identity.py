"""What every NetX file of lmht-deploy begins with: format, version, checksum, provenance."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import h5py

from lmht_deploy.errors import StorageError
from lmht_deploy.formats.files import atomic_write, hdf5_checksum
from lmht_deploy.formats.schema import Field, Schema

from . import keys
from ._records import read, write

FORMAT = Field("format", "text", "Name of the format.")
VERSION = Field("version", "int64", "Version of the format.")
CHECKSUM = Field("checksum", "text", "SHA-256 of the content, hexadecimal.")
METADATA = Field("metadata", "text", "Provenance of the network, a JSON object of texts.")
KEYS = (FORMAT, VERSION, CHECKSUM, METADATA)
CHECKSUM_RULE = (
    "SHA-256 over the names, attributes and data sets of the file in sorted order, except for the "
    "attribute `checksum` itself (`lmht_deploy.formats.files.hdf5_checksum`)."
)


@dataclass(frozen=True)
class SampleRecord:
    """How long a sample takes."""

    steps: Annotated[int, keys.SAMPLE_STEPS]
    step_time: Annotated[int | None, keys.STEP_TIME] = None


@contextlib.contextmanager
def writing(path: str | Path, schema: Schema, metadata: Mapping[str, str]) -> Iterator[h5py.File]:
    """Yield a new file; when the block ends without an error, it is sealed and put in place."""
    with atomic_write(path) as temporary, h5py.File(temporary, "w") as file:
        yield file
        write(file, FORMAT, schema.format)
        write(file, VERSION, schema.version)
        write(file, METADATA, json.dumps(dict(metadata), sort_keys=True))
        write(file, CHECKSUM, hdf5_checksum(file))


def format_of(file: h5py.File) -> str | None:
    """Return the name of the file's format; None where another tool wrote it."""
    found = file.attrs.get(FORMAT.name)
    return None if found is None else str(found)


def check(file: h5py.File, schema: Schema) -> dict[str, str]:
    """Check format, version and checksum of a file, and return its metadata.

    Raises:
        StorageError: One of them is not what `schema` says.
    """
    path = file.filename
    if format_of(file) != schema.format:
        raise StorageError(
            f"{path}: was not written by `lmht export` (its 'format' attribute is "
            f"{format_of(file)!r}); lmht_deploy.netx reads other NetX files"
        )
    if (version := read(file, VERSION)) != schema.version:
        raise StorageError(
            f"{path}: has format version {version}, this release reads version {schema.version}"
        )
    if read(file, CHECKSUM) != hdf5_checksum(file):
        raise StorageError(
            f"{path}: the checksum does not match the content; the file is damaged or was edited"
        )
    found: dict[str, str] = json.loads(read(file, METADATA))
    return found
