"""What an exported ONNX file holds, layer by layer."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

from lmht_deploy._packages import require_package
from lmht_deploy.formats.files import reading
from lmht_deploy.formats.onnx import COUNTS, TRACE, Properties, by_layer, check_model

__all__ = ["Graph", "GraphLayer", "read_graph"]


@dataclass(frozen=True)
class GraphLayer:
    """One layer of an exported graph.

    Attributes:
        layer: Name of the layer.
        nodes: Number of operators.
        products: Number of matrix products: convolutions and linear layers are such.
        constants: Number of entries of its constants: weights, thresholds, and indices.
        constant_bytes: Bytes of its constants.
        macs: Multiply-accumulates of pixels per window.
        neurons: Whether it counts spikes.
        trace: Whether the file returns its spikes.
    """

    layer: str
    nodes: int
    products: int
    constants: int
    constant_bytes: int
    macs: int
    neurons: bool
    trace: bool


@dataclass(frozen=True)
class Graph:
    """An exported ONNX file.

    Attributes:
        properties: Its metadata.
        window_shape: Shape of one window.
        classes: Number of logits.
        layers: Its layers, in order.
    """

    properties: Properties
    window_shape: tuple[int, ...]
    classes: int
    layers: tuple[GraphLayer, ...]


def read_graph(path: Path) -> Graph:
    """Read an ONNX file of an LM-HT network; nothing is executed.

    Raises:
        DataError: The package onnx is not installed.
        StorageError: The file is missing, damaged, or not an exported network.
    """
    with reading(path, "an .onnx file"):
        content = path.read_bytes()
        properties = check_model(path, content)
        require_package("onnx", "onnx")
        import onnx

        model = onnx.load_model_from_string(content)
        graph = model.graph
        outputs = {output.name: _shape(output) for output in graph.output}
        return Graph(
            properties,
            _shape(graph.input[0])[1:],
            outputs["logits"][1],
            tuple(_layers(model, outputs, properties)),
        )


def _shape(value: Any) -> tuple[int, ...]:
    return tuple(int(size.dim_value) for size in value.type.tensor_type.shape.dim)


def _layers(model: Any, outputs: Iterable[str], properties: Properties) -> list[GraphLayer]:
    neurons, traced = (by_layer(kind, outputs) for kind in (COUNTS[0], TRACE))
    nodes: dict[str, list[str]] = {}
    values = [(_layer_of(c.name), c) for c in model.graph.initializer]
    for node in _nodes(model):
        if node.op_type == "Constant":
            values.append((_layer_of(node.name), node.attribute[0].t))
        else:
            nodes.setdefault(_layer_of(node.name), []).append(node.op_type)
    constants = [(layer, prod(tensor.dims), len(tensor.raw_data)) for layer, tensor in values]
    return [
        GraphLayer(
            name,
            len(operators),
            sum("MatMul" in operator or operator == "Conv" for operator in operators),
            sum(size for layer, size, _ in constants if layer == name),
            sum(size for layer, _, size in constants if layer == name),
            properties.macs.get(name, 0),
            name in neurons,
            name in traced,
        )
        for name, operators in nodes.items()
    ]


def _nodes(model: Any) -> Iterator[Any]:
    """Yield the nodes of a graph, those of functions in place of their calls."""
    bodies = {function.name: function.node for function in model.functions}
    for node in model.graph.node:
        yield from bodies[node.op_type] if node.domain else [node]


def _layer_of(name: str) -> str:
    """Return the layer of a node or a constant, whose names begin with "<layer>/"."""
    return name.partition("/")[0]
