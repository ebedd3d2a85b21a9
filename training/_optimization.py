"""From a loss to new weights: schedule, optimizer, precision, clipping, average of the weights."""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn

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


def average_decay_at(recipe: TrainingRecipe, step: int) -> float:
    """Decay of the average of the weights in `step` (0-based): it grows from 0 to the recipe's.

    So the average forgets the initial weights within the first epoch.
    """
    return min(recipe.ema_decay, step / (9 + step))


def make_optimizer(
    recipe: TrainingRecipe, model: nn.Module, device: torch.device
) -> torch.optim.Optimizer:
    """Make the optimizer of `model`: only weights decay, not biases, norms and neurons.

    On a GPU one kernel updates all weights, and reads the learning rate from a tensor.
    """
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
    fused = device.type == "cuda"
    for group in groups:
        group["lr"] = torch.zeros((), device=device) if fused else recipe.learning_rate
    if recipe.optimizer == "adamw":
        return torch.optim.AdamW(groups, fused=fused, capturable=fused)
    return torch.optim.SGD(groups, momentum=0.9, nesterov=True, fused=fused)


class Optimization:
    """The optimizer of `model`, and everything else that a training step changes.

    Attributes:
        average: Copy of the model with the exponential moving average of its weights and
            statistics; None if the recipe has none.
    """

    def __init__(self, recipe: TrainingRecipe, model: nn.Module, device: torch.device) -> None:
        self.recipe, self.model, self.device = recipe, model, device
        self.optimizer = make_optimizer(recipe, model, device)
        self.scaler = torch.amp.GradScaler(device.type, enabled=recipe.precision == "float16")
        self.average = copy.deepcopy(model).requires_grad_(False) if recipe.ema_decay else None
        self._decay = torch.zeros((), device=device)

    def autocast(self) -> torch.autocast:
        """Context of the forward pass."""
        precision = PRECISIONS[self.recipe.precision]
        reduced = precision != torch.float32
        return torch.autocast(
            self.device.type,
            precision if reduced else None,
            enabled=reduced,
            cache_enabled=False,  # every weight is used once; a cache would outlive a capture
        )

    def schedule(self, step: int, steps_per_epoch: int) -> float:
        """Set what depends on the number of the step (0-based); return the learning rate."""
        learning_rate = learning_rate_at(self.recipe, step, steps_per_epoch)
        for group in self.optimizer.param_groups:
            if isinstance(group["lr"], Tensor):
                group["lr"].fill_(learning_rate)
            else:
                group["lr"] = learning_rate
        self._decay.fill_(average_decay_at(self.recipe, step))
        return learning_rate

    def step(self, loss: Tensor) -> None:
        """Take one step along the gradient of `loss`."""
        self.optimizer.zero_grad()
        self.scaler.scale(loss).backward()  # type: ignore[no-untyped-call]
        if self.recipe.max_grad_norm:
            self.scaler.unscale_(self.optimizer)
            nn.utils.clip_grad_norm_(self.model.parameters(), self.recipe.max_grad_norm)
        self.scaler.step(self.optimizer)
        self.scaler.update()
        if self.average is not None:
            self._update_average(self.average)

    @torch.no_grad()
    def _update_average(self, average: nn.Module) -> None:
        """Move the average toward the model: average += (1 - decay)·(model - average)."""
        pairs = list(zip(_state(average), _state(self.model), strict=True))
        averages = [mean for mean, _ in pairs if mean.is_floating_point()]
        updates = torch._foreach_sub(
            [new for mean, new in pairs if mean.is_floating_point()], averages
        )
        torch._foreach_mul_(updates, 1 - self._decay)
        torch._foreach_add_(averages, updates)
        for mean, new in pairs:
            if not mean.is_floating_point():
                mean.copy_(new)

    def tensors(self) -> Iterator[Tensor]:
        """Iterate over the tensors that a step changes in place."""
        yield from _state(self.model)
        if self.average is not None:
            yield from _state(self.average)
        for state in self.optimizer.state.values():
            yield from (value for value in state.values() if isinstance(value, Tensor))

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


def _state(model: nn.Module) -> Iterator[Tensor]:
    """Iterate over the parameters and buffers of `model`."""
    yield from model.parameters()
    yield from model.buffers()
