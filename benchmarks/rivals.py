"""What the engine is compared with: the same network on dense frameworks. Each rival is built by a function of a network.

The rivals compute what they can: fp32 is not exact, and int8 rounds every current to 8 bits. Their integers are not
compared; their time is.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from typing import Any, Literal

import numpy as np

from lmht_deploy.network import Conv, Flatten, Input, Linear, MaxPool, Network, Neurons, Readout, Scale, SumPool, Synapse

Run = Callable[[], object]
Weights = Literal["fp32", "int8"]


def onnxruntime(net: Network, window: np.ndarray, weights: Weights, threads: int, *, one_window: bool = False) -> Run:
    """`net` in ONNX Runtime: its T steps as a batch, the IF neuron unrolled over them.

    With `one_window`, ONE convolution a layer over the summed window and a ReLU in place of the neurons.
    """
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads, options.log_severity_level = threads, 1, 3
    model = _OnnxGraph(net, weights, one_window).model()
    session = ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    binding = session.io_binding()
    inputs = window.sum(0, keepdims=True) if one_window else window
    binding.bind_ortvalue_input("input", ort.OrtValue.ortvalue_from_numpy(inputs.astype(np.float32)))
    binding.bind_output("logits")
    return lambda: session.run_with_iobinding(binding)


class _OnnxGraph:
    """Steps are the batch dimension. Currents and spikes of an int8 graph go through QuantizeLinear/DequantizeLinear,
    which ONNX Runtime fuses into QLinearConv."""

    def __init__(self, net: Network, weights: Weights, one_window: bool) -> None:
        self._net, self._int8, self._one_window = net, weights == "int8", one_window
        self._nodes: list[Any] = []
        self._constants: list[Any] = []
        self._steps = 1 if one_window else net.input.steps
        for layer in net.layers:
            self._add(layer)

    def model(self) -> Any:
        from onnx import TensorProto, helper

        inputs = helper.make_tensor_value_info("input", TensorProto.FLOAT, [self._steps, *self._net.input.shape])
        outputs = helper.make_tensor_value_info("logits", TensorProto.FLOAT, [self._steps, self._net.classes])
        graph = helper.make_graph(self._nodes, "net", [inputs], [outputs], self._constants)
        return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)

    def _op(self, kind: str, inputs: list[str], output: str | None = None, outputs: int = 1, **attributes: Any) -> str:
        from onnx import helper

        output = output or f"{kind}{len(self._nodes)}"
        names = [output] if outputs == 1 else [f"{output}.{i}" for i in range(outputs)]
        self._nodes.append(helper.make_node(kind, inputs, names, **attributes))
        return output

    def _constant(self, array: np.ndarray) -> str:
        from onnx import numpy_helper

        name = f"c{len(self._constants)}"
        self._constants.append(numpy_helper.from_array(np.asarray(array), name))
        return name

    def _quantized(self, value: str, scale: float, zero: np.ndarray, output: str | None = None) -> str:
        if not self._int8:
            return self._op("Identity", [value], output) if output else value
        parameters = [self._constant(np.float32(scale)), self._constant(zero)]
        return self._op("DequantizeLinear", [self._op("QuantizeLinear", [value, *parameters]), *parameters], output)

    def _add(self, layer: object) -> None:
        match layer:
            case Input():
                self._spikes_of_input = self._quantized("input", 1.0, np.uint8(0))
            case Neurons():
                current = self._sum([self._synapse(synapse, layer.bias if i == 0 else None) for i, synapse in enumerate(layer.synapses)], layer)
                spikes = self._op("Relu", [current]) if self._one_window else self._fire(current, layer)
                self._quantized(spikes, 1.0, np.uint8(0), output=layer.name)
            case SumPool():  # average pooling, the operator that frameworks tune; its divisor does not matter here
                pooled = self._op("AveragePool", [layer.source], kernel_shape=layer.kernel, strides=layer.stride, pads=[*layer.padding] * 2)
                self._quantized(pooled, 1 / (layer.kernel[0] * layer.kernel[1]), np.uint8(0), output=layer.name)
            case MaxPool():
                self._op("MaxPool", [layer.source], layer.name, kernel_shape=layer.kernel, strides=layer.stride, pads=[*layer.padding] * 2)
            case Flatten():
                self._op("Flatten", [layer.source], layer.name)
            case Readout():
                self._op("Identity", [self._sum([self._synapse(synapse, None) for synapse in layer.synapses], None)], "logits")

    def _synapse(self, synapse: Synapse, bias: np.ndarray | None) -> str:
        source = self._spikes_of_input if synapse.source == "input" else synapse.source
        match synapse:
            case Conv():
                weight = [self._weight(synapse.weight)] + ([] if bias is None else [self._bias(bias)])
                (ph, pw), attributes = synapse.padding, {"strides": synapse.stride, "dilations": synapse.dilation, "group": synapse.groups}
                return self._op("Conv", [source, *weight], kernel_shape=synapse.kernel, pads=[ph, pw, ph, pw], **attributes)
            case Linear():
                return self._op("Gemm", [source, self._weight(synapse.weight)], transB=1)
        assert isinstance(synapse, Scale)
        return self._op("Mul", [source, self._constant(synapse.weight.astype(np.float32).reshape(-1, 1, 1) * 2.0**synapse.exponent)])

    def _weight(self, weight: np.ndarray) -> str:
        if not self._int8:
            return self._constant(weight.astype(np.float32))
        channels = len(weight)
        return self._op(
            "DequantizeLinear", [self._constant(weight), self._constant(np.ones(channels, np.float32)), self._constant(np.zeros(channels, np.int8))], axis=0
        )

    def _bias(self, bias: np.ndarray) -> str:
        if not self._int8:
            return self._constant(bias.astype(np.float32))
        parameters = [self._constant(np.ones(len(bias), np.float32)), self._constant(np.zeros(len(bias), np.int32))]
        return self._op("DequantizeLinear", [self._constant(bias.astype(np.int32)), *parameters], axis=0)

    def _sum(self, currents: list[str], layer: Neurons | None) -> str:
        scale = 1.0 if layer is None else float(layer.threshold[0]) / 32
        zero = np.uint8(0 if self._one_window and len(currents) == 1 else 128)
        currents = [self._quantized(current, scale, zero) if layer is not None else current for current in currents]
        total = currents[0]
        for current in currents[1:]:
            total = self._op("Add", [total, current])
        return total

    def _fire(self, current: str, layer: Neurons) -> str:
        threshold = self._constant(np.float32(layer.threshold[0]))
        split = self._op("Split", [current], outputs=self._steps, axis=0) if self._steps > 1 else current
        v, spikes = "", []
        for step in range(self._steps):
            x = f"{split}.{step}" if self._steps > 1 else split
            v = self._op("Add", [v, x]) if v else x
            spikes.append(self._op("Cast", [self._op("GreaterOrEqual", [v, threshold])], to=1))
            v = self._op("Sub", [v, self._op("Mul", [spikes[-1], threshold])])
        return self._op("Concat", spikes, axis=0) if self._steps > 1 else spikes[0]


def torch_eager(net: Network, window: np.ndarray, threads: int) -> Run:
    """`net` in PyTorch eager, fp32, channels last, its steps as the batch, the IF neuron step by step."""
    import torch
    from torch.nn import functional

    weights = {id(synapse): torch.from_numpy(synapse.weight.astype(np.float32)) for layer in net.layers for synapse in getattr(layer, "synapses", ())}
    inputs = torch.from_numpy(window.astype(np.float32)).to(memory_format=torch.channels_last)

    def synapse_current(synapse: Synapse, k: torch.Tensor) -> torch.Tensor:
        weight = weights[id(synapse)]
        match synapse:
            case Conv():
                return functional.conv2d(k, weight, None, synapse.stride, synapse.padding, synapse.dilation, synapse.groups)
            case Linear():
                return functional.linear(k, weight)
        return k * weight.reshape(-1, 1, 1)

    def fire(current: torch.Tensor, threshold: float) -> torch.Tensor:
        v, spikes = torch.zeros_like(current[0]), []
        for x in current:
            v = v + x
            spikes.append((v >= threshold).to(torch.float32))
            v = v - spikes[-1] * threshold
        return torch.stack(spikes)

    def run() -> None:
        outputs: dict[str, torch.Tensor] = {net.input.name: inputs}
        with torch.inference_mode():
            for layer in net.layers:
                if isinstance(layer, Neurons | Readout):
                    current = sum(synapse_current(synapse, outputs[synapse.source]) for synapse in layer.synapses)
                    outputs[layer.name] = fire(current, float(layer.threshold[0])) if isinstance(layer, Neurons) else current
                elif isinstance(layer, SumPool | MaxPool):
                    pool = functional.avg_pool2d if isinstance(layer, SumPool) else functional.max_pool2d
                    outputs[layer.name] = pool(outputs[layer.source], layer.kernel, layer.stride, layer.padding)
                elif isinstance(layer, Flatten):
                    outputs[layer.name] = outputs[layer.source].flatten(1)

    torch.set_num_threads(threads)
    return run


SIMULATORS = ("spikingjelly", "sinabs", "openvino")
"""Rivals that run the same dense convolutions; timed where somebody adds them, named here where they are missing."""


def missing() -> list[str]:
    """Packages of rivals that are not installed."""
    return [name for name in ("onnxruntime", "onnx", "torch", *SIMULATORS) if importlib.util.find_spec(name) is None]
