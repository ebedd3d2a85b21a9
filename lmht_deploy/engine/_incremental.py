"""Inference of overlapping windows whose time-steps arrive one by one."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from lmht_deploy._threads import check_threads
from lmht_deploy.errors import BackendError
from lmht_deploy.result import Result

from ._extension import core
from ._model import Model
from ._outputs import RunArrays
from ._plan import image_shape


class IncrementalEngine:
    """Incremental inference for overlapping windows.

    The currents of the first layer are computed once per time-step, when the step arrives, and are
    reused by every window that contains the step. The T_in steps of a window lie in the slots of a
    ring, which are all silent at first.

    Example:
        >>> ring = IncrementalEngine(model)
        >>> for number, counts in enumerate(steps):
        ...     ring.put(number % steps_per_window, counts)
        ...     result = ring.run((number + 1) % steps_per_window)
    """

    def __init__(self, model: Model, *, threads: int = 1) -> None:
        """Allocate the buffers and fill the ring with silence.

        Args:
            model: A model that `supports` accepts.
            threads: Number of threads that share the work of one step or window.

        Raises:
            BackendError: If the model is not supported, or for a number of threads outside 1 to
                1024.
        """
        if not self.supports(model):
            raise BackendError(
                "the first layer of this network does not read its input step by step"
            )
        self._model = model
        self._core = core.IncrementalEngine(model.core, check_threads(threads, "the engine"))

    @staticmethod
    def supports(model: Model) -> bool:
        """Return whether `model` can be run step by step.

        The first layer alone must read the input, by one synapse that computes a current per step,
        and the input must not be negative.
        """
        return model.core.supports_incremental and model.net.input.min_value >= 0

    @property
    def model(self) -> Model:
        """The model that this engine runs."""
        return self._model

    @property
    def buffer_bytes(self) -> int:
        """Bytes of all buffers, the ring included."""
        return self._core.buffer_bytes

    def put(self, slot: int, counts: npt.NDArray[np.int32]) -> None:
        """Replace the time-step in one slot of the ring.

        Args:
            slot: Slot, 0 to T_in - 1.
            counts: int32 [C, H, W] or [N], contiguous, within the input's range.
        """
        self._core.put(slot, counts.reshape(image_shape(self._model.net.input.shape)))

    def run(self, oldest: int) -> Result:
        """Run the window of all steps in the ring.

        Args:
            oldest: Slot of the oldest step.

        Returns:
            The result of the window (a batch of one).
        """
        return RunArrays(self._model, 1).fill(self._core.run, oldest)
