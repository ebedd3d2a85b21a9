"""The driver is killed at random moments and started again: the table is the same."""

from __future__ import annotations

import random
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

import lmht_deploy as lmht
from lmht_deploy.cli.evaluate import TABLES
from lmht_deploy.ir import Network
from tests.support.networks import windows_for

from .test_executors import processes

TIMES = 5
"""How often the driver is killed."""


def test_a_killed_driver_is_resumed(path: Path, net: Network, tmp_path: Path) -> None:
    many = windows_for(net, 600).astype(np.uint8)
    classes = np.arange(len(many)) % net.classes
    lmht.save_windows(many, tmp_path / "data.npz", classes)

    def command(out: str) -> list[str]:
        files = [str(path), "--data", str(tmp_path / "data.npz"), "--out", str(tmp_path / out)]
        options = ["--shard", "4", "--workers", "2", "--backends", "event,reference"]
        return [sys.executable, "-m", "lmht_deploy", "evaluate", *files, *options]

    subprocess.run(command("whole"), check=True, capture_output=True)
    random.seed(0)
    counts = []
    for _ in range(TIMES):
        process = subprocess.Popen(
            command("killed"), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        time.sleep(random.uniform(0.6, 2.5))
        process.kill()
        process.wait()
        counts.append(len(list((tmp_path / "killed").glob("shards/*/*.parquet"))))
    assert counts == sorted(counts)
    subprocess.run(command("killed"), check=True, capture_output=True)
    for name in TABLES:
        same = [(tmp_path / out / name).read_bytes() for out in ("whole", "killed")]
        assert same[0] == same[1], name
    assert not list((tmp_path / "killed").rglob("*.partial"))
    assert not processes(str(tmp_path))


@pytest.mark.parametrize("arguments", [["--help"], []])
def test_the_command_line(arguments: list[str]) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "lmht_deploy", "evaluate", *arguments],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == (0 if arguments else 2)
