"""Quantization: the formulas of docs/semantics.md, the proof, and the error of the integers."""

from __future__ import annotations

import contextlib
import dataclasses
from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from lmht_deploy import reference
from lmht_deploy.errors import NetworkError, QuantizationError
from lmht_deploy.formats.lmht import save_network
from lmht_deploy.ir import Conv, Flatten, Input, Linear, Network, Neurons, Readout, Scale
from lmht_deploy.quantize import quantize
from lmht_deploy.reparameterize import reparameterize
from tests.support.networks import float_network


def test_stays_close_to_the_float_network() -> None:
    net = float_network()
    quantized = quantize(net)
    assert quantized.integer and quantized.metadata == net.metadata
    windows = np.random.default_rng(1).integers(0, 3, (8, *net.window_shape))
    expected, found = (
        reference.run(net, windows, trace=True),
        reference.run(quantized, windows, trace=True),
    )
    assert expected.traces is not None and found.traces is not None
    assert (found.traces["a"] != expected.traces["a"]).mean() < 0.01
    correlation = np.corrcoef(found.logits.ravel(), expected.logits.ravel())[0, 1]
    assert correlation > 0.98


def test_follows_the_formulas() -> None:
    net = float_network()
    for name in ("a", "b"):
        source, layer = net[name], quantize(net)[name]
        weights = [np.abs(s.weight).reshape(12, -1).max(1) for s in source.synapses]
        exponents = [s.exponent for s in layer.synapses]
        scale = np.max([w / (127 * 2**e) for w, e in zip(weights, exponents, strict=True)], axis=0)
        d = 256
        np.testing.assert_array_equal(layer.bias, np.rint(source.bias / scale))
        np.testing.assert_array_equal(layer.threshold, np.rint(source.threshold * d / scale))
        np.testing.assert_array_equal(layer.v0, np.rint(source.v0 * d / scale))
        np.testing.assert_array_equal(layer.omega, np.rint(source.omega * d))
        assert layer.leak == round(0.9 * 4096)
        for fine, coarse in zip(source.synapses, layer.synapses, strict=True):
            unit = (scale * 2**coarse.exponent).reshape(-1, *(1,) * (fine.weight.ndim - 1))
            np.testing.assert_array_equal(coarse.weight, np.rint(fine.weight / unit))
            assert np.abs(coarse.weight.astype(int)).max() <= 127
    assert [s.exponent for s in quantize(net)["b"].synapses] == [
        0,
        2,
    ]  # the shortcut is about four times larger


@pytest.mark.parametrize("reset", ["subtract", "subtract-late", "zero"])
def test_resets_and_floors(reset: str) -> None:
    net = float_network(reset=reset, floor=np.linspace(-0.5, 0, 12), leak=0.8)
    quantized = quantize(net)
    for name in ("a", "b"):
        source, layer = net[name], quantized[name]
        ratio = layer.threshold / source.threshold
        assert layer.reset == reset
        np.testing.assert_allclose(layer.floor, source.floor * ratio, atol=1)
    windows = np.random.default_rng(1).integers(0, 3, (8, *net.window_shape))
    expected, found = (reference.run(n, windows, trace=True).traces for n in (net, quantized))
    assert expected is not None and found is not None
    assert 0.1 < expected["a"].mean() < 1.9
    assert (found["a"] != expected["a"]).mean() < 0.01


@pytest.mark.parametrize(
    ("omega", "exact"),
    [
        (np.full((4, 4), 0.25), np.ones((4, 4))),
        (np.eye(4), np.eye(4)),
        (np.full((4, 1), 1.0).repeat(4, 1), np.ones((4, 4))),
    ],
)
def test_special_matrices_are_exact(omega: np.ndarray, exact: np.ndarray) -> None:
    net = quantize(float_network(omega=omega))
    np.testing.assert_array_equal(net["a"].omega, exact)


def test_a_scaled_integer_network_comes_back() -> None:
    """A float network that is an integer one in other units is quantized to exactly that one."""
    rng = np.random.default_rng(3)
    weight = rng.integers(-127, 128, (6, 8))
    weight[:, 0] = 127
    unit = 2.0 ** -rng.integers(3, 9, 6)
    bias, theta, v0 = rng.integers(-90, 90, 6), rng.integers(50, 400, 6), rng.integers(0, 50, 6)
    readout_weight = rng.integers(-127, 128, (3, 6))
    readout_weight[0, 0] = -127
    omega = np.full((4, 4), 0.25)
    neurons = Neurons(
        name="n",
        synapses=(Linear(source="in", weight=weight * unit[:, None]),),
        bias=bias * unit,
        threshold=theta * unit / 4,
        omega=omega,
        leak=1.0,
        v0=v0 * unit / 4,
        levels=3,
    )
    readout = Readout(
        name="out",
        synapses=(Linear(source="n", weight=readout_weight / 64),),
        bias=np.array([1, -2, 3]) / 64,
    )
    net = Network((Input(name="in", shape=(8,), steps=4, max_value=3), neurons, readout))
    found = quantize(net)
    np.testing.assert_array_equal(found["n"].synapses[0].weight, weight)
    for name, values in {"bias": bias, "threshold": theta, "v0": v0}.items():
        np.testing.assert_array_equal(getattr(found["n"], name), values)
    assert found.readout.scale == 1 / 64
    windows = rng.integers(0, 4, (20, 4, 8))
    expected, result = reference.run(net, windows), reference.run(found, windows)
    np.testing.assert_array_equal(result.logits * result.scale, expected.logits)
    np.testing.assert_array_equal(result.spikes["n"], expected.spikes["n"])


