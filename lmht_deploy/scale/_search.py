"""Search the variants of a network: the best accuracy under a budget, and the Pareto front."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import NoneType
from typing import Any

import numpy as np

from lmht_deploy._arguments import INTEGER, REAL, check_types
from lmht_deploy.analysis import energy
from lmht_deploy.analysis.early import (
    StopRule,
    check_calibration,
    check_risk,
    choose_margin,
    stop_scores,
)
from lmht_deploy.analysis.runner import as_windows
from lmht_deploy.analysis.scores import check_labels
from lmht_deploy.backends import open_network, run_chunks
from lmht_deploy.data import Windows
from lmht_deploy.engine import StepwiseEngine
from lmht_deploy.errors import DataError, NetworkError
from lmht_deploy.formats.files import as_path
from lmht_deploy.formats.lmht import network_checksum, save_network
from lmht_deploy.formats.networks import load_any_network
from lmht_deploy.formats.shards import load_shard
from lmht_deploy.formats.windows import save_windows
from lmht_deploy.ir import WINDOW_STEPS, Network
from lmht_deploy.result import concatenate
from lmht_deploy.zoo import network_path

from ._evaluate import (
    RESULTS,
    Evaluation,
    InputWindows,
    Progress,
    check_shard,
    keep_windows,
    open_workers,
    prepare_folder,
    run_entries,
)
from ._networks import keep_networks, make_entries
from ._plan import SHARD, Entry, Plan
from ._table import Row
from ._variants import Variant, check_source, prune

POTENTIALS = (None, 0.0, 0.25, 0.5, 0.75)
"""Initial potentials that are tried, in units of the threshold; None: that of the network."""
BUDGETS = ("sops", "spikes", "ms")
"""Costs per window that can have a budget."""
BEST, MEASURED = "best.lmht", "measured.npz"
"""Files of the last search in the folder of its results."""
CALIBRATION, MEASUREMENT = slice(0, None, 2), slice(1, None, 2)
"""Windows that calibrate stop margins, and those that measure the candidates."""


@dataclass(frozen=True)
class Candidate:
    """A variant of the network, with whole windows or with windows that end early.

    Attributes:
        variant: What was changed.
        pruned: Number of channels that never fire, which are left out.
        row: Its row of the evaluation. `agreement` is that with the unchanged network.
        stop: Rule with which its windows end early; None for whole windows.
        mean_steps: Mean number of time-steps that were run per window.
        differing: Number of windows with another answer than that of the same variant with whole
            windows.
        cut: Whether it reads the first steps of a window alone. Its accuracy is not that in a
            stream, which is cut into windows of these steps.
        front: Whether no other candidate has fewer SOPs and at least its accuracy.
    """

    variant: Variant
    pruned: int
    row: Row
    stop: StopRule | None = None
    mean_steps: float = 0.0
    differing: int = 0
    cut: bool = False
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
        measured: File of the windows on which the candidates were measured, where others calibrated
            the stop margins; otherwise None.
        evaluation: The evaluation behind it.
    """

    candidates: tuple[Candidate, ...]
    best: Candidate | None
    path: Path | None
    measured: Path | None
    evaluation: Evaluation

    @property
    def front(self) -> tuple[Candidate, ...]:
        """The candidates on the Pareto front of accuracy and SOPs, the fewest SOPs first."""
        return tuple(candidate for candidate in self.candidates if candidate.front)


