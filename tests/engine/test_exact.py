"""The engine equals the reference on every tier, for any threads, batch and order of calls."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any, Literal

import numpy as np
import pytest
from hypothesis import HealthCheck, given, reject, settings
from hypothesis import strategies as st

from lmht_deploy import engine, reference
from lmht_deploy.errors import NetworkError
from lmht_deploy.ir import LEAK_ONE, Flatten, Input, Linear, Network, Neurons, Readout, Scale
from tests.support.networks import SPECIAL, Builder, networks, windows_for
from tests.support.results import assert_equal

if reason := engine.unavailable():
    pytest.skip(reason, allow_module_level=True)


@pytest.fixture(params=engine.TIERS)
def isa(request: pytest.FixtureRequest) -> str:
    if request.param not in engine.isas():
        pytest.skip(f"tier {request.param} is not available on this CPU")
    return request.param


def check(net: Network, windows: np.ndarray, isa: str | None = None, threads: int = 1) -> None:
    """Compare with the reference; without traces, layers may fire whole windows at once."""
    runner = engine.Engine(engine.Model(net, isa=isa), threads=threads)
    expected = reference.run(net, windows, trace=True)
    assert_equal(runner.run(windows, trace=True), expected)
    assert_equal(runner.run(windows), expected, frozenset({"events"}))


@pytest.mark.parametrize("name", SPECIAL)
def test_special_case_on_every_tier(name: str, isa: str) -> None:
    net = SPECIAL[name]()
    check(net, windows_for(net), isa)


@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
@given(net=networks(), batch=st.integers(1, 3), seed=st.integers(0, 99))
def test_random_graph_on_every_tier(isa: str, net: Network, batch: int, seed: int) -> None:
    check(net, windows_for(net, batch, seed), isa)


@pytest.mark.parametrize("leak", [LEAK_ONE, 3001, 4 * LEAK_ONE])
@pytest.mark.parametrize("levels", [9, 127, 255, 1000, 2**20, 2**20 + 1, 2**29])
def test_potentials_beside_multiples_of_the_threshold(levels: int, leak: int, isa: str) -> None:
    """Quotients and leaks of potentials of every size and sign, by biases alone."""
    rng, size = np.random.default_rng(levels), 1000
    most = 2**28 if leak <= LEAK_ONE else 2**24
    theta = np.exp2(rng.uniform(0, 27, size)).astype(np.int64)
    quotient = np.minimum(np.exp2(rng.uniform(0, 28, size)).astype(np.int64), most // theta)
    quotient[::4] = np.minimum(levels + rng.integers(-1, 3, size)[::4], most // theta[::4])
    bias = quotient * theta + rng.choice([-1, 0, 1], size)
    bias[::7] *= -1
    b = Builder(0, shape=(3,), steps=3)
    name = b.neurons("a", b.linear("input", size), steps=3, omega="identity")
    net = b.finish(name)
    layers = [
        replace(
            layer,
            bias=bias.astype(np.int32),
            threshold=theta.astype(np.int32),
            v0=np.zeros(size, np.int32),
            leak=leak,
            levels=levels,
        )
        if isinstance(layer, Neurons)
        else layer
        for layer in net.layers[:-1]
    ]
    (silent,) = net.readout.synapses  # sums of so many spikes would not fit
    silent = replace(silent, weight=np.zeros_like(silent.weight))
    layers.append(replace(net.readout, synapses=(silent,)))
    check(Network(tuple(layers)), windows_for(net), isa)


CHANNELS = st.sampled_from([1, 2, 3, 8, 9, 63, 64, 65, 96, 127, 128, 129, 192])


@st.composite
def hostile_networks(draw: st.DrawFn) -> Network:
    """Two layers whose sizes lie at the edges of words, tiles and slices.

    Kernels may exceed the image; strides, dilations and groups are arbitrary.
    """
    high = draw(st.sampled_from([1, 2, 4, 5, 127, 128, 255, 256, 32767]))
    shape = (draw(CHANNELS), draw(st.integers(1, 8)), draw(st.integers(1, 14)))
    low, kind = draw(st.sampled_from([(0, "events"), (0, "events"), (-1, "image")]))
    b = Builder(
        draw(st.integers(0, 2**20)),
        shape=shape,
        steps=draw(st.integers(1, 9)),
        min_value=low,
        max_value=high,
        kind=kind,
    )
    last = "input"
    for name in ("a", "b"):
        last = _hostile_layer(draw, b, last, name, high)
        high = 1
    try:
        return b.finish(last, classes=draw(st.sampled_from([1, 64, 65])))
    except NetworkError:  # sums that are not proved to fit 32 bits
        reject()


def _hostile_layer(draw: st.DrawFn, b: Builder, source: str, name: str, high: int) -> str:
    channels, height, width = b.shapes[source]
    groups = draw(st.sampled_from([g for g in (1, 2, 3, 32, channels) if channels % g == 0]))
    padding, dilation = (
        (draw(st.integers(0, 3)), draw(st.integers(0, 5))),
        (draw(st.integers(1, 3)), draw(st.integers(1, 4))),
    )
    kernel = tuple(
        draw(st.integers(1, min(5, 1 + (size + 2 * p - 1) // d)))
        for size, p, d in zip((height, width), padding, dilation, strict=True)
    )
    stride = (draw(st.integers(1, 4)), draw(st.integers(1, 4)))
    outputs = groups * draw(
        st.sampled_from([n for n in (1, 2, 33, 64, 65, 130) if n * groups <= 200])
    )
    try:
        conv = b.conv(
            source,
            outputs,
            kernel,
            stride,
            padding,
            dilation=dilation,
            groups=groups,
            exponent=draw(st.integers(0, 2)),
        )
        shape = conv.output_shape(b.shapes[source])
    except NetworkError:
        reject()
    synapses = (
        [conv, b.scale(source, 1)] if shape == b.shapes[source] and draw(st.booleans()) else [conv]
    )
    top = 500 * high
    return b.neurons(
        name,
        *synapses,
        steps=draw(st.sampled_from([b.steps[source], 1, 2, 5])),
        levels=draw(st.sampled_from([1, 2, 4, 5, 255, 300])),
        omega=draw(st.sampled_from(["identity", "uniform", "random"])),
        leak=draw(st.sampled_from([LEAK_ONE, LEAK_ONE, 3000])),
        threshold=(1, top),
        bias=(-top, top),
        v0=(-top, top),
    )


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    net=hostile_networks(),
    threads=st.integers(1, 3),
    seed=st.integers(0, 99),
    density=st.sampled_from([0.02, 0.3, 1.0]),
    path=st.sampled_from([None, None, "list", "shared", "dense"]),
)
def test_hostile_shapes_on_every_tier(
    isa: str,
    net: Network,
    threads: int,
    seed: int,
    density: float,
    path: Literal["list", "shared", "dense"] | None,
) -> None:
    windows = windows_for(net, 3, seed, density)
    runner = engine.Engine(engine.Model(net, isa=isa, path=path), threads=threads)
    assert_equal(runner.run(windows, trace=True), reference.run(net, windows, trace=True))


@st.composite
def tiled_networks(draw: st.DrawFn) -> Network:
    """Two layers whose rows and inputs lie at the edges of tiles of 16 pixels and 64 inputs."""
    b = Builder(
        draw(st.integers(0, 2**20)),
        shape=(
            draw(st.sampled_from([5, 16, 48, 64, 66, 96, 128, 192])),
            draw(st.integers(1, 5)),
            draw(st.sampled_from([1, 2, 7, 15, 16, 17, 31, 32, 33, 47, 48, 49, 65])),
        ),
        steps=draw(st.integers(1, 4)),
        max_value=draw(st.sampled_from([1, 3, 127, 128, 255])),
    )
    last, levels = "input", draw(st.sampled_from([1, 4, 255]))
    for name in ("a", "b"):
        channels, height, width = b.shapes[last]
        kernel = (
            draw(st.sampled_from([k for k in (1, 2, 3) if k <= height + 2])),
            draw(st.sampled_from([k for k in (1, 2, 3, 5) if k <= width + 2])),
        )
        conv = b.conv(
            last,
            draw(st.sampled_from([2, 64, 66, 128, 130])),
            kernel,
            (draw(st.integers(1, 2)), draw(st.integers(1, 3))),
            1,
            groups=draw(st.sampled_from([g for g in (1, 2) if channels % g == 0])),
            exponent=draw(st.integers(0, 1)),
        )
        last = b.neurons(
            name,
            conv,
            steps=b.steps[last],
            levels=levels,
            omega=draw(st.sampled_from(["identity", "uniform", "random"])),
        )
    try:
        return b.finish(last)
    except NetworkError:  # sums that are not proved to fit 32 bits
        reject()


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    net=tiled_networks(),
    threads=st.integers(1, 3),
    seed=st.integers(0, 99),
    path=st.sampled_from([None, "dense"]),
)
def test_edges_of_tiles_on_every_tier(
    isa: str, net: Network, threads: int, seed: int, path: Literal["dense"] | None
) -> None:
    windows = windows_for(net, 2, seed, 0.4)
    runner = engine.Engine(engine.Model(net, isa=isa, path=path), threads=threads)
    assert_equal(runner.run(windows, trace=True), reference.run(net, windows, trace=True))


@pytest.mark.parametrize("inputs", [200, 256])
@pytest.mark.parametrize("tiles", range(1, 9))
def test_any_number_of_tiles_of_deep_inputs(tiles: int, inputs: int, isa: str) -> None:
    """Below and above 2,048 inputs per output, from which on tiles share weights in threes."""
    b = Builder(tiles, shape=(inputs, 2, 16 * tiles - 3), steps=2)
    net = b.finish(b.neurons("a", b.conv("input", 66, (3, 3), (2, 1), 1), omega="uniform"))
    windows = windows_for(net, 3, tiles, 0.4)
    runner = engine.Engine(engine.Model(net, isa=isa, path="dense"))
    expected = reference.run(net, windows, trace=True)
    assert_equal(runner.run(windows, trace=True), expected)
    assert_equal(runner.run(windows[:1], trace=True), reference.run(net, windows[:1], trace=True))


@pytest.mark.parametrize("threads", [2, 3, 7])
@pytest.mark.parametrize(
    "name", ["residual", "pooled", "geometry", "dense", "wide", "steps-differ"]
)
def test_any_number_of_threads(name: str, threads: int) -> None:
    net = SPECIAL[name]()
    check(net, windows_for(net), threads=threads)


def deep(levels: int = 1, max_value: int = 3) -> Network:
    """Layers of several slices with all kinds of shortcuts, in the order of rows and of slices."""
    b = Builder(20, shape=(2, 9, 7), steps=3, max_value=max_value)
    a = b.neurons(
        "a", b.conv("input", 130), steps=3, levels=levels, omega="random", threshold=(500, 2000)
    )
    c = b.neurons(
        "c",
        b.conv(a, 130),
        b.scale(a, 2),
        steps=3,
        levels=levels,
        omega="identity",
        threshold=(1000, 9000),
    )
    d = b.neurons(
        "d",
        b.conv(c, 130, groups=130),
        b.conv(a, 130, 1, 1, 0),
        steps=3,
        levels=levels,
        omega="uniform",
        threshold=(1000, 9000),
    )
    e = b.neurons(
        "e", b.conv(d, 260, groups=2, stride=2), steps=3, levels=levels, threshold=(1000, 9000)
    )
    f = b.neurons("f", b.conv(e, 520, padding=1), steps=3, levels=levels, threshold=(1000, 9000))
    return b.finish(f, classes=70)


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("levels", [1, 3])
def test_slices(levels: int, threads: int, isa: str) -> None:
    net = deep(levels)
    check(net, windows_for(net, 2), isa, threads)


@pytest.mark.parametrize("batch", [5, 8, 15])
def test_batches_read_large_weights_once(batch: int, isa: str) -> None:
    """Windows side by side take different paths: some are silent, others nearly so."""
    net = deep()
    windows = windows_for(net, batch)
    windows[1::4] = 0
    windows[2::4, :, :, 1:] = 0
    check(net, windows, isa, threads=1)
    check(net, windows, isa, threads=2)


@pytest.mark.parametrize("levels", [1, 2, 8, 9])
@pytest.mark.parametrize("leak", [LEAK_ONE, 3001])
@pytest.mark.parametrize("omega", ["identity", "uniform", "random"])
def test_pixels_of_few_channels_fire_together(omega: str, leak: int, levels: int, isa: str) -> None:
    """Channels that fill a part of the lanes, and rows of any number of pixels."""
    how: dict[str, Any] = {"omega": omega, "leak": leak, "levels": levels}
    for channels in (1, 10, 16, 17, 32, 33):
        for width in (1, 3, 13):
            b = Builder(channels + width, shape=(2, 3, width))
            a = b.neurons("a", b.conv("input", channels), **how)
            c = b.neurons("c", b.conv(a, channels), b.scale(a, 1), **how)
            d = b.neurons("d", b.conv(c, channels), reset="zero", **how)
            net = b.finish(d)
            check(net, windows_for(net, 2), isa)


@pytest.mark.parametrize("steps", [2, 3, 8, 9])
@pytest.mark.parametrize("v0", [(0, 1), (0, 300), (-50, 0), (300, 600)])
def test_windows_fired_at_once(v0: tuple[int, int], steps: int, isa: str) -> None:
    """Uniform T-GIMs, with thresholds up to which v0 lies between 0 and theta, and beyond."""
    b = Builder(22, shape=(2, 7, 9), steps=steps)
    how: dict[str, Any] = {
        "steps": steps,
        "levels": 1,
        "omega": "uniform",
        "threshold": (300, 2000),
        "bias": (-200, 200),
    }
    a = b.neurons("a", b.conv("input", 70), v0=v0, **how)
    c = b.neurons("c", b.conv(a, 70), b.scale(a, 3), v0=v0, **how)
    d = b.neurons("d", b.conv(c, 130, stride=2), b.conv(a, 130, 1, 2, 0), v0=v0, **how)
    net = b.finish(d)
    windows = windows_for(net, 3)
    windows[1] = 0  # biases alone
    check(net, windows, isa)


def with_arrays(net: Network, name: str, **arrays: np.ndarray) -> Network:
    """`net` with other arrays of the neurons `name`."""
    integers: dict[str, Any] = {key: array.astype(np.int32) for key, array in arrays.items()}
    return Network(
        tuple(
            replace(layer, **integers)
            if isinstance(layer, Neurons) and layer.name == name
            else layer
            for layer in net.layers
        )
    )


@pytest.mark.parametrize("omega", ["uniform", "identity"])
@pytest.mark.parametrize("exponent", [0, 8, 9, None])
@pytest.mark.parametrize("steps", [2, 3, 8])
def test_windows_beside_thresholds_of_16_bits(
    steps: int, exponent: int | None, omega: str, isa: str
) -> None:
    """Thresholds of a window that lie just within 16 bits of each other, in a slice, or beyond.

    A shortcut adds at the bounds of 16 bits, too: a weight of -128 with an exponent of 8. Without
    an exponent, a second convolution takes its place.
    """
    rng, channels = np.random.default_rng(steps), 130
    how: dict[str, Any] = {"steps": steps, "levels": 1}
    b = Builder(61, shape=(2, 5, 19), steps=steps)
    a = b.neurons("a", b.conv("input", channels), omega="uniform", v0=(0, 99), **how)
    second: Any = b.conv(a, channels, 1, 1, 0, exponent=1)
    if exponent is not None:
        second = replace(b.scale(a, exponent), weight=rng.choice([-128, -1, 0, 1, 127], channels))
    c = b.neurons("c", b.conv(a, channels), second, omega=omega, **how)
    beyond = rng.integers(-3, 4, channels)
    beyond[:64] = np.minimum(beyond[:64], 0)
    threshold = (2**15 - 1 + beyond) * steps // (steps - 1)
    v0 = rng.integers(0, threshold)
    reached = (rng.integers(1, steps + 1, channels) * threshold - v0) // steps
    bias = (reached + rng.integers(-500, 500, channels)) // (steps if omega == "uniform" else 1)
    bias[::9] = -(2**20)
    bias[1::9] = 2**20
    net = with_arrays(b.finish(c), "c", threshold=threshold, v0=v0, bias=bias)
    check(net, windows_for(net, 2, density=0.9), isa)


@pytest.mark.parametrize("levels", [1, 2, 8])
@pytest.mark.parametrize("steps", [1, 2, 5])
def test_steps_beside_potentials_of_16_bits(steps: int, levels: int, isa: str) -> None:
    """Neurons with one input for all steps, whose (L + 1) * theta just fits 16 bits or does not.

    In the second slice a threshold is beyond, and in the fifth one just beyond. In the third one an
    initial potential is not below its threshold, and in the fourth one it is negative.
    """
    rng, channels = np.random.default_rng(steps), 310
    how: dict[str, Any] = {"steps": steps, "levels": levels, "omega": "uniform"}
    b = Builder(62, shape=(2, 5, 19), steps=steps)
    a = b.neurons("a", b.conv("input", 70), **how)
    c = b.neurons("c", b.conv(a, channels), b.conv(a, channels, 1, 1, 0), **how)
    threshold = rng.integers(1, (2**15 - 1) // (levels + 1) + 1, channels)
    threshold[::5] = (2**15 - 1) // (levels + 1)
    threshold[70:80] += threshold[:64].max() // 2
    threshold[260:270] = (2**15 - 1) // (levels + 1) + 2
    v0 = rng.integers(0, threshold)
    v0[::3] = threshold[::3] - 1
    v0[140:150] = threshold[140:150]
    v0[200:210] = -1
    drive = rng.integers(-1, levels + 2, channels) * threshold + rng.integers(-9, 10, channels)
    drive[::9] = rng.integers(-(2**24), 2**24, len(drive[::9]))
    drive[70:80] = levels * threshold[70:80]
    drive[260:270] = (levels + 1) * threshold[260:270]
    drive[200:210] = (levels + 1) * threshold[200:210]
    net = b.finish(b.neurons("d", b.conv(b.sum_pool(c), 9), steps=steps))
    net = with_arrays(net, "c", threshold=threshold, v0=v0, bias=drive // steps)
    windows = windows_for(net, 3, density=0.9)
    windows[1] = 0  # biases alone
    check(net, windows, isa)


@pytest.mark.parametrize("path", [None, "dense"])
@pytest.mark.parametrize(("levels", "omega"), [(1, "uniform"), (3, "uniform"), (3, "identity")])
def test_counts_that_synapses_read_where_they_were_written(
    levels: int, omega: str, path: Literal["dense"] | None, isa: str
) -> None:
    """Whole words of channels: tiles read counts with zeros around them, as one of the readers.

    The others have other margins. Memory is used by several layers, so that zeros do not stay.
    """
    b = Builder(63, shape=(2, 9, 11), steps=3)
    how: dict[str, Any] = {"steps": 3, "levels": levels, "omega": omega}
    a = b.neurons("a", b.conv("input", 128), **how)
    c = b.neurons(
        "c", b.conv(a, 64), b.conv(a, 64, 5, 1, 2), b.conv(a, 64, 3, 1, 2, dilation=2), **how
    )
    d = b.neurons("d", b.conv(c, 128, stride=2), **how)
    e = b.neurons("e", b.conv(d, 192, 1, 1, 0), b.conv(b.sum_pool(c, 2, 2, 1), 192), **how)
    f = b.neurons("f", b.conv(e, 64, (1, 3), 1, (0, 1)), b.conv(e, 64, (3, 1), 1, (1, 0)), **how)
    net = b.finish(f)
    runner = engine.Engine(engine.Model(net, isa=isa, path=path), threads=2)
    for density in (0.9, 0.1, 0.5):
        windows = windows_for(net, 5, density=density)
        assert_equal(runner.run(windows), reference.run(net, windows), frozenset({"events"}))


@pytest.mark.parametrize("levels", [9, 255, 256, 1000])
def test_many_levels(levels: int, isa: str) -> None:
    b = Builder(21, steps=3)
    a = b.neurons(
        "a", b.conv("input", 5), steps=3, levels=levels, threshold=(1, 9), omega="uniform"
    )
    c = b.neurons(
        "c",
        b.conv(b.max_pool(a), 5),
        b.conv(a, 5, 2, 2, 0),
        steps=3,
        levels=2,
        threshold=(1000, 90000),
    )
    net = b.finish(c)
    check(net, windows_for(net), isa)


@pytest.mark.parametrize(
    ("low", "high"), [(0, 255), (0, 32767), (-32768, 32767), (-32768, -1), (-3, 0), (5, 9)]
)
def test_range_of_the_input(low: int, high: int, isa: str) -> None:
    b = Builder(22, shape=(3, 6, 6), steps=1, min_value=low, max_value=high, kind="image")
    a = b.neurons(
        "a",
        b.conv("input", 6, padding=2),
        omega=[[1], [1]],
        steps=2,
        threshold=(1, 1 + 100 * high if high > 0 else 99),
    )
    p = b.neurons(
        "p", b.conv(b.max_pool("input", 3, 1, 1), 6, padding=2), omega=[[1], [2]], steps=2
    )
    q = b.neurons(
        "q", b.conv(b.sum_pool("input", 3, 1, 1), 6, padding=2), omega=[[1], [2]], steps=2
    )
    net = b.finish(b.neurons("z", b.scale(a), b.scale(p), b.scale(q), steps=2))
    check(net, windows_for(net, 4, density=0.7), isa)


def test_pooled_counts_beyond_a_byte(isa: str) -> None:
    b = Builder(23, shape=(2, 20, 20), steps=2, max_value=255)
    a = b.neurons(
        "a", b.conv(b.sum_pool("input", 5, 5), 6), levels=4, steps=2, threshold=(1000, 90000)
    )
    p = b.sum_pool(b.neurons("p", b.conv("input", 6), levels=4, steps=2, threshold=(1, 99)), 10, 10)
    c = b.neurons("c", b.conv(p, 7, 2, 1, 0), levels=2, steps=2, threshold=(1, 9000))
    d = b.neurons("d", b.conv(a, 7, 4, 1, 0), b.conv(c, 7, 1, 1, 0), steps=2)
    net = b.finish(d)
    check(net, windows_for(net, 4), isa)


@pytest.mark.parametrize("padding", [0, 1])
@pytest.mark.parametrize("high", [63, 64, 255])
def test_pooled_counts_up_to_a_byte(high: int, padding: int, isa: str) -> None:
    """Sums of four counts up to 252 and 256, and maxima up to 255, in two words."""
    b = Builder(62, shape=(70, 7, 9), steps=2, max_value=high)
    pooled = (b.sum_pool("input", 2, 2, padding), b.max_pool("input", 2, 2, padding))
    z = b.neurons("z", *(b.conv(pool, 5) for pool in pooled), steps=2, threshold=(1000, 90000))
    net = b.finish(z)
    windows = windows_for(net, 3, density=0.7)
    windows[1] = high
    check(net, windows, isa)


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("levels", [1, 3])
@pytest.mark.parametrize("pool", [(2, 2, 0), (3, 2, 1), (3, 1, 1), (2, 3, 1), (7, 7, 0)])
def test_pools_that_are_read_as_windows(
    pool: tuple[int, int, int], levels: int, threads: int, isa: str
) -> None:
    """Sums of windows are pooled at once; events are those of the single steps."""
    b = Builder(63, shape=(9, 8, 15), steps=4, max_value=2)
    how: dict[str, Any] = {"steps": 4, "levels": levels, "omega": "uniform"}
    high = {"threshold": (5000, 90_000)}
    a = b.neurons("a", b.conv(b.sum_pool("input", 3, 1, 1), 70), **how, **high)
    last = b.neurons("c", b.conv(b.sum_pool(a, *pool), 130), **how, **high)
    if pool[1] == 1:
        last = b.sum_pool(b.sum_pool(last), 3, 1, 1)
        last = b.neurons("d", b.conv(last, 9, 1, padding=0), **how, **high)
    last = b.add(Flatten(name="flat", source=b.sum_pool(last, 2, 2, 1)))
    last = b.neurons("e", b.linear(last, 70), **how, **high)
    last = b.add(Flatten(name="flatter", source=last))
    net = b.finish(b.neurons("f", b.linear(last, 9), b.linear(last, 9), **how))
    windows = windows_for(net, 4, density=0.5)
    windows[1] = 0
    windows[2, 1:] = 0
    check(net, windows, isa, threads)


@pytest.mark.parametrize("omegas", [("uniform", "identity"), ("uniform", "random")])
@pytest.mark.parametrize("levels", [1, 3])
def test_pools_of_two_readers(levels: int, omegas: tuple[str, str], isa: str) -> None:
    """Steps are kept where only one of two readers sums the window."""
    b = Builder(64, shape=(2, 8, 9), steps=3)
    how: dict[str, Any] = {"steps": 3, "levels": levels, "threshold": (500, 9000)}
    a = b.neurons("a", b.conv("input", 70), omega="uniform", **how)
    pools = b.sum_pool(a), b.max_pool(a, 2, 2)
    c, d = (
        b.neurons(name, *(b.conv(pool, 70) for pool in pools), omega=omega, **how)
        for name, omega in zip("cd", omegas, strict=True)
    )
    e = b.neurons("e", b.conv(b.sum_pool(c), 9), b.conv(b.max_pool(d), 9), omega="uniform", **how)
    net = b.finish(e)
    check(net, windows_for(net, 3, density=0.5), isa)


@pytest.mark.parametrize("size", [4, 7, 8, 9])
def test_pooled_windows_beyond_a_byte(size: int, isa: str) -> None:
    """Sums up to 4 * 16 * 4 = 256 and more, of a window, and of a step."""
    b = Builder(65, shape=(3, 9, 9), steps=4)
    how: dict[str, Any] = {"steps": 4, "omega": "uniform", "threshold": (1, 2), "bias": (0, 1)}
    a = b.neurons("a", b.conv("input", 66), levels=4, **how)
    c = b.neurons("c", b.conv("input", 66), levels=1, **how)
    how["threshold"] = (1000, 90_000)
    pooled = [b.conv(b.sum_pool(layer, size, 1), 5, padding=4) for layer in (a, c)]
    net = b.finish(b.neurons("d", *pooled, levels=1, **how))
    windows = windows_for(net, 3, density=0.9)
    windows[1] = 3
    check(net, windows, isa)


def test_flatten_read_by_shortcuts_and_by_another_flatten(isa: str) -> None:
    rng = np.random.default_rng(24)
    b = Builder(24, shape=(3, 4, 5), steps=2)
    b.add(Flatten(name="flat", source="input"))
    b.add(Flatten(name="flatter", source="flat"))
    a = b.neurons(
        "a",
        Scale(source="flatter", weight=rng.integers(-127, 128, 60), exponent=1),
        b.linear("flat", 60),
        steps=2,
    )
    net = b.finish(a)
    check(net, windows_for(net, 4), isa)


def test_uniform_window_of_large_counts_stays_exact(isa: str) -> None:
    """Window sums exceed a byte, and the summed current of the read-out exceeds 32 bits."""
    steps = 10
    weight = np.full((2, 150), 127)
    layers = (
        Input(name="input", shape=(150,), steps=steps, max_value=200),
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
        Readout(
            name="out",
            synapses=(Linear(source="a", weight=weight[:, :2], exponent=15),),
            bias=[2**28, -(2**28)],
        ),
    )
    net = Network(layers)
    check(net, windows_for(net, 3), isa)


def test_readout_of_one_weight_per_channel(isa: str) -> None:
    """A channelwise read-out of several slices reads each slice's own spikes."""
    rng = np.random.default_rng(40)
    weight, bias = rng.integers(-127, 128, 130), rng.integers(-9, 10, 130)
    readout = Readout(name="out", synapses=(Scale(source="input", weight=weight),), bias=bias)
    net = Network((Input(name="input", shape=(130,), steps=3, max_value=1), readout))
    windows = windows_for(net, 3)
    expected = reference.run(net, windows)
    found = engine.Engine(engine.Model(net, isa=isa)).run(windows)
    np.testing.assert_array_equal(found.logits, expected.logits)


