"""Model-local functions: one box for each part of a layer, in place of its nodes.

A viewer then shows `a/Conv0`, `a/Neurons` and `a/Counts` instead of some hundred nodes, and opens
a box on demand. Runtimes inline functions when they load a model. Tensors and nodes have the same
names inside and outside of a function, and every function is called once: without its functions a
graph consists of the same nodes.
"""

from __future__ import annotations

from collections.abc import Container, Iterable, Mapping, Sequence
from graphlib import TopologicalSorter
from typing import TYPE_CHECKING, NamedTuple

from lmht_deploy.formats.onnx import FUNCTIONS

if TYPE_CHECKING:
    import onnx


class Boxed(NamedTuple):
    """A graph whose nodes are calls.

    Attributes:
        calls: Nodes of the graph, in topological order.
        functions: What they call.
    """

    calls: list[onnx.NodeProto]
    functions: list[onnx.FunctionProto]


def boxed(
    nodes: Iterable[onnx.NodeProto],
    inner: Mapping[str, onnx.TensorProto],
    constants: Container[str],
    results: Iterable[str],
    opset: int,
) -> Boxed:
    """Return calls of functions in place of nodes.

    Args:
        nodes: Nodes `<layer>/<part>/<operator>`, where those of one part are in topological order.
        inner: Constants that move into the functions, by name.
        constants: Names of all other constants.
        results: Outputs of the graph.
        opset: Version of the standard operators.
    """
    bodies: dict[str, list[onnx.NodeProto]] = {}
    for node in nodes:
        bodies.setdefault(node.name.rpartition("/")[0], []).append(node)
    makers = {output: box for box, body in bodies.items() for output in _made(body)}
    inputs = {box: _needed(body, inner, constants) for box, body in bodies.items()}
    wanted = {*results, *(name for names in inputs.values() for name in names)}
    before = {
        box: [makers[name] for name in names if name in makers] for box, names in inputs.items()
    }
    order = list(TopologicalSorter(before).static_order())
    outputs = {box: [name for name in _made(bodies[box]) if name in wanted] for box in order}
    return Boxed(
        [_call(box, inputs[box], outputs[box]) for box in order],
        [_function(box, inputs[box], outputs[box], bodies[box], inner, opset) for box in order],
    )


def _made(body: Sequence[onnx.NodeProto]) -> list[str]:
    return [output for node in body for output in node.output]


def _needed(
    body: Sequence[onnx.NodeProto], inner: Container[str], constants: Container[str]
) -> list[str]:
    """Return what a body takes from outside: tensors, then constants."""
    made = set(_made(body))
    found = dict.fromkeys(name for node in body for name in node.input if name and name not in made)
    outside = [name for name in found if name not in inner]
    return sorted(outside, key=lambda name: name in constants)


def _call(box: str, inputs: list[str], outputs: list[str]) -> onnx.NodeProto:
    from onnx import helper

    return helper.make_node(box, inputs, outputs, name=box, domain=FUNCTIONS)


def _function(
    box: str,
    inputs: list[str],
    outputs: list[str],
    body: list[onnx.NodeProto],
    inner: Mapping[str, onnx.TensorProto],
    opset: int,
) -> onnx.FunctionProto:
    from onnx import helper

    used = dict.fromkeys(name for node in body for name in node.input if name in inner)
    values = [
        helper.make_node("Constant", [], [name], name=f"{box}/{name}", value=inner[name])
        for name in used
    ]
    opsets = [helper.make_opsetid("", opset)]
    return helper.make_function(FUNCTIONS, box, inputs, outputs, [*values, *body], opsets)
