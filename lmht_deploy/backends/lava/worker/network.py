"""Job of an LM-HT network -> Lava processes, exactly.

The parent process reads the NetX file. A job holds plain data; its arrays are `.npy` files in the
working directory, see `lmht_deploy.backends.lava._job`.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import DTypeLike

from .processes.lmht import LMHT, Readout, Shape, Source, Synapse


class Network:
    """Lava processes of one network, fed by `windows.npy`.

    With `trace`, `layer-<i>.npy` records every step of a window of each layer with neurons,
    int32 [B, steps·substeps, ...]; otherwise their sum, [B, 1, ...]. The logits are written to
    `logits.npy`, int64 [B, classes]. `i` is the number of the layer.

    Attributes:
        batch: Number of windows B.
        window: Lava steps per window.
        depth: Windows between the input and the last currents.
        process: One of the processes; running it runs all of them.
    """

    def __init__(self, job: dict[str, Any]) -> None:
        self.batch = len(np.load("windows.npy", mmap_mode="r"))
        self.trace = job["trace"]
        self.steps, self.substeps = int(job["steps"]), int(job["substeps"])
        self.window, self.depth = self.steps * self.substeps, 0
        self.outputs: dict[int, Any] = {}
        self.shapes: dict[int, Shape] = {}
        self.depths: dict[int, int] = {}
        for layer in job["layers"]:
            self.add(layer, tuple(layer["shape"]))

    @property
    def total(self) -> int:
        """Lava steps until the last logit: all windows, the latency, and one synaptic delay."""
        return (self.batch + self.depth) * self.window + 1

    def add(self, layer: dict[str, Any], shape: Shape) -> None:
        """Add the processes of one layer."""
        index, synapses = layer["index"], layer["synapses"]
        if not synapses:
            self.process = Source(
                shape=shape, windows="windows.npy", steps=self.steps, substeps=self.substeps
            )
            self.place(index, self.process.s_out, shape, 0)
            return
        depth = max(self.depths[synapse["source"]] for synapse in synapses)
        if "neurons" in layer:
            target = self.neurons(layer, shape, depth + 1)
            self.place(index, target.s_out, shape, depth + 1)
        else:
            target = self.readout(index, shape, depth)
        for number, synapse in enumerate(synapses):
            weight = load(index, f"weight-{number}")
            pools = load(index, f"pools-{number}") if synapse["pooled"] else None
            self.synapse(synapse, weight, pools, shape, depth).a_out.connect(target.a_in)

    def place(self, index: int, output: Any, shape: Shape, depth: int) -> None:
        """Remember the output of a layer; `depth` windows pass before its first spikes."""
        self.outputs[index], self.shapes[index], self.depths[index] = output, shape, depth

    def synapse(
        self,
        synapse: dict[str, Any],
        weight: np.ndarray,
        pools: np.ndarray | None,
        shape: Shape,
        depth: int,
    ) -> Synapse:
        """Add a synapse; sources of less than `depth` are delayed until all windows agree."""
        source = synapse["source"]
        process = Synapse(
            source_shape=self.shapes[source],
            shape=shape,
            weight=weight,
            pools=pools,
            delay=(depth - self.depths[source]) * self.window,
            extent=synapse["extent"],
            stride=synapse["stride"],
            padding=synapse["padding"],
            dilation=synapse["dilation"],
            groups=synapse["groups"],
        )
        self.outputs[source].connect(process.s_in)
        return process

    def neurons(self, layer: dict[str, Any], shape: Shape, depth: int) -> LMHT:
        """Add the neurons of a layer."""
        index, neurons = layer["index"], layer["neurons"]
        phases = np.arange(self.window)
        record = f"layer-{index}.npy"
        create(record, np.int32, (self.batch, self.window if self.trace else 1, *shape))
        return LMHT(
            shape=shape,
            steps=self.steps,
            substeps=self.substeps,
            omega=load(index, "omega").astype(np.int64),
            theta=per_neuron(index, "theta", shape),
            bias=per_neuron(index, "bias", shape),
            v0=per_neuron(index, "v0", shape),
            leak=neurons["leak"],
            leak_bits=neurons["leak_bits"],
            fires=neurons["fires"],
            max_spike=neurons["max_spike"],
            levels=neurons["levels"],
            reset=neurons["reset"],
            floor=per_neuron(index, "floor", shape) if neurons["bounded"] else None,
            uniform=neurons["uniform"],
            depth=depth,
            record=record,
            slot=phases if self.trace else phases * 0,
        )

    def readout(self, index: int, shape: Shape, depth: int) -> Readout:
        """Add the read-out."""
        self.depth = depth
        create("logits.npy", np.int64, (self.batch, *shape))
        return Readout(
            shape=shape,
            window=self.window,
            bias=load(index, "bias"),
            depth=depth,
            record="logits.npy",
        )


def load(index: int, name: str) -> np.ndarray:
    """Return array `name` of layer `index`."""
    array: np.ndarray = np.load(f"{index}-{name}.npy")
    return array


def per_neuron(index: int, name: str, shape: Shape) -> np.ndarray:
    """Return array `name` [C] of layer `index` as int64 of `shape`."""
    values = load(index, name).astype(np.int64)
    return np.broadcast_to(values.reshape(-1, *(1,) * (len(shape) - 1)), shape)


def create(path: str, dtype: DTypeLike, shape: Shape) -> None:
    """Create a .npy file of zeros, which processes share through memory mapping."""
    np.lib.format.open_memmap(path, "w+", dtype, shape).flush()
