"""The command line `lmht`: one module per verb.

Only this package prints, and only this package turns an error into an exit code.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, NoReturn

from ._signals import ctrl_c_like

if TYPE_CHECKING:
    import typer

    app: typer.Typer

__all__ = ["app", "main"]

INTERRUPTED, USER_ERROR = 130, 2
REASONS = {INTERRUPTED: "interrupted", 143: "terminated", 129: "terminated"}
"""What is said where a signal ends a command, by exit code: 128 + the number of the signal."""


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run `lmht` and exit.

    The exit code is 0 for success, 1 if backends disagree, 2 for a user error (one line on standard
    error), 130 after Ctrl-C, 143 after SIGTERM, 129 after SIGHUP, and 141 if the reader of standard
    output has left.

    Args:
        arguments: Arguments of the command line; by default those of the process.
    """
    with ctrl_c_like() as received:
        try:
            from ._app import invoke

            code = invoke(arguments)
        except KeyboardInterrupt:
            code = INTERRUPTED
        except MemoryError:  # also while modules are imported
            sys.stderr.write("lmht: out of memory\n")
            code = USER_ERROR
    if code == INTERRUPTED and received:
        code = 128 + received[0]
    if code in REASONS:
        sys.stderr.write(f"lmht: {REASONS[code]}\n")
    sys.exit(code)


def __getattr__(name: str) -> object:
    """Import `app` on first use, so that Ctrl-C during that import ends in one line, too."""
    if name == "app":
        from ._app import app

        return app
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
