"""One trained network before and after reparameterisation, as floats and as integers: Table 2 of Hao et al. (2024)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np

from lmht_deploy import backends
from lmht_deploy.errors import NetworkError
from lmht_deploy.ir import Network
from lmht_deploy.quantize import quantize
from lmht_deploy.reparameterize import reparameterize
from lmht_deploy.result import Result

from . import energy
from .compare import accuracy, difference

BEFORE, BLOCK_START, UNIFORM = "before", "block-start", "uniform"


@dataclass(frozen=True)
class Row:
    """One form of the network: means over the windows.

    form          "before", or the injection of the reparameterised network: "block-start" or "uniform"
    integer       whether weights and potentials are integers
    levels, steps L and T of its neurons (the sub-steps of a single-threshold network are steps)
    rate          spikes a neuron and step
    energy        joules of the SOPs alone, as the paper counts; `with_macs` adds the MACs of an image's first layer
    windows_apart, predictions_apart   in how many windows any layer's spikes, or the class, are other than before
    difference    where it parts first from the network before; None where every figure of every window is the same
    """

    form: str
    integer: bool
    levels: int
    steps: int
    windows: int
    accuracy: float | None
    spikes: float
    rate: float
    sops: float
    macs: int
    energy: float
    with_macs: float
    windows_apart: int
    predictions_apart: int
    difference: str | None


@dataclass(frozen=True)
class Validation:
    """`rows`, and in `omitted` why the paper's uniform form is not among them where it has no integers that fit 32 bits."""

    rows: tuple[Row, ...]
    energy_model: str
    omitted: tuple[str, ...] = ()

    @property
    def exact(self) -> bool:
        """Whether the block-start form gave the spikes, counts, logits and predictions of the network before, window by window."""
        return all(row.difference is None for row in self.rows if row.form == BLOCK_START)


def validate(
    net: Network,
    windows: np.ndarray,
    labels: np.ndarray | None = None,
    *,
    threads: int = 1,
    device: str = "cpu",
    energy_model: str = energy.DEFAULT,
    report: Callable[[str, int, int], None] = lambda label, done, total: None,
) -> Validation:
    """Run `windows` [B, T_in, ...] through the float network `net`, its integer network, and both forms of reparameterisation of each.

    PyTorch computes, on `device`, in float64 and int64; `report` is told (what, windows done, windows in all).
    Raises DataError where the windows do not fit, QuantizationError where the network has no integer form.
    """
    model = energy.model(energy_model)
    rows, omitted = [], []
    for network in (net, quantize(net)):
        before: Result | None = None
        for form in (BEFORE, BLOCK_START, UNIFORM):
            what = f"{'integer' if network.integer else 'float'}, {form}"
            report(what, 0, len(windows))
            try:
                single = network if form == BEFORE else reparameterize(network, form)  # type: ignore[arg-type]
            except NetworkError as error:
                if form != UNIFORM:  # whose potentials are L times larger
                    raise
                omitted.append(f"{what}: {error}")
                continue
            backend = backends.module("torch").TorchBackend(single, threads, device)
            result = backends.run_windows(
                backend, windows, progress=partial(_tell, report, what, len(windows))
            )
            before = before or result
            rows.append(_row(form, single, result, before, labels, model))
    return Validation(tuple(rows), energy_model, tuple(omitted))


def _row(
    form: str,
    net: Network,
    result: Result,
    before: Result,
    labels: np.ndarray | None,
    model: energy.EnergyModel,
) -> Row:
    count = len(result.logits)
    spikes = sum(c.sum() for c in result.spikes.values()) / count
    sops = sum(c.sum() for c in result.sops.values()) / count
    apart = np.any(
        [result.spikes[name] != expected for name, expected in before.spikes.items()], axis=0
    )
    return Row(
        form=form,
        integer=net.integer,
        levels=max(layer.levels for layer in net.neurons),
        steps=net.neurons[-1].steps,
        windows=count,
        accuracy=accuracy(result, labels),
        spikes=spikes,
        rate=spikes
        / sum(layer.steps * int(np.prod(net.shapes[layer.name])) for layer in net.neurons),
        sops=sops,
        macs=sum(result.macs.values()),
        energy=sops * model.joules_per_sop,
        with_macs=float(energy.estimate(result, model).mean()),
        windows_apart=int(apart.sum()),
        predictions_apart=int((result.predictions != before.predictions).sum()),
        difference=difference(result, before),
    )


def _tell(report: Callable[[str, int, int], None], what: str, total: int, done: int) -> None:
    report(what, done, total)
