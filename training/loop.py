"""The training loop: one function, a folder that can be resumed, and no output of its own."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from lmht_deploy.data import images
from lmht_deploy.errors import DataError, TrainingError
from lmht_deploy.formats.files import atomic_write
from lmht_deploy.ir import Input

from . import hybrid, parallel, runs
from . import recipe as recipes
from .augment import GROUP, Augmentation
from .data import Data, Windows
from .model import SpikingModel
from .neurons import Neuron
from .optimisation import Optimisation, learning_rate, under
from .recipe import Recipe
from .runs import Run

RESIDENT = 2**32
"""Training windows of up to so many bytes are kept on the accelerator."""

QUIET = 10
"""On an accelerator the loss is looked at every so many steps: each look waits for it."""

Item = TypeVar("Item")


@dataclass(frozen=True)
class Progress:
    """Where a run stands: after every step (every tenth on an accelerator), and once more at the end of an epoch with what the test gave.

    epoch, step         1-based, of `epochs` and `steps` in all
    loss, accuracy      means over the epoch so far, on training data
    rate                learning rate of this step
    windows_per_second  of training, over the epoch so far
    remaining           seconds until the end, estimated
    test_accuracy       on test data after this epoch; None before its end
    density             by neuron layer: mean spikes k a neuron and time-step, at the last test (empty before the first)
    test_loss           cross-entropy on test data after this epoch; None before its end
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
    test_loss: float | None = None


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
    device: str | torch.device = "cpu",
) -> Run:
    """Train what `recipe` describes on `data`, write the run to `folder` and return it.

    `report` is called after every step. With `resume`, a run that was stopped continues after its last whole epoch and
    ends with the same weights, bit for bit, as one that was not (on the CPU, with the same number of threads). `start` is a
    trained QCFS model of the same architecture, from which LM-HT neurons begin (hybrid training, `training.hybrid`).

    Under `torchrun`, once its processes have joined (training.parallel), each trains its share of every batch, with the
    windows, the augmentation and the statistics of batch norm that one process would have; `folder` must be the same to all.

    Raises TrainingError where `folder` holds a run that is not to be resumed or has another recipe, where the recipe asks for a `start`
    and there is none, and where memory runs out or the loss is no longer finite (the state of the last good epoch stays); DataError
    where the data does not fit the recipe.
    """
    check(recipe, Path(folder), resume=resume, started=start is not None)
    session = _Session(recipe, data, Path(folder), report, torch.device(device))
    if resume:
        session.restore()
    else:
        session.begin(start)
    while session.epoch < recipe.training.epochs:
        session.run_epoch()
    parallel.wait()
    return runs.load_run(folder)


def check(recipe: Recipe, folder: Path, *, resume: bool, started: bool) -> None:
    """What is wrong with a run before any data is read, as TrainingError: what `train` says of `folder`, or that it was not `started` from an ANN."""
    if resume:
        if not (folder / runs.STATE).exists():
            raise TrainingError(
                f"{folder} holds no state to resume from; start the run without resuming"
            )
        if changed := recipes.changes(recipes.load_recipe(folder / runs.RECIPE), recipe):
            raise TrainingError(
                f"{folder} was begun with another recipe: {changed}; resume it with its own {runs.RECIPE}"
            )
    elif (folder / runs.RECIPE).exists():
        raise TrainingError(f"{folder} already holds a run; resume it, or choose another folder")
    elif recipe.training.start and not started:
        raise TrainingError(
            f"this recipe begins where a run of {recipe.training.start!r} ended: give that run (--start RUN), or training.start= to begin from new weights"
        )


