"""Compare one network before and after reparameterization, as in Table 2 of Hao et al. (2024)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np

from lmht_deploy import backends
from lmht_deploy._arguments import check_types
from lmht_deploy.errors import BackendError, NetworkError
from lmht_deploy.ir import Network
from lmht_deploy.quantize import quantize
from lmht_deploy.reparameterize import reparameterize
from lmht_deploy.result import Result

from . import energy
from ._progress import Progress, no_progress
from .agreement import Difference, difference
from .compare import view_for
from .observation import observe
from .runner import as_windows
from .scores import accuracy, check_labels, interval

__all__ = ["BEFORE", "BLOCK_START", "FORMS", "UNIFORM", "FormRow", "Validation", "validate"]

BEFORE, BLOCK_START, UNIFORM = FORMS = ("before", "block-start", "uniform")
"""The network itself, and the injections of its reparameterized forms."""


@dataclass(frozen=True)
class FormRow:
    """One form of the network. Counts and energy are means per window.

    Attributes:
        form: "before", or the injection of the reparameterized form: "block-start" or "uniform".
        integer: Whether weights and potentials are integers.
        levels: Largest number of levels L of a layer.
        steps: Number of steps T of the last neuron layer. The sub-steps of a single-threshold
            network are steps.
        windows: Number of windows.
        accuracy: Share of the windows that are classified correctly; None without labels.
        interval: 95 % interval of the accuracy, for independent windows; None without labels.
        spikes: Spikes of all neurons.
        firing_rate: Spikes per neuron and step.
        sops: Synaptic operations.
        macs: Multiply-accumulates of layers that read pixels.
        energy: Estimated energy without the MACs, in joules, as in the paper.
        energy_with_macs: The same with the MACs of layers that read pixels, in joules.
        differing_windows: Number of windows with other spike counts than before.
        differing_predictions: Number of windows with another class than before.
        difference: First mismatch with the network before; None if all figures are equal.
    """

    form: str
    integer: bool
    levels: int
    steps: int
    windows: int
    accuracy: float | None
    interval: tuple[float, float] | None
    spikes: float
    firing_rate: float
    sops: float
    macs: int
    energy: float
    energy_with_macs: float
    differing_windows: int
    differing_predictions: int
    difference: Difference | None


@dataclass(frozen=True)
class Validation:
    """Result of a validation.

    Attributes:
        rows: One row per form, the float network first.
        energy_model: Energy model of the rows.
        result: Result of the integer network before reparameterization.
        omitted: Why the uniform form is missing, where its potentials exceed 32 bits.
    """

    rows: tuple[FormRow, ...]
    energy_model: energy.EnergyModel
    result: Result = field(repr=False, compare=False)
    omitted: tuple[str, ...] = ()

    @property
    def exact(self) -> bool:
        """Whether every figure of the block-start form equals that of the network before."""
        return all(row.difference is None for row in self.rows if row.form == BLOCK_START)


@dataclass(frozen=True)
class _Data:
    """What every form of the network runs on."""

    windows: np.ndarray
    labels: np.ndarray | None
    model: energy.EnergyModel
    threads: int
    device: str
    progress: Progress


@check_types(BackendError, progress=Callable)
def validate(
    net: Network,
    windows: np.ndarray,
    labels: np.ndarray | None = None,
    *,
    threads: int = 1,
    device: str = "cpu",
    energy_model: str | Path = energy.DEFAULT,
    progress: Progress = no_progress,
) -> Validation:
    """Run a float network, its integer network, and both reparameterized forms of each.

    PyTorch computes, in float64 and int64.

    Args:
        net: A float network.
        windows: Values within the range of the network's input.
        labels: Classes of the windows, for the accuracy.
        threads: Number of threads.
        device: Device of PyTorch.
        energy_model: Name of the energy model, see `lmht_deploy.analysis.energy.MODELS`, or a
            `.toml` file.
        progress: Called as `progress(label, done, total)` with numbers of windows.

    Raises:
        DataError: The windows or the labels do not fit the network.
        LmhtError: The energy model is unknown.
        QuantizationError: The network has no integer form.

    Shape:
        windows: int `[B, T_in, C, H, W]` or `[B, T_in, N]`
        labels: int `[B]`
    """
    windows = as_windows(windows)
    data = _Data(
        windows,
        check_labels(labels, windows),
        energy.energy_model(energy_model),
        threads,
        device,
        progress,
    )
    omitted: list[str] = []
    forms = [form for network in (net, quantize(net)) for form in _forms(network, data, omitted)]
    rows = tuple(row for row, _ in forms)
    deployed = next(result for row, result in forms if row.integer and row.form == BEFORE)
    return Validation(rows, data.model, deployed, tuple(omitted))


def _forms(net: Network, data: _Data, omitted: list[str]) -> Iterator[tuple[FormRow, Result]]:
    """Run every form of `net`; the reason why a form is missing is added to `omitted`."""
    before: Result | None = None
    for form in FORMS:
        label = f"{'integer' if net.integer else 'float'}, {form}"
        try:
            network = net if form == BEFORE else reparameterize(net, form)  # type: ignore[arg-type]
        except NetworkError as error:
            omitted.append(f"{label}: {error}")
            continue
        result, estimate = _run(network, label, data)
        before = before or result
        yield _row(form, network, result, estimate, before, data), result


def _run(net: Network, label: str, data: _Data) -> tuple[Result, energy.Estimate]:
    total = len(data.windows)
    data.progress(label, 0, total)
    report = partial(_report, data.progress, label, total)
    runner = backends.open_network("torch", net, threads=data.threads, device=data.device)
    with closing(runner):
        seen = None
        if data.model.needs_spikes:
            seen = observe(net, runner, data.windows, progress=report)
        result = (
            seen.result if seen else backends.run_windows(runner, data.windows, progress=report)
        )
    counts = view_for(data.model, result, seen)
    assert counts is not None  # a form has levels or sub-steps, not both
    return result, energy.estimate(counts, data.model)


def _report(progress: Progress, label: str, total: int, done: int) -> None:
    progress(label, done, total)


def _row(
    form: str,
    net: Network,
    result: Result,
    estimate: energy.Estimate,
    before: Result,
    data: _Data,
) -> FormRow:
    count = len(result.logits)
    spikes = sum(counts.sum() for counts in result.spikes.values()) / count
    sops = sum(counts.sum() for counts in result.sops.values()) / count
    differs = [result.spikes[name] != expected for name, expected in before.spikes.items()]
    sites = sum(layer.steps * int(np.prod(net.shapes[layer.name])) for layer in net.neurons)
    return FormRow(
        form=form,
        integer=net.integer,
        levels=max(layer.levels for layer in net.neurons),
        steps=net.neurons[-1].steps,
        windows=count,
        accuracy=accuracy(result, data.labels),
        interval=interval(result, data.labels),
        spikes=spikes,
        firing_rate=spikes / sites,
        sops=sops,
        macs=sum(result.macs.values()),
        energy=sum(joules for unit, joules in estimate.parts.items() if unit != "mac"),
        energy_with_macs=float(estimate.joules.mean()),
        differing_windows=int(np.any(differs, axis=0).sum()),
        differing_predictions=int((result.predictions != before.predictions).sum()),
        difference=difference(result, before),
    )
