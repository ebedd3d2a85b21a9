"""`lmht explain`: what a network answers without parts of a window."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from lmht_deploy._threads import MAX_THREADS
from lmht_deploy.errors import DataError, counted

from . import _options as options
from ._console import bad, percent, progress, say, show, table, tell, write_json
from ._data import ReadOptions, Target, named_errors, read_windows, reads_data
from ._predictions import Classes
from ._report import write_report

if TYPE_CHECKING:
    import numpy as np
    from rich.table import Table

    from lmht_deploy.analysis.explain import Counterfactuals, Curve, Explanation, Method
    from lmht_deploy.data import Windows
    from lmht_deploy.ir import Network

ALL = "all"
"""Value of --window for all windows."""
NO_METHOD = "none"
"""Value of --methods for no curves."""
CHANNELS = ("OFF events", "ON events")


def _check_window(text: str) -> str:
    if text != ALL and not (text.isascii() and text.isdecimal() and len(text) <= 9):
        raise DataError(f"--window must be the index of a window, from 0, or 'all', not {text!r}")
    return text


def _method_names() -> tuple[str, ...]:
    from lmht_deploy.analysis.explain import METHODS

    return (*METHODS, NO_METHOD)


@reads_data
def explain(
    network: Annotated[
        Path,
        typer.Argument(
            help="An integer network (.lmht, .net, .nir or .lmhtf, or zoo:NAME).",
            callback=options.network_file(),
            autocompletion=options.complete_network,
        ),
    ],
    recording: Annotated[
        str,
        typer.Argument(
            help="A recording, or other data: see --data of `lmht run`.",
            autocompletion=options.completion(options.data_set_names, files=True),
        ),
    ],
    window: Annotated[
        str,
        typer.Option(
            "--window",
            metavar="N",
            help="Index of the window to explain, from 0, or 'all'.",
            rich_help_panel=options.DATA,
            callback=_check_window,
            autocompletion=options.completion(lambda: (ALL, "0")),
        ),
    ] = "0",
    cell: Annotated[
        int | None,
        typer.Option(
            "--cell",
            metavar="N",
            help="Side of a cell, in pixels of the network's input (default: that of about 8 x 8 "
            "cells).",
            rich_help_panel=options.EXECUTION,
        ),
    ] = None,
    methods: Annotated[
        str | None,
        typer.Option(
            "--methods",
            metavar="NAME,...",
            help="Orders of the cells to compare by deletion and insertion curves: "
            "'counterfactual', 'gradient', 'integrated', 'random', or 'none' (default: "
            "counterfactual, random, and gradient if PyTorch is installed).",
            rich_help_panel=options.EXECUTION,
            autocompletion=options.complete_list(_method_names),
        ),
    ] = None,
    top: Annotated[
        int,
        typer.Option(
            "--top",
            min=1,
            metavar="N",
            help="Number of parts of each kind to print.",
            rich_help_panel=options.OUTPUT,
        ),
    ] = 5,
    split: options.Split = None,
    reading: ReadOptions = ReadOptions(),  # noqa: B008 (immutable)
    threads: Annotated[
        int | None,
        typer.Option(
            "--threads",
            min=1,
            max=MAX_THREADS,
            help="Number of windows that are run at the same time (default: number of CPUs).",
            rich_help_panel=options.EXECUTION,
        ),
    ] = None,
    report: options.Report = None,
    figures: options.Figures = None,
    json: options.Json = None,
) -> None:
    """Leave out parts of a window, and report how the answer changes: exact counterfactuals.

    A part is a cell of pixels, an input step, a polarity, or a cell in one step. The network runs
    without it, so that every change of a logit is exact. It says what the network answers without
    these events, not why they occurred.
    """
    import lmht_deploy as lmht
    from lmht_deploy.analysis.provenance import provenance
    from lmht_deploy.backends import load_integer_network

    net, used = load_integer_network("event", network), threads or os.cpu_count() or 1
    chosen = _methods(methods, net)
    target = Target.of(net.window_shape, net.input.max_value, net.metadata, network)
    found = read_windows(recording, target, reading, split=split)
    indices = _indices(window, len(found), recording)
    classes = _classes(net, found)
    if net.input.kind == "image":
        tell("note: the network takes images: parts are left out by setting them to 0, mid-gray")
    contents = []
    for index in indices:
        with named_errors(recording), progress(f"window {index}:") as watch:
            explained = lmht.explain(
                net,
                found.windows[index],
                cell=cell,
                methods=chosen,
                threads=used,
                progress=watch,
            )
        _say(explained, classes, found, index, top)
        say(_rate(explained, used))
        contents.append(_where(found, index) | _content(explained))
    content = {
        "schema": "lmht-explain",
        "version": 1,
        "network": network,
        "data": dict(found.provenance),
        "classes": list(classes.names) or None,
        "windows": contents,
        "provenance": provenance(used),
    }
    write_json(json, content)
    write_report("explain", content, report, figures)


# ------------------------------------------------------------------------------------- options


def _methods(text: str | None, net: Network) -> list[Method]:
    from lmht_deploy.analysis.explain import METHODS, has_gradient

    if text is None:
        gradient = importlib.util.find_spec("torch") is not None and has_gradient(net)
        return (
            ["counterfactual", "gradient", "random"] if gradient else ["counterfactual", "random"]
        )
    names = [name.strip() for name in text.split(",")]
    if names == [NO_METHOD]:
        return []
    for name in names:
        if name not in METHODS:
            raise DataError(
                f"--methods takes {', '.join(METHODS)} or {NO_METHOD!r} alone, not {name!r}"
            )
    return [method for method in METHODS if method in names]


def _indices(text: str, number: int, recording: str) -> range:
    if text == ALL:
        return range(number)
    index = int(text)
    if index >= number:
        windows = (
            "one window, with the index 0" if number == 1 else f"the windows 0 to {number - 1}"
        )
        raise DataError(f"{recording}: has {windows}; there is no window {index}")
    return range(index, index + 1)


def _classes(net: Network, found: Windows) -> Classes:
    names = net.class_names or found.classes
    return Classes(net.classes, names if len(names) == net.classes else ())


# ------------------------------------------------------------------------------------- output


def _where(found: Windows, index: int) -> dict[str, Any]:
    """Return which window of the data is explained."""
    source, start, label = found.source_index, found.start_us, found.labels
    return {
        "window": index,
        "source": None if source is None else found.sources[int(source[index])],
        "start_us": None if start is None else int(start[index]),
        "label": None if label is None else int(label[index]),
    }


def _content(explained: Explanation) -> dict[str, Any]:
    from lmht_deploy.analysis.explain import to_content

    return to_content(explained)


def _say(found: Explanation, classes: Classes, data: Windows, index: int, top: int) -> None:
    say(f"{_title(data, index)}: {_answer(found, classes)}")
    say(_baseline(found, classes))
    if not found.events:
        tell(f"note: window {index} has no {_unit(found)}: nothing can be left out")
        return
    show(_parts(found, classes, top))
    say(_flip(found, classes))
    if found.curves:
        show(_areas(found))


def _title(data: Windows, index: int) -> str:
    where = _where(data, index)
    source = f" of {where['source']}" if where["source"] else ""
    start = "" if where["start_us"] is None else f" at {where['start_us'] / 1e6:.6f} s"
    return f"window {index}{source}{start}"


def _answer(found: Explanation, classes: Classes) -> str:
    second = "" if found.runner_up is None else f" over class {classes.name(found.runner_up)}"
    units = f"({counted(found.margin, 'unit')} of {found.scale:g})"
    margin = f"margin {found.margin * found.scale:.3f}{second} {units}"
    return f"answer {classes.name(found.answer)}, {margin}"


def _baseline(found: Explanation, classes: Classes) -> str:
    nothing = classes.name(int(found.empty.argmax()))
    unit = _unit(found)
    return f"{counted(found.events, unit[:-1])}; without any of the {unit}, the answer is {nothing}"


def _unit(found: Explanation) -> str:
    return "events" if found.kind == "events" else "nonzero values"


def _parts(found: Explanation, classes: Classes, top: int) -> Table:
    unit = _unit(found)
    rows = table(
        "what the network answers without a part",
        ("left out", unit, "share", "logit change", "margin change", "margin", "answer"),
        left=("left out", "answer"),
        caption="changes in units of the logits; margin as a real value",
    )
    for kind, parts in found.parts.items():
        for part in parts.ranking()[:top].tolist():
            rows.add_row(_name(found, kind, part), *_cells(found, parts, part, classes))
        rows.add_section()
    return rows


def _cells(
    found: Explanation, parts: Counterfactuals, part: int, classes: Classes
) -> Iterator[Any]:
    events, answer = int(parts.events.flat[part]), int(parts.answers.flat[part])
    yield f"{events:,}"
    yield percent(events / found.events)
    yield f"{int(parts.deltas[..., found.answer].flat[part]):+,}"
    yield f"{int(parts.margin_deltas.flat[part]):+,}"
    yield f"{int(parts.margins.flat[part]) * found.scale:.3f}"
    yield bad(classes.name(answer)) if answer != found.answer else classes.name(answer)


def _name(found: Explanation, kind: str, part: int) -> str:
    """Describe a part by its place in the window."""
    rows, columns = found.grid
    steps, channels = found.window.shape[:2]
    if kind == "step":
        return f"step {part + 1} of {steps}"
    if kind == "polarity":
        polar = found.kind == "events" and channels == 2
        return CHANNELS[part] if polar else f"channel {part + 1} of {channels}"
    step, place = divmod(part, rows * columns)
    left, right, upper, lower = found.pixels(*divmod(place, columns))
    cell = f"x {left}-{right}, y {upper}-{lower}"
    return cell if kind == "cell" else f"step {step + 1}, {cell}"


def _flip(found: Explanation, classes: Classes) -> str:
    flip = found.flip
    if flip is None or flip.status == "none":
        return "no set of cells that the greedy search tried changes the answer"
    if flip.status == "limit":
        runs = counted(flip.runs, "run")
        return f"the greedy search for cells that decide was stopped after {runs}"
    assert flip.answer is not None
    number = len(flip.cells)
    what = counted(number, "cell")
    proof = "no smaller set exists" if flip.smallest else "found greedily, a smaller set may exist"
    return (
        f"without {what} ({percent(flip.events / found.events)} of the {_unit(found)}), the "
        f"answer is {classes.name(flip.answer)}: "
        f"{'; '.join(_places(found, flip.cells))} ({proof})"
    )


def _places(found: Explanation, cells: np.ndarray) -> Iterator[str]:
    columns = found.grid[1]
    for row, column in cells.tolist():
        yield _name(found, "cell", row * columns + column)


def _areas(found: Explanation) -> Table:
    from lmht_deploy.analysis.explain import ORDERS

    rows = table(
        "mean margin while cells are left out or added",
        ("order of the cells", "deletion", "insertion"),
        left=("order of the cells",),
        caption="area under the curve over the share of events; a faithful order has a small "
        "area of deletion and a large area of insertion",
    )
    by_method: dict[str, dict[str, str]] = {}
    for curve in found.curves:
        by_method.setdefault(curve.method, {})[curve.direction] = _area(curve)
    for method, areas in by_method.items():
        orders = f" ({ORDERS} orders)" if method == "random" else ""
        rows.add_row(f"{method}{orders}", areas["deletion"], areas["insertion"])
    return rows


def _area(curve: Curve) -> str:
    areas = curve.areas
    mean = f"{areas.mean():.3f}"
    return mean if len(areas) == 1 else f"{mean} ({areas.min():.3f} to {areas.max():.3f})"


def _rate(found: Explanation, threads: int) -> str:
    rate = found.runs / max(found.seconds, 1e-9)
    speed = f"{rate:,.0f} per second on {counted(threads, 'thread')}"
    return f"{counted(found.runs, 'counterfactual')} in {found.seconds:.2f} s ({speed})"
