"""Networks that are small enough for a stock-exact NetX file."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from lmht_deploy.ir import Network, Synapse
from lmht_deploy.reparameterize import reparameterize
from tests.support.networks import Builder


class Small(Builder):
    """Weights that leave layers small."""

    def weights(self, *shape: int) -> np.ndarray:
        return self.rng.integers(-60, 80, shape)

    def neurons(self, name: str, *synapses: Synapse, **fields: Any) -> str:
        return super().neurons(name, *synapses, **{"threshold": (40, 300)} | fields)


def levels() -> Network:
    """T = 1 with several levels, a leak that scales v0 alone, and graded input."""
    b = Small(0, shape=(2, 4, 4), steps=1)
    a = b.neurons("a", b.conv("input", 3), steps=1, levels=4, leak=3000, v0=(-100, 100))
    return b.finish(b.neurons("c", b.conv(a, 3, stride=2), steps=1, levels=3))


def mixing() -> Network:
    """A T-GIM that is not causal, T and L differ by layer, thresholds beyond a weight."""
    b = Small(1, shape=(9,), steps=3, max_value=5)
    a = b.neurons("a", b.linear("input", 8), steps=2, levels=2, omega="random")
    c = b.neurons("c", b.linear(a, 6), steps=3, levels=1, omega="random", threshold=(300, 800))
    return b.finish(b.neurons("d", b.linear(c, 7), steps=2, levels=3, omega="uniform"))


def shortcuts() -> Network:
    """Residual sums over one layer and over two, sum pooling, and a strided convolution."""
    b = Small(2, shape=(1, 4, 4), steps=2)
    a = b.neurons("a", b.conv("input", 2), steps=2, levels=2)
    c = b.neurons("c", b.conv(a, 2), steps=2, levels=1, omega="random")
    d = b.neurons("d", b.conv(c, 2), b.scale(a), steps=2, levels=2)
    e = b.neurons("e", b.conv(d, 2, 2, 2, 0), b.conv(b.sum_pool(a), 2, 1, 1, 0), steps=2, levels=2)
    return b.finish(e)


def single_threshold() -> Network:
    return reparameterize(mixing())


def negative_input() -> Network:
    """A signed image."""
    b = Small(3, shape=(1, 4, 4), steps=1, min_value=-9, max_value=9, kind="image")
    return b.finish(b.neurons("a", b.conv("input", 2), steps=2, levels=2, omega="uniform"))


def wide_bias() -> Network:
    """Potentials that need more than a bias of 16 bits to be held."""
    b = Small(4, shape=(30,), steps=2, max_value=8)
    return b.finish(
        b.neurons(
            "a",
            b.linear("input", 4),
            steps=2,
            levels=2,
            threshold=(300, 900),
            bias=(20_000, 30_000),
        )
    )


def planes() -> Network:
    """Strides, groups, dilation and pooling, and a residual block that halves the plane."""
    b = Small(5, shape=(2, 9, 8), steps=2)
    a = b.neurons("a", b.conv("input", 4, groups=2), steps=2, levels=2, omega="random")
    pooled = b.max_pool(a, 3, 2, 1)
    c = b.neurons("c", b.conv(pooled, 4, 3, 2, 2, dilation=2, groups=4), steps=2)
    d = b.neurons("d", b.conv(c, 4), b.conv(pooled, 4, 1, 2, 0), steps=3, omega="uniform")
    return b.finish(b.sum_pool(d, 2, 1))


NETWORKS: dict[str, Callable[[], Network]] = {
    f.__name__: f
    for f in (levels, mixing, shortcuts, single_threshold, negative_input, wide_bias, planes)
}
