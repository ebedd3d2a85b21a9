"""NetX files as lava-dl 0.6.0 reads them (`lava.lib.dl.netx.hdf5`): records and reader.

Layouts are those of the file: (C, H, W), weights in PyTorch's order.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from math import prod
from pathlib import Path
from typing import TypeAlias

import h5py
import numpy as np

from lmht_deploy.errors import StorageError, show
from lmht_deploy.formats.hdf5 import reading_hdf5
from lmht_deploy.formats.schema import Field
from lmht_deploy.ir import Pair, Shape

from . import _identity as identity
from . import exact, keys, network
from ._records import has

MAX_SIGMA_DELTA_THRESHOLD = 2**19 - 1
"""States of sigma-delta neurons have 32 bits, 12 of them below the unit of a value."""


@dataclass(frozen=True)
class CUBA:
    """Current-based leaky integrate-and-fire neurons with a hard reset, as on Loihi.

    At every step, with the synaptic current a:

        u = trunc(u * (4096 - current_decay) / 4096) + 64*a              wrapped at 24 bits
        v = trunc(v * (4096 - voltage_decay) / 4096) + u + 64*bias       clipped to 24 bits
        the neuron fires where v > 64*threshold; then v = 0

    `trunc` rounds toward zero. NetX calls these neurons `CUBA` or `LOIHI`.

    Attributes:
        current_decay: Loss of the current per step, in units of 1/4096.
        voltage_decay: Loss of the potential per step, in units of 1/4096.
        threshold: Threshold, in units of a weight.
    """

    current_decay: int
    voltage_decay: int
    threshold: int


@dataclass(frozen=True)
class SigmaDelta:
    """Sigma-delta neurons: they send messages where an activation changes.

    At every step, with the synaptic current a:

        sigma   = sigma + a
        act'    = max(sigma + 4096*bias, 0)
        delta   = act' - act + residue;  act = act'
        message = delta where |delta| >= 4096*threshold, otherwise 0
        residue = delta - message

    A message is sent in units of 1/64, rounded down; a state has units of 1/4096. In the input
    layer act' is 4096 times the input value. With `sigma_output` the message is sigma, at every
    step. NetX calls these neurons `SDNN`.

    Attributes:
        threshold: Threshold, in units of a value.
        sigma_output: Whether they send the sum of all currents.
    """

    threshold: int
    sigma_output: bool = False


READOUT = CUBA(current_decay=0, voltage_decay=keys.STATE_ONE, threshold=1 << 17)
"""Neurons that lava-dl gives a dense layer without any: u integrates, and v = u + bias never
reaches the threshold."""


@dataclass(frozen=True)
class NetXInput:
    """Input layer. CUBA neurons are driven by their bias, sigma-delta neurons by values.

    Attributes:
        shape: Shape, (C, H, W) or (N,).
        neurons: The neurons, or None where spikes enter.
        weight: Factor by which a caller turns pixels into biases.
        bias: Summand by which a caller turns pixels into biases.
    """

    shape: Shape
    neurons: CUBA | SigmaDelta | None
    weight: int
    bias: int


@dataclass(frozen=True)
class NetXConv:
    """Convolution into neurons.

    Attributes:
        shape: Shape of the output, (C, H, W).
        neurons: The neurons.
        weight: int64 [C_out, C_in/groups, kh, kw].
        bias: int64, of the output's shape.
        stride: (vertical, horizontal).
        padding: (vertical, horizontal).
        dilation: (vertical, horizontal).
        groups: Number of groups.
    """

    shape: Shape
    neurons: CUBA | SigmaDelta
    weight: np.ndarray
    bias: np.ndarray
    stride: Pair
    padding: Pair
    dilation: Pair
    groups: int


@dataclass(frozen=True)
class NetXDense:
    """Dense synapse into neurons.

    Attributes:
        shape: Shape of the output, (N,).
        neurons: The neurons.
        weight: int64 [N_out, N_in].
        bias: int64 [N_out].
        delay: Steps in addition to the one of every synapse, int64 [N_out, N_in]; or None.
        recurrent: Weights from the layer's own spikes, int64 [N_out, N_out]; or None.
    """

    shape: Shape
    neurons: CUBA | SigmaDelta
    weight: np.ndarray
    bias: np.ndarray
    delay: np.ndarray | None
    recurrent: np.ndarray | None


@dataclass(frozen=True)
class NetXFlatten:
    """(C, H, W) -> (C·H·W,), in that order."""


@dataclass(frozen=True)
class NetXAverage:
    """Mean of groups of consecutive neurons, the last layer; lava-dl itself does not run it.

    Attributes:
        shape: (N,), the number of groups.
    """

    shape: Shape


NetXLayer: TypeAlias = NetXInput | NetXConv | NetXDense | NetXFlatten | NetXAverage

INT32 = 2.0**31
"""Weights, biases and delays lie below it."""


@dataclass(frozen=True)
class ExactEncoding:
    """How windows of an LM-HT network enter its stock-exact file, and where its layers are.

    Attributes:
        window: Shape of one window, (T_in, ...).
        min_value: Smallest input value.
        max_value: Largest input value.
        copies: How many times the flattened window enters, as one frame of graded spikes.
        token: Whether a channel of ones follows.
        scale: Real value of one unit of a logit.
        layers: Per layer with neurons of the network: its position among the layers of the file
            that have neurons, its name in the network, and how many neurons count.
    """

    window: Shape
    min_value: int
    max_value: int
    copies: int
    token: bool
    scale: float
    layers: tuple[tuple[int, str, int], ...]


@dataclass(frozen=True)
class StockEncoding:
    """How windows of an LM-HT network enter its file where stock lava-dl approximates it.

    Attributes:
        window: Shape of one window, (T_in, ...).
        min_value: Smallest input value.
        max_value: Largest input value.
        substeps: Lava steps per block; input step j enters at the first step of block j.
        scale: Real value of one unit of a logit.
    """

    window: Shape
    min_value: int
    max_value: int
    substeps: int
    scale: float


@dataclass(frozen=True)
class NetX:
    """A chain of layers.

    Attributes:
        layers: The layers, the input first.
        input_shape: Shape of one step of the input.
        steps: Steps of one sample, where the file states them.
        encoding: How windows enter, where the file is an exported LM-HT network.
        metadata: Provenance of the network, text by key; empty for files of other tools.
    """

    layers: tuple[NetXLayer, ...]
    input_shape: Shape
    steps: int | None = None
    encoding: ExactEncoding | StockEncoding | None = None
    metadata: Mapping[str, str] = field(default_factory=dict)

    @property
    def spiking(self) -> tuple[NetXInput | NetXConv | NetXDense, ...]:
        """The layers that have neurons."""
        return tuple(
            layer
            for layer in self.layers
            if not isinstance(layer, NetXFlatten | NetXAverage) and layer.neurons is not None
        )

    @property
    def driven(self) -> bool:
        """Whether biases of the input layer's neurons drive the network, not spikes or values."""
        first = self.spiking[0]
        return isinstance(first, NetXInput) and isinstance(first.neurons, CUBA)

    @property
    def encodes(self) -> bool:
        """Whether sigma-delta neurons of the input layer encode values."""
        first = self.spiking[0]
        return isinstance(first, NetXInput) and isinstance(first.neurons, SigmaDelta)

    @property
    def groups(self) -> int | None:
        """Number of groups whose neurons an `average` layer at the end averages."""
        last = self.layers[-1]
        return last.shape[0] if isinstance(last, NetXAverage) else None


