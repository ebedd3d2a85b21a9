"""Augmentation: what it changes, what it preserves, and that only its draws determine it."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest
import torch
from torch import Tensor

from lmht_deploy.errors import RecipeError
from lmht_deploy.training._augment import GROUP, Augmentation
from lmht_deploy.training._augment.events import hashed
from lmht_deploy.training._augment.mixing import partners
from lmht_deploy.training.recipe import AugmentationRecipe

FOR_IMAGES = AugmentationRecipe(
    shift=2, roll=1, flip=True, rotate=20.0, auto_augment="cifar10", cutout=3, mixup=0.5, cutmix=0.5
)
FOR_EVENTS = dataclasses.replace(
    FOR_IMAGES,
    auto_augment="none",
    thin=0.5,
    swap_polarity=True,
    drop_time=0.5,
    drop_area=0.3,
    shear=20.0,
)
CHOSEN = dataclasses.replace(FOR_EVENTS, choose=2, flip=False, swap_polarity=False)


def windows(
    number: int, steps: int = 1, channels: int = 3, size: int = 12
) -> tuple[Tensor, Tensor]:
    g = torch.Generator().manual_seed(0)
    return torch.randint(
        -128, 128, (number, steps, channels, size, size), generator=g
    ).float(), torch.randint(5, (number,), generator=g)


def counts(number: int, steps: int = 2, size: int = 12) -> tuple[Tensor, Tensor]:
    x, labels = windows(number, steps, 2, size)
    return x.clamp(min=0) % 8, labels


def drawn(augment: Augmentation, number: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(number, augment.columns, generator=generator)


def treated(
    recipe: AugmentationRecipe, x: Tensor, labels: Tensor, seed: int = 0, *, image: bool = True
) -> tuple[Tensor, Tensor]:
    augment = Augmentation(recipe, 5, image=image)
    found: tuple[Tensor, Tensor] = augment(x, labels, drawn(augment, len(x), seed))
    return found


def given(recipe: AugmentationRecipe, x: Tensor, draws: Tensor, *, image: bool = True) -> Tensor:
    """Windows x [B, C, H, W], augmented with these draws."""
    labels = torch.zeros(len(x), dtype=torch.long)
    found: Tensor = Augmentation(recipe, 5, image=image)(x[:, None], labels, draws)[0]
    return found[:, 0]


# ------------------------------------------------------------------------------ a function of draws


def test_without_augmentation_nothing_is_touched() -> None:
    x, labels = windows(3)
    found, targets = treated(AugmentationRecipe(), x, labels)
    assert found is x and targets is labels


@pytest.mark.parametrize("recipe", [FOR_IMAGES, FOR_EVENTS, CHOSEN])
def test_the_same_draws_give_the_same_windows_in_any_company(recipe: AugmentationRecipe) -> None:
    """A process with the second half of a batch gets the second half of the whole batch."""
    image = recipe is FOR_IMAGES
    x, labels = windows(2 * GROUP) if image else counts(2 * GROUP)
    augment = Augmentation(recipe, 5, image=image)
    draws, state = drawn(augment, 2 * GROUP), torch.get_rng_state()
    whole, shares = augment(x, labels, draws)
    half, half_shares = augment(x[GROUP:], labels[GROUP:], draws[GROUP:])
    assert half.equal(whole[GROUP:]) and half_shares.equal(shares[GROUP:])
    assert not augment(x[GROUP:], labels[GROUP:], draws[:GROUP])[0].equal(half)
    assert torch.get_rng_state().equal(state)


@pytest.mark.parametrize("recipe", [FOR_IMAGES, FOR_EVENTS, CHOSEN])
def test_a_window_depends_on_its_own_draws(recipe: AugmentationRecipe) -> None:
    """Without mixing. Other draws for one window change this one, and only this one."""
    image = recipe is FOR_IMAGES
    x, labels = windows(6) if image else counts(6)
    augment = Augmentation(dataclasses.replace(recipe, mixup=0.0, cutmix=0.0), 5, image=image)
    draws = drawn(augment, 6)
    others = draws.clone()
    others[2] = draws[2].flip(0)
    before, after = augment(x, labels, draws)[0], augment(x, labels, others)[0]
    changed = [not bool(a.equal(b)) for a, b in zip(before, after, strict=True)]
    assert changed == [False, False, True, False, False, False]
    order = torch.tensor([5, 3, 1, 0, 2, 4])
    assert augment(x[order], labels[order], draws[order])[0].equal(before[order])


@pytest.mark.parametrize("recipe", [FOR_IMAGES, FOR_EVENTS, CHOSEN])
def test_no_step_depends_on_a_value(recipe: AugmentationRecipe) -> None:
    """Traced without values: so a CUDA graph can hold it. The trace computes the same."""
    image = recipe is FOR_IMAGES
    x, labels = windows(40) if image else counts(40)
    augment = Augmentation(recipe, 5, image=image)
    arguments = (x, labels, drawn(augment, 40))
    traced = torch.export.export(augment, arguments).module()
    other = (x.flip(0), labels, drawn(augment, 40, seed=1))
    for found, expected in zip(traced(*other), augment(*other), strict=True):
        assert found.equal(expected)


@pytest.mark.parametrize("value", [0.0, 1 - 2**-24])
@pytest.mark.parametrize("recipe", [FOR_IMAGES, FOR_EVENTS, CHOSEN])
def test_extreme_draws(recipe: AugmentationRecipe, value: float) -> None:
    x, labels = windows(5) if recipe is FOR_IMAGES else counts(5)
    augment = Augmentation(recipe, 5, image=recipe is FOR_IMAGES)
    found, shares = augment(x, labels, torch.full((5, augment.columns), value))
    assert found.shape == x.shape and found.isfinite().all()
    torch.testing.assert_close(shares.sum(1), torch.ones(5))


@pytest.mark.parametrize("policies", ["cifar10", "imagenet", "rand", "trivial"])
def test_policies_keep_the_range_of_pixels(policies: str) -> None:
    x, labels = windows(4)
    recipe = AugmentationRecipe(auto_augment=policies)
    found = [treated(recipe, x, labels, seed)[0] for seed in range(12)]
    assert all(
        one.isfinite().all() and one.min() >= -128.01 and one.max() <= 127.01 for one in found
    )
    assert sum(not torch.allclose(one, x, atol=1e-3) for one in found) > 6


def test_an_image_at_every_step_is_treated_as_at_one() -> None:
    x, labels = windows(6)
    once, shares = treated(FOR_IMAGES, x, labels)
    found, found_shares = treated(FOR_IMAGES, x.expand(-1, 3, -1, -1, -1), labels)
    assert found.equal(once.expand_as(found)) and found_shares.equal(shares)


def test_every_step_and_channel_is_treated_alike() -> None:
    plane, labels = windows(6, channels=1)
    x = plane.abs().expand(6, 4, 2, 12, 12).contiguous()
    recipe = AugmentationRecipe(shift=1, roll=3, flip=True, rotate=30.0, cutout=4)
    found, _ = treated(recipe, x, labels, image=False)
    assert found.equal(found[:, :1, :1].expand_as(found)) and not found.equal(x)
    assert set(found.unique().tolist()) <= {0.0, *x.unique().tolist()}  # counts stay counts


def test_shift_and_roll() -> None:
    x = torch.zeros(300, 3, 5, 6)
    x[:, 0, 2, 3] = torch.arange(1.0, 301)
    draws = torch.rand(300, 2, generator=torch.Generator().manual_seed(0))
    found = given(AugmentationRecipe(shift=2), x, draws)
    assert found.shape == x.shape and found.sum() == x.sum()
    places = (found[:, 0] > 0).nonzero()[:, 1:]
    assert {tuple(place) for place in places.tolist()} == {
        (row, column) for row in range(5) for column in range(1, 6)
    }
    edge = torch.ones(8, 1, 4, 4)
    moved = given(AugmentationRecipe(shift=3), edge, draws[:8])
    assert moved.sum() < edge.sum()  # what leaves is lost, zeros come in
    one = torch.arange(20.0).reshape(1, 1, 4, 5).repeat(50, 1, 1, 1)
    rolled = given(AugmentationRecipe(roll=2), one, draws[:50])
    offsets = [(a, b) for a in range(-2, 3) for b in range(-2, 3)]
    assert all(
        any(image[0].equal(one[0, 0].roll((a, b), (0, 1))) for a, b in offsets) for image in rolled
    )
    assert len({tuple(image.flatten().tolist()) for image in rolled}) > 12


def test_flip_exchanges_left_and_right() -> None:
    x = torch.arange(12.0).reshape(1, 1, 3, 4).repeat(80, 2, 1, 1)
    found = given(
        AugmentationRecipe(flip=True),
        x,
        torch.rand(80, 1, generator=torch.Generator().manual_seed(0)),
    )
    turned, kept = ([bool(image.equal(one)) for image in found] for one in (x[0].flip(-1), x[0]))
    assert 20 < sum(turned) < 60 and sum(turned) + sum(kept) == 80


def test_moves_are_composed_in_their_order() -> None:
    """Shift, roll, flip: as if one followed the other."""
    (x, _), draws = windows(9), torch.rand(9, 5, generator=torch.Generator().manual_seed(0))
    found = given(AugmentationRecipe(shift=3, roll=2, flip=True), x[:, 0], draws)
    one = given(AugmentationRecipe(shift=3), x[:, 0], draws[:, :2])
    one = given(AugmentationRecipe(roll=2), one, draws[:, 2:4])
    assert found.equal(given(AugmentationRecipe(flip=True), one, draws[:, 4:]))


def test_rotation_by_right_angles_is_exact() -> None:
    x, _ = windows(3, size=7)
    draws = torch.tensor([[0.0], [0.5], [0.75]])  # -180, 0 and 90 degrees of at most 180
    found = given(AugmentationRecipe(rotate=180.0), x[:, 0], draws)
    expected = [x[0, 0].rot90(2, (1, 2)), x[1, 0], x[2, 0].rot90(1, (1, 2))]
    assert found.equal(torch.stack(expected)) or found[2].equal(x[2, 0].rot90(-1, (1, 2)))
    turned = given(AugmentationRecipe(rotate=45.0), torch.ones(1, 1, 9, 9), torch.zeros(1, 1))
    assert turned[0, 0, 0, 0] == 0 and turned[0, 0, 4].sum() == 9  # corners have no source


def test_cutout_empties_a_square() -> None:
    x, labels = torch.ones(20, 1, 3, 10, 10), torch.zeros(20, dtype=torch.long)
    found, _ = treated(AugmentationRecipe(cutout=4), x, labels)
    for image in found[:, 0]:
        empty = (image == 0).all(0).nonzero()
        assert len(empty) == 16 and (empty.max(0).values - empty.min(0).values).tolist() == [3, 3]


@pytest.mark.parametrize("kind", ["mixup", "cutmix"])
def test_labels_are_mixed_as_windows_are(kind: str) -> None:
    labels = torch.arange(30) % 5
    x = labels.float().reshape(-1, 1, 1, 1, 1).expand(30, 1, 3, 16, 16).contiguous()
    found, shares = treated(AugmentationRecipe(**{kind: 1.0}), x, labels)
    torch.testing.assert_close(shares.sum(1), torch.ones(30))
    torch.testing.assert_close(found.mean((1, 2, 3, 4)), shares @ torch.arange(5.0))
    assert ((shares > 0.05).sum(1) == 2).sum() > 10
    if kind == "cutmix":
        assert set(found.unique().tolist()) <= {0, 1, 2, 3, 4}
    never, whole = treated(AugmentationRecipe(**{kind: 1e-9}), x, labels)
    assert (
        never.equal(x) and whole.argmax(1).equal(labels) and set(whole.unique().tolist()) == {0, 1}
    )


def test_partners_are_of_the_same_group() -> None:
    for number in (GROUP, 2 * GROUP + 5, 3):
        found = partners(torch.rand(number, generator=torch.Generator().manual_seed(0)))
        assert sorted(found.tolist()) == list(range(number))
        assert (found // GROUP).equal(torch.arange(number) // GROUP)
        assert not found.equal(torch.arange(number))


@pytest.mark.parametrize("kind", ["mixup", "cutmix"])
def test_every_window_is_mixed_by_its_own_decision(kind: str) -> None:
    x, labels = windows(8 * GROUP)
    found, shares = treated(AugmentationRecipe(**{kind: 0.5}), x, labels)
    mixed = (found != x).flatten(1).any(1)
    assert 0.35 < mixed.float().mean() < 0.6
    assert (~mixed & (shares.max(1).values < 1)).sum() == 0
    groups = mixed.view(-1, GROUP).float().mean(1)
    assert (groups > 0).all() and (groups < 1).all()


def test_what_it_cannot_do() -> None:
    with pytest.raises(
        RecipeError, match=r"augmentation\.auto_augment is for images, not for events"
    ):
        Augmentation(FOR_IMAGES, 5, image=False)


# ------------------------------------------------------------------------------------------ events


def test_thinned_events_are_a_share_of_those_there_were() -> None:
    x = torch.randint(0, 40, (64, 8, 16, 16), generator=torch.Generator().manual_seed(0)).float()
    draws = torch.rand(64, 2, generator=torch.Generator().manual_seed(0))
    thinned = given(AugmentationRecipe(thin=0.5), x, draws, image=False)
    assert thinned.equal(thinned.round()) and (thinned >= 0).all() and (thinned <= x).all()
    kept = thinned.sum((1, 2, 3)) / x.sum((1, 2, 3))
    assert kept.min() < 0.55 and kept.max() > 0.95 and abs(kept.mean() - 0.75) < 0.05
    torch.testing.assert_close(kept, 1 - draws[:, 0] / 2, rtol=0, atol=0.02)


def test_thinned_counts_are_binomial() -> None:
    """Every count 0..255 of a window: mean, variance and the frequency of each value."""
    x = torch.arange(256.0).repeat_interleave(4096).view(1, 1, 1024, 1024)
    draws = torch.tensor([[0.6, 0.25]])
    thinned = given(AugmentationRecipe(thin=0.5), x, draws, image=False).view(256, 4096).numpy()
    n, p = np.arange(256), 0.7
    deviation = (thinned.mean(1) - n * p) / np.sqrt(np.maximum(n, 1) * p * (1 - p) / 4096)
    assert abs(deviation).max() < 4.5 and 0.7 < deviation[1:].std() < 1.3
    np.testing.assert_allclose(thinned[1:].var(1) / (n[1:] * p * (1 - p)), 1, atol=0.12)
    for count in (1, 2, 3, 5):
        found = np.bincount(thinned[count].astype(int), minlength=count + 1)
        choose = [math.comb(count, k) for k in range(count + 1)]
        expected = 4096 * np.array(choose) * p ** np.arange(count + 1)
        expected *= (1 - p) ** np.arange(count, -1, -1)
        assert ((found - expected) ** 2 / expected).sum() < 5 + 3 * count  # chi-square
    assert abs(np.corrcoef(thinned[200, 1:], thinned[200, :-1])[0, 1]) < 0.06


@pytest.mark.parametrize("max_count", [1, 6, 255, 2**15])
def test_nothing_is_thinned_where_the_share_is_zero(max_count: int) -> None:
    augment = Augmentation(AugmentationRecipe(thin=0.95), 5, image=False, max_count=max_count)
    x = torch.tensor([0, 1, max_count // 2, max_count]).float().view(1, 1, 1, 2, 2)
    labels = torch.zeros(1, dtype=torch.long)
    assert augment(x, labels, torch.tensor([[0.0, 0.3]]))[0].equal(x)
    kept = augment(x, labels, torch.tensor([[1 - 2**-24, 0.3]]))[0]
    assert (kept <= x).all() and kept.sum() < max(0.1 * x.sum(), 3)


def test_hashed_numbers_look_random() -> None:
    numbers = hashed(torch.arange(2**16))
    assert numbers.unique().numel() == 2**16 and numbers.min() >= 0 and numbers.max() < 2**32
    bits = (numbers[:, None] >> torch.arange(32) & 1).float()
    torch.testing.assert_close(bits.mean(0), torch.full((32,), 0.5), rtol=0, atol=0.01)
    assert hashed(torch.tensor([1, 2**32 + 1])).tolist() == [int(numbers[1])] * 2
    assert [_hashed(number) for number in range(50)] == numbers[:50].tolist()


def _hashed(number: int) -> int:
    """Hash with Python's integers."""
    h = number ^ number >> 16
    h = h * 0x7FEB352D % 2**32
    h ^= h >> 15
    h = h * 0x846CA68B % 2**32
    return h ^ h >> 16


