"""A shard: one network, one backend, one range of windows."""

from __future__ import annotations

import hashlib
import json
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from lmht_deploy.backends import run_windows
from lmht_deploy.formats.shards import encode_shard, save_shard

from ._files import files_of
from ._task import Spent, Task

if TYPE_CHECKING:
    from ._opened import Opened

SEMANTICS = 1
"""Version of the semantics: changes when the same network would give other integers."""


@dataclass(frozen=True)
class Shard(Task):
    """The task that runs one range of windows and writes their results.

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

    kind = "shard"

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

    @property
    def inputs(self) -> tuple[str, ...]:
        """The network, or the exported file with the file of its weights."""
        return tuple(str(path) for path in files_of(Path(self.artifact)))

    @property
    def stores(self) -> tuple[str, ...]:
        """The folder of the windows."""
        return (self.windows,)

    @property
    def targets(self) -> tuple[str, ...]:
        """The file of the results."""
        return (self.target,)

    @property
    def size(self) -> int:
        """Number of windows."""
        return self.stop - self.start

    def run(self, opened: Opened) -> Spent:
        """Run the windows and write their results."""
        runner, load = opened.network(
            Path(self.artifact), self.sha256, self.backend, self.stop_margin
        )
        windows = opened.windows(self.windows, self.start, self.stop, self.digest)
        begin = time.perf_counter()
        result = run_windows(runner, windows)
        seconds = time.perf_counter() - begin
        save_shard(encode_shard(result), Path(self.target))
        return Spent(seconds, load)


def shard_path(folder: Path, key: str) -> Path:
    """Return the file of a result by its address."""
    return folder / key[:2] / f"{key}.parquet"
