"""Oracle of the NetX tests: Lava's fixed-point simulation of a NetX file, in plain NumPy.

It shares no code with what it checks: it reads the HDF5 file itself, and imports nothing of
lmht_deploy. It follows `lava.lib.dl.netx` 0.6.0 (`hdf5.Network`, `utils.optimize_weight_bits`) and
lava-nc 0.10.0 (`PyConvModelFixed`, `PyDenseModelBitAcc`, `PyDelayDenseModelBitAcc`,
`PyLifModelBitAcc`, `PyLifResetModelBitAcc`, `lava.utils.weightutils`) line by line, slowly.
Every synapse delays by one step.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import h5py
import numpy as np

DELAY_MAX = 62


@dataclass(frozen=True)
class Recording:
    """What one layer did.

    Attributes:
        spikes: bool [B, steps, *shape].
        u: Current at every step, int64 [B, steps, *shape]; None unless states are recorded.
        v: Potential after the reset, likewise.
        wrapped: Sums of a convolution and currents u that exceed 24 bits, int64 [B].
        clipped: Potentials that exceed 24 bits, int64 [B].
    """

    wrapped: np.ndarray
    clipped: np.ndarray
    spikes: np.ndarray
    u: np.ndarray | None
    v: np.ndarray | None


def run(
    path: Path,
    inputs: np.ndarray,
    steps: int | None = None,
    *,
    graded: bool = False,
    states: bool = False,
    reset_interval: int | None = None,
    reset_offset: int = 0,
) -> list[Recording]:
    """Run B samples through a NetX file.

    Args:
        path: The file.
        inputs: Spikes [B, steps, *shape]; or, where the input layer has neurons, their bias
            [B, *shape].
        steps: Number of steps, for a network that is driven by biases.
        graded: Whether spikes are integers; otherwise every value but 0 is one spike.
        states: Whether to record u and v.
        reset_interval: Before step t = 1, 2, ..., layer i is set to 0 where
            t - 1 - i - reset_offset is a multiple of it.
        reset_offset: See there.

    Returns:
        One recording per layer with neurons.
    """
    inputs = np.asarray(inputs)
    layers = _read(path, len(inputs))
    driven = layers[0].kind == "input"
    if driven:
        layers[0].bias = 64 * inputs.astype(np.int16).astype(np.int64)
    for t in range(inputs.shape[1] if steps is None else steps):
        spikes = np.zeros(0) if driven else inputs[:, t].astype(np.int64)
        if not graded:
            spikes = (spikes != 0).astype(np.int64)
        for index, layer in enumerate(layers):
            if reset_interval and (t - index - reset_offset) % reset_interval == 0:
                layer.u[:] = layer.v[:] = 0
            spikes = layer.step(spikes)
    return [layer.recording(states) for layer in layers]


# ------------------------------------------------------------------------------------------ layers


@dataclass
class Layer:
    """Neurons of one layer and the synapses into them."""

    kind: str
    decays: tuple[int, int]
    threshold: int
    bias: np.ndarray
    u: np.ndarray
    v: np.ndarray
    conv: Conv | None = None
    dense: list[Dense] = field(default_factory=list)
    recurrent: Dense | None = None
    arriving: dict[int, np.ndarray] = field(default_factory=dict)
    now: int = 0
    wrapped: np.ndarray | int = 0
    clipped: np.ndarray | int = 0
    pending: np.ndarray | int = 0  # sums that exceed 24 bits and arrive at the next step
    history: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = field(default_factory=list)

    def step(self, incoming: np.ndarray) -> np.ndarray:
        """One step; spikes of this layer, given those of the layer before at the same step."""
        self.wrapped += self.pending
        current = self.arriving.pop(self.now, np.zeros_like(self.u))
        # AbstractPyLifModelFixed.subthr_dynamics, with its sums in 32 bits
        decayed = np.trunc(self.u * (4096 - self.decays[0]) / 4096).astype(np.int64)
        u = decayed + 64 * current
        self.wrapped += per_sample((u > 2**23) | (u <= -(2**23)))
        u = u.astype(np.int32).astype(np.int64)
        u = np.where(u > 2**23, u - 2**24, np.where(u <= -(2**23), u + 2**24, u))
        decayed = np.trunc(self.v * (4096 - self.decays[1]) / 4096).astype(np.int64)
        v = (decayed + u + self.bias).astype(np.int32).astype(np.int64)
        self.clipped += per_sample(np.abs(v) >= 2**23)
        v = np.minimum(np.maximum(v, -(2**23) + 1), 2**23 - 1)
        fired = v > 64 * self.threshold
        self.u, self.v = u, np.where(fired, 0, v)
        self.history.append((fired, self.u.copy(), self.v.copy()))
        if self.conv:
            current = self.conv.current(incoming)
            kept = (current + 2**23) % 2**24 - 2**23  # signed, 24 bits
            self.pending = per_sample(kept != current)
            self._arrive(0, kept)
        for part in self.dense:
            self._arrive(part.delay, part.current(incoming))
        if self.recurrent:
            self._arrive(0, self.recurrent.current(fired))
        self.now += 1
        return fired.astype(np.int64)

    def recording(self, states: bool) -> Recording:
        fired, u, v = (np.stack(parts, 1) for parts in zip(*self.history, strict=True))
        return Recording(
            self.wrapped, self.clipped, fired, u if states else None, v if states else None
        )

    def _arrive(self, delay: int, current: np.ndarray) -> None:
        step = self.now + 1 + delay
        self.arriving[step] = self.arriving.get(step, 0) + current


def per_sample(where: np.ndarray) -> np.ndarray:
    return where.sum(tuple(range(1, where.ndim)))


def _read(path: Path, batch: int) -> list[Layer]:
    """The layers that have neurons, at rest."""
    with h5py.File(path, "r") as file:
        groups = [file[f"layer/{i}"] for i in range(len(file["layer"]))]
        kinds = [bytes(group["type"][0]).decode() for group in groups]
        return [
            _layer(kind, group, batch)
            for kind, group in zip(kinds, groups, strict=True)
            if kind in ("conv", "dense", "dense_rec") or (kind == "input" and "neuron" in group)
        ]


def _layer(kind: str, group: h5py.Group, batch: int) -> Layer:
    shape = tuple(int(n) for n in group["shape"])
    shape = (int(np.prod(shape)),) if kind.startswith("dense") else shape
    bias = group["bias"][()].astype(np.int64) if "bias" in group else np.zeros(1, np.int64)
    bias = bias.astype(np.int16).astype(np.int64)  # 16 bits
    bias = bias.reshape(-1, 1, 1) if kind == "conv" and bias.ndim == 1 else bias
    decays, threshold = (0, 4096), 1 << 17  # a layer without neurons: hdf5.py, create_dense
    if "neuron" in group:
        decays = int(group["neuron/iDecay"][()]), int(group["neuron/vDecay"][()])
        threshold = int(group["neuron/vThMant"][()])
    zeros = np.zeros((batch, *shape), np.int64)
    layer = Layer(kind, decays, threshold, 64 * bias, zeros.copy(), zeros.copy())
    if kind == "conv":
        layer.conv = Conv.read(group, shape)
    elif kind.startswith("dense"):
        _connect(layer, group, shape[0])
    return layer


def _connect(layer: Layer, group: h5py.Group, units: int) -> None:
    """Dense synapses, one for each delay, and the recurrent one."""
    weight = group["weight"][()].astype(np.int64).reshape(units, -1)
    inputs = weight.shape[1]
    recurrent = "weight_rec" in group
    if recurrent:
        own = group["weight_rec"][()].astype(np.int64).reshape(units, -1)
        weight = np.hstack((weight, own))
    weight, bits, exponent = optimize_weight_bits(weight)
    forward = truncated(weight[:, :inputs], bits)
    if recurrent:
        layer.recurrent = Dense(truncated(weight[:, inputs:], bits), exponent)
    delay = np.zeros((units, inputs), np.int64)
    if "delay" in group:
        delay = group["delay"][()].clip(0, DELAY_MAX).astype(np.int64)
        if delay.shape == (units,):
            delay = delay[:, None]
        delay = np.broadcast_to(delay, (units, inputs))
    for steps in range(DELAY_MAX + 1):
        if (delay == steps).any():
            layer.dense.append(Dense(np.where(delay == steps, forward, 0), exponent, steps))


# ---------------------------------------------------------------------------------------- synapses


@dataclass
class Dense:
    """Dense synapse of prepared weights."""

    weight: np.ndarray
    exponent: int
    delay: int = 0

    def current(self, spikes: np.ndarray) -> np.ndarray:
        total = np.einsum("oi,bi->bo", self.weight, spikes.reshape(len(spikes), -1))
        return total << self.exponent if self.exponent > 0 else total >> -self.exponent


@dataclass
class Conv:
    """Convolution, one tap of the kernel and one group at a time."""

    weight: np.ndarray
    shape: tuple[int, ...]
    stride: tuple[int, int]
    padding: tuple[int, int]
    dilation: tuple[int, int]
    groups: int

    @classmethod
    def read(cls, group: h5py.Group, shape: tuple[int, ...]) -> Conv:
        weight = group["weight"][()].astype(np.int64)
        pairs = (
            tuple(int(n) for n in np.broadcast_to(group[name][()], 2))
            for name in ("stride", "padding", "dilation")
        )
        return cls(weight.reshape(weight.shape[:4]), shape, *pairs, int(group["groups"][()]))

    def current(self, spikes: np.ndarray) -> np.ndarray:
        total = np.zeros((len(spikes), *self.shape), np.int64)
        outputs, inputs, height, width = self.weight.shape
        outputs //= self.groups
        for y, x, i, j in np.ndindex(*self.shape[1:], height, width):
            row = y * self.stride[0] + i * self.dilation[0] - self.padding[0]
            column = x * self.stride[1] + j * self.dilation[1] - self.padding[1]
            if not (0 <= row < spikes.shape[2] and 0 <= column < spikes.shape[3]):
                continue
            for g in range(self.groups):
                seen = spikes[:, g * inputs : (g + 1) * inputs, row, column]
                taps = self.weight[g * outputs : (g + 1) * outputs, :, i, j]
                total[:, g * outputs : (g + 1) * outputs, y, x] += seen @ taps.T
        return total


def optimize_weight_bits(weight: np.ndarray) -> tuple[np.ndarray, int, int]:
    """`lava.lib.dl.netx.utils.optimize_weight_bits`: weights, bits and exponent."""
    if weight.max() > 254 and weight.min() < 0:
        weight = weight.clip(-256, 254)
    if weight.min() < -256 and weight.max() > 0:
        weight = weight.clip(-256, 254)
    largest, smallest = float(weight.max()), float(weight.min())
    is_signed = int(largest >= 0 > smallest)
    if largest < 0:
        scale = -256 / smallest
    elif smallest >= 0:
        scale = 255 / largest
    else:
        scale = min(127 / largest if largest else np.inf, -128 / smallest)
    scale_bits = int(np.floor(np.log2(scale))) + is_signed
    n = 8
    while n > 0 and np.abs(weight / 2**n - np.round(weight / 2**n)).sum() != 0:
        n -= 1
    n -= is_signed
    # NumPy's left shift by a negative number gives 0
    shifted = weight << scale_bits if scale_bits >= 0 else np.zeros_like(weight)
    return shifted, 8 - scale_bits - n, -scale_bits


def truncated(weight: np.ndarray, bits: int) -> np.ndarray:
    """`clip_weights` and `truncate_weights` of `lava.utils.weightutils`, for 8 bits."""
    excitatory, inhibitory = weight.min() >= 0, weight.min() < 0 and weight.max() <= 0
    mixed = not excitatory and not inhibitory
    weight = -weight if inhibitory else weight
    weight = weight.clip(-256 if mixed else 0, 255)
    cut = max(8 - bits + mixed, 0)
    weight = weight >> cut << cut
    return -weight if inhibitory else weight
