"""What a network must compute before its first time-steps of logits are known.

A layer with a T-GIM sees its whole window: its first spike may depend on the last step of its
input. An early answer then saves the operations of the read-out alone. A layer whose Ω is lower
triangular needs no later step, and an early answer saves operations in every layer.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from lmht_deploy.ir import Network, Neurons, Readout, sources

from .counts import Counts

__all__ = ["input_steps", "macs_until", "sops_until"]


def input_steps(net: Network, step: int) -> dict[str, int]:
    """Return how many steps of its input each layer needs for the first steps of the logits.

    Neurons of step t need the potentials of all steps before, and the input steps j with
    Ω[t, j] ≠ 0. The block of sub-steps of one time-step counts as one step.

    Args:
        net: The network.
        step: Number of steps of the read-out's input, from 1.

    Returns:
        Number of steps by layer with synapses, and of the network's input by its name; 0 for a
        layer that the logits do not need.
    """
    outputs = dict.fromkeys((layer.name for layer in net.layers), 0)
    outputs[net.readout.name] = step
    inputs: dict[str, int] = {}
    for layer in reversed(net.layers[1:]):
        needed = outputs[layer.name]
        if isinstance(layer, Neurons):
            read = np.flatnonzero(layer.omega[:needed].any(0))
            needed = int(read[-1]) + 1 if len(read) else 0
        if isinstance(layer, Neurons | Readout):
            inputs[layer.name] = needed
        for source in sources(layer):
            outputs[source] = max(outputs[source], needed)
    return {net.input.name: outputs[net.input.name], **inputs}


def sops_until(net: Network, counts: Counts, step: int) -> dict[str, np.ndarray]:
    """Return the synaptic operations that the first steps of the logits need, by layer.

    Args:
        net: The network.
        counts: Counts of a run of it.
        step: Number of steps of the read-out's input, from 1.

    Returns:
        int64 `[B]` by layer. For the last step, every layer that the logits depend on is counted
        as a whole, if it reads its whole input.
    """
    needed, found = input_steps(net, step), {}
    for layer in net.layers:
        if isinstance(layer, Neurons | Readout):
            sops = counts[layer.name].sops
            blocks = net.blocks(layer.synapses[0].source)
            found[layer.name] = sops[:, : needed[layer.name] * sops.shape[1] // blocks].sum(1)
    return found


def macs_until(net: Network, macs: Mapping[str, int], step: int) -> dict[str, int]:
    """Return the MACs of pixels that the first steps of the logits need, by layer.

    Args:
        net: The network.
        macs: MACs per window by layer that reads pixels, as in `Result.macs`.
        step: Number of steps of the read-out's input, from 1.
    """
    needed = input_steps(net, step)
    return {name: count * needed[name] // net.input.steps for name, count in macs.items()}
