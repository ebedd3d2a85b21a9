"""The network: what is refused, with which words; the bounds against brute force."""

from __future__ import annotations

import dataclasses
import itertools

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings

from lmht_deploy import reference
from lmht_deploy.errors import NetworkError
from lmht_deploy.ir import (
    INT32_MAX,
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
    leak_integer,
)
from tests.support.networks import SPECIAL, networks, windows_for


def neurons(
    name: str = "a", channels: int = 2, steps: int = 2, steps_in: int = 2, **fields
) -> Neurons:
    values = {
        "synapses": (Conv(source="in", weight=np.ones((channels, 1, 1, 1), int)),),
        "bias": np.zeros(channels, int),
        "threshold": np.full(channels, 3),
        "omega": np.ones((steps, steps_in), int),
        "leak": 4096,
        "v0": np.zeros(channels, int),
        "levels": 1,
    }
    return Neurons(name=name, **(values | fields))


def network(*layers, shape=(1, 2, 2), steps=2) -> Network:
    last = layers[-1].name if layers else "in"
    readout = Readout(
        name="out",
        synapses=(Linear(source="flat", weight=np.ones((3, 8), int)),),
        bias=np.zeros(3, int),
    )
    return Network(
        (
            Input(name="in", shape=shape, steps=steps),
            *layers,
            Flatten(name="flat", source=last),
            readout,
        )
    )


def test_derives_shapes_steps_and_ranges() -> None:
    net = network(neurons(levels=3), SumPool(name="p", source="a", kernel=1, stride=1))
    assert net.shapes == {
        "in": (1, 2, 2),
        "a": (2, 2, 2),
        "p": (2, 2, 2),
        "flat": (8,),
        "out": (3,),
    }
    assert net.ranges["a"] == net.ranges["p"] == (0, 3)
    assert (net.steps["a"], net.window_shape, net.classes) == (2, (2, 1, 2, 2), 3)


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: [neurons(steps_in=3)], "T-GIM of shape \\(2, 3\\) meets 2 input steps"),
        (lambda: [neurons(bias=np.zeros(5, int))], "layer 'a': bias has 5 entries for 2 channels"),
        (lambda: [neurons(threshold=np.array([3, 0]))], "every threshold must be at least 1"),
        (lambda: [neurons(leak=4096.5)], "integer leak must be an integer"),
        (lambda: [neurons(leak=-1)], "within 0..16384"),
        (lambda: [neurons(omega=np.full((2, 2), 70000))], "T-GIM entries must lie within"),
        (lambda: [neurons(levels=0)], "levels and sub-steps must be >= 1"),
        (lambda: [neurons(synapses=())], "has no synapse"),
        (
            lambda: [neurons(synapses=(Conv(source="z", weight=np.ones((2, 1, 1, 1), int)),))],
            "reads 'z', which is not a layer before it",
        ),
        (
            lambda: [neurons(synapses=(Conv(source="in", weight=np.ones((2, 3, 1, 1), int)),))],
            "expects 3 channels, not 1",
        ),
        (
            lambda: [neurons(synapses=(Conv(source="in", weight=np.ones((2, 1, 3, 3), int)),))],
            "larger than its padded input",
        ),
        (lambda: [neurons(), neurons()], "two layers are named 'a'"),
        (lambda: [neurons("b"), neurons("a")], "nothing reads layer 'b'"),
        (lambda: [neurons(bias=np.zeros(2))], "mixes integers and floats"),
        (
            lambda: [neurons(), MaxPool(name="p", source="a", kernel=2, stride=1, padding=2)],
            "at most half the kernel",
        ),
        (
            lambda: [neurons(bias=np.full(2, INT32_MAX))],
            "layer 'a': a synaptic current can reach 2147483902, beyond 32 bits",
        ),
    ],
)
def test_refuses(build, message: str) -> None:
    with pytest.raises(NetworkError, match=message):
        network(*build())


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (
            lambda: Conv(source="in", weight=np.full((1, 1, 1, 1), 128)),
            "must lie within -128..127, found 128..128",
        ),
        (lambda: Conv(source="in", weight=np.ones((1, 1, 1))), "must have 4 dimensions"),
        (lambda: Conv(source="in", weight=np.full((1, 1, 1, 1), np.nan)), "not finite"),
        (
            lambda: Conv(source="in", weight=np.ones((3, 1, 1, 1)), groups=2),
            "3 output channels cannot be divided into 2 groups",
        ),
        (
            lambda: Conv(source="in", weight=np.ones((1, 1, 1, 1), int), exponent=17),
            "exponent must be an integer within 0..16",
        ),
        (
            lambda: Conv(source="in", weight=np.ones((1, 1, 1, 1)), exponent=1),
            "float weights have no exponent",
        ),
        (
            lambda: Conv(source="in", weight=np.ones((1, 1, 1, 1)), stride=0),
            "stride must be one or two integers >= 1",
        ),
        (lambda: Scale(source="in", weight=np.array(["a"])), "must hold real numbers"),
        (lambda: Linear(source="in", weight=np.ones((0, 2))), "is empty"),
        (lambda: Input(name="a/b", shape=(1, 2, 2), steps=1), "must be printable text without"),
        (lambda: Input(name="in", shape=(1, 2), steps=1), "shape must be"),
        (lambda: Input(name="in", shape=(1, 2, 2), steps=0), "at least one step"),
        (lambda: Input(name="in", shape=(1, 2, 2), steps=1, min_value=-1), "kind must be 'events'"),
        (
            lambda: Input(name="in", shape=(1, 2, 2), steps=1, min_value=3, max_value=2),
            "must be ordered",
        ),
        (lambda: Readout(name="out", synapses=(), bias=np.zeros(1)), "has no synapse"),
        (lambda: Network(()), "starts with its Input and ends with its Readout"),
        (
            lambda: network(Input(name="x", shape=(1, 1, 1), steps=1)),
            "only the first layer is an Input",
        ),
    ],
)
def test_refuses_parts(build, message: str) -> None:
    with pytest.raises(NetworkError, match=message):
        build()


