"""Variants of a network that need no training: fewer steps, fewer levels, other potentials."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from lmht_deploy.errors import DataError, show
from lmht_deploy.ir import (
    WINDOW_STEPS,
    Conv,
    Flatten,
    Input,
    Layer,
    Linear,
    Network,
    Neurons,
    Readout,
    Scale,
    Synapse,
    sources,
)


@dataclass(frozen=True)
class Variant:
    """How a network is changed. All integers stay integers.

    Attributes:
        steps: T, the number of time-steps that are run; None for all. Layers see the first steps of
            their inputs. The first layers see the input steps that their remaining rows of the
            T-GIM read; the network reads no further ones.
        levels: L, the largest spike count per step; None for that of the network.
        initial_potential: v0 in units of the threshold θ; None for that of the network.
    """

    NAMES: ClassVar = ("steps", "levels", "initial_potential")

    steps: int | None = None
    levels: int | None = None
    initial_potential: float | None = None

    def __post_init__(self) -> None:
        for name in ("steps", "levels"):
            value = getattr(self, name)
            if value is not None and (type(value) is not int or value < 1):
                raise DataError(f"{name} must be an integer >= 1, not {show(value)}")
        v0 = self.initial_potential
        if v0 is not None and (type(v0) not in (int, float) or not -1 <= v0 <= 1):
            raise DataError(f"initial_potential lies within -1..1, not {show(v0)}")

    def __str__(self) -> str:
        names = {"steps": "T", "levels": "L", "initial_potential": "v0"}
        given = ((names[name], getattr(self, name)) for name in self.NAMES)
        return " ".join(f"{name}={value}" for name, value in given if value is not None)

    def apply(self, net: Network) -> Network:
        """Return the changed network.

        If it reads fewer input steps, its metadata states the number of steps of the windows that
        it reads the first steps of, see `WINDOW_STEPS`.

        Raises:
            DataError: The network is a float network, or has fewer steps or levels.
            NetworkError: The changed network cannot be proved to fit 32 bits.
        """
        check_source(net)
        steps = self._input_steps(net)
        metadata = dict(net.metadata)
        if steps != net.input.steps:
            metadata.setdefault(WINDOW_STEPS, str(net.input.steps))
        return Network(
            tuple(self._layer(net, layer, steps) for layer in net.layers), metadata=metadata
        )

    def _input_steps(self, net: Network) -> int:
        """Return the number of input steps up to the last one that reaches the remaining steps."""
        if self.steps is None or _reads_input(net, net.readout):
            return net.input.steps
        rows = [layer.omega[: self.steps] for layer in net.neurons if _reads_input(net, layer)]
        last = (np.flatnonzero(omega.any(0))[-1:].tolist() for omega in rows)
        return 1 + max(itertools.chain.from_iterable(last), default=0)

    def _layer(self, net: Network, layer: Layer, input_steps: int) -> Layer:
        if isinstance(layer, Input):
            return dataclasses.replace(layer, steps=input_steps)
        if not isinstance(layer, Neurons):
            return layer
        changes: dict[str, object] = {}
        if self.steps is not None:
            changes["omega"] = self._omega(net, layer, input_steps)
        if self.levels is not None:
            if self.levels > layer.levels:
                raise DataError(
                    f"layer {layer.name!r} has {layer.levels} levels, not {self.levels}"
                )
            changes["levels"] = self.levels
        if self.initial_potential is not None:
            v0 = np.round(self.initial_potential * layer.threshold.astype(float))
            changes["v0"] = v0.astype(layer.v0.dtype)
        return dataclasses.replace(layer, **changes)  # type: ignore[arg-type]

    def _omega(self, net: Network, layer: Neurons, input_steps: int) -> np.ndarray:
        """Return the first rows of the T-GIM, and the columns of the steps that remain."""
        assert self.steps is not None
        rows = len(layer.omega)
        if self.steps > rows:
            raise DataError(f"layer {layer.name!r} has {rows} time-steps, not {self.steps}")
        columns = input_steps if _reads_input(net, layer) else self.steps
        return layer.omega[: self.steps, :columns]


def check_source(net: Network) -> None:
    """Raise DataError if variants cannot be made of a network."""
    if not net.integer:
        raise DataError("variants are made of integer networks; quantize the network first")
    if any(layer.substeps != 1 for layer in net.neurons):
        raise DataError("variants are made of networks without sub-steps")


def _reads_input(net: Network, layer: Layer) -> bool:
    """Whether a layer reads the input of the network, directly or through pooling."""
    return any(
        name == net.input.name
        or (not isinstance(net[name], Neurons) and _reads_input(net, net[name]))
        for name in sources(layer)
    )


# ------------------------------------------------------------------------------------- pruning


def prune(net: Network, silent: Mapping[str, np.ndarray]) -> Network:
    """Return the network without channels that never fire.

    The integers stay the same for every window in which these channels are silent.

    Args:
        net: An integer network.
        silent: By layer of neurons, whether each channel is left out, bool `[C]`.

    Raises:
        DataError: A layer has another number of channels.
    """
    kept = _kept_channels(net, silent)
    return Network(tuple(_pruned(net, layer, kept) for layer in net.layers), metadata=net.metadata)


def _kept_channels(net: Network, silent: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Return, by layer, the indices of the channels that stay; at least one of each layer.

    Channels that are joined by an identity shortcut stay if either side needs them.
    """
    kept: dict[str, np.ndarray] = {}
    fixed = _scaled(net)
    for layer in net.layers:
        channels = net.shapes[layer.name][0]
        every = np.arange(channels)
        match layer:
            case Neurons() if layer.name in silent and layer.name not in fixed:
                mask = silent[layer.name]
                if mask.shape != (channels,):
                    raise DataError(f"layer {layer.name!r} has {channels} channels")
                chosen = np.flatnonzero(~mask)
                kept[layer.name] = chosen if len(chosen) else every[:1]
            case Flatten():
                kept[layer.name] = _flat(net, layer, kept[layer.source])
            case Neurons() | Input() | Readout():
                kept[layer.name] = every
            case _:
                kept[layer.name] = kept[layer.source]
    return kept


