"""Translation of a `Network` to the layers of the core's model.

Flat layers become images of one pixel, and every synapse becomes a convolution.
"""

from __future__ import annotations

import numpy as np

from lmht_deploy.ir import (
    INT32_MAX,
    Conv,
    Flatten,
    Input,
    Layer,
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

from ._extension import core


def image_shape(shape: Shape) -> tuple[int, int, int]:
    """Return `shape` as (C, H, W); a flat layer has one pixel."""
    channels, height, width = shape if len(shape) == 3 else (shape[0], 1, 1)
    return channels, height, width


class Planner:
    """Adds the layers of a network to an empty model of the core.

    Attributes:
        places: Index of each layer in the core's model, by name; none for a layer without cost.
    """

    def __init__(self, net: Network, model: core.Model, synapse_type: type[core.Synapse]) -> None:
        """Add the layers of `net` to `model`, with synapses made by `synapse_type`."""
        self.places: dict[str, int] = {}
        self._net = net
        self._model = model
        self._synapse_type = synapse_type
        self._ids: dict[str, int] = {}
        for layer in net.layers:
            self._add(layer)
            if layer.name not in net.free_flattens:
                self.places[layer.name] = len(self.places)

    def _add(self, layer: Layer) -> None:
        match layer:
            case Input():
                self._ids[layer.name] = self._add_input(layer)
            case SumPool() | MaxPool():
                self._ids[layer.name] = self._model.add_pool(
                    source=self._ids[layer.source],
                    kernel=layer.kernel,
                    stride=layer.stride,
                    padding=layer.padding,
                    max=isinstance(layer, MaxPool),
                )
            case Flatten():
                self._ids[layer.name] = self._add_flatten(layer)
            case Neurons():
                self._ids[layer.name] = self._add_neurons(layer)
            case Readout():
                self._add_readout(layer)

    def _add_input(self, layer: Input) -> int:
        channels, height, width = image_shape(layer.shape)
        return self._model.add_input(
            channels=channels,
            height=height,
            width=width,
            steps=layer.steps,
            min_count=layer.min_value,
            max_count=layer.max_value,
        )

    def _add_neurons(self, layer: Neurons) -> int:
        return self._model.add_neurons(
            synapses=[self._synapse(synapse) for synapse in layer.synapses],
            bias=layer.bias,
            threshold=layer.threshold,
            v0=layer.v0,
            omega=np.ascontiguousarray(layer.unrolled_omega(), np.int32),
            substeps=layer.substeps,
            levels=layer.levels,
            leak=int(layer.leak),
            reset=layer.reset,
            floor=layer.floor,
        )

    def _add_readout(self, layer: Readout) -> None:
        steps = self._net.blocks(layer.synapses[0].source)
        self._model.add_readout(
            synapses=[self._synapse(synapse) for synapse in layer.synapses],
            bias=layer.bias,
            summable=self._net.bounds[layer.name].current * steps <= INT32_MAX,
        )

    def _add_flatten(self, layer: Flatten) -> int:
        source = self._net.free_flattens.get(layer.name)
        if source is not None:
            return self._ids[source]
        return self._model.add_flatten(source=self._ids[layer.source])

    def _synapse(self, synapse: Synapse) -> core.Synapse:
        source = self._net.free_flattens.get(synapse.source, synapse.source)
        weight, groups = synapse.weight, 1
        conv = synapse if isinstance(synapse, Conv) else None
        if isinstance(synapse, Linear):
            weight = weight.reshape(-1, *image_shape(self._net.shapes[source]))
        elif isinstance(synapse, Scale):
            weight, groups = weight.reshape(-1, 1, 1, 1), len(weight)
        return self._synapse_type(
            source=self._ids[source],
            weight=np.ascontiguousarray(weight),
            stride=conv.stride if conv else (1, 1),
            padding=conv.padding if conv else (0, 0),
            dilation=conv.dilation if conv else (1, 1),
            groups=conv.groups if conv else groups,
            exponent=synapse.exponent,
            counted=synapse.source not in self._net.pixels,
        )
