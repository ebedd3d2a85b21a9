"""Executors: each runs tasks somewhere and yields their outcomes as they end.

An executor is chosen by a text:

    local                      processes of this machine, one per core
    ray                        Ray, started on this machine
    ray://HOST:PORT            a Ray cluster
    slurm                      Slurm, through submitit
    slurm:KEY=VALUE,...        with parameters of submitit, such as timeout_min=60
"""

from __future__ import annotations

import re
from collections.abc import Generator, Sequence
from pathlib import Path
from typing import Protocol

from lmht_deploy.errors import BackendError, show

from .._task import Outcome, T

__all__ = ["ATTEMPTS", "Executor", "lost", "open_executor"]

ATTEMPTS = 3
"""How often a task is tried whose worker is lost."""


class Executor(Protocol):
    """Runs tasks inside a `with` block.

    Workers may start when the block is entered, see `open_executor`. They are then ready when the
    caller has read its data and planned its tasks.
    """

    def __enter__(self) -> Executor: ...

    def __exit__(self, *error: object) -> None:
        """End the workers that ran no task."""
        ...

    def run(self, tasks: Sequence[T], folder: Path) -> Generator[Outcome[T], None, None]:
        """Run all tasks and yield their outcomes in any order.

        A task whose worker is lost is tried again on another one, `ATTEMPTS` times in all. When the
        iterator is closed, what still runs is ended.

        Args:
            tasks: The tasks, each with its own `key`.
            folder: Folder of the call, for logs.
        """
        ...


def lost(task: T, reason: str) -> Outcome[T]:
    """Return the outcome of a task whose worker ended at every attempt."""
    return Outcome(task, error=f"its worker ended {ATTEMPTS} times: {reason}", lost=True)


def open_executor(
    kind: str, on: str, workers: int | None = None, *, ahead: bool = False
) -> Executor:
    """Return the executor that a text names. The text is checked before any work starts.

    Args:
        kind: Kind of the tasks, see `lmht_deploy.scale._task.KINDS`.
        on: The text, see the module.
        workers: Number of workers; by default one per core, or as many as the cluster has.
        ahead: Whether processes of this machine start before the tasks are known, as for a call
            that certainly has some.

    Raises:
        BackendError: The text names no executor, there is no such number of workers, or Slurm
            refuses the parameters.
        DataError: A package is not installed.
    """
    if not isinstance(on, str):
        raise BackendError(f"the executor is named by text, not {show(on)}")
    if workers is not None and not (type(workers) is int and 1 <= workers <= 10_000):
        raise BackendError(f"the number of workers lies within 1..10,000, not {show(workers)}")
    name, _, rest = on.partition(":")
    if on == "local":
        from .local import LocalExecutor

        return LocalExecutor(workers, kind, ahead)
    if name == "ray" and (on == "ray" or re.fullmatch(r"//[^/\s]+:\d{1,5}", rest)):
        from .ray import RayExecutor

        return RayExecutor(on if rest else None, workers)
    if name == "slurm":
        from .slurm import SlurmExecutor

        return SlurmExecutor(rest, workers)
    raise BackendError(
        f"there is no executor {on!r}; expected local, ray, ray://HOST:PORT, slurm or "
        "slurm:KEY=VALUE,..."
    )
