"""The training loop: one function, a folder that can be resumed, and no output of its own."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from lmht_deploy.errors import DataError, TrainingError
from lmht_deploy.network import Input
from lmht_deploy.storage import atomic

from . import hybrid, images, runs
from . import recipe as recipes
from .data import Data, Windows
from .model import SpikingModel
from .neurons import Neuron
from .recipe import Recipe, TrainingRecipe
from .runs import Run


@dataclass(frozen=True)
class Progress:
    """Where a run stands: after every step, and once more at the end of an epoch with what the test gave.

    epoch, step         1-based, of `epochs` and `steps` in all
    loss, accuracy      means over the epoch so far, on training data
    rate                learning rate of this step
    windows_per_second  of training, over the epoch so far
    remaining           seconds until the end, estimated
    test_accuracy       on test data after this epoch; None before its end
    density             by neuron layer: mean spikes k a neuron and time-step, at the last test (empty before the first)
    """

    epoch: int
    epochs: int
    step: int
    steps: int
    loss: float
    accuracy: float
    rate: float
    windows_per_second: float
    remaining: float
    test_accuracy: float | None
    density: dict[str, float]


@dataclass(frozen=True)
class Evaluation:
    """`loss` (cross-entropy), `accuracy` (0..1) and `density` (by neuron layer: mean k a neuron and time-step)."""

    loss: float
    accuracy: float
    density: dict[str, float]


def train(
    recipe: Recipe,
    data: Data,
    folder: str | Path,
    *,
    report: Callable[[Progress], None] = lambda progress: None,
    resume: bool = False,
    start: SpikingModel | None = None,
) -> Run:
    """Train what `recipe` describes on `data`, write the run to `folder` and return it.

    `report` is called after every step. With `resume`, a run that was stopped continues after its last whole epoch and
    ends with the same weights, bit for bit, as one that was not (on the CPU, with the same number of threads). `start` is a
    trained QCFS model of the same architecture, from which LM-HT neurons begin (hybrid training, `training.hybrid`).

    Raises TrainingError where `folder` holds a run that is not to be resumed or has another recipe, and where the loss is
    no longer finite (the state of the last good epoch stays); DataError where the data does not fit the recipe.
    """
    session = _Session(recipe, data, Path(folder), report)
    if resume:
        session.restore()
    else:
        session.begin(start)
    while session.epoch < recipe.training.epochs:
        session.run_epoch()
    return runs.load(folder)


@torch.no_grad()
def evaluate(model: SpikingModel, data: Windows, *, batch: int = 256) -> Evaluation:
    """Test `model` on `data`, in evaluation mode; leaves the model in the mode it was in."""
    training = model.training
    model.eval()
    density: dict[str, float] = {}
    hooks = [neuron.register_forward_hook(_counting(density, path)) for path, neuron in model.body.named_modules() if isinstance(neuron, Neuron)]
    loss = right = 0.0
    for start in range(0, len(data.windows), batch):
        windows, labels = (torch.from_numpy(values[start : start + batch]) for values in (data.windows, data.labels))
        logits = model(windows.float())
        loss += functional.cross_entropy(logits, labels.long(), reduction="sum").item()
        right += (logits.argmax(1) == labels).sum().item()
    for hook in hooks:
        hook.remove()
    model.train(training)
    number = len(data.windows)
    return Evaluation(loss / number, right / number, {path: total / number for path, total in density.items()})


def _counting(density: dict[str, float], path: str) -> Callable[..., None]:
    """Hook that adds up the mean k of a neuron layer, times the windows in the batch."""

    def hook(neuron: Neuron, inputs: tuple[Tensor, ...], out: Tensor) -> None:
        windows = len(out) // neuron.steps
        density[path] = density.get(path, 0.0) + (out.mean() / neuron.threshold).item() * windows

    return hook


# ------------------------------------------------------------------------------------------------ pieces


def learning_rate(recipe: TrainingRecipe, step: int, steps_per_epoch: int) -> float:
    """Rate of `step` (0-based): a linear warm-up, then half a cosine from `recipe.rate` to 0."""
    warmup, steps = recipe.warmup * steps_per_epoch, recipe.epochs * steps_per_epoch
    if step + 1 < warmup:
        return recipe.rate * (step + 1) / warmup
    return recipe.rate * 0.5 * (1 + math.cos(math.pi * (step - warmup + 1) / max(steps - warmup + 1, 1)))


def make_optimiser(recipe: TrainingRecipe, model: nn.Module) -> torch.optim.Optimizer:
    """Weights decay; biases, norms and the parameters of neurons do not."""
    learnt = [p for p in model.parameters() if p.requires_grad]
    neurons = {id(p) for module in model.modules() if isinstance(module, Neuron) for p in module.parameters()}
    decays = [p for p in learnt if p.ndim > 1 and id(p) not in neurons]
    chosen = {id(p) for p in decays}
    groups = [{"params": decays, "weight_decay": recipe.weight_decay}, {"params": [p for p in learnt if id(p) not in chosen], "weight_decay": 0.0}]
    if recipe.optimiser == "adamw":
        return torch.optim.AdamW(groups, lr=recipe.rate)
    return torch.optim.SGD(groups, lr=recipe.rate, momentum=0.9, nesterov=True)


def shifted(windows: Tensor, most: int) -> Tensor:
    """Every window [B, T, C, H, W] moved by its own random offset of up to `most` pixels a direction; zeros come in."""
    batch, _, _, height, width = windows.shape
    padded = functional.pad(windows, (most, most, most, most))
    offsets = torch.randint(2 * most + 1, (2, batch, 1))
    rows, columns = offsets[0] + torch.arange(height), offsets[1] + torch.arange(width)
    moved = padded[torch.arange(batch)[:, None, None], :, :, rows[:, :, None], columns[:, None, :]]  # [B, H, W, T, C]
    return moved.permute(0, 3, 4, 1, 2).contiguous()


def mirrored(windows: Tensor) -> Tensor:
    """Every second window [B, ..., W], on average, with left and right exchanged."""
    chosen = torch.rand(len(windows)) < 0.5
    return torch.where(chosen.reshape(-1, *(1,) * (windows.ndim - 1)), windows.flip(-1), windows)


# ------------------------------------------------------------------------------------------------ one run


class _Session:
    """Model, optimiser and counters of one run, between its start (or resumption) and its end."""

    def __init__(self, recipe: Recipe, data: Data, folder: Path, report: Callable[[Progress], None]) -> None:
        self.recipe, self.data, self.folder, self.report = recipe, data, folder, report
        self.input, self.classes = _input(recipe, data), tuple(data.train.classes)
        self.model = runs.make(recipe, self.input, len(self.classes))
        self.optimiser = make_optimiser(recipe.training, self.model)
        self.epoch = 0
        self.metrics: list[dict[str, Any]] = []

    # -- files

    def begin(self, start: SpikingModel | None) -> None:
        if (self.folder / runs.RECIPE).exists():
            raise TrainingError(f"{self.folder} already holds a run; resume it, or choose another folder")
        if start is not None:
            hybrid.start_from(self.model, start)
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise TrainingError(f"{self.folder} cannot be created ({error.strerror})") from None
        self._save()
        with atomic(self.folder / runs.RECIPE) as temporary:  # last: from here on the folder holds a run
            temporary.write_text(recipes.dumps(self.recipe), encoding="utf-8")

    def restore(self) -> None:
        if not (self.folder / runs.STATE).exists():
            raise TrainingError(f"{self.folder} holds no state to resume from; start the run without resuming")
        if recipes.load(self.folder / runs.RECIPE) != self.recipe:
            raise TrainingError(f"{self.folder} was begun with another recipe; resume it with its own {runs.RECIPE}")
        tensors, header = runs.read(self.folder / runs.STATE)
        try:
            self.model.load_state_dict(_under("model.", tensors))
            runs.restore(self.optimiser, _under("optimiser.", tensors))
            self.epoch = int(header["epoch"])
        except (KeyError, TypeError, ValueError, RuntimeError) as error:
            raise TrainingError(f"{self.folder / runs.STATE} does not fit the recipe and the data: {str(error).splitlines()[0]}") from None
        # A run may be stopped between the two files: the state counts.
        self.metrics = list(runs.read_metrics(self.folder)[: self.epoch]) if self.epoch else []

    def _save(self) -> None:
        """The state goes last: it is what says that the epoch is done. There is no model before the first."""
        runs.write_metrics(self.folder, self.metrics)
        if self.epoch:
            runs.save_model(self.folder, self.model, self.input, self.classes)
        tensors = {f"model.{name}": value for name, value in self.model.state_dict().items()}
        tensors |= {f"optimiser.{name}": value for name, value in runs.tensors_of(self.optimiser).items()}
        runs.write(self.folder / runs.STATE, tensors, {"epoch": self.epoch})

    # -- training

    def run_epoch(self) -> None:
        start = time.perf_counter()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.recipe.training.seed_of(self.epoch + 1))
            self.model.train()
            progress = self._steps(start)
        evaluation = evaluate(self.model, self.data.test)
        self._check(all(bool(value.isfinite().all()) for value in self.model.state_dict().values()), progress.step, "a weight")
        self.epoch += 1
        seconds = time.perf_counter() - start
        kept = {name: getattr(progress, name) for name in ("epoch", "step", "loss", "accuracy", "rate", "windows_per_second")}
        tested = {"test_loss": evaluation.loss, "test_accuracy": evaluation.accuracy, "density": evaluation.density}
        self.metrics.append(kept | tested | {"seconds": seconds})
        self._save()
        remaining = seconds * (self.recipe.training.epochs - self.epoch)
        self.report(Progress(**(vars(progress) | {"test_accuracy": evaluation.accuracy, "density": evaluation.density, "remaining": remaining})))

    def _steps(self, start: float) -> Progress:
        """Every batch of one epoch; the progress after the last."""
        per_epoch = math.ceil(len(self.data.train.windows) / self.recipe.training.batch)
        steps, seen, loss_sum, right = per_epoch * self.recipe.training.epochs, 0, 0.0, 0
        for number, (windows, labels) in enumerate(self._batches()):
            step = self.epoch * per_epoch + number
            rate = learning_rate(self.recipe.training, step, per_epoch)
            loss, logits = self._step(windows, labels, rate)
            self._check(math.isfinite(loss), step + 1, "the loss")
            seen += len(labels)
            loss_sum += loss * len(labels)
            right += int((logits.argmax(1) == labels).sum())
            seconds = time.perf_counter() - start
            progress = Progress(
                epoch=self.epoch + 1,
                epochs=self.recipe.training.epochs,
                step=step + 1,
                steps=steps,
                loss=loss_sum / seen,
                accuracy=right / seen,
                rate=rate,
                windows_per_second=seen / seconds,
                remaining=seconds / (number + 1) * (steps - step - 1),
                test_accuracy=None,
                density=self.metrics[-1]["density"] if self.metrics else {},
            )
            self.report(progress)
        return progress

    def _step(self, windows: Tensor, labels: Tensor, rate: float) -> tuple[float, Tensor]:
        for group in self.optimiser.param_groups:
            group["lr"] = rate
        logits = self.model(windows)
        loss = functional.cross_entropy(logits, labels, label_smoothing=self.recipe.training.label_smoothing)
        self.optimiser.zero_grad()
        loss.backward()
        self.optimiser.step()
        return loss.item(), logits.detach()

    def _batches(self) -> Iterator[tuple[Tensor, Tensor]]:
        recipe, data = self.recipe.training, self.data.train
        for chosen in torch.randperm(len(data.windows)).split(recipe.batch):
            windows = torch.from_numpy(data.windows[chosen.numpy()]).float()
            windows = shifted(windows, recipe.shift) if recipe.shift else windows
            windows = mirrored(windows) if recipe.mirror else windows
            yield windows, torch.from_numpy(data.labels[chosen.numpy()]).long()

    def _check(self, finite: bool, step: int, what: str) -> None:
        if not finite:
            kept = f"the state after epoch {self.epoch} is kept in {self.folder}"
            raise TrainingError(
                f"{what} is not finite at step {step}, in epoch {self.epoch + 1}; {kept}. Try a training.rate below {self.recipe.training.rate}"
            )


def _input(recipe: Recipe, data: Data) -> Input:
    windows = data.train.windows
    if windows.shape[1] != recipe.data.steps:
        raise DataError(f"the windows have {windows.shape[1]} input steps, the recipe's data.steps is {recipe.data.steps}")
    low, high = (0, recipe.data.high) if data.kind == "events" else (images.LOW, images.HIGH)
    least, largest = (int(pick([pick(split.windows) for split in (data.train, data.test)])) for pick in (np.min, np.max))
    if least < low or largest > high:
        raise DataError(f"the windows lie within {least}..{largest}, beyond the {low}..{high} of the input{' (data.high)' * (data.kind == 'events')}")
    return Input(name="input", shape=windows.shape[2:], steps=windows.shape[1], low=low, high=high, kind=data.kind)


def _under(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}