def load_netx(path: str | Path, layers: int | None = None) -> NetX:
    """Read a NetX file of any tool, as stock lava-dl reads it.

    Args:
        path: The file.
        layers: Number of layers to read, from the first on; None for all.

    Raises:
        StorageError: The file is missing or damaged, or holds what is not run here:
            resonate-and-fire neurons, pooling, and everything else that lava-dl 0.6 refuses or
            skips. The message names the layer. Or `layers` is no number.
    """
    if layers is not None and (not isinstance(layers, int) or layers < 1):
        raise StorageError(f"{path}: the number of layers must be at least 1, not {layers!r}")
    with reading_hdf5(path, "a NetX file") as file:
        groups = file[keys.LAYERS]
        count = len(groups) if layers is None else min(layers, len(groups))
        chain = [_read_layer(f"{path}: layer {i}", groups[str(i)]) for i in range(count)]
        encoding = _read_encoding(file) if count == len(groups) else None
        return dataclasses.replace(
            _chain(chain, str(path)),
            steps=_steps(file),
            encoding=encoding,
            metadata=identity.read_metadata(file),
        )


def is_foreign(path: str | Path) -> bool:
    """Return whether a NetX file is for stock neurons only.

    True for files of other tools and for stock-exact files; False for the files of LM-HT
    networks, which the Lava processes of lmht-deploy run exactly.

    Raises:
        StorageError: The file cannot be read.
    """
    with reading_hdf5(path, "a NetX file") as file:
        return identity.format_of(file) in (None, exact.FORMAT)


