"""Backends: each runs an artifact (a file) and gives the same `Result`.

A backend is a module of this package with

    SUFFIX                           the artifact it runs, e.g. ".lmht"
    missing() -> str | None          what is not installed, and the one command that installs it
    load(path, *, threads) -> Backend

and joins by one entry in `NAMES`. Modules are imported when asked for, so that no backend costs the others anything.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Protocol, runtime_checkable

import numpy as np

from lmht_deploy.errors import BackendError
from lmht_deploy.formats.lmht import load_network
from lmht_deploy.ir import Network
from lmht_deploy.result import Result, concatenate

NAMES = ("reference", "event", "torch", "onnx", "lava")
FOREIGN = ("netx",)
"""Backends of files that others wrote: not LM-HT networks, so that there is nothing to compare."""


class Backend(Protocol):
    """An artifact ready to run."""

    window_shape: tuple[int, ...]
    """of one window: (T_in, C, H, W) or (T_in, N)"""
    max_value: int
    """the largest count that the network's input takes"""
    chunk: int | None
    """windows of one call that keep memory small; None: all at once"""

    def run(self, windows: np.ndarray, *, trace: bool = False) -> Result:
        """Run `windows` [B, T_in, ...] (integers); with `trace` the result holds every neuron layer's spikes."""
        ...

    def close(self) -> None:
        """Give back what the backend holds."""
        ...


def no_progress(done: int) -> None:
    """Progress that nobody wants to hear of."""


@runtime_checkable
class ReportsProgress(Protocol):
    """A backend whose calls take long: it calls `progress` with the number of windows that are done, when that changes or oftener."""

    progress: Callable[[int], None]


def module(name: str) -> ModuleType:
    """The module of backend `name`; BackendError where there is none of that name."""
    if name not in (*NAMES, *FOREIGN):
        raise BackendError(f"unknown backend {name!r}; there are {', '.join((*NAMES, *FOREIGN))}")
    return importlib.import_module(f"{__name__}.{name}")


def artifact_suffix(name: str) -> str:
    """File suffix of the artifact that backend `name` runs."""
    return module(name).SUFFIX


def unavailable(name: str) -> str | None:
    """Why backend `name` cannot run here, with the command that mends it; None where it can."""
    return module(name).unavailable()


def open_backend(name: str, path: str | Path, *, threads: int = 1) -> Backend:
    """Open the artifact at `path` with backend `name`, using up to `threads` threads.

    Raises BackendError for an unknown backend, an artifact of another kind or a missing package, and StorageError for
    a file that is missing or damaged.
    """
    backend = module(name)
    if Path(path).suffix != backend.SUFFIX:
        raise BackendError(f"backend {name!r} runs {backend.SUFFIX} files, not {Path(path).name!r}")
    if reason := backend.unavailable():
        raise BackendError(f"backend {name!r} cannot run here: {reason}")
    return backend.open_artifact(Path(path), threads=threads)


def run_windows(
    backend: Backend,
    windows: np.ndarray,
    *,
    trace: bool = False,
    progress: Callable[[int], None] = no_progress,
) -> Result:
    """Run any number of `windows` through an open backend, in chunks that keep memory small.

    `progress` is told how many windows are done. Raises DataError where the windows do not fit.
    """
    chunk = backend.chunk or max(1, len(windows))
    parts = []
    for start in range(0, max(1, len(windows)), chunk):
        if isinstance(backend, ReportsProgress):
            backend.progress = partial(_further, progress, start)
        parts.append(backend.run(windows[start : start + chunk], trace=trace))
        progress(min(len(windows), start + chunk))
    return concatenate(parts)


def _further(progress: Callable[[int], None], before: int, done: int) -> None:
    progress(before + done)


def load_integer_network(name: str, path: Path) -> Network:
    """The network of a `.lmht` file; BackendError where it is a float one, which backend `name` does not run."""
    net = load_network(path)
    if not net.integer:
        raise BackendError(
            f"{path}: holds a float network; backend {name!r} runs integer ones; see `lmht convert`"
        )
    return net
