"""The fused kernels of the neurons: correctness, and bandwidth as a share of a copy's."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Any
from unittest import mock

import torch
from torch import Tensor, nn

from lmht_deploy.training import LMHT, Neuron, neurons
from lmht_deploy.training.neurons import lmht

from .network import LEVELS, STEPS, network
from .timing import Run, Scale, seconds_each


def parameters(steps_in: int, device: str, dtype: torch.dtype = torch.float32) -> list[Tensor]:
    """Ω, λ, θ and v0, all exact in every dtype."""
    omega = torch.tensor([[0.75, 0.5], [0.25, 0.5]])[:, :steps_in]
    return [
        value.to(device, dtype)
        for value in (omega, torch.tensor(0.875), torch.tensor(0.5), torch.tensor(0.25))
    ]


def correctness(scale: Scale) -> dict[str, str]:
    """By dtype: "equal", or how the fused path differs from the plain one.

    Equal means: equal bits on numbers that no sum rounds, results close to float64 on random ones,
    and equal bits when run twice.
    """
    return {
        str(dtype).removeprefix("torch."): _correct(dtype, scale)
        for dtype in (torch.float64, torch.float32, torch.bfloat16, torch.float16)
    }


def _correct(dtype: torch.dtype, scale: Scale) -> str:
    g = torch.Generator().manual_seed(0)
    exact = [torch.randint(-8, 17, (2, 2051), generator=g) / 8 for _ in range(2)]
    if not _equal(_learn("plain", *exact, dtype, scale), _learn("fused", *exact, dtype, scale)):
        return "bits differ from the plain path"
    for many in (2048, 2051) if scale.device == "cpu" else (2**20, 2**20 + 3):
        drawn = [torch.randn(2, many, generator=g).to(dtype) for _ in range(2)]
        true, found = (
            _learn("plain", *drawn, torch.float64, scale),
            _learn("fused", *drawn, dtype, scale),
        )
        far = max(
            ((one.double() - other).norm() / other.norm()).item()
            for one, other in zip(found, true, strict=True)
        )
        # A potential within a rounding of a threshold may fall to either side: one neuron in a
        # million is an error of 1e-3.
        if not far <= (1e-10 if dtype == torch.float64 else max(4 * torch.finfo(dtype).eps, 4e-3)):
            return f"{many} neurons differ by {far:.1e} from the plain path in float64"
        if not _equal(found, _learn("fused", *drawn, dtype, scale)):
            return "bits differ when run again"
    return "equal"


def _learn(
    path: neurons.Path, x: Tensor, grad: Tensor, dtype: torch.dtype, scale: Scale
) -> list[Tensor]:
    """Amplitudes and gradients by x, Ω, λ and θ."""
    *learnt, v0 = (
        x.to(scale.device, dtype),
        *parameters(2, scale.device, torch.promote_types(dtype, torch.float32)),
    )
    leaves = [tensor.requires_grad_() for tensor in learnt]
    out = lmht(*leaves, v0, LEVELS, path)  # type: ignore[call-arg]
    return [out.detach(), *torch.autograd.grad(out, leaves, grad.to(scale.device, dtype))]


def _equal(one: Iterable[Tensor], other: Iterable[Tensor]) -> bool:
    return all(torch.equal(a, b) for a, b in zip(one, other, strict=True))


def layers(scale: Scale) -> Counter[tuple[int, int]]:
    """Number of neuron layers by (input steps, neurons in the batch)."""
    found: Counter[tuple[int, int]] = Counter()
    model, windows, _ = network(scale, LMHT)

    def count(neuron: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        found[neuron.steps_in, scale.batch_size * inputs[0][0].numel()] += 1  # type: ignore[index]

    for module in model.modules():
        if isinstance(module, Neuron):
            module.register_forward_pre_hook(count)
    with torch.no_grad():
        model(windows[:2])
    return found


def bandwidths(steps_in: int, many: int, scale: Scale) -> dict[str, dict[str, float]]:
    """Seconds and bytes to move of one layer of `many` neurons, forward and backward.

    In bfloat16; Ω and λ are learnt.
    """
    from lmht_deploy.training import _fused

    drawn = [
        (
            torch.randn(steps_in, many, device=scale.device, dtype=torch.bfloat16),
            torch.randn(STEPS, many, device=scale.device, dtype=torch.bfloat16),
        )
        for _ in range(max(2, scale.buffer // (4 * many * STEPS)))
    ]
    arguments = parameters(steps_in, scale.device)
    forward: list[Run] = [lambda x=x: _fused.amplitudes(x, *arguments, LEVELS) for x, _ in drawn]
    backward: list[Run] = [
        lambda x=x, grad=grad: _fused.amplitudes_backward(grad, x, *arguments, LEVELS, True, False)
        for x, grad in drawn
    ]
    return {
        "forward": {
            "seconds": seconds_each(forward, scale),
            "bytes": 2 * many * (steps_in + STEPS),
        },
        "backward": {
            "seconds": seconds_each(backward, scale),
            "bytes": 2 * many * (steps_in + STEPS + steps_in),
        },
    }


def all_layers(scale: Scale) -> list[dict[str, Any]]:
    return [
        {
            "steps_in": steps_in,
            "neurons": many,
            "layers": count,
            **bandwidths(steps_in, many, scale),
        }
        for (steps_in, many), count in layers(scale).items()
    ]


def other_tiles(scale: Scale) -> list[dict[str, Any]]:
    """The largest layer with every tile of `scale`."""
    from lmht_deploy.training import _fused

    largest = max(many for _, many in layers(scale))
    found = []
    for tile in scale.tiles:
        with mock.patch.object(_fused, "tile", lambda steps, steps_in, tile=tile: tile):
            found.append(
                {"neurons": tile[0], "warps": tile[1], **bandwidths(STEPS, largest, scale)}
            )
    return found
