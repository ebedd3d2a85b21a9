"""Folders and tables of labeled files, and the split that is chosen of them."""

from __future__ import annotations

from pathlib import Path

import pytest

from lmht_deploy.data._listing import Choice, Listing, describe_classes, list_files, select
from lmht_deploy.data._splits import SplitRule
from lmht_deploy.errors import DataError, StorageError


def touch(root: Path, *names: str) -> None:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()


def listed(root: Path, **options: str) -> Listing:
    return list_files(root, (".npy",), "recording", SplitRule(**options))  # type: ignore[arg-type]


def rows(found: Listing) -> list[tuple[str, str, str]]:
    labels = [found.classes[label] for label in found.labels]
    return list(zip(found.names, labels, found.groups, strict=True))


def test_a_class_is_the_first_folder_and_files_may_lie_deeper(tmp_path: Path) -> None:
    touch(tmp_path, "cup/s1/a.npy", "cup/b.NPY", "mug/s1/c.npy", "note.npy", "mug/readme.txt")
    touch(tmp_path, "mug/._c.npy", ".hidden/d.npy", "cup/.git/e.npy")
    found = listed(tmp_path)
    assert rows(found) == [
        ("cup/b.NPY", "cup", "cup/b.NPY"),
        ("cup/s1/a.npy", "cup", "cup/s1/a.npy"),
        ("mug/s1/c.npy", "mug", "mug/s1/c.npy"),
    ]
    assert found.given is None


def test_classes_and_groups_are_parts_of_the_path(tmp_path: Path) -> None:
    touch(tmp_path, "s1/cup/a.npy", "s1/mug/b.npy", "s2/cup/c.npy")
    assert [row[1:] for row in rows(listed(tmp_path, label_by="2", group_by="1"))] == [
        ("cup", "s1"),
        ("mug", "s1"),
        ("cup", "s2"),
    ]
    touch(tmp_path / "flat", "cup_s1.npy", "mug_s2.npy")
    found = listed(tmp_path / "flat", label_by="^[a-z]+", group_by=r"s\d")
    assert [row[1:] for row in rows(found)] == [("cup", "s1"), ("mug", "s2")]
    with pytest.raises(
        DataError, match=r"cup_s1\.npy: the pattern 'x' \(label_by\) does not match"
    ):
        listed(tmp_path / "flat", label_by="x")
    with pytest.raises(DataError, match=r"label_by '\[' is not a regular expression"):
        listed(tmp_path, label_by="[")


def test_two_levels_of_folders_are_said(tmp_path: Path) -> None:
    def said(root: Path, **options: str) -> list[str]:
        return describe_classes(listed(root, **options), SplitRule(**options))  # type: ignore[arg-type]

    touch(tmp_path / "a", "s1/cup/a.npy", "s1/mug/b.npy", "s2/cup/c.npy")
    hint = "the classes have the folders cup, mug; if these are the classes, give --label-by 2"
    assert said(tmp_path / "a") == ["2 classes: s1, s2", hint]
    assert said(tmp_path / "a", label_by="2") == ["2 classes: cup, mug"]
    touch(tmp_path / "b", "train/cup/s1/a.npy", "test/mug/s2/b.npy")
    assert len(said(tmp_path / "b")) == 2 and len(said(tmp_path / "b", group_by="2")) == 1
    touch(tmp_path / "c", "train/cup/a.npy", "test/mug/s2/b.npy")
    assert said(tmp_path / "c") == ["2 classes: cup, mug"]


def test_folders_of_splits(tmp_path: Path) -> None:
    """Folders are numbered from that of the split, so that one session has one name in both."""
    touch(tmp_path, "Train/cup/s1/a.npy", "val/cup/s2/b.npy", "Test/mug/s3/c.npy")
    found = listed(tmp_path, group_by="2")
    assert found.given == ("test", "train", "validation")
    assert rows(found)[0] == ("Test/mug/s3/c.npy", "mug", "s3")
    touch(tmp_path, "valid/cup/s4/d.npy")
    with pytest.raises(
        DataError, match=r"several folders of one split \(Test, Train, val, valid\)"
    ):
        listed(tmp_path)
    touch(tmp_path / "vehicles", "train/a.npy", "car/b.npy")
    assert listed(tmp_path / "vehicles").classes == ("car", "train")


def test_a_session_in_two_splits_is_refused(tmp_path: Path) -> None:
    touch(tmp_path, "train/cup/s1/a.npy", "test/cup/s1/b.npy")
    found = listed(tmp_path, group_by="2")
    with pytest.raises(
        DataError, match="group 's1' has recordings in the test split and in the tr"
    ):
        select(
            found.names,
            found.labels,
            found.classes,
            Choice(),
            groups=found.groups,
            given=found.given,
        )


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
def test_a_table_states_labels_splits_and_groups(tmp_path: Path, delimiter: str) -> None:
    touch(tmp_path, "r/a.npy", "r/b.npy", "c.npy")
    table = tmp_path / "files.csv"
    lines = ["File,Label,Split,Group", "r/b.npy,10,val,s1", "", "c.npy, 9 ,test,s2"]
    lines += ["r/a.npy,9,train,s3"]
    table.write_text("\n".join(lines).replace(",", delimiter), encoding="utf-8-sig")
    found = listed(table)
    assert found.root == tmp_path and found.classes == ("9", "10")
    assert rows(found) == [("c.npy", "9", "s2"), ("r/a.npy", "9", "s3"), ("r/b.npy", "10", "s1")]
    assert found.given == ("test", "train", "validation")
    table.write_text("file,label\nr/a.npy,cup\nc.npy,mug\n")
    assert listed(table).given is None and listed(table, group_by="^.").groups == ("c", "r")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "the columns must be file, label and optionally split, group, scheme, not nothing"),
        ("file,labels\na,b\n", "the columns must be .* not file, labels"),
        ("file,label,label\na,b,b\n", "the columns must be"),
        ("file,label\n", "lists no file"),
        ("file,label\na.npy,cup\n\na.npy\n", "line 4 has 1 columns, the first one 2"),
        ("file,label\na.npy,cup\n\nb.npy,cup\n", r"line 4: there is no file .*b\.npy"),
        ("file,label\na.npy,\n", "line 2 has no label"),
        ("file,label\na.npy,x\na.npy,x\n", r"a\.npy is in several rows"),
        ("file,label\n../a.npy,x\n", r"line 2: a file is a path below .*, not '\.\./a\.npy'"),
        ("file,label\n/etc/passwd,x\n", "line 2: a file is a path below the folder of the table"),
        ("file,label,split\na.npy,x,some\n", "line 2: split must be train, validation or test"),
        ('file,label\n"a.npy,x\n', "is not a CSV file"),
    ],
)
def test_damaged_tables(tmp_path: Path, text: str, message: str) -> None:
    touch(tmp_path, "a.npy")
    (tmp_path / "t.csv").write_text(text)
    with pytest.raises(DataError, match=message):
        listed(tmp_path / "t.csv")


