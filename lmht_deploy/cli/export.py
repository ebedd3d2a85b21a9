"""`lmht export`: a network as the artifact of another target."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from . import common


def export(
    network: Annotated[Path, typer.Argument(help="An integer network (.lmht).")],
    out: Annotated[Path, typer.Option("--out", "-o", help="Artifact to write: .onnx (ONNX) or .net (NetX HDF5 for Lava).")],
    trace: Annotated[bool, typer.Option("--trace", help="ONNX: also put out every layer's spikes.")] = False,
    graded: Annotated[bool, typer.Option("--graded", help="NetX: graded spikes, one a time-step, in place of L single ones.")] = False,
    json: common.Json = None,
) -> None:
    """Export an integer network to ONNX or to NetX (Lava)."""
    warnings = common.export_artifact(common.open_network(network), out, trace=trace, graded=graded)
    for warning in warnings:
        common.err.print(f"warning: {warning}", markup=False)
    common.out.print(f"wrote {out} ({out.stat().st_size:,} bytes)")
    common.write_json(json, {"artifact": out, "bytes": out.stat().st_size, "warnings": warnings})