def _scaled(net: Network) -> set[str]:
    """Return the layers of neurons at either side of an identity shortcut or a grouped convolution.

    Their channels are bound to those of another layer, and stay.
    """
    found: set[str] = set()
    for layer in net.layers:
        for synapse in getattr(layer, "synapses", ()):
            if isinstance(synapse, Scale) or (isinstance(synapse, Conv) and synapse.groups > 1):
                found |= {layer.name, *_origins(net, synapse.source)}
    return found


def _origins(net: Network, name: str) -> set[str]:
    """Return the layer of neurons behind pooling and flattening."""
    layer = net[name]
    if isinstance(layer, Neurons | Input):
        return {name}
    return set().union(*(_origins(net, source) for source in sources(layer)))


def _flat(net: Network, layer: Flatten, kept: np.ndarray) -> np.ndarray:
    channels = net.shapes[layer.source][0]
    places: np.ndarray = np.arange(net.shapes[layer.name][0]).reshape(channels, -1)[kept]
    return places.reshape(-1)


def _pruned(net: Network, layer: Layer, kept: Mapping[str, np.ndarray]) -> Layer:
    if not isinstance(layer, Neurons | Readout):
        return layer
    rows = kept[layer.name]
    synapses = tuple(_pruned_synapse(synapse, rows, kept) for synapse in layer.synapses)
    if isinstance(layer, Readout):
        return dataclasses.replace(layer, synapses=synapses)
    return dataclasses.replace(
        layer,
        synapses=synapses,
        bias=layer.bias[rows],
        threshold=layer.threshold[rows],
        v0=layer.v0[rows],
        floor=None if layer.floor is None else layer.floor[rows],
    )


def _pruned_synapse(synapse: Synapse, rows: np.ndarray, kept: Mapping[str, np.ndarray]) -> Synapse:
    columns = kept[synapse.source]
    match synapse:
        case Scale():
            return synapse
        case Conv() if synapse.groups > 1:
            return synapse
        case Conv() | Linear():
            return dataclasses.replace(synapse, weight=synapse.weight[rows][:, columns])
    raise DataError(f"a synapse of type {type(synapse).__name__} cannot be pruned")
