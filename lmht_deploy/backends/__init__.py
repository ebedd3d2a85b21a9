"""Backends: each runs a network, or an artifact (a file), and returns the same `Result`.

A backend is a module of this package. It defines:

    SUFFIX                               file name extension of its artifact, e.g. ".lmht";
                                         what can run a network reads it from all files of
                                         networks (`lmht_deploy.formats.networks`)
    CAPABILITIES                         what it can do, see `Capability`
    EXPORT                               options of `lmht_deploy.export` for its artifact, if any
    refusal(path) -> str | None          why it does not run an artifact exactly, if that occurs
    unavailable() -> str | None          what is not installed, and the command that installs it
    open_artifact(path, *, threads)      open an artifact
    open_network(net, *, threads)        run a `Network` without a file (capability "network")

It is registered by one entry in `NAMES`. Modules are imported on demand, so that no backend makes
the others slower to start.
"""

from __future__ import annotations

import importlib
import os
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from types import ModuleType, NoneType
from typing import Any, Literal, Protocol, runtime_checkable

import numpy as np

from lmht_deploy._arguments import INTEGER, as_array, check_types
from lmht_deploy._suggest import unknown
from lmht_deploy._threads import check_threads
from lmht_deploy.errors import BackendError, DataError, listed, show
from lmht_deploy.formats.networks import NETWORK_SUFFIXES, load_any_network
from lmht_deploy.ir import Network, require_network
from lmht_deploy.result import Result, concatenate
from lmht_deploy.zoo import network_path

__all__ = [
    "FOREIGN",
    "NAMES",
    "Backend",
    "Capability",
    "Incremental",
    "ProfilesLayers",
    "ReportsProgress",
    "StepRunner",
    "artifact_suffix",
    "capabilities",
    "check_stop",
    "device_of",
    "export_options",
    "no_progress",
    "open_backend",
    "open_network",
    "refusal",
    "require_integer",
    "run_chunks",
    "run_windows",
    "unavailable",
]

NAMES = ("reference", "event", "torch", "onnx", "openvino", "lava")
"""Backends of LM-HT networks; all of them give the same integers."""
FOREIGN = ("netx",)
"""Backends of files from other tools. These files hold no LM-HT network, so nothing is compared."""

Capability = Literal["network", "float", "device", "events", "traces", "incremental", "stop"]
"""What a backend can do.

* `network`: run a `Network` directly, see `open_network`
* `float`: run float networks, too
* `device`: compute on any device of PyTorch
* `events`: count graded spikes (`Result.events` and `Result.event_sops`)
* `traces`: return the spikes of every layer (`Result.traces`)
* `incremental`: compute with a time-step when it arrives, see `Incremental`
* `stop`: end a window when its answer is sure, see `lmht_deploy.engine.StepwiseEngine.run`
"""


class Backend(Protocol):
    """A network or an artifact that is ready to run.

    Attributes:
        window_shape: Shape of one window: `(T_in, C, H, W)` or `(T_in, N)`.
        max_value: Largest value of the network's input.
        metadata: Provenance of the network, text by key; empty for files of other tools.
        chunk: Number of windows per call that keeps memory use low; None for no limit.
    """

    window_shape: tuple[int, ...]
    max_value: int
    metadata: Mapping[str, str]
    chunk: int | None

    def run(self, windows: np.ndarray, *, trace: bool = False) -> Result:
        """Run all windows at once.

        Args:
            windows: Integers `[B, T_in, ...]`.
            trace: Whether to return the spikes of every neuron layer.

        Raises:
            DataError: The windows do not fit the network.
        """
        ...

    def close(self) -> None:
        """Release the resources of the backend."""
        ...


@runtime_checkable
class ReportsProgress(Protocol):
    """A backend with long calls: reports the number of finished windows during a call.

    Attributes:
        progress: Called with the number of windows of this call that are finished.
    """

    progress: Callable[[int], None]


@runtime_checkable
class ProfilesLayers(Protocol):
    """A backend that measures the time of each layer."""

    def profile(self, windows: np.ndarray) -> dict[str, float]:
        """Run windows, and return the time of each layer in seconds.

        Args:
            windows: Integers `[B, T_in, ...]`.

        Returns:
            Times by layer, in the order of the run; what belongs to no layer is under "other".
        """
        ...


