"""The report of one backend: sections made of the JSON of `lmht run`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from lmht_deploy.errors import counted

from . import _charts as charts
from . import _text as texts
from ._answers import accuracy_fact, class_items
from ._charts import Content
from ._checks import of_command
from ._compare import data_name, sample_items
from ._document import Fact, Item, Listing, Note, Report, Section, absent, table
from ._provenance import dump, provenance

COUNTS = ("spikes", "events", "sops", "event_sops")


@of_command("lmht run --json")
def run_report(content: Content) -> Report:
    """Return the report of a run on one backend.

    Args:
        content: The JSON of `lmht run`.

    Raises:
        DataError: It is not that.
    """
    name = Path(str(content["artifact"])).name
    sections = (
        Section("Layers", tuple(_layers(content))),
        Section("Answers", tuple(class_items(content, "run"))),
        Section("Speed", tuple(_speed(content))),
        Section("Samples", tuple(_samples(content))),
        Section("Provenance", tuple(_provenance(content))),
    )
    return Report(
        texts.printable(f"{name} on {data_name({'provenance': content['data']})}"),
        f"{content['windows']:,} windows on backend {content['backend']}",
        tuple(_facts(content)),
        tuple(_notes(content)),
        sections,
        content,
    )


def _facts(content: Content) -> Iterator[Fact]:
    yield from accuracy_fact(content)
    sops = layer_means(content["sops"])
    total = sum(sops.values())
    yield Fact("Synaptic operations per window", texts.count(total), "Counted exactly.")
    if total:
        layer = max(sops, key=lambda name: sops[name])
        yield Fact(
            "Most expensive layer", layer, f"{texts.share(sops[layer] / total)} of the SOPs."
        )
    yield Fact("Run time", f"{content['ms_per_window']:.3g} ms per window")


def _notes(content: Content) -> Iterator[Note]:
    if silent := [layer for layer, mean in layer_means(content["spikes"]).items() if not mean]:
        yield Note("No neuron of these layers fires in any window.", tuple(silent))


def layer_means(counts: Mapping[str, Sequence[float]]) -> dict[str, float]:
    """Return means per window by layer.

    Args:
        counts: Counts per window by layer.
    """
    return {layer: sum(values) / len(values) for layer, values in counts.items()}


def _layers(content: Content) -> Iterator[Item]:
    means = {kind: layer_means(content[kind]) for kind in COUNTS}
    layers = list(dict.fromkeys([*means["spikes"], *means["sops"]]))
    macs: Mapping[str, int] = content["macs"]
    parts = {"SOPs": [means["sops"].get(layer, 0.0) for layer in layers]}
    if macs:
        parts["MACs of pixels"] = [float(macs.get(layer, 0)) for layer in layers]
    yield charts.layer_bars(
        "sops",
        "Operations by layer",
        "Synaptic operations that reach each layer, mean per window. They are counted exactly.",
        layers,
        parts,
        "operations per window",
    )
    columns = [
        ("layer", texts.text),
        ("spikes", texts.count),
        ("graded spikes", texts.count),
        ("SOPs", texts.count),
        ("SOPs of graded spikes", texts.count),
        ("MACs", texts.count),
    ]
    rows: list[tuple[Any, ...]] = [
        (layer, *(means[kind].get(layer) for kind in COUNTS), macs.get(layer)) for layer in layers
    ]
    yield table("layers", "Counts by layer: means per window.", columns, rows)


def _speed(content: Content) -> Iterator[Item]:
    latency = content["latency"]
    if not latency["windows"]:
        yield absent("Latency of single windows", "No window was timed by itself (--latency).")
        return
    columns = [("what", texts.text), ("ms", texts.number)]
    number = counted(latency["windows"], "window")
    rows = [
        (f"{key.removesuffix('_ms')} of {number}, one per call", value)
        for key, value in latency.items()
        if key != "windows"
    ]
    rows.append(("mean per window, all windows in turn", content["ms_per_window"]))
    yield table("speed", "Run time on this machine.", columns, rows)


def _samples(content: Content) -> Iterator[Item]:
    samples = content.get("samples")
    if not samples:
        yield absent("Samples", "The file holds an artifact, not its network.")
        return
    for sample in samples:
        yield from sample_items(sample, "run", _names(content, sample), _source(content, sample), 3)


def _names(content: Content, sample: Content) -> list[str]:
    return content["classes"] or [str(index) for index in range(len(sample["logits"][0]))]


def _source(content: Content, sample: Content) -> str | None:
    index = content["source_index"]
    return None if index is None else str(content["sources"][index[sample["window"]]])


def _provenance(content: Content) -> Iterator[Item]:
    first = [("artifact", content["artifact"]), ("backend", content["backend"])]
    yield from provenance(content["provenance"], first)
    yield Listing("How the windows were made", dump(content["data"]))
