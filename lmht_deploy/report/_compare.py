"""The report of a comparison: sections made of the JSON of `lmht compare`."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeAlias

from lmht_deploy.errors import counted

from . import _charts as charts
from . import _text as texts
from ._charts import Content
from ._checks import check_schema, of_command
from ._document import (
    Fact,
    Heading,
    Item,
    Listing,
    Note,
    Report,
    Section,
    absent,
    table,
)
from ._provenance import dump, provenance

Part: TypeAlias = Callable[[Content, Content], Iterable[Item]]
"""Makes the part of a section about one network of a comparison."""
SCHEMA, VERSION = "lmht-compare", 1
"""The JSON that is understood, see docs/reference/compare-json.md."""
MACS = ("MACs",)
"""Columns of tables that only networks for images fill."""
NEUROBENCH = (
    *("Footprint", "ParameterCount", "ConnectionSparsity", "ActivationSparsity"),
    *("Effective_MACs", "Effective_ACs", "Dense"),
)
"""Metrics of NeuroBench that are shown."""
WHOLE_WINDOW = (
    "A layer with a T-GIM reads its whole window before its first spike. An early answer of such a "
    "network saves the operations of the read-out alone. Without a T-GIM, it saves operations in "
    "every layer."
)
MANY = 1000
"""Number of classes that get a number as their name where nothing is known of them."""
SAMPLES = 4
"""Number of windows that are shown, of all networks together; at least one per network."""
NO_LABELS = "The data has no labels."
ARTIFACT = "The file holds an artifact, not its network."


@of_command("lmht compare --json")
def compare_report(content: Content) -> Report:
    """Return the report of a comparison.

    Args:
        content: The JSON of `lmht compare`.

    Raises:
        DataError: It is not that.
    """
    check_schema(content, "lmht compare", SCHEMA, VERSION)
    written, networks = content, _with_slugs(content["networks"])
    content = {**content, "networks": networks}
    names = ", ".join(network["name"] for network in networks)
    title = f"{names} on {data_name(content['data'])}" if len(networks) < 4 else "Comparison"
    several = [_networks(content)] if len(networks) > 1 else []
    sections = [
        *several,
        _each("Backends", _backends, content),
        _each("Layers", _layers, content),
        _each("Energy", _energy, content),
        _anytime(content),
        _each("Classes", _classes, content),
        _each("Speed", _speed, content),
        _each("Samples", _samples, content),
        _quantization(content),
        _provenance(content),
    ]
    return Report(
        texts.printable(title),
        _subtitle(content),
        tuple(_facts(content)),
        tuple(_left_out(content)),
        tuple(section for section in sections if section.items),
        written,
    )


def _with_slugs(networks: Sequence[Content]) -> list[Content]:
    """Give each network a name for files and anchors that no other one has."""
    slugs = [texts.slug(network["name"]) for network in networks]
    unique = [
        slug if slugs.count(slug) == 1 else f"{slug}-{place + 1}"
        for place, slug in enumerate(slugs)
    ]
    return [{**network, "slug": slug} for network, slug in zip(networks, unique, strict=True)]


def data_name(data: Content) -> str:
    """Return the name of the data, of its split and of the split scheme."""
    found = data["provenance"]
    scheme = f" of {found['split_scheme']}" if found.get("split_scheme") else ""
    split = f" ({found['split']} split{scheme})" if found.get("split") else ""
    return f"{Path(str(found.get('data', 'data'))).name}{split}"


def _subtitle(content: Content) -> str:
    day = str(content["provenance"]["created"])[:10]
    return f"{content['data']['windows']:,} windows · lmht-deploy, {day}"


def _each(title: str, make: Part, content: Content) -> Section:
    """Return a section with a part for each network."""
    networks, items = content["networks"], list[Item]()
    for network in networks:
        if len(networks) > 1:
            items.append(Heading(network["name"]))
        items += make(network, content)
    return Section(title, tuple(items))


# ------------------------------------------------------------------------------------- summary


def _facts(content: Content) -> Iterator[Fact]:
    yield _agreement(content)
    networks = content["networks"]
    if len(networks) == 1:
        yield from _network_facts(networks[0], content)
    else:
        yield from _best_facts(networks, content)


def _agreement(content: Content) -> Fact:
    backends = [backend for network in content["networks"] for backend in network["backends"]]
    labels = dict.fromkeys(backend["label"] for backend in backends)
    note = ", ".join(labels)
    if len(labels) < 2:
        return Fact("Backends", "not compared", f"Only one backend ran: {note}.")
    if content["equal"]:
        return Fact("Backends", "All integers are equal", f"{len(labels)} backends: {note}.", True)
    wrong = {b["label"]: b["difference"]["text"] for b in backends if b["difference"]}
    text = "; ".join(f"{label}: {reason}" for label, reason in wrong.items())
    return Fact("Backends", "Integers differ", text, False)


def _network_facts(network: Content, content: Content) -> Iterator[Fact]:
    if network["accuracy"] is not None:
        note = f"95% interval {texts.interval(network['interval'])}."
        yield Fact("Accuracy", texts.share(network["accuracy"]), note)
    sops = network["backends"][0]["sops"]
    yield Fact("Synaptic operations per window", texts.count(sops), "Counted exactly.")
    model, found = model_of(content), estimate(network, content["energy_model"])
    if model is None or found is None:
        return
    energy = network["energy"]
    spread = (
        f" All models: {texts.joules(energy['lowest'])} to {texts.joules(energy['highest'])}."
        if energy.get("lowest") is not None
        else ""
    )
    note = f"An estimate: {model['title']}.{spread}"
    yield Fact("Energy per window", texts.joules(found["joules"]), note)
    layer, part = most_expensive(found)
    if layer is not None:
        yield Fact("Most expensive layer", layer, f"{texts.share(part)} of the energy.")


def _best_facts(networks: Sequence[Content], content: Content) -> Iterator[Fact]:
    scored = [network for network in networks if network["accuracy"] is not None]
    if scored:
        best = max(scored, key=lambda network: network["accuracy"])
        note = f"{best['name']}; 95% interval {texts.interval(best['interval'])}."
        yield Fact("Highest accuracy", texts.share(best["accuracy"]), note)
    found = [(estimate(network, content["energy_model"]), network) for network in networks]
    known = [(entry["joules"], network["name"]) for entry, network in found if entry]
    if known:
        joules, name = min(known)
        yield Fact("Lowest energy per window", texts.joules(joules), f"{name}; an estimate.")


def _left_out(content: Content) -> Iterator[Note]:
    """Say what the energy of the summary does not include."""
    model = model_of(content)
    if model and model["leaves_out"]:
        yield Note(
            f"What the energy figure does not include (model: {model['title']}):",
            tuple(model["leaves_out"]),
        )


def model_of(content: Content) -> Content | None:
    """Return the energy model of the tables; None if it is not described."""
    name = content["energy_model"]
    return next((model for model in content["energy_models"] if model["name"] == name), None)


def estimate(network: Content, model: str) -> Content | None:
    """Return the estimate of a network under a model; None if there is none."""
    models = (network["energy"] or {}).get("models", ())
    return next((found for found in models if found["model"] == model), None)


def most_expensive(found: Content) -> tuple[str | None, float]:
    """Return the layer of an estimate that costs most, and its share."""
    layers = found["layers"] or {}
    total = sum(layers.values())
    if not total:
        return None, 0.0
    name = max(layers, key=lambda layer: layers[layer])
    return name, layers[name] / total


# ------------------------------------------------------------------------------------- networks


def _networks(content: Content) -> Section:
    """Section that compares several networks."""
    model = content["energy_model"]
    networks = content["networks"]
    rows = [_network_row(network, model) for network in networks]
    columns = [
        ("network", texts.text),
        ("L", texts.count),
        ("T", texts.count),
        ("accuracy", texts.share),
        ("95% interval", texts.interval),
        ("spikes", texts.count),
        ("SOPs", texts.count),
        ("MACs", texts.count),
        (f"energy ({model})", texts.joules),
        ("time (ms)", texts.number),
    ]
    title = f"Networks compared: means per window. Time: {_latency_of(networks[0])[0]}."
    items: list[Item] = [table("networks", title, columns, rows, optional=MACS)]
    items += _pareto(content)
    items += _pairs(content)
    return Section("Networks", tuple(items))


def _network_row(network: Content, model: str) -> tuple[Any, ...]:
    total, found = network["counts"]["graded"]["total"], estimate(network, model)
    return (
        *(network[key] for key in ("name", "levels", "steps", "accuracy", "interval")),
        *(total[key] for key in ("spikes", "sops", "macs")),
        None if found is None else found["joules"],
        _latency_of(network)[1],
    )


def _latency_of(network: Content) -> tuple[str, float | None]:
    """Return what the time of a network is, and milliseconds on its fastest kind of backend."""
    backends = {backend["label"]: backend for backend in network["backends"]}
    chosen = backends.get("event") or (network["backends"] or [None])[0]
    if chosen is None:
        return "not measured", None
    if chosen["speed"] and chosen["speed"]["latency"]:
        return f"median latency on {chosen['label']}", chosen["speed"]["latency"]["p50_ms"]
    return f"mean run time on {chosen['label']}", chosen["ms"]


def _pareto(content: Content) -> Iterator[Item]:
    networks = content["networks"]
    if any(network["accuracy"] is None for network in networks):
        yield absent("Pareto front", NO_LABELS)
        return
    scores = [(network["accuracy"], network["interval"]) for network in networks]
    energies = [estimate(network, content["energy_model"]) for network in networks]
    known = [found["joules"] for found in energies if found and found["joules"] > 0]
    if len(known) == len(networks):
        factor, unit = texts.energy_unit(known)
        yield charts.pareto(
            "pareto-energy",
            "Accuracy and energy",
            f"energy per window ({unit}, {content['energy_model']})",
            texts.number,
            [
                (network["name"], joules / factor, *score)
                for network, joules, score in zip(networks, known, scores, strict=True)
            ],
        )
    times = [_latency_of(network) for network in networks]
    if all(ms for _, ms in times):
        yield charts.pareto(
            "pareto-latency",
            "Accuracy and latency",
            f"{times[0][0]} (ms)",
            texts.number,
            [
                (network["name"], ms or 0.0, *score)
                for network, (_, ms), score in zip(networks, times, scores, strict=True)
            ],
        )


def _pairs(content: Content) -> Iterator[Item]:
    rows = [
        (
            pair["first"],
            pair["second"],
            pair["windows"],
            pair["same_predictions"] / pair["windows"],
            pair["only_first"],
            pair["only_second"],
            pair["p_value"],
        )
        for pair in content["pairs"]
        if pair["windows"]
    ]
    if rows:
        columns = [
            ("first", texts.text),
            ("second", texts.text),
            ("windows", texts.count),
            ("same answer", texts.share),
            ("only first right", texts.count),
            ("only second right", texts.count),
            ("p (McNemar)", texts.number),
        ]
        title = (
            "Networks in pairs. A small p says that the difference of the accuracies is hardly "
            "chance."
        )
        yield table("pairs", title, columns, rows)


# ------------------------------------------------------------------------------------- backends


def _backends(network: Content, content: Content) -> Iterator[Item]:
    rows = [
        (
            backend["label"],
            backend["windows"],
            backend["accuracy"],
            backend["spikes"],
            backend["sops"],
            backend["macs"],
            backend["energy"],
            backend["ms"],
            backend["difference"] is None,
        )
        for backend in network["backends"]
    ]
    columns = [
        ("backend", texts.text),
        ("windows", texts.count),
        ("accuracy", texts.share),
        ("spikes", texts.count),
        ("SOPs", texts.count),
        ("MACs", texts.count),
        (f"energy ({content['energy_model']})", texts.joules),
        ("time (ms)", texts.number),
        ("integers", texts.yes),
    ]
    title = "The same windows on every backend: means per window."
    yield table(f"backends-{network['slug']}", title, columns, rows, optional=MACS)
    for backend in network["backends"]:
        if backend["difference"]:
            yield Note(f"{backend['label']}: {backend['difference']['text']}")
        if saturations := backend.get("saturations"):
            times = counted(saturations, "time")
            yield Note(f"{backend['label']}: 24-bit states wrapped or were clipped {times}.")
    if network["omitted"]:
        reasons = tuple(f"{name}: {reason}" for name, reason in network["omitted"].items())
        yield Note("These backends are not compared.", reasons, absent=True)


def _speed(network: Content, content: Content) -> Iterator[Item]:
    measured = [backend for backend in network["backends"] if backend["speed"]]
    if not measured:
        yield absent("Latency, throughput and memory", "The comparison ran without --speed.")
        return
    timed = [backend for backend in measured if backend["speed"]["latency"]]
    name = network["slug"]
    if timed:
        yield charts.latency(name, timed)
    rows = [_speed_row(backend["label"], backend["speed"]) for backend in measured]
    columns = [
        ("backend", texts.text),
        ("p50 (ms)", texts.number),
        ("p90 (ms)", texts.number),
        ("p99 (ms)", texts.number),
        ("windows/s", texts.number),
        ("batch", texts.count),
        ("start-up (ms)", texts.number),
        ("memory", texts.size),
        ("file", texts.size),
        ("threads", texts.count),
    ]
    title = "Speed of each backend in a process of its own, after warm-up."
    yield table(f"speed-{name}", title, columns, rows)


def _speed_row(label: str, speed: Content) -> tuple[Any, ...]:
    latency, throughput = speed["latency"] or {}, speed["throughput"] or {}
    return (
        label,
        *(latency.get(key) for key in ("p50_ms", "p90_ms", "p99_ms")),
        throughput.get("windows_per_s"),
        throughput.get("batch", speed["batch"]),
        speed["start_ms"],
        speed["peak_memory_bytes"],
        speed["artifact_bytes"],
        speed["threads"],
    )


# ------------------------------------------------------------------------------------- layers


def _layers(network: Content, content: Content) -> Iterator[Item]:
    name, layers = network["slug"], network["counts"]["graded"]["layers"]
    figure = charts.step_density(name, layers)
    yield figure or absent("Spike density by step", ARTIFACT)
    labels = [layer["layer"] for layer in layers]
    parts = {"SOPs": [layer["sops"] for layer in layers]}
    if any(layer["macs"] for layer in layers):
        parts["MACs of pixels"] = [layer["macs"] for layer in layers]
    yield charts.layer_bars(
        f"sops-{name}",
        "Operations by layer",
        "Synaptic operations that reach each layer, mean per window. They are counted exactly.",
        labels,
        parts,
        "operations per window",
    )
    yield _layer_table(name, layers)
    yield from _others(network, name)
    yield from _neurobench(network, name)


def _layer_table(name: str, layers: Sequence[Content]) -> Item:
    columns = [
        ("layer", texts.text),
        ("neurons", texts.count),
        ("spikes", texts.count),
        ("graded spikes", texts.count),
        ("SOPs", texts.count),
        ("MACs", texts.count),
        ("dense MACs", texts.count),
        ("updates", texts.count),
        ("traffic", texts.size),
        ("rate", texts.number),
    ]
    keys = ("layer", "neurons", "spikes", "events", "sops", "macs", "dense_macs", "updates")
    rows = [
        (*(layer.get(key) for key in keys), layer.get("bytes"), layer.get("firing_rate"))
        for layer in layers
    ]
    title = (
        "Counts by layer: means per window. A graded spike of k counts k spikes and one graded "
        "spike; the rate is spikes per neuron and step."
    )
    return table(f"layers-{name}", title, columns, rows, optional=MACS)


def _others(network: Content, name: str) -> Iterator[Item]:
    if not network["others"]:
        return
    rows = [
        (
            other["title"],
            other["definition"],
            other["operations"],
            other["sops"],
            other["relative"],
        )
        for other in network["others"]
    ]
    columns = [
        ("counter", texts.text),
        ("what it counts", texts.text),
        ("operations", texts.count),
        ("SOPs, exact", texts.count),
        ("difference", texts.share),
    ]
    title = "What other counters would report for the same run."
    yield table(f"others-{name}", title, columns, rows)


def _neurobench(network: Content, name: str) -> Iterator[Item]:
    found = network["neurobench"]
    if not found:
        return
    twin = found["single_threshold"] or {}
    single = {**twin, **twin.get("SynapticOperations", {})}
    metrics = {**found, **found["SynapticOperations"]}
    rows = [(key, metrics[key], single.get(key)) for key in NEUROBENCH]
    columns = [
        ("metric", texts.text),
        ("network", texts.number),
        ("single-threshold form", texts.number),
    ]
    title = (
        "The metrics of NeuroBench. Its graded spikes count as MACs, those of the single-threshold "
        "form as ACs."
    )
    yield table(f"neurobench-{name}", title, columns, rows)


# ------------------------------------------------------------------------------------- energy


def _energy(network: Content, content: Content) -> Iterator[Item]:
    yield from _estimates(network, content)
    yield from _measured(network["measured_energy"])


def _estimates(network: Content, content: Content) -> Iterator[Item]:
    name, models = network["slug"], {m["name"]: m for m in content["energy_models"]}
    known = [entry for entry in (network["energy"] or {}).get("models", ()) if entry["joules"]]
    found = sorted(known, key=lambda entry: entry["joules"])
    if not found:
        yield absent("Energy", "No energy model fits the counts of this file.")
        return
    yield from _energy_by_layer(network, content, name)
    rows = [
        (
            models[e["model"]]["title"],
            charts.VIEWS[models[e["model"]]["view"]],
            e["joules"],
            e["interval"],
        )
        for e in found
    ]
    yield charts.energy_models(name, rows)
    columns = [
        ("model", texts.text),
        ("counts", texts.text),
        ("energy", texts.joules),
        ("95% of windows", _range),
        ("source", texts.text),
    ]
    sources = [
        (*row, "{source} {url}".format_map(models[e["model"]]))
        for row, e in zip(rows, found, strict=True)
    ]
    title = "Energy per window under every model. All are estimates from counts of operations."
    yield table(f"energy-{name}", title, columns, sources)
    omissions = [
        (models[e["model"]]["title"], " ".join(models[e["model"]]["leaves_out"])) for e in found
    ]
    columns = [("model", texts.text), ("not included", texts.text)]
    yield table(f"omissions-{name}", "What each model does not include.", columns, omissions)
    yield _twin(network, content["twin"])


def _twin(network: Content, twin: Content) -> Note:
    """Say at which accuracies the spiking network and its dense twin are compared."""
    what = "The int8 ANN twin is a network of the same shape that is not spiking."
    if twin["accuracy"] is None:
        return Note(
            f"{what} Its accuracy is not known, so its energy is no comparison at equal accuracy. "
            "The option --twin-accuracy states it."
        )
    own = network["accuracy"]
    return Note(
        f"{what} Its accuracy is {texts.share(twin['accuracy'])} ({twin['source']}); the accuracy "
        f"of {network['name']} is {'not known' if own is None else texts.share(own)}."
    )


def _range(ends: Any) -> str:
    return texts.ABSENT if ends is None else " to ".join(map(texts.joules, ends))


def _energy_by_layer(network: Content, content: Content, name: str) -> Iterator[Item]:
    found = estimate(network, content["energy_model"])
    if not found or not found["layers"]:
        return
    values = list(found["layers"].values())
    factor, unit = texts.energy_unit(values)
    layer, part = most_expensive(found)
    caption = (
        f"Energy per window by layer under the model {content['energy_model']}, an estimate. "
        f"{layer} costs most: {texts.share(part)}."
    )
    yield charts.layer_bars(
        f"energy-layers-{name}",
        "Energy by layer",
        caption,
        list(found["layers"]),
        {"energy": values},
        f"energy per window ({unit})",
        texts.joules,
        factor,
    )


def _measured(meters: Sequence[Content]) -> Iterator[Item]:
    if not meters:
        yield absent("Measured energy", "The comparison ran without --speed.")
    for measured in meters:
        if "reason" in measured:
            yield absent(f"Energy measured by {measured['meter']}", measured["reason"])
            continue
        yield Note(
            f"Measured energy: {texts.joules(measured['joules'])} per window on backend "
            f"{measured['backend']} ({measured['source']}). At rest, what is measured takes "
            f"{texts.joules(measured['joules_idle'])} in the same time."
        )


# ------------------------------------------------------------------------------------- time


def _anytime(content: Content) -> Section:
    """Section about the accuracy over time: the networks share its charts."""
    curves = {
        network["name"]: network["anytime"]
        for network in content["networks"]
        if network["anytime"] and network["anytime"][0]["accuracy"] is not None
    }
    if not curves:
        reason = NO_LABELS if content["data"]["labels"] is None else ARTIFACT
        return Section("Accuracy over time", (absent("Accuracy over time", reason),))
    items: list[Item] = [charts.anytime("anytime-steps", curves, None)]
    model = content["energy_model"]
    if all(model in at["energy"] for curve in curves.values() for at in curve):
        items.append(charts.anytime("anytime-energy", curves, model))
        items.append(Note(WHOLE_WINDOW))
    return Section("Accuracy over time", tuple(items))


# ------------------------------------------------------------------------------------- classes


def _classes(network: Content, content: Content) -> Iterator[Item]:
    classes, name = network["classes"], network["slug"]
    if classes is None:
        yield absent("Classes", NO_LABELS)
        return
    yield charts.confusion(name, classes)
    rows = [
        (
            entry["class"] if entry["name"] is None else entry["name"],
            entry["windows"],
            entry["correct"],
            entry["accuracy"],
            entry["interval"],
        )
        for entry in classes["per_class"]
    ]
    columns = [
        ("class", texts.text),
        ("windows", texts.count),
        ("correct", texts.count),
        ("accuracy", texts.share),
        ("95% interval", texts.interval),
    ]
    yield table(f"classes-{name}", "Accuracy by class.", columns, rows)
    yield from _worst(classes, content, name)


def _worst(classes: Content, content: Content, name: str) -> Iterator[Item]:
    names = [charts.class_name(entry) for entry in classes["per_class"]]
    wrong = [entry for entry in classes["worst"] if entry["margin"] < 0]
    if not wrong:
        yield Note("Every window is classified correctly.")
        return
    rows = [
        (
            entry["window"],
            source_of(content["data"], entry["window"]),
            names[entry["label"]],
            names[entry["predicted"]],
            entry["margin"],
        )
        for entry in wrong
    ]
    columns = [
        ("window", texts.count),
        ("recording", texts.text),
        ("class", texts.text),
        ("answer", texts.text),
        ("margin", texts.number),
    ]
    title = (
        "The windows that are farthest from their class. The margin is the logit of the class "
        "minus the largest other one."
    )
    yield table(f"worst-{name}", title, columns, rows)


def source_of(data: Content, window: int) -> str | None:
    """Return the name of the recording of a window; None if it is not known."""
    if data["source_index"] is None or not data["sources"]:
        return None
    return str(data["sources"][data["source_index"][window]])


# ------------------------------------------------------------------------------------- samples


def _samples(network: Content, content: Content) -> Iterator[Item]:
    if not network["samples"]:
        yield absent("Samples", ARTIFACT)
        return
    number = max(1, SAMPLES // len(content["networks"]))
    for sample in network["samples"][:number]:
        classes = class_names(network, content)
        source = source_of(content["data"], sample["window"])
        level = 3 if len(content["networks"]) == 1 else 4
        yield from sample_items(sample, network["slug"], classes, source, level)


def sample_items(
    sample: Content, name: str, classes: Sequence[str], source: str | None, level: int
) -> Iterator[Item]:
    """Yield what the report shows of one window.

    Args:
        sample: The sample.
        name: Part of the names of files.
        classes: Names of the classes.
        source: Name of its recording; None if it is not known.
        level: Level of its heading.
    """
    name = f"{name}-{sample['window']}"
    yield Heading(f"Window {sample['window']}", level)
    answer = f"The answer is {classes[sample['predicted']]}"
    if sample["label"] is not None:
        right = sample["label"] == sample["predicted"]
        answer += ", correct" if right else f"; the class is {classes[sample['label']]}"
    yield Note(f"{answer}." + ("" if source is None else f" Recording: {source}."))
    if figure := charts.sample_input(f"input-{name}", sample):
        yield figure
    yield charts.sample_raster(f"raster-{name}", sample)
    if sample["logits"]:
        yield charts.sample_answer(f"answer-{name}", sample, classes)


def class_names(network: Content, content: Content) -> list[str]:
    """Return the names of the classes of a network, or their numbers."""
    if network["classes"] is not None:
        return [charts.class_name(entry) for entry in network["classes"]["per_class"]]
    logits = network["samples"][0]["logits"]
    number = len(logits[0]) if logits else MANY
    names = content["data"]["classes"] or ()
    return list(names) if len(names) == number else [str(index) for index in range(number)]


# ------------------------------------------------------------------------------------- rounding


def _quantization(content: Content) -> Section:
    items: list[Item] = []
    for place, pair in enumerate(content["pairs"], 1):
        if found := pair["quantization"]:
            name = f"quantization-{place}"
            keys = ("layer", "differing", "mean_difference", "rounding", "predictions", "accuracy")
            columns = [
                ("layer", texts.text),
                ("spikes that differ", texts.share),
                ("mean difference", texts.number),
                ("own rounding", texts.share),
                ("same answer", texts.share),
                ("accuracy", texts.share),
            ]
            title = (
                f"What quantization changes from {pair['first']} to {pair['second']}, layer by "
                f"layer ({found['windows']:,} windows). Own rounding: if this layer alone is "
                "quantized."
            )
            rows = [tuple(layer[key] for key in keys) for layer in found["layers"]]
            items.append(table(name, title, columns, rows))
    return Section("Quantization", tuple(items))


# ------------------------------------------------------------------------------------- provenance


def _provenance(content: Content) -> Section:
    data = content["data"]
    shape = " × ".join(map(str, data["window_shape"]))
    first = [("data", data_name(data)), ("windows", f"{data['windows']:,}, each {shape}")]
    items = [
        *provenance(content["provenance"], first),
        Listing("How the windows were made", dump(data["provenance"])),
    ]
    for network in content["networks"]:
        title = f"Network {network['name']}: {texts.size(network['bytes'])}, metadata"
        entry = {"path": network["path"], "sha256": network["sha256"], **network["metadata"]}
        items.append(Listing(title, "\n".join(f"{key}: {value}" for key, value in entry.items())))
    return Section("Provenance", tuple(items))
