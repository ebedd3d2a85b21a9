"""The models of each framework."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from .models import STEPS, Model, convolutional, dense, stepwise

IMAGE, FLAT = (1, 8, 8), (64,)


def sinabs() -> Iterator[Model]:
    """IAF neurons with one and with several spikes per step, with a floor, and LIF neurons."""
    import sinabs.layers as sl
    import sinabs.nir as exchange
    from sinabs.activation import SingleSpike

    def model(name: str, net: nn.Sequential, shape: tuple[int, ...], **options: Any) -> Model:
        neurons = [layer for layer in net if hasattr(layer, "v_mem")]

        def run(x: Tensor) -> Tensor:
            for layer in neurons:
                layer.reset_states()  # type: ignore[operator]
            found: Tensor = net(x.flatten(0, 1))
            return found.unflatten(0, x.shape[:2])

        def graph() -> Any:
            for layer in neurons:
                layer.reset_states()  # type: ignore[operator]
            return exchange.to_nir(net, torch.zeros(STEPS, *shape))

        return Model(name, net, neurons, run, graph, shape, {"profile": "sinabs", **options})

    def iaf(_: int = 0, **options: Any) -> nn.Module:
        return sl.IAFSqueeze(num_timesteps=STEPS, **options)

    def lif(_: int = 0, **options: Any) -> nn.Module:
        return sl.LIFSqueeze(num_timesteps=STEPS, **{"tau_mem": 4.0} | options)

    single = {"spike_fn": SingleSpike}
    yield model("dense IAF", dense(iaf, 128), FLAT)
    yield model("dense IAF, 3 layers", dense(iaf, 128, 96, 64), FLAT)
    yield model("dense IAF, one spike", dense(partial(iaf, **single), 128), FLAT, max_spikes=1)
    yield model("dense LIF", dense(lif, 128, 64, gain=12.0), FLAT)
    yield model("convolutional IAF", convolutional(iaf), IMAGE)
    yield model("convolutional IAF, pooling", convolutional(iaf, sl.SumPool2d(2)), IMAGE)
    floor = partial(iaf, min_v_mem=-1.0)
    yield model("convolutional IAF, floor", convolutional(floor), IMAGE, floor=-1.0)


def snntorch() -> Iterator[Model]:
    """Leaky and synaptic neurons, with every reset; its NIR export takes dense layers only."""
    import snntorch as snn
    from snntorch import utils
    from snntorch.export_nir import export_to_nir

    def model(name: str, neurons: Callable[[int], nn.Module], *sizes: int, **more: Any) -> Model:
        net = dense(neurons, *sizes)
        fire = [layer for layer in net if hasattr(layer, "threshold")]
        run = partial(stepwise, net, lambda: utils.reset(net))
        graph = partial(export_to_nir, net, torch.zeros(1, 64), ignore_dims=[0])
        return Model(name, net, fire, run, graph, FLAT, {"profile": "snntorch", **more})

    def leaky(beta: float, n: int, **options: Any) -> nn.Module:
        one = torch.ones(n)
        return snn.Leaky(beta=beta * one, threshold=one, init_hidden=True, **options)

    def synaptic(n: int) -> nn.Module:
        one = torch.ones(n)
        return snn.Synaptic(alpha=0.6 * one, beta=one, threshold=one, init_hidden=True)

    zero = partial(leaky, 0.9, reset_mechanism="zero")
    yield model("dense IF (beta = 1)", partial(leaky, 1.0), 128)
    yield model("dense Leaky, beta = 0.9", partial(leaky, 0.9), 128)
    yield model("dense Leaky, beta = 0.7, 3 layers", partial(leaky, 0.7), 128, 96, 64)
    yield model("dense Leaky, reset to zero", zero, 128, reset="value")
    yield model("dense Synaptic, alpha = 0.6", synaptic, 128)


def spikingjelly() -> Iterator[Model]:
    """Hard resets, which are all that SpikingJelly exports."""
    from spikingjelly.activation_based import functional, layer, neuron, nir_exchange

    def model(name: str, net: nn.Sequential, shape: tuple[int, ...]) -> Model:
        fire = [part for part in net if isinstance(part, neuron.BaseNode)]

        def graph() -> Any:
            functional.reset_net(net)
            return nir_exchange.export_to_nir(net, torch.zeros(1, *shape))

        run = partial(stepwise, net, lambda: functional.reset_net(net))
        return Model(name, net, fire, run, graph, shape, {"profile": "spikingjelly"})

    def lif(_: int = 0, **options: Any) -> nn.Module:
        return neuron.LIFNode(**options)

    def node(_: int = 0) -> nn.Module:
        return neuron.IFNode()

    pool = layer.AvgPool2d(2)
    yield model("dense IF", dense(node, 128), FLAT)
    yield model("dense LIF, τ = 2", dense(lif, 128, gain=6.0), FLAT)
    yield model(
        "dense LIF, τ = 5, 3 layers", dense(partial(lif, tau=5.0), 128, 96, 64, gain=14.0), FLAT
    )
    yield model("dense LIF, reset to -0.2", dense(partial(lif, v_reset=-0.2), 128, gain=6.0), FLAT)
    yield model("convolutional IF", convolutional(node), IMAGE)
    yield model("convolutional LIF, pooling", convolutional(lif, pool, gain=8.0), IMAGE)


def norse() -> Iterator[Model]:
    """LIF boxes, with both resets."""
    import norse.torch as nt
    from norse.torch.functional.reset import reset_subtract, reset_value
    from norse.torch.utils.export_nir import to_nir

    def model(name: str, neurons: Callable[[int], nn.Module], *sizes: int, **more: Any) -> Model:
        net = nt.SequentialState(*dense(neurons, *sizes))
        fire = [part for part in net if isinstance(part, nt.LIFBoxCell)]

        def run(x: Tensor) -> Tensor:
            state, outputs = None, []
            for t in range(x.shape[1]):
                y, state = net(x[:, t], state)
                outputs.append(y)
            return torch.stack(outputs, 1)

        options = {"profile": "norse", **more}
        return Model(name, net, fire, run, lambda: to_nir(net, torch.zeros(64)), FLAT, options)

    def box(decay: float, leak: float, reset: Any, n: int) -> nn.Module:
        parameters = nt.LIFBoxParameters(
            tau_mem_inv=torch.full((n,), decay), v_th=torch.full((n,), 0.2),
            v_leak=torch.full((n,), leak), v_reset=torch.zeros(n), reset_method=reset,
        )  # fmt: skip
        return nt.LIFBoxCell(parameters)

    soft = {"reset": "subtract"}
    yield model("dense LIFBox, soft reset", partial(box, 200.0, 0.0, reset_subtract), 128, **soft)
    yield model(
        "dense LIFBox, soft reset, 3 layers",
        partial(box, 300.0, 0.0, reset_subtract), 128, 96, 64, **soft,
    )  # fmt: skip
    yield model(
        "dense LIFBox, v_leak, soft reset", partial(box, 200.0, 0.02, reset_subtract), 128, **soft
    )
    yield model("dense LIFBox, hard reset", partial(box, 200.0, 0.0, reset_value), 128)


ROUTES: Mapping[str, Callable[[], Iterator[Model]]] = {
    "sinabs": sinabs,
    "snntorch": snntorch,
    "spikingjelly": spikingjelly,
    "norse": norse,
}
"""The models by name of the framework, as profiles of `lmht import` are named."""
