"""Simulation of a NetX network, step by step, with the integers of Lava's simulation.

It computes what `PyConvModelFixed`, `PyDenseModelBitAcc`, `PyDelayDenseModelBitAcc`,
`PyLifModelBitAcc`, `PyLifResetModelBitAcc`, `PyDeltaModelFixed`, `PySigmaDeltaModelFixed` and
`PySigmaModelFixed` of lava-nc 0.10.0 compute with the weights that
lava-dl 0.6.0 prepares. Every synapse delays by one step. The C++ core (`core/`) is event-driven:
each spike adds one row of weights, and rows of neurons at rest are skipped.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, overload

import numpy as np

from lmht_deploy._arguments import as_array
from lmht_deploy._packages import ExtensionError, import_extension
from lmht_deploy.errors import BackendError, DataError, show
from lmht_deploy.formats.netx.keys import MAX_STEPS, STATE_ONE, STATE_UNIT
from lmht_deploy.formats.netx.stock import (
    CUBA,
    NetX,
    NetXConv,
    NetXDense,
    NetXInput,
    SigmaDelta,
)
from lmht_deploy.formats.netx.weights import dense_bits, effective_weights

if TYPE_CHECKING:
    from . import _core

INT32_MAX = 2**31 - 1
GRADED_RANGE = (-(2**15), 2**15 - 1)
"""Range of graded spikes, which have 16 bits."""


@dataclass(frozen=True)
class Recording:
    """What one layer did in B samples.

    Attributes:
        counts: Spikes of each neuron, int32 [B, *shape].
        potential: Potential at the end, int32 [B, *shape]; of sigma-delta neurons the activation
            or, with sigma output, the sum.
        wrapped: How often a current left its 24 bits and wrapped, int64 [B]: the sum of a
            convolution, or u of a neuron. Exact where sums of weights times spikes fit 32 bits.
        clipped: How often a potential left its 24 bits and was clipped, int64 [B].
        spikes: Spikes of every step, bool [B, steps, *shape], or messages of sigma-delta neurons,
            int32; None unless recorded.
        u: Current of every step, int32 [B, steps, *shape], or sigma; None unless recorded.
        v: Potential after the reset of every step, or the activation, likewise.
    """

    counts: np.ndarray
    potential: np.ndarray
    wrapped: np.ndarray
    clipped: np.ndarray
    spikes: np.ndarray | None = None
    u: np.ndarray | None = None
    v: np.ndarray | None = None


class Simulator:
    """A NetX network that is ready to run.

    Args:
        net: The network.
        threads: Maximum number of threads; each runs one sample at a time.
        isa: Highest instruction set to use; by default the one in the environment variable
            LMHT_ISA, otherwise the best one of this CPU. All of them give the same integers.

    Raises:
        BackendError: The instruction set is not available, or the extension was not built.
        DataError: The network has no layer with neurons.
    """

    def __init__(self, net: NetX, *, threads: int = 1, isa: str | None = None) -> None:
        if not isinstance(net, NetX):
            raise DataError(f"a NetX network is needed (see load_netx), not {type(net).__name__}")
        if not net.spiking:
            raise DataError("the network has no layer with neurons")
        if isa is not None and not isinstance(isa, str):
            raise BackendError(f"an instruction set is named by text, not {show(isa)}")
        self.net, self.threads = net, threads
        core = _extension()
        try:
            self._core: _core.Network = core.Network(_shape(core, net.input_shape), isa or "")
        except ValueError as error:
            raise BackendError(str(error)) from None
        for layer in net.spiking:
            _add(core, self._core, layer)

    @property
    def isa(self) -> str:
        """Name of the instruction set in use."""
        return self._core.isa

    @property
    def driven(self) -> bool:
        """Whether biases of the input layer's neurons drive the network, not spikes."""
        return self.net.driven

    def run(
        self,
        inputs: np.ndarray,
        steps: int | None = None,
        *,
        graded: bool = False,
        spikes: bool = True,
        states: bool = False,
        reset_interval: int | None = None,
        reset_offset: int = 0,
    ) -> list[Recording]:
        """Run B samples, each from rest.

        Args:
            inputs: Spikes or, for sigma-delta neurons, values [B, steps, *shape]; or, where the
                network is `driven`, biases [B, *shape].
            steps: Number of steps, for a network that is driven by biases.
            graded: Whether spikes are integers of 16 bits; otherwise every value but 0 is one
                spike. The values for sigma-delta neurons always are.
            spikes: Whether to record the spikes of every step.
            states: Whether to record u and v of every step.
            reset_interval: Before step t = 1, 2, ..., u and v of layer i are set to 0 where
                t - 1 - i - reset_offset is a multiple of it, as in lava-dl.
            reset_offset: See `reset_interval`.

        Returns:
            One recording per layer of `net.spiking`.

        Raises:
            DataError: The inputs do not fit.
        """
        inputs, graded = as_array("the input", inputs), graded or self.net.encodes
        steps = check(self.net, inputs, steps, graded)
        interval, offset = _reset(reset_interval, reset_offset)
        batch, given, biases = len(inputs), None, None
        if self.driven:
            biases = _bias(inputs).reshape(batch, -1)
        else:
            given = (inputs if graded else inputs != 0).astype(np.int16).reshape(batch, steps, -1)
        recordings = [_empty(layer, batch, steps, spikes, states) for layer in self.net.spiking]
        self._core.run(
            spikes=given,
            biases=biases,
            graded=graded,
            steps=steps,
            reset_interval=interval,
            reset_offset=offset,
            records=[_records(_extension(), recording) for recording in recordings],
            threads=self.threads,
        )
        return recordings


