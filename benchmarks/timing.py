"""Timing of several runs alternately, so that a busy machine slows all of them alike."""

from __future__ import annotations

import multiprocessing
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TypeVar

Name = TypeVar("Name")
Run = Callable[[], object]

TURN = 0.15
"""Seconds per turn of one run, which is repeated until then."""
MIN_TURNS = 5


def best_of_each(
    runs: Mapping[Name, Run], seconds: float, clock: Callable[[], float] = time.process_time
) -> dict[Name, float]:
    """Time all runs alternately, in turns that take equally long.

    The mean time of a turn is taken, not the shortest single run: a disturbance of some
    milliseconds spares many of the short runs, but none of the long ones.

    Args:
        runs: Runs by name. Each is called once before it is timed.
        seconds: Time for all runs together; every run has at least `MIN_TURNS` turns.
        clock: `time.process_time`, or `time.perf_counter` for several threads.

    Returns:
        The time of each run in milliseconds: the mean of its best turn.
    """
    best = dict.fromkeys(runs, float("inf"))
    for run in runs.values():
        run()
    end, turns = time.perf_counter() + seconds, 0
    while time.perf_counter() < end or turns < MIN_TURNS:
        for name, run in runs.items():
            spent, count = _turn(run, clock)
            best[name] = min(best[name], spent / count * 1e3)
        turns += 1
    return best


def best_of_cases(
    cases: Mapping[str, Mapping[str, Run]], seconds: float, clock: Callable[[], float]
) -> dict[str, dict[str, float]]:
    """Time the runs of all cases alternately: `best_of_each` for runs by case and name."""
    runs = {(case, name): run for case, named in cases.items() for name, run in named.items()}
    times = best_of_each(runs, seconds, clock)
    return {case: {name: times[case, name] for name in named} for case, named in cases.items()}


def _turn(run: Run, clock: Callable[[], float]) -> tuple[float, int]:
    """Return the time of one turn in seconds, and how often it called `run`."""
    start, end, count = clock(), time.perf_counter() + TURN, 0
    while not count or time.perf_counter() < end:
        run()
        count += 1
    return clock() - start, count


def mean_of_each(runs: Mapping[str, Run], seconds: float) -> dict[str, float]:
    """Return the mean wall time of each run in milliseconds, timed alternately."""
    spent, counts = dict.fromkeys(runs, 0.0), dict.fromkeys(runs, 0)
    end = time.perf_counter() + seconds
    while time.perf_counter() < end:
        for name, run in runs.items():
            elapsed, count = _turn(run, time.perf_counter)
            spent[name] += elapsed
            counts[name] += count
    return {name: spent[name] / counts[name] * 1e3 for name in runs}


@contextmanager
def busy_processes(number: int) -> Iterator[None]:
    """Run `number` processes that each occupy one core until the block ends."""
    processes = [
        multiprocessing.get_context("spawn").Process(target=_compute_forever, daemon=True)
        for _ in range(number)
    ]
    for process in processes:
        process.start()
    time.sleep(0.5 if processes else 0)
    try:
        yield
    finally:
        for process in processes:
            process.kill()
            process.join()


def _compute_forever() -> None:
    while True:
        pass
