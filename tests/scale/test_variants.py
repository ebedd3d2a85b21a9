"""Properties of variants, of windows that end early and of their risk, on random networks."""

from __future__ import annotations

import dataclasses

import numpy as np
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from lmht_deploy import reference
from lmht_deploy.analysis.early import choose_margin, stop_scores
from lmht_deploy.engine import Engine, Model, StepwiseEngine
from lmht_deploy.errors import NetworkError
from lmht_deploy.ir import Layer, Network, Neurons
from lmht_deploy.scale import Variant
from lmht_deploy.scale._search import silent_channels, variants
from lmht_deploy.scale._variants import prune
from tests.support.networks import Builder, networks, windows_for


def described(net: Network, variant: Variant) -> Network:
    """The network that a variant describes, with every input step and every channel."""

    def change(layer: Layer) -> Layer:
        if not isinstance(layer, Neurons):
            return layer
        omega = layer.omega
        if variant.steps is not None:
            omega = omega[: variant.steps].copy()
            if not reads_input(net, layer):
                omega = omega[:, : variant.steps]
        v0 = layer.v0
        if variant.initial_potential is not None:
            v0 = np.round(variant.initial_potential * layer.threshold.astype(float)).astype(int)
        levels = layer.levels if variant.levels is None else variant.levels
        return dataclasses.replace(layer, omega=omega, levels=levels, v0=v0)

    return Network(tuple(map(change, net.layers)))


def reads_input(net: Network, layer: Neurons) -> bool:
    return any(synapse.source in net.inputs for synapse in layer.synapses)


@settings(max_examples=40, deadline=None)
@given(networks(), st.data())
def test_a_variant_computes_the_integers_of_its_described_network(
    net: Network, data: st.DataObject
) -> None:
    assume(all(layer.substeps == 1 for layer in net.neurons))
    variant = data.draw(st.sampled_from(list(variants(net))))
    windows = windows_for(net, 4)
    try:
        cut, whole = variant.apply(net), described(net, variant)
    except NetworkError:  # bounds that cannot be proved, or layers of different numbers of steps
        assume(False)
    read = windows[:, : cut.input.steps]
    expected = reference.run(whole, windows)
    pruned = prune(cut, silent_channels(cut, read))
    for found in (reference.run(cut, read), Engine(Model(pruned)).run(read)):
        assert found.logits.tolist() == expected.logits.tolist()
        for name, spikes in found.spikes.items():
            assert spikes.tolist() == expected.spikes[name].tolist()


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**20), st.integers(2, 6), st.integers(1, 3), st.integers(0, 400))
def test_a_run_that_ends_early_is_the_first_steps_of_the_whole_run(
    seed: int, steps: int, levels: int, margin: int
) -> None:
    builder = Builder(seed, steps=steps)
    hidden = builder.neurons("hidden", builder.conv("input", 5), steps=steps, levels=levels)
    net = builder.finish(hidden)
    engine = StepwiseEngine(net)
    for window in windows_for(net, 3, seed):
        found = engine.run(window, margin)
        assert found.steps is not None
        (ran,) = found.steps.tolist()
        first = net if ran == steps else Variant(steps=ran).apply(net)
        expected = reference.run(first, window[None, :ran])
        assert found.logits.tolist() == expected.logits.tolist()
        for count in ("spikes", "sops", "events", "event_sops"):
            for name, values in getattr(expected, count).items():
                assert getattr(found, count)[name].tolist() == values.tolist()


def test_the_risk_of_exchangeable_windows_is_below_alpha() -> None:
    """Over many calibrations, the mean risk is at most alpha, but for chance (4 deviations)."""
    builder = Builder(7, steps=6)
    net = builder.finish(builder.neurons("hidden", builder.conv("input", 5), steps=6))
    scores = stop_scores(net, windows_for(net, 1500, seed=3)[2:])
    rng, calibrations, size = np.random.default_rng(0), 2000, 200
    for alpha in (0.01, 0.05, 0.2):
        risks = []
        for _ in range(calibrations):
            order = rng.permutation(len(scores))
            margin = choose_margin(scores[order[:size]], alpha).stop_margin
            # no window whose score is below the margin stops with another answer
            risks.append((scores[order[size:]] >= margin).mean())
        assert np.mean(risks) <= alpha + 4 * np.std(risks) / calibrations**0.5
