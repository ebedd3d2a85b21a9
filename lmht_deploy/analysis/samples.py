"""Single windows of a run: which ones are worth a look, and every spike of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from lmht_deploy import reference
from lmht_deploy.ir import Network
from lmht_deploy.result import Result

__all__ = ["MAX_VALUES", "SAMPLES", "choose", "label_margins", "list_samples"]

SAMPLES = 4
"""Number of windows that are chosen."""
MAX_VALUES = 20_000
"""Number of values per layer and sample beyond which not every neuron is listed."""


def label_margins(result: Result, labels: np.ndarray) -> np.ndarray:
    """Return the logit of the label minus the largest other logit, real values.

    Args:
        result: Result of B windows with K classes.
        labels: Classes of the windows, int `[B]`.

    Shape:
        float64 `[B]`
    """
    logits, rows = result.logits * result.scale, np.arange(len(result.logits))
    others = logits.astype(np.float64)
    others[rows, labels] = -np.inf
    margins: np.ndarray = logits[rows, labels] - others.max(1)
    return margins


def choose(margins: np.ndarray) -> list[int]:
    """Return the windows with the smallest and the largest margins, `SAMPLES` at most.

    Args:
        margins: Margins of all windows, float `[B]`.
    """
    order, half = np.argsort(margins, kind="stable"), SAMPLES // 2
    return list(dict.fromkeys([*order[:half].tolist(), *order[-half:].tolist()]))


def list_samples(
    net: Network, windows: np.ndarray, chosen: Sequence[int], labels: np.ndarray | None = None
) -> list[dict[str, Any]]:
    """Return the spikes of chosen windows, and the logits after each time-step.

    Args:
        net: The network.
        windows: All windows, int `[B, T_in, ...]`.
        chosen: Indices of the windows to list.
        labels: Classes of all windows; None if unknown.

    Returns:
        The entries of `samples` in docs/reference/compare-json.md.
    """
    inputs = np.asarray(windows[np.array(chosen)])
    result = reference.run(net, inputs, trace=True)
    traces = result.traces or {}
    outputs = reference.outputs_of(net, inputs, traces)
    partial = reference.currents(net, net.readout, outputs).cumsum(1) * result.scale
    return [
        {
            "window": int(window),
            "label": None if labels is None else int(labels[window]),
            "predicted": int(result.predictions[place]),
            "logits": partial[place].tolist(),
            "input": _sparse(inputs[place]),
            "layers": {name: _sparse(k[place]) for name, k in traces.items()},
        }
        for place, window in enumerate(chosen)
    ]


def _sparse(k: np.ndarray) -> dict[str, Any]:
    """List what is not 0 of `[steps, ...]`; of layers with very many values, not every neuron."""
    flat = k.reshape(len(k), -1)
    every = max(1, -(-int(np.count_nonzero(flat)) // MAX_VALUES))
    step, neuron = np.nonzero(flat[:, ::every])
    return {
        "shape": list(k.shape[1:]),
        "steps": len(k),
        "every": every,
        "step": step.tolist(),
        "neuron": (neuron * every).tolist(),
        "value": flat[step, neuron * every].tolist(),
    }
