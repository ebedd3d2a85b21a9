"""L threshold levels x T time-steps -> one threshold x L·T sub-steps."""

from __future__ import annotations

import dataclasses
from typing import Literal

import numpy as np

from .errors import NetworkError
from .ir import Network, Neurons


def reparameterize(
    net: Network, injection: Literal["block-start", "uniform"] = "block-start"
) -> Network:
    """The single-threshold network of `net`: every neuron fires at most one spike at each of its L·T sub-steps.

    "block-start" (exact, always): the whole current I[t] enters at the first of the L sub-steps, so that their spikes
    are a thermometer code of k[t] and the potential after them is the same number (docs/semantics.md).
    "uniform": I[t]/L enters at every sub-step, as in the paper; equal only under the conditions of Theorem 4.2
    (0 <= I[t] < Lθ). Potentials are kept L times larger, so that I[t]/L needs no rounding.
    A network that is single-threshold already is returned as it is. Raises NetworkError where the potentials of the
    uniform form exceed 32 bits.
    """
    if injection not in ("block-start", "uniform"):
        raise NetworkError(f"injection must be 'block-start' or 'uniform', not {injection!r}")
    layers = tuple(
        _single_threshold(layer, injection)
        if isinstance(layer, Neurons) and layer.levels > 1
        else layer
        for layer in net.layers
    )
    return dataclasses.replace(net, layers=layers)


def _single_threshold(layer: Neurons, injection: Literal["block-start", "uniform"]) -> Neurons:
    if layer.substeps > 1:
        raise NetworkError(
            f"layer {layer.name!r} has {layer.substeps} sub-steps and {layer.levels} levels; it cannot be unrolled twice"
        )
    larger = layer.levels if injection == "uniform" else 1
    return dataclasses.replace(
        layer,
        levels=1,
        substeps=layer.levels,
        injection=injection,
        threshold=_times(layer.threshold, larger),
        v0=_times(layer.v0, larger),
    )


def _times(values: np.ndarray, factor: int) -> np.ndarray:
    return values.astype(np.int64) * factor if values.dtype.kind == "i" else values * factor
