"""Builder of ONNX graphs: opset 17, IR 8, deterministic names, functions."""

from __future__ import annotations

import collections
import hashlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import DTypeLike

from lmht_deploy.formats.onnx import FUNCTIONS

from ._functions import Boxed, boxed

if TYPE_CHECKING:
    import onnx

OPSET = 17
IR_VERSION = 8
MAX_BYTES = 2_000_000_000
"""Largest size of all constants in the model; a protocol buffer, nodes included, ends at 2^31."""
SMALL_BYTES = 1024
"""Largest size of a constant that stays in the model where others lie in another file."""
INNER = "constant"
"""Role of constants that say nothing to a reader: shapes, axes, limits. They lie in functions."""


def _move_out(constants: list[onnx.TensorProto], data: str) -> list[bytes]:
    """Move large constants to the file `data`, and return its parts."""
    from onnx import TensorProto

    parts, offset = [], 0
    for tensor in constants:
        if len(tensor.raw_data) <= SMALL_BYTES:
            continue
        parts.append(tensor.raw_data)
        place = {"location": data, "offset": str(offset), "length": str(len(tensor.raw_data))}
        for key, value in place.items():
            tensor.external_data.add(key=key, value=value)
        offset += len(tensor.raw_data)
        tensor.data_location = TensorProto.EXTERNAL
        tensor.ClearField("raw_data")
    return parts


def _sha256(parts: list[bytes]) -> str:
    digest = hashlib.sha256()
    for part in parts:
        digest.update(part)
    return digest.hexdigest()


