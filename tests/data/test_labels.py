"""Classes that are chosen, renamed or matched by name, and balanced samples."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lmht_deploy.data._labels import choose_classes, match_classes, order_classes
from lmht_deploy.data._sampling import balanced_sample, describe_sample
from lmht_deploy.errors import DataError

CLASSES = ("cup", "mug", "pen", "a=b")


def test_numbers_are_ordered_by_value_and_names_as_text() -> None:
    assert order_classes(["10", "2", "1", "2"]) == ("1", "2", "10")
    assert order_classes(["b10", "b2", "B"]) == ("B", "b10", "b2")


@pytest.mark.parametrize(
    ("chosen", "first", "labels", "names"),
    [
        ([], 0, [0, 1, 2, 3], CLASSES),
        ([], 2, [0, 1, -1, -1], ("cup", "mug")),
        ([], 9, [0, 1, 2, 3], CLASSES),
        (["pen", "cup"], 0, [1, -1, 0, -1], ("pen", "cup")),
        (["pen=stylus", "a=b"], 0, [-1, -1, 0, 1], ("stylus", "a=b")),
        (["cup=vessel", "pen", "mug=vessel"], 0, [0, 0, 1, -1], ("vessel", "pen")),
    ],
)
def test_classes_are_chosen_renamed_and_merged(
    chosen: list[str], first: int, labels: list[int], names: tuple[str, ...]
) -> None:
    found, new = choose_classes(CLASSES, chosen, first)
    assert found.tolist() == labels and new == names


@pytest.mark.parametrize(
    ("chosen", "first", "message"),
    [
        (["cop"], 0, "unknown class 'cop'; did you mean 'cup'\\? The classes are cup, mug, pen, a"),
        (["x=y"], 0, "unknown class 'x'; the classes are cup"),
        (["cup", "cup"], 0, "class 'cup' is chosen twice"),
        (["cup=a", "cup=b"], 0, "class 'cup' is chosen twice"),
        ("cup", 0, "classes must be a list of names, not 'cup'"),
        (["cup"], 1, "give the names of the classes or their number, not both"),
    ],
)
def test_choices_that_do_not_fit(chosen: list[str], first: int, message: str) -> None:
    with pytest.raises(DataError, match=message):
        choose_classes(CLASSES, chosen, first)


def test_labels_become_those_of_the_network() -> None:
    """A folder that lacks a class between two others keeps the labels of the network."""
    labels = np.array([0, 1, 1])
    assert match_classes(("cat", "eel"), labels, ("cat", "dog", "eel")).tolist() == [0, 2, 2]
    assert match_classes((), labels, ("cat", "dog")) is labels
    assert match_classes(("cat", "eel"), labels, ()) is labels
    assert match_classes(("cat", "eel", "fox"), labels, ("eel", "cat")).tolist() == [1, 0, 0]
    with pytest.raises(DataError, match=r"class 'eel' of the data is not .* \(cat, dog\).*eel=cat"):
        match_classes(("cat", "eel"), labels, ("cat", "dog"))


@given(st.lists(st.integers(0, 4), min_size=1, max_size=60), st.integers(1, 70), st.integers(0, 3))
def test_samples_are_balanced(labels: list[int], number: int, seed: int) -> None:
    every = np.array(labels)
    chosen = balanced_sample(every, number, len(every), seed)
    assert len(chosen) == min(number, len(every)) and (np.diff(chosen) > 0).all()
    assert (chosen == balanced_sample(every, number, len(every), seed)).all()
    counts, all_counts = (np.bincount(part, minlength=5) for part in (every[chosen], every))
    for label in np.flatnonzero(counts < all_counts):  # a class with less than others has no more
        assert counts[label] >= counts.max() - 1


def test_a_sample_of_windows_without_labels_is_their_beginning() -> None:
    assert balanced_sample(None, 3, 9).tolist() == [0, 1, 2]


def test_samples_say_which_classes_they_cover() -> None:
    labels = np.repeat([0, 1, 3], 5)
    assert describe_sample(labels, balanced_sample(labels, 6, 15), ()) == (
        "6 of 15 windows: 2 per class; 1 of 4 classes has no window: 2",
        True,
    )
    labels = np.repeat([0, 1], 5)
    chosen = balanced_sample(labels, 3, 10)
    text = "3 of 10 windows: 1 to 2 of each of the 2 classes"
    assert describe_sample(labels, chosen, ("cat", "dog")) == (text, False)
    alone = np.zeros(1, int)
    assert describe_sample(alone, alone, ("cat",))[0] == "1 of 1 window: 1 of the only class"
