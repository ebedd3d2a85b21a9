"""The table of an evaluation: sums of integers over shards, and what follows from them."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import numpy as np

from lmht_deploy.analysis.energy import EnergyModel
from lmht_deploy.analysis.scores import wilson
from lmht_deploy.errors import DataError, LmhtError
from lmht_deploy.formats.files import atomic_write
from lmht_deploy.formats.shards import load_shard
from lmht_deploy.result import Result

from ._plan import Entry, Plan

LINEAR = {"sop": "sops", "mac": "macs", "spike": "spikes"}
"""Units of an energy model that sums over windows determine."""
TIMED = ("ms",)
"""Columns that differ from run to run, which the files leave out."""


@dataclass(frozen=True)
class Row:
    """One network on one backend, over all its windows.

    Attributes:
        network: Name of the network.
        backend: Name of the backend.
        data: Name of the data.
        sha256: SHA-256 of the network's file, hexadecimal.
        windows: Number of windows.
        correct: Number of windows that are classified correctly; None without labels.
        spikes: Sum of all spikes.
        sops: Sum of all synaptic operations.
        macs: Sum of all multiply-accumulates.
        same_answers: Number of windows with the answer of the first row for the same windows.
        equal: Whether all integers are those of the first backend of this network.
        audited: Whether the audit found the same integers in every shard of this row that it
            computed again; None if it computed none.
        joules: Estimated energy per window; None if the model needs other counts.
        ms: Mean run time per window, in milliseconds.
    """

    network: str
    backend: str
    data: str
    sha256: str
    windows: int
    correct: int | None
    spikes: int
    sops: int
    macs: int
    same_answers: int
    equal: bool
    audited: bool | None
    joules: float | None
    ms: float = field(compare=False)

    @property
    def accuracy(self) -> float | None:
        """Share of the windows that are classified correctly; None without labels."""
        return None if self.correct is None else self.correct / self.windows

    @property
    def interval(self) -> tuple[float, float] | None:
        """95 % interval of the accuracy, for independent windows; None without labels."""
        return None if self.correct is None else wilson(self.correct, self.windows)

    @property
    def agreement(self) -> float:
        """Share of the windows with the answer of the first row for the same windows."""
        return self.same_answers / self.windows

    def cells(self) -> dict[str, Any]:
        """Return the columns of the table by name, times left out."""
        found = {field.name: getattr(self, field.name) for field in fields(self)}
        low, high = self.interval or (None, None)
        derived = {
            "accuracy": self.accuracy,
            "accuracy_low": low,
            "accuracy_high": high,
            "agreement": self.agreement,
        }
        return {name: value for name, value in (found | derived).items() if name not in TIMED}


def make_rows(
    plan: Plan,
    model: EnergyModel,
    skip: Iterable[str] = (),
    verdicts: Mapping[str, bool] | None = None,
) -> Iterator[Row]:
    """Yield the row of each entry whose results are complete, in the order of the plan.

    Args:
        plan: The plan.
        model: Energy model.
        skip: Addresses of the shards that failed; entries with one of them have no row.
        verdicts: Result of the audit by address.
    """
    failed, firsts = set(skip), _Firsts()
    for entry in plan.entries:
        tasks = list(plan.tasks(entry))
        if not failed.isdisjoint(task.key for task in tasks):
            continue
        paths = [Path(task.target) for task in tasks]
        found = [verdicts[task.key] for task in tasks if verdicts and task.key in verdicts]
        audited = all(found) if found else None
        yield _row(entry, paths, model, firsts, audited)


class _Firsts:
    """What later rows are compared with: the answers per data, and the results per network.

    Results stay in their files, so that memory does not grow with the data.
    """

    def __init__(self) -> None:
        self._answers: dict[str, np.ndarray] = {}
        self._results: dict[int, Path] = {}
        self._network = ("", "")

    def same_answers(self, entry: Entry, answers: np.ndarray) -> int:
        """Count the windows that were answered as by the first row for these windows."""
        first = self._answers.setdefault(entry.windows.fingerprint, answers)
        return int((first == answers).sum())

    def equal(self, entry: Entry, shard: int, path: Path, result: Result) -> bool:
        """Whether a shard has the integers of the first backend of this network."""
        network = (entry.name, entry.windows.fingerprint)
        if network != self._network:
            self._results, self._network = {}, network
        first = self._results.setdefault(shard, path)
        return first == path or first_difference(load_shard(first), result) is None


def _row(
    entry: Entry,
    paths: Sequence[Path],
    model: EnergyModel,
    firsts: _Firsts,
    audited: bool | None,
) -> Row:
    answers, equal = [], True
    sums = dict.fromkeys(("windows", "spikes", "sops", "macs"), 0)
    seconds = 0.0
    for index, path in enumerate(paths):
        result = load_shard(path)
        answers.append(result.predictions)
        sums["windows"] += len(result.logits)
        sums["spikes"] += _total(result.spikes)
        sums["sops"] += _total(result.sops)
        sums["macs"] += sum(result.macs.values()) * len(result.logits)
        seconds += result.seconds
        equal = firsts.equal(entry, index, path, result) and equal
    predictions = np.concatenate(answers)
    return Row(
        network=entry.name,
        backend=entry.backend,
        data=entry.data,
        sha256=entry.sha256,
        correct=_correct(entry, predictions),
        same_answers=firsts.same_answers(entry, predictions),
        equal=equal,
        audited=audited,
        joules=_joules(sums, model),
        ms=1e3 * seconds / sums["windows"],
        **sums,
    )


def _total(counts: Mapping[str, np.ndarray]) -> int:
    return sum(int(values.sum()) for values in counts.values())


def _correct(entry: Entry, answers: np.ndarray) -> int | None:
    labels = entry.windows.labels
    return None if labels is None else int((answers == labels).sum())


def _is_linear(model: EnergyModel) -> bool:
    """Whether sums over windows determine the energy."""
    return model.view == "graded" and model.picojoules.keys() <= LINEAR.keys()


def _joules(sums: Mapping[str, int], model: EnergyModel) -> float | None:
    if not _is_linear(model):
        return None
    prices = model.picojoules.items()
    total = sum(sums[LINEAR[unit]] * float(str(price)) for unit, price in prices)
    return total * 1e-12 / sums["windows"]


def first_difference(expected: Result, found: Result) -> str | None:
    """Return where two results of the same windows differ first; None if they are equal."""
    if expected.logits.shape != found.logits.shape:
        return f"logits have shape {list(found.logits.shape)}, not {list(expected.logits.shape)}"
    tables: dict[str, tuple[np.ndarray, np.ndarray]] = {"logits": (expected.logits, found.logits)}
    for count in ("spikes", "sops"):
        first, second = getattr(expected, count), getattr(found, count)
        if first.keys() != second.keys():
            return f"the layers with {count} are {', '.join(second)}, not {', '.join(first)}"
        tables |= {f"{count} of layer {name!r}": (first[name], second[name]) for name in first}
    for name, (one, other) in tables.items():
        if (wrong := np.argwhere(one != other)).size:
            at = tuple(wrong[0])
            return f"{name} of window {at[0]} are {other[at]}, not {one[at]}"
    return None


# ------------------------------------------------------------------------------------- files


def write_table(rows: Sequence[Row], path: Path) -> None:
    """Write the rows as CSV, Parquet or JSON by the suffix of the file.

    The files hold integers, and numbers that follow from them. So they are equal byte for byte,
    however the work was cut. Times are left out.

    Raises:
        DataError: The suffix is another one.
        StorageError: The file cannot be written.
    """
    writers = {".csv": _csv, ".json": _json, ".parquet": _parquet}
    if path.suffix not in writers:
        raise DataError(f"{path}: a table is a .csv, .parquet or .json file")
    content = writers[path.suffix]([row.cells() for row in rows])
    with atomic_write(path) as temporary:
        temporary.write_bytes(content)


def _csv(rows: Sequence[Mapping[str, Any]]) -> bytes:
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, list(rows[0]) if rows else [])
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue().encode(errors="backslashreplace")


def _json(rows: Sequence[Mapping[str, Any]]) -> bytes:
    return (json.dumps({"rows": rows}, indent=2) + "\n").encode()


def _parquet(rows: Sequence[Mapping[str, Any]]) -> bytes:
    import pyarrow
    from pyarrow import parquet

    file = io.BytesIO()
    parquet.write_table(pyarrow.Table.from_pylist(list(rows)), file, compression="zstd")
    return file.getvalue()


def check_model(model: EnergyModel) -> None:
    """Raise LmhtError for an energy model that needs more than sums over windows."""
    if not _is_linear(model):
        raise LmhtError(
            f"energy model {model.name!r} needs counts that an evaluation does not keep; use a "
            "model of SOPs, MACs and spikes, such as 45nm"
        )
