"""Executor for Slurm, through submitit: each job runs a part of the tasks.

All nodes need the same file system.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import time
from collections.abc import Generator, Iterator, Sequence
from pathlib import Path
from typing import Any

from lmht_deploy._packages import require_package
from lmht_deploy.errors import BackendError, LmhtError, first_line

from .._task import Outcome, T, Task
from . import ATTEMPTS
from ._process import THREADS

WORKERS = 16
"""Number of jobs by default."""
POLL_INTERVAL = 0.5
"""Seconds between two checks for results of the jobs."""
QUEUE_INTERVAL = 5.0
"""Seconds between two calls of squeue."""
TIMEOUT = 60
"""Seconds after which a command of Slurm is stopped."""
CLUSTER = "cluster"
"""Parameter that chooses the cluster of submitit: "slurm", or "local" to try it without Slurm."""


class SlurmExecutor:
    """Runs tasks as jobs of Slurm. The folder of the results must be on a shared file system.

    Args:
        parameters: Parameters of submitit, "KEY=VALUE,...".
        workers: Number of jobs.

    Raises:
        BackendError: The parameters are not of that form, submitit or Slurm refuses them, or there
            is no Slurm.
        DataError: submitit is not installed.
    """

    def __init__(self, parameters: str = "", workers: int | None = None) -> None:
        require_package("submitit", "slurm")
        self._parameters = parse_parameters(parameters)
        self._cluster = self._parameters.pop(CLUSTER, "slurm")
        self._workers = workers or WORKERS
        is_slurm = self._cluster == "slurm"
        if is_slurm and shutil.which("srun") is None:
            raise BackendError(
                "there is no Slurm on this machine: the command srun is missing; to try jobs "
                f"without it, use slurm:{CLUSTER}=local"
            )
        executor = self._executor(Path.cwd())
        if is_slurm:
            _check_submission(executor)

    def __enter__(self) -> SlurmExecutor:
        return self

    def __exit__(self, *error: object) -> None:
        pass

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
        executor, running = self._executor(folder), dict[Any, Sequence[T]]()
        try:
            for index in range(number):
                share = tasks[index::number]
                running[_submit(executor, share)] = share
            queue = _Queue()
            while running:
                if self._cluster == "slurm":
                    ended = [job for job in running if _has_result(job) or queue.has_left(job)]
                else:
                    ended = [job for job in running if job.done()]
                for job in ended:
                    yield from _outcomes(job, running.pop(job))
                if not ended:
                    time.sleep(POLL_INTERVAL)
        finally:
            for job in running:
                job.cancel()

    def _one_thread(self) -> dict[str, list[str]]:
        """Return the parameter that limits matrix libraries to one thread, as in other workers.

        The number of threads may change the rounding of floating-point sums.
        """
        return {f"{self._cluster}_setup": [f"export {name}=1" for name in THREADS]}

    def _executor(self, folder: Path) -> Any:
        import submitit

        try:
            executor = submitit.AutoExecutor(folder=folder, cluster=self._cluster)
            executor.update_parameters(**self._one_thread(), **self._parameters)
        except Exception as error:  # submitit raises almost every type
            raise BackendError(f"submitit cannot start jobs ({first_line(error)})") from None
        return executor


def _check_submission(executor: Any) -> None:
    """Raise BackendError if Slurm would refuse the jobs, for example their partition or account.

    submitit has no public function that returns the script of a job.
    """
    script = executor._executor._make_submission_file_text("true", "test")
    done = _run_command(["sbatch", "--test-only"], script)
    if done is None:
        raise BackendError(f"Slurm does not answer within {TIMEOUT} s: sbatch --test-only")
    if done.returncode:
        raise _refusal(done.stderr)


def _run_command(
    command: Sequence[str], script: str = ""
) -> subprocess.CompletedProcess[str] | None:
    """Run a command of Slurm; None if it does not end in time."""
    try:
        return subprocess.run(
            command, input=script, capture_output=True, text=True, check=False, timeout=TIMEOUT
        )
    except subprocess.TimeoutExpired:
        return None


def _submit(executor: Any, share: Sequence[Task]) -> Any:
    try:
        return executor.submit(run_tasks, share)
    except Exception as error:  # submitit raises almost every type
        raise _refusal(str(error)) from None


def _refusal(text: str) -> BackendError:
    reason = first_line(LmhtError(text)).removeprefix("sbatch: error: ")
    return BackendError(f"Slurm refuses the jobs ({reason})")


class _Queue:
    """Tells which jobs left the queue of Slurm without a result.

    It does not use the accounting of Slurm. submitit needs that, but not every cluster has it. A
    shared file system may show a result only after the job has left the queue. So a job counts as
    lost if it is missing in two successive answers of squeue.
    """

    def __init__(self) -> None:
        self._answers: list[set[str] | None] = [None, None]
        self._asked = time.monotonic()

    def has_left(self, job: Any) -> bool:
        """Whether a job without a result ended."""
        if time.monotonic() - self._asked >= QUEUE_INTERVAL:
            self._answers = [self._answers[1], _jobs_in_queue()]
            self._asked = time.monotonic()
        return all(jobs is not None and job.job_id not in jobs for jobs in self._answers)


def _jobs_in_queue() -> set[str] | None:
    """Return the jobs of this user in the queue; None if Slurm does not answer."""
    done = _run_command(["squeue", "--noheader", f"--user={os.getuid()}", "--format=%A"])
    return None if done is None or done.returncode else set(done.stdout.split())


def _has_result(job: Any) -> bool:
    """Whether the result of a job exists."""
    with contextlib.suppress(OSError):
        os.utime(job.paths.folder)  # makes a network file system look for new files
    exists: bool = job.paths.result_pickle.exists()
    return exists


def run_tasks(tasks: Sequence[T]) -> list[Outcome[T]]:
    """Run tasks in a job, except those that ended before Slurm requeued the job."""
    from .._worker import Worker

    worker = Worker()
    done = [_is_done(task) for task in tasks]
    return [
        Outcome(task) if is_done else worker.run(task)
        for task, is_done in zip(tasks, done, strict=True)
    ]


def _is_done(task: Task) -> bool:
    return all(Path(path).exists() for path in task.targets)


def _outcomes(job: Any, tasks: Sequence[T]) -> Iterator[Outcome[T]]:
    """Yield the outcomes of a job. The files that a lost job wrote are kept."""
    reason = _last_line(job)
    if _has_result(job):
        try:
            yield from job.result()
            return
        except Exception as error:  # submitit raises almost every type
            reason = first_line(error)
    for task in tasks:
        if _is_done(task):
            yield Outcome(task)
        else:
            yield Outcome(task, error=f"its job {job.job_id} ended: {reason}", lost=True)


def _last_line(job: Any) -> str:
    """Return the last line that a job wrote to standard error."""
    lines = (job.stderr() or "").strip().splitlines()
    return first_line(LmhtError(lines[-1])) if lines else "it wrote nothing to standard error"


def parse_parameters(text: str) -> dict[str, Any]:
    """Return the parameters in "KEY=VALUE,..."; numbers become integers.

    Raises:
        BackendError: The text is not of that form.
    """
    parameters: dict[str, Any] = {}
    for part in filter(None, text.split(",")):
        key, equal, value = part.partition("=")
        if not equal or not key.isidentifier():
            raise BackendError(f"parameters of Slurm are KEY=VALUE,..., not {part!r}")
        parameters[key] = int(value) if value.isdecimal() else value
    return parameters