def test_polarities_are_swapped_at_every_step() -> None:
    x = torch.arange(64 * 3 * 2).reshape(64, 6, 1, 1).float()
    draws = torch.rand(64, 1, generator=torch.Generator().manual_seed(0))
    swapped = given(AugmentationRecipe(swap_polarity=True), x, draws, image=False)
    same = [bool(one.equal(before)) for one, before in zip(swapped, x, strict=True)]
    assert 16 < sum(same) < 48
    for one, before, kept in zip(swapped, x, same, strict=True):
        expected = [0, 1, 2, 3, 4, 5] if kept else [1, 0, 3, 2, 5, 4]
        assert one.flatten().tolist() == before.flatten()[expected].tolist()


def test_events_of_consecutive_steps_are_dropped() -> None:
    """Of none up to half of six steps, each number and each place as likely as the others."""
    x = torch.ones(2000, 6, 2, 2, 2)
    augment = Augmentation(AugmentationRecipe(drop_time=0.5), 5, image=False)
    found = augment(x, torch.zeros(2000, dtype=torch.long), drawn(augment, 2000))[0]
    assert found.equal(found[:, :, :1, :1, :1].expand_as(found))
    dropped = [tuple((one[:, 0, 0, 0] == 0).nonzero().flatten().tolist()) for one in found]
    places = [()] + [tuple(range(a, a + n)) for n in (1, 2, 3) for a in range(7 - n)]
    expected = {run: 500 / (7 - len(run)) if run else 500 for run in places}
    assert set(dropped) == set(expected)
    assert all(abs(dropped.count(run) - n) < 5 * math.sqrt(n) for run, n in expected.items())


