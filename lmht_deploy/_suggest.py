"""Messages about unknown names."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

from .errors import show

MAX_NAME = 100
"""Characters of a name that are compared with known names."""


def unknown(kind: str, name: object, known: Iterable[str]) -> str:
    """Describe an unknown name, with the closest known name and all known names.

    Args:
        kind: Kind of the name in the singular, for example "backend".
        name: The name that was given.
        known: The names that exist.

    Example:
        >>> unknown("backend", "evnt", ["reference", "event"])
        "unknown backend 'evnt'; did you mean 'event'? The backends are reference, event"
    """
    known = tuple(known)
    close = difflib.get_close_matches(str(name)[:MAX_NAME].lower(), known, n=1)
    hint = f"did you mean {close[0]!r}? The" if close else "the"
    return f"unknown {kind} {show(str(name))}; {hint} {kind}s are {', '.join(known)}"