def test_linear_hints_at_a_missing_flatten() -> None:
    readout = Readout(
        name="out",
        synapses=(Linear(source="in", weight=np.ones((3, 4), int)),),
        bias=np.zeros(3, int),
    )
    with pytest.raises(NetworkError, match="put a Flatten between"):
        Network((Input(name="in", shape=(1, 2, 2), steps=2), readout))


def test_arrays_are_read_only_and_compared_by_value() -> None:
    net = SPECIAL["residual"]()
    assert net == SPECIAL["residual"]() != SPECIAL["pooled"]()
    with pytest.raises(ValueError, match="read-only"):
        net.neurons[0].bias[0] = 1
    changed = dataclasses.replace(net.neurons[0], levels=3)
    assert changed != net.neurons[0]


@pytest.mark.parametrize(
    ("v", "leak", "expected"),
    [(5, 2048, 2), (-5, 2048, -2), (-1, 4095, 0), (3, 6144, 4), (-3, 6144, -4), (7, 0, 0)],
)
def test_leak_truncates_towards_zero(v: int, leak: int, expected: int) -> None:
    assert leak_integer(np.array([v]), leak)[0] == expected


@pytest.mark.parametrize("kernel", [1, 2, 3])
@pytest.mark.parametrize(
    ("stride", "padding", "dilation"), list(itertools.product([1, 2], [0, 1, 2], [1, 2]))
)
def test_fan_out_is_what_one_spike_touches(
    kernel: int, stride: int, padding: int, dilation: int
) -> None:
    conv = Conv(
        source="in",
        weight=np.ones((4, 1, kernel, kernel), int),
        stride=stride,
        padding=padding,
        dilation=dilation,
        groups=2,
    )
    fan_out = conv.fan_out((2, 5, 6))
    for y, x in itertools.product(range(5), range(6)):
        spike = np.zeros((1, 1, 2, 5, 6))
        spike[0, 0, 1, y, x] = 1
        assert reference.convolve(spike, conv.weight.astype(float), conv).sum() == fan_out[0, y, x]


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
        outputs[layer.name] = reference._apply(net, layer, outputs, windows)


def _largest_potential(layer: Neurons, drive: np.ndarray) -> int:
    theta = reference.per_channel(layer.threshold, drive.ndim - 2).astype(np.int64)
    v, largest = (
        np.broadcast_to(
            reference.per_channel(layer.v0, drive.ndim - 2).astype(np.int64), drive[:, 0].shape
        ),
        0,
    )
    for step, k in enumerate(np.moveaxis(reference.fire(layer, drive), 1, 0)):
        if step % layer.substeps == 0:
            v = leak_integer(v, int(layer.leak))
        v = v + drive[:, step]
        largest = max(largest, int(np.abs(v).max()))
        v = v - k * theta
    return largest


def test_bounds_are_reached() -> None:
    """A saturated input of positive weights reaches the bound: it is no looser than it must be."""
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
