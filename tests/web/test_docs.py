"""The JavaScript of the documentation runs in Node.js."""

from __future__ import annotations

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
