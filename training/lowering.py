"""From a trained PyTorch model to a float `Network` with the same spikes.

torch.fx traces the body of a `SpikingModel`, and one pass over the graph lowers it. During the pass
every tensor is either spikes or a current, see `lmht_deploy._currents`.

Convolutions and linear layers turn spikes into currents and take the amplitude into their weights.
Batch norm scales a current, an addition joins the synapses of two currents, and neurons turn a
current into spikes again.

A `Network` has no layers for currents that bypass neurons, as in MS-ResNet. But synapses are
linear: neurons that integrate x₀ + x₁ + ... read the synapses of all those currents, and a 1x1
convolution of a current is multiplied into each of its synapses. So the network is exact, and the
number of its synapses grows with the square of the number of blocks.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from math import prod
from typing import Any, TypeVar, cast

import numpy as np
import torch
from torch import Tensor, fx, nn
from torch.nn import functional

from lmht_deploy._currents import (
    Current,
    Part,
    Spikes,
    Value,
    added,
    as_current,
    check_channels,
    concatenated,
    flattened,
    is_per_pixel,
    require_spikes,
    scaled,
)
from lmht_deploy.errors import LoweringError, NetworkError
from lmht_deploy.ir import (
    Flatten,
    Input,
    Layer,
    MaxPool,
    Network,
    Neurons,
    Pair,
    Readout,
    SumPool,
)

from ._currents import (
    as_array,
    as_pair,
    as_scalar,
    convolved,
    is_pointwise,
    multiplied,
    projected,
)
from ._frameworks import FrameworkNeuron, adopted, check_layers, translated
from ._preparation import evaluation_copy, require_spiking_model, unchanged, undisturbed
from ._verification import verify as _verify
from .model import SpikingModel
from .neurons import Neuron


def lower(model: nn.Module, input: Input, *, verify: bool = True) -> Network:
    """Lower a model to the float network that computes the same in evaluation mode.

    A model of layers of sinabs, snnTorch or SpikingJelly is lowered, too. Its logits are the mean
    of its outputs over all steps, and its layers run on one step at a time.

    Layers are named by the paths of their modules in `model.body`. Weights become float64. Batch
    norm is folded with its running statistics. The scale of the read-out is 1/T: its logits times
    the scale are those of the model.

    The model itself is not changed: a copy in float64 is lowered. At the end this copy and the
    network run on a few random windows, and every layer must agree.

    Args:
        model: A `SpikingModel`, or a module with layers of a framework.
        input: Name, shape, steps, range and kind of the input.
        verify: Whether to compare the network with the model, on four windows. False saves this
            time for a huge model.

    Raises:
        LoweringError: A `Network` cannot express a part of the model, or the two differ; names the
            module.
    """
    checked = _check(model, input)
    with undisturbed():
        copied = evaluation_copy(checked)
        copied.body = translated(copied.body, copied.steps_in)
        net = _Lowering(_trace(copied.body), input, copied.input_scale).run()
        if verify:
            _verify(copied, net)
    return net


def _check(given: nn.Module, input: Input) -> SpikingModel:
    if not isinstance(input, Input):
        require_spiking_model(given)
        raise LoweringError(f"the input must be an Input, not {type(input).__name__}")
    model = require_spiking_model(adopted(given, input.steps))
    check_layers(model.body)
    if input.steps != model.steps_in:
        raise LoweringError(
            f"the input has {input.steps} steps, the model needs {model.steps_in}; use "
            f"Input(..., steps={model.steps_in})"
        )
    return model


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


# ------------------------------------------------------------------------------------------ pass


_Pool = TypeVar("_Pool", SumPool, MaxPool)


@dataclass(frozen=True)
class _FlattenDims:
    start_dim: int = 0
    end_dim: int = -1


@dataclass(frozen=True)
class _Window:
    kernel: Pair
    stride: Pair
    padding: Pair = (0, 0)

    def layer(
        self, kind: type[SumPool] | type[MaxPool], name: str, source: str
    ) -> SumPool | MaxPool:
        """A pooling with this window."""
        return kind(
            name=name,
            source=source,
            kernel=self.kernel,
            stride=self.stride,
            padding=self.padding,
        )


class _Lowering:
    """One pass over a traced graph.

    Methods that handle a module take its path `where`, the module and its input.
    """

    def __init__(self, graph: fx.GraphModule, input: Input, input_scale: float) -> None:
        self._graph = graph
        self._modules = dict(graph.named_modules())
        self._layers: list[Layer] = [input]
        self._names = {input.name}
        self._values: dict[fx.Node, Value] = {}
        self._storage: dict[fx.Node, fx.Node] = {}  # the node that made the memory of a tensor
        self._overwritten: dict[fx.Node, str] = {}  # tensors whose value is not known, by whom
        self._input = Spikes((Part(input.name, input_scale, input.shape),), input.steps)

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

    def _lower(self, node: fx.Node) -> Value:
        where = _where(node)
        match node.op:
            case "placeholder" if not self._values:
                return self._input
            case "call_module":
                return self._lower_module(node, where, self._modules[str(node.target)])
            case "call_function" | "call_method" if node.target in (*_ADDITIONS, *_IN_PLACE):
                return added(where, *self._arguments(node, 2))
            case "call_function" if node.target in _CONCATENATIONS:
                return self._cat(node, where)
            case "call_function" | "call_method" if node.target in _MEANS and _over_pixels(node):
                (value,) = self._arguments(node, 1, more=True)
                return self._mean(where, bool(node.kwargs.get("keepdim", False)), value)
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

    def _lower_module(self, node: fx.Node, where: str, module: nn.Module) -> Value:
        kind = _kind(module)
        if kind is None:
            raise _cannot_lower_module(where, module)
        return _MODULES[kind](self, where, module, *self._arguments(node, 1))

    def _lower_function(self, node: fx.Node, where: str) -> Value:
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

    def _share(self, node: fx.Node, value: Value) -> None:
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

    def _arguments(self, node: fx.Node, number: int, more: bool = False) -> list[Value]:
        """The first `number` arguments of `node`, which must be tensors of the network.

        Other arguments are an error unless `more`.
        """
        if not more and (node.args[number:] or node.kwargs):
            raise self._not_plain(node, number)
        return [self._value(node, argument, number) for argument in node.args[:number]]

    def _value(self, node: fx.Node, argument: object, number: int) -> Value:
        """The value of one of the `number` tensors that `node` reads."""
        if not isinstance(argument, fx.Node) or argument not in self._values:
            raise self._not_plain(node, number)
        if argument in self._overwritten:
            raise LoweringError(
                f"{_where(node)}: reads a view of a tensor that the addition "
                f"{self._overwritten[argument]!r} changes in place; use a = a + b instead"
            )
        return self._values[argument]

    def _not_plain(self, node: fx.Node, number: int) -> LoweringError:
        return LoweringError(
            f"{_where(node)}: {_operation(node)} can be lowered only for {number} plain "
            f"tensor{'s' * (number > 1)} of the network"
        )

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
        pointwise = isinstance(value, Current) and len(value.shape) == 3
        if pointwise and is_pointwise(where, conv):
            return projected(where, conv, cast(Current, value))
        return convolved(where, conv, value)

    def _linear(self, where: str, linear: nn.Linear, value: Value) -> Current:
        return multiplied(where, linear, value)

    def _batch_norm(
        self, where: str, norm: nn.BatchNorm1d | nn.BatchNorm2d, value: Value
    ) -> Current:
        """y = γ·(x - μ) / √(σ² + ε) + β, as a factor and an offset per channel of the current."""
        if norm.running_mean is None or norm.running_var is None:
            raise LoweringError(
                f"{where}: a batch norm without running statistics cannot be folded; "
                "use track_running_stats=True"
            )
        factor = 1 / np.sqrt(as_array(norm.running_var) + norm.eps)
        factor = factor if norm.weight is None else factor * as_array(norm.weight)
        current = as_current(where, value)
        check_channels(where, f"a batch norm of {norm.num_features}", norm.num_features, current)
        bias = (current.bias - as_array(norm.running_mean)) * factor
        bias = bias if norm.bias is None else bias + as_array(norm.bias)
        synapses = tuple(scaled(synapse, factor) for synapse in current.synapses)
        return replace(current, origin=where, synapses=synapses, bias=bias)

    def _cat(self, node: fx.Node, where: str) -> Value:
        """Lower torch.cat(tensors, 1)."""
        options = dict(zip(("tensors", "dim"), node.args, strict=False)) | node.kwargs
        tensors = options.get("tensors")
        if not isinstance(tensors, Sequence) or options.get("dim", options.get("axis", 0)) != 1:
            raise LoweringError(
                f"{where}: a concatenation must join the channels of tensors; "
                "use torch.cat((a, b), 1)"
            )
        return concatenated(where, [self._value(node, tensor, len(tensors)) for tensor in tensors])

    # -- layers

    def _neurons(self, where: str, neuron: Neuron, value: Value) -> Spikes:
        current = as_current(where, value)
        if current.steps != neuron.steps_in:
            raise LoweringError(
                f"{where}: neurons with {neuron.steps_in} input steps receive {current.steps} "
                f"steps; make them with steps_in={current.steps}"
            )
        theta = as_scalar(where, "threshold", neuron.threshold)
        if theta <= 0:
            raise LoweringError(f"{where}: the threshold must be positive, not {theta}")
        if isinstance(neuron, FrameworkNeuron) and where in self._names:
            raise LoweringError(
                f"{where}: is called more than once; its state would pass from one call to the "
                "next. Use one layer of neurons per call"
            )
        channels = (current.shape[0],)
        gain = np.full(channels, neuron.gain)
        layer = Neurons(
            name=self._name(where),
            synapses=tuple(scaled(synapse, gain) for synapse in current.synapses),
            bias=current.bias * neuron.gain + neuron.offset,
            threshold=np.full(channels, theta),
            omega=as_array(neuron.omega),
            leak=as_scalar(where, "leak", neuron.leak),
            v0=np.full(channels, as_scalar(where, "initial potential", neuron.v0)),
            levels=neuron.levels,
            reset=neuron.reset,
            floor=None if neuron.floor is None else np.full(channels, neuron.floor),
        )
        self._layers.append(layer)
        amplitude = as_scalar(where, "amplitude", neuron.amplitude)
        return Spikes((Part(layer.name, amplitude, current.shape),), neuron.steps)

    def _average_pool(self, where: str, pool: nn.AvgPool2d, value: Value) -> Value:
        kernel, stride, padding = map(as_pair, (pool.kernel_size, pool.stride, pool.padding))
        if padding != (0, 0) and not pool.count_include_pad and pool.divisor_override is None:
            raise LoweringError(
                f"{where}: an average whose divisor changes at the border cannot be lowered; "
                "use count_include_pad=True or padding=0"
            )
        _check_ceil_mode(where, pool)
        divisor = pool.divisor_override or kernel[0] * kernel[1]
        return self._average(where, _Window(kernel, stride, padding), divisor, value)

    def _adaptive_pool(self, where: str, pool: nn.AdaptiveAvgPool2d, value: Value) -> Value:
        if len(value.shape) != 3:
            require_spikes(where, "a pooling", value, 3)
        size = value.shape[1:]
        wanted = zip(size, as_pair(pool.output_size), strict=True)
        out = tuple(n if o is None else o for n, o in wanted)
        if any(n % o for n, o in zip(size, out, strict=True)):
            raise LoweringError(
                f"{where}: pooling windows of different sizes ({size} to {out}) cannot be "
                "lowered; choose an output size that divides the input's"
            )
        kernel = (size[0] // out[0], size[1] // out[1])
        return self._average(where, _Window(kernel, kernel), kernel[0] * kernel[1], value)

    def _mean(self, where: str, keeps: bool, value: Value) -> Value:
        """Lower the mean over height and width, which are kept with size 1 or not."""
        pooled = self._adaptive_pool(where, nn.AdaptiveAvgPool2d(1), value)
        return pooled if keeps else self._flatten(where, _FlattenDims(1), pooled)

    def _average(self, where: str, window: _Window, divisor: int, value: Value) -> Value:
        """Sum over windows, divided by `divisor`."""
        plain = window.padding == (0, 0) and divisor == prod(window.kernel)
        if isinstance(value, Current) and plain and is_per_pixel(value):
            return self._average_current(where, window, value)
        spikes = self._pool(where, SumPool, window, value)
        parts = (replace(part, amplitude=part.amplitude / divisor) for part in spikes.parts)
        return replace(spikes, parts=tuple(parts))

    def _average_current(self, where: str, window: _Window, current: Current) -> Current:
        """The average of 1x1 convolutions is the 1x1 convolutions of the averages."""
        pools: dict[str, str] = {}
        for source in dict.fromkeys(synapse.source for synapse in current.synapses):
            pools[source] = self._append(window.layer(SumPool, self._name(where), source))
        share = np.full(current.shape[0], 1 / prod(window.kernel))
        synapses = (
            scaled(replace(synapse, source=pools[synapse.source]), share)
            for synapse in current.synapses
        )
        shape = window.layer(SumPool, where, where).output_shape(current.shape)
        return replace(current, synapses=tuple(synapses), shape=shape)

    def _max_pool(self, where: str, pool: nn.MaxPool2d, value: Value) -> Spikes:
        if as_pair(pool.dilation) != (1, 1) or pool.return_indices:
            raise LoweringError(
                f"{where}: a max pooling with dilation or with indices cannot be lowered; use "
                "dilation=1 and return_indices=False"
            )
        _check_ceil_mode(where, pool)
        window = _Window(*map(as_pair, (pool.kernel_size, pool.stride, pool.padding)))
        return self._pool(where, MaxPool, window, value)

    def _pool(self, where: str, kind: type[_Pool], window: _Window, value: Value) -> Spikes:
        spikes = require_spikes(where, "a pooling", value, 3)
        return self._each(spikes, lambda source: window.layer(kind, self._name(where), source))

    def _flatten_module(self, where: str, flatten: nn.Flatten, value: Value) -> Value:
        return self._flatten(where, _FlattenDims(flatten.start_dim, flatten.end_dim), value)

    def _flatten(self, where: str, dims: _FlattenDims, value: Value) -> Value:
        if dims.start_dim != 1 or dims.end_dim not in (-1, len(value.shape)):
            raise LoweringError(
                f"{where}: a flatten must keep the first dimension and join all others; "
                "use start_dim=1, end_dim=-1"
            )
        if len(value.shape) == 1:
            return value

        def layer(source: str) -> Flatten:
            return Flatten(name=self._name(where), source=source)

        if isinstance(value, Current):
            return flattened(where, value, lambda source: self._append(layer(source)))
        return self._each(value, layer)

    def _each(self, spikes: Spikes, make: Callable[[str], SumPool | MaxPool | Flatten]) -> Spikes:
        """Add the layer `make(source)` for every part of `spikes`, and return their outputs."""
        parts = []
        for part in spikes.parts:
            layer = make(part.source)
            self._append(layer)
            shape = layer.output_shape(part.shape)
            parts.append(replace(part, source=layer.name, shape=shape))
        return replace(spikes, parts=tuple(parts))

    def _append(self, layer: SumPool | MaxPool | Flatten) -> str:
        """Add a layer, and return its name."""
        self._layers.append(layer)
        return layer.name

    def _unchanged(self, where: str, module: nn.Module, value: Value) -> Value:
        return value

    def _finish(self, node: fx.Node) -> None:
        """Add the read-out."""
        output = node.args[0]
        if not isinstance(output, fx.Node):
            raise LoweringError(
                "the body of the model must return one tensor, the logits, not "
                f"{type(output).__name__} of {_names(output)}; a network has one read-out"
            )
        value = self._values.get(output)
        foreign = any(isinstance(module, FrameworkNeuron) for module in self._modules.values())
        if foreign and isinstance(value, Spikes) and len(value.shape) == 1:
            value = as_current("logits", value)  # their mean over time is the answer
        if not isinstance(value, Current) or len(value.shape) != 1:
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

_WITH_WEIGHTS = (Neuron, nn.Conv2d, nn.Linear, nn.BatchNorm1d, nn.BatchNorm2d)

_VIEW_MODULES = (nn.Identity, nn.Dropout, nn.Dropout2d, nn.Flatten)
"""Modules whose output may share the memory of their input."""

_ADDITIONS = (operator.add, torch.add, "add")
_IN_PLACE = (operator.iadd, "add_")
_CONCATENATIONS = (torch.cat, torch.concat, torch.concatenate)
_MEANS = (torch.mean, "mean")
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


def _over_pixels(node: fx.Node) -> bool:
    """Whether a mean is taken over height and width."""
    dims = node.args[1] if len(node.args) == 2 else node.kwargs.get("dim")
    return isinstance(dims, Sequence) and set(dims) in ({2, 3}, {-2, -1})


def _names(output: object) -> str:
    """Where the tensors of an output that is not one tensor come from."""
    values = output.values() if isinstance(output, dict) else output
    found = values if isinstance(values, Iterable) else [values]
    return ", ".join(repr(_where(n)) for n in found if isinstance(n, fx.Node))


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
    return f"use {kinds}, torch.cat((a, b), 1), x.mean((2, 3)), and the addition of currents"


def _check_ceil_mode(where: str, pool: nn.AvgPool2d | nn.MaxPool2d) -> None:
    if pool.ceil_mode:
        raise LoweringError(f"{where}: ceil_mode=True cannot be lowered; use ceil_mode=False")
