"""Texts from strangers, as they are safe to print."""

from __future__ import annotations

import unicodedata


def printable(text: str) -> str:
    """Return `text` so that it is safe to print: what is not printable is escaped.

    Names of classes, layers and files, and the headers of recordings come from strangers. A
    terminal would obey the control characters in them.

    Example:
        >>> printable("mug\x1b[2J")
        'mug\\x1b[2J'
    """
    return text if text.isprintable() else "".join(map(_escape, text))


def _escape(character: str) -> str:
    visible = character.isprintable() or unicodedata.category(character) == "Zs"
    return character if visible else character.encode("unicode_escape").decode()
