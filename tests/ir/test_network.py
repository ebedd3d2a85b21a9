"""The network: what it derives, and what is refused in which words."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import numpy as np
import pytest

from lmht_deploy.errors import NetworkError
from lmht_deploy.ir import Conv, Flatten, Input, Layer, Linear, Network, Readout, SumPool
from tests.support.tiny import network, neurons


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


def large_pools() -> list[Layer]:
    """Sums of four counts up to 2^31 - 1, twelve times."""
    names = ["a", *(f"p{i}" for i in range(12))]
    pools = [
        SumPool(name=name, source=source, kernel=2, stride=1, padding=1)
        for source, name in pairwise(names)
    ]
    return [neurons(levels=2**31 - 1, synapses=(conv(exponent=16),)), *pools]


def conv(source: str = "in", inputs: int = 1, kernel: int = 1, exponent: int = 0) -> Conv:
    weight = np.ones((2, inputs, kernel, kernel), int)
    return Conv(source=source, weight=weight, exponent=exponent)


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: [neurons(steps_in=3)], "T-GIM of shape \\(2, 3\\) meets 2 input steps"),
        (lambda: [neurons(bias=np.zeros(5, int))], "layer 'a': bias has 5 entries for 2 channels"),
        (
            lambda: [neurons(synapses=(conv("z"),))],
            "reads 'z', which is not a layer before it",
        ),
        (lambda: [neurons(synapses=(conv(inputs=3),))], "expects 3 channels, not 1"),
        (lambda: [neurons(synapses=(conv(kernel=3),))], "larger than its padded input"),
        (
            lambda: [neurons(synapses=(conv(), conv(kernel=2)))],
            r"different shapes \[\(2, 1, 1\), \(2, 2, 2\)\]",
        ),
        (
            lambda: [neurons(steps=3), neurons("b", synapses=(conv(), conv("a", inputs=2)))],
            r"different numbers of steps \[2, 3\]",
        ),
        (lambda: [neurons(), neurons()], "two layers are named 'a'"),
        (lambda: [neurons("b"), neurons("a")], "nothing reads layer 'b'"),
        (lambda: [neurons(bias=np.zeros(2))], "mixes integers and floats"),
        (lambda: [Input(name="x", shape=(1, 1, 1), steps=1)], "only the first layer is an Input"),
        (
            large_pools,
            "layer 'p11': a spike count can reach 36028797002186752 per time-step",
        ),
    ],
)
def test_refuses(build: Callable[[], list[Layer]], message: str) -> None:
    with pytest.raises(NetworkError, match=message):
        network(*build())


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"layers": ()}, "starts with its Input and ends with its Readout"),
        ({"layers": None}, "layers of a network must be a tuple of Input, Neurons, .*, not None"),
        ({"layers": ("in", "out")}, "layers of a network must hold Input, .*, not 'in'"),
        ({"metadata": "recipe"}, "metadata must be texts by key, not 'recipe'"),
        ({"metadata": {"epochs": 3}}, r"metadata must be texts by key, not \('epochs', 3\)"),
    ],
)
def test_refuses_parts(fields: dict, message: str) -> None:
    with pytest.raises(NetworkError, match=message):
        Network(**({"layers": network(neurons()).layers} | fields))


def test_too_many_neurons() -> None:
    source = Input(name="in", shape=(2**11, 2**10, 2**10), steps=1)
    readout = Readout(name="out", synapses=neurons().synapses, bias=np.zeros(2, int))
    with pytest.raises(NetworkError, match=r"'in': shape .* has too many entries"):
        Network((source, readout))


def test_linear_hints_at_a_missing_flatten() -> None:
    readout = Readout(
        name="out",
        synapses=(Linear(source="in", weight=np.ones((3, 4), int)),),
        bias=np.zeros(3, int),
    )
    with pytest.raises(NetworkError, match="put a Flatten between"):
        Network((Input(name="in", shape=(1, 2, 2), steps=2), readout))


def test_a_read_out_is_flat() -> None:
    readout = Readout(name="out", synapses=(conv(),), bias=np.zeros(2, int))
    with pytest.raises(NetworkError, match="put a Flatten before it"):
        Network((Input(name="in", shape=(1, 2, 2), steps=2), readout))


def test_is_printed_with_a_line_per_layer() -> None:
    both = tuple(
        Conv(source=source, weight=np.ones((2, channels, 1, 1), int))
        for source, channels in (("a", 2), ("in", 1))
    )
    net = network(neurons(), neurons("b", synapses=both))
    assert repr(net).splitlines() == [
        "Network(",
        "  (in): Input 1x2x2, 2 steps",
        "  (a): Neurons 2x2x2, 2 steps <- in",
        "  (b): Neurons 2x2x2, 2 steps <- a, in",
        "  (flat): Flatten 8, 2 steps <- b",
        "  (out): Readout 3 <- flat",
        ")",
    ]


def test_looks_up_layers_by_name() -> None:
    net = network(neurons())
    assert net["flat"] == Flatten(name="flat", source="a")
    with pytest.raises(NetworkError, match="no layer is named 'b'; there are in, a, flat, out"):
        net["b"]


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ('["a, b", "\u00e4", "c"]', ("a, b", "\u00e4", "c")),
        (None, ()),
        ("a, b, c", ()),
        ('["a", "b"]', ()),
        ('["a", "b", ""]', ()),
        ('["a", "b", 1]', ()),
        ('{"a": 1, "b": 2, "c": 3}', ()),
        ("[" * 100_000, ()),
    ],
)
def test_names_of_classes(text: str | None, names: tuple[str, ...]) -> None:
    metadata = {} if text is None else {"classes": text}
    net = Network(network(neurons()).layers, metadata)
    assert net.classes == 3 and net.class_names == names
