"""Networks as graphs of NIR: layers are nodes, and metadata hold what NIR cannot say.

    Input                  node Input; metadata: steps and range
    Conv, Linear, Scale    node Conv2d, Affine or Scale with the weights W·2^e; metadata: e
    Neurons                node IF, or LIF if they leak; metadata: all constants
    SumPool, MaxPool       node SumPool2d; metadata: the kind
    Flatten                node Flatten
    Readout                node Output; metadata: bias and scale

All metadata are those of the graph, by name of a node: NIR 1.0.4 has none for some nodes.

Reading derives the graph of the network again. A file in which a value that other readers see
differs from it is refused.
"""

from __future__ import annotations

import dataclasses
import json
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, TypeAlias, cast

import numpy as np

from lmht_deploy import ir
from lmht_deploy.errors import StorageError
from lmht_deploy.formats.files import reading
from lmht_deploy.formats.lmht import LAYERS
from lmht_deploy.formats.nir import Graph, Node, Value, read_nir
from lmht_deploy.formats.schema import Field, Group, Schema, check_keys
from lmht_deploy.ir import LEAK_ONE, Network

__all__ = ["FORMAT", "SCHEMA", "Profile", "gain", "load_nir_network", "network_graph"]

Profile: TypeAlias = Literal["plain", "exact"]
"""Who gets the spikes of the network: every reader of IF neurons, or readers of the metadata."""

FORMAT, VERSION = "lmht-deploy NIR", 1
AGAIN = "lmht export NETWORK --out FILE"
"""How to write such a file again."""
LAYER, ORDER, EXPONENT, POOLING = "layer", "order", "exponent", "pooling"

NODES = "nodes"


def _key(name: str, dtype: str, meaning: str) -> Field:
    return Field(name, dtype, meaning, kind="data set")


def _stored(kind: type) -> tuple[Field, ...]:
    """Return the keys of a layer of a `.lmht` file that no node of NIR has."""
    names = ("name", "shape", "synapses", "source")
    return tuple(
        dataclasses.replace(field, kind="data set", since=1)
        for field in LAYERS[kind].fields
        if field.name not in names
    )


STORED: Mapping[type, tuple[Field, ...]] = {
    kind: _stored(kind) for kind in (ir.Input, ir.Neurons, ir.Flatten, ir.Readout)
}
"""Keys of each kind of layer in the metadata, beside its position."""
_LAYER = _key(LAYER, "int64", "Position of the layer in the network, from 0.")
_GRAPH = (
    _key("format", "text", "Identifies the format."),
    _key("version", "int64", "Version of the format."),
    _key("profile", "text", "`plain` or `exact`."),
    _key("dt", "float64", "Length of a step, in the unit of `tau`: 1."),
    _key("fires", "text", "`v >= v_threshold`."),
    _key("output", "text", "`sum over steps`: how logits follow from what enters Output."),
    _key("provenance", "text", "Provenance of the network, a JSON object of texts."),
)
_PLACE = "/node/metadata/nodes/<name>"
SCHEMA = Schema(
    title="NIR files of lmht-deploy (`.nir`)",
    suffix=".nir",
    format=FORMAT,
    version=VERSION,
    summary="""
A graph of NIR, with the nodes of NIR 1.0.4. All further keys are metadata, which other readers
ignore. Node `<layer>` is a layer of the network, and node `<layer>:<j>` its synapse j, with the
weights W·2^e. Layers have the keys of a `.lmht` file. Other `.nir` files have no such metadata.""",
    groups=(
        Group("/node/metadata", "The graph.", _GRAPH),
        Group(f"{_PLACE}, type Input", "The input of the network.", (_LAYER, *STORED[ir.Input])),
        Group(f"{_PLACE}, type Output", "The read-out.", (_LAYER, *STORED[ir.Readout])),
        Group(f"{_PLACE}, type IF or LIF", "LM-HT neurons.", (_LAYER, *STORED[ir.Neurons])),
        Group(
            f"{_PLACE}, type Conv2d, Affine or Scale",
            "A synapse.",
            (
                _key(ORDER, "int64", "Position among the synapses of its layer, from 0."),
                _key(EXPONENT, "int64", "Weight exponent e."),
            ),
        ),
        Group(
            f"{_PLACE}, type SumPool2d",
            "A pooling.",
            (_LAYER, _key(POOLING, "text", "`sum` or `max`.")),
        ),
        Group(f"{_PLACE}, type Flatten", "A change of shape.", (_LAYER,)),
    ),
    checksum="As in a `.lmht` file, in the attribute `checksum` of the root group.",
)
"""Description of the format."""


