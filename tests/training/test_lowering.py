"""Lowering: the reference counts the spikes of the PyTorch model, layer by layer."""

from __future__ import annotations

import copy
import dataclasses
import random
import threading
from collections import OrderedDict
from collections.abc import Callable

import functorch
import numpy as np
import pytest
import torch
import torch.ao.nn.qat
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils import parametrizations, prune

from lmht_deploy import reference
from lmht_deploy.errors import LoweringError
from lmht_deploy.ir import Conv, Input, MaxPool, Network, Neurons, Readout, Scale, SumPool
from lmht_deploy.training import _preparation, _verification
from lmht_deploy.training.architectures import (
    AveragePool,
    Block,
    ConvNorm,
    Convolution,
    Dropout,
    FullyConnected,
    GlobalAveragePool,
    MembraneResidual,
    NeuronLayer,
    Residual,
)
from lmht_deploy.training.architectures import MaxPool as MaxPoolBlock
from lmht_deploy.training.builder import build_model
from lmht_deploy.training.lowering import lower
from lmht_deploy.training.model import SpikingModel
from lmht_deploy.training.neurons import IF, LMHT, MHT, QCFS, Neuron
from tests.support.training import assert_lowers, randomized

EVENTS = Input(name="input", shape=(2, 8, 8), steps=4, max_value=5)


def lmht(steps_in: int) -> Neuron:
    return LMHT(2, 4, steps_in)


def sequential(*modules: nn.Module, steps_in: int = 4) -> SpikingModel:
    return SpikingModel(nn.Sequential(*modules), steps_in)


def named(**modules: nn.Module) -> nn.Sequential:
    return nn.Sequential(OrderedDict(modules))


HEAD = (nn.Flatten(), nn.Linear(4 * 8 * 8, 3))

# ---------------------------------------------------------------------------------- what is lowered


BLOCKS = st.one_of(
    st.builds(Convolution, st.integers(1, 5), st.sampled_from([1, 3, 5]), st.integers(1, 2)),
    st.builds(Residual, st.integers(1, 5), st.integers(1, 2)),
    st.just(AveragePool(2)),
    st.just(MaxPoolBlock(2)),
    st.just(Dropout(0.5)),
)


@settings(max_examples=30, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    blocks=st.lists(BLOCKS, max_size=3),
    tail=st.lists(st.sampled_from([GlobalAveragePool(), FullyConnected(6)]), max_size=2),
    levels=st.integers(1, 3),
    steps=st.integers(1, 4),
    steps_in=st.integers(1, 4),
    v0=st.sampled_from([0.0, 0.5]),
    seed=st.integers(0, 10**6),
)
def test_random_models(
    blocks: list[Block],
    tail: list[Block],
    levels: int,
    steps: int,
    steps_in: int,
    v0: float,
    seed: int,
) -> None:
    torch.manual_seed(seed)
    if tail == [FullyConnected(6), GlobalAveragePool()]:  # a pooling of a flat layer
        tail = tail[::-1]
    stem = Convolution(4)
    model = build_model(
        [stem, *blocks, *tail],
        (2, 9, 8),
        3,
        lambda s: LMHT(levels, steps, s, v0=v0),
        steps_in=steps_in,
    )
    assert_lowers(
        randomized(model, seed),
        Input(name="events", shape=(2, 9, 8), steps=steps_in, max_value=4),
        seed=seed,
        may_be_silent=True,
    )


@pytest.mark.parametrize(
    "neuron",
    [IF(4), MHT(3, 4, leak=0.75), LMHT(2, 4, v0=0.5), LMHT(3, 2, 4)],
    ids=lambda n: type(n).__name__,
)
def test_special_cases(neuron: Neuron) -> None:
    torch.manual_seed(1)
    net = assert_lowers(
        randomized(sequential(nn.Conv2d(2, 4, 3, padding=1), neuron, *HEAD), 1), EVENTS
    )
    assert net.neurons[0].levels == neuron.levels and net.readout.scale == 1 / neuron.steps


def test_qcfs_on_a_still_image() -> None:
    """A quantized ANN is a network of one step; its gray levels have a real value of 1/64."""
    torch.manual_seed(2)
    body = nn.Sequential(
        nn.Conv2d(3, 4, 3, padding=1), QCFS(8), nn.Conv2d(4, 4, 3, padding=1), QCFS(8), *HEAD
    )
    image = Input(
        name="image", shape=(3, 8, 8), steps=1, min_value=-128, max_value=127, kind="image"
    )
    assert_lowers(SpikingModel(body, 1, input_scale=1 / 64).double().eval(), image)


