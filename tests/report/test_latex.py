"""Tables for LaTeX: their structure, their escapes, and that pdflatex accepts them."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from lmht_deploy import report
from lmht_deploy.report._document import Column, Table
from lmht_deploy.report._files import LINES, to_latex
from lmht_deploy.report._text import _LATEX, count, text
from tests.support.comparison_json import comparison

SPECIAL = "a_b & 50% #1 $x$ {y} ~ ^ \\ < > µ – — − ≤ ≥ → × Σ λ θ Ω · …"
DOCUMENT = r"""\documentclass{article}
\usepackage{booktabs,graphicx}
\begin{document}
%s
\end{document}
"""
CELL = re.compile(r"(?<!\\)&")


def tables() -> list[Table]:
    """All tables of a comparison of two networks with difficult names, and a difficult one."""
    made = report.compare_report(comparison(SPECIAL, "two", classes=[SPECIAL, "100%"]))
    columns = (Column("name", text, left=True), Column(SPECIAL, count), Column("n", count))
    long = "a text that is too long for a line of a table " * 3
    return [*made.tables, Table("own", SPECIAL, columns, ((SPECIAL, 1, None), (long, 2, 3)))]


@pytest.mark.parametrize("table", tables(), ids=lambda table: table.name)
def test_the_structure(table: Table) -> None:
    text = to_latex(table)
    opened = re.findall(r"\\begin\{(\w+)\}", text)
    closed = re.findall(r"\\end\{(\w+)\}", text)
    assert opened == closed[::-1] == ["table", "tabular"]
    plain = re.sub(r"\\[{}]", "", text)
    assert plain.count("{") == plain.count("}")
    body = text.partition(r"\toprule")[2].partition(r"\bottomrule")[0]
    lines = [line for line in body.splitlines() if line.endswith(r"\\")]
    assert len(lines) == 1 + len(table.rows)
    assert {len(CELL.findall(line)) for line in lines} == {len(table.columns) - 1}
    assert not re.search(r"(?<!\\)[%#]", body)


def test_long_texts_are_broken_into_lines() -> None:
    assert rf"\begin{{tabular}}{{{LINES}rr}}" in to_latex(tables()[-1])


def test_every_escape_is_tested() -> None:
    assert set(_LATEX) <= set(SPECIAL)


def test_pdflatex_accepts_every_table(tmp_path: Path) -> None:
    program = shutil.which("pdflatex")
    if program is None:
        pytest.skip("not applicable: pdflatex is not installed")
    found = "\n\\clearpage\n".join(map(to_latex, tables()))
    (tmp_path / "all.tex").write_text(DOCUMENT % found, encoding="utf-8")
    command = [program, "-interaction=nonstopmode", "-halt-on-error", "all.tex"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, check=False, timeout=120)
    log = (tmp_path / "all.log").read_text(encoding="utf-8", errors="replace")
    assert done.returncode == 0, log[-2000:]
    assert "Missing character" not in log
    wide = [float(points) for points in re.findall(r"Overfull \\hbox \(([\d.]+)pt", log)]
    assert max(wide, default=0) < 40, log