@torch.no_grad()
def evaluate(model: SpikingModel, data: Windows, *, batch: int = 256) -> Evaluation:
    """Test `model` on `data`, in evaluation mode, on the model's device; leaves the model in the mode it was in. Processes share the work."""
    training, device = model.training, next(model.parameters()).device
    model.eval()
    density: dict[str, Tensor] = {}
    hooks = [
        neuron.register_forward_hook(_counting(density, path))
        for path, neuron in model.body.named_modules()
        if isinstance(neuron, Neuron)
    ]
    sums = torch.zeros(2, dtype=torch.float64, device=device)  # of the loss, of what is right
    mine = np.arange(parallel.rank(), len(data.windows), parallel.world())
    for chosen in np.array_split(mine, max(1, math.ceil(len(mine) / batch))):
        windows, labels = (
            torch.from_numpy(data.windows[chosen]).to(device),
            torch.from_numpy(data.labels[chosen]).to(device).long(),
        )
        logits = model(windows.float())
        sums += torch.stack(
            [
                functional.cross_entropy(logits, labels, reduction="sum"),
                (logits.argmax(1) == labels).sum(),
            ]
        )
    for hook in hooks:
        hook.remove()
    model.train(training)
    loss, right, *spikes = parallel.total(
        torch.stack([*sums, *(count.to(sums) for count in density.values())])
    ).tolist()
    number = len(data.windows)
    return Evaluation(
        loss / number,
        right / number,
        {path: count / number for path, count in zip(density, spikes, strict=True)},
    )


def _counting(density: dict[str, Tensor], path: str) -> Callable[..., None]:
    """Hook that adds up the mean k of a neuron layer, times the windows in the batch."""

    def hook(neuron: Neuron, inputs: tuple[Tensor, ...], out: Tensor) -> None:
        windows = len(out) // neuron.steps
        density[path] = density.get(path, 0.0) + (out.mean() / neuron.threshold) * windows

    return hook


# ------------------------------------------------------------------------------------------------ one run


