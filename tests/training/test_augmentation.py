"""Augmentation: what it changes, what it preserves, and that only its seeds determine it."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from torch import Tensor

from lmht_deploy.errors import RecipeError
from lmht_deploy.training._augmentation import (
    GROUP,
    Augmentation,
    random_flip,
    random_shift,
    swap_polarity,
    thin_events,
)
from lmht_deploy.training.recipe import AugmentationRecipe

EVERYTHING = AugmentationRecipe(
    shift=2, roll=1, flip=True, rotate=20.0, auto_augment="cifar10", cutout=3, mixup=0.5, cutmix=0.5
)


def windows(
    number: int, steps: int = 1, channels: int = 3, size: int = 12
) -> tuple[Tensor, Tensor]:
    g = torch.Generator().manual_seed(0)
    return torch.randint(
        -128, 128, (number, steps, channels, size, size), generator=g
    ).float(), torch.randint(5, (number,), generator=g)


def treated(
    recipe: AugmentationRecipe, x: Tensor, labels: Tensor, seeds: list[int], *, image: bool = True
) -> tuple[Tensor, Tensor]:
    return Augmentation(recipe, 5, image=image)(x, labels, seeds)


def test_without_augmentation_nothing_is_touched() -> None:
    x, labels = windows(3)
    found, targets = treated(AugmentationRecipe(), x, labels, [7])
    assert found is x and targets is labels


def test_the_same_seeds_give_the_same_windows_in_any_company() -> None:
    """A process with the second half of a batch gets the second half of the whole batch."""
    x, labels = windows(2 * GROUP)
    state = torch.get_rng_state()
    whole, shares = treated(EVERYTHING, x, labels, [3, 4])
    half, half_shares = treated(EVERYTHING, x[GROUP:], labels[GROUP:], [4])
    assert half.equal(whole[GROUP:]) and half_shares.equal(shares[GROUP:])
    assert not treated(EVERYTHING, x[GROUP:], labels[GROUP:], [5])[0].equal(half)
    assert torch.get_rng_state().equal(state)


@pytest.mark.parametrize("policies", ["cifar10", "imagenet"])
def test_policies_keep_the_range_of_pixels(policies: str) -> None:
    x, labels = windows(4)
    recipe = AugmentationRecipe(auto_augment=policies)
    found = [treated(recipe, x, labels, [seed])[0] for seed in range(12)]
    assert all(
        one.isfinite().all() and one.min() >= -128.01 and one.max() <= 127.01 for one in found
    )
    assert sum(not torch.allclose(one, x, atol=1e-3) for one in found) > 6


def test_an_image_at_every_step_is_treated_as_at_one() -> None:
    x, labels = windows(6)
    once, shares = treated(EVERYTHING, x, labels, [0])
    found, found_shares = treated(EVERYTHING, x.expand(-1, 3, -1, -1, -1), labels, [0])
    assert found.equal(once.expand_as(found)) and found_shares.equal(shares)


def test_every_step_and_channel_is_treated_alike() -> None:
    plane, labels = windows(6, channels=1)
    x = plane.abs().expand(6, 4, 2, 12, 12).contiguous()
    recipe = AugmentationRecipe(shift=1, roll=3, flip=True, rotate=30.0, cutout=4)
    found, _ = treated(recipe, x, labels, [0], image=False)
    assert found.equal(found[:, :1, :1].expand_as(found)) and not found.equal(x)
    assert set(found.unique().tolist()) <= {0.0, *x.unique().tolist()}  # counts stay counts


def test_shift_and_roll() -> None:
    torch.manual_seed(0)
    x = torch.zeros(300, 3, 5, 6)
    x[:, 0, 2, 3] = torch.arange(1.0, 301)
    found = random_shift(x, 2)
    assert found.shape == x.shape and found.sum() == x.sum()
    places = (found[:, 0] > 0).nonzero()[:, 1:]
    assert {tuple(place) for place in places.tolist()} == {
        (row, column) for row in range(5) for column in range(1, 6)
    }
    edge = torch.ones(8, 1, 4, 4)
    assert random_shift(edge, 3).sum() < edge.sum()  # what leaves is lost, zeros come in
    one = torch.arange(20.0).reshape(1, 1, 4, 5).repeat(50, 1, 1, 1)
    rolled = random_shift(one, 2, wrap=True)
    offsets = [(a, b) for a in range(-2, 3) for b in range(-2, 3)]
    assert all(
        any(image[0].equal(one[0, 0].roll((a, b), (0, 1))) for a, b in offsets) for image in rolled
    )
    assert len({tuple(image.flatten().tolist()) for image in rolled}) > 12


def test_flip_exchanges_left_and_right() -> None:
    torch.manual_seed(0)
    x = torch.arange(12.0).reshape(1, 1, 3, 4).repeat(80, 2, 1, 1)
    found = random_flip(x)
    turned, kept = ([bool(image.equal(one)) for image in found] for one in (x[0].flip(-1), x[0]))
    assert 20 < sum(turned) < 60 and sum(turned) + sum(kept) == 80


def test_cutout_empties_a_square() -> None:
    x, labels = torch.ones(20, 1, 3, 10, 10), torch.zeros(20, dtype=torch.long)
    found, _ = treated(AugmentationRecipe(cutout=4), x, labels, [0])
    for image in found[:, 0]:
        empty = (image == 0).all(0).nonzero()
        assert len(empty) == 16 and (empty.max(0).values - empty.min(0).values).tolist() == [3, 3]


@pytest.mark.parametrize("kind", ["mixup", "cutmix"])
def test_labels_are_mixed_as_windows_are(kind: str) -> None:
    labels = torch.arange(30) % 5
    x = labels.float().reshape(-1, 1, 1, 1, 1).expand(30, 1, 3, 16, 16).contiguous()
    found, shares = treated(AugmentationRecipe(**{kind: 1.0}), x, labels, [0])
    torch.testing.assert_close(shares.sum(1), torch.ones(30))
    torch.testing.assert_close(found.mean((1, 2, 3, 4)), shares @ torch.arange(5.0))
    assert ((shares > 0.05).sum(1) == 2).sum() > 10
    if kind == "cutmix":
        assert set(found.unique().tolist()) <= {0, 1, 2, 3, 4}
    never, whole = treated(AugmentationRecipe(**{kind: 1e-9}), x, labels, [0])
    assert (
        never.equal(x) and whole.argmax(1).equal(labels) and set(whole.unique().tolist()) == {0, 1}
    )


def test_what_it_cannot_do(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(
        RecipeError, match=r"augmentation\.auto_augment is for images, not for events"
    ):
        Augmentation(EVERYTHING, 5, image=False)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    Augmentation(AugmentationRecipe(shift=1, flip=True), 5, image=False)
    with pytest.raises(
        RecipeError,
        match=r"augmentation\.rotate: .*'kornia'.*lmht-deploy\[train\]",
    ):
        Augmentation(dataclasses.replace(EVERYTHING, auto_augment="none"), 5, image=False)


def test_thinned_events_are_a_share_of_those_there_were() -> None:
    torch.manual_seed(0)
    counts = torch.randint(0, 40, (64, 8, 16, 16)).float()
    thinned = thin_events(counts, 0.5)
    assert thinned.equal(thinned.round()) and (thinned >= 0).all() and (thinned <= counts).all()
    kept = thinned.sum((1, 2, 3)) / counts.sum((1, 2, 3))
    assert kept.min() < 0.55 and kept.max() > 0.95 and abs(kept.mean() - 0.75) < 0.05


def test_polarities_are_swapped_at_every_step() -> None:
    torch.manual_seed(0)
    x = torch.arange(64 * 3 * 2).reshape(64, 6, 1, 1).float()
    swapped = swap_polarity(x)
    same = [bool(one.equal(before)) for one, before in zip(swapped, x, strict=True)]
    assert 16 < sum(same) < 48
    for one, before, kept in zip(swapped, x, same, strict=True):
        expected = [0, 1, 2, 3, 4, 5] if kept else [1, 0, 3, 2, 5, 4]
        assert one.flatten().tolist() == before.flatten()[expected].tolist()


@pytest.mark.parametrize("key", ["thin", "swap_polarity"])
def test_events_are_not_images(key: str) -> None:
    with pytest.raises(RecipeError, match=f"augmentation.{key} is for events, not for images"):
        Augmentation(dataclasses.replace(AugmentationRecipe(), **{key: 0.5}), 5, image=True)