def test_geometry() -> None:
    torch.manual_seed(3)
    body = nn.Sequential(
        nn.Conv2d(2, 4, (3, 2), (2, 1), (0, 1), bias=False, groups=2),
        MHT(3, 4),
        nn.Conv2d(4, 8, 3, padding="same", dilation=2, groups=4),
        nn.BatchNorm2d(8, affine=False),
        MHT(3, 4),
        nn.AvgPool2d(3, 2, 1),
        nn.Conv2d(8, 4, 1, padding="valid"),
        MHT(3, 4),
        nn.MaxPool2d(2, 1, 1),
        nn.AvgPool2d(2, 1, divisor_override=3),
        nn.AdaptiveAvgPool2d((1, None)),
        nn.Flatten(),
        nn.Linear(20, 6),
        nn.BatchNorm1d(6),
        MHT(2, 4),
        nn.Linear(6, 3),
    )
    assert_lowers(randomized(SpikingModel(body, 4), 3), EVENTS)


def test_layer_names_are_module_paths() -> None:
    net = lower(
        build_model((Convolution(4), AveragePool(2), Residual(6)), (2, 8, 8), 10, lmht, steps_in=4),
        EVENTS,
    )
    assert [layer.name for layer in net.layers] == [
        "input",
        "convolution0.neuron",
        "averagepool1",
        "residual2.inner.neuron",
        "residual2.neuron",
        "flatten",
        "logits",
    ]


def test_identity_shortcut_is_one_weight_a_channel() -> None:
    """It reads the pooled spikes after the block: weight θ / 4."""
    model = randomized(
        build_model((Convolution(4), AveragePool(2), Residual(4)), (2, 8, 8), 10, lmht, steps_in=4),
        0,
    )
    net = assert_lowers(model, EVENTS)
    conv, shortcut = net["residual2.neuron"].synapses  # type: ignore[union-attr]
    theta = net["convolution0.neuron"].threshold  # type: ignore[union-attr]
    assert (
        isinstance(conv, Conv) and isinstance(shortcut, Scale) and shortcut.source == "averagepool1"
    )
    np.testing.assert_array_equal(shortcut.weight, theta / 4)


def test_projection_shortcut_is_a_second_convolution() -> None:
    net = assert_lowers(
        randomized(
            build_model((Convolution(4), Residual(6, 2)), (2, 8, 8), 10, lmht, steps_in=4), 0
        ),
        EVENTS,
    )
    synapses = net["residual1.neuron"].synapses  # type: ignore[union-attr]
    assert [(s.source, s.kernel, s.stride) for s in synapses if isinstance(s, Conv)] == [
        ("residual1.inner.neuron", (3, 3), (1, 1)),
        ("convolution0.neuron", (1, 1), (2, 2)),
    ]


def test_membrane_shortcuts_are_unrolled() -> None:
    """Neurons read every convolution whose current reaches them.

    A strided 1x1 convolution in between is multiplied into those before it.
    """
    blocks = (ConvNorm(4), MembraneResidual(4), MembraneResidual(6, 2), NeuronLayer())
    net = assert_lowers(
        randomized(build_model(blocks, (2, 9, 8), 3, lmht, steps_in=4), 0),
        Input(name="input", shape=(2, 9, 8), steps=4, max_value=5),
    )
    first, second = "membraneresidual1.inner", "membraneresidual2.inner"
    read = {
        layer.name: [(s.source, s.kernel, s.stride) for s in layer.synapses if isinstance(s, Conv)]
        for layer in net.neurons
    }
    assert read == {
        f"{first}.first": [("input", (3, 3), (1, 1))],
        f"{first}.second": [(f"{first}.first", (3, 3), (1, 1))],
        f"{second}.first": [(f"{first}.second", (3, 3), (1, 1)), ("input", (3, 3), (1, 1))],
        f"{second}.second": [(f"{second}.first", (3, 3), (2, 2))],
        "neuronlayer3": [
            (f"{second}.second", (3, 3), (1, 1)),
            (f"{first}.second", (3, 3), (2, 2)),
            ("input", (3, 3), (2, 2)),
        ],
    }


