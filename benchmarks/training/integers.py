"""Integer networks of trained runs: made and run in processes beside the training."""

from __future__ import annotations

import time
from concurrent.futures import Future, ProcessPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from lmht_deploy.data import Windows

from .session import Session
from .workers import start_workers, stop_workers

PREFIX = "integers-"
"""Before the name of an experiment: the part that holds its integer results."""

TIMED = 200
"""Windows that are timed with one thread."""


class Integers:
    """Conversions and evaluations that run beside the training; results are written as they come.

    Args:
        session: The session.
    """

    def __init__(self, session: Session) -> None:
        self._session = session
        self._threads = max(1, session.cores - 4)
        self._pool: ProcessPoolExecutor | None = None
        self._pending: dict[str, tuple[float, Future[dict[str, Any]]]] = {}

    def submit(self, name: str, test: Windows) -> None:
        """Convert the run of the experiment `name` and run it on `test`."""
        session = self._session
        if name in self._pending or session.read(PREFIX + name) is not None:
            return
        if self._pool is None:
            self._pool = start_workers(1)
        data = _saved(session.folder, test)
        out = session.folder / f"{name}.lmht"
        job = self._pool.submit(integers_of, session.runs / name, out, data, self._threads)
        self._pending[name] = time.monotonic(), job

    def collect(self, *, wait: bool = False) -> None:
        """Write the results that are there; with `wait`, of all evaluations."""
        for name, (start, job) in list(self._pending.items()):
            if not (wait or job.done()):
                continue
            result, failed = _outcome(job)
            self._session.write(PREFIX + name, result, time.monotonic() - start, failed)
            self._session.say(f"{PREFIX}{name}: {failed or round(result['accuracy'], 4)}")
            del self._pending[name]

    def stop(self) -> None:
        """End the processes."""
        if self._pool is not None:
            stop_workers(self._pool)


def _outcome(job: Future[dict[str, Any]]) -> tuple[dict[str, Any], str]:
    try:
        return job.result(), ""
    except Exception as error:  # of another process: the other parts are still useful
        return {}, f"{type(error).__name__}: {error}"


def _saved(folder: Path, test: Windows) -> Path:
    """Write windows and labels for the other process, once per data set."""
    path = folder / f"test-{test.kind}.npz"
    if not path.exists():
        np.savez(path, windows=test.windows, labels=test.require_labels())
    return path


def integers_of(run: Path, out: Path, data: Path, threads: int) -> dict[str, Any]:
    """Lower, quantize and save the network of a run; run it on all windows with the event engine.

    Returns:
        Accuracy, and means per window: SOPs, MACs, energy; mean spikes k per neuron and time-step;
        milliseconds per window with all threads and with one.
    """
    import lmht_deploy as lmht
    from lmht_deploy.analysis import counts, energy
    from lmht_deploy.cli._training import lower_run
    from lmht_deploy.training import load_run

    start = time.monotonic()
    net = lmht.quantize(lower_run(load_run(run)))
    lmht.save(net, out)
    converted = time.monotonic() - start
    content = np.load(data)
    windows, labels = content["windows"], content["labels"]
    result = lmht.run(net, windows, threads=threads)
    one = lmht.run(net, windows[:TIMED])
    joules = energy.estimate(counts.of_result(result), energy.energy_model(energy.DEFAULT)).joules
    return {
        "accuracy": float((result.predictions == labels).mean()),
        "windows": len(windows),
        "sops": float(sum(layer.mean() for layer in result.sops.values())),
        "macs": int(sum(result.macs.values())),
        "energy_nj": float(joules.mean() * 1e9),
        "spikes": float(sum(layer.mean() for layer in result.spikes.values())),
        "ms": 1e3 * result.seconds / len(windows),
        "threads": threads,
        "ms_one_thread": 1e3 * one.seconds / len(one.logits),
        "convert_seconds": converted,
        "bytes": out.stat().st_size,
    }
