"""Adapt docstrings for the API reference (an extension of Griffe)."""

from __future__ import annotations

import re
from typing import Any

import griffe

_EXAMPLE = re.compile(r"^Example:$", re.MULTILINE)


class Docstrings(griffe.Extension):
    """Renders the section `Example:` of a docstring as code."""

    def on_instance(self, *, obj: griffe.Object, **_: Any) -> None:
        """Rename the section to the plural, which the parser knows."""
        if obj.docstring is not None:
            obj.docstring.value = _EXAMPLE.sub("Examples:", obj.docstring.value)
