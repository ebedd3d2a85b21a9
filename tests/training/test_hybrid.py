"""Hybrid training: LM-HT neurons start from a quantized ANN (Theorem 4.4)."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch

from lmht_deploy import reference
from lmht_deploy.errors import LoweringError, TrainingError
from lmht_deploy.training import recipe, runs
from lmht_deploy.training.architectures import AveragePool, Convolution, FullyConnected, Residual
from lmht_deploy.training.builder import build_model
from lmht_deploy.training.data import Data
from lmht_deploy.training.evaluation import evaluate
from lmht_deploy.training.hybrid import start_from
from lmht_deploy.training.loop import train
from lmht_deploy.training.lowering import lower
from lmht_deploy.training.model import SpikingModel
from lmht_deploy.training.neurons import LMHT, MHT, QCFS, Neuron, ReLU
from lmht_deploy.training.recipe import Recipe
from lmht_deploy.training.runs import Run
from tests.support.training import Synthetic, randomized, synthetic

BLOCKS = (Convolution(6), AveragePool(2), Residual(6), Residual(8, 2), FullyConnected(9))


def summed(data: Synthetic) -> Synthetic:
    """All events of a window in one input step."""
    return Synthetic(data.windows.sum(1, keepdims=True).astype(np.uint8), data.labels)


DATA = Data(summed(synthetic(120, 0)), summed(synthetic(40, 1)))


def plan(neuron: str, levels: int, steps: int, *overrides: str) -> Recipe:
    network = [
        f"network.neuron={neuron}",
        f"network.levels={levels}",
        f"network.steps={steps}",
        "network.v0=0.5",
    ]
    return recipe.load_recipe(
        "digits",
        ["data.steps=1", *network, "training.epochs=4", "training.batch_size=20", *overrides],
    )


@pytest.fixture(scope="module")
def ann(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return train(plan("qcfs", 4, 1), DATA, tmp_path_factory.mktemp("runs") / "ann")


def small_ann(levels: int, seed: int = 0) -> SpikingModel:
    torch.manual_seed(seed)
    return randomized(
        build_model(BLOCKS, (2, 8, 8), 5, lambda steps_in: QCFS(levels, ceiling=2.0), steps_in=1),
        seed,
    )


def spiking(levels: int, steps: int, v0: float = 0.5) -> SpikingModel:
    return (
        build_model(
            BLOCKS, (2, 8, 8), 5, lambda steps_in: LMHT(levels, steps, steps_in, v0=v0), steps_in=1
        )
        .double()
        .eval()
    )


def relu_model() -> SpikingModel:
    return build_model(BLOCKS, (2, 8, 8), 5, lambda steps_in: ReLU(), steps_in=1).eval()


# -------------------------------------------------------------------------------------- Theorem 4.4


@pytest.mark.parametrize("levels", [1, 2, 3, 4])
@pytest.mark.parametrize("steps", [1, 2, 5])
@pytest.mark.parametrize("quantized", [1, 4, 7])
def test_expectation_for_any_levels_and_steps(levels: int, steps: int, quantized: int) -> None:
    """E(mean amplitude - QCFS) = 0 over uniform currents in 0..ϑ, for any L, T and n."""
    ceiling = 2.0
    # An even number of points in every half step of both staircases.
    grid = 2 * math.lcm(levels * steps, quantized) * 5
    x = (torch.arange(grid, dtype=torch.float64) + 0.5) * ceiling / grid
    activation = QCFS(quantized, ceiling=ceiling).double()
    neuron = LMHT(levels, steps, 1, threshold=ceiling / levels, v0=0.5).double()
    neuron.threshold.data.fill_(ceiling / levels)
    activation.threshold.data.fill_(ceiling / quantized)
    rate = neuron(x).unflatten(0, (steps, -1)).mean(0)
    assert (rate - activation(x)).mean().abs() < 1e-12
    assert (levels * steps == quantized) == bool((rate - activation(x)).abs().max() < 1e-9)


@pytest.mark.parametrize(("levels", "steps"), [(1, 4), (2, 2), (4, 1)])
def test_whole_network_starts_as_the_ann(levels: int, steps: int) -> None:
    """If L·T = n: the spikes of every layer sum to the levels of the ANN; logits are equal."""
    ann, model = small_ann(4), spiking(levels, steps)
    start_from(model, ann)
    windows = torch.randint(
        0, 4, (6, 1, 2, 8, 8), generator=torch.Generator().manual_seed(1)
    ).double()
    counts: dict[tuple[str, str], torch.Tensor] = {}
    for name, network in (("ann", ann), ("model", model)):
        for path, module in network.body.named_modules():
            if isinstance(module, Neuron):
                module.register_forward_hook(
                    lambda neuron, _, out, key=(name, path): counts.update(
                        {
                            key: (out / neuron.threshold)
                            .round()
                            .unflatten(0, (neuron.steps, -1))
                            .sum(0)
                        }
                    )
                )
    with torch.no_grad():
        torch.testing.assert_close(model(windows), ann(windows), rtol=0, atol=1e-9)
    paths = [path for name, path in counts if name == "ann"]
    assert len(paths) == 6
    for path in paths:
        assert counts["model", path].equal(counts["ann", path]), path
    assert sum(int(count.sum()) for count in counts.values()) > 1000


@pytest.mark.parametrize(("levels", "steps"), [(1, 8), (2, 4)])
def test_conversion_without_mixing(levels: int, steps: int) -> None:
    """IF and M-HT neurons, a still image, L·T = n.

    The mean amplitude of the first layer equals the activation of the ANN.
    """
    ann = small_ann(8)
    model = (
        build_model(
            BLOCKS, (2, 8, 8), 5, lambda steps_in: MHT(levels, steps, steps_in, v0=0.5), steps_in=1
        )
        .double()
        .eval()
    )
    start_from(model, ann)
    windows = torch.randint(
        0, 4, (20, 1, 2, 8, 8), generator=torch.Generator().manual_seed(1)
    ).double()
    first = [network.body.convolution0.conv(windows[:, 0]) for network in (ann, model)]
    assert first[0].equal(first[1])
    amplitude, activation = (network.body.convolution0(windows[:, 0]) for network in (model, ann))
    torch.testing.assert_close(
        amplitude.unflatten(0, (steps, -1)).mean(0), activation, rtol=0, atol=1e-9
    )
    assert activation.count_nonzero() > 100


def test_the_papers_form_is_the_same_network() -> None:
    """θ = ϑ with every current times L gives the spikes of θ = ϑ/L.

    The amplitude of the input and every bias are multiplied.
    """
    ann, model, scaled = small_ann(8), spiking(2, 3), spiking(2, 3)
    start_from(model, ann)
    start_from(scaled, ann)
    with torch.no_grad():
        for module in scaled.modules():
            if isinstance(module, LMHT):
                module.threshold *= 2
            elif isinstance(module, torch.nn.BatchNorm2d):
                module.running_mean *= 2  # type: ignore[operator]
                module.bias *= 2
            elif isinstance(module, torch.nn.Linear):
                module.bias *= 2
    scaled.input_scale = 2.0
    windows = torch.randint(
        0, 4, (6, 1, 2, 8, 8), generator=torch.Generator().manual_seed(1)
    ).double()
    with torch.no_grad():
        torch.testing.assert_close(scaled(windows), 2 * model(windows))


# --------------------------------------------------------------------------------------------- runs


def test_ann_learns_lowers_and_hands_over(ann: Run, tmp_path: Path) -> None:
    assert ann.accuracy >= 0.9
    assert any(
        module.threshold != 1 for module in ann.model.modules() if isinstance(module, QCFS)
    )  # θ has learnt
    net = lower(ann.model, ann.input)
    predictions = reference.run(net, DATA.test.windows).predictions
    assert (predictions == DATA.test.labels).mean() == pytest.approx(ann.accuracy, abs=0.03)

    model = runs.make(plan("lmht", 2, 2), ann.input, 4)
    start_from(model, ann.model)
    assert evaluate(model, DATA.test).accuracy == pytest.approx(
        ann.accuracy, abs=0.03
    )  # before any training
    run = train(
        plan("lmht", 2, 2, "training.epochs=1", "training.learning_rate=1e-3"),
        DATA,
        tmp_path / "hybrid",
        start=ann.model,
    )
    assert run.accuracy >= 0.9
    ours, theirs = (
        [m.threshold.item() for m in model.modules() if isinstance(m, Neuron)]
        for model in (run.model, ann.model)
    )
    assert ours == pytest.approx([theta * 4 / 2 for theta in theirs])


def test_relu_is_trained_and_not_lowered(tmp_path: Path) -> None:
    """The ANN to compare with: it learns like any model, has no spikes, and has no `Network`."""
    run = train(
        recipe.load_recipe(
            "digits",
            ["data.steps=1", "network.neuron=relu", "network.steps=1", "training.epochs=4"],
        ),
        DATA,
        tmp_path / "relu",
    )
    assert run.accuracy >= 0.9 and run.metrics[-1]["density"] == {}
    with pytest.raises(
        LoweringError,
        match=r"convolution0\.neuron\S* relu cannot be lowered; replace activations by spiking",
    ):
        lower(run.model, run.input)
    with pytest.raises(TrainingError, match="start from a QCFS activation, the ANN has ReLU"):
        start_from(spiking(2, 2), relu_model())


# -------------------------------------------------------------------------------- what does not fit


def test_what_does_not_fit() -> None:
    ann = small_ann(4)
    with pytest.raises(
        TrainingError,
        match=r"body\.convolution0\.neuron: neurons that start from an ANN "
        r"need v0 = 0\.5 \(of θ\), not 0",
    ):
        start_from(spiking(2, 2, v0=0.0), ann)
    with pytest.raises(
        TrainingError,
        match=r"body\.convolution0\.neuron: spiking neurons start from a QCFS activation, "
        "the ANN has LMHT there",
    ):
        start_from(spiking(2, 2), spiking(2, 2))
    deeper = build_model(
        (*BLOCKS[:2], Residual(7), *BLOCKS[2:]),
        (2, 8, 8),
        5,
        lambda s: LMHT(2, 2, s, v0=0.5),
        steps_in=1,
    )
    with pytest.raises(
        TrainingError,
        match=r"residual.*the ANN has nothing there; both need the same architecture",
    ):
        start_from(deeper, ann)
    wider = build_model(
        (Convolution(7), *BLOCKS[1:]), (2, 8, 8), 5, lambda s: LMHT(2, 2, s, v0=0.5), steps_in=1
    )
    with pytest.raises(
        TrainingError,
        match=r"body.residual2.shortcut.conv.weight: the ANN has no such weight; "
        r"both need the same architecture",
    ):
        start_from(wider, ann)
    other = build_model(BLOCKS, (2, 8, 8), 6, lambda s: LMHT(2, 2, s, v0=0.5), steps_in=1)
    with pytest.raises(TrainingError, match=r"the ANN does not fit: size mismatch for body.logits"):
        start_from(other, ann)
