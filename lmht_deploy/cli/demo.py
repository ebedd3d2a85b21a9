"""`lmht demo`: train, convert, export and compare a small network."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from lmht_deploy._packages import require_package
from lmht_deploy.errors import DataError, counted
from lmht_deploy.formats.files import make_folder

from . import _options as options
from ._console import percent, progress, say, write_json
from ._data import ReadOptions, find_source, reads_data
from ._report import write_report
from ._training import lower_run, need_torch, read_training_data, train_overrides, train_run
from .compare import network_run, rows_as_json, show_comparison

if TYPE_CHECKING:
    import numpy as np

    from lmht_deploy.analysis.compare import Comparison
    from lmht_deploy.data import Windows
    from lmht_deploy.ir import Network
    from lmht_deploy.training.data import Data
    from lmht_deploy.training.recipe import Recipe

RECIPES = {"digits": "digits", "nmnist": "nmnist"}
"""Recipes of data sets; other data is trained with the recipe for your own recordings."""


@reads_data
def demo(
    data: options.OptionalData = None,
    reading: ReadOptions = ReadOptions(),  # noqa: B008 (immutable)
    out: Annotated[
        Path,
        typer.Option(
            "--out",
            "-o",
            metavar="DIR",
            help="Folder for the run, the networks, the table and the report.",
            callback=options.check_out,
        ),
    ] = Path("demo"),
    threads: options.Threads = 1,
    json: options.Json = None,
) -> None:
    """Train a small LM-HT network, convert it, and run test recordings on every backend.

    Without --data, an emulated event camera records the digits of scikit-learn, and nothing is
    downloaded. Exits with 1 if an integer of a backend differs from the reference model.
    """
    from lmht_deploy._locks import folder_lock
    from lmht_deploy.training.recipe import load_recipe

    chosen = RECIPES.get(data or "digits", "recordings")
    recipe = load_recipe(chosen, train_overrides(data, reading))
    find_source(recipe.data.name, reading)
    need_torch()
    data_read = read_training_data(recipe, reading)
    make_folder(out)
    with folder_lock(out):
        content = _demo(recipe, data_read, out, threads)
        write_json(out / "demo.json", content)
    write_json(json, content)
    if not content["equal"]:
        raise typer.Exit(1)


def _demo(recipe: Recipe, data: Data, out: Path, threads: int) -> dict[str, Any]:
    import lmht_deploy as lmht

    train, test = len(data.train.windows), len(data.test.windows)
    _step(1, f"recordings: {train:,} for training, {test:,} for testing ({recipe.data.name})")
    shutil.rmtree(out / "run", ignore_errors=True)  # of an earlier demo
    run = train_run(recipe, data, out / "run", threads=threads)
    seconds = sum(epoch["seconds"] for epoch in run.metrics)
    network = f"{recipe.network.architecture} (L={recipe.network.levels}, T={recipe.network.steps})"
    _step(2, f"trained {network} in {seconds:.0f} s: accuracy {percent(run.accuracy)}")
    net = lmht.quantize(lower_run(run))
    single = lmht.reparameterize(net)
    _step(
        3,
        "quantized (int8 weights, 32-bit accumulators proved) and reparameterized to one "
        f"threshold and {counted(single.neurons[0].steps, 'sub-step')}",
    )
    comparison = _compare(net, single, out, data.test.windows, data.test.labels, threads)
    _step(5, "ran the test recordings on every backend")
    show_comparison(comparison)
    say("all integers are equal" if comparison.equal else "backends differ: see above")
    _report(net, data.test, comparison, out, threads)
    return {
        "recipe": recipe.data.name,
        "accuracy_float": run.accuracy,
        **rows_as_json(comparison),
    }


def _compare(
    net: Network,
    single: Network,
    out: Path,
    windows: np.ndarray,
    labels: np.ndarray | None,
    threads: int,
) -> Comparison:
    """Write the artifacts of both networks to `out`, and compare all backends."""
    import dataclasses

    import lmht_deploy as lmht
    from lmht_deploy.analysis.compare import choose_backends, compare_artifacts, write_artifacts

    artifacts, omitted = write_artifacts(net, out, choose_backends(None), strict=False)
    artifacts["event/single"] = out / "single.lmht"
    lmht.save(single, artifacts["event/single"])
    written = sorted({*out.glob("net.*"), *artifacts.values()})
    _step(4, f"wrote {', '.join(map(str, written))}")
    with progress("comparing") as show:
        comparison = compare_artifacts(artifacts, windows, labels, threads=threads, progress=show)
    return dataclasses.replace(comparison, omitted=omitted)


def _report(net: Network, found: Windows, comparison: Comparison, out: Path, threads: int) -> None:
    """Write a page with all that the comparison tells, where the packages for it are installed."""
    from lmht_deploy.analysis.document import comparison_as_json

    try:
        for package in ("matplotlib", "jinja2"):
            require_package(package, "report")
    except DataError as error:
        say(f"no report is written: {error}")
        return
    run, _ = network_run(out.name, out / "net.lmht", net, found, comparison, net.metadata)
    content = comparison_as_json([run], comparison.energy_model, threads)
    write_report("compare", content, out / "report.html", None)
    say("open the report in a browser to see the network at work")


def _step(number: int, text: str) -> None:
    say(f"{number}/5 {text}")