def gain(layer: ir.Neurons) -> float:
    """Return the mean factor by which the T-GIM multiplies a current; D where Ωq is D·I."""
    return float(layer.omega.sum(1).mean())


# ---------------------------------------------------------------------------------------- writing


def network_graph(net: Network, profile: Profile) -> Graph:
    """Return an integer network as a graph of NIR.

    Args:
        net: The network.
        profile: The profile that the graph states.
    """
    return _Writer(net).graph(profile)


class _Writer:
    """Turns layers into nodes and edges, one after the other."""

    def __init__(self, net: Network) -> None:
        self._net = net
        self._nodes: dict[str, Node] = {}
        self._edges: list[tuple[str, str]] = []
        self._constants: dict[str, dict[str, Any]] = {}

    def graph(self, profile: Profile) -> Graph:
        for index, layer in enumerate(self._net.layers):
            self._add(index, layer)
        return Graph(self._nodes, tuple(self._edges), metadata=self._metadata(profile))

    def _metadata(self, profile: Profile) -> dict[str, Any]:
        net = self._net
        return {
            "format": FORMAT,
            "version": VERSION,
            "profile": profile,
            "dt": 1.0,
            "fires": "v >= v_threshold",
            "output": "sum over steps",
            "provenance": json.dumps(dict(net.metadata), sort_keys=True),
            NODES: self._constants,
        }

    def _add(self, index: int, layer: ir.Layer) -> None:
        self._nodes[layer.name] = self._node(layer)
        self._constants[layer.name] = {LAYER: index, **_constants(layer)}
        if isinstance(layer, ir.Neurons | ir.Readout):
            self._add_synapses(layer)
        elif not isinstance(layer, ir.Input):
            self._edges.append((layer.source, layer.name))

    def _node(self, layer: ir.Layer) -> Node:
        shape = self._net.shapes[layer.name]
        match layer:
            case ir.Input():
                return Node("Input", {"shape": np.array(shape)})
            case ir.Readout():
                return Node("Output", {"shape": np.array(shape)})
            case ir.Neurons():
                return _neurons(layer, shape)
            case ir.Flatten():
                entry = np.array(self._net.shapes[layer.source])
                ends = {"start_dim": np.array(0), "end_dim": np.array(-1)}
                return Node("Flatten", {**ends, "input_type": entry})
        return _pool(layer)

    def _add_synapses(self, layer: ir.Neurons | ir.Readout) -> None:
        bias = layer.bias
        for order, synapse in enumerate(layer.synapses):
            name = f"{layer.name}:{order}"
            added = bias if not isinstance(synapse, ir.Scale) else np.zeros_like(bias)
            self._nodes[name] = _synapse(synapse, self._net.shapes[synapse.source], added)
            self._constants[name] = {ORDER: order, EXPONENT: synapse.exponent}
            self._edges += [(synapse.source, name), (name, layer.name)]
            bias = bias - added  # the first synapse that can hold it has the whole bias


def _constants(layer: ir.Layer) -> dict[str, Any]:
    """Return what NIR cannot say of a layer."""
    match layer:
        case ir.SumPool():
            return {POOLING: "sum"}
        case ir.MaxPool():
            return {POOLING: "max"}
    found = {field.name: getattr(layer, field.name) for field in STORED[type(layer)]}
    return {key: value for key, value in found.items() if value is not None}


