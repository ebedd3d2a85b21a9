"""Options that several verbs have, their checks and their completion.

The checks run while the command line is parsed: before PyTorch is imported and data is read.
"""

from __future__ import annotations

import math
import os
import re
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Annotated

import typer

from lmht_deploy._packages import require_package
from lmht_deploy._threads import MAX_THREADS
from lmht_deploy.errors import DataError, LmhtError, StorageError, listed
from lmht_deploy.formats.files import check_folder

from ._console import STDOUT, out, warn

DATA, EXECUTION, OUTPUT = "Data", "Execution", "Output"
"""Groups of options in `--help`."""
SPLITS = ("train", "validation", "test", "all")


# ------------------------------------------------------------------------------------- checks


def file_with(*suffixes: str) -> Callable[[Path], Path]:
    """Return a check that a path has one of `suffixes` and is no folder."""

    def check(path: Path) -> Path:
        if path.suffix not in suffixes or path.is_dir():
            what = "is a folder; " if path.is_dir() else ""
            raise StorageError(f"{path}: {what}expected a {listed(suffixes, 'or')} file")
        return path

    return check


def network_file(*others: str) -> Callable[[Path], Path]:
    """Return a check of a file of a network, or "zoo:NAME".

    Args:
        others: File name extensions of files that are accepted, too.
    """

    def check(path: Path) -> Path:
        from lmht_deploy.formats.networks import NETWORK_SUFFIXES
        from lmht_deploy.zoo import network_path

        suffixes = dict.fromkeys((*NETWORK_SUFFIXES, *others))
        return file_with(*suffixes)(network_path(path))

    return check


def is_file(path: Path | None) -> Path | None:
    """Refuse a folder where a file is expected."""
    if path is not None and path.is_dir():
        raise StorageError(f"{path}: is a folder; expected a file")
    return path


def check_json(path: Path | None) -> Path | None:
    """Check that the JSON file is no folder; "-" moves all other output to stderr."""
    out.stderr = path == STDOUT
    if path is not None and path != STDOUT:
        is_file(path)
    return path


def check_report(path: Path | None) -> Path | None:
    """Check the name of the page, and that its packages are installed."""
    if path is not None:
        _check_report_packages()
        if path.suffix.lower() not in (".html", ".htm"):
            raise DataError(f"{path}: a report is an .html file")
        is_file(path)
    return path


def check_figures(folder: Path | None) -> Path | None:
    """Check that the folder of figures can be written later, and that Matplotlib is installed."""
    if folder is not None:
        _check_report_packages()
        check_out(folder)
    return folder


def _check_report_packages() -> None:
    for package in ("matplotlib", "jinja2"):
        require_package(package, "report")


def check_positive(option: typer.CallbackParam, value: float | None) -> float | None:
    """Check that a number is above 0, and finite."""
    if value is not None and not 0 < value < math.inf:
        raise DataError(f"{option.opts[0]} must be a number > 0, not {value}")
    return value


def check_out(folder: Path) -> Path:
    """Check that an output folder can be written, or created, without creating it."""
    check_folder(folder)
    return folder


def _check_split(split: str | None) -> str | None:
    if split is not None and split not in SPLITS:
        raise DataError(f"split must be 'train', 'validation', 'test' or 'all', not {split!r}")
    return split


def _check_device(device: str) -> str:
    if not re.fullmatch(r"[a-z]+(:\d+)?", device):
        raise LmhtError(
            f"device must be 'auto' or a device of PyTorch as 'cpu', 'cuda' or 'cuda:1', "
            f"not {device!r}"
        )
    return device


def _check_threads(threads: int) -> int:
    cpus = os.cpu_count() or 1
    if threads > cpus:
        warn(f"{threads} threads on {cpus} CPUs are slower than {cpus} threads")
    return threads


def _check_energy(name: str) -> str:
    from lmht_deploy.analysis.energy import energy_model

    energy_model(name)
    return name


def _check_sensor(text: str | None) -> str | None:
    parse_sensor(text)
    return text


def parse_sensor(text: str | None) -> tuple[int, int] | None:
    """Return (height, width) of a size "WIDTHxHEIGHT"; DataError if it is none."""
    if text is None:
        return None
    found = re.fullmatch(r"0*([1-9]\d*)x0*([1-9]\d*)", text)
    if found is None:
        raise DataError(f"a size is given as WIDTHxHEIGHT, as in 128x128, not {text!r}")
    return int(found[2]), int(found[1])


# ------------------------------------------------------------------------------------- completion


def completion(
    names: Callable[[], Iterable[str]], *, files: bool = False
) -> Callable[[str], list[str]]:
    """Return a function that completes one of `names`, or also the path of a file."""

    def complete(incomplete: str) -> list[str]:
        found = [*names(), *(_paths(incomplete) if files else ())]
        return [name for name in found if name.startswith(incomplete)]

    return complete


def _paths(incomplete: str) -> Iterator[str]:
    """Yield the files and folders whose paths begin with `incomplete`."""
    folder, _, begin = incomplete.rpartition("/")
    for path in sorted(Path(folder or ("/" if incomplete.startswith("/") else ".")).glob("*")):
        if path.name.startswith(begin) and not path.name.startswith("."):
            prefix = incomplete.removesuffix(begin) if begin else incomplete
            yield f"{prefix}{path.name}{'/' if path.is_dir() else ''}"


