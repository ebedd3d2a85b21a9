"""`lmht export`: a network as an artifact of another runtime."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from lmht_deploy.errors import DataError, counted, listed

from . import _options as options
from ._console import say, tell, write_json

ONNX, NETX, C99, NIR = "ONNX", "NetX", "C99", "NIR"
STOCK = (
    "note: lmht-deploy runs this file exactly; unmodified lava-dl reads it as an approximation "
    "with hard-reset neurons and {count} more differences, which --json lists. To measure that: "
    "lmht run {path} --backend netx --data ..."
)
READERS = (
    "note: lmht-deploy runs this file exactly; other readers of NIR see an approximation with "
    "{count}, which --json lists"
)
PLAIN = (
    "a reader whose IF neurons fire one spike where v >= v_threshold, and subtract v_threshold, "
    "runs this file exactly"
)


def export(
    network: Annotated[
        Path,
        typer.Argument(
            help="An integer network (.lmht, .net, .nir or .lmhtf, or zoo:NAME).",
            callback=options.network_file(),
            autocompletion=options.complete_network,
        ),
    ],
    out: Annotated[
        Path,
        typer.Option(
            "--out",
            "-o",
            help="Artifact to write: .onnx (ONNX), .net (NetX HDF5 for Lava), .nir (NIR), .c (C99 "
            "source, with its header .h beside it) or .lmhtf (flat file for the C and C++ "
            "library).",
            callback=options.is_file,
        ),
    ],
    trace: Annotated[
        bool,
        typer.Option(
            "--trace", help="Also output the spikes of every layer.", rich_help_panel=ONNX
        ),
    ] = False,
    logits_only: Annotated[
        bool,
        typer.Option(
            "--logits-only",
            help="Output the logits alone, without counts of spikes and operations; faster.",
            rich_help_panel=ONNX,
        ),
    ] = False,
    portable: Annotated[
        bool,
        typer.Option(
            "--portable",
            help="Run in ONNX Runtime 1.15 and later, not only in 1.24 and later: no functions, no "
            "arithmetic on uint8; slower.",
            rich_help_panel=ONNX,
        ),
    ] = False,
    openvino: Annotated[
        bool,
        typer.Option(
            "--openvino",
            help="Run in OpenVINO: no functions, and products that it computes in integers; slow "
            "in ONNX Runtime.",
            rich_help_panel=ONNX,
        ),
    ] = False,
    logits_scale: Annotated[
        bool,
        typer.Option(
            "--logits-scale",
            help="Also output the real value of one unit of a logit.",
            rich_help_panel=ONNX,
        ),
    ] = False,
    stream: Annotated[
        str | None,
        typer.Option(
            "--stream",
            metavar="UNIT",
            help="Take one 'window' or one 'step' of a stream at a time, with the potentials as "
            "inputs and outputs.",
            rich_help_panel=ONNX,
        ),
    ] = None,
    graded: Annotated[
        bool,
        typer.Option(
            "--graded",
            help="One graded spike per time-step instead of L single spikes.",
            rich_help_panel=NETX,
        ),
    ] = False,
    stock_exact: Annotated[
        bool,
        typer.Option(
            "--stock-exact",
            help="Small networks: unroll the network, so that unmodified lava-dl runs it exactly.",
            rich_help_panel=NETX,
        ),
    ] = False,
    prefix: Annotated[
        str | None,
        typer.Option(
            "--prefix",
            metavar="NAME",
            help="First part of the names in the header (default: lmht).",
            rich_help_panel=C99,
        ),
    ] = None,
    plain: Annotated[
        bool,
        typer.Option(
            "--plain",
            help="Refuse a network that a reader of IF neurons would not run exactly.",
            rich_help_panel=NIR,
        ),
    ] = False,
    json: options.Json = None,
) -> None:
    """Export an integer network to ONNX, NetX (Lava), NIR, C or a flat file."""
    import lmht_deploy as lmht
    from lmht_deploy import backends

    header = out.with_suffix(".h") if out.suffix == ".c" else None
    if header is not None and json is not None and header.resolve() == json.resolve():
        raise DataError(f"{json}: is given as --json and is the header of {out}; give two files")
    net = lmht.load(network)
    report = lmht.export(
        net,
        out,
        trace=trace,
        logits_only=logits_only,
        logits_scale=logits_scale,
        portable=portable,
        openvino=openvino,
        stream=stream,  # type: ignore[arg-type]
        graded=graded,
        stock_exact=stock_exact,
        prefix=prefix,
        plain=plain,
    )
    if report.format == "NetX":
        tell(STOCK.format(path=out, count=len(report.warnings) or "no"))
    if report.format == "NIR":
        differences = counted(len(report.warnings), "difference")
        tell(READERS.format(count=differences) if report.warnings else PLAIN)
    if report.keeps_24_bits:
        say("no input makes a 24-bit current or potential of Lava wrap or clip: proved")
    if openvino and (reason := backends.refusal("openvino", out)):
        tell(f"note: lmht-deploy does not run this file in OpenVINO: {reason}")
    if report.in_float32:
        synapses = listed(report.in_float32)
        say(f"OpenVINO multiplies in float32, where integers are not proved: {synapses}")
    size = out.stat().st_size
    say(f"wrote {out} ({size:,} bytes)" + (f" and {header}" if header else ""))
    content = {
        "artifact": out,
        "header": header,
        "format": report.format,
        "bytes": size,
        "warnings": list(report.warnings),
    }
    if openvino:
        content["in_float32"] = list(report.in_float32)
    if report.keeps_24_bits is not None:
        content["keeps_24_bits"] = report.keeps_24_bits
    write_json(json, content)
