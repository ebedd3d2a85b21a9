"""Network -> the core's model: the same layers, with flat layers as images of one pixel and every synapse a convolution."""

from __future__ import annotations

from typing import Any

import numpy as np

from lmht_deploy.ir import (
    INT32_MAX,
    Conv,
    Flatten,
    Input,
    Linear,
    MaxPool,
    Network,
    Neurons,
    Readout,
    Scale,
    Shape,
    SumPool,
    Synapse,
)


def image_shape(shape: Shape) -> tuple[int, int, int]:
    """(C, H, W) of a layer of `shape`; a flat one has one pixel."""
    return shape if len(shape) == 3 else (shape[0], 1, 1)  # type: ignore[return-value]


class Planner:
    """Adds the layers of `net` to `model`, an empty `_core.Model`; `places` numbers those that became layers of it."""

    def __init__(self, net: Network, model: Any) -> None:
        self._net = net
        self._model = model
        self._ids: dict[str, int] = {}
        self._moved: set[str] = set()  # Flattens that cost nothing
        self._flattened: dict[
            str, str
        ] = {}  # a Flatten that only linear synapses read -> the layer before it
        self.places: dict[str, int] = {}
        for layer in net.layers:
            self._add(layer)
            if layer.name not in self._moved:
                self.places[layer.name] = len(self.places)

    def _add(self, layer: object) -> None:
        model, ids = self._model, self._ids
        match layer:
            case Input():
                ids[layer.name] = model.add_input(
                    *image_shape(layer.shape), layer.steps, layer.min_value, layer.max_value
                )
            case SumPool() | MaxPool():
                ids[layer.name] = model.add_pool(
                    ids[layer.source],
                    layer.kernel,
                    layer.stride,
                    layer.padding,
                    isinstance(layer, MaxPool),
                )
            case Flatten():
                self._add_flatten(layer)
            case Neurons():
                ids[layer.name] = model.add_neurons(
                    [self._synapse(synapse) for synapse in layer.synapses],
                    layer.bias,
                    layer.threshold,
                    layer.v0,
                    np.ascontiguousarray(layer.unrolled_omega(), np.int32),
                    layer.substeps,
                    layer.levels,
                    int(layer.leak),
                )
            case Readout():
                steps = self._net.blocks(layer.synapses[0].source)
                summable = self._net.bounds[layer.name].current * steps <= INT32_MAX
                model.add_readout(
                    [self._synapse(synapse) for synapse in layer.synapses], layer.bias, summable
                )

    def _add_flatten(self, layer: Flatten) -> None:
        """A Flatten moves nothing where its readers are linear: they become convolutions as large as their input."""
        source = self._flattened.get(layer.source, layer.source)
        readers = [
            synapse
            for other in self._net.layers
            for synapse in getattr(other, "synapses", ())
            if synapse.source == layer.name
        ]
        again = any(
            isinstance(other, Flatten) and other.source == layer.name for other in self._net.layers
        )
        if image_shape(self._net.shapes[source])[1:] == (1, 1):
            self._ids[layer.name] = self._ids[source]
            self._moved.add(layer.name)
        elif all(isinstance(synapse, Linear) for synapse in readers) and not again:
            self._flattened[layer.name] = source
            self._moved.add(layer.name)
        else:
            self._ids[layer.name] = self._model.add_flatten(self._ids[source])

    def _synapse(self, synapse: Synapse) -> tuple[Any, ...]:
        """Arguments of a synapse: source, weight, stride, padding, dilation, groups, exponent, whether its SOPs count."""
        source = self._flattened.get(synapse.source, synapse.source)
        counted = synapse.source not in self._net.pixels
        stride, padding, dilation, groups = (1, 1), (0, 0), (1, 1), 1
        match synapse:
            case Conv():
                weight = synapse.weight
                stride, padding, dilation, groups = (
                    synapse.stride,
                    synapse.padding,
                    synapse.dilation,
                    synapse.groups,
                )
            case Linear():
                weight = synapse.weight.reshape(-1, *image_shape(self._net.shapes[source]))
            case Scale():
                weight = synapse.weight.reshape(-1, 1, 1, 1)
                groups = len(weight)
        return (
            self._ids[source],
            np.ascontiguousarray(weight),
            stride,
            padding,
            dilation,
            groups,
            synapse.exponent,
            counted,
        )
