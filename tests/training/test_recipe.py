"""Recipes: what is written is read, and everything else is refused by name."""

from __future__ import annotations

import dataclasses
import tomllib
from pathlib import Path

import numpy as np
import pytest
import torch

from lmht_deploy.data import WindowRule, Windows, images
from lmht_deploy.errors import RecipeError
from lmht_deploy.training import data, recipe, runs
from lmht_deploy.training.loop import train
from lmht_deploy.training.recipe import (
    AugmentationRecipe,
    DataRecipe,
    NetworkRecipe,
    PaperRecipe,
    Recipe,
    TrainingRecipe,
)

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
def test_packaged_recipes_train_and_round_trip(name: str, tmp_path: Path) -> None:
    """One step of a narrow network on data of the recipe's shape; the run holds the recipe."""
    found = recipe.load_recipe(
        name,
        [
            "network.width=0.02",
            "training.epochs=1",
            "training.batch_size=4",
            "training.warmup_epochs=0",
            "training.start=",
        ],
    )
    run = train(found, fake(found), tmp_path / "run")
    assert len(run.metrics) == 1 and runs.load_run(tmp_path / "run").recipe == found
    assert run.model(torch.from_numpy(fake(found).test.windows[:2]).float()).shape == (2, 3)


def fake(found: Recipe) -> data.Data:
    """Eight windows of three classes."""
    events = found.data.name not in images.SETS
    size = found.data.size or (34 if events else images.SETS[found.data.name].size)
    rng = np.random.default_rng(0)
    pixels = (
        rng.integers(0, 3, (8, found.data.steps, 2, size, size))
        if events
        else rng.integers(-128, 128, (8, found.data.steps, 3, size, size))
    )
    windows = Windows(
        pixels.astype(np.uint8 if events else np.int8),
        rng.integers(0, 3, 8),
        ("a", "b", "c"),
        "events" if events else "image",
    )
    return data.Data(windows, windows)


I100, I1K, TINY, DVS = (
    ("imagenet", 100),
    ("imagenet", 0),
    ("tiny-imagenet", 0),
    ("tonic:CIFAR10DVS", 0),
)
C10, C100 = ("cifar10", 0), ("cifar100", 0)
# Of the paper: table, data set (and its number of classes), architecture, neurons, L, T, accuracy,
# SOPs (G) and energy (mJ).
ROWS = [
    ("1", I100, "resnet-18-imagenet", "if", 1, 4, 76.22, 1.60, 1.44),
    ("1", I100, "resnet-18-imagenet", "mht", 2, 2, 80.52, 1.08, 0.97),
    ("1", I100, "resnet-18-imagenet", "lmht", 2, 2, 80.56, 0.73, 0.66),
    ("1", I100, "resnet-34", "if", 1, 4, 65.62, 3.20, 2.88),
    ("1", I100, "resnet-34", "mht", 2, 2, 82.18, 2.42, 2.18),
    ("1", I100, "resnet-34", "lmht", 2, 2, 82.72, 1.72, 1.55),
    ("2", TINY, "vgg-13", "lmht", 2, 2, 61.64, 0.26, 0.23),
    ("2", TINY, "resnet-18", "lmht", 2, 2, 64.44, 0.52, 0.46),
    ("3", C10, "resnet-18", "lmht", 2, 2, 96.25, 0, 0),
    ("3", C10, "resnet-19", "lmht", 2, 2, 96.89, 0, 0),
    ("3", C100, "resnet-18", "lmht", 2, 2, 79.33, 0, 0),
    ("3", C100, "resnet-19", "lmht", 2, 2, 81.76, 0, 0),
    ("3", TINY, "vgg-13", "lmht", 2, 2, 61.09, 0, 0),
    ("3", TINY, "vgg-13", "lmht", 2, 4, 61.75, 0, 0),
    ("3", TINY, "vgg-13", "lmht", 4, 2, 62.05, 0, 0),
    ("3", I1K, "resnet-34", "lmht", 2, 2, 70.90, 0, 0),
    ("3", DVS, "resnet-18-dvs", "lmht", 2, 2, 80.70, 0, 0),
    ("3", DVS, "resnet-18-dvs", "lmht", 2, 4, 81.00, 0, 0),
    ("3", DVS, "resnet-18-dvs", "lmht", 4, 2, 81.90, 0, 0),
    *(
        ("4", C100, "vgg-16", "qcfs", n, 1, accuracy, 0, 0)
        for n, accuracy in ((4, 76.11), (8, 77.31))
    ),
    *(
        ("4", C100, "resnet-20", "qcfs", n, 1, accuracy, 0, 0)
        for n, accuracy in ((4, 63.90), (8, 69.56))
    ),
]
# Table 4, accuracy by architecture and levels of the ANN: for L = 2, T = 2; L = 2, T = 4; L = 4,
# T = 2.
HYBRID = {
    ("vgg-16", 4): (75.97, 76.49, 76.38),
    ("vgg-16", 8): (76.31, 76.79, 76.08),
    ("resnet-20", 4): (63.55, 64.87, 63.43),
    ("resnet-20", 8): (67.08, 69.00, 67.21),
}


