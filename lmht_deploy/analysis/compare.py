"""Run the same windows on several backends, and compare all integers with the reference model."""

from __future__ import annotations

import dataclasses
import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from lmht_deploy import backends as registry
from lmht_deploy._arguments import check_types
from lmht_deploy.data import balanced_sample
from lmht_deploy.errors import BackendError, ExportError, show
from lmht_deploy.formats.files import as_path
from lmht_deploy.formats.networks import NETWORK_SUFFIXES, load_any_network
from lmht_deploy.ir import Network
from lmht_deploy.result import Result
from lmht_deploy.zoo import network_path

from . import energy
from ._progress import Progress, no_progress
from .agreement import Difference, check_spikes, difference, locate
from .counts import GRADED, Counts, of_result
from .observation import Observation, observe
from .runner import as_windows, default_backend, no_network, write_artifact
from .scores import accuracy, check_labels, interval, saturations
from .speed import Speed, measure

__all__ = [
    "LIMITS",
    "REFERENCE",
    "BackendRow",
    "Comparison",
    "choose_backends",
    "compare",
    "compare_artifacts",
    "view_for",
    "write_artifacts",
    "write_traced",
]

REFERENCE = "reference"
"""Backend that the others are compared with."""
LIMITS: Mapping[str, int] = {"lava": 20}
"""Largest number of windows of a slow backend. Lava simulates every sub-step of every process."""
SPIKE_WINDOWS = 100
"""Largest number of windows whose spikes are compared one by one. Sums are compared for all."""


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
        energy: Estimated energy, in joules; None if the integers differ, or if the model needs
            counts that an artifact without its network does not give.
        time: Run time, in seconds.
        saturations: How often a 24-bit current wrapped or a 24-bit potential was clipped, in all
            windows; 0 on backends that have no such states.
        difference: First difference from the reference model; None if all integers are equal.
        spike_windows: Number of windows whose spikes were compared one by one; 0 for a backend that
            returns sums only.
        artifact: The file that ran.
    """

    label: str
    windows: int
    accuracy: float | None
    interval: tuple[float, float] | None
    spikes: float
    sops: float
    macs: int
    energy: float | None
    time: float
    saturations: int
    difference: Difference | None
    spike_windows: int
    artifact: Path = field(compare=False)


@dataclass(frozen=True)
class Comparison:
    """Result of a comparison of backends.

    Attributes:
        rows: One row per backend, the reference model first.
        energy_model: Energy model of the rows.
        result: Result of the reference model.
        omitted: Why backends are missing, by name.
        observation: Counts of the reference model by layer, step and window; None for an artifact
            without its network.
        speed: Speed by label; empty if it was not measured.
        measured: Measured energy of each meter, see `lmht_deploy.analysis.speed.measure`; empty
            if speed was not measured.
    """

    rows: tuple[BackendRow, ...]
    energy_model: energy.EnergyModel
    result: Result = field(repr=False, compare=False)
    omitted: Mapping[str, str] = field(default_factory=dict)
    observation: Observation | None = field(default=None, repr=False, compare=False)
    speed: Mapping[str, Speed] = field(default_factory=dict, compare=False)
    measured: Sequence[Mapping[str, Any]] = field(default=(), compare=False)

    @property
    def equal(self) -> bool:
        """Whether every backend computed the integers of the reference model."""
        return all(row.difference is None for row in self.rows)

    def estimates(self) -> list[energy.Estimate]:
        """Return the energy under every model whose counts are known, the packaged ones first."""
        models = {**energy.MODELS, self.energy_model.name: self.energy_model}
        found = (
            (model, view_for(model, self.result, self.observation)) for model in models.values()
        )
        return [energy.estimate(counts, model) for model, counts in found if counts is not None]


@check_types(BackendError, device=str, limits=Mapping, progress=Callable)
def compare(
    net: Network | str | Path,
    windows: np.ndarray,
    labels: np.ndarray | None = None,
    *,
    backends: Iterable[str] | None = None,
    exported: Iterable[Path] = (),
    threads: int = 1,
    device: str = "cpu",
    limits: Mapping[str, int] = LIMITS,
    energy_model: str | Path = energy.DEFAULT,
    speed: bool = False,
    progress: Progress = no_progress,
) -> Comparison:
    """Run windows on several backends and compare all integers with the reference model.

    Args:
        net: An integer network, or the path of its `.lmht` file. A float network runs on the
            reference model alone.
        windows: Integers within the range of the network's input.
        labels: Classes of the windows, for the accuracy.
        backends: Names of the backends. By default every backend that can run here and whose
            artifact can represent the network; `Comparison.omitted` says why others are missing.
        exported: Files that were exported of this network before, `.onnx` or `.net`; each is one
            more row, with the label "backend/file".
        threads: Maximum number of threads per backend.
        device: Device of PyTorch for the backend `torch`; the others run on the CPU.
        limits: Largest number of windows of slow backends, by name. They run a sample with
            equally many windows of each class; without labels, the first windows.
        energy_model: Name of the energy model, see `lmht_deploy.analysis.energy.MODELS`, or a
            `.toml` file.
        speed: Whether to measure speed as well, in processes of their own.
        progress: Called as `progress(label, done, total)` with numbers of windows.

    Returns:
        One row per backend; `Comparison.equal` says whether all integers are equal.

    Raises:
        BackendError: A backend in `backends` is unknown or cannot run here, or cannot run a float
            network.
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
    network = net if isinstance(net, Network) else load_any_network(network_path(as_path(net)))
    if backends is None and not network.integer:
        names = [REFERENCE]
    files = _label_exported(exported)
    with tempfile.TemporaryDirectory(prefix="lmht-") as folder:
        artifacts, omitted = write_artifacts(
            network, Path(folder), names, strict=backends is not None
        )
        comparison = compare_artifacts(
            artifacts | files,
            windows,
            labels,
            threads=threads,
            device=device,
            limits=limits,
            energy_model=energy_model,
            traced=write_traced(network, Path(folder), artifacts),
            speed=speed,
            progress=progress,
        )
    return dataclasses.replace(comparison, omitted=omitted)


