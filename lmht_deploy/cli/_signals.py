"""Signals that end a command early: Ctrl-C, SIGTERM and SIGHUP."""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

SIGNALS = tuple(
    found for name in ("SIGINT", "SIGTERM", "SIGHUP") if (found := getattr(signal, name, None))
)

AGAIN = 0.01
"""Seconds until an interrupt is raised again that Python could not deliver."""


@contextmanager
def ctrl_c_like() -> Iterator[list[int]]:
    """Let SIGTERM and SIGHUP raise KeyboardInterrupt in the block, so that a command cleans up.

    A second signal of the same kind ends the process at once. Signals that are ignored, as after
    `nohup`, stay ignored. An interrupt that arrives in a finalizer, where Python only prints it, is
    raised again.

    Yields:
        The numbers of the signals that were received.
    """
    received: list[int] = []

    def end(number: int, _: FrameType | None) -> None:
        signal.signal(number, signal.SIG_DFL)
        received.append(number)
        raise KeyboardInterrupt

    main_thread = threading.current_thread() is threading.main_thread()
    taken = [n for n in SIGNALS if main_thread and signal.getsignal(n) == signal.SIG_DFL]
    for number in taken:
        signal.signal(number, end)
    try:
        with _undelivered_again():
            yield received
    finally:
        for number in taken:
            signal.signal(number, signal.SIG_DFL)


@contextmanager
def _undelivered_again() -> Iterator[None]:
    """Raise an interrupt again that Python could not deliver, in the block and not after it."""
    before, lock, ended = sys.unraisablehook, threading.Lock(), False

    def again() -> None:
        with lock:
            if not ended:
                signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)

    def hook(found: Any) -> None:
        if not issubclass(found.exc_type, KeyboardInterrupt):
            before(found)
            return
        timer = threading.Timer(AGAIN, again)
        timer.daemon = True
        timer.start()

    sys.unraisablehook = hook
    try:
        yield
    finally:
        sys.unraisablehook = before
        with lock:
            ended = True