def test_what_a_table_states_is_not_stated_again(tmp_path: Path) -> None:
    touch(tmp_path, "a.npy")
    table = tmp_path / "t.csv"
    table.write_text("file,label,group\na.npy,cup,s1\n")
    with pytest.raises(DataError, match="states the groups; group_by cannot be given"):
        listed(table, group_by="1")
    with pytest.raises(DataError, match="states the labels; label_by cannot be given"):
        listed(table, label_by="1")
    with pytest.raises(StorageError, match="there is no such file"):
        listed(tmp_path / "other.csv")
    table.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(DataError, match="is not a CSV file"):
        listed(table)


def choose(found: Listing, **fields: object) -> tuple[list[str], list[int], tuple[str, ...]]:
    chosen = select(
        found.names,
        found.labels,
        found.classes,
        Choice(**fields),  # type: ignore[arg-type]
        groups=found.groups,
        given=found.given,
    )
    return [found.names[i] for i in chosen.index], chosen.labels.tolist(), chosen.classes


def test_files_of_no_class_are_in_every_split(tmp_path: Path) -> None:
    touch(tmp_path, "b.npy", "a.npy")
    found = listed(tmp_path)
    assert found.labels is None and found.classes == () and found.names == ("a.npy", "b.npy")
    for split in ("train", "test", "all"):
        chosen = select(found.names, None, (), Choice(split))  # type: ignore[arg-type]
        assert chosen.index.tolist() == [0, 1] and chosen.labels is None
    with pytest.raises(DataError, match="there are no folders of classes, of which some could be"):
        select(found.names, None, (), Choice(classes=("cup",)))
    touch(tmp_path / "x", "train/cup/a.npy", "test/b.npy")
    with pytest.raises(DataError, match=r"test/b\.npy is in no folder of a class"):
        listed(tmp_path / "x")


def test_all_recordings_need_no_division(tmp_path: Path) -> None:
    touch(tmp_path, "cup/a.npy", "mug/b.npy")
    assert choose(listed(tmp_path), split="all") == (
        ["cup/a.npy", "mug/b.npy"],
        [0, 1],
        ("cup", "mug"),
    )
    touch(tmp_path / "x", "train/cup/a.npy", "test/mug/b.npy")
    assert choose(listed(tmp_path / "x"), split="all", classes=("mug",)) == (
        ["test/mug/b.npy"],
        [0],
        ("mug",),
    )


def test_classes_are_chosen_after_the_division(tmp_path: Path) -> None:
    """So the split of a recording does not depend on the choice; an unused class may be small."""
    touch(tmp_path, *(f"{name}/{n}.npy" for name in ("cup", "mug", "pen") for n in range(20)))
    touch(tmp_path, "misc/0.npy")
    found = listed(tmp_path)
    with pytest.raises(DataError, match="class 'misc' has too few recordings to be split"):
        choose(found)
    every, labels, _ = choose(found, classes=("cup", "mug", "pen"))
    some, new, classes = choose(found, classes=("pen=stylus", "cup"))
    assert classes == ("stylus", "cup") and new == [1, 1, 0, 0]
    assert some == [name for name in every if "mug" not in name] and labels == [0, 0, 1, 1, 2, 2]
    assert choose(found, max_classes=1)[2] == ("cup",)


def test_a_split_that_does_not_exist(tmp_path: Path) -> None:
    touch(tmp_path, "train/cup/a.npy", "val/cup/b.npy")
    found = listed(tmp_path)
    with pytest.raises(
        DataError, match="no test split; the recordings are in train and validation"
    ):
        choose(found)
    touch(tmp_path / "x", *(f"{name}/{n}.npy" for name in ("cup", "mug") for n in range(9)))
    found = listed(tmp_path / "x")
    with pytest.raises(DataError, match="there is no validation split; give its share"):
        choose(found, split="validation")
    rule = SplitRule(validation_share=0.2)
    sides = [set(choose(found, split=s, rule=rule)[0]) for s in ("train", "validation", "test")]
    assert sorted(map(len, sides)) == [2, 4, 12] and not sides[0] & sides[1]
    touch(tmp_path / "y", "train/cup/a.npy", "train/mug/b.npy", "test/cup/c.npy")
    with pytest.raises(DataError, match="the test split has no recording of mug"):
        choose(listed(tmp_path / "y"), classes=("mug",))
