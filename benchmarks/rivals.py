"""What the engine is compared with: the same network on dense frameworks, each built by a function of the network and its windows.

"The same network" is: its weights, biases, thresholds, T-GIM and soft reset. fp32 holds its integers exactly, so that PyTorch, SpikingJelly, sinabs and
ONNX Runtime and OpenVINO in fp32 fire the very same spikes (tests/engine/test_rivals.py); int8 rounds every current to 8 bits and does not.
Every rival takes all steps and windows as one batch in each synapse, as its users would write it.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from lmht_deploy.ir import (
    LEAK_ONE,
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

if TYPE_CHECKING:
    from torch import Tensor

Run = Callable[[], Mapping[str, Any]]
"""Runs the windows that it was built with; gives arrays [steps * windows, ...] by name of the layer, those of the read-out at least."""

Weights = Literal["fp32", "int8"]

PACKAGES = ("onnx", "onnxruntime", "openvino", "torch", "spikingjelly", "sinabs")


def missing() -> list[str]:
    """Packages of rivals that are not installed."""
    return [name for name in PACKAGES if importlib.util.find_spec(name) is None]


def build(net: Network, windows: np.ndarray, threads: int) -> dict[str, Run]:
    """Every rival that is installed and can run `net`, by name."""
    runs, absent = runtimes(net, windows, threads), missing()
    if "torch" in absent:
        return runs
    runs["torch"] = torch_eager(net, windows, threads)
    plain = all(
        layer.leak == LEAK_ONE
        and (layer.threshold == layer.threshold[0]).all()
        and not layer.v0.any()
        for layer in net.neurons
    )
    if plain and "sinabs" not in absent:
        runs["sinabs"] = sinabs(net, windows, threads)
    if plain and "spikingjelly" not in absent and all(layer.levels == 1 for layer in net.neurons):
        runs["SpikingJelly"] = spikingjelly(net, windows, threads)
    return runs


def runtimes(net: Network, windows: np.ndarray, threads: int) -> dict[str, Run]:
    """The inference runtimes that are installed, with fp32 and int8 weights."""
    return {
        f"{name} {weights}": make(net, windows, weights, threads)
        for name, make in _installed().items()
        for weights in ("fp32", "int8")
    }


def one_window(net: Network, windows: np.ndarray, threads: int) -> dict[str, Run]:
    """The runtimes with ONE int8 convolution a layer over the summed window, and a ReLU in place of the neurons."""
    return {
        f"{name} int8, one window": make(net, windows, "int8", threads, one_window=True)
        for name, make in _installed().items()
    }


def _installed() -> dict[str, Callable[..., Run]]:
    absent = missing()
    found = {"ORT": onnxruntime} if "onnxruntime" not in absent else {}
    return (
        {}
        if "onnx" in absent
        else found | ({"OpenVINO": openvino} if "openvino" not in absent else {})
    )


def _as_batch(windows: np.ndarray) -> np.ndarray:
    """Windows [B, T_in, ...] as [T_in * B, ...] float32, the steps outside."""
    return np.ascontiguousarray(windows.swapaxes(0, 1).reshape(-1, *windows.shape[2:]), np.float32)


def _summed(windows: np.ndarray) -> np.ndarray:
    """Windows [B, T_in, ...] as one step [B, 1, ...]."""
    return windows.sum(1, keepdims=True)


# ------------------------------------------------------------------------------------------------ ONNX Runtime and OpenVINO


def onnxruntime(
    net: Network, windows: np.ndarray, weights: Weights, threads: int, *, one_window: bool = False
) -> Run:
    """`net` in ONNX Runtime, its neurons unrolled over the steps.

    With `one_window`, ONE convolution a layer over the summed window and a ReLU in place of the neurons.
    """
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads, options.log_severity_level = (
        threads,
        1,
        3,
    )
    session = ort.InferenceSession(
        _OnnxGraph(net, weights, len(windows), one_window).model(),
        options,
        providers=["CPUExecutionProvider"],
    )
    binding = session.io_binding()
    binding.bind_ortvalue_input(
        "input",
        ort.OrtValue.ortvalue_from_numpy(_as_batch(_summed(windows) if one_window else windows)),
    )
    binding.bind_output("logits")

    def run() -> Mapping[str, Any]:
        session.run_with_iobinding(binding)
        return {net.readout.name: binding.copy_outputs_to_cpu()[0]}

    return run


def openvino(
    net: Network, windows: np.ndarray, weights: Weights, threads: int, *, one_window: bool = False
) -> Run:
    """`net` in OpenVINO, from the graphs that ONNX Runtime runs. Its fp32 is exact (bfloat16, its default where there is AMX, is not)."""
    import openvino as ov

    options = {
        "PERFORMANCE_HINT": "LATENCY",
        "NUM_STREAMS": 1,
        "INFERENCE_NUM_THREADS": threads,
        "INFERENCE_PRECISION_HINT": "f32",
    }
    core = ov.Core()
    request = core.compile_model(
        core.read_model(_OnnxGraph(net, weights, len(windows), one_window).model()), "CPU", options
    ).create_infer_request()
    request.set_input_tensor(ov.Tensor(_as_batch(_summed(windows) if one_window else windows)))

    def run() -> Mapping[str, Any]:
        request.infer()
        return {net.readout.name: request.get_output_tensor().data}

    return run


class _OnnxGraph:
    """Steps and windows are the batch dimension. Currents and spikes of an int8 graph go through QuantizeLinear/DequantizeLinear,
    which ONNX Runtime fuses into QLinearConv."""

    def __init__(self, net: Network, weights: Weights, batch: int, one_window: bool) -> None:
        self._net, self._int8, self._one_window, self._batch = (
            net,
            weights == "int8",
            one_window,
            batch,
        )
        self._nodes: list[Any] = []
        self._constants: list[Any] = []
        self._factors: dict[
            str, float
        ] = {}  # by which the values of a layer are too small: divisors of average pooling
        for layer in net.layers:
            self._add(layer)

    def model(self) -> bytes:
        from onnx import TensorProto, helper

        steps = 1 if self._one_window else self._net.input.steps
        inputs = helper.make_tensor_value_info(
            "input", TensorProto.FLOAT, [steps * self._batch, *self._net.input.shape]
        )
        outputs = helper.make_tensor_value_info(
            "logits", TensorProto.FLOAT, [None, self._net.classes]
        )
        graph = helper.make_graph(self._nodes, "net", [inputs], [outputs], self._constants)
        return helper.make_model(
            graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8
        ).SerializeToString()

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
        self, value: str, scale: float, zero: np.ndarray, output: str | None = None
    ) -> str:
        if not self._int8:
            return self._op("Identity", [value], output) if output else value
        parameters = [self._constant(np.float32(scale)), self._constant(zero)]
        return self._op(
            "DequantizeLinear",
            [self._op("QuantizeLinear", [value, *parameters]), *parameters],
            output,
        )

    def _add(self, layer: object) -> None:
        match layer:
            case Input():
                self._quantized("input", 1.0, np.uint8(0), output=self._value(layer.name))
            case Neurons():
                current = self._sum(
                    [
                        self._synapse(synapse, layer.bias if i == 0 else None)
                        for i, synapse in enumerate(layer.synapses)
                    ],
                    layer,
                )
                spikes = (
                    self._op("Relu", [current]) if self._one_window else self._fire(current, layer)
                )
                self._quantized(spikes, 1.0, np.uint8(0), output=self._value(layer.name))
            case SumPool():  # average pooling, the operator that frameworks tune
                area = layer.kernel[0] * layer.kernel[1]
                pads = [*layer.padding] * 2
                pooled = self._op(
                    "AveragePool",
                    [self._value(layer.source)],
                    kernel_shape=layer.kernel,
                    strides=layer.stride,
                    pads=pads,
                    count_include_pad=1,
                )
                self._quantized(pooled, 1 / area, np.uint8(0), output=self._value(layer.name))
                self._factors[layer.name] = self._factors.get(layer.source, 1.0) * area
            case MaxPool():
                value, pads = self._value(layer.source), [*layer.padding] * 2
                self._op(
                    "MaxPool",
                    [value],
                    self._value(layer.name),
                    kernel_shape=layer.kernel,
                    strides=layer.stride,
                    pads=pads,
                )
                self._factors[layer.name] = self._factors.get(layer.source, 1.0)
            case Flatten():
                self._op("Flatten", [self._value(layer.source)], self._value(layer.name))
                self._factors[layer.name] = self._factors.get(layer.source, 1.0)
            case Readout():
                currents = [
                    self._synapse(synapse, layer.bias if i == 0 else None)
                    for i, synapse in enumerate(layer.synapses)
                ]
                self._op("Identity", [self._sum(currents, None)], "logits")

    def _value(self, layer: str) -> str:
        return f"k.{layer}"

    def _synapse(self, synapse: Synapse, bias: np.ndarray | None) -> str:
        source, factor = (
            self._value(synapse.source),
            self._factors.get(synapse.source, 1.0) * 2.0**synapse.exponent,
        )
        match synapse:
            case Conv():
                (ph, pw), attributes = (
                    synapse.padding,
                    {
                        "strides": synapse.stride,
                        "dilations": synapse.dilation,
                        "group": synapse.groups,
                    },
                )
                return self._op(
                    "Conv",
                    [source, *self._weights(synapse.weight, factor, bias)],
                    kernel_shape=synapse.kernel,
                    pads=[ph, pw, ph, pw],
                    **attributes,
                )
            case Linear():
                return self._op(
                    "Gemm", [source, *self._weights(synapse.weight, factor, bias)], transB=1
                )
        assert isinstance(synapse, Scale)
        scaled = self._op(
            "Mul",
            [
                source,
                self._constant(
                    _per_channel(synapse.weight * factor, self._net.shapes[synapse.source])
                ),
            ],
        )
        return (
            scaled
            if bias is None
            else self._op(
                "Add",
                [scaled, self._constant(_per_channel(bias, self._net.shapes[synapse.source]))],
            )
        )

    def _weights(self, weight: np.ndarray, factor: float, bias: np.ndarray | None) -> list[str]:
        """Weights times `factor`, and biases."""
        if not self._int8:
            return [
                self._constant(a.astype(np.float32))
                for a in (weight * np.float32(factor), bias)
                if a is not None
            ]
        channels, scale = len(weight), np.float32(factor)
        parameters = [
            self._constant(np.full(channels, scale)),
            self._constant(np.zeros(channels, np.int8)),
        ]
        found = [self._op("DequantizeLinear", [self._constant(weight), *parameters], axis=0)]
        if bias is not None:
            parameters = [
                self._constant(np.full(channels, scale)),
                self._constant(np.zeros(channels, np.int32)),
            ]
            found.append(
                self._op(
                    "DequantizeLinear",
                    [self._constant(np.rint(bias / scale).astype(np.int32)), *parameters],
                    axis=0,
                )
            )
        return found

    def _sum(self, currents: list[str], layer: Neurons | None) -> str:
        scale = 1.0 if layer is None else float(layer.threshold.mean()) / 32
        zero = np.uint8(0 if self._one_window and len(currents) == 1 else 128)
        currents = [
            self._quantized(current, scale, zero) if layer is not None else current
            for current in currents
        ]
        total = currents[0]
        for current in currents[1:]:
            total = self._op("Add", [total, current])
        return total

    def _fire(self, current: str, layer: Neurons) -> str:
        shape, steps = self._net.shapes[layer.name], layer.steps
        threshold = self._constant(_per_channel(layer.threshold, shape))
        if not _is_identity(layer.omega):
            flat = self._op(
                "Reshape", [current, self._constant(np.array([layer.omega.shape[1], -1]))]
            )
            mixed = self._op("MatMul", [self._constant(layer.omega.astype(np.float32)), flat])
            current = self._op(
                "Reshape", [mixed, self._constant(np.array([steps * self._batch, *shape]))]
            )
        split = self._op("Split", [current], outputs=steps, axis=0) if steps > 1 else current
        v0 = layer.v0 + (
            0.5 if layer.levels > 1 else 0
        )  # v / threshold is never a whole number then: runtimes may divide by multiplying
        v, spikes = self._constant(_per_channel(v0, shape)) if v0.any() else "", []
        for step in range(steps):
            x = f"{split}.{step}" if steps > 1 else split
            if v and layer.leak != LEAK_ONE:
                v = self._op("Mul", [v, self._constant(np.float32(layer.leak / LEAK_ONE))])
            v = self._op("Add", [v, x]) if v else x
            spikes.append(self._levels(v, threshold, layer.levels))
            v = self._op("Sub", [v, self._op("Mul", [spikes[-1], threshold])])
        return self._op("Concat", spikes, axis=0) if steps > 1 else spikes[0]

    def _levels(self, v: str, threshold: str, levels: int) -> str:
        if levels == 1:
            return self._op("Cast", [self._op("GreaterOrEqual", [v, threshold])], to=1)
        k = self._op("Floor", [self._op("Div", [v, threshold])])
        return self._op(
            "Clip", [k, self._constant(np.float32(0)), self._constant(np.float32(levels))]
        )


def _per_channel(values: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """One value a channel, to be broadcast over a batch of `shape`; a scalar where all are equal."""
    values = values.astype(np.float32)
    return values[0] if (values == values[0]).all() else values.reshape(-1, *[1] * (len(shape) - 1))


def _is_identity(omega: np.ndarray) -> bool:
    return omega.shape[0] == omega.shape[1] and bool((omega == np.eye(len(omega))).all())


# ------------------------------------------------------------------------------------------------ PyTorch and simulators on it

Fire = Callable[["Tensor"], "Tensor"]
"""Currents [T, B, ...] -> spikes k [T, B, ...]."""


def torch_eager(net: Network, windows: np.ndarray, threads: int) -> Run:
    """`net` in PyTorch eager, fp32, its neurons step by step."""
    import torch

    def neurons(layer: Neurons) -> Fire:
        shape = net.shapes[layer.name]
        threshold, v0 = (
            torch.from_numpy(np.asarray(_per_channel(values, shape)))
            for values in (layer.threshold, layer.v0)
        )
        leak = layer.leak / LEAK_ONE

        def fire(current: Tensor) -> Tensor:
            v, spikes = v0, []
            for x in current:
                v = x + (v if leak == 1 else torch.trunc(v * leak))
                spikes.append(
                    (v >= threshold).to(torch.float32)
                    if layer.levels == 1
                    else torch.floor(v / threshold).clamp_(0, layer.levels)
                )
                v = v - spikes[-1] * threshold
            return torch.stack(spikes)

        return fire

    return _torch_network(net, windows, threads, neurons)


def spikingjelly(net: Network, windows: np.ndarray, threads: int) -> Run:
    """`net` with the IF neurons of SpikingJelly (multi-step, soft reset); its synapses are PyTorch's. L = 1, no leak, v0 = 0."""
    from spikingjelly.activation_based import functional, neuron

    def neurons(layer: Neurons) -> Fire:
        node = neuron.IFNode(
            v_threshold=float(layer.threshold[0]), v_reset=None, step_mode="m"
        ).eval()

        def fire(current: Tensor) -> Tensor:
            functional.reset_net(node)
            return node(current)

        return fire

    return _torch_network(net, windows, threads, neurons)


