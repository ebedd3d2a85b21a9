"""Split schemes: the published lists, and that only the name of a recording decides."""

from __future__ import annotations

import random
import unicodedata

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lmht_deploy.data import available, find_data_set, split_list
from lmht_deploy.data._catalogs import NAMES, catalog
from lmht_deploy.data._schemes import (
    DIGESTS,
    SCHEMES,
    complete_split,
    digest,
    find_scheme,
    plain_name,
    schemes_for,
    split_by_scheme,
)
from lmht_deploy.data._splits import SplitRule, divide
from lmht_deploy.data._tonic import KNOWN
from lmht_deploy.errors import DataError

LISTED = [(data, scheme) for data in NAMES for scheme in DIGESTS[data]]
CIFAR10_DVS = list(split_list("tonic:CIFAR10DVS", "tebn"))
"""Paths of the files of CIFAR10-DVS as Tonic saves them."""


def numbers_of(scheme: str, data: str = "CIFAR10DVS") -> dict[str, set[int]]:
    """Numbers of the recordings that test, by class."""
    found: dict[str, set[int]] = {}
    for name, split in complete_split(find_scheme(scheme), data).items():
        if split == "test":
            found.setdefault(name.split("/")[0], set()).add(int(name.rpartition("_")[2]))
    return found


# ------------------------------------------------------------------------------- published lists


@pytest.mark.parametrize(("data", "scheme"), LISTED)
def test_lists_have_the_published_digests(data: str, scheme: str) -> None:
    splits = complete_split(find_scheme(scheme), data)
    assert digest(splits) == DIGESTS[data][scheme] and len(splits) == KNOWN[data].complete
    files = split_list(f"tonic:{data}", scheme)
    assert list(files.values()) == list(splits.values())


def test_every_scheme_of_a_catalog_has_a_digest() -> None:
    assert {(data, s.name) for data in NAMES for s in schemes_for(data) if s.data} == set(LISTED)


def test_spikingjelly_tests_the_last_hundred_names_of_each_class() -> None:
    numbers = {*range(91, 100), *range(909, 1000)}
    assert numbers_of("spikingjelly") == dict.fromkeys(numbers_of("spikingjelly"), numbers)
    caltech = numbers_of("spikingjelly", "NCALTECH101")
    assert caltech["accordion"] == {51, 52, 53, 54, 55}  # ceil(0.9 * 55) = 50 train
    assert len(caltech) == 101


def test_tebn_tests_the_first_hundred_numbers() -> None:
    assert all(numbers == set(range(100)) for numbers in numbers_of("tebn").values())


def test_the_seed_of_the_lmht_code_draws_what_pytorch_draws() -> None:
    torch = pytest.importorskip("torch")
    order = torch.randperm(10_000, generator=torch.Generator().manual_seed(1029)).tolist()
    names = catalog("CIFAR10DVS").names
    assert names[:3] == tuple(f"airplane/cifar10_airplane_{number}" for number in (0, 1, 10))
    splits = complete_split(find_scheme("lmht-seed-1029"), "CIFAR10DVS")
    assert [splits[names[index]] for index in order] == ["train"] * 9_000 + ["test"] * 1_000


@pytest.mark.parametrize("data", NAMES)
def test_folds_divide_each_class(data: str) -> None:
    folds = [numbers_of(f"fold-{number}-of-5", data) for number in range(1, 6)]
    for name in folds[0]:
        numbers = [number for fold in folds for number in fold[name]]
        assert len(numbers) == len(set(numbers))
        sizes = [len(fold[name]) for fold in folds]
        assert max(sizes) - min(sizes) <= 1
    assert sum(len(fold[name]) for fold in folds for name in fold) == KNOWN[data].complete
    if data == "CIFAR10DVS":
        assert all(len(numbers) == 200 for fold in folds for numbers in fold.values())
        assert all(len(numbers) == 100 for numbers in numbers_of("random-9-1").values())


