"""Pooling between neurons and a synapse; plain NumPy, for Lava's Python and for ours."""

from __future__ import annotations

import numpy as np


def pooled(k: np.ndarray, pools: np.ndarray | None) -> np.ndarray:
    """Apply poolings in order.

    Args:
        k: Spikes [..., H, W].
        pools: The key `lmht_pools` of a NetX file, [n, 8]; None for none.
    """
    for border, largest, kh, kw, sh, sw, ph, pw in [] if pools is None else pools.tolist():
        around = [(0, 0)] * (k.ndim - 2) + [(ph, ph), (pw, pw)]
        padded = np.pad(k, around, constant_values=border)
        windows = np.lib.stride_tricks.sliding_window_view(padded, (kh, kw), axis=(-2, -1))
        windows = windows[..., ::sh, ::sw, :, :]
        k = windows.max((-2, -1)) if largest else windows.sum((-2, -1), dtype=k.dtype)
    return k
