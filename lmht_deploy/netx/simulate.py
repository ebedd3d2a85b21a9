"""A NetX network, step by step, with the very integers of Lava's fixed-point simulation: the face of the core in C++ (core/).

It computes what `PyConvModelFixed`, `PyDenseModelBitAcc`, `PyDelayDenseModelBitAcc`, `PyLifModelBitAcc` and
`PyLifResetModelBitAcc` of lava-nc 0.10.0 do with the weights that lava-dl 0.6.0 prepares. Every synapse delays by one step.
Work follows the spikes: each adds one row of weights, and rows of neurons that rest are not looked at.
"""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from lmht_deploy.errors import BackendError, DataError

from lmht_deploy.formats.netx.keys import STATE_ONE, STATE_UNIT
from lmht_deploy.formats.netx.stock import NetX, NetXConv, NetXDense, NetXInput
from lmht_deploy.formats.netx.weights import effective_weights

if TYPE_CHECKING:
    from . import _core

LARGEST = 2**31 - 1


@dataclass(frozen=True)
class Recording:
    """What one layer did in B samples.

    counts      int32 [B, *shape]: spikes of each neuron
    potential   int32 [B, *shape]: v that it ends with
    spikes      bool [B, steps, *shape], where asked for
    u, v        int32 [B, steps, *shape], v after the reset, where asked for
    """

    counts: np.ndarray
    potential: np.ndarray
    spikes: np.ndarray | None = None
    u: np.ndarray | None = None
    v: np.ndarray | None = None


class Simulator:
    """A NetX network ready to run on up to `threads` threads, a sample on each.

    `isa` names the highest instruction set to use, by default the one in the environment variable
    LMHT_ISA, otherwise the best one of this CPU. The integers are the same on all of them.
    Raises BackendError for an instruction set that is not available.
    """

    def __init__(self, net: NetX, *, threads: int = 1, isa: str | None = None) -> None:
        if not net.spiking:
            raise DataError("the network has no layer with neurons")
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
        """Whether the biases of the input layer's neurons drive the network, in place of spikes."""
        return isinstance(self.net.spiking[0], NetXInput)

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
        """Run B samples, each from rest; one recording for each layer of `net.spiking`.

        inputs           where the network is `driven`: biases, integers [B, *shape], held for so many `steps`;
                         else spikes [B, steps, *shape]: every value but 0 one spike, or, `graded`, integers of 16 bits
        spikes, states   record the spikes, and u and v, of every step
        reset_interval   every so many steps, u and v of the i-th of these layers are set to 0 before step t = 1, 2, …
                         where t ≡ 1 + i + reset_offset, as lava-dl's arguments of these names do

        Raises DataError where the inputs do not fit.
        """
        inputs = np.asarray(inputs)
        steps = check(self.net, inputs, steps, graded)
        batch, given, biases = len(inputs), None, None
        if self.driven:
            biases = _bias(inputs).reshape(batch, -1)
        else:
            given = (inputs if graded else inputs != 0).astype(np.int16).reshape(batch, steps, -1)
        recordings = [
            _empty(layer.shape, batch, steps, spikes, states) for layer in self.net.spiking
        ]
        self._core.run(
            spikes=given,
            biases=biases,
            graded=graded,
            steps=steps,
            reset_interval=reset_interval or 0,
            reset_offset=reset_offset,
            records=[_records(_extension(), recording) for recording in recordings],
            threads=self.threads,
        )
        return recordings


def check(net: NetX, inputs: np.ndarray, steps: int | None, graded: bool) -> int:
    """The steps that a run of `inputs` takes. Raises DataError where they do not fit `net`; see `Simulator.run`."""
    driven, shape = isinstance(net.spiking[0], NetXInput), net.input_shape
    if inputs.dtype.kind not in "iub":
        raise DataError(f"inputs must be integers or booleans, not {inputs.dtype}")
    if inputs.shape[1 if driven else 2 :] != shape or (steps is None) == driven:
        what = (
            f"biases [batch, {', '.join(map(str, shape))}] and a number of steps"
            if driven
            else f"spikes [batch, steps, {shape}]"
        )
        raise DataError(f"this network is driven by {what}; inputs have shape {list(inputs.shape)}")
    if graded and inputs.size and (inputs.min() < -(2**15) or inputs.max() >= 2**15):
        raise DataError(
            f"graded spikes have 16 bits, -32768..32767; inputs are {inputs.min()}..{inputs.max()}"
        )
    return inputs.shape[1] if steps is None else steps


