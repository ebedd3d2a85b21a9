"""Evaluate networks on whole data sets: cut, run, resume, sum up."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from functools import partial
from math import prod
from pathlib import Path
from types import NoneType
from typing import Any, TypeAlias

import numpy as np

from lmht_deploy import backends as registry
from lmht_deploy._arguments import INTEGER, REAL, check_types
from lmht_deploy._packages import require_package
from lmht_deploy.analysis import energy
from lmht_deploy.analysis.compare import choose_backends
from lmht_deploy.analysis.runner import as_windows
from lmht_deploy.analysis.scores import check_labels
from lmht_deploy.data import Windows
from lmht_deploy.errors import DataError, StorageError, counted
from lmht_deploy.formats.files import as_path, check_folder, make_folder
from lmht_deploy.formats.lmht import load_input
from lmht_deploy.ir import window_steps

from ._audit import Audit, audit, choose
from ._networks import Networks, keep_networks, make_entries, noted
from ._plan import SHARD, Entry, Plan
from ._shard import Shard
from ._table import Row, check_model, make_rows
from ._task import Outcome, plain
from ._windows import WindowStore, store_windows
from .executors import Executor, open_executor

PART = 2**22
"""Bytes of windows that are read and stored at once."""
RESULTS, WINDOWS = "shards", "windows"
"""Folders below that of an evaluation."""


@dataclass(frozen=True)
class State:
    """How far an evaluation is.

    Attributes:
        what: "shards" or "audit".
        done: Number of shards that have ended.
        total: Number of shards to compute in this call.
        windows: Number of windows that were run.
        failures: Number of shards that failed.
        seconds: Time since the first shard was started.
    """

    what: str
    done: int
    total: int
    windows: int
    failures: int
    seconds: float


Progress: TypeAlias = Callable[[State], None]


@dataclass(frozen=True)
class Evaluation:
    """Result of an evaluation.

    Attributes:
        rows: One row per network and backend whose shards are complete, in the given order.
        failures: One sentence for each network that cannot be read or does not fit the data, and
            one for each kind of failure of shards, with the number of shards.
        audit: What the audit found; None without an audit.
        shards: Number of shards.
        computed: Number of shards that this call computed.
        failed: Number of shards that failed; those that are neither had a result.
        seconds: Time in which this call computed them.
        worker_seconds: Time that the workers spent on them, in all.
        run_seconds: The part of it in which windows ran.
        load_seconds: The part of it in which networks were opened.
    """

    rows: tuple[Row, ...]
    failures: tuple[str, ...] = ()
    audit: Audit | None = None
    shards: int = 0
    computed: int = 0
    failed: int = 0
    seconds: float = field(default=0.0, compare=False)
    worker_seconds: float = field(default=0.0, compare=False)
    run_seconds: float = field(default=0.0, compare=False)
    load_seconds: float = field(default=0.0, compare=False)

    @property
    def passed(self) -> bool:
        """Whether every shard was computed, and every shard of the audit agreed."""
        return not self.failures and (self.audit is None or self.audit.passed)

    def times(self) -> dict[str, Any]:
        """Return what was measured, as plain values: milliseconds by row, and of the workers."""
        return {
            "shards": self.shards,
            "computed": self.computed,
            "failed": self.failed,
            "seconds": self.seconds,
            "worker_seconds": self.worker_seconds,
            "run_seconds": self.run_seconds,
            "load_seconds": self.load_seconds,
            "rows": [[row.network, row.backend, row.data, row.ms] for row in self.rows],
        }


@check_types(
    DataError,
    shard=INTEGER,
    audit_share=REAL,
    audit_backend=(str, NoneType),
    progress=(Callable, NoneType),
)
def evaluate(
    networks: Networks,
    data: Windows | np.ndarray,
    labels: np.ndarray | None = None,
    *,
    out: str | Path,
    backends: Sequence[str] = ("event",),
    on: str = "local",
    workers: int | None = None,
    shard: int = SHARD,
    audit_share: float = 0.0,
    audit_backend: str | None = None,
    energy_model: str | Path = energy.DEFAULT,
    progress: Progress | None = None,
) -> Evaluation:
    """Run windows through many networks, on many workers, and keep every result.

    The work is cut into shards. The result of each is one file, whose name is a hash of everything
    that it depends on: the network, the windows, the backend and the semantics. A result that
    exists is not computed again. So the same call goes on after any interruption, more networks or
    windows add only what is new, and two folders of results are merged by copying their files.

    Args:
        networks: Networks, paths of `.lmht` files or of exported files, or "zoo:NAME": one, a list
            or a mapping of names to them.
        data: Windows as `lmht.data.load` returns them, or integers.
        labels: Classes of the windows, if `data` is an array.
        out: Folder of the results. It is created if it does not exist.
        backends: Names of the backends. An exported file runs on its own backend alone.
        on: Where to compute: "local", "ray", "ray://HOST:PORT", "slurm" or
            "slurm:KEY=VALUE,...", with parameters of submitit.
        workers: Number of workers; by default one per core, or as many as a cluster has.
        shard: Number of windows of a shard.
        audit_share: Share of the shards, 0..1, that are computed again by other workers. All
            integers are compared.
        audit_backend: Backend of the audit; by default the one that computed the shard.
        energy_model: Energy model of the table: one of SOPs, MACs and spikes.
        progress: Called with a `State` after each shard.

    Returns:
        The table. A network that cannot be read or run does not stop the others;
        `Evaluation.failures` says why. `Evaluation.passed` says whether everything was computed,
        and whether the audit agreed.

    Raises:
        BackendError: A backend or an executor is unknown, or cannot run here.
        DataError: The windows or the labels are not valid, or a package is not installed.
        StorageError: A file does not exist, or `out` cannot be written.

    Shape:
        data: int `[B, T_in, C, H, W]` or `[B, T_in, N]`
        labels: int `[B]`

    Example:
        >>> test = lmht.data.load("digits", split="test", steps=4)
        >>> found = lmht.evaluate(["a.lmht", "b.lmht"], test, out="results")
        >>> found.rows[0].accuracy
        0.98
    """
    model = energy.energy_model(energy_model)
    check_model(model)
    check_shard(shard, audit_share)
    check_audit_backend(audit_backend)
    choose_backends(backends)
    folder = prepare_folder(out)
    with open_workers(folder, on, workers) as executor:
        windows = InputWindows(folder, data, labels)
        failures: list[str] = []
        entries: list[Entry] = []
        for name, path in keep_networks(folder, networks, failures).items():
            with noted(failures, path):
                store = windows.read_by(path)
                entries += make_entries(folder, name, path, backends, store, windows.name)
        return run_entries(
            entries,
            folder,
            executor,
            failures=failures,
            shard=int(shard),
            audit_share=audit_share,
            audit_backend=audit_backend,
            model=model,
            progress=progress,
        )


def check_shard(shard: int, audit_share: float) -> None:
    """Raise DataError for a size of shards or a share of the audit out of range."""
    if not 1 <= shard <= 2**31:
        raise DataError(f"the number of windows of a shard lies within 1..2**31, not {shard}")
    if not 0 <= audit_share <= 1:
        raise DataError(f"the share of the audit lies within 0..1, not {audit_share}")


def check_audit_backend(name: str | None) -> None:
    """Raise an error if a backend does not exist, or does not run `.lmht` files."""
    if name is not None:
        choose_backends([name])
        if registry.artifact_suffix(name) != ".lmht":
            raise DataError(f"the audit runs .lmht files; backend {name!r} needs another file")


def prepare_folder(out: str | Path) -> Path:
    """Return the folder of an evaluation, which exists and can be written."""
    require_package("pyarrow", "scale")
    folder = as_path(out)
    check_folder(folder)
    make_folder(folder)
    return folder.absolute()


def open_workers(folder: Path, on: str, workers: int | None) -> Executor:
    """Return the executor of an evaluation.

    If `folder` holds no result, its workers start at once. Otherwise all shards may have a result
    already, so the workers start with the first shard that has none.
    """
    ahead = next((folder / RESULTS).glob("??/*.parquet"), None) is None
    return open_executor("shard", on, workers, ahead=ahead)


# ------------------------------------------------------------------------------------- inputs


class InputWindows:
    """The windows of an evaluation, and their first steps for networks that read only these.

    Args:
        folder: Folder of the evaluation.
        data: The windows.
        labels: Classes of the windows, if `data` is an array.
    """

    def __init__(
        self, folder: Path, data: Windows | np.ndarray, labels: np.ndarray | None = None
    ) -> None:
        self._keep = partial(keep_windows, folder, data, labels)
        whole, self.name = self._keep()
        self._steps: int = whole.windows.shape[1]
        self._stores = {self._steps: whole}

    def read_by(self, path: Path) -> WindowStore:
        """Return what the network in a file reads of the windows."""
        steps = self._read_steps(path)
        if steps not in self._stores:
            self._stores[steps], _ = self._keep(steps=steps)
        return self._stores[steps]

    def _read_steps(self, path: Path) -> int:
        if path.suffix == ".lmht":
            with contextlib.suppress(StorageError):  # the worker says what is wrong with the file
                source, metadata = load_input(path)
                whole = window_steps(metadata, source.steps)
                if whole is not None and source.steps < self._steps <= whole:
                    return int(source.steps)
        return self._steps


def keep_windows(
    folder: Path,
    data: Windows | np.ndarray,
    labels: np.ndarray | None = None,
    *,
    steps: int | None = None,
) -> tuple[WindowStore, str]:
    """Write windows below the folder of an evaluation; return them and the name of the data.

    Args:
        folder: Folder of the evaluation.
        data: The windows.
        labels: Classes of the windows, if `data` is an array.
        steps: Number of steps of each window that are kept, from the first; None for all.
    """
    about: dict[str, Any] = {}
    windows: np.ndarray
    if isinstance(data, Windows):
        if labels is not None:
            raise DataError("labels are for windows that are an array; these have their own")
        windows, labels, about = data.windows, data.labels, plain(data.provenance)
    else:
        windows = as_windows(data)
        if windows.ndim < 3 or windows.dtype.kind not in "iub":
            raise DataError(
                f"windows must be integers [B, T_in, ...], not {windows.dtype} "
                f"{list(windows.shape)}"
            )
        labels = check_labels(labels, windows)
    step = max(1, PART // max(1, prod(windows.shape[1:]) * windows.dtype.itemsize))
    parts = (windows[at : at + step] for at in range(0, len(windows), step))
    cut = (np.asarray(part)[:, :steps] for part in parts)
    store = store_windows(folder / WINDOWS, cut, labels, about)
    return store, str(about.get("data", ""))


# ------------------------------------------------------------------------------------- running


def run_entries(
    entries: Sequence[Entry],
    folder: Path,
    executor: Executor,
    *,
    failures: Sequence[str] = (),
    shard: int = SHARD,
    audit_share: float = 0.0,
    audit_backend: str | None = None,
    model: energy.EnergyModel,
    progress: Progress | None = None,
) -> Evaluation:
    """Compute what is missing of a plan, audit a share of it, and make the table.

    `failures` are those of networks that are not in the plan.
    """
    plan = Plan(entries, folder / RESULTS, shard)
    missing = plan.missing()
    watch = _Watch("shards", len(missing), progress)
    failed = _compute(executor, missing, folder, watch)
    times = watch.evaluation()
    found = None
    if audit_share > 0:
        found = _audit(executor, plan, failed, folder, audit_share, audit_backend, progress)
    return replace(
        times,
        rows=tuple(make_rows(plan, model, failed, None if found is None else found.verdicts)),
        failures=(*failures, *_described(failed)),
        audit=found,
        shards=len(plan.all_tasks()),
        computed=len(missing) - len(failed),
        failed=len(failed),
    )


def _compute(
    executor: Executor, tasks: Sequence[Shard], folder: Path, watch: _Watch
) -> dict[str, Outcome[Shard]]:
    """Run the tasks; return the outcomes of those that failed, by address."""
    failed = {}
    if tasks:
        with closing(executor.run(tasks, folder)) as outcomes:
            for outcome in outcomes:
                watch.see(outcome)
                if outcome.error:
                    failed[outcome.task.key] = outcome
    return failed


def _audit(
    executor: Executor,
    plan: Plan,
    failed: dict[str, Outcome[Shard]],
    folder: Path,
    share: float,
    backend: str | None,
    progress: Progress | None,
) -> Audit:
    tasks = [task for task in plan.all_tasks() if task.key not in failed]
    chosen = choose(tasks, share)
    watch = _Watch("audit", len(chosen), progress)
    return audit(executor, chosen, backend or "", folder, watch.see)


def _described(failed: dict[str, Outcome[Shard]]) -> Iterator[str]:
    """Yield one sentence for each kind of failure."""
    groups: dict[str, list[Shard]] = {}
    for outcome in failed.values():
        groups.setdefault(outcome.error, []).append(outcome.task)
    for error, tasks in sorted(groups.items()):
        first = tasks[0]
        name = "" if first.artifact in error else f"{first.artifact}: "
        more = f" ({counted(len(tasks), 'shard')})"
        yield f"{name}{error}{more}"


class _Watch:
    """Follows the outcomes of tasks."""

    def __init__(self, what: str, total: int, progress: Progress | None) -> None:
        self._what, self._total, self._progress = what, total, progress
        self._start = time.perf_counter()
        self._done = self._windows = self._failures = 0
        self._seconds = [0.0, 0.0, 0.0]
        self._tell()

    def see(self, outcome: Outcome[Shard]) -> None:
        """Count an outcome."""
        self._done += 1
        self._failures += bool(outcome.error)
        self._windows += 0 if outcome.error else outcome.task.size
        spent = (outcome.seconds, *outcome.spent)
        self._seconds = [a + b for a, b in zip(self._seconds, spent, strict=True)]
        self._tell()

    def evaluation(self) -> Evaluation:
        """Return an evaluation with the times alone."""
        seconds, run_seconds, load_seconds = self._seconds
        return Evaluation(
            (),
            seconds=time.perf_counter() - self._start,
            worker_seconds=seconds,
            run_seconds=run_seconds,
            load_seconds=load_seconds,
        )

    def _tell(self) -> None:
        if self._progress is not None:
            seconds = time.perf_counter() - self._start
            self._progress(
                State(self._what, self._done, self._total, self._windows, self._failures, seconds)
            )
