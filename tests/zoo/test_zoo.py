"""The zoo: every network is what its card says, and a name leads nowhere else."""

from __future__ import annotations

import json
import re
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import lmht_deploy as lmht
from benchmarks import zoo as tool
from lmht_deploy import data, zoo
from lmht_deploy.errors import StorageError
from lmht_deploy.training.recipe import load_recipe
from lmht_deploy.zoo import _names as names
from lmht_deploy.zoo._cards import read_card
from tests.cli.test_cli import lmht as command
from tests.cli.test_cli import refused

MAX_BYTES = 3_000_000
"""Size of all files of the zoo in the package."""

CARDS = zoo.cards()
PACKAGED = [card for card in CARDS if zoo.has_network(card)]
WITH_SAMPLE = [card for card in CARDS if card.sample]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the zoo."""
    copy = tmp_path / "zoo"
    shutil.copytree(names.FOLDER, copy)
    monkeypatch.setattr(names, "FOLDER", copy)
    return copy


# ------------------------------------------------------------------------------------- the cards


def test_the_zoo_is_small() -> None:
    assert sum(path.stat().st_size for path in names.FOLDER.iterdir() if path.is_file()) < MAX_BYTES


def test_every_file_has_a_card() -> None:
    files = {path.name for path in names.FOLDER.iterdir() if path.suffix not in ("", ".py")}
    expected = {f"{card.name}.toml" for card in CARDS}
    expected |= {f"{card.name}.lmht" for card in PACKAGED}
    expected |= {f"{card.name}.raw" for card in WITH_SAMPLE}
    assert files == expected


@pytest.mark.parametrize("card", PACKAGED, ids=lambda card: card.name)
def test_a_network_is_that_of_its_card(card: zoo.Card) -> None:
    path = zoo.network_path(f"zoo:{card.name}")
    assert path.stat().st_size == card.bytes
    net = lmht.load(f"zoo:{card.name}")
    assert net.integer and net.metadata["data"] == card.data
    assert float(net.metadata["accuracy of the trained network"]) == card.accuracy_float
    assert json.loads(net.metadata.get("split", "{}")).get("scheme", "") == card.split_scheme


@pytest.mark.parametrize("card", CARDS, ids=lambda card: card.name)
def test_a_card_is_complete(card: zoo.Card) -> None:
    name, *overrides = card.recipe.split()
    assert load_recipe(name, overrides).data.name in (card.data, name)
    assert card.build and all(line.startswith("lmht ") for line in card.build)
    assert 0 < card.accuracy_integer <= 1 and card.windows > 0 and card.sops > 0 and card.ms > 0
    assert len(card.sha256) == 64 and card.data_terms and card.terms


def test_the_accuracy_of_digits_is_that_of_its_card() -> None:
    pytest.importorskip("sklearn")
    card = zoo.find_card("digits")
    net = lmht.load("zoo:digits")
    test = data.load("digits", split="test", steps=4, by="time", length=100_000)
    result = lmht.run(net, test.windows)
    assert len(test) == card.windows
    assert (result.predictions == test.require_labels()).mean() == pytest.approx(
        card.accuracy_integer, abs=1e-6
    )
    assert sum(sops.mean() for sops in result.sops.values()) == pytest.approx(card.sops, abs=0.1)


@pytest.mark.parametrize("card", WITH_SAMPLE, ids=lambda card: card.name)
def test_a_recording_has_the_answers_of_its_card(card: zoo.Card) -> None:
    assert card.sample is not None
    net = lmht.load(f"zoo:{card.name}")
    rule = json.loads(net.metadata["window"])
    size, most = net.input.shape[1:], net.input.max_value
    found = data.load(f"zoo:{card.name}", **rule, size=size, max_count=most, incomplete=True)
    predictions = lmht.run(f"zoo:{card.name}", found.windows).predictions
    right = np.array(card.sample.answers) == np.array(net.class_names)[predictions]
    assert len(right) == len(card.sample.answers) and right.mean() > 0.9
    assert len(lmht.read_events(f"zoo:{card.name}").events) == found.provenance["events"]


# ------------------------------------------------------------------------------------- names


@pytest.mark.parametrize(
    "name", ["", ".", "..", "../digits", "digits/../digits", "/etc/passwd", "DIGITS", "digits.lmht"]
)
def test_a_name_is_never_a_path(name: str) -> None:
    for find in (zoo.network_path, zoo.recording_path, lmht.load, lmht.read_events):
        with pytest.raises(StorageError, match="unknown zoo network"):
            find(f"zoo:{name}")


def test_other_paths_stay() -> None:
    for path in ("net.lmht", Path("a/net.lmht"), "a/zoo:digits"):
        assert zoo.network_path(path) == zoo.recording_path(path) == Path(path)


def test_a_file_that_differs_is_refused(folder: Path) -> None:
    for suffix, find in ((".lmht", lmht.load), (".raw", lmht.read_events)):
        content = bytearray((folder / f"digits{suffix}").read_bytes())
        content[-1] ^= 1
        (folder / f"digits{suffix}").write_bytes(content)
        with pytest.raises(StorageError, match=rf"digits\{suffix}: has the SHA-256"):
            find("zoo:digits")


def test_a_network_beside_the_package_is_named_with_its_commands(folder: Path) -> None:
    (folder / "digits.lmht").rename(folder.parent / "mine.lmht")
    with pytest.raises(StorageError, match=r"does not come with the package .* says how to build"):
        lmht.load("zoo:digits")
    assert not zoo.has_network(zoo.find_card("digits"))
    assert zoo.check_file(folder.parent / "mine.lmht", zoo.find_card("digits").sha256)


def test_a_network_without_a_recording(folder: Path) -> None:
    text = (folder / "digits.toml").read_text().partition("[sample]")[0]
    (folder / "other.toml").write_text(text)
    with pytest.raises(StorageError, match=r"zoo:other: has no recording; .* zoo:digits"):
        lmht.read_events("zoo:other")
    assert zoo.find_card("other") == replace(zoo.find_card("digits"), name="other", sample=None)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("sops =", "# sops =", "the key 'sops' is missing or unknown"),
        ("sops =", "more = 1\nsops =", "the key 'more' is missing or unknown"),
        ("sops = 1126827.9", 'sops = "many"', "sops is 'many'"),
        ("windows = 359", "windows = true", "windows is True"),
        ("[sample]", "[sample]\npath = '/etc'", "the key 'path' is missing or unknown"),
        ("[sample]", "[sample", "is not a card"),
        ("[sample]", "[[sample]]", "sample is"),
    ],
)
def test_damaged_cards(folder: Path, old: str, new: str, message: str) -> None:
    path = folder / "digits.toml"
    path.write_text(path.read_text().replace(old, new))
    with pytest.raises(StorageError, match=message):
        read_card(path)


# ------------------------------------------------------------------------------- adding a network


EVALUATION = {"accuracy": 0.5, "windows": 4, "sops": {"a": [1, 3], "b": [5]}, "ms_per_window": 0.25}


def test_a_card_is_made_of_a_network_and_its_evaluation(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("sklearn")
    monkeypatch.setattr(tool, "FOLDER", folder)
    old, evaluation = zoo.find_card("digits"), tmp_path / "evaluation.json"
    evaluation.write_text(json.dumps(EVALUATION))
    given = [str(folder / "digits.lmht"), str(evaluation)]
    shutil.copyfile(given[0], tmp_path / "net.lmht")
    given[0] = str(tmp_path / "net.lmht")

    tool.main(["digits", *given])  # texts and recording stay
    card = zoo.find_card("digits")
    measured = {"accuracy_integer": 0.5, "windows": 4, "sops": 7.0, "ms": 0.25}
    assert card == replace(old, **measured, machine=card.machine)  # type: ignore[arg-type]

    with pytest.raises(SystemExit, match="a new card needs --title"):
        tool.main(["other", *given])
    texts = ["--title", "t", "--data-terms", "d", "--terms", "t", "--recipe", "digits"]
    tool.main(["other", *given, *texts, "--build", "lmht a", "--build", "lmht b", "--beside"])
    other = zoo.find_card("other")
    assert other.build == ("lmht a", "lmht b") and other.sample is None
    assert not zoo.has_network(other)

    tool.main(["digits", *given, "--sample", "2"])
    sample = zoo.find_card("digits").sample
    assert sample is not None and sample.answers == ("2", "8")
    assert lmht.read_events("zoo:digits").events["t"].max() < 200_000


def test_the_ship_is_made_by_the_command(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """It has the answer of the card; the emulator rounds differently on other processors."""
    monkeypatch.setattr(tool, "FOLDER", folder)
    before = (folder / "cifar10-dvs-emulated.toml").read_text()
    shipped = lmht.read_events("zoo:cifar10-dvs-emulated").events
    tool.main(["cifar10-dvs-emulated", "--sample", "ship"])
    made = lmht.read_events("zoo:cifar10-dvs-emulated").events
    assert len(made) == pytest.approx(len(shipped), rel=0.01)
    assert (folder / "cifar10-dvs-emulated.raw").stat().st_size < 100_000
    after = (folder / "cifar10-dvs-emulated.toml").read_text()
    assert re.sub("sha256.*", "", after) == re.sub("sha256.*", "", before)
    assert command("run", "zoo:cifar10-dvs-emulated", "--data", "zoo:cifar10-dvs-emulated") == 0
    assert "answers: ship (1)" in capsys.readouterr().out


# ------------------------------------------------------------------------------ the command line


def test_the_first_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert command("stream", "zoo:digits", "zoo:digits") == 0
    lines = capsys.readouterr().out.splitlines()
    sample = zoo.find_card("digits").sample
    assert sample is not None
    assert [line.split()[3] for line in lines] == list(sample.answers)


def test_verbs_take_a_name(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "net.net"
    for arguments in (
        ("run", "zoo:digits", "--data", "zoo:digits"),
        ("inspect", "zoo:digits"),
        ("export", "zoo:digits", "--out", out),
        ("compare", "zoo:digits", "--data", "zoo:digits", "--limit", 3, "--backends", "event"),
        ("events", "zoo:digits"),
    ):
        assert command(*arguments) == 0, arguments
        capsys.readouterr()
    assert "did you mean 'digits'" in refused(capsys, "run", "zoo:digit", "--data", "digits")


def test_the_list_and_a_card(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert command("zoo", "--json", tmp_path / "zoo.json") == 0
    assert "digits" in capsys.readouterr().out
    (digits,) = (
        card
        for card in json.loads((tmp_path / "zoo.json").read_text())["networks"]
        if card["name"] == "digits"
    )
    assert digits["in_package"] is True and digits["accuracy_integer"] > 0.97
    for name in ("digits", "zoo:digits"):
        assert command("zoo", name) == 0
        said = capsys.readouterr().out
        assert "CC BY 4.0" in said and "  lmht convert runs/digits --out digits.lmht" in said
    assert command("zoo", "digits", "--check", zoo.network_path("zoo:digits")) == 0
    capsys.readouterr()
    assert "has the SHA-256" in refused(capsys, "zoo", "digits", "--check", __file__)
    assert "needs the name" in refused(capsys, "zoo", "--check", __file__)