def row(plan: Recipe) -> tuple[object, ...]:
    paper, network = plan.paper, plan.network
    data_set = (plan.data.name, plan.data.max_classes)
    return (
        paper.table,
        data_set,
        network.architecture,
        network.neuron,
        network.levels,
        network.steps,
        paper.accuracy,
        paper.sops,
        paper.energy,
    )


def test_every_row_of_the_paper_has_a_recipe() -> None:
    """And no recipe claims another one."""
    hybrid = [
        ("4", C100, architecture, "lmht", levels, steps, accuracy, 0, 0)
        for (architecture, _), figures in HYBRID.items()
        for (levels, steps), accuracy in zip(((2, 2), (2, 4), (4, 2)), figures, strict=True)
    ]
    plans = {name: recipe.load_recipe(name) for name in recipe.packaged()}
    found = [
        row(plan) for name, plan in plans.items() if plan.paper.table and name != "cifar10-fast"
    ]
    assert sorted(found, key=str) == sorted([*ROWS, *hybrid], key=str)
    assert row(plans["cifar10-fast"]) == row(plans["cifar10-resnet-18"])


def test_hybrid_recipes_begin_where_their_ann_ends() -> None:
    """The name states the levels of the ANN.

    At most 30 epochs, and the v0 that Theorem 4.4 needs.
    """
    for (architecture, levels), figures in HYBRID.items():
        ann = recipe.load_recipe(f"cifar100-{architecture}-qcfs-{levels}")
        assert (ann.network.neuron, ann.network.levels, ann.network.architecture) == (
            "qcfs",
            levels,
            architecture,
        )
        for (own, steps), accuracy in zip(((2, 2), (2, 4), (4, 2)), figures, strict=True):
            plan = recipe.load_recipe(f"cifar100-{architecture}-hybrid-{levels}-l{own}-t{steps}")
            assert (
                plan.network.levels,
                plan.network.steps,
                plan.network.v0,
                plan.paper.accuracy,
            ) == (own, steps, 0.5, accuracy)
            assert plan.training.epochs <= 30 and (plan.data, plan.network.architecture) == (
                ann.data,
                architecture,
            )
            assert plan.training.start == f"cifar100-{architecture}-qcfs-{levels}"


