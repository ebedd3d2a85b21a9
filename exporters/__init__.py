"""Exporters: write a `Network` as a file for another runtime, one module per format.

onnx/           ONNX (`.onnx`)
netx.py         NetX HDF5 (`.net`), exact in the Lava processes of lmht-deploy
netx_exact/     NetX HDF5 (`.net`), exact in unmodified lava-dl, for small networks
c/              C99 source (`.c` and `.h`) for small machines
nir.py          NIR (`.nir`), with the integers of the network in its metadata
flat.py         flat file (`.lmhtf`) for the C and C++ library and for WebAssembly
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from lmht_deploy.errors import ExportError, listed, show
from lmht_deploy.ir import Network, require_network

__all__ = ["ExportReport", "export"]

OPTIONS = {
    ".onnx": ("trace", "logits_only", "logits_scale", "portable", "openvino", "stream"),
    ".net": ("graded", "stock_exact"),
    ".c": ("prefix",),
    ".nir": ("plain",),
    ".lmhtf": (),
}
"""Options of each format, by file name extension."""


@dataclass(frozen=True)
class ExportReport:
    """What `export` wrote.

    Attributes:
        path: The file.
        format: Format of the file: "ONNX", "NetX", "NetX, stock-exact", "C99", "NIR" or "flat".
        warnings: What other readers of the file get wrong, one sentence each.
        in_float32: Synapses `<layer>/<kind><i>` that OpenVINO multiplies in float32, in a file for
            OpenVINO: products of integers are not proved for them.
    """

    path: Path
    format: str
    warnings: tuple[str, ...] = ()
    in_float32: tuple[str, ...] = ()

    @property
    def keeps_24_bits(self) -> bool | None:
        """Whether the 24-bit states of unmodified Lava are proved to hold; None without Lava."""
        return self.format == "NetX, stock-exact" if self.format.startswith("NetX") else None


def export(
    net: Network,
    path: str | Path,
    *,
    trace: bool = False,
    logits_only: bool = False,
    logits_scale: bool = False,
    portable: bool = False,
    openvino: bool = False,
    stream: Literal["window", "step"] | None = None,
    graded: bool = False,
    stock_exact: bool = False,
    prefix: str | None = None,
    plain: bool = False,
) -> ExportReport:
    """Write an integer network as an artifact of another runtime.

    The file name extension of `path` chooses the format: `.onnx`, `.net`, `.c`, `.nir` or `.lmhtf`.
    The file appears complete or not at all, and equal networks give equal bytes. A `.c` file has
    its header beside it, with the suffix `.h`.

    Args:
        net: The network.
        path: File to write.
        trace: ONNX: the graph also outputs the spikes of every neuron layer.
        logits_only: ONNX: the graph outputs no counts of spikes and operations, and is faster.
        logits_scale: ONNX: the graph also outputs the real value of one unit of a logit.
        portable: ONNX: the graph runs in ONNX Runtime 1.15 and later, not only in 1.24 and later,
            and has neither functions nor float64.
        openvino: ONNX: the graph is for OpenVINO, which multiplies its counts and weights as
            integers, and has neither functions nor float64. It is slow in ONNX Runtime.
        stream: ONNX: the graph takes one window or one time-step of a stream at a time, and the
            potentials are inputs and outputs.
        graded: NetX: spikes carry counts of up to L, as on Loihi 2, instead of L single spikes.
        stock_exact: NetX: write a small network such that unmodified lava-dl runs it exactly.
        prefix: C: first part of the names in the header. Default: "lmht".
        plain: NIR: refuse a network that a reader of IF neurons would not run exactly.

    Returns:
        The path, the format and the warnings.

    Raises:
        ExportError: Unknown file name extension, an option that the format does not have, or a
            network that the format cannot represent. The message names the layer and what to do.
        StorageError: The file cannot be written.
    """
    path, net = _checked(path), require_network(net)
    options = {"trace": trace, "logits_only": logits_only, "logits_scale": logits_scale}
    options |= {"portable": portable, "openvino": openvino, "plain": plain}
    options |= {"graded": graded, "stock_exact": stock_exact}
    for name, given in options.items():
        if not isinstance(given, bool):
            raise ExportError(f"option {name!r} is True or False, not {show(given)}")
    if stream not in (None, "window", "step"):
        raise ExportError(f"option 'stream' is 'window' or 'step', not {show(stream)}")
    chosen = {name for name, given in options.items() if given}
    chosen |= {name for name, text in (("prefix", prefix), ("stream", stream)) if text is not None}
    _check_options(path, chosen)
    if path.suffix == ".onnx":
        from .onnx import export_onnx

        in_float32 = export_onnx(
            net,
            path,
            trace=trace,
            logits_only=logits_only,
            logits_scale=logits_scale,
            portable=portable,
            openvino=openvino,
            stream=stream,
        )
        return ExportReport(path, "ONNX", in_float32=in_float32)
    if path.suffix == ".c":
        from .c import export_c

        export_c(net, path, prefix="lmht" if prefix is None else prefix)
        return ExportReport(path, "C99")
    if path.suffix == ".nir":
        from .nir import export_nir

        return ExportReport(path, "NIR", export_nir(net, path, plain=plain))
    if path.suffix == ".lmhtf":
        from .flat import export_flat

        export_flat(net, path)
        return ExportReport(path, "flat")
    if stock_exact:
        from .netx_exact import export_netx_exact

        return ExportReport(path, "NetX, stock-exact", export_netx_exact(net, path))
    from .netx import export_netx

    return ExportReport(path, "NetX", export_netx(net, path, graded=graded))


def _checked(path: str | Path | Network) -> Path:
    if isinstance(path, Network):
        raise ExportError("the network comes first: export(net, path)")
    if not isinstance(path, str | os.PathLike):
        raise ExportError(f"{show(path)} is not the name of a file")
    return Path(path)


def _check_options(path: Path, given: set[str]) -> None:
    """Raise ExportError for an unknown file name extension or an option that has no effect."""
    if path.suffix == ".lmht":
        raise ExportError(f"{path}: .lmht is no export format; use lmht_deploy.save(net, path)")
    if path.suffix not in OPTIONS:
        raise ExportError(
            f"{path}: unknown file name extension {path.suffix!r}; the export formats are"
            f" {listed(OPTIONS)}"
        )
    for name in sorted(given.difference(OPTIONS[path.suffix])):
        formats = next(suffix for suffix, names in OPTIONS.items() if name in names)
        raise ExportError(
            f"{path}: the option {name!r} is for {formats} files and has no effect here"
        )
    if {"trace", "logits_only"} <= given:
        raise ExportError(f"{path}: the options 'trace' and 'logits_only' exclude each other")
    if {"portable", "openvino"} <= given:
        raise ExportError(
            f"{path}: the options 'portable' and 'openvino' exclude each other; OpenVINO runs "
            "either file, and that of 'openvino' faster"
        )
    if {"graded", "stock_exact"} <= given:
        raise ExportError(
            f"{path}: the options 'graded' and 'stock_exact' exclude each other; "
            "a stock-exact file has single spikes"
        )
