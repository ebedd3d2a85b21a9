"""The deployable network: layers in topological order, checked when it is built."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from math import prod
from typing import NamedTuple, TypeVar, get_args

from lmht_deploy.errors import LmhtError, NetworkError, show

from . import _checks as checks
from ._checks import INT32_MAX
from .bounds import Bounds, prove
from .layers import Flatten, Input, Layer, MaxPool, Neurons, Readout, SumPool, sources
from .records import Pair, Record, Shape
from .synapses import Linear

MAX_COUNT = 2**53
"""Largest spike count per time-step; pooling can add counts without any weight that limits them."""

WINDOW_STEPS = "window_steps"
"""Key of the metadata: number of steps of a window, of which the network reads the first ones."""

Value = TypeVar("Value", int, Shape)


class _Output(NamedTuple):
    """What the network derives for a layer; see the attributes of `Network`."""

    shape: Shape
    steps: int
    substeps: int
    range: Pair


@dataclass(frozen=True, eq=False)
class Network(Record):
    """Directed acyclic graph of layers, from one `Input` to one `Readout`:

        Input                      integers k[j], j = 1..T_in   (event counts, or pixels)
        Neurons                    spikes k[t], t = 1..T        (LM-HT neurons)
        SumPool, MaxPool, Flatten                               (functions of k)
        Readout                    logits                       (synapses without neurons)

    Layers exchange spike counts k, never amplitudes: the threshold of the previous layer and the
    divisor of an average pooling are part of the weights. Float and integer networks therefore
    have the same structure. They differ in the dtype of their arrays and in the unit of the leak.

    A network is immutable and valid: every shape, number of steps and range is checked when it is
    built, and for an integer network the proof that 32-bit accumulators suffice is made.

    Attributes:
        layers: Layers in topological order.
        metadata: Provenance, text by key; stored and exported with the network. `classes` holds
            the names of the classes as a JSON array, `window` the window rule that the network was
            trained on (`lmht_deploy.events.WindowRule.to_text`), and `window_steps` the number of
            steps of such a window, if the network reads only the first ones.
        shapes: Shape of the output of each layer by name, without batch and steps.
        steps: Number of output steps of each layer by name, sub-steps included.
        substeps: S, number of sub-steps per time-step of the output of each layer by name.
        ranges: Smallest and largest k of a step of each layer by name.
        bounds: Proved bounds of each layer with synapses by name; empty for a float network.

    Raises:
        NetworkError: If a layer does not fit; the message names it.
    """

    layers: tuple[Layer, ...]
    metadata: Mapping[str, str] = field(default_factory=dict)
    shapes: dict[str, Shape] = field(init=False, repr=False, default_factory=dict)
    steps: dict[str, int] = field(init=False, repr=False, default_factory=dict)
    substeps: dict[str, int] = field(init=False, repr=False, default_factory=dict)
    ranges: dict[str, Pair] = field(init=False, repr=False, default_factory=dict)
    bounds: dict[str, Bounds] = field(init=False, repr=False, default_factory=dict)

    def __post_init__(self) -> None:
        layers = checks.members("layers of a network", self.layers, get_args(Layer))
        self._set(layers=layers, metadata=_metadata(self.metadata))
        _check_ends(layers)
        for layer in layers:
            if layer.name in self.shapes:
                raise NetworkError(f"two layers are named {layer.name!r}")
            self._derive(layer)
        read = {source for layer in layers for source in sources(layer)}
        for layer in layers[:-1]:
            if layer.name not in read:
                raise NetworkError(f"nothing reads layer {layer.name!r}")

    def __repr__(self) -> str:
        """Return one line per layer: its name, type, output shape and steps, and what it reads."""
        return "\n".join(["Network(", *map(self._line, self.layers), ")"])

    def _line(self, layer: Layer) -> str:
        read = ", ".join(dict.fromkeys(sources(layer)))
        shape = "x".join(map(str, self.shapes[layer.name]))
        steps = "" if isinstance(layer, Readout) else f", {self.steps[layer.name]} steps"
        given = f" <- {read}" if read else ""
        return f"  ({layer.name}): {type(layer).__name__} {shape}{steps}{given}"

    # ---------------------------------------------------------------------------------- parts

    @property
    def input(self) -> Input:
        """First layer."""
        return self.layers[0]  # type: ignore[return-value]

    @property
    def readout(self) -> Readout:
        """Last layer."""
        return self.layers[-1]  # type: ignore[return-value]

    @cached_property
    def neurons(self) -> tuple[Neurons, ...]:
        """Layers of neurons, in order."""
        return tuple(layer for layer in self.layers if isinstance(layer, Neurons))

    @cached_property
    def inputs(self) -> frozenset[str]:
        """Names of the input and of the layers that only pool or flatten it."""
        found = {self.input.name}
        for layer in self.layers:
            if isinstance(layer, SumPool | MaxPool | Flatten) and layer.source in found:
                found.add(layer.name)
        return frozenset(found)

    @property
    def pixels(self) -> frozenset[str]:
        """Names of the layers whose output is pixels: an image input, also pooled or flattened."""
        return self.inputs if self.input.kind == "image" else frozenset()

    @cached_property
    def free_flattens(self) -> dict[str, str]:
        """Flatten layers that need no output of their own, and the layer whose output they read.

        That is so for an image of one pixel, and where only linear synapses read the layer: they
        are convolutions as large as their input.
        """
        free: dict[str, str] = {}
        for layer in self.layers:
            if not isinstance(layer, Flatten):
                continue
            source = free.get(layer.source, layer.source)
            if prod(self.shapes[source][1:]) == 1 or self._only_linear_reads(layer):
                free[layer.name] = source
        return free

    def _only_linear_reads(self, layer: Flatten) -> bool:
        readers = [reader for reader in self.layers if layer.name in sources(reader)]
        return all(
            isinstance(synapse, Linear) or synapse.source != layer.name
            for reader in readers
            for synapse in getattr(reader, "synapses", ())
        ) and not any(isinstance(reader, Flatten) for reader in readers)

    @property
    def classes(self) -> int:
        """K, number of logits."""
        return self.shapes[self.readout.name][0]

    @cached_property
    def class_names(self) -> tuple[str, ...]:
        """Names of the classes, K texts; empty if the network does not name them.

        They are stored in `metadata["classes"]`, as a JSON array.
        """
        return class_names(self.metadata, self.classes)

    @property
    def integer(self) -> bool:
        """Whether the network computes with integers; a float network is the other kind."""
        return self.readout.bias.dtype.kind == "i"

    @property
    def window_shape(self) -> Shape:
        """Shape of one window: (T_in, C, H, W) or (T_in, N)."""
        return (self.input.steps, *self.input.shape)

    def __getitem__(self, name: str) -> Layer:
        """Return the layer of that name.

        Raises:
            NetworkError: If no layer has that name.
        """
        for layer in self.layers:
            if layer.name == name:
                return layer
        names = ", ".join(layer.name for layer in self.layers)
        raise NetworkError(f"no layer is named {show(name)}; there are {names}")

    def blocks(self, name: str) -> int:
        """Return the number of time-steps of layer `name`; a block of sub-steps counts as one."""
        return self.steps[name] // self.substeps[name]

    def prove(self, layer: Neurons | Readout) -> Bounds:
        """Return the bounds of an integer `layer` that reads layers of this network.

        Raises:
            NetworkError: If a bound exceeds 32 bits.
        """
        return prove(layer, {source: self._range_per_block(source) for source in sources(layer)})

    def _range_per_block(self, name: str) -> Pair:
        low, high = self.ranges[name]
        return low * self.substeps[name], high * self.substeps[name]

    # ---------------------------------------------------------------------------- derivation

    def _derive(self, layer: Layer) -> None:
        """Derive shape, steps and range of `layer`, and its bounds."""
        for source in sources(layer):
            if source not in self.shapes:
                raise NetworkError(
                    f"layer {layer.name!r} reads {source!r}, which is not a layer before it"
                )
        output = self._output(layer)
        _check_output(layer, output)
        name = layer.name
        self.shapes[name], self.steps[name], self.substeps[name], self.ranges[name] = output

    def _output(self, layer: Layer) -> _Output:
        match layer:
            case Input():
                return _Output(layer.shape, layer.steps, 1, (layer.min_value, layer.max_value))
            case Neurons():
                shape = self._synaptic_shape(layer)
                return _Output(shape, layer.steps, layer.substeps, (0, layer.levels))
            case Readout():
                return _Output(self._synaptic_shape(layer), 1, 1, (0, 0))
        source = layer.source
        shape = layer.output_shape(self.shapes[source])
        limits = self.ranges[source]
        if isinstance(layer, SumPool):
            limits = _sum_range(layer, limits)
        return _Output(shape, self.steps[source], self.substeps[source], limits)

    def _synaptic_shape(self, layer: Neurons | Readout) -> Shape:
        """Return the shape of a layer with synapses, after checking it and proving its bounds."""
        what = f"layer {layer.name!r}: synapses that are summed give different"
        shape = _same(
            f"{what} shapes", (s.output_shape(self.shapes[s.source]) for s in layer.synapses)
        )
        steps = _same(f"{what} numbers of steps", (self.blocks(s.source) for s in layer.synapses))
        _check_steps(layer, shape, steps)
        _check_arrays(layer, shape[0], self.readout)
        if layer.bias.dtype.kind == "i":
            self.bounds[layer.name] = self.prove(layer)
        return shape


def require_network(net: object) -> Network:
    """Return `net`.

    Raises:
        NetworkError: If it is not a `Network`.
    """
    if isinstance(net, Network):
        return net
    raise NetworkError(f"a Network is needed, not an object of type {type(net).__name__}")


def require_plain_resets(net: Network, what: str, error: type[LmhtError]) -> None:
    """Require that all neurons of `net` subtract k·θ at once and have no floor.

    Args:
        net: The network.
        what: What cannot represent another reset, for the message.
        error: Class of the error.

    Raises:
        LmhtError: A layer has another reset or a floor; names it.
    """
    for layer in net.neurons:
        if not layer.plain_reset:
            found = "a floor" if layer.reset == "subtract" else f"the reset {layer.reset!r}"
            raise error(
                f"layer {layer.name!r}: {what} cannot represent {found}; neurons must have the "
                f"reset 'subtract' and no floor"
            )


def _metadata(metadata: object) -> dict[str, str]:
    if not isinstance(metadata, Mapping):
        raise NetworkError(f"metadata must be texts by key, not {show(metadata)}")
    for item in metadata.items():
        if not all(isinstance(text, str) for text in item):
            raise NetworkError(f"metadata must be texts by key, not {show(item)}")
    return dict(metadata)


def _check_ends(layers: tuple[Layer, ...]) -> None:
    ends = [index for index, layer in enumerate(layers) if isinstance(layer, Input | Readout)]
    if len(layers) < 2 or not (isinstance(layers[0], Input) and isinstance(layers[-1], Readout)):
        raise NetworkError("a network starts with its Input and ends with its Readout")
    if len(ends) > 2:
        raise NetworkError(
            f"layer {layers[ends[1]].name!r}: only the first layer is an Input and only the last a "
            f"Readout"
        )


def _check_output(layer: Layer, output: _Output) -> None:
    """Require that the size fits 32 bits, and that spike counts are exact in float64."""
    if prod(output.shape) > INT32_MAX:
        raise NetworkError(f"layer {layer.name!r}: shape {output.shape} has too many entries")
    largest = max(abs(value) * output.substeps for value in output.range)
    if largest > MAX_COUNT:
        raise NetworkError(
            f"layer {layer.name!r}: a spike count can reach {largest} per time-step, beyond "
            f"{MAX_COUNT}"
        )


def _sum_range(layer: SumPool, limits: Pair) -> Pair:
    """Return the range of a sum over the window of `layer`; padding adds zeros."""
    low, high = limits
    if layer.padding != (0, 0):
        low, high = min(low, 0), max(high, 0)
    area = layer.kernel[0] * layer.kernel[1]
    return low * area, high * area


def _same(what: str, values: Iterable[Value]) -> Value:
    """Return the one value of `values`."""
    found = set(values)
    if len(found) > 1:
        raise NetworkError(f"{what} {sorted(found)}")
    return found.pop()


def class_names(metadata: Mapping[str, str], classes: int) -> tuple[str, ...]:
    """Return the names of `classes` classes that metadata states; empty if it states none.

    They are stored under `classes`, as a JSON array.
    """
    try:
        names = json.loads(metadata.get("classes", ""))
    except (ValueError, RecursionError):
        return ()
    valid = isinstance(names, list) and all(isinstance(name, str) and name for name in names)
    return tuple(names) if valid and len(names) == classes else ()


def window_steps(metadata: Mapping[str, str], steps: int) -> int | None:
    """Return the number of steps of a window, of which a network reads the first `steps`.

    It is stored under `WINDOW_STEPS`; without it, a network reads whole windows. None if the text
    there is no such number.
    """
    text = metadata.get(WINDOW_STEPS, str(steps))
    return int(text) if re.fullmatch(r"\d{1,9}", text) and int(text) >= steps else None


def first_bins(steps: int, first: int, length: int, hop: int) -> tuple[int, int]:
    """Return length and hop of the windows of the first bins of a window, one after the other.

    Args:
        steps: Bins of a window.
        first: Number of them that a network reads.
        length: Length of a window, a multiple of `steps`.
        hop: Bins between the starts of two windows; 0 stands for `steps`.
    """
    return length // steps * first, min(hop or steps, first)


def _check_steps(layer: Neurons | Readout, shape: Shape, steps: int) -> None:
    what = f"layer {layer.name!r}"
    if isinstance(layer, Readout) and len(shape) != 1:
        raise NetworkError(
            f"{what}: a read-out is flat, not of shape {shape}; put a Flatten before it"
        )
    if isinstance(layer, Neurons) and layer.omega.shape[1] != steps:
        raise NetworkError(
            f"{what}: T-GIM of shape {layer.omega.shape} meets {steps} input steps; "
            f"it needs {steps} columns"
        )


def _check_arrays(layer: Neurons | Readout, channels: int, readout: Readout) -> None:
    """Require one entry per channel, and integers or floats throughout the network."""
    what = f"layer {layer.name!r}"
    arrays = {"bias": layer.bias}
    kinds = {readout.bias.dtype.kind, layer.bias.dtype.kind}
    kinds |= {synapse.weight.dtype.kind for synapse in layer.synapses}
    if isinstance(layer, Neurons):
        arrays |= {"threshold": layer.threshold, "initial potential": layer.v0}
        kinds |= {array.dtype.kind for array in (layer.threshold, layer.v0, layer.omega)}
        if layer.floor is not None:
            arrays["floor"] = layer.floor
            kinds.add(layer.floor.dtype.kind)
    for name, array in arrays.items():
        if len(array) != channels:
            raise NetworkError(f"{what}: {name} has {len(array)} entries for {channels} channels")
    if len(kinds) > 1:
        raise NetworkError(f"{what} mixes integers and floats; a network is of one kind")
