"""`.nir` files: graphs of the Neuromorphic Intermediate Representation (NIR) as HDF5.

NIR (Pedersen et al., *Nature Communications* 2024) is what sinabs, snnTorch, SpikingJelly and Norse
exchange. A file may come from anyone. So it is read here, without the package `nir`: the layout of
the HDF5 file is checked first, and every node must have the keys of its type and no others.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias

import h5py
import numpy as np

from lmht_deploy._arguments import as_array
from lmht_deploy.errors import StorageError, listed, show
from lmht_deploy.formats.hdf5 import hdf5_checksum, reading_hdf5, writing_hdf5

__all__ = ["Graph", "Node", "Value", "graph_from_dict", "read_nir", "write_nir"]

VERSION = "1.0.4"
"""Version of NIR whose keys `write_nir` writes; every later version reads them."""
MAX_NODES = 2**14
"""Largest number of nodes of a graph, those of its subgraphs included."""
MAX_DEPTH = 8
"""Largest number of nested graphs."""

Value: TypeAlias = np.ndarray | str
"""A value of a node: numbers, or the name of a padding."""

GRAPH = "NIRGraph"
_CONV = ("weight", "bias", "stride", "padding", "dilation", "groups")
_POOL = ("kernel_size", "stride", "padding")
_LIF = ("r", "v_leak", "v_threshold")
KEYS: Mapping[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "Input": (("shape",), ()),
    "Output": (("shape",), ()),
    "Identity": ((), ("shape",)),
    "Affine": (("weight", "bias"), ()),
    "Linear": (("weight",), ()),
    "Scale": (("scale",), ()),
    "Conv1d": (_CONV, ("input_shape",)),
    "Conv2d": (_CONV, ("input_shape",)),
    "SumPool2d": (_POOL, ()),
    "AvgPool2d": (_POOL, ()),
    "Flatten": (("start_dim", "end_dim"), ()),
    "Delay": (("delay",), ()),
    "Threshold": (("threshold",), ()),
    "I": (("r",), ()),
    "LI": (("tau", "r", "v_leak"), ()),
    "IF": (("r", "v_threshold"), ("v_reset",)),
    "LIF": (("tau", *_LIF), ("v_reset",)),
    "CubaLI": (("tau_syn", "tau_mem", "r", "v_leak"), ("w_in",)),
    "CubaLIF": (("tau_syn", "tau_mem", *_LIF), ("v_reset", "w_in")),
}
"""By type of node: the keys that it has, and those that it may have."""
ANYWHERE = {"type", "metadata", "input_type", "output_type"}
"""Keys that any node may have."""
INFINITE = {"tau", "tau_syn", "tau_mem", "r"}
"""Keys whose values may be infinite: snnTorch writes them so for neurons without leak."""


@dataclass(frozen=True)
class Node:
    """One node.

    Attributes:
        type: Type of the node, such as "LIF".
        values: Its values by key: float64 or int64 arrays, or the name of a padding.
        metadata: Texts and arrays that NIR does not define.
    """

    type: str
    values: Mapping[str, Value]
    metadata: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Graph:
    """A graph. The nodes of subgraphs belong to it, with the names of both joined by a dot.

    Attributes:
        nodes: Nodes by name.
        edges: Pairs of names: what leaves the first enters the second.
        version: Version of NIR that the file states; empty for a graph in memory.
        metadata: Metadata of the graph.
    """

    nodes: Mapping[str, Node]
    edges: tuple[tuple[str, str], ...]
    version: str = ""
    metadata: Mapping[str, Any] = field(default_factory=dict)


def read_nir(path: str | Path) -> Graph:
    """Read a `.nir` file of any tool.

    Raises:
        StorageError: The file is missing or damaged, or a node has an unknown type, a missing or an
            additional key, or a value that is no finite number. A file of `write_nir` has a
            checksum, which is compared with its content.
    """
    with reading_hdf5(path, "a .nir file") as file:
        if missing := [name for name in ("version", "node") if name not in file]:
            raise StorageError(f"{path}: is not a .nir file: it has no {listed(missing)}")
        if file.attrs.get("checksum", hdf5_checksum(file)) != hdf5_checksum(file):
            raise StorageError(
                f"{path}: the checksum does not match the content; the file is damaged or was "
                "edited"
            )
        version = _plain(file["version"][()])
        return graph_from_dict(_as_dict(file["node"]), str(version), str(path))


def write_nir(path: str | Path, graph: Graph) -> None:
    """Write a graph without subgraphs to a `.nir` file, which appears complete or not at all.

    Raises:
        StorageError: The file cannot be written.
    """
    with writing_hdf5(path) as file:
        _write_text(file, "version", VERSION)
        root = file.create_group("node")
        _write_text(root, "type", GRAPH)
        edges = np.array(graph.edges, dtype=object).reshape(-1, 2)
        root.create_dataset("edges", data=edges, dtype=h5py.string_dtype(), track_times=False)
        _write_values(root, "metadata", graph.metadata)
        nodes = root.create_group("nodes")
        for name, node in graph.nodes.items():
            group = _group(nodes, name)
            _write_text(group, "type", node.type)
            for key, value in node.values.items():
                _write_value(group, key, value)
            _write_values(group, "metadata", node.metadata)


def _group(parent: h5py.Group, name: str) -> h5py.Group:
    """Add a group. Given as bytes, any name is stored as `check_layout` allows."""
    return parent.create_group(name.encode())


def _write_values(parent: h5py.Group, name: str, values: Mapping[str, Any]) -> None:
    if values:
        group = _group(parent, name)
        for key, value in values.items():
            _write_value(group, key, value)


def _write_value(group: h5py.Group, key: str, value: Any) -> None:
    if isinstance(value, Mapping):
        _write_values(group, key, value)
    elif isinstance(value, str):
        _write_text(group, key, value)
    else:
        group.create_dataset(key, data=value, track_times=False)


def _write_text(group: h5py.Group, key: str, text: str) -> None:
    group.create_dataset(key, data=text, dtype=h5py.string_dtype(), track_times=False)


# ---------------------------------------------------------------------------------------- reading


def graph_from_dict(content: Mapping[str, Any], version: str = "", path: str = "NIR") -> Graph:
    """Return the graph that a dictionary describes, as `nir.NIRGraph.to_dict` returns it.

    Args:
        content: The dictionary.
        version: Version of NIR that wrote it; empty if it is not known.
        path: Name of the file, for messages.

    Raises:
        StorageError: It does not describe a graph.
    """
    nodes: dict[str, Node] = {}
    edges: list[tuple[str, str]] = []
    if _plain(content.get("type", GRAPH)) != GRAPH:
        raise StorageError(f"{path}: is not a graph, but a node of type {show(content['type'])}")
    _collect(path, "", content, nodes, edges, 0)
    return Graph(nodes, tuple(edges), version, _metadata(content))


def _collect(
    path: str,
    prefix: str,
    content: Mapping[str, Any],
    nodes: dict[str, Node],
    edges: list[tuple[str, str]],
    depth: int,
) -> None:
    """Add the nodes and edges of a graph and of its subgraphs."""
    if depth > MAX_DEPTH:
        raise StorageError(f"{path}: {prefix[:-1]}: graphs are nested too deeply")
    if not isinstance(content.get("nodes"), Mapping) or "edges" not in content:
        raise StorageError(f"{path}: {prefix[:-1] or 'the graph'} needs 'nodes' and 'edges'")
    found: dict[str, Mapping[str, Any]] = dict(content["nodes"])
    if strange := [name for name in found if not isinstance(name, str)]:
        raise StorageError(f"{path}: the name of a node must be text, not {show(strange[0])}")
    graphs = {name for name, node in found.items() if _type(path, prefix + name, node) == GRAPH}
    for name, node in found.items():
        where = prefix + name
        if len(nodes) >= MAX_NODES or where in nodes:
            raise StorageError(f"{path}: {where}: has too many nodes, or this name twice")
        if name in graphs:
            _collect(path, f"{where}.", node, nodes, edges, depth + 1)
        else:
            nodes[where] = _inner(_node(path, where, node), depth)
    for source, target in _edges(path, content["edges"]):
        if source not in found or target not in found:
            raise StorageError(f"{path}: the edge {source!r} to {target!r} leads to no node")
        out = _end(path, source, found[source], "Output") if source in graphs else source
        into = _end(path, target, found[target], "Input") if target in graphs else target
        edges.append((prefix + out, prefix + into))


def _inner(node: Node, depth: int) -> Node:
    """Inputs and outputs of a subgraph pass on what they receive."""
    return Node("Identity", {}) if depth and node.type in ("Input", "Output") else node


def _end(path: str, name: str, graph: Mapping[str, Any], kind: str) -> str:
    """Return the one input or output of the subgraph `name`, with that name before it."""
    inside = graph.get("nodes", {})
    ends = [inner for inner, node in inside.items() if _type(path, name, node) == kind]
    if len(ends) != 1:
        raise StorageError(f"{path}: {name}: a subgraph needs one {kind}, not {len(ends)}")
    return f"{name}.{ends[0]}"


def _type(path: str, where: str, node: object) -> str:
    kind = _plain(node.get("type")) if isinstance(node, Mapping) else None
    if not isinstance(kind, str) or kind not in (*KEYS, GRAPH):
        raise StorageError(f"{path}: {where} is of the unknown type {show(kind)}")
    return kind


def _node(path: str, where: str, content: Mapping[str, Any]) -> Node:
    kind = _type(path, where, content)
    required, optional = KEYS[kind]
    found = {key for key, value in content.items() if value is not None} - ANYWHERE
    if not set(required) <= found or not found <= {*required, *optional}:
        raise StorageError(
            f"{path}: {where} ({kind}) should have {sorted(required)}, has {sorted(found)}"
        )
    values = {key: _value(f"{path}: {where}: {key}", key, content[key]) for key in sorted(found)}
    return Node(kind, values, _metadata(content))


def _value(what: str, key: str, value: Any) -> Value:
    """Return numbers as float64 or int64; texts stay texts."""
    value = _plain(value)
    if isinstance(value, str) and key == "padding":
        return value
    given = as_array(what, _without_gradient(what, value), StorageError)
    if given.dtype.kind not in "iubf":
        raise StorageError(f"{what} must be real numbers, not {show(value)}")
    with np.errstate(over="ignore"):  # a long double beyond float64 becomes infinite
        array = given.astype(np.float64 if given.dtype.kind == "f" else np.int64)
    if given.dtype.kind == "u" and (array != given).any():
        raise StorageError(f"{what} has integers beyond 64 bits with a sign, found {given.max()}")
    allowed = np.isfinite(array) | ((array == np.inf) & (key in INFINITE))
    if not array.size or not allowed.all():
        raise StorageError(f"{what} is empty, or has values that are no finite numbers")
    return array


def _without_gradient(what: str, value: Any) -> Any:
    """Return a tensor of PyTorch in the memory of the CPU; any other value as it is."""
    try:
        return value.detach().cpu() if hasattr(value, "detach") else value
    except NotImplementedError:
        raise StorageError(f"{what} is a tensor without values ({show(value)})") from None


def _edges(path: str, edges: Any) -> list[tuple[str, str]]:
    try:
        pairs = [() if isinstance(pair, str) else tuple(map(_plain, pair)) for pair in edges]
    except TypeError:  # what cannot be iterated
        pairs = [()]
    if any(len(pair) != 2 or not all(isinstance(name, str) for name in pair) for pair in pairs):
        raise StorageError(f"{path}: an edge must be a pair of names")
    return list(dict.fromkeys(pairs))


def _metadata(content: Mapping[str, Any]) -> dict[str, Any]:
    found = _texts(content.get("metadata"))
    return found if isinstance(found, dict) else {}


def _texts(value: Any) -> Any:
    """Return metadata with texts in place of bytes."""
    if isinstance(value, Mapping):
        return {str(key): _texts(item) for key, item in value.items()}
    return _plain(value)


def _as_dict(group: h5py.Group) -> dict[str, Any]:
    return {
        name: _as_dict(item) if isinstance(item, h5py.Group) else item[()]
        for name, item in group.items()
    }


def _plain(value: Any) -> Any:
    return value.decode(errors="backslashreplace") if isinstance(value, bytes) else value
