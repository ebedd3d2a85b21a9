"""`lmht demo`: the whole way, from recordings to a table of backends."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from . import common
from .compare import as_json, run_comparison, show, write_artifacts
from .convert import lowered
from .train import need_torch, read_data, train_run

if TYPE_CHECKING:
    from lmht_deploy.training.recipe import Recipe


def demo(
    nmnist: Annotated[
        Path | None,
        typer.Option(
            "--nmnist",
            metavar="DIR",
            help="Use real recordings: the folder of N-MNIST, as tonic.datasets.NMNIST lays it out.",
        ),
    ] = None,
    out: Annotated[
        Path,
        typer.Option(
            "--out", "-o", metavar="DIR", help="Folder for the run, the networks and the table."
        ),
    ] = Path("demo"),
    threads: common.Threads = 1,
    json: common.Json = None,
) -> None:
    """Train a small LM-HT network, convert it, and run held-out recordings through every backend.

    Without --nmnist the recordings are digits of scikit-learn, moved before an emulated event camera: nothing is downloaded.
    Exits with 1 where a backend gives another integer than the golden model.
    """
    need_torch()
    from lmht_deploy.training import recipe as recipes

    common.check_writable(json)
    recipe = recipes.load_recipe("digits" if nmnist is None else "nmnist")
    content = _demo(recipe, nmnist, out, threads)
    common.write_json(out / "demo.json", content)
    common.write_json(json, content)
    if not content["equal"]:
        raise typer.Exit(1)


def _demo(recipe: Recipe, root: Path | None, out: Path, threads: int) -> dict[str, Any]:
    from lmht_deploy import backends
    from lmht_deploy.quantize import quantize
    from lmht_deploy.reparameterize import reparameterize

    data = read_data(recipe, root)
    _say(
        1,
        f"recordings: {len(data.train.windows):,} to train on, {len(data.test.windows):,} held out ({recipe.data.name})",
    )
    run = train_run(recipe, data, _fresh(out / "run"), threads=threads)
    seconds = sum(epoch["seconds"] for epoch in run.metrics)
    network = f"{recipe.network.architecture} (L={recipe.network.levels}, T={recipe.network.steps})"
    _say(2, f"trained {network} in {seconds:.0f} s: accuracy {common.percent(run.accuracy)}")
    net = quantize(lowered(run))
    single = reparameterize(net)
    _say(
        3,
        f"quantised (int8 weights, 32-bit accumulators proved) and reparameterised to one threshold and {single.neurons[0].steps} sub-steps",
    )
    artifacts, left_out = write_artifacts(net, out, list(backends.NAMES), lenient=True)
    artifacts["event/single"] = out / "single.lmht"
    common.export_artifact(single, artifacts["event/single"])
    _say(
        4,
        "wrote "
        + ", ".join(str(path) for path in sorted({*out.glob("net.*"), *artifacts.values()})),
    )
    comparison = run_comparison(artifacts, data.test.windows, data.test.labels, threads=threads)
    _say(5, "ran the held-out recordings through every backend")
    show(comparison, left_out)
    common.out.print(
        "[green]all integers are equal[/]"
        if comparison.equal
        else "[red]backends part: see above[/]"
    )
    return {
        "recipe": recipe.data.name,
        "accuracy_float": run.accuracy,
        **as_json(comparison, left_out),
    }


def _fresh(folder: Path) -> Path:
    """`folder` without the run of an earlier demo."""
    import shutil

    shutil.rmtree(folder, ignore_errors=True)
    folder.parent.mkdir(parents=True, exist_ok=True)
    return folder


def _say(number: int, text: str) -> None:
    common.out.print(f"[bold]{number}/5[/] {text}", highlight=False)
