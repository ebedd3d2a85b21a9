"""Faults at random moments: no damaged file, no orphan, a clear exit code, exact continuation.

`python -m tests.faults --rounds N` does the same for every command and longer.
"""

from __future__ import annotations

import contextlib
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from lmht_deploy._locks import LOCK, folder_lock
from lmht_deploy.errors import StorageError

from .commands import COMMANDS, content
from .driver import (
    CLOCK,
    MEMORY,
    Bench,
    assert_no_orphans,
    file_limit,
    finish,
    mounted,
    notes,
    session,
    temporaries,
    wait_until,
)

for package in ("onnxruntime", "torch", "pyarrow", "faery"):
    pytest.importorskip(package)
if not sys.platform.startswith("linux"):
    pytest.skip("finds orphans in /proc of Linux", allow_module_level=True)

SIGNALS = {
    "export onnx": signal.SIGINT,
    "export netx": signal.SIGTERM,
    "run": signal.SIGKILL,
    "stream": signal.SIGHUP,
}


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Bench:
    return Bench(tmp_path_factory.mktemp("faults"))


@pytest.mark.parametrize(("name", "number"), SIGNALS.items(), ids=str)
def test_a_signal(bench: Bench, name: str, number: signal.Signals, tmp_path: Path) -> None:
    bench.command(name)
    bench.hit(name, tmp_path, number, random.uniform(0, bench.seconds[name]))


def test_a_full_disk(bench: Bench, tmp_path: Path) -> None:
    ended = bench.refuse("stream", tmp_path, file_limit(100))
    assert "cannot be written (File too large)" in notes(ended)[0]


@pytest.mark.parametrize("options", ["size=4k", "ro"])
def test_a_disk_that_is_full_or_read_only(bench: Bench, options: str, tmp_path: Path) -> None:
    with mounted(tmp_path, options) as folder:
        reason = "No space left on device" if options == "size=4k" else "Read-only file system"
        for name in ("export netx", "run"):
            assert reason in notes(bench.refuse(name, folder, "pass", again=False))[0]


def test_a_folder_without_permission_to_write(bench: Bench, tmp_path: Path) -> None:
    tmp_path.chmod(0o555)
    if os.access(tmp_path, os.W_OK):
        pytest.skip("not applicable: this user may write everywhere")
    ended = bench.refuse("export netx", tmp_path, "pass", again=False)
    assert "cannot be written (Permission denied)" in notes(ended)[0]


def test_out_of_memory(bench: Bench, tmp_path: Path) -> None:
    ended = bench.refuse("run", tmp_path, MEMORY.format(mib=8))
    assert ended.code == 2 and "memory" in ended.lines[0]


def test_clocks_that_jump(bench: Bench, tmp_path: Path) -> None:
    assert bench.refuse("stream", tmp_path, CLOCK, again=False).code == 0


# --------------------------------------------------------------------------------------- processes


def test_emulation(bench: Bench, tmp_path: Path) -> None:
    """A lost worker; a second command; a parent that is killed; the same files in the end."""
    bench.command("emulate")
    process = emulating(bench, tmp_path)
    with contextlib.suppress(OSError):  # it may have ended
        os.kill(workers(process)[0], signal.SIGKILL)
    ended = finish(process)
    assert ended.code == 0 and not ended.lines, ended.lines
    assert_no_orphans(process.pid)
    bench.check("emulate", tmp_path, whole=True)

    shutil.rmtree(tmp_path / "data")
    process = emulating(bench, tmp_path)
    with stopped(process):
        assert_refused(bench.start("emulate", tmp_path))
    process.kill()
    finish(process)
    assert_no_orphans(process.pid)
    bench.continue_after("emulate", tmp_path)


def test_a_worker_of_an_emulation_that_always_dies(bench: Bench, tmp_path: Path) -> None:
    process = emulating(bench, tmp_path)
    while process.poll() is None:
        for worker in workers(process):
            with contextlib.suppress(OSError):
                os.kill(worker, signal.SIGKILL)
        time.sleep(0.005)
    ended = finish(process)
    assert ended.code == 2 and len(ended.lines) == 1, ended.lines
    assert "its worker ended 3 times: exit code -9; run the command again" in ended.lines[0]
    assert_no_orphans(process.pid)
    bench.command("emulate")
    bench.continue_after("emulate", tmp_path)


def emulating(bench: Bench, folder: Path) -> subprocess.Popen[str]:
    """Start `lmht emulate`; return when it holds its folder, and a worker runs."""
    process = bench.start("emulate", folder)
    lock = folder / "data" / LOCK
    wait_until(lambda: workers(process) and lock.exists(), 300, "the workers did not start")
    return process


def workers(process: subprocess.Popen[str]) -> list[int]:
    """The processes of its session that emulate."""
    found = [number for number in session(process.pid) if number != process.pid]
    return [n for n in found if "executors._process" in command_line(n)]


def command_line(process: int) -> str:
    """The command line of a process; nothing if it has ended."""
    try:
        return Path(f"/proc/{process}/cmdline").read_text()
    except FileNotFoundError:
        return ""


@contextmanager
def stopped(process: subprocess.Popen[str]) -> Iterator[None]:
    """Let a process wait while the block runs."""
    process.send_signal(signal.SIGSTOP)
    try:
        yield
    finally:
        process.send_signal(signal.SIGCONT)


