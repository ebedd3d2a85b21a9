"""Search the variants of a network: the best accuracy under a budget, and the Pareto front."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import NoneType
from typing import Any

import numpy as np

from lmht_deploy._arguments import REAL, check_types
from lmht_deploy.analysis.runner import as_windows
from lmht_deploy.analysis.scores import check_labels
from lmht_deploy.backends import open_network, run_chunks
from lmht_deploy.data import Windows
from lmht_deploy.errors import DataError, NetworkError
from lmht_deploy.formats.files import as_path
from lmht_deploy.formats.lmht import save_network
from lmht_deploy.formats.networks import load_any_network
from lmht_deploy.ir import Network
from lmht_deploy.zoo import network_path

from ._evaluate import Evaluation, Progress, evaluate, prepare_folder
from ._plan import SHARD
from ._table import Row
from ._variants import Variant, prune

POTENTIALS = (None, 0.0, 0.25, 0.5, 0.75)
"""Initial potentials that are tried, in units of the threshold; None: that of the network."""
BUDGETS = ("sops", "spikes", "ms")
"""Costs per window that can have a budget."""


@dataclass(frozen=True)
class Candidate:
    """A variant of the network.

    Attributes:
        variant: What was changed.
        pruned: Number of channels that never fire, which are left out.
        row: Its row of the evaluation.
        front: Whether no other candidate has fewer SOPs and at least its accuracy.
    """

    variant: Variant
    pruned: int
    row: Row
    front: bool = False

    @property
    def costs(self) -> dict[str, float]:
        """Costs per window, see `BUDGETS`."""
        windows = self.row.windows
        return {
            "sops": self.row.sops / windows,
            "spikes": self.row.spikes / windows,
            "ms": self.row.ms,
        }


@dataclass(frozen=True)
class SearchResult:
    """Result of a search.

    Attributes:
        candidates: All candidates, the one with the fewest SOPs first.
        best: The candidate with the best accuracy within the budgets; None if none is within them.
        path: Its file in the folder of the search; None if there is none.
        evaluation: The evaluation behind it.
    """

    candidates: tuple[Candidate, ...]
    best: Candidate | None
    path: Path | None
    evaluation: Evaluation

    @property
    def front(self) -> tuple[Candidate, ...]:
        """The candidates on the Pareto front of accuracy and SOPs, the fewest SOPs first."""
        return tuple(candidate for candidate in self.candidates if candidate.front)


@check_types(
    DataError,
    budget_sops=(*REAL, NoneType),
    budget_spikes=(*REAL, NoneType),
    budget_ms=(*REAL, NoneType),
)
def search(
    net: Network | str | Path,
    data: Windows | np.ndarray,
    labels: np.ndarray | None = None,
    *,
    out: str | Path,
    budget_sops: float | None = None,
    budget_spikes: float | None = None,
    budget_ms: float | None = None,
    on: str = "local",
    workers: int | None = None,
    shard: int = SHARD,
    progress: Progress | None = None,
) -> SearchResult:
    """Search the variants of a network that need no training.

    The variants are the number of time-steps that are run, the number of levels and the initial
    potential. From each, the channels are left out that fire in no window of the data: the logits
    stay the same integers. All are evaluated as by `evaluate`, and so a search can be resumed.

    Choose on data that is not the test data: the best of many candidates looks better than it is.

    Args:
        net: An integer network, the path of its `.lmht` file, or "zoo:NAME".
        data: Windows with labels, as in `evaluate`.
        labels: Classes of the windows, if `data` is an array.
        out: Folder of the search and of its results.
        budget_sops: Largest mean number of synaptic operations per window.
        budget_spikes: Largest mean number of spikes per window.
        budget_ms: Largest mean run time per window in milliseconds, on the machine of the workers.
        on, workers, shard, progress: As in `evaluate`.

    Raises:
        DataError: The windows have no labels, or a budget is not a number > 0.
        LmhtError: As `evaluate` does.

    Example:
        >>> found = lmht.search("net.lmht", held_out, out="search", budget_sops=500_000)
        >>> found.best.variant
        Variant(steps=2, levels=None, initial_potential=0.5)
    """
    budgets = {"sops": budget_sops, "spikes": budget_spikes, "ms": budget_ms}
    _check_budgets(budgets)
    windows, known = _labeled(data, labels)
    whole = net if isinstance(net, Network) else load_any_network(network_path(as_path(net)))
    folder = prepare_folder(out)
    networks, pruned = _networks(whole, windows)
    found = evaluate(
        {str(variant) or "unchanged": made for variant, made in networks.items()},
        windows,
        known,
        out=folder,
        on=on,
        workers=workers,
        shard=shard,
        progress=progress,
    )
    rows = {row.network: row for row in found.rows}
    candidates = _ranked(
        Candidate(variant, pruned[variant], rows[str(variant) or "unchanged"])
        for variant in networks
        if (str(variant) or "unchanged") in rows
    )
    best = _best(candidates, budgets)
    path = None
    if best is not None:
        path = folder / "best.lmht"
        save_network(networks[best.variant], path)
    return SearchResult(candidates, best, path, found)


def _check_budgets(budgets: Mapping[str, float | None]) -> None:
    for name, value in budgets.items():
        if value is not None and not 0 < value < float("inf"):
            raise DataError(f"budget_{name} must be a number > 0, not {value}")


def _labeled(
    data: Windows | np.ndarray, labels: np.ndarray | None
) -> tuple[np.ndarray, np.ndarray]:
    """Return windows and labels; DataError without labels."""
    if isinstance(data, Windows):
        return np.asarray(data.windows), data.require_labels()
    windows = as_windows(data)
    known = check_labels(labels, windows)
    if known is None:
        raise DataError("a search needs the labels of the windows")
    return windows, known


def variants(net: Network) -> Iterator[Variant]:
    """Yield the variants of a network, the unchanged one first."""
    most = min(layer.omega.shape[0] for layer in net.neurons)
    levels = min(layer.levels for layer in net.neurons)
    steps = [None, *range(most - 1, 0, -1)]
    for chosen in itertools.product(steps, [None, *range(levels - 1, 0, -1)], POTENTIALS):
        yield Variant(*chosen)


def _networks(
    net: Network, windows: np.ndarray
) -> tuple[dict[Variant, Network], dict[Variant, int]]:
    """Return the pruned network of each variant, and the number of channels that were left out."""
    networks: dict[Variant, Network] = {}
    pruned: dict[Variant, int] = {}
    for variant in variants(net):
        try:
            changed = variant.apply(net)
        except NetworkError:  # its bounds cannot be proved
            continue
        silent = silent_channels(changed, windows)
        networks[variant] = made = prune(changed, silent)
        pruned[variant] = _channels(changed) - _channels(made)
    return networks, pruned


def _channels(net: Network) -> int:
    return sum(len(layer.bias) for layer in net.neurons)


def silent_channels(net: Network, windows: np.ndarray) -> dict[str, np.ndarray]:
    """Return, by layer of neurons, which channels fire in no window, bool `[C]`."""
    silent: dict[str, np.ndarray] = {}
    runner = open_network("event", net)
    try:
        for result in run_chunks(runner, windows, trace=True):
            for name, k in (result.traces or {}).items():
                quiet: np.ndarray = ~np.any(
                    k, axis=tuple(axis for axis in range(k.ndim) if axis != 2)
                )
                silent[name] = silent.get(name, quiet) & quiet
    finally:
        runner.close()
    return silent


def _ranked(candidates: Iterator[Candidate]) -> tuple[Candidate, ...]:
    """Sort candidates by SOPs, and mark the Pareto front of accuracy and SOPs."""
    found: list[Candidate] = []
    most = -1
    ordered = sorted(candidates, key=lambda c: (c.row.sops, -(c.row.correct or 0)))
    for candidate in ordered:
        correct = candidate.row.correct or 0
        found.append(replace(candidate, front=correct > most))
        most = max(most, correct)
    return tuple(found)


def _best(candidates: Sequence[Candidate], budgets: Mapping[str, float | None]) -> Candidate | None:
    """Return the best accuracy within the budgets; the fewest SOPs if several are equal."""

    def within(candidate: Candidate) -> bool:
        costs = candidate.costs
        return all(limit is None or costs[name] <= limit for name, limit in budgets.items())

    allowed: list[Any] = [candidate for candidate in candidates if within(candidate)]
    return max(allowed, key=lambda c: (c.row.correct or 0, -c.row.sops), default=None)
