"""The training loop: writes a run folder that can be resumed, and prints nothing."""

from __future__ import annotations

import dataclasses
import math
import time
import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, nn

from lmht_deploy._arguments import check_types
from lmht_deploy._locks import folder_lock
from lmht_deploy.data import images
from lmht_deploy.errors import DataError, LmhtWarning, TrainingError
from lmht_deploy.formats.files import as_path, atomic_write, make_folder
from lmht_deploy.ir import Input

from . import _parallel, hybrid, runs
from . import recipe as recipes
from ._augment import Augmentation
from ._batches import Batch, Batches
from ._optimization import Optimization, with_prefix
from ._sops import SopRate
from ._step import CapturedStep, NotCapturedError, TrainingStep
from .data import Data
from .evaluation import BATCH_SIZE as EVALUATION_BATCH
from .evaluation import Evaluation, evaluate
from .lowering import lower
from .model import SpikingModel
from .neurons import Neuron
from .recipe import Recipe
from .run_folder import RECIPE, STATE, check_run_folder
from .runs import Run

REPORT_INTERVAL = 0.5
"""Seconds between reports on an accelerator: to read the loss, the host waits for the device."""

REPORT_STEPS = 10
"""Steps between reports of several processes, which must all report the same ones."""

SAVED_METRICS = (
    "epoch",
    "step",
    "loss",
    "accuracy",
    "learning_rate",
    "windows_per_second",
    "test_loss",
    "test_accuracy",
    "density",
)
"""Fields of `Progress` that the run folder keeps for every epoch, besides its seconds."""


@dataclass(frozen=True)
class Progress:
    """State of a run after a training step, or after an epoch.

    Attributes:
        epoch: Number of the epoch, from 1.
        epochs: Number of epochs of the run.
        step: Number of training steps so far.
        steps: Number of training steps of the run.
        loss: Mean training loss of the epoch so far.
        accuracy: Training accuracy of the epoch so far, 0..1.
        learning_rate: Learning rate of this step.
        windows_per_second: Training speed in the epoch so far.
        remaining: Estimated seconds to the end of the run.
        test_accuracy: Accuracy on test data after this epoch; None before its end.
        density: Mean spikes k per neuron and time-step in the last test, by neuron layer; empty
            before the first.
        test_loss: Cross-entropy on test data after this epoch; None before its end.
    """

    epoch: int
    epochs: int
    step: int
    steps: int
    loss: float
    accuracy: float
    learning_rate: float
    windows_per_second: float
    remaining: float
    test_accuracy: float | None
    density: dict[str, float]
    test_loss: float | None = None


@check_types(TrainingError, recipe=Recipe, data=Data, report=Callable)
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
    """Train a model and write its run folder.

    A resumed run continues after its last complete epoch. It ends with the same weights, bit for
    bit, as an uninterrupted one (on the CPU, with the same number of threads).

    Under `torchrun`, after its processes have joined, each trains its share of every batch, with
    the windows, augmentation and batch norm statistics of a single process. All need to see
    `folder`.

    Args:
        recipe: What to train.
        data: Training and test data.
        folder: Run folder to write.
        report: Called with the progress after every step (on an accelerator every
            `REPORT_INTERVAL` seconds), and after the test at the end of an epoch.
        resume: Continue the run in `folder`.
        start: Trained QCFS model of the same architecture, from which LM-HT neurons start (hybrid
            training).
        device: Device to train on.

    Returns:
        The trained run.

    Raises:
        TrainingError: `folder` holds a run that is not resumed or has another recipe, the recipe
            needs `start`, the device is not available, memory is exhausted, or the loss is not
            finite. The state of the last complete epoch remains.
        StorageError: Another process trains in `folder`, or a file cannot be read or written.
        DataError: The data does not fit the recipe.
    """
    folder = as_path(folder)
    check_run_folder(recipe, folder, resume=resume, started=start is not None)
    session = _Session(recipe, data, folder, report, _device(device))
    with _only_writer(folder):
        # Again: another process may have begun a run in the meantime.
        check_run_folder(recipe, folder, resume=resume, started=start is not None)
        if resume:
            session.restore()
        else:
            session.begin(start)
        with session.writer:
            while session.epoch < recipe.training.epochs:
                session.run_epoch()
        _parallel.barrier()
        return runs.load_run(folder)


def _only_writer(folder: Path) -> AbstractContextManager[None]:
    """Create `folder` and keep other runs out of it; process 0 does this for all processes."""
    make_folder(folder)
    return folder_lock(folder) if _parallel.rank() == 0 else nullcontext()


