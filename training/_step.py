"""One training step on the device: launched kernel by kernel, or replayed as one CUDA graph.

A step of a ResNet-18 is some 600 kernels. To launch them takes a processor three times as long as
they run. A CUDA graph holds them all, and one call launches it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, TypeAlias

import torch
from torch import Tensor
from torch.nn import functional

from lmht_deploy.errors import first_line

from ._optimization import Optimization
from ._sops import SopRate
from .recipe import TrainingRecipe

if TYPE_CHECKING:
    from ._augment import Augmentation
    from ._batches import Batch

WARM_UP = 3
"""Steps before a capture: they compile kernels and allocate the state of the optimizer."""

MAX_AHEAD = 4
"""Graphs that wait for the device; more would hold the memory of their batches."""

Replay: TypeAlias = Callable[[], None]

Record: TypeAlias = Callable[[Callable[[], None]], Replay]
"""From a function without arguments to one that does the same to the same tensors."""


class NotCapturedError(RuntimeError):
    """A step cannot be captured; nothing has changed."""


class TrainingStep:
    """One training step: augmentation, forward, loss, backward, optimizer, sums.

    Its work depends on tensors alone, which `Optimization.schedule` and the batch fill. So it can
    be captured.

    Args:
        augment: Augmentation of a batch.
        forward: The model as it is called.
        optimization: What changes the weights.
        sops: SOPs of the model, if they are a term of the loss.

    Attributes:
        sums: Sum of the cross-entropy and number of correct windows of the epoch, float64 [2] on
            the device.
    """

    def __init__(
        self,
        augment: Augmentation,
        forward: Callable[..., Tensor],
        optimization: Optimization,
        sops: SopRate | None = None,
    ) -> None:
        self.augment, self.forward, self.optimization = augment, forward, optimization
        self.sops = sops
        self.sums = torch.zeros(2, dtype=torch.float64, device=optimization.device)

    def __call__(self, batch: Batch) -> None:
        """Train on `batch`."""
        windows, targets = self.augment(batch.windows.float(), batch.labels, batch.draws)
        with self.optimization.autocast():
            logits = self.forward(windows, per_step=True).float()  # [T, B, K]
            loss = loss_of(logits, targets, self.optimization.recipe)
        self.optimization.step(loss + self._penalty())
        correct = (logits.detach().mean(0).argmax(1) == batch.labels).sum()
        self.sums.add_(torch.stack([loss.detach() * len(batch.labels), correct]))

    def _penalty(self) -> Tensor | float:
        """The term of the loss for the SOPs of the forward pass."""
        return self.optimization.recipe.sop_penalty * self.sops.take() if self.sops else 0.0

    def changed(self) -> Iterable[Tensor]:
        """Tensors that a step changes in place."""
        return [self.sums, *self.optimization.tensors()]


def loss_of(logits: Tensor, targets: Tensor, recipe: TrainingRecipe) -> Tensor:
    """Compute the loss of logits [T, B, K] for classes [B] or shares of classes [B, K]."""
    smoothing = recipe.label_smoothing
    if recipe.loss == "mean":
        return functional.cross_entropy(logits.mean(0), targets, label_smoothing=smoothing)
    repeated = targets.expand(len(logits), *targets.shape).flatten(0, 1)
    return functional.cross_entropy(logits.flatten(0, 1), repeated, label_smoothing=smoothing)


class CapturedStep:
    """A training step that is captured at the first batch, and replayed for every batch.

    Args:
        step: What to capture.
        record: How to capture; another one than CUDA's in tests.

    Raises:
        NotCapturedError: At the first batch, if the step cannot be captured.
    """

    def __init__(self, step: TrainingStep, record: Record | None = None) -> None:
        self._step, self._record = step, record or record_cuda_graph
        self._captured: tuple[Batch, Replay] | None = None

    def __call__(self, batch: Batch) -> None:
        """Train on `batch`, whose tensors have the sizes of the first one's."""
        if self._captured is None:
            self._captured = self._capture(batch.copy())
        inputs, replay = self._captured
        inputs.fill(batch)
        replay()

    def _capture(self, inputs: Batch) -> tuple[Batch, Replay]:
        with unchanged(self._step.changed, self._step.optimization):
            try:
                return inputs, self._record(lambda: self._step(inputs))
            except torch.OutOfMemoryError:
                raise
            except RuntimeError as error:
                raise NotCapturedError(first_line(error)) from None


@contextmanager
def unchanged(
    tensors: Callable[[], Iterable[Tensor]], optimization: Optimization
) -> Iterator[None]:
    """Put back the values of `tensors` at the end; those that were not there become zero.

    So the state that an optimizer makes in its first step, such as momenta, is as before that step.
    """
    before = [(tensor, tensor.detach().clone()) for tensor in tensors()]
    scale = optimization.scaler.state_dict()
    try:
        yield
    finally:
        with torch.no_grad():
            known = set()
            for tensor, value in before:
                tensor.copy_(value)
                known.add(tensor.data_ptr())
            for tensor in tensors():
                if tensor.data_ptr() not in known:
                    tensor.zero_()
        optimization.scaler.load_state_dict(scale)


def record_cuda_graph(work: Callable[[], None]) -> Replay:
    """Run `work` a few times, and capture it in a CUDA graph.

    Returns:
        A function that launches the graph, and waits while too many of them are queued.
    """
    side = torch.cuda.Stream()  # type: ignore[no-untyped-call]
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        for _ in range(WARM_UP):
            work()
    torch.cuda.current_stream().wait_stream(side)
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    # Other threads may allocate memory: they prepare batches.
    with torch.cuda.graph(graph, capture_error_mode="thread_local"):
        work()
    queued: deque[torch.cuda.Event] = deque()

    def replay() -> None:
        graph.replay()
        queued.append(torch.cuda.Event())  # type: ignore[no-untyped-call]
        queued[-1].record()
        if len(queued) > MAX_AHEAD:
            queued.popleft().synchronize()

    return replay
