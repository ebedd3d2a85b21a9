"""Processes of this machine: each reads tasks from its standard input, one at a time."""

from __future__ import annotations

import contextlib
import os
import queue
import subprocess
import sys
import tempfile
import threading
from collections.abc import Generator, Sequence
from pathlib import Path
from typing import IO, Any, TypeAlias

from .._task import Outcome, T, Task
from . import ATTEMPTS, lost
from ._process import GRACE

Ended: TypeAlias = Outcome[Any] | BaseException


class LocalExecutor:
    """Runs tasks in processes of their own, which share the windows through the page cache.

    A thread per worker writes one task to its process and reads one outcome. The next task goes to
    whichever worker is free.

    Args:
        workers: Number of processes; by default one per core that this process may use.
    """

    def __init__(self, workers: int | None = None) -> None:
        self.workers = workers or cores()

    def run(self, tasks: Sequence[T], folder: Path) -> Generator[Outcome[T], None, None]:
        """Run all tasks; see `Executor`."""
        pending: queue.SimpleQueue[Task] = queue.SimpleQueue()
        for task in tasks:
            pending.put(task)
        ended: queue.SimpleQueue[Ended] = queue.SimpleQueue()
        processes: list[_Process] = []
        try:
            for _ in range(min(self.workers, len(tasks))):
                processes.append(_Process(pending, ended))
            for _ in tasks:
                yield _outcome(ended.get())
        finally:
            for process in processes:
                process.terminate()
            for process in processes:
                process.join()


def _outcome(ended: Ended) -> Outcome[Any]:
    if isinstance(ended, BaseException):
        raise ended
    return ended


def cores() -> int:
    """Return the number of cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


class _Process:
    """One process and the thread that feeds it."""

    def __init__(self, pending: queue.SimpleQueue[Task], ended: queue.SimpleQueue[Ended]) -> None:
        self._pending, self._ended = pending, ended
        self._is_terminated = False
        self._lock = threading.Lock()
        self._process: subprocess.Popen[str] | None = None
        self._errors: IO[str] = tempfile.TemporaryFile("w+", errors="replace")  # noqa: SIM115
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def terminate(self) -> None:
        """Let the process end, and start no other one."""
        with self._lock:
            self._is_terminated = True
            if self._process is not None:
                self._process.terminate()

    def join(self) -> None:
        """Wait for the process and for the thread, after `terminate`."""
        self._thread.join(GRACE)
        with self._lock:
            if self._process is not None:
                self._process.kill()
        self._thread.join()
        self._errors.close()

    def _serve(self) -> None:
        try:
            while not self._is_terminated:
                self._ended.put(self._run(self._pending.get_nowait()))
        except queue.Empty:
            pass
        except BaseException as error:  # otherwise the caller would wait for an outcome
            self._ended.put(error)
        finally:
            if self._process is not None:
                self._reap(self._process)

    def _run(self, task: Task) -> Outcome[Any]:
        for _ in range(ATTEMPTS):
            try:
                line = self._ask(task.to_json())
            except OSError as error:
                return Outcome(task, error=f"no worker can be started ({error.strerror or error})")
            if line:
                return Outcome.from_json(task, line)
            if self._is_terminated:
                break
        return lost(task, self._last_line())

    def _ask(self, line: str) -> str:
        """Send a line to the process and return its answer; empty if the process ended.

        Raises:
            OSError: The process cannot be started.
        """
        process = self._started()
        if process is None or process.stdin is None or process.stdout is None:
            return ""
        try:
            process.stdin.write(line + "\n")
            process.stdin.flush()
            answer = process.stdout.readline()
        except OSError:
            answer = ""
        if not answer.endswith("\n"):
            self._reap(process)
            return ""
        return answer

    def _started(self) -> subprocess.Popen[str] | None:
        """Return the process, started again if it ended; None after `terminate`."""
        with self._lock:
            if self._is_terminated:
                return None
            if self._process is None or self._process.returncode is not None:
                self._process = subprocess.Popen(
                    [sys.executable, "-m", "lmht_deploy.scale.executors._process"],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=self._errors,
                    text=True,
                    encoding="utf-8",
                )
            return self._process

    def _reap(self, process: subprocess.Popen[str]) -> None:
        """End a process that has no task, and close its pipes."""
        process.kill()
        process.wait()
        for pipe in (process.stdin, process.stdout):
            with contextlib.suppress(OSError):  # what it did not read
                pipe.close()  # type: ignore[union-attr]

    def _last_line(self) -> str:
        self._errors.seek(0)
        lines = self._errors.read().strip().splitlines()
        code = None if self._process is None else self._process.returncode
        return lines[-1].strip() if lines else f"exit code {code}"