def _device(name: str | torch.device) -> torch.device:
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        raise TrainingError(f"device {str(name)!r} is not available ({reason})") from None
    return device


# --------------------------------------------------------------------------------------- one run


class _Session:
    """Model, optimizer state and metrics of one run while it is trained.

    Attributes:
        epoch: Number of complete epochs.
        metrics: One mapping per complete epoch.
        writer: Writes the files of an epoch while the next one is trained.
    """

    def __init__(
        self,
        recipe: Recipe,
        data: Data,
        folder: Path,
        report: Callable[[Progress], None],
        device: torch.device,
    ) -> None:
        self.recipe, self.data, self.folder = recipe, data, folder
        self.report, self.device = report, device
        self.input, self.classes = _input(recipe, data), tuple(data.train.classes)
        self.augment = Augmentation(
            recipe.augmentation,
            len(self.classes),
            image=data.kind == "image",
            max_count=self.input.max_value,
        ).to(device)
        self.batches = Batches(recipe, data.train, device, self.augment.columns)
        self.model = self._new_model()
        self.sops = self._sop_rate() if recipe.training.sop_penalty else None
        self.optimization = Optimization(recipe.training, self.model, device)
        self.epoch = 0
        self.metrics: list[dict[str, Any]] = []
        self.writer = _Writer()

    def _new_model(self) -> SpikingModel:
        width = self.recipe.network.width
        with _out_of_memory(
            lambda: f"the network does not fit {self.device}; try a network.width below {width:g}"
        ):
            model = self._initial_model()
            chosen = self.recipe.training.channels_last and supports_channels_last(
                model, self.device
            )
            layout = torch.channels_last if chosen else torch.contiguous_format
            model = model.to(self.device, memory_format=layout)  # type: ignore[call-overload]
        return cast(SpikingModel, _parallel.synchronize_batch_norm(model, self.device))

    def _initial_model(self) -> SpikingModel:
        return runs.make(self.recipe, self.input, len(self.classes))

    def _sop_rate(self) -> SopRate:
        return SopRate(self.model, lower(self._initial_model(), self.input, verify=False))

    @property
    def tested_model(self) -> SpikingModel:
        """The model that is tested and saved: the average of the weights if there is one."""
        average = self.optimization.average
        return self.model if average is None else cast(SpikingModel, average)

    @cached_property
    def _step(self) -> TrainingStep:
        """A training step with the model as it is called there: distributed, compiled."""
        forward: Callable[..., Tensor] = _parallel.distribute(self.model, self.device)
        if self.recipe.training.compile:
            forward = torch.compile(forward)
        return TrainingStep(self.augment, forward, self.optimization, self.sops)

    @property
    def _is_captured(self) -> bool:
        """Whether a training step becomes a CUDA graph."""
        if self.device.type != "cuda" or not self.recipe.training.cuda_graph:
            return False
        if _parallel.world_size() > 1:
            _warn("there are several processes")
            return False
        return True

    def _captured(self) -> CapturedStep:
        return CapturedStep(self._step)

    @cached_property
    def _train_on(self) -> Callable[[Batch], None]:
        """The training step as it is run."""
        return self._captured() if self._is_captured else self._step

    # -- files

    def begin(self, start: SpikingModel | None) -> None:
        """Start from new weights, or from those of an ANN, and write the first files."""
        if start is not None:
            hybrid.start_from(self.model, start)
        _parallel.barrier()
        self._save()()
        if _parallel.rank() == 0:
            test = self.data.evaluation_split
            runs.write_files(self.folder, {"train": self.data.train, test: self.data.test})
            # The recipe is the last file: with it the folder holds a run.
            with atomic_write(self.folder / RECIPE) as temporary:
                temporary.write_text(recipes.dumps(self.recipe), encoding="utf-8")

    def restore(self) -> None:
        """Continue from the state in the run folder."""
        tensors, header = runs.read(self.folder / STATE)
        try:
            self.model.load_state_dict(with_prefix("model.", tensors))
            self.optimization.restore(tensors)
            self.epoch = int(header["epoch"])
        except (KeyError, TypeError, ValueError, OverflowError, RuntimeError) as error:
            raise TrainingError(
                f"{self.folder / STATE} does not fit the recipe and the data: "
                f"{str(error).splitlines()[0]}"
            ) from None
        # A run may be stopped after its metrics are written and before its state: the state counts.
        self.metrics = list(runs.read_metrics(self.folder)[: self.epoch]) if self.epoch else []

    def _save(self) -> Callable[[], None]:
        """Copy what belongs to this moment; return what writes it.

        Metrics and model are written first, the state last, because it completes the epoch.
        """
        if _parallel.rank():
            return lambda: None
        epoch, metrics, model = (
            self.epoch,
            list(self.metrics),
            runs.host(self.tested_model.state_dict()),
        )
        weights = {f"model.{name}": value for name, value in self.model.state_dict().items()}
        state = runs.host(weights | self.optimization.state_tensors())

        def write() -> None:
            runs.write_metrics(self.folder, metrics)
            if epoch:
                provenance = self.data.train.provenance
                runs.save_model(self.folder, model, self.input, self.classes, provenance)
            runs.write(self.folder / STATE, state, {"epoch": epoch})

        return write

    # -- training

    def run_epoch(self) -> None:
        """Train for one epoch, test the model, save everything and report."""
        start = time.perf_counter()
        with (
            torch.random.fork_rng(devices=[] if self.device.type == "cpu" else [self.device]),
            _out_of_memory(self._memory_advice),
        ):
            progress = self._train_epoch(start)
            evaluation = evaluate(self.tested_model, self.data.test, batch_size=self._test_batch)
        self._check_weights(progress.step)
        self.epoch += 1
        self._finish_epoch(progress, evaluation, time.perf_counter() - start)

    @property
    def _test_batch(self) -> int:
        """Windows per batch of a test: a GPU is faster with many, and a test needs less memory."""
        share = self.batches.size // _parallel.world_size()
        return EVALUATION_BATCH if self.device.type == "cpu" else 4 * share

    def _train_epoch(self, start: float) -> Progress:
        """Train on every batch of one epoch; return the progress after the last."""
        self.model.train()
        self._step.sums.zero_()
        reported = start
        for number, batch in enumerate(self.batches.epoch(self.epoch + 1)):
            learning_rate = self._train_step(number, batch)
            if self._is_reported(number, time.perf_counter() - reported):
                reported = time.perf_counter()
                progress = self._progress(number, learning_rate, start)
                self.report(progress)
        return progress

    def _train_step(self, number: int, batch: Batch) -> float:
        """Train on one batch; return the learning rate."""
        # For layers that draw random numbers, such as dropout.
        torch.manual_seed(self.recipe.training.seed_of(self.epoch + 1, number, _parallel.rank()))
        step = self.epoch * self.batches.per_epoch + number
        learning_rate = self.optimization.schedule(step, self.batches.per_epoch)
        try:
            self._train_on(batch)
        except NotCapturedError as error:
            _warn(str(error))
            self._train_on = self._step
            self._train_on(batch)
        return learning_rate

    def _is_reported(self, number: int, waited: float) -> bool:
        """Whether to report step `number`, `waited` seconds after the last report."""
        if self.device.type == "cpu" or number + 1 == self.batches.per_epoch:
            return True
        if _parallel.world_size() > 1:
            return (number + 1) % REPORT_STEPS == 0
        return waited >= REPORT_INTERVAL

    def _progress(self, number: int, learning_rate: float, start: float) -> Progress:
        """Progress after step `number` (0-based) of the epoch, which began at `start`."""
        epochs, per_epoch = self.recipe.training.epochs, self.batches.per_epoch
        step, steps = self.epoch * per_epoch + number + 1, per_epoch * epochs
        seen, seconds = (number + 1) * self.batches.size, time.perf_counter() - start
        loss, correct = _parallel.all_reduce(self._step.sums.clone()).tolist()
        self._require(math.isfinite(loss), step, "the loss is not finite")
        return Progress(
            epoch=self.epoch + 1,
            epochs=epochs,
            step=step,
            steps=steps,
            loss=loss / seen,
            accuracy=correct / seen,
            learning_rate=learning_rate,
            windows_per_second=seen / seconds,
            remaining=seconds / (number + 1) * (steps - step),
            test_accuracy=None,
            density=self.metrics[-1]["density"] if self.metrics else {},
        )

    def _finish_epoch(self, progress: Progress, evaluation: Evaluation, seconds: float) -> None:
        """Save and report what an epoch gave."""
        tested = dataclasses.replace(
            progress,
            test_loss=evaluation.loss,
            test_accuracy=evaluation.accuracy,
            density=evaluation.density,
            remaining=seconds * (self.recipe.training.epochs - self.epoch),
        )
        metrics = {name: getattr(tested, name) for name in SAVED_METRICS}
        self.metrics.append(metrics | {"seconds": seconds})
        self.writer.submit(self._save())
        self.report(tested)

    # -- errors

    def _memory_advice(self) -> str:
        training = self.recipe.training
        reducible = training.precision == "float32" and self.device.type != "cpu"
        precision = ", or training.precision=bfloat16" if reducible else ""
        return (
            f"epoch {self.epoch + 1}, on {self.device}; {self._kept_state()}. "
            f"Try a training.batch_size below {training.batch_size}{precision}"
        )

    def _check_weights(self, step: int) -> None:
        state = self.model.state_dict().values()
        finite = all(bool(value.isfinite().all()) for value in state)
        self._require(finite, step, "a weight is not finite")
        neurons = (module for module in self.model.modules() if isinstance(module, Neuron))
        positive = all(bool(neuron.threshold > 0) for neuron in neurons)
        self._require(positive, step, "a threshold is not positive")

    def _require(self, good: bool, step: int, what: str) -> None:
        if not good:
            learning_rate = self.recipe.training.learning_rate
            raise TrainingError(
                f"{what} at step {step}, in epoch {self.epoch + 1}; "
                f"{self._kept_state()}. Try a training.learning_rate below {learning_rate}, "
                "or training.max_grad_norm"
            )

    def _kept_state(self) -> str:
        return f"the state after epoch {self.epoch} is kept in {self.folder}"


