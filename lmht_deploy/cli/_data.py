"""Read the windows that a verb runs or trains on: the same options and one loader for all verbs."""

from __future__ import annotations

import functools
import inspect
import os
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import MISSING, asdict, dataclass, fields, replace
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_type_hints

from lmht_deploy.errors import DataError

from . import _options as options
from . import _split_options as splits
from . import _window_options as windows
from ._console import counting, tell, warn

if TYPE_CHECKING:
    from lmht_deploy.data import SplitRule, Windows
    from lmht_deploy.data._sources import Source
    from lmht_deploy.events.windows import WindowRule

MANY_VALUES = 2**26
"""Values of a window file above which its shape is checked before it is read."""
IMAGES = ("images", "image-folder")
"""Kinds of sources whose windows have the three channels of images."""
CUTTING = ("by", "length", "hop", "incomplete")
DIVIDING = ("label_by", "group_by", "test_share", "validation_share", "fold", "split_scheme")
PATHS = ("label_by", "group_by")
WITHOUT_EFFECT = {
    "windows": ("sensor", "track", *CUTTING, *PATHS, "split_scheme", "drop", "subset", "cache"),
    "recording": ("classes", *DIVIDING, "subset", "cache"),
    "images": ("sensor", "track", *CUTTING, *PATHS, "split_scheme", "drop", "subset"),
    "image-folder": ("sensor", "track", *CUTTING, "drop", "subset", "cache"),
    "events": (),
}
"""Options that have no effect on a kind of source."""


# ------------------------------------------------------------------------------------- options


@dataclass(frozen=True, kw_only=True)
class ReadOptions:
    """The options of every verb that reads data, besides --data, --split and --limit."""

    root: options.Root = None
    sensor: options.SensorSize = None
    track: options.Track = None
    by: windows.By = None
    length: windows.Length = None
    hop: windows.Hop = None
    incomplete: windows.Incomplete = False
    classes: splits.Classes = None
    label_by: splits.LabelBy = None
    group_by: splits.GroupBy = None
    test_share: splits.TestShare = None
    validation_share: splits.ValidationShare = None
    fold: splits.Fold = None
    split_scheme: splits.SplitScheme = None
    drop: options.Drop = False
    subset: options.Subset = False
    cache: options.Cache = None
    no_cache: options.NoCache = False

    def check(self, found: Source) -> None:
        """Refuse options that have no effect on the source."""
        for name in WITHOUT_EFFECT[found.kind]:
            if getattr(self, name):
                what = "the data set" if found.kind in IMAGES else "the file"
                option = name.replace("_", "-")
                raise DataError(f"--{option} has no effect on {what} {found.name}")

    @property
    def split_fields(self) -> dict[str, Any]:
        """Fields of a split rule; None where no option is given."""
        return {name.removeprefix("split_"): getattr(self, name) for name in DIVIDING}

    @property
    def cache_folder(self) -> Path | None:
        """Folder that keeps windows."""
        return None if self.no_cache else self.cache or default_cache()

    def load_arguments(self, found: Source) -> dict[str, Any]:
        """Arguments of `lmht_deploy.data.load` that do not depend on the network."""
        # Hugging Face datasets keeps images in a folder of its own.
        images = found.kind == "images"
        return {
            "root": self.root,
            "sensor": options.parse_sensor(self.sensor),
            "track": self.track,
            "drop": self.drop,
            "subset": self.subset,
            "cache": self.cache if images else self.cache_folder,
        }


def reads_data(verb: Callable[..., None]) -> Callable[..., None]:
    """Give `verb` the options of `ReadOptions` in place of its parameter `reading`."""
    items, group = fields(ReadOptions), get_type_hints(ReadOptions, include_extras=True)
    hints = get_type_hints(verb, include_extras=True)
    parameters: list[inspect.Parameter] = []
    for parameter in inspect.signature(verb).parameters.values():
        if parameter.name == "reading":
            parameters += [_parameter(item.name, item.default, group[item.name]) for item in items]
        else:
            parameters.append(_parameter(parameter.name, parameter.default, hints[parameter.name]))

    @functools.wraps(verb)
    def wrapper(**given: Any) -> None:
        reading = ReadOptions(**{name: given.pop(name) for name in group})
        verb(**given, reading=reading)

    wrapper.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    wrapper.__annotations__ = {item.name: item.annotation for item in parameters}
    return wrapper


def _parameter(name: str, default: Any, annotation: Any) -> inspect.Parameter:
    default = inspect.Parameter.empty if default is MISSING else default
    kind = inspect.Parameter.KEYWORD_ONLY
    return inspect.Parameter(name, kind, default=default, annotation=annotation)


def default_cache() -> Path | None:
    """Folder of the cache: that of LMHT_CACHE, or the user's; None if there is no home."""
    if folder := os.environ.get("LMHT_CACHE"):
        return Path(folder)
    try:
        home = Path.home()
    except RuntimeError:
        return None
    if sys.platform == "darwin":
        return home / "Library" / "Caches" / "lmht-deploy"
    variable, default = (
        ("LOCALAPPDATA", home / "AppData" / "Local")
        if sys.platform == "win32"
        else ("XDG_CACHE_HOME", home / ".cache")
    )
    return Path(os.environ.get(variable) or default) / "lmht-deploy"


# ------------------------------------------------------------------------------------- windows


