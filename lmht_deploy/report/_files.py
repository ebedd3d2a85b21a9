"""A report as one page, and its figures, tables and data as files."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from lmht_deploy import __version__
from lmht_deploy._packages import require_package
from lmht_deploy.formats.files import as_path, atomic_write, make_folder

from . import _text as texts
from ._document import Report, Table
from ._svg import inline, render

TEMPLATES = Path(__file__).with_name("templates")
KINDS = ("svg", "png", "pdf")
"""Kinds of files of a figure."""
LONG = 40
"""Characters of the longest text that a table for LaTeX keeps on one line."""
LINES = r"p{0.6\linewidth}"
"""Column of texts that are broken into lines."""


def to_html(report: Report) -> str:
    """Return a report as one HTML page that loads nothing.

    Args:
        report: The report.

    Raises:
        DataError: A package of the extra `report` is not installed.
    """
    for package in ("jinja2", "matplotlib"):
        require_package(package, "report")
    from jinja2 import Environment, FileSystemLoader, StrictUndefined
    from markupsafe import Markup

    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        finalize=_readable,
        undefined=StrictUndefined,
        keep_trailing_newline=True,
    )
    style = Markup((TEMPLATES / "report.css").read_text(encoding="utf-8").strip())
    page = environment.get_template("report.html")
    return page.render(report=report, style=style, inline=inline, version=__version__)


def _readable(value: Any) -> Any:
    """Escape control characters in the texts of strangers; lines stay lines."""
    if not isinstance(value, str) or hasattr(value, "__html__"):
        return value
    return "\n".join(map(texts.printable, value.split("\n")))


def to_csv(found: Table) -> str:
    """Return the values of a table as CSV; what does not exist is empty."""
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow([column.name for column in found.columns])
    writer.writerows(found.rows)
    return file.getvalue()


def to_latex(found: Table) -> str:
    r"""Return a table for LaTeX, with the packages booktabs and graphicx.

    A table that is wider than a line is scaled down to it. Long texts are broken into lines. The
    label is `tab:NAME`.
    """
    header, cells = [column.name for column in found.columns], list(found.cells())
    lines = [" & ".join(map(texts.latex, row)) + r" \\" for row in (header, *cells)]
    return "\n".join(
        [
            r"% \usepackage{booktabs,graphicx}",
            r"\begin{table}",
            r"  \centering",
            rf"  \caption{{{texts.latex(found.title)}}}",
            rf"  \label{{tab:{found.name}}}",
            r"  \resizebox{\ifdim\width>\linewidth\linewidth\else\width\fi}{!}{%",
            rf"  \begin{{tabular}}{{{_alignment(found)}}}",
            r"    \toprule",
            f"    {lines[0]}",
            r"    \midrule",
            *(f"    {line}" for line in lines[1:]),
            r"    \bottomrule",
            r"  \end{tabular}}",
            r"\end{table}",
            "",
        ]
    )


def _alignment(found: Table) -> str:
    """Return the columns for LaTeX: texts left, figures right, long texts in lines."""
    longest = [max(map(len, column), default=0) for column in zip(*found.cells(), strict=True)]
    return "".join(
        LINES if length > LONG else "l" if column.left else "r"
        for column, length in zip(found.columns, longest or [0] * len(found.columns), strict=True)
    )


def write_html(report: Report, path: str | Path) -> None:
    """Write a report as one HTML page.

    Args:
        report: The report.
        path: File to write.

    Raises:
        StorageError: The file cannot be written.
    """
    text = to_html(report)
    with atomic_write(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_figures(report: Report, folder: str | Path) -> None:
    """Write every figure and table of a report as files of its own.

    Figures become `NAME.svg`, `NAME.png` and `NAME.pdf`, with their data as `NAME.csv`. Tables
    become `NAME.tex` and `NAME.csv`. `report.json` holds everything that the report shows.

    Args:
        report: The report.
        folder: Folder to write to; it is created if it does not exist.

    Raises:
        StorageError: A file cannot be written.
    """
    require_package("matplotlib", "report")
    folder = as_path(folder)
    make_folder(folder)
    for name, content in _contents(report):
        with atomic_write(folder / name) as temporary:
            temporary.write_bytes(content)


def _contents(report: Report) -> Iterator[tuple[str, bytes]]:
    for figure in report.figures:
        for kind in KINDS:
            yield f"{figure.name}.{kind}", render(figure, kind)
        yield f"{figure.name}.csv", to_csv(figure.data).encode()
    for found in report.tables:
        yield f"{found.name}.tex", to_latex(found).encode()
        yield f"{found.name}.csv", to_csv(found).encode()
    yield "report.json", (json.dumps(report.content, indent=2) + "\n").encode()
