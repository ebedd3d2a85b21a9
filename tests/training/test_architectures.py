"""Architectures: sizes and layers; every one lowers to a network with the same spikes."""

from __future__ import annotations

import dataclasses
import functools
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from lmht_deploy import reference
from lmht_deploy.errors import DataError, NetworkError
from lmht_deploy.ir import Input, Network, Neurons, Readout
from lmht_deploy.quantize import quantize
from lmht_deploy.training.architectures import (
    ARCHITECTURES,
    Block,
    ConvNorm,
    Convolution,
    FullyConnected,
    MembraneResidual,
    Residual,
)
from lmht_deploy.training.builder import build_model, count_parameters
from lmht_deploy.training.lowering import lower
from lmht_deploy.training.model import SpikingModel
from lmht_deploy.training.neurons import IF, LMHT, Neuron
from tests.support.results import assert_conforms
from tests.support.training import assert_lowers, randomized

SIZES = {"residual-small": 16, "residual-strided": 34}
"""Height and width of the tested input, where the stem does not determine it."""


def made(
    name: str, blocks: tuple[Block, ...] | None = None, channels: int = 3
) -> tuple[SpikingModel, Input]:
    size = SIZES.get(
        name,
        64 if name in ("resnet-34", "ms-resnet-34") or name.endswith(("imagenet", "dvs")) else 32,
    )
    steps = 2 if name.startswith("ms") else 1
    model = build_model(
        blocks or ARCHITECTURES[name],
        (channels, size, size),
        10,
        lambda steps_in: LMHT(2, 2, steps_in),
        steps_in=steps,
    )
    return model, Input(name="input", shape=(channels, size, size), steps=steps, max_value=255)


def narrowed(block: Block) -> Block:
    """`block` with an eighth of its channels or units, at least 2."""
    if isinstance(block, Convolution | Residual | ConvNorm | MembraneResidual):
        return dataclasses.replace(block, channels=max(block.channels // 8, 2))
    return (
        dataclasses.replace(block, units=max(block.units // 64, 2))
        if isinstance(block, FullyConnected)
        else block
    )


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_narrow_form_lowers(name: str) -> None:
    torch.manual_seed(0)
    model, input = made(name, tuple(narrowed(block) for block in ARCHITECTURES[name]))
    assert_lowers(randomized(model, 2), input, batch=2)


@functools.lru_cache(maxsize=1)  # the tests of one architecture follow each other
def narrow_network(name: str) -> Network:
    torch.manual_seed(0)
    model, input = made(name, tuple(narrowed(block) for block in ARCHITECTURES[name]))
    with torch.no_grad():
        for module in randomized(model, 2).modules():
            if isinstance(module, nn.Linear):
                module.weight *= 8  # few units of few channels would be silent
    return quantize(lower(model, input))


@pytest.mark.parametrize("backend", ["event", "torch", "onnx"])
@pytest.mark.parametrize("name", ARCHITECTURES)
def test_narrow_form_conforms(name: str, backend: str, tmp_path: Path) -> None:
    """The quantized network gives the integers of the reference; its last layer spikes."""
    net = narrow_network(name)
    windows = np.random.default_rng(0).integers(0, 256, (1, *net.window_shape), np.int32)
    assert reference.run(net, windows).spikes[net.neurons[-1].name].any()
    assert_conforms(net, backend, windows, tmp_path)


@pytest.mark.parametrize(
    ("name", "weighted", "millions", "synapses", "weights"),
    [
        # Layers with weights on the longest path; millions of parameters for 10 classes, without
        # the neurons. Of the lowered network: synapses, and millions of their weights.
        ("resnet-18", 18, 11.17, 26, 11.2),
        ("resnet-19", 19, 12.70, 27, 12.7),
        ("resnet-20", 20, 0.27, 29, 0.3),
        ("resnet-34", 34, 21.29, 50, 21.3),
        ("ms-resnet-18", 18, 11.17, 54, 24.5),
        ("ms-resnet-34", 34, 21.29, 170, 80.2),
        ("vgg-13", 13, 28.33, 13, 28.3),
        ("vgg-16", 16, 33.64, 16, 33.6),
    ],
)
def test_size(name: str, weighted: int, millions: float, synapses: int, weights: float) -> None:
    model, input = made(name)
    neurons = [module for module in model.modules() if isinstance(module, Neuron)]
    assert len(neurons) + 1 == weighted
    assert (
        round(
            (count_parameters(model) - sum(count_parameters(neuron) for neuron in neurons)) / 1e6, 2
        )
        == millions
    )
    net = lower(model, input, verify=False)
    assert sum(isinstance(layer, Neurons) for layer in net.layers) + 1 == weighted
    assert net.classes == 10
    lowered = [
        synapse
        for layer in net.layers
        if isinstance(layer, Neurons | Readout)
        for synapse in layer.synapses
    ]
    assert (len(lowered), round(sum(synapse.weight.size for synapse in lowered) / 1e6, 1)) == (
        synapses,
        weights,
    )


def test_steps_of_the_input_meet_the_first_neurons_only() -> None:
    model = build_model(
        (Convolution(4), Residual(6)),
        (2, 8, 8),
        3,
        lambda steps_in: LMHT(1, 3, steps_in),
        steps_in=5,
    )
    assert [(n.steps_in, n.steps) for n in model.modules() if isinstance(n, Neuron)] == [
        (5, 3),
        (3, 3),
        (3, 3),
    ]
    assert model(torch.zeros(7, 5, 2, 8, 8)).shape == (7, 3)
    with pytest.raises(DataError, match="windows have 4 input steps, the model needs 5"):
        model(torch.zeros(7, 4, 2, 8, 8))


def test_membrane_shortcuts_need_as_many_input_steps() -> None:
    with pytest.raises(
        DataError,
        match="membrane shortcuts need as many input steps as time-steps, not 1 and 2",
    ):
        build_model(
            ARCHITECTURES["ms-resnet-18"],
            (3, 32, 32),
            10,
            lambda steps_in: LMHT(2, 2, steps_in),
            steps_in=1,
        )


def test_other_objects_are_not_blocks() -> None:
    with pytest.raises(NetworkError, match="an architecture consists of blocks, not 'conv'"):
        build_model(["conv"], (2, 8, 8), 3, lambda steps_in: IF(1, steps_in), steps_in=1)  # type: ignore[list-item]


def test_model_is_the_mean_over_time() -> None:
    body = nn.Sequential(nn.Flatten(), nn.Linear(2, 2), IF(3))
    with torch.no_grad():
        body[1].weight.copy_(torch.eye(2))
        body[1].bias.zero_()
    windows = torch.tensor([[1.0, 0.5], [1.0, 0.5], [0.0, 0.5]]).reshape(
        1, 3, 2
    )  # fires at steps 1, 2 and at step 2
    assert SpikingModel(body, 3)(windows).tolist() == [[pytest.approx(2 / 3), pytest.approx(1 / 3)]]
    assert SpikingModel(body, 3, input_scale=2.0)(windows).tolist() == [[1.0, 1.0]]
    with pytest.raises(NetworkError, match="input steps must be >= 1"):
        SpikingModel(body, 0)


def test_maps_that_are_pooled_away() -> None:
    with pytest.raises(
        DataError,
        match="an input of 16 x 16 is too small for the architecture: "
        "the output of averagepool17 is empty",
    ):
        build_model(
            ARCHITECTURES["vgg-16"],
            (3, 16, 16),
            10,
            lambda steps_in: LMHT(2, 2, steps_in),
            steps_in=1,
        )
