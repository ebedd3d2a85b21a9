"""The bounds: no input exceeds them, some reach them, and they never wrap."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lmht_deploy import reference
from lmht_deploy.errors import NetworkError
from lmht_deploy.ir import (
    INT32_MAX,
    Conv,
    Flatten,
    Input,
    Linear,
    Network,
    Neurons,
    Readout,
    leak_integer,
)
from tests.support.networks import networks, windows_for
from tests.support.tiny import network, neurons


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(net=networks())
def test_no_input_exceeds_the_bounds(net: Network) -> None:
    windows = np.concatenate([windows_for(net, 4, seed) for seed in range(3)])
    outputs = {net.input.name: windows.astype(np.int64)}
    for layer in net.layers[1:]:
        if isinstance(layer, Neurons):
            current = reference.currents(net, layer, outputs)
            assert np.abs(current).max() <= net.bounds[layer.name].current
            drive = np.einsum("tj,bj...->bt...", layer.unrolled_omega().astype(np.int64), current)
            assert np.abs(drive).max() <= net.bounds[layer.name].drive
            assert _largest_potential(layer, drive) <= net.bounds[layer.name].potential
        outputs[layer.name] = reference.apply_layer(net, layer, outputs, windows)


def _largest_potential(layer: Neurons, drive: np.ndarray) -> int:
    ndim = drive.ndim - 2
    theta = reference.per_channel(layer.threshold, ndim).astype(np.int64)
    v0 = reference.per_channel(layer.v0, ndim).astype(np.int64)
    v, largest = np.broadcast_to(v0, drive[:, 0].shape), 0
    late = np.clip(v // theta, 0, layer.levels) * theta * (layer.reset == "subtract-late")
    for step, k in enumerate(np.moveaxis(reference.fire(layer, drive), 1, 0)):
        if step % layer.substeps == 0:
            v = leak_integer(v, int(layer.leak))
        v = v - late + drive[:, step]
        largest = max(largest, int(np.abs(v).max()))
        if layer.floor is not None:
            v = np.maximum(v, reference.per_channel(layer.floor, ndim))
        match layer.reset:
            case "subtract":
                v = v - k * theta
            case "subtract-late":
                late = k * theta
            case "zero":
                v = np.where(k > 0, 0, v)
    return largest


def test_bounds_are_reached() -> None:
    """A saturated input of positive weights reaches the bound: it is no larger than needed."""
    layer = neurons(
        synapses=(Conv(source="in", weight=np.full((2, 1, 2, 2), 7)),),
        omega=np.eye(2, dtype=int),
        threshold=np.full(2, 10000),
    )
    readout = Readout(
        name="out",
        synapses=(Linear(source="flat", weight=np.ones((3, 2), int)),),
        bias=np.zeros(3, int),
    )
    net = Network(
        (
            Input(name="in", shape=(1, 2, 2), steps=2, max_value=9),
            layer,
            Flatten(name="flat", source="a"),
            readout,
        )
    )
    assert (net.bounds["a"].current, net.bounds["a"].drive, net.bounds["a"].potential) == (
        7 * 4 * 9,
        7 * 4 * 9,
        2 * 7 * 4 * 9,
    )


def test_a_float_network_has_no_bounds() -> None:
    source = Input(name="in", shape=(2,), steps=1)
    readout = Readout(
        name="out", synapses=(Linear(source="in", weight=np.eye(2)),), bias=np.zeros(2)
    )
    assert Network((source, readout)).bounds == {}


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"bias": np.full(2, INT32_MAX)}, "a synaptic current can reach 2147483902, beyond 32"),
        (
            {"bias": np.full(2, 2**30), "omega": np.full((2, 2), 2**16)},
            "a mixed current can reach 1407375\\d+, beyond 32 bits",
        ),
        (
            {"bias": np.full(2, 2**30), "omega": np.eye(2, dtype=int), "levels": 1},
            "a potential can reach 214748\\d+, beyond 32 bits",
        ),
    ],
)
def test_refuses(fields: dict, message: str) -> None:
    with pytest.raises(NetworkError, match=f"layer 'a': {message}"):
        network(neurons(**fields))


@pytest.mark.parametrize("levels", [2**57, 2**63, 2**64, 10**30])
def test_no_number_of_levels_makes_a_bound_wrap(levels: int) -> None:
    """128 · 2^57 = 2^64: in 64 bits the bound of the read-out was 0."""
    with pytest.raises(NetworkError, match="number of levels must be an integer within"):
        wide(levels, [127, 1])


def wide(levels: int, weights: list[int], exponent: int = 0) -> Network:
    """Neurons with any number of levels, whose spikes a read-out weighs with `weights`."""
    source = Input(name="in", shape=(2,), steps=1, max_value=32767)
    layer = neurons(
        synapses=(Linear(source="in", weight=127 * np.eye(2, dtype=int), exponent=9),),
        omega=[[1]],
        threshold=[1, 1],
        levels=levels,
    )
    synapse = Linear(source="a", weight=np.array([weights, weights]), exponent=exponent)
    return Network((source, layer, Readout(name="out", synapses=(synapse,), bias=[0, 0])))


@given(
    levels=st.integers(1, INT32_MAX),
    weights=st.lists(st.integers(-128, 127), min_size=2, max_size=2),
    exponent=st.integers(0, 16),
)
def test_bounds_are_exact(levels: int, weights: list[int], exponent: int) -> None:
    bound = levels * sum(map(abs, weights)) << exponent
    if bound > INT32_MAX:
        with pytest.raises(NetworkError, match=f"a synaptic current can reach {bound}, beyond"):
            wide(levels, weights, exponent)
    else:
        assert wide(levels, weights, exponent).bounds["out"].current == bound
