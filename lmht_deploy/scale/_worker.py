"""A worker: runs tasks, one after the other."""

from __future__ import annotations

import time

from lmht_deploy.errors import LmhtError, first_line

from ._opened import Opened
from ._task import Outcome, T


class Worker:
    """Runs tasks, one after the other. Networks and windows stay open for the next one."""

    def __init__(self) -> None:
        self.opened = Opened()

    def run(self, task: T) -> Outcome[T]:
        """Run a task; an error is part of the outcome, so that it does not end other tasks."""
        start = time.perf_counter()
        try:
            spent = task.run(self.opened)
        except LmhtError as error:
            return Outcome(task, error=str(error))
        except Exception as error:
            return Outcome(task, error=f"{type(error).__name__}: {first_line(error)}")
        return Outcome(task, time.perf_counter() - start, spent)
