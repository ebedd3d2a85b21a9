"""The graph of a network, layer by layer: its inputs, outputs and counts.

Each layer is a `Train` of spikes. Layers of neurons take the fastest encoding that is proved for
them: counts (`_counting`) or potentials (`_potential`).
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from lmht_deploy.formats._onnx_network import describe
from lmht_deploy.formats.lmht import network_checksum
from lmht_deploy.formats.onnx import (
    LOGITS,
    NEXT_STATE,
    SCALE,
    STATE,
    TRACE,
    WINDOWS,
    Properties,
    output_name,
)
from lmht_deploy.ir import (
    INT32_MAX,
    Flatten,
    Input,
    Layer,
    MaxPool,
    Network,
    Neurons,
    Readout,
    Shape,
    SumPool,
)
from lmht_deploy.result import macs

from ._counting import Plan, count, plan
from ._graph import Graph
from ._potential import integrate
from ._products import Counts, Current, current, pixels_of, taps_of, tiled, total, windows
from ._streams import Unit, max_calls, step_network
from ._trains import Blocks, Form, Mapped, Stacked, Train, count_dtype, smallest

if TYPE_CHECKING:
    import onnx

MAX_UINT8 = 255
MAX_AREA = 16
"""Largest area of a pooling that is gathered at once."""
COUNTED = "Counts"
"""Part of a layer that counts spikes and SOPs."""


def _scope(layer: Layer) -> str:
    """Return the part of a layer that is no synapse and counts nothing."""
    return f"{layer.name}/{type(layer).__name__}"


class Exporter:
    """Builds the graph of a network.

    Args:
        net: The network.
        trace: Whether to output the spikes of every neuron layer.
        counts: Whether to output the numbers of spikes and operations.
        scale: Whether to output the real value of one unit of a logit.
        portable: Whether to avoid arithmetic on uint8 and float64.
        openvino: Whether to avoid float64, and to write products for OpenVINO.
        stream: What part of a stream the graph takes, with potentials as inputs and outputs; None
            for windows that begin at v0.
    """

    def __init__(
        self,
        net: Network,
        *,
        trace: bool,
        counts: bool,
        scale: bool,
        portable: bool,
        openvino: bool,
        stream: Unit | None,
    ) -> None:
        self.whole, self.net = net, step_network(net) if stream == "step" else net
        self.trace, self.counts, self.stream = trace, counts, stream
        self.scale, self.g = scale, Graph(portable, openvino)
        self._spare: dict[str, int] = {}
        self._trains: dict[str, Train] = {}
        self._blocks: dict[str, Train] = {}
        self._totals: dict[tuple[str, bool], str] = {}

    def model(self, data: str) -> tuple[onnx.ModelProto, list[bytes]]:
        """Return the model, and the parts of the file of its weights if it is too large.

        Args:
            data: Name of the file of weights.
        """
        for layer in self.net.layers:
            self.g.scope = _scope(layer)
            if isinstance(layer, Readout):
                self._readout(layer)
            else:
                self._trains[layer.name] = self._apply(layer)
            if isinstance(layer, Neurons | Readout):
                self._outputs(layer)
        if self.scale:
            scale = self.g.constant(np.float64(self.net.readout.scale), "scale")
            self.g.output(SCALE, scale, np.float64, ())
        return self.g.model(self._properties, data)

    def _properties(self, data_sha256: str) -> dict[str, str]:
        entry = self.net.input
        return Properties(
            kind=entry.kind,
            min_value=entry.min_value,
            max_value=entry.max_value,
            scale=self.net.readout.scale,
            macs=macs(self.net),
            metadata=self.net.metadata,
            sha256=network_checksum(self.whole),
            network=describe(self.whole),
            magnitude=self.g.magnitude,
            widest=self.g.widest,
            max_calls=self._max_calls(),
            data_sha256=data_sha256,
        ).encode()

    def _max_calls(self) -> int:
        """Return the number of calls that are proved: at least those of one window."""
        if self.stream is None:
            return 0
        calls = self.whole.input.steps if self.stream == "step" else 1
        return max(calls, max_calls(self.net, self._spare))

    # -- layers

    def _apply(self, layer: Layer) -> Train:
        match layer:
            case Input():
                return self._input(layer)
            case Neurons():
                return self._neurons(layer)
            case SumPool():
                return self._sum_pool(layer)
            case MaxPool():
                return self._max_pool(layer)
            case Flatten():
                return self._flatten(layer)
        raise TypeError(f"unknown layer {layer!r}")

    def _input(self, layer: Input) -> Train:
        g, span = self.g, self.net.ranges[layer.name]
        dtype = smallest(span, np.uint8, np.int8, np.uint16, np.int16, np.int32)
        g.input(WINDOWS, dtype, ("batch", *self.net.window_shape))
        pixels, channels = pixels_of(layer.shape)
        k = g.convert(WINDOWS, dtype, count_dtype(span))
        k = g.reshape(k, 0, 0, channels, pixels)
        return Stacked(g, layer.steps, span, g("Transpose", k, perm=[0, 1, 3, 2]))

    def _neurons(self, layer: Neurons) -> Train:
        shape, bounds = self.net.shapes[layer.name], self.net.bounds[layer.name]
        chosen = self._plan(layer)
        state = self._state(layer) if self.stream else None
        if chosen is None:
            summed = self._current(layer, "k", None, bounds.current)
            train, v = integrate(self.g, layer, summed, shape, bounds, state)
        else:
            summed = self._current(layer, chosen.form, chosen.columns, chosen.bound)
            train, v = count(self.g, layer, chosen, summed, shape, state)
            self._spare[layer.name] = chosen.bound
        if self.stream:
            self._next_state(layer, v)
        return train

    def _state(self, layer: Neurons) -> str:
        """Add the potentials of a layer as an input."""
        pixels, channels = pixels_of(self.net.shapes[layer.name])
        name = output_name(STATE, layer.name)
        self.g.input(name, np.int32, ("batch", pixels, channels))
        return self.g.reshape(name, 0, 1, pixels, channels)

    def _next_state(self, layer: Neurons, v: str) -> None:
        """Output the potentials at the end of the call."""
        pixels, channels = pixels_of(self.net.shapes[layer.name])
        v = self.g.reshape(v, 0, pixels, channels)
        name = output_name(NEXT_STATE, layer.name)
        self.g.output(name, v, np.int32, ("batch", pixels, channels))

    def _plan(self, layer: Neurons) -> Plan | None:
        """Return the plan for N where counts stay small, otherwise for k; None for potentials."""
        trains = [self._block(synapse.source) for synapse in layer.synapses]
        small = all(
            train.span("N")[1] <= MAX_UINT8 or synapse.source in self.net.inputs
            for train, synapse in zip(trains, layer.synapses, strict=True)
        )
        bound = self.net.bounds[layer.name].current
        found = plan(layer, "N", bound * trains[0].steps) if small else None
        found = found or plan(layer, "k", bound)
        if found and self.stream and not self._fits(layer, found):
            return None
        return found

    def _fits(self, layer: Neurons, chosen: Plan) -> bool:
        """Whether int32 holds the sum of a carried potential and the sums of a call."""
        start = int(np.abs(layer.v0.astype(np.int64)).max())
        return chosen.bound + self.whole.bounds[layer.name].potential + start <= INT32_MAX

    def _readout(self, layer: Readout) -> None:
        """Output Σ_j X[j], which is the product with N[T_in], or the sum of products with k."""
        g, steps = self.g, self._block(layer.synapses[0].source).steps
        bound = self.net.bounds[layer.name].current
        if bound * steps <= INT32_MAX:
            summed = self._current(layer, "N", (steps - 1,), bound * steps)
        else:
            summed = self._current(layer, "k", None, bound)
        logits = g.sum(g.cast(summed.tensor, np.int64), 1, 2)
        g.reach(bound * steps)
        if layer.bias.any():
            logits = g("Add", logits, g.constant(layer.bias.astype(np.int64) * steps, "bias"))
        g.output(LOGITS, logits, np.int64, ("batch", self.net.classes))

    def _current(
        self, layer: Neurons | Readout, form: Form, steps: tuple[int, ...] | None, bound: int
    ) -> Current:
        """Return the sums of the synapses of a layer at some steps, without bias."""
        currents = []
        for index, synapse in enumerate(layer.synapses):
            with self.g.within(f"{layer.name}/{type(synapse).__name__}{index}"):
                counts = self._counts(synapse.source, form, steps)
                currents.append(current(self.g, synapse, counts, f"weight{index}"))
        return total(self.g, currents, bound)

    # -- trains

    def _block(self, source: str) -> Train:
        """Return the spikes of a layer per time-step."""
        substeps = self.net.substeps[source]
        if substeps == 1:
            return self._trains[source]
        if source not in self._blocks:
            self._blocks[source] = Blocks(self._trains[source], substeps)
        return self._blocks[source]

    def _counts(self, source: str, form: Form, steps: tuple[int, ...] | None) -> Counts:
        train = self._block(source)
        self.g.reach(max(map(abs, train.span(form))))
        return Counts(
            tensor=train.stack(form, steps),
            dtype=train.dtype(form),
            span=train.span(form),
            steps=train.steps if steps is None else len(steps),
            shape=self.net.shapes[source],
        )

    def _sum_pool(self, layer: SumPool) -> Train:
        def function(k: str, before: np.dtype, after: np.dtype) -> str:
            # ONNX sums int32 and larger types only
            wide = np.promote_types(after, np.int32)
            k = self._pool(
                layer,
                self.g.convert(k, before, wide),
                wide.itemsize,
                lambda rows: self.g.sum(rows, 3),
                nearest=False,
            )
            return self.g.convert(k, wide, after)

        return Mapped(self._trains[layer.source], self.net.ranges[layer.name], function)

    def _max_pool(self, layer: MaxPool) -> Train:
        source = self._trains[layer.source]
        k = self._pool(
            layer,
            source.stack("k"),
            source.dtype("k").itemsize,
            lambda rows: self.g("ReduceMax", rows, axes=[3], keepdims=0),
            nearest=True,
        )
        return Stacked(self.g, source.steps, source.range, k)

    def _flatten(self, layer: Flatten) -> Train:
        shape, source = self.net.shapes[layer.source], self._trains[layer.source]

        def function(k: str, before: np.dtype, after: np.dtype) -> str:
            return self.g.reshape(self._channels_first(k, shape), 0, 0, 1, -1)

        return Mapped(source, source.range, function)

    def _pool(
        self,
        layer: SumPool | MaxPool,
        k: str,
        itemsize: int,
        reduce: Callable[[str], str],
        *,
        nearest: bool,
    ) -> str:
        """Reduce [B, n, P, C] over the windows of a pooling; large ones along x, then along y."""
        channels, *size = self.net.shapes[layer.source]
        row_bytes = self.net.steps[layer.source] * channels * itemsize
        fields = zip(layer.kernel, layer.stride, layer.padding, strict=True)
        (ky, sy, py), (kx, sx, px) = fields
        stages = [((ky, kx), (sy, sx), (py, px))]
        if ky * kx > MAX_AREA:
            stages = [((1, kx), (1, sx), (0, px)), ((ky, 1), (sy, 1), (py, 0))]
        for kernel, stride, padding in stages:
            shape = (channels, *size)
            taps = taps_of(shape, kernel, stride, padding, nearest=nearest)
            k = tiled(self.g, taps, row_bytes, partial(self._reduced, k, shape, reduce))
            size = [
                (n + 2 * p - m) // s + 1
                for n, m, s, p in zip(size, kernel, stride, padding, strict=True)
            ]
        return k

    def _reduced(self, k: str, shape: Shape, reduce: Callable[[str], str], taps: np.ndarray) -> str:
        return reduce(windows(self.g, k, shape, taps))

    def _channels_first(self, k: str, shape: Shape) -> str:
        """Convert [B, n, P, C] to [B, n, C, H, W] or [B, n, N]."""
        if len(shape) == 3:
            k = self.g("Transpose", k, perm=[0, 1, 3, 2])
        return self.g.reshape(k, 0, 0, *shape)

    # -- outputs

    def _outputs(self, layer: Neurons | Readout) -> None:
        """Output the spikes of `layer` if asked for, and its counts."""
        if self.trace and isinstance(layer, Neurons):
            train, shape = self._trains[layer.name], self.net.shapes[layer.name]
            spikes = self._channels_first(train.stack("k"), shape)
            sizes: tuple[str | int, ...] = ("batch", train.steps, *shape)
            self.g.output(output_name(TRACE, layer.name), spikes, train.dtype("k"), sizes)
        if self.counts:
            with self.g.within(f"{layer.name}/{COUNTED}"):
                self._count(layer)

    def _count(self, layer: Neurons | Readout) -> None:
        """Output spikes and events of `layer` and the SOPs of its synapses by either, int64 [B]."""
        for spikes, sops, events in (("spikes", "sops", False), ("events", "event_sops", True)):
            if isinstance(layer, Neurons):
                self._output_count(spikes, layer, self.g.sum(self._total(layer.name, events), 1))
            self._output_count(sops, layer, self._crossed(layer, events))

    def _output_count(self, kind: str, layer: Neurons | Readout, tensor: str) -> None:
        self.g.output(output_name(kind, layer.name), tensor, np.int64, ("batch",))

    def _crossed(self, layer: Neurons | Readout, events: bool) -> str:
        """Return SOPs [B]: spikes per pixel times the synapses that one of them crosses."""
        total = None
        for synapse in layer.synapses:
            if synapse.source in self.net.pixels:
                continue
            shape = self.net.shapes[synapse.source]
            fan_out = np.broadcast_to(synapse.fan_out(shape), (1, *shape[1:])).reshape(-1)
            spikes = self._total(synapse.source, events)
            divisor = np.gcd.reduce(fan_out)  # keeps the sums of runtimes in float32 small
            fan_out = fan_out // max(divisor, 1)
            crossed = self.g("MatMul", spikes, self.g.constant(fan_out, "fan_out"))
            crossed = self.g("Mul", crossed, self.g.constant(divisor, "divisor"))
            total = crossed if total is None else self.g("Add", total, crossed)
        return total or self.g.zeros()

    def _total(self, name: str, events: bool) -> str:
        """Return the spikes of a layer per pixel, summed over steps and channels; int64 [B, P].

        With `events`, every k != 0 counts once.
        """
        low, high = self.net.ranges[name]
        if events and low >= 0 and high <= 1:
            return self._total(name, False)
        if (name, events) not in self._totals:
            with self.g.within(f"{name}/{COUNTED}"):
                self._totals[name, events] = self._events(name) if events else self._spikes(name)
        return self._totals[name, events]

    def _spikes(self, name: str) -> str:
        train = self._trains[name]
        last = train.stack("N", (train.steps - 1,))
        return self._over_channels(name, last, train.dtype("N"), train.span("N")[1])

    def _events(self, name: str) -> str:
        k = self.g.cast(self.g.cast(self._trains[name].stack("k"), np.bool_), np.uint8)
        return self._over_channels(name, k, np.dtype(np.uint8), 1)

    def _over_channels(self, name: str, k: str, dtype: np.dtype, high: int) -> str:
        """Sum k [B, n, P, C] over steps and channels; int64 [B, P]."""
        channels = pixels_of(self.net.shapes[name])[1]
        self.g.reach(channels * high * self._trains[name].steps)
        # the fastest sum over channels; 2 * 255 * 1 does not saturate
        if dtype == np.uint8 and channels * high <= INT32_MAX:
            ones = self.g.constant(np.ones((channels, 1), np.int8), "ones")
            k = self.g("MatMulInteger", k, ones)
        return self.g.sum(self.g.cast(k, np.int64), 1, 3)
