"""Schemas: what `to_markdown` renders."""

from __future__ import annotations

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