def test_any_order_of_calls_and_batches() -> None:
    net = SPECIAL["residual"]()
    windows = windows_for(net, 9, seed=3)
    runner = engine.Engine(net, threads=2)
    whole = runner.run(windows, trace=True)
    for index in (4, 0, 8, 4):
        assert_equal(
            runner.run(windows[index : index + 1], trace=True),
            reference.run(net, windows[index : index + 1], trace=True),
        )
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


def test_callers_in_two_threads_take_turns_on_one_engine() -> None:
    net = SPECIAL["residual"]()
    windows = [windows_for(net, 3, seed=seed) for seed in (1, 2)]
    expected = [reference.run(net, w, trace=True) for w in windows]
    runner = engine.Engine(net, threads=2)
    with ThreadPoolExecutor(2) as pool:
        for index, result in enumerate(
            pool.map(lambda i: runner.run(windows[i % 2], trace=True), range(20))
        ):
            assert_equal(result, expected[index % 2])


@pytest.mark.parametrize("isa", engine.isas())
def test_counts_that_crowd_into_few_rows(isa: str) -> None:
    """A list has room for four levels per input. All rows together fit; three rows do not."""
    b = Builder(34, shape=(192, 24, 30), steps=2, max_value=5)
    net = b.finish(
        b.neurons("a", b.conv("input", 192), steps=2)
    )  # weights of 330 kB, whose path is one for all rows
    windows = np.zeros((1, *net.window_shape), int)
    windows[:, :, :, 10:13] = 5
    runner = engine.Engine(engine.Model(net, isa=isa, path="list"))
    assert_equal(runner.run(windows, trace=True), reference.run(net, windows, trace=True))


