"""Oracle of these tests: Lava's fixed-point simulation of a NetX file, bit for bit, in NumPy.

Follows what `PyConvModelFixed`, `PyDenseModelBitAcc`, `PyDelayDenseModelBitAcc`, `PyLifModelBitAcc` and
`PyLifResetModelBitAcc` of lava-nc 0.10.0 do, and how lava-dl 0.6.0 prepares weights. Every synapse delays by one step.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from lmht_deploy import ir, reference
from lmht_deploy.netx import Conv, Dense, InputLayer, NetX
from lmht_deploy.netx.dense import prepare_dense, truncate_dense
from lmht_deploy.netx.file import STATE_ONE

HALF = 2**23
"""States have 24 bits, sign included."""
UNIT = 64
"""States keep 6 bits below the unit of a weight."""


@dataclass(frozen=True)
class Recording:
    """What one layer did: `spikes` bool, and, where asked for, `u` and `v` (after the reset) int64; [B, steps, *shape]."""

    spikes: np.ndarray
    u: np.ndarray | None
    v: np.ndarray | None


def run(
    net: NetX,
    inputs: np.ndarray,
    steps: int | None = None,
    *,
    graded: bool = False,
    states: bool = False,
    reset_interval: int | None = None,
    reset_offset: int = 0,
) -> list[Recording]:
    """Run B samples; one recording for each layer of `net.spiking`.

    inputs           where the input layer has neurons: their bias, integers [B, *shape], for so many `steps`;
                     else spikes [B, steps, *shape]: booleans, or integers where `graded`
    reset_interval   every so many steps, u and v of the i-th of these layers are set to 0 before step t = 1, 2, …
                     where t ≡ 1 + i + reset_offset, as lava-dl's arguments of these names do
    """
    inputs = np.asarray(inputs)
    steps = inputs.shape[1] if steps is None else steps
    first = net.spiking[0]
    stages = [
        _Stage(layer, len(inputs), inputs if layer is first else None) for layer in net.spiking
    ]
    driven = isinstance(first, InputLayer)
    for t in range(1, steps + 1):
        spikes = (
            np.zeros(0) if driven else inputs[:, t - 1] if graded else inputs[:, t - 1].astype(bool)
        )
        for index, stage in enumerate(stages):
            if reset_interval and (t - 1 - index - reset_offset) % reset_interval == 0:
                stage.reset()
            spikes = stage.step(spikes, states)
    return [stage.recording() for stage in stages]


class _Stage:
    """Neurons of one layer and the synapses into them, step by step."""

    def __init__(
        self, layer: InputLayer | Conv | Dense, batch: int, bias: np.ndarray | None
    ) -> None:
        assert layer.neurons is not None
        self.neurons, self.batch = layer.neurons, batch
        self.u = np.zeros((batch, *layer.shape), np.int64)
        self.v = np.zeros_like(self.u)
        self.bias = _int16(bias if isinstance(layer, InputLayer) else layer.bias) * UNIT  # type: ignore[arg-type]
        self.synapses = _synapses(layer)
        self.queue = [
            np.zeros_like(self.u)
            for _ in range(1 + max((synapse.delay for synapse in self.synapses), default=0))
        ]
        self.spikes: list[np.ndarray] = []
        self.states: list[tuple[np.ndarray, np.ndarray]] = []

    def reset(self) -> None:
        self.u = np.zeros_like(self.u)
        self.v = np.zeros_like(self.v)

    def step(self, spikes: np.ndarray, states: bool) -> np.ndarray:
        """Spikes of this layer, given those of the layer before at the same step, which arrive later."""
        neurons = self.neurons
        self.u = _wrap_once(
            _int32(_decay(self.u, neurons.current_decay) + UNIT * self.queue.pop(0))
        )
        self.v = np.clip(
            _int32(_decay(self.v, neurons.voltage_decay) + self.u + self.bias), 1 - HALF, HALF - 1
        )
        fired = self.v > UNIT * neurons.threshold
        self.v = np.where(fired, 0, self.v)
        self.queue.append(np.zeros_like(self.u))
        for synapse in self.synapses:
            self.queue[synapse.delay] = self.queue[synapse.delay] + synapse.current(
                fired if synapse.recurrent else spikes
            )
        self.spikes.append(fired)
        if states:
            self.states.append((self.u, self.v))
        return fired

    def recording(self) -> Recording:
        u, v = (
            (np.stack(traces, 1) for traces in zip(*self.states, strict=True))
            if self.states
            else (None, None)
        )
        return Recording(np.stack(self.spikes, 1), u, v)


def _decay(state: np.ndarray, decay: int) -> np.ndarray:
    product = state * (STATE_ONE - decay)
    return np.sign(product) * (np.abs(product) // STATE_ONE)


def _wrap_once(u: np.ndarray) -> np.ndarray:
    """As Lava wraps u: by 2^24, once (a second time, were it needed, it does not)."""
    return u - 2 * HALF * (u > HALF) + 2 * HALF * (u <= -HALF)


def _int16(values: np.ndarray) -> np.ndarray:
    """What a bias becomes in Lava's 16 bits."""
    return values.astype(np.int16).astype(np.int64)


def _int32(values: np.ndarray) -> np.ndarray:
    """What a sum becomes in NumPy's 32 bits, in which Lava adds; u reaches them, as it is wrapped once only."""
    return values.astype(np.int32).astype(np.int64)


# ------------------------------------------------------------------------------------------------ synapses


@dataclass(frozen=True)
class _Synapse:
    """`current` of the spikes of one step [B, ...], which arrives `delay` steps later than at the next one."""

    current: Callable[[np.ndarray], np.ndarray]
    delay: int = 0
    recurrent: bool = False


def _synapses(layer: InputLayer | Conv | Dense) -> list[_Synapse]:
    match layer:
        case Conv():
            return [_Synapse(_convolution(layer))]
        case Dense():
            inputs = layer.weight.shape[1]
            joint, bits, exponent = prepare_dense(
                layer.weight
                if layer.recurrent is None
                else np.hstack((layer.weight, layer.recurrent))
            )
            forward = truncate_dense(joint[:, :inputs], bits)
            if layer.delay is not None:
                delays = (int(delay) for delay in np.unique(layer.delay))
                return [
                    _Synapse(_product(np.where(layer.delay == delay, forward, 0), exponent), delay)
                    for delay in delays
                ]
            recurrent = (
                []
                if layer.recurrent is None
                else [_product(truncate_dense(joint[:, inputs:], bits), exponent)]
            )
            return [
                _Synapse(_product(forward, exponent)),
                *(_Synapse(product, recurrent=True) for product in recurrent),
            ]
    return []


def _convolution(layer: Conv) -> Callable[[np.ndarray], np.ndarray]:
    weight = layer.weight.astype(np.float64)
    geometry = ir.Conv(
        source="-",
        weight=weight,
        stride=layer.stride,
        padding=layer.padding,
        dilation=layer.dilation,
        groups=layer.groups,
    )

    def current(spikes: np.ndarray) -> np.ndarray:
        total = reference.convolve(spikes[:, None].astype(np.float64), weight, geometry)[
            :, 0
        ].astype(np.int64)
        return (total + HALF) % (2 * HALF) - HALF

    return current


def _product(weight: np.ndarray, exponent: int) -> Callable[[np.ndarray], np.ndarray]:
    transposed = weight.T.astype(np.float64)

    def current(spikes: np.ndarray) -> np.ndarray:
        total = (spikes.reshape(len(spikes), -1).astype(np.float64) @ transposed).astype(np.int64)
        return total << exponent if exponent > 0 else total >> -exponent

    return current
