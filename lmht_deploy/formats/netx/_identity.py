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
from lmht_deploy.formats.hdf5 import hdf5_checksum, writing_hdf5
from lmht_deploy.formats.lmht import MAX_METADATA
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
    "attribute `checksum` itself (`lmht_deploy.formats.hdf5.hdf5_checksum`)."
)


@dataclass(frozen=True)
class SampleRecord:
    """How long a sample takes."""

    steps: Annotated[int, keys.SAMPLE_STEPS]
    step_time: Annotated[int | None, keys.STEP_TIME] = None


@contextlib.contextmanager
def writing(
    path: str | Path, schema: Schema, metadata: Mapping[str, str], version: int
) -> Iterator[h5py.File]:
    """Yield a new file of `version`; it appears, complete, when the block ends without an error."""
    provenance = json.dumps(dict(metadata), sort_keys=True)
    if len(provenance) > MAX_METADATA:
        raise StorageError(
            f"{path}: cannot be written (metadata of {len(provenance)} bytes; a {schema.suffix} "
            f"file holds up to {MAX_METADATA})"
        )
    with writing_hdf5(path) as file:
        yield file
        write(file, FORMAT, schema.format)
        write(file, VERSION, version)
        write(file, METADATA, provenance)


def format_of(file: h5py.File) -> str | None:
    """Return the name of the file's format; None where another tool wrote it."""
    found = file.attrs.get(FORMAT.name)
    return None if found is None else str(found)


def check(file: h5py.File, schema: Schema) -> dict[str, str]:
    """Check format, version and checksum of a file, and return its metadata.

    Raises:
        StorageError: One of them is not what `schema` says.
    """
    version = file.attrs.get(VERSION.name)
    schema.check(file.filename, format_of(file), None if version is None else version.item())
    if read(file, CHECKSUM) != hdf5_checksum(file):
        raise StorageError(
            f"{file.filename}: the checksum does not match the content; the file is damaged or was "
            "edited"
        )
    return read_metadata(file)


def read_metadata(file: h5py.File) -> dict[str, str]:
    """Return the metadata of a file; empty where another tool wrote it.

    Raises:
        StorageError: It is not a JSON object of texts.
    """
    if format_of(file) is None:
        return {}
    try:
        found = json.loads(read(file, METADATA))
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict) or not all(isinstance(text, str) for text in found.values()):
        raise StorageError(f"{file.filename}: {METADATA.name} must be a JSON object of texts")
    return found
