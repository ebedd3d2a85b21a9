"""What the verbs share: consoles, options, progress, JSON, data and artifacts."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    SpinnerColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.table import Table

from lmht_deploy.errors import DataError, LmhtError
from lmht_deploy.formats.lmht import load_network

if TYPE_CHECKING:
    import numpy as np

    from lmht_deploy.events.arrays import Sensor
    from lmht_deploy.ir import Network

PIPE_WIDTH = 140
"""Columns of a table that goes into a pipe or a file, where no terminal says how many there are."""

out = Console(width=None if sys.stdout.isatty() else PIPE_WIDTH)
err = Console(stderr=True)

Json = Annotated[
    Path | None,
    typer.Option("--json", metavar="FILE", help="Also write the result to FILE as JSON."),
]
Data = Annotated[
    str,
    typer.Option(
        "--data",
        metavar="NAME|FILE",
        help="Windows to run: a data set by name ('digits', 'nmnist', 'cifar10') or an .npz file with 'windows' and 'labels'.",
    ),
]
Root = Annotated[
    Path | None,
    typer.Option("--root", metavar="DIR", help="Folder of a data set that is not built in."),
]
SensorSize = Annotated[
    str | None,
    typer.Option(
        "--sensor", metavar="WxH", help="Size of the sensor, where recordings do not say it."
    ),
]
Subset = Annotated[bool, typer.Option("--subset", help="Accept less than the complete data set.")]
Cache = Annotated[
    Path | None,
    typer.Option(
        "--cache",
        metavar="DIR",
        help="Folder that keeps the windows of a data set, for the next time.",
    ),
]
Split = Annotated[str, typer.Option("--split", help="Part of the data set: 'train' or 'test'.")]
Limit = Annotated[int | None, typer.Option("--limit", min=1, help="Run the first N windows only.")]
Threads = Annotated[int, typer.Option("--threads", min=1, help="Threads a backend may use.")]
Device = Annotated[
    str,
    typer.Option(
        "--device",
        help="Where PyTorch computes: 'cpu', 'cuda', 'cuda:1', ...; 'auto' takes an accelerator where there is one.",
    ),
]


def device(name: str) -> str:
    """The device of PyTorch that `name` means; LmhtError where there is none of it here."""
    import torch

    if name == "auto":
        return (
            torch.accelerator.current_accelerator().type
            if torch.accelerator.is_available()
            else "cpu"
        )  # type: ignore[union-attr]
    try:
        torch.empty(0, device=name)
    except (RuntimeError, AssertionError) as error:  # AssertionError: PyTorch without CUDA
        raise LmhtError(
            f"device {name!r} is not to be had here ({str(error).splitlines()[0]})"
        ) from None
    return name


def write_json(path: Path | None, content: dict[str, Any]) -> None:
    """Write `content` to `path`, whole or not at all; nothing where `path` is None."""
    from lmht_deploy.formats.files import atomic_write

    if path is not None:
        with atomic_write(path) as temporary:
            temporary.write_text(json.dumps(content, indent=2, default=_plain) + "\n")


def _plain(value: Any) -> Any:
    return value.tolist() if hasattr(value, "tolist") else str(value)


@contextmanager
def progress(title: str) -> Iterator[Callable[[str, int, int], None]]:
    """A bar on stderr, where that is a terminal; yields `show(what, done, total)`."""
    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=err, transient=True, disable=not err.is_terminal) as bar:
        task = bar.add_task(title, total=None)
        yield lambda what, done, total: bar.update(
            task, description=f"{title} {what}".strip(), completed=done, total=total
        )


def check_writable(path: Path | None) -> None:
    """DataError before the work starts where the result could not be written after it."""
    if path is not None and not path.parent.is_dir():
        raise DataError(f"{path}: the folder {path.parent} does not exist")


def read_data(
    data: str,
    window: tuple[int, ...],
    max_value: int,
    *,
    root: Path | None = None,
    split: str = "test",
    sensor: str | None = None,
    subset: bool = False,
    cache: Path | None = None,
    limit: int | None = None,
) -> tuple[np.ndarray, np.ndarray | None, dict[str, Any]]:
    """Windows [B, T_in, ...], labels [B] where known, and provenance, for a network whose input is `window`, of counts up to `max_value`.

    What a recording counts beyond `max_value` is clipped, and a warning says how much.
    """
    from lmht_deploy.data import datasets
    from lmht_deploy.formats import windows as files

    if split not in ("train", "test"):
        raise DataError(f"split must be 'train' or 'test', not {split!r}")
    if Path(data).suffix == ".npz":
        windows, labels = files.load_windows(Path(data))
        return windows[:limit], None if labels is None else labels[:limit], {"file": data}
    from lmht_deploy.data import images

    if data in images.SETS:
        if len(window) != 4 or window[1] != 3:
            raise DataError(f"{data} gives windows (T, 3, H, W); the network takes {window}")
        with progress(f"reading {data}") as show:
            read = partial(
                images.load_images,
                split=split,
                steps=window[0],
                size=window[2],
                root=root,
                cache=cache,
            )
            found = read(data, progress=lambda done, total: show("", done, total))
        return found.windows[:limit], found.labels[:limit], {"images": data, "split": split}
    if len(window) != 4 or window[1] != 2:
        raise DataError(f"{data} gives windows (T, 2, H, W); the network takes {window}")
    given = None if sensor is None else parse_size(sensor)
    if Path(data).suffix:
        return _read_recording(Path(data), window, max_value, given)
    with progress(f"reading {data}") as show:
        events = datasets.load_events(
            data,
            root=root,
            split=split,  # type: ignore[arg-type]
            steps=window[0],
            size=window[2:],
            max_count=max_value,
            sensor=given,
            subset=subset,
            cache=cache,
            progress=lambda done, total: show("", done, total),
        )
    _warn_of_loss(data, events.provenance["lost"])
    return events.windows[:limit], events.labels[:limit], dict(events.provenance)


def _warn_of_loss(data: object, lost: int) -> None:
    if lost:
        err.print(
            f"warning: {data}: {lost:,} events lie beyond what the network's input counts, and were left out",
            soft_wrap=True,
            highlight=False,
        )


def parse_size(text: str) -> Sensor:
    """A Sensor of "WxH"; DataError where it is none."""
    from lmht_deploy.events.arrays import Sensor

    width, _, height = text.partition("x")
    if not (width.isdecimal() and height.isdecimal() and int(width) and int(height)):
        raise DataError(f"a size is given as WIDTHxHEIGHT, as in 128x128, not {text!r}")
    return Sensor(int(height), int(width))


def _read_recording(
    path: Path, window: tuple[int, ...], max_value: int, sensor: Sensor | None
) -> tuple[np.ndarray, None, dict[str, Any]]:
    """One recording as one window of T_in equal time bins."""
    from lmht_deploy.events.arrays import Sensor
    from lmht_deploy.events.recordings import read
    from lmht_deploy.events.windows import Rule, saturated, windows

    events, door = read(path, sensor)
    counts, lost = saturated(
        windows(events, door.sensor, Rule(window[0]), Sensor(*window[2:])), max_value
    )
    _warn_of_loss(path, lost)
    return counts, None, {"file": str(path), "events": len(events), "lost": lost}


def open_network(path: Path) -> Network:
    """The network of a .lmht file."""

    if path.suffix != ".lmht":
        raise LmhtError(f"{path}: expected a .lmht file")
    return load_network(path)


def export_artifact(
    net: Network, path: Path, *, trace: bool = False, graded: bool = False
) -> list[str]:
    """Write `net` as the artifact that the suffix of `path` names; returns warnings. Raises ExportError or LmhtError."""
    match path.suffix:
        case ".lmht":
            from lmht_deploy.formats.lmht import save_network

            save_network(net, path)
            return []
        case ".onnx":
            from lmht_deploy.exporters import onnx

            onnx.export_onnx(net, path, trace=trace)
            return []
        case ".net":
            from lmht_deploy.exporters import netx

            return netx.export_netx(net, path, graded=graded)
    raise LmhtError(f"{path}: unknown artifact; the suffix must be .lmht, .onnx or .net")


def table(
    title: str, columns: Sequence[str], *, left: Collection[str], caption: str | None = None
) -> Table:
    """An empty table of narrow columns; those in `left` hold text, the others figures."""
    found = Table(title=title, caption=caption, box=SIMPLE_HEAD, padding=(0, 1, 0, 0))
    for column in columns:
        found.add_column(
            column,
            justify="left" if column in left else "right",
            overflow="fold",
            no_wrap=column not in left,
        )
    return found


def percent(share: float | None) -> str:
    """A share as a percentage, or a dash."""
    return "-" if share is None else f"{100 * share:.2f}%"