def isas() -> list[str]:
    """The instruction sets that this processor runs, the best first."""
    return _extension().isas()


def _extension() -> Any:
    """The extension; BackendError with the command that builds it, where it is missing."""
    try:
        return importlib.import_module("._core", __package__)
    except ImportError as error:  # a source tree that was not built
        raise BackendError(
            f"the simulation of NetX files was not built ({error}); run: pip install -e ."
        ) from None


def _add(core: Any, network: _core.Network, layer: NetXInput | NetXConv | NetXDense) -> None:
    """Add `layer` to the core's `network`."""
    neurons = layer.neurons
    assert neurons is not None
    cuba = core.Neurons(
        keep_u=STATE_ONE - neurons.current_decay,
        keep_v=STATE_ONE - neurons.voltage_decay,
        threshold=int(np.clip(STATE_UNIT * neurons.threshold, -LARGEST, LARGEST)),
    )
    match layer:
        case NetXInput():
            bias = np.zeros(int(np.prod(layer.shape)), np.int32)
            network.add_input(_shape(core, layer.shape), cuba, bias=bias)
        case NetXConv():
            network.add_convolution(
                _shape(core, layer.shape),
                cuba,
                bias=_bias(layer.bias).ravel(),
                weight=np.ascontiguousarray(layer.weight, np.int32),
                stride=layer.stride,
                padding=layer.padding,
                dilation=layer.dilation,
                groups=layer.groups,
            )
        case NetXDense():
            weight, recurrent = effective_weights(layer)
            delay = None if layer.delay is None else np.ascontiguousarray(layer.delay, np.int32)
            network.add_dense(
                layer.shape[0],
                cuba,
                bias=_bias(layer.bias),
                weight=np.ascontiguousarray(weight),
                delay=delay,
                recurrent=_contiguous(recurrent),
            )


def _contiguous(array: np.ndarray | None) -> np.ndarray | None:
    return None if array is None else np.ascontiguousarray(array)


def _bias(values: np.ndarray) -> np.ndarray:
    """What a bias becomes in Lava's 16 bits, in the unit of a potential."""
    return np.ascontiguousarray(values.astype(np.int16).astype(np.int32) * STATE_UNIT)


def _shape(core: Any, shape: tuple[int, ...]) -> _core.Shape:
    """(C, H, W) or (N,) as the core's Shape."""
    channels, height, width = (*shape, *(1,) * (3 - len(shape)))
    return core.Shape(channels=channels, height=height, width=width)


def _empty(shape: tuple[int, ...], batch: int, steps: int, spikes: bool, states: bool) -> Recording:
    traces = [
        np.zeros((batch, steps, *shape), dtype) if wanted else None
        for dtype, wanted in ((bool, spikes), (np.int32, states), (np.int32, states))
    ]
    return Recording(
        np.zeros((batch, *shape), np.int32), np.zeros((batch, *shape), np.int32), *traces
    )


def _records(core: Any, recording: Recording) -> _core.Records:
    """The arrays of `recording` as the core writes them, [B, N] and [B, steps, N]."""

    def flat(array: np.ndarray | None, axes: int) -> np.ndarray | None:
        return None if array is None else array.reshape(*array.shape[:axes], -1)

    spikes = flat(recording.spikes, 2)
    return core.Records(
        counts=flat(recording.counts, 1),
        potential=flat(recording.potential, 1),
        spikes=None if spikes is None else spikes.view(np.uint8),
        u=flat(recording.u, 2),
        v=flat(recording.v, 2),
    )
