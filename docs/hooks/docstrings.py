"""Adapt docstrings for the API reference (an extension of Griffe)."""

from __future__ import annotations

import re
import textwrap
from typing import Any

import griffe

_EXAMPLE = re.compile(r"^Example:$", re.MULTILINE)
_SHAPE = re.compile(r"^Shape:\n((?:[ \t]+.*\n?|\n)+)", re.MULTILINE)


class Docstrings(griffe.Extension):
    """Renders the sections `Example:` and `Shape:`, which the parser does not know."""

    def on_instance(self, *, obj: griffe.Object, **_: Any) -> None:
        """Turn `Example:` into the section `Examples:`, and `Shape:` into a list."""
        if obj.docstring is not None:
            text = _EXAMPLE.sub("Examples:", obj.docstring.value)
            obj.docstring.value = _SHAPE.sub(_as_list, text)


def _as_list(section: re.Match[str]) -> str:
    entries = re.split(r"\n(?=\S)", textwrap.dedent(section[1]).strip())
    items = [f"* {' '.join(entry.split())}" for entry in entries]
    return "**Shape:**\n\n" + "\n".join(items) + "\n\n"
