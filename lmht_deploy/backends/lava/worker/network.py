"""NetX file of lmht-deploy -> Lava processes, exactly (docs/netx.md)."""

import os

import h5py
import numpy as np

from .processes.lmht import LMHT, Readout, Source, Synapse


class Network:
    """Processes of the `.net` file at `path`, fed by `windows` (.npy) and recording into files in `folder`.

    trace: record every step of a window of each layer (`layer-<i>.npy` int32 [B, steps·substeps, ...]), else their sum
    ([B, 1, ...]). The logits go to `logits.npy`, int64 [B, classes]. `i` is the layer's number in the file.
    """

    def __init__(self, path, windows, folder, trace):
        self.batch = len(np.load(windows, mmap_mode="r"))
        self.windows, self.folder, self.trace = windows, folder, trace
        with h5py.File(path, "r") as file:
            self.steps, self.substeps = (
                int(file.attrs["lmht_steps"]),
                int(file.attrs["lmht_substeps"]),
            )
            self.graded = bool(file.attrs["lmht_graded"])
            self.outputs, self.shapes, self.depths = {}, {}, {}
            for index in range(len(file["layer"])):
                self.add(index, file["layer"][str(index)])

    @property
    def window(self):
        """Lava steps of a window."""
        return self.steps * self.substeps

    @property
    def total(self):
        """Lava steps until the last logit is there: every window, the latency, and the delay of the last synapse."""
        return (self.batch + self.depth) * self.window + 1

    def add(self, index, group):
        kind = group["type"][0].decode("ascii")
        shape = tuple(int(n) for n in group["shape"])
        if kind == "input":
            self.process = Source(
                shape=shape, windows=self.windows, steps=self.steps, substeps=self.substeps
            )
            self.outputs[index], self.shapes[index], self.depths[index] = (
                self.process.s_out,
                shape,
                0,
            )
        elif kind in ("conv", "dense"):
            synapses = [
                group,
                *(group["lmht_skip"][name] for name in sorted(group.get("lmht_skip", {}), key=int)),
            ]
            depth = 1 + max(self.depths[int(synapse.attrs["lmht_from"])] for synapse in synapses)
            target = (
                self.readout(group, shape, depth - 1)
                if "lmht_readout" in group
                else self.neurons(index, group["neuron/lmht"], shape, depth)
            )
            for synapse in synapses:
                self.synapse(synapse, shape, depth - 1).a_out.connect(target.a_in)
        elif kind != "flatten":  # a dense synapse flattens what it reads
            raise ValueError(f"layer {index} is of the unknown type {kind!r}")

    def synapse(self, group, shape, depth):
        """The synapse of `group`; sources less deep than `depth` are delayed until all are of one window."""
        source = int(group.attrs["lmht_from"])
        geometry = {
            key: tuple(int(n) for n in group[key]) if key in group else None
            for key in ("stride", "padding", "dilation")
        }
        synapse = Synapse(
            source_shape=self.shapes[source],
            shape=shape,
            weight=group["weight"][()],
            delay=(depth - self.depths[source]) * self.window,
            extent=tuple(int(n) for n in group.attrs["lmht_extent"]),
            groups=int(group["groups"][()]) if "groups" in group else 1,
            **geometry,
        )
        self.outputs[source].connect(synapse.s_in)
        return synapse

    def neurons(self, index, group, shape, depth):
        def full(name):
            return np.broadcast_to(
                group[name][()].astype(np.int64).reshape(-1, *(1,) * (len(shape) - 1)), shape
            )

        levels, substeps = int(group["levels"][()]), int(group["substeps"][()])
        phases = np.arange(self.window)
        record = os.path.join(self.folder, f"layer-{index}.npy")
        create(record, np.int32, (self.batch, self.window if self.trace else 1, *shape))
        process = LMHT(
            shape=shape,
            steps=self.steps,
            substeps=self.substeps,
            omega=group["omega"][()].astype(np.int64),
            theta=full("theta"),
            bias=full("bias"),
            v0=full("vInit"),
            leak=int(group["leak"][()]),
            leak_bits=int(group["leakBits"][()]),
            fires=substeps if self.graded else substeps * levels,
            most=levels if self.graded else 1,
            uniform=group.attrs["injection"] == "uniform",
            depth=depth,
            record=record,
            slot=phases if self.trace else phases * 0,
        )
        self.outputs[index], self.shapes[index], self.depths[index] = process.s_out, shape, depth
        return process

    def readout(self, group, shape, depth):
        self.depth = depth
        record = os.path.join(self.folder, "logits.npy")
        create(record, np.int64, (self.batch, *shape))
        total = group["lmht_readout/bias"][()].astype(np.int64) * int(
            group["lmht_readout/steps"][()]
        )
        return Readout(shape=shape, window=self.window, bias=total, depth=depth, record=record)


def create(path, dtype, shape):
    """A .npy file of zeros that processes share through memory mapping."""
    np.lib.format.open_memmap(path, "w+", dtype, shape).flush()
