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


class Stopped(KeyboardInterrupt):
    """A signal asks the command to end.

    Attributes:
        code: Exit code of the command, 128 + the number of the signal.
    """

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.code = 128 + number


@contextmanager
def stop_signals() -> Iterator[None]:
    """Raise `Stopped` in the block at the first signal. Signals that are ignored stay ignored."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.getsignal(number) for number in SIGNALS}
    heard = {number for number, handler in before.items() if handler != signal.SIG_IGN}

    def stop(number: int, _: FrameType | None) -> None:
        for each in heard:  # a second signal must not interrupt the end
            signal.signal(each, signal.SIG_IGN if each == number else before[each])
        raise Stopped(number)

    for number in heard:
        signal.signal(number, stop)
    try:
        yield
    finally:
        for number in heard:
            signal.signal(number, before[number])


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