@check_types(
    DataError,
    shard=INTEGER,
    progress=(Callable, NoneType),
    stop_risks=Sequence,
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
    stop_risks: Sequence[float] = (),
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

    With `stop_risks`, each variant that computes step by step is also run with windows that end
    early. Every second window calibrates its margin, once per risk. All candidates are then
    measured on the other windows, which are written to a file beside the best network.

    Choose on data that is not the test data: the best of many candidates looks better than it is.

    Args:
        net: An integer network, the path of its `.lmht` file, or "zoo:NAME".
        data: Windows with labels, as in `evaluate`.
        labels: Classes of the windows, if `data` is an array.
        out: Folder of the search and of its results.
        stop_risks: Largest probabilities, above 0 and below 1, of another answer than that of the
            whole window, see `lmht_deploy.analysis.early.calibrate_stop`.
        budget_sops: Largest mean number of synaptic operations per window.
        budget_spikes: Largest mean number of spikes per window.
        budget_ms: Largest mean run time per window in milliseconds, on the machine of the workers.
            Not with `stop_risks`: windows that end early are run one by one, others in batches.
        on, workers, shard, progress: As in `evaluate`.

    Raises:
        DataError: The windows have no labels, a budget is not a number > 0, or there are too few
            windows to calibrate a margin.
        LmhtError: As `evaluate` does.

    Example:
        >>> found = lmht.search("net.lmht", held_out, out="search", budget_sops=500_000)
        >>> found.best.variant
        Variant(steps=2, levels=None, initial_potential=0.5)
    """
    budgets = {"sops": budget_sops, "spikes": budget_spikes, "ms": budget_ms}
    check_budgets(budgets, stop_risks)
    check_shard(shard, 0)
    whole = net if isinstance(net, Network) else load_any_network(network_path(as_path(net)))
    check_source(whole)
    windows = _labeled(data, labels)
    for risk in stop_risks:
        check_calibration(risk, len(range(len(windows))[CALIBRATION]))
    folder = prepare_folder(out)
    with open_workers(folder, on, workers) as executor:
        store, _ = keep_windows(folder, windows)
        windows = replace(windows, windows=store.windows)
        measured = windows[MEASUREMENT] if stop_risks else windows
        proposals = list(_proposals(whole, windows.windows, stop_risks))
        entries = list(_entries(proposals, folder, measured))
        found = run_entries(
            entries,
            folder,
            executor,
            shard=int(shard),
            model=energy.energy_model(energy.DEFAULT),
            progress=progress,
        )
    plan = Plan(entries, folder / RESULTS, int(shard))
    candidates = _ranked(_candidates(proposals, plan, found))
    best = _best(candidates, budgets)
    path, kept = folder / BEST, folder / MEASURED
    # Files of an earlier search are replaced at once, or removed.
    if best is None:
        path.unlink(missing_ok=True)
    else:
        save_network(next(p.net for p in proposals if p.variant == best.variant), path)
    if stop_risks:
        save_windows(measured.windows, kept, measured.labels, measured.classes)
    else:
        kept.unlink(missing_ok=True)
    return SearchResult(
        candidates,
        best,
        path if best is not None else None,
        kept if stop_risks else None,
        found,
    )


def check_budgets(budgets: Mapping[str, float | None], risks: Sequence[float]) -> None:
    """Raise DataError for a budget that is not a number > 0, and for a risk out of range."""
    for name, value in budgets.items():
        if value is not None and not 0 < value < float("inf"):
            raise DataError(f"budget_{name} must be a number > 0, not {value}")
    for risk in risks:
        check_risk(risk)
    if risks and budgets["ms"] is not None:
        raise DataError(
            "windows that end early are run one by one, others in batches: their times do not "
            "compare; with a stop risk, give a budget of SOPs or spikes instead of milliseconds"
        )


def _labeled(data: Windows | np.ndarray, labels: np.ndarray | None) -> Windows:
    """Return windows with labels; DataError without labels."""
    if isinstance(data, Windows):
        data.require_labels()
        return data
    windows = as_windows(data)
    known = check_labels(labels, windows)
    if known is None:
        raise DataError("a search needs the labels of the windows")
    return Windows(windows, known)


# ---------------------------------------------------------------------------------- candidates


@dataclass(frozen=True)
class _Proposal:
    """A network to evaluate, and how its windows end."""

    variant: Variant
    net: Network
    pruned: int
    stop: StopRule | None = None

    @property
    def name(self) -> str:
        """Name of its row."""
        stop = "" if self.stop is None else f"stop={self.stop.stop_margin}"
        return f"{self.variant} {stop}".strip() or "unchanged"


def variants(net: Network) -> Iterator[Variant]:
    """Yield the variants of a network, the unchanged one first."""
    most = min(layer.omega.shape[0] for layer in net.neurons)
    levels = min(layer.levels for layer in net.neurons)
    steps = [None, *range(most - 1, 0, -1)]
    for chosen in itertools.product(steps, [None, *range(levels - 1, 0, -1)], POTENTIALS):
        yield Variant(*chosen)


def _proposals(net: Network, windows: np.ndarray, risks: Sequence[float]) -> Iterator[_Proposal]:
    """Yield the pruned network of each variant with whole windows, then with each stop margin."""
    seen: set[str] = set()
    for variant in variants(net):
        try:
            changed = variant.apply(net)
        except NetworkError:  # its bounds cannot be proved
            continue
        read = windows[:, : changed.input.steps]
        made = prune(changed, silent_channels(changed, read))
        if (checksum := network_checksum(made)) in seen:
            continue
        seen.add(checksum)
        proposal = _Proposal(variant, made, _channels(changed) - _channels(made))
        yield proposal
        for rule in _stop_rules(made, read, risks):
            yield replace(proposal, stop=rule)


def _stop_rules(net: Network, windows: np.ndarray, risks: Sequence[float]) -> Iterator[StopRule]:
    """Yield the rules of the risks, the smallest risk first; none if no window can end early."""
    if not risks or net.input.steps == 1 or not StepwiseEngine.supports(net):
        return
    scores, margins = stop_scores(net, windows[CALIBRATION]), set[int]()
    for risk in sorted(risks):
        rule = choose_margin(scores, risk)
        if rule.stop_margin not in margins:
            yield rule
        margins.add(rule.stop_margin)


def _channels(net: Network) -> int:
    return sum(len(layer.bias) for layer in net.neurons)


def _entries(proposals: Sequence[_Proposal], folder: Path, measured: Windows) -> Iterator[Entry]:
    """Yield the rows to evaluate."""
    windows = InputWindows(folder, measured)
    files = keep_networks(folder, {proposal.name: proposal.net for proposal in proposals}, [])
    for proposal in proposals:
        path = files[proposal.name]
        store = windows.read_by(path)
        for entry in make_entries(folder, proposal.name, path, ("event",), store, windows.name):
            margin = None if proposal.stop is None else proposal.stop.stop_margin
            yield replace(entry, stop_margin=margin)


def _candidates(
    proposals: Sequence[_Proposal], plan: Plan, found: Evaluation
) -> Iterator[Candidate]:
    """Yield the candidates whose shards, and those of what they are compared with, are complete."""
    rows = {row.network: row for row in found.rows}
    whole: dict[Variant, np.ndarray] = {}  # answers of whole windows, which precede early ends
    for proposal, entry in zip(proposals, plan.entries, strict=True):
        if proposal.name not in rows:
            continue
        answers, steps = _answers(plan, entry)
        if proposal.stop is None:
            whole[proposal.variant] = answers
        first, same = whole.get(proposals[0].variant), whole.get(proposal.variant)
        if first is None or same is None:
            continue
        yield Candidate(
            variant=proposal.variant,
            pruned=proposal.pruned,
            row=replace(rows[proposal.name], same_answers=int((answers == first).sum())),
            stop=proposal.stop,
            mean_steps=float(proposal.net.neurons[-1].omega.shape[0] if steps is None else steps),
            differing=int((answers != same).sum()),
            cut=WINDOW_STEPS in proposal.net.metadata,
        )


def _answers(plan: Plan, entry: Entry) -> tuple[np.ndarray, float | None]:
    """Return the answers of an entry, and the mean number of time-steps where windows end early."""
    result = concatenate([load_shard(Path(task.target)) for task in plan.tasks(entry)])
    return result.predictions, None if result.steps is None else float(result.steps.mean())


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
