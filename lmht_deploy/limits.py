"""What is publicly known of the limits of neuromorphic chips, and where a network exceeds them.

Figures are as their sources give them; what no public source was found for is None, and is reported as unknown rather
than as kept. A network that exceeds nothing here has not been shown to run: no chip was at hand.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from .errors import NetworkError
from .network import Network, Neurons, Readout, Synapse, sources

LAVA = "lava-nc 0.10.0, fixed-point models"
NENGO = "nengo-loihi 1.1, block.py"
BRIEF = "Intel Labs, Loihi 2 technology brief, 2021, as secondary sources report it"
WIKICHIP = "WikiChip, Loihi"


@dataclass(frozen=True)
class Limit:
    """Largest `value` of something, in `unit`, and who says so; None where no public source was found."""

    value: int | None
    unit: str
    source: str = "no public source found"


@dataclass(frozen=True)
class Chip:
    name: str
    cores: Limit
    neurons_per_core: Limit
    neurons: Limit
    synapses: Limit
    weight_bits: Limit
    state_bits: Limit
    threshold_bits: Limit
    bias_bits: Limit
    delay: Limit
    spike: Limit
    programmable: bool
    """whether neurons other than CUBA with a hard reset can be programmed"""


TARGETS = {
    "loihi1": Chip(
        name="Loihi",
        cores=Limit(128, "cores", WIKICHIP),
        neurons_per_core=Limit(1024, "neurons", NENGO),
        neurons=Limit(131_072, "neurons", WIKICHIP),
        synapses=Limit(130_000_000, "synapses", WIKICHIP),
        weight_bits=Limit(9, "bits, sign included", LAVA),
        state_bits=Limit(24, "bits, sign included", LAVA),
        threshold_bits=Limit(17, "bits", LAVA),
        bias_bits=Limit(13, "bits, sign included, times a power of two up to 2^7", LAVA),
        delay=Limit(62, "steps", "lava-dl 0.6.0, netx"),
        spike=Limit(1, "as a spike's payload", LAVA),
        programmable=False,
    ),
    "loihi2": Chip(
        name="Loihi 2",
        cores=Limit(128, "cores", BRIEF),
        neurons_per_core=Limit(None, "neurons"),
        neurons=Limit(1_000_000, "neurons", BRIEF),
        synapses=Limit(120_000_000, "synapses", BRIEF),
        weight_bits=Limit(9, "bits, sign included", LAVA),
        state_bits=Limit(24, "bits, sign included", LAVA),
        threshold_bits=Limit(17, "bits", LAVA),
        bias_bits=Limit(13, "bits, sign included, times a power of two up to 2^7", LAVA),
        delay=Limit(62, "steps", "lava-dl 0.6.0, netx"),
        spike=Limit(2**31 - 1, "as a spike's payload", BRIEF),
        programmable=True,
    ),
}


@dataclass(frozen=True)
class Finding:
    """One figure of a network beside its limit. `kept` is None where the limit is unknown."""

    layer: str | None
    what: str
    found: int
    limit: Limit

    @property
    def kept(self) -> bool | None:
        return None if self.limit.value is None else self.found <= self.limit.value

    def __str__(self) -> str:
        where = "the network" if self.layer is None else f"layer {self.layer!r}"
        verdict = {True: "within", False: "beyond", None: "limit unknown,"}[self.kept]
        largest = "" if self.limit.value is None else f" {self.limit.value:,}"
        return f"{where}: {self.what} {self.found:,}, {verdict}{largest} {self.limit.unit} ({self.limit.source})"


def check(net: Network, target: str) -> list[Finding]:
    """Every figure of the integer network `net` that `target` ("loihi1", "loihi2") limits, the network's own first.

    Raises NetworkError for an unknown target or a float network.
    """
    if target not in TARGETS:
        raise NetworkError(f"unknown target {target!r}; there are {', '.join(TARGETS)}")
    if not net.integer:
        raise NetworkError("limits are those of integers, and this network is a float one; quantise it first")
    return [*_network(net, TARGETS[target]), *(finding for layer in net.neurons for finding in _layer(net, layer, TARGETS[target]))]


def _network(net: Network, chip: Chip) -> Iterator[Finding]:
    layers = [layer for layer in net.layers if isinstance(layer, Neurons | Readout)]
    sizes = [int(np.prod(net.shapes[layer.name])) for layer in layers]
    yield Finding(None, "neurons", sum(sizes), chip.neurons)
    yield Finding(None, "synapses, counted at each place of a convolution,", sum(_synapses(net, s) for layer in layers for s in layer.synapses), chip.synapses)
    most = chip.neurons_per_core.value
    if most is None:
        yield Finding(None, "neurons of the largest layer, to be spread over cores,", max(sizes), chip.neurons_per_core)
    else:
        yield Finding(None, "cores by neurons alone", sum(-(-size // most) for size in sizes), chip.cores)
    if not chip.programmable:
        yield Finding(None, "layers of neurons with a soft reset", len(net.neurons), Limit(0, "layers, as its neurons reset to zero", LAVA))


def _synapses(net: Network, synapse: Synapse) -> int:
    shape = net.shapes[synapse.source]
    return int(np.broadcast_to(synapse.fan_out(shape), shape).sum())


def _layer(net: Network, layer: Neurons, chip: Chip) -> Iterator[Finding]:
    yield Finding(layer.name, "bits of a weight", max(_signed_bits(synapse.weight) for synapse in layer.synapses), chip.weight_bits)
    yield Finding(layer.name, "bits of a potential", net.bounds[layer.name].potential.bit_length() + 1, chip.state_bits)
    yield Finding(layer.name, "bits of a threshold", int(layer.threshold.max()).bit_length(), chip.threshold_bits)
    yield Finding(layer.name, "bits of a bias, its trailing zeros left out,", max(_mantissa_bits(int(b)) for b in layer.bias), chip.bias_bits)
    yield Finding(layer.name, "largest spike", layer.levels, chip.spike)
    yield Finding(layer.name, "steps for which a shortcut waits", _delay(net, layer), chip.delay)


def _signed_bits(values: np.ndarray) -> int:
    return max(int(values.max()), -1 - int(values.min())).bit_length() + 1


def _mantissa_bits(bias: int, largest_exponent: int = 7) -> int:
    """Bits, sign included, of a bias divided by the power of two, up to 2^7, that divides it."""
    zeros = (bias & -bias).bit_length() - 1 if bias else 0
    return _signed_bits(np.array(bias >> min(zeros, largest_exponent)))


def _delay(net: Network, layer: Neurons) -> int:
    """Steps for which the spikes of the least deep source wait for those of the deepest, layers being pipelined by windows."""
    window = max(net.input.steps, *(n.omega.shape[0] for n in net.neurons)) * max(n.levels * n.substeps for n in net.neurons)
    depths: dict[str, int] = {net.input.name: 0}
    for other in net.layers[1:]:
        depths[other.name] = max(depths[source] for source in sources(other)) + isinstance(other, Neurons)
    found = [depths[source] for source in sources(layer)]
    return (max(found) - min(found)) * window
