"""The figures of reports, made of the JSON that a command writes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from math import prod
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from lmht_deploy.plot import _draw as draw
from lmht_deploy.plot import _style as style

from . import _text as texts
from ._document import Figure, Format, Table, table

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Content: TypeAlias = Mapping[str, Any]
WIDTH = 7.4
"""Width of a figure, in inches: that of a text column of a page."""
STEPS = "time-steps of the read-out"
"""Label of the axis of time."""
MANY_CLASSES = 20
"""Number of classes above which the data of a confusion matrix is a list."""
BACKENDS = ("event", "onnx", "torch", "lava", "openvino", "reference")
"""Backends in the order of their colors."""
VIEWS = {
    "graded": "graded spikes",
    "single_threshold": "single-threshold spikes",
    "dense": "no spikes: a dense network",
}
"""What the energy models count, by the name of their view."""


# ------------------------------------------------------------------------------------- layers


def step_density(name: str, layers: Sequence[Content]) -> Figure | None:
    """Chart of the spike density by layer and time-step; None without counts per step.

    Args:
        name: Name of the network, for names of files.
        layers: Layers of a view of counts.
    """
    found = [layer for layer in layers if layer["neurons"] and layer.get("per_step")]
    if not found:
        return None
    steps = max(len(layer["per_step"]["spikes"]) for layer in found)
    values = np.full((len(found), steps), np.nan)
    for row, layer in zip(values, found, strict=True):
        spikes = layer["per_step"]["spikes"]
        row[: len(spikes)] = np.array(spikes) / layer["neurons"]
    labels, columns = [layer["layer"] for layer in found], [str(t + 1) for t in range(steps)]
    data = table(
        f"density-{name}",
        "Spikes per neuron by layer and time-step, mean over all windows.",
        [("layer", texts.text), *((f"step {t}", texts.number) for t in columns)],
        [(label, *_plain(row)) for label, row in zip(labels, values, strict=True)],
    )

    def paint(ax: Axes) -> None:
        draw.draw_heat(ax, values, list(map(texts.shorten, labels)), columns, "{:.3f}".format)
        ax.set_xlabel("time-step", loc="left")

    return Figure(
        data.name,
        "Spike density",
        "Mean number of spikes per neuron, by layer and time-step. A stronger color means more.",
        (WIDTH, 1 + 0.36 * len(found)),
        paint,
        data,
    )


def layer_bars(
    name: str,
    title: str,
    caption: str,
    labels: Sequence[str],
    parts: Mapping[str, Sequence[float]],
    axis: str,
    form: Format = texts.count,
    factor: float = 1.0,
) -> Figure:
    """Chart with one bar per layer.

    Args:
        name: Name of the figure.
        title: Its title.
        caption: Its caption.
        labels: Names of the layers.
        parts: One value per layer, by the name of the part.
        axis: Label of the axis, with the unit.
        form: Formats a total.
        factor: Unit of the axis.
    """
    data = table(
        name,
        caption,
        [("layer", texts.text), *((part, form) for part in parts)],
        list(zip(labels, *parts.values(), strict=True)),
    )

    def paint(ax: Axes) -> None:
        lengths = {part: np.array(values) / factor for part, values in parts.items()}
        shown = list(map(texts.shorten, labels))
        draw.draw_bars(ax, shown, lengths, lambda value: form(value * factor))
        ax.set_xlabel(axis)

    return Figure(name, title, caption, (WIDTH, 1.2 + 0.34 * len(labels)), paint, data)


# ------------------------------------------------------------------------------------- energy


def energy_models(name: str, rows: Sequence[tuple[str, str, float, Any]]) -> Figure:
    """Chart of the estimates of all energy models.

    Args:
        name: Name of the network, for names of files.
        rows: Title, view, joules and interval of each model.
    """
    data = table(
        f"energy-models-{name}",
        "Energy per window under each model; 95% of the windows lie within the interval.",
        [
            ("model", texts.text),
            ("counts", texts.text),
            ("mean", texts.joules),
            ("from", texts.joules),
            ("to", texts.joules),
        ],
        [(title, view, mean, *(ends or (None, None))) for title, view, mean, ends in rows],
    )
    factor, unit = texts.energy_unit([mean for _, _, mean, _ in rows])

    def paint(ax: Axes) -> None:
        labels = [texts.shorten(title, 44) for title, *_ in rows]
        for row, (_, _, mean, ends) in enumerate(rows):
            dense = rows[row][1] == VIEWS["dense"]
            color = style.SERIES[5] if dense else style.SERIES[0]
            low, high = ends or (mean, mean)
            ax.plot([low / factor, high / factor], [row, row], color=color, linewidth=1.6)
            ax.plot(mean / factor, row, "s" if dense else "o", color=color, markersize=7)
            where = (mean / factor, row)
            draw.write_beside(ax, texts.joules(mean), where, (0, 7))
        ax.set_yticks(range(len(labels)), labels)
        ax.set_ylim(len(labels) - 0.5, -0.8)
        style.log_axis(ax)
        style.tidy(ax, grid="x")
        ax.set_xlabel(f"energy per window ({unit})")

    caption = (
        "Energy per window under each model: the mean, and the range of 95% of the windows. "
        "Squares are networks of the same shape that are not spiking."
    )
    return Figure(data.name, "Energy models", caption, (WIDTH, 1 + 0.5 * len(rows)), paint, data)


# ------------------------------------------------------------------------------------- time


def anytime(name: str, curves: Mapping[str, Sequence[Content]], model: str | None) -> Figure:
    """Chart of the accuracy against time-steps, or against energy.

    Args:
        name: Name of the figure.
        curves: `anytime` by the name of the network.
        model: Name of the energy model; None for time-steps.
    """
    ends = [at["energy"][model] for curve in curves.values() for at in curve] if model else []
    factor, unit = texts.energy_unit(ends)

    def x(at: Content) -> float:
        return float(at["energy"][model] / factor if model else at["step"])

    def paint(ax: Axes) -> None:
        for index, (label, curve) in enumerate(curves.items()):
            _draw_curve(ax, [x(at) for at in curve], curve, texts.shorten(label), index)
        if not model:
            ax.set_xticks(range(1, 1 + max(map(len, curves.values()))))
        ax.xaxis.set_major_formatter("{x:,.12g}")
        style.tidy(ax, grid="y")
        if len(curves) > 1:
            draw.draw_legend(ax)
        ax.set_xlabel(f"energy per window ({unit}, {model})" if model else STEPS)
        ax.set_ylabel("accuracy (%)")

    return Figure(
        name,
        "Accuracy against energy" if model else "Accuracy against time-steps",
        "Accuracy if the read-out is taken after each time-step, against the "
        + ("energy that this answer needs" if model else "number of steps")
        + "; the band is the 95% interval.",
        (WIDTH, 3.2),
        paint,
        _anytime_table(name, curves, model),
    )


def _draw_curve(
    ax: Axes, x: Sequence[float], curve: Sequence[Content], label: str, index: int
) -> None:
    color, marker = style.series_color(index), style.series_marker(index)
    y = [100 * at["accuracy"] for at in curve]
    ax.plot(x, y, marker=marker, color=color, label=label, linewidth=1.6)
    low, high = (100 * np.array([at["interval"] for at in curve])).T
    ax.fill_between(x, low, high, color=color, alpha=0.15, linewidth=0)


def _anytime_table(name: str, curves: Mapping[str, Sequence[Content]], model: str | None) -> Table:
    columns = [
        ("network", texts.text),
        ("step", texts.count),
        ("accuracy", texts.share),
        ("95% interval", texts.interval),
        ("SOPs", texts.count),
        *([(f"energy ({model})", texts.joules)] if model else []),
    ]
    rows = [
        (label, at["step"], at["accuracy"], at["interval"], at["sops"])
        + ((at["energy"][model],) if model else ())
        for label, curve in curves.items()
        for at in curve
    ]
    return table(name, "Accuracy of the read-out after each time-step.", columns, rows)


# ------------------------------------------------------------------------------------- classes


def confusion(name: str, classes: Content) -> Figure:
    """Chart of the confusion matrix.

    Args:
        name: Name of the network, for names of files.
        classes: `classes` of a network.
    """
    names = [class_name(entry) for entry in classes["per_class"]]
    values, columns = np.array(classes["confusion"], np.float64), list(names)
    if any(classes["unknown"]):
        values = np.hstack([values, np.array(classes["unknown"], np.float64)[:, None]])
        columns.append("unknown")
    data = _confusion_table(f"confusion-{name}", values, names, columns)

    def paint(ax: Axes) -> None:
        shares = values / np.maximum(values.sum(1, keepdims=True), 1)
        top, left = ([texts.shorten(name, 16) for name in labels] for labels in (columns, names))
        draw.draw_heat(ax, shares, left, top, "{:.0f}".format, written=values)
        if max(map(len, top)) > 2:
            ax.tick_params(axis="x", rotation=90 if len(columns) > 6 else 0)
        ax.set(xlabel="answer", ylabel="class")

    side = 1.6 + 0.4 * min(len(names), 14)
    caption = (
        "Number of windows by their class (rows) and the network's answer (columns). The shade is "
        "the share of the class; the diagonal is correct."
    )
    return Figure(data.name, "Confusion matrix", caption, (WIDTH, side), paint, data)


def _confusion_table(
    name: str, values: np.ndarray, names: Sequence[str], columns: Sequence[str]
) -> Table:
    """Return a confusion matrix; of many classes only the pairs that occur, the mistakes first."""
    if len(names) <= MANY_CLASSES:
        header = [("class", texts.text), *((column, texts.count) for column in columns)]
        rows = [
            (label, *row) for label, row in zip(names, values.astype(int).tolist(), strict=True)
        ]
        return table(name, "Windows by class (rows) and answer (columns).", header, rows)
    pairs = [(names[i], columns[j], int(values[i, j])) for i, j in np.argwhere(values)]
    pairs.sort(key=lambda pair: (pair[0] == pair[1], -pair[2]))
    header = [("class", texts.text), ("answer", texts.text), ("windows", texts.count)]
    return table(name, "Windows by class and answer.", header, pairs)


def class_name(entry: Content) -> str:
    """Return the name of a class, or its number."""
    return str(entry["class"] if entry["name"] is None else entry["name"])


# ------------------------------------------------------------------------------------- speed


def latency(name: str, backends: Sequence[Content]) -> Figure:
    """Chart of the latency of single windows by backend.

    Args:
        name: Name of the network, for names of files.
        backends: Backends with `speed`.
    """
    keys = ("p50_ms", "p90_ms", "p99_ms")
    values = np.array([[b["speed"]["latency"][key] for key in keys] for b in backends], float)
    labels = [backend["label"] for backend in backends]
    data = table(
        f"latency-{name}",
        "Milliseconds per window, one window per call, after warm-up.",
        [("backend", texts.text), *((f"{key[:3]} (ms)", texts.number) for key in keys)],
        [(label, *row) for label, row in zip(labels, values.tolist(), strict=True)],
    )

    def paint(ax: Axes) -> None:
        colors = [backend_color(label) for label in labels]
        shown = list(map(texts.shorten, labels))
        draw.draw_ranges(ax, shown, values, "{:.3g} ms".format, ("p50", "p90", "p99"), colors)
        ax.set_xlabel("latency of one window (ms)")

    caption = "Latency of single windows by backend: median, 90th and 99th percentile."
    return Figure(data.name, "Latency", caption, (WIDTH, 1.3 + 0.5 * len(labels)), paint, data)


def backend_color(label: str) -> str:
    """Return the color of a backend, the same in every chart."""
    name = label.partition("/")[0]
    return style.series_color(BACKENDS.index(name) if name in BACKENDS else len(BACKENDS) - 1)


# ------------------------------------------------------------------------------------- networks


def pareto(
    name: str, title: str, cost: str, form: Format, rows: Sequence[tuple[str, float, float, Any]]
) -> Figure:
    """Chart of networks by cost and accuracy.

    Args:
        name: Name of the figure.
        title: Its title.
        cost: Label of the axis of the costs.
        form: Formats a cost.
        rows: Name, cost, accuracy and interval of each network.
    """
    points = [draw.Point(texts.shorten(label), *values) for label, *values in rows]
    efficient = [draw.is_efficient(point, points) for point in points]
    data = table(
        name,
        f"Accuracy and {cost}; a network on the Pareto front is not dominated by another one.",
        [
            ("network", texts.text),
            (cost, form),
            ("accuracy", texts.share),
            ("95% interval", texts.interval),
            ("on the front", lambda value: "yes" if value else "no"),
        ],
        [(*row, best) for row, best in zip(rows, efficient, strict=True)],
    )

    def paint(ax: Axes) -> None:
        draw.draw_pareto(ax, points)
        ax.set(xlabel=cost, ylabel="accuracy (%)")

    caption = (
        f"Accuracy against {cost}: no network is both more accurate and cheaper than one with a "
        "filled marker. Vertical lines are 95% intervals."
    )
    return Figure(name, title, caption, (WIDTH, 3.6), paint, data)


# ------------------------------------------------------------------------------------- samples


def sample_input(name: str, sample: Content) -> Figure | None:
    """Chart of the event frames or of the image of a sample; None for other input.

    Args:
        name: Name of the figure.
        sample: A sample.
    """
    entry = sample["input"]
    if len(entry["shape"]) != 3 or entry["shape"][0] not in (2, 3):
        return None
    values = dense(entry)
    events = entry["shape"][0] == 2
    data = table(
        name,
        "Sum of the input by step.",
        [("step", texts.count), ("OFF events", texts.count), ("ON events", texts.count)]
        if events
        else [("step", texts.count), ("mean gray level", texts.number)],
        [
            (step + 1, *(frame.sum((1, 2)).tolist() if events else (float(frame.mean()) + 128,)))
            for step, frame in enumerate(values)
        ],
    )

    def paint(ax: Axes) -> None:
        if events:
            draw.draw_frames(ax, values, [f"step {step + 1}" for step in range(len(values))])
        else:
            ax.set_anchor("W")
            ax.imshow(np.clip(np.moveaxis(values[0], 0, -1) + 128, 0, 255).astype(np.uint8))
            ax.set_xticks([])
            ax.set_yticks([])
            style.bare(ax)

    shown = len(values) if events else 1
    height = (WIDTH / max(shown, 3)) * entry["shape"][1] / entry["shape"][2] + 0.5
    caption = (
        "Input by step: ON events blue, OFF events orange, stronger where there are more."
        if events
        else "The image that enters the network."
    )
    return Figure(name, "Input", caption, (WIDTH, height), paint, data)


def sample_raster(name: str, sample: Content) -> Figure:
    """Chart of the spikes of a sample by layer and step.

    Args:
        name: Name of the figure.
        sample: A sample.
    """
    flat = {
        layer: dense(entry).reshape(entry["steps"], -1)[:, :: entry.get("every", 1)]
        for layer, entry in sample["layers"].items()
    }
    thinned = [layer for layer, entry in sample["layers"].items() if entry.get("every", 1) > 1]
    steps = max(map(len, flat.values()))
    data = table(
        name,
        "Spikes by layer and time-step.",
        [("layer", texts.text), *((f"step {t + 1}", texts.count) for t in range(steps))],
        [(layer, *k.sum(1).tolist(), *[None] * (steps - len(k))) for layer, k in flat.items()],
    )

    def paint(ax: Axes) -> None:
        draw.draw_raster(ax, {texts.shorten(layer): k for layer, k in flat.items()})
        ax.set_xlabel("time-step")

    caption = (
        "Spikes of every neuron: one row per neuron, one column per time-step; a graded spike of k "
        "fills k parts of its column."
    )
    if thinned:
        caption += f" Of these layers not every neuron is shown: {', '.join(thinned)}."
    return Figure(name, "Raster", caption, (WIDTH, 0.9 + 0.85 * len(flat)), paint, data)


def sample_answer(name: str, sample: Content, classes: Sequence[str]) -> Figure:
    """Chart of the logits of a sample over time.

    Args:
        name: Name of the figure.
        sample: A sample.
        classes: Names of the classes.
    """
    logits = np.array(sample["logits"], np.float64)
    steps = np.arange(1, len(logits) + 1)
    data = table(
        name,
        "Logits after each time-step, real values.",
        [("class", texts.text), *((f"step {step}", texts.number) for step in steps)],
        [(label, *column) for label, column in zip(classes, logits.T.tolist(), strict=True)],
    )
    named = {sample["predicted"]: "answer", sample["label"]: "class"}
    if sample["predicted"] == sample["label"]:
        named = {sample["predicted"]: "answer, correct"}

    def paint(ax: Axes) -> None:
        for index, column in enumerate(logits.T):
            if index not in named:
                ax.plot(steps, column, color=style.LINE, linewidth=1.2, zorder=1)
        for place, (index, what) in enumerate(named.items()):
            if index is not None:
                label = f"{texts.shorten(classes[index], 20)} ({what})"
                color, marker = style.series_color(place), style.series_marker(place)
                ax.plot(steps, logits[:, index], marker=marker, color=color, label=label)
        ax.set_xticks(steps)
        style.tidy(ax, grid="y")
        draw.draw_legend(ax)
        ax.set(xlabel=STEPS, ylabel="logit")

    caption = "The network's answer as it forms: the logit of every class after each time-step."
    return Figure(name, "Answer over time", caption, (WIDTH, 2.7), paint, data)


def dense(entry: Content) -> np.ndarray:
    """Return the values of a sample's layer, int64 `[steps, ...]`.

    Args:
        entry: A list of what is not 0.
    """
    values = np.zeros((entry["steps"], prod(entry["shape"])), np.int64)
    values[np.array(entry["step"], int), np.array(entry["neuron"], int)] = entry["value"]
    return values.reshape(entry["steps"], *entry["shape"])


# ------------------------------------------------------------------------------------- training


def curves(
    name: str,
    title: str,
    caption: str,
    axis: str,
    epochs: Sequence[int],
    lines: Mapping[str, Sequence[float]],
    form: Callable[[Any], str] = texts.number,
    factor: float = 1.0,
) -> Figure:
    """Chart of figures over the epochs of a training run.

    Args:
        name: Name of the figure.
        title: Its title.
        caption: Its caption.
        axis: Label of the axis, with the unit.
        epochs: Numbers of the epochs.
        lines: One value per epoch, by name.
        form: Formats a value in the table.
        factor: Multiplies values in the chart.
    """
    data = table(
        name,
        caption,
        [("epoch", texts.count), *((line, form) for line in lines)],
        list(zip(epochs, *lines.values(), strict=True)),
    )

    def paint(ax: Axes) -> None:
        from matplotlib.ticker import MaxNLocator

        shown = {texts.shorten(k): factor * np.array(v, np.float64) for k, v in lines.items()}
        draw.draw_lines(ax, np.array(epochs), shown)
        ax.xaxis.set_major_locator(MaxNLocator(integer=True))
        ax.set(xlabel="epoch", ylabel=axis)

    rows = -(-len(lines) // 3) if len(lines) > 1 else 0
    return Figure(name, title, caption, (WIDTH, 3 + 0.2 * rows), paint, data)


def _plain(row: np.ndarray) -> list[float | None]:
    """Return a row with None in place of NaN."""
    return [None if np.isnan(value) else float(value) for value in row]
