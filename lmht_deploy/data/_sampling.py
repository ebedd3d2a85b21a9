"""A balanced sample of windows, the same for every verb."""

from __future__ import annotations

from collections.abc import Sequence
from types import NoneType

import numpy as np

from lmht_deploy._arguments import INTEGER, check_types
from lmht_deploy.errors import DataError, counted, show

from ._labels import check_names, shorten


@check_types(DataError, labels=(np.ndarray, NoneType), number=INTEGER, size=INTEGER, seed=INTEGER)
def balanced_sample(labels: np.ndarray | None, number: int, size: int, seed: int = 0) -> np.ndarray:
    """Draw a sample in which all classes have equally many windows, as far as there are any.

    Args:
        labels: Classes of the windows, int `[size]`. None: the first windows are taken.
        number: Size of the sample.
        size: Number of windows.
        seed: Seed of the draw.

    Returns:
        Sorted indices, int64 `[min(number, size)]`.

    Example:
        >>> balanced_sample(np.array([0, 0, 0, 0, 1, 1]), 4, 6).tolist()
        [0, 2, 4, 5]
    """
    if min(number, size, seed) < 0:
        raise DataError(f"a sample has sizes and a seed >= 0, not {number}, {size} and {seed}")
    if labels is not None and (labels.dtype.kind not in "iu" or labels.shape != (size,)):
        raise DataError(f"labels must be {size} integers, one per window, not {show(labels)}")
    if labels is None or number >= size:
        return np.arange(min(number, size))
    rng = np.random.default_rng(seed)
    turn = np.empty(size, int)  # windows of turn 0 are the first of their classes, and so on
    for label in rng.permutation(np.unique(labels)):
        members = rng.permutation(np.flatnonzero(labels == label))
        turn[members] = np.arange(len(members))
    order = np.lexsort((rng.permutation(size), turn))
    return np.sort(order[:number])


@check_types(DataError, labels=np.ndarray, chosen=np.ndarray, classes=Sequence)
def describe_sample(
    labels: np.ndarray, chosen: np.ndarray, classes: Sequence[str]
) -> tuple[str, bool]:
    """Describe which classes a sample covers.

    Args:
        labels: Classes of all windows, int `[N]`.
        chosen: Indices of the sample.
        classes: Class names; empty if they are not known.

    Returns:
        One sentence, and whether a class is missing in the sample.
    """
    check_names(classes)
    for array in (labels, chosen):
        if array.dtype.kind not in "iu" or array.ndim != 1:
            raise DataError(f"labels and the sample must be integers [N], not {show(array)}")
    number = max(len(classes), int(labels.max(initial=-1)) + 1)
    counts = np.bincount(labels[chosen], minlength=number)
    least, most = counts[counts > 0].min(initial=len(chosen)), counts.max(initial=0)
    each = f"{least}" if least == most else f"{least} to {most}"
    text = f"{len(chosen):,} of {counted(len(labels), 'window')}: {each}"
    missing = [classes[k] if classes else str(k) for k in np.flatnonzero(counts == 0).tolist()]
    if not missing:
        every = "the only class" if number == 1 else f"each of the {number} classes"
        return f"{text} of {every}", False
    verb, every = "has" if len(missing) == 1 else "have", counted(number, "class", "classes")
    rest = f"{len(missing)} of {every} {verb} no window: {shorten(missing, 5)}"
    return f"{text} per class; {rest}", True
