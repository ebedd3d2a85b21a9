"""The engine against the golden model on every tier of this machine, for any threads, batch and order of calls."""

from __future__ import annotations

import threading

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lmht_deploy import engine, reference
from lmht_deploy.network import Flatten, Input, Linear, Network, Neurons, Readout, Scale
from tests.conformance.networks import SPECIAL, Builder, networks, windows_for
from tests.conformance.test_conformance import assert_equal

if reason := engine.missing():
    pytest.skip(reason, allow_module_level=True)


@pytest.fixture(params=engine.TIERS)
def isa(request: pytest.FixtureRequest) -> str:
    if request.param not in engine.isas():
        pytest.skip(f"tier {request.param} is not available on this CPU")
    return request.param


def check(net: Network, windows: np.ndarray, isa: str | None = None, threads: int = 1) -> None:
    runner = engine.Engine(engine.Model(net, isa=isa), threads=threads)
    assert_equal(runner.run(windows, trace=True), reference.run(net, windows, trace=True))


@pytest.mark.parametrize("name", SPECIAL)
def test_special_case_on_every_tier(name: str, isa: str) -> None:
    net = SPECIAL[name]()
    check(net, windows_for(net), isa)


@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
@given(net=networks(), batch=st.integers(1, 3), seed=st.integers(0, 99))
def test_random_graph_on_every_tier(isa: str, net: Network, batch: int, seed: int) -> None:
    check(net, windows_for(net, batch, seed), isa)


@pytest.mark.parametrize("threads", [2, 3, 7])
@pytest.mark.parametrize("name", ["residual", "pooled", "geometry", "dense", "wide", "steps-differ"])
def test_any_number_of_threads(name: str, threads: int) -> None:
    net = SPECIAL[name]()
    check(net, windows_for(net), threads=threads)


def deep(levels: int = 1, high: int = 3) -> Network:
    """Layers of several slices: by rows, by slices (more than a cache of weights), with all kinds of shortcuts."""
    b = Builder(20, shape=(2, 9, 7), steps=3, high=high)
    a = b.neurons("a", b.conv("input", 130), steps=3, levels=levels, omega="random", threshold=(500, 2000))
    c = b.neurons("c", b.conv(a, 130), b.scale(a, 2), steps=3, levels=levels, omega="identity", threshold=(1000, 9000))
    d = b.neurons("d", b.conv(c, 130, groups=130), b.conv(a, 130, 1, 1, 0), steps=3, levels=levels, omega="uniform", threshold=(1000, 9000))
    e = b.neurons("e", b.conv(d, 260, groups=2, stride=2), steps=3, levels=levels, threshold=(1000, 9000))
    f = b.neurons("f", b.conv(e, 520, padding=1), steps=3, levels=levels, threshold=(1000, 9000))
    return b.finish(f, classes=70)


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("levels", [1, 3])
def test_slices(levels: int, threads: int, isa: str) -> None:
    net = deep(levels)
    check(net, windows_for(net, 2), isa, threads)


@pytest.mark.parametrize("levels", [9, 255, 256, 1000])
def test_many_levels(levels: int, isa: str) -> None:
    b = Builder(21, steps=3)
    a = b.neurons("a", b.conv("input", 5), steps=3, levels=levels, threshold=(1, 9), omega="uniform")
    c = b.neurons("c", b.conv(b.max_pool(a), 5), b.conv(a, 5, 2, 2, 0), steps=3, levels=2, threshold=(1000, 90000))
    net = b.finish(c)
    check(net, windows_for(net), isa)


