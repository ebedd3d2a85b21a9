"""Recipes: what is read is what is written, and everything else is refused by name."""

from __future__ import annotations

from pathlib import Path

import pytest

from lmht_deploy.errors import RecipeError
from training import recipe
from training.recipe import AugmentationRecipe, DataRecipe, NetworkRecipe, PaperRecipe, Recipe, TrainingRecipe

SMALL = {"data": {"name": "digits"}, "network": {"architecture": "residual-small"}}


def test_defaults() -> None:
    assert recipe.parse(SMALL) == Recipe(
        data=DataRecipe(name="digits"),
        augmentation=AugmentationRecipe(),
        network=NetworkRecipe(architecture="residual-small"),
        training=TrainingRecipe(),
        paper=PaperRecipe(),
    )


@pytest.mark.parametrize("name", recipe.packaged())
def test_packaged_recipes_and_round_trip(name: str, tmp_path: Path) -> None:
    found = recipe.load(name)
    assert found.network.neuron == "lmht"
    path = tmp_path / "recipe.toml"
    path.write_text(recipe.dumps(found))
    assert recipe.load(path) == found


def test_packaged_names() -> None:
    assert {"digits", "nmnist"} <= set(recipe.packaged())


def test_overrides() -> None:
    found = recipe.load("digits", ["training.epochs=3", "training.optimiser=sgd", 'network.neuron="mht"', "training.rate = 1", "augmentation.mirror=true"])
    assert found.augmentation.mirror
    assert (found.training.epochs, found.training.optimiser, found.network.neuron, found.training.rate) == (3, "sgd", "mht", 1.0)
    assert found.data == recipe.load("digits").data


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("training.epoch=3", r"unknown key of \[training\] 'epoch' in the recipe; there are epochs, batch, optimiser"),
        ("train.epochs=3", "unknown section 'train' in the recipe; there are data, augmentation, network, training, paper"),
        ("training.epochs=0", "training.epochs must lie within 1..100000, not be 0"),
        ("training.epochs=2.5", "training.epochs must be an integer, within 1..100000, not 2.5"),
        ("training.epochs=true", "training.epochs must be an integer"),
        ("training.rate=nan", "training.rate must lie within 1e-09..100, not be nan"),
        ("training.rate=fast", "training.rate must be a number, within 1e-09..100, not 'fast'"),
        ("augmentation.mirror=1", "augmentation.mirror must be true or false, not 1"),
        ("training.optimiser=adam", "training.optimiser must be one of adamw, sgd, not 'adam'"),
        ("network.architecture=3", "network.architecture must be text, one of residual-small"),
        ("data.name=3", "data.name must be text, not 3"),
        ("training.epochs", "an override has the form section.key=value"),
        ("epochs=3", "an override has the form section.key=value"),
        ("network.neuron=if", "network.neuron 'if' has one level: network.levels must be 1, not 2"),
        ("network.neuron=qcfs", "network.neuron 'qcfs' has network.steps 1 and network.v0 0.5, not 4 and 0.0"),
        ("data.steps=7", None),
    ],
)
def test_wrong_values(override: str, message: str | None) -> None:
    if message is None:  # a T-GIM may be rectangular
        assert recipe.load("digits", [override]).data.steps == 7
        return
    with pytest.raises(RecipeError, match=message):
        recipe.load("digits", [override])


def test_neurons_without_mixing_need_equal_steps() -> None:
    with pytest.raises(RecipeError, match=r"network.neuron 'mht' has no T-GIM: network.steps \(4\) must be data.steps \(8\)"):
        recipe.load("digits", ["network.neuron=mht", "data.steps=8"])


def test_missing_key() -> None:
    with pytest.raises(RecipeError, match=r"the recipe lacks network.architecture, one of residual-small"):
        recipe.parse({"data": {"name": "digits"}})
    with pytest.raises(RecipeError, match=r"key of \[data\] must be a table, not 3"):
        recipe.parse(SMALL | {"data": 3})


def test_files_that_are_not_recipes(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=r"there is no recipe 'digit'; there are cifar10-cpu"):
        recipe.load("digit")
    with pytest.raises(RecipeError, match=r"absent.toml: cannot be read"):
        recipe.load(tmp_path / "absent.toml")
    for content in (b"[data", b"\xff\xfe"):
        (tmp_path / "bad.toml").write_bytes(content)
        with pytest.raises(RecipeError, match=r"bad.toml: is not TOML"):
            recipe.load(tmp_path / "bad.toml")
