"""Counts equal those of a loop over every synapse, in both views and on all backends."""

from __future__ import annotations

import numpy as np
import pytest

import lmht_deploy as lmht
from lmht_deploy.analysis import counts as counting
from lmht_deploy.analysis.counts import Counts, LayerCounts
from lmht_deploy.errors import NetworkError
from lmht_deploy.ir import Network
from lmht_deploy.reparameterize import reparameterize
from tests.support.brute_force import Tally, brute_force
from tests.support.networks import SPECIAL, windows_for

SLOW = {"wide", "saturating"}
NETWORKS = sorted(SPECIAL.keys() - SLOW)


def counted(net: Network, windows: np.ndarray, backend: str = "reference") -> Counts:
    traces = lmht.run(net, windows, backend=backend, trace=True).traces
    assert traces is not None
    return counting.count(net, windows, traces)


def assert_tally(layer: LayerCounts, tally: Tally, window: int) -> None:
    for kind in counting.EVENTS:
        assert getattr(layer, kind)[window].tolist() == getattr(tally, kind), kind
    assert (layer.macs, layer.dense_macs) == (tally.macs, tally.synapses)
    assert (layer.neurons, layer.updates) == (tally.neurons, tally.updates)
    assert layer.dense_reads == tally.dense_reads


@pytest.mark.parametrize("name", NETWORKS)
def test_counts_equal_a_loop_over_every_synapse(name: str) -> None:
    net = SPECIAL[name]()
    windows = windows_for(net, 3)[1:]
    result = lmht.run(net, windows, backend="reference", trace=True)
    counts = counting.count(net, windows, result.traces)
    for window in range(len(windows)):
        tallies, logits = brute_force(net, windows[window])
        assert logits == result.logits[window].tolist()
        assert [layer.layer for layer in counts.layers] == list(tallies)
        for layer in counts.layers:
            assert_tally(layer, tallies[layer.layer], window)


@pytest.mark.parametrize("name", ["lm-ht", "residual", "pooled", "steps-differ", "image", "dense"])
def test_the_single_threshold_view_equals_the_single_threshold_network(name: str) -> None:
    net = SPECIAL[name]()
    windows = windows_for(net, 3)[1:]
    traces = lmht.run(net, windows, backend="reference", trace=True).traces
    single = reparameterize(net)
    outputs = counting.unroll(net, single, windows, traces)
    counts = counting.count_outputs(single, outputs, counting.SINGLE_THRESHOLD)
    tallies, _ = brute_force(single, windows[0])
    for layer in counts.layers:
        assert_tally(layer, tallies[layer.layer], 0)
    graded = counting.count(net, windows, traces)
    for kind in ("spikes", "sops", "dense_macs", "macs", "neurons"):
        np.testing.assert_array_equal(counts.total(kind), graded.total(kind))
    assert (counts.total("updates") > graded.total("updates")).all()


@pytest.mark.parametrize("name", ["residual", "pooled", "image-at-every-step"])
@pytest.mark.parametrize("backend", ["event", "torch", "onnx"])
def test_backends_give_the_same_counts(name: str, backend: str) -> None:
    net = SPECIAL[name]()
    windows = windows_for(net, 3)
    found, expected = counted(net, windows, backend), counted(net, windows)
    result = lmht.run(net, windows, backend=backend)
    for mine, other in zip(found.layers, expected.layers, strict=True):
        for kind in counting.EVENTS:
            np.testing.assert_array_equal(getattr(mine, kind), getattr(other, kind))
        np.testing.assert_array_equal(mine.per_window("sops"), result.sops[mine.layer])
        np.testing.assert_array_equal(mine.per_window("event_sops"), result.event_sops[mine.layer])
    totals = counting.of_result(result)
    for kind in ("spikes", "events", "sops", "event_sops", "macs"):
        np.testing.assert_array_equal(totals.total(kind), expected.total(kind))


def test_memory_accesses() -> None:
    """An event reads a weight of 1 byte, and reads and writes a state of 4; so does an update."""
    columns = (np.array([[n, n]]) for n in (5, 4, 50, 40, 6))
    layer = LayerCounts("a", 10, 2, 3, 99, 9, 10, 7, 8, 20, *columns)
    assert layer.per_window("weight_reads").tolist() == [83]
    assert layer.per_window("state_reads").tolist() == [103]
    assert layer.per_window("bytes").tolist() == [83 + 2 * 4 * 103]


def test_chunks_are_joined() -> None:
    net = SPECIAL["lm-ht"]()
    windows = windows_for(net, 5)
    parts = [counted(net, windows[:2]), counted(net, windows[2:])]
    joined, whole = counting.concatenate(parts), counted(net, windows)
    assert joined.windows == 5
    for kind in counting.KINDS:
        np.testing.assert_array_equal(joined.total(kind), whole.total(kind))


def test_a_layer_cannot_have_levels_and_substeps() -> None:
    import dataclasses

    net = SPECIAL["single-threshold"]()
    layers = [
        dataclasses.replace(layer, levels=2) if layer.name == "a" else layer for layer in net.layers
    ]
    net = Network(tuple(layers))
    windows = windows_for(net)
    traces = lmht.run(net, windows, backend="reference", trace=True).traces
    with pytest.raises(NetworkError, match="cannot be reparameterized twice"):
        counting.unroll(net, reparameterize(net), windows, traces)
