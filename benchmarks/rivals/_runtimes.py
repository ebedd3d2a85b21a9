"""The network in ONNX Runtime and OpenVINO, from the same ONNX graphs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from lmht_deploy.ir import Network

from ._batches import Rival, Weights, as_batch
from ._onnx import Graph


def onnxruntime(
    net: Network, windows: np.ndarray, weights: Weights, threads: int, *, one_window: bool = False
) -> Rival:
    """Return `net` in ONNX Runtime, its neurons unrolled over the steps.

    Args:
        net: Network to run.
        windows: Integers `[B, T_in, ...]`.
        weights: Precision of weights and currents.
        threads: Number of threads.
        one_window: Whether each layer is one convolution of the summed window and a ReLU.
    """
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    session = ort.InferenceSession(
        Graph(net, weights, len(windows), one_window).to_bytes(),
        options,
        providers=["CPUExecutionProvider"],
    )
    inputs = ort.OrtValue.ortvalue_from_numpy(_inputs(windows, one_window))
    binding = session.io_binding()
    binding.bind_ortvalue_input("input", inputs)
    binding.bind_output("logits")

    def run() -> Mapping[str, Any]:
        session.run_with_iobinding(binding)
        return {net.readout.name: binding.copy_outputs_to_cpu()[0]}

    return run


def openvino(
    net: Network, windows: np.ndarray, weights: Weights, threads: int, *, one_window: bool = False
) -> Rival:
    """Return `net` in OpenVINO; the arguments are those of `onnxruntime`.

    fp32 is exact. OpenVINO's default on CPUs with AMX, bfloat16, is not.
    """
    import openvino as ov

    options = {
        "PERFORMANCE_HINT": "LATENCY",
        "NUM_STREAMS": 1,
        "INFERENCE_NUM_THREADS": threads,
        "INFERENCE_PRECISION_HINT": "f32",
    }
    core = ov.Core()
    model = core.read_model(Graph(net, weights, len(windows), one_window).to_bytes())
    request = core.compile_model(model, "CPU", options).create_infer_request()
    request.set_input_tensor(ov.Tensor(_inputs(windows, one_window)))

    def run() -> Mapping[str, Any]:
        request.infer()
        return {net.readout.name: request.get_output_tensor().data}

    return run


def _inputs(windows: np.ndarray, one_window: bool) -> np.ndarray:
    return as_batch(windows.sum(1, keepdims=True) if one_window else windows)
