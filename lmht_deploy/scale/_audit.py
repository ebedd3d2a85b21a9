"""The audit: some shards are computed again elsewhere, and all integers are compared."""

from __future__ import annotations

import dataclasses
import math
import tempfile
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

from lmht_deploy.formats.shards import load_shard

from ._files import sha256_of
from ._shard import Shard, shard_path
from ._table import first_difference
from ._task import Outcome
from .executors import Executor


@dataclass(frozen=True)
class Audit:
    """What an audit found.

    Attributes:
        backend: Name of the backend that computed the shards again; empty for the same one.
        shards: Number of shards that were computed again.
        differences: One sentence for each shard that differs.
        failures: One sentence for each shard that could not be computed again.
        verdicts: Whether each shard, by its address, was computed again with the same integers.
    """

    backend: str
    shards: int
    differences: tuple[str, ...] = ()
    failures: tuple[str, ...] = ()
    verdicts: Mapping[str, bool] = field(default_factory=dict, repr=False)

    @property
    def passed(self) -> bool:
        """Whether every shard was computed again with the same integers."""
        return not self.differences and not self.failures


def choose(tasks: Sequence[Shard], share: float) -> list[Shard]:
    """Return a share of the shards, at least one, chosen by their addresses: always the same."""
    number = min(len(tasks), math.ceil(share * len(tasks)))
    return sorted(tasks, key=lambda task: task.key)[:number]


def audit(
    executor: Executor,
    tasks: Sequence[Shard],
    backend: str,
    folder: Path,
    progress: Callable[[Outcome[Shard]], None],
) -> Audit:
    """Compute shards again, and compare them with their stored results.

    Args:
        executor: Where to compute.
        tasks: The shards, whose results exist.
        backend: Name of the backend; empty for the one that computed them.
        folder: Folder for temporary results that all workers can write.
        progress: Called with each outcome.
    """
    differences, failures = {}, {}
    with tempfile.TemporaryDirectory(prefix="audit-", dir=folder) as temporary:
        again = {str(shard_path(Path(temporary), task.key)): task for task in tasks}
        chosen = [_again(task, backend, target) for target, task in again.items()]
        with closing(executor.run(chosen, folder)) as outcomes:
            for outcome in outcomes:
                progress(outcome)
                task = again[outcome.task.target]
                if outcome.error:
                    failures[task.key] = f"{_name(task)}: {outcome.error}"
                elif text := _compare(task, outcome):
                    differences[task.key] = f"{_name(task)}: {text}"
    wrong = differences.keys() | failures.keys()
    return Audit(
        backend,
        len(chosen),
        tuple(sorted(differences.values())),
        tuple(sorted(failures.values())),
        {task.key: task.key not in wrong for task in tasks},
    )


def _again(task: Shard, backend: str, target: str) -> Shard:
    """Return the same shard on another backend, which an exported file alone does not have."""
    if not backend or not task.network:
        return dataclasses.replace(task, target=target)
    sha256 = sha256_of(Path(task.network))
    return dataclasses.replace(
        task, artifact=task.network, sha256=sha256, backend=backend, target=target
    )


def _compare(task: Shard, outcome: Outcome[Shard]) -> str | None:
    found = load_shard(Path(outcome.task.target))
    return first_difference(found, load_shard(Path(task.target)))


def _name(task: Shard) -> str:
    return f"{task.artifact} on {task.backend}, windows {task.start} to {task.stop - 1}"
