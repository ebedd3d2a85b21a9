"""Speed of backends: start-up, latency, throughput and memory, each in a process of its own.

The backends take turns in several rounds, so that a change in the load of the machine meets all of
them. Every figure is taken after a warm-up, but the start-up time.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np

from lmht_deploy import __version__, engine
from lmht_deploy.backends import device_of
from lmht_deploy.errors import BackendError

from .meters import Meter, nvml, rapl

__all__ = ["Speed", "measure"]

ROUNDS = 5
SECONDS = 0.2
"""Time of each backend for single windows, and again for batches, in each round."""
WINDOWS = 128
"""Number of windows that are run again and again."""
PERCENTS = (50, 90, 99)


@dataclass(frozen=True)
class Speed:
    """Speed of one artifact on one backend.

    Attributes:
        start_ms: Time from the start of the process to the first answer.
        open_ms: Time to open the artifact.
        latency: `windows`, `mean_ms`, `p50_ms`, `p90_ms` and `p99_ms` of calls with one window.
        throughput: `windows_per_s` of calls with `batch` windows, over all calls.
        threads: Maximum number of threads.
        batch: Number of windows per call for the throughput.
        tier: Instruction set of the event engine; None for other backends.
        versions: Versions of the packages that the process used.
        peak_memory_bytes: Largest resident memory of the process; None if it is not known. The
            processes that a backend starts itself are not included.
        artifact_bytes: Size of the artifact.
    """

    start_ms: float
    open_ms: float
    latency: Mapping[str, float]
    throughput: Mapping[str, float]
    threads: int
    batch: int
    tier: str | None
    versions: Mapping[str, str]
    peak_memory_bytes: int | None
    artifact_bytes: int


def measure(
    artifacts: Mapping[str, Path],
    windows: np.ndarray,
    *,
    threads: int = 1,
    device: str = "cpu",
    rounds: int = ROUNDS,
    seconds: float = SECONDS,
) -> tuple[dict[str, Speed], list[dict[str, Any]]]:
    """Measure the speed of artifacts, and energy where the machine measures it.

    Args:
        artifacts: Files by label: the name of a backend, or "name/note".
        windows: Integers `[B, T_in, ...]`.
        threads: Maximum number of threads per backend.
        device: Device of PyTorch, for the backend that has the capability `device`.
        rounds: Number of rounds in which the backends take turns.
        seconds: Time per round and backend for single windows, and again for batches.

    Returns:
        The speed by label, and the measured energy of each meter: `meter`, `source`, `backend`,
        `joules` and `joules_idle` per window; or `meter` and `reason` where there is none. RAPL
        measures the fastest backend, NVML the backend that runs on a GPU.

    Raises:
        BackendError: A backend cannot run the artifact.
    """
    with tempfile.TemporaryDirectory(prefix="lmht-") as folder, ExitStack() as stack:
        file = Path(folder) / "windows.npy"
        np.save(file, windows[:WINDOWS], allow_pickle=False)
        workers = {
            label: stack.enter_context(_Worker(label, path, file, threads, device))
            for label, path in artifacts.items()
        }
        for _ in range(rounds):
            for worker in workers.values():
                worker.run("latency", seconds)
                worker.run("throughput", seconds)
        fastest = max(workers, key=lambda label: workers[label].windows_per_second)
        on_gpu = next((label for label, worker in workers.items() if worker.gpu), fastest)
        with nvml.open_meter(workers[on_gpu].gpu) as gpu:
            energy = [
                measure_energy(meter, label, partial(workers[label].run, "throughput", seconds))
                for meter, label in ((rapl.open_meter(), fastest), (gpu, on_gpu))
            ]
        return {label: worker.finish() for label, worker in workers.items()}, energy


def measure_energy(meter: Meter, label: str, run: Callable[[], int]) -> dict[str, Any]:
    """Return the measured energy per window, and that at rest for the same time.

    Args:
        meter: Measures.
        label: What runs.
        run: Runs windows, and returns how many.
    """
    if not meter.counters:
        return {"meter": meter.kind, "reason": meter.reason}
    idle = meter.idle_watts()
    before, start = meter.read(), time.perf_counter()
    number = run()
    after, elapsed = meter.read(), time.perf_counter() - start
    return {
        "meter": meter.kind,
        "source": meter.source,
        "backend": label,
        "joules": meter.joules(before, after) / number,
        "joules_idle": idle * elapsed / number,
    }


class _Worker:
    """The process of one backend.

    Attributes:
        gpu: UUID of the GPU that it computes on; None for the CPU.
    """

    def __init__(self, label: str, path: Path, windows: Path, threads: int, device: str) -> None:
        self._label, self._path, self._threads = label, path, threads
        self._times: dict[str, list[float]] = {"latency": [], "throughput": []}
        name, start = label.partition("/")[0], time.perf_counter()
        self._errors = tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace")  # noqa: SIM115
        self._process = subprocess.Popen(
            [
                *(sys.executable, "-m", "lmht_deploy.analysis._speed_worker"),
                *(name, str(path), str(windows), str(threads), device_of(name, device)),
            ],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            text=True,
            encoding="utf-8",
        )
        try:
            ready = self._answer()
        except BackendError:
            self.__exit__(None, None, None)
            raise
        self._start = time.perf_counter() - start
        self._open, self._batch = float(ready["open"]), int(ready["batch"])
        self.gpu: str | None = ready["gpu"]

    def __enter__(self) -> _Worker:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._process.kill()
        self._process.communicate()
        self._errors.close()

    @property
    def windows_per_second(self) -> float:
        """Throughput of all calls until now."""
        times = self._times["throughput"]
        return len(times) * self._batch / sum(times)

    def run(self, kind: str, seconds: float) -> int:
        """Run windows for some time, and return how many."""
        assert self._process.stdin is not None
        with suppress(OSError):  # it ended, and so there is no answer
            self._process.stdin.write(f"{kind} {seconds}\n")
            self._process.stdin.flush()
        answer = self._answer()
        self._times[kind] += answer["times"]
        return len(answer["times"]) * int(answer["size"])

    def finish(self) -> Speed:
        """End the process and return its figures."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.stdin = None
        last = self._answer()
        event = self._label.partition("/")[0] == "event"
        return Speed(
            start_ms=1e3 * self._start,
            open_ms=1e3 * self._open,
            latency=_latency(self._times["latency"]),
            throughput={"windows_per_s": self.windows_per_second},
            threads=self._threads,
            batch=self._batch,
            tier=engine.isas()[0] if event else None,
            versions={"lmht-deploy": __version__, **last["modules"]},
            peak_memory_bytes=last["peak"],
            artifact_bytes=self._path.stat().st_size,
        )

    def _answer(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if line:
            found: dict[str, Any] = json.loads(line)
            return found
        self._process.wait()
        self._errors.seek(0)
        raise BackendError(
            f"the speed of backend {self._label!r} cannot be measured: "
            f"{_last_line(self._errors.read())}"
        )


def _last_line(text: str) -> str:
    lines = [line for line in text.splitlines() if line.strip()]
    return lines[-1].strip() if lines else "its process ended"


def _latency(times: Sequence[float]) -> dict[str, float]:
    found: dict[str, float] = {"windows": len(times), "mean_ms": 1e3 * float(np.mean(times))}
    for percent in PERCENTS:
        value = np.percentile(times, percent, method="inverted_cdf")
        found[f"p{percent}_ms"] = 1e3 * float(value)
    return found
