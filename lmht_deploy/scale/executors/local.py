"""Executor on this machine: each process reads tasks from standard input, one at a time."""

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
        kind: Kind of the tasks. The processes import its libraries while they wait.
        ahead: Whether they start when the block is entered. Otherwise they start with the tasks.
    """

    def __init__(self, workers: int | None, kind: str, ahead: bool) -> None:
        self._workers, self._kind, self._ahead = workers or cores(), kind, ahead
        self._ready: list[_Process] = []

    def __enter__(self) -> LocalExecutor:
        """Start the processes, if that is wanted before there are tasks."""
        with contextlib.suppress(OSError):  # `run` reports that none can be started
            for _ in range(self._workers if self._ahead else 0):
                self._ready.append(_Process(self._kind))
        return self

    def __exit__(self, *error: object) -> None:
        """End the processes that ran no task."""
        while self._ready:
            self._ready.pop().end()

    def run(self, tasks: Sequence[T], folder: Path) -> Generator[Outcome[T], None, None]:
        """Run all tasks; see `Executor`."""
        pending: queue.SimpleQueue[Task] = queue.SimpleQueue()
        for task in tasks:
            pending.put(task)
        ended: queue.SimpleQueue[Ended] = queue.SimpleQueue()
        feeders: list[_Feeder] = []
        try:
            for _ in range(min(self._workers, len(tasks))):
                process = self._ready.pop() if self._ready else None
                feeders.append(_Feeder(self._kind, process, pending, ended))
            for _ in tasks:
                yield _outcome(ended.get())
        finally:
            for feeder in feeders:
                feeder.terminate()
            for feeder in feeders:
                feeder.join()


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
    """One process, its pipes, and the file with what it writes to standard error.

    Raises:
        OSError: It cannot be started.
    """

    def __init__(self, kind: str) -> None:
        self._errors: IO[str] = tempfile.TemporaryFile("w+", errors="replace")  # noqa: SIM115
        self._process = subprocess.Popen(
            [sys.executable, "-m", "lmht_deploy.scale.executors._process", kind],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            text=True,
            encoding="utf-8",
        )

    def ask(self, line: str) -> str:
        """Send a line to the process and return its answer; empty if the process ended."""
        assert self._process.stdin is not None and self._process.stdout is not None
        try:
            self._process.stdin.write(line + "\n")
            self._process.stdin.flush()
            answer = self._process.stdout.readline()
        except OSError:
            return ""
        return answer if answer.endswith("\n") else ""

    def terminate(self) -> None:
        """Ask the process to remove its unfinished file, and to exit."""
        self._process.terminate()

    def kill(self) -> None:
        """End the process at once, so that `ask` returns."""
        self._process.kill()

    def end(self) -> str:
        """End the process, close its pipes, and return the last line of its standard error."""
        self._process.kill()
        code = self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            with contextlib.suppress(OSError):  # input that was not read
                pipe.close()  # type: ignore[union-attr]
        self._errors.seek(0)
        lines = self._errors.read().strip().splitlines()
        self._errors.close()
        return lines[-1].strip() if lines else f"exit code {code}"


class _Feeder:
    """Thread that gives tasks to a process. If the process ends, it starts another one.

    Args:
        kind: Kind of the tasks.
        process: The first process; None to start one.
        pending: Tasks that no process has taken.
        ended: Outcomes, or the error that ended the thread.
    """

    def __init__(
        self,
        kind: str,
        process: _Process | None,
        pending: queue.SimpleQueue[Task],
        ended: queue.SimpleQueue[Ended],
    ) -> None:
        self._kind, self._process = kind, process
        self._pending, self._ended = pending, ended
        self._is_terminated = False
        self._lock = threading.Lock()
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def terminate(self) -> None:
        """Ask the process to exit, and start no other one."""
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

    def _serve(self) -> None:
        try:
            while not self._is_terminated:
                self._ended.put(self._run(self._pending.get_nowait()))
        except queue.Empty:
            pass
        except BaseException as error:  # otherwise the caller would wait forever
            self._ended.put(error)
        finally:
            self._end()

    def _run(self, task: Task) -> Outcome[Any]:
        reason = ""
        for _ in range(ATTEMPTS):
            try:
                process = self._started()
            except OSError as error:
                return Outcome(task, error=f"no worker can be started ({error.strerror or error})")
            if process is None:
                break
            if answer := process.ask(task.to_json()):
                return Outcome.from_json(task, answer)
            reason = self._end()
        return lost(task, reason)

    def _started(self) -> _Process | None:
        """Return the process, another one if it ended; None after `terminate`.

        Raises:
            OSError: It cannot be started.
        """
        with self._lock:
            if self._process is None and not self._is_terminated:
                self._process = _Process(self._kind)
            return None if self._is_terminated else self._process

    def _end(self) -> str:
        """End the process, if there is one; return the last line of its standard error."""
        with self._lock:
            process, self._process = self._process, None
        return "" if process is None else process.end()
