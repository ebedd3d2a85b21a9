"""Slurm, through submitit: each job runs a share of the tasks on a file system that all share."""

from __future__ import annotations

import time
from collections.abc import Generator, Iterator, Sequence
from pathlib import Path
from typing import Any

from lmht_deploy._packages import require_package
from lmht_deploy.errors import BackendError, first_line

from .._task import Outcome, T, Task
from . import ATTEMPTS

WORKERS = 16
"""Number of jobs by default."""
POLL = 0.5
"""Seconds between two looks at the jobs."""
LOCAL = "cluster"
"""Parameter that chooses the cluster of submitit: "slurm", or "local" to try it without Slurm."""


class SlurmExecutor:
    """Runs tasks as jobs of Slurm. The folder of the results must be on a shared file system.

    Args:
        parameters: Parameters of submitit, "KEY=VALUE,...".
        workers: Number of jobs.

    Raises:
        BackendError: The parameters are not of that form.
        DataError: submitit is not installed.
    """

    def __init__(self, parameters: str = "", workers: int | None = None) -> None:
        require_package("submitit", "slurm")
        self._parameters = parse_parameters(parameters)
        self._cluster = self._parameters.pop(LOCAL, None)
        self._workers = workers or WORKERS

    def run(self, tasks: Sequence[T], folder: Path) -> Generator[Outcome[T], None, None]:
        """Run all tasks; see `Executor`."""
        pending, attempt = list(tasks), 1
        while pending:
            again: list[T] = []
            for outcome in self._run_once(pending, folder / "slurm"):
                if outcome.lost and attempt < ATTEMPTS:
                    again.append(outcome.task)
                else:
                    yield outcome
            pending, attempt = again, attempt + 1

    def _run_once(self, tasks: Sequence[T], folder: Path) -> Iterator[Outcome[T]]:
        number = min(self._workers, len(tasks))
        shares = [tasks[index::number] for index in range(number)]
        executor = self._executor(folder)
        running = {executor.submit(run_tasks, share): share for share in shares}
        try:
            while running:
                ended = [job for job in running if job.done()]
                for job in ended:
                    yield from _outcomes(job, running.pop(job))
                if not ended:
                    time.sleep(POLL)
        finally:
            for job in running:
                job.cancel()

    def _executor(self, folder: Path) -> Any:
        import submitit

        try:
            executor = submitit.AutoExecutor(folder=folder, cluster=self._cluster)
            executor.update_parameters(**self._parameters)
        except Exception as error:  # submitit raises almost every type
            raise BackendError(f"submitit cannot start jobs ({first_line(error)})") from None
        return executor


def run_tasks(tasks: Sequence[T]) -> list[Outcome[T]]:
    """Run tasks in a job; those whose files exist, because the job was requeued, are skipped."""
    from .._worker import Worker

    worker = Worker()
    done = [_is_done(task) for task in tasks]
    return [
        Outcome(task) if there else worker.run(task)
        for task, there in zip(tasks, done, strict=True)
    ]


def _is_done(task: Task) -> bool:
    return all(Path(path).exists() for path in task.targets)


def _outcomes(job: Any, tasks: Sequence[T]) -> Iterator[Outcome[T]]:
    """Yield the outcomes of a job; what a lost job wrote before counts."""
    try:
        yield from job.result()
    except Exception as error:  # submitit raises almost every type
        for task in tasks:
            reason = "" if _is_done(task) else f"its job ended: {first_line(error)}"
            yield Outcome(task, error=reason, lost=bool(reason))


def parse_parameters(text: str) -> dict[str, Any]:
    """Return the parameters in "KEY=VALUE,..."; numbers become integers.

    Raises:
        BackendError: The text is not of that form.
    """
    found: dict[str, Any] = {}
    for part in filter(None, text.split(",")):
        key, equal, value = part.partition("=")
        if not equal or not key.isidentifier():
            raise BackendError(f"parameters of Slurm are KEY=VALUE,..., not {part!r}")
        found[key] = int(value) if value.isdecimal() else value
    return found
