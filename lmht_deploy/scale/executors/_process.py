"""The process of a worker: `python -m lmht_deploy.scale.executors._process KIND`.

It reads one task per line of standard input and writes one outcome per line. It imports what tasks
of a kind need while it waits for the first one. When its input ends, it exits, even in the middle
of a task. So it never outlives its parent.
"""

from __future__ import annotations

import _thread
import os
import queue
import signal
import sys
import threading
import time
from collections.abc import Iterator
from types import FrameType
from typing import IO

THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
"""Variables that limit the threads of a matrix library, if they are set before it is loaded."""
GRACE = 2.0
"""Seconds that a worker has to exit and to remove its unfinished file before it is killed."""


def main(kind: str) -> None:
    """Serve the parent; what libraries print goes to standard error."""
    _follow_parent()
    os.environ.update(dict.fromkeys(THREADS, "1"))
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    lines = _Lines()
    try:
        serve(kind, lines.each(), answers)
    except BrokenPipeError:
        os._exit(1)


def serve(kind: str, lines: Iterator[str], answers: IO[str]) -> None:
    """Run the tasks in `lines`, and write the outcomes."""
    from .._task import prepare, read_task
    from .._worker import Worker

    prepare(kind)
    worker = Worker()
    try:
        for line in lines:
            answers.write(worker.run(read_task(line)).to_json() + "\n")
            answers.flush()
    finally:
        worker.opened.close()


def _follow_parent() -> None:
    """Leave Ctrl-C and the end of the terminal to the parent; SIGTERM ends the task."""
    for name in ("SIGINT", "SIGHUP"):
        if number := getattr(signal, name, None):
            signal.signal(number, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, _end)


def _end(number: int, _: FrameType | None) -> None:
    signal.signal(number, signal.SIG_IGN)
    raise SystemExit(1)


class _Lines:
    """Lines of standard input, read beside the tasks.

    Its end stops the task that runs: the process exits with 1. Where no task runs, it exits with 0.
    """

    def __init__(self) -> None:
        self._found: queue.SimpleQueue[str | None] = queue.SimpleQueue()
        self._open = 0  # tasks that were read and have no outcome yet
        self._lock = threading.Lock()
        threading.Thread(target=self._read, daemon=True).start()

    def each(self) -> Iterator[str]:
        """Yield each line; the next one is asked for when the outcome of the last is written."""
        for line in iter(self._found.get, None):
            yield line
            with self._lock:
                self._open -= 1

    def _read(self) -> None:
        # Not sys.stdin: this thread would hold its lock, for which Python waits when it exits.
        for line in open(0, encoding="utf-8", closefd=False):  # noqa: SIM115
            with self._lock:
                self._open += 1
            self._found.put(line)
        self._found.put(None)
        with self._lock:
            if not self._open:
                return
            _thread.interrupt_main(signal.SIGTERM)  # calls `_end` in the main thread
        time.sleep(GRACE)
        os._exit(1)


if __name__ == "__main__":
    main(sys.argv[1])
