"""Read the metadata of an ONNX file, and check what it holds, before any runtime sees it.

ONNX Runtime computes with the constants of a graph as soon as it loads it, and may read other
files that the graph names. This module decodes the protocol buffer itself, as far as needed.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TypeAlias

import numpy as np

from lmht_deploy.errors import StorageError

__all__ = ["check_content", "constants", "has_functions", "metadata_properties"]

OPERATORS = frozenset(
    (
        "Add",
        "Cast",
        "Clip",
        "Concat",
        "Constant",
        "ConstantOfShape",
        "Conv",
        "DequantizeLinear",
        "Div",
        "Gather",
        "Identity",
        "MatMul",
        "MatMulInteger",
        "Max",
        "Min",
        "Mul",
        "Pad",
        "QuantizeLinear",
        "ReduceMax",
        "ReduceSum",
        "Reshape",
        "Shape",
        "Split",
        "Sub",
        "Transpose",
    )
)
"""Operators of the graphs that lmht-deploy writes."""

Fields: TypeAlias = Mapping[int, "Fields | None"]
"""Numbers of the fields that a message may have, and the fields of those that are messages."""

EXTERNAL_DATA, DATA_LOCATION = 13, 14
LOCATION, OFFSET, LENGTH = "location", "offset", "length"
"""Keys of the place of a constant in another file."""
GRAPH, FUNCTION, PROPERTY = 7, 25, 14
CONSTANT, NODE = 5, 1
OPSET_DOMAINS = ((8, 1), (FUNCTION, 9, 1))
FUNCTION_NAME, FUNCTION_NODE, FUNCTION_DOMAIN = 1, 7, 10
NODE_OPERATOR, NODE_DOMAIN = 4, 7
DTYPES = {1: "<f4", 2: "u1", 3: "i1", 6: "<i4", 7: "<i8", 11: "<f8"}
"""Types of constants, by their number in onnx.proto."""
_TENSOR: Fields = dict.fromkeys((1, 2, 4, 5, 6, 7, 8, 9, 10, 11, 12))
_ATTRIBUTE: Fields = dict.fromkeys((1, 2, 3, 4, 7, 8, 9, 13, 20)) | {5: _TENSOR}
_NODE: Fields = dict.fromkeys((1, 2, 3, 4, 6)) | {5: _ATTRIBUTE}
_FUNCTION: Fields = {**dict.fromkeys((1, 4, 5, 10)), 7: _NODE, 9: dict.fromkeys((1, 2))}
_EXTERNAL: Fields = {**_TENSOR, DATA_LOCATION: None, EXTERNAL_DATA: dict.fromkeys((1, 2))}


def _model(external: bool) -> Fields:
    """Return the fields of `ModelProto` in onnx.proto: a graph of nodes and constants, functions.

    Functions call no functions. There are no graphs within attributes and no sparse constants.
    Constants of the graph may lie in another file if `external`.
    """
    graph: Fields = dict.fromkeys((2, 10, 11, 12, 13)) | {
        NODE: {**_NODE, NODE_DOMAIN: None},
        CONSTANT: _EXTERNAL if external else _TENSOR,
    }
    known = dict.fromkeys((1, 2, 3, 4, 5, 6, PROPERTY))
    return {**known, GRAPH: graph, 8: dict.fromkeys((1, 2)), FUNCTION: _FUNCTION}


def metadata_properties(content: bytes) -> dict[str, str]:
    """Return the metadata properties of a serialized model.

    Raises:
        ValueError: The content is no protocol buffer.
    """
    found = {}
    for number, value in _fields(memoryview(content)):
        if number == PROPERTY and isinstance(value, memoryview):
            entry = dict(_fields(value))
            found[_text(entry.get(1, b""))] = _text(entry.get(2, b""))
    return found


def has_functions(content: bytes) -> bool:
    """Whether a serialized model has functions of its own."""
    return any(number == FUNCTION for number, _ in _fields(memoryview(content)))


def constants(content: bytes, data: np.ndarray | None = None) -> dict[str, np.ndarray]:
    """Return the integer and float32 constants of the graph of a serialized model, by name.

    Args:
        content: The model.
        data: Bytes of the file that holds its weights, if there is one.

    Raises:
        ValueError: The content is no protocol buffer, or a constant has fewer values than its
            shape says.
    """
    return dict(_constant(tensor, data) for tensor in _tensors(content))


def _tensors(content: bytes) -> Iterator[memoryview]:
    """Yield the constants of the graph."""
    return _messages(memoryview(content), GRAPH, CONSTANT)


def _messages(message: memoryview, *place: int) -> Iterator[memoryview]:
    """Yield the messages at a place, such as the nodes of the graph."""
    for number, value in _fields(message):
        if number == place[0] and isinstance(value, memoryview):
            yield from [value] if len(place) == 1 else _messages(value, *place[1:])


def _place(tensor: memoryview) -> dict[str, str]:
    """Return where a constant lies in another file; empty if the model holds it."""
    place = {}
    for number, value in _fields(tensor):
        if number == EXTERNAL_DATA and isinstance(value, memoryview):
            entry = dict(_fields(value))
            place[_text(entry.get(1, b""))] = _text(entry.get(2, b""))
    return place


def _constant(tensor: memoryview, data: np.ndarray | None) -> tuple[str, np.ndarray]:
    name, dtype, shape = "", 0, []
    raw: memoryview | np.ndarray = memoryview(b"")
    for number, value in _fields(tensor):
        match number, value:
            case 1, int():
                shape.append(value)
            case 1, memoryview():  # packed
                shape += _varints(value)
            case 2, int():
                dtype = value
            case 8, memoryview():
                name = _text(value)
            case 9, memoryview():
                raw = value
    if data is not None and (place := _place(tensor)):
        begin, length = int(place[OFFSET]), int(place[LENGTH])
        raw = data[begin : begin + length]
    return name, np.frombuffer(raw, DTYPES[dtype]).reshape(shape)


def _varints(message: memoryview) -> list[int]:
    found, at = [], 0
    while at < len(message):
        value, at = _varint(message, at)
        found.append(value)
    return found


def check_content(path: Path, content: bytes, functions: str, external: str | None = None) -> None:
    """Require that a model holds only what lmht-deploy writes.

    Args:
        path: The file, for messages.
        content: The model.
        functions: Domain of its functions.
        external: Name of the file beside it that may hold weights; None for none.

    Raises:
        StorageError: It holds anything else; the message names it.
        ValueError: The content is no protocol buffer.
    """
    _check_operators(path, memoryview(content), functions)
    for place, value in _leaves(memoryview(content), _model(external is not None), ()):
        if value is None:
            raise StorageError(f"{path}: holds {_named(place)}, which is not allowed")
        if place in OPSET_DOMAINS and _text(value) not in ("", functions):
            raise StorageError(f"{path}: holds operators of the unknown domain {_text(value)!r}")
    for found in filter(None, map(_place, _tensors(content))):
        if found.keys() != {LOCATION, OFFSET, LENGTH} or found[LOCATION] != external:
            raise StorageError(f"{path}: refers to the file {found.get(LOCATION, '')!r}")


def _check_operators(path: Path, model: memoryview, domain: str) -> None:
    """Require known operators, and functions of `domain` that are called once each."""
    functions = [
        (_value(function, FUNCTION_DOMAIN), _value(function, FUNCTION_NAME))
        for function in _messages(model, FUNCTION)
    ]
    calls = []
    for place in ((GRAPH, NODE), (FUNCTION, FUNCTION_NODE)):
        for node in _messages(model, *place):
            called = _value(node, NODE_DOMAIN), _value(node, NODE_OPERATOR)
            if called[0]:
                calls.append(called)
            elif called[1] not in OPERATORS:
                raise StorageError(f"{path}: holds the unknown operator {called[1]!r}")
    known = {(domain, name) for _, name in functions}
    if unknown := [name for name in (*calls, *functions) if name not in known]:
        raise StorageError(f"{path}: holds the unknown function {'.'.join(unknown[0])!r}")
    if sorted(calls) != sorted(functions):
        raise StorageError(f"{path}: does not call each of its functions once")


def _value(message: memoryview, field: int) -> str:
    """Return a field that is a text; empty if it is missing."""
    return _text(dict(_fields(message)).get(field, b""))


def _named(place: tuple[int, ...]) -> str:
    tensor = place[:-1] in ((GRAPH, 5), (GRAPH, 1, 5, 5))
    if tensor and place[-1] in (EXTERNAL_DATA, DATA_LOCATION):
        return "weights in another file"
    return f"the unknown field {'.'.join(map(str, place))} of a model"


def _leaves(
    message: memoryview, known: Fields, place: tuple[int, ...]
) -> Iterator[tuple[tuple[int, ...], memoryview | int | None]]:
    """Yield the numbers and the value of every field; None as the value of an unknown one."""
    for number, value in _fields(message):
        inner = known.get(number)
        if number not in known:
            yield (*place, number), None
        elif inner is None:
            yield (*place, number), value
        elif isinstance(value, memoryview):
            yield from _leaves(value, inner, (*place, number))
        else:
            raise ValueError(f"field {number} is no message")


def _fields(message: memoryview) -> Iterator[tuple[int, memoryview | int]]:
    """Yield the number and the value of each field: bytes, or an integer."""
    at = 0
    while at < len(message):
        tag, at = _varint(message, at)
        match tag & 7:
            case 0:
                value, at = _varint(message, at)
                yield tag >> 3, value
                continue
            case 1:
                length = 8
            case 2:
                length, at = _varint(message, at)
            case 5:
                length = 4
            case _:
                raise ValueError("no protocol buffer")
        if length > len(message) - at:
            raise ValueError("no protocol buffer, or it is truncated")
        yield tag >> 3, message[at : at + length]
        at += length


def _varint(message: memoryview, at: int) -> tuple[int, int]:
    """Return the integer at `at`, and where it ends."""
    value = 0
    for shift in range(0, 70, 7):
        if at >= len(message):
            break
        byte = message[at]
        at += 1
        value |= (byte & 127) << shift
        if byte < 128:
            return value, at
    raise ValueError("no protocol buffer, or it is truncated")


def _text(value: memoryview | bytes | int) -> str:
    if isinstance(value, int):
        raise ValueError("a text is no text")
    return bytes(value).decode()
