"""How recordings are cut into windows: the options of all verbs, and the rule of a network."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, cast

import typer

from lmht_deploy.errors import DataError

from ._console import warn
from ._durations import UNITS
from ._options import completion

if TYPE_CHECKING:
    from lmht_deploy.events.windows import By as Kind
    from lmht_deploy.events.windows import WindowRule

WINDOWS = "Windows"
"""Group of these options in `--help`."""
KINDS = ("recording", "time", "events")


def _check_by(by: str | None) -> str | None:
    if by is not None and by not in KINDS:
        raise DataError(f"--by must be 'recording', 'time' or 'events', not {by!r}")
    return by


def _check_length(length: str | None) -> str | None:
    if length is not None:
        parse_length(length)
    return length


def parse_length(text: str) -> tuple[int, bool]:
    """Return the length of a window in us or events, and whether it is a time.

    Raises:
        DataError: It is not a whole number of events, or of microseconds.

    Example:
        >>> parse_length("12.5ms"), parse_length("5000")
        ((12500, True), (5000, False))
    """
    found = re.fullmatch(rf"(\d{{1,15}}(?:\.\d{{1,15}})?)({'|'.join(UNITS)})?", text.strip())
    if found is None:
        raise DataError(
            f"a length is a time as in 50ms, 12500us or 1.5s, or a number of events as in 5000, "
            f"not {text!r}"
        )
    number, unit = Decimal(found[1]), found[2]
    exact = number * UNITS.get(unit, 1)
    if exact != int(exact) or not exact:
        what = "microseconds" if unit else "events"
        raise DataError(f"a length must be a whole number of {what}, at least 1, not {text!r}")
    return int(exact), unit is not None


By = Annotated[
    str | None,
    typer.Option(
        "--by",
        metavar="RULE",
        help="Cut recordings by 'time' or by number of 'events' into windows of --length, or take "
        "one window per 'recording' (default: as the network was trained).",
        rich_help_panel=WINDOWS,
        callback=_check_by,
        autocompletion=completion(lambda: KINDS),
    ),
]
Length = Annotated[
    str | None,
    typer.Option(
        "--length",
        metavar="LENGTH",
        help="Length of a window, of all its T_in bins: a time (50ms, 12500us, 1.5s) or a number "
        "of events (5000).",
        rich_help_panel=WINDOWS,
        callback=_check_length,
    ),
]
Hop = Annotated[
    int | None,
    typer.Option(
        "--hop",
        metavar="BINS",
        min=1,
        help="Bins between the starts of two windows; fewer than T_in make them overlap "
        "(default: T_in, or as the network was trained).",
        rich_help_panel=WINDOWS,
    ),
]
Incomplete = Annotated[
    bool,
    typer.Option(
        "--incomplete",
        help="Also use the last window of a recording, which ends before the window does.",
        rich_help_panel=WINDOWS,
    ),
]


def window_rule(
    steps: int, by: str | None, length: str | None, hop: int | None, own: WindowRule | None
) -> WindowRule:
    """Return the rule that the options describe, and warn if it is not that of the network.

    Args:
        steps: T_in of the network.
        by, length, hop: Options of the verb; None: not given.
        own: Rule that the network was trained on, which holds where no option is given; None: not
            known, one window per recording.

    Raises:
        DataError: The options do not fit each other.
    """
    from lmht_deploy.events.windows import WindowRule

    if by is None and length is None:
        given = own or WindowRule(steps)
        rule = given if hop is None else replace(given, hop=hop)
    else:
        number, chosen = length_and_kind(by, length)
        rule = WindowRule(steps, chosen, number, hop or 0)
    if own is not None and replace(rule, hop=0) != replace(own, hop=0):
        warn(f"the network was trained on {own}, and gets {rule}")
    return rule


def length_and_kind(by: str | None, length: str | None) -> tuple[int, Kind]:
    """Return the length and `by`, which a length with a unit makes "time"."""
    if length is None:
        if by in ("time", "events"):
            example = "50ms" if by == "time" else "5000"
            raise DataError(f"--by {by} needs the length of a window, as in --length {example}")
        return 0, "recording"
    number, is_time = parse_length(length)
    kind = by or ("time" if is_time else "")
    if kind == "recording":
        raise DataError("--by recording has no --length; cut by time or events")
    if kind == "time" and not is_time:
        raise DataError(f"--length {length} has no unit; write {length}us, {length}ms or {length}s")
    if kind != "time" and is_time:
        raise DataError(f"--by events needs a number of events, not --length {length}")
    if not kind:
        raise DataError(
            f"--length {length} has no unit; write {length}ms, or {length} events with --by events"
        )
    return number, cast("Kind", kind)


def window_steps(metadata: Mapping[str, str], steps: int, path: Path) -> int:
    """Return the number of steps of a window, of which a network reads the first ones.

    Args:
        metadata: Metadata of the network.
        steps: Input steps T_in of the network.
        path: Its file.
    """
    from lmht_deploy import ir

    found = ir.window_steps(metadata, steps)
    if found is None:
        text = metadata[ir.WINDOW_STEPS]
        raise DataError(f"{path}: its windows must have {steps} or more steps, not {text!r}")
    return found


def own_rule(metadata: Mapping[str, str], steps: int, path: Path) -> WindowRule | None:
    """Return the window rule that the file of a network states; None if it states none.

    Args:
        metadata: Metadata of the network.
        steps: Number of steps of a window, see `window_steps`.
        path: The file.

    Raises:
        DataError: The rule is not valid, or has another number of bins.
    """
    from lmht_deploy.events.windows import WindowRule

    text = metadata.get("window")
    if text is None:
        return None
    try:
        rule = WindowRule.from_text(text)
    except DataError as error:
        raise DataError(f"{path}: {error}") from None
    if rule.steps != steps:
        raise DataError(f"{path}: its window rule has {rule.steps} bins, its input {steps} steps")
    return rule
