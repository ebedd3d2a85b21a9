"""Map dataclasses to HDF5 groups: each field names its key once, for writer, reader and schema.

A record is a dataclass. Its stored fields are annotated with their key:

    levels: Annotated[int, Field("levels", "int64", "Threshold levels L.")]
"""

from __future__ import annotations

import dataclasses
import typing
from collections.abc import Iterable
from typing import Any, TypeVar

import h5py
import numpy as np

from lmht_deploy.errors import StorageError
from lmht_deploy.formats.schema import Field, check_keys

ATTRIBUTE, DATA_SET = "attribute", "data set"
COMPRESSED_SIZE = 64
"""Data sets of more elements are compressed."""
_KINDS = {int: "iub", bool: "b", float: "f"}
"""NumPy kinds that a field of a scalar type accepts."""

AGAIN = "lmht export NETWORK --out FILE"
"""How to write a NetX file again."""

Record = TypeVar("Record")


def keys_of(record: type | Any) -> tuple[Field, ...]:
    """Return the keys of a record, in order."""
    return tuple(_stored(record if isinstance(record, type) else type(record)).values())


def write(group: h5py.Group, field: Field, value: object) -> None:
    """Write one value under the key of `field`."""
    if field.kind == ATTRIBUTE:
        group.attrs[field.name] = value
        return
    if isinstance(value, str) and field.dtype.startswith("bytes"):
        value = np.array([value.encode()], "S10")
    array = value if isinstance(value, str) else np.asarray(value)
    packed = {} if np.size(array) <= COMPRESSED_SIZE else {"compression": "gzip", "shuffle": True}
    group.create_dataset(field.name, data=array, track_times=False, **packed)


def write_record(group: h5py.Group, record: Any) -> None:
    """Write every stored field of `record` that is not None."""
    for name, key in _stored(type(record)).items():
        if (value := getattr(record, name)) is not None:
            write(group, key, value)


def has(group: h5py.Group, field: Field) -> bool:
    """Return whether `group` has the key of `field`."""
    return field.name in (group.attrs if field.kind == ATTRIBUTE else group)


def read(group: h5py.Group, field: Field) -> Any:
    """Return the raw value under the key of `field`; StorageError where it is missing."""
    if not has(group, field):
        check_keys(_where(group), (), (field.name,), (), AGAIN)
    return group.attrs[field.name] if field.kind == ATTRIBUTE else group[field.name][()]


def read_record(cls: type[Record], group: h5py.Group, **values: Any) -> Record:
    """Build a record from its group; `values` are the fields that are not stored."""
    hints = typing.get_type_hints(cls)
    for name, key in _stored(cls).items():
        if not key.optional or has(group, key):
            values[name] = _convert(group, key, hints[name])
    return cls(**values)


def expect_only(group: h5py.Group, fields: Iterable[Field], groups: Iterable[str] = ()) -> None:
    """Raise StorageError where `group` has a key or a subgroup that is not named."""
    fields = tuple(fields)
    attributes = {field.name for field in fields if field.kind == ATTRIBUTE}
    members = {field.name for field in fields if field.kind == DATA_SET} | set(groups)
    unknown = (set(group.attrs) - attributes) | (set(group) - members)
    check_keys(_where(group), unknown, (), (), AGAIN)


def _stored(cls: type) -> dict[str, Field]:
    """Return the keys of a record by the names of its fields; a default makes a key optional."""
    hints = typing.get_type_hints(cls, include_extras=True)
    found = {}
    for field in dataclasses.fields(cls):
        for note in getattr(hints[field.name], "__metadata__", ()):
            optional = field.default is not dataclasses.MISSING
            found[field.name] = dataclasses.replace(note, optional=optional)
    return found


def _convert(group: h5py.Group, field: Field, hint: Any) -> Any:
    """Value under the key of `field` as the type of its record."""
    value = np.asarray(read(group, field))
    hint = next((part for part in typing.get_args(hint) if _is_optional(hint)), hint)
    if hint is np.ndarray:
        return value
    if typing.get_origin(hint) is tuple:
        return tuple(int(n) for n in value)
    plain = value.item()
    if hint is str:
        return plain.decode() if isinstance(plain, bytes) else str(plain)
    if value.dtype.kind not in _KINDS[hint]:
        raise StorageError(
            f"{_where(group)} is damaged: {field.name!r} is {value.dtype}, expected {field.dtype}"
        )
    return hint(plain)


def _is_optional(hint: Any) -> bool:
    return type(None) in typing.get_args(hint)


def _where(group: h5py.Group) -> str:
    return f"{group.file.filename}: {group.name}"
