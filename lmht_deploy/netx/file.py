"""NetX HDF5 as lava-dl 0.6.0 reads it (`lava.lib.dl.netx.hdf5`), as plain data.

Layouts are the file's own: (C, H, W), weights in PyTorch's order. docs/netx.md describes the format.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

import h5py
import numpy as np

from lmht_deploy.errors import StorageError
from lmht_deploy.formats.files import hdf5_checksum, reading
from lmht_deploy.ir import Pair, Shape

MAX_DELAY = 62
STATE_ONE = 4096
"""Decay that forgets everything."""


@dataclass(frozen=True)
class CUBA:
    """Current-based leaky integrate-and-fire neurons with a hard reset, as on Loihi (there and in NetX also `LOIHI`).

    At every step, with the synaptic current a, trunc towards zero, u wrapped and v clipped at 24 bits:

        u = trunc(u · (4096 - current_decay) / 4096) + 64·a
        v = trunc(v · (4096 - voltage_decay) / 4096) + u + 64·bias
        spike where v > 64·threshold, and then v = 0
    """

    current_decay: int
    voltage_decay: int
    threshold: int


@dataclass(frozen=True)
class InputLayer:
    """Neurons (if any) of `shape` that are driven through their bias; a file's `weight` and `bias` turn pixels into it."""

    shape: Shape
    neurons: CUBA | None
    weight: int
    bias: int


@dataclass(frozen=True)
class Conv:
    """Convolution into neurons of `shape` (C, H, W): `weight` int64 [C_out, C_in/groups, kh, kw], `bias` int64 [C_out, 1, 1]."""

    shape: Shape
    neurons: CUBA
    weight: np.ndarray
    bias: np.ndarray
    stride: Pair
    padding: Pair
    dilation: Pair
    groups: int


@dataclass(frozen=True)
class Dense:
    """Dense synapse into neurons of `shape` (N,): `weight` int64 [N_out, N_in], `bias` int64 [N_out].

    delay       int64 [N_out, N_in]: steps beside the one that every synapse takes; None without
    recurrent   int64 [N_out, N_out] from the layer's own spikes; None without
    """

    shape: Shape
    neurons: CUBA
    weight: np.ndarray
    bias: np.ndarray
    delay: np.ndarray | None
    recurrent: np.ndarray | None


@dataclass(frozen=True)
class Flatten:
    """(C, H, W) -> (C·H·W,), in that order."""


Layer: TypeAlias = InputLayer | Conv | Dense | Flatten


@dataclass(frozen=True)
class Encoding:
    """How windows of a network enter a file that `lmht export --stock-exact` made of it, and what its layers are in the file.

    window   (T_in, ...) of a window of counts within min_value..max_value; it enters, `copies` times over, as one frame of graded spikes
    scale    real value of one unit of a logit
    layers   by layer of neurons in the file: the network's name of it, and how many neurons, the first ones, count as its own
    """

    window: Shape
    min_value: int
    max_value: int
    copies: int
    scale: float
    layers: tuple[tuple[str, int], ...]


@dataclass(frozen=True)
class Approximation:
    """How windows enter a file that `lmht export` made for its own Lava processes, where it is read as stock lava-dl reads it.

    window    (T_in, ...) of a window of counts within min_value..max_value; its step j enters at the first of the `substeps` of block j
    scale     real value of one unit of a logit
    """

    window: Shape
    min_value: int
    max_value: int
    substeps: int
    scale: float


@dataclass(frozen=True)
class NetX:
    """A chain of layers, the shape of what enters the first of them, and the `steps` of a sample, where the file says them."""

    layers: tuple[Layer, ...]
    input_shape: Shape
    steps: int | None = None
    encoding: Encoding | Approximation | None = None

    @property
    def spiking(self) -> tuple[InputLayer | Conv | Dense, ...]:
        """The layers that have neurons: those that lava-dl makes blocks of."""
        return tuple(
            layer
            for layer in self.layers
            if not isinstance(layer, Flatten) and layer.neurons is not None
        )


READOUT = CUBA(current_decay=0, voltage_decay=STATE_ONE, threshold=1 << 17)
"""What lava-dl takes for a dense layer without neurons: u integrates, v = u + bias never reaches the threshold."""


