"""What the README shows is what runs."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]


def test_own_network(tmp_path: Path) -> None:
    example = (ROOT / "examples" / "own_network.py").read_text()
    assert f"```python\n{example}```" in (ROOT / "README.md").read_text()
    assert len([line for line in example.splitlines() if line and "import" not in line]) <= 20

    def run(*command: str) -> str:
        return subprocess.run(
            [sys.executable, *command], cwd=tmp_path, capture_output=True, text=True, check=True
        ).stdout

    run("-c", example)
    lmht = ("-c", "from lmht_deploy.cli import main; main()")
    assert "100 windows" in run(*lmht, "run", "net.lmht", "--data", "windows.npz")
    assert "wrote net.onnx" in run(*lmht, "export", "net.lmht", "--out", "net.onnx")
    assert "onnx" in run(
        *lmht,
        "compare",
        "net.lmht",
        "--data",
        "windows.npz",
        "--limit",
        "5",
        "--backends",
        "event,onnx,torch",
    )
    assert "integer network" in run(*lmht, "inspect", "net.lmht")
