"""From a trained PyTorch model to a float `Network` with the same spikes.

torch.fx traces the body of a `SpikingModel`, and one pass over the graph lowers it. During the pass
every tensor is one of two values:

    spikes     output of a layer: k times an amplitude (θ, the divisor of an average pooling)
    current    sum of synapses and a bias, which neurons or the read-out integrate

Convolutions and linear layers turn spikes into currents and take the amplitude into their weights.
Batch norm scales a current, an addition joins the synapses of two currents, and neurons turn a
current into spikes again.

A `Network` has no layers for currents that bypass neurons, as in MS-ResNet. But synapses are
linear: neurons that integrate x₀ + x₁ + ... read the synapses of all those currents, and a 1x1
convolution of a current is multiplied into each of its synapses. So the network is exact, and the
number of its synapses grows with the square of the number of blocks.
"""

from __future__ import annotations

import dataclasses
import operator
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias, cast

import numpy as np
import torch
from torch import Tensor, fx, nn
from torch.nn import functional

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

from ._preparation import evaluation_copy, require_spiking_model, unchanged, undisturbed
from ._verification import verify as _verify
from .model import SpikingModel
from .neurons import Neuron


def lower(model: SpikingModel, input: Input, *, verify: bool = True) -> Network:
    """Lower a model to the float network that computes the same in evaluation mode.

    Layers are named by the paths of their modules in `model.body`. Weights become float64. Batch
    norm is folded with its running statistics. The scale of the read-out is 1/T: its logits times
    the scale are those of the model.

    The model itself is not changed: a copy in float64 is lowered. At the end this copy and the
    network run on a few random windows, and every layer must agree.

    Args:
        model: Model to lower.
        input: Name, shape, steps, range and kind of the input.
        verify: Whether to compare the network with the model, on four windows. False saves this
            time for a huge model.

    Raises:
        LoweringError: A `Network` cannot express a part of the model, or the two differ; names the
            module.
    """
    _check(model, input)
    with undisturbed():
        copied = evaluation_copy(model)
        net = _Lowering(_trace(copied.body), input, copied.input_scale).run()
        if verify:
            _verify(copied, net)
    return net


def _check(model: SpikingModel, input: Input) -> None:
    require_spiking_model(model)
    if not isinstance(input, Input):
        raise LoweringError(f"the input must be an Input, not {type(input).__name__}")
    if input.steps != model.steps_in:
        raise LoweringError(f"the input has {input.steps} steps, the model needs {model.steps_in}")


# --------------------------------------------------------------------------------------- tracing


class _Proxy(fx.Proxy):
    """Tells `a += b`, which changes every other name of `a`, from `a = a + b`."""

    def __iadd__(self, other: Any) -> fx.Proxy:
        return self.tracer.create_proxy("call_function", operator.iadd, (self, other), {})


class _Tracer(fx.Tracer):
    """Traces neurons, modules of PyTorch and their subclasses as one operation.

    A subclass of a module without weights is traced if its forward is its own.
    """

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return (
            isinstance(m, _WITH_WEIGHTS)
            or _kind(m) is not None
            or super().is_leaf_module(m, module_qualified_name)
        )

    def proxy(self, node: fx.Node) -> fx.Proxy:
        return _Proxy(node, self)


def _trace(body: nn.Module) -> fx.GraphModule:
    tracer = _Tracer()
    root = nn.Sequential(body) if tracer.is_leaf_module(body, "") else body
    try:
        return fx.GraphModule(root, tracer.trace(root))
    except Exception as error:  # tracing runs the user's forward, which may raise anything
        raise LoweringError(
            f"the body of the model cannot be traced: {error}; "
            "its forward must not depend on the values of tensors"
        ) from error


# ---------------------------------------------------------------------------------------- values


@dataclass(frozen=True)
class _Spikes:
    """Output of a layer.

    Attributes:
        source: Name of the layer.
        amplitude: Real value of one spike.
        shape: (C, H, W) or (N,).
        steps: Number of steps.
    """

    source: str
    amplitude: float
    shape: Shape
    steps: int


