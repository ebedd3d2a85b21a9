"""The network in ONNX Runtime and OpenVINO, from the same ONNX graphs."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np

from lmht_deploy.ir import Network

from ._batches import Rival, Weights, as_batch
from ._onnx import Graph


def onnxruntime(
    net: Network, windows: np.ndarray, weights: Weights, threads: int, *, one_window: bool = False
) -> Rival:
    """Return `net` in ONNX Runtime, its neurons unrolled over the steps.

    Each of its threads is pinned to a core of its own. They stop spinning when a run ends, so that
    they do not slow the other programs that are timed.

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
    options.add_session_config_entry("session.force_spinning_stop", "1")
    first, *others = _cores(threads)
    if others:  # the thread that calls is the first one; ONNX Runtime counts cores from 1
        pinned = ";".join(str(core + 1) for core in others)
        options.add_session_config_entry("session.intra_op_thread_affinities", pinned)
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
        with _pinned_to(first if others else None):
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


def _cores(threads: int) -> list[int]:
    """One core for each of `threads` threads; only the first one where there are fewer cores."""
    allowed = sorted(os.sched_getaffinity(0))
    return allowed[:threads] if threads <= len(allowed) else allowed[:1]


@contextmanager
def _pinned_to(core: int | None) -> Iterator[None]:
    """Keep the calling thread on `core`, if one is given."""
    if core is None:
        yield
        return
    allowed = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {core})
    try:
        yield
    finally:
        os.sched_setaffinity(0, allowed)


def _inputs(windows: np.ndarray, one_window: bool) -> np.ndarray:
    return as_batch(windows.sum(1, keepdims=True) if one_window else windows)
