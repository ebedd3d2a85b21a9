"""From a trained PyTorch model to a float `Network`: the same spikes, as plain data.

The body of a `SpikingModel` is traced with torch.fx and walked once. On the way every tensor is one of two things:

    Spikes     what a layer of the network puts out, k times an amplitude (θ, an average pooling's divisor)
    Current    a sum of synapses and a bias: what neurons or the read-out integrate

Convolutions and linear layers turn spikes into currents and take the amplitude into their weights, batch norm scales a
current, an addition joins the synapses of two currents, and neurons turn a current into spikes again.

A current that goes on past neurons, as in MS-ResNet, is no layer of a network. But synapses are linear: neurons under
x₀ + x₁ + ... read the synapses of all those currents, and a 1x1 convolution of a current joins each of its synapses. So the network
is exact, and the number of its synapses grows with the square of the number of blocks.
"""

from __future__ import annotations

import dataclasses
import operator
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import torch
from torch import Tensor, fx, nn

from lmht_deploy.errors import LoweringError, NetworkError
from lmht_deploy.ir import (
    Conv,
    Flatten,
    Input,
    Layer,
    Linear,
    MaxPool,
    Network,
    Neurons,
    Pair,
    Readout,
    Scale,
    Shape,
    SumPool,
    Synapse,
)

from .model import SpikingModel
from .neurons import Neuron


def lower(model: SpikingModel, input: Input) -> Network:
    """Float network that computes what `model` computes in evaluation mode, layer by layer.

    `input` says what enters: its name, shape, steps, range and kind. Layers are named by the paths of their modules in
    `model.body`. Weights are taken to float64 as they are; batch norm is folded with its running statistics. The read-out's
    scale is 1/T: logits times scale are the model's.

    Raises LoweringError, naming the module, for what a `Network` cannot express.
    """
    if not isinstance(model, SpikingModel):
        raise LoweringError(
            f"lowering takes a SpikingModel, not {type(model).__name__}; wrap the module: SpikingModel(module, steps_in)"
        )
    if input.steps != model.steps_in:
        raise LoweringError(f"the input has {input.steps} steps, the model takes {model.steps_in}")
    return _Lowering(_traced(model.body), input, model.input_scale).run()


# ------------------------------------------------------------------------------------------------ tracing


class _Tracer(fx.Tracer):
    """Sees whole neurons, and every module of PyTorch, as one operation."""

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return isinstance(m, Neuron) or super().is_leaf_module(m, module_qualified_name)


def _traced(body: nn.Module) -> fx.GraphModule:
    tracer = _Tracer()
    root = nn.Sequential(body) if tracer.is_leaf_module(body, "") else body
    try:
        return fx.GraphModule(root, tracer.trace(root))
    except Exception as error:  # tracing runs the user's forward, which may raise anything
        raise LoweringError(
            f"the model's body cannot be traced: {error}; its forward may not depend on the values of tensors"
        ) from error


# ------------------------------------------------------------------------------------------------ values


@dataclass(frozen=True)
class Spikes:
    """k of layer `source`, times `amplitude`: of `shape` (C, H, W) or (N,), over `steps` steps."""

    source: str
    amplitude: float
    shape: Shape
    steps: int


@dataclass(frozen=True)
class Current:
    """Σ synapses + `bias` [C], of `shape` over `steps` steps; `origin` is the path of the module that made it."""

    origin: str
    synapses: tuple[Synapse, ...]
    bias: np.ndarray
    shape: Shape
    steps: int


Value: TypeAlias = Spikes | Current


# ------------------------------------------------------------------------------------------------ walk


