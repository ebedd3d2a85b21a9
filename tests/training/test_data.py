"""The data of a training run: the splits of a recipe's data set, and what differs between them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from lmht_deploy import reference
from lmht_deploy.data import images
from lmht_deploy.errors import DataError
from lmht_deploy.training import data, recipe
from lmht_deploy.training.loop import train
from lmht_deploy.training.lowering import lower
from tests.support import recordings
from tests.support.images import write_parquet


def test_images_train_and_lower(tmp_path: Path) -> None:
    """Dark and bright images: one input step, signed pixels; the input counts as MACs."""
    rng = np.random.default_rng(0)
    for split, number in (("train", 80), ("test", 20)):
        labels = rng.integers(0, 2, number)
        pixels = [
            (rng.integers(0, 128, (8, 8, 3)) + 128 * label).astype(np.uint8) for label in labels
        ]
        write_parquet(tmp_path / f"{split}.parquet", pixels, labels.tolist())
    plan = recipe.load_recipe(
        "digits",
        [
            "data.name=cifar10",
            "data.steps=1",
            "training.epochs=2",
            "training.batch_size=10",
            "augmentation.flip=true",
        ],
    )
    loaded = data.load_data(plan, root=tmp_path)
    run = train(plan, loaded, tmp_path / "run")
    assert run.accuracy >= 0.9
    net = lower(run.model, run.input)
    assert (net.input.min_value, net.input.max_value, net.input.kind) == (-128, 127, "image")
    result = reference.run(net, loaded.test.windows)
    assert (result.predictions == loaded.test.labels).mean() >= 0.9
    assert result.macs == {"convolution0.neuron": (8 * 3 - 2) ** 2 * 16 * 3}


def test_training_on_images_that_are_decoded_when_used(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for split, number in (("train", 64), ("validation", 16)):
        labels = rng.integers(0, 2, number)
        sizes = rng.integers(9, 14, (number, 2))
        pixels = [
            (rng.integers(0, 128, (*size, 3)) + 128 * label).astype(np.uint8)
            for size, label in zip(sizes, labels, strict=True)
        ]
        write_parquet(tmp_path / f"{split}.parquet", pixels, labels.tolist(), img="image")
    overrides = [
        "data.name=imagenet",
        "data.steps=1",
        "data.size=8",
        "augmentation.crop_scale=0.2",
        "augmentation.flip=true",
    ]
    plan = recipe.load_recipe("digits", [*overrides, "training.epochs=3", "training.batch_size=16"])
    loaded = data.load_data(plan, root=tmp_path)
    assert train(plan, loaded, tmp_path / "run").accuracy >= 0.9


def test_unknown_data_set() -> None:
    """The message names what there is, images among them."""
    with pytest.raises(
        DataError,
        match=r"unknown data set 'cifar-10'; did you mean 'cifar10'\? The data sets are digits,",
    ) as caught:
        data.load_data(recipe.load_recipe("digits", ["data.name=cifar-10"]))
    assert all(name in str(caught.value) for name in images.SETS)


def test_nmnist() -> None:
    pytest.importorskip("tonic")
    loaded = data.load_data(recipe.load_recipe("nmnist"), root=recordings.data("nmnist_small"))
    assert (
        loaded.kind == "events"
        and loaded.train.windows.shape == (1000, 4, 2, 34, 34)
        and len(loaded.test.windows) == 100
    )


def test_events_are_down_sampled_and_cached(tmp_path: Path) -> None:
    whole, small = (
        data.load_data(recipe.load_recipe("digits", overrides), cache=tmp_path)
        for overrides in ([], ["data.size=8"])
    )
    assert whole.test.windows.shape[1:] == (4, 2, 16, 16) and small.test.windows.shape[1:] == (
        4,
        2,
        8,
        8,
    )
    folded = whole.test.windows.reshape(-1, 4, 2, 8, 2, 8, 2).sum((4, 6))
    np.testing.assert_array_equal(small.test.windows, folded)
