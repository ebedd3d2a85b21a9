"""Testing of a model: loss, accuracy and spike density."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from lmht_deploy._arguments import check_types
from lmht_deploy.data import Windows
from lmht_deploy.errors import DataError

from . import _parallel
from .model import SpikingModel
from .neurons import Neuron

BATCH_SIZE = 256
"""Windows per forward pass."""


@dataclass(frozen=True)
class Evaluation:
    """Figures of a model on a data set.

    Attributes:
        loss: Mean cross-entropy.
        accuracy: Share of windows that are classified correctly, 0..1.
        density: Mean spikes k per neuron and time-step, by neuron layer.
    """

    loss: float
    accuracy: float
    density: dict[str, float]


@check_types(DataError, model=nn.Module, data=Windows, batch_size=int)
@torch.no_grad()
def evaluate(model: SpikingModel, data: Windows, *, batch_size: int = BATCH_SIZE) -> Evaluation:
    """Test `model` in evaluation mode, on its own device.

    The mode of the model is restored. Several processes share the work.

    Args:
        model: Model to test.
        data: Windows and labels.
        batch_size: Windows per forward pass.

    Raises:
        DataError: An argument has a wrong type, or the windows do not fit the model.
    """
    training = model.training
    model.eval()
    with _counted_spikes(model) as spikes:
        sums = _loss_and_correct(model, data, batch_size)
    model.train(training)
    counts = (count.to(sums) for count in spikes.values())
    loss, correct, *densities = _parallel.all_reduce(torch.stack([*sums, *counts])).tolist()
    number = len(data.windows)
    density = {path: count / number for path, count in zip(spikes, densities, strict=True)}
    return Evaluation(loss / number, correct / number, density)


def _loss_and_correct(model: SpikingModel, data: Windows, batch_size: int) -> Tensor:
    """Sum of the loss, and number of correct windows, over the share of this process."""
    device = next(model.parameters()).device
    sums = torch.zeros(2, dtype=torch.float64, device=device)
    share = np.arange(_parallel.rank(), len(data.windows), _parallel.world_size())
    for chosen in np.array_split(share, max(1, math.ceil(len(share) / batch_size))):
        windows = torch.from_numpy(data.windows[chosen]).to(device)
        labels = torch.from_numpy(data.require_labels()[chosen]).to(device).long()
        logits = model(windows.float())
        loss = functional.cross_entropy(logits, labels, reduction="sum")
        sums += torch.stack([loss, (logits.argmax(1) == labels).sum()])
    return sums


@contextmanager
def _counted_spikes(model: SpikingModel) -> Iterator[dict[str, Tensor]]:
    """Add up the mean spikes per neuron and time-step, by layer, over the windows that pass."""
    spikes: dict[str, Tensor] = {}
    hooks = [
        neuron.register_forward_hook(_counting_hook(spikes, path))
        for path, neuron in model.body.named_modules()
        if isinstance(neuron, Neuron)
    ]
    try:
        yield spikes
    finally:
        for hook in hooks:
            hook.remove()


def _counting_hook(spikes: dict[str, Tensor], path: str) -> Callable[..., None]:
    def hook(neuron: Neuron, inputs: tuple[Tensor, ...], out: Tensor) -> None:
        windows = len(out) // neuron.steps
        spikes[path] = spikes.get(path, 0.0) + (out.mean() / neuron.threshold) * windows

    return hook
