"""What quantization does at each layer."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from lmht_deploy import quantize, reference
from lmht_deploy.analysis.rounding import WINDOWS, explain, same_structure
from lmht_deploy.ir import Network
from tests.support.networks import SPECIAL, float_network, windows_for

REAL = float_network()
INTEGER = quantize(REAL)


def test_each_layer_is_explained() -> None:
    windows = windows_for(REAL, 40)
    expected, found = (reference.run(net, windows, trace=True) for net in (REAL, INTEGER))
    labels = expected.predictions
    number, (a, b, out) = explain(REAL, INTEGER, windows, labels)
    assert number == 40 and [row.layer for row in (a, b, out)] == ["a", "b", "out"]
    assert expected.traces is not None and found.traces is not None
    for row in (a, b):
        k, other = found.traces[row.layer], expected.traces[row.layer]
        assert row.differing == pytest.approx((k != other).mean())
        assert row.mean_difference == pytest.approx((k - other).mean())
    assert a.rounding == a.differing and 0 < b.rounding < b.differing
    same = (found.predictions == expected.predictions).mean()
    assert out.differing == pytest.approx(1 - same) and out.predictions == pytest.approx(same)
    assert out.accuracy == out.predictions and a.predictions == a.accuracy
    logits = found.logits * found.scale - expected.logits * expected.scale
    assert out.mean_difference == pytest.approx(logits.mean())


def test_one_wrong_layer_is_named() -> None:
    """A threshold that is far too high in layer b: a is right, b is wrong by itself."""
    layers = tuple(
        dataclasses.replace(layer, threshold=layer.threshold * 20) if layer.name == "b" else layer
        for layer in INTEGER.layers
    )
    windows = windows_for(REAL, 10)
    _, (a, b, _) = explain(REAL, Network(layers), windows)
    assert a.differing < 0.05 < b.rounding and b.mean_difference < 0 and b.accuracy is None


def test_many_windows_are_sampled() -> None:
    windows = windows_for(REAL, 3)
    assert explain(REAL, INTEGER, np.repeat(windows, 60, axis=0))[0] == WINDOWS


def test_structures() -> None:
    assert same_structure(REAL, INTEGER) and not same_structure(REAL, float_network(levels=3))
    assert not same_structure(REAL, SPECIAL["residual"]())