# ------------------------------------------------------------------------------------ whole file


def _steps(file: h5py.File) -> int | None:
    group = file.get(keys.SIMULATION, {})
    name = keys.SAMPLE_STEPS.name
    if name not in group:
        return None
    steps = _scalar(group[name])
    if not 1 <= steps <= keys.MAX_STEPS:
        raise StorageError(
            f"{file.filename}: {keys.SIMULATION}/{name} is {steps:g}; a sample has 1 to "
            f"{keys.MAX_STEPS} steps"
        )
    return int(steps)


def _read_encoding(file: h5py.File) -> ExactEncoding | StockEncoding | None:
    """Return how windows enter a file of lmht-deploy; None for files of other tools."""
    match identity.format_of(file):
        case exact.FORMAT:
            return _exact_encoding(exact.parse_exact(file))
        case network.FORMAT:
            return _stock_encoding(network.parse_network(file))
    return None


def _exact_encoding(content: exact.ExactFile) -> ExactEncoding:
    return ExactEncoding(
        window=content.window,
        min_value=content.input_range[0],
        max_value=content.input_range[1],
        copies=content.copies,
        token=bool(content.token),
        scale=content.scale,
        layers=tuple(
            (position, layer.name or "", layer.own)
            for position, layer in enumerate(content.layers[1:])
            if layer.own
        ),
    )


def _stock_encoding(content: network.NetworkFile) -> StockEncoding:
    return StockEncoding(
        window=content.window_shape,
        min_value=content.input.min_value,
        max_value=content.input.max_value,
        substeps=content.substeps,
        scale=content.readout.scale,
    )


def _chain(layers: list[NetXLayer], path: str) -> NetX:
    """Check that each layer accepts the output of the layer before it."""
    entry = shape = _entry_shape(layers, path)
    for index, layer in enumerate(layers):
        if not isinstance(layer, NetXFlatten) and min(layer.shape, default=0) < 1:
            raise StorageError(f"{path}: layer {index} has the shape {layer.shape}, which is empty")
    for index, layer in enumerate(layers):
        if index == 0 and isinstance(layer, NetXInput):
            continue
        if not _fits(layer, shape):
            raise StorageError(f"{path}: layer {index} does not fit the shape {shape} before it")
        if isinstance(layer, NetXAverage) and index < len(layers) - 1:
            raise StorageError(f"{path}: layer {index} averages, and is not the last layer")
        shape = (prod(shape),) if isinstance(layer, NetXFlatten) else layer.shape
    first = layers[0]
    flat = isinstance(first, NetXInput) and first.neurons is None and len(layers) > 1
    flat = flat and isinstance(layers[1], NetXFlatten)
    return NetX(tuple(layers), (prod(entry),) if flat else entry)


def _entry_shape(layers: list[NetXLayer], path: str) -> Shape:
    """Return the shape of what enters; where no input layer states it, a dense layer does."""
    for layer in layers:
        if isinstance(layer, NetXInput):
            return layer.shape
        if isinstance(layer, NetXDense):
            return (layer.weight.shape[1],)
        if isinstance(layer, NetXConv):
            break
    raise StorageError(
        f"{path}: begins neither with an input layer nor with a dense layer; what enters a "
        "convolution has no known size"
    )


def _fits(layer: NetXLayer, shape: Shape) -> bool:
    """Return whether `layer` accepts an input of `shape`."""
    match layer:
        case NetXFlatten():
            return True
        case NetXAverage():
            return prod(shape) % layer.shape[0] == 0
        case NetXDense():
            return shape == (layer.weight.shape[1],)
        case NetXConv():
            return (
                min(*layer.stride, *layer.dilation, layer.groups) >= 1
                and min(layer.padding) >= 0
                and len(layer.weight) % layer.groups == 0
                and len(shape) == 3
                and shape[0] == layer.weight.shape[1] * layer.groups
                and _conv_shape(layer, shape) == layer.shape
            )
    return False