def _synapse(synapse: ir.Synapse, shape: ir.Shape, bias: np.ndarray) -> Node:
    weight = np.ldexp(synapse.weight.astype(np.float32), synapse.exponent)
    match synapse:
        case ir.Conv():
            geometry = (synapse.stride, synapse.padding, synapse.dilation, synapse.groups)
            keys = ("stride", "padding", "dilation", "groups")
            values: dict[str, Value] = {
                key: np.array(value) for key, value in zip(keys, geometry, strict=True)
            }
            values |= {"weight": weight, "bias": bias.astype(np.float32)}
            return Node("Conv2d", {**values, "input_shape": np.array(shape[1:])})
        case ir.Linear():
            return Node("Affine", {"weight": weight, "bias": bias.astype(np.float32)})
    return Node("Scale", {"scale": _per_neuron(weight, shape)})


def _neurons(layer: ir.Neurons, shape: ir.Shape) -> Node:
    """Return IF neurons with the threshold θ/D, or LIF neurons if the potential decays."""
    factor = gain(layer) if gain(layer) > 0 else 1.0
    threshold = _per_neuron((layer.threshold / factor).astype(np.float32), shape)
    ones = np.ones_like(threshold)
    if layer.leak >= LEAK_ONE:
        return Node("IF", {"r": ones, "v_threshold": threshold})
    tau = ones / (1 - np.float32(layer.leak / LEAK_ONE))  # λ = 1 - dt/τ, and r·dt/τ = 1
    values: dict[str, Value] = {"tau": tau, "r": tau, "v_leak": 0 * ones, "v_threshold": threshold}
    return Node("LIF", values)


def _per_neuron(values: np.ndarray, shape: ir.Shape) -> np.ndarray:
    column = values.reshape(-1, *(1,) * (len(shape) - 1))
    return np.ascontiguousarray(np.broadcast_to(column, shape))


def _pool(layer: ir.SumPool | ir.MaxPool) -> Node:
    values = {
        "kernel_size": np.array(layer.kernel),
        "stride": np.array(layer.stride),
        "padding": np.array(layer.padding),
    }
    return Node("SumPool2d", values)


# ---------------------------------------------------------------------------------------- reading


def holds_network(path: str | Path) -> bool:
    """Return whether lmht-deploy exported a `.nir` file, so that `load_nir_network` reads it.

    Raises:
        StorageError: The file is missing or damaged.
    """
    return read_nir(path).metadata.get("format") == FORMAT


def load_nir_network(path: str | Path) -> Network:
    """Read the network of a `.nir` file that lmht-deploy exported.

    Raises:
        StorageError: The file is missing or damaged, or another tool wrote it, or a value that
            other readers see is not that of the network.
    """
    with reading(path, "a .nir file"):
        graph = read_nir(path)
        found = graph.metadata
        if "format" not in found:
            raise StorageError(
                f"{path}: holds no network of lmht-deploy; import it: "
                f"lmht import {path} --out net.lmht --steps T"
            )
        SCHEMA.check(path, found["format"], _plain(found.get("version")))
        keys = {key.name for key in _GRAPH} | {NODES}
        check_keys(f"{path}: the graph", found, keys, keys, AGAIN)
        net = _Reader(path, graph).network()
        _check_visible(path, graph, network_graph(net, found["profile"]))
        return net


