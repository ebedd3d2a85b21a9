"""What workers do: tasks of any kind as plain data, and how each ended."""

from __future__ import annotations

import contextlib
import dataclasses
import importlib
import json
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Generic, NamedTuple, Self, TypeVar

if TYPE_CHECKING:
    from ._opened import Opened

LIBRARIES = {"shard": ("lmht_deploy.backends.event", "pyarrow.parquet")}
"""What most tasks of a kind import while they run: a worker does so before its first task."""
KINDS = {"shard": ("_shard", "Shard"), "recordings": ("_recordings", "Recordings")}
"""Module and class of each kind of task."""


class Spent(NamedTuple):
    """Seconds that parts of a task took.

    Attributes:
        run: Time of the run alone.
        load: Time in which a network was opened; 0 if it was open already.
    """

    run: float = 0.0
    load: float = 0.0


class Task(ABC):
    """What a worker computes. A subclass is a frozen dataclass whose fields JSON can hold."""

    kind: str
    """Its name in `KINDS`."""

    @property
    @abstractmethod
    def key(self) -> str:
        """A text that no other task of a call has."""

    @property
    def inputs(self) -> tuple[str, ...]:
        """Files that it reads."""
        return ()

    @property
    def stores(self) -> tuple[str, ...]:
        """Folders of windows that it reads, see `WindowStore`."""
        return ()

    @property
    @abstractmethod
    def targets(self) -> tuple[str, ...]:
        """Files that it writes, each of them whole or not at all."""

    @abstractmethod
    def run(self, opened: Opened) -> Spent:
        """Compute and write `targets`.

        Args:
            opened: What the tasks of one worker keep open.
        """

    def to_json(self) -> str:
        """Return the task as one line of JSON."""
        return json.dumps([self.kind, asdict(self)])  # type: ignore[call-overload]

    def moved(self, places: Mapping[str, str]) -> Self:
        """Return the same task, with other paths in place of those that are keys of `places`."""
        return dataclasses.replace(
            self,  # type: ignore[type-var]
            **{name: _moved(value, places) for name, value in vars(self).items()},
        )


def _moved(value: Any, places: Mapping[str, str]) -> Any:
    if isinstance(value, str):
        return places.get(value, value)
    if isinstance(value, list | tuple):
        return type(value)(_moved(item, places) for item in value)
    return value


def read_task(line: str) -> Task:
    """Return the task that `Task.to_json` wrote."""
    kind, fields = json.loads(line)
    task: Task = _task_class(kind)(**fields)
    return task


def _task_class(kind: str) -> type[Task]:
    module, name = KINDS[kind]
    found: type[Task] = getattr(importlib.import_module(f".{module}", __package__), name)
    return found


def prepare(kind: str) -> None:
    """Import what tasks of a kind need; what is not installed is an error of the tasks."""
    with contextlib.suppress(ImportError):
        _task_class(kind)
        for name in LIBRARIES.get(kind, ()):
            importlib.import_module(name)


T = TypeVar("T", bound=Task)


@dataclass(frozen=True)
class Outcome(Generic[T]):
    """How a task ended.

    Attributes:
        task: The task.
        seconds: Time that the worker spent on it, loading and writing included.
        spent: The parts of it that were measured.
        error: Why it failed; empty if it did not.
        lost: Whether it failed because its worker ended.
    """

    task: T
    seconds: float = 0.0
    spent: Spent = Spent()  # noqa: RUF009 (immutable)
    error: str = ""
    lost: bool = False

    def to_json(self) -> str:
        """Return the times and the error as one line of JSON."""
        return json.dumps([self.seconds, self.spent, self.error])

    @classmethod
    def from_json(cls, task: T, line: str) -> Outcome[T]:
        """Return the outcome that `to_json` wrote."""
        seconds, spent, error = json.loads(line)
        return cls(task, seconds, Spent(*spent), error)


def plain(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return values that JSON can hold."""
    found: dict[str, Any] = json.loads(json.dumps(dict(values), default=str))
    return found