def check(net: NetX, inputs: np.ndarray, steps: int | None, graded: bool) -> int:
    """Return the number of steps of a run; DataError where `inputs` do not fit."""
    driven, shape = net.driven, net.input_shape
    if inputs.dtype.kind not in "iub":
        raise DataError(f"inputs must be integers or booleans, not {inputs.dtype}")
    if inputs.shape[1 if driven else 2 :] != shape or (steps is None) == driven:
        what = (
            f"biases [batch, {', '.join(map(str, shape))}] and a number of steps"
            if driven
            else f"spikes [batch, steps, {shape}]"
        )
        raise DataError(f"this network is driven by {what}; inputs have shape {list(inputs.shape)}")
    if steps is not None and not _is_count(steps, 0):
        raise DataError(f"the number of steps must lie within 0..{MAX_STEPS}, not {steps!r}")
    low, high = GRADED_RANGE
    if graded and inputs.size and (inputs.min() < low or inputs.max() > high):
        raise DataError(
            f"graded spikes have 16 bits, {low}..{high}; inputs are {inputs.min()}..{inputs.max()}"
        )
    return inputs.shape[1] if steps is None else steps


def _reset(interval: int | None, offset: int) -> tuple[int, int]:
    """Return the interval, 0 where there is none, and the offset of a reset."""
    if interval is not None and not _is_count(interval, 1):
        raise DataError(f"reset_interval must lie within 1..{MAX_STEPS}, not {interval!r}")
    if not _is_count(offset, 0):
        raise DataError(f"reset_offset must lie within 0..{MAX_STEPS}, not {offset!r}")
    return interval or 0, offset


def _is_count(value: object, low: int) -> bool:
    return isinstance(value, int) and low <= value <= MAX_STEPS


def isas() -> list[str]:
    """Return the instruction sets that this CPU runs, the best first."""
    found: list[str] = _extension().isas()
    return found


def _extension() -> Any:
    """Return the extension; BackendError with the command that builds it where it is missing."""
    try:
        return import_extension(__package__)
    except ExtensionError as error:
        raise BackendError(str(error)) from None


def _add(core: Any, network: _core.Network, layer: NetXInput | NetXConv | NetXDense) -> None:
    """Add `layer` to the core's `network`."""
    neurons = _neurons(core, layer)
    match layer:
        case NetXInput():
            bias = np.zeros(int(np.prod(layer.shape)), np.int32)
            network.add_input(_shape(core, layer.shape), neurons, bias=bias)
        case NetXConv():
            network.add_convolution(
                _shape(core, layer.shape),
                neurons,
                bias=_layer_bias(layer).ravel(),
                weight=_int32(layer.weight),
                stride=layer.stride,
                padding=layer.padding,
                dilation=layer.dilation,
                groups=layer.groups,
            )
        case NetXDense():
            weight, recurrent = effective_weights(layer)
            network.add_dense(
                layer.shape[0],
                neurons,
                bias=_layer_bias(layer),
                weight=_int32(weight),
                delay=_int32(layer.delay),
                recurrent=_int32(recurrent),
            )


