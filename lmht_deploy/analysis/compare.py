"""Run the same windows on several backends, and compare all integers with the reference model."""

from __future__ import annotations

import dataclasses
import tempfile
from collections.abc import Callable, Iterable, Mapping
from contextlib import closing
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np

from lmht_deploy import backends as registry
from lmht_deploy._arguments import check_types
from lmht_deploy.data import balanced_sample
from lmht_deploy.errors import BackendError, ExportError, show
from lmht_deploy.formats.files import as_path
from lmht_deploy.formats.lmht import load_network
from lmht_deploy.ir import Network
from lmht_deploy.result import Result
from lmht_deploy.zoo import network_path

from . import energy
from ._progress import Progress, no_progress
from .runner import as_windows, write_artifact
from .scores import accuracy, check_labels, interval, saturations

__all__ = [
    "LIMITS",
    "REFERENCE",
    "BackendRow",
    "Comparison",
    "choose_backends",
    "compare",
    "compare_artifacts",
    "difference",
    "write_artifacts",
]

REFERENCE = "reference"
"""Backend that the others are compared with."""
LIMITS: Mapping[str, int] = {"lava": 20}
"""Largest number of windows of a slow backend. Lava simulates every sub-step of every process."""


@dataclass(frozen=True)
class BackendRow:
    """One artifact on one backend. Counts, energy and time are means per window.

    Attributes:
        label: Name of the backend, or "name/note" where a backend runs several artifacts.
        windows: Number of windows.
        accuracy: Share of the windows that are classified correctly; None without labels.
        interval: 95 % interval of the accuracy, for independent windows; None without labels.
        spikes: Spikes of all neurons. A graded spike of k counts k.
        sops: Synaptic operations.
        macs: Multiply-accumulates of layers that read pixels.
        energy: Estimated energy, in joules.
        time: Run time, in seconds.
        saturations: How often a 24-bit current wrapped or a 24-bit potential was clipped, in all
            windows; 0 on backends that have no such states.
        difference: First mismatch with the reference model; None if all integers are equal.
    """

    label: str
    windows: int
    accuracy: float | None
    interval: tuple[float, float] | None
    spikes: float
    sops: float
    macs: int
    energy: float
    time: float
    saturations: int
    difference: str | None


@dataclass(frozen=True)
class Comparison:
    """Result of a comparison of backends.

    Attributes:
        rows: One row per backend, the reference model first.
        energy_model: Name of the energy model.
        result: Result of the reference model.
        omitted: Why backends are missing, by name.
    """

    rows: tuple[BackendRow, ...]
    energy_model: str
    result: Result = field(repr=False, compare=False)
    omitted: Mapping[str, str] = field(default_factory=dict)

    @property
    def equal(self) -> bool:
        """Whether every backend computed the integers of the reference model."""
        return all(row.difference is None for row in self.rows)


@check_types(BackendError, limits=Mapping, progress=Callable)
def compare(
    net: Network | str | Path,
    windows: np.ndarray,
    labels: np.ndarray | None = None,
    *,
    backends: Iterable[str] | None = None,
    threads: int = 1,
    limits: Mapping[str, int] = LIMITS,
    energy_model: str = energy.DEFAULT,
    progress: Progress = no_progress,
) -> Comparison:
    """Run windows on several backends and compare all integers with the reference model.

    Args:
        net: An integer network, or the path of its `.lmht` file.
        windows: Integers within the range of the network's input.
        labels: Classes of the windows, for the accuracy.
        backends: Names of the backends. By default every backend that can run here and whose
            artifact can represent the network; `Comparison.omitted` says why others are missing.
        threads: Maximum number of threads per backend.
        limits: Largest number of windows of slow backends, by name. They run a sample with
            equally many windows of each class; without labels, the first windows.
        energy_model: Name of the energy model, see `lmht_deploy.analysis.energy.MODELS`.
        progress: Called as `progress(label, done, total)` with numbers of windows.

    Returns:
        One row per backend; `Comparison.equal` says whether all integers are equal.

    Raises:
        BackendError: A backend in `backends` is unknown or cannot run here, or the network is a
            float network.
        DataError: The windows or the labels do not fit the network.
        ExportError: The artifact of a backend in `backends` cannot represent the network.
        StorageError: The file is missing or damaged.

    Shape:
        windows: int `[B, T_in, C, H, W]` or `[B, T_in, N]`
        labels: int `[B]`

    Example:
        >>> comparison = lmht.compare("net.lmht", windows, backends=["event", "onnx"])
        >>> comparison.equal
        True
    """
    energy.energy_model(energy_model)
    names = choose_backends(backends)
    network = net if isinstance(net, Network) else load_network(network_path(as_path(net)))
    with tempfile.TemporaryDirectory(prefix="lmht-") as folder:
        artifacts, omitted = write_artifacts(
            network, Path(folder), names, strict=backends is not None
        )
        comparison = compare_artifacts(
            artifacts,
            windows,
            labels,
            threads=threads,
            limits=limits,
            energy_model=energy_model,
            progress=progress,
        )
    return dataclasses.replace(comparison, omitted=omitted)


def choose_backends(names: Iterable[str] | None) -> list[str]:
    """Return the names of the backends to compare; None stands for all backends.

    Raises:
        BackendError: A name is unknown, or its backend cannot run here or has no LM-HT networks.
    """
    if names is None:
        return list(registry.NAMES)
    if not isinstance(names, Iterable):
        raise BackendError(f"backends must be a list of names, not {names!r}")
    chosen = [names] if isinstance(names, str) else list(names)
    if not chosen:
        raise BackendError(f"no backend is named; the backends are {', '.join(registry.NAMES)}")
    for name in chosen:
        if not isinstance(name, str):
            raise BackendError(f"a backend is named by text, not {show(name)}")
        if name in registry.FOREIGN:
            raise BackendError(
                f"backend {name!r} runs files of other tools, which cannot be compared; "
                f"the backends of LM-HT networks are {', '.join(registry.NAMES)}"
            )
        if reason := registry.unavailable(name):
            raise BackendError(f"backend {name!r} cannot run here: {reason}")
    return chosen


