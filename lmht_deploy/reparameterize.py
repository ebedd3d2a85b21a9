"""Reparameterization: L levels and T steps become one threshold and L·T sub-steps."""

from __future__ import annotations

import dataclasses
from typing import get_args

import numpy as np

from .errors import NetworkError
from .ir import Injection, Network, Neurons, require_network

__all__ = ["reparameterize"]


def reparameterize(net: Network, injection: Injection = "block-start") -> Network:
    """Return the single-threshold form, whose neurons fire at most one spike per sub-step.

    With `"block-start"`, the whole current I[t] enters at the first of the L sub-steps of a
    time-step. Their spikes are a thermometer code of k[t], and the potential after them is the same
    integer. This form is exact for every input.

    With `"uniform"`, I[t]/L enters at every sub-step, as in Hao et al. 2024. This form is equal
    only under the condition of Theorem 4.2, 0 <= I[t] < L·θ. Potentials and thresholds are stored L
    times larger, so that I[t]/L needs no rounding.

    Args:
        net: Float or integer network.
        injection: Where the current enters.

    Returns:
        The single-threshold network; layers that have one level stay as they are.

    Raises:
        NetworkError: If the injection is unknown, if a layer has levels and sub-steps at once, if
            a layer of several levels has another reset than "subtract", or if the potentials of
            the uniform form exceed 32 bits.
    """
    require_network(net)
    if not isinstance(injection, str) or injection not in get_args(Injection):
        raise NetworkError(f"injection must be 'block-start' or 'uniform', not {injection!r}")
    layers = tuple(
        _single_threshold(layer, injection)
        if isinstance(layer, Neurons) and layer.levels > 1
        else layer
        for layer in net.layers
    )
    return dataclasses.replace(net, layers=layers)


def _single_threshold(layer: Neurons, injection: Injection) -> Neurons:
    if layer.substeps > 1:
        raise NetworkError(
            f"layer {layer.name!r} has {layer.substeps} sub-steps and {layer.levels} levels; it "
            f"cannot be reparameterized twice"
        )
    if layer.reset != "subtract":
        raise NetworkError(
            f"layer {layer.name!r} has {layer.levels} levels and the reset {layer.reset!r}; only "
            f"neurons with the reset 'subtract' have a single-threshold form"
        )
    factor = layer.levels if injection == "uniform" else 1
    return dataclasses.replace(
        layer,
        levels=1,
        substeps=layer.levels,
        injection=injection,
        threshold=_times(layer.threshold, factor),
        v0=_times(layer.v0, factor),
        floor=None if layer.floor is None else _times(layer.floor, factor),
    )


def _times(values: np.ndarray, factor: int) -> np.ndarray:
    return values.astype(np.int64) * factor if values.dtype.kind == "i" else values * factor
