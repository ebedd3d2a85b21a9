"""Synapses: what is refused, in which words, and the fan-out against single spikes."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import numpy as np
import pytest

from lmht_deploy import reference
from lmht_deploy.errors import NetworkError
from lmht_deploy.ir import Conv, Linear, Scale


def conv(**fields) -> Conv:
    return Conv(**({"source": "in", "weight": np.ones((1, 1, 1, 1))} | fields))


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (
            lambda: conv(weight=np.full((1, 1, 1, 1), 128)),
            "must lie within -128..127, found 128..128",
        ),
        (lambda: conv(weight=np.ones((1, 1, 1))), "must have 4 dimensions"),
        (lambda: conv(weight=np.full((1, 1, 1, 1), np.nan)), "not finite"),
        (
            lambda: conv(weight=np.ones((3, 1, 1, 1)), groups=2),
            "3 output channels cannot be divided into 2 groups",
        ),
        (
            lambda: conv(weight=np.ones((1, 1, 1, 1), int), exponent=17),
            "exponent must be an integer within 0..16",
        ),
        (lambda: conv(exponent=1), "float weights have no exponent"),
        (lambda: conv(stride=0), "stride must be one or two integers >= 1"),
        (lambda: conv(stride=(1, 2, 3)), "stride must be one or two integers >= 1"),
        (lambda: conv(padding=-1), "padding must be one or two integers >= 0"),
        (lambda: conv(source=3), "Conv: source 3 must be printable text"),
        (lambda: Scale(source="in", weight=np.array(["a"])), "must hold real numbers"),
        (lambda: Scale(source="in", weight=[[1, 2], [3]]), "must be an array of numbers"),
        (lambda: Linear(source="in", weight=np.ones((0, 2))), "is empty"),
    ],
)
def test_refuses(build: Callable[[], object], message: str) -> None:
    with pytest.raises(NetworkError, match=message):
        build()


@pytest.mark.parametrize(
    ("synapse", "shape", "message"),
    [
        (conv(), (4,), "needs an input of shape"),
        (conv(), (2, 4, 4), "expects 1 channels, not 2"),
        (conv(weight=np.ones((1, 1, 3, 3))), (1, 2, 2), "larger than its padded input"),
        (Linear(source="in", weight=np.ones((2, 4))), (1, 2, 2), "put a Flatten between"),
        (Linear(source="in", weight=np.ones((2, 4))), (5,), r"an input of shape \(4,\), not"),
        (Scale(source="in", weight=np.ones(3)), (4,), "3 weights for 4 channels"),
    ],
)
def test_refuses_inputs_of_another_shape(synapse, shape: tuple[int, ...], message: str) -> None:
    with pytest.raises(NetworkError, match=message):
        synapse.output_shape(shape)


@pytest.mark.parametrize("kernel", [1, 2, 3])
@pytest.mark.parametrize(
    ("stride", "padding", "dilation"), list(itertools.product([1, 2], [0, 1, 2], [1, 2]))
)
def test_fan_out_is_what_one_spike_touches(
    kernel: int, stride: int, padding: int, dilation: int
) -> None:
    synapse = conv(
        weight=np.ones((4, 1, kernel, kernel), int),
        stride=stride,
        padding=padding,
        dilation=dilation,
        groups=2,
    )
    fan_out = synapse.fan_out((2, 5, 6))
    for y, x in itertools.product(range(5), range(6)):
        spike = np.zeros((1, 1, 2, 5, 6))
        spike[0, 0, 1, y, x] = 1
        touched = reference.convolve(spike, synapse.weight.astype(float), synapse)
        assert touched.sum() == fan_out[0, y, x]