def write_artifacts(
    net: Network, folder: Path, names: Iterable[str], *, strict: bool
) -> tuple[dict[str, Path], dict[str, str]]:
    """Write the artifact of every backend in `names`, and of the reference model, to `folder`.

    Args:
        net: An integer network.
        folder: Folder of the artifacts.
        names: Names of the backends.
        strict: Whether an artifact that cannot represent the network is an error.

    Returns:
        The artifacts, and the reasons why others are missing; both by backend.

    Raises:
        ExportError: With `strict`, an artifact cannot represent the network.
    """
    artifacts: dict[str, Path] = {}
    omitted: dict[str, str] = {}
    written: dict[str, Path] = {}
    for name in dict.fromkeys([REFERENCE, *names]):
        suffix = registry.artifact_suffix(name)
        try:
            path = written.get(suffix) or write_artifact(net, folder, name)
        except ExportError as error:
            if strict:
                raise
            omitted[name] = str(error)
            continue
        written[suffix] = path
        if reason := registry.unavailable(name):
            omitted[name] = reason
        else:
            artifacts[name] = path
    return artifacts, omitted


def compare_artifacts(
    artifacts: Mapping[str, Path],
    windows: np.ndarray,
    labels: np.ndarray | None = None,
    *,
    threads: int = 1,
    limits: Mapping[str, int] = LIMITS,
    energy_model: str = energy.DEFAULT,
    progress: Progress = no_progress,
) -> Comparison:
    """Run windows through artifacts and compare all integers with those of the reference model.

    Args:
        artifacts: Files by label, "reference" among them. A label is the name of a backend, or
            "name/note" where a backend runs several artifacts.
        windows, labels, threads, limits, energy_model, progress: As in `compare`.
    """
    model = energy.energy_model(energy_model)
    windows = as_windows(windows)
    labels = check_labels(labels, windows)

    def run(label: str, chosen: np.ndarray) -> Result:
        return _run(label, artifacts[label], windows[chosen], threads, progress)

    every = np.arange(len(windows))
    expected = run(REFERENCE, every)
    rows = [_row(REFERENCE, expected, expected, every, labels, model)]
    for label in artifacts:
        if label != REFERENCE:
            limit = limits.get(_backend_of(label), len(windows))
            chosen = balanced_sample(labels, limit, len(windows))
            rows.append(_row(label, run(label, chosen), expected, chosen, labels, model))
    return Comparison(tuple(rows), energy_model, expected)


def _backend_of(label: str) -> str:
    return label.partition("/")[0]


def _run(label: str, path: Path, windows: np.ndarray, threads: int, progress: Progress) -> Result:
    count = len(windows)
    progress(label, 0, count)
    with closing(registry.open_backend(_backend_of(label), path, threads=threads)) as backend:
        return registry.run_windows(
            backend, windows, progress=partial(_report, progress, label, count)
        )


def _report(progress: Progress, label: str, total: int, done: int) -> None:
    progress(label, done, total)


def _row(
    label: str,
    result: Result,
    expected: Result,
    chosen: np.ndarray,
    labels: np.ndarray | None,
    model: energy.EnergyModel,
) -> BackendRow:
    count, labels = len(result.logits), None if labels is None else labels[chosen]
    return BackendRow(
        label=label,
        windows=count,
        accuracy=accuracy(result, labels),
        interval=interval(result, labels),
        spikes=sum(counts.sum() for counts in result.spikes.values()) / count,
        sops=sum(counts.sum() for counts in result.sops.values()) / count,
        macs=sum(result.macs.values()),
        energy=float(energy.estimate(result, model).mean()),
        time=result.seconds / count,
        saturations=sum(sum(counts) for _, *counts in saturations(result)),
        difference=difference(result, expected, chosen),
    )


def difference(found: Result, expected: Result, chosen: np.ndarray | None = None) -> str | None:
    """Describe the first mismatch between two results, layer by layer; None if there is none.

    Args:
        found: Result to check. It may cover some of the windows.
        expected: Result of the reference model.
        chosen: Which windows of `expected` the result `found` covers. Default: the first.
    """
    if chosen is None:
        chosen = np.arange(len(found.logits))
    for kind in ("spikes", "sops"):
        for layer, counts in getattr(expected, kind).items():
            mine = getattr(found, kind).get(layer)
            if mine is None:
                return f"{kind} of layer {layer!r} are missing"
            if text := _mismatch(mine, counts[chosen], chosen):
                return f"{kind} of layer {layer!r} differ: {text}"
    if text := _mismatch(found.logits, expected.logits[chosen], chosen):
        return f"logits differ: {text}"
    if found.macs != expected.macs:
        return f"MACs differ: {found.macs}, expected {expected.macs}"
    return None


def _mismatch(found: np.ndarray, expected: np.ndarray, windows: np.ndarray) -> str:
    """Describe the first mismatch of two arrays for `windows`, or return an empty string."""
    if found.shape != expected.shape:
        return f"shape {list(found.shape)}, expected {list(expected.shape)}"
    at = np.argwhere(found != expected)
    if not len(at):
        return ""
    first = tuple(int(i) for i in at[0])
    differing = len(np.unique(at[:, 0]))
    return (
        f"window {windows[first[0]]} has {found[first]}, expected {expected[first]} "
        f"({differing} of {len(found)} windows differ)"
    )
