"""What an early answer needs: sufficient for every network, and no more than its parts need."""

from __future__ import annotations

import numpy as np
import pytest

from lmht_deploy import reference
from lmht_deploy.analysis.anytime import input_steps, macs_until, sops_until
from lmht_deploy.analysis.counts import count
from lmht_deploy.ir import Network
from lmht_deploy.reparameterize import reparameterize
from tests.support.networks import SPECIAL, has_single_threshold_form, windows_for
from tests.support.tiny import network, neurons


def partial_logits(net: Network, windows: np.ndarray) -> np.ndarray:
    traces = reference.run(net, windows, trace=True).traces or {}
    outputs = reference.outputs_of(net, windows, traces)
    return reference.currents(net, net.readout, outputs).cumsum(1)


def test_a_network_without_tgim_needs_the_steps_before() -> None:
    net = network(neurons(omega=np.eye(2, dtype=int)))
    assert [input_steps(net, step) for step in (1, 2)] == [
        {"in": 1, "a": 1, "out": 1},
        {"in": 2, "a": 2, "out": 2},
    ]


def test_a_layer_with_tgim_needs_its_whole_window() -> None:
    net = network(neurons(omega=np.array([[0, 1], [1, 1]])))
    assert input_steps(net, 1) == {"in": 2, "a": 2, "out": 1}


def test_a_layer_that_is_not_read_needs_nothing() -> None:
    net = network(neurons(omega=np.array([[0, 0], [1, 0]])))
    assert input_steps(net, 1) == {"in": 0, "a": 0, "out": 1}
    assert input_steps(net, 2) == {"in": 1, "a": 1, "out": 2}


@pytest.mark.parametrize("name", SPECIAL)
def test_later_steps_of_the_input_change_nothing(name: str) -> None:
    net = SPECIAL[name]()
    windows = windows_for(net, 5)
    expected = partial_logits(net, windows)
    for step in range(1, expected.shape[1] + 1):
        changed = windows.copy()
        changed[:, input_steps(net, step)[net.input.name] :] = net.input.min_value
        np.testing.assert_array_equal(partial_logits(net, changed)[:, :step], expected[:, :step])


@pytest.mark.parametrize("name", SPECIAL)
def test_all_steps_need_all_operations(name: str) -> None:
    """And the single-threshold form needs what the graded one needs, at every step."""
    net = SPECIAL[name]()
    windows = windows_for(net, 3)
    counts = count(net, windows, reference.run(net, windows, trace=True).traces or {})
    steps = net.blocks(net.readout.synapses[0].source)
    totals = [sum(sops_until(net, counts, step).values()) for step in range(1, steps + 1)]
    assert (np.diff(totals, axis=0) >= 0).all()
    if all(layer.omega.any(0).all() for layer in net.neurons):
        np.testing.assert_array_equal(totals[-1], counts.total("sops"))
    if any(layer.substeps > 1 for layer in net.neurons) or not has_single_threshold_form(net):
        return
    macs = reference.run(net, windows).macs
    assert macs_until(net, macs, steps) == macs
    single = reparameterize(net)
    traces = reference.run(single, windows, trace=True).traces or {}
    unrolled = count(single, windows, traces)
    for step, total in enumerate(totals, 1):
        np.testing.assert_array_equal(sum(sops_until(single, unrolled, step).values()), total)
