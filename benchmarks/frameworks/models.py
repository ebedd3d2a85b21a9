"""A model of any framework, the digits that it learns, and its training."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

STEPS = 8
"""Time-steps T per window."""
RATE = 0.3
"""Probability of a spike of a pixel at full brightness, per time-step."""
CLASSES = 10
TEST = 360
"""Number of windows that are kept for the test."""


@dataclass
class Model:
    """A model of one framework.

    Attributes:
        name: What it is built of.
        network: Its layers.
        neurons: Those that fire, in order.
        run: From inputs [B, T, ...] to outputs [B, T, classes], beginning with a reset.
        graph: Exports it as a graph of NIR.
        shape: Shape of one input.
        options: Options of `lmht.from_nir` for it.
    """

    name: str
    network: nn.Module
    neurons: list[nn.Module]
    run: Callable[[Tensor], Tensor]
    graph: Callable[[], Any]
    shape: tuple[int, ...]
    options: Mapping[str, Any] = field(default_factory=dict)


def stepwise(step: Callable[[Tensor], Tensor], reset: Callable[[], object], x: Tensor) -> Tensor:
    """Run a model that computes one time-step per call."""
    reset()
    return torch.stack([step(x[:, t]) for t in range(x.shape[1])], 1)


def dense(neurons: Callable[[int], nn.Module], *sizes: int, gain: float = 1.5) -> nn.Sequential:
    """Return linear layers of `sizes`, with neurons between them, and a linear read-out."""
    layers: list[nn.Module] = []
    for inputs, outputs in zip((64, *sizes), (*sizes, CLASSES), strict=True):
        layers += [scaled(nn.Linear(inputs, outputs), gain), neurons(outputs)]
    return nn.Sequential(*layers[:-1])


def convolutional(
    neurons: Callable[[], nn.Module], *between: nn.Module, gain: float = 1.5
) -> nn.Sequential:
    """Return two convolutions with neurons; `between` halves the image after the first."""
    stride = 1 if between else 2
    return nn.Sequential(
        scaled(nn.Conv2d(1, 16, 3, padding=1), gain), neurons(), *between,
        scaled(nn.Conv2d(16, 32, 3, stride, padding=1), gain), neurons(),
        nn.Flatten(), nn.Linear(32 * 16, CLASSES),
    )  # fmt: skip


def scaled(layer: nn.Module, gain: float) -> nn.Module:
    """Scale the weights, so that layers fire before they are trained."""
    with torch.no_grad():
        layer.weight.mul_(gain)  # type: ignore[operator, union-attr]
    return layer


# ------------------------------------------------------------------------------------------- data


def digits(shape: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
    """Return spikes [1797, T, *shape] that stand for the digits of scikit-learn, and labels."""
    from sklearn.datasets import load_digits

    scans = load_digits()
    rng = np.random.default_rng(0)
    rates = RATE * scans.images.reshape(-1, 1, *shape) / 16
    spikes = rng.random((len(rates), STEPS, *shape)) < rates
    order = rng.permutation(len(rates))
    return spikes[order].astype(np.uint8), scans.target[order].astype(np.int64)


def train(model: Model, spikes: np.ndarray, labels: np.ndarray, epochs: int) -> None:
    """Train on all windows but the last `TEST`."""
    x = torch.tensor(spikes[:-TEST], dtype=torch.float32)
    y = torch.tensor(labels[:-TEST])
    optimizer = torch.optim.Adam(model.network.parameters(), lr=3e-3)
    generator = torch.Generator().manual_seed(0)
    for _ in range(epochs):
        for batch in torch.randperm(len(x), generator=generator).split(64):
            loss = nn.functional.cross_entropy(model.run(x[batch]).mean(1), y[batch])
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()


def record(model: Model, spikes: np.ndarray) -> tuple[list[np.ndarray], np.ndarray]:
    """Return the spikes [B, T, ...] of every layer of neurons, and the outputs [B, T, classes]."""
    found: dict[int, list[Tensor]] = {}
    handles = [
        layer.register_forward_hook(
            lambda _m, _i, out, index=index: found.setdefault(index, []).append(
                out[0] if isinstance(out, tuple) else out
            )
        )
        for index, layer in enumerate(model.neurons)
    ]
    with torch.no_grad():
        outputs = model.run(torch.tensor(spikes, dtype=torch.float32))
    for handle in handles:
        handle.remove()
    batch = spikes.shape[:2]
    return [_windows(found[i], batch) for i in range(len(model.neurons))], outputs.numpy()


def _windows(calls: list[Tensor], batch: tuple[int, ...]) -> np.ndarray:
    """Join calls per time-step, or split one call for all time-steps."""
    one = calls[0].unflatten(0, batch) if len(calls) == 1 else torch.stack(calls, 1)
    result: np.ndarray = one.numpy().astype(np.float64)
    return result