# Each step reads one of the currents: in order, an earlier one again, a late one first; or several.
SILENT_OMEGAS = {
    "identity": np.eye(4, dtype=int).tolist(),
    "back": np.eye(4, dtype=int)[[0, 2, 1, 0]].tolist(),
    "late": np.eye(4, dtype=int)[[3, 3, 0, 1]].tolist(),
    "mixed": np.tril(np.ones((4, 4), int)).tolist(),
}


@pytest.mark.parametrize("path", [None, "list", "shared", "dense"])
@pytest.mark.parametrize("omega", [*SILENT_OMEGAS])
@pytest.mark.parametrize("levels", [1, 3])
@pytest.mark.parametrize("active", [(), (0,), (1,), (2, 3), (3,), (0, 1, 3)])
def test_silent_steps(
    active: tuple[int, ...],
    levels: int,
    omega: str,
    path: Literal["list", "shared", "dense"] | None,
    isa: str,
) -> None:
    """Silent steps before, between and after spikes, in all rows or in some, are exact."""
    b = Builder(35, shape=(64, 9, 13), steps=4, max_value=1)
    how = {"steps": 4, "levels": levels, "threshold": (500, 900)}
    bias = (100, 300)  # fires without a spike from the second step on
    a = b.neurons("a", b.conv("input", 64), omega=SILENT_OMEGAS[omega], bias=bias, **how)
    c = b.neurons(
        "c",
        b.conv(a, 64, stride=2),
        b.conv("input", 64, 1, 2, 0),
        omega=SILENT_OMEGAS[omega],
        bias=bias,
        **how,
    )
    net = b.finish(b.neurons("d", b.conv(c, 130), b.conv(c, 130, 1, 1, 0), bias=(-9, 9), **how))
    windows = np.zeros((2, *net.window_shape), int)
    spikes = np.random.default_rng(36).random((64, 9, 13)) < 0.3
    for step in active:
        windows[0, step] = spikes
        windows[1, step, :, step : step + 2] = spikes[
            :, step : step + 2
        ]  # in two rows, others at every step
    runner = engine.Engine(engine.Model(net, isa=isa, path=path), threads=2)
    assert_equal(runner.run(windows, trace=True), reference.run(net, windows, trace=True))
    assert_equal(
        runner.run(windows[::-1], trace=True), reference.run(net, windows[::-1], trace=True)
    )