@pytest.mark.parametrize(("low", "high"), [(0, 255), (0, 32767), (-32768, 32767), (-32768, -1), (-3, 0), (5, 9)])
def test_range_of_the_input(low: int, high: int, isa: str) -> None:
    b = Builder(22, shape=(3, 6, 6), steps=1, low=low, high=high, kind="image")
    a = b.neurons("a", b.conv("input", 6, padding=2), omega=[[1], [1]], steps=2, threshold=(1, 1 + 100 * high if high > 0 else 99))
    p = b.neurons("p", b.conv(b.max_pool("input", 3, 1, 1), 6, padding=2), omega=[[1], [2]], steps=2)
    q = b.neurons("q", b.conv(b.sum_pool("input", 3, 1, 1), 6, padding=2), omega=[[1], [2]], steps=2)
    net = b.finish(b.neurons("z", b.scale(a), b.scale(p), b.scale(q), steps=2))
    check(net, windows_for(net, 4, density=0.7), isa)


def test_pooled_counts_beyond_a_byte(isa: str) -> None:
    b = Builder(23, shape=(2, 20, 20), steps=2, high=255)
    a = b.neurons("a", b.conv(b.sum_pool("input", 5, 5), 6), levels=4, steps=2, threshold=(1000, 90000))
    p = b.sum_pool(b.neurons("p", b.conv("input", 6), levels=4, steps=2, threshold=(1, 99)), 10, 10)
    c = b.neurons("c", b.conv(p, 7, 2, 1, 0), levels=2, steps=2, threshold=(1, 9000))
    d = b.neurons("d", b.conv(a, 7, 4, 1, 0), b.conv(c, 7, 1, 1, 0), steps=2)
    net = b.finish(d)
    check(net, windows_for(net, 4), isa)


def test_flatten_read_by_shortcuts_and_by_another_flatten(isa: str) -> None:
    rng = np.random.default_rng(24)
    b = Builder(24, shape=(3, 4, 5), steps=2)
    b.add(Flatten(name="flat", source="input"))
    b.add(Flatten(name="flatter", source="flat"))
    a = b.neurons("a", Scale(source="flatter", weight=rng.integers(-127, 128, 60), exponent=1), b.linear("flat", 60), steps=2)
    net = b.finish(a)
    check(net, windows_for(net, 4), isa)


def test_uniform_window_of_large_counts_stays_exact(isa: str) -> None:
    """Sums over the window that no longer fit a byte, and a read-out whose summed current exceeds 32 bits."""
    steps = 10
    weight = np.full((2, 150), 127)
    layers = (
        Input(name="input", shape=(150,), steps=steps, high=200),
        Neurons(
            name="a",
            synapses=(Linear(source="input", weight=weight),),
            bias=[1, 2],
            threshold=[5, 7],
            omega=np.ones((steps, steps), int),
            leak=4096,
            v0=[0, 0],
            levels=200,
        ),
        Readout(name="out", synapses=(Linear(source="a", weight=weight[:, :2], exponent=15),), bias=[2**28, -(2**28)]),
    )
    net = Network(layers)
    check(net, windows_for(net, 3), isa)


def test_any_order_of_calls_and_batches() -> None:
    net = SPECIAL["residual"]()
    windows = windows_for(net, 9, seed=3)
    runner = engine.Engine(net, threads=2)
    whole = runner.run(windows, trace=True)
    for index in (4, 0, 8, 4):
        assert_equal(runner.run(windows[index : index + 1], trace=True), reference.run(net, windows[index : index + 1], trace=True))
    assert_equal(runner.run(windows, trace=True), whole)


def test_engines_in_two_threads_share_weights_and_nothing_else() -> None:
    model = engine.Model(deep())
    windows = [windows_for(model.net, 2, seed=seed) for seed in (1, 2)]
    expected = [reference.run(model.net, w, trace=True) for w in windows]
    engines = [engine.Engine(model, threads=2) for _ in windows]
    found: dict[int, list] = {0: [], 1: []}

    def work(index: int) -> None:
        for _ in range(5):
            found[index].append(engines[index].run(windows[index], trace=True))

    threads = [threading.Thread(target=work, args=(index,)) for index in found]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for index, results in found.items():
        for result in results:
            assert_equal(result, expected[index])
