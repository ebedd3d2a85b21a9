"""Where quantization bites: a float network and its integer network, layer by layer."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from lmht_deploy import reference
from lmht_deploy.data import balanced_sample
from lmht_deploy.ir import Layer, Network, Neurons, Readout

from .scores import check_labels

__all__ = ["WINDOWS", "LayerRounding", "explain", "same_structure"]

WINDOWS = 128
"""Largest number of windows; each is run once per layer."""
CHUNK = 16


@dataclass(frozen=True)
class LayerRounding:
    """What quantization does at one layer. Shares are within 0 to 1.

    Attributes:
        layer: Name of the layer.
        differing: Share of the values k that differ between both networks; for the read-out, share
            of the windows with another class.
        mean_difference: Mean of integer k minus float k; for the read-out, of the logits as real
            values.
        rounding: Like `differing`, if this layer alone is an integer layer: it reads the spikes of
            the float network. This is what the rounding of the layer does by itself.
        predictions: Share of the windows with the class of the float network, if the layers up to
            this one are integer layers and the others float layers.
        accuracy: Accuracy of that mixed network; None without labels.
    """

    layer: str
    differing: float
    mean_difference: float
    rounding: float
    predictions: float
    accuracy: float | None


def same_structure(first: Network, second: Network) -> bool:
    """Whether two networks have the same layers, shapes, steps and levels."""

    def structure(net: Network) -> list[object]:
        return [
            (type(layer), layer.name, net.shapes[layer.name], net.steps[layer.name])
            + ((layer.levels, layer.substeps) if isinstance(layer, Neurons) else ())
            for layer in net.layers
        ]

    return structure(first) == structure(second)


def explain(
    real: Network, integer: Network, windows: np.ndarray, labels: np.ndarray | None = None
) -> tuple[int, tuple[LayerRounding, ...]]:
    """Compare a float network with its integer network, layer by layer.

    Both exchange spike counts k between layers. So a network can be a float network up to one layer
    and an integer network from there on, which tells the parts of the loss apart.

    Args:
        real: Float network.
        integer: Integer network of the same structure.
        windows: Integers `[B, T_in, ...]`; a balanced sample of `WINDOWS` is used.
        labels: Classes of the windows.

    Returns:
        The number of windows that were used, and one entry per layer of neurons and the read-out.
    """
    labels = check_labels(labels, windows)
    chosen = balanced_sample(labels, WINDOWS, len(windows))
    parts = [
        np.array(list(_chunk(real, integer, windows[at], None if labels is None else labels[at])))
        for at in _pieces(chosen)
    ]
    sums = np.sum([part * len(at) for part, at in zip(parts, _pieces(chosen), strict=True)], axis=0)
    names = [layer.name for layer in _synaptic(integer)]
    rows = tuple(
        _row(name, means.tolist(), labels is not None)
        for name, means in zip(names, sums / len(chosen), strict=True)
    )
    return len(chosen), rows


def _row(name: str, means: list[float], labeled: bool) -> LayerRounding:
    differing, mean_difference, rounding, predictions, accuracy = means
    share = accuracy if labeled else None
    return LayerRounding(name, differing, mean_difference, rounding, predictions, share)


def _pieces(chosen: np.ndarray) -> Iterator[np.ndarray]:
    return (chosen[start : start + CHUNK] for start in range(0, len(chosen), CHUNK))


def _synaptic(net: Network) -> list[Neurons | Readout]:
    return [layer for layer in net.layers if isinstance(layer, Neurons | Readout)]


def _chunk(
    real: Network, integer: Network, windows: np.ndarray, labels: np.ndarray | None
) -> Iterator[tuple[float, ...]]:
    """Yield (differing, mean difference, rounding, predictions, accuracy) of each layer."""
    floats, integers = (reference.outputs_of(net, windows) for net in (real, integer))
    answers = floats[real.readout.name].argmax(1)
    for index, layer in enumerate(integer.layers):
        if not isinstance(layer, Neurons | Readout):
            continue
        alone = reference.apply_layer(integer, layer, floats, windows)
        known = {name: integers[name] for name in list(integers)[: index + 1]}
        mixed = reference.outputs_of(real, windows, known)[real.readout.name].argmax(1)
        yield (
            _differing(layer, integers[layer.name], floats[layer.name]),
            _mean_difference(layer, real[layer.name], integers[layer.name], floats[layer.name]),
            _differing(layer, alone, floats[layer.name]),
            float((mixed == answers).mean()),
            0.0 if labels is None else float((mixed == labels).mean()),
        )


def _differing(layer: Neurons | Readout, found: np.ndarray, expected: np.ndarray) -> float:
    if isinstance(layer, Readout):
        found, expected = found.argmax(1), expected.argmax(1)
    return float((found != expected).mean())


def _mean_difference(
    layer: Neurons | Readout, other: Layer, found: np.ndarray, expected: np.ndarray
) -> float:
    if isinstance(layer, Readout) and isinstance(other, Readout):
        found, expected = found * layer.scale, expected * other.scale
    return float((found - expected).mean())
