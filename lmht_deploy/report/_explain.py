"""The report of counterfactuals: sections made of the JSON of `lmht explain`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from lmht_deploy.plot import _attribution as paint
from lmht_deploy.plot import _draw as draw
from lmht_deploy.plot._style import MUTED

from . import _text as texts
from ._charts import WIDTH, Content
from ._checks import check_schema, of_command
from ._document import Fact, Figure, Format, Heading, Item, Listing, Note, Report, Section, table
from ._provenance import dump, provenance

if TYPE_CHECKING:
    from matplotlib.axes import Axes

SCHEMA, VERSION = "lmht-explain", 1
"""The JSON that is understood, see docs/reference/explain-json.md."""
MAX_WINDOWS = 10
"""Number of windows of which a report has figures."""
ROWS = 10
"""Number of parts in a table."""
SUPPORTING = "What the network answers without the most supporting"
MAX_CELLS = 1500
"""Number of cells in all steps up to which they are drawn."""
POINTS = 101
"""Points of a curve over the share of events."""
CHANNELS = ("OFF events", "ON events")
METHODS = {
    "counterfactual": "counterfactual",
    "gradient": "input x gradient",
    "integrated": "integrated gradients",
    "random": "random, mean and range",
}
CHANGE = ("change of the margin", texts.number)
MEANING = (
    "A counterfactual says what the network answers without these events. It says nothing about "
    "why the events occurred, and nothing about another network."
)


@of_command("lmht explain --json")
def explain_report(content: Content) -> Report:
    """Return the report of an explanation.

    Args:
        content: The JSON of `lmht explain`.

    Raises:
        DataError: It is not that.
    """
    check_schema(content, "lmht explain", SCHEMA, VERSION)
    windows = content["windows"]
    sections = [
        Section(f"Window {window['window']}", tuple(_window(window, content)))
        for window in windows[:MAX_WINDOWS]
    ]
    name = Path(str(content["network"])).name
    title = texts.printable(f"{name}: which events decided")
    return Report(
        title,
        texts.printable(f"{content['data'].get('data', 'windows')}, {_number(len(windows))}"),
        tuple(_facts(content)),
        tuple(_notes(windows)),
        (*sections, Section("Provenance", tuple(_provenance(content)))),
        content,
    )


def _number(windows: int) -> str:
    return "1 window" if windows == 1 else f"{windows:,} windows"


def _facts(content: Content) -> Iterator[Fact]:
    windows = content["windows"]
    runs, seconds = (sum(window[key] for window in windows) for key in ("runs", "seconds"))
    if len(windows) == 1:
        (window,) = windows
        yield Fact("Answer", _name(content, window, window["answer"]), _margin(content, window))
    else:
        flips = [window["flip"] for window in windows if window["flip"]]
        found = [len(flip["cells"]) for flip in flips if flip["status"] == "found"]
        if found:
            note = f"Median over {_number(len(found))} with such a set, found greedily."
            yield Fact("Cells that change the answer", f"{np.median(found):g}", note)
    rate = f"{runs / max(seconds, 1e-9):,.0f} per second."
    yield Fact("Counterfactuals", f"{runs:,}", f"Exact runs of the network, {rate}")


def _notes(windows: Sequence[Content]) -> Iterator[Note]:
    yield Note(MEANING)
    if any(window["kind"] == "image" for window in windows):
        yield Note("The network takes images. A part is left out by setting it to 0, mid-gray.")
    if len(windows) > MAX_WINDOWS:
        yield Note(f"The page shows the first {MAX_WINDOWS} windows; the JSON holds all of them.")


def _name(content: Content, window: Content, label: int) -> str:
    names = content["classes"]
    return str(names[label] if names else label)


def _margin(content: Content, window: Content) -> str:
    margin = f"Margin {window['margin'] * window['scale']:.3f}"
    if window["runner_up"] is None:
        return f"{margin}."
    return f"{margin} over {_name(content, window, window['runner_up'])}."


# ------------------------------------------------------------------------------------- windows


def _window(window: Content, content: Content) -> Iterator[Item]:
    yield Note(_summary(window, content))
    if not window["events"]:
        yield Note("The window holds no events: nothing can be left out.", absent=True)
        return
    yield _attribution(window)
    yield Note(_flip(window, content))
    yield _parts(window, content, "cell", f"{SUPPORTING} cells.")
    yield _bars(window, "step", "Steps", [f"step {t + 1}" for t in range(window["shape"][0])])
    yield _bars(window, "polarity", _channel_title(window), _channels(window))
    if window["shape"][0] > 1 and np.size(window["parts"]["cell_step"]["events"]) <= MAX_CELLS:
        yield _steps(window)
    yield _parts(window, content, "cell_step", f"{SUPPORTING} cells in single steps.")
    if window["curves"]:
        yield Heading("Is the order of the cells faithful?")
        yield _curve(window, "deletion")
        yield _curve(window, "insertion")
        yield _areas(window)


def _summary(window: Content, content: Content) -> str:
    answer = _name(content, window, window["answer"])
    empty = _name(content, window, int(np.argmax(window["empty_logits"])))
    label = window["label"]
    truth = "" if label is None else f" The class is {_name(content, window, label)}."
    source = "" if window["source"] is None else f" Recording: {window['source']}."
    return (
        f"The answer is {answer}. {_margin(content, window)} The window holds "
        f"{window['events']:,} {_unit(window)}. Without any, the answer is {empty}.{truth}{source}"
    )


def _unit(window: Content) -> str:
    return "events" if window["kind"] == "events" else "nonzero values"


def _channels(window: Content) -> list[str]:
    channels = window["shape"][1]
    if window["kind"] == "events" and channels == 2:
        return list(CHANNELS)
    return [f"channel {c + 1}" for c in range(channels)]


def _channel_title(window: Content) -> str:
    return "Polarities" if window["kind"] == "events" else "Channels"


def _changes(window: Content, kind: str) -> np.ndarray:
    """Change of the margin without each part, as real values."""
    changes: np.ndarray = np.array(window["parts"][kind]["margin_deltas"]) * window["scale"]
    return changes


def _place(window: Content, row: int, column: int) -> str:
    cell, (height, width) = window["cell"], window["shape"][2:]
    right, lower = min((column + 1) * cell, width) - 1, min((row + 1) * cell, height) - 1
    return f"x {column * cell}-{right}, y {row * cell}-{lower}"


def _attribution(window: Content) -> Figure:
    changes, frame = _changes(window, "cell"), np.array(window["frame"])
    flip = window["flip"]
    outlined = [(row, column) for row, column in flip["cells"]] if flip else []
    height, width = frame.shape[1:]
    title = f"Change of the margin without each cell of {window['cell']} x {window['cell']} pixels."
    data = table(
        f"attribution-{window['window']}",
        title,
        [("row", texts.count), *_columns(changes.shape[1])],
        [(row, *values) for row, values in enumerate(changes.tolist())],
    )

    def on(ax: Axes) -> None:
        pixels = window["kind"] == "image"
        paint.draw_attribution(ax, frame, changes, window["cell"], outlined, image=pixels)

    caption = (
        "Change of the margin when the network runs without a cell. Green: the margin falls, the "
        "cell supports the answer. Purple: it rises. Gray: "
        + ("events of the window." if window["kind"] == "events" else "the image.")
    )
    size = (WIDTH, 0.8 + min(0.72 * WIDTH * height / width, 7))
    return Figure(data.name, "What the answer depends on", caption, size, on, data)


def _columns(number: int) -> list[tuple[str, Format]]:
    """Headers and formats of the changes of one row of cells."""
    return [(f"column {column}", texts.number) for column in range(number)]


def _flip(window: Content, content: Content) -> str:
    flip = window["flip"]
    if flip is None:
        return "No set of cells that changes the answer was searched."
    if flip["status"] != "found":
        reason = "was stopped" if flip["status"] == "limit" else "found none"
        return f"The greedy search for a set of cells that changes the answer {reason}."
    proof = "No smaller set exists." if flip["smallest"] else "A smaller set may exist."
    number = len(flip["cells"])
    share = texts.share(flip["events"] / window["events"])
    return (
        f"Without {'this cell' if number == 1 else f'these {number} cells'}, {share} of the "
        f"{_unit(window)}, the answer is {_name(content, window, flip['answer'])}: "
        f"{'; '.join(_place(window, *cell) for cell in flip['cells'])}. Found greedily, and "
        f"verified by a run. {proof}"
    )


def _parts(window: Content, content: Content, kind: str, title: str) -> Item:
    """Table of the parts of one kind that support the answer most."""
    parts = {key: np.array(value) for key, value in window["parts"][kind].items()}
    order = np.argsort(parts["margin_deltas"], axis=None, kind="stable")
    order = order[parts["events"].ravel()[order] > 0][:ROWS]
    columns = [
        ("left out", texts.text),
        (_unit(window), texts.count),
        ("share", texts.share),
        ("change of the logit", texts.number),
        ("change of the margin", texts.number),
        ("margin", texts.number),
        ("answer", texts.text),
    ]
    rows = [_row(window, content, parts, int(part)) for part in order]
    return table(f"{kind.replace('_', '-')}-{window['window']}", title, columns, rows)


def _row(
    window: Content, content: Content, parts: dict[str, np.ndarray], part: int
) -> tuple[Any, ...]:
    events, scale = int(parts["events"].flat[part]), window["scale"]
    rows, columns = window["grid"]
    step, place = divmod(part, rows * columns)
    where = _place(window, *divmod(place, columns))
    return (
        where if parts["events"].ndim == 2 else f"step {step + 1}, {where}",
        events,
        events / window["events"],
        float(parts["deltas"][..., window["answer"]].flat[part] * scale),
        float(parts["margin_deltas"].flat[part] * scale),
        float(parts["margins"].flat[part] * scale),
        _name(content, window, int(parts["answers"].flat[part])),
    )


def _bars(window: Content, kind: str, title: str, labels: Sequence[str]) -> Figure:
    changes = _changes(window, kind)
    caption = f"{title}: change of the margin without each of them."
    data = table(
        f"{kind}-{window['window']}",
        caption,
        [("part", texts.text), CHANGE],
        list(zip(labels, changes.tolist(), strict=True)),
    )

    def on(ax: Axes) -> None:
        paint.draw_changes(ax, labels, changes)
        ax.set_xlabel("change of the margin")

    return Figure(data.name, title, caption, (WIDTH, 1.0 + 0.32 * len(labels)), on, data)


def _steps(window: Content) -> Figure:
    changes = _changes(window, "cell_step")
    steps, rows, columns = changes.shape
    labels = [f"step {step + 1}" for step in range(steps)]
    caption = "Change of the margin without one cell in one step; green: the margin falls."
    data = table(
        f"cells-by-step-{window['window']}",
        caption,
        [("step", texts.count), ("row", texts.count), *_columns(columns)],
        [(t + 1, row, *changes[t, row].tolist()) for t, row in np.ndindex(steps, rows)],
    )

    def on(ax: Axes) -> None:
        paint.draw_step_changes(ax, changes, labels)

    size = (WIDTH, 0.8 + WIDTH * rows / (columns * 1.12 * steps))
    return Figure(data.name, "Cells in single steps", caption, size, on, data)


# ------------------------------------------------------------------------------------- curves


def _curve(window: Content, direction: str) -> Figure:
    x = np.linspace(0, 1, POINTS)
    margins = {
        METHODS[curve["method"]]: _interpolated(curve, x) * window["scale"]
        for curve in window["curves"]
        if curve["direction"] == direction
    }
    lines = {name: values.mean(0) for name, values in margins.items()}
    bands = {
        name: np.stack([values.min(0), values.max(0)], 1)
        for name, values in margins.items()
        if len(values) > 1
    }
    what = "left out" if direction == "deletion" else "added to an empty window"
    caption = f"Margin while cells are {what}, in the order of each method. A faithful order " + (
        "falls early." if direction == "deletion" else "rises early."
    )
    data = table(
        f"{direction}-{window['window']}",
        caption,
        [("share of the events", texts.number), *((name, texts.number) for name in lines)],
        list(zip(x.tolist(), *(line.tolist() for line in lines.values()), strict=True)),
    )

    def on(ax: Axes) -> None:
        draw.draw_lines(ax, 100 * x, lines, bands)
        ax.axhline(0, color=MUTED, linewidth=0.8)
        ax.set(xlabel=f"{_unit(window)} {what} (%)", ylabel="margin")

    return Figure(data.name, f"{direction.capitalize()} curves", caption, (WIDTH, 3.2), on, data)


def _interpolated(curve: Content, x: np.ndarray) -> np.ndarray:
    """Margins of all orders of a curve at the shares `x`, float64 `[R, n]`."""
    orders = zip(curve["events"], curve["margins"], strict=True)
    return np.array([np.interp(x, np.array(n) / n[-1], margins) for n, margins in orders])


def _areas(window: Content) -> Item:
    areas = {
        (curve["method"], curve["direction"]): float(np.mean(curve["areas"]))
        for curve in window["curves"]
    }
    methods = dict.fromkeys(curve["method"] for curve in window["curves"])
    title = (
        "Area under the curves: the mean margin over the share of events. A faithful order has a "
        "small area of deletion and a large area of insertion."
    )
    columns = [("order", texts.text), ("deletion", texts.number), ("insertion", texts.number)]
    rows = [
        (METHODS[method], areas[method, "deletion"], areas[method, "insertion"])
        for method in methods
    ]
    return table(f"areas-{window['window']}", title, columns, rows)


def _provenance(content: Content) -> Iterator[Item]:
    yield from provenance(content["provenance"], [("network", content["network"])])
    yield Listing("How the windows were made", dump(content["data"]))
