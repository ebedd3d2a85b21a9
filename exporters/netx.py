"""Network -> NetX HDF5 (`.net`): one file for two readers (docs/netx.md).

Stock lava-dl 0.6 finds a chain of `conv` and `dense` layers with hard-reset CUBA neurons: an approximation. The Lava
network of lmht-deploy finds, in groups and attributes that stock lava-dl ignores, what makes the same file exact.
Both read the same weights: exponents are shifted in, sum pooling is folded into the synapse after it.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path

import h5py
import numpy as np

from lmht_deploy.errors import ExportError
from lmht_deploy.formats.files import atomic_write, hdf5_checksum
from lmht_deploy.ir import (
    LEAK_ONE,
    Conv,
    Flatten,
    Input,
    Layer,
    MaxPool,
    Network,
    Neurons,
    Pair,
    Readout,
    Scale,
    Shape,
    SumPool,
    Synapse,
)
from lmht_deploy.result import synapse_macs

FORMAT = "lmht-deploy NetX"
VERSION = 1

STOCK_DENSE_WEIGHTS = (-256, 254)
"""Range to which lava-dl 0.6 clips the weights of a dense layer (lava.lib.dl.netx.utils.optimize_weight_bits)."""
STOCK_BIAS = 2**15 - 1
"""lava-nc 0.10 keeps the bias of a neuron in 16 bits."""
STOCK_THRESHOLD = 2**17 - 1
"""Largest `vThMant`: potentials have 24 bits, 6 of them below the unit of a weight."""


def export_netx(net: Network, path: str | Path, *, graded: bool = False) -> list[str]:
    """Write the integer network `net` to the NetX file `path`, whole or not at all; equal networks give equal bytes.

    Lava will run it with one threshold, L steps a time-step and one spike a step, or, `graded`, with spikes of k at
    once as Loihi 2 knows them, in 1/L of the steps.

    Returns one line for each thing in which a stock reader, lava-dl 0.6, silently differs by more than its hard
    reset; Lava as run by lmht-deploy is exact in all of them. Raises ExportError, naming the layer and a way out,
    for what the file cannot carry: float networks, max pooling, overlapping sum pooling under a padded convolution,
    several levels and sub-steps at once unless graded; StorageError where the file cannot be written.
    """
    if not net.integer:
        raise ExportError(
            "a NetX file holds integers, and this network is a float one; quantise it first"
        )
    warnings: list[str] = []
    layers = [
        _Layer.of(net, layer, graded)
        for layer in net.layers
        if isinstance(layer, Neurons | Readout)
    ]
    with atomic_write(path) as temporary, h5py.File(temporary, "w") as file:
        _Writer(net, layers, graded, file, warnings).write()
        file.attrs.update(
            format=FORMAT, version=VERSION, metadata=json.dumps(dict(net.metadata), sort_keys=True)
        )
        file.attrs["checksum"] = hdf5_checksum(file)
    return warnings


# ------------------------------------------------------------------------------------------------ folding


@dataclass(frozen=True)
class Folded:
    """A synapse that reads the neurons (or the input) `source` themselves: pooling, Flatten and exponent are in `weight`.

    weight   int64 [C_out, C_in/groups, kh, kw] (a convolution) or [N_out, N_in] (dense, N_in = C·H·W of the source)
    extent   rows and columns of the source that it reads; what lies beyond was outside every pooling window
    fan_out  int64, broadcasts to the source's shape: synapses that one spike crosses, counted before folding
    """

    source: str
    weight: np.ndarray
    fan_out: np.ndarray
    extent: Pair
    stride: Pair = (1, 1)
    padding: Pair = (0, 0)
    dilation: Pair = (1, 1)
    groups: int = 1


def fold(net: Network, layer: str, synapse: Synapse) -> Folded:
    """`synapse` of `layer` with every pooling and Flatten between it and the neurons it reads folded into its weights."""
    shape = net.shapes[synapse.source]
    weight = synapse.weight.astype(np.int64) << synapse.exponent
    folded = Folded(synapse.source, weight, synapse.fan_out(shape), _plane(shape))
    match synapse:
        case Conv():
            folded = replace(
                folded,
                stride=synapse.stride,
                padding=synapse.padding,
                dilation=synapse.dilation,
                groups=synapse.groups,
            )
        case Scale() if len(shape) == 3:
            folded = replace(folded, weight=weight[:, None, None, None], groups=shape[0])
        case Scale():
            folded = replace(folded, weight=np.diag(weight))
    dense = folded.weight.ndim == 2
    while not isinstance(source := net[folded.source], Input | Neurons):
        folded = _step_back(net, layer, folded, source, dense)
    return replace(folded, weight=folded.weight.reshape(len(weight), -1)) if dense else folded


def _step_back(net: Network, layer: str, folded: Folded, source: Layer, dense: bool) -> Folded:
    """`folded` as it reads what `source`, a pooling or a Flatten, reads."""
    match source:
        case Flatten():
            shape = net.shapes[source.source]
            fan_out = np.broadcast_to(folded.fan_out, net.shapes[source.name]).reshape(shape)
            return replace(
                folded,
                source=source.source,
                weight=folded.weight.reshape(-1, *shape),
                fan_out=fan_out,
                extent=_plane(shape),
            )
        case SumPool():
            shape = net.shapes[source.source]
            pooled = net.shapes[source.name]
            fan_out = unpool(
                np.broadcast_to(folded.fan_out, (len(folded.fan_out), *pooled[1:])),
                source,
                _plane(shape),
            )
            if dense:
                weight = unpool(folded.weight, source, _plane(shape))
                return replace(
                    folded,
                    source=source.source,
                    weight=weight,
                    fan_out=fan_out,
                    extent=_plane(shape),
                )
            return replace(
                _under_convolution(layer, folded, source, _plane(shape)), fan_out=fan_out
            )
        case MaxPool():
            raise ExportError(
                f"layer {layer!r} reads the max pooling {source.name!r}, for which NetX has no layer; "
                f"train with average pooling or with a convolution of stride {source.stride} in its place"
            )
    raise TypeError(f"unknown layer {source!r}")


def _under_convolution(layer: str, folded: Folded, pool: SumPool, plane: Pair) -> Folded:
    """A convolution over `pool` as one convolution: taps spread by the pooling's stride, each the size of its window."""
    kernel = _dilated(folded.weight, folded.dilation)
    spread: Pair = tuple(
        r * (n - 1) + k for n, k, r in zip(kernel.shape[2:], pool.kernel, pool.stride, strict=True)
    )  # type: ignore[assignment]
    axes = zip(
        plane, folded.extent, folded.padding, pool.kernel, pool.stride, pool.padding, strict=True
    )
    extent = tuple(_extent(layer, pool.name, *axis) for axis in axes)
    return replace(
        folded,
        source=pool.source,
        weight=unpool(kernel, replace(pool, padding=(0, 0)), spread),
        extent=extent,  # type: ignore[arg-type]
        stride=tuple(r * s for r, s in zip(pool.stride, folded.stride, strict=True)),  # type: ignore[arg-type]
        padding=tuple(
            r * p + q for r, p, q in zip(pool.stride, folded.padding, pool.padding, strict=True)
        ),  # type: ignore[arg-type]
        dilation=(1, 1),
    )


