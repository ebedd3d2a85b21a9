"""The same network gives the same files, in any process and at any time."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("onnx")

WRITE = """
import sys
from pathlib import Path
import lmht_deploy as lmht
from tests.support.networks import SPECIAL
folder, net = Path(sys.argv[1]), SPECIAL["residual"]()
lmht.save(net, folder / "net.lmht")
lmht.export(net, folder / "net.onnx")
lmht.export(net, folder / "net.net")
"""


def digests(folder: Path) -> dict[str, str]:
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.iterdir()}


def test_the_same_network_gives_the_same_files(tmp_path: Path) -> None:
    """In processes whose strings have other hashes."""
    found = []
    for seed in ("1", "2"):
        folder = tmp_path / seed
        folder.mkdir()
        root = Path(__file__).parents[2]
        subprocess.run(
            [sys.executable, "-c", WRITE, str(folder)],
            check=True,
            cwd=root,
            env={"PYTHONPATH": str(root), "PATH": "/usr/bin:/bin", "PYTHONHASHSEED": seed},
        )
        found.append(digests(folder))
    assert len(found[0]) == 3 and found[0] == found[1]
