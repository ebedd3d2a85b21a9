"""Runs a window without some of its parts, many times."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from queue import SimpleQueue
from typing import Protocol, TypeAlias

import numpy as np

from lmht_deploy._threads import check_threads
from lmht_deploy.engine import Engine, Model
from lmht_deploy.ir import Network

from ._parts import Parts

Progress: TypeAlias = Callable[[int, int], None]
"""Called as `progress(done, total)`."""
BLOCK = 16
"""Windows per call of an engine."""


class Masks(Protocol):
    """Which parts are left out in each of B runs: a bool array `[B, number of parts]`, or rows."""

    def __len__(self) -> int: ...

    def __getitem__(self, rows: slice, /) -> np.ndarray: ...


class EachAlone:
    """Leave out one part after another. Rows are made when they are read.

    Args:
        parts: Indices of the parts, int64 `[B]`.
        number: Number of parts of the division.
    """

    def __init__(self, parts: np.ndarray, number: int) -> None:
        self._parts, self._number = parts, number

    def __len__(self) -> int:
        return len(self._parts)

    def __getitem__(self, rows: slice) -> np.ndarray:
        mask: np.ndarray = self._parts[rows, None] == np.arange(self._number)
        return mask


class Runner:
    """Logits of one window without some of its parts, exact, from the event-driven engine.

    Every thread has an engine of its own, and all engines share one packed model.

    Attributes:
        window: int32 `[T_in, C, H, W]`.
        classes: Number of classes K.
        runs: Number of windows that were run.
        seconds: Wall time of these runs.
    """

    def __init__(self, net: Network, window: np.ndarray, threads: int = 1) -> None:
        """Pack the network and start the engines.

        Args:
            net: An integer network.
            window: Integers `[T_in, C, H, W]` within the input's range.
            threads: Number of engines that run at the same time.

        Raises:
            BackendError: The engine cannot run the network.
        """
        model = Model(net)
        self.window = np.ascontiguousarray(window, np.int32)
        self.runs, self.seconds = 0, 0.0
        self.classes = net.classes
        self._threads = check_threads(threads, "an explanation")
        self._engines: SimpleQueue[Engine] = SimpleQueue()
        for _ in range(self._threads):
            self._engines.put(Engine(model))

    def logits(
        self,
        parts: Parts,
        left_out: Masks,
        progress: Progress | None = None,
    ) -> np.ndarray:
        """Return the logits without some parts.

        Args:
            parts: Division of the window.
            left_out: Which parts are left out in each run.
            progress: Called as `progress(done, total)` after each block of runs.

        Returns:
            int64 `[B, K]`.
        """

        def run(first: int) -> np.ndarray:
            return self._run(parts, left_out[first : first + BLOCK])

        found = np.empty((len(left_out), self.classes), np.int64)
        with self._timed(len(left_out)), ThreadPoolExecutor(self._threads) as pool:
            starts = range(0, len(left_out), BLOCK)
            for first, logits in zip(starts, pool.map(run, starts), strict=True):
                found[first : first + len(logits)] = logits
                if progress is not None:
                    progress(first + len(logits), len(left_out))
        return found

    def _run(self, parts: Parts, left_out: np.ndarray) -> np.ndarray:
        windows = np.where(left_out[:, parts.index], np.int32(0), self.window)
        engine = self._engines.get()
        try:
            return engine.run(windows).logits
        finally:
            self._engines.put(engine)

    @contextmanager
    def _timed(self, runs: int) -> Iterator[None]:
        start = time.perf_counter()
        yield
        self.seconds += time.perf_counter() - start
        self.runs += runs
