"""T-GIMs in an ONNX graph, and the floor of a quotient in float32, proved at export."""

from __future__ import annotations

import numpy as np

from lmht_deploy.ir import INT32_MAX, Shape

from ._graph import Graph
from ._products import EXACT_FLOAT32, Current, pixels_of

MARGIN = 2.0**-23
"""Relative distance that a quotient keeps from where it is rounded: twice the largest error of
float32, for runtimes that fuse, reorder or approximate a multiplication."""


def mix(g: Graph, matrix: np.ndarray, current: Current, shape: Shape, bound: int) -> Current:
    """Return Σ_j matrix[t, j]·X[j], [B, rows, P, C], whose partial sums are at most `bound`."""
    g.reach(bound)
    rows, steps = matrix.shape
    if rows == steps and np.array_equal(matrix, np.eye(steps)):
        return current
    dtype = np.dtype(np.float32 if bound < EXACT_FLOAT32 else np.int32)
    pixels, channels = pixels_of(shape)
    flat = g.reshape(g.convert(current.tensor, current.dtype, dtype), 0, 0, pixels * channels)
    mixed = g("MatMul", g.constant(matrix.astype(dtype), "mixing"), flat)
    return Current(g.reshape(mixed, 0, 0, pixels, channels), dtype)


def floor_quotients(
    g: Graph, x: Current, theta: np.ndarray, factor: int, constants: np.ndarray, limit: int
) -> str:
    """Return floor((factor·x[t] + constant[t]) / θ), [B, n, P, C]; at least 0.

    Quotients above `limit` may be any number above it.

    Uses float32 where that is proved, and otherwise the division of int32, which truncates: it is
    above the floor only for negative quotients, which are clipped to 0. QuantizeLinear adds,
    rounds to even and saturates at 0 and 255.

    Args:
        g: The graph.
        x: Integers [B, n, P, C]; factor·x + constant fits 32 bits.
        theta: θ, int64 [C].
        factor: Positive factor.
        constants: int64 [n, C].
        limit: Largest quotient that matters, at most 255.
    """
    pairs = [slope_and_offset(theta, factor, constant, limit) for constant in constants]
    if any(pair is None for pair in pairs):
        return _divided(g, x, theta, factor, constants, limit)
    slopes, offsets = zip(*pairs, strict=True)
    y = g("Mul", in_float32(g, x), g.constant(slopes[0], "slope"))
    y = g("Add", y, g.constant(np.stack(offsets)[:, None], "offset"))
    return g("QuantizeLinear", y, g.constant(np.float32(1)), g.constant(np.uint8(0)))


def clipped(g: Graph, counts: str, limit: int) -> str:
    """Return min(counts, limit), uint8."""
    return g("Clip", counts, "", g.constant(np.uint8(limit)))


def _divided(
    g: Graph, x: Current, theta: np.ndarray, factor: int, constants: np.ndarray, limit: int
) -> str:
    int32 = np.int32
    p = g.convert(x.tensor, x.dtype, np.dtype(int32))
    if factor != 1:
        p = g("Mul", p, g.constant(int32(factor)))
    p = g("Add", p, g.constant(constants.astype(int32)[:, None], "offset"))
    q = g("Div", p, g.constant(theta.astype(int32), "threshold"))
    q = g("Clip", q, g.constant(int32(0)), g.constant(int32(limit)))
    return g.cast(q, np.uint8)


def in_float32(g: Graph, current: Current) -> str:
    """Return a current in float32, rounded where it exceeds 2^24.

    Graphs that OpenVINO reads clip a sum that is in float32 already, which changes nothing.
    OpenVINO would otherwise multiply its terms, or weights, by its factor, and round each product.
    """
    if current.dtype != np.float32:
        return g.cast(current.tensor, np.float32)
    if not g.plain:
        return current.tensor
    limit = np.float32(EXACT_FLOAT32)
    return g("Clip", current.tensor, g.constant(-limit), g.constant(limit))


def slope_and_offset(
    theta: np.ndarray, factor: int, constant: np.ndarray, limit: int
) -> tuple[np.ndarray, np.ndarray] | None:
    """Return float32 s and o such that, for every int32 x and with the sum rounded to even,

        clip(round(x·s + o), 0, limit) = clip(floor((factor·x + constant) / θ), 0, limit)

    or None where float32 is too narrow. Proof: conversion, product, sum and rounding are monotone
    in x, for a positive factor. Both sides are therefore equal for all x if they are equal for the
    two neighbors of every jump of the right side: the smallest x with a quotient of q, and x - 1,
    for q = 1..limit. This function tests them, with a margin.

    Shape:
        theta, constant: int64 [C]. Results: float32 [C].
    """
    s = (factor / theta).astype(np.float32)
    o = ((constant - (theta - 1) / 2) / theta).astype(np.float32)
    for q in range(1, limit + 1):
        jump = -((constant - q * theta) // factor)
        for x, sign in ((jump - 1, -1), (jump, 1)):
            if np.abs(x).max() > INT32_MAX or not _on_its_side(x, s, o, q - 0.5, sign):
                return None
    return s, o


def _on_its_side(x: np.ndarray, s: np.ndarray, o: np.ndarray, edge: float, sign: int) -> bool:
    """Whether x·s + o is on one side of `edge` everywhere, by a margin."""
    product = x.astype(np.float32).astype(np.float64) * s
    y = product + o
    margin = MARGIN * (np.abs(product) + np.abs(o) + edge)
    return bool((sign * (y - edge) > margin).all())
