"""Slurm itself, on one node: the table of local workers, also where jobs and drivers are killed."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

import lmht_deploy as lmht
from lmht_deploy.cli.evaluate import TABLES
from lmht_deploy.ir import Network
from lmht_deploy.scale._recordings import Recordings
from lmht_deploy.scale.executors import open_executor, slurm
from tests.cli.test_cli import lmht as lmht_command
from tests.cli.test_cli import refused
from tests.support.networks import windows_for
from tests.support.slurm import ask, jobs, slurm_cluster, wait_until

pytest.importorskip("submitit")

COMMAND = (sys.executable, "-m", "lmht_deploy")


@pytest.fixture(scope="module")
def cluster() -> Iterator[Path]:
    with slurm_cluster() as configuration, pytest.MonkeyPatch.context() as patch:
        patch.setenv("SLURM_CONF", str(configuration))
        patch.setattr(slurm, "QUEUE_INTERVAL", 0.5)
        yield configuration


def test_a_canceled_job_is_tried_again(cluster: Path, net: Network, tmp_path: Path) -> None:
    many = windows_for(net, 192).astype(np.uint8)
    canceled: list[str] = []

    def cancel() -> None:
        wait_until(lambda: bool(jobs(cluster)), cluster.parent)
        canceled.extend(jobs(cluster)[:1])
        ask(cluster, "scancel", *canceled)

    thread = threading.Thread(target=cancel)
    thread.start()
    found = lmht.evaluate(net, many, out=tmp_path / "a", on="slurm", workers=2, shard=8)
    thread.join()
    assert found.passed and found.computed == 24
    assert found.rows == lmht.evaluate(net, many, out=tmp_path / "b", shard=192).rows
    results = {path.name for path in tmp_path.glob("a/slurm/*_result.pkl")}
    assert f"{canceled[0]}_0_result.pkl" not in results and len(results) >= 2


def test_the_jobs_of_a_killed_driver_count(
    cluster: Path, path: Path, net: Network, tmp_path: Path
) -> None:
    lmht.save_windows(windows_for(net, 96).astype(np.uint8), tmp_path / "data.npz")

    def command(out: Path, on: str) -> list[str]:
        options = ["--data", str(tmp_path / "data.npz"), "--out", str(out), "--on", on]
        return [*COMMAND, "evaluate", str(path), *options, "--workers", "2", "--shard", "8"]

    out, whole = tmp_path / "out", tmp_path / "whole"
    driver = subprocess.Popen(command(out, "slurm:timeout_min=5"), stderr=subprocess.DEVNULL)
    wait_until(lambda: len(jobs(cluster)) == 2, cluster.parent)
    driver.kill()
    driver.wait()
    wait_until(lambda: not jobs(cluster), cluster.parent)
    assert len(list(out.glob("shards/*/*.parquet"))) == 12
    for folder, on in ((out, "slurm"), (whole, "local")):
        assert lmht_command(*command(folder, on)[len(COMMAND) :]) == 0
    assert len(list(out.glob("slurm/*_submission.sh"))) == 2  # no job was needed
    for name in TABLES:
        assert (out / name).read_bytes() == (whole / name).read_bytes(), name


def test_recordings_are_emulated_by_jobs(cluster: Path, tmp_path: Path) -> None:
    """Also their rounding is that of local workers, which use one thread."""
    pytest.importorskip("faery")
    ramps = np.arange(32, dtype=np.uint8) * np.array([[4], [5]], np.uint8)
    images = np.broadcast_to(ramps[:, :, None, None], (2, 32, 32, 3))
    for on in ("slurm", "local"):
        (tmp_path / on).mkdir()
        tasks = [
            Recordings.of(images[[n]], [(0, n)], [tmp_path / on / f"{n}.aedat4"]) for n in range(2)
        ]
        with open_executor("recordings", on, 2) as executor:
            outcomes = list(executor.run(tasks, tmp_path))
        assert [outcome.error for outcome in outcomes] == ["", ""]
    for n in range(2):
        one, other = (tmp_path / on / f"{n}.aedat4" for on in ("slurm", "local"))
        assert one.read_bytes() == other.read_bytes()


def test_what_slurm_refuses_is_said_before_data_is_read(
    cluster: Path, path: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "damaged.npz").write_bytes(b"no archive")
    options = ("--data", tmp_path / "damaged.npz", "--out", tmp_path / "out", "--on")
    said = refused(capsys, "evaluate", path, *options, "slurm:slurm_partition=none")
    assert "Slurm refuses the jobs (invalid partition specified: none" in said
    with pytest.raises(lmht.BackendError, match=r"submitit cannot start jobs .*coffee"):
        open_executor("shard", "slurm:coffee=1")
