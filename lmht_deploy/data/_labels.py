"""Classes of a data set: their order, a choice of them, and the classes of a network."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Sequence
from typing import cast

import numpy as np

from lmht_deploy._arguments import check_types
from lmht_deploy.errors import DataError, show

ABSENT = -1
"""New label of a class that is not chosen."""


def order_classes(names: Iterable[str]) -> tuple[str, ...]:
    """Return the different `names` in order: numbers by their value, other names as text."""
    found = set(names)
    if all(name.isascii() and name.isdecimal() for name in found):
        return tuple(sorted(found, key=lambda name: (int(name), name)))
    return tuple(sorted(found))


def class_list(names: object) -> tuple[str, ...]:
    """Return `names` as a tuple; DataError if it is not a list of text."""
    listed = tuple(names) if isinstance(names, list | tuple) else (None,)
    if not all(isinstance(name, str) for name in listed):
        raise DataError(f"classes must be a list of names, not {names!r}")
    return cast("tuple[str, ...]", listed)


def choose_classes(
    classes: Sequence[str], chosen: Sequence[str] = (), first: int = 0
) -> tuple[np.ndarray, tuple[str, ...]]:
    """Choose, order, rename and merge classes.

    Args:
        classes: Class names of the data set.
        chosen: Classes to use, in the order of the new labels: "NAME", or "OLD=NEW" to rename a
            class. Classes with equal new names become one class. Empty: all classes.
        first: Use only the first `first` classes. 0: all.

    Returns:
        New label of each class of `classes`, int64 `[K]`, with -1 for a class that is not chosen;
        and the new class names.

    Raises:
        DataError: A class is unknown or is chosen twice.

    Example:
        >>> choose_classes(["cup", "mug", "pen"], ["pen", "mug=cup"])
        (array([-1,  1,  0]), ('pen', 'cup'))
    """
    chosen = class_list(chosen)
    if chosen and first:
        raise DataError("give the names of the classes or their number, not both")
    if unknown := [text for text in chosen if _parse(text, classes) is None]:
        raise _unknown_class(unknown[0].partition("=")[0], classes)
    pairs = list(filter(None, (_parse(text, classes) for text in chosen)))
    pairs = pairs or [(name, name) for name in classes]
    names = tuple(dict.fromkeys(new for _, new in (pairs[:first] if first else pairs)))
    labels = np.full(len(classes), ABSENT, np.int64)
    for old, new in pairs[:first] if first else pairs:
        index = classes.index(old)
        if labels[index] != ABSENT:
            raise DataError(f"class {old!r} is chosen twice")
        labels[index] = names.index(new)
    return labels, names


def _parse(text: str, classes: Sequence[str]) -> tuple[str, str] | None:
    """Old and new name of a chosen class, None if it is unknown; names may contain "="."""
    if (name := _find(text, classes)) is not None:
        return name, name
    old, equals, new = text.partition("=")
    if equals and new and (name := _find(old, classes)) is not None:
        return name, new
    return None


def _unknown_class(name: str, classes: Sequence[str]) -> DataError:
    close = difflib.get_close_matches(name, classes, n=1)
    hint = f"did you mean {close[0]!r}? The" if close else "the"
    return DataError(f"unknown class {name!r}; {hint} classes are {shorten(classes)}")


def _find(text: str, classes: Sequence[str]) -> str | None:
    """Class that is called `text`, or whose first word it is: "6" stands for "6 - six"."""
    if text in classes:
        return text
    found = [name for name in classes if re.split(r"[\s,]", name)[0] == text]
    return found[0] if len(found) == 1 else None


def shorten(names: Sequence[str], number: int = 20) -> str:
    """Join the first `number` of `names` by commas."""
    return ", ".join([*names[:number], *(["..."] if len(names) > number else [])])


def check_names(names: Sequence[str]) -> None:
    """Require that `names` are a sequence of texts."""
    if isinstance(names, str | bytes) or not all(isinstance(name, str) for name in names):
        raise DataError(f"names of classes are a list of texts, not {show(names)}")


@check_types(DataError, classes=Sequence, labels=np.ndarray, network=Sequence, chosen=Sequence)
def match_classes(
    classes: Sequence[str],
    labels: np.ndarray,
    network: Sequence[str],
    chosen: Sequence[str] = (),
) -> np.ndarray:
    """Translate labels of a data set into those of a network, by the names of the classes.

    Args:
        classes: Class names of the data set; empty if they are not known.
        labels: int64 `[N]`, indices into `classes`.
        network: Class names of the network; empty if they are not known.
        chosen: Classes of its data set that the network was trained on, as in `choose_classes`.
            They are used if the data set has all of them.

    Returns:
        int64 `[N]`, indices into `network`, or -1 for a class that was not chosen. The labels as
        they are, if names are not known.

    Raises:
        DataError: A class that has a label is not a class of the network.
    """
    for names in (classes, network, chosen):
        check_names(names)
    if labels.dtype.kind not in "iu" or labels.ndim != 1:
        raise DataError(f"labels must be integers [N], not {show(labels)}")
    if not classes or not network or tuple(classes) == tuple(network):
        return labels
    if labels.max(initial=-1) >= len(classes):
        raise DataError(
            f"label {labels.max()} is not one of the {len(classes)} classes of the data"
        )
    if chosen and all(_parse(text, classes) for text in chosen):
        new_labels, names = choose_classes(classes, chosen)
        if set(names) <= set(network):
            position = [network.index(names[new]) if new >= 0 else ABSENT for new in new_labels]
            selected: np.ndarray = np.array(position, np.int64)[labels]
            return selected
    if strangers := [
        classes[label] for label in np.unique(labels) if classes[label] not in network
    ]:
        raise DataError(
            f"class {strangers[0]!r} of the data is not a class of the network"
            f" ({shorten(network)}); choose or rename classes, for example"
            f" --classes {strangers[0]}={network[0]}"
        )
    position = [network.index(name) if name in network else ABSENT for name in classes]
    translated: np.ndarray = np.array(position, np.int64)[labels]
    return translated
