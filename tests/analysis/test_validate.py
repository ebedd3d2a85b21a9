"""Before and after reparameterization: the figures are those of the reference model."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from lmht_deploy import reference
from lmht_deploy.analysis import energy, validate
from lmht_deploy.analysis.counts import of_result
from lmht_deploy.errors import LmhtError
from lmht_deploy.ir import Network, Neurons
from lmht_deploy.quantize import quantize
from lmht_deploy.reparameterize import reparameterize
from tests.support.networks import float_network

NET: Network = float_network()
WINDOWS = np.random.default_rng(0).integers(0, 4, (40, *NET.window_shape)).astype(np.uint8)


def test_figures_are_those_of_the_reference_model() -> None:
    labels = reference.run(NET, WINDOWS).predictions
    labels[:10] = (labels[:10] + 1) % NET.classes
    calls: list[tuple[str, int, int]] = []
    found = validate.validate(NET, WINDOWS, labels, progress=lambda *call: calls.append(call))
    assert found.exact and [(row.form, row.integer) for row in found.rows] == [
        (form, integer)
        for integer in (False, True)
        for form in ("before", "block-start", "uniform")
    ]
    for row in found.rows:
        net = quantize(NET) if row.integer else NET
        single = net if row.form == "before" else reparameterize(net, row.form)  # type: ignore[arg-type]
        expected = reference.run(single, WINDOWS)
        assert row.windows == 40 and row.accuracy == (expected.predictions == labels).mean()
        assert row.spikes == sum(c.sum() for c in expected.spikes.values()) / 40
        assert row.sops == sum(c.sum() for c in expected.sops.values()) / 40
        assert row.energy == pytest.approx(
            0.9e-12 * row.sops
        ) and row.energy_with_macs == pytest.approx(
            energy.estimate(of_result(expected), energy.energy_model("45nm")).joules.mean()
        )
        assert (row.levels, row.steps) == (
            max(n.levels for n in single.neurons),
            single.neurons[-1].steps,
        )
        places = sum(layer.steps * np.prod(single.shapes[layer.name]) for layer in single.neurons)
        assert (
            row.firing_rate == pytest.approx(row.spikes / places)
            and 0 < row.firing_rate <= row.levels
        )
    assert found.rows[0].accuracy == 0.75
    before, after, uniform = found.rows[3:]
    assert (after.spikes, after.sops, after.accuracy) == (
        before.spikes,
        before.sops,
        before.accuracy,
    )
    assert (
        uniform.differing_windows == differing(quantize(NET)) > 0 and uniform.difference is not None
    )
    assert calls[0] == ("float, before", 0, 40) and calls[-1] == ("integer, uniform", 40, 40)


def differing(net: Network) -> int:
    """Windows in which the uniform form has other spike counts, by the reference model."""
    one, other = reference.run(net, WINDOWS), reference.run(reparameterize(net, "uniform"), WINDOWS)
    return int(
        np.any([one.spikes[name] != other.spikes[name] for name in one.spikes], axis=0).sum()
    )


def test_a_form_that_differs_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        validate, "reparameterize", lambda net, form: reparameterize(net, "uniform")
    )
    found = validate.validate(NET, WINDOWS)
    assert not found.exact and found.rows[1].accuracy is None
    assert any(
        row.differing_windows > 0 and "differ: window" in str(row.difference)
        for row in found.rows
        if row.form == "block-start"
    )


def test_a_uniform_form_beyond_32_bits_is_left_out() -> None:
    first, layer, *others = quantize(NET).layers
    assert isinstance(layer, Neurons)
    net = Network(
        (
            first,
            dataclasses.replace(layer, v0=np.full_like(layer.v0, 2**31 // layer.levels)),
            *others,
        )
    )
    found = validate.validate(net, WINDOWS)
    assert found.exact and [row.form for row in found.rows] == ["before", "block-start"] * 2
    assert len(found.omitted) == 2 and all(
        why.startswith("integer, uniform: layer 'a': initial potential must lie within")
        for why in found.omitted
    )


def test_unknown_energy_model() -> None:
    with pytest.raises(LmhtError, match="unknown energy model 'fly'"):
        validate.validate(NET, WINDOWS, energy_model="fly")
