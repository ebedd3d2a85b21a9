"""The network as an ONNX graph with fp32 or int8 weights."""

from __future__ import annotations

from typing import Any

import numpy as np

from lmht_deploy.ir import (
    LEAK_ONE,
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
    SumPool,
    Synapse,
)

from ._batches import Weights, is_identity, per_channel


class Graph:
    """An ONNX graph whose batch dimension holds steps and windows.

    Currents and spikes of an int8 graph pass through QuantizeLinear and DequantizeLinear, which
    ONNX Runtime fuses into QLinearConv.
    """

    def __init__(self, net: Network, weights: Weights, batch: int, one_window: bool) -> None:
        """Build the graph of `net`.

        Args:
            net: Network to run.
            weights: Precision of weights and currents.
            batch: Number of windows B.
            one_window: Whether each layer is one convolution of the summed window and a ReLU.
        """
        self._net, self._batch = net, batch
        self._int8, self._one_window = weights == "int8", one_window
        self._nodes: list[Any] = []
        self._constants: list[Any] = []
        # Average pooling, which frameworks optimize, replaces sums. This factor restores the sums.
        self._factors: dict[str, float] = {}
        for layer in net.layers:
            self._add(layer)

    def to_bytes(self) -> bytes:
        """Return the serialized model."""
        from onnx import TensorProto, helper

        steps = 1 if self._one_window else self._net.input.steps
        inputs = helper.make_tensor_value_info(
            "input", TensorProto.FLOAT, [steps * self._batch, *self._net.input.shape]
        )
        outputs = helper.make_tensor_value_info(
            "logits", TensorProto.FLOAT, [None, self._net.classes]
        )
        graph = helper.make_graph(self._nodes, "net", [inputs], [outputs], self._constants)
        opset = helper.make_opsetid("", 17)
        model = helper.make_model(graph, opset_imports=[opset], ir_version=8)
        return bytes(model.SerializeToString())

    # ---------------------------------------------------------------------------------- layers

    def _add(self, layer: Layer) -> None:
        match layer:
            case Input():
                self._quantized("input", 1.0, np.uint8(0), output=_value(layer.name))
            case Neurons():
                self._add_neurons(layer)
            case SumPool():
                self._add_average_pool(layer)
            case MaxPool():
                self._op("MaxPool", [_value(layer.source)], _value(layer.name), **_window(layer))
                self._factors[layer.name] = self._factor(layer.source)
            case Flatten():
                self._op("Flatten", [_value(layer.source)], _value(layer.name))
                self._factors[layer.name] = self._factor(layer.source)
            case Readout():
                self._op("Identity", [self._sum(self._currents(layer))], "logits")

    def _add_neurons(self, layer: Neurons) -> None:
        currents = self._currents(layer)
        scale = float(layer.threshold.mean()) / 32
        zero = np.uint8(0 if self._one_window and len(currents) == 1 else 128)
        current = self._sum([self._quantized(name, scale, zero) for name in currents])
        spikes = self._op("Relu", [current]) if self._one_window else self._fire(current, layer)
        self._quantized(spikes, 1.0, np.uint8(0), output=_value(layer.name))

    def _add_average_pool(self, layer: SumPool) -> None:
        area = layer.kernel[0] * layer.kernel[1]
        source = [_value(layer.source)]
        pooled = self._op("AveragePool", source, **_window(layer), count_include_pad=1)
        self._quantized(pooled, 1 / area, np.uint8(0), output=_value(layer.name))
        self._factors[layer.name] = self._factor(layer.source) * area

    def _factor(self, layer: str) -> float:
        return self._factors.get(layer, 1.0)

    # ------------------------------------------------------------------------------- synapses

    def _currents(self, layer: Neurons | Readout) -> list[str]:
        """The current of each synapse; the first includes the bias."""
        first, *others = layer.synapses
        return [self._synapse(first, layer.bias), *(self._synapse(one, None) for one in others)]

    def _sum(self, currents: list[str]) -> str:
        total, *others = currents
        for current in others:
            total = self._op("Add", [total, current])
        return total

    def _synapse(self, synapse: Synapse, bias: np.ndarray | None) -> str:
        source = _value(synapse.source)
        factor = self._factor(synapse.source) * 2.0**synapse.exponent
        match synapse:
            case Conv():
                parameters = self._parameters(synapse.weight, factor, bias)
                return self._op("Conv", [source, *parameters], **_geometry(synapse))
            case Linear():
                parameters = self._parameters(synapse.weight, factor, bias)
                return self._op("Gemm", [source, *parameters], transB=1)
            case Scale():
                return self._scale(source, synapse, factor, bias)

    def _scale(self, source: str, synapse: Scale, factor: float, bias: np.ndarray | None) -> str:
        shape = self._net.shapes[synapse.source]
        weight = self._constant(per_channel(synapse.weight * factor, shape))
        scaled = self._op("Mul", [source, weight])
        if bias is None:
            return scaled
        return self._op("Add", [scaled, self._constant(per_channel(bias, shape))])

    def _parameters(self, weight: np.ndarray, factor: float, bias: np.ndarray | None) -> list[str]:
        """Weights times `factor`, and the bias if there is one."""
        scale = np.float32(factor)
        if not self._int8:
            arrays = [weight * scale] if bias is None else [weight * scale, bias]
            return [self._constant(array.astype(np.float32)) for array in arrays]
        found = [self._dequantized(weight.astype(np.int8), scale)]
        if bias is not None:
            found.append(self._dequantized(np.rint(bias / scale).astype(np.int32), scale))
        return found

    def _dequantized(self, array: np.ndarray, scale: np.float32) -> str:
        channels = len(array)
        zero = np.zeros(channels, array.dtype)
        inputs = [array, np.full(channels, scale), zero]
        return self._op("DequantizeLinear", [self._constant(one) for one in inputs], axis=0)

    # -------------------------------------------------------------------------------- neurons

    def _fire(self, current: str, layer: Neurons) -> str:
        """Spikes of all steps: the update of the potential, unrolled over the steps."""
        steps, shape = layer.steps, self._net.shapes[layer.name]
        threshold = self._constant(per_channel(layer.threshold, shape))
        currents = self._split(self._mixed(current, layer), steps)
        # With a half, v / threshold is never an integer: runtimes may multiply by 1 / threshold.
        v0 = layer.v0 + (0.5 if layer.levels > 1 else 0)
        v, spikes = self._constant(per_channel(v0, shape)) if v0.any() else "", []
        for x in currents:
            if v and layer.leak != LEAK_ONE:
                v = self._op("Mul", [v, self._constant(np.float32(layer.leak / LEAK_ONE))])
            v = self._op("Add", [v, x]) if v else x
            spikes.append(self._levels(v, threshold, layer.levels))
            v = self._op("Sub", [v, self._op("Mul", [spikes[-1], threshold])])
        return self._op("Concat", spikes, axis=0) if steps > 1 else spikes[0]

    def _mixed(self, current: str, layer: Neurons) -> str:
        """Currents after the T-GIM."""
        if is_identity(layer.omega):
            return current
        shape = [layer.steps * self._batch, *self._net.shapes[layer.name]]
        flat = self._reshape(current, [layer.omega.shape[1], -1])
        omega = self._constant(layer.omega.astype(np.float32))
        return self._reshape(self._op("MatMul", [omega, flat]), shape)

    def _reshape(self, value: str, shape: list[int]) -> str:
        return self._op("Reshape", [value, self._constant(np.array(shape))])

    def _split(self, value: str, steps: int) -> list[str]:
        if steps == 1:
            return [value]
        split = self._op("Split", [value], outputs=steps, axis=0)
        return [f"{split}.{step}" for step in range(steps)]

    def _levels(self, v: str, threshold: str, levels: int) -> str:
        """The number k of spikes for the potential `v`."""
        if levels == 1:
            return self._op("Cast", [self._op("GreaterOrEqual", [v, threshold])], to=1)
        k = self._op("Floor", [self._op("Div", [v, threshold])])
        limits = [self._constant(np.float32(0)), self._constant(np.float32(levels))]
        return self._op("Clip", [k, *limits])

    # ---------------------------------------------------------------------------------- nodes

    def _op(
        self,
        kind: str,
        inputs: list[str],
        output: str | None = None,
        outputs: int = 1,
        **attributes: Any,
    ) -> str:
        from onnx import helper

        output = output or f"{kind}{len(self._nodes)}"
        names = [output] if outputs == 1 else [f"{output}.{i}" for i in range(outputs)]
        self._nodes.append(helper.make_node(kind, inputs, names, **attributes))
        return output

    def _constant(self, array: Any) -> str:
        from onnx import numpy_helper

        name = f"c{len(self._constants)}"
        self._constants.append(numpy_helper.from_array(np.asarray(array), name))
        return name

    def _quantized(
        self, value: str, scale: float, zero: np.uint8, output: str | None = None
    ) -> str:
        """`value`, rounded to 8 bits in an int8 graph."""
        if not self._int8:
            return self._op("Identity", [value], output) if output else value
        parameters = [self._constant(np.float32(scale)), self._constant(zero)]
        rounded = self._op("QuantizeLinear", [value, *parameters])
        return self._op("DequantizeLinear", [rounded, *parameters], output)


def _value(layer: str) -> str:
    """Name of the output of `layer`."""
    return f"k.{layer}"


def _window(layer: SumPool | MaxPool) -> dict[str, Any]:
    """Attributes of a pooling layer."""
    pads = [*layer.padding] * 2
    return {"kernel_shape": layer.kernel, "strides": layer.stride, "pads": pads}


def _geometry(synapse: Conv) -> dict[str, Any]:
    """Attributes of a convolution."""
    return {
        "kernel_shape": synapse.kernel,
        "pads": [*synapse.padding] * 2,
        "strides": synapse.stride,
        "dilations": synapse.dilation,
        "group": synapse.groups,
    }