def test_a_list_that_differs_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(DIGESTS["CIFAR10DVS"], "tebn", "0" * 64)
    complete_split.cache_clear()
    with pytest.raises(DataError, match=r"CIFAR10-DVS has the digest 0e510.*, not 000"):
        split_by_scheme("tebn", CIFAR10_DVS[:3])
    complete_split.cache_clear()


# ------------------------------------------------------------------------- the name alone decides


@settings(deadline=None, max_examples=30)
@given(
    st.sampled_from(sorted(SCHEMES)),
    st.sets(st.sampled_from(CIFAR10_DVS), min_size=1, max_size=40),
    st.sampled_from([".aedat", ".aedat4", ".npz", ""]),
    st.sampled_from(["/", "\\"]),
    st.randoms(use_true_random=False),
)
def test_order_suffix_separator_and_other_files_do_not_matter(
    scheme: str, files: set[str], suffix: str, separator: str, order: random.Random
) -> None:
    """A part of the data set, in any order, on any system, is divided as the whole."""
    whole = dict(zip(CIFAR10_DVS, split_by_scheme(scheme, CIFAR10_DVS).splits, strict=True))
    chosen = sorted(files)
    order.shuffle(chosen)
    renamed = [file.replace(".aedat4", suffix).replace("/", separator) for file in chosen]
    found = split_by_scheme(scheme, renamed)
    assert list(found.splits) == [whole[file] for file in chosen]
    assert found.origin["split_digest"] == split_by_scheme(scheme, chosen).origin["split_digest"]


@settings(deadline=None)
@given(st.lists(st.text(min_size=1, max_size=20), min_size=1, max_size=30, unique=True))
def test_unicode_forms_of_a_name_are_one_name(names: list[str]) -> None:
    forms = [[unicodedata.normalize(form, name) for name in names] for form in ("NFC", "NFD")]
    one, other = (split_by_scheme("hash-fold-1-of-5", form).splits for form in forms)
    assert one == other


@pytest.mark.parametrize(
    ("name", "plain"),
    [
        ("a/b.c.aedat4", "a/b.c"),
        ("a\\B.H5", "a/B"),
        ("session.1", "session.1"),
        (".hidden", ".hidden"),
        ("a/.npy", "a/.npy"),
        ("digit 0001", "digit 0001"),
    ],
)
def test_names_lose_their_suffix(name: str, plain: str) -> None:
    assert plain_name(name) == plain


def test_schemes_by_hash_divide_any_names() -> None:
    names = [f"cup/{number}.raw" for number in range(5_000)]
    held = np.array(
        [
            np.array(split_by_scheme(f"hash-fold-{i}-of-5", names).splits) == "test"
            for i in range(1, 6)
        ]
    )
    assert (held.sum(0) == 1).all() and (abs(held.sum(1) - 1_000) < 120).all()
    share = split_by_scheme("hash-9-1", names).splits.count("test")
    assert abs(share - 500) < 90
    assert split_by_scheme("hash-9-1", ["cup/0.raw"]).origin["split_complete"] is None


def test_a_group_is_in_one_split() -> None:
    files = [f"s{number // 4}/cup/{number}.raw" for number in range(200)]
    labels = np.zeros(200, np.int64)
    found = divide(files, labels, ["cup"], SplitRule(scheme="hash-fold-2-of-5", group_by="1"))
    sides = {}
    for group, split in zip(found.groups, found.splits.tolist(), strict=True):
        assert sides.setdefault(group, split) == split
    assert set(sides.values()) == {"train", "test"}


# ----------------------------------------------------------------------------------- split rules


