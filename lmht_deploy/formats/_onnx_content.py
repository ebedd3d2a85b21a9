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

__all__ = ["check_content", "constants", "metadata_properties"]

OPERATORS = frozenset(
    (
        "Add",
        "Cast",
        "Clip",
        "Concat",
        "ConstantOfShape",
        "Conv",
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
OPERATOR, OPSET_DOMAIN = (7, 1, 4), (8, 1)
GRAPH, PROPERTY = 7, 14
CONSTANT = 5
DTYPES = {1: "<f4", 2: "u1", 3: "i1", 6: "<i4", 7: "<i8", 11: "<f8"}
"""Types of constants, by their number in onnx.proto."""
_TENSOR: Fields = dict.fromkeys((1, 2, 4, 5, 6, 7, 8, 9, 10, 11, 12))
_ATTRIBUTE: Fields = dict.fromkeys((1, 2, 3, 4, 7, 8, 9, 13, 20)) | {5: _TENSOR}
_NODE: Fields = dict.fromkeys((1, 2, 3, 4, 6)) | {5: _ATTRIBUTE}
_EXTERNAL: Fields = {**_TENSOR, DATA_LOCATION: None, EXTERNAL_DATA: dict.fromkeys((1, 2))}


def _model(external: bool) -> Fields:
    """Return the fields of `ModelProto` in onnx.proto: one graph of nodes and constants.

    There are no functions, no graphs within attributes and no sparse constants. Constants of the
    graph may lie in another file if `external`.
    """
    graph: Fields = dict.fromkeys((2, 10, 11, 12, 13)) | {
        1: _NODE,
        5: _EXTERNAL if external else _TENSOR,
    }
    return dict.fromkeys((1, 2, 3, 4, 5, 6, PROPERTY)) | {GRAPH: graph, 8: dict.fromkeys((1, 2))}


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
    for number, graph in _fields(memoryview(content)):
        if number == GRAPH and isinstance(graph, memoryview):
            for field, tensor in _fields(graph):
                if field == CONSTANT and isinstance(tensor, memoryview):
                    yield tensor


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


def check_content(path: Path, content: bytes, external: str | None = None) -> None:
    """Require that a model holds only what lmht-deploy writes.

    Args:
        path: The file, for messages.
        content: The model.
        external: Name of the file beside it that may hold weights; None for none.

    Raises:
        StorageError: It holds anything else; the message names it.
        ValueError: The content is no protocol buffer.
    """
    for place, value in _leaves(memoryview(content), _model(external is not None), ()):
        if value is None:
            raise StorageError(f"{path}: holds {_named(place)}, which is not allowed")
        if place == OPERATOR and _text(value) not in OPERATORS:
            raise StorageError(f"{path}: holds the unknown operator {_text(value)!r}")
        if place == OPSET_DOMAIN and _text(value):
            raise StorageError(f"{path}: holds operators of the unknown domain {_text(value)!r}")
    for found in filter(None, map(_place, _tensors(content))):
        if found.keys() != {LOCATION, OFFSET, LENGTH} or found[LOCATION] != external:
            raise StorageError(f"{path}: refers to the file {found.get(LOCATION, '')!r}")


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
