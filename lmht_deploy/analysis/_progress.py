"""Progress of an analysis that runs several backends or several forms of a network."""

from __future__ import annotations

from typing import Protocol


class Progress(Protocol):
    """Callback of a long analysis.

    It is called as `progress(label, done, total)`: what runs, the number of finished windows and
    the number of windows in all.
    """

    def __call__(self, label: str, done: int, total: int, /) -> None: ...


def no_progress(label: str, done: int, total: int, /) -> None:
    """No-op progress callback."""