def test_extends(tmp_path: Path) -> None:
    (tmp_path / "base.toml").write_text(
        'extends = "digits"\n[network]\nlevels = 4\n[training]\nlearning_rate = 0.1\n'
    )
    (tmp_path / "deeper").mkdir()
    path = tmp_path / "deeper" / "mine.toml"
    path.write_text(
        'extends = "../base.toml"\n[training]\nlearning_rate = 0.2\n[paper]\naccuracy = 50\n'
    )
    found = recipe.load_recipe(path, ["training.epochs=3"])
    expected = recipe.load_recipe(
        "digits",
        [
            "network.levels=4",
            "training.learning_rate=0.2",
            "training.epochs=3",
            "paper.accuracy=50",
        ],
    )
    assert found == expected and found.paper.accuracy == 50
    (tmp_path / "base.toml").write_text('extends = "deeper/mine.toml"\n')
    with pytest.raises(RecipeError, match=r"mine\.toml extends itself, through"):
        recipe.load_recipe(path)
    for content, message in (
        ("extends = 3", "extends must be the name or the path of a recipe, not 3"),
        ('extends = "fly"', "unknown recipe 'fly'"),
        (f'extends = "{"A" * 5000}"', "unknown recipe 'AAA"),
    ):
        path.write_text(content)
        with pytest.raises(RecipeError, match=message):
            recipe.load_recipe(path)
    path.write_text('extends = "absent.toml"')
    with pytest.raises(RecipeError, match=r"deeper.absent\.toml: cannot be read"):
        recipe.load_recipe(path)


def test_packaged_names() -> None:
    assert {"digits", "nmnist"} <= set(recipe.packaged())


def test_overrides() -> None:
    found = recipe.load_recipe(
        "digits",
        [
            "training.epochs=3",
            "training.optimizer=sgd",
            'network.neuron="mht"',
            "training.learning_rate = 1",
            "augmentation.flip=true",
        ],
    )
    own = recipe.load_recipe("recordings", ["data.label_by=2", 'data.group_by="1"']).data
    assert (own.label_by, own.group_by) == ("2", "1")
    assert found.augmentation.flip
    assert (
        found.training.epochs,
        found.training.optimizer,
        found.network.neuron,
        found.training.learning_rate,
    ) == (3, "sgd", "mht", 1.0)
    assert found.data == recipe.load_recipe("digits").data


@pytest.mark.parametrize(
    ("override", "message"),
    [
        (
            "training.epoch=3",
            r"unknown training key 'epoch'; did you mean 'epochs'\?",
        ),
        (
            "train.epochs=3",
            r"unknown section 'train'; did you mean 'training'\?",
        ),
        ("training.epochs=0", "training.epochs must be within 1..100000, not 0"),
        ("training.epochs=2.5", "training.epochs must be an integer within 1..100000, not 2.5"),
        ("training.epochs=true", "training.epochs must be an integer"),
        (
            "training.learning_rate=nan",
            "training.learning_rate must be within 1e-09..100, not nan",
        ),
        (
            "training.learning_rate=fast",
            "training.learning_rate must be a number within 1e-09..100, not 'fast'",
        ),
        ("training.learning_rate=1" + "0" * 400, "training.learning_rate must be within"),
        ("augmentation.flip=1", "augmentation.flip must be true or false, not 1"),
        ("training.optimizer=adam", "training.optimizer must be one of adamw, sgd, not 'adam'"),
        (
            "network.architecture=true",
            "network.architecture must be a string, one of residual-small",
        ),
        ("data.name=true", "data.name must be a string, not True"),
        ("training.epochs", "an override has the form section.key=value"),
        ("epochs=3", "an override has the form section.key=value"),
        ("network.neuron=if", "network.neuron 'if' has one level: network.levels must be 1, not 2"),
        (
            "network.neuron=qcfs",
            "network.neuron 'qcfs' has network.steps 1 and network.v0 0.5, not 4 and 0.0",
        ),
        ("network.neuron=relu", "network.neuron 'relu' has network.steps 1, not 4"),
        (
            "augmentation.crop_scale=0.5",
            "augmentation.crop_scale is for images of different sizes, .*, not for digits",
        ),
        ("data.classes=5", r"data.classes must be a list of names, as \["),
        ("data.classes=[3]", r"data.classes must be a list of names, .*, not \[3\]"),
        ("data.max_classes=-1", r"data.max_classes must be within 0\.\.65536, not -1"),
        ("data.fold=3/2", r"\[data\] a fold is given as I/K with 1 <= I <= K"),
        ("data.group_by=(", r"\[data\] group_by '\(' is not a regular expression"),
        (
            "augmentation.auto_augment=svhn",
            "augmentation.auto_augment must be one of none, cifar10, imagenet, rand, trivial, not "
            "'svhn'",
        ),
        ("data.steps=7", None),
    ],
)
def test_wrong_values(override: str, message: str | None) -> None:
    if message is None:  # a T-GIM may be rectangular
        assert recipe.load_recipe("digits", [override]).data.steps == 7
        return
    with pytest.raises(RecipeError, match=message):
        recipe.load_recipe("digits", [override])


