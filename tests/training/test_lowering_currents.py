"""Heads of 1x1 convolutions, averages and concatenations of currents and spikes are lowered."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from lmht_deploy.errors import LoweringError
from lmht_deploy.ir import Conv, Flatten, Input, Linear, Network, Scale
from lmht_deploy.training.lowering import lower
from lmht_deploy.training.model import SpikingModel
from lmht_deploy.training.neurons import LMHT
from tests.support.training import assert_lowers, randomized

Spikes = Callable[[], Tensor]
Head = Callable[[Any, Tensor, Spikes], Any]

EVENTS = Input(name="input", shape=(2, 8, 8), steps=4, max_value=5)


class Body(nn.Module):
    """Spikes of 4 channels and, if called, of 3, and a head that a test gives."""

    def __init__(self, head: Head, **modules: nn.Module):
        super().__init__()
        self.head = head
        self.one = nn.Sequential(nn.Conv2d(2, 4, 3, padding=1), LMHT(2, 4, threshold=0.5))
        self.two = nn.Sequential(nn.Conv2d(2, 3, 3, padding=1), LMHT(3, 4, threshold=1.5))
        for name, module in modules.items():
            self.add_module(name, module)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.head(self, self.one(x), lambda: self.two(x))
        return out


def lowered(head: Head, **modules: nn.Module) -> Network:
    torch.manual_seed(3)
    model = randomized(SpikingModel(Body(head, **modules), 4), 3)
    return assert_lowers(model, EVENTS, seed=3)


def kinds(net: Network) -> list[str]:
    """Classes of the layers after the input and the layers of the stem."""
    stem = [layer for layer in net.layers if layer.name in ("input", "one.1", "two.1")]
    return [type(layer).__name__ for layer in net.layers[len(stem) :]]


MEANS: dict[str, Callable[[Tensor], Tensor]] = {
    "module": lambda x: torch.flatten(nn.functional.adaptive_avg_pool2d(x, 1), 1),
    "average pool": lambda x: nn.functional.avg_pool2d(x, 8).flatten(1),
    "mean": lambda x: x.mean((2, 3)),
    "negative dimensions": lambda x: torch.mean(x, dim=[-2, -1]),
    "kept": lambda x: torch.mean(x, (2, 3), keepdim=True).flatten(1),
}


@pytest.mark.parametrize("name", MEANS)
def test_head_of_a_1x1_convolution_and_an_average(name: str) -> None:
    """As in SqueezeNet: the classes are the channels of a convolution, averaged over the map."""
    net = lowered(lambda body, a, b: MEANS[name](body.classes(a)), classes=nn.Conv2d(4, 5, 1))
    assert kinds(net) == ["SumPool", "Flatten", "Readout"]
    (synapse,) = net.readout.synapses
    assert isinstance(synapse, Linear) and synapse.weight.shape == (5, 4)


@pytest.mark.parametrize("name", MEANS)
def test_mean_of_spikes(name: str) -> None:
    net = lowered(lambda body, a, b: body.classes(MEANS[name](a)), classes=nn.Linear(4, 5))
    assert kinds(net) == ["SumPool", "Flatten", "Readout"]


def test_average_of_a_sum_of_currents() -> None:
    """Batch norm, groups and an identity shortcut; a layer that is read twice is pooled once."""
    net = lowered(
        lambda body, a, b: body.norm(body.groups(a) + body.dense(a) + a).mean((2, 3)),
        norm=nn.BatchNorm2d(4),
        groups=nn.Conv2d(4, 4, 1, groups=2),
        dense=nn.Conv2d(4, 4, 1),
    )
    assert kinds(net) == ["SumPool", "Flatten", "Flatten", "Flatten", "Readout"]
    assert [synapse.weight.shape for synapse in net.readout.synapses] == [(4, 4)] * 3


def test_average_of_a_current_before_neurons() -> None:
    """An average over 2x2 pixels between a 1x1 convolution and neurons."""
    net = lowered(
        lambda body, a, b: body.classes(body.spikes(body.pool(body.inner(a))).flatten(1)),
        inner=nn.Conv2d(4, 3, 1),
        pool=nn.AvgPool2d(2),
        spikes=LMHT(2, 4),
        classes=nn.Linear(3 * 4 * 4, 5),
    )
    assert kinds(net) == ["SumPool", "Neurons", "Flatten", "Readout"]


def test_concatenated_spikes_are_one_input_of_many_layers() -> None:
    def head(body: Any, a: Tensor, b: Spikes) -> Tensor:
        both = torch.cat((a, b()), 1)
        pooled = nn.functional.max_pool2d(both, 2)
        mixed = body.spikes(body.conv(pooled))
        out: Tensor = body.classes(torch.cat([mixed, pooled], dim=1).flatten(1))
        return out

    net = lowered(
        head,
        conv=nn.Conv2d(7, 2, 3, padding=1),
        spikes=LMHT(2, 4),
        classes=nn.Linear(9 * 4 * 4, 5),
    )
    assert [type(synapse) for synapse in net.neurons[2].synapses] == [Conv, Conv]
    assert [synapse.weight.shape[1] for synapse in net.neurons[2].synapses] == [4, 3]
    assert [synapse.weight.shape for synapse in net.readout.synapses] == [
        (5, 2 * 16),
        (5, 4 * 16),
        (5, 3 * 16),
    ]
    assert sum(isinstance(layer, Flatten) for layer in net.layers) == 3


def test_concatenated_spikes_before_neurons_and_batch_norm() -> None:
    net = lowered(
        lambda body, a, b: body.classes(body.spikes(body.norm(torch.cat((a, b()), 1))).flatten(1)),
        norm=nn.BatchNorm2d(7),
        spikes=LMHT(2, 4),
        classes=nn.Linear(7 * 64, 5),
    )
    assert [synapse.weight.shape for synapse in net.neurons[2].synapses] == [
        (7, 4, 1, 1),
        (7, 3, 1, 1),
    ]


def test_concatenated_currents_as_in_densely_connected_blocks() -> None:
    """Currents of a convolution and an identity, and flat currents."""

    def head(body: Any, a: Tensor, b: Spikes) -> Tensor:
        maps = body.spikes(torch.concat((body.conv(a), body.wide(a) + b(), a), 1))
        flat = maps.flatten(1)
        hidden = body.more(torch.cat((body.first(flat), body.second(flat)), dim=1))
        out: Tensor = body.classes(hidden)
        return out

    net = lowered(
        head,
        conv=nn.Conv2d(4, 2, 3, padding=1),
        wide=nn.Conv2d(4, 3, 1),
        spikes=LMHT(2, 4),
        first=nn.Linear(9 * 64, 6),
        second=nn.Linear(9 * 64, 4),
        more=LMHT(2, 4),
        classes=nn.Linear(10, 5),
    )
    assert [type(synapse) for synapse in net.neurons[2].synapses] == [Conv] * 4
    assert not any(isinstance(synapse, Scale) for synapse in net.neurons[2].synapses)


def test_average_with_padding_needs_spikes() -> None:
    net = lowered(
        lambda body, a, b: body.classes(nn.functional.avg_pool2d(a, 3, 1, 1).flatten(1)),
        classes=nn.Linear(4 * 64, 5),
    )
    assert kinds(net) == ["SumPool", "Flatten", "Readout"]
    refused(
        lambda body, a, b: nn.functional.avg_pool2d(body.conv(a), 3, 1, 1).flatten(1),
        "a pooling reads the current of 'conv', not spikes",
        conv=nn.Conv2d(4, 5, 1),
    )


def refused(head: Head, message: str, **modules: nn.Module) -> None:
    with pytest.raises(LoweringError, match=message):
        lower(SpikingModel(Body(head, **modules), 4), EVENTS)


@pytest.mark.parametrize(
    ("head", "message"),
    [
        (lambda body, a, b: torch.cat((a, b())), r"use torch\.cat\(\(a, b\), 1\)"),
        (lambda body, a, b: torch.cat((a, a), 2), "must join the channels"),
        (
            lambda body, a, b: torch.cat((a, b()[:1]), 1),
            "getitem: getitem cannot be lowered",
        ),
        (
            lambda body, a, b: torch.cat((a, nn.functional.max_pool2d(b(), 2)), 1),
            r"differ in their channels only: \(4, 8, 8\) in 4 steps \(one\.1\), \(3, 4, 4\) in 4",
        ),
        (
            lambda body, a, b: body.groups(torch.cat((a, b()), 1)),
            "groups: a convolution with groups cannot be lowered if it reads concatenated spikes",
        ),
        (
            lambda body, a, b: body.wrong(torch.cat((a, b()), 1)),
            "wrong: a layer of 6 channels receives the 7 channels of 'one.1, two.1'",
        ),
        (lambda body, a, b: body.conv(a).flatten(1), "a flatten reads the current of 'conv'"),
        (lambda body, a, b: a.mean(1), "mean cannot be lowered"),
        (
            lambda body, a, b: (body.conv(a).mean((2, 3)), body.conv(a)),
            r"must return one tensor, the logits, not tuple of 'mean', 'conv'",
        ),
    ],
)
def test_refused(head: Head, message: str) -> None:
    refused(
        head,
        message,
        conv=nn.Conv2d(4, 5, 1),
        groups=nn.Conv2d(7, 7, 1, groups=7),
        wrong=nn.Conv2d(6, 2, 1),
    )