def _extent(
    layer: str,
    pool: str,
    size: int,
    extent: int,
    padding: int,
    kernel: int,
    stride: int,
    pool_padding: int,
) -> int:
    """How many of `size` places count, along one axis, for a convolution that reads the first `extent` outputs of `pool`.

    What such a convolution pads with zeros is, once folded, a pooling window that does not exist. Where windows do not
    overlap, places under such windows are left out; where they do, those places count under other windows, too.
    """
    outputs = (size + 2 * pool_padding - kernel) // stride + 1
    if padding == 0 and extent == outputs:
        return size
    if kernel <= stride:
        return min(size, stride * (extent - 1) + kernel - pool_padding)
    if kernel - stride - pool_padding >= 1 or stride * extent - pool_padding < size:
        raise ExportError(
            f"layer {layer!r} convolves, with padding, the overlapping sum pooling {pool!r}, which no single convolution equals at the border; "
            "use a pooling whose stride is its kernel, or no padding after it"
        )
    return size


def unpool(values: np.ndarray, pool: SumPool, plane: Pair) -> np.ndarray:
    """Adjoint of a sum pooling: each of `values` [..., H', W'] added to every place of its window; int64 [..., H, W]."""
    (kh, kw), (sh, sw), (ph, pw) = pool.kernel, pool.stride, pool.padding
    h, w = values.shape[-2:]
    out = np.zeros(
        (
            *values.shape[:-2],
            max(plane[0] + 2 * ph, sh * (h - 1) + kh),
            max(plane[1] + 2 * pw, sw * (w - 1) + kw),
        ),
        np.int64,
    )
    for i in range(kh):
        for j in range(kw):
            out[..., i : i + sh * (h - 1) + 1 : sh, j : j + sw * (w - 1) + 1 : sw] += values
    return out[..., ph : ph + plane[0], pw : pw + plane[1]]


