"""The JSON of a comparison: plain values, with the keys of docs/reference/compare-json.md."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import combinations
from math import prod
from pathlib import Path
from typing import Any

import numpy as np

from lmht_deploy.answers import Answers
from lmht_deploy.ir import Network, Neurons, sources

from . import counters, energy
from .agreement import Difference, difference, mcnemar
from .anytime import macs_until, sops_until
from .compare import BackendRow, Comparison
from .counts import (
    EVENTS,
    GRADED,
    KINDS,
    SINGLE_THRESHOLD,
    Counts,
    LayerCounts,
    of_result,
    synapses,
)
from .observation import Observation
from .provenance import provenance
from .rounding import explain, same_structure
from .samples import choose, label_margins, list_samples
from .scores import Scores, wilson
from .twin import UNKNOWN, Twin

__all__ = [
    "SCHEMA",
    "VERSION",
    "NetworkRun",
    "comparison_as_json",
    "network_as_json",
    "pairs_as_json",
]

SCHEMA, VERSION = "lmht-compare", 1
WORST = 10
"""Number of windows in the list of the worst ones."""
DIGITS = 6
"""Significant digits of means."""


@dataclass(frozen=True, eq=False)
class NetworkRun:
    """One network of a comparison, and all that is known of its run.

    Attributes:
        name: Unique name.
        path: File of the network, or of an artifact without its network.
        net: The network; None for an artifact.
        comparison: Its backends.
        windows: The windows that it ran.
        labels: Classes of the windows; None if unknown.
        answers: What it answers.
        scores: The answers compared with the labels; None without labels.
        classes: Names of the classes; empty if unknown.
        data: Where the windows come from.
        metadata: Provenance of the network, text by key.
    """

    name: str
    path: Path
    net: Network | None
    comparison: Comparison
    windows: np.ndarray
    labels: np.ndarray | None
    answers: Answers
    scores: Scores | None
    classes: Sequence[str]
    data: Mapping[str, Any]
    metadata: Mapping[str, str]


def comparison_as_json(
    runs: Sequence[NetworkRun],
    model: energy.EnergyModel,
    threads: int,
    *,
    twin: Twin = UNKNOWN,
) -> dict[str, Any]:
    """Return all networks, and what they have in pairs, as plain values.

    Args:
        runs: The networks.
        model: Energy model of the tables.
        threads: Maximum number of threads that were used.
        twin: What is known of the dense twin.
    """
    models = {**energy.MODELS, model.name: model}
    return {
        "schema": SCHEMA,
        "version": VERSION,
        "equal": all(found.comparison.equal for found in runs),
        "provenance": provenance(threads),
        "data": dict(runs[0].data),
        "energy_models": [asdict(found) for found in models.values()],
        "energy_model": model.name,
        "twin": asdict(twin),
        "networks": [network_as_json(found) for found in runs],
        "pairs": pairs_as_json(runs),
    }


def pairs_as_json(runs: Sequence[NetworkRun]) -> list[dict[str, Any]]:
    """Return what each pair of networks has in common, as plain values."""
    return [_pair(first, second) for first, second in combinations(runs, 2)]


# ------------------------------------------------------------------------------------- network


def network_as_json(found: NetworkRun) -> dict[str, Any]:
    """Return one network of a comparison as plain values."""
    comparison, seen = found.comparison, found.comparison.observation
    first = comparison.rows[0]
    correct = None if found.labels is None else round((first.accuracy or 0) * first.windows)
    return {
        "name": found.name,
        "path": str(found.path),
        **_file(found.path),
        "kind": _kind(found.net),
        "metadata": dict(found.metadata),
        "data": dict(found.data),
        **_structure(found.net),
        "accuracy": first.accuracy,
        "interval": first.interval,
        "correct": correct,
        "backends": [_backend(row, comparison.speed) for row in comparison.rows],
        "omitted": dict(comparison.omitted),
        "counts": _views(found),
        "others": [] if seen is None else _others(seen),
        "neurobench": None if seen is None else _neurobench(seen, first.accuracy),
        "energy": _energy(comparison),
        "measured_energy": list(comparison.measured),
        "classes": None if found.scores is None else _classes(found, found.scores),
        "anytime": None if seen is None else list(_anytime(found, seen)),
        "predictions": comparison.result.predictions.tolist(),
        "margins": found.answers.margins.tolist(),
        "answers": found.answers.labels.tolist(),
        "samples": [] if found.net is None else _samples(found, found.net),
    }


def _file(path: Path) -> dict[str, Any]:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return {"bytes": path.stat().st_size, "sha256": digest.hexdigest()}


def _kind(net: Network | None) -> str:
    if net is None:
        return "artifact"
    return "integer" if net.integer else "float"


def _structure(net: Network | None) -> dict[str, Any]:
    if net is None:
        return dict.fromkeys(("levels", "steps", "parameters", "layers"))
    layers = [_layer(net, layer) for layer in net.layers]
    return {
        "levels": max((layer.levels for layer in net.neurons), default=None),
        "steps": net.neurons[-1].steps if net.neurons else net.input.steps,
        "parameters": sum(layer["parameters"] for layer in layers),
        "layers": layers,
    }


def _layer(net: Network, layer: Any) -> dict[str, Any]:
    neurons = isinstance(layer, Neurons)
    crossed = getattr(layer, "synapses", ())
    keys = ("bias", "threshold", "v0", "omega", "floor")
    arrays = [array for key in keys if (array := getattr(layer, key, None)) is not None]
    return {
        "name": layer.name,
        "kind": type(layer).__name__,
        "reads": list(sources(layer)),
        "shape": list(net.shapes[layer.name]),
        "steps": net.steps[layer.name],
        "levels": layer.levels if neurons else None,
        "neurons": prod(net.shapes[layer.name]) if neurons else 0,
        "synapses": sum(synapses(net, synapse) for synapse in crossed),
        "parameters": sum(array.size for array in (*arrays, *(s.weight for s in crossed))),
    }


def _backend(row: BackendRow, speed: Mapping[str, Any]) -> dict[str, Any]:
    found = speed.get(row.label)
    return {
        "label": row.label,
        "windows": row.windows,
        "accuracy": row.accuracy,
        "interval": row.interval,
        "spikes": row.spikes,
        "sops": row.sops,
        "macs": row.macs,
        "energy": row.energy,
        "ms": row.time * 1e3,
        "saturations": row.saturations,
        "spike_windows": row.spike_windows,
        "difference": _difference(row.difference),
        "speed": None if found is None else asdict(found),
    }


def _difference(found: Difference | None) -> dict[str, Any] | None:
    return None if found is None else {**asdict(found), "text": str(found)}


# ------------------------------------------------------------------------------------- counts


def _views(found: NetworkRun) -> dict[str, Any]:
    seen = found.comparison.observation
    views: dict[str, Any] = {GRADED: None, SINGLE_THRESHOLD: None}
    if seen is None:
        views[GRADED] = _view(of_result(found.comparison.result), found, whole=False)
        return views
    return views | {name: _view(counts, found, whole=True) for name, counts in seen.views.items()}


def _view(counts: Counts, found: NetworkRun, *, whole: bool) -> dict[str, Any]:
    """Return a view; `whole` says whether counts per step and those without windows are known."""
    layers = [_layer_counts(layer, found, whole) for layer in counts.layers]
    total = {kind: _mean(counts.total(kind)) for kind in KINDS}
    hidden = () if whole else _UNKNOWN
    return {"layers": layers, "total": total | dict.fromkeys(hidden)}


_KNOWN = ("spikes", "events", "sops", "event_sops", "macs")
_UNKNOWN = tuple(kind for kind in KINDS if kind not in _KNOWN)
"""Counts of an artifact that need its network."""


def _layer_counts(layer: LayerCounts, found: NetworkRun, whole: bool) -> dict[str, Any]:
    sites = layer.neurons * layer.steps
    counts: dict[str, Any] = {kind: _mean(layer.per_window(kind)) for kind in KINDS}
    counts |= {} if whole else dict.fromkeys(_UNKNOWN)
    return {
        "layer": layer.layer,
        "steps": layer.steps if whole else None,
        **counts,
        "firing_rate": _mean(layer.per_window("spikes")) / sites if sites else None,
        "density": _mean(layer.per_window("events")) / sites if sites else None,
        "per_step": _per_step(layer) if whole else None,
        "per_class": _per_class(layer, found),
    }


def _per_step(layer: LayerCounts) -> dict[str, list[float]]:
    return {kind: [_round(x) for x in getattr(layer, kind).mean(0)] for kind in EVENTS}


def _per_class(layer: LayerCounts, found: NetworkRun) -> dict[str, list[float | None]] | None:
    if found.labels is None:
        return None
    classes = found.comparison.result.logits.shape[1]
    chosen = [found.labels == label for label in range(classes)]
    return {
        kind: [_mean(layer.per_window(kind)[of]) if of.any() else None for of in chosen]
        for kind in EVENTS
    }


def _mean(values: np.ndarray) -> float:
    return _round(values.mean())


def _round(value: float) -> float:
    """Round a mean; counts of single windows are exact."""
    return float(value) if float(value).is_integer() else float(f"{value:.{DIGITS}g}")


def _others(seen: Observation) -> list[dict[str, Any]]:
    rows = counters.other_counts(seen.net, seen.activity[GRADED], seen.views[GRADED])
    return [
        {
            "counter": row.counter,
            "title": row.title,
            "definition": row.definition,
            "operations": row.operations,
            "sops": row.sops,
            "difference": row.difference,
            "relative": row.relative,
            "layers": dict(row.layers),
        }
        for row in rows
    ]


def _neurobench(seen: Observation, accuracy: float | None) -> dict[str, Any]:
    metrics = counters.neurobench(seen.net, seen.activity[GRADED])
    metrics |= {"ClassificationAccuracy": accuracy, SINGLE_THRESHOLD: None}
    if seen.single is not None:
        twin = counters.neurobench(seen.single, seen.activity[SINGLE_THRESHOLD])
        keys = ("ActivationSparsity", "SynapticOperations")
        metrics[SINGLE_THRESHOLD] = {key: twin[key] for key in keys}
    return metrics


# ------------------------------------------------------------------------------------- energy


def _energy(comparison: Comparison) -> dict[str, Any]:
    estimates = comparison.estimates()
    joules = [float(row.joules.mean()) for row in estimates if row.model.view != energy.DENSE]
    low, high = (min(joules), max(joules)) if joules else (None, None)
    spread = high / low if low and high else None
    rows = [_estimate(row) for row in estimates]
    return {"models": rows, "lowest": low, "highest": high, "spread": spread}


def _estimate(found: energy.Estimate) -> dict[str, Any]:
    return {
        "model": found.model.name,
        "joules": float(found.joules.mean()),
        "interval": list(found.interval),
        "parts": found.parts,
        "layers": found.layers,
    }


# ------------------------------------------------------------------------------------- classes


def _classes(found: NetworkRun, scores: Scores) -> dict[str, Any]:
    windows = scores.confusion.sum(1) + scores.unknown
    return {
        "confusion": scores.confusion.tolist(),
        "unknown": scores.unknown.tolist(),
        "per_class": [
            {
                "class": label,
                "name": found.classes[label] if found.classes else str(label),
                "windows": int(number),
                "correct": int(scores.confusion[label, label]),
                "accuracy": scores.per_class[label],
                "interval": wilson(int(scores.confusion[label, label]), int(number))
                if number
                else None,
            }
            for label, number in enumerate(windows)
        ],
        "worst": [
            {
                "window": int(window),
                "label": int(found.labels[window]),  # type: ignore[index]
                "predicted": int(found.comparison.result.predictions[window]),
                "margin": margin,
            }
            for window, margin in _worst(found)
        ],
    }


def _margins(found: NetworkRun, labels: np.ndarray) -> np.ndarray:
    return label_margins(found.comparison.result, labels)


def _worst(found: NetworkRun) -> Iterator[tuple[int, float]]:
    margins = _margins(found, found.labels)  # type: ignore[arg-type]
    for window in np.argsort(margins, kind="stable")[:WORST]:
        margin = float(margins[window])
        yield int(window), margin


# ------------------------------------------------------------------------------------- time


def _anytime(found: NetworkRun, seen: Observation) -> Iterator[dict[str, Any]]:
    """Yield accuracy, and the SOPs and energy that it needs, after each step of the read-out."""
    steps = seen.partial.shape[1]
    models = {**energy.MODELS, found.comparison.energy_model.name: found.comparison.energy_model}
    simple = [model for model in models.values() if not model.needs_spikes]
    for step in range(1, steps + 1):
        sops = float(
            np.sum(list(sops_until(seen.net, seen.views[GRADED], step).values()), 0).mean()
        )
        macs = sum(macs_until(seen.net, seen.result.macs, step).values())
        correct = None
        if found.labels is not None:
            correct = int((seen.partial[:, step - 1].argmax(1) == found.labels).sum())
        number = len(seen.partial)
        yield {
            "step": step,
            "accuracy": None if correct is None else correct / number,
            "interval": None if correct is None else wilson(correct, number),
            "sops": sops,
            "energy": {model.name: _joules(model, sops, macs) for model in simple},
        }


def _joules(model: energy.EnergyModel, sops: float, macs: int) -> float:
    prices = {unit: price for unit, price in model.picojoules.items() if isinstance(price, float)}
    return (prices.get("sop", 0.0) * sops + prices.get("mac", 0.0) * macs) * 1e-12


# ------------------------------------------------------------------------------------- samples


def _samples(found: NetworkRun, net: Network) -> list[dict[str, Any]]:
    """Return the spikes of the windows with the smallest and the largest margins."""
    margins = found.answers.margins if found.labels is None else _margins(found, found.labels)
    return list_samples(net, found.windows, choose(margins), found.labels)


# ------------------------------------------------------------------------------------- pairs


def _pair(first: NetworkRun, second: NetworkRun) -> dict[str, Any]:
    content: dict[str, Any] = {"first": first.name, "second": second.name}
    if not _same_windows(first, second):
        keys = ("same_predictions", *_MCNEMAR, "p_value", "difference", "quantization")
        return content | {"windows": 0} | dict.fromkeys(keys)
    answers = [found.comparison.result.predictions for found in (first, second)]
    content |= {
        "windows": len(answers[0]),
        "same_predictions": int((answers[0] == answers[1]).sum()),
        **dict.fromkeys((*_MCNEMAR, "p_value")),
    }
    if first.labels is not None:
        test = mcnemar(answers[0], answers[1], first.labels)
        content |= {**asdict(test), "p_value": test.p_value}
    return content | {
        "difference": _difference(_results_differ(first, second)),
        "quantization": _quantization(first, second),
    }


_MCNEMAR = ("both_right", "only_first", "only_second", "both_wrong")


def _same_windows(first: NetworkRun, second: NetworkRun) -> bool:
    """Whether window i of both networks is of the same recording or image."""
    if len(first.windows) != len(second.windows):
        return False
    if first.labels is None or second.labels is None:
        return first.labels is second.labels
    return bool(np.array_equal(first.labels, second.labels))


def _results_differ(first: NetworkRun, second: NetworkRun) -> Difference | None:
    """Return the first difference of two networks of one structure and one kind."""
    a, b = first.comparison.result, second.comparison.result
    same_kind = a.logits.dtype.kind == b.logits.dtype.kind
    if not same_kind or a.sops.keys() != b.sops.keys() or a.logits.shape != b.logits.shape:
        return None
    return difference(b, a)


def _quantization(first: NetworkRun, second: NetworkRun) -> dict[str, Any] | None:
    nets = [found.net for found in (first, second) if found.net is not None]
    if len(nets) < 2 or nets[0].integer == nets[1].integer or not same_structure(*nets):
        return None
    real, integer = sorted(nets, key=lambda net: net.integer)
    windows, layers = explain(real, integer, first.windows, first.labels)
    return {"windows": windows, "layers": [asdict(layer) for layer in layers]}
