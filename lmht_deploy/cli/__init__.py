"""`lmht`: one module per verb. The only place that prints, and that turns an error into an exit code."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import NoReturn

import typer

from lmht_deploy import __version__
from lmht_deploy.errors import LmhtError

from . import common, lava
from .compare import compare
from .convert import convert
from .demo import demo
from .emulate import emulate
from .export import export
from .inspect import inspect
from .run import run
from .stream import stream
from .train import train
from .validate import validate

USER_ERROR = 2
INTERRUPTED = 130  # what typer makes of Ctrl-C

app = typer.Typer(
    name="lmht",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
)
for verb, example in (
    (demo, "lmht demo --out demo"),
    (train, "lmht train digits --out runs/digits training.epochs=10"),
    (convert, "lmht convert runs/digits --out net.lmht"),
    (validate, "lmht validate runs/digits --json table2.json"),
    (export, "lmht export net.lmht --out net.onnx"),
    (run, "lmht run net.lmht --data digits --json run.json"),
    (compare, "lmht compare net.lmht --data digits --backends event,onnx"),
    (stream, "lmht stream net.lmht recording.aedat4 --bin-us 25000 --speed 1"),
    (emulate, "lmht emulate cifar10 --out data --per-class 100"),
    (inspect, "lmht inspect net.lmht --run run.json"),
):
    app.command(epilog=f"Example: {example}")(verb)
app.add_typer(lava.app)


def _version(asked: bool) -> None:
    if asked:
        common.out.print(__version__, highlight=False)
        raise typer.Exit


@app.callback()
def _root(
    version: bool = typer.Option(
        False, "--version", is_eager=True, callback=_version, help="Print the version and exit."
    ),
) -> None:
    """Spiking networks trained with the LM-HT model: convert, export, run and compare them, with the very same spikes."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Entry point of `lmht`: exits with 0, with 1 where backends disagree, with 2 and one line on stderr for a user's error, with 130 after Ctrl-C."""
    try:
        code = (
            app(
                args=list(arguments) if arguments is not None else None,
                prog_name="lmht",
                standalone_mode=False,
            )
            or 0
        )
    except LmhtError as error:
        _fail(str(error))
    except Exception as error:
        if not hasattr(
            error, "format_message"
        ):  # not a usage error of the command line: a defect, to be seen whole
            raise
        _fail(error.format_message() or "nothing to do; see lmht --help")
    if code == INTERRUPTED:
        common.err.print("lmht: interrupted")
    sys.exit(code)


def _fail(message: str) -> NoReturn:
    common.err.print(
        f"lmht: {' '.join(message.split())}", soft_wrap=True, markup=False, highlight=False
    )
    sys.exit(USER_ERROR)