@pytest.mark.parametrize("path", [None, "list", "dense"])
@pytest.mark.parametrize("channels", [1, 2, 8])
@pytest.mark.parametrize("levels", [1, 3])
def test_window_sums_of_a_byte_and_more(
    levels: int, channels: int, path: Literal["list", "dense"] | None, isa: str
) -> None:
    """A uniform T-GIM reads the sums of a window, which need one byte, several, or none."""
    steps = 5
    b = Builder(39, shape=(channels, 4, 70), steps=steps, max_value=255)
    how: dict[str, Any] = {"steps": steps, "levels": levels, "bias": (-900, 900)}
    low, high = {"threshold": (300, 2000)}, {"threshold": (30_000, 90_000)}
    uniform = b.neurons("uniform", b.conv("input", 70), omega="uniform", **how, **high)
    strided = b.neurons("strided", b.conv("input", 9, 3, 2), omega="uniform", **how, **low)
    mixed = b.neurons("mixed", b.conv("input", 70), omega="identity", **how, **low)
    both = b.neurons("both", b.conv(uniform, 9, 1, 1, 0), b.conv(mixed, 9), **how, **low)
    net = b.finish(b.neurons("last", b.conv(both, 9, 3, 2), b.scale(strided, 3), **how, **low))
    shape = net.window_shape
    windows = np.zeros((6, *shape), int)
    windows[0] = 255
    windows[1, :, :, :, ::2] = 51  # 255 in all
    windows[2, :, :, 1] = 52  # 260
    windows[3, -1] = windows[3, 0, :, :, :3] = 255
    windows[4] = np.random.default_rng(40).integers(0, 256, shape)
    runner = engine.Engine(engine.Model(net, isa=isa, path=path), threads=2)
    for some in (windows, windows[::-1]):
        expected = reference.run(net, some, trace=True)
        assert_equal(runner.run(some, trace=True), expected)
        assert_equal(runner.run(some), expected, frozenset({"events"}))


