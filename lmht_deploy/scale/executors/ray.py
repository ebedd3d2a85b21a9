"""Ray: actors hold the open networks, and the object store holds the windows, once per node."""

from __future__ import annotations

import importlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from lmht_deploy._packages import require_package
from lmht_deploy.errors import BackendError, first_line
from lmht_deploy.formats.shards import save_shard

from .._task import Outcome, Task
from .._windows import WindowStore
from . import ATTEMPTS


class RayExecutor:
    """Runs tasks in actors of Ray. The driver writes the results: no shared disk is needed.

    Args:
        address: "ray://HOST:PORT" of a cluster; None to start Ray on this machine, or to use the
            one that runs.
        workers: Number of actors; by default one per CPU of the cluster.

    Raises:
        DataError: Ray is not installed.
    """

    def __init__(self, address: str | None = None, workers: int | None = None) -> None:
        require_package("ray", "ray")
        self._address, self._workers = address, workers

    def run(self, tasks: Sequence[Task]) -> Iterator[Outcome]:
        """Run all tasks; see `Executor`."""
        ray: Any = importlib.import_module("ray")
        started = not ray.is_initialized()
        if started:
            _connect(ray, self._address, self._workers)
        cluster = int(ray.cluster_resources().get("CPU", 1))
        number = min(self._workers or cluster, len(tasks))
        pool = _ActorPool(ray, tasks, number)
        try:
            yield from pool.outcomes()
        finally:
            pool.end()
            if started:
                ray.shutdown()


def _connect(ray: Any, address: str | None, workers: int | None) -> None:
    options: dict[str, Any] = {"log_to_driver": False, "logging_level": "ERROR"}
    if address is None:
        options |= {"include_dashboard": False, "num_cpus": workers}
    try:
        ray.init(address, **options)
    except Exception as error:  # Ray raises almost every type
        where = address or "on this machine"
        raise BackendError(f"Ray cannot be reached {where} ({first_line(error)})") from None


class _ActorPool:
    """The actors, and what each of them runs."""

    def __init__(self, ray: Any, tasks: Sequence[Task], number: int) -> None:
        self._ray = ray
        self._pending = list(reversed(tasks))
        self._attempts: dict[str, int] = {}
        self._blobs: dict[str, Any] = {}
        self._actor = ray.remote(num_cpus=1, max_restarts=0)(_RemoteWorker)
        self._running: dict[Any, tuple[Any, Task]] = {}
        for _ in range(number):
            self._give(self._actor.remote())

    def outcomes(self) -> Iterator[Outcome]:
        """Yield the outcomes; a task whose actor is lost goes to a new one."""
        while self._running:
            ready, _ = self._ray.wait(list(self._running))
            actor, task = self._running.pop(ready[0])
            try:
                outcome: Outcome | None = _stored(self._ray.get(ready[0]))
            except self._ray.exceptions.RayActorError as error:
                outcome = self._lost(task, error)
                actor = self._actor.remote()
            self._give(actor)
            if outcome is not None:
                yield outcome

    def end(self) -> None:
        """End all actors."""
        for actor, _ in self._running.values():
            self._ray.kill(actor)

    def _give(self, actor: Any) -> None:
        if self._pending:
            task = self._pending.pop()
            run = actor.run.remote(task, self._blob(task.artifact), *self._shared(task.windows))
            self._running[run] = (actor, task)

    def _lost(self, task: Task, error: Exception) -> Outcome | None:
        """Put a task back; its failure after `ATTEMPTS` attempts."""
        self._attempts[task.key] = self._attempts.get(task.key, 0) + 1
        if self._attempts[task.key] == ATTEMPTS:
            return Outcome(task, error=f"its worker ended {ATTEMPTS} times: {first_line(error)}")
        self._pending.append(task)
        return None

    def _blob(self, path: str) -> Any:
        """Return the reference of a file's content, which is put into the object store once."""
        if path not in self._blobs:
            self._blobs[path] = self._ray.put(Path(path).read_bytes())
        return self._blobs[path]

    def _shared(self, folder: str) -> tuple[Any, ...]:
        """Return the reference of the windows, which are put into the object store once."""
        if folder not in self._blobs:
            self._blobs[folder] = self._ray.put(WindowStore(Path(folder)).windows)
        return (self._blobs[folder],)


def _stored(outcome: Outcome) -> Outcome:
    """Write the result of an outcome, and return the outcome without it."""
    from dataclasses import replace

    if not outcome.error:
        save_shard(outcome.content, Path(outcome.task.target))
    return replace(outcome, content=b"")


class _RemoteWorker:
    """A `Worker` in an actor, with the files that its machine may not have."""

    def __init__(self) -> None:
        import tempfile

        from lmht_deploy.scale._worker import Worker

        self._worker = Worker()
        self._folder = tempfile.TemporaryDirectory(prefix="lmht-")

    def run(self, task: Task, artifact: bytes, windows: Any) -> Outcome:
        """Run a shard; return its outcome with the content of its file."""
        import dataclasses

        path = Path(self._folder.name) / f"{task.sha256}{Path(task.artifact).suffix}"
        if not path.exists():
            path.write_bytes(artifact)
        local = dataclasses.replace(task, artifact=str(path))
        outcome = self._worker.compute(local, windows)
        return dataclasses.replace(outcome, task=task)
