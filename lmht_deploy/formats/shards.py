"""Results of a shard: the integers of a network for a range of windows, as Parquet."""

from __future__ import annotations

import hashlib
import io
import json
from pathlib import Path
from typing import Any

import numpy as np

from lmht_deploy.errors import StorageError
from lmht_deploy.formats.files import atomic_write, make_folder, reading
from lmht_deploy.formats.schema import Field, Group, Schema
from lmht_deploy.result import Result

__all__ = ["SCHEMA", "encode_shard", "load_shard", "save_shard"]

KEY = b"lmht-deploy"
"""Key of the file's metadata that holds everything but the columns."""
COUNTS = ("spikes", "sops", "events", "event_sops", "wrapped", "clipped")
"""Counts per window and layer, one column `<count>:<layer>` each."""

SCHEMA = Schema(
    title="Results of a shard (`.parquet`)",
    suffix=".parquet",
    format="lmht-deploy shard",
    version=1,
    summary="""
A Parquet file with one row per window of a shard, in order. The integers are those of
`lmht_deploy.Result`. Every reader of Parquet reads it. The file's metadata has the key
`lmht-deploy`, a JSON object.""",
    groups=(
        Group(
            "metadata",
            "JSON object under the key `lmht-deploy`.",
            (
                Field("format", "text", "Identifies the format.", kind="JSON"),
                Field("version", "integer", "Version of the format.", kind="JSON"),
                Field("backend", "text", "Name of the backend.", kind="JSON"),
                Field("scale", "number", "Real value of one unit of a logit.", kind="JSON"),
                Field("macs", "object", "Multiply-accumulates per window by layer.", kind="JSON"),
                Field("nanoseconds", "integer", "Wall time of the run.", kind="JSON"),
                Field(
                    "sha256",
                    "text",
                    "SHA-256, hexadecimal, over the names and values of all columns, in order, as "
                    "little-endian bytes.",
                    kind="JSON",
                ),
            ),
        ),
        Group(
            "columns",
            "Columns of the table. A count has one column per layer.",
            (
                Field("logits", "list of int64 or float64 [K]", "Logits.", kind="column"),
                Field(
                    "steps",
                    "int64",
                    "Number of time-steps that were run, where a window may end early.",
                    kind="column",
                    optional=True,
                ),
                *(
                    Field(f"{name}:<layer>", "int64", meaning, kind="column", optional=True)
                    for name, meaning in (
                        ("spikes", "Σ k."),
                        ("sops", "Synaptic operations."),
                        ("events", "Number of k > 0."),
                        ("event_sops", "Synaptic operations, where k > 0 counts once."),
                        ("wrapped", "How often a current of 24 bits wrapped."),
                        ("clipped", "How often a potential of 24 bits was clipped."),
                    )
                ),
            ),
        ),
    ),
    checksum="The field `sha256`, and the CRC-32 of each page, which Parquet holds.",
)
"""Description of the format."""


def encode_shard(result: Result) -> bytes:
    """Return the content of the file of a result; traces are left out.

    Args:
        result: Result of the windows of a shard.
    """
    import pyarrow
    from pyarrow import parquet

    columns = {
        name: _lists(values) if values.ndim == 2 else _column(values)
        for name, values in _columns(result).items()
    }
    about = json.dumps(_about(result), sort_keys=True).encode()
    table = pyarrow.table(columns).replace_schema_metadata({KEY: about})
    file = io.BytesIO()
    parquet.write_table(
        table, file, compression="zstd", write_statistics=False, write_page_checksum=True
    )
    return file.getvalue()


def _columns(result: Result) -> dict[str, np.ndarray]:
    """Return the columns by name, in order, as int64 or float64."""
    found = {"logits": result.logits}
    if result.steps is not None:
        found["steps"] = result.steps
    found |= {
        f"{name}:{layer}": counts
        for name in COUNTS
        for layer, counts in getattr(result, name).items()
    }
    return {
        name: values.astype("<f8" if values.dtype.kind == "f" else "<i8")
        for name, values in found.items()
    }


def _digest(result: Result) -> str:
    digest = hashlib.sha256()
    for name, values in _columns(result).items():
        digest.update(name.encode() + b"\0" + values.tobytes())
    return digest.hexdigest()


def _column(values: np.ndarray) -> Any:
    """Return a column of int64 or float64. `pyarrow.array` would import pandas for it."""
    import pyarrow

    kind = np.float64 if values.dtype.kind == "f" else np.int64
    content = pyarrow.py_buffer(np.ascontiguousarray(values, kind))
    dtype = pyarrow.float64() if kind is np.float64 else pyarrow.int64()
    return pyarrow.Array.from_buffers(dtype, values.size, [None, content])


def _values(column: Any) -> np.ndarray:
    """Return the values of a `_column`. Its method `to_numpy` would import pandas."""
    kind = {"int64": np.int64, "double": np.float64}[str(column.type)]
    if column.null_count:
        raise ValueError("a value is missing")
    return np.frombuffer(column.buffers()[1], kind, len(column), 8 * column.offset)


def _lists(logits: np.ndarray) -> Any:
    import pyarrow

    return pyarrow.FixedSizeListArray.from_arrays(_column(logits), logits.shape[1])


def _about(result: Result) -> dict[str, Any]:
    return {
        "format": SCHEMA.format,
        "version": SCHEMA.version,
        "backend": result.backend,
        "scale": float(result.scale),
        "macs": {name: int(count) for name, count in result.macs.items()},
        "nanoseconds": round(result.seconds * 1e9),
        "sha256": _digest(result),
    }


def _result(table: Any, about: dict[str, Any]) -> Result:
    counts: dict[str, dict[str, np.ndarray]] = {name: {} for name in COUNTS}
    table = table.combine_chunks()
    columns = {name: _values(table.column(name).chunk(0)) for name in table.column_names[1:]}
    steps = columns.pop("steps", None)
    for column, values in columns.items():
        name, _, layer = column.partition(":")
        counts[name][layer] = values
    logits = table.column("logits").chunk(0)
    return Result(
        backend=about["backend"],
        logits=_values(logits.flatten()).reshape(len(logits), -1),
        scale=about["scale"],
        macs=about["macs"],
        seconds=about["nanoseconds"] / 1e9,
        steps=steps,
        **counts,
    )


def save_shard(content: bytes, path: Path) -> None:
    """Write the content of a file, which appears complete or not at all.

    Raises:
        StorageError: The file cannot be written.
    """
    make_folder(path.parent)
    with atomic_write(path) as temporary:
        temporary.write_bytes(content)


def load_shard(path: Path) -> Result:
    """Read the result of a shard.

    Raises:
        StorageError: The file is missing, damaged, of another kind or of another version.
    """
    try:
        with reading(path, "a .parquet file of a shard"):
            return _decode(path)
    except StorageError as error:
        raise StorageError(f"{error}; remove it, and the next call computes it again") from None


def _decode(path: Path) -> Result:
    from pyarrow import parquet

    # Not `read_table`, which imports pandas where it is installed and takes longer.
    content = io.BytesIO(path.read_bytes())
    table = parquet.ParquetFile(content, page_checksum_verification=True).read()
    about = json.loads((table.schema.metadata or {}).get(KEY, b"{}"))
    SCHEMA.check(path, about.get("format"), about.get("version"))
    found = _result(table, about)
    if about["sha256"] != _digest(found):
        raise StorageError(f"{path}: the checksum does not match; it is damaged or was edited")
    return found
