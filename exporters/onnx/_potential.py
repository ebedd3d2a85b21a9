"""Neurons in an ONNX graph by the recurrence of the semantics, unrolled over the steps.

    v = trunc(v·λq / 4096) + I[t]
    k = clip(floor(v / θ), 0, L)
    v = v - k·θ

or with another reset and a floor. For neurons that do so or leak, or whose counts exceed 8 bits.
Potentials are int32, as the bounds of the network prove. v·λq is exact in float32 below 2^24, and
in float64 with its at most 45 bits. A plain graph has no float64: it splits v and λq. Cast
truncates toward zero as the definition does. The floor of the quotient is that of
`_mixing.floor_quotients` for L up to 255. Above, it is the division of int32, which truncates: it
is above the floor only where k is clipped to 0.
"""

from __future__ import annotations

import numpy as np

from lmht_deploy.ir import INT32_MAX, LEAK_ONE, Bounds, Neurons, Shape

from ._graph import Graph
from ._mixing import clipped, floor_quotients, mix
from ._products import EXACT_FLOAT32, Current
from ._trains import Stepwise, Train, count_dtype

INT32 = np.dtype(np.int32)
MAX_UINT8 = 255


def integrate(
    g: Graph,
    layer: Neurons,
    current: Current,
    shape: Shape,
    bounds: Bounds,
    state: str | None = None,
) -> tuple[Train, str]:
    """Return the spikes of `layer`, and the potentials at the end less v0 if there is a `state`.

    Args:
        g: The graph.
        layer: The neurons.
        current: Sums of the synapses at all steps, without bias.
        shape: Shape of the layer.
        bounds: Proved bounds of the layer.
        state: Potentials at the start less v0, int32 [B, 1, P, C]; None for zeros.
    """
    drives = _drives(g, layer, current, shape, bounds)
    v, spikes = g.constant(layer.v0, "v0"), []
    late = _first_late(g, layer)
    largest = max(bounds.potential, int(np.abs(layer.v0.astype(np.int64)).max()))
    if state is not None:
        v, largest = g("Add", state, v), INT32_MAX
        late = _late(g, layer, _fire(g, layer, v)[0]) if layer.reset == "subtract-late" else None
    g.reach(largest)
    for step in range(layer.steps):
        block, substep = divmod(step, layer.substeps)
        if layer.leaks and substep == 0:
            v = _leak(g, v, int(layer.leak), largest)
        if late is not None:
            v = g("Sub", v, late)
        if layer.injection == "uniform" or substep == 0:
            v = g("Add", v, drives[block])
        if layer.floor is not None:
            v = g("Max", v, g.constant(layer.floor, "floor"))
        k, spike = _fire(g, layer, v)
        spikes.append(spike)
        if step < layer.steps - 1 or state is not None:
            v, late = _reset(g, layer, v, k)
    if state is not None:
        v = g("Sub", v, g.constant(layer.v0, "v0"))
    return Stepwise(g, layer.steps, (0, layer.levels), "k", spikes.__getitem__), v


def _first_late(g: Graph, layer: Neurons) -> str | None:
    """Return what is subtracted at the first step after the leak."""
    if layer.reset != "subtract-late" or (layer.v0 < layer.threshold).all():
        return None
    counts = np.clip(layer.v0.astype(np.int64) // layer.threshold, 0, layer.levels)
    return g.constant((counts * layer.threshold).astype(np.int32), "late")


def _late(g: Graph, layer: Neurons, k: str) -> str:
    """Return k·θ."""
    return g("Mul", k, g.constant(layer.threshold, "threshold"))


def _reset(g: Graph, layer: Neurons, v: str, k: str) -> tuple[str, str | None]:
    """Return what k spikes leave of v, and what is subtracted at the next step after the leak."""
    if layer.reset == "zero":
        fired = k if layer.levels == 1 else g("Min", k, g.constant(np.int32(1)))
        return g("Sub", v, g("Mul", v, fired)), None
    spent = _late(g, layer, k)
    return (v, spent) if layer.reset == "subtract-late" else (g("Sub", v, spent), None)


def _drives(g: Graph, layer: Neurons, current: Current, shape: Shape, bounds: Bounds) -> list[str]:
    """Return I[t] for t = 1..T, each int32 [B, 1, P, C]."""
    mixed = mix(g, layer.omega, current, shape, bounds.drive)
    drive = g.convert(mixed.tensor, mixed.dtype, INT32)
    if layer.bias.any():
        bias = np.outer(layer.omega.sum(1, dtype=np.int64), layer.bias.astype(np.int64))
        drive = g("Add", drive, g.constant(bias.astype(np.int32)[:, None], "bias"))
    return g.split(drive, len(layer.omega))


def _fire(g: Graph, layer: Neurons, v: str) -> tuple[str, str]:
    """Return k as int32, and in the dtype that counts are added in."""
    uint8 = np.dtype(np.uint8)
    if layer.levels <= MAX_UINT8:
        zero = np.zeros((1, len(layer.threshold)), np.int64)
        theta = layer.threshold.astype(np.int64)
        count = floor_quotients(g, Current(v, INT32), theta, 1, zero, layer.levels)
        count = clipped(g, count, layer.levels)
        return g.cast(count, INT32), g.convert(count, uint8, g.adds_in(uint8))
    levels = g.constant(np.int32(min(layer.levels, INT32_MAX)))
    k = g("Div", v, g.constant(layer.threshold, "threshold"))
    k = g("Clip", k, g.constant(np.int32(0)), levels)
    return k, g.convert(k, INT32, count_dtype((0, layer.levels)))


def _leak(g: Graph, v: str, leak: int, largest: int) -> str:
    """Return trunc(v·λq / 4096), for |v| <= `largest`."""
    digits = leak // (leak & -leak) if leak else 0  # λq without its factors of 2
    if largest * digits < EXACT_FLOAT32:
        return _scaled(g, v, leak, np.float32)
    if g.plain and largest < EXACT_FLOAT32:
        return _leak_by_parts(g, v, leak, largest)
    g.reach(largest * digits)
    return _scaled(g, v, leak, np.float64)


def _leak_by_parts(g: Graph, v: str, leak: int, largest: int) -> str:
    """Return trunc(v·λq / 4096) in float32, for v = 4096·a + r and λq = 4096·c + d.

    It is c·v + d·a + trunc(r·d / 4096), as all terms have the sign of v. r·d is below 2^24.
    """
    whole, rest = divmod(leak, LEAK_ONE)
    g.reach(largest * (whole + 1))
    a = _scaled(g, v, 1, np.float32)
    r = g("Sub", v, g("Mul", a, g.constant(np.int32(LEAK_ONE))))
    leaked = g("Add", g("Mul", a, g.constant(np.int32(rest))), _scaled(g, r, rest, np.float32))
    if whole:
        leaked = g("Add", leaked, g("Mul", v, g.constant(np.int32(whole))))
    return leaked


def _scaled(g: Graph, v: str, factor: int, dtype: type[np.floating]) -> str:
    """Return trunc(v·factor / 4096), computed in `dtype`."""
    product = g("Mul", g.cast(v, dtype), g.constant(dtype(factor / LEAK_ONE)))
    return g.cast(product, np.int32)
