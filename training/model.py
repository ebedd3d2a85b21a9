"""The wrapper that adds a time axis to a feed-forward PyTorch module."""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn

from lmht_deploy.errors import DataError, NetworkError

from .neurons import is_positive, is_size


class SpikingModel(nn.Module):
    """A feed-forward module applied to windows: merges time and batch, averages logits over time.

    `body` maps [T_in·B, ...] to [T·B, K]. Only neurons (`Neuron`) separate the time-steps. The
    logits are 1/T · Σ_t X[t], the read-out with scale 1/T.

    Args:
        body: Layers, from the currents of the input to logits.
        steps_in: Number of input steps T_in.
        input_scale: Real value of one unit of the input (one event, one gray level).

    Raises:
        NetworkError: `body` is not a module, `steps_in` is not an integer >= 1, or `input_scale`
            is not positive.

    Example:
        >>> body = nn.Sequential(nn.Flatten(), nn.Linear(32, 16), LMHT(2, 4), nn.Linear(16, 10))
        >>> model = SpikingModel(body, steps_in=4)
        >>> model(torch.zeros(1, 4, 2, 4, 4)).shape
        torch.Size([1, 10])
    """

    def __init__(self, body: nn.Module, steps_in: int, *, input_scale: float = 1.0) -> None:
        super().__init__()
        if not isinstance(body, nn.Module):
            raise NetworkError(f"the body must be a PyTorch module, not {type(body).__name__}")
        if not (is_size(steps_in) and is_positive(input_scale)):
            raise NetworkError(
                "input steps must be >= 1 and the input scale > 0, "
                f"not {steps_in!r} and {input_scale!r}"
            )
        self.body = body
        self.steps_in = steps_in
        self.input_scale = input_scale

    def forward(self, windows: Tensor, *, per_step: bool = False) -> Tensor:
        """Compute the logits of `windows`, or those of each time-step, of which they are the mean.

        Shape:
            windows: [B, T_in, C, H, W]
            output: [B, K], or [T, B, K] if `per_step`

        Raises:
            DataError: `windows` is not a tensor of windows, or has another number of input steps.
        """
        if not isinstance(windows, Tensor) or windows.ndim < 3:
            raise DataError("the windows must be a tensor [B, T_in, C, H, W]")
        batch, steps_in = windows.shape[:2]
        if steps_in != self.steps_in:
            raise DataError(
                f"the windows have {steps_in} input steps, the model needs {self.steps_in}"
            )
        x = windows.transpose(0, 1).flatten(0, 1)
        if self.input_scale != 1:
            x = x * self.input_scale
        logits = cast(Tensor, self.body(x))
        steps = torch.unflatten(logits, 0, (-1, batch))
        return steps if per_step else steps.mean(0)
