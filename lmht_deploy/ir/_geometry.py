"""Geometry of the sliding window of a convolution or a pooling layer."""

from __future__ import annotations

import numpy as np

from lmht_deploy.errors import NetworkError

from .records import Pair, Shape


def output_size(
    what: str, shape: Shape, kernel: Pair, stride: Pair, padding: Pair, dilation: Pair = (1, 1)
) -> Pair:
    """Return (H_out, W_out) for an input of `shape` (C, H, W).

    Raises:
        NetworkError: If the input has no height and width, or is smaller than the kernel.
    """
    if len(shape) != 3:
        raise NetworkError(f"{what} needs an input of shape (C, H, W), not {shape}")
    h, w = (
        (n + 2 * p - d * (k - 1) - 1) // s + 1
        for n, k, s, p, d in zip(shape[1:], kernel, stride, padding, dilation, strict=True)
    )
    if h < 1 or w < 1:
        raise NetworkError(
            f"{what}: a kernel of {kernel} with dilation {dilation} is larger than its padded "
            f"input {shape}"
        )
    return h, w


def taps(
    size: int, out: int, kernel: int, stride: int, padding: int, dilation: int = 1
) -> np.ndarray:
    """Count the pairs (output, tap) of a 1-D convolution that read each position; int64 [size]."""
    count = np.zeros(size, np.int64)
    for i in range(kernel):
        read = np.arange(out) * stride + i * dilation - padding
        count[read[(read >= 0) & (read < size)]] += 1
    return count
