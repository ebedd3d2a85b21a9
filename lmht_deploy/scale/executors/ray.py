"""Ray: actors hold the open networks, and the object store holds the windows, once per node."""

from __future__ import annotations

import hashlib
import importlib
import warnings
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from lmht_deploy._packages import require_package
from lmht_deploy.errors import BackendError, LmhtError, StorageError, first_line
from lmht_deploy.formats.files import atomic_write, make_folder

from .._task import Outcome, T, Task
from .._windows import WindowStore
from . import ATTEMPTS, lost

TEMPORARY = "lmht-ray-"
"""How the names of the actors' temporary folders begin."""


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

    def __enter__(self) -> RayExecutor:
        return self

    def __exit__(self, *error: object) -> None:
        pass

    def run(self, tasks: Sequence[T], folder: Path) -> Generator[Outcome[T], None, None]:
        """Run all tasks; see `Executor`."""
        ray: Any = importlib.import_module("ray")
        started = not ray.is_initialized()
        if started:
            _connect(ray, self._address, self._workers)
        cluster = int(ray.cluster_resources().get("CPU", 1))
        pool = _ActorPool(ray, tasks)
        try:
            yield from pool.outcomes(min(self._workers or cluster, len(tasks)))
        finally:
            pool.end()
            if started:
                ray.shutdown()


def _connect(ray: Any, address: str | None, workers: int | None) -> None:
    options: dict[str, Any] = {"log_to_driver": False, "logging_level": "ERROR"}
    if address is None:
        options |= {"include_dashboard": False, "num_cpus": workers}
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the error says what is wrong
            ray.init(address, **options)
    except Exception as error:  # Ray raises almost every type
        where = address or "on this machine"
        raise BackendError(f"Ray cannot be reached {where} ({first_line(error)})") from None


class _ActorPool:
    """The actors, and what each of them runs."""

    def __init__(self, ray: Any, tasks: Sequence[Task]) -> None:
        self._ray = ray
        self._pending = list(reversed(tasks))
        self._attempts: dict[str, int] = {}
        self._shared: dict[str, Any] = {}
        self._actor = ray.remote(num_cpus=1, max_restarts=0)(_RemoteWorker)
        self._running: dict[Any, tuple[Any, Task]] = {}

    def outcomes(self, number: int) -> Iterator[Outcome[Any]]:
        """Start actors, and yield the outcomes; a task whose actor is lost goes to a new one."""
        for _ in range(number):
            self._give(self._actor.remote())
        while self._running:
            ready, _ = self._ray.wait(list(self._running))
            actor, task = self._running.pop(ready[0])
            try:
                outcome: Outcome[Any] | None = _written(*self._ray.get(ready[0]))
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
            files = [self._share(path, _content) for path in task.inputs]
            arrays = [self._share(folder, _windows) for folder in task.stores]
            self._running[actor.run.remote(task, *files, *arrays)] = (actor, task)

    def _lost(self, task: Task, error: Exception) -> Outcome[Any] | None:
        """Put a task back; its failure after `ATTEMPTS` attempts."""
        self._attempts[task.key] = self._attempts.get(task.key, 0) + 1
        if self._attempts[task.key] == ATTEMPTS:
            return lost(task, first_line(error))
        self._pending.append(task)
        return None

    def _share(self, path: str, read: Callable[[Path], Any]) -> Any:
        """Return the reference of what `path` holds, which is put into the object store once."""
        if path not in self._shared:
            self._shared[path] = self._ray.put(read(Path(path)))
        return self._shared[path]


def _content(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise StorageError(f"{path}: cannot be read ({error.strerror or error})") from None


def _windows(folder: Path) -> np.ndarray:
    return WindowStore(folder).windows


def _written(outcome: Outcome[Any], contents: Sequence[bytes]) -> Outcome[Any]:
    """Write the files of a task, and return its outcome."""
    try:
        for target, content in zip(outcome.task.targets, contents, strict=False):
            make_folder(Path(target).parent)
            with atomic_write(target) as temporary:
                temporary.write_bytes(content)
    except LmhtError as error:
        return replace(outcome, error=str(error))
    return outcome


class _RemoteWorker:
    """A `Worker` in an actor, with the files that its machine may not have."""

    def __init__(self) -> None:
        import tempfile

        from lmht_deploy._folders import own_prefix, remove_abandoned
        from lmht_deploy.scale._worker import Worker

        self._worker = Worker()
        remove_abandoned(Path(tempfile.gettempdir()), TEMPORARY)  # of actors that were killed
        self._folder = tempfile.TemporaryDirectory(prefix=own_prefix(TEMPORARY))

    def run(self, task: Task, *shared: Any) -> tuple[Outcome[Any], list[bytes]]:
        """Run a task; return its outcome, and the content of the files that it wrote."""
        files, arrays = shared[: len(task.inputs)], shared[len(task.inputs) :]
        self._worker.opened.arrays = dict(zip(task.stores, arrays, strict=True))
        places = dict(zip(task.inputs, map(self._keep, task.inputs, files), strict=True))
        targets = {
            path: f"{self._folder.name}/{index}-{Path(path).name}"
            for index, path in enumerate(task.targets)
        }
        outcome = self._worker.run(task.moved(places | targets))
        contents = [] if outcome.error else [_taken(Path(path)) for path in targets.values()]
        error = outcome.error
        for path, place in places.items():
            error = error.replace(place, path)
        return replace(outcome, task=task, error=error), contents

    def _keep(self, path: str, content: bytes) -> str:
        """Write a file of the driver, once; files of one folder stay together."""
        parent = hashlib.sha256(str(Path(path).parent).encode()).hexdigest()[:16]
        place = Path(self._folder.name) / parent / Path(path).name
        if not place.exists():
            place.parent.mkdir(exist_ok=True)
            place.write_bytes(content)
        return str(place)


def _taken(path: Path) -> bytes:
    """Return the content of a file, and remove it."""
    content = path.read_bytes()
    path.unlink()
    return content
