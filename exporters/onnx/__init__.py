"""Network -> `.onnx`: standard operators only, exact on every conforming runtime.

_network.py     layers and outputs; chooses the encoding of each layer
_trains.py      spikes of a layer, per step or since the start of the window
_products.py    synapses: products of counts and weights
_mixing.py      T-GIMs and the proved floor of a quotient
_closed.py      neurons with a constant drive: no recurrence, one product per window
_counting.py    neurons that subtract θ and do not leak: a recurrence over counts
_potential.py   all neurons: the recurrence of the semantics over potentials
_streams.py     networks whose input arrives in parts
_graph.py       builder of ONNX graphs
_functions.py   one function for each part of a layer
"""

from __future__ import annotations

import importlib.util
from pathlib import Path

from lmht_deploy.errors import ExportError, LmhtError
from lmht_deploy.formats.files import atomic_write
from lmht_deploy.formats.onnx import data_path, load_model, sealed
from lmht_deploy.ir import Network, require_network

from ._streams import Unit

__all__ = ["export_onnx"]


def export_onnx(
    net: Network,
    path: str | Path,
    *,
    trace: bool = False,
    logits_only: bool = False,
    logits_scale: bool = False,
    portable: bool = False,
    openvino: bool = False,
    stream: Unit | None = None,
) -> tuple[str, ...]:
    """Write an integer network as an ONNX file (`lmht_deploy.formats.onnx`).

    The file appears complete or not at all, and equal networks give equal bytes.

    Args:
        net: The network.
        path: File to write.
        trace: Whether the graph also outputs the spikes of every neuron layer.
        logits_only: Whether the graph outputs no counts of spikes and operations.
        logits_scale: Whether the graph also outputs the real value of one unit of a logit.
        portable: Whether the graph avoids arithmetic on uint8, which ONNX Runtime before 1.24 does
            not implement, float64, which OpenVINO computes in float32, and functions, which
            OpenVINO does not read.
        openvino: Whether the graph avoids float64 and functions, and its products are written such
            that OpenVINO multiplies integers. Such a graph is slow in ONNX Runtime.
        stream: "window" or "step" for a graph that takes a window or a time-step of a stream, with
            the potentials as inputs and outputs; None for windows that begin at v0.

    Returns:
        Synapses `<layer>/<kind><i>` that OpenVINO multiplies in float32, with `openvino`: products
        of integers are not proved for them.

    Raises:
        ExportError: A float network, a network without such a stream, a file in the place of that
            of the weights, or a missing package.
        StorageError: The file cannot be written.
    """
    if not require_network(net).integer:
        raise ExportError(
            "an .onnx file carries an integer network, and this one holds floats; quantize it first"
        )
    if importlib.util.find_spec("onnx") is None:
        raise ExportError("the package onnx is not installed; run: pip install 'lmht-deploy[onnx]'")
    if stream and not net.neurons:
        raise ExportError("a network without neurons has no potentials to keep in a stream")
    from ._network import Exporter

    exporter = Exporter(
        net,
        trace=trace,
        counts=not logits_only,
        scale=logits_scale,
        portable=portable,
        openvino=openvino,
        stream=stream,
    )
    beside = data_path(Path(path))
    model, parts = exporter.model(beside.name)
    content = sealed(model.SerializeToString(deterministic=True))
    if parts:
        _check_beside(Path(path), beside)
        with atomic_write(beside) as temporary, temporary.open("wb") as file:
            file.writelines(parts)
    with atomic_write(path) as temporary:
        temporary.write_bytes(content)
    return tuple(exporter.g.in_float32) if openvino else ()


def _check_beside(path: Path, beside: Path) -> None:
    """Raise ExportError if there is a file in the place of the weights that is none of `path`."""
    if not beside.exists():
        return
    try:
        ours = load_model(path).data == beside
    except (LmhtError, OSError, ValueError, KeyError):
        ours = False
    if not ours:
        raise ExportError(
            f"{beside}: is where the weights belong, and is no part of {path}; choose another name "
            "for the .onnx file, or remove it"
        )
