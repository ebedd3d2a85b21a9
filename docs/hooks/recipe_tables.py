"""Render the keys of recipes and the packaged recipes from the code."""

from __future__ import annotations

from tables import table


def keys() -> str:
    """Return one table of keys per section of a recipe."""
    return ""


def packaged() -> str:
    """Return the packaged recipes with what the paper reports for them."""
    return ""
