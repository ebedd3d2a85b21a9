"""Data, recipes and checks that the tests of training share."""

from __future__ import annotations

import multiprocessing
import multiprocessing.context
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from lmht_deploy import reference
from lmht_deploy.data import Windows
from lmht_deploy.ir import Input, Network
from lmht_deploy.training import LMHT, Neuron, Recipe, SpikingModel, load_recipe, lower
from lmht_deploy.training.data import Data


@dataclass(frozen=True)
class Synthetic(Windows):
    """Events of four classes: from the second step on, a bright bar at one of four rows, in noise.

    Attributes:
        windows: uint8 [N, 3, 2, 8, 8].
        labels: int32 [N].
        classes: Names of the classes.
    """

    classes: tuple[str, ...] = ("a", "b", "c", "d")


def synthetic(number: int, seed: int) -> Synthetic:
    """Draw `number` windows and labels."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(4, size=number, dtype=np.int32)
    windows = rng.poisson(0.2, (number, 3, 2, 8, 8))
    for window, label in zip(windows, labels, strict=True):
        window[1:, :, 2 * label] += rng.integers(0, 3, (2, 2, 8))
    return Synthetic(np.minimum(windows, 255).astype(np.uint8), labels)


DATA = Data(synthetic(120, 0), synthetic(40, 1))


def small(*overrides: str) -> Recipe:
    """A recipe that learns `DATA` in four epochs, where a shift would blur the classes."""
    return load_recipe(
        "digits",
        [
            "data.steps=3",
            "network.steps=2",
            "training.epochs=4",
            "training.batch_size=20",
            "augmentation.shift=0",
            *overrides,
        ],
    )


def processes() -> multiprocessing.context.ForkServerContext:
    """Start processes from a server that has not run anything yet.

    In a fork of this process OpenMP would wait forever for threads that did not survive it.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["lmht_deploy.training.loop"])
    return context


def copied(source: Path, target: Path) -> Path:
    """Copy the files of a folder to the new folder `target`."""
    target.mkdir()
    for path in source.iterdir():
        (target / path.name).write_bytes(path.read_bytes())
    return target


def randomized(model: SpikingModel, seed: int) -> SpikingModel:
    """Draw every parameter and statistic of `model`, in float64 and evaluation mode.

    Thresholds stay positive.
    """
    g = torch.Generator().manual_seed(seed)

    def uniform(tensor: Tensor, low: float, high: float) -> None:
        tensor.copy_(
            torch.rand(tensor.shape, dtype=torch.float64, generator=g) * (high - low) + low
        )

    model = model.double().eval()
    with torch.no_grad():
        for module in model.modules():
            if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
                uniform(module.running_mean, -0.3, 0.3)  # type: ignore[arg-type]
                uniform(module.running_var, 0.2, 1.0)  # type: ignore[arg-type]
                if module.affine:
                    uniform(module.weight, 0.5, 2.0)
                    uniform(module.bias, -0.3, 0.6)
            if isinstance(module, Neuron):
                uniform(module.threshold, 0.4, 1.3)
            if isinstance(module, LMHT):
                uniform(module.m, -2, 2)
                uniform(module.alpha, -2, 2)
    return model


def assert_lowers(
    model: SpikingModel, input: Input, batch: int = 3, seed: int = 0, may_be_silent: bool = False
) -> Network:
    """Lower `model` and check every spike of every layer, and the logits; return the network."""
    net = lower(model, input)
    windows = np.random.default_rng(seed).integers(
        input.min_value, input.max_value + 1, (batch, *net.window_shape)
    )
    spikes: dict[str, np.ndarray] = {}

    def record(path: str) -> Callable[..., None]:
        def hook(neuron: Neuron, inputs: tuple[Tensor, ...], out: Tensor) -> None:
            k = torch.unflatten((out / neuron.threshold).round(), 0, (neuron.steps, batch))
            k = k.transpose(0, 1)
            spikes[path if path not in spikes else f"{path}#2"] = k.to(torch.int64).numpy()

        return hook

    hooks = [
        module.register_forward_hook(record(path))
        for path, module in model.body.named_modules()
        if isinstance(module, Neuron)
    ]
    with torch.no_grad():
        logits = model(torch.tensor(windows, dtype=torch.float64))
    for hook in hooks:
        hook.remove()

    result = reference.run(net, windows, trace=True)
    assert result.traces is not None and result.traces.keys() == spikes.keys()
    for name, k in result.traces.items():
        np.testing.assert_array_equal(k, spikes[name], err_msg=name)
    assert may_be_silent or sum(k.sum() for k in spikes.values()) > 0
    np.testing.assert_allclose(result.logits * result.scale, logits.numpy(), rtol=0, atol=1e-9)
    return net


EVERYTHING = (
    "augmentation.shift=1",
    "augmentation.roll=1",
    "augmentation.flip=true",
    "augmentation.cutout=2",
    "augmentation.mixup=0.5",
    "training.ema_decay=0.9",
)
