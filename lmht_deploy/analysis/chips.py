"""Publicly known limits of neuromorphic chips, and where a network exceeds them.

Figures are as their sources give them. Where no public source was found, the limit is None, and
is reported as unknown, not as kept. A network that exceeds no limit here has not been shown to
run: no chip was available.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from lmht_deploy._arguments import check_types
from lmht_deploy._suggest import unknown
from lmht_deploy.errors import NetworkError
from lmht_deploy.formats.netx.network import (
    LayerRecord,
    NetworkFile,
    NeuronsRecord,
    SynapseRecord,
    read_network,
)
from lmht_deploy.ir import Network, Neurons, Readout, Shape, require_network, sources
from lmht_deploy.netx import (
    READOUT,
    NetX,
    NetXAverage,
    NetXConv,
    NetXDense,
    NetXFlatten,
    NetXInput,
    SigmaDelta,
    counting,
)

LAVA = "lava-nc 0.10.0, fixed-point models"
NENGO = "nengo-loihi 1.1, block.py"
BRIEF = "Intel Labs, Loihi 2 technology brief, 2021, as secondary sources report it"
WIKICHIP = "WikiChip, Loihi"


@dataclass(frozen=True)
class Limit:
    """One limit of a chip.

    Attributes:
        value: Largest value; None where no public source was found.
        unit: Unit of the value.
        source: Source of the value.
    """

    value: int | None
    unit: str
    source: str = "no public source found"


@dataclass(frozen=True)
class Chip:
    """Limits of one chip.

    Attributes:
        name: Name of the chip.
        cores: Number of cores.
        neurons_per_core: Neurons per core.
        weight_memory: Bits of weights per core.
        input_axons: Input axons per core.
        fan_out: Synapses that one spike may cross.
        neurons: Neurons on the chip.
        synapses: Synapses on the chip.
        weight_bits: Bits of a weight.
        state_bits: Bits of a potential.
        threshold_bits: Bits of a threshold.
        bias_bits: Bits of a bias.
        delay: Delay of a synapse.
        spike: Payload of a spike.
        programmable: Whether neurons other than CUBA with a hard reset can be programmed.
    """

    name: str
    cores: Limit
    neurons_per_core: Limit
    weight_memory: Limit
    input_axons: Limit
    fan_out: Limit
    neurons: Limit
    synapses: Limit
    weight_bits: Limit
    state_bits: Limit
    threshold_bits: Limit
    bias_bits: Limit
    delay: Limit
    spike: Limit
    programmable: bool


TARGETS = {
    "loihi1": Chip(
        name="Loihi",
        cores=Limit(128, "cores", WIKICHIP),
        neurons_per_core=Limit(1024, "neurons", NENGO),
        weight_memory=Limit(1_048_576, "bits", NENGO),
        input_axons=Limit(4096, "input axons per core", NENGO),
        fan_out=Limit(None, "synapses"),
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
        neurons_per_core=Limit(8192, "neurons", BRIEF),
        weight_memory=Limit(1_572_864, "bits, shared with the neurons' states", BRIEF),
        input_axons=Limit(None, "input axons per core"),
        fan_out=Limit(None, "synapses"),
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
    """One figure of a network and its limit.

    Attributes:
        layer: Name of the layer; None for the whole network.
        what: What the figure is.
        found: The figure.
        limit: Its limit.
    """

    layer: str | None
    what: str
    found: int
    limit: Limit

    @property
    def kept(self) -> bool | None:
        """Whether the limit is kept; None where it is unknown."""
        return None if self.limit.value is None else self.found <= self.limit.value

    def __str__(self) -> str:
        where = "the network" if self.layer is None else f"layer {self.layer!r}"
        verdict = {True: "within", False: "beyond", None: "limit unknown,"}[self.kept]
        largest = "" if self.limit.value is None else f" {self.limit.value:,}"
        return (
            f"{where}: {self.what} {self.found:,}, {verdict}{largest} {self.limit.unit} "
            f"({self.limit.source})"
        )


@dataclass(frozen=True)
class Demand:
    """What one layer needs of a chip; None where it has no such figure or no proof of it.

    Attributes:
        layer: Name of the layer.
        neurons: Number of neurons.
        synapses: Number of synapses, counted at each pixel of a convolution.
        fan_in: Sources that reach one neuron.
        fan_out: Largest number of synapses that one spike into the layer crosses.
        weight_bits: Bits of a weight, sign included.
        delay: Steps for which a spike into the layer waits, in addition to the one of every
            synapse.
        threshold_bits: Bits of a threshold.
        bias_bits: Bits of a bias, sign included, without its trailing zeros.
        potential_bits: Bits of a potential, sign included.
        spike: Largest spike.
        soft_reset: Whether its neurons reset by subtraction.
    """

    layer: str
    neurons: int
    synapses: int = 0
    fan_in: int = 0
    fan_out: int = 0
    weight_bits: int = 0
    delay: int = 0
    threshold_bits: int | None = None
    bias_bits: int | None = None
    potential_bits: int | None = None
    spike: int | None = None
    soft_reset: bool = False


def check(net: Network | NetX, target: str) -> list[Finding]:
    """Compare a network with the limits of a chip.

    Args:
        net: An integer network, or a NetX file of another tool.
        target: Name of the chip, one of `TARGETS`.

    Returns:
        Every figure that the chip limits, those of the whole network first.

    Raises:
        NetworkError: Unknown target, or a float network.
    """
    limits = chip(target)
    return findings(demands(net), limits)


@check_types(NetworkError, target=str)
def chip(target: str) -> Chip:
    """Return the chip called `target`; NetworkError for an unknown name."""
    if target not in TARGETS:
        raise NetworkError(unknown("target", target, TARGETS))
    return TARGETS[target]


def demands(net: Network | NetX) -> list[Demand]:
    """Return what each layer of `net` needs; NetworkError for a float network."""
    if isinstance(net, NetX):
        return list(_of_netx(net))
    if not require_network(net).integer:
        raise NetworkError(
            "the limits of chips are for integers, and this is a float network; quantize it first"
        )
    return [_of_layer(net, layer) for layer in net.layers if isinstance(layer, Neurons | Readout)]


def findings(demands: Sequence[Demand], chip: Chip) -> list[Finding]:
    """Return each figure of `demands` with its limit on `chip`."""
    return [
        *_network(demands, chip),
        *(finding for demand in demands for finding in _layer(demand, chip)),
    ]


def _network(demands: Sequence[Demand], chip: Chip) -> Iterator[Finding]:
    yield Finding(None, "neurons", sum(demand.neurons for demand in demands), chip.neurons)
    yield Finding(
        None,
        "synapses, counted at each pixel of a convolution,",
        sum(demand.synapses for demand in demands),
        chip.synapses,
    )
    yield Finding(
        None,
        "cores, an estimate by neurons and by bits of weights,",
        sum(cores(demand, chip) for demand in demands),
        chip.cores,
    )
    if not chip.programmable:
        yield Finding(
            None,
            "layers of neurons with a soft reset",
            sum(demand.soft_reset for demand in demands),
            Limit(0, "layers, as its neurons reset to zero", LAVA),
        )


def cores(demand: Demand, chip: Chip) -> int:
    """Return how many cores a layer needs at least, by its neurons or by its weights.

    Weights count at each pixel of a convolution, without indices. Loihi 2 can share the weights of
    a convolution between pixels, and then needs fewer cores.
    """
    limits = chip.neurons_per_core.value, chip.weight_memory.value
    needed = demand.neurons, demand.synapses * demand.weight_bits
    return max(-(-need // limit) for need, limit in zip(needed, limits, strict=True) if limit)


def _layer(demand: Demand, chip: Chip) -> Iterator[Finding]:
    yield Finding(
        demand.layer,
        "cores, an estimate by neurons and by bits of weights,",
        cores(demand, chip),
        chip.cores,
    )
    synaptic: list[tuple[str, int | None, Limit]] = [
        ("sources of one neuron, each an input axon,", demand.fan_in, chip.input_axons),
        ("synapses that one spike into it crosses", demand.fan_out, chip.fan_out),
        ("bits of a weight", demand.weight_bits, chip.weight_bits),
        ("steps for which a spike waits", demand.delay, chip.delay),
    ]
    neural = [
        ("bits of a potential", demand.potential_bits, chip.state_bits),
        ("bits of a threshold", demand.threshold_bits, chip.threshold_bits),
        ("bits of a bias, its trailing zeros left out,", demand.bias_bits, chip.bias_bits),
        ("largest spike", demand.spike, chip.spike),
    ]
    rows = [*(synaptic if demand.synapses else []), *neural]
    yield from (
        Finding(demand.layer, what, found, limit)
        for what, found, limit in rows
        if found is not None
    )


# ------------------------------------------------------------------------------- an integer network


def _of_layer(net: Network, layer: Neurons | Readout) -> Demand:
    fans = [
        np.broadcast_to(synapse.fan_out(net.shapes[synapse.source]), net.shapes[synapse.source])
        for synapse in layer.synapses
    ]
    common = Demand(
        layer=layer.name,
        neurons=int(np.prod(net.shapes[layer.name])),
        synapses=sum(int(fan.sum()) for fan in fans),
        fan_in=sum(synapse.weight[0].size for synapse in layer.synapses),
        fan_out=max(int(fan.max()) for fan in fans),
        weight_bits=max(signed_bits(synapse.weight) for synapse in layer.synapses),
        delay=_delay(net, layer),
    )
    if isinstance(layer, Readout):
        return common
    return dataclasses.replace(
        common,
        potential_bits=net.bounds[layer.name].potential.bit_length() + 1,
        threshold_bits=int(layer.threshold.max()).bit_length(),
        bias_bits=max(mantissa_bits(int(b)) for b in layer.bias),
        spike=layer.levels,
        soft_reset=layer.reset != "zero",
    )


def _delay(net: Network, layer: Neurons | Readout) -> int:
    """Steps for which the spikes of the least deep source wait for those of the deepest.

    Layers are pipelined by windows.
    """
    steps = max([net.input.steps, *(len(neurons.omega) for neurons in net.neurons)])
    window = steps * max((n.levels * n.substeps for n in net.neurons), default=1)
    depths: dict[str, int] = {net.input.name: 0}
    for other in net.layers[1:]:
        deepest = max(depths[source] for source in sources(other))
        depths[other.name] = deepest + isinstance(other, Neurons)
    found = [depths[source] for source in sources(layer)]
    return (max(found) - min(found)) * window


# ------------------------------------------------------------------------ NetX files of other tools


MAX_MESSAGE = 2**15 - 1
"""Largest message of sigma-delta neurons, to which lava-dl 0.6 gives 16 bits."""


def _of_netx(net: NetX) -> Iterator[Demand]:
    shape = net.input_shape
    for index, layer in enumerate(net.layers):
        if isinstance(layer, NetXFlatten | NetXAverage) or layer.neurons is None:
            continue
        shape, source = layer.shape, shape
        common = Demand(layer=f"layer {index}", neurons=int(np.prod(layer.shape)))
        if not isinstance(layer, NetXInput):
            common = _with_synapses(common, layer, source)
        if layer.neurons == READOUT:
            yield common
            continue
        bias = 0 if isinstance(layer, NetXInput) else layer.bias
        yield dataclasses.replace(
            common,
            threshold_bits=layer.neurons.threshold.bit_length(),
            bias_bits=signed_bits(np.asarray(bias)),
            spike=MAX_MESSAGE if isinstance(layer.neurons, SigmaDelta) else 1,
        )


def _with_synapses(demand: Demand, layer: NetXConv | NetXDense, source: Shape) -> Demand:
    recurrent = layer.recurrent if isinstance(layer, NetXDense) else None
    delay = layer.delay if isinstance(layer, NetXDense) else None
    own = 0 if recurrent is None else len(recurrent)
    fan_out = np.broadcast_to(counting.fan_out(layer, source), source)
    return dataclasses.replace(
        demand,
        synapses=int(fan_out.sum()) + own * own,
        fan_in=layer.weight[0].size + own,
        fan_out=int(fan_out.max()),
        weight_bits=max(
            signed_bits(weight) for weight in (layer.weight, recurrent) if weight is not None
        ),
        delay=0 if delay is None else int(delay.max()),
    )


# -------------------------------------------------------------------- NetX files of LM-HT networks


def of_exported(path: str | Path) -> list[Demand]:
    """Return what each layer of an exported NetX file needs, with its LM-HT neurons.

    A file holds no proof about potentials.

    Raises:
        StorageError: The file is missing or damaged, or is not of an LM-HT network.
    """
    network = read_network(path)
    depths, found = {0: 0}, []
    for index, layer in enumerate(network.layers):
        if layer.synapses:
            waits = [depths[synapse.source] for synapse in layer.synapses]
            depths[index] = 1 + max(waits)
            windows = max(waits) - min(waits)
            found.append(_of_record(network, layer, windows * network.steps * network.substeps))
    return found


def _of_record(network: NetworkFile, layer: LayerRecord, delay: int) -> Demand:
    demand = Demand(str(layer.name), neurons=int(np.prod(layer.shape)), delay=delay)
    for synapse in layer.synapses:
        demand = _with_synapse(demand, synapse, network.layers[synapse.source].shape)
    return _with_neurons(demand, layer.neurons, network.graded) if layer.neurons else demand


def _with_synapse(demand: Demand, synapse: SynapseRecord, source: Shape) -> Demand:
    fan_out = synapse.crossings(source)
    return dataclasses.replace(
        demand,
        synapses=demand.synapses + int(fan_out.sum()),
        fan_in=demand.fan_in + synapse.weight[0].size,
        fan_out=max(demand.fan_out, int(fan_out.max())),
        weight_bits=max(demand.weight_bits, signed_bits(synapse.weight)),
    )


def _with_neurons(demand: Demand, neurons: NeuronsRecord, graded: bool) -> Demand:
    return dataclasses.replace(
        demand,
        threshold_bits=int(neurons.theta.max()).bit_length(),
        bias_bits=max(mantissa_bits(int(b)) for b in neurons.bias),
        spike=neurons.levels if graded else 1,
        soft_reset=True,
    )


# -------------------------------------------------------------------------------------------- bits


def signed_bits(values: np.ndarray) -> int:
    """Return the bits, sign included, of the largest of `values`."""
    return max(int(values.max()), -1 - int(values.min())).bit_length() + 1


def mantissa_bits(bias: int, largest_exponent: int = 7) -> int:
    """Return the bits, sign included, of a bias without up to `largest_exponent` trailing zeros."""
    zeros = (bias & -bias).bit_length() - 1 if bias else 0
    return signed_bits(np.array(bias >> min(zeros, largest_exponent)))
