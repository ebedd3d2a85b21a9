"""Reports of a training run: a progress bar, one line per epoch, TensorBoard."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ._console import percent, progress, tell

if TYPE_CHECKING:
    from lmht_deploy.training.loop import Progress

BARS = "▁▂▃▄▅▆▇█"
"""Spike densities 0..1 per neuron and time-step, as one character per layer."""


@contextmanager
def reports(
    folder: Path, *, split: str, tensorboard: bool, quiet: bool
) -> Iterator[Callable[[Progress], None]]:
    """Show the progress of a run, and write it for TensorBoard if asked to.

    Args:
        folder: Folder of the run, for the files of TensorBoard.
        split: Split that tests each epoch.
        tensorboard: Whether to write these files.
        quiet: Show and write nothing, as in all processes of torchrun but the first.

    Yields:
        The callback for the training loop.
    """
    if quiet:
        yield lambda at: None
        return
    writer = _TensorBoard(folder) if tensorboard else None
    with progress("training") as show:

        def report(at: Progress) -> None:
            show(f"epoch {at.epoch}/{at.epochs}, loss {at.loss:.3f}", at.step, at.steps)
            if at.test_accuracy is None:
                return
            tell(f"{_line(at, split)}, {at.remaining / 60:.1f} min left")
            if writer:
                writer.write_epoch(at)

        yield report
    if writer:
        writer.close()


def _line(at: Progress, split: str) -> str:
    return (
        f"epoch {at.epoch}/{at.epochs}, loss {at.loss:.3f}, accuracy {percent(at.accuracy)}, "
        f"{split} {percent(at.test_accuracy)}{_density(at)}, {at.windows_per_second:.0f} windows/s"
    )


def _density(at: Progress) -> str:
    """Spikes per neuron and time-step: one bar per layer, full at 1 or more, and the mean."""
    if not at.density:
        return ""
    last = len(BARS) - 1
    bars = "".join(BARS[min(int(density * len(BARS)), last)] for density in at.density.values())
    return f", spikes {bars} {sum(at.density.values()) / len(at.density):.2f}"


class _TensorBoard:
    """Writes the scalars of every epoch to the folder of the run."""

    def __init__(self, folder: Path) -> None:
        from torch.utils.tensorboard import SummaryWriter

        self._writer: Any = SummaryWriter(str(folder))

    def write_epoch(self, at: Progress) -> None:
        scalars = {
            "loss/training": at.loss,
            "loss/test": at.test_loss,
            "accuracy/training": at.accuracy,
            "accuracy/test": at.test_accuracy,
            "learning_rate": at.learning_rate,
            **{f"spikes/{layer}": density for layer, density in at.density.items()},
        }
        for name, value in scalars.items():
            self._writer.add_scalar(name, value, at.epoch)
        self._writer.flush()

    def close(self) -> None:
        self._writer.close()