class _Lowering:
    def __init__(self, graph: fx.GraphModule, input: Input, input_scale: float) -> None:
        self._graph = graph
        self._modules = dict(graph.named_modules())
        self._layers: list[Layer] = [input]
        self._names = {input.name}
        self._values: dict[fx.Node, Value] = {}
        self._entrance = Spikes(input.name, input_scale, input.shape, input.steps)

    def run(self) -> Network:
        try:
            for node in self._graph.graph.nodes:
                if node.op == "output":
                    self._finish(node)
                else:
                    self._values[node] = self._lower(node)
            return Network(tuple(self._layers))
        except NetworkError as error:
            raise LoweringError(f"the lowered network is not valid: {error}") from None

    def _lower(self, node: fx.Node) -> Value:
        where = _where(node)
        match node.op:
            case "placeholder" if not self._values:
                return self._entrance
            case "call_module":
                module = self._modules[str(node.target)]
                handler = next(
                    (handle for kind, handle in _MODULES.items() if isinstance(module, kind)), None
                )
                if handler is None:
                    raise LoweringError(
                        f"{where}: {type(module).__name__} cannot be lowered; {_advice(type(module).__name__)}"
                    )
                return handler(self, where, module, *self._arguments(node, 1))
            case "call_function" if node.target in _ADDITIONS:
                return self._add(where, *self._arguments(node, 2))
            case "call_function" | "call_method" if node.target in (torch.flatten, "flatten"):
                (value,) = self._arguments(node, 1, more=True)
                return self._flatten(where, _FlattenArguments(*node.args[1:], **node.kwargs), value)  # type: ignore[arg-type]
        raise LoweringError(
            f"{where}: {_operation(node)} cannot be lowered; {_advice(_operation(node))}"
        )

    def _arguments(self, node: fx.Node, number: int, more: bool = False) -> list[Value]:
        """The first `number` arguments of `node` as values; LoweringError where they are none, or where there are others."""
        arguments = node.args[:number]
        if (
            len(arguments) < number
            or not all(isinstance(argument, fx.Node) for argument in arguments)
            or (not more and (node.args[number:] or node.kwargs))
        ):
            raise LoweringError(
                f"{_where(node)}: {_operation(node)} is lowered for {number} plain tensor{'s' * (number > 1)} of the network only"
            )
        return [self._values[argument] for argument in arguments]  # type: ignore[index]

    def _name(self, path: str) -> str:
        """`path` as the name of a layer; a module that is called again gets a number."""
        name, number = path, 1
        while name in self._names:
            number += 1
            name = f"{path}#{number}"
        self._names.add(name)
        return name

    # -- synapses

    def _conv(self, where: str, conv: nn.Conv2d, value: Value) -> Current:
        if (
            isinstance(value, Current)
            and len(value.shape) == 3
            and (conv.kernel_size, _padding(where, conv), conv.groups) == ((1, 1), (0, 0), 1)
        ):
            return _joined(where, conv, value)
        spikes = _spikes(where, "a convolution", value, 3)
        if conv.padding_mode != "zeros":
            raise LoweringError(
                f"{where}: padding_mode {conv.padding_mode!r} cannot be lowered; use 'zeros'"
            )
        synapse = Conv(
            source=spikes.source,
            weight=_array(conv.weight) * spikes.amplitude,
            stride=_pair(conv.stride),
            padding=_padding(where, conv),
            dilation=_pair(conv.dilation),
            groups=conv.groups,
        )
        return _current(where, synapse, conv.bias, spikes)

    def _linear(self, where: str, linear: nn.Linear, value: Value) -> Current:
        spikes = _spikes(where, "a linear layer", value, 1)
        return _current(
            where,
            Linear(source=spikes.source, weight=_array(linear.weight) * spikes.amplitude),
            linear.bias,
            spikes,
        )

    def _batch_norm(
        self, where: str, norm: nn.BatchNorm1d | nn.BatchNorm2d, value: Value
    ) -> Current:
        """y = γ·(x - μ) / √(σ² + ε) + β, as a factor and a summand for every channel of the current."""
        if norm.running_mean is None or norm.running_var is None:
            raise LoweringError(
                f"{where}: a batch norm without running statistics cannot be folded; use track_running_stats=True"
            )
        factor = 1 / np.sqrt(_array(norm.running_var) + norm.eps)
        factor = factor if norm.weight is None else factor * _array(norm.weight)
        current = _as_current(where, value)
        if current.shape[0] != norm.num_features:
            raise LoweringError(
                f"{where}: a batch norm of {norm.num_features} channels meets the {current.shape[0]} channels of {current.origin!r}"
            )
        bias = (current.bias - _array(norm.running_mean)) * factor
        bias = bias if norm.bias is None else bias + _array(norm.bias)
        return dataclasses.replace(
            current,
            origin=where,
            synapses=tuple(_scaled(synapse, factor) for synapse in current.synapses),
            bias=bias,
        )

    def _add(self, where: str, one: Value, other: Value) -> Current:
        a, b = _as_current(where, one), _as_current(where, other)
        if (a.shape, a.steps) != (b.shape, b.steps):
            raise LoweringError(
                f"{where}: an addition joins currents of one shape, not {a.shape} in {a.steps} steps ({a.origin}) and {b.shape} in {b.steps} steps ({b.origin})"
            )
        return Current(where, a.synapses + b.synapses, a.bias + b.bias, a.shape, a.steps)

    # -- layers

    def _neurons(self, where: str, neuron: Neuron, value: Value) -> Spikes:
        current = _as_current(where, value)
        if current.steps != neuron.steps_in:
            raise LoweringError(
                f"{where}: neurons that take {neuron.steps_in} input steps meet {current.steps} steps"
            )
        theta = float(_array(neuron.threshold))
        if theta <= 0:
            raise LoweringError(f"{where}: the threshold must be positive, not {theta}")
        channels = (current.shape[0],)
        layer = Neurons(
            name=self._name(where),
            synapses=current.synapses,
            bias=current.bias,
            threshold=np.full(channels, theta),
            omega=_array(neuron.omega),
            leak=float(_array(neuron.leak)),
            v0=np.full(channels, float(_array(neuron.v0))),
            levels=neuron.levels,
        )
        self._layers.append(layer)
        return Spikes(layer.name, theta, current.shape, neuron.steps)

    def _average_pool(self, where: str, pool: nn.AvgPool2d, value: Value) -> Spikes:
        kernel, padding = _pair(pool.kernel_size), _pair(pool.padding)
        if padding != (0, 0) and not pool.count_include_pad and pool.divisor_override is None:
            raise LoweringError(
                f"{where}: an average whose divisor changes at the border cannot be lowered; use count_include_pad=True or padding=0"
            )
        return self._sum_pool(
            where, kernel, _pair(pool.stride), padding, pool.divisor_override, pool.ceil_mode, value
        )

    def _adaptive_pool(self, where: str, pool: nn.AdaptiveAvgPool2d, value: Value) -> Spikes:
        size = _spikes(where, "a pooling", value, 3).shape[1:]
        out = tuple(
            n if o is None else o for n, o in zip(size, _pair(pool.output_size), strict=True)
        )
        if any(n % o for n, o in zip(size, out, strict=True)):
            raise LoweringError(
                f"{where}: windows of different sizes ({size} to {out}) cannot be lowered; choose an output size that divides the input's"
            )
        kernel = (size[0] // out[0], size[1] // out[1])
        return self._sum_pool(where, kernel, kernel, (0, 0), None, False, value)

    def _sum_pool(
        self,
        where: str,
        kernel: Pair,
        stride: Pair,
        padding: Pair,
        divisor: int | None,
        ceil: bool,
        value: Value,
    ) -> Spikes:
        spikes = self._pool(where, SumPool, kernel, stride, padding, ceil, value)
        return dataclasses.replace(
            spikes, amplitude=spikes.amplitude / (divisor or kernel[0] * kernel[1])
        )

    def _max_pool(self, where: str, pool: nn.MaxPool2d, value: Value) -> Spikes:
        if _pair(pool.dilation) != (1, 1) or pool.return_indices:
            raise LoweringError(
                f"{where}: a max pooling is lowered without dilation and without indices only"
            )
        return self._pool(
            where,
            MaxPool,
            _pair(pool.kernel_size),
            _pair(pool.stride),
            _pair(pool.padding),
            pool.ceil_mode,
            value,
        )

    def _pool(
        self,
        where: str,
        kind: type[SumPool] | type[MaxPool],
        kernel: Pair,
        stride: Pair,
        padding: Pair,
        ceil: bool,
        value: Value,
    ) -> Spikes:
        spikes = _spikes(where, "a pooling", value, 3)
        if ceil:
            raise LoweringError(f"{where}: ceil_mode=True cannot be lowered; use ceil_mode=False")
        layer = kind(
            name=self._name(where),
            source=spikes.source,
            kernel=kernel,
            stride=stride,
            padding=padding,
        )
        self._layers.append(layer)
        return dataclasses.replace(
            spikes, source=layer.name, shape=layer.output_shape(spikes.shape)
        )

    def _flatten_module(self, where: str, flatten: nn.Flatten, value: Value) -> Spikes:
        return self._flatten(where, _FlattenArguments(flatten.start_dim, flatten.end_dim), value)

    def _flatten(self, where: str, arguments: _FlattenArguments, value: Value) -> Spikes:
        spikes = _spikes(where, "a flatten", value)
        if arguments.start_dim != 1 or arguments.end_dim not in (-1, len(spikes.shape)):
            raise LoweringError(
                f"{where}: a flatten keeps the first dimension and joins all others; use start_dim=1, end_dim=-1"
            )
        if len(spikes.shape) == 1:
            return spikes
        layer = Flatten(name=self._name(where), source=spikes.source)
        self._layers.append(layer)
        return dataclasses.replace(
            spikes, source=layer.name, shape=layer.output_shape(spikes.shape)
        )

    def _unchanged(self, where: str, module: nn.Module, value: Value) -> Value:
        return value

    def _finish(self, node: fx.Node) -> None:
        value = self._values.get(node.args[0])  # type: ignore[arg-type]
        if not isinstance(value, Current) or len(value.shape) != 1:
            raise LoweringError(
                "the model's body must end in the currents of a linear layer, the logits"
            )
        self._layers.append(
            Readout(
                name=self._name(value.origin),
                synapses=value.synapses,
                bias=value.bias,
                scale=1 / value.steps,
            )
        )


@dataclass(frozen=True)
class _FlattenArguments:
    start_dim: int = 0
    end_dim: int = -1


_MODULES: dict[type[nn.Module], Callable[..., Value]] = {
    Neuron: _Lowering._neurons,
    nn.Conv2d: _Lowering._conv,
    nn.Linear: _Lowering._linear,
    nn.BatchNorm1d: _Lowering._batch_norm,
    nn.BatchNorm2d: _Lowering._batch_norm,
    nn.AvgPool2d: _Lowering._average_pool,
    nn.AdaptiveAvgPool2d: _Lowering._adaptive_pool,
    nn.MaxPool2d: _Lowering._max_pool,
    nn.Flatten: _Lowering._flatten_module,
    nn.Identity: _Lowering._unchanged,
    nn.Dropout: _Lowering._unchanged,
    nn.Dropout2d: _Lowering._unchanged,
}

_ADDITIONS = (operator.add, operator.iadd, torch.add)

_CAN_BE_LOWERED = (
    f"what can be are {', '.join(kind.__name__ for kind in _MODULES)} and the addition of currents"
)


# ------------------------------------------------------------------------------------------------ helpers


def _where(node: fx.Node) -> str:
    """Dotted path of the module that `node` calls, or of the one whose forward it stands in."""
    if node.op == "call_module":
        return str(node.target)
    stack = node.meta.get("nn_module_stack")
    path = next(reversed(stack)) if stack else ""
    return f"{path}.{node.name}" if path else node.name


def _operation(node: fx.Node) -> str:
    return getattr(node.target, "__name__", str(node.target))


def _advice(operation: str) -> str:
    if operation.lower().replace("_", "") in (
        "relu",
        "relu6",
        "leakyrelu",
        "gelu",
        "silu",
        "sigmoid",
        "tanh",
        "hardtanh",
    ):
        return "an activation becomes spiking neurons (training.neurons.LMHT, or QCFS for a quantised activation)"
    if operation in ("view", "reshape", "size", "getattr"):
        return "maps are flattened by nn.Flatten() or torch.flatten(x, 1)"
    return _CAN_BE_LOWERED


def _spikes(where: str, what: str, value: Value, ndim: int | None = None) -> Spikes:
    if isinstance(value, Current):
        raise LoweringError(
            f"{where}: {what} reads the current of {value.origin!r}, not spikes; put neurons between the two"
        )
    if ndim == 3 and len(value.shape) != 3:
        raise LoweringError(f"{where}: {what} reads maps (C, H, W), not the flat {value.source!r}")
    if ndim == 1 and len(value.shape) != 1:
        raise LoweringError(
            f"{where}: {what} reads flat spikes, not {value.source!r} of shape {value.shape}; put a Flatten between the two"
        )
    return value


def _as_current(where: str, value: Value) -> Current:
    """Spikes that are added or enter neurons directly: an identity synapse, one weight a channel."""
    if isinstance(value, Current):
        return value
    channels = value.shape[0]
    identity = Scale(source=value.source, weight=np.full(channels, value.amplitude))
    return Current(where, (identity,), np.zeros(channels), value.shape, value.steps)


def _current(where: str, synapse: Conv | Linear, bias: Tensor | None, spikes: Spikes) -> Current:
    try:
        shape = synapse.output_shape(spikes.shape)
    except NetworkError as error:
        raise LoweringError(f"{where}: {error}") from None
    return Current(
        where, (synapse,), np.zeros(shape[0]) if bias is None else _array(bias), shape, spikes.steps
    )


def _joined(where: str, conv: nn.Conv2d, current: Current) -> Current:
    """A 1x1 convolution P of stride s over a current: W ∗ k becomes (P·W) ∗ k with s times the stride, and the bias b, P·b."""
    weight, stride = _array(conv.weight)[:, :, 0, 0], _pair(conv.stride)
    if current.shape[0] != weight.shape[1]:
        raise LoweringError(
            f"{where}: a convolution of {weight.shape[1]} channels meets the {current.shape[0]} channels of {current.origin!r}"
        )
    synapses = []
    for synapse in current.synapses:
        match synapse:
            case Conv(groups=1):
                strides = (synapse.stride[0] * stride[0], synapse.stride[1] * stride[1])
                synapses.append(
                    dataclasses.replace(
                        synapse,
                        weight=np.einsum("om,m...->o...", weight, synapse.weight),
                        stride=strides,
                    )
                )
            case Scale():
                synapses.append(
                    Conv(
                        source=synapse.source,
                        weight=(weight * synapse.weight)[:, :, None, None],
                        stride=stride,
                    )
                )
            case _:
                raise LoweringError(
                    f"{where}: a 1x1 convolution joins convolutions without groups and spikes, not the others of {current.origin!r}"
                )
    bias = weight @ current.bias + (0 if conv.bias is None else _array(conv.bias))
    height, width = ((n - 1) // s + 1 for n, s in zip(current.shape[1:], stride, strict=True))
    return Current(where, tuple(synapses), bias, (len(weight), height, width), current.steps)


def _scaled(synapse: Synapse, factor: np.ndarray) -> Synapse:
    """`synapse` with the weights of every output channel times `factor` [C]."""
    return dataclasses.replace(
        synapse, weight=synapse.weight * factor.reshape(-1, *(1,) * (synapse.weight.ndim - 1))
    )


def _padding(where: str, conv: nn.Conv2d) -> Pair:
    """Padding (vertical, horizontal) of a convolution, where it may be 'valid' or 'same'."""
    if not isinstance(conv.padding, str):
        return _pair(conv.padding)
    if conv.padding == "valid":
        return 0, 0
    spans = [
        dilation * (kernel - 1)
        for dilation, kernel in zip(_pair(conv.dilation), _pair(conv.kernel_size), strict=True)
    ]
    if any(span % 2 for span in spans):
        raise LoweringError(
            f"{where}: padding 'same' of an even kernel pads its two sides differently, which cannot be lowered; use an odd kernel"
        )
    return spans[0] // 2, spans[1] // 2


def _pair(value: Any) -> Any:
    return tuple(value) if isinstance(value, Sequence) else (value, value)


def _array(tensor: Tensor) -> np.ndarray:
    return tensor.detach().cpu().to(torch.float64).numpy()
