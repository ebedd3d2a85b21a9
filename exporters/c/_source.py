"""The text of the C source and its header."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from importlib.resources import files

import numpy as np

from lmht_deploy.ir import (
    Flatten,
    Layer,
    MaxPool,
    Network,
    Neurons,
    Readout,
    SumPool,
)

from ._plan import Convolution, Plan, Tensor, sums_currents

INT32_MIN = -(2**31)
RESETS = {"subtract": "SUBTRACT", "subtract-late": "SUBTRACT_LATE", "zero": "ZERO"}
"""Names of the resets in C."""
ROWS = 64
"""Rows of weights that are added together."""
MAX_CODE = 16_384
"""Bytes of the instructions for a Cortex-M4 at `-O3`, at most."""
MAX_STACK = 1024
"""Bytes of the stack on every processor at every level of optimization, at most."""
RECORD_BYTES = {"tensor": 32, "synapse": 60, "layer": 52, "pooling": 36}
"""Of a machine whose pointers have 32 bits."""
WRITTEN = "LM-HT network as integer C99, written by lmht-deploy."
"""First line of every header."""


def header(net: Network, plan: Plan, prefix: str) -> str:
    """Return the text of the `.h` file."""
    guard = f"{prefix.upper()}_H"
    return _part("header.h", prefix).format(
        summary=_summary(net, plan),
        guard=guard,
        steps=net.input.steps,
        **dict(
            zip(("channels", "height", "width"), plan.tensors[net.input.name].shape, strict=True)
        ),
        min_count=_integer(net.input.min_value),
        max_count=_integer(net.input.max_value),
        layers=len(net.neurons),
        sums=max(len(net.neurons), 1),
        classes=net.classes,
        scale=repr(net.readout.scale),
    )


def source(net: Network, plan: Plan, prefix: str, include: str) -> str:
    """Return the text of the `.c` file, which includes `include`."""
    kinds = {type(layer) for layer in net.layers if layer.name in plan.tensors}
    parts = [
        _comment(f"The source of {include}, see there."),
        f'#include "{include}"\n\n'
        f"enum {{ MEMORY_BYTES = {plan.memory}, CURRENTS = {plan.currents}, ROWS = {ROWS} }};\n",
        _part("runtime.c", prefix),
    ]
    parts += [_part("neurons.c", prefix)] if Neurons in kinds else []
    parts += [_part("pooling.c", prefix)] if kinds & {SumPool, MaxPool} else []
    parts += [_part("flatten.c", prefix)] if Flatten in kinds else []
    names = _Names(net)
    parts += [_tables(net, plan, names, layer) for layer in net.layers]
    parts += [_run_layers(net, plan, names, prefix), _part("interface.c", prefix)]
    return "\n".join(parts)


# ------------------------------------------------------------------------------------------- texts


def _part(name: str, prefix: str) -> str:
    text = (files(__package__) / name).read_text(encoding="ascii")
    return text.replace("lmht_", f"{prefix}_").replace("LMHT_", f"{prefix.upper()}_")


def _plain(text: str) -> str:
    """Text that can stand in a comment."""
    shown = text.encode("ascii", "backslashreplace").decode()
    shown = re.sub(r"[^ -~]", "?", shown).replace("??", "?")
    return shown.replace("*/", "* /").replace("/*", "/ *")


def _comment(text: str) -> str:
    return f"/* {_plain(text)} */\n"


def _integer(value: int) -> str:
    return f"({INT32_MIN + 1} - 1)" if value == INT32_MIN else str(value)


class _Names:
    """Names of layers in C: unique, and of letters, digits and underscores."""

    def __init__(self, net: Network) -> None:
        self._names: dict[str, str] = {}
        taken = {"run"}  # as in `run_pooling`, a function
        for index, layer in enumerate(net.layers):
            name = re.sub(r"\W", "_", layer.name, flags=re.ASCII)
            name = name if re.match("[A-Za-z]", name) else f"layer_{name}"
            while name in taken:
                name = f"{name}_{index}"
            taken.add(name)
            self._names[layer.name] = name
        self._input = net.input.name

    def __getitem__(self, layer: str) -> str:
        return self._names[layer]

    def tensor(self, layer: str) -> str:
        """Name of the tensor of a layer."""
        return "input" if layer == self._input else f"{self[layer]}_output"


def _summary(net: Network, plan: Plan) -> str:
    """What the network is, as lines of a comment."""
    tables = sum(_table_bytes(net, plan))
    lines = [
        WRITTEN,
        "",
        *_described_layers(net),
        "",
        f"flash   {tables:,} bytes of tables, and less than {MAX_CODE:,} bytes of code",
        f"RAM     {plan.memory + 4 * plan.currents + 8 * ROWS:,} bytes, all static",
        f"stack   less than {MAX_STACK:,} bytes",
    ]
    if net.class_names:
        lines += ["", "classes " + json.dumps(list(net.class_names))]
    return "\n".join(f" * {_plain(line)}".rstrip() for line in lines)


def _described_layers(net: Network) -> Iterator[str]:
    for layer in net.layers:
        shape = "x".join(map(str, net.shapes[layer.name]))
        kind = type(layer).__name__
        match layer:
            case Neurons():
                detail = f"{layer.steps} steps, L = {layer.levels}"
            case Readout():
                detail = f"{net.classes} classes"
            case _:
                detail = f"{net.steps[layer.name]} steps"
        yield f"{layer.name:24s} {kind:8s} {shape:12s} {detail}"


def _table_bytes(net: Network, plan: Plan) -> Iterator[int]:
    yield RECORD_BYTES["tensor"] * len(plan.tensors)
    for layer in net.layers:
        if isinstance(layer, Neurons | Readout):
            yield sum(synapse.weight.size for synapse in layer.synapses) + 4 * layer.bias.size
            yield RECORD_BYTES["layer"] + RECORD_BYTES["synapse"] * len(layer.synapses)
        if isinstance(layer, SumPool | MaxPool):
            yield RECORD_BYTES["pooling"]
        if isinstance(layer, Neurons):
            yield 4 * (2 * layer.threshold.size + len(_omega(layer, plan).ravel()))
            yield 0 if layer.floor is None else 4 * layer.floor.size


# ------------------------------------------------------------------------------------------ tables


def _tables(net: Network, plan: Plan, names: _Names, layer: Layer) -> str:
    """The tables of one layer, below a line with its name."""
    shape = "x".join(map(str, net.shapes[layer.name]))
    title = _comment(f"{layer.name}: {type(layer).__name__}, {shape}")
    parts = [] if layer.name not in plan.tensors else [_tensor(plan.tensors[layer.name], names)]
    match layer:
        case Neurons() | Readout():
            parts += _synaptic(net, plan, names, layer)
        case SumPool() | MaxPool():
            parts.append(_pooling(names, layer))
    return title + "".join(parts)


def _tensor(tensor: Tensor, names: _Names) -> str:
    channels, height, width = tensor.shape
    return _struct(
        "tensor",
        names.tensor(tensor.name),
        {
            "at": tensor.at,
            "steps": tensor.steps,
            "substeps": tensor.substeps,
            "channels": channels,
            "height": height,
            "width": width,
            "pixel_bytes": tensor.pixel_bytes,
            "format": tensor.format,
        },
    )


def _synaptic(net: Network, plan: Plan, names: _Names, layer: Neurons | Readout) -> Iterator[str]:
    name, found = names[layer.name], plan.convolutions(layer)
    for index, convolution in enumerate(found):
        yield _array("int8_t", f"{name}_weights_{index}", convolution.weights)
    synapses = ",\n".join(
        "{" + _fields(_synapse(each, f"{name}_weights_{index}", names)) + "}"
        for index, each in enumerate(found)
    )
    yield f"static const synapse {name}_synapses[{len(found)}] = {{\n{synapses}}};\n"
    summed = net.blocks(layer.synapses[0].source) if sums_currents(layer) else 1
    yield _array("int32_t", f"{name}_bias", layer.bias * summed)
    fields: dict[str, object] = {
        "synapses": f"{name}_synapses",
        "n_synapses": len(found),
        "channels": len(layer.bias),
        "blocks": plan.blocks(layer),
        "bias": f"{name}_bias",
    }
    if isinstance(layer, Neurons):
        for key, values in (("threshold", layer.threshold), ("v0", layer.v0)):
            yield _array("int32_t", f"{name}_{key}", values)
        yield _array("int32_t", f"{name}_omega", _omega(layer, plan))
        fields |= {"output": f"&{names.tensor(layer.name)}"}
        fields |= {key: f"{name}_{key}" for key in ("threshold", "v0", "omega")}
        fields |= {"leak": int(layer.leak), "levels": layer.levels, "reset": RESETS[layer.reset]}
        if layer.floor is not None:
            yield _array("int32_t", f"{name}_floor", layer.floor)
            fields["floor"] = f"{name}_floor"
    yield _struct("layer", f"{name}_layer", fields)


def _omega(layer: Neurons, plan: Plan) -> np.ndarray:
    """The T-GIM, `[T·S, blocks]`."""
    return layer.unrolled_omega()[:, : plan.blocks(layer)]


def _synapse(convolution: Convolution, weights: str, names: _Names) -> dict[str, object]:
    kernel_y, kernel_x, _, fan_out = convolution.weights.shape
    fields: dict[str, object] = {
        "source": f"&{names.tensor(convolution.source)}",
        "weights": weights,
        "fan_out": fan_out,
        "groups": convolution.groups,
        "group": convolution.group,
        "kernel_y": kernel_y,
        "kernel_x": kernel_x,
    }
    for key in ("stride", "padding", "dilation"):
        fields[f"{key}_y"], fields[f"{key}_x"] = getattr(convolution, key)
    return fields | {"scale": 1 << convolution.exponent, "counted": int(convolution.counted)}


def _pooling(names: _Names, layer: SumPool | MaxPool) -> str:
    fields: dict[str, object] = {
        "source": f"&{names.tensor(layer.source)}",
        "output": f"&{names.tensor(layer.name)}",
    }
    for key in ("kernel", "stride", "padding"):
        fields[f"{key}_y"], fields[f"{key}_x"] = getattr(layer, key)
    fields["maximum"] = int(isinstance(layer, MaxPool))
    return _struct("pooling", f"{names[layer.name]}_pooling", fields)


def _struct(kind: str, name: str, fields: Mapping[str, object]) -> str:
    return f"static const {kind} {name} = {{{_fields(fields)}}};\n"


def _fields(fields: Mapping[str, object]) -> str:
    return _wrapped([f".{key} = {value}" for key, value in fields.items()])


def _array(kind: str, name: str, values: np.ndarray) -> str:
    numbers = [_integer(int(value)) for value in values.ravel()]
    return f"static const {kind} {name}[{len(numbers)}] = {{{_wrapped(numbers)}}};\n"


def _wrapped(items: Iterable[str]) -> str:
    """Items in lines of at most 100 columns."""
    lines, line = [], "\n   "
    for item in items:
        if len(line) + len(item) + 2 > 100:
            lines.append(line)
            line = "\n   "
        line += f" {item},"
    return "".join([*lines, line, "\n"])


# --------------------------------------------------------------------------------------------- run


def _run_layers(net: Network, plan: Plan, names: _Names, prefix: str) -> str:
    """The function that runs all layers in order."""
    calls = []
    index = 0
    for layer in net.layers:
        name = names[layer.name]
        match layer:
            case Neurons():
                sums = f"&result->spikes[{index}], &result->sops[{index}]"
                calls.append(f"run_neurons(&{name}_layer, {sums});")
                index += 1
            case Readout():
                calls.append(f"run_readout(&{name}_layer, result->logits, &result->sops[{index}]);")
            case SumPool() | MaxPool():
                calls.append(f"run_pooling(&{name}_pooling);")
            case Flatten() if layer.name in plan.tensors:
                source = names.tensor(layer.source)
                calls.append(f"run_flatten(&{source}, &{names.tensor(layer.name)});")
    body = "".join(f"    {call}\n" for call in calls)
    return f"static void run_layers({prefix}_result* result) {{\n{body}}}\n"
