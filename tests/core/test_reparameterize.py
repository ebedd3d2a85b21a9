"""The block-start form is exact; the uniform form of the paper under its conditions only."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lmht_deploy import reference
from lmht_deploy.errors import NetworkError
from lmht_deploy.ir import Input, Linear, Network, Neurons, Readout
from lmht_deploy.reparameterize import reparameterize
from tests.support.networks import SPECIAL, chain, has_single_threshold_form, networks, windows_for


@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
@given(net=networks(), seed=st.integers(0, 99))
def test_block_start_is_exact(net: Network, seed: int) -> None:
    if any(layer.substeps > 1 for layer in net.neurons) or not has_single_threshold_form(net):
        return  # the strategy draws reparameterized networks too
    windows = windows_for(net, 3, seed)
    graded, single = (
        reference.run(net, windows, trace=True),
        reference.run(reparameterize(net), windows, trace=True),
    )
    np.testing.assert_array_equal(graded.logits, single.logits)
    assert graded.traces is not None and single.traces is not None
    for layer in net.neurons:
        k = graded.traces[layer.name]
        s = single.traces[layer.name].reshape(*k.shape[:2], layer.levels, *k.shape[2:])
        assert s.max(initial=0) <= 1
        np.testing.assert_array_equal(s.sum(2), k)
        assert (np.diff(s, axis=2) <= 0).all(), (
            "a thermometer code: the spikes of a block come first"
        )
        np.testing.assert_array_equal(graded.sops[layer.name], single.sops[layer.name])


def test_float_networks_too() -> None:
    net = SPECIAL["lm-ht"]()
    layers = tuple(_as_float(layer) for layer in net.layers)
    net = Network(layers)
    windows = windows_for(net)
    np.testing.assert_array_equal(
        reference.run(net, windows).logits, reference.run(reparameterize(net), windows).logits
    )


def _as_float(layer):
    """The same layer with float arrays; every value stays what it is."""
    import dataclasses

    if not isinstance(layer, Neurons | Readout):
        return layer
    changes = {
        f.name: getattr(layer, f.name).astype(float)
        for f in dataclasses.fields(layer)
        if isinstance(getattr(layer, f.name), np.ndarray)
    }
    if isinstance(layer, Neurons):
        changes["leak"] = layer.leak / 4096
    return dataclasses.replace(
        layer,
        synapses=tuple(
            dataclasses.replace(s, weight=s.weight.astype(float)) for s in layer.synapses
        ),
        **changes,
    )


def one_layer(seed: int, weight: tuple[int, int], threshold: int = 300) -> Network:
    rng = np.random.default_rng(seed)
    n = 50
    layer = Neurons(
        name="n",
        synapses=(Linear(source="in", weight=rng.integers(*weight, (n, 8))),),
        bias=np.zeros(n, int),
        threshold=np.full(n, threshold),
        omega=np.eye(4, dtype=int),
        leak=4096,
        v0=np.full(n, threshold // 2),
        levels=4,
    )
    readout = Readout(
        name="out",
        synapses=(Linear(source="n", weight=np.ones((2, n), int)),),
        bias=np.zeros(2, int),
    )
    return Network((Input(name="in", shape=(8,), steps=4, max_value=1), layer, readout))


def test_uniform_is_exact_under_the_conditions_of_theorem_4_2() -> None:
    net = one_layer(0, (0, 100))  # 0 <= I[t] < Lθ
    windows = windows_for(net, 20, density=0.5)
    graded, uniform = (
        reference.run(net, windows, trace=True),
        reference.run(reparameterize(net, "uniform"), windows, trace=True),
    )
    k, s = graded.traces["n"], uniform.traces["n"]  # type: ignore[index]
    np.testing.assert_array_equal(s.reshape(20, 4, 4, -1).sum(2), k)


def test_uniform_differs_beyond_them() -> None:
    net = one_layer(1, (-127, 128), threshold=40)
    windows = windows_for(net, 20, density=0.5)
    graded, uniform = (
        reference.run(net, windows, trace=True),
        reference.run(reparameterize(net, "uniform"), windows, trace=True),
    )
    k, s = graded.traces["n"], uniform.traces["n"]  # type: ignore[index]
    assert 0 < (s.reshape(20, 4, 4, -1).sum(2) != k).mean() < 0.1


def test_single_threshold_networks_stay_what_they_are() -> None:
    net = chain(levels=1)
    assert reparameterize(net) == net
    once = reparameterize(chain(levels=3))
    assert reparameterize(once) == once


def test_refuses() -> None:
    with pytest.raises(NetworkError, match="'block-start' or 'uniform', not 'spread'"):
        reparameterize(chain(), "spread")  # type: ignore[arg-type]
    with pytest.raises(NetworkError, match=r"beyond 32 bits|must lie within"):
        reparameterize(chain(levels=4, threshold=(2**30, 2**30 + 1)), "uniform")
