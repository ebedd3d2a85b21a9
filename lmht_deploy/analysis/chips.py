"""What is publicly known of the limits of neuromorphic chips, and where a network exceeds them.

Figures are as their sources give them; what no public source was found for is None, and is reported as unknown rather
than as kept. A network that exceeds nothing here has not been shown to run: no chip was at hand.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np

from lmht_deploy.errors import NetworkError, StorageError
from lmht_deploy.formats.files import reading
from lmht_deploy.ir import Conv as PlainConv
from lmht_deploy.ir import Network, Neurons, Readout, Shape, Synapse, sources
from lmht_deploy.netx import READOUT, Conv, Dense, Flatten, InputLayer, NetX, counting

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
    weight_memory: Limit
    """of a core"""
    input_axons: Limit
    """of a core"""
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
    """whether neurons other than CUBA with a hard reset can be programmed"""


TARGETS = {
    "loihi1": Chip(
        name="Loihi",
        cores=Limit(128, "cores", WIKICHIP),
        neurons_per_core=Limit(1024, "neurons", NENGO),
        weight_memory=Limit(1_048_576, "bits", NENGO),
        input_axons=Limit(4096, "input axons a core", NENGO),
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
        input_axons=Limit(None, "input axons a core"),
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


@dataclass(frozen=True)
class Demand:
    """What one layer asks of a chip; None where it has no such thing, or where nothing is proved about it.

    synapses    counted at each place of a convolution
    fan_in      sources that reach one neuron
    fan_out     synapses that one spike into the layer crosses, at most
    delay       steps for which a spike into it waits, beside the one that every synapse takes
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
    """Every figure of the integer network (or NetX file) `net` that `target` ("loihi1", "loihi2") limits, the network's own first.

    Raises NetworkError for an unknown target or a float network.
    """
    known = chip(target)
    return findings(demands(net), known)


def chip(target: str) -> Chip:
    """The chip of that name. Raises NetworkError for an unknown one."""
    if target not in TARGETS:
        raise NetworkError(f"unknown target {target!r}; there are {', '.join(TARGETS)}")
    return TARGETS[target]


def demands(net: Network | NetX) -> list[Demand]:
    """What each layer of `net` asks of a chip. Raises NetworkError for a float network."""
    if isinstance(net, NetX):
        return list(_of_netx(net))
    if not net.integer:
        raise NetworkError(
            "limits are those of integers, and this network is a float one; quantise it first"
        )
    return [_of_layer(net, layer) for layer in net.layers if isinstance(layer, Neurons | Readout)]


def findings(demands: Sequence[Demand], chip: Chip) -> list[Finding]:
    """Each figure of `demands` beside its limit on `chip`."""
    return [
        *_network(demands, chip),
        *(finding for demand in demands for finding in _layer(demand, chip)),
    ]