def _label_exported(paths: Iterable[Path]) -> dict[str, Path]:
    """Return exported files by the label of their row."""
    found = {f"{default_backend(path)}/{path.name}": path for path in paths}
    for label, path in found.items():
        if _backend_of(label) not in registry.NAMES:
            raise BackendError(no_network(path))
    return found


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
        BackendError: With `strict`, a backend cannot run here or refuses its artifact.
    """
    artifacts: dict[str, Path] = {}
    omitted: dict[str, str] = {}
    written: dict[tuple[str, ...], Path] = {}
    for name in dict.fromkeys([REFERENCE, *names]):
        form = (registry.artifact_suffix(name), *registry.export_options(name))
        reason = registry.unavailable(name)
        own = len(form) > 1  # exported with options, for this backend alone
        if reason and own:
            omitted[name] = reason
            continue
        try:
            path = written.get(form) or write_artifact(net, folder, name)
        except ExportError as error:
            if strict:
                raise
            omitted[name] = str(error)
            continue
        written[form] = path
        if reason := reason or registry.refusal(name, path):
            if strict:
                raise BackendError(f"backend {name!r} does not run this network: {reason}")
            omitted[name] = reason
            if own:
                path.unlink()
        else:
            artifacts[name] = path
    return artifacts, omitted


def write_traced(net: Network, folder: Path, labels: Iterable[str]) -> dict[str, Path]:
    """Write the artifacts that return spikes, for backends whose artifact does not, by label."""
    traced = folder / "traced"
    traced.mkdir(exist_ok=True)
    names = [name for name in labels if registry.artifact_suffix(name) == ".onnx"]
    return {name: write_artifact(net, traced, name, trace=True) for name in names}


def compare_artifacts(
    artifacts: Mapping[str, Path],
    windows: np.ndarray,
    labels: np.ndarray | None = None,
    *,
    threads: int = 1,
    device: str = "cpu",
    limits: Mapping[str, int] = LIMITS,
    energy_model: str | Path = energy.DEFAULT,
    traced: Mapping[str, Path] | None = None,
    speed: bool = False,
    progress: Progress = no_progress,
) -> Comparison:
    """Run windows through artifacts and compare all integers with those of the reference model.

    Args:
        artifacts: Files by label. A label is the name of a backend, or "name/note" where a backend
            runs several artifacts. The others are compared with "reference", or with the first
            file if that is missing.
        traced: Files by label that return spikes, where those in `artifacts` do not.
        windows, labels, threads, device, limits, energy_model, speed, progress: As in `compare`.
    """
    model = energy.energy_model(energy_model)
    windows = as_windows(windows)
    labels = check_labels(labels, windows)
    lead = REFERENCE if REFERENCE in artifacts else next(iter(artifacts))
    every = np.arange(len(windows))
    with _open(lead, artifacts[lead], threads, device) as backend:
        result, observation = _lead(lead, artifacts[lead], backend, windows, progress)
        run = _Run(windows, labels, threads, device, model, progress, backend, result, observation)
        rows = [run.row(lead, artifacts[lead], result, every, None, 0)]
        for label, path in artifacts.items():
            if label != lead:
                limit = limits.get(_backend_of(label), len(windows))
                chosen = balanced_sample(labels, limit, len(windows))
                rows.append(run.compare(label, path, (traced or {}).get(label), chosen))
    comparison = Comparison(tuple(rows), model, result, observation=observation)
    if not speed:
        return comparison
    progress("speed", 0, 1)
    found, measured = measure(artifacts, windows, threads=threads, device=device)
    return dataclasses.replace(comparison, speed=found, measured=measured)


def _open(label: str, path: Path, threads: int, device: str) -> closing[registry.Backend]:
    """Open an artifact; the backend closes at the end of a `with` statement."""
    name = _backend_of(label)
    device = registry.device_of(name, device)
    return closing(registry.open_backend(name, path, threads=threads, device=device))


def _lead(
    label: str, path: Path, backend: registry.Backend, windows: np.ndarray, progress: Progress
) -> tuple[Result, Observation | None]:
    """Run all windows through the artifact that the others are compared with."""
    progress(label, 0, len(windows))
    report = partial(_report, progress, label, len(windows))
    if path.suffix not in NETWORK_SUFFIXES or _backend_of(label) in registry.FOREIGN:
        return _with_counts(path, registry.run_windows(backend, windows, progress=report)), None
    seen = observe(load_any_network(path), backend, windows, progress=report)
    return seen.result, seen


def _with_counts(path: Path, result: Result) -> Result:
    """Return the result of a file; BackendError if it holds logits alone."""
    if not result.sops:
        raise BackendError(
            f"{path}: gives logits alone, and a comparison needs the counts of spikes; export the "
            "file without --logits-only"
        )
    return result


@dataclass(frozen=True)
class _Run:
    """A comparison: the windows, how they are run, and what the first artifact gave."""

    windows: np.ndarray
    labels: np.ndarray | None
    threads: int
    device: str
    model: energy.EnergyModel
    progress: Progress
    lead: registry.Backend
    expected: Result
    observation: Observation | None

    def compare(
        self, label: str, path: Path, traced: Path | None, chosen: np.ndarray
    ) -> BackendRow:
        """Run some windows through another artifact, and return its row."""
        count = len(chosen)
        self.progress(label, 0, count)
        report = partial(_report, self.progress, label, count)
        with _open(label, path, self.threads, self.device) as backend:
            found = registry.run_windows(backend, self.windows[chosen], progress=report)
            _with_counts(path, found)
            differs, compared = difference(found, self.expected, chosen), 0
            if traced is None:
                differs, compared = self._spikes(label, backend, chosen, differs)
        if traced is not None:
            with _open(label, traced, self.threads, self.device) as backend:
                differs, compared = self._spikes(label, backend, chosen, differs)
        return self.row(label, path, found, chosen, differs, compared)

    def _spikes(
        self,
        label: str,
        backend: registry.Backend,
        chosen: np.ndarray,
        differs: Difference | None,
    ) -> tuple[Difference | None, int]:
        """Return the first difference with its place, and how many windows were compared."""
        if self.observation is None:
            return differs, 0
        if "traces" not in registry.capabilities(_backend_of(label)):
            return differs, 0
        sample, expected = chosen[:SPIKE_WINDOWS], self.observation.digests
        try:
            if differs is not None:
                return self._placed(backend, chosen, differs), 0
            return check_spikes(backend, self.lead, self.windows, sample, expected), len(sample)
        except BackendError:  # an ONNX file without traces
            return differs, 0

    def _placed(
        self, backend: registry.Backend, chosen: np.ndarray, differs: Difference
    ) -> Difference:
        """Return a difference with its first spike, if spikes differ."""
        if differs.window is None:
            return differs
        index = int(np.flatnonzero(chosen == differs.window)[0])
        place = locate(backend, self.lead, self.windows, chosen, index)
        if place is None:
            return differs
        return dataclasses.replace(place, differing=differs.differing, windows=differs.windows)

    def row(
        self,
        label: str,
        path: Path,
        result: Result,
        chosen: np.ndarray,
        differs: Difference | None,
        spike_windows: int,
    ) -> BackendRow:
        """Return the row of an artifact."""
        count, labels = len(result.logits), None if self.labels is None else self.labels[chosen]
        counts = None if differs else view_for(self.model, self.expected, self.observation)
        joules = None if counts is None else energy.estimate(counts, self.model).joules[chosen]
        return BackendRow(
            label=label,
            windows=count,
            accuracy=accuracy(result, labels),
            interval=interval(result, labels),
            spikes=sum(int(counts.sum()) for counts in result.spikes.values()) / count,
            sops=sum(int(counts.sum()) for counts in result.sops.values()) / count,
            macs=sum(result.macs.values()),
            energy=None if joules is None else float(joules.mean()),
            time=result.seconds / count,
            saturations=sum(sum(counts) for _, *counts in saturations(result)),
            difference=differs,
            spike_windows=spike_windows,
            artifact=path,
        )


def view_for(
    model: energy.EnergyModel, result: Result, observation: Observation | None
) -> Counts | None:
    """Return the counts that a model needs, or None if they are not known.

    The sums of an artifact without its network are enough for models of SOPs and MACs alone.

    Args:
        model: The energy model.
        result: Result of the run.
        observation: What was observed in the run; None for an artifact without its network.
    """
    view = GRADED if model.view == energy.DENSE else model.view
    if observation is not None:
        return observation.views.get(view)
    return None if model.needs_spikes else dataclasses.replace(of_result(result), view=view)


def _backend_of(label: str) -> str:
    return label.partition("/")[0]


def _report(progress: Progress, label: str, total: int, done: int) -> None:
    progress(label, done, total)