def test_1x1_convolution_of_a_current() -> None:
    """With a bias, after an addition of spikes, twice in a row, and with unequal strides."""

    class Body(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.stem, self.inner = (
                named(conv=nn.Conv2d(2, 4, 3, padding=1), neuron=lmht(4)),
                nn.Conv2d(4, 4, 5, (2, 1), 2, dilation=1),
            )
            self.pool, self.join, self.again = (
                nn.AvgPool2d((2, 1)),
                nn.Conv2d(4, 5, 1, (1, 2)),
                nn.Conv2d(5, 3, 1, 2, padding="valid"),
            )
            self.tail = named(neuron=lmht(4), flatten=nn.Flatten(), linear=nn.Linear(3 * 2 * 2, 3))

        def forward(self, x: Tensor) -> Tensor:
            spikes = self.stem(x)
            out: Tensor = self.tail(self.again(self.join(self.inner(spikes) + self.pool(spikes))))
            return out

    torch.manual_seed(4)
    net = assert_lowers(randomized(SpikingModel(Body(), 4), 4), EVENTS)
    assert [(s.kernel, s.stride) for s in net["tail.neuron"].synapses] == [
        ((5, 5), (4, 4)),
        ((1, 1), (2, 4)),
    ]  # type: ignore[union-attr]


def test_functions_repeated_modules_and_sums_of_spikes() -> None:
    """One pooling used twice, and functional flatten and addition.

    Spikes are added before neurons, or enter them directly.
    """

    class Body(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.stem = named(conv=nn.Conv2d(2, 4, 3, padding=1), neuron=lmht(4))
            self.neuron, self.last = lmht(4), lmht(4)
            self.pool = nn.AvgPool2d(2)
            self.norm = nn.BatchNorm2d(4)
            self.drop = nn.Dropout2d()
            self.linear = nn.Linear(4 * 2 * 2, 3)

        def forward(self, x: Tensor) -> Tensor:
            one = self.stem(x)
            two = self.neuron(one)
            both = self.last(self.norm(torch.add(one, two)))
            return self.linear(
                torch.flatten(self.pool(self.drop(self.pool(both))), 1)
            ) + self.linear(self.pool(self.pool(two)).flatten(1))

    net = assert_lowers(randomized(SpikingModel(Body(), 4), 5), EVENTS)
    assert [layer.name for layer in net.layers if isinstance(layer, SumPool)] == [
        "pool",
        "pool#2",
        "pool#3",
        "pool#4",
    ]
    assert [type(synapse) for synapse in net["last"].synapses] == [Scale, Scale]  # type: ignore[union-attr]
    assert len(net.readout.synapses) == 2


def test_neurons_called_twice() -> None:
    neuron = lmht(4)
    net = assert_lowers(
        randomized(
            sequential(
                nn.Conv2d(2, 4, 3, padding=1), neuron, nn.Conv2d(4, 4, 3, padding=1), neuron, *HEAD
            ),
            6,
        ),
        EVENTS,
    )
    assert [layer.name for layer in net.neurons] == ["1", "1#2"]


def test_max_pooling_of_signed_pixels() -> None:
    torch.manual_seed(7)
    pixels = Input(name="image", shape=(2, 8, 8), steps=4, min_value=-9, max_value=-1, kind="image")
    net = assert_lowers(
        randomized(
            sequential(nn.MaxPool2d(3, 1, 1), nn.Conv2d(2, 4, 3, padding=1), lmht(4), *HEAD), 7
        ),
        pixels,
    )
    assert isinstance(net.layers[1], MaxPool)


def test_float32_model() -> None:
    """A model as trained: float32 parameters are taken as they are."""
    model = build_model((Convolution(4),), (2, 8, 8), 3, lmht, steps_in=4).eval()
    assert lower(model, EVENTS) == lower(model.double(), EVENTS)


# ---------------------------------------------------------------------------------- what is refused


def conv(channels_in: int = 2, **options: object) -> nn.Conv2d:
    return nn.Conv2d(channels_in, 4, 3, **({"padding": 1} | options))  # type: ignore[arg-type]


REFUSED: list[tuple[str, list[nn.Module], str]] = [
    (
        "relu",
        [conv(), nn.ReLU(), *HEAD],
        r"^1: ReLU cannot be lowered; replace activations by spiking neurons",
    ),
    (
        "unknown",
        [nn.Upsample(2), conv(), lmht(4), *HEAD],
        "^0: Upsample cannot be lowered; use Neuron, Conv2d",
    ),
    (
        "norm-then-conv",
        [conv(), lmht(4), nn.BatchNorm2d(4), conv(4), lmht(4), *HEAD],
        "^3: a convolution reads the current of '2', not spikes; put neurons",
    ),
    ("two-convs", [conv(), conv(4), lmht(4), *HEAD], "^1: a convolution reads the current of '0'"),
    (
        "two-convs-padded",
        [conv(), nn.Conv2d(4, 4, 1, padding=1), lmht(4), *HEAD],
        "^1: a convolution reads the current of '0'",
    ),
    (
        "two-convs-groups",
        [conv(), nn.Conv2d(4, 4, 1, groups=2), lmht(4), *HEAD],
        "^1: a convolution reads the current of '0'",
    ),
    (
        "groups-then-1x1",
        [conv(groups=2), nn.Conv2d(4, 4, 1), lmht(4), *HEAD],
        "^1: a 1x1 convolution of a current needs convolutions without groups",
    ),
    (
        "1x1-channels",
        [conv(), nn.Conv2d(5, 4, 1), lmht(4), *HEAD],
        "^1: a convolution of 5 channels receives the 4 channels of '0'",
    ),
    (
        "two-linears",
        [nn.Flatten(), nn.Linear(128, 4), nn.Linear(4, 3)],
        "^2: a linear layer reads the current of '1'",
    ),
    (
        "pooled-current",
        [conv(), nn.AvgPool2d(2), lmht(4), *HEAD],
        "^1: a pooling reads the current of '0'",
    ),
    ("flattened-current", [conv(), nn.Flatten()], "^1: a flatten reads the current of '0'"),
    (
        "ceil",
        [conv(), lmht(4), nn.MaxPool2d(3, 2, ceil_mode=True), *HEAD],
        "^2: ceil_mode=True cannot be lowered; use ceil_mode=False",
    ),
    (
        "ceil-average",
        [conv(), lmht(4), nn.AvgPool2d(3, 2, ceil_mode=True), *HEAD],
        "^2: ceil_mode=True",
    ),
    (
        "border",
        [conv(), lmht(4), nn.AvgPool2d(3, 1, 1, count_include_pad=False), *HEAD],
        "^2: an average whose divisor changes at the border",
    ),
    (
        "indices",
        [conv(), lmht(4), nn.MaxPool2d(2, dilation=2), *HEAD],
        "^2: a max pooling with dilation or with indices cannot be lowered",
    ),
    (
        "uneven",
        [conv(), lmht(4), nn.AdaptiveAvgPool2d(3), *HEAD],
        "^2: pooling windows of different sizes",
    ),
    (
        "flat-pool",
        [nn.Flatten(), nn.Linear(128, 4), lmht(4), nn.AvgPool2d(2)],
        "^3: a pooling reads maps",
    ),
    (
        "no-flatten",
        [conv(), lmht(4), nn.Linear(8, 3)],
        "^2: a linear layer reads flat spikes, not '1' of shape .*; put a Flatten between",
    ),
    (
        "partial-flatten",
        [conv(), lmht(4), nn.Flatten(2), nn.Linear(64, 3)],
        "^2: a flatten must keep the first dimension",
    ),
    (
        "reflect",
        [conv(padding_mode="reflect"), lmht(4), *HEAD],
        "^0: padding_mode 'reflect' cannot be lowered; use 'zeros'",
    ),
    (
        "same-even",
        [nn.Conv2d(2, 4, 2, padding="same"), lmht(4), *HEAD],
        "^0: padding 'same' of an even kernel",
    ),
    (
        "statistics",
        [conv(), nn.BatchNorm2d(4, track_running_stats=False), lmht(4), *HEAD],
        "^1: a batch norm without running statistics",
    ),
    (
        "channels",
        [conv(), nn.BatchNorm2d(5), lmht(4), *HEAD],
        "^1: a batch norm of 5 channels receives the 4 channels of '0'",
    ),
    (
        "wrong-channels",
        [conv(3), lmht(4), *HEAD],
        "^0: Conv from 'input': weight .* expects 3 channels, not 2",
    ),
    ("steps", [conv(), lmht(3), *HEAD], "^1: neurons with 3 input steps receive 4 steps"),
    (
        "no-readout",
        [conv(), lmht(4), nn.Flatten()],
        "^the body of the model must end in a linear layer",
    ),
    ("map-readout", [conv()], "^the body of the model must end in a linear layer"),
]


@pytest.mark.parametrize(
    ("modules", "message"), [case[1:] for case in REFUSED], ids=[case[0] for case in REFUSED]
)
def test_refused(modules: list[nn.Module], message: str) -> None:
    with pytest.raises(LoweringError, match=message):
        lower(sequential(*modules), EVENTS)


class Inner(nn.Module):
    def __init__(self, function) -> None:  # type: ignore[no-untyped-def]
        super().__init__()
        self.function = function

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.function(x)
        return out


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (
            torch.relu,
            r"^block\.inner\.relu: relu cannot be lowered; replace activations by spiking neurons",
        ),
        (torch.abs, r"^block\.inner\.abs_1: abs cannot be lowered; use Neuron, Conv2d"),
        (
            lambda x: x.view(x.size(1), -1),
            r"^block\.inner\.size: size cannot be lowered; flatten maps with nn\.Flatten",
        ),
        (
            lambda x: x + x.size(0),
            r"^block\.inner\.add: add can be lowered only for 2 plain tensors",
        ),
        (
            lambda x: functional.dropout(x, 0.5),
            r"^block\.inner\.dropout: dropout that is active in evaluation mode",
        ),
        (
            lambda x: functional.max_pool2d(x, 2, dilation=2),
            r"^block\.inner\.max_pool2d: a max pooling with dilation",
        ),
        (
            lambda x: functional.avg_pool2d(x, x.size(0)),
            r"^block\.inner\.avg_pool2d: the options of avg_pool2d must be constants",
        ),
        (
            lambda x: x.view(2, -1),
            r"^block\.inner\.view: view cannot be lowered; flatten maps with nn\.Flatten",
        ),
        (
            lambda x: x + 1,
            r"^block\.inner\.add: add can be lowered only for 2 plain tensors of the network",
        ),
        (
            lambda x: torch.add(x, x, alpha=2),
            r"^block\.inner\.add: add can be lowered only for 2 plain",
        ),
        (
            lambda x: x + x.flatten(1),
            r"^block\.inner\.add: an addition needs currents of equal shapes",
        ),
        (
            lambda x: x if x.sum() > 0 else -x,
            "^the body of the model cannot be traced: .* must not depend on the values of tensors",
        ),
    ],
)
def test_refused_functions_name_the_module(function, message: str) -> None:  # type: ignore[no-untyped-def]
    model = SpikingModel(
        named(
            block=named(conv=conv(), neuron=lmht(4), inner=Inner(function)),
            neuron=lmht(4),
            flatten=nn.Flatten(),
        ),
        4,
    )
    with pytest.raises(LoweringError, match=message):
        lower(model, EVENTS)


