"""Networks whose input arrives in parts: potentials are inputs and outputs of the graph.

A potential enters and leaves as v - v0, so that zeros begin a stream. A graph for single time-steps
is that of the same network with one step, which requires that every T-GIM is a multiple of the
identity: no time-step then needs a later one.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Literal, TypeAlias

import numpy as np

from lmht_deploy.errors import ExportError
from lmht_deploy.ir import INT32_MAX, LEAK_ONE, Input, Layer, Network, Neurons

Unit: TypeAlias = Literal["window", "step"]
"""How much of a stream one call takes."""


def step_network(net: Network) -> Network:
    """Return the network for one time-step of `net`.

    Raises:
        ExportError: A T-GIM is not a multiple of the identity.
    """
    return Network(tuple(map(_one_step, net.layers)), dict(net.metadata))


def _one_step(layer: Layer) -> Layer:
    match layer:
        case Input():
            return dataclasses.replace(layer, steps=1)
        case Neurons():
            if not layer.stepwise:
                raise ExportError(
                    f"layer {layer.name!r}: its T-GIM is not a multiple of the identity, so that a "
                    "time-step depends on later ones; a stream of this network takes windows "
                    "(--stream window)"
                )
            return dataclasses.replace(layer, omega=layer.omega[:1, :1])
    return layer


def max_calls(net: Network, spare: Mapping[str, int] | None = None) -> int:
    """Return the number of calls of one stream for which int32 is proved; INT32_MAX for any.

    Args:
        net: The network.
        spare: What is added to potentials of a layer within a call, at most; by layer.
    """
    spare = spare or {}
    return min(
        _max_calls(layer, net.bounds[layer.name].drive, spare.get(layer.name, 0))
        for layer in net.neurons
    )


def _max_calls(layer: Neurons, drive: int, spare: int) -> int:
    """Return the number of calls after which |v| + |v0| + spare is proved to be within int32.

    Spikes never increase |v|: only potentials of at least θ fire, and end between 0 and v. Floors
    are at most 0 and do not increase it either.
    """
    start = int(np.abs(layer.v0.astype(np.int64)).max())
    steps, leak = len(layer.omega), int(layer.leak)
    if layer.reset == "subtract-late":  # λ·v - k·θ, where k·θ is at most v
        leak = max(leak, LEAK_ONE - leak)
    injected = drive * (layer.substeps if layer.injection == "uniform" else 1)
    limit = INT32_MAX - start - spare
    if leak > LEAK_ONE:
        return _growing(start, steps, leak, injected, limit)
    if leak == LEAK_ONE:
        return (limit - start) // (injected * steps) if injected else INT32_MAX
    largest = start + -(-injected * LEAK_ONE // (LEAK_ONE - leak))
    return INT32_MAX if largest <= limit else 1


def _growing(start: int, steps: int, leak: int, injected: int, limit: int) -> int:
    """Return the number of calls for a leak above 1, with which a potential grows on its own."""
    if start == injected == 0:
        return INT32_MAX
    bound, taken = start, 0
    while bound <= limit:
        bound, taken = -(-bound * leak // LEAK_ONE) + injected, taken + 1
    return (taken - 1) // steps
