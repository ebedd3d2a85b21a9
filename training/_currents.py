"""Layers of PyTorch as synapses: their weights as float64, and what of them can be lowered."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, nn

from lmht_deploy import _currents as currents
from lmht_deploy._currents import Current, Value
from lmht_deploy.errors import LoweringError
from lmht_deploy.ir import Pair


def convolved(where: str, conv: nn.Conv2d, value: Value) -> Current:
    """A convolution of spikes: one synapse per layer that it reads."""
    if conv.padding_mode != "zeros":
        raise LoweringError(
            f"{where}: padding_mode {conv.padding_mode!r} cannot be lowered; use 'zeros'"
        )
    options = {
        "stride": as_pair(conv.stride),
        "padding": padding_of(where, conv),
        "dilation": as_pair(conv.dilation),
        "groups": conv.groups,
    }
    return currents.convolved(where, value, as_array(conv.weight), bias_of(conv), options)


def multiplied(where: str, linear: nn.Linear, value: Value) -> Current:
    """A linear layer of spikes: one synapse per layer that it reads."""
    return currents.multiplied(where, value, as_array(linear.weight), bias_of(linear))


def is_pointwise(where: str, conv: nn.Conv2d) -> bool:
    """Whether `conv` is 1x1, without padding and groups."""
    return (conv.kernel_size, padding_of(where, conv), conv.groups) == ((1, 1), (0, 0), 1)


def projected(where: str, conv: nn.Conv2d, current: Current) -> Current:
    """Multiply a 1x1 convolution into a current."""
    weight = as_array(conv.weight)[:, :, 0, 0]
    return currents.projected(where, weight, bias_of(conv), as_pair(conv.stride), current)


def bias_of(module: nn.Conv2d | nn.Linear) -> np.ndarray:
    """The bias, zeros where there is none; float64 [C]."""
    return np.zeros(len(module.weight)) if module.bias is None else as_array(module.bias)


def padding_of(where: str, conv: nn.Conv2d) -> Pair:
    """Padding (vertical, horizontal) of a convolution, also if it is 'valid' or 'same'."""
    if not isinstance(conv.padding, str):
        return as_pair(conv.padding)
    if conv.padding == "valid":
        return 0, 0
    sizes = zip(as_pair(conv.dilation), as_pair(conv.kernel_size), strict=True)
    spans = [dilation * (kernel - 1) for dilation, kernel in sizes]
    if any(span % 2 for span in spans):
        raise LoweringError(
            f"{where}: padding 'same' of an even kernel pads its two sides differently, which "
            "cannot be lowered; use an odd kernel"
        )
    return spans[0] // 2, spans[1] // 2


def as_pair(value: Any) -> Pair:
    """A size of PyTorch, which may be one number, as (vertical, horizontal)."""
    return cast(Pair, tuple(value) if isinstance(value, Sequence) else (value, value))


def as_scalar(where: str, what: str, tensor: Tensor) -> float:
    """A tensor of one number; LoweringError if it has more."""
    if tensor.numel() != 1:
        raise LoweringError(
            f"{where}: the {what} must be one number per layer, not of shape {list(tensor.shape)}"
        )
    return float(as_array(tensor))


def as_array(tensor: Tensor) -> np.ndarray:
    """A parameter as float64."""
    return tensor.detach().cpu().to(torch.float64).numpy()
