"""The network in an ONNX file: its layers as JSON, its weights as constants of the graph.

The JSON holds all fields of the layers (`lmht_deploy.ir`) except the weights of synapses, the reset
"subtract" and a floor that is None. Synapse `i` of a layer has its weight in the constant
`<layer>/weight<i>:`, in the layout of the product that computes it:

    Linear            int8 [N_in, N_out]
    Conv              int8 [kh·kw·C_in, C_out]
    Conv with groups  int8 [groups, kh·kw·C_in/groups, C_out/groups]
    Conv in float32   int8 [C_out, C_in/groups, kh, kw]
    Scale             int32 [C], times 2^e
    uint8             any of them + 128
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from typing import Any

import numpy as np

from lmht_deploy.ir import (
    Conv,
    Flatten,
    Input,
    Linear,
    MaxPool,
    Network,
    Neurons,
    Readout,
    Scale,
    SumPool,
    Synapse,
)

__all__ = ["describe", "rebuild", "weight_name"]

LAYERS = {kind.__name__: kind for kind in (Input, Neurons, SumPool, MaxPool, Flatten, Readout)}
SYNAPSES = {kind.__name__: kind for kind in (Conv, Linear, Scale)}
KERNEL = "kernel"


def weight_name(layer: str, index: int) -> str:
    """Return the name of the constant with the weight of a synapse."""
    return f"{layer}/weight{index}:"


def describe(net: Network) -> str:
    """Return the layers of a network as JSON, without weights."""
    return json.dumps([_described(layer) for layer in net.layers])


def rebuild(text: str, constants: Mapping[str, np.ndarray], metadata: Mapping[str, str]) -> Network:
    """Return the network of a file.

    Args:
        text: JSON of `describe`.
        constants: Constants of the graph, by name.
        metadata: Provenance of the network.

    Raises:
        NetworkError: The values do not fit a network.
        KeyError, ValueError, TypeError: The text does not describe layers, or a weight is missing.
    """
    layers = []
    for entry in json.loads(text):
        kind = LAYERS[entry.pop("type")]
        if "synapses" in entry:
            entry["synapses"] = tuple(
                _synapse(synapse, constants[weight_name(entry["name"], index)])
                for index, synapse in enumerate(entry["synapses"])
            )
        layers.append(kind(**entry))
    return Network(tuple(layers), dict(metadata))


def _described(record: Any) -> dict[str, Any]:
    found: dict[str, Any] = {"type": type(record).__name__}
    for field in dataclasses.fields(record):
        value = getattr(record, field.name)
        if field.name == "synapses":
            found["synapses"] = [_described(synapse) for synapse in value]
        elif field.name != "weight" and not _left_out(field.name, value):
            found[field.name] = value.tolist() if isinstance(value, np.ndarray) else value
    if isinstance(record, Conv):
        found[KERNEL] = record.kernel
    return found


def _left_out(name: str, value: object) -> bool:
    return (name == "reset" and value == "subtract") or (name == "floor" and value is None)


def _synapse(entry: dict[str, Any], stored: np.ndarray) -> Synapse:
    kind = SYNAPSES[entry.pop("type")]
    kernel = entry.pop(KERNEL, None)
    weight = stored.astype(np.int64) - (128 if stored.dtype == np.uint8 else 0)
    if kind is Scale:
        weight = weight >> entry["exponent"]
    elif kind is Linear:
        weight = weight.T
    elif weight.ndim != 4:
        weight = _kernels(weight, entry["groups"], kernel)
    return kind(weight=weight, **entry)


def _kernels(rows: np.ndarray, groups: int, kernel: tuple[int, int]) -> np.ndarray:
    """Convert rows of a matrix product to [C_out, C_in/groups, kh, kw]."""
    height, width = kernel
    blocks = rows.reshape(groups, height * width, -1, rows.shape[-1])
    outputs = groups * rows.shape[-1]
    found: np.ndarray = blocks.transpose(0, 3, 2, 1).reshape(outputs, -1, height, width)
    return found
