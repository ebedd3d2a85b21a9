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
    """Every row of the tables of speed is a row of the newest record, rounded."""
    records = sorted((ROOT / "benchmarks" / "results").glob("web-*.txt"))
    record = records[-1].read_text()
    for page, table in (("browser.md", "lmht.js"), ("library.md", "liblmht")):
        text = (PAGE.parent / page).read_text().partition("## Speed")[2].partition("\n## ")[0]
        recorded = record[record.index(f"{table}   ") :]
        rows = re.findall(r"^\| \D.*?\| ([\d.]+) \| ([\d.]+)", text, re.M)
        measured = re.findall(r"^\S.*? +(\d+\.\d+) +(\d+\.\d+) +\d+\.\d\d$", recorded, re.M)
        assert len(rows) == 3
        for shown, found in zip(rows, measured, strict=False):
            for value, figure in zip(shown, found, strict=True):
                digits = len(value.partition(".")[2])
                assert abs(float(value) - float(figure)) <= 0.5001 * 10**-digits, (shown, found)
