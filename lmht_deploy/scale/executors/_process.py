"""The process of a worker of `LocalExecutor`: `python -m lmht_deploy.scale.executors._process`.

It reads one task per line of standard input and writes one outcome per line. When its input ends,
it exits, even in the middle of a task. So it never outlives its parent.
"""

from __future__ import annotations

import _thread
import os
import queue
import signal
import threading
import time
from collections.abc import Iterator
from types import FrameType
from typing import IO

THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
"""Variables that limit the threads of a matrix library, if they are set before it is loaded."""
GRACE = 2.0
"""Seconds that a worker has to exit and to remove its unfinished file before it is killed."""


def main() -> None:
    """Serve the parent; what libraries print goes to standard error."""
    _follow_parent()
    os.environ.update(dict.fromkeys(THREADS, "1"))
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    try:
        serve(_lines(), answers)
    except BrokenPipeError:
        os._exit(1)


def serve(lines: Iterator[str], answers: IO[str]) -> None:
    """Run the tasks in `lines`, and write the outcomes."""
    from .._task import read_task
    from .._worker import Worker

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


def _lines() -> Iterator[str]:
    """Yield the lines of standard input. At its end, SystemExit stops the task that runs."""
    found: queue.SimpleQueue[str | None] = queue.SimpleQueue()

    def read() -> None:
        # Not sys.stdin: this thread would hold its lock, for which Python waits when it exits.
        for line in open(0, encoding="utf-8", closefd=False):  # noqa: SIM115
            found.put(line)
        found.put(None)
        _thread.interrupt_main(signal.SIGTERM)  # calls `_end` in the main thread
        time.sleep(GRACE)
        os._exit(1)

    threading.Thread(target=read, daemon=True).start()
    yield from iter(found.get, None)


if __name__ == "__main__":
    main()