def assert_refused(process: subprocess.Popen[str]) -> None:
    ended = finish(process)
    assert ended.code == 2, ended
    (reason,) = notes(ended)
    assert "another process is writing to this folder" in reason


# ------------------------------------------------------------------------- two into the same folder


def test_training(bench: Bench, tmp_path: Path) -> None:
    """Two start at once; one is ended; two resume at once; the same files in the end.

    Kills at random moments of a training are in tests/training/test_loop.py.
    """
    whole, ended = tmp_path / "whole", tmp_path / "ended"
    whole.mkdir()
    ended.mkdir()
    first, second = sorted(
        map(finish, [bench.start("train", whole) for _ in range(2)]), key=lambda each: each.code
    )
    assert (first.code, second.code) == (0, 2), (first, second)
    (reason,) = notes(second)
    assert "another process is writing" in reason or "already holds a run" in reason

    process = bench.start("train", ended)
    wait_until((ended / "run" / "recipe.toml").exists, 300, "the training did not begin")
    process.terminate()
    terminated = finish(process)
    assert terminated.code == 143 and terminated.lines[-1] == "lmht: terminated"
    assert "is kept in run; to continue" in terminated.lines[-2]
    assert not temporaries(ended)

    shutil.copytree(ended, tmp_path / "both")
    pair = [bench.start("train", tmp_path / "both", resume=True) for _ in range(2)]
    first, second = sorted(map(finish, pair), key=lambda each: each.code)
    assert first.code == 0 and second.code in (0, 2), (first, second)  # 0: it came too late
    if second.code:
        assert "another process is writing to this folder" in notes(second)[0]
    assert content(tmp_path / "both" / "run") == content(whole / "run")

    process = bench.start("train", ended, resume=True)
    wait_until((ended / "run" / ".lock").exists, 300, "the training does not continue")
    with stopped(process):
        assert_refused(bench.start("train", ended, resume=True))
    assert finish(process).code == 0
    assert content(ended / "run") == content(whole / "run")


HOLD = """
import sys, time
from pathlib import Path
from lmht_deploy._locks import folder_lock
with folder_lock(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(60)
"""


@contextmanager
def holder(folder: Path) -> Iterator[subprocess.Popen[str]]:
    """Another process that holds the lock of `folder`."""
    command = [sys.executable, "-c", HOLD, str(folder)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None and process.stdout.readline() == "held\n"
        yield process
        process.kill()


def test_a_lock_ends_with_its_process(tmp_path: Path) -> None:
    with holder(tmp_path) as process:
        refused(tmp_path)
        process.kill()
        process.wait()
        assert (tmp_path / ".lock").exists()
        with folder_lock(tmp_path):
            refused(tmp_path)
        assert not list(tmp_path.iterdir())


def refused(folder: Path) -> None:
    with (
        pytest.raises(StorageError, match="another process is writing to this folder"),
        folder_lock(folder),
    ):
        pass


def test_only_one_of_many_holds_a_lock(tmp_path: Path) -> None:
    """Also while locks are released, which removes their file."""
    code = """
import sys, os, time
from pathlib import Path
from lmht_deploy._locks import folder_lock
from lmht_deploy.errors import StorageError
folder, end = Path(sys.argv[1]), time.monotonic() + 1.5
held = 0
while time.monotonic() < end:
    try:
        with folder_lock(folder):
            os.close(os.open(folder / "alone", os.O_CREAT | os.O_EXCL))
            os.unlink(folder / "alone")
            held += 1
    except StorageError:
        pass
assert held
"""
    command = [sys.executable, "-c", code, str(tmp_path)]
    processes = [subprocess.Popen(command, stderr=subprocess.PIPE, text=True) for _ in range(3)]
    for process in processes:
        _, errors = process.communicate(timeout=60)
        assert process.returncode == 0, errors


# ------------------------------------------------------------------------------- the last one wins


def test_two_exports_to_one_file(bench: Bench, tmp_path: Path) -> None:
    """Each is complete, so the file is; as with `cp`, the last one wins."""
    bench.command("export netx")
    processes = [bench.start("export netx", tmp_path) for _ in range(2)]
    assert [finish(process).code for process in processes] == [0, 0]
    bench.check("export netx", tmp_path, whole=True)
    assert [path.name for path in tmp_path.iterdir()] == [COMMANDS["export netx"].output]


def test_what_a_killed_writer_leaves_is_removed_at_the_next_write(tmp_path: Path) -> None:
    from lmht_deploy.formats.files import atomic_write

    abandoned = tmp_path / ".net.lmht.0123456789abcdef.partial"
    other = tmp_path / ".other.lmht.0123456789abcdef.partial"
    abandoned.write_bytes(b"half")
    other.write_bytes(b"half")
    with atomic_write(tmp_path / "net.lmht") as first:
        assert not abandoned.exists() and other.exists()
        with atomic_write(tmp_path / "net.lmht") as second:  # a writer that lives keeps its file
            assert first.exists() and second != first
            second.write_bytes(b"second")
        first.write_bytes(b"first")
    assert (tmp_path / "net.lmht").read_bytes() == b"first"
    assert {path.name for path in tmp_path.iterdir()} == {"net.lmht", other.name}
