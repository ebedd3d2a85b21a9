"""The JavaScript of the documentation runs in Node.js, and its figures are recorded."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

import lmht_deploy as lmht
from lmht_deploy import zoo
from tests.docs.pages import ROOT, Block, blocks

PAGE = ROOT / "docs" / "how-to" / "browser.md"
SCRIPTS = [block for block in blocks(PAGE) if block.language == "js"]


@pytest.mark.parametrize("block", SCRIPTS, ids=lambda block: f"line-{block.line}")
def test_block(block: Block, package: Path, tmp_path: Path) -> None:
    node = shutil.which("node")
    if node is None:
        pytest.skip("Node.js is not installed")
    shutil.copytree(package, tmp_path / "node_modules" / "lmht.js")
    lmht.export(lmht.load("zoo:digits"), tmp_path / "digits.lmhtf")
    shutil.copy(zoo.recording_path(Path("zoo:digits")), tmp_path / "digits.raw")
    (tmp_path / "script.mjs").write_text(block.code)
    done = subprocess.run(
        [node, "script.mjs"], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout


@pytest.mark.parametrize(
    ("page", "table", "rows"), [("browser", "lmht.js", 6), ("library", "liblmht", 3)]
)
def test_the_figures_are_recorded(page: str, table: str, rows: int) -> None:
    """Every row of the tables of speed is a row of a record, rounded."""
    text = (PAGE.parent / f"{page}.md").read_text().partition("## Speed")[2].partition("\n## ")[0]
    shown = re.findall(r"^\|.*?\D \| ([\d.]+) \| ([\d.]+) \|", text, re.M)
    recorded = [
        figures
        for record in (ROOT / "benchmarks" / "results").glob("web-*.txt")
        for figures in _measured(record.read_text().partition(f"{table}   ")[2])
    ]
    assert len(shown) == rows
    for row in shown:
        assert any(_is_rounded(row, figures) for figures in recorded), row


def _measured(text: str) -> list[tuple[str, str]]:
    return re.findall(r"^\S.*? +(\d+\.\d+) +(\d+\.\d+) +\d+\.\d\d$", text, re.M)


def _is_rounded(shown: tuple[str, ...], figures: tuple[str, ...]) -> bool:
    return all(
        abs(float(value) - float(figure)) <= 0.5001 * 10 ** -len(value.partition(".")[2])
        for value, figure in zip(shown, figures, strict=True)
    )
