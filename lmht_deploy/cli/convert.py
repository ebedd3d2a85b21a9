"""`lmht convert`: a trained run -> a network that every backend runs."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lmht_deploy.errors import LmhtError, counted

from . import _options as options
from ._answers import store_margin
from ._console import percent, say, write_json
from ._data import ReadOptions, Target, find_source, named_errors, read_windows, reads_data
from ._training import load_run, lower_run

if TYPE_CHECKING:
    from lmht_deploy.ir import Network

INJECTIONS = ("block-start", "uniform")


@reads_data
def convert(
    source: Annotated[
        Path,
        typer.Argument(metavar="RUN", help="Folder of a run, or a .lmht file."),
    ],
    out: Annotated[
        Path,
        typer.Option("--out", "-o", help="Network to write (.lmht).", callback=options.is_file),
    ],
    keep_float: Annotated[
        bool, typer.Option("--float", help="Write the float network without quantizing it.")
    ] = False,
    single_threshold: Annotated[
        str | None,
        typer.Option(
            "--single-threshold",
            metavar="FORM",
            help="Reparameterize to one threshold and L·T sub-steps: 'block-start' (exact) or "
            "'uniform' (the paper's form).",
            autocompletion=options.completion(lambda: INJECTIONS),
        ),
    ] = None,
    min_margin: Annotated[
        float | None,
        typer.Option(
            "--min-margin",
            min=0,
            metavar="X",
            help="Store the smallest margin of an answer that is a class, as `lmht run "
            "--calibrate` finds it.",
        ),
    ] = None,
    data: options.OptionalData = None,
    split: options.Split = None,
    limit: options.Limit = None,
    reading: ReadOptions = ReadOptions(),  # noqa: B008 (immutable)
    json: options.Json = None,
) -> None:
    """Lower a trained network and quantize it to integers with proved 32-bit accumulators.

    With --data, the network that was written is run on it, and its accuracy is reported.
    """
    import lmht_deploy as lmht
    from lmht_deploy.formats.networks import NETWORK_SUFFIXES

    if out.suffix != ".lmht":
        raise LmhtError(f"{out}: the suffix must be .lmht")
    if single_threshold not in (None, *INJECTIONS):
        raise LmhtError(
            f"--single-threshold must be {' or '.join(INJECTIONS)}, not {single_threshold!r}"
        )
    if data is not None:
        find_source(data, reading)
    is_network = source.suffix in NETWORK_SUFFIXES
    net = lmht.load(source) if is_network else lower_run(load_run(source))
    if keep_float and net.integer:
        raise LmhtError(f"{source}: --float has no effect: the network is an integer network")
    if not keep_float:
        net = lmht.quantize(net)
    if single_threshold is not None:
        net = lmht.reparameterize(net, single_threshold)  # type: ignore[arg-type]
    if min_margin is not None:
        net = dataclasses.replace(net, metadata=store_margin(net.metadata, min_margin))
    lmht.save(net, out)
    bits = accumulator_bits(net)
    numbers = f"accumulators of at most {bits} bits" if bits else "float"
    say(f"wrote {out}: {counted(len(net.neurons), 'neuron layer')}, {numbers}")
    found = None if data is None else _accuracy(net, out, data, reading, split, limit)
    write_json(
        json,
        {
            "network": out,
            "integer": net.integer,
            "accumulator_bits": bits,
            "accuracy": found,
            "metadata": dict(net.metadata),
        },
    )


def _accuracy(
    net: Network,
    path: Path,
    data: str,
    reading: ReadOptions,
    split: str | None,
    limit: int | None,
) -> float | None:
    """Run the network on `data` and report its accuracy."""
    import lmht_deploy as lmht
    from lmht_deploy.analysis.scores import accuracy

    target = Target.of(net.window_shape, net.input.max_value, net.metadata, path)
    found = read_windows(data, target, reading, split=split, limit=limit)
    with named_errors(data):
        labels = found.require_labels()
        result = lmht.run(net, found.windows, backend="event" if net.integer else "torch")
        share = accuracy(result, labels)
    say(f"accuracy {percent(share)} of {counted(len(found), 'window')} of {data}")
    return share


def accumulator_bits(net: Network) -> int | None:
    """Return the largest number of bits, sign included, of an accumulator; None for floats."""
    values = (
        value
        for bounds in net.bounds.values()
        for value in (bounds.current, bounds.drive, bounds.potential)
    )
    return max((value.bit_length() + 1 for value in values), default=None)
