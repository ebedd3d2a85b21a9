"""What a worker computes: one network, one backend, one range of windows."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

SEMANTICS = 1
"""Version of the semantics: changes when the same network would give other integers."""


@dataclass(frozen=True)
class Task:
    """One shard. It is plain data, which travels to workers as JSON.

    Attributes:
        artifact: Path of the network or of an exported file.
        sha256: SHA-256 of that file, hexadecimal.
        backend: Name of the backend.
        windows: Folder of the windows, see `WindowStore`.
        start: First window.
        stop: Window after the last one.
        digest: SHA-256 of these windows, hexadecimal.
        target: File to write.
        network: Path of the network that `artifact` was exported from; empty if there is none.
        stop_margin: Margin with which a window ends early; None to run whole windows.
    """

    artifact: str
    sha256: str
    backend: str
    windows: str
    start: int
    stop: int
    digest: str
    target: str = ""
    network: str = ""
    stop_margin: int | None = None

    @property
    def key(self) -> str:
        """Address of the result: a SHA-256 of everything that it depends on, hexadecimal."""
        parts = [SEMANTICS, self.sha256, self.backend, self.digest]
        if self.stop_margin is not None:
            parts.append(self.stop_margin)
        return hashlib.sha256(json.dumps(parts).encode()).hexdigest()

    def to_json(self) -> str:
        """Return the task as one line of JSON."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, line: str) -> Task:
        """Return the task that `to_json` wrote."""
        return cls(**json.loads(line))

    @property
    def size(self) -> int:
        """Number of windows."""
        return self.stop - self.start


@dataclass(frozen=True)
class Outcome:
    """How a shard ended.

    Attributes:
        task: The shard.
        seconds: Time that the worker spent on it, loading and writing included.
        run_seconds: Time of the run alone.
        load_seconds: Time in which the network was opened; 0 if it was open already.
        error: Why it failed; empty if it did not.
        content: Content of the result's file, where the worker did not write it.
    """

    task: Task
    seconds: float = 0.0
    run_seconds: float = 0.0
    load_seconds: float = 0.0
    error: str = ""
    content: bytes = b""

    def to_json(self) -> str:
        """Return the times and the error as one line of JSON."""
        return json.dumps([self.seconds, self.run_seconds, self.load_seconds, self.error])

    @classmethod
    def from_json(cls, task: Task, line: str) -> Outcome:
        """Return the outcome that `to_json` wrote."""
        return cls(task, *json.loads(line))


def shard_path(folder: Path, key: str) -> Path:
    """Return the file of a result by its address."""
    return folder / key[:2] / f"{key}.parquet"


def plain(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return values that JSON can hold."""
    found: dict[str, Any] = json.loads(json.dumps(dict(values), default=str))
    return found