class StepRunner(Protocol):
    """Incremental inference, on a ring of T_in input steps."""

    def put(self, slot: int, counts: np.ndarray) -> None:
        """Write `counts` int32 [C, H, W] or [N] into one slot of the ring."""
        ...

    def run(self, oldest: int) -> Result:
        """Run the window whose first step is in slot `oldest`; the result has B = 1."""
        ...


@runtime_checkable
class Incremental(Protocol):
    """A backend that computes with a time-step when it arrives, before its window is complete."""

    def steps(self, *, eager: bool = False, stop_margin: int | None = None) -> StepRunner | None:
        """Return a runner, or None where the network does not allow it.

        Args:
            eager: Whether a time-step runs through all layers when it arrives, where the network
                allows that. For windows that do not overlap. Otherwise the first layer is computed
                once per time-step, for all windows that contain it.
            stop_margin: Margin with which a window ends before its last time-step, in units of a
                logit per time-step that is left; None to run all time-steps. Only with `eager`.
        """
        ...


def no_progress(done: int) -> None:
    """No-op progress callback."""


def artifact_suffix(name: str) -> str:
    """Return the file name extension of the artifact that backend `name` runs."""
    suffix: str = _module(name).SUFFIX
    return suffix


def export_options(name: str) -> dict[str, Any]:
    """Return the options with which the artifact of backend `name` is exported."""
    return dict(getattr(_module(name), "EXPORT", {}))


def refusal(name: str, path: Path) -> str | None:
    """Return why backend `name` is not proved to run an artifact exactly, or None.

    The reason does not name the file, which may be a temporary one.
    """
    check: Callable[[Path], str | None] = getattr(_module(name), "refusal", lambda path: None)
    return check(path)


def capabilities(name: str) -> frozenset[Capability]:
    """Return what backend `name` can do."""
    found: frozenset[Capability] = _module(name).CAPABILITIES
    return found


def unavailable(name: str) -> str | None:
    """Return why backend `name` cannot run here and how to install it; None if it can run."""
    reason: str | None = _module(name).unavailable()
    return reason


@check_types(BackendError, device=str, stop_margin=(*INTEGER, NoneType))
def open_backend(
    name: str,
    path: str | Path,
    *,
    threads: int = 1,
    device: str = "cpu",
    stop_margin: int | None = None,
) -> Backend:
    """Open an artifact.

    Args:
        name: Name of the backend, one of `NAMES` or `FOREIGN`.
        path: The artifact, or "zoo:NAME".
        threads: Maximum number of threads.
        device: Device of PyTorch; anything but "cpu" needs the capability `device`.
        stop_margin: Margin with which a window ends early, see
            `lmht_deploy.engine.StepwiseEngine.run`; None to run whole windows. It needs the
            capability `stop`.

    Raises:
        BackendError: Unknown backend, artifact of another kind, missing package, or windows that
            cannot end early.
        StorageError: The file is missing or damaged.
    """
    module = _module(name)
    check_threads(threads, f"backend {name!r}")
    if not isinstance(path, str | os.PathLike):
        raise BackendError(f"{show(path)} is not the name of a file")
    path = network_path(path)
    if path.suffix not in _suffixes(module):
        known = listed(_suffixes(module), "or")
        raise BackendError(f"backend {name!r} runs {known} files, not {path.name!r}")
    options = {**_device_option(name, module, device), **_stop_option(name, stop_margin)}
    _require_available(name)
    backend: Backend = module.open_artifact(path, threads=threads, **options)
    return backend


def device_of(name: str, device: str) -> str:
    """Return the device that a backend runs on where `device` is asked for."""
    return device if "device" in capabilities(name) else "cpu"


def _device_option(name: str, module: Any, device: str) -> dict[str, str]:
    if "device" in module.CAPABILITIES:
        return {"device": device}
    if device != "cpu":
        raise BackendError(f"backend {name!r} runs on the CPU, not on device {device!r}")
    return {}


def check_stop(name: str) -> None:
    """Raise BackendError if backend `name` cannot end a window early."""
    if "stop" not in capabilities(name):
        able = listed([repr(other) for other in NAMES if "stop" in capabilities(other)])
        raise BackendError(
            f"backend {name!r} runs whole windows, and cannot stop early; backend {able} can"
        )


def _stop_option(name: str, stop_margin: int | None) -> dict[str, int]:
    if stop_margin is None:
        return {}
    check_stop(name)
    return {"stop_margin": stop_margin}


