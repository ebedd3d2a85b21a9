"""Models of layers of other frameworks: every spike of the network is that of the framework."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import lmht_deploy as lmht
from lmht_deploy import reference
from lmht_deploy.errors import LoweringError

STEPS, BATCH = 8, 5
INPUT = lmht.Input(name="input", shape=(2, 8, 8), steps=STEPS, max_value=3)


def windows() -> np.ndarray:
    rng = np.random.default_rng(0)
    return rng.integers(0, 4, (BATCH, *INPUT_SHAPE)) * (rng.random((BATCH, *INPUT_SHAPE)) < 0.3)


INPUT_SHAPE = (STEPS, *INPUT.shape)


def amplified(model: nn.Module, gain: float = 3.0) -> nn.Module:
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim > 1:
                parameter.mul_(gain)
    return model.eval()


def convolutional(make: Callable[[], nn.Module], pool: nn.Module) -> nn.Sequential:
    """Two convolutions and a linear layer, with neurons of `make` behind each."""
    model = nn.Sequential(
        nn.Conv2d(2, 6, 3, padding=1), make(), pool, nn.Conv2d(6, 6, 3, padding=1),
        make(), nn.AvgPool2d(2), nn.Flatten(), nn.Linear(24, 10), make(),
    )  # fmt: skip
    amplified(model)
    return model


def recorded(layers: list[nn.Module], run: Callable[[], Any]) -> list[np.ndarray]:
    """Run a model, and return what `layers` passed on at all calls, one after another."""
    found: list[list[Tensor]] = [[] for _ in layers]

    def hook(index: int) -> Callable[..., None]:
        def keep(_module: nn.Module, _inputs: Any, out: Any) -> None:
            found[index].append(out[0] if isinstance(out, tuple) else out)

        return keep

    handles = [layer.register_forward_hook(hook(i)) for i, layer in enumerate(layers)]
    with torch.no_grad():
        run()
    for handle in handles:
        handle.remove()
    return [torch.stack(calls).double().numpy() for calls in found]


def in_float64(model: nn.Module) -> None:
    """Let the framework compute in float64, where rounding decides nothing; spikes are float32."""
    for module in model.double().modules():
        if isinstance(module, nn.Conv2d | nn.Linear | nn.BatchNorm2d):
            module.register_forward_pre_hook(lambda _module, inputs: (inputs[0].double(),))


def check(model: nn.Module, run: Callable[[Tensor], list[np.ndarray]], least: float = 0.01) -> None:
    """Compare every spike of the float network and the integers of two backends.

    Args:
        model: The model.
        run: Returns the spikes [B, T, ...] of every layer of neurons for windows.
        least: Mean number of spikes of the layer that fires least, at least.
    """
    net = lmht.lower(model, INPUT)
    data = windows()
    in_float64(model)
    expected = run(torch.tensor(data, dtype=torch.float64))
    traces = reference.run(net, data, trace=True).traces
    assert traces is not None and len(traces) == len(expected)
    for layer, spikes in zip(net.neurons, expected, strict=True):
        assert spikes.mean() > least
        np.testing.assert_array_equal(traces[layer.name], spikes, err_msg=layer.name)
    integer = lmht.quantize(net)
    found = lmht.run(integer, data, backend="event")
    np.testing.assert_array_equal(found.logits, reference.run(integer, data).logits)


def refused(model: nn.Module, *parts: str) -> None:
    with pytest.raises(LoweringError) as error:
        lmht.lower(model, INPUT)
    for part in parts:
        assert part in str(error.value)


# ----------------------------------------------------------------------------------- SpikingJelly

SPIKINGJELLY: dict[str, Callable[[Any], nn.Module]] = {
    "if": lambda n: n.IFNode(),
    "if-soft": lambda n: n.IFNode(v_reset=None, v_threshold=0.8),
    "if-value": lambda n: n.IFNode(v_reset=-0.3),
    "lif": lambda n: n.LIFNode(tau=1.5, v_threshold=0.4),
    "lif-soft": lambda n: n.LIFNode(tau=2.0, v_threshold=0.3, v_reset=None),
    "lif-value": lambda n: n.LIFNode(tau=3.0, decay_input=False, v_reset=0.2),
    "parametric": lambda n: n.ParametricLIFNode(init_tau=1.5, v_threshold=0.4),
    "ilif": lambda n: n.ILIFNode(),
}


def spikingjelly_model(make: Callable[[], nn.Module]) -> nn.Sequential:
    from spikingjelly.activation_based import layer

    return nn.Sequential(
        layer.SeqToANNContainer(layer.Conv2d(2, 6, 3, padding=1), layer.BatchNorm2d(6)),
        make(),
        layer.MaxPool2d(2, 2),
        layer.Dropout(0.5),
        layer.Conv2d(6, 6, 3, padding=1, bias=False),
        make(),
        layer.AvgPool2d(2, 2),
        layer.Flatten(),
        layer.Linear(24, 10),
        make(),
    )


@pytest.mark.parametrize("name", SPIKINGJELLY)
def test_spikingjelly(name: str) -> None:
    pytest.importorskip("spikingjelly")
    from spikingjelly.activation_based import functional, neuron

    torch.manual_seed(0)
    model = amplified(spikingjelly_model(lambda: SPIKINGJELLY[name](neuron)))

    def run(x: Tensor) -> list[np.ndarray]:
        functional.set_step_mode(model, "m")
        functional.reset_net(model)
        layers = [module for module in model if isinstance(module, neuron.BaseNode)]
        spikes = recorded(layers, lambda: model(x.transpose(0, 1)))
        return [layer[0].swapaxes(0, 1) for layer in spikes]

    check(model, run)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"v_threshold": float("nan")}, "v_threshold must be a finite number, not nan"),
        ({"v_threshold": -1.0, "v_reset": None}, "the threshold must be above 0; it is -1"),
        (
            {"v_threshold": 1.0, "v_reset": 1.5},
            "the threshold must be above 1.5, to which a spike resets the potential; it is 1",
        ),
    ],
)
def test_thresholds_that_are_refused(fields: dict[str, Any], message: str) -> None:
    jelly = pytest.importorskip("spikingjelly.activation_based.neuron")
    model = nn.Sequential(nn.Linear(4, 3), jelly.IFNode(**fields))
    with pytest.raises(LoweringError, match=re.escape(message)):
        lmht.lower(model, lmht.Input(name="input", shape=(4,), steps=2))


def test_models_that_are_no_models() -> None:
    entry = lmht.Input(name="input", shape=(4,), steps=2)
    with pytest.raises(LoweringError, match="or a module of layers of sinabs, snnTorch or Spiking"):
        lmht.lower(None, entry)  # type: ignore[arg-type]


def test_spikingjelly_is_refused_by_name() -> None:
    pytest.importorskip("spikingjelly")
    from spikingjelly.activation_based import neuron, surrogate

    class Own(neuron.IFNode):
        pass

    def after(layer: nn.Module) -> nn.Module:
        return nn.Sequential(nn.Flatten(), nn.Linear(128, 4), layer)

    refused(after(neuron.QIFNode()), "2: QIFNode of SpikingJelly cannot be lowered", "IFNode")
    refused(after(Own()), "2: Own is a subclass of IFNode of SpikingJelly")
    refused(after(neuron.IFNode(v_reset=1.5)), "2: the threshold must be above")
    smooth = surrogate.Sigmoid(spiking=False)
    refused(after(neuron.IFNode(surrogate_function=smooth)), "2: ", "spiking=True")
    shared = neuron.IFNode()
    twice = nn.Sequential(nn.Flatten(), nn.Linear(128, 4), shared, nn.Linear(4, 4), shared)
    refused(twice, "2: is called more than once")


# ----------------------------------------------------------------------------------------- sinabs


def _sinabs_layers() -> dict[str, Callable[[], nn.Module]]:
    import sinabs.activation as sa
    import sinabs.layers as sl

    return {
        "iaf": lambda: sl.IAFSqueeze(batch_size=BATCH),
        "iaf-floor": lambda: sl.IAFSqueeze(batch_size=BATCH, min_v_mem=-0.2),
        "iaf-reset": lambda: sl.IAFSqueeze(
            batch_size=BATCH, spike_fn=sa.SingleSpike, reset_fn=sa.MembraneReset()
        ),
        "iaf-many-reset": lambda: sl.IAFSqueeze(
            batch_size=BATCH, spike_threshold=torch.tensor(0.4), reset_fn=sa.MembraneReset()
        ),
        "lif": lambda: sl.LIFSqueeze(
            batch_size=BATCH, tau_mem=3.0, spike_threshold=torch.tensor(0.3)
        ),
        "lif-max": lambda: sl.LIFSqueeze(
            batch_size=BATCH, tau_mem=9.0, norm_input=False, spike_fn=sa.MaxSpike(2), min_v_mem=-1.0
        ),
        "lif-synaptic": lambda: sl.LIFSqueeze(
            batch_size=BATCH, tau_mem=4.0, tau_syn=3.0, spike_threshold=torch.tensor(0.4)
        ),
        "lif-trained": lambda: sl.LIFSqueeze(
            batch_size=BATCH, tau_mem=4.0, train_alphas=True, spike_threshold=torch.tensor(0.3)
        ),
    }


@pytest.mark.parametrize(
    "name",
    [
        *("iaf", "iaf-floor", "iaf-reset", "iaf-many-reset"),
        *("lif", "lif-max", "lif-synaptic", "lif-trained"),
    ],
)
def test_sinabs(name: str) -> None:
    pytest.importorskip("sinabs")
    import sinabs.layers as sl

    torch.manual_seed(1)
    make = _sinabs_layers()[name]
    model = convolutional(make, sl.SumPool2d(2))

    def run(x: Tensor) -> list[np.ndarray]:
        layers = [module for module in model if isinstance(module, sl.LIF)]
        spikes = recorded(layers, lambda: model(x.flatten(0, 1)))
        return [layer[0].reshape(BATCH, STEPS, *layer.shape[2:]) for layer in spikes]

    check(model, run)


def test_sinabs_without_squeeze() -> None:
    """Layers with batch and time apart; the model unrolls its convolutions with `Repeat`."""
    pytest.importorskip("sinabs")
    import sinabs.layers as sl

    torch.manual_seed(1)
    model = amplified(
        nn.Sequential(
            sl.Repeat(nn.Conv2d(2, 6, 3, padding=1)), sl.IAF(), sl.Repeat(sl.SumPool2d(4)),
            sl.Repeat(nn.Flatten()), nn.Linear(24, 10), sl.LIF(tau_mem=5.0),
        )
    )  # fmt: skip

    def run(x: Tensor) -> list[np.ndarray]:
        return [k[0] for k in recorded([model[1], model[5]], lambda: model(x))]

    check(model, run)


def test_sinabs_is_refused_by_name() -> None:
    pytest.importorskip("sinabs")
    import sinabs.activation as sa
    import sinabs.layers as sl

    def after(layer: nn.Module) -> nn.Module:
        return nn.Sequential(nn.Flatten(), nn.Linear(128, 4), layer)

    recurrent = sl.LIFRecurrent(tau_mem=4.0, rec_connect=nn.Linear(4, 4))
    refused(after(recurrent), "2: LIFRecurrent of sinabs", "recurrent connections")
    refused(after(sl.ExpLeak(tau_mem=3.0)), "2: ExpLeak of sinabs cannot be lowered")
    refused(after(sl.IAF(reset_fn=sa.MembraneReset(0.5))), "2: the reset_fn", "MembraneReset()")
    refused(after(sl.IAF(reset_fn=sa.MembraneSubtract(0.5))), "2: the reset_fn")
    refused(
        after(sl.LIF(tau_mem=torch.tensor([2.0, 3, 4, 5]))),
        "2: tau_mem must be the same",
        "torch.cat",
    )
    refused(after(sl.IAF(min_v_mem=0.5)), "2: ", "floor")


def test_several_leaks_are_layers_whose_spikes_are_joined() -> None:
    """What the refusal of values per neuron advises."""
    pytest.importorskip("sinabs")
    import sinabs.layers as sl

    class Joined(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.flat = nn.Flatten()
            self.linear = nn.ModuleList(nn.Linear(128, 3) for _ in range(2))
            self.neurons = nn.ModuleList(
                sl.LIFSqueeze(tau_mem=tau, batch_size=BATCH) for tau in (2.0, 5.0)
            )
            self.out = nn.Linear(6, 4)

        def forward(self, x: Tensor) -> Tensor:
            flat = self.flat(x)
            spikes = [self.neurons[i](self.linear[i](flat)) for i in range(2)]
            return self.out(torch.cat(spikes, 1))

    torch.manual_seed(5)
    net = lmht.lower(Joined(), lmht.Input(name="input", shape=(2, 8, 8), steps=STEPS))
    assert [round(layer.leak, 4) for layer in net.neurons] == [0.6065, 0.8187]


# --------------------------------------------------------------------------------------- snnTorch


def _snntorch_layers() -> dict[str, Callable[[], nn.Module]]:
    import snntorch as snn

    def leaky(**options: Any) -> Callable[[], nn.Module]:
        return lambda: snn.Leaky(init_hidden=True, **options)

    return {
        "leaky": leaky(beta=0.9),
        "leaky-zero": leaky(beta=0.8, threshold=0.7, reset_mechanism="zero"),
        "leaky-graded": leaky(beta=0.95, graded_spikes_factor=0.5),
        "leaky-one": leaky(beta=1.0),
        "synaptic": lambda: snn.Synaptic(alpha=0.7, beta=0.8, init_hidden=True),
    }


@pytest.mark.parametrize("name", ["leaky", "leaky-zero", "leaky-graded", "leaky-one", "synaptic"])
def test_snntorch(name: str) -> None:
    pytest.importorskip("snntorch")
    torch.manual_seed(2)
    make = _snntorch_layers()[name]
    model = convolutional(make, nn.MaxPool2d(2))
    factor = 0.5 if name == "leaky-graded" else 1.0

    def run(x: Tensor) -> list[np.ndarray]:
        layers = [model[1], model[4], model[8]]
        for layer in layers:
            layer.reset_mem()
        spikes = recorded(layers, lambda: [model(x[:, t]) for t in range(STEPS)])
        return [layer.swapaxes(0, 1) / factor for layer in spikes]

    check(model, run)


@pytest.mark.filterwarnings("ignore:Inhibition")
def test_snntorch_is_refused_by_name() -> None:
    pytest.importorskip("snntorch")
    import snntorch as snn

    def after(layer: nn.Module) -> nn.Module:
        return nn.Sequential(nn.Flatten(), nn.Linear(128, 4), layer)

    for option, wrong, right in (
        ("init_hidden", False, True),
        ("reset_delay", False, True),
        ("inhibition", True, False),
        ("reset_mechanism", "none", "subtract"),
    ):
        layers = [
            snn.Leaky(beta=0.9, **({"init_hidden": True} | {option: value}))
            for value in (wrong, right)
        ]
        refused(
            after(layers[0]),
            f"2: Leaky with {option}={wrong!r} cannot",
            f"; use {option}={right!r}",
        )
        net = lmht.lower(after(layers[1]), lmht.Input(name="input", shape=(2, 8, 8), steps=STEPS))
        assert len(net.neurons) == 1
    zero = snn.Synaptic(alpha=0.5, beta=0.9, init_hidden=True, reset_mechanism="zero")
    refused(after(zero), "2: Synaptic with reset_mechanism='zero'", "='subtract'")
    recurrent = snn.RLeaky(beta=0.9, linear_features=4, init_hidden=True)
    refused(after(recurrent), "2: RLeaky of snnTorch", "recurrent connections")
