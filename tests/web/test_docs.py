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


def test_the_figures_are_recorded() -> None:
    """Every row of the tables of speed is a row of a record, rounded."""
    records = [path.read_text() for path in (ROOT / "benchmarks" / "results").glob("web-*.txt")]
    for page, table, number in (("browser.md", "lmht.js", 6), ("library.md", "liblmht", 3)):
        text = (PAGE.parent / page).read_text().partition("## Speed")[2].partition("\n## ")[0]
        rows = re.findall(r"^\| \D.*?\| ([\d.]+) \| ([\d.]+)", text, re.M)
        tables = [record.partition(f"{table}   ")[2].partition("\n\n")[0] for record in records]
        measured = re.findall(
            r"^\S.*? +(\d+\.\d+) +(\d+\.\d+) +\d+\.\d\d$", "\n".join(tables), re.M
        )
        assert len(rows) == number
        for shown in rows:
            assert any(all(map(is_rounded, shown, found)) for found in measured), shown


def is_rounded(shown: str, figure: str) -> bool:
    """Whether `shown` is `figure` with fewer digits."""
    digits = len(shown.partition(".")[2])
    return abs(float(shown) - float(figure)) <= 0.5001 * 10**-digits
