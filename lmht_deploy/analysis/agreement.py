"""Where two runs differ, and whether two networks differ in accuracy."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from lmht_deploy.backends import Backend, run_chunks
from lmht_deploy.errors import DataError
from lmht_deploy.result import Result

from .observation import digests, join_digests, spikes_of
from .scores import check_labels

__all__ = [
    "Difference",
    "McNemar",
    "check_spikes",
    "difference",
    "locate",
    "mcnemar",
]


@dataclass(frozen=True)
class Difference:
    """The first difference between two results; its text is one sentence.

    Attributes:
        kind: "spikes", "sops", "logits", "macs", "missing" or "shape".
        layer: Name of the layer; None for logits and MACs.
        window: Index of the first window that differs; None where the kind of the difference is
            "macs", "missing" or "shape".
        found: Value of the result that is checked.
        expected: Value of the reference model.
        differing: Number of windows that differ in this layer.
        windows: Number of windows that were compared.
        step: Step of the first spike that differs, from 0. Where it is None, the values are sums
            over the window, or logits.
        neuron: Position of that spike, (c, y, x) or (n,); the class for logits.
    """

    kind: str
    layer: str | None
    window: int | None
    found: Any
    expected: Any
    differing: int
    windows: int
    step: int | None = None
    neuron: tuple[int, ...] | None = None

    def __str__(self) -> str:
        where = "" if self.layer is None else f" of layer {self.layer!r}"
        match self.kind:
            case "missing":
                return f"{self.expected}{where} are missing"
            case "shape":
                return f"shape{where} is {self.found}, expected {self.expected}"
            case "macs":
                return f"MACs differ: {self.found}, expected {self.expected}"
        return (
            f"{self.kind}{where} differ: window {self.window} has {self.found}, expected "
            f"{self.expected}{self._place()} ({self.differing} of {self.windows} windows differ)"
        )

    def _place(self) -> str:
        if self.step is not None:
            return f" at step {self.step}, neuron {self.neuron}"
        return "" if self.neuron is None else f" for class {self.neuron[0]}"


def difference(
    found: Result, expected: Result, chosen: np.ndarray | None = None
) -> Difference | None:
    """Return the first difference between two results, layer by layer; None if there is none.

    Args:
        found: Result to check. It may cover some of the windows.
        expected: Result of the reference model.
        chosen: Which windows of `expected` the result `found` covers. Default: the first.
    """
    if chosen is None:
        chosen = np.arange(len(found.logits))
    number = len(chosen)
    for kind in ("spikes", "sops"):
        for layer, counts in getattr(expected, kind).items():
            mine = getattr(found, kind).get(layer)
            if mine is None:
                return Difference("missing", layer, None, None, kind, number, number)
            if differs := _mismatch(kind, layer, mine, counts[chosen], chosen):
                return differs
    if differs := _mismatch("logits", None, found.logits, expected.logits[chosen], chosen):
        return differs
    if found.macs != expected.macs:
        return Difference("macs", None, None, found.macs, expected.macs, number, number)
    return None


def _mismatch(
    kind: str, layer: str | None, found: np.ndarray, expected: np.ndarray, windows: np.ndarray
) -> Difference | None:
    """Return the first difference of two arrays for `windows`, or None."""
    number = len(windows)
    if found.shape != expected.shape:
        shapes = list(found.shape), list(expected.shape)
        return Difference("shape", layer, None, *shapes, number, number)
    at = np.argwhere(found != expected)
    if not len(at):
        return None
    window, *neuron = first = tuple(int(i) for i in at[0])
    return Difference(
        kind,
        layer,
        int(windows[window]),
        found[first].item(),
        expected[first].item(),
        len(np.unique(at[:, 0])),
        number,
        neuron=tuple(neuron) or None,
    )


# ------------------------------------------------------------------------------- spike for spike


def check_spikes(
    backend: Backend,
    lead: Backend,
    windows: np.ndarray,
    chosen: np.ndarray,
    expected: Mapping[str, np.ndarray],
) -> Difference | None:
    """Compare every spike of a backend with those of another one; return the first difference.

    The spikes of a single-threshold form are added over the sub-steps of each time-step.

    Args:
        backend: Backend to check; it returns spikes.
        lead: Backend to compare with; it runs one window more.
        windows: All windows.
        chosen: Indices of the windows to compare.
        expected: Digests of the spikes that `lead` gave for all windows, by layer.
    """
    steps = {layer: len(k) for layer, k in spikes_of(lead, windows[chosen[:1]]).items()}
    results = run_chunks(backend, windows[chosen], trace=True)
    found = join_digests([digests(_in_steps(result.traces or {}, steps)) for result in results])
    differs = np.array([found[layer] != expected[layer][chosen] for layer in expected])
    if not differs.any():
        return None
    layer, index = (int(i) for i in np.argwhere(differs)[0])
    place = locate(backend, lead, windows, chosen, index)
    return place and dataclasses.replace(
        place, differing=int(differs[layer].sum()), windows=len(chosen)
    )


def locate(
    backend: Backend, lead: Backend, windows: np.ndarray, chosen: np.ndarray, index: int
) -> Difference | None:
    """Return the first spike of one window that differs between two backends, or None.

    The backend runs the same chunk of windows again, as a fault may depend on it.

    Args:
        backend: Backend to check; it returns spikes.
        lead: Backend to compare with.
        windows: All windows.
        chosen: Indices of the windows that `backend` ran.
        index: Which of them differs.
    """
    chunk = backend.chunk or len(chosen)
    start = index // chunk * chunk
    expected = spikes_of(lead, windows[chosen[index]][None])
    spikes = spikes_of(backend, windows[chosen[start : start + chunk]], index - start)
    steps = {layer: len(k) for layer, k in expected.items()}
    found = {
        layer: k[0]
        for layer, k in _in_steps({n: k[None] for n, k in spikes.items()}, steps).items()
    }
    for layer, k in expected.items():
        if found[layer].shape != k.shape:
            shapes = list(found[layer].shape), list(k.shape)
            return Difference("shape", layer, None, *shapes, 1, 1)
        at = np.argwhere(found[layer] != k)
        if len(at):
            step, *neuron = first = tuple(int(i) for i in at[0])
            values = int(found[layer][first]), int(k[first])
            window = int(chosen[index])
            return Difference("spikes", layer, window, *values, 1, 1, step, tuple(neuron))
    return None


def _in_steps(traces: Mapping[str, np.ndarray], steps: Mapping[str, int]) -> dict[str, np.ndarray]:
    """Return k `[B, steps, ...]` by layer, added over the sub-steps of each step."""

    def added(k: np.ndarray, number: int | None) -> np.ndarray:
        if number is None or k.shape[1] == number or k.shape[1] % number:
            return k
        return np.asarray(k.reshape(len(k), number, -1, *k.shape[2:]).sum(2))

    return {layer: added(k, steps.get(layer)) for layer, k in traces.items()}


# ------------------------------------------------------------------------------------- McNemar


@dataclass(frozen=True)
class McNemar:
    """Two classifiers on the same windows, and McNemar's test of equal accuracy.

    Attributes:
        both_right: Number of windows that both classify correctly.
        only_first: Number of windows that only the first one does.
        only_second: Number of windows that only the second one does.
        both_wrong: Number of windows that neither does.
    """

    both_right: int
    only_first: int
    only_second: int
    both_wrong: int

    @property
    def p_value(self) -> float:
        """Two-sided p-value of the exact binomial test.

        Under the hypothesis of equal accuracy, each window that only one classifies correctly is
        that of either with probability 1/2 (McNemar, 1947).
        """
        number = self.only_first + self.only_second
        rarer = min(self.only_first, self.only_second)
        tail = sum(math.comb(number, k) for k in range(rarer + 1))
        return min(1.0, 2 * tail / (1 << number))


def mcnemar(first: np.ndarray, second: np.ndarray, labels: np.ndarray) -> McNemar:
    """Compare the answers of two networks for the same windows.

    Args:
        first: Classes that the first network answers, int `[N]`.
        second: The same for the second network.
        labels: Classes of the windows.

    Raises:
        DataError: The numbers of windows differ.

    Example:
        >>> mcnemar(np.array([0, 1, 1]), np.array([0, 0, 1]), np.array([0, 1, 0]))
        McNemar(both_right=1, only_first=1, only_second=0, both_wrong=1)
    """
    labels = check_labels(labels, first)  # type: ignore[assignment]
    if first.shape != second.shape:
        raise DataError(f"{len(first)} answers cannot be compared with {len(second)} answers")
    a, b = first == labels, second == labels
    counts = (a & b, a & ~b, ~a & b, ~a & ~b)
    return McNemar(*(int(windows.sum()) for windows in counts))
