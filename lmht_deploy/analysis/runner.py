"""Run a network or an artifact on a backend that is chosen by name."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from types import NoneType

import numpy as np

from lmht_deploy import backends
from lmht_deploy._arguments import REAL, as_array, check_types
from lmht_deploy.backends import Backend
from lmht_deploy.errors import BackendError, DataError, StorageError, show
from lmht_deploy.exporters import export
from lmht_deploy.formats.files import as_path
from lmht_deploy.formats.lmht import save_network
from lmht_deploy.formats.networks import NETWORK_SUFFIXES, load_any_network
from lmht_deploy.ir import Network
from lmht_deploy.netx import is_foreign
from lmht_deploy.result import Result
from lmht_deploy.zoo import network_path

__all__ = [
    "artifact_name",
    "as_windows",
    "default_backend",
    "holds_network",
    "no_network",
    "open_runner",
    "run",
    "time_windows",
    "write_artifact",
]

DEFAULTS = {**dict.fromkeys(NETWORK_SUFFIXES, "event"), ".onnx": "onnx"}
"""Backend of each kind of artifact. NetX files of other tools run on "netx"."""


@check_types(BackendError, backend=str, progress=(Callable, NoneType))
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
        net: A network, or the path of its file or of an artifact that `backend` runs. It is
            exported to a temporary file for a backend that needs one.
        windows: Integers within the range of the network's input.
        backend: Name of the backend: "reference", "event", "torch", "onnx", "openvino",
            "lava" or "netx".
        threads: Maximum number of threads.
        trace: Whether to return the spikes of every neuron layer.
        progress: Called as `progress(done, total)` with numbers of windows.

    Returns:
        Logits, spikes and synaptic operations per window: the same integers on every backend.

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
    windows = as_windows(windows)

    def report(done: int) -> None:
        if progress is not None:
            progress(done, len(windows))

    with open_runner(net, backend, threads=threads, trace=trace) as runner:
        return backends.run_windows(runner, windows, trace=trace, progress=report)


@check_types(DataError, seconds=REAL)
def time_windows(backend: Backend, windows: np.ndarray, seconds: float = 1.0) -> np.ndarray:
    """Run windows one by one and return the wall time of each call, in seconds.

    A call that is not timed comes first: memory is allocated in it.

    Args:
        backend: An open backend.
        windows: Integers `[B, T_in, ...]`.
        seconds: Time after which no further window is run.

    Returns:
        float64 `[n]`, n <= B.
    """
    if not callable(getattr(backend, "run", None)):
        raise BackendError(f"an open backend is needed (see open_backend), not {show(backend)}")
    windows = as_windows(windows)
    times: list[float] = []
    if len(windows):
        backend.run(windows[:1])
    end = time.perf_counter() + seconds
    for index in range(len(windows)):
        start = time.perf_counter()
        if start >= end:
            break
        backend.run(windows[index : index + 1])
        times.append(time.perf_counter() - start)
    return np.array(times)


def as_windows(windows: object) -> np.ndarray:
    """Return `windows` as an array with at least one axis; DataError if they are none."""
    found = as_array("windows", windows)
    if found.ndim == 0:
        raise DataError(f"windows must be an array [B, T_in, ...], not {type(windows).__name__}")
    return found


@contextmanager
def open_runner(
    net: Network | str | Path,
    backend: str,
    *,
    threads: int = 1,
    trace: bool = False,
    stop_margin: int | None = None,
) -> Iterator[Backend]:
    """Open a network or an artifact on a backend, and close it afterwards.

    A network is written to a temporary file for a backend that runs files only; `trace` says
    whether that file can return spikes. `stop_margin` is that of `backends.open_backend`. `run`
    lists the other arguments and the errors.
    """
    if not isinstance(net, Network | str | Path):
        raise BackendError(
            f"a backend runs a Network or the path of an artifact, not {type(net).__name__}"
        )
    if _must_export(net, backend):
        with _exported(net, backend, threads, trace) as runner:
            yield runner
        return
    if isinstance(net, Network):
        opened = backends.open_network(backend, net, threads=threads, stop_margin=stop_margin)
    else:
        opened = backends.open_backend(backend, net, threads=threads, stop_margin=stop_margin)
    with closing(opened) as runner:
        yield runner


def _must_export(net: Network | str | Path, backend: str) -> bool:
    """Whether a backend runs a network only as a file of another format."""
    if "network" in backends.capabilities(backend) or backend in backends.FOREIGN:
        return False
    if isinstance(net, Network):
        return True
    suffix = network_path(as_path(net)).suffix
    return suffix in NETWORK_SUFFIXES and suffix != backends.artifact_suffix(backend)


@contextmanager
def _exported(
    net: Network | str | Path, backend: str, threads: int, trace: bool
) -> Iterator[Backend]:
    """Export a network, and open the file; messages name the network instead of the file."""
    if reason := backends.unavailable(backend):
        raise BackendError(f"backend {backend!r} cannot run here: {reason}")
    name = "the network" if isinstance(net, Network) else str(net)
    if not isinstance(net, Network):
        net = load_any_network(network_path(as_path(net)))
    with tempfile.TemporaryDirectory(prefix="lmht-") as folder:
        path = write_artifact(net, Path(folder), backend, trace=trace)
        try:
            with closing(backends.open_backend(backend, path, threads=threads)) as runner:
                yield runner
        except (BackendError, StorageError) as error:
            raise type(error)(str(error).replace(str(path), name)) from None


def artifact_name(backend: str) -> str:
    """Return the name of the file that `write_artifact` writes for a backend."""
    own = f"-{backend}" if backends.export_options(backend) else ""
    return f"net{own}{backends.artifact_suffix(backend)}"


def write_artifact(net: Network, folder: Path, backend: str, *, trace: bool = False) -> Path:
    """Write the artifact that `backend` runs to `folder`, as `net.lmht`, `net.onnx` or `net.net`.

    One that needs options of its own has the name of the backend: `net-openvino.onnx`.

    Args:
        net: An integer network.
        folder: Folder of the artifact.
        backend: Name of the backend.
        trace: Whether an ONNX artifact also outputs the spikes of every layer.

    Raises:
        ExportError: The format of the artifact cannot represent the network.
        StorageError: The file cannot be written.
    """
    path, options = folder / artifact_name(backend), backends.export_options(backend)
    if path.suffix == ".lmht":
        save_network(net, path)
    else:
        export(net, path, trace=trace and path.suffix == ".onnx", **options)
    return path


def holds_network(artifact: Path) -> bool:
    """Whether `lmht_deploy.load` reads a file: False for `.onnx` and for NetX of other tools.

    Raises:
        StorageError: A NetX file is missing or damaged.
    """
    if artifact.suffix == ".net":
        return not is_foreign(artifact)
    return artifact.suffix in NETWORK_SUFFIXES


def no_network(artifact: Path) -> str:
    """Return why an artifact of the backend "netx" cannot be compared, for a message."""
    return (
        f"{artifact}: holds stock neurons of lava-dl and no LM-HT network, and cannot be compared; "
        "`lmht run` runs it"
    )


def default_backend(artifact: Path) -> str:
    """Return the name of the backend that runs an artifact by default.

    Raises:
        BackendError: No backend runs files with this name.
        StorageError: A NetX file is missing or damaged.
    """
    artifact = as_path(artifact)
    if artifact.suffix not in DEFAULTS:
        raise BackendError(
            f"{artifact}: no backend runs {artifact.suffix or 'such'} files; "
            f"artifacts are {', '.join(DEFAULTS)} files"
        )
    foreign = artifact.suffix == ".net" and not holds_network(artifact)
    return "netx" if foreign else DEFAULTS[artifact.suffix]