@dataclass(frozen=True)
class _Current:
    """Σ synapses + bias.

    Attributes:
        origin: Path of the module that made it.
        synapses: Synapses from spikes.
        bias: float64 [C].
        shape: (C, H, W) or (N,).
        steps: Number of steps.
    """

    origin: str
    synapses: tuple[Synapse, ...]
    bias: np.ndarray
    shape: Shape
    steps: int


_Value: TypeAlias = _Spikes | _Current


@dataclass(frozen=True)
class _FlattenDims:
    start_dim: int = 0
    end_dim: int = -1


# ------------------------------------------------------------------------------------------ pass


class _Lowering:
    """One pass over a traced graph.

    Methods that handle a module take its path `where`, the module and its input.
    """

    def __init__(self, graph: fx.GraphModule, input: Input, input_scale: float) -> None:
        self._graph = graph
        self._modules = dict(graph.named_modules())
        self._layers: list[Layer] = [input]
        self._names = {input.name}
        self._values: dict[fx.Node, _Value] = {}
        self._storage: dict[fx.Node, fx.Node] = {}  # the node that made the memory of a tensor
        self._overwritten: dict[fx.Node, str] = {}  # tensors whose value is not known, by whom
        self._input = _Spikes(input.name, input_scale, input.shape, input.steps)

    def run(self) -> Network:
        try:
            for node in self._graph.graph.nodes:
                if node.op == "output":
                    self._finish(node)
                elif not (_is_size(node) or _is_batch(node)):
                    value = self._lower(node)
                    self._values[node] = value
                    self._share(node, value)
            return Network(tuple(self._layers))
        except NetworkError as error:
            raise LoweringError(f"the lowered network is not valid: {error}") from None

    def _lower(self, node: fx.Node) -> _Value:
        where = _where(node)
        match node.op:
            case "placeholder" if not self._values:
                return self._input
            case "call_module":
                return self._lower_module(node, where, self._modules[str(node.target)])
            case "call_function" | "call_method" if node.target in (*_ADDITIONS, *_IN_PLACE):
                return self._add(where, *self._arguments(node, 2))
            case "call_function" if node.target in _FUNCTIONS:
                return self._lower_function(node, where)
            case "call_method" if node.target in _RESHAPES and _joins(node):
                (value,) = self._arguments(node, 1, more=True)
                return self._flatten(where, _FlattenDims(1), value)
            case "call_function" | "call_method" if node.target in _FLATTENS:
                (value,) = self._arguments(node, 1, more=True)
                return self._flatten(where, _FlattenDims(*node.args[1:], **node.kwargs), value)  # type: ignore[arg-type]
        if node.op == "get_attr":
            raise LoweringError(
                f"{where}: reads the tensor {node.target!r}, which cannot be lowered; only "
                "layers may have weights"
            )
        raise _cannot_lower(where, _operation(node))

    def _lower_module(self, node: fx.Node, where: str, module: nn.Module) -> _Value:
        kind = _kind(module)
        if kind is None:
            raise _cannot_lower_module(where, module)
        return _MODULES[kind](self, where, module, *self._arguments(node, 1))

    def _lower_function(self, node: fx.Node, where: str) -> _Value:
        """Lower a function as the module with the same options."""
        kind, names = _FUNCTIONS[cast(Callable[..., Tensor], node.target)]
        (value,) = self._arguments(node, 1, more=True)
        options = dict(zip(names, node.args[1:], strict=False)) | node.kwargs
        if any(isinstance(option, fx.Node) for option in options.values()):
            raise LoweringError(f"{where}: the options of {_operation(node)} must be constants")
        if kind in (nn.Dropout, nn.Dropout2d) and options.pop("training", True):
            raise LoweringError(
                f"{where}: {_operation(node)} that is active in evaluation mode cannot be lowered; "
                "use training=self.training"
            )
        return _MODULES[kind](self, where, kind(**options), value)

    def _share(self, node: fx.Node, value: _Value) -> None:
        """Note whose memory `node` uses, and what an addition in place does to its other users."""
        shares = node.args and (_calls(node, *_VIEWS) or self._is_view_module(node))
        storage = self._storage[cast(fx.Node, node.args[0])] if shares else node
        self._storage[node] = storage
        if not _calls(node, *_IN_PLACE):
            return
        for other in [n for n, made in self._storage.items() if made is storage]:
            if self._values[other].shape == value.shape:
                self._values[other] = value
            else:
                self._overwritten[other] = _where(node)

    def _is_view_module(self, node: fx.Node) -> bool:
        module = self._modules[str(node.target)] if node.op == "call_module" else None
        return isinstance(module, _VIEW_MODULES)

    def _arguments(self, node: fx.Node, number: int, more: bool = False) -> list[_Value]:
        """The first `number` arguments of `node`, which must be tensors of the network.

        Other arguments are an error unless `more`.
        """
        arguments = node.args[:number]
        tensors = [a for a in arguments if isinstance(a, fx.Node) and a in self._values]
        if len(tensors) < number or (not more and (node.args[number:] or node.kwargs)):
            raise LoweringError(
                f"{_where(node)}: {_operation(node)} can be lowered only for {number} plain "
                f"tensor{'s' * (number > 1)} of the network"
            )
        for tensor in tensors:
            if tensor in self._overwritten:
                raise LoweringError(
                    f"{_where(node)}: reads a view of a tensor that the addition "
                    f"{self._overwritten[tensor]!r} changes in place; use a = a + b instead"
                )
        return [self._values[tensor] for tensor in tensors]

    def _name(self, path: str) -> str:
        """`path` as the name of a layer; a module that is called again gets a number."""
        name, number = path, 1
        while name in self._names:
            number += 1
            name = f"{path}#{number}"
        self._names.add(name)
        return name

    # -- synapses

    def _conv(self, where: str, conv: nn.Conv2d, value: _Value) -> _Current:
        if isinstance(value, _Current) and len(value.shape) == 3 and _is_pointwise(where, conv):
            return _join(where, conv, value)
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

    def _linear(self, where: str, linear: nn.Linear, value: _Value) -> _Current:
        spikes = _spikes(where, "a linear layer", value, 1)
        weight = _array(linear.weight) * spikes.amplitude
        return _current(where, Linear(source=spikes.source, weight=weight), linear.bias, spikes)

    def _batch_norm(
        self, where: str, norm: nn.BatchNorm1d | nn.BatchNorm2d, value: _Value
    ) -> _Current:
        """y = γ·(x - μ) / √(σ² + ε) + β, as a factor and an offset per channel of the current."""
        if norm.running_mean is None or norm.running_var is None:
            raise LoweringError(
                f"{where}: a batch norm without running statistics cannot be folded; "
                "use track_running_stats=True"
            )
        factor = 1 / np.sqrt(_array(norm.running_var) + norm.eps)
        factor = factor if norm.weight is None else factor * _array(norm.weight)
        current = _as_current(where, value)
        _check_channels(where, f"a batch norm of {norm.num_features}", norm.num_features, current)
        bias = (current.bias - _array(norm.running_mean)) * factor
        bias = bias if norm.bias is None else bias + _array(norm.bias)
        synapses = tuple(_scaled(synapse, factor) for synapse in current.synapses)
        return dataclasses.replace(current, origin=where, synapses=synapses, bias=bias)

    def _add(self, where: str, one: _Value, other: _Value) -> _Current:
        a, b = _as_current(where, one), _as_current(where, other)
        if (a.shape, a.steps) != (b.shape, b.steps):
            raise LoweringError(
                f"{where}: an addition needs currents of equal shapes and steps, not {a.shape} in "
                f"{a.steps} steps ({a.origin}) and {b.shape} in {b.steps} steps ({b.origin})"
            )
        return _Current(where, a.synapses + b.synapses, a.bias + b.bias, a.shape, a.steps)

    # -- layers

    def _neurons(self, where: str, neuron: Neuron, value: _Value) -> _Spikes:
        current = _as_current(where, value)
        if current.steps != neuron.steps_in:
            raise LoweringError(
                f"{where}: neurons with {neuron.steps_in} input steps receive {current.steps} steps"
            )
        theta = _scalar(where, "threshold", neuron.threshold)
        if theta <= 0:
            raise LoweringError(f"{where}: the threshold must be positive, not {theta}")
        channels = (current.shape[0],)
        layer = Neurons(
            name=self._name(where),
            synapses=current.synapses,
            bias=current.bias,
            threshold=np.full(channels, theta),
            omega=_array(neuron.omega),
            leak=_scalar(where, "leak", neuron.leak),
            v0=np.full(channels, _scalar(where, "initial potential", neuron.v0)),
            levels=neuron.levels,
        )
        self._layers.append(layer)
        return _Spikes(layer.name, theta, current.shape, neuron.steps)

    def _average_pool(self, where: str, pool: nn.AvgPool2d, value: _Value) -> _Spikes:
        kernel, stride, padding = (_pair(n) for n in (pool.kernel_size, pool.stride, pool.padding))
        if padding != (0, 0) and not pool.count_include_pad and pool.divisor_override is None:
            raise LoweringError(
                f"{where}: an average whose divisor changes at the border cannot be lowered; "
                "use count_include_pad=True or padding=0"
            )
        _check_ceil_mode(where, pool)
        spikes = self._pool(where, SumPool, kernel, stride, padding, value)
        return _divided(spikes, pool.divisor_override or kernel[0] * kernel[1])

    def _adaptive_pool(self, where: str, pool: nn.AdaptiveAvgPool2d, value: _Value) -> _Spikes:
        size = _spikes(where, "a pooling", value, 3).shape[1:]
        wanted = zip(size, _pair(pool.output_size), strict=True)
        out = tuple(n if o is None else o for n, o in wanted)
        if any(n % o for n, o in zip(size, out, strict=True)):
            raise LoweringError(
                f"{where}: pooling windows of different sizes ({size} to {out}) cannot be "
                "lowered; choose an output size that divides the input's"
            )
        kernel = (size[0] // out[0], size[1] // out[1])
        spikes = self._pool(where, SumPool, kernel, kernel, (0, 0), value)
        return _divided(spikes, kernel[0] * kernel[1])

    def _max_pool(self, where: str, pool: nn.MaxPool2d, value: _Value) -> _Spikes:
        if _pair(pool.dilation) != (1, 1) or pool.return_indices:
            raise LoweringError(
                f"{where}: a max pooling with dilation or with indices cannot be lowered"
            )
        _check_ceil_mode(where, pool)
        kernel, stride, padding = (_pair(n) for n in (pool.kernel_size, pool.stride, pool.padding))
        return self._pool(where, MaxPool, kernel, stride, padding, value)

    def _pool(
        self,
        where: str,
        kind: type[SumPool] | type[MaxPool],
        kernel: Pair,
        stride: Pair,
        padding: Pair,
        value: _Value,
    ) -> _Spikes:
        source = _spikes(where, "a pooling", value, 3).source
        layer = kind(
            name=self._name(where), source=source, kernel=kernel, stride=stride, padding=padding
        )
        return self._append(layer, value)

    def _flatten_module(self, where: str, flatten: nn.Flatten, value: _Value) -> _Spikes:
        return self._flatten(where, _FlattenDims(flatten.start_dim, flatten.end_dim), value)

    def _flatten(self, where: str, dims: _FlattenDims, value: _Value) -> _Spikes:
        spikes = _spikes(where, "a flatten", value)
        if dims.start_dim != 1 or dims.end_dim not in (-1, len(spikes.shape)):
            raise LoweringError(
                f"{where}: a flatten must keep the first dimension and join all others; "
                "use start_dim=1, end_dim=-1"
            )
        if len(spikes.shape) == 1:
            return spikes
        return self._append(Flatten(name=self._name(where), source=spikes.source), spikes)

    def _append(self, layer: SumPool | MaxPool | Flatten, value: _Value) -> _Spikes:
        """Add a layer without synapses, and return its output for the input `value`."""
        self._layers.append(layer)
        shape = layer.output_shape(value.shape)
        return dataclasses.replace(cast(_Spikes, value), source=layer.name, shape=shape)

    def _unchanged(self, where: str, module: nn.Module, value: _Value) -> _Value:
        return value

    def _finish(self, node: fx.Node) -> None:
        """Add the read-out."""
        value = self._values.get(cast(fx.Node, node.args[0]))
        if not isinstance(value, _Current) or len(value.shape) != 1:
            raise LoweringError(
                "the body of the model must end in a linear layer, whose output are the logits"
            )
        readout = Readout(
            name=self._name(value.origin),
            synapses=value.synapses,
            bias=value.bias,
            scale=1 / value.steps,
        )
        self._layers.append(readout)


_MODULES: dict[type[nn.Module], Callable[..., _Value]] = {
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

_WITH_WEIGHTS = (Neuron, nn.Conv2d, nn.Linear, nn.BatchNorm1d, nn.BatchNorm2d)

_VIEW_MODULES = (nn.Identity, nn.Dropout, nn.Dropout2d, nn.Flatten)
"""Modules whose output may share the memory of their input."""

_ADDITIONS = (operator.add, torch.add, "add")
_IN_PLACE = (operator.iadd, "add_")
_FLATTENS = (torch.flatten, "flatten")
_RESHAPES = ("view", "reshape")
_DROPOUTS = (functional.dropout, functional.dropout2d)
_VIEWS = (*_FLATTENS, *_IN_PLACE, *_RESHAPES, *_DROPOUTS)
"""Functions whose output may share the memory of their first argument."""

_DROPOUT_OPTIONS = ("p", "training", "inplace")
_POOL_OPTIONS = ("kernel_size", "stride", "padding")

_FUNCTIONS: dict[Callable[..., Tensor], tuple[type[nn.Module], tuple[str, ...]]] = {
    functional.dropout: (nn.Dropout, _DROPOUT_OPTIONS),
    functional.dropout2d: (nn.Dropout2d, _DROPOUT_OPTIONS),
    functional.adaptive_avg_pool2d: (nn.AdaptiveAvgPool2d, ("output_size",)),
    functional.avg_pool2d: (
        nn.AvgPool2d,
        (*_POOL_OPTIONS, "ceil_mode", "count_include_pad", "divisor_override"),
    ),
    functional.max_pool2d: (
        nn.MaxPool2d,
        (*_POOL_OPTIONS, "dilation", "ceil_mode", "return_indices"),
    ),
}
"""Functions, the modules with the same options, and the order of the options."""

_ACTIVATIONS = (
    "relu",
    "relu6",
    "leakyrelu",
    "gelu",
    "silu",
    "sigmoid",
    "tanh",
    "hardtanh",
)


# ---------------------------------------------------------------------------------------- checks


def _where(node: fx.Node) -> str:
    """Dotted path of the module that `node` calls, or of the module whose forward contains it."""
    if node.op == "call_module":
        return str(node.target)
    stack = node.meta.get("nn_module_stack")
    path = next(reversed(stack)) if stack else ""
    return f"{path}.{node.name}" if path else node.name


def _calls(node: fx.Node, *functions: object) -> bool:
    """Whether `node` calls one of these functions, or of the methods with these names."""
    return node.op in ("call_function", "call_method") and node.target in functions


def _is_size(node: fx.Node) -> bool:
    """Whether `node` is x.size() or x.shape."""
    method = _calls(node, "size") and len(node.args) == 1 and not node.kwargs
    return method or (_calls(node, getattr) and node.args[1] == "shape")


def _is_batch(node: object) -> bool:
    """Whether `node` is x.size(0), x.size()[0] or x.shape[0]: the first dimension of a tensor."""
    if not isinstance(node, fx.Node) or len(node.args) != 2 or node.args[1] != 0:
        return False
    of_size = isinstance(node.args[0], fx.Node) and _is_size(node.args[0])
    return _calls(node, "size") or (_calls(node, operator.getitem) and of_size)


def _joins(node: fx.Node) -> bool:
    """Whether a view or reshape joins all dimensions but the first: its size is (batch, -1)."""
    size = node.args[1:]
    size = tuple(size[0]) if len(size) == 1 and isinstance(size[0], Sequence) else size
    return len(size) == 2 and _is_batch(size[0]) and bool(size[1] == -1)


def _kind(module: nn.Module) -> type[nn.Module] | None:
    """The class in `_MODULES` whose computation `module` has."""
    for kind in _MODULES:
        if isinstance(module, kind) and unchanged(module, kind):
            return kind
    return None


def _cannot_lower_module(where: str, module: nn.Module) -> LoweringError:
    name = type(module).__name__
    for kind in _MODULES:
        if isinstance(module, kind):
            if name == kind.__name__ and type(module) is not kind:
                name = f"{type(module).__module__}.{name}"
            return LoweringError(
                f"{where}: {name} replaces the forward of {kind.__name__}, which cannot be "
                f"lowered; keep the forward of {kind.__name__}"
            )
    return _cannot_lower(where, name)


def _operation(node: fx.Node) -> str:
    return getattr(node.target, "__name__", str(node.target))


def _cannot_lower(where: str, operation: str) -> LoweringError:
    return LoweringError(f"{where}: {operation} cannot be lowered; {_advice(operation)}")


def _advice(operation: str) -> str:
    if operation.lower().replace("_", "") in _ACTIVATIONS:
        return (
            "replace activations by spiking neurons (lmht_deploy.training.LMHT, or QCFS for a "
            "quantized activation)"
        )
    if operation in ("view", "reshape", "size", "getattr"):
        return "flatten maps with nn.Flatten() or torch.flatten(x, 1)"
    kinds = ", ".join(kind.__name__ for kind in _MODULES)
    return f"use {kinds}, and the addition of currents"


def _spikes(where: str, what: str, value: _Value, ndim: int | None = None) -> _Spikes:
    """`value` as the spikes that the operation `what` reads, of `ndim` dimensions."""
    if isinstance(value, _Current):
        raise LoweringError(
            f"{where}: {what} reads the current of {value.origin!r}, not spikes; "
            "put neurons between the two"
        )
    if ndim == 3 and len(value.shape) != 3:
        raise LoweringError(f"{where}: {what} reads maps (C, H, W), not the flat {value.source!r}")
    if ndim == 1 and len(value.shape) != 1:
        raise LoweringError(
            f"{where}: {what} reads flat spikes, not {value.source!r} of shape {value.shape}; "
            "put a Flatten between the two"
        )
    return value


def _check_channels(where: str, what: str, channels: int, current: _Current) -> None:
    if current.shape[0] != channels:
        raise LoweringError(
            f"{where}: {what} channels receives the {current.shape[0]} channels of "
            f"{current.origin!r}"
        )


def _check_ceil_mode(where: str, pool: nn.AvgPool2d | nn.MaxPool2d) -> None:
    if pool.ceil_mode:
        raise LoweringError(f"{where}: ceil_mode=True cannot be lowered; use ceil_mode=False")


# -------------------------------------------------------------------------------------- currents


def _as_current(where: str, value: _Value) -> _Current:
    """Spikes that are added or enter neurons become an identity synapse, one weight per channel."""
    if isinstance(value, _Current):
        return value
    channels = value.shape[0]
    identity = Scale(source=value.source, weight=np.full(channels, value.amplitude))
    return _Current(where, (identity,), np.zeros(channels), value.shape, value.steps)


def _current(where: str, synapse: Conv | Linear, bias: Tensor | None, spikes: _Spikes) -> _Current:
    try:
        shape = synapse.output_shape(spikes.shape)
    except NetworkError as error:
        raise LoweringError(f"{where}: {error}") from None
    array = np.zeros(shape[0]) if bias is None else _array(bias)
    return _Current(where, (synapse,), array, shape, spikes.steps)


def _is_pointwise(where: str, conv: nn.Conv2d) -> bool:
    """Whether `conv` is 1x1, without padding and groups."""
    return (conv.kernel_size, _padding(where, conv), conv.groups) == ((1, 1), (0, 0), 1)


def _join(where: str, conv: nn.Conv2d, current: _Current) -> _Current:
    """Multiply a 1x1 convolution P of stride s into a current.

    Every synapse W ∗ k becomes (P·W) ∗ k with s times the stride, and the bias b becomes P·b.
    """
    weight, stride = _array(conv.weight)[:, :, 0, 0], _pair(conv.stride)
    channels = weight.shape[1]
    _check_channels(where, f"a convolution of {channels}", channels, current)
    synapses = []
    for synapse in current.synapses:
        if not isinstance(synapse, Scale) and not (
            isinstance(synapse, Conv) and synapse.groups == 1
        ):
            raise LoweringError(
                f"{where}: a 1x1 convolution of a current needs convolutions without groups and "
                f"spikes, not the others of {current.origin!r}"
            )
        synapses.append(_joined(weight, stride, synapse))
    bias = weight @ current.bias + (0 if conv.bias is None else _array(conv.bias))
    height, width = ((n - 1) // s + 1 for n, s in zip(current.shape[1:], stride, strict=True))
    return _Current(where, tuple(synapses), bias, (len(weight), height, width), current.steps)


def _joined(weight: np.ndarray, stride: Pair, synapse: Conv | Scale) -> Conv:
    """A 1x1 convolution of `weight` [C_out, C] and `stride` after `synapse`."""
    if isinstance(synapse, Scale):
        product = (weight * synapse.weight)[:, :, None, None]
        return Conv(source=synapse.source, weight=product, stride=stride)
    return dataclasses.replace(
        synapse,
        weight=np.einsum("om,m...->o...", weight, synapse.weight),
        stride=(synapse.stride[0] * stride[0], synapse.stride[1] * stride[1]),
    )


def _scaled(synapse: Synapse, factor: np.ndarray) -> Synapse:
    """`synapse` with the weights of every output channel times `factor` [C]."""
    per_channel = factor.reshape(-1, *(1,) * (synapse.weight.ndim - 1))
    return dataclasses.replace(synapse, weight=synapse.weight * per_channel)


def _divided(spikes: _Spikes, divisor: int) -> _Spikes:
    return dataclasses.replace(spikes, amplitude=spikes.amplitude / divisor)


# --------------------------------------------------------------------------------------- helpers


def _padding(where: str, conv: nn.Conv2d) -> Pair:
    """Padding (vertical, horizontal) of a convolution, also if it is 'valid' or 'same'."""
    if not isinstance(conv.padding, str):
        return _pair(conv.padding)
    if conv.padding == "valid":
        return 0, 0
    sizes = zip(_pair(conv.dilation), _pair(conv.kernel_size), strict=True)
    spans = [dilation * (kernel - 1) for dilation, kernel in sizes]
    if any(span % 2 for span in spans):
        raise LoweringError(
            f"{where}: padding 'same' of an even kernel pads its two sides differently, which "
            "cannot be lowered; use an odd kernel"
        )
    return spans[0] // 2, spans[1] // 2


def _pair(value: Any) -> Pair:
    """A size of PyTorch, which may be one number, as (vertical, horizontal)."""
    return cast(Pair, tuple(value) if isinstance(value, Sequence) else (value, value))


def _scalar(where: str, what: str, tensor: Tensor) -> float:
    if tensor.numel() != 1:
        raise LoweringError(
            f"{where}: the {what} must be one number per layer, not of shape {list(tensor.shape)}"
        )
    return float(_array(tensor))


def _array(tensor: Tensor) -> np.ndarray:
    return tensor.detach().cpu().to(torch.float64).numpy()
