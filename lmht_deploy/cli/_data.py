"""Read the windows that a verb runs."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from lmht_deploy.errors import DataError

from ._console import counting, warn
from ._options import parse_sensor

if TYPE_CHECKING:
    from lmht_deploy.data import Windows

CHANNELS = {"events": 2, "image": 3}


def read_windows(
    source: str,
    window_shape: tuple[int, ...],
    max_value: int,
    *,
    root: Path | None = None,
    split: str = "test",
    sensor: str | None = None,
    subset: bool = False,
    cache: Path | None = None,
    limit: int | None = None,
) -> Windows:
    """Read windows for a network with input `window_shape`, and warn about counts that are lost.

    Args:
        source: Data set, `.npz` file or recording, as `lmht_deploy.data.load` takes it.
        window_shape: Shape of one window, `(T_in, C, H, W)` or `(T_in, N)`.
        max_value: Largest value of the network's input. Larger counts of events are clipped.
        root, split, sensor, subset, cache: Options of the verb.
        limit: Number of windows to keep; None for all.
    """
    from lmht_deploy import data

    _check_options(source, root=root, subset=subset, cache=cache)
    if Path(source).suffix == ".npz":
        _check_options(source, sensor=sensor)
        return _read_file(source, window_shape[1:])[:limit]
    _check_shape(source, window_shape)
    with counting(f"reading {source}") as show:
        found = data.load(
            source,
            split=split,
            steps=window_shape[0],
            size=window_shape[2:] or None,
            max_count=max_value,
            sensor=parse_sensor(sensor),
            root=root,
            subset=subset,
            cache=cache,
            progress=show,
        )
    for text in found.warnings:
        warn(text)
    return found if limit is None else found[:limit]


@contextmanager
def named_errors(source: str) -> Iterator[None]:
    """Name the file `source` in errors about the shape and the range of its windows."""
    try:
        yield
    except DataError as error:
        if Path(source).suffix and source not in str(error):
            raise DataError(f"{source}: {error}") from None
        raise


def _check_options(source: str, **given: object) -> None:
    """Refuse options of data sets where `source` is a file."""
    for name, value in given.items():
        if value and Path(source).suffix:
            raise DataError(f"--{name} has no effect on the file {source}")


def _read_file(source: str, step_shape: tuple[int, ...]) -> Windows:
    """Read the windows of an `.npz` file; the backend checks their steps and range.

    NetX files of other tools take any number of steps.
    """
    from lmht_deploy.data import Windows
    from lmht_deploy.formats.windows import load_windows

    windows, labels = load_windows(source, step_shape)
    return Windows(windows, labels, (), "events", {"data": source})


def _check_shape(source: str, window_shape: tuple[int, ...]) -> None:
    """Refuse a network whose input has not the channels of `source`, before anything is read."""
    from lmht_deploy import data

    kinds = {known.name: known.kind for known in data.available()}
    channels = CHANNELS[kinds.get(source, "events")]
    if len(window_shape) != 4 or window_shape[1] != channels:
        raise DataError(
            f"{source} gives windows (T, {channels}, H, W); the network takes {window_shape}"
        )
