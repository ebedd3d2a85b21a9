"""Labeled files of a folder or of a table, and the choice of one split of them."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from lmht_deploy.errors import DataError, counted, listed
from lmht_deploy.formats.files import no_file

from ._labels import choose_classes, order_classes, shorten
from ._splits import (
    SYNONYMS,
    TEST_SHARE,
    Division,
    Split,
    SplitRule,
    divide,
    part_of,
)

COLUMNS = ("file", "label", "split", "group", "scheme")
"""Columns of a table of files; the last three may be missing. "scheme" says which split scheme gave
the splits, for whoever reads the table."""

MAX_TABLE_BYTES = 2**28
"""Largest table that is read."""


@contextmanager
def naming(root: Path | str) -> Iterator[None]:
    """Name the data set in the messages of errors."""
    try:
        yield
    except DataError as error:
        raise DataError(f"{root}: {error}") from None


@dataclass(frozen=True)
class Choice:
    """What to take of a data set.

    Attributes:
        split: Name of the split.
        rule: How the recordings are divided into splits.
        classes: Classes to use, see `choose_classes`.
        max_classes: Number of classes to use, from the first. 0: all.
    """

    split: Split = "test"
    rule: SplitRule = field(default_factory=SplitRule)
    classes: tuple[str, ...] = ()
    max_classes: int = 0

    @property
    def own_splits(self) -> tuple[Split, ...]:
        """What must be read of a data set that has a training and a test split of its own."""
        match self.split:
            case "all":
                return "train", "test"
            case "test":
                return ("test",)
        return ("train",)


@dataclass(frozen=True)
class Listing:
    """Labeled files, in the order of their names.

    Attributes:
        root: Folder of the files.
        names: Paths of the files below the root, with "/".
        labels: int64 `[N]`, indices into `classes`; None if the files are in no class.
        classes: Class names.
        groups: Group of each file.
        given: Split of each file; None if the files have no splits of their own.
    """

    root: Path
    names: tuple[str, ...]
    labels: np.ndarray | None
    classes: tuple[str, ...]
    groups: tuple[str, ...]
    given: tuple[str, ...] | None


@dataclass(frozen=True)
class Selection:
    """The recordings of one split.

    Attributes:
        index: Positions of the recordings in the data set, int64 `[n]`, ascending.
        labels: int64 `[n]`, indices into `classes`; None if they are not known.
        classes: Names of the chosen classes.
        groups: Group of each recording.
        origin: The rule and what it could not keep, as plain values for the provenance.
    """

    index: np.ndarray
    labels: np.ndarray | None
    classes: tuple[str, ...]
    groups: tuple[str, ...]
    origin: dict[str, Any]

    def __getitem__(self, kept: np.ndarray) -> Selection:
        """Keep the recordings at the positions `kept` of this selection."""
        groups = tuple(self.groups[position] for position in kept.tolist())
        labels = None if self.labels is None else self.labels[kept]
        return replace(self, index=self.index[kept], labels=labels, groups=groups)


def select(
    names: Sequence[str],
    labels: np.ndarray | None,
    classes: Sequence[str],
    choice: Choice,
    *,
    groups: Sequence[str] | None = None,
    given: Sequence[str] | None = None,
    test_share: float = TEST_SHARE,
    what: str = "recording",
) -> Selection:
    """Select the recordings of one split that have a chosen class; arguments as for `divide`.

    Classes are chosen after the division, so that it is the same for any choice. Recordings whose
    classes are not known are not divided: all of them are in every split.

    Raises:
        DataError: As for `divide`; or the split does not exist or has no recording.
    """
    if labels is None:
        return _select_unlabeled(names, choice, given)
    new_labels, new_classes = choose_classes(classes, choice.classes, choice.max_classes)
    used = [classes[label] for label in np.flatnonzero(new_labels >= 0).tolist()]
    in_split, found = np.ones(len(names), bool), Division(tuple(groups or names))
    if choice.split != "all":
        found = divide(
            names,
            labels,
            classes,
            choice.rule,
            groups=groups,
            given=given,
            test_share=test_share,
            used=used,
            what=what,
        )
        in_split = found.splits == choice.split
        if not in_split.any():
            raise DataError(_no_split(choice, sorted(set(found.splits.tolist()))))
    index = np.flatnonzero(in_split & (new_labels[labels] >= 0))
    if not len(index):
        raise DataError(f"the {choice.split} split has no {what} of {shorten(used)}")
    return Selection(
        index,
        new_labels[labels[index]],
        new_classes,
        tuple(found.groups[position] for position in index.tolist()),
        {
            "split_rule": choice.rule.to_text(),
            "held_out": "validation" if "validation" in found.splits else "test",
            # They are of the split that is held out.
            "notes": [] if choice.split == "train" else list(found.notes),
            **found.origin,
        },
    )


def select_files(found: Listing, choice: Choice, what: str) -> Selection:
    """Select the files of one split; `what` they are, in the singular. Errors name their folder."""
    with naming(found.root):
        return select(
            found.names,
            found.labels,
            found.classes,
            choice,
            groups=found.groups,
            given=found.given,
            what=what,
        )


def _select_unlabeled(
    names: Sequence[str], choice: Choice, given: Sequence[str] | None
) -> Selection:
    if choice.classes or choice.max_classes:
        raise DataError("there are no folders of classes, of which some could be chosen")
    kept = [given is None or choice.split in (split, "all") for split in given or names]
    if not any(kept):
        raise DataError(_no_split(choice, sorted(set(given or ()))))
    index = np.flatnonzero(kept)
    return Selection(index, None, (), tuple(names[i] for i in index.tolist()), {})


def _no_split(choice: Choice, found: list[str]) -> str:
    if choice.split == "validation":
        return (
            "there is no validation split; give its share (data.validation_share in a recipe,"
            " --validation-share on the command line)"
        )
    scheme = f" by split scheme {choice.rule.scheme!r}" if choice.rule.scheme else ""
    found_in = listed(found)
    return f"there is no {choice.split} split; the recordings are in {found_in}{scheme}"


# -------------------------------------------------------------------------------------- the folder


def list_files(root: Path | None, suffixes: Sequence[str], what: str, rule: SplitRule) -> Listing:
    """List the labeled files of a folder or of a table.

    Args:
        root: A folder with <class>/.../<file>, or with files of no class; or with folders of splits
            (train, test, validation) that hold these; or a CSV file with the columns file, label
            and optionally split, group.
        suffixes: Suffixes of the files, in lower case. Hidden files and folders are skipped.
        what: What the files are, in the singular: "recording" or "image".
        rule: Which parts of a path are its class and its group.

    Raises:
        DataError: There is nothing to read, or a path does not state its class or its group.
        StorageError: The table is missing.
    """
    label_by, group_by = rule.label_by, rule.group_by
    if root is not None and root.suffix.lower() == ".csv":
        return _read_table(root, rule)
    if root is None or not root.is_dir():
        raise no_folder(root, what)
    homes: Mapping[Path, str] = _split_folders(root) or {root: ""}
    rows = [
        (home, name, split)
        for home, split in homes.items()
        for name in _find(home, suffixes, what, nested=not label_by)
    ]
    labels = [
        part_of(name, label_by or "1", "label_by") if label_by or "/" in name else ""
        for _, name, _ in rows
    ]
    files = [(home / name).relative_to(root).as_posix() for home, name, _ in rows]
    groups = (
        [part_of(name, group_by, "group_by") for _, name, _ in rows] if group_by else list(files)
    )
    return _make_listing(root, files, labels, groups, [split for *_, split in rows])


def describe_classes(found: Listing, rule: SplitRule) -> list[str]:
    """One sentence with the classes, and one if another level of folders could be the classes."""
    classes = counted(len(found.classes), "class", "classes")
    notes = [f"{classes}: {shorten(found.classes)}"] if found.classes else []
    first = 1 + (found.given is not None)  # index of the folder in the folder of a class
    deep = all(name.count("/") > first for name in found.names)
    if deep and not rule.label_by and rule.group_by in ("", "1"):
        inner = order_classes(name.split("/")[first] for name in found.names)
        notes.append(
            f"the classes have the folders {shorten(inner, 5)}; if these are the classes, give"
            " --label-by 2"
        )
    return notes


def no_folder(root: Path | None, what: str) -> DataError:
    """Return the error for a root that is not a folder of files."""
    missing = f"{root}: there is no such folder" if root else "folder"
    return DataError(
        f"{missing}; give a root with one folder of {what}s for each class, or with the"
        " folders train and test that hold them"
    )


def _make_listing(
    root: Path, files: list[str], labels: list[str], groups: list[str], splits: list[str]
) -> Listing:
    """Sort rows by the names of the files; an empty split stands for none."""
    rows = sorted(zip(files, labels, groups, splits, strict=True))
    names, row_labels, row_groups, row_splits = zip(*rows, strict=True)
    classes = order_classes(filter(None, labels))
    position = {name: label for label, name in enumerate(classes)}
    if classes and "" in labels:
        raise DataError(f"{root}: {files[labels.index('')]} is in no folder of a class")
    return Listing(
        root,
        names,
        np.array([position[name] for name in row_labels], np.int64) if classes else None,
        classes,
        row_groups,
        row_splits if any(row_splits) else None,
    )


def _split_folders(root: Path) -> dict[Path, Split]:
    """Folders of splits and their splits: a training folder and another one; or nothing."""
    found = {
        path: SYNONYMS[path.name.lower()]
        for path in sorted(root.iterdir())
        if path.is_dir() and path.name.lower() in SYNONYMS
    }
    splits = list(found.values())
    if "train" not in splits or len(splits) == 1:
        return {}
    if len(set(splits)) < len(splits):
        names = ", ".join(path.name for path in found)
        raise DataError(f"{root}: has several folders of one split ({names})")
    return found


def _find(home: Path, suffixes: Sequence[str], what: str, *, nested: bool) -> list[str]:
    """Paths of files below `home`, with "/"; `nested`: those in its folders, if there are any."""
    folders = [p for p in home.iterdir() if p.is_dir() and not p.name.startswith(".")]
    if nested and folders:
        found = {folder: _files_below(folder, home, suffixes) for folder in sorted(folders)}
        if empty := [folder for folder in found if not found[folder]]:
            raise DataError(f"{empty[0]}: holds no {what} ({', '.join(suffixes)})")
        names = [name for some in found.values() for name in some]
    else:
        names = _files_below(home, home, suffixes)
    if not names:
        raise DataError(
            f"{home}: holds no folder of {what}s, and no {what}; expected <class>/<{what}>"
        )
    return names


def _files_below(folder: Path, home: Path, suffixes: Sequence[str]) -> list[str]:
    """Paths below `home` of the files in `folder`; hidden ones such as `._a.raw` are skipped."""
    paths = (path for path in folder.rglob("*") if path.suffix.lower() in suffixes)
    names = (path.relative_to(home) for path in paths if path.is_file())
    return [
        name.as_posix()
        for name in names
        if not any(part.startswith((".", "__MACOSX")) for part in name.parts)
    ]


# --------------------------------------------------------------------------------------- the table


def _read_table(path: Path, rule: SplitRule) -> Listing:
    """List the files of a CSV file, whose paths are below its folder."""
    group_by = rule.group_by
    if rule.label_by:
        raise DataError(f"{path}: states the labels; label_by cannot be given")
    rows = _read_rows(path)
    if group_by and "group" in next(iter(rows.values())):
        raise DataError(f"{path}: states the groups; group_by cannot be given")
    files = [_check_file(path, row["file"], line) for line, row in rows.items()]
    if len(set(files)) < len(files):
        raise DataError(f"{path}: {max(files, key=files.count)} is in several rows")
    groups = [
        row.get("group") or (part_of(file, group_by, "group_by") if group_by else file)
        for file, row in zip(files, rows.values(), strict=True)
    ]
    splits = [_check_table_split(path, row, line) for line, row in rows.items()]
    labels = [_check_label(path, row["label"], line) for line, row in rows.items()]
    return _make_listing(path.parent, files, labels, groups, splits)


def is_table(path: Path) -> bool:
    """Whether a file is a table of files: a CSV file can also be a recording."""
    if path.suffix.lower() != ".csv":
        return False
    try:
        with path.open(encoding="utf-8-sig") as file:
            header = file.readline(1000).lower()
    except (OSError, ValueError):
        return False
    return {"file", "label"} <= set(re.split(r"[,;\t\s]+", header))


def _read_rows(path: Path) -> dict[int, dict[str, str]]:
    """Rows of a table by line; columns are separated by commas, semicolons or tabs."""
    if not path.is_file():
        raise no_file(path)
    if path.stat().st_size > MAX_TABLE_BYTES:
        raise DataError(f"{path}: is larger than {MAX_TABLE_BYTES >> 20} MiB")
    try:
        text = path.read_text(encoding="utf-8-sig")
        header = text.partition("\n")[0]
        delimiter = max(",;\t", key=header.count)
        lines = list(csv.reader(io.StringIO(text), delimiter=delimiter, strict=True))
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror})") from None
    except (ValueError, csv.Error) as error:
        raise DataError(f"{path}: is not a CSV file ({error})") from None
    columns = [name.strip().lower() for name in lines[0]] if lines else []
    if not {"file", "label"} <= set(columns) <= set(COLUMNS) or len(set(columns)) < len(columns):
        raise DataError(
            f"{path}: the columns must be file, label and optionally split, group, scheme, not"
            f" {', '.join(columns) or 'nothing'}"
        )
    return _as_rows(path, columns, lines[1:])


def _as_rows(path: Path, columns: list[str], lines: list[list[str]]) -> dict[int, dict[str, str]]:
    """Rows by the number of their line, which is that of the file where no cell has a line end."""
    for number, line in enumerate(lines, 2):
        if line and len(line) != len(columns):
            raise DataError(
                f"{path}: line {number} has {len(line)} columns, the first one {len(columns)}"
            )
    rows = {
        number: dict(zip(columns, map(str.strip, line), strict=True))
        for number, line in enumerate(lines, 2)
        if any(line)
    }
    if not rows:
        raise DataError(f"{path}: lists no file")
    return rows


def _check_label(table: Path, label: str, line: int) -> str:
    if not label:
        raise DataError(f"{table}: line {line} has no label")
    return label


def _check_file(table: Path, text: str, line: int) -> str:
    """Path of a file below the folder of the table, with "/"."""
    name = PurePosixPath(text)
    if not text or name.is_absolute() or ".." in name.parts or "\0" in text:
        raise DataError(
            f"{table}: line {line}: a file is a path below the folder of the table, not {text!r}"
        )
    if not (table.parent / name).is_file():
        raise DataError(f"{table}: line {line}: there is no file {table.parent / name}")
    return name.as_posix()


def _check_table_split(table: Path, row: dict[str, str], line: int) -> str:
    if "split" not in row:
        return ""
    if row["split"].lower() not in SYNONYMS:
        raise DataError(
            f"{table}: line {line}: split must be train, validation or test, not {row['split']!r}"
        )
    return SYNONYMS[row["split"].lower()]
