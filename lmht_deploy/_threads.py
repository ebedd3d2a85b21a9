"""The number of threads that may be asked for."""

from __future__ import annotations

from .errors import BackendError

MAX_THREADS = 1024
"""Largest number of threads. Libraries end the process if the system starts no more."""


def check_threads(threads: int, runner: str) -> int:
    """Return `threads`.

    Args:
        threads: Number of threads that the caller gives.
        runner: What runs them, for the message: "the engine".

    Raises:
        BackendError: `threads` is not an integer within 1..MAX_THREADS.
    """
    integer = isinstance(threads, int) and not isinstance(threads, bool)
    if not integer or not 1 <= threads <= MAX_THREADS:
        raise BackendError(f"{runner} runs 1 to {MAX_THREADS} threads, not {threads!r}")
    return threads
