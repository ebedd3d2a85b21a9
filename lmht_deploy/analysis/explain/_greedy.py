"""Greedy search for a small set of cells without which the answer is another class."""

from __future__ import annotations

import numpy as np

from ._explanation import Flip, margins
from ._parts import Parts
from ._runner import Progress, Runner

MAX_RUNS = 10_000
"""Number of runs after which the search stops."""


class _Search:
    """Sets of cells that are left out, and what the network answers then."""

    def __init__(self, runner: Runner, parts: Parts, answer: int) -> None:
        self._runner, self._parts, self._answer = runner, parts, answer
        self.runs = 0

    def logits(self, sets: list[list[int]]) -> np.ndarray:
        """Return the logits without each set of cells, int64 `[sets, K]`."""
        left_out = np.zeros((len(sets), self._parts.number), bool)
        for row, cells in zip(left_out, sets, strict=True):
            row[cells] = True
        self.runs += len(sets)
        return self._runner.logits(self._parts, left_out)

    def best(self, logits: np.ndarray) -> int:
        """Return the index of the logits with another answer, or else with the least margin."""
        kept = logits.argmax(1) == self._answer
        return int(np.lexsort((margins(logits, self._answer), kept))[0])

    def flips(self, logits: np.ndarray) -> bool:
        """Whether the answer is another one."""
        return int(logits.argmax()) != self._answer

    def grow(self, cells: list[int], progress: Progress | None) -> list[int] | None:
        """Leave out one of `cells` after another until the answer changes; None if it does not."""
        chosen: list[int] = []
        left = list(cells)
        while left and self.runs < MAX_RUNS:
            logits = self.logits([[*chosen, cell] for cell in left])
            best = self.best(logits)
            chosen.append(left.pop(best))
            if progress is not None:
                progress(len(chosen), len(cells))
            if self.flips(logits[best]):
                return chosen
        return None

    def shrink(self, chosen: list[int]) -> list[int]:
        """Put back cells that are not needed, the first chosen first."""
        for cell in chosen[:-1]:
            fewer = [other for other in chosen if other != cell]
            if self.flips(self.logits([fewer])[0]):
                chosen = fewer
        return chosen


def find_flip(
    runner: Runner,
    parts: Parts,
    events: np.ndarray,
    answer: int,
    progress: Progress | None = None,
) -> Flip:
    """Search for a small set of cells without which the answer is another class.

    Args:
        runner: Runs the window.
        parts: Division into cells.
        events: Number of events of each cell, int64 `[number of cells]`.
        answer: Class that the network answers for the whole window.
        progress: Called as `progress(done, total)` with numbers of cells.
    """
    search = _Search(runner, parts, answer)
    filled = np.flatnonzero(events).tolist() if runner.classes > 1 else []
    grown = search.grow(filled, progress)
    if grown is None:
        nothing = np.empty((0, 2), np.int64)
        stopped = search.runs >= MAX_RUNS
        return Flip("limit" if stopped else "none", nothing, False, 0, None, None, search.runs)
    chosen = search.shrink(grown)
    logits = search.logits([chosen])[0]
    return Flip(
        status="found",
        cells=np.stack(np.unravel_index(chosen, parts.shape), 1),
        smallest=len(chosen) <= 2,
        events=int(events[chosen].sum()),
        logits=logits,
        answer=int(logits.argmax()),
        runs=search.runs,
    )