@pytest.mark.parametrize("isa", engine.isas())
def test_more_steps_than_bits(isa: str) -> None:
    """Steps from 63 on are known to be silent only together."""
    b = Builder(37, shape=(3, 5, 4), steps=70, max_value=1)
    a = b.neurons("a", b.conv("input", 5), steps=70, levels=1, bias=(20, 60), threshold=(500, 900))
    net = b.finish(
        b.neurons("c", b.conv(a, 5), steps=70, levels=1, bias=(20, 60), threshold=(500, 900))
    )
    for step in (0, 62, 63, 64, 69):
        windows = np.zeros((1, *net.window_shape), int)
        windows[0, step] = 1
        check(net, windows, isa)


@pytest.mark.parametrize("channels", [1, 4, 5, 85, 86, 127, 128, 129, 255, 256, 257, 520])
def test_graded_spikes_up_to_the_range_of_a_sum(channels: int, isa: str) -> None:
    """16-bit sums hold 256 rows, of which some count twice."""
    b = Builder(38, shape=(channels, 2, 7), steps=1, max_value=7)
    conv = b.conv("input", 70, 1, padding=0)
    conv = replace(
        conv,
        weight=np.where(np.arange(70)[:, None, None, None] % 2, 127, -128)
        * np.ones_like(conv.weight),
    )
    net = b.finish(b.neurons("a", conv, steps=1, levels=300, threshold=(1000, 2000)))
    windows = np.zeros((1, *net.window_shape), int)
    windows[...] = np.arange(1, 8)  # every k in a column of its own, of all channels
    windows[..., 1, :] = np.random.default_rng(39).integers(0, 8, (channels, 7))
    runner = engine.Engine(engine.Model(net, isa=isa, path="list"))
    assert_equal(runner.run(windows, trace=True), reference.run(net, windows, trace=True))
    assert set(runner.profile(windows)[1].rows) == {"graded"}


