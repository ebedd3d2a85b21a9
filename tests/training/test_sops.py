"""SOPs as a term of the loss: the rate is that of the lowered network, and training lowers it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from lmht_deploy import reference
from lmht_deploy.errors import RecipeError
from lmht_deploy.ir import Input, MaxPool
from lmht_deploy.training import LMHT, MHT, SpikingModel, lower, train
from lmht_deploy.training._sops import SopRate, fan_outs
from tests.support.networks import SPECIAL, windows_for
from tests.support.training import DATA, small

WITHOUT_MAX_POOLING = [
    name
    for name, build in SPECIAL.items()
    if not any(isinstance(layer, MaxPool) for layer in build().layers)
]


@pytest.mark.parametrize("name", WITHOUT_MAX_POOLING)
def test_fan_outs_give_the_sops_of_the_reference_model(name: str) -> None:
    net = SPECIAL[name]()
    windows = windows_for(net)
    result = reference.run(net, windows, trace=True)
    assert result.traces is not None
    fans = fan_outs(net)
    spikes = dict(result.traces)
    if net.input.kind == "events":
        spikes["input"] = windows
    expected = sum(sops.sum() for sops in result.sops.values())
    assert sum((k * fans[layer]).sum() for layer, k in spikes.items()) == expected


def test_a_spike_under_max_pooling_counts_in_every_window() -> None:
    body = nn.Sequential(
        nn.Conv2d(1, 1, 1), MHT(1, 2), nn.MaxPool2d(2, stride=1), nn.Flatten(), nn.Linear(4, 5)
    )
    net = lower(SpikingModel(body, 2), Input(name="input", shape=(1, 3, 3), steps=2))
    assert fan_outs(net)["1"][0].tolist() == [[5, 10, 5], [10, 20, 10], [5, 10, 5]]


def model() -> SpikingModel:
    """Two kinds of neurons with a pooling between; no batch norm, so that modes agree."""
    body = nn.Sequential(
        nn.Conv2d(2, 4, 3, padding=1),
        LMHT(3, 2, 3, threshold=0.25),
        nn.AvgPool2d(2),
        nn.Conv2d(4, 4, 3, stride=2),
        LMHT(2, 4, 2, threshold=0.125),
        nn.Flatten(),
        nn.Linear(4, 5),
    )
    return SpikingModel(body, 3)


def test_the_rate_is_spikes_per_synapse_and_step() -> None:
    torch.manual_seed(0)
    spiking = model()
    net = lower(spiking, Input(name="input", shape=(2, 8, 8), steps=3))
    rates = SopRate(spiking, net)
    windows = np.random.default_rng(0).poisson(0.7, (5, *net.window_shape))
    spiking(torch.from_numpy(windows).float())
    traces = reference.run(net, windows, trace=True).traces
    assert traces is not None
    fans = fan_outs(net)
    sops = sum((k * fans[name]).sum() for name, k in traces.items()) / len(windows)
    synapses = sum(fans[name].sum() * net.steps[name] for name in traces)
    rate = rates.take()
    assert sops > 0
    assert rate.item() == pytest.approx(sops / synapses, rel=1e-6)
    rate.backward()
    assert all(p.grad is not None for name, p in spiking.named_parameters() if "body.0" in name)

    spiking.eval()  # a test adds nothing
    spiking(torch.from_numpy(windows).float())
    assert not rates._rates


def _density(folder: Path, *options: str) -> float:
    run = train(small(*options), DATA, folder)
    return sum(run.metrics[-1]["density"].values())


def test_training_with_a_penalty_lowers_the_spikes(tmp_path: Path) -> None:
    plain = _density(tmp_path / "plain")
    assert _density(tmp_path / "some", "training.sop_penalty=1") < 0.9 * plain
    assert _density(tmp_path / "many", "training.sop_penalty=10") < 0.5 * plain


def test_a_compiled_model_has_the_same_rate() -> None:
    torch.manual_seed(0)
    spiking = model()
    net = lower(spiking, Input(name="input", shape=(2, 8, 8), steps=3))
    rates = SopRate(spiking, net)
    windows = torch.rand(4, 3, 2, 8, 8, generator=torch.Generator().manual_seed(1)).mul(3).round()
    spiking(windows)
    plain = rates.take()
    torch.compile(spiking, backend="aot_eager")(windows)
    torch.testing.assert_close(rates.take(), plain)


def test_units_without_spikes_have_no_penalty() -> None:
    with pytest.raises(RecipeError, match=r"'relu' has no spikes: training\.sop_penalty must be 0"):
        small("network.neuron=relu", "network.steps=1", "data.steps=1", "training.sop_penalty=1")
