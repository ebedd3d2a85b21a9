"""Inference of a window whose time-steps arrive one by one, each run through all layers at once."""

from __future__ import annotations

import dataclasses
import time

import numpy as np
import numpy.typing as npt

from lmht_deploy._arguments import as_array
from lmht_deploy._threads import check_threads
from lmht_deploy.errors import BackendError, DataError
from lmht_deploy.ir import Input, Layer, Network, Neurons
from lmht_deploy.result import Result, add_steps

from ._extension import core
from ._model import ForcedPath, Model
from ._outputs import RunArrays

ONE_STEP = np.ones(1, np.int64)
"""`Result.steps` of a time-step."""
ONE_STEP.setflags(write=False)


class StepwiseEngine:
    """Inference step by step: a time-step runs through all layers before the next one arrives.

    When the last time-step of a window is there, one step is left to compute. The potentials are
    kept between the steps. This needs networks in which a time-step depends on no later one: the
    T-GIM of every layer must be the identity, or a multiple of it.

    Example:
        >>> runner = StepwiseEngine(net)
        >>> for counts in steps:
        ...     runner.step(counts)
        >>> result = runner.finish()
    """

    def __init__(
        self,
        net: Network,
        *,
        threads: int = 1,
        isa: str | None = None,
        path: ForcedPath | None = None,
        trace: bool = False,
    ) -> None:
        """Pack the weights, and allocate the buffers and potentials.

        Args:
            net: An integer network that `supports` accepts.
            threads: Number of threads that share the work of one step.
            isa: As for `Model`.
            path: As for `Model`.
            trace: Whether to keep the spikes of every layer.

        Raises:
            BackendError: If the network is not supported, as `Model` does, or for a number of
                threads outside 1 to 1024.
        """
        check_stepwise(net)
        self._net, self._trace = net, trace
        self._model = Model(_one_step(net), isa=isa, path=path)
        self._core = core.StepwiseEngine(self._model.core, check_threads(threads, "the engine"))
        self._arrays: RunArrays | None = None  # of the next time-step
        self._sum: Result | None = None  # of the time-steps so far
        self._steps = 0

    @staticmethod
    def supports(net: Network) -> bool:
        """Return whether no time-step of `net` depends on a later one."""
        return all(layer.stepwise for layer in net.neurons)

    @property
    def net(self) -> Network:
        """The network that this engine runs."""
        return self._net

    @property
    def steps(self) -> int:
        """Number of time-steps so far of the window in progress."""
        return self._steps

    @property
    def buffer_bytes(self) -> int:
        """Bytes of all buffers, the potentials included."""
        return self._core.buffer_bytes

    def step(self, counts: npt.NDArray[np.integer]) -> Result:
        """Run the next time-step of the window.

        Args:
            counts: Integers [C, H, W] or [N], within the input's range.

        Returns:
            What this time-step adds to the result of the window (a batch of one).

        Raises:
            DataError: If shape, dtype or range of the counts do not fit the network's input, or
                the window has all its time-steps.
        """
        source = self._net.input
        if self.steps == source.steps:
            raise DataError(f"the window has all its {source.steps} time-steps; finish it first")
        inputs = self._model.inputs(as_array("counts", counts)[None, None])
        first, last = self.steps == 0, self.steps == source.steps - 1
        arrays = self._arrays or self._new_arrays()
        done = arrays.fill(self._core.step, inputs, first, last, steps=ONE_STEP)
        # After the last time-step, the decision waits; before it, the next one is not there yet.
        self._arrays = None if last else self._new_arrays()
        self._sum = done if self._sum is None else add_steps(self._sum, done)
        self._steps += 1
        return done

    def _new_arrays(self) -> RunArrays:
        return RunArrays(self._model, 1, trace=self._trace)

    def finish(self) -> Result:
        """Return the result of the window (a batch of one), and begin the next one.

        `Result.seconds` is the time of the last time-step.

        Raises:
            DataError: If the window lacks time-steps.
        """
        if self._sum is None or self.steps < self._net.input.steps:
            raise DataError(
                f"the window has {self.steps} of its {self._net.input.steps} time-steps"
            )
        return self.stop()

    def is_sure(self, stop_margin: int) -> bool:
        """Return whether the time-steps so far decide the window, see `run`."""
        if self._sum is None:
            return False
        left = self._net.input.steps - self.steps
        return left == 0 or int(self._sum.margins[0]) > stop_margin * left

    def stop(self) -> Result:
        """Return the result of the time-steps so far (a batch of one), and begin the next window.

        `Result.seconds` is the time of the last time-step.

        Raises:
            DataError: No time-step was run.
        """
        if self._sum is None:
            raise DataError("the window has none of its time-steps")
        result = self._sum
        self.reset()
        return result

    def run(self, window: npt.NDArray[np.integer], stop_margin: int | None = None) -> Result:
        """Run a window, and end the run when its answer is sure.

        The run ends after a time-step if the difference of the two largest logits so far exceeds
        `stop_margin` times the number of time-steps that are left. `calibrate_stop` of
        `lmht_deploy.analysis.early` chooses `stop_margin`.

        Args:
            window: Integers [T_in, C, H, W] or [T_in, N], within the input's range.
            stop_margin: The margin, in units of a logit per time-step; None to run all time-steps.

        Returns:
            The result of the time-steps that were run (a batch of one); `Result.steps` is their
            number.

        Raises:
            DataError: If shape, dtype or range of the window do not fit the network's input.
        """
        window = as_array("the window", window)
        if window.shape != self._net.window_shape:
            raise DataError(
                f"a window has shape {list(self._net.window_shape)}, not {list(window.shape)}"
            )
        start = time.perf_counter()
        self.reset()
        for counts in window:
            self.step(counts)
            if stop_margin is not None and self.is_sure(stop_margin):
                break
        seconds = time.perf_counter() - start
        return dataclasses.replace(self.stop(), seconds=seconds)

    def reset(self) -> None:
        """Discard the time-steps of the window in progress."""
        self._sum, self._steps = None, 0


