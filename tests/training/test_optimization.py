"""One training step: schedule, weight decay, clipping, precision."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from lmht_deploy.ir import Input
from lmht_deploy.training import Neuron, _optimization, runs
from lmht_deploy.training.recipe import TrainingRecipe
from tests.support.training import small


def test_clipping_bounds_the_gradient() -> None:
    model = torch.nn.Linear(3, 2)
    for clip, norm in ((0.0, None), (0.5, 0.5)):
        step = _optimization.Optimization(
            TrainingRecipe(max_grad_norm=clip, optimizer="sgd"), model, torch.device("cpu")
        )
        step.step(100 * model(torch.ones(4, 3)).square().sum())
        found = (
            torch.stack([p.grad.norm() for p in model.parameters() if p.grad is not None])
            .norm()
            .item()
        )
        assert found > 10 if norm is None else found == pytest.approx(norm, rel=1e-3)


def test_float16_scales_its_gradients() -> None:
    """If a gradient overflows, the scale is halved and the step skipped; the scale is saved."""
    model = torch.nn.Linear(3, 2)
    recipe = TrainingRecipe(precision="float16", optimizer="sgd")
    step = _optimization.Optimization(recipe, model, torch.device("cpu"))
    scale, before = step.scaler.get_scale(), model.weight.detach().clone()
    step.step(model(torch.ones(4, 3)).sum() * float("inf"))
    assert step.scaler.get_scale() == scale / 2 and model.weight.equal(before)
    step.step(model(torch.ones(4, 3)).sum())
    assert not model.weight.equal(before) and model.weight.isfinite().all()
    again = _optimization.Optimization(recipe, model, torch.device("cpu"))
    again.restore(step.state_tensors())
    assert again.scaler.get_scale() == scale / 2
    with step.autocast():
        assert model(torch.ones(4, 3)).dtype == torch.float16


def test_learning_rate() -> None:
    """Linear over 2 epochs of 10 steps, peaks at their last step, then decays as a cosine."""
    plan = TrainingRecipe(epochs=6, learning_rate=0.5, warmup_epochs=2.0)
    rates = [_optimization.learning_rate_at(plan, step, 10) for step in range(60)]
    np.testing.assert_allclose(rates[:20], 0.5 * np.arange(1, 21) / 20)
    assert rates[39] == pytest.approx(0.25, rel=0.05) and 0 < rates[-1] < 0.002
    assert sorted(rates[19:], reverse=True) == rates[19:]
    assert (
        _optimization.learning_rate_at(
            TrainingRecipe(epochs=1, learning_rate=0.5, warmup_epochs=0.0), 0, 10
        )
        < 0.5
    )


def test_only_weights_decay() -> None:
    model = runs.make(small(), runs_input(), 4)
    decays, others = (
        group["params"]
        for group in _optimization.make_optimizer(
            small().training, model, torch.device("cpu")
        ).param_groups
    )
    names = {id(p): name for name, p in model.named_parameters()}
    assert {names[id(p)].rsplit(".", 2)[-2] for p in decays} == {"conv", "logits"}
    learnt = [
        p
        for neuron in model.modules()
        if isinstance(neuron, Neuron)
        for p in neuron.parameters()
        if p.requires_grad
    ]
    assert {id(p) for p in learnt} <= {id(p) for p in others}


def runs_input():  # type: ignore[no-untyped-def]

    return Input(name="input", shape=(2, 8, 8), steps=3)
