"""NIR: a graph of any framework as a float `Network` with the same spikes.

A graph of NIR has differential equations and no steps. The profile of the framework says which
discrete equations it stands for, see `_dynamics`. One pass over the graph, in topological order,
turns every node into spikes or a current (`lmht_deploy._currents`). Synaptic currents of CubaLIF
neurons and delays become T-GIMs: with a decay a and a delay of d steps,

    Ω[t, j] = a^(t - d - j)        for j <= t - d, otherwise 0

At the end, the graph and the network run on probe windows, and every layer must agree.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any, cast

import numpy as np

from lmht_deploy._arguments import INTEGER, check_types, is_real
from lmht_deploy._currents import (
    Current,
    Part,
    Spikes,
    Value,
    added,
    as_current,
    convolved,
    multiplied,
    projected,
    require_spikes,
    scaled,
)
from lmht_deploy.errors import LoweringError, NetworkError, counted, show
from lmht_deploy.formats.nir import Graph, Node, graph_from_dict, read_nir
from lmht_deploy.formats.nir_network import FORMAT
from lmht_deploy.ir import (
    Flatten,
    Input,
    Layer,
    Network,
    Neurons,
    Pair,
    Readout,
    Shape,
    SumPool,
)

from ._dynamics import NEURONS, Dynamics, ProfileName, Reset, Rules, rules
from ._interpreter import require_agreement
from ._order import in_order

METADATA, SEPARATOR = "nir", "; "
"""Key of the metadata that states what was assumed, and what separates its parts."""
MAX_STEPS = 4096
"""Largest number of steps: a T-GIM has the square of it."""
UNSUPPORTED = {
    "Conv1d": "use Conv2d with a height of 1",
    "I": "a network ends in a linear layer or in neurons that fire",
    "LI": "a network ends in a linear layer or in neurons that fire",
    "CubaLI": "a network ends in a linear layer or in neurons that fire",
}
"""What to use in place of nodes that a network cannot express."""


@check_types(LoweringError, still=bool, verify=bool)
def from_nir(
    source: Any,
    *,
    steps: int,
    profile: ProfileName = "nir",
    dt: float | None = None,
    reset: Reset | None = None,
    max_spikes: int | None = None,
    floor: float | None = None,
    max_value: int = 255,
    input_scale: float = 1.0,
    still: bool = False,
    verify: bool = True,
) -> Network:
    """Read a graph of NIR as a float network with the same spikes.

    Args:
        source: A `.nir` file, or a graph of the package `nir`.
        steps: T, number of time-steps per window.
        profile: Framework that wrote the graph. It determines the discretization and the defaults
            of the options below.
        dt: Step, in the unit of the time constants of the graph.
        reset: What a spike does to the potential; None: what the profile says.
        max_spikes: L, largest number of spikes of a neuron per step.
        floor: Lower bound of the potentials, at most 0, such as min_v_mem of sinabs; None for none.
        max_value: Largest input value.
        input_scale: Real value of one unit of the input.
        still: Whether the input is one image, which enters at every step.
        verify: Whether to compare the network with the graph, on four windows.

    Returns:
        The float network. Its metadata states under `nir` what was assumed for the step, the reset
        and the discretization, separated by "; ".

    Raises:
        LoweringError: A node that a network cannot express exactly; the message names it.
        StorageError: The file is missing or damaged.

    Example:
        >>> net = lmht.quantize(lmht.from_nir("net.nir", steps=16, profile="sinabs"))
    """
    graph = _graph(source)
    if graph.metadata.get("format") == FORMAT:
        raise LoweringError(
            "the graph holds a network of lmht-deploy with all of its integers; run the file as it "
            "is, or read it with lmht_deploy.load"
        )
    if not isinstance(steps, INTEGER) or isinstance(steps, bool) or not 1 <= steps <= MAX_STEPS:
        raise LoweringError(f"steps must be an integer of 1 to {MAX_STEPS}, not {show(steps)}")
    assumed = rules(profile, dt, reset, max_spikes, floor)
    pass_ = _Import(graph, assumed, int(steps))
    try:
        net = pass_.run(max_value, input_scale, still)
    except NetworkError as error:
        raise LoweringError(f"the graph is no valid network: {error}") from None
    if verify:
        require_agreement(graph, assumed, net, input_scale)
    notes = SEPARATOR.join(_notes(assumed, graph, still))
    return dataclasses.replace(net, metadata={METADATA: notes})


def _graph(source: Any) -> Graph:
    if isinstance(source, Graph):
        return source
    if hasattr(source, "to_dict"):
        return graph_from_dict(source.to_dict())
    if not isinstance(source, str | Path):
        raise LoweringError(f"a .nir file or a graph of NIR is needed, not {show(source)}")
    return read_nir(source)


def _notes(assumed: Rules, graph: Graph, still: bool) -> tuple[str, ...]:
    kinds = {node.type for node in graph.nodes.values()}
    found = [f"profile {assumed.name}", f"dt = {assumed.dt:g}"]
    if kinds & {"LIF", "CubaLIF"}:
        found.append(assumed.profile.rule)
    resets = {assumed.reset_of(n) for n in graph.nodes.values() if n.type in NEURONS[:-1]}
    if resets:
        late = "subtract-late (equal to subtract without a leak)"
        found.append("reset " + ", ".join(late if r == "subtract-late" else r for r in resets))
    found += [] if assumed.floor is None else [f"no potential below {assumed.floor:g}"]
    found.append(f"at most {counted(assumed.max_spikes, 'spike')} per step")
    found += ["one image enters at every step"] if still else []
    return (*found, *assumed.profile.notes)


# ------------------------------------------------------------------------------------------ pass


@dataclass(frozen=True)
class _Signal:
    """What leaves a node.

    Attributes:
        value: Spikes or a current.
        delay: Steps by which it is delayed.
    """

    value: Value
    delay: int = 0


class _Import:
    """One pass over a graph."""

    def __init__(self, graph: Graph, assumed: Rules, steps: int) -> None:
        self._graph, self._rules, self._steps = graph, assumed, steps
        self._layers: list[Layer] = []
        self._signals: dict[str, _Signal] = {}

    def run(self, max_value: int, input_scale: float, still: bool) -> Network:
        """Return the network."""
        order, reads = in_order(self._graph)
        for name in order:
            node = self._graph.nodes[name]
            if node.type == "Input":
                self._enter(name, node, max_value, input_scale, still)
            elif node.type == "Output":
                self._finish(name, self._sum(name, reads[name]))
            else:
                self._signals[name] = self._node(name, node, self._sum(name, reads[name]))
        return Network(tuple(self._layers))

    def _enter(self, name: str, node: Node, high: int, scale: float, still: bool) -> None:
        sizes = np.ravel(cast(np.ndarray, node.values["shape"]))
        shape = tuple(int(n) for n in sizes)
        if (sizes != shape).any():
            raise LoweringError(f"{name}: the shape must hold integers, not {show(sizes)}")
        if len(shape) in (2, 4) and shape[0] == 1:  # a batch of one, which some frameworks write
            shape = shape[1:]
        if not is_real(scale) or scale <= 0:
            raise LoweringError(f"the scale of the input must be positive, not {show(scale)}")
        steps = 1 if still else self._steps
        kind = "image" if still else "events"
        layer = Input(name=name, shape=shape, steps=steps, max_value=high, kind=kind)  # type: ignore[arg-type]
        self._layers.append(layer)
        self._signals[name] = _Signal(Spikes((Part(name, float(scale), layer.shape),), steps))

    def _sum(self, where: str, names: list[str]) -> _Signal:
        """Return the sum of what enters a node."""
        signals = [self._signals[name] for name in names]
        value, delays = signals[0].value, {signal.delay for signal in signals}
        if len(delays) > 1:
            raise LoweringError(
                f"{where}: currents of different delays are added: {sorted(delays)} steps; use the "
                "same delay on every way to this node"
            )
        for signal in signals[1:]:
            value = added(where, value, signal.value)
        return _Signal(value, delays.pop())

    def _node(self, where: str, node: Node, signal: _Signal) -> _Signal:
        if node.type in UNSUPPORTED:
            raise LoweringError(
                f"{where}: {node.type} cannot be expressed by a network; {UNSUPPORTED[node.type]}"
            )
        if node.type in NEURONS:
            return _Signal(self._neurons(where, node, signal))
        if node.type == "Delay":
            return _Signal(signal.value, signal.delay + self._delay(where, node))
        value = _FUNCTIONS[node.type](self, where, node, signal.value)
        if signal.delay and isinstance(value, Current) and value.bias.any():
            raise LoweringError(
                f"{where}: a bias after a delay cannot be expressed; use a Linear node, which has "
                "no bias, or a bias of 0"
            )
        return _Signal(value, signal.delay)

    def _delay(self, where: str, node: Node) -> int:
        found = np.unique(np.asarray(node.values["delay"], float) / self._rules.dt)
        steps = np.rint(found)
        if len(found) != 1 or not 0 <= found[0] <= MAX_STEPS or abs(found - steps)[0] > 1e-6:
            raise LoweringError(
                f"{where}: the delay must be the same whole number of steps, up to {MAX_STEPS}, "
                f"for all, not {found[:3]}"
            )
        return int(steps[0])

    # -- synapses and functions of spikes

    def _identity(self, where: str, node: Node, value: Value) -> Value:
        return value

    def _linear(self, where: str, node: Node, value: Value) -> Value:
        weight = cast(np.ndarray, node.values["weight"]).astype(float)
        if weight.ndim != 2:
            raise LoweringError(f"{where}: the weight must be a matrix, not {weight.shape}")
        return multiplied(where, value, weight, self._bias(where, node, len(weight)))

    def _bias(self, where: str, node: Node, size: int) -> np.ndarray:
        bias = np.asarray(node.values.get("bias", np.zeros(size)), float)
        if bias.shape != (size,):
            raise LoweringError(f"{where}: the bias has the shape {bias.shape}, not ({size},)")
        return bias

    def _conv(self, where: str, node: Node, value: Value) -> Value:
        weight = cast(np.ndarray, node.values["weight"]).astype(float)
        if weight.ndim != 4:
            raise LoweringError(f"{where}: the weight must have 4 dimensions, not {weight.shape}")
        stride, dilation = (_pair(where, key, node) for key in ("stride", "dilation"))
        padding = _padding(where, node, weight.shape[2:], stride, dilation)
        groups, bias = _integer(where, "groups", node), self._bias(where, node, len(weight))
        pointwise = (weight.shape[2:], padding, groups) == ((1, 1), (0, 0), 1)
        if isinstance(value, Current) and pointwise:
            return projected(where, weight[:, :, 0, 0], bias, stride, value)
        options = {"stride": stride, "padding": padding, "dilation": dilation, "groups": groups}
        return convolved(where, value, weight, bias, options)

    def _scale(self, where: str, node: Node, value: Value) -> Value:
        current = as_current(where, value)
        factor = _per_channel(where, "scale", node.values["scale"], current.shape)
        synapses = tuple(scaled(synapse, factor) for synapse in current.synapses)
        return dataclasses.replace(
            current, origin=where, synapses=synapses, bias=current.bias * factor
        )

    def _pool(self, where: str, node: Node, value: Value) -> Value:
        spikes = require_spikes(where, "a pooling", value, 3)
        kernel, stride, padding = (
            _pair(where, key, node) for key in ("kernel_size", "stride", "padding")
        )
        (part,) = spikes.parts
        layer = SumPool(
            name=where, source=part.source, kernel=kernel, stride=stride, padding=padding
        )
        self._layers.append(layer)
        shape = layer.output_shape(part.shape)
        share = 1 / prod(kernel) if node.type == "AvgPool2d" else 1.0
        return Spikes((Part(where, part.amplitude * share, shape),), spikes.steps)

    def _flatten(self, where: str, node: Node, value: Value) -> Value:
        start, end = (_integer(where, key, node) for key in ("start_dim", "end_dim"))
        last = len(value.shape) - 1
        # Some frameworks count the batch as the first dimension.
        if start not in (0, 1) or end not in (-1, last, last + start):
            raise LoweringError(f"{where}: a flatten must join all dimensions, not {start}..{end}")
        if len(value.shape) == 1:
            return value
        return self._flat(where, value)

    def _flat(self, name: str, value: Value) -> Spikes:
        spikes = require_spikes(name, "a flatten", value)
        (part,) = spikes.parts
        self._layers.append(Flatten(name=name, source=part.source))
        return Spikes((Part(name, part.amplitude, (prod(part.shape),)),), spikes.steps)

    # -- neurons

    def _neurons(self, where: str, node: Node, signal: _Signal) -> Spikes:
        current = as_current(where, signal.value)
        found = self._rules.dynamics(where, node)
        leak = _one(where, "leak", found.leak)
        levels = 1 if node.type == "Threshold" else self._rules.max_spikes
        per = {
            key: _per_channel(where, key, getattr(found, key), current.shape)
            for key in ("gain", "offset", "threshold", "v0", "v_reset")
        }
        floor = None if found.floor is None else np.full(current.shape[0], found.floor)
        if found.reset == "value":
            floor = _from_reset(where, per, leak, levels, floor)
        if per["offset"].any() and (found.decay is not None or signal.delay):
            raise LoweringError(
                f"{where}: a v_leak that is not 0 cannot be expressed together with a synaptic "
                "current or a delay; use v_leak = 0, or neither of the two"
            )
        layer = Neurons(
            name=where,
            synapses=tuple(scaled(synapse, per["gain"]) for synapse in current.synapses),
            bias=current.bias * per["gain"] + per["offset"],
            threshold=per["threshold"],
            omega=self._omega(where, found, signal.delay, current.steps),
            leak=leak,
            v0=per["v0"],
            levels=levels,
            reset="zero" if found.reset == "value" else found.reset,
            floor=floor,
        )
        self._layers.append(layer)
        return Spikes((Part(where, 1.0, current.shape),), self._steps)

    def _omega(self, where: str, found: Dynamics, delay: int, steps: int) -> np.ndarray:
        """Return the T-GIM; one column, the sum of all, if one image enters at every step."""
        lag = np.subtract.outer(np.arange(self._steps), np.arange(self._steps)) - delay
        omega = (lag == 0).astype(float)
        if found.decay is not None:
            decay = _one(where, "decay of the synaptic current", found.decay)
            omega = np.where(lag >= 0, decay ** np.maximum(lag, 0), 0.0)
        summed: np.ndarray = omega.sum(1, keepdims=True)
        return omega if steps == self._steps else summed

    def _finish(self, name: str, signal: _Signal) -> None:
        """Add the read-out, whose logits are the mean of the outputs over all steps."""
        value = signal.value
        if signal.delay:
            raise LoweringError(
                f"{name}: a delay before the output cannot be expressed; put it before neurons"
            )
        if isinstance(value, Spikes) and len(value.shape) == 3:
            value = self._flat(f"{name}.flatten", value)
        current = as_current(name, value)
        self._layers.append(
            Readout(
                name=name,
                synapses=current.synapses,
                bias=current.bias,
                scale=1 / current.steps,
            )
        )


_FUNCTIONS: Mapping[str, Callable[[_Import, str, Node, Value], Value]] = {
    "Identity": _Import._identity,
    "Linear": _Import._linear,
    "Affine": _Import._linear,
    "Conv2d": _Import._conv,
    "Scale": _Import._scale,
    "SumPool2d": _Import._pool,
    "AvgPool2d": _Import._pool,
    "Flatten": _Import._flatten,
}
"""Nodes that read spikes or a current, and return one."""


# ---------------------------------------------------------------------------------------- values


def _from_reset(
    where: str, per: dict[str, np.ndarray], leak: float, levels: int, floor: np.ndarray | None
) -> np.ndarray | None:
    """Count potentials from the value r that spikes set them to, so that this value is 0.

    With v = u + r, the equation v = λ·v + I + c is u = λ·u + I + c - (1 - λ)·r.

    Returns:
        The floor, counted in the same way.
    """
    r = per["v_reset"]
    if levels > 1 and r.any():
        raise LoweringError(
            f"{where}: a reset to a value other than 0 needs neurons that fire one spike per step, "
            f"not up to {levels}; set the largest number of spikes to 1"
        )
    if (r >= per["threshold"]).any() or (floor is not None and (r < floor).any()):
        raise LoweringError(
            f"{where}: v_reset {r.min():.4g} to {r.max():.4g} must be below the threshold, and not "
            f"below the floor"
        )
    per |= {"threshold": per["threshold"] - r, "v0": per["v0"] - r}
    per |= {"offset": per["offset"] - (1 - leak) * r}
    return None if floor is None else floor - r


def _one(where: str, what: str, values: np.ndarray) -> float:
    found = np.unique(values)
    if len(found) != 1:
        raise LoweringError(
            f"{where}: the {what} must be the same for all neurons of a layer, not "
            f"{found[0]:.4g} to {found[-1]:.4g}; train with one value per layer, or divide the "
            "node into one node per value"
        )
    return float(found[0])


def _per_channel(where: str, what: str, values: Any, shape: Shape) -> np.ndarray:
    """Return one value per channel of what is stated for all, per channel or per neuron."""
    array = np.asarray(values, float)
    if array.size == 1:
        return np.full(shape[0], float(array.reshape(())))
    if array.ndim == len(shape) + 1 and array.shape[0] == 1:
        array = array.reshape(array.shape[1:])
    fits = array.ndim == len(shape) and all(
        n in (1, m) for n, m in zip(array.shape, shape, strict=True)
    )
    if not fits or array.shape[0] != shape[0]:
        raise LoweringError(
            f"{where}: {what} has the shape {array.shape} for neurons {shape}; it must be one "
            "number, one per channel or one per neuron"
        )
    flat = array.reshape(len(array), -1)
    if (flat != flat[:, :1]).any():
        raise LoweringError(
            f"{where}: {what} differs within a channel, which a network cannot express; use one "
            "value per channel, or a dense layer, where each neuron is a channel"
        )
    first: np.ndarray = flat[:, 0]
    return first


def _integer(where: str, key: str, node: Node) -> int:
    value = node.values[key]
    if isinstance(value, str) or value.size != 1 or value.dtype.kind != "i":
        raise LoweringError(f"{where}: {key} must be one integer, not {show(value)}")
    return int(value.reshape(()))


def _pair(where: str, key: str, node: Node) -> Pair:
    value = node.values[key]
    if isinstance(value, str) or value.size not in (1, 2) or value.dtype.kind != "i":
        raise LoweringError(f"{where}: {key} must be one or two integers, not {show(value)}")
    flat = [int(n) for n in np.ravel(value)]
    return flat[0], flat[-1]


def _padding(where: str, node: Node, kernel: tuple[int, ...], stride: Pair, dilation: Pair) -> Pair:
    value = node.values["padding"]
    if not isinstance(value, str):
        return _pair(where, "padding", node)
    spans = [d * (k - 1) for d, k in zip(dilation, kernel, strict=True)]
    if value == "valid":
        return 0, 0
    # With a stride, frameworks pad in different ways: PyTorch refuses it, TensorFlow pads less.
    if value != "same" or any(span % 2 for span in spans) or stride != (1, 1):
        raise LoweringError(
            f"{where}: the padding {value!r} of a kernel of {kernel[0]} x {kernel[1]} with the "
            f"stride {stride} cannot be expressed; use 'valid', 'same' with an odd kernel and a "
            "stride of 1, or numbers"
        )
    return spans[0] // 2, spans[1] // 2
