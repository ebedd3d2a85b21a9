"""Energy models: their files, what they price, and how."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from lmht_deploy.analysis import energy
from lmht_deploy.analysis.counts import GRADED, SINGLE_THRESHOLD, Counts, LayerCounts
from lmht_deploy.errors import LmhtError, StorageError

MODEL = """
name = "mine"
view = "graded"
source = "my bench"

[picojoules]
sop = 1.5
"""


def layer(name: str = "a", weights: int = 4096, outputs: int = 2048) -> LayerCounts:
    """Two windows of EVENTS (5, 4, 50, 40, 6) and twice that; 512 biases, 4096 inputs."""
    columns = (np.array([[n], [2 * n]]) for n in (5, 4, 50, 40, 6))
    return LayerCounts(name, 10, 2, 3, 99, weights, outputs, 512, 4096, 90, *columns)


def counts(view: str = GRADED, *layers: LayerCounts) -> Counts:
    return Counts(view, layers or (layer(),))


def test_every_packaged_model_is_cited_and_says_what_it_leaves_out() -> None:
    assert list(energy.MODELS) == [
        *("45nm", "45nm-sops", "int8-ann", "int8-ann-memory"),
        *("loihi1", "loihi1-sops", "memory"),
    ]
    for name, model in energy.MODELS.items():
        assert model.name == name and model.source and model.leaves_out
        assert model.url.startswith("https://doi.org/")
        assert energy.energy_model(name) is model
        assert all(text.endswith(".") for text in model.leaves_out)


@pytest.mark.parametrize(
    ("name", "picojoules"),
    [
        ("45nm", 50 * 0.9 + 3 * 4.6),
        ("45nm-sops", 50 * 0.9),
        ("loihi1-sops", 53 * 23.6),
        # access, update, spike out, message and hop of 20 updates and 4 spikes; dense synapses
        ("loihi1", 20 * (51.2 + 21.6) + 4 * (69.3 + 111.0 + 3.6) + 43 * 35.5),
        # weights of 4 KiB: 5 pJ; biases of 2 KiB: 2.5 pJ; states of 8 KiB: 10 pJ; 43 weights,
        # 20 biases and 63 states are read
        (
            "memory",
            (40 * 0.2 + 6 * 6.4 + 3 * 3.2 + 20 * 0.1 + 4 * 0.1) + (43 * 5 + 20 * 2.5 + 63 * 10 * 2),
        ),
        ("int8-ann", 99 * 0.23),
        # inputs of 4 KiB: 5 pJ; outputs of 2 KiB: 2.5 pJ
        (
            "int8-ann-memory",
            99 * 0.23 + 2048 * 0.03 + 99 * 5 + 2048 * 2.5 + 90 * 5 + 2048 * 2.5,
        ),
    ],
)
def test_packaged_models(name: str, picojoules: float) -> None:
    model = energy.MODELS[name]
    view = GRADED if model.view == energy.DENSE else model.view
    found = energy.estimate(counts(view), model)
    assert found.joules[0] * 1e12 == pytest.approx(picojoules)


def test_an_estimate_has_parts_and_layers() -> None:
    model = energy.MODELS["45nm"]
    found = energy.estimate(counts(GRADED, layer("a"), layer("b")), model)
    sops, macs = 75 * 0.9e-12, 3 * 4.6e-12
    assert found.parts == {"sop": pytest.approx(2 * sops), "mac": pytest.approx(2 * macs)}
    assert found.layers == dict.fromkeys("ab", pytest.approx(sops + macs))
    low, high = found.interval
    assert found.joules[0] < low < high < found.joules[1]


@pytest.mark.parametrize(
    ("size", "picojoules"),
    [
        (0, 0),
        (2048, 2.5),
        (8192, 10),
        (20480, 15),
        (2**20, 100),
        (2**21, 100 + 80 * 2**20 / (2**20 - 32768)),
    ],
)
def test_the_energy_of_an_access_grows_with_the_memory(size: int, picojoules: float) -> None:
    price = energy.MODELS["memory"].picojoules["weight_read"]
    assert energy._interpolate(price, size) == pytest.approx(picojoules)


def test_counts_of_another_view_are_refused() -> None:
    with pytest.raises(LmhtError, match="'loihi1' is for the single_threshold view, not for the g"):
        energy.estimate(counts(GRADED), energy.MODELS["loihi1"])
    with pytest.raises(LmhtError, match="'int8-ann' is for the graded view"):
        energy.estimate(counts(SINGLE_THRESHOLD), energy.MODELS["int8-ann"])


def test_a_model_of_the_user(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(MODEL + "weight_read = [[0, 1], [1000, 3]]\n")
    model = energy.energy_model(str(path))
    assert (model.name, model.title, model.leaves_out, model.url) == ("mine", "mine", (), "")
    assert energy.estimate(counts(), model).joules[0] * 1e12 == pytest.approx(
        50 * 1.5 + 43 * (1 + 2 * 4.096)
    )


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("[", "{", "is not TOML"),
        ('name = "mine"', "", "'name' is missing"),
        ('name = "mine"', "name = 3", "'name' must be a text"),
        ('"graded"', '"grated"', "unknown view 'grated'"),
        ("sop = 1.5", "sops = 1", "unknown unit 'sops'.*did you mean 'sop'"),
        ("sop = 1.5", "sop = -1", "'sop' must be a number >= 0"),
        ("sop = 1.5", "sop = nan", "'sop' must be a number >= 0"),
        ("sop = 1.5", "sop = true", "'sop' must be a number >= 0"),
        ("sop = 1.5", "sop = [[0, 1], [1, 2]]", "'sop' must be a number >= 0$"),
        ("sop = 1.5", "weight_read = [[9, 1], [1, 2]]", "two points .* of increasing size"),
        ("sop = 1.5", "weight_read = [[9, 1]]", "two points"),
        ("sop = 1.5", "", "'picojoules' must be a table"),
        ("sop = 1.5", "dense_mac = 1", "unknown unit 'dense_mac'"),
        ("source", "sauce", "unknown key 'sauce'"),
        ("[pico", 'leaves_out = "memory"\n[pico', "'leaves_out' must be a list of texts"),
    ],
)
def test_a_wrong_model_is_refused(tmp_path: Path, old: str, new: str, message: str) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(MODEL.replace(old, new))
    with pytest.raises(LmhtError, match=message) as error:
        energy.energy_model(path)
    assert str(path) in str(error.value)


def test_a_file_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="no such file"):
        energy.energy_model(tmp_path / "none.toml")
    (tmp_path / "large.toml").write_bytes(b"#" * (energy.MAX_FILE + 1))
    with pytest.raises(StorageError, match="is larger than"):
        energy.energy_model(tmp_path / "large.toml")
    (tmp_path / "binary.toml").write_bytes(b"\xff\xfe")
    with pytest.raises(StorageError, match="cannot be read"):
        energy.energy_model(tmp_path / "binary.toml")


def test_the_page_names_every_unit() -> None:
    page = Path(__file__).parents[2] / "docs" / "explanation" / "energy.md"
    text = page.read_text(encoding="utf-8")
    assert [
        unit for units in energy.UNITS.values() for unit in units if f"`{unit}`" not in text
    ] == []
