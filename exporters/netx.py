"""Network -> NetX HDF5 (`.net`) with two readers (`lmht_deploy.formats.netx.network`).

Stock lava-dl 0.6 reads a chain of `conv` and `dense` layers with hard-reset CUBA neurons, which is
an approximation. The Lava processes of lmht-deploy read the LM-HT neurons and are exact. Both use
the same weights: exponents are shifted in, and sum pooling is folded into the synapse after it.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from lmht_deploy.errors import ExportError
from lmht_deploy.formats.netx import keys
from lmht_deploy.formats.netx.derive import input_record, layer_record, timing
from lmht_deploy.formats.netx.fold import plane_of
from lmht_deploy.formats.netx.network import (
    CubaRecord,
    LayerRecord,
    NetworkFile,
    SynapseRecord,
    write_network,
)
from lmht_deploy.ir import (
    LEAK_ONE,
    Network,
    Neurons,
    Readout,
    SumPool,
    require_network,
)


def export_netx(net: Network, path: str | Path, *, graded: bool = False) -> tuple[str, ...]:
    """Write an integer network as a NetX file.

    The file appears complete or not at all, and equal networks give equal bytes.

    Args:
        net: The network.
        path: File to write.
        graded: Whether spikes carry counts of up to L, as on Loihi 2. Otherwise each time-step
            takes L Lava steps, and a neuron sends one spike per step.

    Returns:
        Warnings about a stock reader, lava-dl 0.6: one for each difference beyond its hard reset.
        The Lava processes of lmht-deploy are exact in all of these cases.

    Raises:
        ExportError: The file cannot represent the network: it is a float network, or has
            overlapping sum pooling under a padded convolution, or, unless `graded`, several levels
            and sub-steps in one layer or max pooling over sum pooling of several levels. The
            message names the layer and what to do.
        StorageError: The file cannot be written.
    """
    if not require_network(net).integer:
        raise ExportError(
            "a NetX file holds integers, and this is a float network; quantize it first"
        )
    builder = _Builder(net, graded)
    write_network(builder.file(), path)
    return tuple(builder.warnings)


class _Builder:
    """Builds the records of the file layer by layer, and collects warnings.

    Attributes:
        index: Number in the file, by name of a layer with neurons or of the input.
        previous: Name of the layer before: the only one that a stock reader connects.
    """

    def __init__(self, net: Network, graded: bool) -> None:
        self.net, self.graded = net, graded
        self.steps, self.substeps = timing(net, graded)
        self.warnings: list[str] = []
        self.layers: list[LayerRecord] = []
        self.index: dict[str, int] = {}
        self.previous = net.input.name

    def file(self) -> NetworkFile:
        """Return the whole file."""
        self._add_input()
        for layer in self.net.layers:
            if isinstance(layer, Neurons | Readout):
                self._add_layer(layer)
        return NetworkFile(
            steps=self.steps,
            substeps=self.substeps,
            graded=self.graded,
            layers=tuple(self.layers),
            network=self.net,
        )

    def _add_input(self) -> None:
        entry = self.net.input
        self.index[entry.name] = 0
        self.layers.append(
            LayerRecord(keys.INPUT, entry.shape, entry.name, input=input_record(self.net))
        )

    def _add_layer(self, layer: Neurons | Readout) -> None:
        record = layer_record(self.net, layer, self.index, graded=self.graded)
        synapses, bias = self._ordered(record.synapses), self._stock_bias(layer)
        main = synapses[0]
        for what in self._differences(layer, synapses, bias):
            self.warnings.append(f"layer {layer.name!r} in stock lava-dl: {what}")
        if main.dense and len(self._source(main).shape) == 3:
            self.layers.append(LayerRecord(keys.FLATTEN, (1, 1, main.weight.shape[1])))
        self.index[layer.name] = len(self.layers)
        record = dataclasses.replace(
            record,
            type=keys.DENSE if main.dense else keys.CONV,
            bias=np.clip(bias, -keys.MAX_BIAS, keys.MAX_BIAS).astype(np.int32),
            synapses=synapses,
            cuba=_cuba(layer) if isinstance(layer, Neurons) else None,
        )
        self.layers.append(record)
        self.previous = layer.name

    def _ordered(self, synapses: tuple[SynapseRecord, ...]) -> tuple[SynapseRecord, ...]:
        """Return the synapses, first the one that a stock reader sees.

        That is the first one from the layer before, as NetX knows chains only.
        """
        sources = [synapse.source for synapse in synapses]
        previous = self.index[self.previous]
        main = sources.index(previous) if previous in sources else 0
        return (synapses[main], *synapses[:main], *synapses[main + 1 :])

    def _source(self, synapse: SynapseRecord) -> LayerRecord:
        return self.layers[synapse.source]

    def _stock_bias(self, layer: Neurons | Readout) -> np.ndarray:
        """Bias of a stock reader, int64 [C].

        It acts at every step. A read-out integrates, so that its bias counts once.
        """
        if isinstance(layer, Readout):
            share: float = self.net.blocks(layer.synapses[0].source)
        else:
            share = layer.omega.shape[1] / (self.steps * self.substeps)
        bias: np.ndarray = np.rint(layer.bias.astype(np.int64) * share).astype(np.int64)
        return bias

    # -- what a stock reader gets wrong

    def _differences(
        self, layer: Neurons | Readout, synapses: tuple[SynapseRecord, ...], bias: np.ndarray
    ) -> Iterator[str]:
        main, source = synapses[0], self._source(synapses[0])
        if isinstance(layer, Neurons):
            yield from _threshold_differences(layer)
        if (largest := np.abs(bias).max()) > keys.MAX_BIAS:
            yield f"its bias of up to {largest} per step does not fit 16 bits and is clipped"
        if source.name != self.previous:
            yield f"it is fed by {self.previous!r}, not by {source.name!r}: NetX knows chains only"
        if (count := len(synapses)) > 1:
            yield f"{count - 1} of its {count} synapses are dropped: NetX has no residual sums"
        if main.pools is not None:
            yield "the max pooling before it is dropped: NetX has none, and the file may not load"
        elif self._pools(layer) and main.extent != plane_of(source.shape):
            yield (
                f"it also reads rows or columns beyond {main.extent}, which its sum pooling "
                "leaves out"
            )
        yield from _geometry_differences(main)
        yield from _weight_differences(main)
        if isinstance(layer, Neurons):
            yield from _neuron_differences(layer, self.graded)

    def _pools(self, layer: Neurons | Readout) -> bool:
        return any(isinstance(self.net[synapse.source], SumPool) for synapse in layer.synapses)


def _cuba(layer: Neurons) -> CubaRecord:
    """Approximate LM-HT neurons by hard-reset CUBA neurons.

    The current lasts one step, and the potential does not decay. The threshold is reduced by one,
    because CUBA neurons fire above their threshold and LM-HT neurons at it.
    """
    threshold = round(_stock_threshold(layer)) - 1
    return CubaRecord(
        type="CUBA",
        current_decay=keys.STATE_ONE,
        voltage_decay=0,
        threshold=int(np.clip(threshold, 0, keys.MAX_THRESHOLD)),
        refractory=1,
        graded=False,
    )


def _gain(layer: Neurons) -> float:
    """Mean factor by which the T-GIM multiplies a current."""
    repeats = layer.substeps if layer.injection == "uniform" else 1
    return float(layer.omega.sum()) * repeats / float(layer.omega.shape[1])


def _stock_threshold(layer: Neurons) -> float:
    """Current that makes one spike: the median threshold over the gain of the T-GIM."""
    gain = _gain(layer)
    return float(np.median(layer.threshold)) / gain if gain > 0 else keys.MAX_THRESHOLD


def _threshold_differences(layer: Neurons) -> Iterator[str]:
    gain, threshold = _gain(layer), _stock_threshold(layer)
    if gain <= 0:
        yield (
            f"its T-GIM sums to {gain:g}, which no CUBA threshold represents: its neurons do not "
            "fire"
        )
    elif threshold > keys.MAX_THRESHOLD:
        yield (
            f"its threshold of {threshold:.0f} is beyond the 24 bits of a potential: its neurons "
            "fire too often"
        )


def _geometry_differences(main: SynapseRecord) -> Iterator[str]:
    if main.dense:
        return
    assert main.stride and main.padding and main.dilation and main.groups
    sizes = (*main.weight.shape[2:], *main.stride, *main.padding, *main.dilation, main.groups)
    if max(sizes) > keys.MAX_GEOMETRY:
        yield (
            f"it does not run: it has a kernel size, stride, padding, dilation or groups of "
            f"{max(sizes)}, and lava-nc 0.10 keeps them in 8 bits, up to {keys.MAX_GEOMETRY}"
        )


def _weight_differences(main: SynapseRecord) -> Iterator[str]:
    if not main.dense:
        return
    low, high = keys.DENSE_WEIGHTS
    smallest, largest = main.weight.min(), main.weight.max()
    if smallest == largest == 0:
        yield "the file does not load: its dense weights are all zero (OverflowError)"
    elif smallest < low or largest > high:
        yield f"its dense weights {smallest}..{largest} are clipped to {low}..{high}"


def _neuron_differences(layer: Neurons, graded: bool) -> Iterator[str]:
    smallest, largest = layer.threshold.min(), layer.threshold.max()
    if largest > 2 * smallest:
        yield f"its thresholds {smallest}..{largest} are replaced by their median"
    if graded and layer.levels > 1:
        yield f"it fires at most once where its graded spikes count up to {layer.levels}"
    if layer.leaks:
        yield f"its leak of {layer.leak}/{LEAK_ONE} per time-step is left out"
    if layer.floor is not None:
        yield "the lower bound of its potentials is left out"
