"""The command line `lmht`: one module per verb.

Only this package prints, and only this package turns an error into an exit code.
"""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, NoReturn

if TYPE_CHECKING:
    import typer

    app: typer.Typer

__all__ = ["app", "main"]

INTERRUPTED, USER_ERROR = 130, 2


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run `lmht` and exit.

    The exit code is 0 for success, 1 if backends disagree, 2 for a user error (one line on standard
    error), 130 after Ctrl-C, 143 after SIGTERM, 129 after SIGHUP, and 141 if the reader of standard
    output has left.

    Args:
        arguments: Arguments of the command line; by default those of the process.
    """
    with _ended_like_ctrl_c() as received:
        try:
            from ._app import invoke

            code = invoke(arguments)
        except KeyboardInterrupt:
            code = INTERRUPTED
        except MemoryError:  # also while modules are imported
            sys.stderr.write("lmht: out of memory\n")
            code = USER_ERROR
    if code == INTERRUPTED:
        sys.stderr.write("lmht: terminated\n" if received else "lmht: interrupted\n")
        code = 128 + received[0] if received else code
    sys.exit(code)


@contextmanager
def _ended_like_ctrl_c() -> Iterator[list[int]]:
    """Let signals that end a process raise KeyboardInterrupt, so that it cleans up.

    A second signal of the same kind ends the process at once. A signal that is ignored stays
    ignored, as after `nohup`.

    Yields:
        The numbers of the signals that were received.
    """
    received: list[int] = []

    def end(number: int, frame: object) -> NoReturn:
        signal.signal(number, signal.SIG_DFL)
        received.append(number)
        raise KeyboardInterrupt

    names = ("SIGTERM", "SIGHUP")
    numbers = [getattr(signal, name) for name in names if hasattr(signal, name)]
    main_thread = threading.current_thread() is threading.main_thread()
    taken = [n for n in numbers if main_thread and signal.getsignal(n) == signal.SIG_DFL]
    for number in taken:
        signal.signal(number, end)
    try:
        yield received
    finally:
        for number in taken:
            signal.signal(number, signal.SIG_DFL)


def __getattr__(name: str) -> object:
    """Import `app` on first use, so that Ctrl-C during that import ends in one line, too."""
    if name == "app":
        from ._app import app

        return app
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
