"""`lmht export`: a network as the artifact of another target."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lmht_deploy.errors import ExportError

from . import common

if TYPE_CHECKING:
    from lmht_deploy.ir import Network


MEASURE = "lmht run {} --backend netx --data ..."


def export(
    network: Annotated[Path, typer.Argument(help="An integer network (.lmht).")],
    out: Annotated[
        Path,
        typer.Option(
            "--out", "-o", help="Artifact to write: .onnx (ONNX) or .net (NetX HDF5 for Lava)."
        ),
    ],
    trace: Annotated[
        bool, typer.Option("--trace", help="ONNX: also put out every layer's spikes.")
    ] = False,
    graded: Annotated[
        bool,
        typer.Option(
            "--graded", help="NetX: graded spikes, one a time-step, in place of L single ones."
        ),
    ] = False,
    stock_exact: Annotated[
        bool,
        typer.Option(
            "--stock-exact",
            help="NetX: small networks, unrolled so that unmodified lava-dl gives exact spikes.",
        ),
    ] = False,
    json: common.Json = None,
) -> None:
    """Export an integer network to ONNX or to NetX (Lava)."""
    net = common.open_network(network)
    warnings = (
        _export_exact(net, out, graded)
        if stock_exact
        else common.export_artifact(net, out, trace=trace, graded=graded)
    )
    for warning in warnings:
        common.err.print(f"warning: {warning}", markup=False, soft_wrap=True)
    if out.suffix == ".net" and not stock_exact:
        common.err.print(
            f"note: stock lava-dl reads this file as an approximation with hard-reset neurons; measure it: {MEASURE.format(out)}",
            soft_wrap=True,
        )
    common.out.print(f"wrote {out} ({out.stat().st_size:,} bytes)")
    common.write_json(json, {"artifact": out, "bytes": out.stat().st_size, "warnings": warnings})


def _export_exact(net: Network, out: Path, graded: bool) -> list[str]:
    from lmht_deploy.exporters.netx_exact import export_netx_exact

    if out.suffix != ".net" or graded:
        raise ExportError("--stock-exact writes single spikes to a .net file, without --graded")
    export_netx_exact(net, out)
    return []