class Graph:
    """ONNX graph under construction.

    Nodes are named `<layer>/<part>/<operator>`, tensors `<node>:<i>`. No layer name contains a
    colon, so that tensors have other names than the inputs and outputs of the graph. Every constant
    is stored once. The nodes of each part of a layer become one function.

    Args:
        portable: Whether counts are added and compared in float32 instead of uint8, and there are
            neither functions nor float64.
        openvino: Whether there are neither functions nor float64, and products are written such
            that OpenVINO multiplies integers.

    Attributes:
        scope: Layer and part whose nodes are added, `<layer>/<part>`.
        openvino: Whether products are written for OpenVINO.
        plain: Whether there are neither functions nor float64.
        in_float32: Parts whose products OpenVINO computes in float32.
        magnitude: Largest magnitude of any sum or product, as far as `reach` was told.
        widest: Layer with the largest magnitude.
    """

    def __init__(self, portable: bool = False, openvino: bool = False) -> None:
        self.scope, self.openvino, self.plain = "", openvino, portable or openvino
        self.in_float32: list[str] = []
        self._floats = portable
        self.magnitude, self.widest = 0, ""
        self._nodes: list[onnx.NodeProto] = []
        self._constants: dict[tuple[bool, str, tuple[int, ...], bytes], onnx.TensorProto] = {}
        self._weights: dict[str, onnx.TensorProto] = {}
        self._inputs: list[onnx.ValueInfoProto] = []
        self._outputs: list[onnx.ValueInfoProto] = []
        self._names: collections.Counter[str] = collections.Counter()

    @contextmanager
    def within(self, scope: str) -> Iterator[None]:
        """Add nodes to another part of a layer, `<layer>/<part>`."""
        before, self.scope = self.scope, scope
        try:
            yield
        finally:
            self.scope = before

    def __call__(self, operator: str, *inputs: str, **attributes: Any) -> str:
        """Append a node with one output, and return its tensor."""
        return self._node(operator, inputs, 1, **attributes)[0]

    def split(self, tensor: str, parts: int) -> list[str]:
        """Split a tensor into equal parts along axis 1."""
        return [tensor] if parts == 1 else self._node("Split", [tensor], parts, axis=1)

    def cast(self, tensor: str, dtype: DTypeLike) -> str:
        """Convert a tensor to `dtype`."""
        from onnx import helper

        return self("Cast", tensor, to=helper.np_dtype_to_tensor_dtype(np.dtype(dtype)))

    def convert(self, tensor: str, before: np.dtype, after: np.dtype) -> str:
        """Convert a tensor from dtype `before` to `after`, which may be equal."""
        return tensor if before == after else self.cast(tensor, after)

    def dequantized(self, tensor: str) -> str:
        """Convert uint8 or int8 to float32 such that OpenVINO may multiply the integers."""
        return self("DequantizeLinear", tensor, self.constant(np.float32(1)))

    def reach(self, magnitude: int) -> None:
        """Note the largest magnitude of a tensor, for runtimes that compute in float32."""
        if magnitude > self.magnitude:
            self.magnitude, self.widest = magnitude, self._layer

    def adds_in(self, dtype: np.dtype) -> np.dtype:
        """Return the dtype in which counts of `dtype` are added and compared."""
        return np.dtype(np.float32) if self._floats and dtype == np.uint8 else dtype

    def reshape(self, tensor: str, *shape: int) -> str:
        """Reshape a tensor; 0 keeps a dimension, -1 takes the remaining size."""
        return self("Reshape", tensor, self.constant(np.array(shape, np.int64)))

    def sum(self, tensor: str, *axes: int) -> str:
        """Sum over `axes`, which are removed."""
        return self("ReduceSum", tensor, self.constant(np.array(axes, np.int64)), keepdims=0)

    def zeros(self) -> str:
        """Return zeros, int64 [B]."""
        from onnx import numpy_helper

        batch = self("Shape", self._inputs[0].name, start=0, end=1)
        return self("ConstantOfShape", batch, value=numpy_helper.from_array(np.zeros(1, np.int64)))

    def constant(self, values: np.ndarray | np.generic, role: str = INNER) -> str:
        """Add a constant, unless an equal one exists, and return its tensor.

        It is named `<layer>/<role>` by the first layer that uses it.
        """
        from onnx import numpy_helper

        array = np.ascontiguousarray(values).reshape(np.shape(values))
        key = (role == INNER, array.dtype.str, array.shape, array.tobytes())
        if key not in self._constants:
            name = f"{self._unique(f'{self._layer}/{role}')}:"
            self._constants[key] = numpy_helper.from_array(array, name)
        return self._constants[key].name

    def weight(self, values: np.ndarray, role: str) -> str:
        """Add the constant `<layer>/<role>:` once, whatever other constants are equal."""
        from onnx import numpy_helper

        name = f"{self._layer}/{role}:"
        if name not in self._weights:
            self._weights[name] = numpy_helper.from_array(np.ascontiguousarray(values), name)
        return name

    def input(self, name: str, dtype: DTypeLike, shape: tuple[str | int, ...]) -> None:
        """Add an input of the graph."""
        self._inputs.append(self._value(name, dtype, shape))

    def output(
        self, name: str, tensor: str, dtype: DTypeLike, shape: tuple[str | int, ...]
    ) -> None:
        """Make `tensor` the output `name` of the graph."""
        self._outputs.append(self._value(name, dtype, shape))
        self._node("Identity", [tensor], [name])

    def model(
        self, metadata: Callable[[str], dict[str, str]], data: str
    ) -> tuple[onnx.ModelProto, list[bytes]]:
        """Return the model, and the parts of the file of its weights; none if it holds them.

        Args:
            metadata: From the SHA-256 of the file of weights to the metadata of the model.
            data: Name of the file of weights.
        """
        from onnx import helper

        constants = [*self._weights.values(), *self._constants.values()]
        shapes, nodes = self._shapes(constants), self._nodes
        functions: list[onnx.FunctionProto] = []
        if not self.plain:
            nodes, functions = self._boxed()
            used = {name for node in nodes for name in (*node.input, *node.output)}
            constants = [tensor for tensor in constants if tensor.name in used]
            shapes = [value for value in shapes if value.name in used]
        parts: list[bytes] = []
        if sum(len(tensor.raw_data) for tensor in constants) > MAX_BYTES:
            parts = _move_out(constants, data)
        graph = helper.make_graph(
            nodes, "lmht-deploy", self._inputs, self._outputs, constants, value_info=shapes
        )
        domains = [("", OPSET), *([(FUNCTIONS, 1)] if functions else [])]
        model = helper.make_model(
            graph,
            opset_imports=[helper.make_opsetid(*domain) for domain in domains],
            ir_version=IR_VERSION,
            producer_name="lmht-deploy",
            functions=functions,
        )
        helper.set_model_props(model, metadata(_sha256(parts) if parts else ""))
        return model, parts

    def _boxed(self) -> Boxed:
        """Return the nodes as functions and their calls."""
        inner = {t.name: t for (anonymous, *_), t in self._constants.items() if anonymous}
        named = {t.name for (anonymous, *_), t in self._constants.items() if not anonymous}
        results = [value.name for value in self._outputs]
        return boxed(self._nodes, inner, {*named, *self._weights}, results, OPSET)

    def _shapes(self, constants: list[onnx.TensorProto]) -> list[onnx.ValueInfoProto]:
        """Return type and shape of every inner tensor."""
        from onnx import helper, shape_inference

        small = [tensor for tensor in constants if len(tensor.raw_data) <= SMALL_BYTES]
        large = [
            helper.make_tensor_value_info(tensor.name, tensor.data_type, tensor.dims)
            for tensor in constants
            if len(tensor.raw_data) > SMALL_BYTES
        ]
        graph = helper.make_graph(
            self._nodes, "shapes", [*self._inputs, *large], self._outputs, small
        )
        opset = helper.make_opsetid("", OPSET)
        model = helper.make_model(graph, opset_imports=[opset], ir_version=IR_VERSION)
        inferred = shape_inference.infer_shapes(model, strict_mode=True, data_prop=True)
        return list(inferred.graph.value_info)

    def _node(
        self, operator: str, inputs: Any, outputs: int | list[str], **attributes: Any
    ) -> list[str]:
        from onnx import helper

        name = self._unique(f"{self.scope}/{operator}")
        if isinstance(outputs, int):
            outputs = [f"{name}:{i}" for i in range(outputs)]
        self._nodes.append(
            helper.make_node(operator, list(inputs), outputs, name=name, **attributes)
        )
        return outputs

    @property
    def _layer(self) -> str:
        return self.scope.partition("/")[0]

    def _unique(self, name: str) -> str:
        self._names[name] += 1
        return name if self._names[name] == 1 else f"{name}_{self._names[name]}"

    @staticmethod
    def _value(name: str, dtype: DTypeLike, shape: tuple[str | int, ...]) -> onnx.ValueInfoProto:
        from onnx import helper

        return helper.make_tensor_value_info(
            name, helper.np_dtype_to_tensor_dtype(np.dtype(dtype)), shape
        )