def _neurons(core: Any, layer: NetXInput | NetXConv | NetXDense) -> Any:
    """Return the neurons of `layer` as the core's Neurons or SigmaDelta."""
    match layer.neurons:
        case CUBA() as cuba:
            return core.Neurons(
                keep_u=STATE_ONE - cuba.current_decay,
                keep_v=STATE_ONE - cuba.voltage_decay,
                threshold=int(np.clip(STATE_UNIT * cuba.threshold, -INT32_MAX, INT32_MAX)),
            )
        case SigmaDelta() as sigma_delta:
            encodes = isinstance(layer, NetXInput)
            kind = core.Kind.SIGMA if sigma_delta.sigma_output else core.Kind.SIGMA_DELTA
            return core.SigmaDelta(
                kind=core.Kind.DELTA if encodes else kind,
                threshold=sigma_delta.threshold * STATE_ONE,
                current_bits=_current_bits(layer),
            )
    raise TypeError(f"unknown neurons {layer.neurons!r}")


def _current_bits(layer: NetXInput | NetXConv | NetXDense) -> int:
    """Return the bits at which Lava wraps the current of a step."""
    if isinstance(layer, NetXDense):
        return dense_bits(layer.weight)
    return 24 if isinstance(layer, NetXConv) else 32


def _layer_bias(layer: NetXConv | NetXDense) -> np.ndarray:
    """Return the biases in the unit of a state."""
    if isinstance(layer.neurons, CUBA):
        return _bias(layer.bias)
    return np.ascontiguousarray(layer.bias.astype(np.int32) * np.int32(STATE_ONE))


@overload
def _int32(array: np.ndarray) -> np.ndarray: ...
@overload
def _int32(array: np.ndarray | None) -> np.ndarray | None: ...
def _int32(array: np.ndarray | None) -> np.ndarray | None:
    return None if array is None else np.ascontiguousarray(array, np.int32)


def _bias(values: np.ndarray) -> np.ndarray:
    """Return biases as Lava keeps them, in 16 bits, in the unit of a potential."""
    return np.ascontiguousarray(values.astype(np.int16).astype(np.int32) * STATE_UNIT)


def _shape(core: Any, shape: tuple[int, ...]) -> _core.Shape:
    """Return (C, H, W) or (N,) as the core's Shape."""
    channels, height, width = (*shape, *(1,) * (3 - len(shape)))
    found: _core.Shape = core.Shape(channels=channels, height=height, width=width)
    return found


def _empty(
    layer: NetXInput | NetXConv | NetXDense, batch: int, steps: int, spikes: bool, states: bool
) -> Recording:
    shape, message = layer.shape, np.int32 if isinstance(layer.neurons, SigmaDelta) else bool
    traces = [
        np.zeros((batch, steps, *shape), dtype) if wanted else None
        for dtype, wanted in ((message, spikes), (np.int32, states), (np.int32, states))
    ]
    return Recording(
        np.zeros((batch, *shape), np.int32),
        np.zeros((batch, *shape), np.int32),
        np.zeros(batch, np.int64),
        np.zeros(batch, np.int64),
        *traces,
    )


def _records(core: Any, recording: Recording) -> _core.Records:
    """Return the arrays of `recording` as the core writes them, [B, N] and [B, steps, N]."""

    def flat(array: np.ndarray | None, axes: int) -> np.ndarray | None:
        return None if array is None else array.reshape(*array.shape[:axes], -1)

    spikes = flat(recording.spikes, 2)
    unary = spikes is None or spikes.dtype == bool
    found: _core.Records = core.Records(
        counts=flat(recording.counts, 1),
        potential=flat(recording.potential, 1),
        wrapped=recording.wrapped,
        clipped=recording.clipped,
        spikes=spikes.view(np.uint8) if spikes is not None and unary else None,
        messages=None if unary else spikes,
        u=flat(recording.u, 2),
        v=flat(recording.v, 2),
    )
    return found
