"""The graph of NIR computed node by node and step by step, as the framework computes it.

It is slow and shares nothing with the import but the discrete equations of a neuron. Parameters
keep their shapes, the synaptic current is a state, and a delay is a shift of a signal.
"""

from __future__ import annotations

from math import prod
from typing import Any

import numpy as np

from lmht_deploy import reference
from lmht_deploy._agreement import Call, Run, first_difference, probes
from lmht_deploy.errors import LoweringError
from lmht_deploy.formats.nir import Graph, Node
from lmht_deploy.ir import Network

from ._dynamics import NEURONS, Dynamics, Rules
from ._order import in_order

PROBES = 4
"""Number of windows on which the network is compared with the graph."""
MAX_CELLS = 2**26
"""Largest number of values of a window, and of the outputs of a layer, that is verified."""


def require_agreement(graph: Graph, rules: Rules, net: Network, scale: float) -> None:
    """Run `graph` and `net` on probe windows.

    Raises:
        LoweringError: They differ (the message names the first layer that does), or they are too
            large to be run here.
    """
    cells = max(net.blocks(name) * prod(shape) for name, shape in net.shapes.items())
    if cells > MAX_CELLS:
        raise LoweringError(
            f"a layer has {cells:,} values per window, too many to compare the network with the "
            "graph; in Python, from_nir(..., verify=False) imports it without that"
        )
    rng = np.random.default_rng(0)
    zeros, sparse, dense, full = probes(net.input, rng)
    for windows, random in (((zeros, full), None), ((sparse, dense), rng)):
        run = interpret(graph, rules, net, np.stack(windows), scale, random)
        found = first_difference(net, run)
        if found:
            raise LoweringError(f"{found} of the network differ from those of the graph")


def interpret(
    graph: Graph,
    rules: Rules,
    net: Network,
    windows: np.ndarray,
    scale: float = 1.0,
    rng: np.random.Generator | None = None,
) -> Run:
    """Compute a graph on windows.

    Args:
        graph: The graph.
        rules: What is assumed for it.
        net: Its network, for the number of steps and the order of the layers.
        windows: Integers `[B, T_in, ...]`.
        scale: Real value of one unit of the input.
        rng: If given, neurons pass on random spikes, so that no layer stays silent.
    """
    order, reads = in_order(graph)
    outputs: dict[str, np.ndarray] = {}
    calls: dict[str, Call] = {}
    steps = max([layer.steps for layer in net.neurons], default=net.input.steps)
    for name in order:
        node = graph.nodes[name]
        if node.type == "Input":
            image = windows.shape[1] == 1 and steps > 1
            outputs[name] = (np.repeat(windows, steps, 1) if image else windows) * scale
            continue
        x = sum(outputs[source] for source in reads[name])
        assert isinstance(x, np.ndarray)
        if node.type in NEURONS:
            levels = 1 if node.type == "Threshold" else rules.max_spikes
            spikes = _fire(rules.dynamics(name, node), x, levels)
            passed = spikes if rng is None else rng.integers(0, min(levels, 3) + 1, spikes.shape)
            calls[name] = Call(None, spikes, passed.astype(float))
            x = passed
        outputs[name] = x if node.type in NEURONS else _function(rules, node, x)
    last = outputs[order[-1]]
    logits = last.reshape(*last.shape[:2], -1).mean(1)
    return Run(windows, [calls[layer.name] for layer in net.neurons], logits)


def _fire(found: Dynamics, x: np.ndarray, levels: int) -> np.ndarray:
    v, i, late = np.zeros_like(x[:, 0]) + found.v0, np.zeros_like(x[:, 0]), 0.0
    spikes = np.empty(x.shape)
    for t in range(x.shape[1]):
        i = x[:, t] if found.decay is None else found.decay * i + x[:, t]
        v = found.leak * v + found.gain * i + found.offset - late
        if found.floor is not None:
            v = np.maximum(v, found.floor)
        k = np.clip(np.floor(v / found.threshold), 0, levels)
        if found.reset == "subtract-late":
            late = k * found.threshold
        elif found.reset == "value":
            v = np.where(k > 0, found.v_reset, v)
        else:
            v = v - k * found.threshold
        spikes[:, t] = k
    return spikes


def _function(rules: Rules, node: Node, x: np.ndarray) -> np.ndarray:
    values: dict[str, Any] = dict(node.values)
    match node.type:
        case "Linear" | "Affine":
            return np.asarray(x @ values["weight"].T + values.get("bias", 0.0))
        case "Scale":
            return np.asarray(x * values["scale"])
        case "Conv2d":
            return _convolve(x, values)
        case "SumPool2d" | "AvgPool2d":
            kernel, stride, padding = (
                _two(values[k]) for k in ("kernel_size", "stride", "padding")
            )
            found = reference.sliding_windows(x, kernel, stride, padding, (1, 1), 0)
            sums = found.sum((-2, -1))
            return np.asarray(sums / np.prod(kernel) if node.type == "AvgPool2d" else sums)
        case "Flatten":
            return x.reshape(*x.shape[:2], -1)
        case "Delay":
            steps = round(float(np.ravel(values["delay"])[0]) / rules.dt)
            return np.concatenate([np.zeros_like(x[:, :steps]), x], 1)[:, : x.shape[1]]
    return x


def _convolve(x: np.ndarray, values: dict[str, Any]) -> np.ndarray:
    weight, groups = values["weight"], int(np.ravel(values["groups"])[0])
    dilation, padding = _two(values["dilation"]), values["padding"]
    if isinstance(padding, str):
        spans = [d * (n - 1) // 2 for d, n in zip(dilation, weight.shape[2:], strict=True)]
        padding = spans if padding == "same" else (0, 0)
    kernel = (weight.shape[2], weight.shape[3])
    taps = reference.sliding_windows(x, kernel, _two(values["stride"]), _two(padding), dilation, 0)
    inputs, weights = np.split(taps, groups, axis=2), np.split(weight, groups)
    parts = [
        np.einsum("btcyxij,ocij->btoyx", i, w, optimize=True)
        for i, w in zip(inputs, weights, strict=True)
    ]
    return np.concatenate(parts, axis=2) + np.reshape(values["bias"], (-1, 1, 1))


def _two(value: Any) -> tuple[int, int]:
    flat = [int(n) for n in np.ravel(value)]
    return flat[0], flat[-1]
