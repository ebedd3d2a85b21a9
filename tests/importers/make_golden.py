"""Write the golden files of this folder: graphs that four frameworks wrote, and their spikes.

It needs an environment of its own, beside PyTorch:

    pip install sinabs==3.1.3 snntorch==1.0.0 spikingjelly==2.0.0 norse==1.1.0 nir==1.0.8 loguru
    python -m tests.importers.make_golden

Each `NAME.nir` has a `NAME.npz` with windows, the spikes of every layer of neurons as the framework
computed them in float32, and the options of the import.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import nir
import numpy as np
import torch
from torch import Tensor, nn

GOLDEN = Path(__file__).parent / "golden"
STEPS, BATCH = 8, 6


def windows(*shape: int) -> np.ndarray:
    """Counts 0 to 2, mostly 0."""
    rng = np.random.default_rng(1)
    return rng.integers(0, 3, (BATCH, STEPS, *shape)) * (rng.random((BATCH, STEPS, *shape)) < 0.3)


def linear(inputs: int, outputs: int, gain: float) -> nn.Linear:
    layer = nn.Linear(inputs, outputs)
    with torch.no_grad():
        layer.weight.mul_(gain)
    return layer


def recorded(layers: list[nn.Module], step: Callable[[Tensor], Any], x: np.ndarray) -> Any:
    """Run single steps, and return the spikes [B, T, ...] of `layers`."""
    found: list[list[Tensor]] = [[] for _ in layers]
    for index, layer in enumerate(layers):

        def hook(_m: Any, _i: Any, out: Any, index: int = index) -> None:
            found[index].append(out[0] if isinstance(out, tuple) else out)

        layer.register_forward_hook(hook)
    with torch.no_grad():
        for t in range(STEPS):
            step(torch.tensor(x[:, t], dtype=torch.float32))
    return [torch.stack(one, 1).numpy() for one in found]


def save(name: str, graph: Any, x: np.ndarray, spikes: list[np.ndarray], **options: str) -> None:
    nir.write(GOLDEN / f"{name}.nir", graph)
    arrays = {f"spikes{i}": k.astype(np.uint8) for i, k in enumerate(spikes)}
    np.savez_compressed(GOLDEN / f"{name}.npz", windows=x.astype(np.uint8), **arrays, **options)
    print(name, [float(k.mean()) for k in spikes])


def sinabs() -> None:
    import sinabs.layers as sl
    import sinabs.nir as exchange

    x = windows(2, 8, 8)
    neurons = [sl.IAFSqueeze(num_timesteps=STEPS), sl.IAFSqueeze(num_timesteps=STEPS)]
    model = nn.Sequential(
        nn.Conv2d(2, 4, 3, padding=1), neurons[0], sl.SumPool2d(2), nn.Flatten(),
        linear(64, 10, 2), neurons[1],
    )  # fmt: skip
    found: list[np.ndarray] = []
    handles = [
        layer.register_forward_hook(
            lambda _m, _i, out: found.append(out.unflatten(0, (BATCH, STEPS)).numpy())
        )
        for layer in neurons
    ]
    with torch.no_grad():
        model(torch.tensor(x, dtype=torch.float32).flatten(0, 1))
    for handle, layer in zip(handles, neurons, strict=True):
        handle.remove()
        layer.reset_states()
    graph = exchange.to_nir(model, torch.zeros(STEPS, 2, 8, 8))
    graph.nodes["0"].input_shape = (8, 8)  # which sinabs leaves open
    graph.nodes["3"].input_type = {"input": np.array([4, 4, 4])}
    save("sinabs", graph, x, found, profile="sinabs")


def snntorch() -> None:
    import snntorch as snn
    from snntorch.export_nir import export_to_nir

    x = windows(64)

    def full(n: int, value: float) -> Tensor:
        return torch.full((n,), value)

    for name, make, options in (
        ("snntorch", lambda: (
            snn.Leaky(beta=full(20, 1.0), threshold=full(20, 1.0), init_hidden=True),
            snn.Synaptic(alpha=full(10, 0.7), beta=full(10, 1.0), threshold=full(10, 1.0),
                         init_hidden=True),
        ), {}),
        ("snntorch-leak", lambda: (
            snn.Leaky(beta=full(20, 0.9), threshold=full(20, 1.0), init_hidden=True),
            snn.Synaptic(alpha=full(10, 0.7), beta=full(10, 0.8), threshold=full(10, 1.0),
                         init_hidden=True),
        ), {}),
        ("snntorch-zero", lambda: (
            snn.Leaky(beta=full(20, 0.9), threshold=full(20, 1.0), init_hidden=True,
                      reset_mechanism="zero"),
            snn.Leaky(beta=full(10, 0.8), threshold=full(10, 0.5), init_hidden=True,
                      reset_mechanism="zero"),
        ), {"reset": "value"}),
        ("snntorch-immediate", lambda: (
            snn.Leaky(beta=full(20, 0.9), threshold=full(20, 1.0), init_hidden=True,
                      reset_delay=False),
            snn.Leaky(beta=full(10, 0.8), threshold=full(10, 1.0), init_hidden=True,
                      reset_delay=False),
        ), {"reset": "subtract"}),
    ):  # fmt: skip
        first, second = make()
        model = nn.Sequential(linear(64, 20, 1.5), first, linear(20, 10, 2), second)
        spikes = recorded([first, second], model, x)
        graph = export_to_nir(model, torch.zeros(1, 64), ignore_dims=[0])
        save(name, graph, x, spikes, profile="snntorch", **options)


def norse() -> None:
    import norse.torch as norse
    from norse.torch.functional.reset import reset_subtract
    from norse.torch.utils.export_nir import to_nir

    x = windows(64)

    def cell(n: int) -> nn.Module:
        parameters = norse.LIFBoxParameters(
            tau_mem_inv=torch.full((n,), 100.0), v_th=torch.full((n,), 0.2),
            v_leak=torch.full((n,), 0.02), reset_method=reset_subtract,
        )  # fmt: skip
        return norse.LIFBoxCell(parameters)

    first, second = cell(20), cell(10)
    model = norse.SequentialState(linear(64, 20, 4), first, linear(20, 10, 8), second)
    state: list[Any] = [None]

    def step(frame: Tensor) -> None:
        _, state[0] = model(frame, state[0])

    spikes = recorded([first, second], step, x)
    graph = to_nir(model, torch.zeros(64))
    save("norse", graph, x, spikes, profile="norse", reset="subtract")


def spikingjelly() -> None:
    from spikingjelly.activation_based import functional, layer, neuron, nir_exchange

    x = windows(1, 8, 8)
    first, second = neuron.IFNode(), neuron.LIFNode()
    model = nn.Sequential(
        layer.Conv2d(1, 4, 3, padding=1), first, layer.AvgPool2d(2), layer.Flatten(),
        linear(64, 10, 40), second,
    )  # fmt: skip
    spikes = recorded([first, second], model, x)
    functional.reset_net(model)
    graph = nir_exchange.export_to_nir(model, torch.zeros(1, 1, 8, 8))
    save("spikingjelly-hard", graph, x, spikes, profile="spikingjelly")


if __name__ == "__main__":
    GOLDEN.mkdir(exist_ok=True)
    torch.manual_seed(0)
    for write in (sinabs, snntorch, norse, spikingjelly):
        write()
