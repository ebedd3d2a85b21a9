"""`lmht convert`: a trained run -> a network that every backend runs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lmht_deploy.errors import LmhtError

from . import common
from .train import need_torch

if TYPE_CHECKING:
    from lmht_deploy.ir import Network
    from lmht_deploy.training.runs import Run


def convert(
    source: Annotated[
        Path,
        typer.Argument(metavar="RUN", help="Folder of a run, or a .lmht file of a float network."),
    ],
    out: Annotated[Path, typer.Option("--out", "-o", help="Network to write (.lmht).")],
    keep_float: Annotated[
        bool, typer.Option("--float", help="Write the float network, without quantising it.")
    ] = False,
    single_threshold: Annotated[
        str | None,
        typer.Option(
            "--single-threshold",
            help="Reparameterise to one threshold and L·T sub-steps: 'block-start' (exact) or 'uniform' (the paper's).",
        ),
    ] = None,
    json: common.Json = None,
) -> None:
    """Lower a trained network, quantise it to integers with proved 32-bit accumulators, and optionally reparameterise it."""
    from lmht_deploy.quantize import quantize
    from lmht_deploy.reparameterize import reparameterize

    if out.suffix != ".lmht":
        raise LmhtError(f"{out}: the suffix must be .lmht")
    common.check_writable(json)
    net = common.open_network(source) if source.suffix == ".lmht" else lower_run(source)
    if not keep_float:
        net = quantize(net)
    if single_threshold is not None:
        net = reparameterize(net, single_threshold)  # type: ignore[arg-type]
    common.export_artifact(net, out)
    bits = max(
        (
            b.bit_length() + 1
            for bound in net.bounds.values()
            for b in (bound.current, bound.drive, bound.potential)
        ),
        default=None,
    )
    common.out.print(
        f"wrote {out}: {len(net.neurons)} neuron layers"
        + (f", accumulators of at most {bits} bits" if bits else ", float")
    )
    common.write_json(
        json,
        {
            "network": out,
            "integer": net.integer,
            "accumulator_bits": bits,
            "metadata": dict(net.metadata),
        },
    )


def lower_run(folder: Path) -> Network:
    """The float network of a run folder, with its provenance."""
    need_torch()
    from lmht_deploy.training import runs

    if not folder.is_dir():
        raise LmhtError(f"{folder}: there is no such run folder")
    return lowered(runs.load_run(folder))


def lowered(run: Run) -> Network:
    """The float network of a run, with recipe, data, accuracy and version as metadata."""
    import dataclasses

    from lmht_deploy import __version__
    from lmht_deploy.training import recipe as recipes
    from lmht_deploy.training.lowering import lower

    provenance = {
        "data": run.recipe.data.name,
        "recipe": recipes.dumps(run.recipe),
        "accuracy of the trained network": f"{run.accuracy:.4f}",
        "classes": ", ".join(run.classes),
        "lmht-deploy": __version__,
    }
    return dataclasses.replace(lower(run.model, run.input), metadata=provenance)