def test_a_list_of_classes() -> None:
    """As TOML or as text with commas; it is read back from what is written."""
    for override in ('data.classes=["a", "b=c"]', "data.classes=a, b=c"):
        found = recipe.load_recipe("digits", [override])
        assert found.data.classes == ("a", "b=c")
        assert recipe.parse(tomllib.loads(recipe.dumps(found))) == found
    with pytest.raises(RecipeError, match=r"give data\.classes or data\.max_classes"):
        recipe.load_recipe("digits", ["data.classes=a", "data.max_classes=1"])


def test_neurons_without_mixing_need_equal_steps() -> None:
    with pytest.raises(
        RecipeError,
        match=r"network.neuron 'mht' has no T-GIM: data.steps must be 1 or equal "
        r"network.steps \(4\), not 8",
    ):
        recipe.load_recipe("digits", ["network.neuron=mht", "data.steps=8"])


def test_missing_key() -> None:
    with pytest.raises(
        RecipeError, match=r"the recipe lacks network.architecture, one of residual-small"
    ):
        recipe.parse({"data": {"name": "digits"}})
    with pytest.raises(RecipeError, match=r"\[data\] must be a section of the recipe, not 3"):
        recipe.parse(SMALL | {"data": 3})


def test_files_that_are_not_recipes(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=r"unknown recipe 'digit'; did you mean 'digits'\?"):
        recipe.load_recipe("digit")
    with pytest.raises(RecipeError, match=r"absent.toml: cannot be read"):
        recipe.load_recipe(tmp_path / "absent.toml")
    for content in (b"[data", b"\xff\xfe", b"data = " + b"[" * 9999):
        (tmp_path / "bad.toml").write_bytes(content)
        with pytest.raises(RecipeError, match=r"bad.toml: is not valid TOML"):
            recipe.load_recipe(tmp_path / "bad.toml")
    (tmp_path / "bad.toml").write_text('data = 3\nextends = "digits"')
    with pytest.raises(RecipeError, match=r"bad.toml: 'data' must be a section, not 3"):
        recipe.load_recipe(tmp_path / "bad.toml", ["data.steps=2"])


def test_a_huge_file_is_refused_before_it_is_parsed(tmp_path: Path) -> None:
    path = tmp_path / "huge.toml"
    with path.open("wb") as file:
        file.truncate(2**33)
    with pytest.raises(RecipeError, match=r"huge\.toml: is larger than 1,048,576 bytes"):
        recipe.load_recipe(path)


def test_unknown_names_suggest_close_ones() -> None:
    with pytest.raises(RecipeError, match=r"'cifar10-resnet18'; did you mean 'cifar10-resnet-18'"):
        recipe.load_recipe("cifar10-resnet18")
    with pytest.raises(RecipeError, match="unknown recipe 'x'; the recipes are cifar10-cpu, "):
        recipe.load_recipe("x")
    with pytest.raises(RecipeError, match="key 'fly'; the training keys are epochs, batch_size"):
        recipe.load_recipe("digits", ["training.fly=1"])