def test_takes_the_largest_d_that_can_be_proved() -> None:
    """Many strong inputs leave fewer bits for the fractions of the T-GIM."""
    weight = np.ones((2, 2**10, 1, 1))
    for channels, d in ((2**10, 64), (2**6, 256)):
        layer = Neurons(
            name="n",
            synapses=(Conv(source="in", weight=weight[:, :channels]),),
            bias=np.zeros(2),
            threshold=np.full(2, 1000.0),
            omega=np.array([[0.25, 0.2500001], [0.25, 0.25]]),
            leak=1.0,
            v0=np.zeros(2),
            levels=1,
        )
        readout = Readout(
            name="out", synapses=(Linear(source="f", weight=np.ones((2, 2))),), bias=np.zeros(2)
        )
        net = Network(
            (
                Input(name="in", shape=(channels, 1, 1), steps=2, max_value=255),
                layer,
                Flatten(name="f", source="n"),
                readout,
            )
        )
        omega = quantize(net)["n"].omega
        assert (omega == d / 4).all()


def test_channels_without_weights_keep_their_threshold_and_bias() -> None:
    net = float_network()
    a = net["a"]
    dead = a.synapses[0].weight.copy()
    dead[3] = 0
    a = dataclasses.replace(a, synapses=(dataclasses.replace(a.synapses[0], weight=dead),))
    quantized = quantize(Network((net.layers[0], a, *net.layers[2:])))["a"]
    assert quantized.threshold[3] > 1000
    assert quantized.bias[3] / quantized.threshold[3] * 256 == pytest.approx(
        a.bias[3] / a.threshold[3], rel=0.01
    )


@given(
    values=st.lists(st.floats(-1e308, 1e308), min_size=6, max_size=6),
    threshold=st.floats(min_value=5e-324, max_value=1e308),
    omega=st.lists(st.floats(-1e308, 1e308), min_size=4, max_size=4),
    scale=st.floats(min_value=5e-324, max_value=1e308),
    leak=st.floats(0, 4),
)
@example(
    values=[5e-324] * 6, threshold=5e-324, omega=[5e-324] * 4, scale=5e-324, leak=1.0
)  # 1/Ω is infinite
@example(values=[1e308] * 3 + [1e-308] * 3, threshold=1.0, omega=[1.0, 2, 3, 4], scale=1, leak=0)
def test_any_float_network_is_quantized_or_refused(
    values: list[float], threshold: float, omega: list[float], scale: float, leak: float
) -> None:
    a, b, c, bias, v0, weight = values
    layer = Neurons(
        name="n",
        synapses=(
            Linear(source="in", weight=[[a, b], [b, a]]),
            Scale(source="in", weight=[c, 1.0]),
        ),
        bias=[bias, 0.0],
        threshold=[threshold, 1.0],
        omega=np.reshape(omega, (2, 2)),
        leak=leak,
        v0=[v0, 0.0],
        levels=2,
    )
    readout = Readout(
        name="out",
        synapses=(Linear(source="n", weight=[[weight, 1.0]]),),
        bias=[bias],
        scale=scale,
    )
    net = Network((Input(name="in", shape=(2,), steps=2), layer, readout))
    with contextlib.suppress(QuantizationError):
        assert quantize(net).integer


@pytest.mark.parametrize("wrong", [None, "net.lmht", object])
def test_refuses_what_is_no_network(wrong: object, tmp_path: Path) -> None:
    for use in (quantize, reparameterize, lambda net: save_network(net, tmp_path / "x.lmht")):
        with pytest.raises(NetworkError, match="a Network is needed, not an object of type"):
            use(wrong)  # type: ignore[arg-type]
    with pytest.raises(NetworkError, match="a Network is needed"):
        reference.run(wrong, np.zeros((1, 1, 1), int))  # type: ignore[arg-type]


def test_refuses_what_cannot_be_proved() -> None:
    with pytest.raises(
        QuantizationError, match=r"layer 'a'.*beyond 32 bits|layer 'a'.*must lie within"
    ):
        quantize(float_network(bias=np.full(12, 1e9)))
    with pytest.raises(QuantizationError, match="layer 'a'"):
        quantize(float_network(threshold=np.full(12, 1e30)))


def test_integer_networks_are_returned() -> None:
    net = quantize(float_network())
    assert quantize(net) is net
