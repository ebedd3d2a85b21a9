"""The verbs of `lmht`, and the exit code of one call."""

from __future__ import annotations

import errno
import sys
from collections.abc import Callable, Sequence
from typing import Any

import typer

from lmht_deploy import __version__
from lmht_deploy.errors import LmhtError

from . import events, lava
from ._console import STDOUT, ReaderLeftError, out, say, tell, writing
from ._verb import Verb
from .compare import compare
from .convert import convert
from .datasets import datasets
from .demo import demo
from .doctor import doctor
from .emulate import emulate
from .evaluate import evaluate
from .explain import explain
from .export import export
from .import_ import import_
from .inspect import inspect
from .recipes import recipes
from .run import run
from .search import search
from .stream import stream
from .train import train
from .validate import validate
from .view import view
from .zoo import zoo

USER_ERROR = 2
DISK_ERRORS = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO)
"""Errors of a disk."""
READER_LEFT = 141
"""Exit code of a program that SIGPIPE ends in a shell."""
TRAIN, DEPLOY, LOOK, TOOLS = "Train and convert", "Export and run", "Information", "Tools"
VERBS: tuple[tuple[str, Callable[..., None], str], ...] = (
    (TRAIN, demo, "lmht demo --out demo"),
    (TRAIN, train, "lmht train digits --out runs/digits training.epochs=10"),
    (TRAIN, validate, "lmht validate runs/digits --json table2.json"),
    (TRAIN, convert, "lmht convert runs/digits --out net.lmht"),
    (TRAIN, import_, "lmht import net.nir --out net.lmht --steps 16 --profile sinabs"),
    (DEPLOY, export, "lmht export net.lmht --out net.onnx"),
    (DEPLOY, run, "lmht run net.lmht --data recording.aedat4 --predictions answers.csv"),
    (DEPLOY, compare, "lmht compare net.lmht --data digits --backends event,onnx"),
    (DEPLOY, evaluate, "lmht evaluate nets/*.lmht --data digits --out results"),
    (DEPLOY, search, "lmht search net.lmht --data held.npz --split all --budget-sops 5e5 --out s"),
    (DEPLOY, stream, "lmht stream net.lmht recording.aedat4 --length 100ms --speed 1"),
    (DEPLOY, view, "lmht view net.lmht recording.aedat4 --length 100ms"),
    (DEPLOY, explain, "lmht explain net.lmht recording.aedat4 --report explanation.html"),
    (LOOK, inspect, "lmht inspect net.lmht --target loihi2"),
    (LOOK, zoo, "lmht zoo digits"),
    (LOOK, recipes, "lmht recipes digits"),
    (LOOK, datasets, "lmht datasets tonic:CIFAR10DVS"),
    (LOOK, doctor, "lmht doctor"),
    (TOOLS, emulate, "lmht emulate cifar10 --out data --per-class 100"),
)

app = typer.Typer(
    name="lmht",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    epilog="Shell completion: lmht --install-completion",
)
for _panel, _verb, _example in VERBS:
    app.command(
        _verb.__name__.rstrip("_"), cls=Verb, epilog=f"Example: {_example}", rich_help_panel=_panel
    )(_verb)
app.add_typer(events.app, rich_help_panel=TOOLS)
app.add_typer(lava.app, rich_help_panel=TOOLS)


def _print_version(asked: bool) -> None:
    if asked:
        say(__version__)
        raise typer.Exit


PATHS = ("FILE", "DIR")
"""What `--help` shows for the value of an option that is a file or a folder."""


@app.callback()
def _root(
    version: bool = typer.Option(
        False,
        "--version",
        is_eager=True,
        callback=_print_version,
        help="Print the version and exit.",
    ),
) -> None:
    """Train, convert, export, run and compare spiking networks of the LM-HT model.

    Every backend computes the same integers.
    """


def invoke(arguments: Sequence[str] | None) -> int:
    """Run one command and return its exit code; a user error is printed in one line."""
    out.stderr = False  # an earlier command of this process may have ended with `--json -`
    try:
        _check_not_empty(sys.argv[1:] if arguments is None else arguments)
        code: Any = app(
            args=None if arguments is None else list(arguments),
            prog_name="lmht",
            standalone_mode=False,
        )
        with writing(STDOUT):
            if sys.stdout is not None:
                sys.stdout.flush()
    except LmhtError as error:
        return _fail(str(error))
    except ReaderLeftError:
        return READER_LEFT
    except SystemExit as end:
        if isinstance(end.__context__, BrokenPipeError):  # typer was writing the help
            return READER_LEFT
        raise
    except OSError as error:  # files that a command reads or writes raise StorageError
        return _fail(f"{error.filename or _unnamed(error)}: {error.strerror or error}")
    except Exception as error:
        if not hasattr(error, "format_message"):  # a defect, not a usage error: show the traceback
            raise
        return _fail(error.format_message() or "nothing to do; see lmht --help")
    return int(code or 0)


def _check_not_empty(arguments: Sequence[str]) -> None:
    """Refuse empty names of files, which typer would take as the current folder."""
    for before, argument in zip(("", *arguments), arguments, strict=False):
        option = argument[:-1] if argument.endswith("=") else before
        if argument in ("", f"{option}=") and option in ("", *_path_options()):
            raise LmhtError(f"{option or 'the first argument'}: the name of a file is empty")


def _path_options() -> set[str]:
    """Return the options of all verbs whose value is a file or a folder."""
    verbs = getattr(typer.main.get_command(app), "commands", {}).values()
    return {
        option
        for verb in verbs
        for parameter in verb.params
        if parameter.metavar in PATHS or "--out" in parameter.opts
        for option in parameter.opts
    }


def _unnamed(error: OSError) -> str:
    """Name what an error without a file name is about; typer writes help by itself."""
    if error.errno in DISK_ERRORS:
        sys.stdout = None  # Python would fail again when it exits
        return "standard output"
    return "a file"


def _fail(message: str) -> int:
    tell(f"lmht: {' '.join(message.split())}")
    return USER_ERROR
