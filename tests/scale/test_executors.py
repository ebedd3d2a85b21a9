"""Executors: local processes, Ray and Slurm give the same table, also where workers are killed."""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import lmht_deploy as lmht
from lmht_deploy._folders import own_prefix, remove_abandoned
from lmht_deploy.ir import Network
from lmht_deploy.scale import State
from lmht_deploy.scale._recordings import Recordings
from lmht_deploy.scale.executors import local, open_executor
from lmht_deploy.scale.executors.ray import TEMPORARY
from lmht_deploy.scale.executors.slurm import parse_parameters
from tests.support.networks import SPECIAL, windows_for

WORKER = "lmht_deploy.scale.executors._process"


def processes(text: str) -> list[int]:
    """The processes of this user whose command line holds `text`; /proc of Linux says which."""
    found = []
    for entry in Path("/proc").iterdir():
        with contextlib.suppress(OSError):
            if entry.name.isdecimal() and text in (entry / "cmdline").read_text():
                found.append(int(entry.name))
    return found


def children(text: str) -> list[int]:
    """The child processes of this one whose command line holds `text`."""
    found = []
    for process in processes(text):
        with contextlib.suppress(OSError):
            stat = Path(f"/proc/{process}/stat").read_text()
            if int(stat.rpartition(")")[2].split()[1]) == os.getpid():
                found.append(process)
    return found


class Killer:
    """Kills a process after some shards, as a progress callback."""

    def __init__(self, after: int, find: Any) -> None:
        self._after, self._find, self.killed = after, find, 0

    def __call__(self, state: State) -> None:
        if state.done == self._after and not self.killed:
            self.killed = self._find()[0]
            os.kill(self.killed, signal.SIGKILL)


@pytest.fixture
def many(net: Network) -> np.ndarray:
    return windows_for(net, 192).astype(np.uint8)


def expected(net: Network, many: np.ndarray, out: Path) -> lmht.Evaluation:
    return lmht.evaluate(net, many, out=out, workers=1, shard=192)


def test_a_killed_local_worker_is_replaced(net: Network, many: np.ndarray, tmp_path: Path) -> None:
    killer = Killer(3, lambda: children(WORKER))
    found = lmht.evaluate(net, many, out=tmp_path / "a", workers=2, shard=8, progress=killer)
    assert killer.killed and found.passed
    assert found.rows == expected(net, many, tmp_path / "b").rows
    assert not children(WORKER)


def test_a_worker_that_always_dies_is_a_failure(
    net: Network, windows: np.ndarray, tmp_path: Path
) -> None:
    ended = threading.Event()

    def kill() -> None:
        while not ended.is_set():
            for process in children(WORKER):
                with contextlib.suppress(OSError):
                    os.kill(process, signal.SIGKILL)
            time.sleep(0.01)

    thread = threading.Thread(target=kill)
    thread.start()
    try:
        found = lmht.evaluate(net, windows, out=tmp_path, workers=1, shard=24)
    finally:
        ended.set()
        thread.join()
    assert not found.rows and "its worker ended 3 times: exit code -9" in found.failures[0]


def test_an_interrupt_ends_the_workers(net: Network, many: np.ndarray, tmp_path: Path) -> None:
    def interrupt(state: State) -> None:
        if state.done == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        lmht.evaluate(net, many, out=tmp_path, workers=2, shard=8, progress=interrupt)
    assert not children(WORKER)


def test_memory_stays_flat(net: Network, windows: np.ndarray, tmp_path: Path) -> None:
    """500 shards; less than the content of one result (6 kB) is kept of each of the last 400."""
    found: dict[int, list[int]] = {}

    def watch(state: State) -> None:
        if state.done in (100, 490):
            found[state.done] = [kilobytes(process) for process in (os.getpid(), *children(WORKER))]

    many = np.random.default_rng(0).permuted(np.repeat(windows, 84, 0), axis=0)[:2000]
    lmht.evaluate(net, many, out=tmp_path, workers=1, shard=4, progress=watch)
    assert (tmp_path / "shards").exists() and len(found[490]) == 2
    growth = [last - first for first, last in zip(found[100], found[490], strict=True)]
    assert max(growth) < 2048, found