def test_addition_of_spikes_before_a_convolution() -> None:
    class Body(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b, self.c = (
                named(conv=conv(), neuron=lmht(4)),
                named(conv=conv(4), neuron=lmht(4)),
                conv(4),
            )

        def forward(self, x: Tensor) -> Tensor:
            one = self.a(x)
            out: Tensor = self.c(one + self.b(one))
            return out

    with pytest.raises(
        LoweringError,
        match=r"^c: a convolution reads the current of 'add', not spikes; put neurons between",
    ):
        lower(SpikingModel(Body(), 4), EVENTS)


def test_names_and_sizes_that_a_network_refuses() -> None:
    body = nn.Sequential()
    body.add_module("a/b", conv())
    body.add_module("c/d", lmht(4))
    with pytest.raises(LoweringError, match=r"layer name 'c/d' must be printable text without '/'"):
        lower(SpikingModel(body, 4), EVENTS)
    with pytest.raises(LoweringError, match=r"layer '2': a kernel of \(9, 9\)"):
        lower(sequential(conv(), lmht(4), nn.AvgPool2d(9), *HEAD), EVENTS)


def test_model_and_input_must_fit() -> None:
    with pytest.raises(
        LoweringError, match=r"not Sequential; wrap the module: SpikingModel\(module, steps_in\)"
    ):
        lower(nn.Sequential(), EVENTS)  # type: ignore[arg-type]
    with pytest.raises(LoweringError, match="the input has 4 steps, the model needs 3"):
        lower(sequential(conv(), lmht(3), *HEAD, steps_in=3), EVENTS)
    model = sequential(conv(), lmht(4), *HEAD)
    with pytest.raises(LoweringError, match="the input must be an Input, not tuple"):
        lower(model, (2, 8, 8))  # type: ignore[arg-type]
    with torch.no_grad():
        model.body[1].threshold.fill_(-1)  # type: ignore[index, union-attr, operator]
    with pytest.raises(LoweringError, match=r"^1: the threshold must be positive, not -1"):
        lower(model, EVENTS)


# ----------------------------------------------------------------------------------- functions


@pytest.mark.parametrize(
    "flatten",
    [
        lambda x: x.view(x.size(0), -1),
        lambda x: x.view(x.shape[0], -1),
        lambda x: x.reshape((x.size()[0], -1)),
        lambda x: x.flatten(1),
    ],
)
def test_functions(flatten: Callable[[Tensor], Tensor]) -> None:
    """Poolings, dropout and flatten as functions, with options by position and by name."""

    class Body(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.stem, self.linear = nn.Sequential(conv(), lmht(4)), nn.Linear(4, 3)

        def forward(self, x: Tensor) -> Tensor:
            x = functional.max_pool2d(self.stem(x), 3, 1, padding=1)
            x = functional.avg_pool2d(x, 2, stride=2)
            x = functional.dropout(x, 0.5, self.training)
            x = functional.adaptive_avg_pool2d(functional.avg_pool2d(x, (1, 2)), 1)
            return self.linear(flatten(x))  # type: ignore[no-any-return]

    torch.manual_seed(0)
    net = assert_lowers(SpikingModel(Body(), 4).double().eval(), EVENTS, may_be_silent=True)
    assert [layer.name for layer in net.layers if isinstance(layer, MaxPool)] == ["max_pool2d"]


# --------------------------------------------------------------------------- weights and hooks


def simple() -> SpikingModel:
    torch.manual_seed(1)
    return sequential(conv(), lmht(4), *head())


def head() -> tuple[nn.Module, ...]:
    return nn.Flatten(), nn.Linear(256, 3)


RECOMPUTED: dict[str, Callable[[nn.Module], object]] = {
    "prune": lambda m: prune.l1_unstructured(m, "weight", 0.5),
    "prune twice": lambda m: [prune.random_unstructured(m, n, 0.5) for n in ("weight", "bias")],
    "weight_norm": nn.utils.weight_norm,
    "spectral_norm": nn.utils.spectral_norm,
    "weight_norm and prune": lambda m: prune.l1_unstructured(nn.utils.weight_norm(m), "bias", 0.5),
    "parametrized weight_norm": parametrizations.weight_norm,
    "parametrized spectral_norm": parametrizations.spectral_norm,
}


@pytest.mark.parametrize("recompute", RECOMPUTED.values(), ids=RECOMPUTED)
@pytest.mark.filterwarnings("ignore")
def test_recomputed_weights(recompute: Callable[[nn.Module], object]) -> None:
    """They are those of the next forward, also after an optimizer changed the parameters."""
    model = simple()
    recompute(model.body[0])  # type: ignore[index]
    optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=0.5)
    windows = torch.randint(0, 6, (8, 4, 2, 8, 8))
    for _ in range(3):
        nn.functional.cross_entropy(model(windows.float()), torch.zeros(8).long()).backward()
        optimizer.step()
    result = reference.run(lower(model, EVENTS), windows.numpy())
    expected = model.eval()(windows.float()).detach().numpy()
    np.testing.assert_allclose(result.logits * result.scale, expected, atol=1e-4)


def test_pruned_neurons() -> None:
    model = simple()
    prune.random_unstructured(model.body[1], "m", 0.5)  # type: ignore[index]
    assert lower(model, EVENTS).neurons[0].omega.shape == (4, 4)


@pytest.mark.parametrize(
    ("path", "where"),
    [("", "the model"), ("body", "the body of the model"), ("body.0", "0"), ("body.1", "1")],
)
def test_hooks_are_refused(path: str, where: str) -> None:
    for kind, add in (
        ("forward hook", lambda m: m.register_forward_hook(lambda m, i, o: o * 2)),
        ("forward pre-hook", lambda m: m.register_forward_pre_hook(lambda m, i: (i[0] / 2,))),
    ):
        model = simple()
        handle = add(model.get_submodule(path))
        with pytest.raises(LoweringError, match=rf"^{where}: \w+ has a {kind}.*; remove the hook"):
            lower(model, EVENTS)
        handle.remove()
        lower(model, EVENTS)


def test_backward_hooks_do_not_matter() -> None:
    model = simple()
    model.body.register_full_backward_hook(lambda m, i, o: None)
    assert lower(model, EVENTS) == lower(simple(), EVENTS)


class Halved(LMHT):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) / 2


