"""Inference step by step equals the reference for every window."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lmht_deploy import engine, reference, reparameterize
from lmht_deploy.errors import BackendError, DataError
from lmht_deploy.ir import Network, Neurons
from tests.support.networks import SPECIAL, Builder, networks

if reason := engine.unavailable():
    pytest.skip(reason, allow_module_level=True)

COUNTED = ("spikes", "sops", "events", "event_sops")


def draw(net: Network, windows: int, seed: int) -> np.ndarray:
    """Windows of many densities, int64 `[B, T_in, ...]`."""
    rng, shape = np.random.default_rng(seed), (windows, *net.window_shape)
    counts = rng.integers(net.input.min_value, net.input.max_value + 1, shape)
    share = rng.random((*shape[:2], *(1 for _ in shape[2:])))
    found: np.ndarray = counts * (rng.random(shape) < share)
    return np.clip(found, net.input.min_value, net.input.max_value)


def check(net: Network, *, windows: int = 3, seed: int = 0, **options: object) -> None:
    """Several windows, one after another, with one engine."""
    runner = engine.StepwiseEngine(net, trace=True, **options)  # type: ignore[arg-type]
    for window in draw(net, windows, seed):
        expected = reference.run(net, window[None], trace=True)
        parts = [runner.step(counts) for counts in window]
        found = runner.finish()
        assert found.logits.tolist() == expected.logits.tolist() and found.macs == expected.macs
        assert (sum(part.logits for part in parts) == expected.logits).all()
        for counted in COUNTED:
            counts = getattr(found, counted)
            assert {name: int(n[0]) for name, n in counts.items()} == {
                name: int(n[0]) for name, n in getattr(expected, counted).items()
            }
        assert found.traces is not None and expected.traces is not None
        for name, k in expected.traces.items():
            assert np.array_equal(found.traces[name], k), name


def stepwise(net: Network) -> Network:
    """Return `net` with a T-GIM that is a multiple of the identity in every layer."""
    layers = [
        dataclasses.replace(layer, omega=np.eye(net.input.steps, dtype=np.int64) * (1 + index % 3))
        if isinstance(layer, Neurons)
        else layer
        for index, layer in enumerate(net.layers)
    ]
    return Network(tuple(layers))


def kinds() -> dict[str, Network]:
    """Networks of two layers with neurons of many kinds."""

    def net(
        channels: int = 70, steps: int = 4, shape: tuple[int, ...] = (2, 9, 7), **neuron: object
    ) -> Network:
        b = Builder(5, shape=shape, steps=steps, max_value=9)  # type: ignore[arg-type]
        options = {"threshold": (300, 2000), "steps": steps, "omega": "identity"} | neuron
        first = b.neurons("first", b.conv("input", channels, 3, 1), **options)  # type: ignore[arg-type]
        second = b.neurons("second", b.conv(first, 9), **options)  # type: ignore[arg-type]
        return stepwise(b.finish(second))

    return {
        "if": net(),
        "levels": net(levels=3),
        "many levels": net(levels=20),
        "leak": net(leak=3000),
        "leak and levels": net(leak=5000, levels=3),
        "initial potential": net(v0=(100, 900)),
        "one step": net(steps=1),
        "many steps": net(steps=70, shape=(2, 3, 3)),
        "wide": net(channels=9, shape=(2, 5, 30)),
    }


KINDS = kinds()


@pytest.mark.parametrize("isa", engine.TIERS)
@pytest.mark.parametrize("name", KINDS)
def test_every_kind_of_neurons_on_every_tier(name: str, isa: str) -> None:
    if isa not in engine.isas():
        pytest.skip(f"tier {isa} is not available on this CPU")
    check(KINDS[name], isa=isa)
    check(reparameterize(KINDS[name]), isa=isa)
    check(reparameterize(KINDS[name], "uniform"), isa=isa)  # the same input at all sub-steps


@pytest.mark.parametrize("path", ["list", "shared", "dense"])
@pytest.mark.parametrize("threads", [1, 2, 5])
def test_any_path_and_number_of_threads(path: str, threads: int) -> None:
    for name in ("if", "levels", "leak"):
        check(KINDS[name], path=path, threads=threads)


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(net=networks(), seed=st.integers(0, 99))
def test_random_graphs(net: Network, seed: int) -> None:
    if all(layer.omega.shape == (net.input.steps,) * 2 for layer in net.neurons):
        check(stepwise(net), seed=seed)
    else:
        refused(net)


def refused(net: Network) -> None:
    assert not engine.StepwiseEngine.supports(net)
    with pytest.raises(BackendError, match="depends on later ones"):
        engine.StepwiseEngine(net)


def test_special_networks() -> None:
    for make in SPECIAL.values():
        net = make()
        if engine.StepwiseEngine.supports(net):
            check(net)
        else:
            refused(net)


def test_a_reset_forgets_the_steps_so_far() -> None:
    net = KINDS["if"]
    first, second = draw(net, 2, seed=3)
    runner = engine.StepwiseEngine(net)
    runner.step(first[0])
    runner.reset()
    assert runner.steps == 0
    for counts in second:
        runner.step(counts)
    assert runner.finish().logits.tolist() == reference.run(net, second[None]).logits.tolist()


def test_a_ring_takes_time_steps_in_any_order() -> None:
    """Windows that do not begin where the last one ended run again as a whole."""
    net, rng = KINDS["levels"], np.random.default_rng(0)
    steps = net.input.steps
    ring = engine.StepwiseRing(engine.StepwiseEngine(net))
    window = np.zeros(net.window_shape, np.int32)
    for slot in [0, 1, 2, 3, 0, 1, 1, 2, 3, 3, 2, 1, 0, *rng.integers(0, steps, 30)]:
        window[slot] = draw(net, 1, seed=int(rng.integers(1000)))[0, 0]
        ring.put(int(slot), window[slot])
        if rng.random() < 0.4:
            oldest = int(rng.integers(steps))
            expected = reference.run(net, np.roll(window, -oldest, axis=0)[None])
            assert ring.run(oldest).logits.tolist() == expected.logits.tolist()


def test_mistakes() -> None:
    net = KINDS["if"]
    runner, (window,) = engine.StepwiseEngine(net), draw(net, 1, seed=0)
    with pytest.raises(DataError, match="has 0 of its 4 time-steps"):
        runner.finish()
    with pytest.raises(DataError, match="must have shape"):
        runner.step(window)
    with pytest.raises(DataError, match=r"must lie within 0\.\.9"):
        runner.step(window[0] + 10)
    for counts in window:
        runner.step(counts)
    with pytest.raises(DataError, match="has all its 4 time-steps"):
        runner.step(window[0])
    with pytest.raises(BackendError, match="threads"):
        engine.StepwiseEngine(net, threads=0)