def _warn(reason: str) -> None:
    warnings.warn(f"training runs without a CUDA graph: {reason}", LmhtWarning, stacklevel=2)


class _Writer:
    """Writes in a thread, one job at a time. As a context, it waits for the last one."""

    def __init__(self) -> None:
        self._thread = ThreadPoolExecutor(1, "lmht-writer")
        self._job: Future[None] | None = None

    def submit(self, job: Callable[[], None]) -> None:
        """Start `job` when the one before has ended; raises the error of that one."""
        self._wait()
        self._job = self._thread.submit(job)

    def _wait(self) -> None:
        job, self._job = self._job, None
        if job is not None:
            job.result()

    def __enter__(self) -> None:
        pass

    def __exit__(self, *error: object) -> None:
        try:
            self._wait()
        finally:
            self._thread.shutdown()


def supports_channels_last(model: nn.Module, device: torch.device) -> bool:
    """Whether `model` can be trained on `device` in the channels-last format.

    On a CPU, oneDNN 3.12 corrupts memory and returns wrong gradients of the weights of a 1 x 1
    convolution with a stride, if it has fewer input channels than a vector register has numbers
    (https://github.com/uxlfoundation/oneDNN/issues/6035). Other formats are computed right.
    """
    return device.type != "cpu" or not any(
        isinstance(module, nn.Conv2d)
        and module.in_channels < 16  # a register of AVX-512 has 16 float32 numbers
        and max(module.stride) > 1
        and max(module.kernel_size) == 1
        for module in model.modules()
    )