class CalledHalf(LMHT):
    def __call__(self, x: Tensor) -> Tensor:
        return super().__call__(x) / 2  # type: ignore[no-any-return]


class Standardized(nn.Conv2d):
    def forward(self, x: Tensor) -> Tensor:
        return nn.functional.conv2d(x, self.weight - self.weight.mean(), self.bias, padding=1)


class Doubled(nn.Conv2d):
    def _conv_forward(self, input: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        return super()._conv_forward(input, weight * 2, bias)


class Renamed(nn.Conv2d):
    pass


class Skipped(nn.Dropout):
    def forward(self, input: Tensor) -> Tensor:
        return input


def test_modules_that_replace_a_forward_are_refused() -> None:
    config = torch.ao.quantization.get_default_qat_qconfig("fbgemm")
    for module, index, name in (
        (Halved(2, 4), 1, "Halved replaces the forward of Neuron"),
        (CalledHalf(2, 4), 1, "CalledHalf replaces the forward of Neuron"),
        (Standardized(2, 4, 3), 0, "Standardized replaces the forward of Conv2d"),
        (Doubled(2, 4, 3), 0, "Doubled replaces the forward of Conv2d"),
        (torch.ao.nn.qat.Conv2d(2, 4, 3, qconfig=config), 0, "torch.ao.*Conv2d replaces"),
    ):
        model = simple()
        model.body[index] = module  # type: ignore[index, operator]
        with pytest.raises(LoweringError, match=f"^{index}: {name}"):
            lower(model, EVENTS)
    model = simple()
    first = model.body[0]  # type: ignore[index]
    first.forward = lambda x: nn.Conv2d.forward(first, x) * 2  # type: ignore[method-assign, arg-type]
    with pytest.raises(LoweringError, match=r"^0: Conv2d replaces the forward of Conv2d"):
        lower(model, EVENTS)


def test_subclasses_that_compute_the_same() -> None:
    torch.manual_seed(1)
    body = (Renamed(2, 4, 3, padding=1), LMHT(2, 4), Skipped(), *head())
    assert_lowers(sequential(*body).double().eval(), EVENTS)


def test_a_tensor_that_no_layer_owns() -> None:
    class Shifted(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.shift = nn.Parameter(torch.ones(1))

        def forward(self, x: Tensor) -> Tensor:
            return x + self.shift

    with pytest.raises(LoweringError, match=r"reads the tensor '1\.shift'"):
        lower(sequential(conv(), Shifted(), lmht(4), *head()), EVENTS)


def test_threshold_per_channel() -> None:
    model = simple()
    model.body[1].threshold = nn.Parameter(torch.ones(4, 1, 1))  # type: ignore[index, union-attr]
    with pytest.raises(LoweringError, match=r"^1: the threshold must be one number per layer"):
        lower(model, EVENTS)


# ------------------------------------------------------------------------------------- wrappers


WRAPPERS: dict[str, tuple[Callable[[nn.Module], nn.Module], str, str]] = {
    "DataParallel": (nn.DataParallel, "contains: model.module$", "attribute 'module'"),
    "OptimizedModule": (torch.compile, "contains: model._orig_mod$", "attribute '_orig_mod'"),  # type: ignore[dict-item]
    "AveragedModel": (
        torch.optim.swa_utils.AveragedModel,
        "contains: model.module$",
        "attribute 'module'",
    ),
    "TopLevelTracedModule": (
        lambda m: torch.jit.trace(m, torch.zeros(2, 4, 2, 8, 8), check_trace=False),
        "made from$",
        "made from$",
    ),
    "FunctionalModuleWithBuffers": (
        lambda m: functorch.make_functional_with_buffers(m)[0],
        "made from$",
        "made from$",
    ),
    "Sequential": (nn.Sequential, "contains: model.0$", "0: a SpikingModel within"),
}


@pytest.mark.parametrize("name", WRAPPERS)
@pytest.mark.filterwarnings("ignore")
def test_wrapped_models(name: str) -> None:
    """The message names the module to lower, and wrapping once more is refused too."""
    wrap, message, within = WRAPPERS[name]
    with pytest.raises(LoweringError, match=f"not {name}; .*{message}"):
        lower(wrap(simple().eval()), EVENTS)  # type: ignore[arg-type]
    with pytest.raises(LoweringError, match=within):
        lower(SpikingModel(wrap(simple().eval()), 4), EVENTS)


def test_models_with_another_forward() -> None:
    class Doubling(SpikingModel):
        def forward(self, windows: Tensor) -> Tensor:
            return super().forward(windows) * 2

    with pytest.raises(LoweringError, match=r"^Doubling has a forward of its own"):
        lower(Doubling(simple().body, 4), EVENTS)
    model = simple()
    model.compile()
    assert lower(model, EVENTS) == lower(simple(), EVENTS)


def test_models_without_weights() -> None:
    with pytest.raises(LoweringError, match=r"^0: LazyConv2d has no weights yet"):
        lower(sequential(nn.LazyConv2d(4, 3, padding=1), lmht(4), *head()), EVENTS)
    with pytest.raises(LoweringError, match="its weights must be in memory"):
        lower(simple().to("meta"), EVENTS)


# ----------------------------------------------------------------------------------- in place


class Additions(nn.Module):
    """Layers for a forward that is given as a function."""

    def __init__(self, function: Callable[[Additions, Tensor], Tensor]) -> None:
        super().__init__()
        self.function = function
        self.a, self.b = (nn.Conv2d(4, 4, 3, padding=1) for _ in range(2))
        self.stem, self.head = nn.Sequential(conv(), lmht(4)), nn.Sequential(*head())
        self.one, self.two = lmht(4), lmht(4)
        self.drop, self.same = nn.Dropout(), nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.two(self.function(self, self.stem(x))))  # type: ignore[no-any-return]


def spikes_in_place(m: Additions, x: Tensor) -> Tensor:
    identity = x
    x += m.a(x)
    return m.one(x) + identity  # type: ignore[no-any-return]


def currents_in_place(m: Additions, x: Tensor) -> Tensor:
    y = m.a(x)
    skip = m.same(m.drop(y))
    y += m.b(x)
    return m.one(y) + skip  # type: ignore[no-any-return]


def an_alias_in_place(m: Additions, x: Tensor) -> Tensor:
    y = m.a(x)
    skip = m.drop(y)
    skip += m.b(x)
    return m.one(y) + y  # type: ignore[no-any-return]


def method_in_place(m: Additions, x: Tensor) -> Tensor:
    y = m.a(x)
    y.add_(m.b(x))
    return m.one(y) + y  # type: ignore[no-any-return]


def last_in_place(m: Additions, x: Tensor) -> Tensor:
    y = m.a(x)
    y += x
    return y  # type: ignore[no-any-return]


def to_itself(m: Additions, x: Tensor) -> Tensor:
    y = m.a(x)
    twice = y
    y += y
    return twice  # type: ignore[no-any-return]


@pytest.mark.parametrize(
    "function",
    [
        spikes_in_place,
        currents_in_place,
        an_alias_in_place,
        method_in_place,
        last_in_place,
        to_itself,
    ],
)
def test_additions_in_place(function: Callable[[Additions, Tensor], Tensor]) -> None:
    """Every name of the tensor has the sum afterwards."""
    torch.manual_seed(0)
    assert_lowers(SpikingModel(Additions(function), 4).double().eval(), EVENTS)


def test_modules_named_as_methods() -> None:
    torch.manual_seed(0)
    body = named(
        size=conv(), add_=lmht(4), view=conv(4), iadd=lmht(4), flatten=nn.Sequential(*head())
    )
    assert_lowers(SpikingModel(body, 4).double().eval(), EVENTS)


def test_a_view_that_an_addition_changes() -> None:
    class Body(Additions):
        def forward(self, x: Tensor) -> Tensor:
            x = self.stem(x)
            flat = torch.flatten(x, 1)
            x += self.a(x)
            return self.head[1](flat) + self.head(self.two(x))  # type: ignore[no-any-return]

    with pytest.raises(LoweringError, match=r"^head\.1: reads a view of .* 'iadd'.* a = a \+ b"):
        lower(SpikingModel(Body(spikes_in_place), 4), EVENTS)


# -------------------------------------------------------------------------------- verification


class Alternating(nn.Module):
    """Doubles its input at every other call, which tracing does not see."""

    calls = 0

    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        return x if self.calls % 2 else x + x


class Growing(LMHT):
    reads = 0

    @property
    def omega(self) -> Tensor:
        self.reads += 1
        return super().omega * self.reads


def test_what_tracing_does_not_see_is_found() -> None:
    model = sequential(conv(), Alternating(), lmht(4), *head())
    with pytest.raises(LoweringError, match=r"^2: the currents of the network differ"):
        lower(model, EVENTS)
    lower(model, EVENTS, verify=False)
    with pytest.raises(LoweringError, match=r"^1: the spikes of the network differ"):
        lower(sequential(conv(), Growing(2, 4), *head()), EVENTS)
    model = sequential(conv(), lmht(4), nn.Flatten(), nn.Linear(256, 3), Alternating())
    with pytest.raises(LoweringError, match=r"^3: the logits of the network differ"):
        lower(model, EVENTS)


def test_a_model_that_cannot_run() -> None:
    class Failing(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            if isinstance(x, Tensor):
                raise KeyError("weights")
            return x

    with pytest.raises(LoweringError, match=r"^the model cannot run on probe windows"):
        lower(sequential(conv(), Failing(), lmht(4), *head()), EVENTS)


def test_changed_networks_are_found() -> None:
    """One weight, one bias, θ, λ or L of any layer."""
    torch.manual_seed(3)
    model = randomized(
        build_model((Convolution(4), Residual(6)), (2, 8, 8), 3, lmht, steps_in=4), 3
    )
    net = lower(model, EVENTS)
    for index, layer in enumerate(net.layers):
        if not isinstance(layer, Neurons | Readout):
            continue
        weight = layer.synapses[-1].weight.copy()
        weight.flat[np.abs(weight).argmax()] *= 1.0001
        synapse = dataclasses.replace(layer.synapses[-1], weight=weight)
        changes: list[dict[str, object]] = [
            {"synapses": (*layer.synapses[:-1], synapse)},
            {"bias": layer.bias + 1e-5},
        ]
        if isinstance(layer, Neurons):
            changes += [{"threshold": layer.threshold * 1.1}, {"omega": layer.omega * 1.1}]
        for change in changes:
            changed = dataclasses.replace(layer, **change)  # type: ignore[arg-type]
            layers = (*net.layers[:index], changed, *net.layers[index + 1 :])
            with (
                _preparation.undisturbed(),
                pytest.raises(LoweringError, match=f"^{layer.name}: the "),
            ):
                _verification.verify(_preparation.evaluation_copy(model), Network(layers))


@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    blocks=st.lists(BLOCKS, max_size=3),
    levels=st.sampled_from([1, 2, 15]),
    steps=st.sampled_from([1, 2, 16]),
    leak=st.sampled_from([0.5, 1.0, 1.5]),
    threshold=st.sampled_from([0.1, 0.3, 1.0]),
    divisor=st.sampled_from([1, 4, 10]),
    max_value=st.sampled_from([1, 255, 32768]),
    seed=st.integers(0, 10**6),
)
def test_potentials_at_the_threshold_are_not_refused(
    blocks: list[Block],
    levels: int,
    steps: int,
    leak: float,
    threshold: float,
    divisor: int,
    max_value: int,
    seed: int,
) -> None:
    """Weights on a grid: potentials are often multiples of θ, where rounding decides."""
    torch.manual_seed(seed)
    neuron = lambda s: MHT(levels, steps, s, leak=leak, threshold=threshold)  # noqa: E731
    model = build_model([Convolution(4), *blocks], (2, 9, 8), 3, neuron, steps_in=steps)
    with torch.no_grad():
        for module in model.modules():
            if isinstance(module, nn.Conv2d | nn.Linear):
                module.weight.copy_((module.weight * 8).round() / divisor)
    lower(model, Input(name="events", shape=(2, 9, 8), steps=steps, max_value=max_value))


def test_the_model_is_not_disturbed() -> None:
    """Not its mode, state, gradients and hooks, nor the generators of random numbers."""
    model = SpikingModel(Additions(last_in_place), 4).train()
    model.lock = threading.Lock()  # type: ignore[assignment]
    nn.utils.spectral_norm(model.body.a)
    loss = nn.functional.cross_entropy(model(torch.rand(2, 4, 2, 8, 8)), torch.zeros(2).long())
    loss.backward()
    model.body.cached = [model.body.a.weight * 2]  # a graph, which cannot be copied

    def state() -> tuple[object, ...]:
        tensors = copy.deepcopy(model.state_dict())
        gradients = [None if p.grad is None else p.grad.clone() for p in model.parameters()]
        flags = [
            (m.training, len(m._forward_hooks), len(m._forward_pre_hooks), sorted(vars(m)))
            for m in model.modules()
        ]
        generators = torch.get_rng_state(), np.random.get_state()[1], random.getstate()
        return tensors, gradients, flags, generators

    before = state()
    lower(model, EVENTS)
    torch.testing.assert_close(state()[:2], before[:2], rtol=0, atol=0)
    assert state()[2] == before[2] and torch.is_grad_enabled()
    for one, other in zip(state()[3], before[3], strict=True):  # type: ignore[call-overload]
        assert np.array_equal(one, other) if not isinstance(one, tuple) else one == other