def sinabs(net: Network, windows: np.ndarray, threads: int) -> Run:
    """`net` with the IAF neurons of sinabs (soft reset, at most L spikes a step); its synapses are PyTorch's. No leak, v0 = 0."""
    import torch
    from sinabs.activation import MaxSpike, SingleSpike
    from sinabs.layers import IAF

    def neurons(layer: Neurons) -> Fire:
        spikes = SingleSpike if layer.levels == 1 else MaxSpike(layer.levels)
        node = IAF(
            spike_threshold=torch.tensor(float(layer.threshold[0])), spike_fn=spikes, min_v_mem=None
        ).eval()

        def fire(current: Tensor) -> Tensor:
            node.reset_states()
            return node(current.transpose(0, 1)).transpose(0, 1)

        return fire

    return _torch_network(net, windows, threads, neurons)


def _torch_network(
    net: Network, windows: np.ndarray, threads: int, neurons: Callable[[Neurons], Fire]
) -> Run:
    """`net` in PyTorch, fp32 and channels last, with the neurons that `neurons` makes of each layer."""
    import torch
    from torch.nn import functional

    def tensor(array: np.ndarray) -> Tensor:
        found = torch.from_numpy(array.astype(np.float32))
        return found.to(memory_format=torch.channels_last) if found.ndim == 4 else found

    synapses = [synapse for layer in net.layers for synapse in getattr(layer, "synapses", ())]
    weights = {
        id(synapse): tensor(synapse.weight * np.float32(2.0**synapse.exponent))
        for synapse in synapses
    }
    biases = {layer.name: tensor(layer.bias) for layer in (*net.neurons, net.readout)}
    omegas = {
        layer.name: None if _is_identity(layer.omega) else tensor(layer.omega)
        for layer in net.neurons
    }
    fires = {layer.name: neurons(layer) for layer in net.neurons}
    inputs = tensor(_as_batch(windows))

    def synapse_current(synapse: Synapse, k: Tensor, bias: Tensor | None) -> Tensor:
        weight = weights[id(synapse)]
        match synapse:
            case Conv():
                return functional.conv2d(
                    k,
                    weight,
                    bias,
                    synapse.stride,
                    synapse.padding,
                    synapse.dilation,
                    synapse.groups,
                )
            case Linear():
                return functional.linear(k, weight, bias)
        shape = (-1, *[1] * (k.ndim - 2))
        return (
            k * weight.reshape(shape)
            if bias is None
            else k * weight.reshape(shape) + bias.reshape(shape)
        )

    def current_of(layer: Neurons | Readout, outputs: Mapping[str, Tensor]) -> Tensor:
        first, *others = layer.synapses
        total = synapse_current(first, outputs[first.source], biases[layer.name])
        for synapse in others:
            total = total + synapse_current(synapse, outputs[synapse.source], None)
        return total

    def spikes_of(layer: Neurons, current: Tensor) -> Tensor:
        current, omega = current.unflatten(0, (-1, len(windows))), omegas[layer.name]
        return fires[layer.name](
            current if omega is None else torch.einsum("tj,j...->t...", omega, current)
        ).flatten(0, 1)

    def run() -> Mapping[str, Any]:
        torch.set_num_threads(threads)
        outputs: dict[str, Tensor] = {net.input.name: inputs}
        with torch.inference_mode():
            for layer in net.layers:
                match layer:
                    case Neurons():
                        outputs[layer.name] = spikes_of(layer, current_of(layer, outputs))
                    case Readout():
                        outputs[layer.name] = current_of(layer, outputs)
                    case SumPool():
                        outputs[layer.name] = functional.avg_pool2d(
                            outputs[layer.source],
                            layer.kernel,
                            layer.stride,
                            layer.padding,
                            divisor_override=1,
                        )
                    case MaxPool():
                        outputs[layer.name] = functional.max_pool2d(
                            outputs[layer.source], layer.kernel, layer.stride, layer.padding
                        )
                    case Flatten():
                        outputs[layer.name] = outputs[layer.source].flatten(1)
        return outputs

    return run