def load_netx(path: str | Path, layers: int | None = None) -> NetX:
    """Read the first `layers` layers (all by default) of the NetX file at `path`.

    Raises StorageError for a file that is missing or damaged, and, naming the layer, for what it may rightly hold but
    is not run here: sigma-delta and resonate-and-fire neurons, pooling, and all else that lava-dl 0.6 refuses or skips.
    """
    with reading(path, "a NetX file"), h5py.File(path, "r") as file:
        groups = file["layer"]
        count = len(groups) if layers is None else min(layers, len(groups))
        net = _chain(
            [_read(f"{path}: layer {index}", groups[str(index)]) for index in range(count)],
            str(path),
        )
        steps = int(_scalar(file["simulation/tSample"])) if "simulation/tSample" in file else None
        return dataclasses.replace(
            net, steps=steps, encoding=_encoding(file) if count == len(groups) else None
        )


def _encoding(file: h5py.File) -> Encoding | Approximation | None:
    if not {"lmht_exact", "lmht_steps"} & set(file.attrs):
        return None
    if file.attrs["checksum"] != hdf5_checksum(file):
        raise StorageError(
            f"{file.filename}: the checksum does not match the content; the file is damaged or was edited"
        )
    groups = [file["layer"][str(index)] for index in range(len(file["layer"]))]
    if "lmht_exact" not in file.attrs:
        first, scale = groups[0].attrs, float(groups[-1]["lmht_readout"].attrs["scale"])
        window = (int(first["lmht_steps"]), *_shape(groups[0]))
        return Approximation(
            window,
            int(first["lmht_min_value"]),
            int(first["lmht_max_value"]),
            int(file.attrs["lmht_substeps"]),
            scale,
        )
    low, high = (int(n) for n in file.attrs["lmht_range"])
    return Encoding(
        window=tuple(int(n) for n in file.attrs["lmht_window"]),
        min_value=low,
        max_value=high,
        copies=int(file.attrs["lmht_copies"]),
        scale=float(file.attrs["lmht_scale"]),
        layers=tuple(
            (g.attrs["lmht_name"], int(g.attrs["lmht_steps"]) * int(g.attrs["lmht_units"]))
            for g in groups
            if "neuron" in g
        ),
    )


def is_foreign(path: str | Path) -> bool:
    """Whether the NetX file at `path` was written by others than lmht-deploy. Raises StorageError where it cannot be read."""
    with reading(path, "a NetX file"), h5py.File(path, "r") as file:
        return "format" not in file.attrs


def _read(what: str, group: h5py.Group) -> Layer:
    kind = _text(group["type"])
    match kind:
        case "input":
            neurons = _neurons(what, group["neuron"]) if "neuron" in group else None
            weight, bias = (
                int(_scalar(group[key])) if key in group else default
                for key, default in (("weight", 64), ("bias", 0))
            )
            return InputLayer(_shape(group), neurons, weight, bias)
        case "conv":
            return _read_conv(what, group)
        case "dense" | "dense_rec":
            return _read_dense(what, group, kind)
        case "flatten":
            return Flatten()
    raise StorageError(
        f"{what} is of type {kind!r}; lava-dl 0.6 runs input, conv, dense, dense_rec and flatten"
    )


def _read_conv(what: str, group: h5py.Group) -> Conv:
    weight = _integers(group["weight"])
    shape = _shape(group)
    bias = _integers(group["bias"]) if "bias" in group else np.zeros(1, np.int64)
    return Conv(
        shape=shape,
        neurons=_neurons(what, group["neuron"]),
        weight=weight.reshape(weight.shape[:4]),
        bias=np.broadcast_to(bias.reshape(-1, 1, 1) if bias.ndim == 1 else bias, shape),
        stride=_pair(group["stride"]),
        padding=_pair(group["padding"]),
        dilation=_pair(group["dilation"]),
        groups=int(group["groups"][()]),
    )


def _read_dense(what: str, group: h5py.Group, kind: str) -> Dense:
    shape = (int(np.prod(group["shape"][()])),)
    weight = _integers(group["weight"]).reshape(shape[0], -1)
    recurrent = (
        _integers(group["weight_rec"]).reshape(shape[0], -1) if kind == "dense_rec" else None
    )
    if recurrent is not None and "delay" in group:
        raise StorageError(
            f"{what} is recurrent and has delays, for which lava-dl 0.6 forgets the weight exponent"
        )
    return Dense(
        shape=shape,
        neurons=_neurons(what, group["neuron"]) if "neuron" in group else READOUT,
        weight=weight,
        bias=np.broadcast_to(
            _integers(group["bias"]) if "bias" in group else np.zeros(1, np.int64), shape
        ),
        delay=_delay(what, group["delay"][()], weight.shape) if "delay" in group else None,
        recurrent=recurrent,
    )


