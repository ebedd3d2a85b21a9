"""A worker: opens networks, runs shards and writes their results.

As a process, `python -m lmht_deploy.scale._worker` reads one task per line of standard input and
writes one outcome per line. It ends with its input, so that it does not outlive its parent.
"""

from __future__ import annotations

import hashlib
import os
import sys
import time
from collections import OrderedDict
from pathlib import Path
from typing import IO

import numpy as np

from lmht_deploy.backends import Backend, open_backend, run_windows
from lmht_deploy.errors import DataError, LmhtError, StorageError, first_line
from lmht_deploy.formats.shards import encode_shard, save_shard

from ._task import Outcome, Task
from ._windows import WindowStore

OPEN = 4
"""Number of networks that a worker keeps open."""


class Worker:
    """Runs shards, one after the other. Networks and windows stay open for the next one."""

    def __init__(self) -> None:
        self._runners: OrderedDict[tuple[str, str, int | None], Backend] = OrderedDict()
        self._stores: dict[str, WindowStore] = {}

    def run(self, task: Task) -> Outcome:
        """Run a shard and write its result; an error of the user is part of the outcome."""
        outcome = self.compute(task)
        if outcome.error:
            return outcome
        start = time.perf_counter()
        try:
            save_shard(outcome.content, Path(task.target))
        except LmhtError as error:
            return Outcome(task, error=str(error))
        seconds = outcome.seconds + time.perf_counter() - start
        return Outcome(task, seconds, outcome.run_seconds, outcome.load_seconds)

    def compute(self, task: Task, windows: np.ndarray | None = None) -> Outcome:
        """Run a shard and return the content of its file.

        Args:
            task: The shard.
            windows: All windows of its store, where the store is not on this machine.
        """
        start = time.perf_counter()
        try:
            runner, load_seconds = self._open(task)
            if windows is None:
                windows = self._windows(task)
            begin = time.perf_counter()
            result = run_windows(runner, windows[task.start : task.stop])
            run_seconds = time.perf_counter() - begin
            content = encode_shard(result)
        except LmhtError as error:
            return Outcome(task, error=str(error))
        except Exception as error:  # a shard that fails must not end the others
            return Outcome(task, error=f"{type(error).__name__}: {first_line(error)}")
        seconds = time.perf_counter() - start
        return Outcome(task, seconds, run_seconds, load_seconds, content=content)

    def close(self) -> None:
        """Close all networks."""
        while self._runners:
            self._runners.popitem()[1].close()

    def _open(self, task: Task) -> tuple[Backend, float]:
        """Return the runner of a task, and how long it took to open it."""
        key = (task.sha256, task.backend, task.stop_margin)
        if key in self._runners:
            self._runners.move_to_end(key)
            return self._runners[key], 0.0
        start = time.perf_counter()
        check_sha256(Path(task.artifact), task.sha256)
        self._runners[key] = open_backend(task.backend, task.artifact, stop_margin=task.stop_margin)
        if len(self._runners) > OPEN:
            self._runners.popitem(last=False)[1].close()
        return self._runners[key], time.perf_counter() - start

    def _windows(self, task: Task) -> np.ndarray:
        store = self._stores.setdefault(task.windows, WindowStore(Path(task.windows)))
        if store.digest(task.start, task.stop) != task.digest:
            raise DataError(f"{task.windows}: holds other windows than when the run was planned")
        return store.windows


def sha256_of(path: Path) -> str:
    """Return the SHA-256 of a file, hexadecimal."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise StorageError(f"{path}: cannot be read ({error.strerror or error})") from None


def check_sha256(path: Path, expected: str) -> None:
    """Raise StorageError if a file changed after the run was planned."""
    if sha256_of(path) != expected:
        raise StorageError(f"{path}: has changed since the run was planned")


def serve(lines: IO[str], answers: IO[str]) -> None:
    """Run the tasks in `lines`, and write the outcomes."""
    worker = Worker()
    for line in lines:
        answers.write(worker.run(Task.from_json(line)).to_json() + "\n")
        answers.flush()


def main() -> None:
    """Serve the parent; what libraries print goes to standard error."""
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    try:
        serve(sys.stdin, answers)
    except (BrokenPipeError, KeyboardInterrupt):
        sys.exit(1)


if __name__ == "__main__":
    main()
