"""Networks whose accumulators reach 2^31 - 1 exactly; one unit more is refused."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from lmht_deploy.ir import INT32_MAX, Input, Linear, Network, Neurons, Readout

HIGH = 2**15 - 1
"""Largest input value: with a weight of 2^16 it gives INT32_MAX - 65535."""


def _network(
    *, bias: int = 0, threshold: int = 1, v0: int = 0, exponent: int = 0, end: int = 0
) -> Network:
    """One positive and one negative neuron; every number acts on both, with its sign."""
    signs = np.array([1, -1])
    synapse = Linear(source="in", weight=np.diag(signs), exponent=exponent)
    layer = Neurons(
        name="a",
        synapses=(synapse,),
        bias=bias * signs,
        threshold=np.full(2, threshold),
        omega=[[1]],
        leak=4096,
        v0=v0 * signs,
        levels=3,
    )
    weight = np.array([[127, 0], [-127, 0]])
    readout = Readout(
        name="out", synapses=(Linear(source="a", weight=weight, exponent=16),), bias=end * signs
    )
    return Network((Input(name="in", shape=(2,), steps=1, max_value=HIGH), layer, readout))


LIMITS: dict[str, Callable[[int], Network]] = {
    "a synaptic current": lambda more: _network(
        exponent=16, bias=INT32_MAX - HIGH * 2**16 + more, threshold=INT32_MAX // 3
    ),
    "a potential": lambda more: _network(v0=INT32_MAX - HIGH + more, threshold=INT32_MAX // 2),
    "a read-out": lambda more: _network(end=INT32_MAX - 3 * 127 * 2**16 + more),
}
"""By what reaches its limit, the network with `more` units than are possible."""

WINDOWS = np.array([[[HIGH, HIGH]], [[0, 0]], [[1, HIGH]], [[HIGH, 1]], [[123, 20_000]]])
"""The largest, the smallest and other inputs, [5, 1, 2]."""
