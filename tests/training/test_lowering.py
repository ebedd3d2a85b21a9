"""Lowering: the reference counts the spikes of the PyTorch model, layer by layer."""

from __future__ import annotations

from collections import OrderedDict

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from lmht_deploy.errors import LoweringError
from lmht_deploy.ir import Conv, Input, MaxPool, Scale, SumPool
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
    """A quantized ANN is a network of one step; its grey levels have a real value of 1/64."""
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
            lambda x: x.view(x.size(0), -1),
            r"^block\.inner\.size: size cannot be lowered; flatten maps with nn\.Flatten",
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
    with pytest.raises(
        LoweringError, match=r"layer name 'c/d' must be printable text without '/'"
    ):
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