def _conv_shape(layer: NetXConv, shape: Shape) -> Shape:
    sizes = zip(
        shape[1:], layer.weight.shape[2:], layer.stride, layer.padding, layer.dilation, strict=True
    )
    return (len(layer.weight), *((n + 2 * p - d * (k - 1) - 1) // s + 1 for n, k, s, p, d in sizes))


# ------------------------------------------------------------------------------------ one layer


def _read_layer(what: str, group: h5py.Group) -> NetXLayer:
    kind = _text(_data(group, keys.TYPE))
    match kind:
        case keys.INPUT:
            return _read_input(what, group)
        case keys.CONV:
            return _read_conv(what, group)
        case keys.DENSE | keys.RECURRENT:
            return _read_dense(what, group, kind)
        case keys.FLATTEN:
            return NetXFlatten()
        case keys.AVERAGE:
            return NetXAverage((prod(_shape(group)),))
    raise StorageError(
        f"{what} is of type {show(kind)}; "
        "input, conv, dense, dense_rec, flatten and average are run"
    )


def _read_input(what: str, group: h5py.Group) -> NetXInput:
    return NetXInput(
        shape=_shape(group),
        neurons=_read_neurons(what, group[keys.NEURON]) if keys.NEURON in group else None,
        weight=int(_scalar(_data(group, keys.WEIGHT))) if has(group, keys.WEIGHT) else 64,
        bias=int(_scalar(_data(group, keys.BIAS))) if has(group, keys.BIAS) else 0,
    )


def _read_conv(what: str, group: h5py.Group) -> NetXConv:
    weight = _integers(what, group, keys.WEIGHT)
    shape, bias = _shape(group), _bias(what, group)
    found = NetXConv(
        shape=shape,
        neurons=_read_neurons(what, group[keys.NEURON]),
        weight=weight.reshape(weight.shape[:4]),
        bias=np.broadcast_to(bias.reshape(-1, 1, 1) if bias.ndim == 1 else bias, shape),
        stride=_pair(_data(group, keys.STRIDE)),
        padding=_pair(_data(group, keys.PADDING)),
        dilation=_pair(_data(group, keys.DILATION)),
        groups=int(_data(group, keys.GROUPS)),
    )
    largest = max(*found.stride, *found.padding, *found.dilation, found.groups)
    if (largest := max(largest, *found.weight.shape[2:])) > keys.MAX_GEOMETRY:
        raise StorageError(
            f"{what} has a kernel size, stride, padding, dilation or groups of {largest}; lava-nc "
            f"0.10 keeps them in 8 bits, up to {keys.MAX_GEOMETRY}"
        )
    return found


def _read_dense(what: str, group: h5py.Group, kind: str) -> NetXDense:
    shape = (int(np.prod(_shape(group))),)
    weight = _integers(what, group, keys.WEIGHT).reshape(shape[0], -1)
    recurrent = None
    if kind == keys.RECURRENT:
        recurrent = _integers(what, group, keys.RECURRENT_WEIGHT).reshape(shape[0], -1)
    delayed = has(group, keys.DELAY)
    if recurrent is not None and recurrent.shape != (shape[0], shape[0]):
        raise StorageError(
            f"{what}: its recurrent weight has the shape {list(recurrent.shape)}, not "
            f"{[shape[0], shape[0]]}"
        )
    if recurrent is not None and delayed:
        raise StorageError(
            f"{what} is recurrent and has delays, for which lava-dl 0.6 loses the weight exponent"
        )
    neurons = _read_neurons(what, group[keys.NEURON]) if keys.NEURON in group else READOUT
    if recurrent is not None and isinstance(neurons, SigmaDelta):
        raise StorageError(f"{what} is recurrent and has sigma-delta neurons; CUBA neurons are run")
    if not weight.any() and (recurrent is None or not recurrent.any()):
        raise StorageError(f"{what} has weights that are all zero, which lava-dl 0.6 does not load")
    return NetXDense(
        shape=shape,
        neurons=neurons,
        weight=weight,
        bias=np.broadcast_to(_bias(what, group), shape),
        delay=_delay(what, _integers(what, group, keys.DELAY), weight.shape) if delayed else None,
        recurrent=recurrent,
    )


def _read_neurons(what: str, group: h5py.Group) -> CUBA | SigmaDelta:
    kind = _text(_data(group, keys.NEURON_TYPE))
    if kind not in (*keys.CUBA_TYPES, keys.SIGMA_DELTA_TYPE):
        name = "resonate-and-fire" if "RF" in kind else "unknown"
        raise StorageError(
            f"{what} has {name} neurons ({show(kind)[1:-1]}); CUBA, LOIHI and SDNN neurons are run"
        )
    if has(group, keys.MESSAGE_BITS):
        raise StorageError(
            f"{what} has graded spikes (neuron/messageBits), with which lava-dl 0.6 hangs"
        )
    if kind == keys.SIGMA_DELTA_TYPE:
        return _read_sigma_delta(what, group)
    current, voltage = (int(_data(group, key)) for key in (keys.CURRENT_DECAY, keys.VOLTAGE_DECAY))
    if not (0 <= current <= keys.STATE_ONE and 0 <= voltage <= keys.STATE_ONE):
        raise StorageError(
            f"{what} has decays {current} and {voltage}; they must lie within 0..{keys.STATE_ONE}"
        )
    return CUBA(current, voltage, int(_data(group, keys.THRESHOLD)))


def _read_sigma_delta(what: str, group: h5py.Group) -> SigmaDelta:
    function = _text(_data(group, keys.ACTIVATION)) if has(group, keys.ACTIVATION) else "relu"
    if function != "relu":
        raise StorageError(
            f"{what} has sigma-delta neurons with the activation {show(function)}; lava-dl 0.6 "
            "runs relu only"
        )
    threshold = int(_data(group, keys.THRESHOLD))
    if not 0 <= threshold <= MAX_SIGMA_DELTA_THRESHOLD:
        raise StorageError(
            f"{what} has the threshold {threshold}; that of sigma-delta neurons lies within "
            f"0..{MAX_SIGMA_DELTA_THRESHOLD}"
        )
    sigma_output = has(group, keys.SIGMA_OUTPUT)
    if sigma_output and has(group.parent, keys.BIAS):
        raise StorageError(
            f"{what} has a sigma output with a bias, which lava-dl 0.6 does not load"
        )
    return SigmaDelta(threshold, sigma_output)


def _delay(what: str, delay: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Delay of each synapse, from one value, one per output (first choice) or one per input."""
    delay = np.clip(delay, 0, keys.MAX_DELAY)
    if delay.ndim == 1 and len(delay) == shape[0]:
        delay = delay[:, None]
    elif delay.ndim == 1 and len(delay) != shape[1]:
        raise StorageError(f"{what} has {len(delay)} delays for weights of shape {shape}")
    return np.broadcast_to(delay, shape)


# ------------------------------------------------------------------------------------- one value


def _data(group: h5py.Group, key: Field) -> np.ndarray:
    return np.asarray(group[key.name][()])


def _text(data: np.ndarray) -> str:
    value = data.ravel()[0]
    return value.decode("ascii") if isinstance(value, bytes) else str(value)


def _scalar(data: np.ndarray | h5py.Dataset) -> float:
    return float(np.asarray(data[()]).ravel()[0])


def _integers(what: str, group: h5py.Group, key: Field) -> np.ndarray:
    """Read numbers and cut fractions, as lava-dl does."""
    data = _data(group, key)
    if data.dtype.kind not in "biuf" or not np.all((data > -INT32) & (data < INT32)):
        raise StorageError(f"{what}: {key.name!r} holds what is not a number of at most 32 bits")
    return data.astype(np.int64)


def _bias(what: str, group: h5py.Group) -> np.ndarray:
    return _integers(what, group, keys.BIAS) if has(group, keys.BIAS) else np.zeros(1, np.int64)


def _shape(group: h5py.Group) -> Shape:
    return tuple(int(n) for n in _data(group, keys.SHAPE))


def _pair(data: np.ndarray) -> Pair:
    value = np.broadcast_to(data, 2)
    return int(value[0]), int(value[1])