def _dilated(weight: np.ndarray, dilation: Pair) -> np.ndarray:
    """Kernel with the zeros of its dilation written out."""
    (dh, dw), (kh, kw) = dilation, weight.shape[2:]
    out = np.zeros((*weight.shape[:2], dh * (kh - 1) + 1, dw * (kw - 1) + 1), weight.dtype)
    out[..., ::dh, ::dw] = weight
    return out


def _plane(shape: Shape) -> Pair:
    """Rows and columns of a layer; a flat one is a row of its own for each neuron."""
    return (shape[1], shape[2]) if len(shape) == 3 else (1, 1)


# ------------------------------------------------------------------------------------------------ the file


@dataclass(frozen=True)
class _Layer:
    """A layer with synapses, folded."""

    layer: Neurons | Readout
    synapses: tuple[Folded, ...]
    macs: tuple[int, ...]
    """of each synapse, a window: what it does counts as MACs where it reads pixels; 0 where it reads spikes"""

    @classmethod
    def of(cls, net: Network, layer: Neurons | Readout, graded: bool) -> _Layer:
        if isinstance(layer, Neurons) and layer.levels > 1 and layer.substeps > 1 and not graded:
            raise ExportError(
                f"layer {layer.name!r} has {layer.levels} levels and {layer.substeps} sub-steps at once; export it with graded spikes"
            )
        return cls(
            layer,
            tuple(fold(net, layer.name, synapse) for synapse in layer.synapses),
            tuple(synapse_macs(net, synapse) for synapse in layer.synapses),
        )


