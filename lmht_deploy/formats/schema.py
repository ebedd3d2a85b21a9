"""Describe a file format as data, from which its writer, reader and documentation are taken.

Each format has one module in `lmht_deploy.formats`. The module states its `Schema` once: the name
and version of the format, every key, and the rule of the checksum. The writer and the reader of
the format use the names of the schema, and `to_markdown` renders it for the documentation.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from lmht_deploy.errors import StorageError, show

__all__ = ["COMPATIBILITY", "Field", "Group", "Schema", "check_keys", "to_markdown"]

COMPATIBILITY = """\
* A format has one version number, which is written into every file.
* The number increases by one when a field is added, removed or renamed, or changes its type,
  shape, unit or meaning. Nothing in a published version changes afterwards.
* A release writes the newest version, or the oldest one that holds the content where the format
  says so. It reads the newest version and every earlier one, from version 1 on. Golden files of
  every version are part of the test suite.
* A file of an unknown version is refused, with the version found and the versions that are read.
* A file with an unknown, missing or additional field is refused, and the message names the field.
  Nothing is ignored, and no default value is assumed.
* A file whose checksum does not match its content is refused.
"""
"""Policy of compatibility that every format of lmht-deploy follows, as Markdown."""


MAX_LISTED = 5
"""Keys that a message names, at most."""


@dataclass(frozen=True)
class Field:
    """One key of a file.

    Attributes:
        name: Key, as written in the file.
        dtype: Type and, for an array, shape: `"int8 [C_out, C_in/groups, kh, kw]"`.
        meaning: What the value means, in one or two sentences.
        kind: Where the value is stored: `"attribute"` or `"data set"` (HDF5), `"array"` (`.npz`),
            `"property"`, `"input"` or `"output"` (ONNX).
        optional: Whether a file may omit the key.
        since: Version of the format from which on files have the key.
    """

    name: str
    dtype: str
    meaning: str
    kind: str = "attribute"
    optional: bool = False
    since: int = 1


@dataclass(frozen=True)
class Group:
    """Keys that are stored in one place of a file.

    Attributes:
        path: Where the keys are: an HDF5 group such as `"/layers/<i>"`, or a short title.
        meaning: What the group stands for.
        fields: Keys of the group.
    """

    path: str
    meaning: str
    fields: tuple[Field, ...]

    @property
    def names(self) -> frozenset[str]:
        """Names of all keys."""
        return frozenset(field.name for field in self.fields)

    @property
    def required(self) -> frozenset[str]:
        """Names of the keys that every file has."""
        return frozenset(field.name for field in self.fields if not field.optional)


@dataclass(frozen=True)
class Schema:
    """Complete description of one file format.

    Attributes:
        title: Heading of its documentation.
        suffix: File name extension, with the dot.
        format: Text that identifies the format inside a file; empty where a file has none.
        version: Version that this release writes; 0 where a file has none.
        summary: What the file is, as Markdown.
        groups: Keys by place.
        checksum: Rule of the checksum, as Markdown; empty where a file has none.
    """

    title: str
    suffix: str
    format: str
    version: int
    summary: str
    groups: tuple[Group, ...]
    checksum: str = ""

    def check(self, path: str | Path, format: object, version: object) -> None:
        """Require that a file holds this format, in a version that this release reads.

        Args:
            path: File, for messages.
            format: Identification of the format that the file holds.
            version: Version that the file holds.

        Raises:
            StorageError: If the file is of another format or of an unknown version.
        """
        if format != self.format:
            raise StorageError(
                f"{path}: is not a {self.suffix} file of lmht-deploy: its 'format' is {format!r}, "
                f"and should be {self.format!r}"
            )
        if version not in range(1, self.version + 1):
            known = "version 1" if self.version == 1 else f"versions 1 to {self.version}"
            raise StorageError(
                f"{path}: has format version {show(version)}; this release reads {known}"
            )


def check_keys(
    where: str, found: Iterable[str], required: Iterable[str], known: Iterable[str], again: str
) -> None:
    """Require the keys of this version where a file has its version number and checksum.

    Args:
        where: File and place, for the message.
        found: Keys that are there.
        required: Keys that must be there.
        known: Keys that may be there.
        again: Command that writes such a file again.

    Raises:
        StorageError: If a key is missing or unknown.
    """
    missing, unknown = sorted({*required} - {*found}), sorted({*found} - {*known})
    if not missing and not unknown:
        return
    differences = [
        f"{what} key{'s' * (len(keys) > 1)} {', '.join(map(show, keys[:MAX_LISTED]))}"
        for what, keys in (("lacks the", missing), ("has the unknown", unknown))
        if keys
    ]
    raise StorageError(
        f"{where} {' and '.join(differences)}; an older development version of lmht-deploy, or"
        f" another program, wrote this layout, which is not read; write the file again: {again}"
    )


def to_markdown(schema: Schema, *, level: int = 2) -> str:
    """Render `schema` as Markdown, with a heading of `level` and one table per group."""
    parts = [f"{'#' * level} {schema.title}", schema.summary.strip(), _identity(schema)]
    for group in schema.groups:
        parts += [f"{'#' * (level + 1)} `{group.path}`", group.meaning.strip(), _table(group)]
    if schema.checksum:
        parts += [f"{'#' * (level + 1)} Checksum", schema.checksum.strip()]
    return "\n\n".join(part for part in parts if part) + "\n"


def _identity(schema: Schema) -> str:
    name = f", format `{schema.format}`" if schema.format else ""
    version = f", version {schema.version}" if schema.version else ""
    return f"File name extension `{schema.suffix}`{name}{version}."


def _table(group: Group) -> str:
    if not group.fields:
        return ""
    rows = ["| key | kind | type | meaning |", "| --- | --- | --- | --- |"]
    return "\n".join(rows + [_row(field) for field in group.fields])


def _row(field: Field) -> str:
    kind = f"{field.kind}, optional" if field.optional else field.kind
    since = f" Since version {field.since}." if field.since > 1 else ""
    cells = (f"`{field.name}`", kind, field.dtype, field.meaning + since)
    return "| " + " | ".join(cell.replace("|", "\\|").replace("\n", " ") for cell in cells) + " |"
