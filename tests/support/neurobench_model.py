"""A network as a PyTorch model that NeuroBench can measure, for tests with its package installed.

Layers are called once per step with the integers k as inputs, as a user of NeuroBench would do.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import nn

from lmht_deploy import reference
from lmht_deploy.ir import Conv, Linear, Network, Neurons, Readout, Scale


class Fire(nn.Module):
    """The neurons of one layer as an activation: hands on spikes that are known already."""

    def forward(self, k: torch.Tensor) -> torch.Tensor:
        return k


class Replay(nn.Module):
    """Runs every convolution and linear layer of a network on the inputs of a run."""

    def __init__(self, net: Network) -> None:
        super().__init__()
        self.net = net
        self.synapses = nn.ModuleDict()
        self.fire = nn.ModuleDict({layer.name: Fire() for layer in net.neurons})
        for layer in net.layers:
            if isinstance(layer, Neurons | Readout):
                for index, synapse in enumerate(layer.synapses):
                    if not isinstance(synapse, Scale):
                        self.synapses[f"{layer.name}/{index}"] = _module(synapse)

    def forward(self, windows: torch.Tensor) -> torch.Tensor:
        arrays = windows.numpy().astype(np.int64)
        result = reference.run(self.net, arrays, trace=True)
        outputs = reference.outputs_of(self.net, arrays, result.traces or {})
        for key, module in self.synapses.items():
            name, index = key.rsplit("/", 1)
            source = self.net[name].synapses[int(index)].source  # type: ignore[union-attr]
            for step in np.moveaxis(outputs[source], 1, 0):
                module(torch.tensor(step, dtype=torch.float32))
        for name, fire in self.fire.items():
            for step in np.moveaxis(outputs[name], 1, 0):
                fire(torch.tensor(step, dtype=torch.float32))
        return torch.tensor(result.predictions)


def _module(synapse: Conv | Linear) -> nn.Module:
    weight = torch.tensor(synapse.weight, dtype=torch.float32)
    if isinstance(synapse, Linear):
        module: Any = nn.Linear(weight.shape[1], weight.shape[0], bias=False)
    else:
        module = nn.Conv2d(
            weight.shape[1] * synapse.groups,
            weight.shape[0],
            synapse.kernel,
            synapse.stride,
            synapse.padding,
            synapse.dilation,
            synapse.groups,
            bias=False,
        )
    module.weight.data = weight
    return module  # type: ignore[no-any-return]


def measure(net: Network, windows: np.ndarray, labels: np.ndarray) -> dict[str, Any]:
    """Return the metrics that NeuroBench gives for one batch of all windows."""
    from neurobench.benchmarks import Benchmark
    from neurobench.metrics.static import ConnectionSparsity
    from neurobench.metrics.workload import (
        ActivationSparsity,
        ClassificationAccuracy,
        SynapticOperations,
    )
    from neurobench.models import TorchModel
    from torch.utils.data import DataLoader, TensorDataset

    model = TorchModel(Replay(net))
    model.add_activation_module(Fire)
    data = TensorDataset(torch.tensor(windows), torch.tensor(labels))
    metrics = [
        [ConnectionSparsity],
        [ActivationSparsity, SynapticOperations, ClassificationAccuracy],
    ]
    benchmark = Benchmark(model, DataLoader(data, batch_size=len(windows)), [], [], metrics)
    found: dict[str, Any] = benchmark.run(quiet=True)
    return found
