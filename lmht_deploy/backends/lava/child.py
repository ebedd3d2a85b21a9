"""The child process in which Lava runs: files in and out, a time limit, complete cleanup."""

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
"""Seconds that a process group has to end and to remove its shared memory before it is killed."""


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
    """Run a job in Lava's environment.

    Args:
        python: Python of the environment.
        what: Name of the artifact, for messages.
        job: Description of the job (`worker/main.py`).
        files: Arrays of the job; each is written to `<name>.npy`.
        seconds: Time limit.
        progress: Called with the number of windows that are finished.

    Yields:
        The folder of the results, which is removed when the block ends, and the child's report.

    Raises:
        BackendError: Lava failed, or did not finish in time.
    """
    with tempfile.TemporaryDirectory(prefix="lmht-lava-", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        (folder / "job.json").write_text(json.dumps(job))
        for file, array in files.items():
            np.save(folder / f"{file}.npy", array, allow_pickle=False)

        def report_progress() -> None:
            with contextlib.suppress(FileNotFoundError):
                progress(json.loads((folder / "progress.json").read_text())["windows"])

        output = _run([str(python), "-I", "-Wignore", str(WORKER), name], seconds, report_progress)
        yield folder, _report(folder, what, output, seconds)


def _report(folder: Path, what: str, output: list[str] | None, seconds: float) -> dict[str, Any]:
    """Return what the child reports; BackendError where it failed."""
    if (done := folder / "done.json").is_file():
        report: dict[str, Any] = json.loads(done.read_text())
        return report
    if (failure := folder / "failure.json").is_file():
        raise BackendError(f"Lava failed on {what}: {json.loads(failure.read_text())['reason']}")
    if output is None:
        raise BackendError(
            f"Lava did not finish {what} within {seconds:g} s; run fewer windows at once, or allow "
            "more time"
        )
    reason = f": {output[-1]}" if output else ""
    raise BackendError(f"Lava ended without a result on {what}{reason}")


def _run(
    command: list[str], seconds: float, report_progress: Callable[[], None]
) -> list[str] | None:
    """Run `command` in a session of its own, and end all processes of that session.

    The output is a pipe that every process of the session holds: its end is the end of them all.

    Returns:
        The printed lines, and the signal that killed the child; None where it took too long.
    """
    alive, client = os.pipe()  # the end of its standard input tells the child that we are gone
    child = subprocess.Popen(
        command,
        stdin=alive,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )
    os.close(alive)
    output = None
    try:
        output = _wait(child, seconds, report_progress)
        timed_out = child.poll() is None
    finally:
        output = _end_session(child, output)
        child.wait()
        os.close(client)
    return None if timed_out else _lines(child, output)


def _wait(
    child: subprocess.Popen[bytes], seconds: float, report_progress: Callable[[], None]
) -> bytes | None:
    """Wait for the child; its output, or None where other processes of its session still run."""
    deadline = time.monotonic() + seconds
    output = None
    while child.poll() is None and time.monotonic() < deadline:
        output = _output(child, 0.1)
        report_progress()
    return output


def _end_session(child: subprocess.Popen[bytes], output: bytes | None) -> bytes | None:
    """End all processes of the session: first politely, so that shared memory is removed."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        if output is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(child.pid, number)
            output = _output(child, GRACE)
    return output


def _output(child: subprocess.Popen[bytes], seconds: float) -> bytes | None:
    """Return what the child's session printed, or None if it still runs after `seconds`."""
    try:
        return child.communicate(timeout=seconds)[0]
    except subprocess.TimeoutExpired:
        return None


def _lines(child: subprocess.Popen[bytes], output: bytes | None) -> list[str]:
    lines = (output or b"").decode(errors="replace").strip().splitlines()
    if child.returncode < 0 and child.returncode != -signal.SIGTERM:  # with which it ends itself
        lines.append(f"killed by {signal.Signals(-child.returncode).name}")
    return lines