@dataclass(frozen=True)
class Target:
    """What a network needs of its data.

    Attributes:
        shape: Shape of one window, `(T_in, C, H, W)` or `(T_in, N)`.
        max_value: Largest value of the input. Larger counts of events are clipped.
        rule: Window rule that the network was trained on, if it is known.
        classes: Names of its classes, if they are known.
        chosen: Classes of its data set that it was trained on. Empty: all.
        split_rule: How its data was divided into splits, if it is known.
        window_steps: Number of steps of a window, of which the network reads the first T_in; 0 for
            T_in.
    """

    shape: tuple[int, ...]
    max_value: int
    rule: WindowRule | None = None
    classes: tuple[str, ...] = ()
    chosen: tuple[str, ...] = ()
    split_rule: SplitRule | None = None
    window_steps: int = 0

    @classmethod
    def of(
        cls, shape: tuple[int, ...], max_value: int, metadata: Mapping[str, str], path: Path
    ) -> Target:
        """Describe the network in the file `path`."""
        steps = windows.window_steps(metadata, shape[0], path)
        rule = windows.own_rule(metadata, steps, path)
        names, chosen = (splits.read_names(metadata, key) for key in ("classes", splits.CHOSEN))
        division = splits.own_split_rule(metadata, path)
        return cls(shape, max_value, rule, names, chosen, division, steps)


def read_windows(
    source: str,
    target: Target,
    reading: ReadOptions,
    *,
    split: str | None = None,
    limit: int | None = None,
    store: Path | None = None,
) -> Windows:
    """Read windows for a network, and print how they were made.

    Args:
        source: Data, as `lmht_deploy.data.load` takes it.
        target: What the network needs.
        reading: Data options of the command line.
        split: Split of the data; None: the default of `load`.
        limit: Total number of windows to keep, spread evenly over the classes; None for all.
        store: Folder in which windows may be unpacked, to map them into memory. Those of recordings
            are mapped where the cache has a folder.
    """
    from lmht_deploy import data

    found = find_source(source, reading)
    arguments: dict[str, Any] = {
        "memory_map": store is not None,
        "split": split,
        "classes": splits.parse_classes(reading.classes),
        "split_rule": splits.split_rule(reading.split_fields, target.split_rule),
    }
    check_shape(source, found, target.shape)
    if found.kind != "windows":
        given = (reading.by, reading.length, reading.hop)
        steps = target.shape[0] if found.kind in IMAGES else target.window_steps
        rule = windows.window_rule(steps or target.shape[0], *given, target.rule)
        arguments |= asdict(rule) | {
            "size": target.shape[2:] or None,
            "max_count": target.max_value,
            "incomplete": reading.incomplete,
            **reading.load_arguments(found),
        }
    else:
        arguments["cache"] = store
    with counting(f"reading {source}") as show:
        windows_found = data.load(source, progress=show, **arguments)
    tell_about(windows_found)
    fitting = _first_steps(source, windows_found, target)
    return _fit_classes(source, fitting, target, limit)


def _first_steps(source: str, found: Windows, target: Target) -> Windows:
    """Leave out the steps that the network does not read."""
    steps, shape = target.shape[0], found.windows.shape
    if shape[1] != target.window_steps or shape[1] == steps:
        return found
    tell(f"note: {source}: the network reads the first {steps} of the {shape[1]} steps of a window")
    return replace(found, windows=found.windows[:, :steps])


def _check_window_file(source: str, shape: tuple[int, ...]) -> None:
    """Refuse many windows of another size before they are read; the backend checks others."""
    from lmht_deploy.formats.windows import window_shape

    found = window_shape(source)
    if prod(found) > MANY_VALUES and found[2:] != shape[1:]:
        raise DataError(
            f"{source}: windows must have steps of shape {list(shape[1:])}, not {list(found[2:])}"
        )


def find_source(source: str, reading: ReadOptions) -> Source:
    """Find what `source` is, and refuse options that have no effect on it; nothing is read."""
    from lmht_deploy import data

    if reading.root is not None and Path(source).suffix and Path(source).is_file():
        raise DataError(f"--root has no effect on the file {source}")
    found = data.find_source(source, reading.root)
    reading.check(found)
    return found


def _fit_classes(source: str, found: Windows, target: Target, limit: int | None) -> Windows:
    """Give windows the labels of the network, take a sample of them, and say so."""
    matched, left_out = splits.use_classes(found, target.classes, target.chosen)
    if left_out:
        tell(f"note: {source}: {left_out}")
    sample, text, missing = splits.take_sample(matched, limit)
    if text:
        (warn if missing else tell)(f"{'' if missing else 'note: '}{source}: {text}")
    return sample


def tell_about(found: Windows, name: str = "") -> None:
    """Say how recordings became windows, and warn about what was lost."""
    for text in found.notes:
        tell(f"note: {name}{text}")
    for text in found.warnings:
        warn(f"{name}{text}")


@contextmanager
def named_errors(source: str) -> Iterator[None]:
    """Name the file `source` in errors about the shape and the range of its windows."""
    try:
        yield
    except DataError as error:
        if Path(source).suffix and source not in str(error):
            raise DataError(f"{source}: {error}") from None
        raise


def check_shape(source: str, found: Source, shape: tuple[int, ...]) -> None:
    """Refuse a network whose input is not that of the data, before anything is read."""
    if found.kind == "windows":
        _check_window_file(source, shape)
        return
    channels = 3 if found.kind in IMAGES else 2
    if len(shape) != 4 or shape[1] != channels:
        raise DataError(f"{source} gives windows (T, {channels}, H, W); the network takes {shape}")
