"""Schemas: what `to_markdown` renders, and how files of other formats are refused."""

from __future__ import annotations

import pytest

from lmht_deploy.errors import StorageError
from lmht_deploy.formats import flat, lmht, windows
from lmht_deploy.formats.schema import Field, Group, Schema, to_markdown

SCHEMA = Schema(
    title="Example",
    suffix=".x",
    format="an example",
    version=3,
    summary="A file.",
    groups=(
        Group(
            "/a/<i>",
            "One layer.",
            (
                Field("n", "int64", "a|b"),
                Field("w", "int8 [C]", "Weights.", kind="data set", optional=True),
            ),
        ),
    ),
    checksum="SHA-256.",
)


def test_markdown() -> None:
    assert to_markdown(SCHEMA) == (
        "## Example\n\n"
        "A file.\n\n"
        "File name extension `.x`, format `an example`, version 3.\n\n"
        "### `/a/<i>`\n\n"
        "One layer.\n\n"
        "| key | kind | type | meaning |\n"
        "| --- | --- | --- | --- |\n"
        "| `n` | attribute | int64 | a\\|b |\n"
        "| `w` | data set, optional | int8 [C] | Weights. |\n\n"
        "### Checksum\n\n"
        "SHA-256.\n"
    )


def test_names() -> None:
    assert SCHEMA.groups[0].names == {"n", "w"}
    assert SCHEMA.groups[0].required == {"n"}


def test_refuses_other_formats_and_versions() -> None:
    SCHEMA.check("file.x", "an example", 3)
    with pytest.raises(StorageError, match=r"^file\.x: is not a \.x file .* 'format' is None"):
        SCHEMA.check("file.x", None, 3)
    with pytest.raises(
        StorageError, match=r"^file\.x: has format version 4; this release reads versions 1 to 3$"
    ):
        SCHEMA.check("file.x", "an example", 4)


@pytest.mark.parametrize(
    "schema", [flat.SCHEMA, lmht.SCHEMA, windows.SCHEMA], ids=lambda s: s.suffix
)
def test_every_key_is_documented(schema: Schema) -> None:
    text = to_markdown(schema)
    for group in schema.groups:
        assert f"### `{group.path}`" in text
        for field in group.fields:
            assert f"| `{field.name}` |" in text and field.meaning.endswith(".")
