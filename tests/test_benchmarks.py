"""The rivals of the benchmarks run the same network: in fp32 they fire the very same spikes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest

from benchmarks import rivals
from benchmarks.networks import event_windows, resnet18, vgg
from lmht_deploy import reference
from lmht_deploy.ir import Network
from tests.support.networks import SPECIAL, windows_for

IN_FP32 = {
    "torch": ("torch",),
    "SpikingJelly": ("torch", "spikingjelly"),
    "sinabs": ("torch", "sinabs"),
    "ORT fp32": ("onnxruntime", "onnx"),
    "OpenVINO fp32": ("openvino", "onnx"),
}
Case = tuple[Network, np.ndarray, dict[str, rivals.Run]]


@pytest.fixture(scope="module", params=["resnet", "vgg", "L=2", "general T-GIM", "residual"])
def case(request: pytest.FixtureRequest) -> Case:
    """A network, windows, and all rivals that are installed."""
    if request.param == "residual":  # thresholds of every channel, exponents, shortcuts
        net = SPECIAL["residual"]()
        windows = windows_for(net, 2)
    else:
        build, options = {
            "resnet": (resnet18, {}),
            "vgg": (vgg, {}),
            "L=2": (vgg, {"levels": 2}),
            "general T-GIM": (vgg, {"omega": "general"}),
        }[request.param]
        net = build(16, 2, density=0.2, **options)
        windows = event_windows((2, 16, 16), 2, batch=2)
    return net, windows, rivals.build(net, windows, 1)


@pytest.mark.parametrize("name", IN_FP32)
def test_rivals_fire_the_same_spikes_in_fp32(name: str, case: Case) -> None:
    net, windows, runs = case
    if absent := [package for package in IN_FP32[name] if package in rivals.missing()]:
        pytest.skip(f"{', '.join(absent)} is not installed")
    if name not in runs:
        pytest.skip(f"{name} has no neurons of this kind")
    assert_same(net, windows, runs[name]())


@pytest.mark.parametrize(
    "name",
    [
        "if",
        "lm-ht",
        "leak-above-one",
        "negative-v0",
        "pooled",
        "averaged",
        "geometry",
        "dense",
        "steps-differ",
        "pooled-image",
    ],
)
def test_torch_runs_every_network(name: str) -> None:
    pytest.importorskip("torch")
    net = SPECIAL[name]()
    windows = windows_for(net, 2)
    assert_same(net, windows, rivals.torch_eager(net, windows, 1)())


def assert_same(net: Network, windows: np.ndarray, found: Mapping[str, Any]) -> None:
    """The logits of `found`, and k of the layers that are in it, are the golden model's."""
    expected = reference.run(net, windows, trace=True)
    assert expected.traces is not None
    values = {
        layer: np.asarray(array).reshape(-1, len(windows), *array.shape[1:]).swapaxes(0, 1)
        for layer, array in found.items()
    }
    np.testing.assert_array_equal(values[net.readout.name].sum(1), expected.logits)
    for layer in expected.traces.keys() & values.keys():
        np.testing.assert_array_equal(values[layer], expected.traces[layer])
