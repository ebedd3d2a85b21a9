"""Incremental inference equals the reference for every window of T_in consecutive steps."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lmht_deploy import engine, reference
from lmht_deploy.errors import BackendError
from lmht_deploy.ir import Network
from tests.support.networks import SPECIAL, Builder, networks

if reason := engine.unavailable():
    pytest.skip(reason, allow_module_level=True)


def check(
    net: Network,
    *,
    isa: str | None = None,
    path: str | None = None,
    threads: int = 1,
    windows: int = 5,
    seed: int = 0,
) -> None:
    """Overlapping windows of a random stream of steps. The first ones begin in silence."""
    model = engine.Model(net, isa=isa, path=path)  # type: ignore[arg-type]
    rng, steps = np.random.default_rng(seed), net.input.steps
    drawn = rng.integers(0, net.input.max_value + 1, (windows, *net.input.shape)) * (
        rng.random((windows, *net.input.shape))
        < rng.random((windows, *(1 for _ in net.input.shape)))
    )
    stream = np.concatenate([np.zeros((steps, *net.input.shape), np.int32), drawn.astype(np.int32)])
    ring = engine.IncrementalEngine(model, threads=threads)
    for number in range(1, windows + 1):
        slot = (number - 1) % steps
        ring.put(slot, stream[steps + number - 1])
        found, expected = (
            ring.run((slot + 1) % steps),
            reference.run(net, stream[None, number : number + steps]),
        )
        assert found.logits.tolist() == expected.logits.tolist() and found.macs == expected.macs
        for counted in ("spikes", "sops", "events", "event_sops"):
            assert {name: int(n[0]) for name, n in getattr(found, counted).items()} == {
                name: int(n[0]) for name, n in getattr(expected, counted).items()
            }


def stems() -> dict[str, Network]:
    """First layers of many kinds, before a small rest."""

    def net(
        channels: int = 70,
        steps: int = 4,
        max_value: int = 9,
        *,
        shape: tuple[int, int, int] = (2, 9, 7),
        kernel: int = 3,
        stride: int = 1,
        second: str = "identity",
        **neuron: object,
    ) -> Network:
        b = Builder(5, shape=shape, steps=steps, max_value=max_value)
        first = b.neurons(
            "first",
            b.conv("input", channels, kernel, stride),
            **{"threshold": (300, 2000), "steps": steps} | neuron,
        )  # type: ignore[arg-type]
        return b.finish(b.neurons("second", b.conv(first, 9), steps=steps, omega=second))

    at_once: dict[str, Any] = {"second": "uniform", "threshold": (9000, 90_000)}
    return {
        "identity": net(omega="identity"),
        "random": net(omega="random", levels=3),
        "steps-differ": net(steps=3, omega="random"),
        "strided": net(kernel=5, stride=2),
        "wide counts": net(max_value=1000, omega="identity"),
        "uniform": net(omega="uniform", max_value=255, levels=1),
        "windows at once": net(omega="uniform", max_value=255, levels=1, **at_once),
        "windows of many channels at once": net(
            shape=(12, 5, 4), omega="uniform", max_value=200, levels=1, **at_once
        ),
        "one step": net(steps=1),
        "small": net(shape=(2, 2, 2), omega="identity"),
        "many channels": net(shape=(130, 4, 4), omega="random", max_value=1),
        "many levels": net(levels=20, omega="random"),
    }


STEMS = stems()


@pytest.mark.parametrize("isa", engine.TIERS)
@pytest.mark.parametrize("name", STEMS)
def test_every_kind_of_first_layer_on_every_tier(name: str, isa: str) -> None:
    if isa not in engine.isas():
        pytest.skip(f"tier {isa} is not available on this CPU")
    check(STEMS[name], isa=isa)


@pytest.mark.parametrize("path", ["list", "shared", "dense"])
@pytest.mark.parametrize("threads", [1, 2, 5])
def test_any_path_and_number_of_threads(path: str, threads: int) -> None:
    for net in STEMS.values():
        check(net, path=path, threads=threads)


@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
@given(net=networks(), seed=st.integers(0, 99))
def test_random_graphs(net: Network, seed: int) -> None:
    if engine.IncrementalEngine.supports(engine.Model(net)):
        check(net, seed=seed, windows=net.input.steps + 2)


def test_most_event_networks_fit_and_others_are_refused() -> None:
    fitting = {
        name for name in SPECIAL if engine.IncrementalEngine.supports(engine.Model(SPECIAL[name]()))
    }
    assert {"lm-ht", "residual"} <= fitting
    for name in fitting:
        check(SPECIAL[name]())
    others = SPECIAL.keys() - fitting
    assert others
    for name in others:
        with pytest.raises(BackendError, match="does not read its input step by step"):
            engine.IncrementalEngine(engine.Model(SPECIAL[name]()))
