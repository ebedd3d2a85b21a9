"""The same windows through several backends: are all integers equal, and what does each cost?"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from lmht_deploy import backends
from lmht_deploy.result import Result

from . import energy

EXPECTED = "reference"


@dataclass(frozen=True)
class Row:
    """One artifact on one backend: means over its windows. `accuracy` is None without labels; `energy` in joules, `time` in seconds."""

    label: str
    windows: int
    accuracy: float | None
    spikes: float
    sops: float
    macs: int
    energy: float
    time: float
    difference: str | None
    """where its integers part from the reference's first; None where all are equal"""


@dataclass(frozen=True)
class Comparison:
    rows: tuple[Row, ...]
    energy_model: str

    @property
    def equal(self) -> bool:
        """Whether every backend gave the reference's integers."""
        return all(row.difference is None for row in self.rows)


def compare(
    artifacts: Mapping[str, Path],
    windows: np.ndarray,
    labels: np.ndarray | None = None,
    *,
    threads: int = 1,
    limits: Mapping[str, int] | None = None,
    energy_model: str = energy.DEFAULT,
    report: Callable[[str, int, int], None] = lambda label, done, total: None,
) -> Comparison:
    """Run `windows` [B, T_in, ...] through each artifact and hold its integers against the reference's.

    `artifacts` maps labels to files, "reference" among them: a label is a backend's name, or "name/note" where a backend
    runs several. `limits` gives the number of windows of backends too slow for all of them (the first ones are taken);
    `report` is told (label, windows done, windows in all).
    Raises BackendError, StorageError or DataError.
    """
    model = energy.model(energy_model)
    order = [EXPECTED, *(label for label in artifacts if label != EXPECTED)]
    rows = []
    expected: Result | None = None
    for label in order:
        name = label.partition("/")[0]
        count = min(len(windows), (limits or {}).get(name, len(windows)))
        report(label, 0, count)
        with closing(backends.open_backend(name, artifacts[label], threads=threads)) as backend:
            result = backends.run_windows(
                backend, windows[:count], progress=partial(_tell, report, label, count)
            )
        expected = expected or result
        rows.append(
            Row(
                label=label,
                windows=count,
                accuracy=accuracy(result, labels),
                spikes=sum(c.sum() for c in result.spikes.values()) / count,
                sops=sum(c.sum() for c in result.sops.values()) / count,
                macs=sum(result.macs.values()),
                energy=float(energy.estimate(result, model).mean()),
                time=result.seconds / count,
                difference=difference(result, expected),
            )
        )
    return Comparison(tuple(rows), energy_model)


def _tell(report: Callable[[str, int, int], None], label: str, total: int, done: int) -> None:
    report(label, done, total)


def accuracy(result: Result, labels: np.ndarray | None) -> float | None:
    """Share of the windows whose largest logit is their label's; None without labels."""
    return (
        None
        if labels is None
        else float((result.predictions == labels[: len(result.logits)]).mean())
    )


def difference(found: Result, expected: Result) -> str | None:
    """Where the integers of `found` part from those of `expected` first, layer by layer; None where none does.

    `found` may hold the first windows only.
    """
    batch = len(found.logits)
    for what in ("spikes", "sops"):
        for layer, counts in getattr(expected, what).items():
            mine = getattr(found, what).get(layer)
            if mine is None:
                return f"{what} of layer {layer!r} are missing"
            if (text := _first(mine, counts[:batch])) is not None:
                return f"{what} of layer {layer!r} differ: {text}"
    if (text := _first(found.logits, expected.logits[:batch])) is not None:
        return f"logits differ: {text}"
    return None if found.macs == expected.macs else f"MACs differ: {found.macs} for {expected.macs}"


def _first(found: np.ndarray, expected: np.ndarray) -> str | None:
    if found.shape != expected.shape:
        return f"shape {list(found.shape)} for {list(expected.shape)}"
    at = np.argwhere(found != expected)
    if not len(at):
        return None
    first = tuple(int(i) for i in at[0])
    return f"window {first[0]} has {found[first]} for {expected[first]} ({len({int(i[0]) for i in at})} of {len(found)} windows differ)"
