"""Splits that do not leak: a recording, or a group of recordings, is on one side only.

A split depends on the names of the recordings, their classes, their groups and the rule. It does
not depend on the order of the files or on the operating system.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

import numpy as np

from lmht_deploy.errors import DataError, counted, show

from ._labels import shorten
from ._schemes import SchemeSplit, find_scheme, split_by_scheme

Split = Literal["train", "validation", "test", "all"]
SPLITS: tuple[Split, ...] = ("train", "validation", "test", "all")

SYNONYMS: dict[str, Split] = {
    "train": "train",
    "training": "train",
    "validation": "validation",
    "valid": "validation",
    "val": "validation",
    "dev": "validation",
    "test": "test",
    "testing": "test",
}
"""Names of splits in the folders and tables of users, in lower case."""

TEST_SHARE = 0.1
"""Share of each class that tests if a data set has no splits of its own."""

TOLERANCE = 0.1
"""Largest difference from the asked share of a class that is not reported."""


def check_split(split: str) -> Split:
    """Return `split`; DataError if it is not the name of a split."""
    if split not in SPLITS:
        raise DataError(f"split must be 'train', 'validation', 'test' or 'all', not {split!r}")
    return split


@dataclass(frozen=True)
class SplitRule:
    """How the recordings of a data set are labeled, grouped and divided into splits.

    A data set that has splits of its own keeps them: `test_share` is not used, and
    `validation_share` and `fold` divide its training recordings. A scheme gives splits to a data
    set that has none, and `validation_share` divides its training recordings.

    Attributes:
        label_by: Part of the path that is the class, for your own files. A number N: the N-th
            folder in the path below the root, from 1. Otherwise a regular expression that is
            searched in the path: the text that it finds (of its groups, if it has any). "": the
            first folder.
        group_by: Part of the path that is the group, in the same way. All recordings of a group
            are in one split. "": each recording is a group.
        test_share: Share of the recordings for the test split, per class. 0: that of the data set,
            which is 0.2 for "digits" and 0.1 for all others.
        validation_share: Share of the other recordings for the validation split, per class. 0: no
            validation split.
        fold: "I/K": fold I of K is held out in place of a share, I from 1. It is the test split,
            or the validation split if the data set has a test split of its own.
        seed: Seed of the draw.
        scheme: Name of a split scheme, in place of a share or a fold: the name of a recording
            decides whether it trains or tests. "": no scheme.

    Raises:
        DataError: A field is not valid, or a scheme and a share or a fold are given.
    """

    label_by: str = ""
    group_by: str = ""
    test_share: float = 0.0
    validation_share: float = 0.0
    fold: str = ""
    seed: int = 0
    scheme: str = ""

    def __post_init__(self) -> None:
        for name in ("test_share", "validation_share"):
            share = getattr(self, name)
            if not isinstance(share, int | float) or not 0 <= share < 1:
                raise DataError(f"{name} must be at least 0 and below 1, not {share!r}")
        if not isinstance(self.seed, int | np.integer) or self.seed < 0:
            raise DataError(f"the seed of a split must be an integer >= 0, not {self.seed!r}")
        if not isinstance(self.fold, str):
            raise DataError(f"a fold is written 'I/K', not {show(self.fold)}")
        if not isinstance(self.scheme, str):
            raise DataError(f"unknown split scheme {show(self.scheme)}; a scheme is named by text")
        for name in ("label_by", "group_by"):
            _check_pattern(getattr(self, name), name)
        if self.fold:
            parse_fold(self.fold)
        if self.scheme != "":
            find_scheme(self.scheme)
        if self.scheme and (self.test_share or self.fold):
            raise DataError(
                f"split scheme {self.scheme!r} divides the recordings; a test share or a fold"
                " cannot be given"
            )

    def to_text(self) -> str:
        """Format the rule as JSON, which `from_text` reads."""
        return json.dumps(asdict(self))

    @classmethod
    def from_text(cls, text: str) -> SplitRule:
        """Read a rule that `to_text` wrote; DataError if it is none."""
        try:
            return cls(**json.loads(text))
        except (ValueError, TypeError, RecursionError):
            raise DataError(f"{text!r} is not a split rule") from None


def parse_fold(text: str) -> tuple[int, int]:
    """Return (I, K) of the fold "I/K"; DataError if it is none."""
    found = re.fullmatch(r"([1-9]\d{0,5})/([1-9]\d{0,5})", str(text))
    fold, folds = map(int, found.groups()) if found else (0, 0)
    if not (1 <= fold <= folds and folds >= 2):
        raise DataError(f"a fold is given as I/K with 1 <= I <= K and K >= 2, not {text!r}")
    return fold, folds


# ---------------------------------------------------------------------------------------- groups


def _check_pattern(by: str, what: str) -> None:
    """Check that `by` is a number of a folder or a regular expression."""
    if not isinstance(by, str):
        raise DataError(f"{what} must be text: a folder's number or a pattern, not {by!r}")
    try:
        re.compile(by)
    except (re.error, OverflowError, RecursionError) as error:
        raise DataError(f"{what} {by!r} is not a regular expression ({error})") from None


def part_of(name: str, by: str, what: str) -> str:
    """Return the part of a path that states its class or its group.

    Args:
        name: Path below the root (and below the folder of its split), with "/".
        by: Number of a folder in the path, from 1, or a regular expression.
        what: "label_by" or "group_by", for error messages.

    Raises:
        DataError: The path has no such part.
    """
    if by.isdecimal():
        folders = name.split("/")[:-1]
        if not 1 <= int(by) <= len(folders):
            raise DataError(
                f"{name}: its path has {counted(len(folders), 'folder')},"
                f" {what} is {by}; {_remedy(what)}"
            )
        return folders[int(by) - 1]
    if (found := re.search(by, name)) is None:
        raise DataError(
            f"{name}: the pattern {by!r} ({what}) does not match this path; {_remedy(what)}"
        )
    return "/".join(part or "" for part in found.groups()) if found.re.groups else found[0]


def _remedy(what: str) -> str:
    option = what.replace("_", "-")
    default = 1 if what == "label_by" else '""'
    return f"give another --{option} (data.{what} in a recipe), such as {default}"


# ---------------------------------------------------------------------------------------- splits


@dataclass(frozen=True)
class Division:
    """Recordings divided into splits.

    Attributes:
        groups: Name of the group of each recording.
        splits: Name of the split of each recording, str `[N]`; empty if they are not divided.
        notes: One sentence for each way in which the splits differ from what was asked, and one
            about a split scheme.
        origin: What is known of a split scheme, as plain values for the provenance.
    """

    groups: tuple[str, ...]
    splits: np.ndarray = field(default_factory=lambda: np.zeros(0, str))
    notes: tuple[str, ...] = ()
    origin: Mapping[str, Any] = field(default_factory=dict)


def divide(
    names: Sequence[str],
    labels: np.ndarray,
    classes: Sequence[str],
    rule: SplitRule,
    *,
    groups: Sequence[str] | None = None,
    given: Sequence[str] | None = None,
    test_share: float = TEST_SHARE,
    used: Collection[str] | None = None,
    what: str = "recording",
) -> Division:
    """Divide recordings into splits, stratified by class.

    Where every recording is a group of its own, each class is divided by the requested share,
    rounded to whole recordings. Otherwise each group goes to the split where it brings the shares
    of all classes closest to those requested, as in `StratifiedGroupKFold` of scikit-learn. Every
    split has every class if the groups allow it.

    Args:
        names: Names of the recordings, all different.
        labels: Classes of the recordings, int64 `[N]`, indices into `classes`.
        classes: Class names.
        rule: What to hold out.
        groups: Group of each recording. Default: as `rule.group_by` says.
        given: Split of each recording, if the data set has splits of its own.
        test_share: Share of the test split if the rule does not state it.
        used: Classes that are used. Others are divided, too, but they may be on any side.
        what: What is divided, for messages, in the singular.

    Raises:
        DataError: A group is in two of the given splits, there are too few recordings or groups,
            or a class would have no training recording.
    """
    if groups is None:
        by = rule.group_by
        groups = [part_of(name, by, "group_by") for name in names] if by else names
    by_scheme = SchemeSplit()
    if rule.scheme:
        given = (by_scheme := _divide_by_scheme(rule.scheme, groups, given, what)).splits
    order = np.array(sorted(range(len(names)), key=names.__getitem__), int)
    table = _Table(
        labels[order], np.array(groups)[order], tuple(classes), used or classes, rule.seed, what
    )
    splits = np.full(len(order), "train", "<U10")
    fold, notes = rule.fold, list(by_scheme.notes)
    if given is None:
        everything = np.ones(len(order), bool)
        notes += table.hold_out(splits, everything, "test", rule.test_share or test_share, fold)
        fold = ""
    else:
        splits[:] = np.array(given)[order]
        _check_given(groups, given, rule)
    left = splits == "train"
    if (rule.validation_share or fold) and left.any():
        notes += table.hold_out(splits, left, "validation", rule.validation_share, fold)
    result = np.empty_like(splits)
    result[order] = splits
    return Division(tuple(groups), result, tuple(notes), by_scheme.origin)


def _divide_by_scheme(
    scheme: str, groups: Sequence[str], given: Sequence[str] | None, what: str
) -> SchemeSplit:
    """Divide groups by a scheme; DataError if there are splits already, or no names."""
    if given is None and what != "window":
        return split_by_scheme(scheme, groups)
    reason = "windows have no names" if given is None else "the data has splits of its own"
    raise DataError(
        f"split scheme {scheme!r} cannot be used: {reason}; for no scheme, give --split-scheme ''"
        " (data.split_scheme in a recipe)"
    )


def _check_given(groups: Sequence[str], given: Sequence[str], rule: SplitRule) -> None:
    """Refuse a group that is in two given splits, and a rule that does not fit given splits."""
    seen: dict[str, str] = {}
    for group, split in zip(groups, given, strict=True):
        if seen.setdefault(group, split) != split:
            raise DataError(
                f"group {group!r} has recordings in the {seen[group]} split and in the {split}"
                " split; a group must be in one split"
            )
    if (rule.validation_share or rule.fold) and "validation" in given:
        raise DataError(
            "the data set has a validation split of its own; a validation share or a fold cannot"
            " be given"
        )
    if rule.validation_share and rule.fold:
        raise DataError(
            "the data set has a test split of its own, and the fold becomes its validation split;"
            " give the fold or the validation share, not both"
        )


@dataclass(frozen=True)
class _Table:
    """Recordings sorted by name: labels int64 `[N]`, groups str `[N]`."""

    labels: np.ndarray
    groups: np.ndarray
    classes: tuple[str, ...]
    used: Collection[str]
    seed: int
    what: str

    def hold_out(
        self, splits: np.ndarray, among: np.ndarray, split: Split, share: float, fold: str
    ) -> list[str]:
        """Write `split` into `splits` for a share or a fold of the recordings `among`.

        Returns:
            Notes: where the result differs from what was asked for.
        """
        labels, groups = self.labels[among], np.unique(self.groups[among], return_inverse=True)[1]
        rng = np.random.default_rng(self.seed if split == "test" else (self.seed, 1))
        index, parts = parse_fold(fold) if fold else (1, 2)
        self._check_number(groups, parts, f"{parts} folds" if fold else f"train and {split}")
        held = _draw(labels, groups, parts if fold else 0, share, rng) == index - 1
        if not held.any():
            raise DataError(
                f"no group can become the {split} split: each is the only one that has one of the"
                f" classes; add {self.what}s of every class, or put them into folders named train"
                " and test"
            )
        splits[np.flatnonzero(among)[held]] = split
        single = len(np.unique(groups)) == len(groups)
        asked = _Asked(split, 1 / parts if fold else share, single and not fold, self.what)
        return asked.check(
            {
                self.classes[label]: held[labels == label]
                for label in np.unique(labels).tolist()
                if self.classes[label] in self.used
            }
        )

    def _check_number(self, groups: np.ndarray, parts: int, into: str) -> None:
        if (number := len(np.unique(groups))) < parts:
            what = f"{self.what}s" if number == len(groups) else f"groups of {self.what}s"
            raise DataError(f"too few {what} to be split into {into}: {number}")


@dataclass(frozen=True)
class _Asked:
    """The share of a split that was asked for; `strict`: it must have every class."""

    split: Split
    share: float
    strict: bool
    what: str

    def check(self, held: Mapping[str, np.ndarray]) -> list[str]:
        """Refuse a class that cannot be trained or tested, and describe how shares differ.

        Args:
            held: Which recordings of each class are held out, bool `[n]`.

        Returns:
            At most two sentences.
        """
        shares = {name: float(members.mean()) for name, members in held.items()}
        absent = [name for name, share in shares.items() if share == 0]
        self._check_sides([name for name, share in shares.items() if share == 1], absent)
        uneven = [
            shares[name]
            for name, members in held.items()
            if shares[name] and abs(shares[name] - self.share) > max(TOLERANCE, 1 / len(members))
        ]
        notes = []
        if absent:
            notes.append(f"the {self.split} split has no {self.what} of class {shorten(absent)}")
        if uneven:
            span = dict.fromkeys(f"{share:.0%}" for share in (min(uneven), max(uneven)))
            notes.append(
                f"the {self.split} split has {' to '.join(span)} of the {self.what}s of"
                f" {len(uneven)} of {len(held)} classes ({self.share:.0%} was asked for), because"
                " groups are not divided"
            )
        return notes

    def _check_sides(self, untrained: list[str], untested: list[str]) -> None:
        if untrained:
            raise DataError(
                f"all {self.what}s of class {untrained[0]!r} are in the {self.split} split, and"
                " none is left for training; choose other groups or fewer folds"
            )
        if untested and self.strict:
            raise DataError(
                f"class {untested[0]!r} has too few {self.what}s to be split into train and"
                f" {self.split}"
            )


def _draw(
    labels: np.ndarray, groups: np.ndarray, folds: int, share: float, rng: np.random.Generator
) -> np.ndarray:
    """Part of each recording, int `[N]`: its fold; or, if `folds` is 0, 0 for `share` of them."""
    if len(np.unique(groups)) == len(groups):
        return _deal(labels, folds, rng) if folds else _cut(labels, share, rng)
    shares = np.full(folds, 1 / folds) if folds else np.array([share, 1 - share])
    return _assign(labels, groups, shares, rng, train=None if folds else 1)


def _cut(labels: np.ndarray, share: float, rng: np.random.Generator) -> np.ndarray:
    """Part of each recording, int `[N]`: 0 for `share` of each class, 1 for the others.

    Both parts have every class that has two recordings.
    """
    parts = np.ones(len(labels), int)
    for label in np.unique(labels):
        members = rng.permutation(np.flatnonzero(labels == label))
        left = max(1, min(round((1 - share) * len(members)), len(members) - 1))
        parts[members[left:]] = 0
    return parts


def _deal(labels: np.ndarray, folds: int, rng: np.random.Generator) -> np.ndarray:
    """Fold of each recording, int `[N]`: folds differ by at most one recording, in each class."""
    fold, dealt = np.empty(len(labels), int), 0
    for label in np.unique(labels):
        members = rng.permutation(np.flatnonzero(labels == label))
        fold[members] = (np.arange(len(members)) + dealt) % folds
        dealt += len(members)
    return fold


def _assign(
    labels: np.ndarray,
    groups: np.ndarray,
    shares: np.ndarray,
    rng: np.random.Generator,
    train: int | None,
) -> np.ndarray:
    """Part of each recording, int `[N]`: a group is in one part.

    Groups are taken from the largest and most uneven one on. Each goes to the part where the
    squared differences from `shares`, over all classes, grow least. Part `train` gets every class.
    """
    counts = np.zeros((int(groups.max()) + 1, int(labels.max()) + 1))
    np.add.at(counts, (groups, labels), 1)
    counts = counts[:, counts.any(0)]  # classes that are here
    weights = counts / counts.sum(0)
    order = rng.permutation(len(weights))
    order = order[np.argsort(-weights[order].std(1) - weights[order].sum(1), kind="stable")]
    filled, part = np.zeros((len(shares), weights.shape[1])), np.empty(len(weights), int)
    for group in order:
        part[group] = _best_part(filled, weights[group], shares)
        filled[part[group]] += weights[group]
    parts = range(len(shares)) if train is None else [train, 1 - train]
    for wanted in parts:
        _complete(counts > 0, part, wanted, needed=wanted == train)
    if train is None:
        _fill(part, len(shares))
    assigned: np.ndarray = part[groups]
    return assigned


def _best_part(filled: np.ndarray, weights: np.ndarray, shares: np.ndarray) -> int:
    """Part that `weights` `[K]` of one group bring closest to `shares`."""
    growth = weights * (2 * (filled - shares[:, None]) + weights)  # of (filled - share)²
    lacking = shares * weights.size - filled.sum(1)
    return int(np.lexsort((-lacking, growth.sum(1).round(9)))[0])


def _complete(present: np.ndarray, part: np.ndarray, wanted: int, needed: bool) -> None:
    """Move groups into part `wanted` until it has every class.

    Args:
        present: Which classes a group has, bool `[G, K]`.
        part: Part of each group, int `[G]`; it is changed.
        wanted: The part.
        needed: Whether another part may lose its last group of a class.
    """
    for label in range(present.shape[1]):
        if present[part == wanted, label].any():
            continue
        movable = [
            group
            for group in np.flatnonzero(present[:, label]).tolist()
            if needed or _is_spare(present, part, group)
        ]
        if movable:
            part[min(movable, key=lambda group: present[group].sum())] = wanted


def _fill(part: np.ndarray, parts: int) -> None:
    """Give every part a group; there are at least as many groups as parts."""
    for wanted in range(parts):
        numbers = np.bincount(part, minlength=parts)
        if not numbers[wanted]:
            part[np.flatnonzero(part == numbers.argmax())[0]] = wanted


def _is_spare(present: np.ndarray, part: np.ndarray, group: int) -> bool:
    """Whether the part of `group` has another group of each class of `group`."""
    others = present[part == part[group]].sum(0)
    return bool((others[present[group]] > 1).all())
