"""What both forms of a stock-exact file share."""

from __future__ import annotations

import numpy as np

from lmht_deploy.errors import ExportError
from lmht_deploy.formats.netx import keys
from lmht_deploy.ir import LEAK_ONE, Neurons

MAX_LAYER_WEIGHTS = 32_000_000
"""Largest number of weights per layer, zeros included."""
WAY_OUT = "export without --stock-exact: Lava as run by lmht-deploy is exact with that file"


def spikes_per_step(layer: Neurons) -> int:
    """Return the largest number of spikes per time-step.

    Raises:
        ExportError: The layer has what no stock neurons compute: a leak over several time-steps,
            levels and sub-steps at once, or uniform injection.
    """
    if layer.levels > 1 and layer.substeps > 1:
        raise ExportError(
            f"layer {layer.name!r} has {layer.levels} levels and {layer.substeps} sub-steps at "
            "once; export the network before it is reparameterized"
        )
    if layer.substeps > 1 and layer.injection == "uniform":
        raise ExportError(
            f"layer {layer.name!r} spreads its current over sub-steps; reparameterize with "
            "injection 'block-start'"
        )
    if layer.leaks and len(layer.omega) > 1:
        raise ExportError(
            f"layer {layer.name!r} has a leak over {len(layer.omega)} time-steps, which LIF "
            f"neurons without a reset cannot have; train without leak, or {WAY_OUT}"
        )
    return layer.levels * layer.substeps


def initial_potential(layer: Neurons) -> np.ndarray:
    """Return v0 after the leak of the first time-step, int64 [C]."""
    v0 = layer.v0.astype(np.int64)
    found: np.ndarray = np.sign(v0) * (np.abs(v0) * int(layer.leak) // LEAK_ONE)
    return found


def require_size(name: str, weights: int) -> None:
    """Raise ExportError where a layer of the file has too many weights."""
    if weights > MAX_LAYER_WEIGHTS:
        raise ExportError(
            f"layer {name!r} unrolls into {weights:,} weights, beyond "
            f"{MAX_LAYER_WEIGHTS:,}: a stock-exact file is for small networks; {WAY_OUT}"
        )


def require_range(name: str, potential: int) -> None:
    """Raise ExportError where a potential could leave its 24 bits."""
    if potential > keys.MAX_THRESHOLD:
        raise ExportError(
            f"layer {name!r} has potentials of up to {potential:,}, and LIF neurons hold up to "
            f"{keys.MAX_THRESHOLD:,}; quantize to fewer bits, or {WAY_OUT}"
        )


def refuse_second_reader(name: str) -> None:
    """Raise ExportError for a further layer that reads the input."""
    raise ExportError(
        f"layer {name!r} is not the only one that reads the input, whose graded values no LIF "
        f"neuron can relay; {WAY_OUT}"
    )
