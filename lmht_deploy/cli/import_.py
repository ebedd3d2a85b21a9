"""`lmht import`: a network of another framework -> a network that every backend runs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lmht_deploy.errors import LmhtError, counted

from . import _options as options
from ._console import say, tell, write_json
from .convert import accumulator_bits

if TYPE_CHECKING:
    from lmht_deploy.ir import Network


def _profiles() -> list[str]:
    from lmht_deploy.importers._dynamics import PROFILES

    return list(PROFILES)


def import_(
    source: Annotated[
        Path,
        typer.Argument(
            metavar="FILE",
            help="A .nir file (Neuromorphic Intermediate Representation).",
            callback=options.file_with(".nir"),
        ),
    ],
    out: Annotated[
        Path,
        typer.Option("--out", "-o", help="Network to write (.lmht).", callback=options.is_file),
    ],
    steps: Annotated[
        int | None,
        typer.Option(
            "--steps",
            min=1,
            metavar="T",
            help="Number of time-steps per window, which a file of another tool does not state.",
        ),
    ] = None,
    profile: Annotated[
        str | None,
        typer.Option(
            "--profile",
            help="Framework that wrote the file: 'nir', 'sinabs', 'snntorch', 'spikingjelly' or "
            "'norse'. It determines the discretization and the defaults below. (default: nir)",
            autocompletion=options.completion(_profiles),
        ),
    ] = None,
    dt: Annotated[
        float | None,
        typer.Option("--dt", help="Step, in the unit of the time constants of the file."),
    ] = None,
    reset: Annotated[
        str | None,
        typer.Option(
            "--reset",
            help="What a spike does to the potential: 'subtract' (θ, at once), 'subtract-late' "
            "(θ, after the next leak) or 'value' (sets it to v_reset).",
        ),
    ] = None,
    max_spikes: Annotated[
        int | None,
        typer.Option(
            "--max-spikes",
            min=1,
            max=2**31 - 1,
            metavar="L",
            help="Largest number of spikes per neuron and step, 1 to 2,147,483,647.",
        ),
    ] = None,
    floor: Annotated[
        float | None,
        typer.Option(
            "--floor", max=0, help="Lower bound of the potentials, such as min_v_mem of sinabs."
        ),
    ] = None,
    max_value: Annotated[
        int, typer.Option("--max-value", min=1, help="Largest input value.")
    ] = 255,
    input_scale: Annotated[
        float, typer.Option("--input-scale", help="Real value of one unit of the input.")
    ] = 1.0,
    still: Annotated[
        bool, typer.Option("--still", help="The input is one image, which enters at every step.")
    ] = False,
    keep_float: Annotated[
        bool, typer.Option("--float", help="Write the float network without quantizing it.")
    ] = False,
    json: options.Json = None,
) -> None:
    """Import a network that sinabs, snnTorch, SpikingJelly, Norse or another tool wrote as NIR.

    The command prints what it assumed for the step, the reset and the discretization, which a file
    does not state. It compares the network with the graph on probe windows, spike by spike. A file
    that lmht-deploy exported holds all integers of its network, and needs no options.
    """
    import lmht_deploy as lmht
    from lmht_deploy.formats.nir_network import holds_network
    from lmht_deploy.importers._interpreter import PROBES
    from lmht_deploy.importers.nir import METADATA, SEPARATOR

    if out.suffix != ".lmht":
        raise LmhtError(f"{out}: the suffix must be .lmht")
    if holds_network(source):
        assumptions = (steps, profile, dt, reset, max_spikes, floor)
        if keep_float or still or any(value is not None for value in assumptions):
            raise LmhtError(
                f"{source}: holds a network of lmht-deploy with all of its integers; give no "
                "option but --out and --json"
            )
        _read_back(source, out, json)
        return
    if steps is None:
        raise LmhtError(f"{source}: states no number of time-steps; give --steps T")
    found = lmht.from_nir(
        source,
        steps=steps,
        profile=profile or "nir",  # type: ignore[arg-type]
        dt=dt,
        reset=reset,  # type: ignore[arg-type]
        max_spikes=max_spikes,
        floor=floor,
        max_value=max_value,
        input_scale=input_scale,
        still=still,
    )
    assumed = found.metadata[METADATA].split(SEPARATOR)
    for note in assumed:
        tell(f"assumed: {note}")
    net = found if keep_float else lmht.quantize(found)
    lmht.save(net, out)
    check = {"probe_windows": PROBES, "spikes": "equal", "logits": "equal"}
    _report(net, out, json, assumed, check)
    say(f"the float network and the graph have the same spikes on {PROBES} probe windows")


def _read_back(source: Path, out: Path, json: Path | None) -> None:
    """Write the network that lmht-deploy exported as a NIR file."""
    import lmht_deploy as lmht

    net = lmht.load(source)
    lmht.save(net, out)
    _report(net, out, json, [], None)
    say(f"every integer is that of {source}")


def _report(
    net: Network,
    out: Path,
    json: Path | None,
    assumed: list[str],
    check: dict[str, object] | None,
) -> None:
    bits = accumulator_bits(net)
    numbers = f"accumulators of at most {bits} bits" if bits else "float"
    layers = counted(len(net.neurons), "neuron layer")
    say(f"wrote {out}: {layers}, {numbers}")
    write_json(
        json,
        {
            "network": out,
            "integer": net.integer,
            "accumulator_bits": bits,
            "assumed": assumed,
            "check": check,
            "metadata": dict(net.metadata),
        },
    )