def _network(demands: Sequence[Demand], chip: Chip) -> Iterator[Finding]:
    yield Finding(None, "neurons", sum(demand.neurons for demand in demands), chip.neurons)
    yield Finding(
        None,
        "synapses, counted at each place of a convolution,",
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
    """Cores that a layer fills, at least: by its neurons, or by its weights, at each place of a convolution, without their indices.

    Loihi 2 can share the weights of a convolution between places, and then needs fewer.
    """
    most = chip.neurons_per_core.value, chip.weight_memory.value
    needed = demand.neurons, demand.synapses * demand.weight_bits
    return max(-(-need // limit) for need, limit in zip(needed, most, strict=True) if limit)


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


# ------------------------------------------------------------------------------------------------ what layers ask for


def _of_layer(net: Network, layer: Neurons | Readout) -> Demand:
    common = Demand(
        layer=layer.name,
        neurons=int(np.prod(net.shapes[layer.name])),
        synapses=sum(
            int(
                np.broadcast_to(
                    synapse.fan_out(net.shapes[synapse.source]), net.shapes[synapse.source]
                ).sum()
            )
            for synapse in layer.synapses
        ),
        fan_in=sum(_fan_in(synapse) for synapse in layer.synapses),
        fan_out=max(
            int(np.max(synapse.fan_out(net.shapes[synapse.source]))) for synapse in layer.synapses
        ),
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
        soft_reset=True,
    )


def _fan_in(synapse: Synapse) -> int:
    return synapse.weight[0].size


def _of_netx(net: NetX) -> Iterator[Demand]:
    shape = net.input_shape
    for index, layer in enumerate(net.layers):
        if isinstance(layer, Flatten) or layer.neurons is None:
            continue
        shape, source = layer.shape, shape
        common = Demand(layer=f"layer {index}", neurons=int(np.prod(layer.shape)))
        if not isinstance(layer, InputLayer):
            common = _with_synapses(common, layer, source)
        if layer.neurons == READOUT:
            yield common
            continue
        bias = 0 if isinstance(layer, InputLayer) else layer.bias
        yield dataclasses.replace(
            common,
            threshold_bits=layer.neurons.threshold.bit_length(),
            bias_bits=signed_bits(np.asarray(bias)),
            spike=1,
        )


def of_exported(path: str | Path) -> list[Demand]:
    """The same of a NetX file that lmht-deploy wrote, as its own neurons and all of its synapses ask for it.

    Potentials are not proved from a file. Raises StorageError for a file that is missing, damaged or of other origin.
    """
    with reading(path, "a NetX file"), h5py.File(path, "r") as file:
        if "lmht_steps" not in file.attrs:
            raise StorageError(f"{path}: was not written by `lmht export`")
        window = int(file.attrs["lmht_steps"]) * int(file.attrs["lmht_substeps"])
        groups = [file["layer"][str(index)] for index in range(len(file["layer"]))]
        shapes = [tuple(int(n) for n in group["shape"]) for group in groups]
        depths, found = {0: 0}, []
        for index, group in enumerate(groups):
            if "weight" not in group:
                continue
            synapses = [group, *group.get("lmht_skip", {}).values()]
            waits = [depths[int(synapse.attrs["lmht_from"])] for synapse in synapses]
            depths[index] = 1 + max(waits)
            common = Demand(
                group.attrs["lmht_name"],
                neurons=int(np.prod(shapes[index])),
                delay=(max(waits) - min(waits)) * window,
            )
            for synapse in synapses:
                common = _with_exported(common, synapse, shapes[int(synapse.attrs["lmht_from"])])
            found.append(
                _with_neurons(common, group["neuron/lmht"], bool(file.attrs["lmht_graded"]))
                if "neuron" in group
                else common
            )
    return found


def _with_exported(demand: Demand, group: h5py.Group, source: Shape) -> Demand:
    weight = group["weight"][()]
    if weight.ndim == 2:
        fan_out: np.ndarray | int = len(weight)
    else:
        geometry = {
            key: tuple(int(n) for n in group[key]) for key in ("stride", "padding", "dilation")
        }
        fan_out = PlainConv(
            source="-",
            weight=np.zeros(weight.shape, np.int8),
            groups=int(group["groups"][()]),
            **geometry,
        ).fan_out(source)  # type: ignore[arg-type]
    fan_out = np.broadcast_to(fan_out, source)
    return dataclasses.replace(
        demand,
        synapses=demand.synapses + int(fan_out.sum()),
        fan_in=demand.fan_in + weight[0].size,
        fan_out=max(demand.fan_out, int(fan_out.max())),
        weight_bits=max(demand.weight_bits, signed_bits(weight)),
    )


def _with_neurons(demand: Demand, group: h5py.Group, graded: bool) -> Demand:
    return dataclasses.replace(
        demand,
        threshold_bits=int(group["theta"][()].max()).bit_length(),
        bias_bits=max(mantissa_bits(int(b)) for b in group["bias"][()]),
        spike=int(group["levels"][()]) if graded else 1,
        soft_reset=True,
    )


def _with_synapses(demand: Demand, layer: Conv | Dense, source: Shape) -> Demand:
    recurrent = layer.recurrent if isinstance(layer, Dense) else None
    delay = layer.delay if isinstance(layer, Dense) else None
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


def signed_bits(values: np.ndarray) -> int:
    """Bits, sign included, of the largest of `values`."""
    return max(int(values.max()), -1 - int(values.min())).bit_length() + 1


def mantissa_bits(bias: int, largest_exponent: int = 7) -> int:
    """Bits, sign included, of a bias divided by the power of two, up to 2^7, that divides it."""
    zeros = (bias & -bias).bit_length() - 1 if bias else 0
    return signed_bits(np.array(bias >> min(zeros, largest_exponent)))


def _delay(net: Network, layer: Neurons | Readout) -> int:
    """Steps for which the spikes of the least deep source wait for those of the deepest, layers being pipelined by windows."""
    window = max([net.input.steps, *(n.omega.shape[0] for n in net.neurons)]) * max(
        (n.levels * n.substeps for n in net.neurons), default=1
    )
    depths: dict[str, int] = {net.input.name: 0}
    for other in net.layers[1:]:
        depths[other.name] = max(depths[source] for source in sources(other)) + isinstance(
            other, Neurons
        )
    found = [depths[source] for source in sources(layer)]
    return (max(found) - min(found)) * window