def test_available_recipes() -> None:
    found = recipe.available_recipes()
    assert tuple(found) == recipe.packaged()
    assert found["cifar10-resnet-18"] == (
        "resnet-18 on cifar10, LM-HT (L=2, T=2); paper, Table 3: 96.25 %"
    )
    assert found["table1-resnet-18-if"] == (
        "resnet-18-imagenet on imagenet (100 classes), IF (L=1, T=4); paper, Table 1: 76.22 %"
    )
    assert found["digits"] == "residual-small on digits, LM-HT (L=2, T=4)"
    assert found["cifar10-fast-relu"] == "resnet-18 on cifar10, ReLU"


@pytest.mark.parametrize(
    ("name", "keys"),
    [
        ("relu", {"neuron", "steps"}),
        ("mht", {"neuron"}),
        ("if", {"neuron", "levels", "steps"}),
        ("l4", {"levels"}),
        ("qcfs", {"neuron", "levels", "steps", "v0"}),
    ],
)
def test_recipes_to_compare_differ_in_neurons_alone(name: str, keys: set[str]) -> None:
    base, plan = recipe.load_recipe("cifar10-fast"), recipe.load_recipe(f"cifar10-fast-{name}")
    before, after = dataclasses.asdict(base.network), dataclasses.asdict(plan.network)
    assert {key for key, value in after.items() if value != before[key]} == keys
    assert dataclasses.replace(plan, network=base.network, paper=base.paper) == base
    assert plan.paper == recipe.PaperRecipe()  # no table of the paper is of this recipe


def test_keys_are_described() -> None:
    keys = {key.key: key for key in recipe.recipe_keys()}
    values = dataclasses.asdict(recipe.load_recipe("digits"))
    assert list(keys) == [
        f"{section}.{name}" for section, names in values.items() for name in names
    ]
    assert all(key.meaning and key.type in recipe._ARTICLES for key in keys.values())
    epochs = keys["training.epochs"]
    assert (epochs.type, epochs.default, epochs.range) == ("integer", 20, "1..100000")
    assert keys["training.optimizer"].range == "one of adamw, sgd"
    assert keys["data.name"].default is None and keys["data.name"].range == ""
    assert {key.key for key in keys.values() if key.default is None} == {
        "data.name",
        "network.architecture",
    }


def test_a_folder_with_any_name_is_read_back() -> None:
    for name in ("data/T\u00fcr \U0001f600", 'a "b" \\ c'):
        found = recipe.parse(SMALL | {"data": {"name": name}})
        assert recipe.parse(tomllib.loads(recipe.dumps(found))).data.name == name


def test_windows_of_a_recipe() -> None:
    overrides = ["data.by=time", "data.length=50_000", "data.hop=1"]
    found = recipe.load_recipe("recordings", overrides).data
    assert found.rule == WindowRule(4, "time", 50_000, 1) and not found.incomplete
    assert recipe.load_recipe("digits").data.rule == WindowRule(4)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("data.length=50", r"\[data\] windows by recording have no length"),
        ("data.by=time", r"\[data\] windows by time need a length >= 1 \(microseconds\), not 0"),
        ("data.by=frames", "data.by must be one of recording, time, events, not 'frames'"),
        ("data.hop=5", r"\[data\] the hop of windows of 4 bins must be 1 to 4 bins, not 5"),
        ("data.hop=2", r"\[data\] there is one window by recording, and no hop"),
        ("augmentation.thin=1", "augmentation.thin must be within 0..0.95, not 1"),
    ],
)
def test_windows_that_do_not_fit(override: str, message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        recipe.load_recipe("digits", [override])
    with pytest.raises(RecipeError, match=r"multiple of 4 microseconds, not 50"):
        recipe.load_recipe("digits", ["data.by=time", "data.length=50"])
    with pytest.raises(
        RecipeError, match=r"data\.by is for recordings, not for the images of cifar"
    ):
        recipe.load_recipe("cifar10-cpu", ["data.by=events", "data.length=50"])
