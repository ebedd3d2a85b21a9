"""From a loss to new weights: schedule, optimiser, precision, clipping, and the running mean of the weights."""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from .neurons import Neuron
from .recipe import TrainingRecipe

PRECISIONS = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


def learning_rate(recipe: TrainingRecipe, step: int, steps_per_epoch: int) -> float:
    """Rate of `step` (0-based): a linear warm-up, then half a cosine from `recipe.rate` to 0."""
    warmup, steps = recipe.warmup * steps_per_epoch, recipe.epochs * steps_per_epoch
    if step + 1 < warmup:
        return recipe.rate * (step + 1) / warmup
    return (
        recipe.rate
        * 0.5
        * (1 + math.cos(math.pi * (step - warmup + 1) / max(steps - warmup + 1, 1)))
    )


def make_optimiser(recipe: TrainingRecipe, model: nn.Module) -> torch.optim.Optimizer:
    """Weights decay; biases, norms and the parameters of neurons do not."""
    learnt = [p for p in model.parameters() if p.requires_grad]
    neurons = {
        id(p)
        for module in model.modules()
        if isinstance(module, Neuron)
        for p in module.parameters()
    }
    decays = [p for p in learnt if p.ndim > 1 and id(p) not in neurons]
    chosen = {id(p) for p in decays}
    groups = [
        {"params": decays, "weight_decay": recipe.weight_decay},
        {"params": [p for p in learnt if id(p) not in chosen], "weight_decay": 0.0},
    ]
    if recipe.optimiser == "adamw":
        return torch.optim.AdamW(groups, lr=recipe.rate)
    return torch.optim.SGD(groups, lr=recipe.rate, momentum=0.9, nesterov=True)


class Optimisation:
    """The optimiser of `model` and everything beside it that a step changes.

    `average` is the running mean of weights and statistics where the recipe has one (training.ema), else None.
    """

    def __init__(self, recipe: TrainingRecipe, model: nn.Module, device: torch.device) -> None:
        self.recipe, self.model, self.device = recipe, model, device
        self.optimiser = make_optimiser(recipe, model)
        self.scaler = torch.amp.GradScaler(device.type, enabled=recipe.precision == "float16")
        self.average = (
            AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(recipe.ema), use_buffers=True)
            if recipe.ema
            else None
        )

    def autocast(self) -> torch.autocast:
        """Context of the forward pass."""
        precision = PRECISIONS[self.recipe.precision]
        return torch.autocast(
            self.device.type,
            precision if precision != torch.float32 else None,
            enabled=precision != torch.float32,
        )

    def step(self, loss: Tensor, rate: float) -> None:
        """One step down the gradient of `loss`, at `rate`."""
        for group in self.optimiser.param_groups:
            group["lr"] = rate
        self.optimiser.zero_grad()
        self.scaler.scale(loss).backward()
        if self.recipe.clip:
            self.scaler.unscale_(self.optimiser)
            nn.utils.clip_grad_norm_(self.model.parameters(), self.recipe.clip)
        self.scaler.step(self.optimiser)
        self.scaler.update()
        if self.average is not None:
            self.average.update_parameters(self.model)

    # -- what resuming continues from

    def tensors(self) -> dict[str, Tensor]:
        """The state as flat tensors: optimiser.<parameter>.<name>, scaler.<name>, average.<name>."""
        states = self.optimiser.state_dict()["state"].items()
        tensors = {
            f"optimiser.{index}.{name}": value
            for index, state in states
            for name, value in state.items()
        }
        tensors |= {
            f"scaler.{name}": torch.tensor(value)
            for name, value in self.scaler.state_dict().items()
        }
        return tensors | (
            {f"average.{name}": value for name, value in self.average.state_dict().items()}
            if self.average
            else {}
        )

    def restore(self, tensors: Mapping[str, Tensor]) -> None:
        """Put back what `tensors` gave. Raises KeyError, ValueError or RuntimeError where it is of another model."""
        state: dict[int, dict[str, Tensor]] = {}
        for key, value in under("optimiser.", tensors).items():
            index, _, name = key.partition(".")
            state.setdefault(int(index), {})[name] = value
        self.optimiser.load_state_dict(
            {"state": state, "param_groups": self.optimiser.state_dict()["param_groups"]}
        )
        self.scaler.load_state_dict(
            {name: value.item() for name, value in under("scaler.", tensors).items()}
        )
        if self.average is not None:
            self.average.load_state_dict(under("average.", tensors))


def under(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The `tensors` whose names begin with `prefix`, without it."""
    return {
        name.removeprefix(prefix): value
        for name, value in tensors.items()
        if name.startswith(prefix)
    }
