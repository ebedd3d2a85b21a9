"""`lmht compare`: the same windows on several backends, and several networks beside each other."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from lmht_deploy.errors import DataError, counted

from . import _answers as answers
from . import _options as options
from ._console import bad, good, percent, progress, say, show, table, tell, write_json
from ._data import ReadOptions, Target, named_errors, read_windows, reads_data
from ._predictions import Classes
from ._report import write_report
from ._training import resolve_device

if TYPE_CHECKING:
    from rich.text import Text

    from lmht_deploy.analysis.compare import BackendRow, Comparison
    from lmht_deploy.analysis.document import NetworkRun
    from lmht_deploy.analysis.twin import Twin
    from lmht_deploy.data import Windows
    from lmht_deploy.ir import Network

WORST = 3
"""Number of the worst windows that are named."""


@dataclass(frozen=True)
class Entry:
    """A network of the command line, and its exported files.

    Attributes:
        path: The network, or an exported file without its network.
        exported: Exported files that are named after it.
    """

    path: Path
    exported: tuple[Path, ...] = ()


@dataclass(frozen=True)
class Settings:
    """How every network is run.

    Attributes:
        backends: Names of the backends; None for all.
        threads: Maximum number of threads.
        device: Device of PyTorch for the backend `torch`.
        energy_model: Name or file of the energy model.
        speed: Whether to measure speed.
    """

    backends: Sequence[str] | None
    threads: int
    device: str
    energy_model: str
    speed: bool


def _check_networks(paths: list[Path]) -> list[Path]:
    check = options.network_file(".onnx")
    return [check(path) for path in paths]


@reads_data
def compare(
    networks: Annotated[
        list[Path],
        typer.Argument(
            metavar="NETWORK...",
            help="Networks (.lmht, or zoo:NAME). Exported files (.onnx, .net, .nir, .lmhtf) after "
            "a network are compared with it. Without a network before it, an .onnx file is run "
            "by itself; of the others, their network is run.",
            callback=_check_networks,
            autocompletion=options.complete_network,
        ),
    ],
    data: options.Data,
    backends: Annotated[
        str | None,
        typer.Option(
            "--backends",
            help="Backends to compare, separated by commas (default: every one that can run here).",
            rich_help_panel=options.EXECUTION,
            autocompletion=options.complete_list(options.backend_names),
        ),
    ] = None,
    split: options.Split = None,
    limit: options.Limit = None,
    reading: ReadOptions = ReadOptions(),  # noqa: B008 (immutable)
    threads: options.Threads = 1,
    device: options.Device = "cpu",
    speed: Annotated[
        bool,
        typer.Option(
            "--speed",
            help="Also measure start-up time, latency, throughput and memory of every backend, and "
            "energy where the machine measures it.",
            rich_help_panel=options.EXECUTION,
        ),
    ] = False,
    energy_model: options.Energy = "45nm",
    twin_accuracy: Annotated[
        str | None,
        typer.Option(
            "--twin-accuracy",
            metavar="NUMBER|RUN",
            help="Accuracy of the network of the same shape that is not spiking, whose energy the "
            "models 'int8-ann' estimate: a number from 0 to 1, or its training run "
            "(network.neuron=relu).",
            rich_help_panel=options.OUTPUT,
        ),
    ] = None,
    predictions: answers.Predictions = None,
    report: options.Report = None,
    figures: options.Figures = None,
    json: options.Json = None,
) -> None:
    """Run the same windows on several backends and compare all integers with the reference model.

    Reports the first mismatch and exits with 1 if an integer differs. Several networks are also
    compared with each other: accuracy, operations, energy, and where a float network and its
    integer network differ.
    """
    from lmht_deploy.analysis.compare import choose_backends
    from lmht_deploy.analysis.document import comparison_as_json
    from lmht_deploy.analysis.energy import energy_model as load_model
    from lmht_deploy.analysis.twin import UNKNOWN

    from ._twin import read_twin

    names = None if backends is None else choose_backends(_split(backends))
    twin = UNKNOWN if twin_accuracy is None else read_twin(twin_accuracy)
    entries = list(_entries(networks))
    if predictions is not None and len(entries) > 1:
        raise DataError("--predictions is for one network")
    settings = Settings(
        names, threads, device if device == "cpu" else resolve_device(device), energy_model, speed
    )
    reader = _Reader(data, reading, split, limit)
    found = [_run(entry, name, reader, settings) for name, entry in _named(entries)]
    runs = [run for run, _ in found]
    content = comparison_as_json(runs, load_model(energy_model), threads, twin=twin)
    if len(runs) == 1:
        _show_one(*found[0], predictions, content["networks"][0], twin)
    else:
        _show_several(runs, content)
    write_json(json, content)
    write_report("compare", content, report, figures)
    if not content["equal"]:
        raise typer.Exit(1)


def _split(names: str) -> list[str]:
    return [name.strip() for name in names.split(",") if name.strip()]


def _entries(paths: Sequence[Path]) -> Iterator[Entry]:
    """Group exported files with the network before them."""
    pending: Entry | None = None
    for path in paths:
        if pending is not None and _is_export_of(path, pending.path):
            pending = dataclasses.replace(pending, exported=(*pending.exported, path))
            continue
        if pending is not None:
            yield pending
        pending = Entry(path)
    if pending is not None:
        yield pending


def _is_export_of(path: Path, network: Path) -> bool:
    """Whether a file that is named after a network is compared with it."""
    after_export = path.suffix == ".onnx" != network.suffix
    return path.suffix != ".lmht" and (network.suffix == ".lmht" or after_export)


def _named(entries: Sequence[Entry]) -> Iterator[tuple[str, Entry]]:
    """Name entries by their files: as short as is unique."""
    for entry in entries:
        path = entry.path
        for name in (path.stem, path.name, str(path)):
            if sum(name in _names(other.path) for other in entries) == 1:
                break
        else:
            raise DataError(f"{path}: is named twice")
        yield name, entry


def _names(path: Path) -> tuple[str, str, str]:
    return path.stem, path.name, str(path)


# ------------------------------------------------------------------------------------- running


class _Reader:
    """Reads the data for each network, once for networks that need the same windows."""

    def __init__(
        self, data: str, reading: ReadOptions, split: str | None, limit: int | None
    ) -> None:
        self.name, self._reading, self._split, self._limit = data, reading, split, limit
        self._known: dict[str, Windows] = {}

    def read(self, target: Target) -> Windows:
        """Return the windows for a network."""
        key = repr(target)
        if key not in self._known:
            self._known[key] = read_windows(
                self.name, target, self._reading, split=self._split, limit=self._limit
            )
        return self._known[key]


def _run(
    entry: Entry, name: str, reader: _Reader, settings: Settings
) -> tuple[NetworkRun, answers.Answered]:
    """Run one network on its backends; return it and what it answered."""
    import lmht_deploy as lmht
    from lmht_deploy.analysis.runner import holds_network

    net = lmht.load(entry.path) if holds_network(entry.path) else None
    target, metadata = _target(entry.path, net)
    if net is None and settings.backends is not None:
        raise DataError(
            f"{entry.path}: an exported file runs on its own backend alone; --backends chooses "
            "the backends of a network"
        )
    found = reader.read(target)
    with named_errors(reader.name), progress(f"comparing {name}") as report:
        comparison = _compare(entry, net, found, settings, report)
    return network_run(name, entry.path, net, found, comparison, metadata)


def _target(path: Path, net: Network | None) -> tuple[Target, Mapping[str, str]]:
    """Return what a network or an exported file needs of its data, and its metadata."""
    from lmht_deploy.analysis.runner import default_backend, no_network, open_runner

    if net is not None:
        shape, largest, metadata = net.window_shape, net.input.max_value, net.metadata
        return Target.of(shape, largest, metadata, path), metadata
    name = default_backend(path)
    if name == "netx":
        raise DataError(no_network(path))
    with open_runner(path, name) as runner:
        target = Target.of(runner.window_shape, runner.max_value, runner.metadata, path)
        return target, runner.metadata


def _compare(
    entry: Entry, net: Network | None, found: Windows, settings: Settings, report: Any
) -> Comparison:
    import lmht_deploy as lmht
    from lmht_deploy.analysis.compare import compare_artifacts
    from lmht_deploy.analysis.runner import default_backend

    common: dict[str, Any] = {
        "threads": settings.threads,
        "device": settings.device,
        "energy_model": settings.energy_model,
        "speed": settings.speed,
        "progress": report,
    }
    if net is None:
        artifacts = {default_backend(entry.path): entry.path}
        return compare_artifacts(artifacts, found.windows, found.labels, **common)
    return lmht.compare(
        net,
        found.windows,
        found.labels,
        backends=settings.backends,
        exported=entry.exported,
        **common,
    )


def network_run(
    name: str,
    path: Path,
    net: Network | None,
    found: Windows,
    comparison: Comparison,
    metadata: Mapping[str, str],
) -> tuple[NetworkRun, answers.Answered]:
    """Return a network of a comparison with all that is known of its run, and its answers."""
    from lmht_deploy.analysis.document import NetworkRun

    answered = answers.answer(found, comparison.result, metadata)
    run = NetworkRun(
        name=name,
        path=path,
        net=net,
        comparison=comparison,
        windows=found.windows,
        labels=found.labels,
        answers=answered.answers,
        scores=answered.scores,
        classes=answered.classes.names,
        data=_data_as_json(found, answered.classes.names),
        metadata=metadata,
    )
    return run, answered


def _data_as_json(found: Windows, classes: Sequence[str]) -> dict[str, Any]:
    return {
        "provenance": dict(found.provenance),
        "windows": len(found),
        "window_shape": list(found.windows.shape[1:]),
        "labels": None if found.labels is None else found.labels.tolist(),
        "classes": list(classes) or None,
        "sources": list(found.sources) or None,
        "source_index": None if found.source_index is None else found.source_index.tolist(),
        "start_us": None if found.start_us is None else found.start_us.tolist(),
    }


# ------------------------------------------------------------------------------------- output


def _show_one(
    run: NetworkRun,
    answered: answers.Answered,
    predictions: Path | None,
    content: Mapping[str, Any],
    twin: Twin,
) -> None:
    """Print the table of the backends, how others count, all energy models, and the scores."""
    show_comparison(run.comparison)
    _show_speed(run.comparison)
    _show_counters(run.comparison)
    _show_energy(run.comparison)
    _say_twin(content["accuracy"], twin)
    answers.report(answered, predictions)
    if content["classes"] is not None:
        _say_worst(content["classes"]["worst"][:WORST], answered.classes)


def _say_twin(accuracy: float | None, twin: Twin) -> None:
    """Print at which accuracies the spiking network and its dense twin are compared."""
    if twin.accuracy is None:
        say("the accuracy of the int8 twin is not known; --twin-accuracy states it")
    else:
        say(
            f"accuracy of the int8 twin: {percent(twin.accuracy)} ({twin.source}); "
            f"of this network: {percent(accuracy)}"
        )


def _say_worst(worst: Sequence[Mapping[str, Any]], classes: Classes) -> None:
    """Name the windows whose class is farthest behind."""
    texts = [
        f"window {row['window']} ({classes.name(row['label'])}, answered "
        f"{classes.name(row['predicted'])}, margin {row['margin']:.3g})"
        for row in worst
        if row["margin"] < 0
    ]
    if texts:
        say(f"worst windows: {', '.join(texts)}")


def _show_several(runs: Sequence[NetworkRun], content: Mapping[str, Any]) -> None:
    """Print the backends of each network, one line per network, and the pairs."""
    for run in runs:
        show_comparison(run.comparison, f"{run.name}: the same windows on every backend")
        _show_speed(run.comparison)
    columns = ("network", "L", "T", "windows", "accuracy", "95% interval", "SOPs", "energy nJ")
    found = table("networks", columns, left=("network",), caption="means per window")
    for run, network in zip(runs, content["networks"], strict=True):
        found.add_row(*_summary(run, network))
    show(found)
    _show_pairs(content["pairs"])
    for pair in content["pairs"]:
        if pair["quantization"] is not None:
            _show_rounding(pair)


def _summary(run: NetworkRun, network: Mapping[str, Any]) -> list[str]:
    first = run.comparison.rows[0]
    return [
        run.name,
        *("-" if network[key] is None else str(network[key]) for key in ("levels", "steps")),
        str(first.windows),
        percent(first.accuracy),
        "-" if first.interval is None else " to ".join(map(percent, first.interval)),
        f"{first.sops:,.0f}",
        _nanojoules(first.energy),
    ]


def _show_rounding(pair: Mapping[str, Any]) -> None:
    """Print where a float network and its integer network differ, layer by layer."""
    columns = ("layer", "k differs", "by its own rounding", "same answers", "accuracy")
    found = table(
        f"{pair['first']}, {pair['second']}: what quantization does at each layer",
        columns,
        left=("layer",),
        caption="answers and accuracy: layers up to this one integer, the others float; over "
        f"{counted(pair['quantization']['windows'], 'window')}",
    )
    for row in pair["quantization"]["layers"]:
        shares = ("differing", "rounding", "predictions", "accuracy")
        found.add_row(row["layer"], *(percent(row[share]) for share in shares))
    show(found)


def _show_pairs(pairs: Sequence[Mapping[str, Any]]) -> None:
    columns = ("networks", "same answers", "only first right", "only second right", "McNemar p")
    found = table("networks in pairs", columns, left=("networks",))
    for pair in pairs:
        title = f"{pair['first']}, {pair['second']}"
        if not pair["windows"]:
            tell(f"{title}: are not compared; they ran different windows")
            continue
        p_value = pair["p_value"]
        found.add_row(
            title,
            f"{pair['same_predictions']:,} of {pair['windows']:,}",
            *(
                "-" if pair[key] is None else str(pair[key])
                for key in ("only_first", "only_second")
            ),
            "-" if p_value is None else f"{p_value:.3g}",
        )
    show(found)


def show_comparison(
    comparison: Comparison, title: str = "the same windows on every backend"
) -> None:
    """Print the table, the first mismatch of every backend, and which backends are missing."""

    macs = any(row.macs for row in comparison.rows)
    columns = ["backend", "windows", "accuracy", "spikes", "SOPs", "energy nJ", "ms", "integers"]
    if macs:
        columns.insert(5, "MACs")
    model = comparison.energy_model
    found = table(
        title,
        columns,
        left=("backend", "integers"),
        caption=f"means per window; energy is an estimate: {model.source}",
    )
    compared = len(comparison.rows) > 1
    for row in comparison.rows:
        found.add_row(*_cells(row, macs, compared))
    show(found)
    if not compared:
        say("nothing was compared: only one backend ran; give the .lmht file of the network before")
    for row in comparison.rows:
        if row.difference is not None:
            tell(f"{row.label}: {row.difference}")
        if row.saturations:
            times = counted(row.saturations, "time")
            tell(f"{row.label}: 24-bit states wrapped or were clipped {times}")
    for name, reason in comparison.omitted.items():
        say(f"{name} is not compared: {reason}")


def _cells(row: BackendRow, macs: bool, compared: bool) -> list[Text | str]:
    equal = good("equal") if row.difference is None else bad("differ")
    return [
        row.label,
        str(row.windows),
        percent(row.accuracy),
        f"{row.spikes:,.0f}",
        f"{row.sops:,.0f}",
        *([f"{row.macs:,}"] if macs else []),
        _nanojoules(row.energy),
        f"{row.time * 1e3:,.3f}",
        equal if compared else "-",
    ]


def _nanojoules(joules: float | None) -> str:
    return "-" if joules is None else f"{joules * 1e9:,.1f}"


def _show_speed(comparison: Comparison) -> None:
    """Print the speed of every backend and the measured energy, if they were measured."""
    if not comparison.speed:
        return
    columns = ("backend", "start ms", "p50 ms", "p90 ms", "p99 ms", "windows/s", "batch", "MiB")
    caption = "one window per call after warm-up; windows/s with `batch` windows per call"
    found = table("speed, the backends in turn", columns, left=("backend",), caption=caption)
    for label, speed in comparison.speed.items():
        memory = speed.peak_memory_bytes
        found.add_row(
            label,
            f"{speed.start_ms:,.0f}",
            *(f"{speed.latency[f'p{percent}_ms']:,.3f}" for percent in (50, 90, 99)),
            f"{speed.throughput['windows_per_s']:,.0f}",
            str(speed.batch),
            "-" if memory is None else f"{memory / 2**20:,.0f}",
        )
    show(found)
    for measured in comparison.measured:
        _say_measured(measured)


def _say_measured(measured: Mapping[str, Any]) -> None:
    if "reason" in measured:
        say(f"{measured['meter']} measures no energy: {measured['reason']}")
    else:
        say(
            f"measured energy ({measured['source']}, {measured['backend']}): "
            f"{measured['joules'] * 1e6:,.1f} uJ per window; at rest for the same time: "
            f"{measured['joules_idle'] * 1e6:,.1f} uJ"
        )


def _show_counters(comparison: Comparison) -> None:
    """Print what other tools would have counted, beside the exact SOPs."""
    from lmht_deploy.analysis import counters
    from lmht_deploy.analysis.counts import GRADED

    seen = comparison.observation
    if seen is None:
        return
    columns = ("counter", "operations", "difference", "")
    found = table("operations as others count them", columns, left=("counter",))
    sops = float(seen.views[GRADED].total("sops").mean())
    found.add_row("SOPs, exact", f"{sops:,.0f}", "", "")
    for row in counters.other_counts(seen.net, seen.activity[GRADED], seen.views[GRADED]):
        share = "" if row.relative is None else f"{100 * row.relative:+.1f}%"
        found.add_row(row.title, f"{row.operations:,.0f}", f"{row.difference:+,.0f}", share)
    show(found)


def _show_energy(comparison: Comparison) -> None:
    """Print the energy under every model."""
    from lmht_deploy.analysis.energy import DENSE

    rows = comparison.estimates()
    columns = ("model", "energy nJ", "95% of windows", "what it is for")
    found = table("energy under every model", columns, left=("model", "what it is for"))
    for row in rows:
        found.add_row(
            row.model.name,
            _nanojoules(float(row.joules.mean())),
            " to ".join(map(_nanojoules, row.interval)),
            row.model.title,
        )
    show(found)
    joules = [float(row.joules.mean()) for row in rows if row.model.view != DENSE]
    if joules and min(joules) > 0:
        spread = max(joules) / min(joules)
        say(f"the models of the spiking network differ by a factor of {spread:.3g}")


def rows_as_json(comparison: Comparison) -> dict[str, Any]:
    """Return the rows of a comparison as plain data."""

    def plain(row: BackendRow) -> dict[str, Any]:
        text = None if row.difference is None else str(row.difference)
        return dataclasses.asdict(row) | {"difference": text}

    return {
        "equal": comparison.equal,
        "energy_model": comparison.energy_model.name,
        "rows": [plain(row) for row in comparison.rows],
        "omitted": dict(comparison.omitted),
    }
