"""Run a network or an artifact on a backend that is chosen by name."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import numpy as np

from lmht_deploy import backends, exporters
from lmht_deploy.backends import Backend
from lmht_deploy.errors import BackendError, LmhtError
from lmht_deploy.formats.lmht import SUFFIX, save_network
from lmht_deploy.ir import Network
from lmht_deploy.netx import is_foreign
from lmht_deploy.result import Result

__all__ = ["MAX_THREADS", "default_backend", "open_runner", "run", "write_artifact"]

MAX_THREADS = 1024
DEFAULT_BACKENDS = {".lmht": "event", ".onnx": "onnx", ".net": "lava"}
"""Backend of each kind of artifact; NetX files of other tools run on `netx`."""


def run(
    net: Network | str | Path,
    windows: np.ndarray,
    *,
    backend: str = "event",
    threads: int = 1,
    trace: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> Result:
    """Run windows through a network on one backend.

    Args:
        net: A network, or the path of an artifact that `backend` runs.
        windows: Integers within the range of the network's input.
        backend: Name of the backend: "reference", "event", "torch", "onnx", "lava" or "netx".
        threads: Maximum number of threads.
        trace: Whether to return the spikes of every neuron layer.
        progress: Called as `progress(done, total)` with numbers of windows.

    Returns:
        Logits, spikes and synaptic operations of every window: the same integers on every backend.

    Raises:
        BackendError: Unknown backend, or one that cannot run here or cannot run `net`.
        DataError: The windows do not fit the network.
        ExportError: The artifact of the backend cannot represent the network.
        StorageError: The file is missing or damaged.

    Shape:
        windows: int `[B, T_in, C, H, W]` or `[B, T_in, N]`

    Example:
        >>> result = lmht.run(net, windows, backend="onnx")
        >>> result.predictions[:3]
        array([7, 2, 1])
    """
    with open_runner(net, backend, threads=threads) as runner:
        total = len(np.atleast_1d(windows))
        return backends.run_windows(
            runner,
            windows,
            trace=trace,
            progress=backends.no_progress
            if progress is None
            else lambda done: progress(done, total),
        )