def test_a_window_keeps_a_step() -> None:
    for steps, share, most in ((1, 0.95, 0), (2, 0.1, 1), (4, 0.95, 3)):
        x = torch.ones(64, steps, 2, 2, 2)
        found, _ = treated(
            AugmentationRecipe(drop_time=share), x, torch.zeros(64, dtype=torch.long), image=False
        )
        assert (found == 0).sum(1).max() == most


def test_events_of_a_rectangle_are_dropped() -> None:
    x, labels = torch.ones(400, 3, 2, 20, 30), torch.zeros(400, dtype=torch.long)
    found, _ = treated(AugmentationRecipe(drop_area=0.25), x, labels, image=False)
    assert found.equal(found[:, :1, :1].expand_as(found))
    shares = []
    for one in found[:, 0, 0]:
        empty = (one == 0).nonzero()
        if len(empty):
            sides = empty.max(0).values - empty.min(0).values + 1
            assert sides.prod() == len(empty) and abs(sides[1] / sides[0] - 1.5) <= 1
        shares.append(len(empty) / 600)
    assert max(shares) <= 0.27 and abs(np.mean(shares) - 0.125) < 0.01


def test_shear_moves_rows() -> None:
    x = torch.zeros(2, 1, 9, 9)
    x[:, :, :, 4] = 1
    found = given(AugmentationRecipe(shear=45.0), x, torch.tensor([[0.0], [0.75]]), image=False)
    expected = torch.eye(9)
    assert found[0, 0].equal(expected) or found[0, 0].equal(expected.flip(0))
    columns = found[1, 0].argmax(1)
    slope = math.tan(math.radians(22.5))
    assert (columns - 4).abs().tolist() == [round(slope * abs(row - 4)) for row in range(9)]


