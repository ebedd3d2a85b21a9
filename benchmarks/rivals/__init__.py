"""Dense frameworks that run the same network as the engine.

"The same network" means its weights, biases, thresholds, T-GIM and soft reset. fp32 holds these
integers exactly. PyTorch, SpikingJelly, sinabs and the fp32 forms of ONNX Runtime and OpenVINO
therefore fire the same spikes as the engine (tests/test_benchmarks.py). int8 rounds every current
to 8 bits, so spikes differ.

Every rival takes all steps and windows as one batch in each synapse, as its users would write it.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable

import numpy as np

from lmht_deploy.errors import BackendError
from lmht_deploy.ir import LEAK_ONE, Network, require_plain_resets

from ._batches import Rival, Weights
from ._pytorch import sinabs, spikingjelly, torch_eager
from ._runtimes import onnxruntime, openvino

__all__ = [
    "Rival",
    "Weights",
    "build",
    "missing",
    "one_window",
    "openvino_int8",
    "runtimes",
    "torch_eager",
]

PACKAGES = ("onnx", "onnxruntime", "openvino", "torch", "spikingjelly", "sinabs")


def missing() -> list[str]:
    """Return the packages of rivals that are not installed."""
    return [name for name in PACKAGES if importlib.util.find_spec(name) is None]


def build(net: Network, windows: np.ndarray, threads: int) -> dict[str, Rival]:
    """Return every rival that is installed and supports the neurons of `net`, by name."""
    require_plain_resets(net, "a rival", BackendError)
    runs, absent = runtimes(net, windows, threads), missing()
    if "torch" in absent:
        return runs
    runs["torch"] = torch_eager(net, windows, threads)
    if "sinabs" not in absent and _plain(net):
        runs["sinabs"] = sinabs(net, windows, threads)
    if "spikingjelly" not in absent and _plain(net) and _single_level(net):
        runs["SpikingJelly"] = spikingjelly(net, windows, threads)
    return runs


def runtimes(net: Network, windows: np.ndarray, threads: int) -> dict[str, Rival]:
    """Return the inference runtimes that are installed, with fp32 and int8 weights."""
    forms: tuple[Weights, ...] = ("fp32", "int8")
    return {
        f"{name} {weights}": make(net, windows, weights, threads)
        for name, make in _installed_runtimes().items()
        for weights in forms
    }


def one_window(net: Network, windows: np.ndarray, threads: int) -> dict[str, Rival]:
    """Return the runtimes with one int8 convolution per layer for the whole window.

    They take the sum of each window over its steps. A ReLU replaces the neurons.
    """
    return {
        f"{name} int8, one window": make(net, windows, "int8", threads, one_window=True)
        for name, make in _installed_runtimes().items()
    }


def openvino_int8(
    net: Network, windows: np.ndarray, threads: int, *, one_window: bool = False
) -> dict[str, Rival]:
    """Return OpenVINO with int8 weights, the fastest rival; no entry if it is not installed."""
    if "OpenVINO" not in _installed_runtimes():
        return {}
    run = openvino(net, windows, "int8", threads, one_window=one_window)
    return {f"OpenVINO int8{', one window' if one_window else ''}": run}


def _installed_runtimes() -> dict[str, Callable[..., Rival]]:
    absent = missing()
    if "onnx" in absent:
        return {}
    makers: dict[str, Callable[..., Rival]] = {"onnxruntime": onnxruntime, "openvino": openvino}
    names = {"onnxruntime": "ORT", "openvino": "OpenVINO"}
    return {names[package]: make for package, make in makers.items() if package not in absent}


def _plain(net: Network) -> bool:
    """Whether no neuron leaks, v0 is zero and each layer has one threshold."""
    return all(
        layer.leak == LEAK_ONE
        and bool((layer.threshold == layer.threshold[0]).all())
        and not layer.v0.any()
        for layer in net.neurons
    )


def _single_level(net: Network) -> bool:
    return all(layer.levels == 1 for layer in net.neurons)