def backend_names() -> tuple[str, ...]:
    """Names of all backends."""
    from lmht_deploy import backends

    return (*backends.NAMES, *backends.FOREIGN)


def complete_list(names: Callable[[], Iterable[str]]) -> Callable[[str], list[str]]:
    """Return a function that completes the last name of a list separated by commas."""

    def complete(incomplete: str) -> list[str]:
        before, comma, last = incomplete.rpartition(",")
        return [before + comma + name for name in names() if name.startswith(last)]

    return complete


def data_set_names() -> list[str]:
    """Names of all data sets."""
    from lmht_deploy import data

    return [known.name for known in data.available()]


def zoo_names() -> list[str]:
    """Names of all networks of the zoo, as "zoo:NAME"."""
    from lmht_deploy import zoo

    return [f"{zoo.PREFIX}{card.name}" for card in zoo.cards()]


complete_network = completion(zoo_names, files=True)
"""Completes a network: a name of the zoo or a file."""


def energy_model_names() -> list[str]:
    """Names of all energy models."""
    from lmht_deploy.analysis.energy import MODELS

    return list(MODELS)


# ------------------------------------------------------------------------------------- options

Json = Annotated[
    Path | None,
    typer.Option(
        "--json",
        metavar="FILE",
        help="Also write the result as JSON; '-' for standard output.",
        rich_help_panel=OUTPUT,
        callback=check_json,
    ),
]
Report = Annotated[
    Path | None,
    typer.Option(
        "--report",
        metavar="FILE",
        help="Also write a report: one .html page with tables and charts that loads nothing.",
        rich_help_panel=OUTPUT,
        callback=check_report,
    ),
]
Figures = Annotated[
    Path | None,
    typer.Option(
        "--figures",
        metavar="DIR",
        help="Also write the report's figures (SVG, PNG, PDF), tables (LaTeX) and data (CSV).",
        rich_help_panel=OUTPUT,
        callback=check_figures,
    ),
]
_DATA = typer.Option(
    "--data",
    metavar="NAME|PATH",
    help="Data: a data set by name (see `lmht datasets`), a folder with one folder of recordings "
    "per class, a recording, or an .npz file of windows.",
    rich_help_panel=DATA,
    autocompletion=completion(data_set_names, files=True),
)
Data = Annotated[str, _DATA]
OptionalData = Annotated[str | None, _DATA]
Root = Annotated[
    Path | None,
    typer.Option(
        "--root",
        metavar="DIR",
        help="Folder of a data set that is known by name.",
        rich_help_panel=DATA,
    ),
]
SensorSize = Annotated[
    str | None,
    typer.Option(
        "--sensor",
        metavar="WxH",
        help="Size of the sensor, for recordings that do not state it.",
        rich_help_panel=DATA,
        callback=_check_sensor,
    ),
]
Track = Annotated[
    str | None,
    typer.Option(
        "--track",
        metavar="NAME",
        help="Track of events, for a file that holds several: its number or name, or the path of "
        "a group in HDF5.",
        rich_help_panel=DATA,
    ),
]
Subset = Annotated[
    bool,
    typer.Option("--subset", help="Accept an incomplete data set.", rich_help_panel=DATA),
]
Cache = Annotated[
    Path | None,
    typer.Option(
        "--cache",
        metavar="DIR",
        help="Folder that keeps the windows of a data set for the next call (default: the user's "
        "cache folder, or that of the variable LMHT_CACHE).",
        rich_help_panel=DATA,
    ),
]
NoCache = Annotated[
    bool,
    typer.Option("--no-cache", help="Make the windows anew and keep none.", rich_help_panel=DATA),
]
Drop = Annotated[
    bool,
    typer.Option(
        "--drop",
        help="Drop and count invalid events, instead of stopping at the first one.",
        rich_help_panel=DATA,
    ),
]
Split = Annotated[
    str | None,
    typer.Option(
        "--split",
        help="Part of the data: 'train', 'validation', 'test' or 'all' (default: test for data "
        "sets and folders of classes, all for files).",
        rich_help_panel=DATA,
        callback=_check_split,
        autocompletion=completion(lambda: SPLITS),
    ),
]
Limit = Annotated[
    int | None,
    typer.Option(
        "--limit",
        min=1,
        metavar="N",
        help="Run a sample of N windows, as many of each class; without labels, the first N.",
        rich_help_panel=DATA,
    ),
]
Threads = Annotated[
    int,
    typer.Option(
        "--threads",
        min=1,
        max=MAX_THREADS,
        help="Maximum number of threads.",
        rich_help_panel=EXECUTION,
        callback=_check_threads,
    ),
]
Device = Annotated[
    str,
    typer.Option(
        "--device",
        help="Device of PyTorch: 'cpu', 'cuda', 'cuda:1', ...; 'auto' uses an accelerator if "
        "there is one.",
        rich_help_panel=EXECUTION,
        callback=_check_device,
        autocompletion=completion(lambda: ("auto", "cpu", "cuda", "mps", "xpu")),
    ),
]
Energy = Annotated[
    str,
    typer.Option(
        "--energy",
        help="Energy model of the tables: '45nm', 'loihi1', ..., or a .toml file of your own.",
        rich_help_panel=OUTPUT,
        callback=_check_energy,
        autocompletion=completion(energy_model_names),
    ),
]
