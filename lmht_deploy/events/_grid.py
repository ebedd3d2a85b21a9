"""Numbers on a grid: multiples of a power of two.

Sums of products of such numbers are exact in float64 as long as they have no more than 53 bits.
They then depend neither on the order in which BLAS adds nor on its number of threads. A constant of
exp, sin or pow, whose last bits depend on the library and the processor, becomes the same number
everywhere, unless it lies in the middle between two multiples.
"""

from __future__ import annotations

import numpy as np


def on_grid(values: np.ndarray, bits: int) -> np.ndarray:
    """Round to multiples of 2^-bits, float64."""
    rounded: np.ndarray = np.ldexp(np.rint(np.ldexp(values, bits)), -bits)
    return rounded
