"""Splits: nothing on two sides, the same for any order of files, the asked share of each class."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lmht_deploy.data._splits import SplitRule, check_split, divide, parse_fold, part_of
from lmht_deploy.errors import DataError

LABELS = st.lists(st.integers(0, 3), min_size=1, max_size=60).map(
    lambda labels: np.array([label for label in labels for _ in range(2)])
)


def names(number: int) -> list[str]:
    return [f"{index:03}.npy" for index in range(number)]


def split(labels: np.ndarray, rule: SplitRule, **options: object) -> np.ndarray:
    classes = [f"class {label}" for label in range(9)]
    return divide(names(len(labels)), labels, classes, rule, **options).splits  # type: ignore[arg-type]


@settings(deadline=None)
@given(LABELS, st.floats(0.05, 0.6), st.integers(0, 3))
def test_each_class_has_its_share_within_one_recording(
    labels: np.ndarray, share: float, seed: int
) -> None:
    found = split(labels, SplitRule(test_share=share, seed=seed))
    for label in np.unique(labels):
        members = labels == label
        assert abs((found[members] == "test").sum() - share * members.sum()) <= 1
        assert {"train", "test"} == set(found[members].tolist())


@settings(deadline=None)
@given(LABELS, st.integers(2, 6), st.integers(0, 3))
def test_folds_hold_out_every_recording_once(labels: np.ndarray, folds: int, seed: int) -> None:
    if len(labels) < folds:
        return
    held = np.array(
        [
            split(labels, SplitRule(fold=f"{fold}/{folds}", seed=seed)) == "test"
            for fold in range(1, folds + 1)
        ]
    )
    assert (held.sum(0) == 1).all() and np.ptp(held.sum(1)) <= 1
    for label in np.unique(labels):
        assert np.ptp(held[:, labels == label].sum(1)) <= 1


@settings(deadline=None)
@given(
    LABELS,
    st.sampled_from(
        [SplitRule(), SplitRule(validation_share=0.3), SplitRule(fold="2/2", seed=3)],
    ),
    st.randoms(use_true_random=False),
    st.booleans(),
)
def test_the_order_of_the_files_does_not_matter(
    labels: np.ndarray, rule: SplitRule, random: object, grouped: bool
) -> None:
    files = names(len(labels))
    groups = [str(index // 3) for index in range(len(labels))] if grouped else files
    order = list(range(len(labels)))
    random.shuffle(order)  # type: ignore[attr-defined]

    def run(chosen: list[int]) -> dict[str, str] | str:
        try:
            found = divide(
                [files[index] for index in chosen],
                labels[chosen],
                "abcd",
                rule,
                groups=[groups[index] for index in chosen],
            )
        except DataError as error:
            return str(error)
        return dict(zip((files[index] for index in chosen), found.splits.tolist(), strict=True))

    assert run(order) == run(sorted(order))


@settings(deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 2), st.integers(0, 7)), min_size=2, max_size=60),
    st.sampled_from(["", "1/2", "2/2", "3/3"]),
    st.sampled_from([0.0, 0.2]),
    st.integers(0, 3),
)
def test_no_group_is_on_two_sides(
    recordings: list[tuple[int, int]], fold: str, validation: float, seed: int
) -> None:
    labels = np.array([label for label, _ in recordings])
    groups = [f"session {group}" for _, group in recordings]
    rule = SplitRule(fold=fold, validation_share=validation, seed=seed)
    try:
        found = divide(names(len(labels)), labels, "abc", rule, groups=groups)
    except DataError as error:
        reasons = (
            "too few groups",
            "none is left for",
            "too few recordings",
            "no group can become",
        )
        assert any(reason in str(error) for reason in reasons)
        return
    sides: dict[str, set[str]] = {}
    for group, side in zip(groups, found.splits.tolist(), strict=True):
        sides.setdefault(group, set()).add(side)
    assert max(map(len, sides.values())) == 1
    assert {"train", "test"} <= set(found.splits.tolist())
    assert set(labels[found.splits == "train"].tolist()) == set(labels.tolist())


@settings(deadline=None)
@given(st.lists(st.integers(1, 5), min_size=10, max_size=40), st.integers(0, 3))
def test_groups_come_near_the_asked_share(sizes: list[int], seed: int) -> None:
    """Every group has every class; the share is met within the largest group."""
    groups = [str(group) for group, size in enumerate(sizes) for _ in range(3 * size)]
    labels = np.array([label for size in sizes for _ in range(size) for label in range(3)])
    found = split(labels, SplitRule(test_share=0.3, seed=seed), groups=groups)
    for label in range(3):
        held = (found[labels == label] == "test").sum()
        assert abs(held - 0.3 * sum(sizes)) <= max(sizes)


def test_seeds_draw_different_recordings_and_names_the_same() -> None:
    labels = np.repeat([0, 1], 50)
    one, other = (split(labels, SplitRule(seed=seed)) for seed in (0, 1))
    assert (one != other).any() and (one == split(labels, SplitRule())).all()
    assert names(100)[np.flatnonzero(one == "test")[0]] == "015.npy"  # on every machine


def test_a_validation_split_leaves_the_test_split_as_it_is() -> None:
    labels = np.repeat([0, 1, 2], 40)
    without, with_it = (split(labels, SplitRule(validation_share=share)) for share in (0, 0.25))
    assert ((without == "test") == (with_it == "test")).all()
    assert Counter(with_it.tolist()) == {"train": 81, "validation": 27, "test": 12}


def test_two_sessions_become_training_and_test() -> None:
    labels, groups = np.tile([0, 1, 2], 8), ["one"] * 12 + ["two"] * 12
    found = divide(names(24), labels, "abc", SplitRule(), groups=groups)
    assert [len(set(found.splits[part].tolist())) for part in (slice(12), slice(12, 24))] == [1, 1]
    assert set(found.splits.tolist()) == {"train", "test"}
    assert found.notes == (
        "the test split has 50% of the recordings of 3 of 3 classes (10% was asked for), because"
        " groups are not divided",
    )


def test_a_class_of_one_session_trains_and_this_is_noted() -> None:
    labels, groups = np.array([0, 1, 2, 0, 1, 0, 1]), ["one"] * 3 + ["two"] * 2 + ["six"] * 2
    found = divide(names(7), labels, ["cup", "mug", "pen"], SplitRule(), groups=groups)
    assert set(labels[found.splits == "train"].tolist()) == {0, 1, 2}
    assert set(labels[found.splits == "test"].tolist()) == {0, 1}
    assert found.notes[0] == "the test split has no recording of class pen"


def test_groups_are_found_in_paths() -> None:
    assert part_of("s1/cup/a.raw", "1", "group_by") == "s1"
    assert part_of("s1/cup/a.raw", "2", "group_by") == "cup"
    assert part_of("cup/user07_led.raw", r"user\d+", "group_by") == "user07"
    assert part_of("cup/user07_led.raw", r"(user\d+)_(\w+)", "group_by") == "user07/led"
    with pytest.raises(DataError, match=r"cup/a\.raw: its path has 1 folder, group_by is 2; give"):
        part_of("cup/a.raw", "2", "group_by")
    with pytest.raises(DataError, match=r"cup/a\.raw: the pattern 'user' \(group_by\) does not"):
        part_of("cup/a.raw", "user", "group_by")
    files = [f"{name}/s{session}_{n}.raw" for name in "ab" for session in (1, 2) for n in range(3)]
    found = divide(files, np.repeat([0, 1], 6), "ab", SplitRule(group_by=r"s\d"))
    assert set(found.groups) == {"s1", "s2"}
    assert found.splits[:3].tolist() == found.splits[6:9].tolist()


def test_given_splits_are_kept_and_checked() -> None:
    labels, given = np.repeat([0, 1], 20), ["train"] * 15 + ["test"] * 5
    own = {"given": given * 2}
    assert split(labels, SplitRule(), **own).tolist() == own["given"]
    found = split(labels, SplitRule(validation_share=0.2), **own)
    assert Counter(found.tolist()) == {"train": 24, "validation": 6, "test": 10}
    found = split(labels, SplitRule(fold="1/3"), **own)
    assert Counter(found.tolist()) == {"train": 20, "validation": 10, "test": 10}
    with pytest.raises(DataError, match=r"group '.' has recordings in the train split and in the"):
        split(labels, SplitRule(), **own, groups=list("ab" * 20))
    with pytest.raises(DataError, match="has a validation split of its own"):
        split(labels, SplitRule(fold="1/2"), given=["train", "validation"] * 20)
    with pytest.raises(DataError, match="give the fold or the validation share, not both"):
        split(labels, SplitRule(fold="1/2", validation_share=0.1), **own)


@pytest.mark.parametrize(
    ("labels", "rule", "groups", "message"),
    [
        ([0, 0, 1], {}, None, "class 'b' has too few recordings to be split into train and test"),
        ([0, 1, 0, 1], {}, "aaaa", "too few groups of recordings to be split into train and test"),
        (
            [0, 1, 0, 1],
            {"fold": "1/3"},
            "aabb",
            "too few groups of recordings to be split into 3 folds: 2",
        ),
        ([0, 1, 0, 1], {"fold": "1/2"}, "abab", "all recordings of class '.' are in the test spl"),
    ],
)
def test_too_few_recordings_or_groups(
    labels: list[int], rule: dict[str, str], groups: str | None, message: str
) -> None:
    with pytest.raises(DataError, match=message):
        divide(
            names(len(labels)),
            np.array(labels),
            "ab",
            SplitRule(**rule),
            groups=None if groups is None else list(groups),
        )


def test_rules_are_checked_and_travel_as_text() -> None:
    rule = SplitRule(group_by="2", validation_share=0.1, fold="2/5", seed=7)
    assert SplitRule.from_text(rule.to_text()) == rule
    assert parse_fold("5/5") == (5, 5) and check_split("validation") == "validation"
    for fields, message in (
        ({"test_share": 1.0}, "test_share must be at least 0 and below 1, not 1.0"),
        ({"fold": "6/5"}, "a fold is given as I/K with 1 <= I <= K and K >= 2, not '6/5'"),
        ({"fold": "1/1"}, "not '1/1'"),
        ({"group_by": "(a"}, r"group_by '\(a' is not a regular expression"),
        ({"seed": -1}, "the seed of a split must be an integer >= 0, not -1"),
    ):
        with pytest.raises(DataError, match=message):
            SplitRule(**fields)  # type: ignore[arg-type]
    for text in ("[]", "{", '{"by": 1}'):
        with pytest.raises(DataError, match="is not a split rule"):
            SplitRule.from_text(text)
    with pytest.raises(
        DataError, match="split must be 'train', 'validation', 'test' or 'all', not 'some'"
    ):
        check_split("some")
