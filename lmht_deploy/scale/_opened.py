"""What the tasks of one worker keep open: networks and windows."""

from __future__ import annotations

import time
from collections import OrderedDict
from pathlib import Path

import numpy as np

from lmht_deploy.backends import Backend, open_backend
from lmht_deploy.errors import DataError

from ._files import check_sha256
from ._windows import WindowStore

OPEN = 4
"""Number of networks that a worker keeps open."""


class Opened:
    """Networks and windows that stay open for the next task.

    Attributes:
        arrays: Windows by the folder of their store, where that is not on this machine.
    """

    def __init__(self) -> None:
        self.arrays: dict[str, np.ndarray] = {}
        self._runners: OrderedDict[tuple[str, str, int | None], Backend] = OrderedDict()
        self._stores: dict[str, WindowStore] = {}

    def network(
        self, path: Path, sha256: str, backend: str, stop_margin: int | None = None
    ) -> tuple[Backend, float]:
        """Return the network in a file, opened on a backend, and how long opening it took."""
        key = (sha256, backend, stop_margin)
        if key in self._runners:
            self._runners.move_to_end(key)
            return self._runners[key], 0.0
        start = time.perf_counter()
        check_sha256(path, sha256)
        self._runners[key] = open_backend(backend, path, stop_margin=stop_margin)
        if len(self._runners) > OPEN:
            self._runners.popitem(last=False)[1].close()
        return self._runners[key], time.perf_counter() - start

    def windows(self, folder: str, start: int, stop: int, digest: str) -> np.ndarray:
        """Return a range of the windows of a store.

        Raises:
            DataError: They are other windows than those with this SHA-256.
        """
        if folder in self.arrays:
            return self.arrays[folder][start:stop]
        store = self._stores.setdefault(folder, WindowStore(Path(folder)))
        if store.digest(start, stop) != digest:
            raise DataError(f"{folder}: holds other windows than when the run was planned")
        return store.windows[start:stop]

    def close(self) -> None:
        """Close all networks."""
        while self._runners:
            self._runners.popitem()[1].close()