@contextmanager
def _out_of_memory(advice: Callable[[], str]) -> Iterator[None]:
    """Raise TrainingError with `advice` in place of PyTorch's errors when memory is exhausted."""
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        exhausted = isinstance(error, MemoryError | torch.OutOfMemoryError)
        if not exhausted and "can't allocate memory" not in str(error):
            raise
        raise TrainingError(f"out of memory: {advice()}") from None


# ----------------------------------------------------------------------------------------- input


def _input(recipe: Recipe, data: Data) -> Input:
    """Describe the input of the network. Raises DataError if the data does not fit the recipe."""
    _, steps, *shape = data.train.windows.shape
    if steps != recipe.data.steps:
        raise DataError(
            f"the windows have {steps} input steps, the recipe's data.steps is {recipe.data.steps}"
        )
    entry: dict[str, Any] = {"name": "input", "shape": tuple(shape), "steps": steps}
    if data.kind == "image":  # int8: every value is a gray level
        return Input(**entry, min_value=images.MIN_VALUE, max_value=images.MAX_VALUE, kind="image")
    _check_counts(data, recipe.data.max_count)
    return Input(**entry, max_value=recipe.data.max_count)


def _check_counts(data: Data, max_count: int) -> None:
    splits = (data.train.windows, data.test.windows)
    smallest = min(int(np.min(windows)) for windows in splits)
    largest = max(int(np.max(windows)) for windows in splits)
    if smallest < 0 or largest > max_count:
        raise DataError(
            f"the windows contain {smallest}..{largest}, outside of the input's 0..{max_count} "
            "(data.max_count)"
        )