class StepwiseRing:
    """A `StepwiseEngine` with the methods of `IncrementalEngine`, for windows that do not overlap.

    A time-step runs when it is put into its slot, in the expectation that it is the next one of
    the window. A window whose time-steps came in another order runs again as a whole.
    """

    def __init__(self, runner: StepwiseEngine, stop_margin: int | None = None) -> None:
        """Fill the ring with silence.

        Args:
            runner: The engine.
            stop_margin: Margin with which a window ends early, see `StepwiseEngine.run`; None to
                run all time-steps.
        """
        self._runner, self._stop_margin = runner, stop_margin
        self._counts = np.zeros(runner.net.window_shape, np.int32)
        self._slots: list[int] = []  # of the window in progress, in order
        self._sure = False  # whether the window in progress needs no further time-step

    def put(self, slot: int, counts: npt.NDArray[np.int32]) -> None:
        """Replace the time-step in one slot of the ring, and run it.

        Args:
            slot: Slot, 0 to T_in - 1.
            counts: int32 [C, H, W] or [N], within the input's range.
        """
        self._counts[slot] = counts
        if len(self._slots) == len(self._counts):  # a whole window that nobody asked for
            self._restart()
        self._run(slot)

    def run(self, oldest: int) -> Result:
        """Return the result of the window of all steps in the ring (a batch of one).

        `Result.seconds` is the time of the last time-step, which may have run in `put`.

        Args:
            oldest: Slot of the oldest step.
        """
        slots = [*range(oldest, len(self._counts)), *range(oldest)]
        if self._slots != slots:
            self._restart()
            for slot in slots:
                self._run(slot)
        self._slots.clear()
        result = self._runner.stop() if self._sure else self._runner.finish()
        self._sure = False
        return result

    def _run(self, slot: int) -> None:
        self._slots.append(slot)
        if self._sure:
            return
        self._runner.step(self._counts[slot])
        self._sure = self._stop_margin is not None and self._runner.is_sure(self._stop_margin)

    def _restart(self) -> None:
        self._runner.reset()
        self._slots.clear()
        self._sure = False


def check_stepwise(net: Network) -> None:
    """Raise BackendError if a time-step of `net` depends on a later one."""
    if not StepwiseEngine.supports(net):
        raise BackendError(
            "a time-step of this network depends on later ones: the T-GIM of a layer is not a "
            "multiple of the identity"
        )


def _one_step(net: Network) -> Network:
    """Return the network that computes one time-step of a network that is stepwise."""

    def one_step(layer: Layer) -> Layer:
        match layer:
            case Input():
                return dataclasses.replace(layer, steps=1)
            case Neurons():
                return dataclasses.replace(layer, omega=layer.omega[:1, :1])
        return layer

    return Network(tuple(map(one_step, net.layers)), metadata=net.metadata)
