"""Signals that end a command early: Ctrl-C, SIGTERM and SIGHUP."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

SIGNALS = tuple(
    found for name in ("SIGINT", "SIGTERM", "SIGHUP") if (found := getattr(signal, name, None))
)


@contextmanager
def ctrl_c_like() -> Iterator[list[int]]:
    """Let SIGTERM and SIGHUP raise KeyboardInterrupt in the block, so that a command cleans up.

    A second signal of the same kind ends the process at once. Signals that are ignored, as after
    `nohup`, stay ignored.

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
        yield received
    finally:
        for number in taken:
            signal.signal(number, signal.SIG_DFL)