def kilobytes(process: int) -> int:
    """Memory of a process without files that it maps."""
    lines = Path(f"/proc/{process}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("RssAnon"))


TASK = Recordings.of(np.zeros((1, 32, 32, 3), np.uint8), [(0,)], [Path("unused")])


@pytest.mark.parametrize(("lines", "code"), [(0, 0), (1, 1)])
def test_a_worker_whose_input_ends(lines: int, code: int) -> None:
    """It exits with 0 where it is idle, and with 1 where a task is open."""
    for _ in range(2):
        done = subprocess.run(
            [sys.executable, "-c", WAITING],
            input=(TASK.to_json() + "\n") * lines,
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
        assert (done.returncode, done.stdout) == (code, ""), done.stderr


WAITING = """
import time
from lmht_deploy.scale._recordings import Recordings
from lmht_deploy.scale.executors._process import main
Recordings.run = lambda self, opened: time.sleep(60)
main("recordings")
"""
"""A worker whose tasks take a minute."""


def test_workers_that_run_nothing_end(
    net: Network, windows: np.ndarray, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They start while the driver plans, also for an evaluation that then fails."""
    started: list[int] = []

    def plan(*_: Any) -> Any:
        started.extend(children(WORKER))
        raise lmht.DataError("no plan")

    monkeypatch.setattr("lmht_deploy.scale._evaluate.keep_networks", plan)
    with pytest.raises(lmht.DataError, match="no plan"):
        lmht.evaluate(net, windows, out=tmp_path, workers=2)
    assert len(started) == 2 and not children(WORKER)


def test_where_nothing_is_left_to_compute_no_worker_starts(
    net: Network, windows: np.ndarray, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    started: list[str] = []

    class Counted(local._Process):
        def __init__(self, kind: str) -> None:
            started.append(kind)
            super().__init__(kind)

    def processes_of(call: Callable[..., Any], *arguments: Any, **options: Any) -> int:
        started.clear()
        call(*arguments, out=tmp_path, workers=2, shard=8, **options)
        return len(started)

    monkeypatch.setattr(local, "_Process", Counted)
    assert processes_of(lmht.evaluate, net, windows) == 2
    assert processes_of(lmht.evaluate, net, windows) == 0
    next(tmp_path.glob("shards/*/*.parquet")).unlink()
    assert processes_of(lmht.evaluate, net, windows) == 1
    few, labels = SPECIAL["if"](), np.zeros(len(windows), int)  # of few variants
    assert processes_of(lmht.search, few, windows, labels) == 2
    assert processes_of(lmht.search, few, windows, labels) == 0


def test_folders_of_killed_processes_are_removed(tmp_path: Path) -> None:
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    mine = f"{own_prefix('lmht-ray-')}a"
    gone = mine.replace(str(os.getpid()), str(ended.pid))
    others = ["lmht-ray-elsewhere-1-a", gone.removesuffix("a") + "1-a"]  # of a host "HERE-PID"
    for name in (mine, gone, *others):
        (tmp_path / name).mkdir()
        (tmp_path / name / "net.lmht").touch()
    remove_abandoned(tmp_path, "lmht-ray-")
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([mine, *others])


# ------------------------------------------------------------------------------------- Ray


def start_ray() -> None:
    import ray

    ray.init(
        num_cpus=2,
        include_dashboard=False,
        log_to_driver=False,
        logging_level=logging.ERROR,
        object_store_memory=2**27,
    )


def evaluate_with_ray(*arguments: Any, killed_after: int = 0, **options: Any) -> Any:
    """The evaluation, and the process of an actor that was killed after so many shards."""
    killer = Killer(killed_after or sys.maxsize, lambda: processes("ray::_RemoteWorker"))
    return lmht.evaluate(*arguments, **options, on="ray", progress=killer), killer.killed


@pytest.fixture(scope="module")
def cluster() -> Iterator[Executor]:
    """Ray with two workers on this machine, and a process that has started it.

    Ray leaves threads and silent handlers of fatal signals in its process, which the other tests
    are not to have.
    """
    pytest.importorskip("ray")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        with ProcessPoolExecutor(1, get_context("spawn"), start_ray) as process:
            yield process


@pytest.mark.filterwarnings("ignore")
def test_ray_gives_the_same_table(
    cluster: Executor, net: Network, many: np.ndarray, tmp_path: Path
) -> None:
    run = cluster.submit(
        evaluate_with_ray, net, many, out=tmp_path / "a", workers=2, shard=8, killed_after=3
    )
    found, killed = run.result()
    assert killed and found.passed and found.computed == 24
    assert found.rows == expected(net, many, tmp_path / "b").rows
    left = Path(tempfile.gettempdir()).glob(f"{TEMPORARY}*-{killed}-*")
    assert not list(left)  # the actor in its place removed it


@pytest.mark.filterwarnings("ignore")
def test_a_network_that_fails_on_ray(
    cluster: Executor, net: Network, windows: np.ndarray, tmp_path: Path
) -> None:
    lmht.save(net, tmp_path / "net.lmht")
    content = (tmp_path / "net.lmht").read_bytes()
    (tmp_path / "broken.lmht").write_bytes(content[:500])
    run = cluster.submit(evaluate_with_ray, tmp_path / "broken.lmht", windows, out=tmp_path / "out")
    found, _ = run.result()
    assert "broken.lmht" in found.failures[0]


def test_a_cluster_that_is_not_there(
    net: Network, windows: np.ndarray, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ray = pytest.importorskip("ray")

    def refuse(*_: Any, **__: Any) -> None:
        raise ConnectionError("no cluster")

    monkeypatch.setattr(ray, "init", refuse)
    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    with pytest.raises(lmht.BackendError, match=r"reached ray://host:1 \(no cluster\)"):
        lmht.evaluate(net, windows, out=tmp_path, on="ray://host:1")


# ------------------------------------------------------------------------------------- Slurm


def test_slurm_gives_the_same_table(net: Network, many: np.ndarray, tmp_path: Path) -> None:
    """The adapter, against the executor of submitit that starts processes of this machine."""
    pytest.importorskip("submitit")
    found = lmht.evaluate(
        net, many, out=tmp_path / "a", on="slurm:cluster=local", workers=2, shard=8
    )
    assert found.passed and found.computed == 24
    assert found.rows == expected(net, many, tmp_path / "b").rows


def test_without_slurm(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("submitit")
    monkeypatch.setenv("PATH", "")
    with pytest.raises(lmht.BackendError, match=r"no Slurm on this machine.*slurm:cluster=local"):
        open_executor("shard", "slurm")


def test_parameters_of_slurm() -> None:
    assert parse_parameters("slurm_partition=cpu,timeout_min=60") == {
        "slurm_partition": "cpu",
        "timeout_min": 60,
    }
    with pytest.raises(lmht.BackendError, match=r"KEY=VALUE,\.\.\., not 'partition'"):
        parse_parameters("partition")


def test_an_unknown_parameter_of_slurm(net: Network, windows: np.ndarray, tmp_path: Path) -> None:
    pytest.importorskip("submitit")
    with pytest.raises(lmht.BackendError, match="submitit cannot start jobs"):
        lmht.evaluate(net, windows, out=tmp_path, on="slurm:cluster=local,coffee=1")
