"""Graphs of exported ONNX files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import onnx


def inlined(path: Path) -> Any:
    """Return the graph of a file, with the nodes of its functions in place of their calls.

    Names are the same inside and outside of functions, so that nothing is renamed.
    """
    model = onnx.load(path)
    bodies = {function.name: function.node for function in model.functions}
    calls = list(model.graph.node)
    del model.graph.node[:]
    for call in calls:
        for node in bodies.get(call.op_type, [call]):
            if node.op_type == "Constant":
                value = node.attribute[0].t
                assert value.name == node.output[0]
                if all(value.name != tensor.name for tensor in model.graph.initializer):
                    model.graph.initializer.append(value)
            else:
                model.graph.node.append(node)
    return model.graph
