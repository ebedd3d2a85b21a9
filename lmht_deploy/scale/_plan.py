"""The plan of an evaluation: networks x windows, cut into shards."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from ._shard import Shard, shard_path
from ._windows import WindowStore

SHARD = 500
"""Number of windows of a shard."""


@dataclass(frozen=True)
class Entry:
    """One network on one backend with its windows: a row of the table.

    Attributes:
        name: Name of the network.
        path: The network, or an exported file.
        sha256: SHA-256 of that file, hexadecimal.
        backend: Name of the backend.
        windows: Its windows.
        data: Name of the data.
        network: The network that `path` was exported from; None if there is none.
        stop_margin: Margin with which a window ends early; None to run whole windows.
    """

    name: str
    path: Path
    sha256: str
    backend: str
    windows: WindowStore
    data: str = ""
    network: Path | None = None
    stop_margin: int | None = None


class Plan:
    """The shards of all entries, and the files of their results.

    Args:
        entries: Rows of the table.
        folder: Folder of the results.
        shard: Number of windows of a shard.
    """

    def __init__(self, entries: Sequence[Entry], folder: Path, shard: int = SHARD) -> None:
        self.entries = tuple(entries)
        self._folder, self._shard = folder, shard
        self._digests: dict[tuple[str, int], str] = {}

    def tasks(self, entry: Entry) -> Iterator[Shard]:
        """Yield the shards of one entry, in order of the windows."""
        number = len(entry.windows)
        for start in range(0, number, self._shard):
            stop = min(number, start + self._shard)
            task = Shard(
                artifact=str(entry.path),
                sha256=entry.sha256,
                backend=entry.backend,
                windows=str(entry.windows.folder),
                start=start,
                stop=stop,
                digest=self._digest(entry.windows, start, stop),
                network="" if entry.network is None else str(entry.network),
                stop_margin=entry.stop_margin,
            )
            yield replace(task, target=str(shard_path(self._folder, task.key)))

    def all_tasks(self) -> list[Shard]:
        """Return the shards of all entries, each address once."""
        found = {task.key: task for entry in self.entries for task in self.tasks(entry)}
        return list(found.values())

    def missing(self) -> list[Shard]:
        """Return the shards that have no result yet."""
        there = {path.stem for path in self._folder.glob("??/*.parquet")}
        return [task for task in self.all_tasks() if task.key not in there]

    def _digest(self, store: WindowStore, start: int, stop: int) -> str:
        key = (store.fingerprint, start)
        if key not in self._digests:
            self._digests[key] = store.digest(start, stop)
        return self._digests[key]