def _neurons(what: str, group: h5py.Group) -> CUBA:
    kind = _text(group["type"])
    if kind not in ("LOIHI", "CUBA"):
        names = {"SDNN": "sigma-delta"}
        raise StorageError(
            f"{what} has {names.get(kind, 'resonate-and-fire' if 'RF' in kind else 'unknown')} neurons ({kind}); CUBA and LOIHI are run"
        )
    if "messageBits" in group:
        raise StorageError(
            f"{what} has graded spikes (neuron/messageBits), with which lava-dl 0.6 hangs"
        )
    decays = int(group["iDecay"][()]), int(group["vDecay"][()])
    if not all(0 <= decay <= STATE_ONE for decay in decays):
        raise StorageError(
            f"{what} has decays {decays[0]} and {decays[1]}; they are within 0..{STATE_ONE}"
        )
    return CUBA(*decays, int(group["vThMant"][()]))


def _delay(what: str, delay: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Delay of each synapse: one for all, one for each output (first choice) or each input, or as they are."""
    delay = np.clip(delay, 0, MAX_DELAY).astype(np.int64)
    if delay.ndim == 1 and len(delay) == shape[0]:
        delay = delay[:, None]
    elif delay.ndim == 1 and len(delay) != shape[1]:
        raise ValueError(f"{what}: {len(delay)} delays for weights of shape {shape}")
    return np.broadcast_to(delay, shape)


def _chain(layers: list[Layer], path: str) -> NetX:
    """Check that each layer takes what the one before gives."""
    first = layers[0] if layers else None
    shape = first.shape if isinstance(first, InputLayer) else None
    if shape is None:
        raise StorageError(
            f"{path}: does not begin with a layer of type input, which says what enters"
        )
    for index, layer in enumerate(layers):
        if not isinstance(layer, Flatten) and min(layer.shape, default=0) < 1:
            raise StorageError(
                f"{path}: layer {index} has the shape {layer.shape}, which has no places"
            )
    flat = first.neurons is None and isinstance(layers[1] if len(layers) > 1 else None, Flatten)  # type: ignore[union-attr]
    entrance = (int(np.prod(shape)),) if flat else shape
    for index, layer in enumerate(layers[1:], 1):
        match layer:
            case Flatten():
                shape = (int(np.prod(shape)),)
                continue
            case Conv():
                possible = (
                    min(*layer.stride, *layer.dilation, layer.groups) >= 1
                    and min(layer.padding) >= 0
                )
                fits = (
                    possible
                    and len(layer.weight) % layer.groups == 0
                    and len(shape) == 3
                    and shape[0] == layer.weight.shape[1] * layer.groups
                    and _conv_shape(layer, shape) == layer.shape
                )
            case Dense():
                fits = shape == (layer.weight.shape[1],)
            case _:
                fits = False
        if not fits:
            raise ValueError(f"layer {index} does not fit the shape {shape} before it")
        shape = layer.shape  # type: ignore[union-attr]
    return NetX(tuple(layers), entrance)


def _conv_shape(layer: Conv, shape: Shape) -> Shape:
    sizes = zip(
        shape[1:], layer.weight.shape[2:], layer.stride, layer.padding, layer.dilation, strict=True
    )
    return (len(layer.weight), *((n + 2 * p - d * (k - 1) - 1) // s + 1 for n, k, s, p, d in sizes))


def _text(data: h5py.Dataset) -> str:
    value = np.asarray(data[()]).ravel()[0]
    return value.decode("ascii") if isinstance(value, bytes) else str(value)


def _scalar(data: h5py.Dataset) -> float:
    return np.asarray(data[()]).ravel()[0]


def _integers(data: h5py.Dataset) -> np.ndarray:
    """As lava-dl has it: towards zero, where someone left fractions."""
    return data[()].astype(np.int64)


def _shape(group: h5py.Group) -> Shape:
    return tuple(int(n) for n in group["shape"])


def _pair(data: h5py.Dataset) -> Pair:
    value = np.broadcast_to(data[()], 2)
    return int(value[0]), int(value[1])
