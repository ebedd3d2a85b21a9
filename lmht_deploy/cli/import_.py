"""`lmht import`: a network of another framework -> a network that every backend runs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from lmht_deploy.errors import LmhtError

from . import _options as options
from ._console import say, tell, write_json
from .convert import accumulator_bits


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
        int, typer.Option("--steps", min=1, metavar="T", help="Number of time-steps per window.")
    ],
    profile: Annotated[
        str,
        typer.Option(
            "--profile",
            help="Framework that wrote the file: 'nir', 'sinabs', 'snntorch', 'spikingjelly' or "
            "'norse'. It determines the discretization and the defaults below.",
            autocompletion=options.completion(_profiles),
        ),
    ] = "nir",
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
    does not state. It compares the network with the graph on probe windows, spike by spike.
    """
    import lmht_deploy as lmht
    from lmht_deploy.importers._interpreter import PROBES
    from lmht_deploy.importers.nir import METADATA, SEPARATOR

    if out.suffix != ".lmht":
        raise LmhtError(f"{out}: the suffix must be .lmht")
    found = lmht.from_nir(
        source,
        steps=steps,
        profile=profile,  # type: ignore[arg-type]
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
    bits = accumulator_bits(net)
    numbers = f"accumulators of at most {bits} bits" if bits else "float"
    say(f"wrote {out}: {len(net.neurons)} neuron layers, {numbers}")
    say(f"the float network and the graph have the same spikes on {PROBES} probe windows")
    write_json(
        json,
        {
            "network": out,
            "integer": net.integer,
            "accumulator_bits": bits,
            "assumed": assumed,
            "check": {"probe_windows": PROBES, "spikes": "equal", "logits": "equal"},
            "metadata": dict(net.metadata),
        },
    )
