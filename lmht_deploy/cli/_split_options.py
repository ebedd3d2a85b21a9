"""How data is labeled and divided: the options of all verbs, and what a network knows of it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from lmht_deploy.errors import DataError, counted

from . import _options as options

if TYPE_CHECKING:
    from lmht_deploy.data import SplitRule, Windows

SPLITS = "Classes and splits"
"""Group of these options in `--help`."""
RULE, CHOSEN = "split", "chosen classes"
"""Keys in the metadata of a network: the split rule, and the chosen classes as a JSON array."""


def _scheme_names() -> list[str]:
    from lmht_deploy.data._schemes import SCHEMES

    return list(SCHEMES)


Classes = Annotated[
    str | None,
    typer.Option(
        "--classes",
        metavar="NAME,OLD=NEW,...",
        help="Classes to use, in the order of their labels; OLD=NEW renames a class, and equal new "
        "names merge classes.",
        rich_help_panel=SPLITS,
    ),
]
LabelBy = Annotated[
    str | None,
    typer.Option(
        "--label-by",
        metavar="N|PATTERN",
        help="Part of the path of a file that is its class: the N-th folder, or what a regular "
        "expression finds (default: the first folder).",
        rich_help_panel=SPLITS,
    ),
]
GroupBy = Annotated[
    str | None,
    typer.Option(
        "--group-by",
        metavar="N|PATTERN",
        help="Part of the path that is its group, such as a session or a person: recordings of one "
        "group are never in two splits.",
        rich_help_panel=SPLITS,
    ),
]
Fold = Annotated[
    str | None,
    typer.Option(
        "--fold",
        metavar="I/K",
        help="Hold out fold I of K: it is the test split, or the validation split of data with a "
        "test split of its own.",
        rich_help_panel=SPLITS,
    ),
]
ValidationShare = Annotated[
    float | None,
    typer.Option(
        "--validation-share",
        metavar="SHARE",
        min=0,
        max=0.9,
        help="Share of the training recordings of each class for the validation split.",
        rich_help_panel=SPLITS,
    ),
]
TestShare = Annotated[
    float | None,
    typer.Option(
        "--test-share",
        metavar="SHARE",
        min=0,
        max=0.9,
        help="Share of each class for the test split, if the data has none (default: 0.1).",
        rich_help_panel=SPLITS,
    ),
]
SplitScheme = Annotated[
    str | None,
    typer.Option(
        "--split-scheme",
        metavar="NAME",
        help="Named split that is the same for everyone, in place of a share or a fold (see "
        "`lmht datasets NAME`); '' for none.",
        rich_help_panel=SPLITS,
        autocompletion=options.completion(_scheme_names),
    ),
]


def parse_classes(text: str | None) -> tuple[str, ...]:
    """Return the names of a list that is separated by commas."""
    if text is None:
        return ()
    names = tuple(name.strip() for name in text.split(","))
    if not all(names):
        raise DataError(f"--classes is a list of names separated by commas, not {text!r}")
    return names


def split_rule(given: Mapping[str, Any], own: SplitRule | None) -> SplitRule:
    """Return the rule of a network, or the default, with what the options replace.

    A scheme replaces the network's share and fold, and these replace its scheme.
    """
    from dataclasses import replace

    from lmht_deploy.data import SplitRule

    changed = {name: value for name, value in given.items() if value is not None}
    if changed.get("scheme"):
        changed = {"test_share": 0.0, "fold": ""} | changed
    elif changed.get("test_share") or changed.get("fold"):
        changed = {"scheme": ""} | changed
    return replace(own or SplitRule(), **changed)


def own_split_rule(metadata: Mapping[str, str], path: Path) -> SplitRule | None:
    """Return the split rule that the file of a network states; None if it states none."""
    from lmht_deploy.data import SplitRule

    if RULE not in metadata:
        return None
    try:
        return SplitRule.from_text(metadata[RULE])
    except DataError as error:
        raise DataError(f"{path}: {error}") from None


def read_names(metadata: Mapping[str, str], key: str) -> tuple[str, ...]:
    """Return the names that are stored under `key` as a JSON array; empty if there are none."""
    try:
        names = json.loads(metadata.get(key, "[]"))
    except (ValueError, RecursionError):
        return ()
    valid = isinstance(names, list) and all(isinstance(name, str) for name in names)
    return tuple(names) if valid else ()


def use_classes(
    found: Windows, network: tuple[str, ...], chosen: tuple[str, ...]
) -> tuple[Windows, str]:
    """Give windows the labels of a network, by the names of the classes.

    Args:
        found: The windows.
        network: Class names of the network; empty if they are not known.
        chosen: Classes that the network was trained on, of its data set; empty: all.

    Returns:
        The windows, without those of classes that were not chosen; and a note about them.

    Raises:
        DataError: A class is not a class of the network.
    """
    from dataclasses import replace

    from lmht_deploy.data import match_classes

    if found.labels is None or not found.classes or not network:
        return found, ""
    labels = match_classes(found.classes, found.labels, network, chosen)
    absent = sorted({found.classes[label] for label in found.labels[labels < 0].tolist()})
    matched = replace(found, labels=labels, classes=network)
    if not absent:
        return matched, ""
    note = f"classes that the network was not trained on are left out: {', '.join(absent)}"
    return matched[(labels >= 0).nonzero()[0]], note


def take_sample(found: Windows, limit: int | None) -> tuple[Windows, str, bool]:
    """Take a balanced sample of windows.

    Returns:
        The sample, a sentence about it (empty if it is all windows), and whether a class is
        missing.
    """
    from lmht_deploy.data import balanced_sample, describe_sample

    if limit is None or limit >= len(found):
        return found, "", False
    chosen = balanced_sample(found.labels, limit, len(found))
    if found.labels is None:
        return found[chosen], f"the first {limit:,} of {counted(len(found), 'window')}", False
    text, missing = describe_sample(found.labels, chosen, found.classes)
    return found[chosen], text, missing
