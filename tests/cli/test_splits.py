"""Classes and splits on the command line: what a network knows of its data, and the options."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest

from lmht_deploy.cli import _split_options as splits
from lmht_deploy.cli._data import ReadOptions, Target, read_windows
from lmht_deploy.cli._training import train_overrides
from lmht_deploy.data import SplitRule, Windows
from lmht_deploy.errors import DataError, RecipeError
from lmht_deploy.events.arrays import make_events

CLASSES = ("cat", "dog", "eel")


def write(root: Path, *names: str, number: int = 4) -> None:
    rng = np.random.default_rng(0)
    for name in names:
        (root / name).mkdir(parents=True)
        for index in range(number):
            t, x, y, p = (np.sort(rng.integers(size, size=20)) for size in (999, 5, 3, 2))
            np.save(root / name / f"{index}.npy", make_events(t, x, y, p))


def read(root: Path, target: Target, limit: int | None = None, **options: object) -> Windows:
    reading = ReadOptions(sensor="5x3", no_cache=True, **options)  # type: ignore[arg-type]
    return read_windows(str(root), target, reading, split="all", limit=limit)


def target_of(**metadata: str) -> Target:
    return Target.of((2, 2, 3, 5), 255, metadata, Path("net.lmht"))


def test_labels_are_those_of_the_network(tmp_path: Path) -> None:
    """The data lacks the class between the two others; a class of its own is refused."""
    write(tmp_path, "cat", "eel")
    target = target_of(classes=json.dumps(CLASSES))
    found = read(tmp_path, target)
    assert found.classes == CLASSES and found.require_labels().tolist() == [0] * 4 + [2] * 4
    write(tmp_path, "fox")
    with pytest.raises(DataError, match=r"class 'fox' of the data is not .* \(cat, dog, eel\)"):
        read(tmp_path, target)
    renamed = read(tmp_path, target, classes="fox=dog,eel")
    assert renamed.require_labels().tolist() == [2] * 4 + [1] * 4
    assert read(tmp_path, target_of()).classes == ("cat", "eel", "fox")


def test_classes_that_the_network_was_not_trained_on_are_left_out(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write(tmp_path, "cat", "eel", "fox")
    chosen = {splits.CHOSEN: json.dumps(["fox=dog", "cat"]), "classes": json.dumps(["dog", "cat"])}
    found = read(tmp_path, target_of(**chosen))
    assert found.classes == ("dog", "cat") and found.require_labels().tolist() == [1] * 4 + [0] * 4
    assert (
        "classes that the network was not trained on are left out: eel" in capsys.readouterr().err
    )


def test_a_limit_takes_every_class_and_says_so(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write(tmp_path, *CLASSES)
    found = read(tmp_path, target_of(), limit=6)
    assert np.bincount(found.require_labels()).tolist() == [2, 2, 2]
    assert "note: " in (said := capsys.readouterr().err)
    assert "6 of 12 windows: 2 of each of the 3 classes" in said
    assert len(read(tmp_path, target_of(), limit=99)) == 12
    read(tmp_path, target_of(), limit=2)
    said = capsys.readouterr().err
    assert (
        "2 of 12 windows: 1 per class; 1 of 3 classes has no window: " in said and "warning" in said
    )


def test_the_rule_of_the_network_holds_where_no_option_is_given(tmp_path: Path) -> None:
    own = SplitRule(label_by="2", group_by="1", seed=3)
    write(tmp_path, "one/cat", "two/cat")
    target = target_of(split=own.to_text())
    assert target.split_rule == own and read(tmp_path, target).classes == ("cat",)
    assert read(tmp_path, target, label_by="1").classes == ("one", "two")
    with pytest.raises(DataError, match=r"net\.lmht: 'x' is not a split rule"):
        target_of(split="x")


def test_a_scheme_replaces_a_share_or_a_fold_of_the_network() -> None:
    own = SplitRule(group_by="1", fold="1/3")
    given = ReadOptions(split_scheme="hash-9-1").split_fields
    assert splits.split_rule(given, own) == SplitRule(group_by="1", scheme="hash-9-1")
    own = SplitRule(scheme="hash-9-1", validation_share=0.1)
    for options in ({"fold": "1/3"}, {"test_share": 0.2}):
        rule = splits.split_rule(ReadOptions(**options).split_fields, own)  # type: ignore[arg-type]
        assert rule == SplitRule(validation_share=0.1, **options)  # type: ignore[arg-type]
    assert splits.split_rule(ReadOptions(validation_share=0.2).split_fields, own).scheme != ""
    assert splits.split_rule(ReadOptions(split_scheme="").split_fields, own).scheme == ""
    assert train_overrides(None, ReadOptions(split_scheme="tebn")) == ['data.split_scheme="tebn"']


def test_a_run_states_its_scheme(tmp_path: Path) -> None:
    """The run folder and the files of its networks carry the name of the scheme."""
    pytest.importorskip("torch")
    from lmht_deploy.training import data, runs
    from lmht_deploy.training.recipe import load_recipe

    write(tmp_path / "r", *CLASSES, number=20)
    recipe = load_recipe("digits", ["data.name=folder", "data.split_scheme=hash-fold-1-of-5"])
    found = data.load_data(recipe, root=tmp_path / "r", sensor=(3, 5))
    assert SplitRule.from_text(found.train.provenance["split_rule"]).scheme == "hash-fold-1-of-5"
    assert found.test.provenance["split_scheme"] == "hash-fold-1-of-5"
    runs.write_files(tmp_path, {"train": found.train, "test": found.test})
    rows = list(csv.DictReader((tmp_path / "files.csv").read_text().splitlines()))
    assert {row["scheme"] for row in rows} == {"hash-fold-1-of-5"} and len(rows) == 60
    (tmp_path / "files.csv").rename(tmp_path / "r" / "files.csv")
    plain = load_recipe("digits", ["data.name=folder"])
    again = data.load_data(plain, root=tmp_path / "r" / "files.csv", sensor=(3, 5))
    assert again.test.sources == found.test.sources
    with pytest.raises(RecipeError, match="unknown split scheme 'thebn'; did you mean 'tebn'"):
        load_recipe("digits", ["data.split_scheme=thebn"])


def test_options_become_overrides_of_the_recipe() -> None:
    reading = ReadOptions(classes="cat,eel=fish", group_by="1", fold="1/3", validation_share=0.2)
    assert train_overrides(None, reading) == [
        'data.classes=["cat", "eel=fish"]',
        'data.group_by="1"',
        "data.validation_share=0.2",
        'data.fold="1/3"',
    ]
    with pytest.raises(DataError, match="--classes is a list of names separated by commas"):
        splits.parse_classes("cat,,eel")


def test_options_without_effect_are_refused(tmp_path: Path) -> None:
    write(tmp_path, "cat", number=1)
    with pytest.raises(DataError, match="--group-by has no effect on the file"):
        read(tmp_path / "cat" / "0.npy", target_of(), group_by="1")


def test_a_validation_split_tests_the_epochs(tmp_path: Path) -> None:
    """The run folder lists the recordings of both splits, as a table that can be read."""
    pytest.importorskip("torch")
    from lmht_deploy.training import data, runs
    from lmht_deploy.training.recipe import load_recipe

    write(tmp_path / "r", *CLASSES, number=10)
    overrides = ["data.name=folder", "data.validation_share=0.25"]
    recipe = load_recipe("digits", overrides)
    found = data.load_data(recipe, root=tmp_path / "r", sensor=(3, 5))
    assert found.evaluation_split == "validation" and len(found.test) == 6
    runs.write_files(tmp_path, {"train": found.train, found.evaluation_split: found.test})
    rows = list(csv.DictReader((tmp_path / "files.csv").read_text().splitlines()))
    assert len(rows) == 27 and rows[0] == {
        "file": rows[0]["file"],
        "label": "cat",
        "split": "train",
    }
    (tmp_path / "files.csv").rename(tmp_path / "r" / "files.csv")
    again = data.load_data(
        load_recipe("digits", overrides[:1]), root=tmp_path / "r" / "files.csv", sensor=(3, 5)
    )
    assert again.evaluation_split == "validation"
    assert again.train.sources == found.train.sources and again.test.sources == found.test.sources
    plain = data.load_data(load_recipe("digits", overrides[:1]), root=tmp_path / "r", sensor=(3, 5))
    assert plain.evaluation_split == "test" and len(plain.train) == 27
