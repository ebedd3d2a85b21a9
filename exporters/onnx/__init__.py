"""Network -> `.onnx`: standard operators only, exact on every conforming runtime.

_network.py     layers and outputs; chooses the encoding of each layer
_trains.py      spikes of a layer, per step or since the start of the window
_products.py    synapses: products of counts and weights
_mixing.py      T-GIMs and the proved floor of a quotient
_closed.py      neurons with a constant drive: no recurrence, one product per window
_counting.py    neurons that subtract θ and do not leak: a recurrence over counts
_potential.py   all neurons: the recurrence of the semantics over potentials
_graph.py       builder of ONNX graphs
"""

from __future__ import annotations

import importlib.util
from pathlib import Path

from lmht_deploy.errors import ExportError
from lmht_deploy.formats.files import atomic_write
from lmht_deploy.formats.onnx import sealed
from lmht_deploy.ir import Network, require_network

__all__ = ["export_onnx"]


def export_onnx(
    net: Network,
    path: str | Path,
    *,
    trace: bool = False,
    logits_only: bool = False,
    portable: bool = False,
) -> tuple[str, ...]:
    """Write an integer network as an ONNX file (`lmht_deploy.formats.onnx`).

    The file appears complete or not at all, and equal networks give equal bytes.

    Args:
        net: The network.
        path: File to write.
        trace: Whether the graph also outputs the spikes of every neuron layer.
        logits_only: Whether the graph outputs no counts of spikes and operations.
        portable: Whether the graph avoids arithmetic on uint8, which ONNX Runtime before 1.24 does
            not implement. Such a graph is slower.

    Returns:
        No warnings: every conforming runtime gives the same integers.

    Raises:
        ExportError: A float network, constants beyond 2 GB, or a missing package.
        StorageError: The file cannot be written.
    """
    if not require_network(net).integer:
        raise ExportError(
            "an .onnx file carries an integer network, and this one holds floats; quantize it first"
        )
    if importlib.util.find_spec("onnx") is None:
        raise ExportError("the package onnx is not installed; run: pip install 'lmht-deploy[onnx]'")
    from ._network import Exporter

    exporter = Exporter(net, trace=trace, counts=not logits_only, portable=portable)
    content = exporter.model().SerializeToString(deterministic=True)
    with atomic_write(path) as temporary:
        temporary.write_bytes(sealed(content))
    return ()
