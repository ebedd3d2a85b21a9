"""`lmht datasets`: the data sets that can be read by name, and their split schemes."""

from __future__ import annotations

import csv
import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from lmht_deploy._packages import install_command
from lmht_deploy.errors import DataError, counted

from . import _options as options
from . import _split_options as splits
from ._console import say, show, table, write_json

if TYPE_CHECKING:
    from lmht_deploy.data import DataSet


def datasets(
    name: Annotated[
        str | None,
        typer.Argument(
            help="A data set, to show its split schemes.",
            autocompletion=options.completion(options.data_set_names),
        ),
    ] = None,
    split_scheme: splits.SplitScheme = None,
    out: Annotated[
        Path | None,
        typer.Option(
            "--out",
            metavar="FILE",
            help="Write the files of the data set and their splits by --split-scheme as CSV.",
            rich_help_panel=options.OUTPUT,
        ),
    ] = None,
    json: options.Json = None,
) -> None:
    """List the data sets that `--data` and recipes know by name. Nothing is read or downloaded.

    With a name, list its split schemes, which are the same for everyone.
    """
    if (split_scheme is None) != (out is None) or (out is not None and name is None):
        raise DataError("a list of files needs the name of a data set, --split-scheme and --out")
    if out is not None:
        _write_list(name or "", split_scheme or "", options.file_with(".csv")(out))
    elif name is not None:
        _show_one(name, json)
    else:
        _show_all(json)


def _show_all(json: Path | None) -> None:
    from lmht_deploy import data

    found = data.available()
    text = ("name", "kind", "origin", "packages")
    rows = table("data sets", ("name", "kind", "size", "classes", *text[2:]), left=text)
    for known in found:
        size = "" if known.size is None else f"{known.size.width}x{known.size.height}"
        rows.add_row(
            known.name, known.kind, size, str(known.classes or ""), known.origin, _state(known)
        )
    show(rows)
    say(
        "--data also takes a folder with one folder of recordings per class, a recording, an .npz "
        "file of windows, and tonic:CLASS for other classes of tonic.datasets."
    )
    write_json(json, {"datasets": [_plain(known) for known in found]})


def _show_one(name: str, json: Path | None) -> None:
    from lmht_deploy import data

    known = data.find_data_set(name)
    schemes = [_scheme(name, scheme) for scheme in known.split_schemes]
    say(f"{known.name}: {known.origin}")
    if schemes:
        rows = table("split schemes", tuple(schemes[0]), left=("scheme", "meaning", "digest"))
        for scheme in schemes:
            rows.add_row(*map(str, (scheme | {"digest": scheme["digest"][:12]}).values()))
        show(rows)
    else:
        say("It has splits of its own, which are used: there is no split scheme.")
    write_json(json, {**_plain(known), "split_schemes": schemes})


def _scheme(name: str, scheme: str) -> dict[str, Any]:
    """Describe a scheme; numbers and digest are those of the complete data set, if it is known."""
    from lmht_deploy.data._schemes import DIGESTS, find_scheme, split_list

    found = find_scheme(scheme)
    files = split_list(name, scheme) if found.knows(name) else {}
    return {
        "scheme": scheme,
        "train": list(files.values()).count("train") or "",
        "test": list(files.values()).count("test") or "",
        "digest": DIGESTS[name.removeprefix("tonic:")][scheme] if files else "",
        "meaning": found.meaning,
    }


def _write_list(name: str, scheme: str, out: Path) -> None:
    from lmht_deploy import data
    from lmht_deploy.formats.files import atomic_write

    files = data.split_list(name, scheme)
    with atomic_write(out) as temporary, temporary.open("w", encoding="utf-8", newline="") as file:
        rows = [(path, path.split("/")[-2], split, scheme) for path, split in files.items()]
        csv.writer(file, lineterminator="\n").writerows(
            [("file", "label", "split", "scheme"), *rows]
        )
    say(f"{out}: {counted(len(files), 'file')} of {name} and their splits by {scheme}")


def _state(known: DataSet) -> str:
    return install_command(known.extra) if known.missing else "installed"


def _plain(known: DataSet) -> dict[str, object]:
    return {**dataclasses.asdict(known), "missing": known.missing}
