"""Network -> `.onnx`: standard operators only, exact to the last integer on every conforming runtime (docs/onnx.md).

Every activation is a tensor of spike counts k [B, steps, P, C]: P places (H·W, or 1 in a flat layer), channels last. A
convolution is one Gather of rows (im2col) and one matrix product; steps are a batch dimension everywhere but in the
neurons, which are unrolled in time. The range of k alone chooses between two encodings of the product:

    0 <= k <= 128    MatMulInteger, uint8 x int8 -> int32 (above 128, x86 processors without VNNI saturate)
    any other        MatMul in float64: every partial sum is an integer below 2^31 (`Network.bounds`), hence exact

Currents and potentials are int32, as the bounds prove.
"""

from __future__ import annotations

import collections
import hashlib
import importlib.util
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import DTypeLike

from lmht_deploy.errors import ExportError
from lmht_deploy.formats.files import atomic_write
from lmht_deploy.ir import (
    INT32_MAX,
    LEAK_ONE,
    Conv,
    Flatten,
    Input,
    Layer,
    Linear,
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
from lmht_deploy.result import macs

if TYPE_CHECKING:
    import onnx

FORMAT = "lmht-deploy onnx"
VERSION = 1
OPSET = 17
IR_VERSION = 8
EXACT_UINT8 = 128
"""Largest k whose products with int8 are exact everywhere: VPMADDUBSW adds two of them in 16 bits, and 2·128·(-128) = -2^15."""
MAX_BYTES = 2_000_000_000
"""Constants that a file holds; a protocol buffer, nodes included, ends at 2^31 bytes."""


def export_onnx(net: Network, path: str | Path, *, trace: bool = False) -> None:
    """Write the integer network `net` to `path` (`.onnx`, opset 17, IR 8); the file appears whole or not at all.

    With `trace` the graph puts out k of every neuron layer too. Its inputs, outputs and metadata: docs/onnx.md. The same
    network gives the same bytes. Raises ExportError for a float network, for constants beyond 2 GB and where onnx is not
    installed; StorageError where `path` cannot be written.
    """
    if not net.integer:
        raise ExportError(
            "an .onnx file carries an integer network, and this one holds floats; quantise it first"
        )
    if importlib.util.find_spec("onnx") is None:
        raise ExportError("the package onnx is not installed; run: pip install 'lmht-deploy[onnx]'")
    content = _Exporter(net, trace).model().SerializeToString(deterministic=True)
    with atomic_write(path) as temporary:
        temporary.write_bytes(content + checksum(content))


def checksum(content: bytes) -> bytes:
    """What ends a file that starts with `content`: one more metadata property, the SHA-256 of all before it.

    Serialised messages may be put one after the other: their repeated fields, of which the metadata is one, then add up.
    """
    from onnx import ModelProto, helper

    end = ModelProto()
    helper.set_model_props(end, {"checksum": hashlib.sha256(content).hexdigest()})
    return end.SerializeToString()


# ------------------------------------------------------------------------------------------------ network


class _Exporter:
    """One walk over the layers of `net`; `k` holds the name of every layer's tensor."""

    def __init__(self, net: Network, trace: bool) -> None:
        self.net = net
        self.trace = trace
        self.g = _Graph()
        self.k: dict[str, str] = {}
        self._totals: dict[tuple[str, bool], str] = {}

    def model(self) -> onnx.ModelProto:
        for layer in self.net.layers:
            self.g.scope = layer.name
            if isinstance(layer, Readout):
                self._readout(layer)
            else:
                self.k[layer.name] = self._apply(layer)
            if isinstance(layer, Neurons | Readout):
                self._count(layer)
        return self.g.model(self._metadata())

    def _metadata(self) -> dict[str, str]:
        entrance = self.net.input
        return {
            "version": str(VERSION),
            "input": json.dumps(
                {
                    "kind": entrance.kind,
                    "min_value": entrance.min_value,
                    "max_value": entrance.max_value,
                }
            ),
            "scale": repr(self.net.readout.scale),
            "macs": json.dumps(macs(self.net)),
            "metadata": json.dumps(dict(self.net.metadata), sort_keys=True),
            "format": FORMAT,
        }

    def _apply(self, layer: Layer) -> str:
        """k [B, steps, P, C] of `layer`, in the dtype of its range."""
        match layer:
            case Input():
                return self._input(layer)
            case Neurons():
                k = self._neurons(layer, self._currents(layer))
                if self.trace:
                    self.g.output(
                        f"k/{layer.name}",
                        self._channels_first(k, layer.name),
                        _dtype(self._range(layer.name)),
                        self._shape(layer.name),
                    )
                return k
            case SumPool():
                taps = _taps(
                    self.net.shapes[layer.source], layer.kernel, layer.stride, layer.padding
                )
                return self._sum(
                    self._windows(layer.source, self.k[layer.source], taps),
                    3,
                    self._range(layer.name),
                )
            case MaxPool():
                taps = _taps(
                    self.net.shapes[layer.source],
                    layer.kernel,
                    layer.stride,
                    layer.padding,
                    nearest=True,
                )
                return self.g(
                    "ReduceMax",
                    self._windows(layer.source, self.k[layer.source], taps),
                    axes=[3],
                    keepdims=0,
                )
            case Flatten():
                k = self._channels_first(self.k[layer.source], layer.source)
                return self.g.reshape(k, 0, 0, 1, *self.net.shapes[layer.name])
        raise TypeError(f"unknown layer {layer!r}")

    def _input(self, layer: Input) -> str:
        dtype = _smallest(self._range(layer.name), np.uint8, np.int8, np.uint16, np.int16, np.int32)
        self.g.input("windows", dtype, ("batch", *self.net.window_shape))
        k = self.g.cast("windows", _dtype(self._range(layer.name)))
        places, channels = _places(layer.shape)
        if len(layer.shape) == 1:
            return self.g.reshape(k, 0, 0, 1, channels)
        return self.g("Transpose", self.g.reshape(k, 0, 0, channels, places), perm=[0, 1, 3, 2])

    def _readout(self, layer: Readout) -> None:
        current = self.g.cast(self._currents(layer), np.int64)
        self.g.output("logits", self.g.sum(current, 1, 2), np.int64, ("batch", self.net.classes))

    # -- places

    def _range(self, name: str) -> Pair:
        return self.net.ranges[name]

    def _shape(self, name: str) -> tuple[str | int, ...]:
        return ("batch", self.net.steps[name], *self.net.shapes[name])

    def _channels_first(self, k: str, name: str) -> str:
        """[B, steps, P, C] -> [B, steps, C, H, W] or [B, steps, N]."""
        shape = self.net.shapes[name]
        if len(shape) == 3:
            k = self.g("Transpose", k, perm=[0, 1, 3, 2])
        return self.g.reshape(k, 0, 0, *shape)

    def _windows(self, source: str, k: str, taps: np.ndarray) -> str:
        """[B, steps, P, C] -> [B, steps, P', taps, C]: what each place of a convolution or pooling sees; zeros beyond the border."""
        places, channels = _places(self.net.shapes[source])
        if (taps == places).any():
            k = self.g("Pad", k, self.g.constant(np.array([0, 0, 0, 0, 0, 0, 1, 0])))
        if not np.array_equal(taps[:, 0], np.arange(places)) or taps.shape[1] > 1:
            k = self.g("Gather", k, self.g.constant(taps.reshape(-1)), axis=2)
        return self.g.reshape(k, 0, 0, *taps.shape, channels)

    def _sum(self, k: str, axis: int, span: Pair) -> str:
        """Sum over one axis, in the dtype of its range; taken in int32 at least, for ONNX adds no smaller integers up."""
        wide = self.g.cast(k, np.promote_types(_dtype(span), np.int32))
        return self.g.cast(self.g.sum(wide, axis), _dtype(span))

    # -- synapses

    def _currents(self, layer: Neurons | Readout) -> str:
        """X [B, T_in, P, C], int32: the sum of a layer's synapses and its bias."""
        terms = [self._synapse(synapse) for synapse in layer.synapses]
        if layer.bias.any():
            terms.append(self.g.constant(layer.bias))
        total = terms[0]
        for term in terms[1:]:
            total = self.g("Add", total, term)
        return total

    def _synapse(self, synapse: Synapse) -> str:
        k, span = self._blocks(synapse.source)
        match synapse:
            case Scale():
                current = self.g(
                    "Mul",
                    self.g.cast(k, np.int32),
                    self.g.constant(synapse.weight.astype(np.int32)),
                )
            case Linear():
                current = self._product(k, synapse.weight.T, span)
            case Conv():
                current = self._convolution(synapse, k, span)
        return (
            self.g("Mul", current, self.g.constant(np.int32(2**synapse.exponent)))
            if synapse.exponent
            else current
        )

    def _blocks(self, source: str) -> tuple[str, Pair]:
        """k [B, T_in, P, C] as a synapse sees it, and its range: the sub-steps of a time-step are summed first."""
        substeps, (low, high) = self.net.substeps[source], self._range(source)
        if substeps == 1:
            return self.k[source], (low, high)
        span = (low * substeps, high * substeps)
        k = self.g.reshape(
            self.k[source], 0, self.net.blocks(source), substeps, *_places(self.net.shapes[source])
        )
        return self._sum(k, 2, span), span

    def _convolution(self, conv: Conv, k: str, span: Pair) -> str:
        """W ∗ k, int32 [B, T_in, P', C_out]; the groups of a convolution are one more batch dimension of the product."""
        shape, groups = self.net.shapes[conv.source], conv.groups
        taps = _taps(shape, conv.kernel, conv.stride, conv.padding, conv.dilation)
        (places, area), outputs = taps.shape, len(conv.weight)
        weight = (
            conv.weight.reshape(groups, outputs // groups, -1, area)
            .transpose(0, 3, 2, 1)
            .reshape(groups, -1, outputs // groups)
        )
        rows = self._windows(conv.source, k, taps)
        if groups == 1:
            return self._product(self.g.reshape(rows, 0, 0, places, -1), weight[0], span)
        rows = self.g.reshape(rows, 0, 0, places, area, groups, -1)
        rows = self.g.reshape(
            self.g("Transpose", rows, perm=[0, 1, 4, 2, 3, 5]), 0, 0, groups, places, -1
        )
        current = self.g("Transpose", self._product(rows, weight, span), perm=[0, 1, 3, 2, 4])
        return self.g.reshape(current, 0, 0, places, outputs)

    def _product(self, k: str, weight: np.ndarray, span: Pair) -> str:
        """k [..., P, N] @ weight (int8 [..., N, M]): int32 [..., P, M], exact for every k within `span`."""
        constant = self.g.constant(weight)
        if span[0] >= 0 and span[1] <= EXACT_UINT8:
            return self.g("MatMulInteger", k, constant)
        return self.g.cast(
            self.g("MatMul", self.g.cast(k, np.float64), self.g.cast(constant, np.float64)),
            np.int32,
        )

    # -- neurons

    def _neurons(self, layer: Neurons, current: str) -> str:
        """k [B, T·S, P, C] under the currents X [B, T_in, P, C], by the recurrence of docs/semantics.md.

        Any other exact form of the neurons (a counting form, for those that do not leak) belongs beside this one.
        """
        g = self.g
        drives = self._mix(layer, current)
        theta, levels = (
            g.constant(layer.threshold),
            g.constant(np.int32(min(layer.levels, INT32_MAX))),
        )
        v, spikes = g.constant(layer.v0), []
        for step in range(layer.steps):
            block, substep = divmod(step, layer.substeps)
            if (
                layer.leaks and substep == 0
            ):  # v·λq / 4096 has at most 45 bits: exact in float64, and Cast truncates
                v = g.cast(
                    g("Mul", g.cast(v, np.float64), g.constant(np.float64(layer.leak / LEAK_ONE))),
                    np.int32,
                )
            if layer.injection == "uniform" or substep == 0:
                v = g("Add", v, drives[block])
            k = g(
                "Clip", g("Div", v, theta), g.constant(np.int32(0)), levels
            )  # Div truncates: above the floor only where k is clipped to 0
            spikes.append(g.cast(k, _dtype(self._range(layer.name))))
            if step < layer.steps - 1:
                v = g("Sub", v, g("Mul", k, theta))
        return g("Concat", *spikes, axis=1)

    def _mix(self, layer: Neurons, current: str) -> list[str]:
        """I[t] = Σ_j Ω[t, j]·X[j] for t = 1..T, each [B, 1, P, C]."""
        steps = len(layer.omega)
        if not np.array_equal(layer.omega, np.eye(steps)):
            places, channels = _places(self.net.shapes[layer.name])
            flat = self.g.reshape(current, 0, 0, places * channels)
            current = self.g.reshape(
                self.g("MatMul", self.g.constant(layer.omega), flat), 0, 0, places, channels
            )
        return self.g.split(current, steps)

    # -- counting

    def _count(self, layer: Neurons | Readout) -> None:
        """Outputs int64 [B]: spikes and events of `layer`, SOPs of its synapses, by either count."""
        for spikes, sops, events in (("spikes", "sops", False), ("events", "event_sops", True)):
            if isinstance(layer, Neurons):
                self.g.output(
                    f"{spikes}/{layer.name}",
                    self.g.sum(self._total(layer.name, events), 1),
                    np.int64,
                    ("batch",),
                )
            self.g.output(
                f"{sops}/{layer.name}", self._crossed(layer, events), np.int64, ("batch",)
            )

    def _crossed(self, layer: Neurons | Readout, events: bool) -> str:
        """SOPs [B]: at every place, the spikes of all steps and channels, times the synapses that one of them crosses."""
        total = None
        for synapse in layer.synapses:
            if synapse.source in self.net.pixels:
                continue
            shape = self.net.shapes[synapse.source]
            fan_out = np.broadcast_to(synapse.fan_out(shape), (1, *shape[1:])).reshape(-1)
            crossed = self.g(
                "MatMul", self._total(synapse.source, events), self.g.constant(fan_out)
            )
            total = crossed if total is None else self.g("Add", total, crossed)
        return total or self.g.zeros()

    def _total(self, name: str, events: bool) -> str:
        """Spikes (or events: k != 0 counts 1) of a layer at each place, over all steps and channels: int64 [B, P]."""
        low, high = self._range(name)
        if events and low >= 0 and high <= 1:
            return self._total(name, False)
        if (name, events) not in self._totals:
            k, dtype = self.k[name], _dtype((low, high))
            if events:
                k, dtype, high = (
                    self.g.cast(self.g.cast(k, np.bool_), np.uint8),
                    np.dtype(np.uint8),
                    1,
                )
            channels = _places(self.net.shapes[name])[1]
            if (
                dtype == np.uint8 and channels * high <= INT32_MAX
            ):  # the fastest sum over channels; 2·255·1 saturates nowhere
                k = self.g("MatMulInteger", k, self.g.constant(np.ones((channels, 1), np.int8)))
            self._totals[name, events] = self.g.sum(self.g.cast(k, np.int64), 1, 3)
        return self._totals[name, events]


def _places(shape: Shape) -> Pair:
    """(P, C) of a layer of `shape` (C, H, W) or (N,)."""
    return (shape[1] * shape[2], shape[0]) if len(shape) == 3 else (1, shape[0])


def _dtype(span: Pair) -> np.dtype:
    """dtype of counts within `span`; more than 32 bits only where large counts are pooled."""
    return _smallest(span, np.uint8, np.int32, np.int64)


def _smallest(span: Pair, *dtypes: type[np.integer]) -> np.dtype:
    """The first of `dtypes` that holds `span`, else the last."""
    fitting = (
        dtype
        for dtype in dtypes
        if np.iinfo(dtype).min <= span[0] and span[1] <= np.iinfo(dtype).max
    )
    return np.dtype(next(fitting, dtypes[-1]))


def _taps(
    shape: Shape,
    kernel: Pair,
    stride: Pair,
    padding: Pair,
    dilation: Pair = (1, 1),
    nearest: bool = False,
) -> np.ndarray:
    """Index y·W + x of the place under every tap of every window, int32 [P', taps].

    Beyond the border it is H·W, or with `nearest` the nearest place, which belongs to the same window (a pooling is padded
    by half its kernel at most), so that a maximum does not see it.
    """
    rows, columns = (
        (
            np.arange(0, size + 2 * p - d * (k - 1), s)[:, None] + d * np.arange(k) - p
        )  # [outputs, taps] along one axis
        for size, k, s, p, d in zip(shape[1:], kernel, stride, padding, dilation, strict=True)
    )
    height, width = shape[1:]
    if nearest:
        rows, columns = rows.clip(0, height - 1), columns.clip(0, width - 1)
    inside = ((rows >= 0) & (rows < height))[:, None, :, None] & (
        (columns >= 0) & (columns < width)
    )[None, :, None, :]
    index = np.where(
        inside, rows[:, None, :, None] * width + columns[None, :, None, :], height * width
    )
    return index.reshape(len(rows) * len(columns), -1).astype(np.int32)


# ------------------------------------------------------------------------------------------------ graph


class _Graph:
    """ONNX graph under construction: nodes `<scope>/<operator>`, tensors `<node>:<i>`, every constant stored once.

    The colon, which no layer name holds, keeps tensors apart from the inputs and outputs of the graph.
    """

    def __init__(self) -> None:
        self.scope = ""
        self._nodes: list[onnx.NodeProto] = []
        self._constants: dict[tuple[str, tuple[int, ...], bytes], onnx.TensorProto] = {}
        self._inputs: list[onnx.ValueInfoProto] = []
        self._outputs: list[onnx.ValueInfoProto] = []
        self._names: collections.Counter[str] = collections.Counter()

    def __call__(self, operator: str, *inputs: str, **attributes: Any) -> str:
        """Append a node of one output; its tensor."""
        return self._node(operator, inputs, 1, **attributes)[0]

    def split(self, tensor: str, parts: int) -> list[str]:
        """Equal parts along axis 1."""
        return self._node("Split", [tensor], parts, axis=1)

    def cast(self, tensor: str, dtype: DTypeLike) -> str:
        from onnx import helper

        return self("Cast", tensor, to=helper.np_dtype_to_tensor_dtype(np.dtype(dtype)))

    def reshape(self, tensor: str, *shape: int) -> str:
        """`tensor` in `shape`, where 0 keeps a dimension and -1 is whatever is left."""
        return self("Reshape", tensor, self.constant(np.array(shape, np.int64)))

    def sum(self, tensor: str, *axes: int) -> str:
        return self("ReduceSum", tensor, self.constant(np.array(axes, np.int64)), keepdims=0)

    def zeros(self) -> str:
        """int64 zeros [B]."""
        from onnx import numpy_helper

        batch = self("Shape", self._inputs[0].name, start=0, end=1)
        return self("ConstantOfShape", batch, value=numpy_helper.from_array(np.zeros(1, np.int64)))

    def constant(self, values: np.ndarray | np.generic) -> str:
        from onnx import numpy_helper

        array = np.ascontiguousarray(values).reshape(np.shape(values))
        key = (array.dtype.str, array.shape, array.tobytes())
        if key not in self._constants:
            self._constants[key] = numpy_helper.from_array(
                array, f"{self.scope}/constant:{len(self._constants)}"
            )
        return self._constants[key].name

    def input(self, name: str, dtype: DTypeLike, shape: tuple[str | int, ...]) -> None:
        self._inputs.append(self._value(name, dtype, shape))

    def output(
        self, name: str, tensor: str, dtype: DTypeLike, shape: tuple[str | int, ...]
    ) -> None:
        """Put `tensor` out as `name`."""
        self._outputs.append(self._value(name, dtype, shape))
        self._node("Identity", [tensor], [name])

    def model(self, metadata: dict[str, str]) -> onnx.ModelProto:
        from onnx import helper

        size = sum(len(content) for _, _, content in self._constants)
        if size > MAX_BYTES:
            raise ExportError(
                f"weights and tables take {size} bytes; an .onnx file holds {MAX_BYTES}"
            )
        graph = helper.make_graph(
            self._nodes, "lmht-deploy", self._inputs, self._outputs, list(self._constants.values())
        )
        model = helper.make_model(
            graph,
            opset_imports=[helper.make_opsetid("", OPSET)],
            ir_version=IR_VERSION,
            producer_name="lmht-deploy",
        )
        helper.set_model_props(model, metadata)
        return model

    def _node(
        self, operator: str, inputs: Any, outputs: int | list[str], **attributes: Any
    ) -> list[str]:
        from onnx import helper

        name = f"{self.scope}/{operator}"
        self._names[name] += 1
        if self._names[name] > 1:
            name = f"{name}_{self._names[name]}"
        if isinstance(outputs, int):
            outputs = [f"{name}:{i}" for i in range(outputs)]
        self._nodes.append(
            helper.make_node(operator, list(inputs), outputs, name=name, **attributes)
        )
        return outputs

    @staticmethod
    def _value(name: str, dtype: DTypeLike, shape: tuple[str | int, ...]) -> onnx.ValueInfoProto:
        from onnx import helper

        return helper.make_tensor_value_info(
            name, helper.np_dtype_to_tensor_dtype(np.dtype(dtype)), shape
        )