class _Reader:
    """Turns nodes into layers."""

    def __init__(self, path: str | Path, graph: Graph) -> None:
        self._path, self._graph = path, graph
        self._reads: dict[str, list[str]] = defaultdict(list)
        for source, target in graph.edges:
            self._reads[target].append(source)

    def network(self) -> Network:
        layers = {name: node for name, node in self._graph.nodes.items() if LAYER in self._of(name)}
        order = sorted(layers, key=lambda name: self._integer(name, LAYER))
        found = tuple(self._layer(name, layers[name]) for name in order)
        return Network(found, json.loads(self._graph.metadata["provenance"]))

    def _of(self, name: str) -> Mapping[str, Any]:
        """Return the metadata of a node."""
        found = self._graph.metadata[NODES].get(name)
        if not isinstance(found, Mapping):
            raise StorageError(f"{self._path}: {name} has no metadata")
        return found

    def _integer(self, name: str, key: str) -> int:
        found = _plain(self._of(name).get(key))
        if not isinstance(found, int):
            raise StorageError(f"{self._path}: {name}: {key} must be an integer")
        return found

    def _layer(self, name: str, node: Node) -> ir.Layer:
        match node.type:
            case "Input":
                shape = tuple(int(n) for n in np.ravel(cast(np.ndarray, node.values["shape"])))
                return ir.Input(name=name, shape=shape, **self._constants(name, ir.Input))
            case "Output":
                constants = self._constants(name, ir.Readout)
                return ir.Readout(name=name, synapses=self._synapses(name), **constants)
            case "IF" | "LIF":
                constants = self._constants(name, ir.Neurons)
                return ir.Neurons(name=name, synapses=self._synapses(name), **constants)
            case "Flatten":
                return ir.Flatten(name=name, source=self._source(name))
            case "SumPool2d":
                return self._pool(name, node)
        raise StorageError(f"{self._path}: {name}: a network has no node of type {node.type}")

    def _constants(self, name: str, kind: type) -> dict[str, Any]:
        found, fields = self._of(name), (_LAYER, *STORED[kind])
        required = [field.name for field in fields if not field.optional]
        known = [field.name for field in fields]
        check_keys(f"{self._path}: {name}", found, required, known, AGAIN)
        return {key: _plain(value) for key, value in found.items() if key != LAYER}

    def _source(self, name: str) -> str:
        if len(self._reads[name]) != 1:
            raise StorageError(f"{self._path}: {name}: {len(self._reads[name])} edges enter it")
        return self._reads[name][0]

    def _pool(self, name: str, node: Node) -> ir.Layer:
        kind = ir.MaxPool if self._of(name)[POOLING] == "max" else ir.SumPool
        kernel, stride, padding = (_pair(node, key) for key in ("kernel_size", "stride", "padding"))
        return kind(
            name=name, source=self._source(name), kernel=kernel, stride=stride, padding=padding
        )

    def _synapses(self, name: str) -> tuple[ir.Synapse, ...]:
        ordered = sorted(self._reads[name], key=lambda source: self._integer(source, ORDER))
        return tuple(self._synapse(source, self._graph.nodes[source]) for source in ordered)

    def _synapse(self, name: str, node: Node) -> ir.Synapse:
        exponent = self._integer(name, EXPONENT)
        shared: dict[str, Any] = {"source": self._source(name), "exponent": exponent}
        key = "scale" if node.type == "Scale" else "weight"
        weight = np.ldexp(cast(np.ndarray, node.values[key]), -exponent).astype(np.int64)
        if node.type == "Scale":
            return ir.Scale(weight=weight.reshape(len(weight), -1)[:, 0], **shared)
        if node.type == "Affine":
            return ir.Linear(weight=weight, **shared)
        geometry: dict[str, Any] = {
            key: _pair(node, key) for key in ("stride", "padding", "dilation")
        }
        groups = int(cast(np.ndarray, node.values["groups"]))
        return ir.Conv(weight=weight, **geometry, groups=groups, **shared)


def _pair(node: Node, key: str) -> ir.Pair:
    first, last = (int(n) for n in cast(np.ndarray, node.values[key]))
    return first, last


def _plain(value: Any) -> Any:
    return value.item() if isinstance(value, np.generic) else value


def _check_visible(path: str | Path, found: Graph, expected: Graph) -> None:
    """Require that a reader without the metadata sees the graph of the network."""
    same = found.metadata[NODES].keys() == expected.nodes.keys() == found.nodes.keys()
    if not same or {*found.edges} != {*expected.edges}:
        raise StorageError(f"{path}: its nodes are not those of the network in its metadata")
    for name, node in expected.nodes.items():
        given = found.nodes[name].values
        values = {key: value for key, value in node.values.items() if key != "input_type"}
        if found.nodes[name].type != node.type or given.keys() != values.keys():
            raise StorageError(f"{path}: {name} is not the layer that its metadata state")
        for key, value in values.items():
            if not np.array_equal(given[key], value):
                raise StorageError(
                    f"{path}: {name}: {key} as NIR states it is not that of the metadata"
                )
