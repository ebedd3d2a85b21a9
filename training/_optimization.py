"""From a loss to new weights: schedule, optimizer, precision, clipping, average of the weights."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from .neurons import Neuron
from .recipe import TrainingRecipe

PRECISIONS = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


def learning_rate_at(recipe: TrainingRecipe, step: int, steps_per_epoch: int) -> float:
    """Learning rate of `step` (0-based): a linear warm-up, then a cosine decay to 0."""
    warmup, steps = recipe.warmup_epochs * steps_per_epoch, recipe.epochs * steps_per_epoch
    if step + 1 < warmup:
        return recipe.learning_rate * (step + 1) / warmup
    progress = math.pi * (step - warmup + 1) / max(steps - warmup + 1, 1)
    return recipe.learning_rate * 0.5 * (1 + math.cos(progress))


def make_optimizer(recipe: TrainingRecipe, model: nn.Module) -> torch.optim.Optimizer:
    """Make the optimizer of `model`: only weights decay, not biases, norms and neurons."""
    learned = [p for p in model.parameters() if p.requires_grad]
    neurons = {
        id(p)
        for module in model.modules()
        if isinstance(module, Neuron)
        for p in module.parameters()
    }
    decayed = [p for p in learned if p.ndim > 1 and id(p) not in neurons]
    chosen = {id(p) for p in decayed}
    groups = [
        {"params": decayed, "weight_decay": recipe.weight_decay},
        {"params": [p for p in learned if id(p) not in chosen], "weight_decay": 0.0},
    ]
    if recipe.optimizer == "adamw":
        return torch.optim.AdamW(groups, lr=recipe.learning_rate)
    return torch.optim.SGD(groups, lr=recipe.learning_rate, momentum=0.9, nesterov=True)


class Optimization:
    """The optimizer of `model`, and everything else that a training step changes.

    Attributes:
        average: Exponential moving average of weights and statistics; None if the recipe has none.
    """

    def __init__(self, recipe: TrainingRecipe, model: nn.Module, device: torch.device) -> None:
        self.recipe, self.model, self.device = recipe, model, device
        self.optimizer = make_optimizer(recipe, model)
        self.scaler = torch.amp.GradScaler(device.type, enabled=recipe.precision == "float16")
        self.average = _moving_average(model, recipe.ema_decay) if recipe.ema_decay else None

    def autocast(self) -> torch.autocast:
        """Context of the forward pass."""
        precision = PRECISIONS[self.recipe.precision]
        reduced = precision != torch.float32
        return torch.autocast(self.device.type, precision if reduced else None, enabled=reduced)

    def step(self, loss: Tensor, learning_rate: float) -> None:
        """Take one step along the gradient of `loss`."""
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate
        self.optimizer.zero_grad()
        self.scaler.scale(loss).backward()  # type: ignore[no-untyped-call]
        if self.recipe.max_grad_norm:
            self.scaler.unscale_(self.optimizer)
            nn.utils.clip_grad_norm_(self.model.parameters(), self.recipe.max_grad_norm)
        self.scaler.step(self.optimizer)
        self.scaler.update()
        if self.average is not None:
            self.average.update_parameters(self.model)

    def state_tensors(self) -> dict[str, Tensor]:
        """Return the state as flat tensors.

        Their names are optimizer.<parameter>.<name>, scaler.<name> and average.<name>.
        """
        states = self.optimizer.state_dict()["state"].items()
        scaler = self.scaler.state_dict().items()
        average: dict[str, Any] = {} if self.average is None else self.average.state_dict()
        return {
            **{
                f"optimizer.{index}.{name}": value
                for index, state in states
                for name, value in state.items()
            },
            **{f"scaler.{name}": torch.tensor(value) for name, value in scaler},
            **{f"average.{name}": value for name, value in average.items()},
        }

    def restore(self, tensors: Mapping[str, Tensor]) -> None:
        """Restore the state that `state_tensors` returned.

        Raises:
            KeyError, ValueError, RuntimeError: The state belongs to another model.
        """
        state: dict[int, dict[str, Tensor]] = {}
        for key, value in with_prefix("optimizer.", tensors).items():
            index, _, name = key.partition(".")
            state.setdefault(int(index), {})[name] = value
        groups = self.optimizer.state_dict()["param_groups"]
        self.optimizer.load_state_dict({"state": state, "param_groups": groups})
        scaler = with_prefix("scaler.", tensors).items()
        self.scaler.load_state_dict({name: value.item() for name, value in scaler})
        if self.average is not None:
            self.average.load_state_dict(with_prefix("average.", tensors))


def with_prefix(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Select the `tensors` whose names begin with `prefix`, and remove it."""
    return {
        name.removeprefix(prefix): value
        for name, value in tensors.items()
        if name.startswith(prefix)
    }


def _moving_average(model: nn.Module, decay: float) -> AveragedModel:
    update = get_ema_multi_avg_fn(decay)  # type: ignore[no-untyped-call]
    return AveragedModel(model, multi_avg_fn=update, use_buffers=True)