def test_a_validation_share_divides_the_training_recordings() -> None:
    labels = np.repeat(np.arange(10), 1_000)
    classes = sorted({file.split("/")[0] for file in CIFAR10_DVS})
    rule = SplitRule(scheme="tebn", validation_share=0.1)
    found = divide(CIFAR10_DVS, labels, classes, rule)
    assert [(found.splits == split).sum() for split in ("train", "validation", "test")] == [
        8_100,
        900,
        1_000,
    ]
    assert found.origin == {
        "split_scheme": "tebn",
        "split_digest": DIGESTS["CIFAR10DVS"]["tebn"],
        "split_complete": True,
    }
    assert found.notes[0] == ("split scheme 'tebn': the complete CIFAR10-DVS, digest 0e510cdafc2b")
    part = divide(CIFAR10_DVS[::50], labels[::50], classes, SplitRule(scheme="tebn"))
    assert part.origin["split_complete"] is False
    assert "200 of the 10,000 recordings of CIFAR10-DVS" in part.notes[0]


def test_a_rule_with_a_scheme_is_stored_and_read() -> None:
    rule = SplitRule(scheme="fold-2-of-5", validation_share=0.1)
    assert SplitRule.from_text(rule.to_text()) == rule
    for options in ({"fold": "1/2"}, {"test_share": 0.2}):
        with pytest.raises(DataError, match="a test share or a fold cannot be given"):
            SplitRule(scheme="tebn", **options)  # type: ignore[arg-type]
    with pytest.raises(DataError, match="unknown split scheme 'tbn'; did you mean 'tebn'"):
        SplitRule(scheme="tbn")
    with pytest.raises(DataError, match="unknown split scheme"):
        SplitRule(scheme=None)  # type: ignore[arg-type]


def test_a_scheme_does_not_apply_to_other_data() -> None:
    labels, classes = np.array([0, 0]), ["cup"]
    rule = SplitRule(scheme="tebn")
    with pytest.raises(DataError, match=r"is for CIFAR10-DVS, which has no recording 'cup/1'"):
        divide(["cup/1.raw", "cup/2.raw"], labels, classes, rule)
    with pytest.raises(DataError, match="is for CIFAR10-DVS and N-Caltech101, which has no"):
        split_by_scheme("spikingjelly", ["airplane/cifar10_airplane_1000.aedat4"])
    with pytest.raises(DataError, match="cannot be used: the data has splits of its own"):
        divide(CIFAR10_DVS[:2], labels, classes, rule, given=["train", "test"])
    with pytest.raises(DataError, match="cannot be used: windows have no names"):
        divide(["window 1", "window 2"], labels, classes, rule, what="window")


# -------------------------------------------------------------------------------------- data sets


def test_data_sets_name_their_schemes() -> None:
    schemes = {known.name: known.split_schemes for known in available()}
    assert schemes["nmnist"] == schemes["tonic:DVSGesture"] == schemes["cifar10"] == ()
    assert schemes["tonic:CIFAR10DVS"] == schemes["folder"] == tuple(SCHEMES)
    assert "tebn" not in schemes["tonic:NCALTECH101"] != ()
    assert all(name.startswith("hash-") for name in schemes["tonic:ASLDVS"])
    assert find_data_set("digits").split_schemes == schemes["tonic:ASLDVS"]
    with pytest.raises(DataError, match="unknown data set 'tonic:CIFAR10'"):
        find_data_set("tonic:CIFAR10")


def test_lists_of_files() -> None:
    files = split_list("tonic:NCALTECH101", "fold-1-of-5")
    assert "Caltech101/accordion/image_0055.bin" in files and len(files) == 8_709
    for name, scheme, message in (
        ("digits", "tebn", "'tebn' has a list of files for tonic:CIFAR10DVS, not for 'digits'"),
        ("CIFAR10DVS", "tebn", "not for 'CIFAR10DVS'"),
        ("tonic:ASLDVS", "hash-9-1", "has a list of files for no data set"),
        ("tonic:CIFAR10DVS", "ten", "unknown split scheme 'ten'"),
    ):
        with pytest.raises(DataError, match=message):
            split_list(name, scheme)