@pytest.mark.parametrize("k", [253, 254, 255])
def test_a_few_largest_counts(k: int, isa: str) -> None:
    """One spike of all that a byte holds, among few others: lists have room for it."""
    b = Builder(40, shape=(192, 5, 6), steps=2, max_value=255)
    net = b.finish(b.neurons("a", b.conv("input", 64), steps=2, levels=9, threshold=(1000, 9000)))
    windows = np.zeros((1, *net.window_shape), int)
    windows[0, 0, 100, 2, 3] = windows[0, 1, 7, 4, 0] = k
    windows[0, :, :, 1, :] = np.random.default_rng(41).integers(0, 2, (2, 192, 6))
    runner = engine.Engine(engine.Model(net, isa=isa, path="list"))
    assert_equal(runner.run(windows, trace=True), reference.run(net, windows, trace=True))
    assert "graded" in runner.profile(windows)[1].rows


@pytest.mark.parametrize("kernel", [1, (3, 3), (4, 2), (8, 1), (5, 3)])
@pytest.mark.parametrize(("channels", "groups"), [(1, 1), (2, 1), (3, 1), (8, 1), (4, 2)])
def test_dot_products_of_counts_that_share_a_word(
    channels: int, groups: int, kernel: int | tuple[int, int], isa: str
) -> None:
    """Rows whose largest counts differ: only those under a row limit how its products are added."""
    b = Builder(44, shape=(channels, 14, 9), steps=2, max_value=255)
    conv = b.conv("input", 66, kernel, groups=groups)
    sign = np.where(np.arange(66)[:, None, None, None] % 2, 127, -128)
    conv = replace(conv, weight=sign * np.ones_like(conv.weight))
    net = b.finish(b.neurons("a", conv, steps=2, levels=300, threshold=(1000, 2000)))
    windows = np.zeros((1, *net.window_shape), int)
    for y, k in enumerate([0, 1, 3, 0, 0, 42, 43, 127, 128, 255, 255, 254, 1, 0]):
        windows[..., y, :] = k
    windows[0, 1, :, 3, ::2] = 255
    runner = engine.Engine(engine.Model(net, isa=isa, path="dense"))
    assert_equal(runner.run(windows, trace=True), reference.run(net, windows, trace=True))
    if isa not in ("generic", "neon") and groups == 1:
        assert set(runner.profile(windows)[1].rows) == {"dense"}


@pytest.mark.parametrize("k", [1, 2, 3, 42, 43, 63, 64, 126, 127, 128, 255])
def test_dot_products_up_to_the_range_of_a_sum(k: int, isa: str) -> None:
    """16-bit sums of two products each hold 127 // k dot products of four inputs."""
    quads = max(127 // k, 1)
    for channels in (4 * quads, 4 * quads + 4, 8 * quads, 8 * quads + 3):
        b = Builder(42, shape=(channels, 3, 7), steps=1, max_value=k)
        conv = b.conv("input", 66, 1, padding=0)
        sign = np.where(np.arange(66)[:, None, None, None] % 2, 127, -128)
        conv = replace(conv, weight=sign * np.ones_like(conv.weight))
        net = b.finish(b.neurons("a", conv, steps=1, levels=300, threshold=(1000, 2000)))
        windows = np.full((1, *net.window_shape), k)
        windows[..., 1, :] = np.random.default_rng(43).integers(0, k + 1, (channels, 7))
        runner = engine.Engine(engine.Model(net, isa=isa, path="dense"))
        assert_equal(runner.run(windows, trace=True), reference.run(net, windows, trace=True))
