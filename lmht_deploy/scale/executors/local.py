"""Processes of this machine."""

from __future__ import annotations

import os
import queue
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator, Sequence
from typing import IO

from .._task import Outcome, Task
from . import ATTEMPTS


class LocalExecutor:
    """Runs tasks in processes of their own, which share the windows through the page cache.

    A thread per worker writes one task to its process and reads one outcome. The next task goes to
    whichever worker is free.

    Args:
        workers: Number of processes; by default one per core that this process may use.
    """

    def __init__(self, workers: int | None = None) -> None:
        self.workers = workers or cores()

    def run(self, tasks: Sequence[Task]) -> Iterator[Outcome]:
        """Run all tasks; see `Executor`."""
        pending: queue.SimpleQueue[Task] = queue.SimpleQueue()
        for task in tasks:
            pending.put(task)
        outcomes: queue.SimpleQueue[Outcome] = queue.SimpleQueue()
        processes = [_Process(pending, outcomes) for _ in range(min(self.workers, len(tasks)))]
        try:
            for _ in tasks:
                yield outcomes.get()
        finally:
            for process in processes:
                process.end()


def cores() -> int:
    """Return the number of cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


class _Process:
    """One process and the thread that feeds it."""

    def __init__(
        self, pending: queue.SimpleQueue[Task], outcomes: queue.SimpleQueue[Outcome]
    ) -> None:
        self._pending, self._outcomes = pending, outcomes
        self._ended = False
        self._lock = threading.Lock()
        self._process: subprocess.Popen[str] | None = None
        self._errors: IO[str] = tempfile.TemporaryFile("w+", errors="replace")  # noqa: SIM115
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def end(self) -> None:
        """End the process, and wait for it and for the thread."""
        with self._lock:
            self._ended = True
            if self._process is not None:
                self._process.kill()
        self._thread.join()
        self._errors.close()

    def _serve(self) -> None:
        while not self._ended:
            try:
                task = self._pending.get_nowait()
            except queue.Empty:
                break
            self._outcomes.put(self._run(task))
        if self._process is not None:
            self._process.kill()
            self._process.communicate()

    def _run(self, task: Task) -> Outcome:
        for _ in range(ATTEMPTS):
            if line := self._ask(task.to_json()):
                return Outcome.from_json(task, line)
            if self._ended:
                break
        return Outcome(task, error=f"its worker ended {ATTEMPTS} times: {self._last_line()}")

    def _ask(self, line: str) -> str:
        """Send a line to the process and return its answer; empty if the process ended."""
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
            process.kill()
            process.communicate()
            return ""
        return answer

    def _started(self) -> subprocess.Popen[str] | None:
        """Return the process, started again if it ended; None after `end`."""
        with self._lock:
            if self._ended:
                return None
            if self._process is None or self._process.returncode is not None:
                self._process = subprocess.Popen(
                    [sys.executable, "-m", "lmht_deploy.scale._worker"],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=self._errors,
                    text=True,
                    encoding="utf-8",
                )
            return self._process

    def _last_line(self) -> str:
        self._errors.seek(0)
        lines = self._errors.read().strip().splitlines()
        code = None if self._process is None else self._process.returncode
        return lines[-1].strip() if lines else f"exit code {code}"
