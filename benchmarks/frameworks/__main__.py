"""Models of other frameworks, imported and compared: `python -m benchmarks.frameworks`.

    sinabs, snntorch, spikingjelly, norse     one table per framework

`differ` counts the neuron-steps of the float network, on the test windows, whose spike counts are
not those of the framework in float32, and `unexplained` those that the rounding of float32 cannot
cause. The ratio is the time of the framework divided by that of the event engine, on one core, for
one window. `batch ratio` is the same for 64 windows in one call.
"""

from __future__ import annotations

import argparse
import importlib.util
import sys
import time
import warnings
from collections.abc import Iterator, Sequence
from functools import partial

import numpy as np
import torch

import lmht_deploy as lmht
from lmht_deploy import backends
from lmht_deploy.ir import Network

from ..report import Row, Table, add_report_arguments, run_tables
from ..timing import best_of_cases
from .agreement import Agreement, compare
from .models import STEPS, TEST, Model, digits, record, train
from .routes import ROUTES

BATCH = 64
"""Windows per batch that is timed."""


def rows(route: str, epochs: int, seconds: float) -> Iterator[Row]:
    """Build, train, import, compare and time the models of one framework."""
    torch.manual_seed(0)
    for model in ROUTES[route]():
        spikes, labels = digits(model.shape)
        train(model, spikes, labels, epochs)
        yield measured(model, spikes[-TEST:], labels[-TEST:], seconds)


def measured(model: Model, spikes: np.ndarray, labels: np.ndarray, seconds: float) -> Row:
    """Import a trained model, and compare it on test windows."""
    windows = spikes.astype(np.int64)
    recorded, outputs = record(model, spikes)
    net = lmht.from_nir(model.graph(), steps=STEPS, max_value=1, **model.options)
    found = compare(net, windows, recorded)
    integer = lmht.quantize(net)
    result = lmht.run(integer, windows)
    figures = {
        "differ": found.differ,
        "of": found.spikes,
        "unexplained": found.unexplained,
        "distance/θ": found.distance,
        "density": density(net, windows, found),
        "accuracy": float((outputs.mean(1).argmax(1) == labels).mean()),
        "integer": float((result.logits.argmax(1) == labels).mean()),
    }
    one, batch = times(model, integer, windows, seconds)
    figures["batch ratio"] = batch["framework"] / batch["engine"]
    return Row(model.name, one, figures)


def density(net: Network, windows: np.ndarray, found: Agreement) -> float:
    """Return the spikes per neuron and time-step, of the input and of all layers."""
    return float((windows.sum() + found.fired) / (windows.size + found.spikes))


def times(
    model: Model, net: Network, windows: np.ndarray, seconds: float
) -> list[dict[str, float]]:
    """Time one window and a batch, in milliseconds per call."""
    runner = backends.open_network("event", net, threads=1)
    x = torch.tensor(windows, dtype=torch.float32)
    cases = {
        str(size): {
            "engine": partial(runner.run, windows[:size]),
            "framework": partial(model.run, x[:size]),
        }
        for size in (1, BATCH)
    }
    with torch.no_grad():
        return list(best_of_cases(cases, seconds, time.process_time).values())


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.frameworks", description=(__doc__ or "").splitlines()[0]
    )
    add_report_arguments(parser, ROUTES)
    parser.add_argument("--epochs", type=int, default=5, help="epochs per model (default: 5)")
    parser.add_argument("--seconds", type=float, default=1, help="time per model (default: 1)")
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")  # of the frameworks
    there = [name for name in options.tables if importlib.util.find_spec(name)]
    for name in sorted(set(options.tables) - set(there)):
        print(f"{name} is not installed", file=sys.stderr)
    run_tables(
        {name: Table(name, partial(rows, name, options.epochs, options.seconds)) for name in there},
        options.json,
        epochs=options.epochs,
        seconds=options.seconds,
        steps=STEPS,
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
