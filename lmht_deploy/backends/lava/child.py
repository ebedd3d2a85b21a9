"""The child process in which Lava runs: files in and out, a time limit, and nothing left behind."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from lmht_deploy.errors import BackendError

WORKER = Path(__file__).with_name("worker") / "main.py"
GRACE = 5.0
"""Seconds that a process group has for ending, and for cleaning its shared memory, before it is killed."""


@contextlib.contextmanager
def run(
    python: Path,
    what: str,
    job: Mapping[str, Any],
    files: Mapping[str, np.ndarray],
    *,
    seconds: float,
    progress: Callable[[int], None],
) -> Iterator[tuple[Path, dict[str, Any]]]:
    """Run `job` (see worker/main.py) with arrays as `files` beside it; yields the folder of the results and what the child reports.

    `progress` is told how many windows are done. The folder is gone when the block ends. Raises BackendError, which says
    `what` ran, where Lava fails, or takes longer than `seconds`.
    """
    with tempfile.TemporaryDirectory(prefix="lmht-lava-", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        (folder / "job.json").write_text(json.dumps(job))
        for file, array in files.items():
            np.save(folder / file, array, allow_pickle=False)

        def look() -> None:
            with contextlib.suppress(FileNotFoundError):
                progress(json.loads((folder / "progress.json").read_text())["windows"])

        output = _run([str(python), "-I", "-Wignore", str(WORKER), name], seconds, look)
        if (report := folder / "done.json").is_file():
            yield folder, json.loads(report.read_text())
        elif (report := folder / "failure.json").is_file():
            raise BackendError(f"Lava failed on {what}: {json.loads(report.read_text())['reason']}")
        elif output is None:
            raise BackendError(
                f"Lava did not finish {what} within {seconds:g} s; run fewer windows at once, or allow more time"
            )
        else:
            raise BackendError(
                f"Lava ended without a result on {what}{': ' + output[-1] if output else ''}"
            )


def _run(command: list[str], seconds: float, look: Callable[[], None]) -> list[str] | None:
    """Run `command` in a session of its own and end all of that; the lines it printed, and the signal that killed it; None where it took too long.

    Meanwhile it calls look() now and then.

    Its output is a pipe that every process of the session holds, so that the pipe's end is the end of them all.
    """
    alive, client = (
        os.pipe()
    )  # the end of its standard input tells the child that this process is gone
    child = subprocess.Popen(
        command,
        stdin=alive,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )
    os.close(alive)
    deadline = time.monotonic() + seconds
    output = None
    try:
        while child.poll() is None and time.monotonic() < deadline:
            output = _output(child, 0.1)
            look()
        timed_out = child.poll() is None
    finally:
        # First politely, so that shared memory is removed, then by force.
        for number in (signal.SIGTERM, signal.SIGKILL):
            if output is None:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(child.pid, number)
                output = _output(child, GRACE)
        child.wait()
        os.close(client)
    if timed_out:
        return None
    lines = (output or b"").decode(errors="replace").strip().splitlines()
    if child.returncode < 0 and child.returncode != -signal.SIGTERM:  # by which it ends itself
        lines.append(f"killed by {signal.Signals(-child.returncode).name}")
    return lines


def _output(child: subprocess.Popen[bytes], seconds: float) -> bytes | None:
    """Everything that the child's session printed, once it is gone; None while it is there after `seconds`."""
    try:
        return child.communicate(timeout=seconds)[0]
    except subprocess.TimeoutExpired:
        return None
