"""The wrapper that gives a feed-forward PyTorch module its time axis."""

from __future__ import annotations

from torch import Tensor, nn


class SpikingModel(nn.Module):
    """`body` over windows [B, T_in, ...]: merges time and batch to [T_in·B, ...] and averages the logits over time.

    `body` maps [T_in·B, ...] to [T·B, K] through any layers, of which only `training.neurons` see time. `input_scale` is
    the real value of one unit of the input (one event, one grey level).

    Gives logits [B, K] = 1/T · Σ_t X[t]: the read-out of docs/semantics.md, with the scale 1/T.
    """

    def __init__(self, body: nn.Module, steps_in: int, *, input_scale: float = 1.0) -> None:
        super().__init__()
        if steps_in < 1 or input_scale <= 0:
            raise ValueError(
                f"input steps must be >= 1 and the input's scale > 0, not {steps_in} and {input_scale}"
            )
        self.body = body
        self.steps_in = steps_in
        self.input_scale = input_scale

    def forward(self, windows: Tensor) -> Tensor:
        batch, steps_in = windows.shape[:2]
        if steps_in != self.steps_in:
            raise ValueError(
                f"windows have {steps_in} input steps, the model takes {self.steps_in}"
            )
        x = windows.transpose(0, 1).flatten(0, 1)
        if self.input_scale != 1:
            x = x * self.input_scale
        logits: Tensor = self.body(x)
        return logits.unflatten(0, (-1, batch)).mean(0)