@check_types(BackendError, device=str)
def open_network(
    name: str,
    net: Network,
    *,
    threads: int = 1,
    device: str = "cpu",
    stop_margin: int | None = None,
) -> Backend:
    """Run a network without a file.

    Only backends with the capability `network` can. For the others, export the network and open
    the file with `open_backend`.

    Args:
        name: Name of the backend.
        net: The network; a float network needs the capability `float`.
        threads: Maximum number of threads.
        device: Device of PyTorch; anything but "cpu" needs the capability `device`.
        stop_margin: As for `open_backend`.

    Raises:
        BackendError: Unknown backend, missing capability or missing package.
    """
    module = _module(name)
    if "network" not in module.CAPABILITIES:
        raise BackendError(
            f"backend {name!r} runs {module.SUFFIX} files only; export the network first"
        )
    options = {**_device_option(name, module, device), **_stop_option(name, stop_margin)}
    check_threads(threads, f"backend {name!r}")
    if not require_network(net).integer and "float" not in module.CAPABILITIES:
        require_integer(name, net)
    _require_available(name)
    backend: Backend = module.open_network(net, threads=threads, **options)
    return backend


@check_types(DataError, trace=bool, progress=Callable)
def run_windows(
    backend: Backend,
    windows: np.ndarray,
    *,
    trace: bool = False,
    progress: Callable[[int], None] = no_progress,
) -> Result:
    """Run any number of windows, in chunks that keep memory use low.

    Args:
        backend: An open backend.
        windows: Integers `[B, T_in, ...]`.
        trace: Whether to return the spikes of every neuron layer.
        progress: Called with the number of finished windows.

    Raises:
        DataError: The windows do not fit the network.
    """
    return concatenate(list(run_chunks(backend, windows, trace=trace, progress=progress)))


@check_types(DataError, trace=bool, progress=Callable)
def run_chunks(
    backend: Backend,
    windows: np.ndarray,
    *,
    trace: bool = False,
    progress: Callable[[int], None] = no_progress,
) -> Iterator[Result]:
    """Run windows chunk by chunk, for callers that reduce traces before the next chunk.

    Args:
        backend, windows, trace, progress: As in `run_windows`.

    Yields:
        The results of successive windows.
    """
    if not callable(getattr(backend, "run", None)):
        raise BackendError(f"an open backend is needed (see open_backend), not {show(backend)}")
    windows = as_array("windows", windows)
    if windows.ndim == 0:
        raise DataError(f"windows must be an array [B, T_in, ...], not {show(windows)}")
    chunk = backend.chunk or max(1, len(windows))
    for start in range(0, max(1, len(windows)), chunk):
        if isinstance(backend, ReportsProgress):
            backend.progress = partial(_add_offset, progress, start)
        yield backend.run(windows[start : start + chunk], trace=trace)
        progress(min(len(windows), start + chunk))


def require_integer(name: str, net: Network, path: Path | None = None) -> Network:
    """Return `net`, or raise BackendError if it is a float network.

    Args:
        name: Name of the backend, for the message.
        net: The network.
        path: File that holds the network, for the message.
    """
    if not require_network(net).integer:
        where = "" if path is None else f"{path}: "
        raise BackendError(
            f"{where}backend {name!r} runs integer networks, and this is a float network; "
            "quantize it first (`lmht convert`)"
        )
    return net


def load_integer_network(name: str, path: Path) -> Network:
    """Load the network of a file for backend `name`, or raise BackendError for a float network."""
    return require_integer(name, load_any_network(path), path)


def _suffixes(module: ModuleType) -> tuple[str, ...]:
    """Return the file name extensions of what a backend opens."""
    if "network" in module.CAPABILITIES:
        return NETWORK_SUFFIXES
    return (module.SUFFIX,)


def _module(name: str) -> ModuleType:
    if not isinstance(name, str) or name not in (*NAMES, *FOREIGN):
        raise BackendError(unknown("backend", name, (*NAMES, *FOREIGN)))
    return importlib.import_module(f"{__name__}.{name}")


def _require_available(name: str) -> None:
    if reason := unavailable(name):
        raise BackendError(f"backend {name!r} cannot run here: {reason}")


def _add_offset(progress: Callable[[int], None], offset: int, done: int) -> None:
    progress(offset + done)
