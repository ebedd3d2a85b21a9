"""Layers: what is refused, in which words, and the integer leak."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import numpy as np
import pytest

from lmht_deploy.errors import NetworkError
from lmht_deploy.ir import Flatten, Input, MaxPool, Readout, SumPool, leak_integer
from tests.support.networks import SPECIAL
from tests.support.tiny import neurons


def source(**fields) -> Input:
    return Input(**({"name": "in", "shape": (1, 2, 2), "steps": 1} | fields))


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: neurons(threshold=np.array([3, 0])), "every threshold must be at least 1"),
        (
            lambda: neurons(threshold=np.array([3.0, 0.0]), leak=1.0),
            "every threshold must be positive",
        ),
        (lambda: neurons(leak=4096.5), "integer leak must be an integer"),
        (lambda: neurons(leak=-1), "within 0..16384"),
        (lambda: neurons(threshold=np.ones(2), leak=4.5), "leak must be a number within 0..4"),
        (lambda: neurons(omega=np.full((2, 2), 70000)), "T-GIM entries must lie within"),
        (lambda: neurons(levels=0), "number of levels must be an integer within 1.."),
        (lambda: neurons(levels=2**31), "number of levels must be an integer within 1.."),
        (lambda: neurons(substeps=0), "number of sub-steps must be an integer within 1.."),
        (lambda: neurons(substeps=2**16), "131072 output steps, sub-steps included"),
        (lambda: neurons(omega=np.ones((4, 800)), substeps=2**13), "16777216 pairs of steps"),
        (lambda: neurons(injection="spread"), "'block-start' or 'uniform', not 'spread'"),
        (
            lambda: neurons(reset="hard"),
            "'subtract', 'subtract-late', or 'zero', not 'hard'",
        ),
        (
            lambda: neurons(reset="zero", substeps=3),
            "the reset must be 'subtract' with 3 sub-steps per time-step, not 'zero'",
        ),
        (lambda: neurons(floor=[-1, 1]), "every floor must be at most 0"),
        (lambda: neurons(floor=-1), "floor must have 1 dimensions"),
        (lambda: neurons(synapses=()), "has no synapse"),
        (lambda: neurons(synapses=(3,)), "synapses must hold Conv, Linear, Scale, not 3"),
        (lambda: source(name="a/b"), "must be printable text without"),
        (lambda: source(name=""), "must be printable text of 1 to 255 characters"),
        (lambda: source(name="n" * 256), "must be printable text of 1 to 255 characters"),
        (lambda: source(shape=(1, 2)), "shape must be"),
        (lambda: source(shape=(1, 2, 0)), "each size of the shape must be an integer"),
        (lambda: source(steps=0), "number of steps must be an integer within 1.."),
        (lambda: source(steps=2.0), "number of steps must be an integer within 1.., not 2.0"),
        (lambda: source(min_value=-1), "kind must be 'events'"),
        (lambda: source(min_value=3, max_value=2), "must be ordered"),
        (lambda: source(max_value=2**15 + 1), "max_value must be an integer within -32768"),
        (lambda: source(kind="frames"), "'events' or 'image', not 'frames'"),
        (lambda: Readout(name="out", synapses=(), bias=np.zeros(1)), "has no synapse"),
        (
            lambda: Readout(name="out", synapses=neurons().synapses, bias=[0], scale=0),
            "scale must be a positive and finite number, not 0",
        ),
        (
            lambda: MaxPool(name="p", source="a", kernel=2, stride=1, padding=2),
            "at most half the kernel",
        ),
        (
            lambda: SumPool(name="p", source=None, kernel=2, stride=1),
            "source None must be printable",
        ),
        (lambda: Flatten(name="f", source=2), "source 2 must be printable text"),
    ],
)
def test_refuses(build: Callable[[], object], message: str) -> None:
    with pytest.raises(NetworkError, match=message.replace("1..,", r"1..\d+,")):
        build()


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
