"""NetX files of CUBA neurons in unmodified lava-dl 0.6, in the child process.

The tests compare `lmht_deploy.netx` with it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from lmht_deploy._arguments import as_array
from lmht_deploy.backends import no_progress
from lmht_deploy.netx import NetX, Recording, counting, load_netx
from lmht_deploy.netx.simulate import check
from lmht_deploy.result import Result

from . import child


@dataclass(frozen=True)
class Run:
    """Samples for one file.

    Attributes:
        path: The file.
        inputs: The other fields are the arguments of `netx.Simulator.run` with these names.
        steps: See `inputs`.
        graded: See `inputs`.
        states: See `inputs`.
        reset_interval: See `inputs`.
        reset_offset: See `inputs`.
    """

    path: Path
    inputs: np.ndarray
    steps: int | None = None
    graded: bool = False
    states: bool = False
    reset_interval: int | None = None
    reset_offset: int = 0


def run(
    python: Path,
    runs: Sequence[Run],
    *,
    fast_conv: bool = False,
    threads: int = 1,
    seconds: float = 600.0,
    progress: Callable[[int], None] = no_progress,
) -> tuple[list[list[Recording]], float]:
    """Run every sample, each in a network of its own.

    Args:
        python: Python of Lava's environment.
        runs: Samples, by file.
        fast_conv: Whether convolutions are matrix products in float64: faster, same integers.
        threads: Number of threads of NumPy in each Lava process.
        seconds: Time limit.
        progress: Called with the number of finished samples.

    Returns:
        The recordings of each run, by layer, and the seconds that Lava ran.

    Raises:
        StorageError: `load_netx` does not read a file.
        DataError: The inputs do not fit.
        BackendError: Lava fails, or takes longer than `seconds`.
    """
    nets = [load_netx(one.path) for one in runs]
    job = {
        "stock": [_entry(number, nets[number], one) for number, one in enumerate(runs)],
        "fast_conv": fast_conv,
        "threads": threads,
    }
    files = {f"inputs-{number}": one.inputs.astype(np.int32) for number, one in enumerate(runs)}
    what = ", ".join(one.path.name for one in runs)
    with child.run(python, what, job, files, seconds=seconds, progress=progress) as (out, report):
        found = [
            _recordings(net, one, out / f"out-{number}")
            for number, (net, one) in enumerate(zip(nets, runs, strict=True))
        ]
        return found, report["seconds"]


def _entry(number: int, net: NetX, one: Run) -> dict[str, Any]:
    """Return one run as the worker takes it (`worker/stock.py`)."""
    return {
        "net": str(one.path.resolve()),
        "layers": len(net.layers) - (net.groups is not None),
        "inputs": f"inputs-{number}.npy",
        "steps": check(net, one.inputs, one.steps, one.graded or net.encodes),
        "graded": one.graded,
        "states": one.states,
        "reset_interval": one.reset_interval,
        "reset_offset": one.reset_offset,
        "out": f"out-{number}",
    }


def _recordings(net: NetX, one: Run, out: Path) -> list[Recording]:
    found = []
    for index, layer in enumerate(net.spiking):
        arrays = {
            name: np.load(f"{out}-{index}-{name}.npy")
            for name in (("spikes", "u", "v") if one.states else ("spikes",))
        }
        arrays = {
            name: array.reshape(*array.shape[:2], *layer.shape) for name, array in arrays.items()
        }
        spikes = arrays["spikes"]
        potential = arrays["v"][:, -1] if one.states else np.zeros_like(spikes[:, 0], np.int32)
        wrapped, clipped, sums = (
            np.load(f"{out}-{index}-{name}.npy") for name in ("wrapped", "clipped", "sums")
        )
        counts = (spikes != 0).sum(1, dtype=np.int32)
        found.append(Recording(counts, potential, wrapped + sums, clipped, **arrays))
    return found


class StockBackend:
    """Unmodified lava-dl as a backend. Windows are those of the backend `netx`."""

    chunk: int | None = 32

    def __init__(
        self, path: Path, python: Path, threads: int, seconds: float, fast_conv: bool
    ) -> None:
        self.net, self.path = load_netx(path), path
        self._python, self._threads = python, threads
        self._seconds, self._fast_conv = seconds, fast_conv
        self.progress: Callable[[int], None] = no_progress
        self.window_shape = counting.window_shape(self.net)
        self.max_value = counting.max_value(self.net)
        self.metadata: Mapping[str, str] = self.net.metadata

    def run(self, windows: np.ndarray, *, trace: bool = False) -> Result:
        """Run `windows`; DataError where they do not fit."""
        windows = as_array("windows", windows)
        sample = counting.samples(self.net, windows)
        one = Run(self.path, sample.inputs, sample.steps, graded=sample.graded, states=True)
        (recordings,), seconds = run(
            self._python,
            [one],
            fast_conv=self._fast_conv,
            threads=self._threads,
            seconds=self._seconds,
            progress=self.progress,
        )
        return counting.result("lava", self.net, windows, recordings, seconds, trace=trace)

    def close(self) -> None:
        """Do nothing: a child process lives as long as its run."""
