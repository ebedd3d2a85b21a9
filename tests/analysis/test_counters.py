"""What other tools count for the same run, against their own figures."""

from __future__ import annotations

import importlib.util

import numpy as np
import pytest

from lmht_deploy import reference
from lmht_deploy.analysis import counters
from lmht_deploy.analysis import counts as counting
from lmht_deploy.ir import Network
from lmht_deploy.reparameterize import reparameterize
from tests.support.networks import SPECIAL, windows_for
from tests.support.tiny import network, neurons

NEUROBENCH = {
    ("lm-ht", "graded"): (0.0057, 0.6016885080645161, 17671.0, 0.0, 45800.0),
    ("lm-ht", "single"): (0.0057, 0.663117439516129, 8418.0, 15548.75, 68368.0),
    ("residual", "graded"): (0.0049, 0.6555397727272727, 84084.5, 0.0, 229376.0),
    ("residual", "single"): (0.0049, 0.6990633877840909, 8348.0, 131882.75, 435520.0),
    ("geometry", "graded"): (0.0049, 0.811572265625, 10701.5, 0.0, 44608.0),
    ("pooled", "single"): (0.0025, 0.7420865633074936, 17655.75, 10515.0, 48568.0),
    ("dense", "graded"): (0.0089, 0.8166666666666667, 1063.25, 0.0, 3720.0),
    ("steps-differ", "graded"): (0.0037, 0.68427734375, 17723.75, 12726.0, 91616.0),
    ("image", "single"): (0.0046, 0.6905110677083334, 5647.5, 34009.5, 163464.0),
}
"""ConnectionSparsity, ActivationSparsity, Effective_MACs, Effective_ACs and Dense that the package
neurobench 2.3.0 gives for four windows (`tests.support.neurobench_model.measure`)."""


def form(name: str, view: str) -> tuple[Network, np.ndarray]:
    net = SPECIAL[name]()
    return (net if view == "graded" else reparameterize(net)), windows_for(net, 4)


def observe(net: Network, windows: np.ndarray) -> tuple[counters.Activity, counting.Counts]:
    traces = reference.run(net, windows, trace=True).traces
    assert traces is not None
    outputs = reference.outputs_of(net, windows, traces)
    return counters.observe(net, outputs), counting.count(net, windows, traces)


def figures(metrics: dict) -> tuple[float, ...]:
    operations = metrics["SynapticOperations"]
    return (
        metrics["ConnectionSparsity"],
        metrics["ActivationSparsity"],
        operations["Effective_MACs"],
        operations["Effective_ACs"],
        operations["Dense"],
    )


@pytest.mark.parametrize(("name", "view"), NEUROBENCH)
def test_neurobench_gives_the_figures_of_its_package(name: str, view: str) -> None:
    net, windows = form(name, view)
    activity, _ = observe(net, windows)
    assert figures(counters.neurobench(net, activity)) == NEUROBENCH[name, view]


@pytest.mark.skipif(
    importlib.util.find_spec("neurobench") is None or importlib.util.find_spec("torch") is None,
    reason="neurobench is not installed; it needs an older torch than the other tests",
)
@pytest.mark.parametrize(("name", "view"), NEUROBENCH)
def test_the_package_of_neurobench_gives_the_same(name: str, view: str) -> None:
    from tests.support.neurobench_model import measure

    net, windows = form(name, view)
    activity, _ = observe(net, windows)
    theirs = measure(net, windows, np.zeros(len(windows), np.int64))
    assert figures(theirs) == figures(counters.neurobench(net, activity))


def test_two_levels_are_macs_and_their_single_threshold_form_acs() -> None:
    """The layers that read events of the input have the same operations in both forms."""
    net, windows = form("lm-ht", "graded")
    windows = np.minimum(windows, 1)
    graded = counters.neurobench(net, observe(net, windows)[0])["SynapticOperations"]
    single = reparameterize(net)
    twin = counters.neurobench(single, observe(single, windows)[0])["SynapticOperations"]
    assert graded["Effective_MACs"] > 0 and twin["Effective_MACs"] == 0
    assert twin["Effective_ACs"] > graded["Effective_MACs"]


def test_static_metrics_count_every_parameter() -> None:
    """8 int8 weights and 5 int32 fields of 1 entry; 24 weights and 3 biases of the read-out."""
    net = network(neurons(channels=2))
    metrics = counters.neurobench(net, observe(net, np.ones((1, 2, 1, 2, 2), int))[0])
    assert metrics["ParameterCount"] == 2 + 2 + 2 + 2 + 4 + 24 + 3
    assert metrics["Footprint"] == 2 + 4 * (2 + 2 + 2 + 4) + 24 + 4 * 3


def test_chunks_are_merged() -> None:
    net, windows = form("residual", "graded")
    whole, _ = observe(net, windows)
    merged = counters.merge([observe(net, windows[:1])[0], observe(net, windows[1:])[0]])
    assert counters.neurobench(net, merged) == counters.neurobench(net, whole)
    assert merged.spikes == whole.spikes


def test_the_other_counters_in_a_corner() -> None:
    """One event of 2 in a corner of 4 x 4: a 3 x 3 convolution crosses 4 of 9 positions.

    The exact count of layer a is 2 · 4 · 6 synapses. Norse counts 2 · 9 · 6. The rate of the input
    is 2/32 per position and step, the FLOPs are 6 · 16 · 2 · 9, and T is 1.
    """
    from tests.support.networks import Builder

    b = Builder(0, shape=(2, 4, 4), steps=1)
    net = b.finish(b.neurons("a", b.conv("input", 6), steps=1, bias=(-9999, -9998)))
    windows = np.zeros((1, 1, 2, 4, 4), int)
    windows[0, 0, 0, 0, 0] = 2
    activity, counts = observe(net, windows)
    rate, norse, neurobench = counters.other_counts(net, activity, counts)
    assert counts["a"].sops.tolist() == [[2 * 4 * 6]] and norse.sops == 48
    assert norse.layers == {"a": 2 * 9 * 6, "logits": 0}
    assert rate.layers == {"a": pytest.approx(2 / 32 * 6 * 16 * 2 * 9), "logits": 0}
    assert neurobench.layers["a"] == 4 * 6 - np.count_nonzero(
        net["a"].synapses[0].weight[:, 0, :2, :2] == 0
    )
    assert (norse.operations, norse.difference, norse.relative) == (108, 60, 1.25)


def test_pixels_are_not_operations_of_spikes() -> None:
    net, windows = form("pooled-image", "graded")
    activity, counts = observe(net, windows)
    for other in counters.other_counts(net, activity, counts):
        assert "a" not in other.layers and "c" in other.layers


def test_the_rate_is_that_of_the_neurons_before_pooling() -> None:
    net, windows = form("pooled", "graded")
    activity, counts = observe(net, windows)
    rate = counters.other_counts(net, activity, counts)[0]
    spikes = counts["d"].per_window("spikes").mean()
    flat = np.prod(net.shapes["flatten"]) * net.classes
    assert rate.layers["logits"] == pytest.approx(spikes / np.prod(net.shapes["d"]) * flat)