class _Writer:
    """Writes layer after layer; `index` is where each source stands in the file."""

    def __init__(
        self, net: Network, layers: list[_Layer], graded: bool, file: h5py.File, warnings: list[str]
    ) -> None:
        self.net, self.layers, self.graded, self.file, self.warnings = (
            net,
            layers,
            graded,
            file,
            warnings,
        )
        self.steps = max(net.input.steps, *(layer.omega.shape[0] for layer in net.neurons), 1)
        self.substeps = max(
            (layer.substeps * (1 if graded else layer.levels) for layer in net.neurons), default=1
        )
        self.index: dict[str, int] = {}
        self.previous = net.input.name

    def write(self) -> None:
        net = self.net
        self.file.attrs.update(
            lmht_steps=self.steps, lmht_substeps=self.substeps, lmht_graded=self.graded
        )
        self._data(self.file, "simulation/Ts", 1)
        self._data(self.file, "simulation/tSample", self.steps * self.substeps)
        group = self._layer("input", net.input.name, net.input.shape)
        group.attrs.update(
            lmht_steps=net.input.steps,
            lmht_min_value=net.input.min_value,
            lmht_max_value=net.input.max_value,
            lmht_kind=net.input.kind,
        )
        for layer in self.layers:
            self._synaptic(layer)
            self.previous = layer.layer.name

    # -- layers

    def _synaptic(self, entry: _Layer) -> None:
        layer, shape = entry.layer, self.net.shapes[entry.layer.name]
        main = self._main(entry)
        dense = entry.synapses[main].weight.ndim == 2
        if dense and len(self.net.shapes[entry.synapses[main].source]) == 3:
            self._layer("flatten", None, (1, 1, entry.synapses[main].weight.shape[1]))
        group = self._layer("dense" if dense else "conv", layer.name, shape)
        self._synapse(group, entry.synapses[main], entry.macs[main])
        for number, other in enumerate(i for i in range(len(entry.synapses)) if i != main):
            self._synapse(
                group.create_group(f"lmht_skip/{number}"), entry.synapses[other], entry.macs[other]
            )
        if isinstance(layer, Neurons):
            self._neurons(group, layer)
        else:
            self._readout(group, layer)
        self._warn(entry, main)

    def _main(self, entry: _Layer) -> int:
        """The synapse that a stock reader sees: the first from the layer before, as NetX knows chains only."""
        return next(
            (i for i, synapse in enumerate(entry.synapses) if synapse.source == self.previous), 0
        )

    def _layer(self, kind: str, name: str | None, shape: Shape) -> h5py.Group:
        number = len(self.file["layer"]) if "layer" in self.file else 0
        group = self.file.create_group(f"layer/{number}")
        self._data(group, "type", np.array([kind.encode()], "S10"))
        self._data(group, "shape", np.array(shape, np.int64))
        if name is not None:
            self.index[name] = number
            group.attrs["lmht_name"] = name
        return group

    def _synapse(self, group: h5py.Group, synapse: Folded, macs: int) -> None:
        group.attrs.update(
            lmht_from=self.index[synapse.source], lmht_extent=synapse.extent, lmht_macs=macs
        )
        self._data(group, "lmht_fanOut", synapse.fan_out)
        self._data(group, "weight", synapse.weight.astype(np.int32))
        if synapse.weight.ndim == 2:
            self._data(group, "outFeatures", synapse.weight.shape[0])
            self._data(group, "inFeatures", synapse.weight.shape[1])
            return
        self._data(group, "inChannels", synapse.weight.shape[1] * synapse.groups)
        self._data(group, "outChannels", synapse.weight.shape[0])
        self._data(group, "kernelSize", np.array(synapse.weight.shape[2:]))
        for key in ("stride", "padding", "dilation"):
            self._data(group, key, np.array(getattr(synapse, key)))
        self._data(group, "groups", synapse.groups)

    def _neurons(self, group: h5py.Group, layer: Neurons) -> None:
        """`neuron`: the stock approximation; `neuron/lmht`: the neurons."""
        blocks = layer.omega.shape[1]
        gain = (
            float(layer.omega.sum())
            * (layer.substeps if layer.injection == "uniform" else 1)
            / blocks
        )
        threshold = float(np.median(layer.threshold)) / gain if gain > 0 else STOCK_THRESHOLD
        neuron = group.create_group("neuron")
        neuron.create_dataset("type", data="CUBA", track_times=False)
        # iDecay 4096: a current lasts one step. vThMant: the current that makes one spike, over the T-GIM's gain; `>` for `>=`.
        values = {
            "iDecay": 4096,
            "vDecay": 0,
            "vThMant": int(np.clip(round(threshold) - 1, 0, STOCK_THRESHOLD)),
            "refDelay": 1,
            "gradedSpike": False,
        }
        for key, value in values.items():
            self._data(neuron, key, value)
        self._bias(group, layer, layer.bias * blocks / (self.steps * self.substeps))
        lmht = neuron.create_group("lmht")
        lmht.attrs["injection"] = layer.injection
        scalars = {
            "levels": layer.levels,
            "substeps": layer.substeps,
            "steps": layer.omega.shape[0],
            "leak": layer.leak,
            "leakBits": LEAK_ONE.bit_length() - 1,
        }
        arrays = {
            "omega": layer.omega,
            "theta": layer.threshold,
            "bias": layer.bias,
            "vInit": layer.v0,
        }
        for key, data in {**scalars, **arrays}.items():
            self._data(lmht, key, data)
        if gain <= 0:
            self._stock(
                layer,
                f"its T-GIM sums to {gain:g}, for which no CUBA threshold stands: its neurons stay silent",
            )
        elif threshold > STOCK_THRESHOLD:
            self._stock(
                layer,
                f"its threshold of {threshold:.0f} is beyond the 24 bits of a potential: its neurons fire too often",
            )

    def _readout(self, group: h5py.Group, layer: Readout) -> None:
        """No `neuron`: for stock lava-dl an integrator that never fires, whose potential / 64 is the logit."""
        steps = self.net.blocks(layer.synapses[0].source)
        self._bias(group, layer, layer.bias.astype(np.int64) * steps)
        lmht = group.create_group("lmht_readout")
        lmht.attrs["scale"] = layer.scale
        self._data(lmht, "steps", steps)
        self._data(lmht, "bias", layer.bias)

    def _bias(self, group: h5py.Group, layer: Layer, bias: np.ndarray) -> None:
        """Stock bias, which acts at every step."""
        rounded = np.rint(bias).astype(np.int64)
        if np.abs(rounded).max() > STOCK_BIAS:
            self._stock(
                layer,
                f"its bias of up to {np.abs(rounded).max()} a step does not fit 16 bits and is clipped",
            )
        self._data(group, "bias", np.clip(rounded, -STOCK_BIAS, STOCK_BIAS).astype(np.int32))

    def _data(self, group: h5py.Group, name: str, value: object) -> None:
        array = np.asarray(value)
        packed = {"compression": "gzip", "shuffle": True} if array.size > 64 else {}
        group.create_dataset(name, data=array, track_times=False, **packed)

    # -- what a stock reader gets wrong

    def _stock(self, layer: Layer, what: str) -> None:
        self.warnings.append(f"layer {layer.name!r} in stock lava-dl: {what}")

    def _warn(self, entry: _Layer, main: int) -> None:
        layer, synapse = entry.layer, entry.synapses[main]
        if synapse.source != self.previous:
            self._stock(
                layer,
                f"it is fed by {self.previous!r}, not by {synapse.source!r}: NetX knows chains only",
            )
        if len(entry.synapses) > 1:
            self._stock(
                layer,
                f"{len(entry.synapses) - 1} of its {len(entry.synapses)} synapses are dropped: NetX has no residual sums",
            )
        if any(
            isinstance(self.net[original.source], SumPool) for original in layer.synapses
        ) and synapse.extent != _plane(self.net.shapes[synapse.source]):
            self._stock(
                layer,
                f"it also reads rows or columns beyond {synapse.extent}, which its sum pooling leaves out",
            )
        if synapse.weight.ndim == 2:
            low, high = STOCK_DENSE_WEIGHTS
            if not synapse.weight.any():
                self._stock(
                    layer, "the file does not load: its dense weights are all zero (OverflowError)"
                )
            elif synapse.weight.min() < low or synapse.weight.max() > high:
                self._stock(
                    layer,
                    f"its dense weights {synapse.weight.min()}..{synapse.weight.max()} are clipped to {low}..{high}",
                )
        if isinstance(layer, Neurons):
            self._warn_neurons(layer)

    def _warn_neurons(self, layer: Neurons) -> None:
        if layer.threshold.max() > 2 * layer.threshold.min():
            self._stock(
                layer,
                f"its thresholds {layer.threshold.min()}..{layer.threshold.max()} become one, their median",
            )
        if self.graded and layer.levels > 1:
            self._stock(
                layer, f"it fires at most once where its graded spikes count up to {layer.levels}"
            )
        if layer.leaks:
            self._stock(layer, f"its leak of {layer.leak}/{LEAK_ONE} a time-step is left out")