class _Session:
    """Model, optimisation and counters of one run, between its start (or resumption) and its end."""

    def __init__(
        self,
        recipe: Recipe,
        data: Data,
        folder: Path,
        report: Callable[[Progress], None],
        device: torch.device,
    ) -> None:
        self.recipe, self.data, self.folder, self.report, self.device = (
            recipe,
            data,
            folder,
            report,
            device,
        )
        self.input, self.classes = _input(recipe, data), tuple(data.train.classes)
        self.batch, self.share = (
            min(recipe.training.batch, len(data.train.windows)),
            _share(recipe, data),
        )
        self.augment = Augmentation(
            recipe.augmentation, len(self.classes), image=data.kind == "image"
        )
        layout = torch.channels_last if recipe.training.channels_last else torch.contiguous_format
        with _memory(
            lambda: (
                f"the network does not fit {device}; try a network.width below {recipe.network.width:g}"
            )
        ):
            model = runs.make(recipe, self.input, len(self.classes)).to(
                device, memory_format=layout
            )  # type: ignore[call-overload]
        self.model: SpikingModel = parallel.synchronised(model, device)  # type: ignore[assignment]
        self.optimisation = Optimisation(recipe.training, self.model, device)
        self.epoch = 0
        self.metrics: list[dict[str, Any]] = []

    @property
    def kept(self) -> SpikingModel:
        """The model that is tested and kept: the running mean of the weights where there is one."""
        average = self.optimisation.average
        return self.model if average is None else average.module  # type: ignore[return-value]

    # -- files

    def begin(self, start: SpikingModel | None) -> None:
        if start is not None:
            hybrid.start_from(self.model, start)
        parallel.wait()
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise TrainingError(f"{self.folder} cannot be created ({error.strerror})") from None
        self._save()
        if parallel.rank() == 0:
            with atomic_write(
                self.folder / runs.RECIPE
            ) as temporary:  # last: from here on the folder holds a run
                temporary.write_text(recipes.dumps(self.recipe), encoding="utf-8")

    def restore(self) -> None:
        if parallel.rank() == 0:
            runs.sweep(self.folder)
        tensors, header = runs.read(self.folder / runs.STATE)
        try:
            self.model.load_state_dict(under("model.", tensors))
            self.optimisation.restore(tensors)
            self.epoch = int(header["epoch"])
        except (KeyError, TypeError, ValueError, RuntimeError) as error:
            raise TrainingError(
                f"{self.folder / runs.STATE} does not fit the recipe and the data: {str(error).splitlines()[0]}"
            ) from None
        # A run may be stopped between the two files: the state counts.
        self.metrics = list(runs.read_metrics(self.folder)[: self.epoch]) if self.epoch else []

    def _save(self) -> None:
        """The state goes last: it is what says that the epoch is done. There is no model before the first."""
        if parallel.rank():
            return
        runs.write_metrics(self.folder, self.metrics)
        if self.epoch:
            runs.save_model(self.folder, self.kept, self.input, self.classes)
        tensors = {f"model.{name}": value for name, value in self.model.state_dict().items()}
        runs.write(
            self.folder / runs.STATE, tensors | self.optimisation.tensors(), {"epoch": self.epoch}
        )

    # -- training

    def run_epoch(self) -> None:
        begun = time.perf_counter()
        with (
            torch.random.fork_rng(devices=[] if self.device.type == "cpu" else [self.device]),
            _memory(self._too_much),
        ):
            progress = self._steps(begun)
            evaluation = evaluate(self.kept, self.data.test)
        self._check(
            all(bool(value.isfinite().all()) for value in self.model.state_dict().values()),
            progress.step,
            "a weight",
        )
        self.epoch += 1
        seconds = time.perf_counter() - begun
        kept = {
            name: getattr(progress, name)
            for name in ("epoch", "step", "loss", "accuracy", "rate", "windows_per_second")
        }
        tested = {
            "test_loss": evaluation.loss,
            "test_accuracy": evaluation.accuracy,
            "density": evaluation.density,
        }
        self.metrics.append(kept | tested | {"seconds": seconds})
        self._save()
        self.report(
            Progress(
                **(
                    vars(progress)
                    | tested
                    | {"remaining": seconds * (self.recipe.training.epochs - self.epoch)}
                )
            )
        )

    def _steps(self, begun: float) -> Progress:
        """Every batch of one epoch; the progress after the last."""
        recipe, forward = self.recipe.training, self._forward()
        per_epoch = len(self.data.train.windows) // self.batch
        quiet = 1 if self.device.type == "cpu" else QUIET
        sums = torch.zeros(
            2, dtype=torch.float64, device=self.device
        )  # of the loss, of what is right
        self.model.train()
        for number, (windows, labels, seeds) in enumerate(_ahead(self._batches(per_epoch))):
            step = self.epoch * per_epoch + number
            windows, targets = self.augment(windows, labels, seeds)  # noqa: PLW2901
            torch.manual_seed(
                recipe.seed_of(self.epoch + 1, number, parallel.rank())
            )  # for layers that draw, as Dropout
            rate = learning_rate(recipe, step, per_epoch)
            with self.optimisation.autocast():
                logits = forward(windows).float()
                loss = functional.cross_entropy(
                    logits, targets, label_smoothing=recipe.label_smoothing
                )
            self.optimisation.step(loss, rate)
            sums += torch.stack(
                [loss.detach() * len(labels), (logits.detach().argmax(1) == labels).sum()]
            )
            if (number + 1) % quiet and number + 1 < per_epoch:
                continue
            seen, seconds = (number + 1) * self.batch, time.perf_counter() - begun
            loss_sum, right = parallel.total(sums.clone()).tolist()
            self._check(math.isfinite(loss_sum), step + 1, "the loss")
            progress = Progress(
                epoch=self.epoch + 1,
                epochs=recipe.epochs,
                step=step + 1,
                steps=per_epoch * recipe.epochs,
                loss=loss_sum / seen,
                accuracy=right / seen,
                rate=rate,
                windows_per_second=seen / seconds,
                remaining=seconds / (number + 1) * (per_epoch * recipe.epochs - step - 1),
                test_accuracy=None,
                density=self.metrics[-1]["density"] if self.metrics else {},
            )
            self.report(progress)
        return progress

    def _forward(self) -> Callable[[Tensor], Tensor]:
        """The model as a step calls it; made once."""
        if not hasattr(self, "_wrapped"):
            shared = parallel.shared(self.model, self.device)
            self._wrapped = torch.compile(shared) if self.recipe.training.compile else shared
        return self._wrapped

    def _batches(self, per_epoch: int) -> Iterator[tuple[Tensor, Tensor, list[int]]]:
        """This process's share of every batch of one epoch: windows float [B, T_in, C, H, W], labels [B], and the seeds of their augmentation."""
        recipe, epoch, data = self.recipe, self.epoch + 1, self.data.train
        generator = torch.Generator().manual_seed(recipe.training.seed_of(epoch))
        order = torch.randperm(len(data.windows), generator=generator).numpy()
        first = parallel.rank() * self.share
        for number in range(per_epoch):
            chosen = order[number * self.batch :][first : first + self.share]
            groups = range(first // GROUP, first // GROUP + math.ceil(len(chosen) / GROUP))
            labels = torch.from_numpy(data.labels[chosen]).long().to(self.device)
            yield (
                self._windows(chosen),
                labels,
                [recipe.training.seed_of(epoch, number, group) for group in groups],
            )

    def _windows(self, chosen: np.ndarray) -> Tensor:
        """The training windows `chosen`, on the device, where all of them stay if there is room."""
        windows = self.data.train.windows
        if isinstance(windows, images.Decoded):
            epoch_seed = self.recipe.training.seed_of(self.epoch + 1)
            return (
                torch.from_numpy(
                    windows.read(chosen, zoom=self.recipe.augmentation.zoom, seed=epoch_seed)
                )
                .to(self.device)
                .float()
            )
        if self.device.type == "cpu" or windows.nbytes > RESIDENT:
            return torch.from_numpy(windows[chosen]).to(self.device).float()
        if not hasattr(self, "_resident"):
            self._resident = torch.from_numpy(np.ascontiguousarray(windows)).to(self.device)
        return self._resident[torch.from_numpy(chosen).to(self.device)].float()

    # -- what goes wrong

    def _too_much(self) -> str:
        training, narrow = (
            self.recipe.training,
            self.recipe.training.precision != "float32" or self.device.type == "cpu",
        )
        precision = "" if narrow else ", or training.precision=bfloat16"
        return f"epoch {self.epoch + 1}, on {self.device}; {self._kept_state()}. Try a training.batch below {training.batch}{precision}"

    def _check(self, finite: bool, step: int, what: str) -> None:
        if not finite:
            raise TrainingError(
                f"{what} is not finite at step {step}, in epoch {self.epoch + 1}; {self._kept_state()}. "
                f"Try a training.rate below {self.recipe.training.rate}, or training.clip"
            )

    def _kept_state(self) -> str:
        return f"the state after epoch {self.epoch} is kept in {self.folder}"


@contextmanager
def _memory(say: Callable[[], str]) -> Iterator[None]:
    """TrainingError, with what `say` gives, in place of what PyTorch says when memory runs out."""
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        if not isinstance(
            error, MemoryError | torch.OutOfMemoryError
        ) and "can't allocate memory" not in str(error):
            raise
        raise TrainingError(f"out of memory: {say()}") from None


def _ahead(batches: Iterable[Item]) -> Iterator[Item]:
    """`batches`, the next of which is made while the present one is used."""
    iterator = iter(batches)
    with ThreadPoolExecutor(1) as worker:
        following = worker.submit(next, iterator, None)
        while (item := following.result()) is not None:
            following = worker.submit(next, iterator, None)
            yield item


def _share(recipe: Recipe, data: Data) -> int:
    """Windows of a batch that one process takes. TrainingError where batches cannot be shared among them."""
    batch, number, world = recipe.training.batch, len(data.train.windows), parallel.world()
    if world == 1:
        return min(batch, number)
    if batch % (world * GROUP) or number < batch:
        raise TrainingError(
            f"{world} processes share batches that are multiples of {world * GROUP} (each takes whole groups of {GROUP}) and not larger than the data "
            f"({number:,} windows); training.batch is {batch}"
        )
    return batch // world


def _input(recipe: Recipe, data: Data) -> Input:
    windows = data.train.windows
    if windows.shape[1] != recipe.data.steps:
        raise DataError(
            f"the windows have {windows.shape[1]} input steps, the recipe's data.steps is {recipe.data.steps}"
        )
    if data.kind == "image":  # int8, all of whose values are grey levels
        return Input(
            name="input",
            shape=windows.shape[2:],
            steps=windows.shape[1],
            min_value=images.LOW,
            max_value=images.HIGH,
            kind="image",
        )
    max_count = recipe.data.max_count
    least, largest = (
        int(pick([pick(split.windows) for split in (data.train, data.test)]))
        for pick in (np.min, np.max)
    )
    if least < 0 or largest > max_count:
        raise DataError(
            f"the windows lie within {least}..{largest}, beyond the 0..{max_count} of the input (data.max_count)"
        )
    return Input(name="input", shape=windows.shape[2:], steps=windows.shape[1], max_value=max_count)