def test_transforms_are_chosen() -> None:
    """One of four for each window, each as often as the others; three of three are all."""
    x, labels = counts(800)
    every = {"thin": 0.9, "roll": 3, "cutout": 6, "drop_area": 0.9}
    augment = Augmentation(AugmentationRecipe(**every, choose=1), 5, image=False)
    draws = drawn(augment, len(x))
    found = augment(x, labels, draws)[0]
    columns = {"thin": (0, 2), "drop_area": (2, 5), "roll": (5, 7), "cutout": (7, 9)}
    fits = {}
    for name, (first, last) in columns.items():
        one = Augmentation(AugmentationRecipe(**{name: every[name]}), 5, image=False)
        alone = one(x, labels, draws[:, first:last])[0]
        fits[name] = (found == alone).flatten(1).all(1)
    fitting = torch.stack(list(fits.values()))
    assert fitting.any(0).all()
    assert all(150 < fit.sum() < 280 for fit in fits.values())
    all_three = AugmentationRecipe(shift=2, rotate=20.0, cutout=3)
    three = given(dataclasses.replace(all_three, choose=3), x[:, 0], draws[:, :8], image=False)
    assert three.equal(given(all_three, x[:, 0], draws[:, :5], image=False))


@pytest.mark.parametrize("key", ["thin", "swap_polarity", "drop_time", "drop_area"])
def test_events_are_not_images(key: str) -> None:
    with pytest.raises(RecipeError, match=f"augmentation.{key} is for events, not for images"):
        Augmentation(dataclasses.replace(AugmentationRecipe(), **{key: 0.5}), 5, image=True)
